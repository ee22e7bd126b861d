"""The memory of the state: zeros, aligned to huge pages where it is large, ordinary where there are none."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from engine.core import state
from kernels.layouts import POSITION

ROWS = (8 << 20) // POSITION.itemsize


@pytest.mark.parametrize("count", [1, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 7])
def test_rows_are_zero_writable_and_contiguous(count: int) -> None:
    rows = state.zeros_for_random_access(count, POSITION)
    assert rows.shape == (count,) and rows.dtype == POSITION
    assert rows.flags.c_contiguous and rows.flags.writeable and rows.flags.aligned
    assert not rows.view(np.uint8).any()
    rows["size"] = np.arange(count)
    assert int(rows["size"].sum()) == count * (count - 1) // 2


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="this system knows no huge pages")
def test_large_rows_start_at_a_huge_page() -> None:
    assert state.zeros_for_random_access(ROWS, POSITION).ctypes.data % (2 << 20) == 0


def test_without_huge_pages_they_are_ordinary_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    rows = state.zeros_for_random_access(ROWS, POSITION)
    assert rows.base is None and not rows.view(np.uint8).any()


def test_a_kernel_that_refuses_the_advice_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 12345, raising=False)
    assert len(state.zeros_for_random_access(ROWS, POSITION)) == ROWS
