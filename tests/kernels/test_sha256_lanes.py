"""The lanes' shuffles, carried out by NumPy: what is turned, compiled or not, is a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.sha256_lanes import Lanes, _constant
from kernels.sha256_rounds import ROWS


class Shuffles(Lanes):
    """Lanes whose vectors are arrays of NumPy's."""

    def __init__(self) -> None:
        super().__init__(None, avx512=False)

    def _mixed(self, left: Any, right: Any, order: Any) -> Any:
        return np.concatenate([left, right])[list(order)]

    def swapped(self, word: Any) -> Any:
        return word.byteswap()


def test_columns_are_the_rows_turned() -> None:
    rows = np.arange(ROWS * ROWS, dtype=np.uint32).reshape(ROWS, ROWS)
    assert np.array_equal(Shuffles().columns(list(rows)), rows.T)


def test_digests_are_the_states_of_the_lanes_one_after_the_other() -> None:
    state = np.random.default_rng(5).integers(0, 1 << 32, (8, ROWS), np.uint32)
    expected = b"".join(state[:, lane].astype(">u4").tobytes() for lane in range(ROWS))
    assert b"".join(pair.tobytes() for pair in Shuffles().digests(list(state))) == expected


def test_a_constant_is_the_same_in_every_lane_and_a_word_of_32_bits() -> None:
    for word in (0, 1, 0x80000000, 0xFFFFFFFF, 1 << 32, -1):
        assert [lane.constant for lane in _as_lanes(_constant(word))] == [word % (1 << 32)] * ROWS


def _as_lanes(vector: Any) -> list[Any]:
    return [lane if hasattr(lane, "constant") else vector.type.element(lane) for lane in vector.constant]
