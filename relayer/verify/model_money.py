"""Fills, transfers and settings of the model: MONEY.md, a position is four numbers.

Every function decides first and writes after. A refusal is returned, never raised.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from kernels.frames import Refusal, SettingKind, Template, TransferKind
from kernels.layouts import (
    LEG_MAKER,
    LEG_TAKER,
    LEG_TRANSFER,
    LIMIT,
    MARKET_HALTED,
    MAX_TIERS,
    PRICE_MAX,
    PRICE_MIN,
)
from relayer.verify.model_state import (
    Account,
    Ledger,
    Leg,
    Market,
    Position,
    ceil_div,
    half_even_div,
    trunc_div,
    within,
)

FEE_ONE = 10**9
RATE_ONE = 10**12


def settle(position: Position, market: Market) -> tuple[int, int]:
    """(pay, rem) that bring a position to the market's index: divmod_floor(−size·(I − idx) + rem, D)."""
    if position.size == 0:
        return 0, position.rem
    owed = -position.size * (market.index_e6 - position.idx) + position.rem
    return divmod(owed, market.scale)


def value_floor(size: int, price: int, market: Market) -> int:
    """size·price in 1e-6 USDC, rounded down."""
    return size * price * market.quote_mul // market.quote_div


def margin_tier(ledger: Ledger, leverage: int) -> int | None:
    """The first margin tier that admits `leverage`; tiers count up to the first that is not set."""
    for n in range(MAX_TIERS):
        tier = ledger.tables.tiers.get(n)
        if tier is None or not tier.margin_set:
            return None
        if leverage <= tier.max_leverage:
            return n
    return None


def initial_requirement(ledger: Ledger, market: Market, position: Position, size: int, price: int) -> int:
    """Initial margin of `size` at `price`, both products rounded up: at least 1/leverage, at least its tier's."""
    leverage = position.leverage or market.leverage_default
    n = margin_tier(ledger, leverage)
    if n is None:
        rate = RATE_ONE
    else:
        rate = max(ceil_div(RATE_ONE, leverage), ledger.tables.tiers[n].initial_e12)
    notional = ceil_div(abs(size) * price * market.quote_mul, market.quote_div)
    return ceil_div(notional * rate, RATE_ONE)


def close_out(cash: int, cross: bool, insurance_e6: int) -> tuple[int, int]:
    """(transfer, cover) of a position at size 0: cash goes to free; an isolated deficit to insurance first."""
    if cash < 0 and not cross:
        return 0, min(-cash, max(insurance_e6, 0))
    return -cash, 0


def cost_after(size: int, cost_e6: int, dsize: int, quote_e6: int) -> tuple[int, int]:
    """(cost, realised) for people: a reduction takes out its share of the cost, a flip closes and opens anew."""
    new = size + dsize
    if size * dsize >= 0:
        return cost_e6 + quote_e6, 0
    if new == 0:
        return 0, -quote_e6 - cost_e6
    if new * size > 0:
        share = trunc_div(cost_e6 * abs(dsize), abs(size))
        return cost_e6 - share, -quote_e6 - share
    closing = trunc_div(quote_e6 * abs(size), abs(dsize))
    return quote_e6 - closing, -closing - cost_e6


class Side(NamedTuple):
    """What one side of a fill brings: signed size and its signed cost, fee, and what it may draw on."""

    kind: int
    dsize: int
    quote_e6: int
    fee: int
    free_e6: int
    insurance_e6: int


def book_side(
    ledger: Ledger, market: Market, before: Position, side: Side, ref_price: int
) -> tuple[Position, Leg] | None:
    """One side of a fill: the position after it and its leg, or None if a number leaves its bounds."""
    pay, rem = settle(before, market)
    size = before.size + side.dsize
    dcash = -side.quote_e6 - side.fee
    settled = before.cash + pay
    cash = settled + dcash
    if not within(pay, settled, cash) or abs(size) > market.size_max:
        return None
    transfer, cover = 0, 0
    flips = before.size * size < 0
    if size == 0:
        transfer, cover = close_out(cash, before.cross, side.insurance_e6)
    elif not before.cross and (flips or abs(size) > abs(before.size)):
        short = initial_requirement(ledger, market, before, size, ref_price)
        short -= cash + value_floor(size, ref_price, market)
        transfer = max(0, min(short, side.free_e6))
    cash += transfer + cover
    cost, realised = cost_after(before.size, before.cost_e6, side.dsize, side.quote_e6)
    realised += before.realised_e6
    if not within(cash, side.free_e6 - transfer, cost, realised):
        return None
    after = replace(
        before,
        size=size,
        cash=cash,
        idx=market.index_e6,
        rem=rem,
        cost_e6=cost,
        realised_e6=realised,
        eager_rem=rem,
        eager_pay_e6=0,
    )
    leg = Leg(
        ledger.meta.ordinal,
        before.account,
        before.market,
        side.kind,
        side.dsize,
        dcash,
        transfer,
        cover,
        side.fee,
        pay,
    )
    return after, leg


