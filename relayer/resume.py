"""Where the relayer goes on after a start: behind its last batch that is wholly final, not at the first frame.

What a fold must know there is small: the batch's number and last ordinal, the size of the log, and of every position
the batch that touched it last. It is recorded in the store as batches become final; the books come from a snapshot,
the log from what was published. When it is durable the journal is told that nothing before that place is needed any
more.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import JournalDamaged, JournalFull, JournalGone, StoreError
from engine.common.logs import get_logger
from engine.follower import Follower
from engine.journal.head import HeadPage
from engine.journal.reader import Cursor, JournalReader
from engine.journal.retention import hold
from relayer.core.batch import Batcher
from relayer.retention import prune
from relayer.store import ResumePoint, Store

HOLDER = "relayer"
PAUSE_NS = 1_000_000_000
"""Between two records of the resume point: each costs three syncs, and a start folds that much more at most."""


class Begun(NamedTuple):
    """What a fold begins with. Frames up to ordinal `last` are in batches already."""

    follower: Follower
    batcher: Batcher
    last: int


def begin(directory: Path, store: Store | None, *, live: bool, log_size: int = 0) -> Begun:
    """A follower of the journal in `directory` with what the batches before its first new one left behind.

    store: None for a fold of everything; log_size: of the log that will be appended to. JournalGone: no usable
    snapshot leads to where the record goes on.
    StoreError: this is not the journal that the record was made from, or the log is not.
    """
    point = store.resume_point() if store is not None else None
    if store is None or point is None:
        return Begun(Follower(directory, live=live, snapshot_upto=0), Batcher(), 0)
    _check_same_journal(directory, point.cursor, live=live)
    if log_size != point.log_size:
        raise StoreError(
            f"the log has {log_size} leaves, the relayer's record goes on behind {point.log_size}"
        )
    return Begun(
        Follower(directory, live=live, snapshot_upto=point.cursor.position),
        Batcher(point.batch, point.last, store.touched()),
        point.last,
    )


def _check_same_journal(directory: Path, cursor: Cursor, *, live: bool) -> None:
    """StoreError unless a group stands at `cursor` whose CRC chain goes on as it did for the record."""
    upto = HeadPage(directory / "head").get("durable") if live else None
    reader = JournalReader(directory, cursor=cursor)
    try:
        if (upto is None or upto > cursor.position) and len(reader.read(upto).frames):
            return
        why = "it ends before"
    except (JournalDamaged, JournalGone) as error:
        why = error.line()
    finally:
        reader.close()
    raise StoreError(
        f"{directory}: not the journal that the relayer's record was made from, at position {cursor.position}:"
        f" {why}; restore both from the same copy",
        position=cursor.position,
    )


class ResumePoints:
    """Follows the batches that were planned, and records how far a start need not go back.

    Bounded by the planned batches that are not final, and those of one pause.
    """

    def __init__(self, store: Store, directory: Path) -> None:
        self._store, self._directory = store, directory
        self._waiting: deque[tuple[ResumePoint, NDArray[np.void]]] = deque()
        self._next_ns = 0
        self._held: int | None = None
        point = store.resume_point()
        self._durable, self._batch = (point.cursor.position, point.batch) if point else (0, 0)
        self._hold()

    def expect(self, point: ResumePoint, deltas: NDArray[np.void]) -> None:
        """A batch was planned: a fold could go on at `point` when it is settled. deltas: DELTA[n] of it."""
        self._waiting.append((point, deltas))

    def advance(self, settled: int, now_ns: int, acked: int = 0) -> None:
        """Record the last of the batches up to `settled`, at most once in a pause; then let go of what lies before:
        of the journal, and behind the point before that of the record. acked: last outcome that the engine has.

        Only a full disk is told and tried again: until then more of the journal stays than must.
        """
        due = bool(self._waiting) and self._waiting[0][0].batch <= settled
        if now_ns < self._next_ns or not (due or self._held != self._durable):
            return
        self._next_ns = now_ns + PAUSE_NS
        if due:
            self._record(settled, acked)
        self._hold()

    def _record(self, settled: int, acked: int) -> None:
        touched: dict[tuple[int, int], int] = {}
        while self._waiting and self._waiting[0][0].batch <= settled:
            point, deltas = self._waiting.popleft()
            touched.update(
                dict.fromkeys(
                    zip(deltas["account"].tolist(), deltas["market"].tolist(), strict=True), point.batch
                )
            )
        with self._store.transaction():
            prune(self._store, self._batch, acked)
            self._store.move_resume_point(point, ((*key, batch) for key, batch in touched.items()))
        self._durable, self._batch = point.cursor.position, point.batch

    def _hold(self) -> None:
        try:
            hold(self._directory, HOLDER, self._durable)
            self._held = self._durable
        except JournalFull as error:
            get_logger().warning("hold_not_written", reason=error.line())
