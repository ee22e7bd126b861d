"""The naive twin of the state machine: the same frames, plain Python integers, one object per thing.

Written from `shared/MONEY.md` and `shared/FRAMES.md`, to be compared with the compiled fold: refusals, legs
and state digest must be equal, and the identities are recomputed here from the positions alone.

Long replays may leave the per-second samples out (the light mode): `skip` counts them, `adopt_prices`
and `adopt_feeds` take what the compiled fold says of prices and of the open hour; rate, index, remainder,
epoch and every payment are still computed here. State changes in seconds that were left out make outputs
that the model does not see: `adopt_outputs` takes them over before digests are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.state import Section, digest_of
from kernels.frames import CorrectionKind, OutcomeStage, Refusal, Source, Template
from kernels.layouts import FEED_SLOTS, MARKET_FROZEN, MARKET_HALTED, OUTBOX_SLOTS
from kernels.oracle_rounds import ORACLE_STATE
from relayer.verify import (
    model_candidates,
    model_money,
    model_need,
    model_params,
    model_prices,
    model_settings,
)
from relayer.verify.model_arrays import sections_of
from relayer.verify.model_frames import decode, head_of
from relayer.verify.model_prices import MarketPrices
from relayer.verify.model_state import Feed, Ledger, Leg, Payment

ROUNDS = (*(ORACLE_STATE.names or ()), "age_ns", "restart_ns")
_HINTS = (Source.FEEDS, Source.RISK)


class Outcome(NamedTuple):
    """What one frame did: a `frames.Refusal` (0: taken), its legs (none, one or two), whether it is a tick
    that closes a batch."""

    refusal: int
    legs: list[Leg]
    boundary: bool = False


class _Decision(NamedTuple):
    refusal: Refusal
    legs: list[Leg]
    account: int = -1
    detail: int = 0
    boundary: bool = False


def _just(refusal: Refusal) -> _Decision:
    return _Decision(refusal, [])


class Model:
    """A ledger and the fold over it. Total, as the machine is: a bad frame is refused, never raised."""

    def __init__(self) -> None:
        self.ledger = Ledger()

    @property
    def payments(self) -> list[Payment]:
        """Every hourly payment so far, in the order paid."""
        return self.ledger.payments

    def paid_e6(self, market: int) -> int:
        """What the paying positions of a market owed, all hours together, in 1e-6 USDC."""
        return sum(payment.paid_e6 for payment in self.payments if payment.market == market)

    def apply(self, frame: bytes | np.void) -> Outcome:
        """Apply one 64-byte frame of any template."""
        raw = frame if isinstance(frame, bytes) else frame.tobytes()
        template, seq, source, market = head_of(raw)
        self.ledger.meta.ordinal += 1
        if seq != self.ledger.last_seq.get(source, 0) + 1:
            decision = _just(Refusal.SEQUENCE)
        else:
            self.ledger.last_seq[source] = seq
            decision = self._decide(template, raw)
        if decision.refusal:
            self._refuse(template, seq, source, market, decision)
        return Outcome(int(decision.refusal), decision.legs, decision.boundary)

    def sections(self) -> list[Section]:
        """The state as arrays, equal byte for byte to those of `State.sections()`."""
        return sections_of(self.ledger)

    def digest(self) -> bytes:
        """The state digest."""
        return digest_of(self.sections())

    def skip(
        self,
        source: int,
        count: int,
        *,
        refused: int = 0,
        now_ns: int | None = None,
        second_ns: int | None = None,
    ) -> None:
        """Count frames that were not looked at: their ordinals, their sequence, how many were refused.

        `now_ns`: the clock after them, where ticks are among them; `second_ns`: their last second. ValueError if
        they would have ended an hour or put parameters in force: such ticks must be applied.
        """
        meta = self.ledger.meta
        if now_ns is not None:
            due = meta.pending and now_ns >= meta.pending_not_before_ns
            if due or now_ns // model_prices.HOUR_NS > meta.funding_hour:
                raise ValueError(f"the ticks up to {now_ns} do more than sample: apply them")
            meta.now_ns, meta.second_ns = now_ns, now_ns if second_ns is None else second_ns
        meta.ordinal += count
        meta.refused += refused
        self.ledger.last_seq[source] = self.ledger.last_seq.get(source, 0) + count

    def adopt_prices(self, market: int, prices: MarketPrices) -> None:
        """Take over a market's prices and open hour. Makes no output."""
        row = self.ledger.tables.markets[market]
        for name, value in zip(MarketPrices._fields, prices, strict=True):
            setattr(row, name, int(value))

    def adopt_oracle(self, market: int, row: np.void) -> None:
        """Take over a market's rounds from its ORACLE row; rules that parameters set stay the model's own."""
        oracle = self.ledger.tables.oracles[market]
        for name in ROUNDS:
            setattr(oracle, name, int(row[name]))

    def adopt_feeds(self, rows: NDArray[np.void]) -> None:
        """Take over the newest observations. rows: FEED[markets · 16]; weights stay the model's own."""
        for at, row in enumerate(rows):
            market, slot = divmod(at, FEED_SLOTS)
            feed = Feed(int(row["publish_ns"]), int(row["price"]), int(row["conf"]), int(row["slot"]))
            if feed.publish_ns:
                self.ledger.feeds.setdefault(market, {})[slot] = feed

    def adopt_outputs(self, outputs: int, ring: NDArray[np.int64]) -> None:
        """Take over the outbox: how many outputs there were, and the ring's used prefix int64[n, 8]."""
        if len(ring) != min(outputs, OUTBOX_SLOTS):
            raise ValueError(f"{len(ring)} rows do not hold the last of {outputs} outputs")
        self.ledger.outputs = outputs
        self.ledger.outbox = [row.tobytes() for row in ring]

    def identities(self) -> dict[str, int]:
        """Every identity of MONEY.md from the positions and balances alone, and every running sum less the
        same sum from scratch. All must be 0."""
        out: dict[str, int] = {}
        for number in range(self.ledger.tables.count):
            self._market_identities(number, out)
        ledger, meta = self.ledger, self.ledger.meta
        markets = list(ledger.tables.markets.values())
        insurance = ledger.accounts[0].free_e6
        held = sum(account.free_e6 for account in ledger.accounts[1:])
        held += sum(market.moved_in for market in markets) + meta.house_e6 + insurance + meta.held_e6
        out["exchange"] = held - (meta.deposits_e6 - meta.payouts_e6)
        out["fees"] = sum(market.fees_e6 for market in markets) - meta.house_e6
        out["hourly and on touch"] = ledger.eager_faults + sum(
            model_need.settle(p, ledger.tables.markets[p.market]) != (p.eager_pay_e6, p.eager_rem)
            for p in ledger.positions
        )
        return out

    def _market_identities(self, number: int, out: dict[str, int]) -> None:
        market = self.ledger.tables.markets[number]
        rows = [p for p in self.ledger.positions if p.market == number]
        sizes, cash = sum(p.size for p in rows), sum(p.cash for p in rows)
        rems, size_idx = sum(p.rem for p in rows), sum(p.size * p.idx for p in rows)
        longs = sum(p.size for p in rows if p.size > 0)
        scale = market.scale
        settled = cash * scale + rems + size_idx - sizes * market.index_e6
        name = f"market {number}: "
        out[name + "sizes"] = sizes
        out[name + "cash"] = settled - market.moved_in * scale
        out[name + "running S"] = market.sum_size - sizes
        out[name + "running A"] = market.sum_cash - cash
        out[name + "running R"] = market.sum_rem - rems
        out[name + "running J"] = market.sum_size_idx - size_idx
        out[name + "open interest"] = market.open_interest - longs

    def _decide(self, template: int, raw: bytes) -> _Decision:
        ledger = self.ledger
        if template == Template.FILL:
            fill = decode(Template.FILL, raw)
            return _Decision(*model_money.apply_fill(ledger, fill), fill.taker)
        if template == Template.TRANSFER:
            transfer = decode(Template.TRANSFER, raw)
            return self._and_tell(model_money.apply_transfer, transfer)
        if template == Template.CANDIDATE:
            candidate = decode(Template.CANDIDATE, raw)
            return _Decision(*model_candidates.apply_candidate(ledger, candidate), candidate.account)
        if template == Template.SETTING:
            setting = decode(Template.SETTING, raw)
            return self._and_tell(model_settings.apply_setting, setting)
        if template == Template.TICK:
            why, closes = model_prices.apply_tick(ledger, decode(Template.TICK, raw))
            return _Decision(why, [], boundary=closes)
        if template == Template.OBSERVATION:
            return _just(model_prices.apply_observation(ledger, decode(Template.OBSERVATION, raw)))
        if template == Template.ACCOUNT:
            return _just(model_settings.apply_account(ledger, decode(Template.ACCOUNT, raw)))
        if template == Template.OUTCOME:
            return _just(self._apply_outcome(raw))
        if template == Template.CORRECTION:
            return _just(self._apply_correction(raw))
        if template in (Template.PARAM, Template.UPGRADE):
            rare = model_params.apply_param if template == Template.PARAM else model_params.apply_upgrade
            why, detail = rare(ledger, raw)
            return _Decision(why, [], -1, detail)
        return _just(Refusal.NOT_IN_FORCE)

    def _and_tell(self, apply: Callable[[Ledger, Any], tuple[Refusal, list[Leg]]], frame: Any) -> _Decision:
        """A frame of one account; if it is taken, what that account may still use."""
        ledger, account = self.ledger, frame.account
        known = 0 <= account < len(ledger.accounts)
        before = ledger.accounts[account].free_e6 if known else 0
        why, legs = apply(ledger, frame)
        if not why:
            ledger.tell_free((account, before, model_need.usable_e6(ledger, account)))
        return _Decision(why, legs, account)

    def _refuse(self, template: int, seq: int, source: int, market: int, decision: _Decision) -> None:
        ledger = self.ledger
        ledger.meta.refused += 1
        if source in _HINTS:
            return
        ledger.emit(
            Template.REFUSAL,
            market,
            seq,
            ledger.meta.ordinal,
            decision.detail,
            decision.account,
            template,
            source,
            decision.refusal,
        )
        if template == Template.FILL:
            ledger.freeze_for(source, market, seq, decision.refusal)

    def _apply_outcome(self, raw: bytes) -> Refusal:
        frame, meta = decode(Template.OUTCOME, raw), self.ledger.meta
        if frame.stage == OutcomeStage.SETTLED:
            if frame.batch != meta.settled_batch + 1:
                return Refusal.BATCH_OUT_OF_ORDER
            meta.settled_batch = frame.batch
        elif frame.stage not in (OutcomeStage.COMMIT, OutcomeStage.CHUNK):
            return Refusal.UNKNOWN_KIND
        elif frame.batch <= meta.settled_batch:
            return Refusal.BATCH_OUT_OF_ORDER
        meta.outcomes += 1
        return Refusal.NONE

    def _apply_correction(self, raw: bytes) -> Refusal:
        frame = decode(Template.CORRECTION, raw)
        if frame.kind in (CorrectionKind.VOID, CorrectionKind.REPLACED):
            return self._close_refusal(frame.refused_source, frame.refused_seq)
        if frame.kind == CorrectionKind.MARKET:
            return self._close_market(frame.market)
        if frame.kind == CorrectionKind.ACCOUNT:
            return self._thaw(frame.refused_seq)
        return Refusal.UNKNOWN_KIND

    def _close_refusal(self, source: int, seq: int) -> Refusal:
        ledger = self.ledger
        found = [row for row in ledger.refusals if (row.source, row.seq) == (source, seq)]
        if not found:
            return Refusal.NOTHING_TO_CORRECT
        ledger.refusals.remove(found[0])
        market = ledger.tables.markets[found[0].market]
        market.open_refusals -= 1
        if market.open_refusals == 0:
            ledger.set_state(found[0].market, market.state & ~MARKET_FROZEN)
        return Refusal.NONE

    def _close_market(self, number: int) -> Refusal:
        ledger = self.ledger
        market = ledger.market(number)
        stopped = MARKET_FROZEN | MARKET_HALTED
        if market is None or (not market.open_refusals and not market.state & stopped):
            return Refusal.NOTHING_TO_CORRECT
        ledger.refusals = [row for row in ledger.refusals if row.market != number]
        market.open_refusals = 0
        if market.state & MARKET_HALTED:
            model_prices.restart(ledger, number, ledger.meta.now_ns)
        ledger.set_state(number, market.state & ~stopped)
        return Refusal.NONE

    def _thaw(self, number: int) -> Refusal:
        accounts = self.ledger.accounts
        if not 0 <= number < len(accounts) or not accounts[number].frozen:
            return Refusal.NOTHING_TO_CORRECT
        accounts[number].frozen = False
        self.ledger.tell_account(number, -1, 0)
        return Refusal.NONE
