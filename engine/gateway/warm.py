"""Compile, or load from the cache, every kernel that the engine's way of a frame uses, before it serves."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.accounts import apply_setting, apply_transfer
from engine.core.apply import Machine
from engine.core.booking import apply_fill
from engine.core.candidates import apply_candidate
from engine.core.corrections import apply_correction
from engine.core.fast_fills import book_run
from engine.core.fast_ticks import tick_run
from engine.core.funding import apply_tick
from engine.core.params import exchange_rows, market_rows, stage
from engine.core.state import State
from engine.core.views import new_scratch, views_of
from engine.gateway.session import Session
from engine.journal.reader import Cursor, JournalReader
from engine.journal.recovery import judge_tail
from engine.journal.snapshot import load_snapshot, write_snapshot
from engine.journal.writer import JournalWriter
from kernels import frames as f
from kernels import groups, slots
from kernels.admission import new_gate, remember
from kernels.crc32c import chain_frames, first_bad_frame, seal_frames, words_of
from kernels.frames import FRAME, Source, Template
from kernels.parcel import handle_of


class _NoBooks:
    """Enough of an engine for a session that nobody talks to."""

    epoch = 1

    def durable_seq(self, source: int) -> int:
        return 0

    def ordinal(self) -> int:
        return 0

    def now_ns(self) -> int:
        return 0

    def first_output(self, after: int) -> int:
        return 1

    def digest(self) -> bytes:
        return bytes(32)

    def outputs(self) -> int:
        return 0

    def keeps(self, source: int) -> bool:
        return False

    def attach(self, source: int, session: Session) -> bool:
        return True


def sample_frames() -> NDArray[np.void]:
    """One frame of every template that compiled code applies, and the parameters that make them count."""
    params = stage(
        exchange_rows() + market_rows(0, "WARM", price_exp=6, lot_exp=3),
        change=1,
        not_before_ns=0,
        first_seq=1,
    )
    kinds = [Template.ACCOUNT, Template.TRANSFER, Template.SETTING, Template.OBSERVATION, Template.FILL]
    kinds += [Template.TICK, Template.OUTCOME, Template.CORRECTION, Template.CANDIDATE]
    parts = [params.view(FRAME)]
    for seq, template in enumerate(kinds, 1):
        parts.append(f.new_frames(template, 1, source=Source.MATCHING, first_seq=seq).view(FRAME))
    frames = np.concatenate(parts)
    seal_frames(words_of(frames), 0, len(frames))
    return frames


def parts_of_fold() -> list[tuple[Callable[..., Any], tuple[Any, ...]]]:
    """The large steps of `apply_frames` and types of their arguments, longest to compile first.

    They are the very types that `apply_frames` hands on: compiled before it, it finds them (tests/engine/app/
    test_warm.py).
    """
    arrays = State().books, views_of(np.zeros(1, FRAME)), new_scratch(1)
    books, views, scratch = map(handle_of, arrays)
    one = np.int64(0)

    def frame(template: Template) -> Any:
        return np.zeros(1, f.DTYPES[template])[0]

    return [
        (apply_candidate, (books, frame(Template.CANDIDATE), scratch, one)),
        (apply_fill, (books, frame(Template.FILL), scratch, one)),
        (apply_tick, (books, frame(Template.TICK))),
        (tick_run, (books, views, scratch, one, one, one)),
        (book_run, (*arrays, one, one, one, one)),
        (apply_setting, (books, frame(Template.SETTING), scratch, one)),
        (apply_transfer, (books, frame(Template.TRANSFER), scratch, one)),
        (apply_correction, (books, frame(Template.CORRECTION))),
    ]


def compile_all() -> None:
    """Run every kernel once on throw-away data. From a warm cache this takes under a second."""
    frames = sample_frames()
    words = words_of(frames)
    first_bad_frame(words, 0, len(frames))
    chain_frames(words, 0, len(frames), 0)
    gate = new_gate()
    remember(gate, words, frames, 0, 0)
    session = Session(_NoBooks(), gate, capacity=64)
    session.attached[:] = 1
    session.room()[: frames.nbytes] = frames.view(np.uint8).data
    session.received(frames.nbytes)
    group = np.zeros(64, FRAME)
    session.take(group, 0, [])
    machine = Machine(capacity=64)
    machine.apply(views_of(frames), 0, len(frames))
    # Books that grow are indexed anew, in the middle of a group.
    books, number = machine.books, machine.state.number
    slots.index_accounts(books.account_table, books.keys, number("accounts"))
    slots.index_positions(books.position_table, books.positions, number("positions"))
    slots.index_cross(np.zeros_like(books.cross_first), np.zeros_like(books.cross_next), books.positions, 0)
    with tempfile.TemporaryDirectory(prefix="godark-warm-") as scratch:
        _warm_journal(Path(scratch), frames)


def _warm_journal(directory: Path, frames: NDArray[np.void]) -> None:
    tail = judge_tail(directory, Cursor())
    writer = JournalWriter(directory, tail, segment_bytes=1 << 16, group_frames_max=64, time_ns=1, witness=0)
    writer.frames[: len(frames)] = frames
    writer.commit(len(frames), 1, 0)
    writer.close()
    reader = JournalReader(directory, capacity=64)
    reader.read()
    reader.close()
    load_snapshot(write_snapshot(directory, Machine(capacity=1), new_gate(), reader.cursor))
    judge_tail(directory, reader.cursor)
    blank = np.zeros((1, 8), np.int64)
    groups.later_durable(blank, 0, 1, 0)
    groups.last_used(blank, 0, 1)
