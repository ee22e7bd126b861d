"""Leaves: every byte at its offset, and nothing of where the frame lies."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from kernels.frames import FILL, Source, Template
from kernels.layouts import KEY
from relayer.core.leaf import LEAF, LEAF_BYTES, account_keys, leaves_of

KEYS = np.arange(4 * 32, dtype=np.uint8).reshape(4, 32)


def fill(**fields: int) -> np.ndarray:
    out = np.zeros(1, FILL)
    out["template"], out["source"] = Template.FILL, Source.MATCHING
    for name, value in fields.items():
        out[name] = value
    return out


VALUES = {"seq": 11, "time_ns": 12, "trade_id": -13, "price": 14, "size": -15, "maker": 1, "taker": 3,
          "source": 1, "flags": 9, "market": 258}  # fmt: skip


def test_every_field_at_its_offset() -> None:
    [leaf] = leaves_of(fill(**VALUES), KEYS)
    raw = leaf.tobytes()
    assert len(raw) == LEAF_BYTES == 112
    assert raw[:8] == bytes([1, 1, 1, 9, 2, 1, 0, 0])
    assert struct.unpack_from("<5q", raw, 8) == (11, 12, -13, 14, -15)
    assert raw[48:80] == KEYS[1].tobytes()
    assert raw[80:112] == KEYS[3].tobytes()


@pytest.mark.parametrize("field", sorted(VALUES))
def test_every_field_counts(field: str) -> None:
    other = {**VALUES, field: VALUES[field] - 1}
    assert leaves_of(fill(**VALUES), KEYS).tobytes() != leaves_of(fill(**other), KEYS).tobytes()


def test_header_and_crc_do_not_count() -> None:
    assert (
        leaves_of(fill(**VALUES, crc=77, version=5), KEYS).tobytes()
        == leaves_of(fill(**VALUES), KEYS).tobytes()
    )


def test_two_sha256_blocks_hold_a_leaf_with_its_prefix() -> None:
    assert LEAF.itemsize + 1 + 1 + 8 <= 128


def test_many_leaves_are_each_their_own() -> None:
    fills = np.concatenate([fill(seq=k, maker=k % 4, taker=(k + 1) % 4) for k in range(9)])
    leaves = leaves_of(fills, KEYS)
    assert leaves.shape == (9, 112)
    assert leaves.dtype == np.uint8
    for k in range(9):
        assert leaves[k].tobytes() == leaves_of(fills[k : k + 1], KEYS).tobytes()
    assert leaves_of(fills[:0], KEYS).shape == (0, 112)


def test_account_keys_are_the_words_in_order() -> None:
    accounts = np.zeros(2, KEY)
    for k in range(4):
        accounts[f"key{k}"] = KEYS[:2].view("<i8")[:, k]
    assert account_keys(accounts).tobytes() == KEYS[:2].tobytes()
