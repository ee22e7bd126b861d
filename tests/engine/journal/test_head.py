"""The head page: one record in shared memory, seen by every mapping."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.common.errors import JournalError
from engine.journal.head import HEAD, MAGIC, PAGE_BYTES, HeadPage

ROOT = Path(__file__).resolve().parents[3]


def test_every_field_is_aligned_and_whole() -> None:
    assert HEAD.itemsize <= PAGE_BYTES
    for name in HEAD.names or ():
        kind, offset = HEAD.fields[name][:2]  # type: ignore[index]
        assert kind.itemsize == 8 and offset % 8 == 0, name


def test_another_mapping_sees_what_is_published(tmp_path: Path) -> None:
    writer = HeadPage(tmp_path / "head", create=True)
    reader = HeadPage(tmp_path / "head")
    writer.row["durable"] = 1 << 40
    writer.row["booked"] = 7
    assert (reader.get("durable"), reader.get("booked"), reader.get("magic")) == (1 << 40, 7, MAGIC)
    code = (
        "import sys; from pathlib import Path; from engine.journal.head import HeadPage\n"
        "sys.exit(0 if HeadPage(Path(sys.argv[1])).get('durable') == 1 << 40 else 1)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "head")]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0


def test_a_new_engine_keeps_the_page(tmp_path: Path) -> None:
    """Followers hold their mapping over a restart: the file must stay the same one."""
    first = HeadPage(tmp_path / "head", create=True)
    reader = HeadPage(tmp_path / "head")
    first.row["durable"] = 5
    second = HeadPage(tmp_path / "head", create=True)
    second.row["durable"] = 9
    assert reader.get("durable") == 9


def test_only_the_owner_may_open_it(tmp_path: Path) -> None:
    HeadPage(tmp_path / "head", create=True)
    assert (tmp_path / "head").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"x" * 100, bytes(PAGE_BYTES), b"\xff" * PAGE_BYTES])
def test_what_is_no_head_page_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "head"
    path.write_bytes(content)
    with pytest.raises(JournalError, match="not a head page"):
        HeadPage(path)
    assert path.read_bytes() == content


def test_no_page_means_no_engine(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no engine has run"):
        HeadPage(tmp_path / "head")
