"""The relayer's page: one record in shared memory, private to its owner."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.common.errors import SettingsError
from engine.common.page import PAGE_BYTES
from relayer.page import MAGIC, PAGE, RelayerPage


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


@pytest.mark.parametrize("content", [b"keep me", b"\1" * PAGE_BYTES, bytes(PAGE_BYTES + 1)])
@pytest.mark.parametrize("create", [False, True])
def test_a_file_that_is_no_page_is_left_as_it_is(tmp_path: Path, content: bytes, create: bool) -> None:
    path = tmp_path / "relayer.page"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="not a page"):
        RelayerPage(path, create=create)
    assert path.read_bytes() == content


@pytest.mark.parametrize("length", [0, 100, PAGE_BYTES])
def test_a_page_that_was_begun_and_not_finished_is_made_anew(tmp_path: Path, length: int) -> None:
    path = tmp_path / "relayer.page"
    path.write_bytes(bytes(length))
    assert RelayerPage(path, create=True).get("magic") == MAGIC
