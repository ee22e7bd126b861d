"""Frames → state, results, legs, witness. The one fold that engine and followers share.

`Machine.apply` runs compiled code over frames as they lie in a buffer and drops to Python only for the
rare ones that change parameters or rules.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core import params
from engine.core.accounts import apply_account, apply_setting, apply_transfer
from engine.core.booking import apply_fill
from engine.core.candidates import apply_candidate
from engine.core.corrections import apply_correction, apply_outcome
from engine.core.fast_fills import book_run
from engine.core.fast_ticks import tick_run
from engine.core.funding import apply_tick, closes_batch, tick_refusal
from engine.core.outputs import refuse
from engine.core.prices import apply_observation
from engine.core.state import Books, State
from engine.core.views import Scratch, Views, new_scratch, views_of
from kernels import frames as f
from kernels.crc32c import crc_row, crc_word
from kernels.jit import kernel, passage
from kernels.parcel import Arrays, Parcel, spread, unpacker
from kernels.types import Record, Words, wide

_T = f.Template
_FILL, _ACCOUNT, _TRANSFER = int(_T.FILL), int(_T.ACCOUNT), int(_T.TRANSFER)
_SETTING, _OBSERVATION, _TICK = int(_T.SETTING), int(_T.OBSERVATION), int(_T.TICK)
_PARAM, _UPGRADE, _GROUP = int(_T.PARAM), int(_T.UPGRADE), int(_T.GROUP)
_OUTCOME, _CORRECTION, _CANDIDATE = int(_T.OUTCOME), int(_T.CORRECTION), int(_T.CANDIDATE)
_NOT_IN_FORCE = int(f.Refusal.NOT_IN_FORCE)
_SEQUENCE = int(f.Refusal.SEQUENCE)

DONE, NEEDS_PYTHON, NEEDS_PARAMS = 0, 1, 2
_BOOKS, _VIEWS, _SCRATCH = 0, 1, 2


@passage
def apply_one(
    books: Books, views: Views, scratch: Scratch, i: int, template: int, n_legs: int
) -> tuple[int, int, int]:
    """Apply frame `i`. Returns (refusal, legs made, account for the refusal's output)."""
    if template == _FILL:
        why = apply_fill(books, views.fill[i], scratch, n_legs)
        return why, (2 if why == 0 else 0), wide(views.fill[i]["taker"])
    if template == _TICK:
        return apply_tick(books, views.tick[i]), 0, -1
    if template == _OBSERVATION:
        return apply_observation(books, views.observation[i]), 0, -1
    if template == _TRANSFER:
        why, made = apply_transfer(books, views.transfer[i], scratch, n_legs)
        return why, made, wide(views.transfer[i]["account"])
    if template == _ACCOUNT:
        return apply_account(books, views.account[i]), 0, -1
    if template == _SETTING:
        why, made = apply_setting(books, views.setting[i], scratch, n_legs)
        return why, made, wide(views.setting[i]["account"])
    if template == _CANDIDATE:
        why, made = apply_candidate(books, views.candidate[i], scratch, n_legs)
        return why, made, wide(views.candidate[i]["account"])
    if template == _OUTCOME:
        return apply_outcome(books, views.outcome[i]), 0, -1
    if template == _CORRECTION:
        return apply_correction(books, views.correction[i]), 0, -1
    return _NOT_IN_FORCE, 0, -1


@kernel
def brings_params(books: Books, head: Record, tick: Record) -> int:
    """1 if this tick will be taken and is the first at or past the pending change's time."""
    if tick["now_ns"] < books.meta[0]["pending_not_before_ns"]:
        return 0
    if head["seq"] != books.sources[wide(head["source"])]["last_seq"] + 1:
        return 0
    return 1 if tick_refusal(books, tick) == 0 else 0


@kernel
def begin_frame(books: Books, head: Record) -> int:
    """Count the frame and take its sequence number. 0 if that is not its source's next."""
    books.meta[0]["ordinal"] += 1
    source = books.sources[wide(head["source"])]
    if head["seq"] != source["last_seq"] + 1:
        return 0
    source["last_seq"] += 1
    return 1


@kernel
def finish_frame(books: Books, scratch: Scratch, row: int, refusal: int, n_legs: int, made: int) -> None:
    """Record the result of a frame and roll the witness over it and the CRC of each of its legs.

    A leg's CRC starts afresh, so that the CPU works on both legs at once.
    """
    scratch.results[row]["refusal"] = refusal
    scratch.results[row]["legs"] = made
    witness = crc_word(books.witness[0], refusal)
    for k in range(n_legs, n_legs + made):
        witness = crc_word(witness, crc_row(scratch.leg_words, k, 8, 0))
    books.witness[0] = witness


@functools.cache
def _like() -> tuple[Arrays, ...]:
    return State().books, views_of(np.zeros(1, f.FRAME)), new_scratch(1)


unpack = unpacker(_like)


def new_parcel() -> Parcel:
    """For `apply_frames`: books, views and scratch, in this order."""
    return Parcel(*_like())


@kernel
def apply_frames(parcel: Words, start: int, stop: int, origin: int, n_legs: int) -> tuple[int, int, int]:
    """Apply frames start..stop-1; results land at row i - origin. Returns (next, legs so far, why stopped).

    parcel: words of a `new_parcel`.
    """
    books, views, scratch = unpack(parcel)
    near_books, near_views, near_scratch = spread(books), spread(views), spread(scratch)
    meta = near_books.meta[0]
    i = start
    while i < stop:
        i, n_legs = book_run(near_books, near_views, near_scratch, i, stop, origin, n_legs)
        if i == stop:
            break
        head = views.frame[i]
        template = wide(head["template"])
        if template == _PARAM or template == _UPGRADE:
            return i, n_legs, NEEDS_PYTHON
        if template == _TICK and meta["pending"] == 1 and brings_params(books, head, views.tick[i]) == 1:
            return i, n_legs, NEEDS_PARAMS
        if template == _TICK and i + 1 < stop and wide(views.frame[i + 1]["template"]) == _TICK:
            behind = tick_run(books, views, scratch, i, stop, i - origin)
            if behind > i:
                i = behind
                continue
        refusal, made, account = _SEQUENCE, 0, -1
        boundary = closes_batch(books, views.tick[i]["now_ns"]) if template == _TICK else 0
        if begin_frame(books, head) == 1:
            refusal, made, account = apply_one(books, views, scratch, i, template, n_legs)
        if refusal != 0:
            refuse(books, head, account, refusal, 0)
            boundary = 0
        finish_frame(books, scratch, i - origin, refusal, n_legs, made)
        scratch.results[i - origin]["boundary"] = boundary
        n_legs += made
        i += 1
    return stop, n_legs, DONE


class Applied(NamedTuple):
    """What one call of `Machine.apply` did. Views into scratch, valid until the next call.

    results: RESULT[n], one per frame; legs: LEG[m], in order, results["legs"] of them per frame.
    """

    results: NDArray[np.void]
    legs: NDArray[np.void]


class Machine:
    """A state and the fold over it. Frames must not hold group headers. Total: refuses, never raises."""

    def __init__(self, state: State | None = None, capacity: int = 65_536) -> None:
        self.state = state or State()
        self.capacity = capacity
        self._scratch = new_scratch(capacity)
        self._parcel = new_parcel()
        self._parcel.put(_SCRATCH, self._scratch)

    @property
    def books(self) -> Books:
        """The arrays as they are now."""
        return self.state.books

    @property
    def witness(self) -> int:
        """CRC-32C over the results of every frame applied so far."""
        return int(self.state.books.witness[0])

    def apply(self, views: Views, start: int, stop: int) -> Applied:
        """Apply frames start..stop-1 of `views`; at most `capacity` of them."""
        if stop - start > self.capacity:
            raise ValueError(f"{stop - start} frames in one call, at most {self.capacity}")
        self.state.reserve(stop - start)
        self._scratch.ahead[0] = start
        parcel = self._parcel
        parcel.put(_VIEWS, views, in_turns=True)
        at, n_legs = start, 0
        while at < stop:
            parcel.put(_BOOKS, self.state.books)
            at, n_legs, why = apply_frames(parcel.words, at, stop, start, n_legs)
            if why == NEEDS_PARAMS:
                params.put_in_force(self.state)
            elif why == NEEDS_PYTHON:
                self._apply_rare(views, at, start, n_legs)
                at += 1
        return Applied(self._scratch.results[: stop - start], self._scratch.legs[:n_legs])

    def _apply_rare(self, views: Views, at: int, origin: int, n_legs: int) -> None:
        books, head = self.books, views.frame[at]
        refusal, detail = _SEQUENCE, 0
        if begin_frame(books, head):
            refusal, detail = params.apply_rare(self.state, views.frame[at : at + 1])
        if refusal:
            refuse(books, head, -1, refusal, detail)
        finish_frame(books, self._scratch, at - origin, refusal, n_legs, 0)
        self._scratch.results[at - origin]["boundary"] = 0
