"""Where a start begins: the newest good snapshot, the one before it, the whole journal, or a named refusal."""

from __future__ import annotations

import itertools
from itertools import repeat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from engine.common.errors import JournalDamaged, JournalGone, SchemaUnknown, WitnessMismatch
from engine.common.settings import Settings
from engine.core.apply import Machine
from engine.follower import Follower
from engine.gateway.process import recover
from engine.journal.head import HeadPage
from engine.journal.reader import Cursor
from engine.journal.recovery import Tail
from engine.journal.retention import unlink_segments
from engine.journal.segment import list_segments
from engine.journal.snapshot import HEADER_BYTES, list_snapshots, position_of, write_snapshot
from engine.journal.writer import JournalWriter, publish
from kernels.admission import new_gate, remember
from kernels.crc32c import words_of
from tests.engine.journal.material import append, contents, flow, folded, open_writer, read_all
from tests.engine.journal.test_snapshot import gate_of

FRAMES = flow(steps=20)
DIGEST = folded(FRAMES).state.digest()
GROUP = 50


def journal_with_snapshots(directory: Path, at: tuple[int, ...]) -> JournalWriter:
    """All frames in groups of 50, in several segments, with a snapshot behind each of these groups."""
    machine, gate = Machine(capacity=1024), new_gate()
    writer = open_writer(directory, group_max=GROUP)
    for k, first in enumerate(range(0, len(FRAMES), GROUP), 1):
        part = FRAMES[first : first + GROUP]
        append(writer, part, [GROUP], machine)
        remember(gate, words_of(part), part, 0, len(part))
        if k in at:
            write_snapshot(directory, machine, gate, Cursor(writer.position, writer.epoch, writer.chain))
    return writer


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal of three segments; snapshots behind groups 25 and 43 of 47."""
    directory = tmp_path / "journal"
    journal_with_snapshots(directory, (25, 43)).close()
    assert len(list_segments(directory)) == 3 and len(FRAMES) > 46 * GROUP
    return directory


def start(directory: Path) -> tuple[Machine, Tail, list[str]]:
    """What an engine's start makes of it, and what it logs."""
    machine, gate = Machine(), new_gate()
    with capture_logs() as logs:
        tail = recover(Settings(data_dir=directory.parent), machine, gate)
    assert gate.last_seq.tolist() == gate_of(FRAMES).last_seq.tolist()
    assert (gate.crcs == gate_of(FRAMES).crcs).all()
    return machine, tail, [f"{log['event']} {log['reason']}" for log in logs]


def flip(path: Path) -> None:
    """Damage the first array."""
    raw = bytearray(path.read_bytes())
    raw[HEADER_BYTES + 3] ^= 1
    path.write_bytes(raw)


def test_a_start_is_the_replay_of_the_whole(journal: Path) -> None:
    machine, tail, logs = start(journal)
    assert machine.state.digest() == DIGEST and machine.witness == folded(FRAMES).witness
    assert tail.cursor == read_all(journal)[1] and logs == []


def test_a_start_reads_only_what_lies_behind_the_snapshot(journal: Path) -> None:
    older, newer = map(position_of, list_snapshots(journal))
    gone = unlink_segments(journal, older)
    assert len(gone) == 1 and gone[0].first_position == 0
    machine, _, logs = start(journal)
    assert machine.state.digest() == DIGEST and logs == []
    assert older < newer


def test_a_damaged_one_is_told_in_one_line_and_the_one_before_it_serves(journal: Path) -> None:
    unlink_segments(journal, position_of(list_snapshots(journal)[0]))
    flip(list_snapshots(journal)[1])
    machine, _, logs = start(journal)
    assert machine.state.digest() == DIGEST
    (line,) = logs
    assert line.startswith(f"snapshot_passed_over {list_snapshots(journal)[1].name}: array ")


def test_both_damaged_the_whole_journal_serves(journal: Path) -> None:
    for path in list_snapshots(journal):
        flip(path)
    machine, _, logs = start(journal)
    assert machine.state.digest() == DIGEST and len(logs) == 2


def test_both_damaged_and_the_start_unlinked_is_refused_by_name(journal: Path) -> None:
    unlink_segments(journal, position_of(list_snapshots(journal)[0]))
    for path in list_snapshots(journal):
        flip(path)
    before = contents(journal)
    with pytest.raises(JournalGone, match="no snapshot is usable"):
        start(journal)
    assert contents(journal) == before


