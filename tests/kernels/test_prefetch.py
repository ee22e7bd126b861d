"""Prefetching: changes nothing, whatever row it is given."""

from __future__ import annotations

import numpy as np
import pytest

from kernels.layouts import POSITION
from tests.kernels import entries
from tests.kernels.entries import run


@pytest.mark.parametrize("row", [0, 7, 8, -1, 2**31, -(2**31), 2**57, -(2**63), 2**63 - 1])
def test_any_row_is_allowed_and_nothing_changes(row: int) -> None:
    rows = np.random.default_rng(5).integers(0, 256, 8 * 64, dtype=np.uint8).view(POSITION)
    before = rows.tobytes()
    assert run(entries.fetch, rows, row) == 0
    assert run(entries.fetch, np.arange(8), row) == 0
    assert rows.tobytes() == before