def sums_fit(ledger: Ledger, market: Market, changes: list[tuple[Position, Position, Leg]]) -> bool:
    """True if the market's sums and the house stay within bounds after each of the changes in turn."""
    cash, moved, fees = market.sum_cash, market.moved_in, market.fees_e6
    house, interest = ledger.meta.house_e6, market.open_interest
    for before, after, leg in changes:
        cash += after.cash - before.cash
        moved += leg.transfer + leg.cover - leg.fee
        fees += leg.fee
        house += leg.fee
        interest += max(after.size, 0) - max(before.size, 0)
        if not within(cash, moved, fees, house, interest):
            return False
    return True


def put_change(ledger: Ledger, market: Market, before: Position, after: Position, leg: Leg) -> None:
    """Write a position and move its money: free → transfer, insurance → cover, fee → house."""
    pay, rem = settle(before, market)
    if (pay, rem) != (before.eager_pay_e6, before.eager_rem):
        ledger.eager_faults += 1
    ledger.put_position(after)
    market.moved_in += leg.transfer + leg.cover - leg.fee
    market.fees_e6 += leg.fee
    ledger.meta.house_e6 += leg.fee
    ledger.accounts[leg.account].free_e6 -= leg.transfer
    ledger.accounts[0].free_e6 -= leg.cover


def check_fill(ledger: Ledger, fill: Any) -> Refusal:
    """Why a fill cannot be booked whatever the books hold, or NONE."""
    market = ledger.market(fill.market)
    if market is None:
        return Refusal.UNKNOWN_MARKET
    if not (0 < fill.maker < len(ledger.accounts) and 0 < fill.taker < len(ledger.accounts)):
        return Refusal.UNKNOWN_ACCOUNT
    if not PRICE_MIN <= fill.price <= PRICE_MAX:
        return Refusal.PRICE_OFF_SCALE
    if fill.size == 0 or abs(fill.size) > market.size_max:
        return Refusal.SIZE_OFF_SCALE
    return Refusal.NONE


def apply_fill(ledger: Ledger, fill: Any) -> tuple[Refusal, list[Leg]]:
    """Book both legs, maker first, with one rounded quote; a matched fill is never refused for margin."""
    why = check_fill(ledger, fill)
    if why:
        return why, []
    number = fill.market
    market = ledger.tables.markets[number]
    quote = half_even_div(fill.size * fill.price * market.quote_mul, market.quote_div)
    ref_price = market.mark or fill.price
    insurance = ledger.accounts[0].free_e6
    changes: list[tuple[Position, Position, Leg]] = []
    for kind, account, side in ((LEG_MAKER, fill.maker, -1), (LEG_TAKER, fill.taker, 1)):
        owner = ledger.accounts[account]
        free = owner.free_e6
        before = ledger.position(account, number) or ledger.new_position(account, number)
        if kind == LEG_TAKER and fill.maker == fill.taker:
            before = changes[0][1]
            free -= changes[0][2].transfer
        tier = ledger.tables.tiers[owner.tier]
        fee = ceil_div(abs(quote) * (tier.maker_e9 if kind == LEG_MAKER else tier.taker_e9), FEE_ONE)
        given = Side(kind, side * fill.size, side * quote, fee, free, insurance)
        booked = book_side(ledger, market, before, given, ref_price)
        if booked is None:
            return Refusal.OUT_OF_BOUNDS, []
        insurance -= booked[1].cover
        changes.append((before, *booked))
    if not sums_fit(ledger, market, changes):
        return Refusal.OUT_OF_BOUNDS, []
    for before, after, leg in changes:
        put_change(ledger, market, before, after, leg)
    ledger.meta.booked += 1
    watch_fill(ledger, market, fill)
    return Refusal.NONE, [leg for _, _, leg in changes]


def watch_fill(ledger: Ledger, market: Market, fill: Any) -> None:
    """A booked fill off the band round the mark, or a side below zero: halt the market, freeze both sides.

    A cross account counts as below zero when its free balance is: its positions are judged together elsewhere.
    """
    off_band = market.mark > 0 and abs(fill.price - market.mark) * 10**6 > market.mark * market.band_e6
    lowest = 0
    for account in (fill.maker, fill.taker):
        position = ledger.position(account, fill.market)
        assert position is not None, "a booked fill has positions"
        equity = position.cash + value_floor(position.size, market.mark or fill.price, market)
        if position.cross:
            equity = ledger.accounts[account].free_e6
        lowest = min(lowest, equity)
    if not off_band and lowest >= 0:
        return
    ledger.set_state(fill.market, market.state | MARKET_HALTED)
    for account in (fill.maker, fill.taker):
        if not ledger.accounts[account].frozen:
            ledger.accounts[account].frozen = True
            ledger.tell_account(account, fill.market, lowest)


