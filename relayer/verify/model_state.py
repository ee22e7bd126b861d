"""What the model remembers: accounts, positions, markets, tables, outputs. Plain integers in plain objects."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import NamedTuple

from kernels.frames import Refusal, Source, Template
from kernels.layouts import LIMIT, MARKET_FROZEN, MAX_OPEN_REFUSALS, OUTBOX_SLOTS
from relayer.verify import model_margin
from relayer.verify.model_frames import encode
from relayer.verify.model_oracle import Oracle


class Leg(NamedTuple):
    """One side of a fill, or cash moved: the fields of `layouts.LEG`, in its order."""

    ordinal: int
    account: int
    market: int
    kind: int
    dsize: int
    dcash: int
    transfer: int
    cover: int
    fee: int
    funding: int


class Payment(NamedTuple):
    """One hourly payment of one market: what the paying positions owe together, in 1e-6 USDC."""

    market: int
    epoch: int
    now_ns: int
    rate_e12: int
    index_step_e6: int
    paid_e6: int


@dataclass(slots=True)
class Liquidation:
    """A position under liquidation; named as in `layouts.LIQUIDATION`."""

    account: int
    market: int
    first_ns: int
    heard_ns: int
    ordered_ns: int = 0
    orders: int = 0
    size: int = 0
    price: int = 0


class Open(NamedTuple):
    """A refused fill that waits for its correction."""

    source: int
    market: int
    seq: int


@dataclass(slots=True)
class Account:
    """A customer, or (number 0) the insurance fund."""

    key: tuple[int, int, int, int]
    tier: int = 0
    frozen: bool = False
    free_e6: int = 0
    event_no: int = 0
    nonce: int = 0


@dataclass(slots=True)
class Position:
    """The four numbers, and what people see.

    `eager_rem` and `eager_pay_e6` follow every hour as it is paid; `rem` and `cash` only when touched. Both
    ways must meet at every touch.
    """

    account: int
    market: int
    size: int = 0
    cash: int = 0
    idx: int = 0
    rem: int = 0
    cost_e6: int = 0
    realised_e6: int = 0
    cross: bool = False
    too_large: bool = False
    leverage: int = 0
    eager_rem: int = 0
    eager_pay_e6: int = 0


@dataclass(slots=True)
class Market:
    """Parameters, sums, funding and prices of one market; named as in `layouts.MARKET`."""

    active: int = 0
    symbol0: int = 0
    symbol1: int = 0
    price_exp: int = 0
    lot_exp: int = 0
    scale: int = 0
    quote_mul: int = 0
    quote_div: int = 0
    size_max: int = 0
    leverage_default: int = 0
    leverage_max: int = 0
    interest_e12: int = 0
    cap_e12: int = 0
    band_e6: int = 0
    profile: int = 0
    source: int = 0
    sample_s: int = 1
    weights: int = 0
    missing: int = 0
    valid_min: int = 1200
    premium_limit_e12: int = 5 * 10**10
    interest_rule: int = 0
    dampener_e12: int = 0
    multiplier_ppm: int = 10**6
    period_s: int = 28_800
    interval_s: int = 3600
    change_e12: int = 0
    lag: int = 0
    pay_on: int = 0
    rounding: int = 0
    sum_size: int = 0
    sum_cash: int = 0
    sum_rem: int = 0
    sum_size_idx: int = 0
    moved_in: int = 0
    open_interest: int = 0
    fees_e6: int = 0
    index_e6: int = 0
    index_rem: int = 0
    epoch: int = 0
    premium_sum_e12: int = 0
    weight_valid: int = 0
    seconds_valid: int = 0
    seconds_seen: int = 0
    rate_set_e12: int = 0
    rate_e12: int = 0
    pay_price: int = 0
    status: int = 0
    oracle: int = 0
    conf: int = 0
    mark: int = 0
    basis_e6: int = 0
    basis_known: int = 0
    held_since_ns: int = 0
    state: int = 0
    open_refusals: int = 0
    move_e12: int = 0


@dataclass(slots=True)
class Tier:
    """Fees and margin of one tier; named as in `layouts.TIER`."""

    taker_e9: int = 0
    maker_e9: int = 0
    initial_e12: int = 0
    maintenance_e12: int = 0
    max_leverage: int = 0
    max_notional_e6: int = 0
    fees_set: int = 0
    margin_set: int = 0


@dataclass(slots=True)
class Feed:
    """The newest observation of one feed."""

    publish_ns: int = 0
    price: int = 0
    conf: int = 0
    slot: int = 0


@dataclass(slots=True)
class Tables:
    """All that parameter rows write. weights: market → provider → weight.

    margin: the tiers of `model_need.margin_tiers`, until a row of a tier is written.
    """

    batch_window_ns: int = 0
    observation_age_ns: int = 0
    hold_ns: int = 0
    liquidation_fee_e9: int = 0
    reserve_e12: int = 0
    count: int = 0
    markets: dict[int, Market] = field(default_factory=dict)
    tiers: dict[int, Tier] = field(default_factory=dict)
    weights: dict[int, dict[int, int]] = field(default_factory=dict)
    margin: list[model_margin.Tier] | None = None
    oracles: dict[int, Oracle] = field(default_factory=dict)

    def trial(self) -> Tables:
        """A copy to try rows on."""
        return Tables(
            self.batch_window_ns,
            self.observation_age_ns,
            self.hold_ns,
            self.liquidation_fee_e9,
            self.reserve_e12,
            self.count,
            {n: copy.copy(market) for n, market in self.markets.items()},
            {n: copy.copy(tier) for n, tier in self.tiers.items()},
            {n: dict(providers) for n, providers in self.weights.items()},
            oracles={n: copy.copy(oracle) for n, oracle in self.oracles.items()},
        )


@dataclass(slots=True)
class Meta:
    """Counters and exchange-wide sums; what is a length of something else is not kept twice."""

    rules: int = 1
    ordinal: int = 0
    now_ns: int = 0
    booked: int = 0
    refused: int = 0
    house_e6: int = 0
    deposits_e6: int = 0
    payouts_e6: int = 0
    held_e6: int = 0
    settled_batch: int = 0
    outcomes: int = 0
    staged_change: int = 0
    pending: int = 0
    pending_not_before_ns: int = 0
    funding_hour: int = 0
    second_ns: int = 0
    liquidations: int = 0


@dataclass(slots=True)
class Ledger:
    """The whole state. `positions` is in the order of first touch; account 0 is the insurance fund.

    open: market → slots with size. crossing: account → markets in cross mode.
    `reasons`: market → provider → why its vote did not count in the last second; not part of the digest.
    """

    meta: Meta = field(default_factory=Meta)
    tables: Tables = field(default_factory=Tables)
    last_seq: dict[int, int] = field(default_factory=dict)
    accounts: list[Account] = field(default_factory=lambda: [Account((0, 0, 0, 0))])
    numbers: dict[tuple[int, int, int, int], int] = field(default_factory=lambda: {(0, 0, 0, 0): 0})
    positions: list[Position] = field(default_factory=list)
    slots: dict[tuple[int, int], int] = field(default_factory=dict)
    open: dict[int, set[int]] = field(default_factory=dict)
    crossing: dict[int, set[int]] = field(default_factory=dict)
    feeds: dict[int, dict[int, Feed]] = field(default_factory=dict)
    reasons: dict[int, dict[int, int]] = field(default_factory=dict)
    refusals: list[Open] = field(default_factory=list)
    outputs: int = 0
    outbox: list[bytes] = field(default_factory=list)
    staged: list[bytes] = field(default_factory=list)
    liquidations: list[Liquidation] = field(default_factory=list)
    payments: list[Payment] = field(default_factory=list)
    eager_faults: int = 0

    def fees_of(self, account: int) -> Tier:
        """The fee tier of an account; insurance's may not be in force, and costs nothing then."""
        return self.tables.tiers.get(self.accounts[account].tier, Tier())

    def market(self, number: int) -> Market | None:
        """A market in force, or None."""
        return self.tables.markets[number] if 0 <= number < self.tables.count else None

    def position(self, account: int, market: int) -> Position | None:
        """The position of an account in a market, or None if it never had one."""
        slot = self.slots.get((account, market))
        return None if slot is None else self.positions[slot]

    def new_position(self, account: int, market: int) -> Position:
        """A blank position at today's index. It has no slot until it is put."""
        return Position(account, market, idx=self.tables.markets[market].index_e6)

    def put_position(self, position: Position) -> None:
        """Keep `position` in place of what its slot held, and carry its market's sums over."""
        market = self.tables.markets[position.market]
        slot = self.slots.setdefault((position.account, position.market), len(self.positions))
        if slot == len(self.positions):
            self.positions.append(position)
        else:
            old = self.positions[slot]
            self.positions[slot] = position
            market.sum_size -= old.size
            market.sum_cash -= old.cash
            market.sum_rem -= old.rem
            market.sum_size_idx -= old.size * old.idx
            market.open_interest -= max(old.size, 0)
        market.sum_size += position.size
        market.sum_cash += position.cash
        market.sum_rem += position.rem
        market.sum_size_idx += position.size * position.idx
        market.open_interest += max(position.size, 0)
        slots = self.open.setdefault(position.market, set())
        if position.size:
            slots.add(slot)
        else:
            slots.discard(slot)

    def liquidation(self, account: int, market: int) -> Liquidation | None:
        """The row of a position that is being liquidated, or None."""
        rows = (row for row in self.liquidations if (row.account, row.market) == (account, market))
        return next(rows, None)

    def emit(self, template: Template, market: int, *payload: int) -> None:
        """Number an output and keep it in the ring."""
        self.outputs += 1
        frame = encode(template, self.outputs, market, *payload)
        if self.outputs <= OUTBOX_SLOTS:
            self.outbox.append(frame)
        else:
            self.outbox[(self.outputs - 1) % OUTBOX_SLOTS] = frame

    def set_state(self, number: int, state: int, reason: int = 0) -> None:
        """Give a market its state; an output if that changes it."""
        market = self.tables.markets[number]
        if market.state == state:
            return
        market.state = state
        self.emit(
            Template.MARKET_STATE,
            number,
            self.meta.ordinal,
            market.mark,
            self.meta.now_ns,
            state,
            reason,
            0,
        )

    def tell_account(self, account: int, market: int, equity_e6: int) -> None:
        """Output an account's state as it is now, and whether it may only reduce in `market`."""
        state = 1 if self.accounts[account].frozen else 0
        position = self.position(account, market)
        if position is not None and position.too_large:
            state += 2
        self.emit(
            Template.ACCOUNT_STATE,
            market,
            self.meta.ordinal,
            equity_e6,
            self.meta.now_ns,
            account,
            state,
            0,
        )

    def tell_free(self, taker: tuple[int, int, int], maker: tuple[int, int, int] = (-1, 0, 0)) -> None:
        """Output what accounts may still use, after a frame that touched them, if that may have changed.

        Each side is (account, its free balance before the frame, what it may use now); maker -1: there is none.
        """
        if any(
            account > 0 and (self.accounts[account].free_e6 != before or self.crossing.get(account))
            for account, before, _ in (taker, maker)
        ):
            seq = self.last_seq.get(Source.MATCHING, 0)
            self.emit(
                Template.FREE_COLLATERAL, -1, self.meta.ordinal, seq, taker[2], maker[2], taker[0], maker[0]
            )

    def freeze_for(self, source: int, number: int, seq: int, reason: Refusal) -> None:
        """A refused fill freezes its market until it is corrected; past the table's end it is only counted."""
        market = self.market(number)
        if market is None:
            return
        market.open_refusals += 1
        if len(self.refusals) < MAX_OPEN_REFUSALS:
            self.refusals.append(Open(source, number, seq))
        self.set_state(number, market.state | MARKET_FROZEN, reason)


def within(*values: int) -> bool:
    """True if each value is within ±LIMIT, the bound of every balance, sum and index."""
    return all(-LIMIT <= value <= LIMIT for value in values)


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up; b > 0."""
    return -(-a // b)


def trunc_div(a: int, b: int) -> int:
    """a / b rounded toward zero; b > 0."""
    return a // b if a >= 0 else -(-a // b)


def half_even_div(a: int, b: int) -> int:
    """a / b rounded to nearest, ties to even; b > 0."""
    quotient, rest = divmod(a, b)
    if 2 * rest > b or (2 * rest == b and quotient % 2 == 1):
        return quotient + 1
    return quotient
