"""What the relayer must not forget: intents, every signature ever made for them, outcomes. SQLite, FULL sync.

An intent is recorded before it is signed, its signature and bytes before they are sent, an outcome before it
is told. After a crash the journal gives the same batches again; the store says how far each one came.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from engine.common.errors import LogSplit, StoreError, StoreFull
from engine.journal.reader import Cursor
from relayer.core.graph import COMMIT, Node
from relayer.core.lifecycle import State

_SCHEMA = """
CREATE TABLE IF NOT EXISTS intent (
    batch INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    payload BLOB NOT NULL,
    state TEXT NOT NULL,
    slot INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (batch, chunk)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS signature (
    signature TEXT PRIMARY KEY,
    batch INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    wire BLOB NOT NULL,
    last_valid_height INTEGER NOT NULL,
    FOREIGN KEY (batch, chunk) REFERENCES intent (batch, chunk)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS signature_of ON signature (batch, chunk);
CREATE TABLE IF NOT EXISTS outcome (
    seq INTEGER PRIMARY KEY,
    frame BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS resume (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    batch INTEGER NOT NULL,
    last INTEGER NOT NULL,
    position INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    chain INTEGER NOT NULL,
    log_size INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS checkpoint (
    batch INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    note BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS checkpoint_of ON checkpoint (shard, batch);
CREATE TABLE IF NOT EXISTS committed (
    batch INTEGER NOT NULL,
    signature TEXT NOT NULL,
    slot INTEGER NOT NULL,
    PRIMARY KEY (batch, signature)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS touched (
    account INTEGER NOT NULL,
    market INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    PRIMARY KEY (account, market)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pruned (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    batch INTEGER NOT NULL,
    intents INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    signatures INTEGER NOT NULL,
    outcome INTEGER NOT NULL
) STRICT;
"""


_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}


def _failed(what: str, error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", None)
    return (StoreFull if code in _NO_ROOM else StoreError)(f"{what}: {error}")


class Intent(NamedTuple):
    """One row of the record."""

    node: Node
    payload: bytes
    state: State
    slot: int


class Signature(NamedTuple):
    """One signature made for an intent."""

    signature: str
    node: Node
    wire: bytes
    last_valid_height: int


class ResumePoint(NamedTuple):
    """Where a fold of the journal goes on: behind a batch of which everything is final, as is all before it.

    batch, last: its number and its last ordinal. cursor: a place between two groups, at or before frame `last + 1`.
    log_size: of the log after it, over all shards (`relayer.core.shards`).
    """

    batch: int
    last: int
    cursor: Cursor
    log_size: int


class Signed(NamedTuple):
    """The checkpoint signed behind a batch. size: leaves in the shard; note: as it was or will be published."""

    batch: int
    shard: int
    size: int
    root: bytes
    note: bytes


class Pruned(NamedTuple):
    """What is left of that which the record no longer holds (`relayer.retention`): batches up to this one, all final.

    intents, signatures: how many they had; slot: the highest they landed in. outcome: the last that went.
    """

    batch: int = 0
    intents: int = 0
    slot: int = 0
    signatures: int = 0
    outcome: int = 0


class StoreLock:
    """Holds the record for this process: two relayers on one record would send everything twice.

    StoreError: another one holds it. Freed when the process ends.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise StoreError(f"{directory}: another relayer holds this record; stop it first") from error

    def release(self) -> None:
        """Give the record back."""
        os.close(self._fd)


class Store:
    """The record on disk. Every method but reads belongs inside `transaction()`, which syncs once."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA foreign_keys=ON")
            self._db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise _failed(f"{path}: cannot be opened as the relayer's record", error) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable when it ends. StoreError, StoreFull: nothing of it was recorded."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            # A full disk may have rolled it back already.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise _failed("the relayer's record cannot be written", error) from error
            raise

    def plan(self, node: Node, payload: bytes) -> Intent:
        """Record an intent, or give back what is recorded.

        StoreError: recorded with another payload, or settled so long ago that the record no longer holds it.
        """
        row = self._db.execute(
            "SELECT payload, state, slot FROM intent WHERE batch=? AND chunk=?", node
        ).fetchone()
        if row is None:
            if node.batch <= self.pruned().batch:
                raise StoreError(f"batch {node.batch} was settled before, and is to be planned again")
            self._db.execute("INSERT INTO intent (batch, chunk, payload, state) VALUES (?, ?, ?, ?)",
                             (*node, payload, State.PLANNED))  # fmt: skip
            return Intent(node, payload, State.PLANNED, 0)
        if row[0] != payload:
            raise StoreError(
                f"batch {node.batch}, chunk {node.chunk}: the journal now gives another payload than was recorded",
                batch=node.batch,
                chunk=node.chunk,
            )
        return Intent(node, payload, State(row[1]), row[2])

    def add_signatures(self, rows: Iterable[Signature]) -> None:
        """Record signatures and bytes before they are sent."""
        self._db.executemany(
            "INSERT INTO signature VALUES (?, ?, ?, ?, ?)",
            [(s.signature, s.node.batch, s.node.chunk, s.wire, s.last_valid_height) for s in rows],
        )

    def set_states(self, rows: Iterable[tuple[Node, State, int]]) -> None:
        """Record states and the slots they were seen in."""
        self._db.executemany(
            "UPDATE intent SET state=?, slot=? WHERE batch=? AND chunk=?",
            [(str(state), slot, *node) for node, state, slot in rows],
        )

    def signatures(self, node: Node) -> list[Signature]:
        """Every signature made for an intent, oldest validity first."""
        rows = self._db.execute(
            "SELECT signature, wire, last_valid_height FROM signature WHERE batch=? AND chunk=?"
            " ORDER BY last_valid_height, signature",
            node,
        )
        return [Signature(s, node, wire, height) for s, wire, height in rows]

    def add_outcomes(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """Record outcome frames under their sequence numbers before they are sent."""
        self._db.executemany("INSERT INTO outcome VALUES (?, ?)", rows)

    def outcomes_after(self, seq: int) -> list[bytes]:
        """Outcome frames with a greater sequence number, in order."""
        rows = self._db.execute("SELECT frame FROM outcome WHERE seq>? ORDER BY seq", (seq,))
        return [frame for (frame,) in rows]

    def last_outcome(self) -> int:
        """Highest sequence number of an outcome, 0 if none."""
        held = self._db.execute("SELECT max(seq) FROM outcome").fetchone()[0]
        return int(held) if held is not None else self.pruned().outcome

    def outcomes(self) -> Iterator[tuple[int, bytes]]:
        """(number, frame) of every outcome that is held, the oldest first."""
        return iter(self._db.execute("SELECT seq, frame FROM outcome ORDER BY seq"))

    def outcomes_backwards(self) -> Iterator[bytes]:
        """Outcome frames, the newest first."""
        for (frame,) in self._db.execute("SELECT frame FROM outcome ORDER BY seq DESC"):
            yield frame

    def resume_point(self) -> ResumePoint | None:
        """Where to go on; None: at the journal's first frame."""
        row = self._db.execute("SELECT batch, last, position, epoch, chain, log_size FROM resume").fetchone()
        return ResumePoint(row[0], row[1], Cursor(*row[2:5]), row[5]) if row else None

    def touched(self) -> Iterator[tuple[int, int, int]]:
        """(account, market, batch that touched it last) of every position, as of the resume point."""
        return iter(self._db.execute("SELECT account, market, batch FROM touched"))

    def move_resume_point(self, point: ResumePoint, touched: Iterable[tuple[int, int, int]]) -> None:
        """Go on behind `point` from now on. touched: as in `touched`, of the batches since the one before."""
        self._db.executemany("INSERT OR REPLACE INTO touched VALUES (?, ?, ?)", touched)
        self._db.execute(
            "INSERT OR REPLACE INTO resume VALUES (1, ?, ?, ?, ?, ?, ?)",
            (point.batch, point.last, *point.cursor, point.log_size),
        )

    def add_checkpoints(self, rows: Iterable[Signed]) -> None:
        """Record what was signed, before it is published. Kept for good: it binds us.

        LogSplit: another size or root is recorded as signed behind that batch.
        """
        for row in rows:
            known = self._db.execute(
                "SELECT shard, size, root FROM checkpoint WHERE batch=?", (row.batch,)
            ).fetchone()
            if known is None:
                self._db.execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?)", row)
            elif known != row[1:4]:
                raise LogSplit(
                    f"batch {row.batch}: the journal now gives another log than was signed, at size {row.size} of"
                    f" shard {row.shard}; signed was size {known[1]} of shard {known[0]}",
                    batch=row.batch,
                )

    def checkpoints(self, first_shard: int = 0) -> Iterator[Signed]:
        """What was signed, from a shard on, in the order of batches."""
        rows = self._db.execute(
            "SELECT batch, shard, size, root, note FROM checkpoint WHERE shard>=? ORDER BY batch",
            (first_shard,),
        )
        return (Signed(*row) for row in rows)

    def pruned(self) -> Pruned:
        """What is left of that which went."""
        row = self._db.execute("SELECT batch, intents, slot, signatures, outcome FROM pruned").fetchone()
        return Pruned(*row) if row else Pruned()

    def prune_batches(self, batch: int) -> None:
        """Forget intents and signatures of the batches up to this one, all final; see `relayer.retention`.

        What was signed to commit a batch is kept for good, a row a batch: proofs say where it is on chain.
        """
        before = self.pruned()
        intents, slot = self.final_upto(batch)
        self._db.execute(
            "INSERT INTO committed SELECT batch, signature, slot FROM intent JOIN signature USING (batch, chunk)"
            " WHERE batch<=? AND chunk=?",
            (batch, COMMIT),
        )
        self._db.execute("DELETE FROM signature WHERE batch<=?", (batch,))
        signatures = before.signatures + self._changed()
        self._db.execute("DELETE FROM intent WHERE batch<=?", (batch,))
        self._keep(Pruned(batch, intents, slot, signatures, before.outcome))

    def prune_outcomes(self, seq: int) -> None:
        """Forget outcomes up to this number, which the engine has on its disk."""
        self._db.execute("DELETE FROM outcome WHERE seq<=?", (seq,))
        self._keep(self.pruned()._replace(outcome=seq))

    def _changed(self) -> int:
        """Rows that the last statement changed."""
        return int(self._db.execute("SELECT changes()").fetchone()[0])

    def _keep(self, pruned: Pruned) -> None:
        self._db.execute("INSERT OR REPLACE INTO pruned VALUES (1, ?, ?, ?, ?, ?)", pruned)

    def final_upto(self, batch: int) -> tuple[int, int]:
        """Of the batches up to this one, all final: how many intents they have, and the highest slot of any."""
        count, slot = self._db.execute(
            "SELECT count(*), coalesce(max(slot), 0) FROM intent WHERE batch<=?", (batch,)
        ).fetchone()
        pruned = self.pruned()
        return pruned.intents + int(count), max(pruned.slot, int(slot))

    def counts(self) -> dict[State, int]:
        """How many intents are in each state; those that went were finalized."""
        rows = self._db.execute("SELECT state, count(*) FROM intent GROUP BY state")
        counts = {State(state): n for state, n in rows}
        if gone := self.pruned().intents:
            counts[State.FINALIZED] = counts.get(State.FINALIZED, 0) + gone
        return counts

    def total_signatures(self) -> int:
        """How many transactions were ever signed."""
        held = self._db.execute("SELECT count(*) FROM signature").fetchone()[0]
        return int(held) + self.pruned().signatures

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