def apply_transfer(ledger: Ledger, frame: Any) -> tuple[Refusal, list[Leg]]:
    """A deposit, a withdrawal, or cash between free and a position."""
    if not 0 <= frame.account < len(ledger.accounts):
        return Refusal.UNKNOWN_ACCOUNT, []
    quote, account = frame.quote_e6, ledger.accounts[frame.account]
    if not 0 < quote <= LIMIT:
        return Refusal.OUT_OF_BOUNDS, []
    if frame.flags == TransferKind.DEPOSIT:
        if frame.event_no != account.event_no + 1:
            return Refusal.EVENT_OUT_OF_ORDER, []
        if not within(account.free_e6 + quote, ledger.meta.deposits_e6 + quote):
            return Refusal.OUT_OF_BOUNDS, []
        account.event_no += 1
        account.free_e6 += quote
        ledger.meta.deposits_e6 += quote
        return Refusal.NONE, []
    if frame.account == 0:
        return Refusal.UNKNOWN_ACCOUNT, []
    if frame.event_no != account.nonce + 1:
        return Refusal.NONCE_OUT_OF_ORDER, []
    if frame.flags == TransferKind.WITHDRAWAL:
        if account.frozen or quote > account.free_e6:
            return Refusal.INSUFFICIENT_FREE, []
        if not within(ledger.meta.held_e6 + quote):
            return Refusal.OUT_OF_BOUNDS, []
        account.nonce += 1
        account.free_e6 -= quote
        ledger.meta.held_e6 += quote
        return Refusal.NONE, []
    if frame.flags == TransferKind.TO_POSITION:
        return move_cash(ledger, frame, account, quote)
    if frame.flags == TransferKind.FROM_POSITION:
        return move_cash(ledger, frame, account, -quote)
    return Refusal.UNKNOWN_KIND, []


def move_cash(ledger: Ledger, frame: Any, account: Account, moved: int) -> tuple[Refusal, list[Leg]]:
    """`moved` from free into an open position, or out of it as long as it keeps its initial requirement."""
    market = ledger.market(frame.market)
    if market is None:
        return Refusal.UNKNOWN_MARKET, []
    before = ledger.position(frame.account, frame.market)
    if before is None or before.size == 0:
        return Refusal.INSUFFICIENT_POSITION, []
    if moved > max(account.free_e6, 0):
        return Refusal.INSUFFICIENT_FREE, []
    pay, rem = settle(before, market)
    cash = before.cash + pay + moved
    if not within(pay, before.cash + pay, cash, account.free_e6 - moved):
        return Refusal.OUT_OF_BOUNDS, []
    if moved < 0:
        if market.mark <= 0:
            return Refusal.INSUFFICIENT_POSITION, []
        need = initial_requirement(ledger, market, before, before.size, market.mark)
        if cash + value_floor(before.size, market.mark, market) < need:
            return Refusal.INSUFFICIENT_POSITION, []
    after = replace(before, cash=cash, idx=market.index_e6, rem=rem, eager_rem=rem, eager_pay_e6=0)
    leg = Leg(ledger.meta.ordinal, frame.account, frame.market, LEG_TRANSFER, 0, 0, moved, 0, 0, pay)
    if not sums_fit(ledger, market, [(before, after, leg)]):
        return Refusal.OUT_OF_BOUNDS, []
    put_change(ledger, market, before, after, leg)
    account.nonce += 1
    return Refusal.NONE, [leg]


def apply_setting(ledger: Ledger, frame: Any) -> Refusal:
    """Leverage or margin mode of an account in a market; makes its slot if there is none."""
    if not 0 < frame.account < len(ledger.accounts):
        return Refusal.UNKNOWN_ACCOUNT
    market = ledger.market(frame.market)
    if market is None:
        return Refusal.UNKNOWN_MARKET
    account = ledger.accounts[frame.account]
    if frame.nonce != account.nonce + 1:
        return Refusal.NONCE_OUT_OF_ORDER
    position = ledger.position(frame.account, frame.market)
    position = position or ledger.new_position(frame.account, frame.market)
    if frame.kind == SettingKind.LEVERAGE:
        if not 1 <= frame.value <= market.leverage_max or margin_tier(ledger, frame.value) is None:
            return Refusal.LEVERAGE_OFF_TABLE
        position.leverage = frame.value
    elif frame.kind == SettingKind.MARGIN_MODE:
        if frame.value not in (0, 1):
            return Refusal.UNKNOWN_KIND
        if position.size or position.cash:
            return Refusal.INSUFFICIENT_POSITION
        position.cross = frame.value == 1
    else:
        return Refusal.UNKNOWN_KIND
    account.nonce += 1
    if (frame.account, frame.market) not in ledger.slots:
        ledger.put_position(position)
    return Refusal.NONE


def apply_account(ledger: Ledger, frame: Any) -> Refusal:
    """Give a public key the next number and tell it."""
    key = (frame.key0, frame.key1, frame.key2, frame.key3)
    if key in ledger.numbers:
        return Refusal.ACCOUNT_EXISTS
    tier = ledger.tables.tiers.get(frame.tier)
    if tier is None or not tier.fees_set:
        return Refusal.UNKNOWN_TIER
    number = len(ledger.accounts)
    ledger.accounts.append(Account(key, frame.tier))
    ledger.numbers[key] = number
    ledger.emit(Template.ACCOUNT_ASSIGNED, -1, *key, number, frame.tier)
    return Refusal.NONE
