"""The journal recomputed: the plain-integer model beside the compiled fold, frame by frame where it counts.

Every fill, transfer, parameter, outcome and hourly payment goes through the model. Of the per-second samples
the model computes whole hours (the first, the busiest, the last); in the others it takes prices from the
compiled fold, and everything that moves money it still computes itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.core.apply import Machine
from engine.core.views import views_of
from engine.journal.reader import JournalReader, check_witness
from engine.journal.recovery import judge_tail
from kernels.frames import CANDIDATE, DTYPES, FILL, TICK, Source, Template
from kernels.layouts import FEED_SLOTS, OUTBOX_SLOTS
from relayer.verify.batches import PlainBatches
from relayer.verify.differences import (
    DIGEST,
    FUNDING,
    Differences,
    compare_legs,
    compare_states,
    judge_identities,
)
from relayer.verify.model import Model
from relayer.verify.model_need import cross_positions
from relayer.verify.model_prices import HOUR_NS, MarketPrices

FULL_HOURS = 3


@dataclass
class BooksEvidence:
    """What recomputing the journal found. `residual` is 0 and nothing differs if all is well.

    fold_digest: of the compiled books after the replay; a live engine's must equal it.
    """

    ordinal: int = 0
    booked: int = 0
    refused: int = 0
    liquidations: int = 0
    funding_hours: int = 0
    funding_paid_e6: int = 0
    residual: int = 0
    hours_in_full: int = 0
    differences: Differences = field(default_factory=Differences)
    model_digest: bytes = b""
    fold_digest: bytes = b""


def survey(directory: Path, upto: int | None) -> tuple[Counter[int], int, int]:
    """(fills per hour, first tick's hour, last tick's hour) of a journal, from the frames alone."""
    reader = JournalReader(directory)
    fills: Counter[int] = Counter()
    first = last = 0
    hour = 0
    try:
        while len(frames := reader.read(upto).frames):
            ticks = np.flatnonzero(frames["template"] == int(Template.TICK))
            hours = frames[ticks].view(TICK)["now_ns"] // HOUR_NS
            at = np.searchsorted(ticks, np.flatnonzero(frames["template"] == int(Template.FILL)))
            known = np.concatenate(([hour], hours))
            for h, n in zip(*np.unique(known[at], return_counts=True), strict=True):
                fills[int(h)] += int(n)
            if len(hours):
                first = first or int(hours[0])
                hour = last = int(hours[-1])
    finally:
        reader.close()
    return fills, first, last


class Audit:
    """Runs model and fold in lockstep over the journal, and hands every booked fill to `batches`."""

    def __init__(self, directory: Path, batches: PlainBatches, *, upto: int | None = None) -> None:
        self._directory, self._upto = directory, upto
        self._reader = JournalReader(directory)
        self.machine = Machine()
        self.model = Model()
        self._batches = batches
        self._full: set[int] = set()
        self._last_full: int | None = None
        self.evidence = BooksEvidence()

    def run(self) -> BooksEvidence:
        """Recompute everything. JournalDamaged, WitnessMismatch: the journal itself is not what it was."""
        self.recompute()
        return self.conclude()

    def recompute(self) -> None:
        """Take the whole journal through model and fold."""
        fills, first, last = survey(self._directory, self._upto)
        # The last tick of a run stands on its hour: the last hour with samples is the one before.
        ends = last if fills[last] else last - 1
        self._full = {first, ends, max(fills, key=lambda h: (fills[h], -h), default=first)}
        spare = (h for h in range(first, last) if h not in self._full)
        while len(self._full) < FULL_HOURS and (h := next(spare, None)) is not None:
            self._full.add(h)
        try:
            while len((chunk := self._reader.read(self._upto)).frames):
                check_witness(chunk.witness, self.machine.witness, self._reader.cursor.position)
                self._chunk(chunk.frames)
            if self._upto is None:
                judge_tail(self._directory, self._reader.cursor)
        finally:
            self._reader.close()

    def _chunk(self, frames: NDArray[np.void]) -> None:
        """One stretch of frames: quiet ones by the fold alone, the others by both."""
        views = views_of(frames)
        template = frames["template"]
        is_tick = template == int(Template.TICK)
        quiet = is_tick | (template == int(Template.OBSERVATION))
        hours = frames.view(TICK)["now_ns"] // HOUR_NS
        at = 0
        while at < len(frames):
            stop = at if self._in_full() else self._quiet_until(quiet, is_tick, hours, at)
            if stop > at:
                self._skip(views, frames, at, stop)
            if stop < len(frames):
                self._both(views, frames, stop)
            at = stop + 1

    def _hour(self) -> int:
        return self.model.ledger.meta.now_ns // HOUR_NS

    def _in_full(self) -> bool:
        return self.model.ledger.meta.now_ns == 0 or self._hour() in self._full

    def _quiet_until(
        self, quiet: NDArray[np.bool_], is_tick: NDArray[np.bool_], hours: NDArray[np.int64], at: int
    ) -> int:
        """First frame from `at` on that both must look at: not quiet, or a tick that ends the hour. While
        something is being liquidated that is every tick: one may end it."""
        loud = ~quiet[at:] | (is_tick[at:] & (hours[at:] > self._hour()))
        if self.model.ledger.liquidations:
            loud |= is_tick[at:]
        found = int(np.argmax(loud))
        return at + found if loud[found] else len(quiet)

    def _skip(self, views: object, frames: NDArray[np.void], start: int, stop: int) -> None:
        applied = self.machine.apply(views, start, stop)  # type: ignore[arg-type]
        part = frames[start:stop]
        refused = int(np.count_nonzero(applied.results["refusal"]))
        ticks = part["template"] == int(Template.TICK)
        self._batches.saw_ticks(part[ticks].view(TICK)["now_ns"], self._ordinal() + np.flatnonzero(ticks) + 1)
        for source in np.unique(part["source"]):
            self.model.skip(int(source), int(np.count_nonzero(part["source"] == source)))
        meta = self.machine.books.meta[0]
        now, second = int(meta["now_ns"]), int(meta["second_ns"])
        self.model.skip(int(Source.CLOCK), 0, refused=refused, now_ns=now, second_ns=second)
        self._adopt_outputs()

    def _ordinal(self) -> int:
        return self.model.ledger.meta.ordinal

    def _both(self, views: object, frames: NDArray[np.void], at: int) -> None:
        """One frame through model and fold; any difference is remembered by its ordinal."""
        raw = frames[at].tobytes()
        template = int(frames[at]["template"])
        if template == Template.TICK:
            self._before_tick(frames[at : at + 1].view(TICK))
        elif not self._in_full():
            for market in self._markets_behind(frames[at : at + 1]):
                self._adopt(market)
        applied = self.machine.apply(views, at, at + 1)  # type: ignore[arg-type]
        outcome = self.model.apply(raw)
        found, here = self.evidence.differences, f"ordinal {self._ordinal()}"
        if (refusal := int(applied.results[0]["refusal"])) != outcome.refusal:
            found.note(DIGEST, f"{here}: refusal {outcome.refusal}, the books have {refusal}")
        compare_legs(outcome.legs, [tuple(int(x) for x in leg) for leg in applied.legs], here, found)
        if template == Template.TICK:
            now = np.array([self.model.ledger.meta.now_ns])
            self._batches.saw_ticks(now, np.array([self._ordinal()]))
            self._compare_indices()
        if outcome.legs:
            fill = raw if template == Template.FILL else None
            self._batches.took(self._ordinal(), fill, outcome.legs, self.model.ledger)

    def _markets_behind(self, frame: NDArray[np.void]) -> set[int]:
        """Markets whose prices decide what a frame does: its own, and those of its accounts' cross positions."""
        accounts: tuple[int, ...] = ()
        if (template := int(frame["template"][0])) == Template.FILL:
            fill = frame.view(FILL)[0]
            accounts = (int(fill["maker"]), int(fill["taker"]))
        elif template in (Template.TRANSFER, Template.SETTING):
            accounts = (int(frame.view(DTYPES[Template(template)])["account"][0]),)
        elif template == Template.CANDIDATE:
            candidate = frame.view(CANDIDATE)[0]
            accounts = (int(candidate["account"]), int(candidate["counterparty"]))
        behind = {p.market for a in accounts for p in cross_positions(self.model.ledger, a)}
        return behind | {number for number in (int(frame["market"][0]),) if number >= 0}

    def _before_tick(self, tick: NDArray[np.void]) -> None:
        """Prices for a tick in a light hour come from the fold; the sample and the payment do not."""
        if int(tick["now_ns"][0]) // HOUR_NS == self._hour() and self._in_full():
            return
        if self._in_full():
            if self.model.ledger.meta.now_ns:
                self._compare_samples()
            return
        for market in range(self.model.ledger.tables.count):
            self._adopt(market)
        rows = self.model.ledger.tables.count * FEED_SLOTS
        self.model.adopt_feeds(self.machine.books.feeds[:rows])

    def _adopt(self, market: int) -> None:
        if market >= self.machine.state.number("markets"):
            return
        row = self.machine.books.markets[market]
        self.model.adopt_prices(market, MarketPrices(*(int(row[name]) for name in MarketPrices._fields)))
        self.model.adopt_oracle(market, self.machine.books.oracles[market])

    def _adopt_outputs(self) -> None:
        outputs = self.machine.state.number("outputs")
        if outputs != self.model.ledger.outputs:
            self.model.adopt_outputs(outputs, self.machine.books.outbox[: min(outputs, OUTBOX_SLOTS)])

    def _compare_samples(self) -> None:
        """At the end of an hour that the model sampled itself: prices and premiums are the fold's."""
        self.evidence.hours_in_full += 1
        for number, market in self.model.ledger.tables.markets.items():
            row = self.machine.books.markets[number]
            for name in MarketPrices._fields:
                if int(row[name]) != getattr(market, name):
                    self._note_funding(f"hour {self._hour()}, market {number}: {name}")

    def _compare_indices(self) -> None:
        for number, market in self.model.ledger.tables.markets.items():
            row = self.machine.books.markets[number]
            mine = (market.index_e6, market.index_rem, market.rate_e12, market.epoch)
            if mine != tuple(int(row[name]) for name in ("index_e6", "index_rem", "rate_e12", "epoch")):
                self._note_funding(f"ordinal {self._ordinal()}, market {number}: index")
        if len(self.model.payments) != self._paid:
            self._paid = len(self.model.payments)
            self._identities()

    _paid = 0

    def _identities(self) -> None:
        """The identities from scratch; the largest difference ever found is kept."""
        worst = judge_identities(self.model.identities(), self.evidence.differences)
        self.evidence.residual = max(self.evidence.residual, worst)

    def _note_funding(self, what: str) -> None:
        self.evidence.differences.note(FUNDING, what)

    def conclude(self) -> BooksEvidence:
        """Judge the state that the journal ends in."""
        self._identities()
        self._batches.finish()
        compare_states(self.model.sections(), self.machine.state.sections(), self.evidence.differences)
        e, meta = self.evidence, self.model.ledger.meta
        e.ordinal, e.booked, e.refused = meta.ordinal, meta.booked, meta.refused
        e.liquidations = self.machine.state.number("liquidations")
        e.funding_hours = len({p.now_ns for p in self.model.payments})
        e.funding_paid_e6 = sum(p.paid_e6 for p in self.model.payments)
        e.model_digest, e.fold_digest = self.model.digest(), self.machine.state.digest()
        if e.model_digest != e.fold_digest and not any(e.differences.counts.values()):
            e.differences.note(DIGEST, "model and books differ in no field that is compared")
        return e
