"""The relayer's page: one record in shared memory, private to its owner."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relayer.page import MAGIC, PAGE, PAGE_BYTES, RelayerPage


def test_fields_are_eight_aligned_bytes_each() -> None:
    assert PAGE.itemsize <= PAGE_BYTES
    assert PAGE.itemsize == 8 * len(PAGE.names or ())


def test_what_is_written_is_seen_through_another_mapping(tmp_path: Path) -> None:
    path = tmp_path / "run" / "relayer.page"
    page = RelayerPage(path, create=True)
    seen = RelayerPage(path)
    page.row["settled"] = 1 << 40
    assert (seen.get("settled"), seen.get("magic"), seen.get("pid")) == (1 << 40, MAGIC, os.getpid())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == PAGE_BYTES


def test_a_start_begins_at_nothing(tmp_path: Path) -> None:
    path = tmp_path / "relayer.page"
    old = RelayerPage(path, create=True)
    old.row["settled"], old.row["tx_sent"] = 5, 6
    new = RelayerPage(path, create=True)
    assert [new.get(name) for name in ("settled", "tx_sent", "magic")] == [0, 0, MAGIC]


def test_no_page_no_reader(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RelayerPage(tmp_path / "relayer.page")
