"""The standby in one process: follows, writes snapshots, and takes a dead engine's place or leaves it alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from engine.common.errors import JournalDamaged
from engine.common.processes import start_ticks
from engine.common.settings import Settings
from engine.core.apply import Machine
from engine.gateway.process import make_room, open_epoch
from engine.journal.head import HeadPage
from engine.journal.recovery import JournalLock
from engine.journal.retention import HOLD_DIR, hold
from engine.journal.segment import list_segments
from engine.journal.snapshot import list_snapshots, load_snapshot
from engine.journal.writer import JournalWriter, publish
from engine.standby.process import Standby, Taken
from engine.standby.snapshots import Snapshots
from kernels.frames import FRAME_BYTES
from tests.engine.journal.material import append, contents, flow, folded, open_writer, read_all
from tests.engine.journal.test_snapshot import gate_of

FRAMES = flow(steps=30)


class Engine:
    """The journal of an engine, and its head page, whose process is one that has ended, or this one."""

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir / "journal"
        self.machine = Machine(capacity=1024)
        self.writer: JournalWriter = open_writer(self.directory, group_max=64)
        self.head = HeadPage(self.directory / "head", create=True)
        self.head.row["group_frames_max"] = 64
        self.sent = 0
        self.live()

    def write(self, count: int) -> None:
        append(self.writer, FRAMES[self.sent : self.sent + count], repeat(50), self.machine)
        self.sent += count
        publish(self.head, self.writer, self.sent)

    def live(self) -> None:
        self.head.row["pid_started"], self.head.row["pid"] = start_ticks(os.getpid()), os.getpid()

    def die(self) -> None:
        self.head.row["pid_started"] = 1


def standby_of(data_dir: Path, **settings: object) -> tuple[Standby, threading.Event]:
    stop = threading.Event()
    values = {"snapshot_bytes": 1 << 30, "holders": [], **settings}
    return Standby(Settings(data_dir=data_dir, standby=values), stop), stop


def test_it_takes_a_dead_engines_place_at_its_last_complete_group(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.write(600)
    standby, _ = standby_of(tmp_path)
    assert standby.catch_up() == engine.writer.position
    said = engine.writer.position
    engine.write(100)
    engine.head.row["durable"] = said  # written and synced, and not told any more
    engine.writer.close()
    engine.die()
    taken = standby.run()
    assert isinstance(taken, Taken)
    assert taken.tail.cursor.position == engine.writer.position and taken.tail.epoch == 1
    assert (
        taken.machine.state.digest() == engine.machine.state.digest() == folded(FRAMES[:700]).state.digest()
    )
    told = gate_of(FRAMES[:700])
    assert np.array_equal(taken.gate.last_seq, told.last_seq) and np.array_equal(taken.gate.crcs, told.crcs)
    after = open_epoch(Settings(data_dir=tmp_path, engine={"segment_bytes": 1 << 16}), *taken)
    assert after.epoch == 2 and engine.head.get("pid") == os.getpid() and engine.head.get("epoch") == 2
    after.close()
    assert [s.epoch for s in list_segments(engine.directory)][-1] == 2


def test_a_torn_group_is_cut(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.write(300)
    segment = list_segments(engine.directory)[-1]
    engine.writer.frames[:20] = FRAMES[300:320]
    position = engine.writer.position
    engine.writer.commit(20, 1, engine.machine.witness)
    raw = bytearray(segment.path.read_bytes())
    end = (engine.writer.position - segment.first_position) * FRAME_BYTES
    raw[end - FRAME_BYTES : end] = bytes(FRAME_BYTES)  # its last frame never came
    segment.path.write_bytes(raw)
    engine.writer.close()
    engine.die()
    standby, _ = standby_of(tmp_path)
    taken = standby.run()
    assert taken is not None and taken.tail.cursor.position == position
    assert taken.tail.torn_bytes == 20 * FRAME_BYTES
    assert taken.machine.state.digest() == folded(FRAMES[:300]).state.digest()
    taken.lock.release()
    assert len(read_all(engine.directory)[0]) == 300


def test_what_was_called_durable_and_is_not_there_is_damage_and_left_alone(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.write(300)
    engine.writer.close()
    standby, _ = standby_of(tmp_path)
    standby.catch_up()
    engine.head.row["durable"] += 10
    engine.die()
    before = contents(engine.directory)
    with pytest.raises(JournalDamaged, match="durable"):
        standby.run()
    assert contents(engine.directory) == before
    JournalLock(engine.directory).release()


def test_while_another_holds_the_journal_it_goes_on_following(tmp_path: Path) -> None:
    """Of several standbys one gets the lock; when that has become the engine, the others follow it."""
    engine = Engine(tmp_path)
    engine.write(200)
    standby, stop = standby_of(tmp_path)
    lock = JournalLock(engine.directory)
    engine.die()
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(standby.run()))
    thread.start()
    time.sleep(0.05)
    engine.write(200)
    engine.live()
    # Who has folded what comes now has looked at the engine since it lives.
    engine.write(200)
    deadline = time.monotonic() + 10
    while standby.machine.state.number("ordinal") < 600 and time.monotonic() < deadline:
        time.sleep(0.01)
    lock.release()
    time.sleep(0.05)
    stop.set()
    thread.join(10)
    standby.close()
    assert results == [None]
    assert standby.machine.state.digest() == folded(FRAMES[:600]).state.digest()


def test_it_writes_snapshots_as_the_journal_grows_and_keeps_two(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.write(500)
    standby, stop = standby_of(tmp_path, snapshot_bytes=500 * FRAME_BYTES)
    thread = threading.Thread(target=standby.run)
    thread.start()
    for count in (500, 1000, 1500, 2000, 2500):
        deadline = time.monotonic() + 10
        at = engine.writer.position
        while not any(int(p.stem) == at for p in list_snapshots(engine.directory)):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        if count < 2500:
            engine.write(500)
    while len(list_snapshots(engine.directory)) > 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    stop.set()
    thread.join(10)
    standby.close()
    older, newer = list_snapshots(engine.directory)
    loaded = load_snapshot(newer)
    assert loaded.state.digest() == folded(FRAMES[:2500]).state.digest()
    assert loaded.cursor.position == engine.writer.position
    kept = list_segments(engine.directory)[0].first_position
    assert 0 < kept < int(older.stem), "what lies before two verified snapshots is unlinked"


def test_room_is_made_before_a_takeover_and_again_as_the_books_grow_or_are_others(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.write(300)
    calls: list[tuple[int, bool]] = []

    def make(machine: Machine) -> None:
        alive = engine.head.get("pid_started") != 1
        make_room(machine, 2000)
        calls.append((machine.state.number("ordinal"), alive))

    settings = Settings(data_dir=tmp_path, engine={"reserve_accounts": 2000}, standby={"holders": []})
    standby = Standby(settings, threading.Event(), make)
    standby.catch_up()
    assert calls == [(300, True)] and len(standby.machine.books.accounts) >= 2000
    standby._keep_room()
    assert len(calls) == 1, "there is room enough"
    standby.machine.state = folded(FRAMES[:300]).state  # as after a jump to a snapshot
    taken: list[Taken | None] = []
    thread = threading.Thread(target=lambda: taken.append(standby.run()))
    thread.start()
    deadline = time.monotonic() + 10
    while len(calls) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    books = standby.machine.books
    engine.writer.close()
    engine.die()
    thread.join(10)
    assert not thread.is_alive() and [alive for _, alive in calls] == [True, True]
    assert standby.machine.books is books and len(books.accounts) >= 2000, (
        "none is made after the engine's death"
    )
    assert taken[0] is not None
    taken[0].lock.release()


def test_snapshots_that_a_holder_can_use_stay_and_so_does_the_journal_behind_them(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    settings = Settings(data_dir=tmp_path, standby={"snapshot_bytes": 4096}).standby
    snapshots = Snapshots(engine.directory, settings, 0)
    standby, _ = standby_of(tmp_path)
    places = []
    for _ in range(6):
        engine.write(500)
        standby.catch_up()
        places.append(standby._follower.position)
        if len(places) == 3:
            hold(engine.directory, "relayer", places[2] - 1)
        assert snapshots.write(standby.machine, standby.gate, standby._follower.cursor, 1, lambda: False)
    standby.close()
    assert [int(p.stem) for p in list_snapshots(engine.directory)] == [places[k] for k in (0, 1, 4, 5)]
    assert list_segments(engine.directory)[0].first_position == 0, "it may start from the first of them"
    hold(engine.directory, "relayer", places[-1])
    assert snapshots.write(standby.machine, standby.gate, standby._follower.cursor, 1, lambda: False)
    assert [int(p.stem) for p in list_snapshots(engine.directory)] == places[4:]
    kept = [segment.first_position for segment in list_segments(engine.directory)]
    assert 0 < kept[0] < places[4] and all(first >= places[4] for first in kept[1:])


def test_nothing_is_unlinked_without_the_relayers_word(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    settings = Settings(data_dir=tmp_path, standby={"snapshot_bytes": 4096}).standby
    snapshots = Snapshots(engine.directory, settings, 0)

    def write_one(count: int) -> int:
        engine.write(count)
        standby, _ = standby_of(tmp_path)
        standby.catch_up()
        assert snapshots.due(standby._follower.position, 1)
        assert snapshots.write(standby.machine, standby.gate, standby._follower.cursor, 1, lambda: False)
        standby.close()
        return list_segments(engine.directory)[0].first_position

    assert [write_one(900) for _ in range(3)] == [0, 0, 0]
    hold(engine.directory, "relayer", 0)
    assert write_one(200) == 0
    hold(engine.directory, "relayer", 10**9)
    (engine.directory / HOLD_DIR / "relayer.hold").write_text("half a wo")
    assert write_one(200) == 0, "a word that cannot be read stops the unlinking, not the standby"
    hold(engine.directory, "relayer", 10**9)
    assert write_one(200) > 0


def test_due_by_bytes_or_by_time_if_anything_came(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, standby={"snapshot_bytes": 6400, "snapshot_s": 60}).standby
    snapshots = Snapshots(tmp_path, settings, 0)
    assert not snapshots.due(99, 0) and snapshots.due(100, 0)
    assert not snapshots.due(0, 10**12) and not snapshots.due(1, 59 * 10**9) and snapshots.due(1, 60 * 10**9)


RIVAL = """
import sys, threading
from pathlib import Path
from engine.common.logs import configure
from engine.common.settings import load
from engine.standby.process import Standby
settings = load()
configure(settings.logs, process="standby")
standby = Standby(settings, threading.Event())
standby.catch_up()
print("ready", flush=True)
sys.stdin.readline()
taken = standby._take_over()
print("none" if taken is None else taken.tail.cursor.position, flush=True)
sys.stdin.readline()
"""


def test_of_two_standbys_exactly_one_wins(tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engine.write(300)
    engine.writer.close()
    engine.die()
    env = os.environ | Settings(data_dir=tmp_path).to_env()
    root = Path(__file__).resolve().parents[3]
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL], cwd=root, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        for rival in rivals:
            assert rival.stdout is not None and rival.stdout.readline() == "ready\n"
        for rival in rivals:
            assert rival.stdin is not None
            rival.stdin.write("go\n")
            rival.stdin.flush()
        said = sorted(rival.stdout.readline().strip() for rival in rivals)  # type: ignore[union-attr]
        assert said == [str(engine.writer.position), "none"]
    finally:
        for rival in rivals:
            rival.kill()
            rival.communicate()