def test_a_snapshot_older_than_what_is_kept_does_not_serve(journal: Path) -> None:
    newest = list_snapshots(journal)[1]
    unlink_segments(journal, position_of(newest))
    assert len(list_segments(journal)) == 1
    assert start(journal)[0].state.digest() == DIGEST
    flip(newest)
    with pytest.raises(JournalGone):
        start(journal)


def test_a_journal_that_ends_before_a_snapshot_has_lost_something(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    journal_with_snapshots(directory, (44, 45)).close()
    last = list_segments(directory)[-1]
    raw = bytearray(last.path.read_bytes())
    for snapshot, keeps in itertools.product(list_snapshots(directory), (True, False)):
        slot = position_of(snapshot) - 1 - last.first_position
        cut = bytes(raw[: slot * 64]).ljust(len(raw), b"\0")
        last.path.write_bytes(cut)
        if not keeps:
            flip(list_snapshots(directory)[1])
        before = contents(directory)
        with pytest.raises(JournalDamaged, match="snapshot was taken"):
            start(directory)
        assert contents(directory) == before, "and nothing is cut or rewritten"


def test_another_journal_under_a_snapshot_is_damage(journal: Path) -> None:
    """The chain of CRCs ties what follows to what the snapshot was made of."""
    foreign = journal.parent / "foreign"
    other = FRAMES.copy()
    writer = open_writer(foreign, group_max=GROUP)
    append(writer, other[::-1], repeat(GROUP))
    for mine, theirs in zip(list_segments(journal), list_segments(foreign), strict=False):
        mine.path.write_bytes(theirs.path.read_bytes())
    with pytest.raises((JournalDamaged, WitnessMismatch)):
        start(journal)


def test_a_newer_snapshot_is_not_passed_over(journal: Path) -> None:
    newest = list_snapshots(journal)[1]
    raw = bytearray(newest.read_bytes())
    from tests.engine.journal.test_snapshot import _altered

    newest.write_bytes(raw)
    _altered(newest, lambda header: header.__setitem__("format", 2))
    with pytest.raises(SchemaUnknown):
        start(journal)


def test_a_follower_from_a_snapshot_comes_to_the_same_books(journal: Path) -> None:
    gate = new_gate()
    follower = Follower(journal, live=False, from_snapshot=True, gate=gate)
    assert follower.position == position_of(list_snapshots(journal)[1])
    while follower.poll() is not None:
        continue
    assert follower.machine.state.digest() == DIGEST and follower.jumps == 0
    assert (gate.crcs == gate_of(FRAMES).crcs).all()
    follower.close()


def _head(directory: Path, writer: JournalWriter, durable: int) -> None:
    head = HeadPage(directory / "head", create=True)
    publish(head, writer, 0)
    head.row["durable"] = durable


def test_a_follower_left_behind_goes_on_from_a_snapshot(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    writer = journal_with_snapshots(directory, (25, 43))
    _head(directory, writer, 200)
    plain, able = Follower(directory), Follower(directory, capacity=8192)
    able._from_snapshot = True  # it began before there was a snapshot
    for follower in (plain, able):
        assert follower.poll() is not None
        follower._reader.close()  # it rolled to no segment yet that is kept
    unlink_segments(directory, position_of(list_snapshots(directory)[1]))
    _head(directory, writer, writer.position)
    with pytest.raises(JournalGone, match="no longer kept: use a snapshot"):
        plain.poll()
    while able.poll() is not None:
        continue
    assert able.jumps == 1 and able.machine.state.digest() == DIGEST


def test_a_reader_with_an_open_segment_goes_on_after_the_unlink(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    writer = journal_with_snapshots(directory, (25, 43))
    second = list_segments(directory)[1].first_position
    _head(directory, writer, 200)
    follower = Follower(directory)
    assert follower.poll() is not None
    unlink_segments(directory, second + 1)
    assert list_segments(directory)[0].first_position == second
    _head(directory, writer, writer.position)
    while follower.poll() is not None:
        continue
    assert follower.machine.state.digest() == DIGEST, "it read the unlinked segment to its end, then the next"


def test_a_reader_at_the_end_of_an_unlinked_segment_is_told_so(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    writer = journal_with_snapshots(directory, (25, 43))
    _head(directory, writer, 200)
    follower = Follower(directory)
    assert follower.poll() is not None
    unlink_segments(directory, writer.position)
    _head(directory, writer, writer.position)
    with pytest.raises(JournalGone):
        while follower.poll() is not None:
            continue
