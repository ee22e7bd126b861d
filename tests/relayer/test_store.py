"""The relayer's record: contradictions are refused, transactions are whole, a killed process loses none."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from engine.common.errors import LogSplit, StoreError, StoreFull
from relayer.core.graph import Node
from relayer.core.lifecycle import State
from relayer.store import Intent, Signature, Signed, Store, StoreLock

NODE = Node(1, 0)
SIGNED = Signature("sig", NODE, b"wire", 150)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "deep" / "store.sqlite")


def test_an_intent_is_recorded_once_with_its_payload(store: Store) -> None:
    with store.transaction():
        assert store.plan(NODE, b"memo") == Intent(NODE, b"memo", State.PLANNED, 0)
    with store.transaction():
        store.set_states([(NODE, State.FINALIZED, 77)])
    with store.transaction():
        assert store.plan(NODE, b"memo") == Intent(NODE, b"memo", State.FINALIZED, 77)
    with pytest.raises(StoreError, match="batch 1, chunk 0"), store.transaction():
        store.plan(NODE, b"another")
    with store.transaction():
        assert store.plan(NODE, b"memo").payload == b"memo"


def test_signatures_come_back_in_the_order_of_their_validity(store: Store) -> None:
    rows = [Signature(f"s{h}", NODE, bytes([h]), h) for h in (9, 3, 5)]
    with store.transaction():
        store.plan(NODE, b"")
        store.plan(Node(2), b"")
        store.add_signatures([*rows, Signature("t", Node(2), b"", 1)])
    assert store.signatures(NODE) == sorted(rows, key=lambda s: s.last_valid_height)
    assert store.total_signatures() == 4
    assert store.counts() == {State.PLANNED: 2}


def test_a_signature_of_no_intent_or_made_twice_is_refused(store: Store) -> None:
    with pytest.raises(StoreError), store.transaction():
        store.add_signatures([SIGNED])
    with store.transaction():
        store.plan(NODE, b"")
        store.add_signatures([SIGNED])
    with pytest.raises(StoreError), store.transaction():
        store.add_signatures([SIGNED._replace(wire=b"other")])
    assert store.signatures(NODE) == [SIGNED]


@pytest.mark.parametrize("error", [KeyError("a bug"), KeyboardInterrupt(), StoreError("no")])
def test_a_transaction_is_all_or_nothing(store: Store, error: BaseException) -> None:
    with store.transaction():
        store.plan(NODE, b"memo")
    with pytest.raises(type(error)), store.transaction():
        store.plan(Node(2), b"two")
        store.set_states([(NODE, State.SIGNED, 5)])
        store.add_signatures([SIGNED])
        store.add_outcomes([(1, b"frame")])
        raise error
    assert store.counts() == {State.PLANNED: 1}
    assert (store.signatures(NODE), store.last_outcome()) == ([], 0)
    with store.transaction():
        store.add_outcomes([(1, b"frame")])
    assert store.last_outcome() == 1


def test_a_repeated_outcome_number_undoes_the_whole_transaction(store: Store) -> None:
    with store.transaction():
        store.plan(NODE, b"memo")
        store.add_outcomes([(1, b"one"), (2, b"two")])
    with pytest.raises(StoreError), store.transaction():
        store.set_states([(NODE, State.FINALIZED, 9)])
        store.add_outcomes([(3, b"three"), (2, b"again")])
    assert store.counts() == {State.PLANNED: 1}
    assert store.outcomes_after(0) == [b"one", b"two"]
    assert store.outcomes_after(1) == [b"two"]
    assert list(store.outcomes_backwards()) == [b"two", b"one"]


def test_it_syncs_every_commit(store: Store) -> None:
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._db.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_a_file_that_is_no_record_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(StoreError, match=r"store\.sqlite"):
        Store(path)


def test_a_record_that_another_process_writes_is_not_written_beside_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store._db.execute("PRAGMA busy_timeout=1")
    other = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"), store.transaction():
        store.plan(NODE, b"memo")
    other.execute("ROLLBACK")
    other.close()


def test_a_second_relayer_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    first = StoreLock(tmp_path / "relayer")
    with pytest.raises(StoreError, match="another relayer holds this record"):
        StoreLock(tmp_path / "relayer")
    first.release()
    StoreLock(tmp_path / "relayer").release()


WRITER = """
import sys
from pathlib import Path
from relayer.core.graph import Node
from relayer.core.lifecycle import State
from relayer.store import Signature, Store

store = Store(Path(sys.argv[1]))
for n in range(1, 1_000_000):
    with store.transaction():
        store.plan(Node(n), b"memo %d" % n)
        store.add_signatures([Signature(f"s{n}", Node(n), b"wire", n)])
        store.set_states([(Node(n), State.SIGNED, n)])
        store.add_outcomes([(n, b"%d" % n)])
    sys.stdout.write(f"{n}\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize("after", [1, 7, 20])
def test_a_killed_process_loses_nothing_it_had_told(tmp_path: Path, after: int) -> None:
    path = tmp_path / "store.sqlite"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(after)][-1]
        writer.send_signal(signal.SIGKILL)
        told = max([told, *map(int, writer.stdout.read().split())])
        assert writer.wait(10) == -signal.SIGKILL
    finally:
        writer.kill()
        writer.wait(10)
    store = Store(path)
    last = store.last_outcome()
    assert told <= last <= told + 1
    assert store.counts() == {State.SIGNED: last}
    assert store.total_signatures() == last
    for n in range(1, last + 1):
        with store.transaction():
            assert store.plan(Node(n), b"memo %d" % n).slot == n
        assert [s.signature for s in store.signatures(Node(n))] == [f"s{n}"]
    store.close()


def test_no_room_is_told_from_other_errors_and_records_nothing(store: Store) -> None:
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreFull, match="full"), store.transaction():
        for chunk in range(200):
            store.plan(Node(1, chunk), bytes(1000))
    assert store.counts() == {}


CHECKPOINTS = [Signed(k, k // 3, 10 * k, bytes([k] * 32), b"note %d" % k) for k in range(1, 6)]


def test_checkpoints_are_recorded_once_and_bind(store: Store) -> None:
    for rows in (CHECKPOINTS[:3], CHECKPOINTS):
        with store.transaction():
            store.add_checkpoints(rows)
    assert list(store.checkpoints()) == CHECKPOINTS
    assert list(store.checkpoints(1)) == CHECKPOINTS[2:]
    known = CHECKPOINTS[1]
    for change in ({"shard": 1}, {"size": 21}, {"root": bytes(32)}):
        with pytest.raises(LogSplit, match="batch 2: the journal now gives another log"), store.transaction():
            store.add_checkpoints([CHECKPOINTS[0]._replace(batch=9), known._replace(**change)])
    with store.transaction():
        store.add_checkpoints([known._replace(note=b"signed again")])
    assert list(store.checkpoints()) == CHECKPOINTS
