"""The head page: one record in shared memory, seen by every mapping."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.common.errors import JournalError
from engine.common.page import PAGE_BYTES
from engine.journal.head import ACK_US, BUCKETS, HEAD, MAGIC, HeadPage, quantile_us, slot

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


def test_words_are_the_fields(tmp_path: Path) -> None:
    page = HeadPage(tmp_path / "head", create=True)
    for k, name in enumerate(HEAD.names or ()):
        page.words[slot(name)] = 100 + k
    assert [page.get(name) for name in HEAD.names or ()] == [100 + k for k in range(len(HEAD.names or ()))]


def test_times_are_counted_by_powers_of_two_of_microseconds(tmp_path: Path) -> None:
    page = HeadPage(tmp_path / "head", create=True)
    for spent_ns, bucket in (
        (0, 0),
        (999, 0),
        (1000, 1),
        (1999, 1),
        (2000, 2),
        (65_000, 7),
        (1 << 62, BUCKETS - 1),
    ):
        before = page.histogram(ACK_US)
        page.count_time(ACK_US, spent_ns)
        after = page.histogram(ACK_US)
        assert [b - a for a, b in zip(before, after, strict=True)] == [
            int(k == bucket) for k in range(BUCKETS)
        ]
    assert len(after) == BUCKETS and sum(after) == 7


def test_a_quantile_is_the_upper_bound_of_its_bucket() -> None:
    buckets = [0, 50, 0, 49, 1]
    assert [quantile_us(buckets, share) for share in (0.1, 0.5, 0.51, 0.99, 1.0)] == [2, 2, 8, 8, 16]
    assert quantile_us([0] * BUCKETS, 0.5) == 0
