"""Fills and transfers of the model: MONEY.md, a position is four numbers.

Every function decides first and writes after. A refusal is returned, never raised.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from kernels.frames import Refusal, TransferKind
from kernels.layouts import (
    LEG_MAKER,
    LEG_TAKER,
    LEG_TRANSFER,
    LIMIT,
    MARKET_HALTED,
    PRICE_MAX,
    PRICE_MIN,
)
from relayer.verify.model_liquidations import FEE_ONE, charge_of, review
from relayer.verify.model_need import (
    account_equity,
    initial_need,
    locked_e6,
    settle,
    too_large,
    usable_e6,
    value_floor,
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
    """What one side of a fill brings: signed size and its signed cost, fee, and what it may draw on.

    free_e6: the balance; reach_e6: what of it cross positions do not need. charge: liquidation fee and the unit's
    equity beside the position, if it is being liquidated.
    """

    kind: int
    dsize: int
    quote_e6: int
    fee: int
    free_e6: int
    reach_e6: int
    insurance_e6: int
    charge: tuple[int, int] = (0, 0)


def charged_e6(before: Position, side: Side, equity_e6: int) -> int:
    """The liquidation fee on what a fill closes: up, and no more than the unit's equity."""
    if before.size * side.dsize >= 0:
        return 0
    closing = side.quote_e6
    if abs(side.dsize) > abs(before.size):
        closing = trunc_div(closing * abs(before.size), abs(side.dsize))
    return min(ceil_div(abs(closing) * side.charge[0], FEE_ONE), max(0, equity_e6))


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
    worth = value_floor(size, ref_price, market)
    charged = charged_e6(before, side, cash + worth + side.charge[1]) if side.charge[0] else 0
    cash -= charged
    if size == 0:
        transfer, cover = close_out(cash, before.cross, side.insurance_e6)
    elif not before.cross and (flips or abs(size) > abs(before.size)):
        short = initial_need(ledger, market, before.leverage, size, ref_price)
        short -= cash + worth
        transfer = max(0, min(short, side.reach_e6))
    cash += transfer + cover
    cover -= charged
    cost, realised = cost_after(before.size, before.cost_e6, side.dsize, side.quote_e6)
    realised += before.realised_e6
    if not within(cash, side.free_e6 - transfer, cost, realised, side.insurance_e6 - cover):
        return None
    after = replace(
        before,
        size=size,
        cash=cash,
        idx=market.index_e6,
        rem=rem,
        cost_e6=cost,
        realised_e6=realised,
        too_large=too_large(ledger, market, before.leverage, size, ref_price),
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


def put_change(
    ledger: Ledger, market: Market, before: Position, after: Position, leg: Leg, price: int
) -> None:
    """Write a position and move its money: free → transfer, insurance → cover, fee → house.

    Tell it if the position has become too large for its leverage, or no longer is.
    """
    pay, rem = settle(before, market)
    if (pay, rem) != (before.eager_pay_e6, before.eager_rem):
        ledger.eager_faults += 1
    ledger.put_position(after)
    market.moved_in += leg.transfer + leg.cover - leg.fee
    market.fees_e6 += leg.fee
    ledger.meta.house_e6 += leg.fee
    ledger.accounts[leg.account].free_e6 -= leg.transfer
    ledger.accounts[0].free_e6 -= leg.cover
    if after.too_large != before.too_large:
        ledger.tell_account(leg.account, leg.market, after.cash + value_floor(after.size, price, market))


def check_fill(ledger: Ledger, fill: Any) -> Refusal:
    """Why a fill cannot be booked whatever the books hold, or NONE."""
    market = ledger.market(fill.market)
    if market is None:
        return Refusal.UNKNOWN_MARKET
    if not (0 <= fill.maker < len(ledger.accounts) and 0 <= fill.taker < len(ledger.accounts)):
        return Refusal.UNKNOWN_ACCOUNT
    if not PRICE_MIN <= fill.price <= PRICE_MAX:
        return Refusal.PRICE_OFF_SCALE
    if fill.size == 0 or abs(fill.size) > market.size_max:
        return Refusal.SIZE_OFF_SCALE
    if 0 in (fill.maker, fill.taker) and ledger.position(0, fill.market) is None:
        return Refusal.INSURANCE_REDUCE_ONLY
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
    taker_free, maker_free = ledger.accounts[fill.taker].free_e6, ledger.accounts[fill.maker].free_e6
    changes: list[tuple[Position, Position, Leg]] = []
    for kind, account, side in ((LEG_MAKER, fill.maker, -1), (LEG_TAKER, fill.taker, 1)):
        owner = ledger.accounts[account]
        free, locked = owner.free_e6, locked_e6(ledger, account)
        before = ledger.position(account, number) or ledger.new_position(account, number)
        if kind == LEG_TAKER and fill.maker == fill.taker:
            before = changes[0][1]
            free -= changes[0][2].transfer
        if account == 0:
            free = insurance
        tier = ledger.fees_of(account)
        fee = ceil_div(abs(quote) * (tier.maker_e9 if kind == LEG_MAKER else tier.taker_e9), FEE_ONE)
        reach = 0 if locked is None else free - locked
        charge = charge_of(ledger, before) if fill.maker != fill.taker else (0, 0)
        given = Side(kind, side * fill.size, side * quote, fee, free, reach, insurance, charge)
        booked = book_side(ledger, market, before, given, ref_price)
        if booked is None:
            return Refusal.OUT_OF_BOUNDS, []
        # What account 0 itself gets or pays is the same money that covers the other side.
        insurance -= booked[1].cover + (booked[1].transfer if account == 0 else 0)
        changes.append((before, *booked))
    if not sums_fit(ledger, market, changes):
        return Refusal.OUT_OF_BOUNDS, []
    for before, after, leg in changes:
        put_change(ledger, market, before, after, leg, ref_price)
    ledger.meta.booked += 1
    watch_fill(ledger, market, fill, [before for before, _, _ in changes])
    ledger.tell_free(
        (fill.taker, taker_free, usable_e6(ledger, fill.taker)),
        (fill.maker, maker_free, usable_e6(ledger, fill.maker)),
    )
    for account in (fill.maker, fill.taker):
        review(ledger, account, number)
    return Refusal.NONE, [leg for _, _, leg in changes]


def watch_fill(ledger: Ledger, market: Market, fill: Any, befores: list[Position]) -> None:
    """A booked fill off the band round the mark, or a side below zero: halt the market, freeze both sides.

    A cross position counts by its account's whole cross side. One that is being liquidated and only got smaller
    does not count, nor does insurance.
    """
    off_band = market.mark > 0 and abs(fill.price - market.mark) * 10**6 > market.mark * market.band_e6
    lowest = 0
    for before in befores:
        account = before.account
        position = ledger.position(account, fill.market)
        assert position is not None, "a booked fill has positions"
        smaller = abs(position.size) < abs(before.size) and position.size * before.size >= 0
        if smaller and fill.maker != fill.taker and ledger.liquidation(account, fill.market):
            continue
        if account == 0:
            continue
        equity = position.cash + value_floor(position.size, market.mark or fill.price, market)
        if position.cross:
            equity = account_equity(ledger, account, fill.market, market.mark or fill.price)
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
        if account.frozen:
            return Refusal.INSUFFICIENT_FREE, []
        if why := why_not_drawn(ledger, frame.account, quote):
            return why, []
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


def why_not_drawn(ledger: Ledger, account: int, quote: int) -> Refusal:
    """Why `quote` > 0 may not leave an account's free balance: cross positions keep what they need."""
    free, locked = ledger.accounts[account].free_e6, locked_e6(ledger, account)
    if quote > free:
        return Refusal.INSUFFICIENT_FREE
    if locked is None:
        return Refusal.MARK_UNKNOWN
    return Refusal.INSUFFICIENT_FREE if quote > free - locked else Refusal.NONE


def move_cash(ledger: Ledger, frame: Any, account: Account, moved: int) -> tuple[Refusal, list[Leg]]:
    """`moved` from free into an open isolated position, or out of it down to its initial requirement."""
    market = ledger.market(frame.market)
    if market is None:
        return Refusal.UNKNOWN_MARKET, []
    before = ledger.position(frame.account, frame.market)
    if before is None or before.size == 0 or before.cross:
        return Refusal.INSUFFICIENT_POSITION, []
    if moved > 0 and (why := why_not_drawn(ledger, frame.account, moved)):
        return why, []
    after = topped_up(ledger, market, before, moved)
    if after is None:
        return Refusal.OUT_OF_BOUNDS, []
    if moved < 0:
        need = initial_need(ledger, market, before.leverage, before.size, market.mark)
        if market.mark <= 0 or after.cash + value_floor(before.size, market.mark, market) < need:
            return Refusal.INSUFFICIENT_POSITION, []
    why, legs = put_moved(ledger, market, before, after, moved)
    account.nonce += 1 if legs else 0
    return why, legs


def topped_up(ledger: Ledger, market: Market, before: Position, moved: int) -> Position | None:
    """A position settled, and `moved` richer; None if a number leaves its bounds."""
    pay, rem = settle(before, market)
    cash = before.cash + pay + moved
    if not within(pay, before.cash + pay, cash, ledger.accounts[before.account].free_e6 - moved):
        return None
    return replace(before, cash=cash, idx=market.index_e6, rem=rem, eager_rem=rem, eager_pay_e6=0)


def put_moved(
    ledger: Ledger, market: Market, before: Position, after: Position, moved: int
) -> tuple[Refusal, list[Leg]]:
    """Book what `topped_up` made, if the sums bear it."""
    pay, _ = settle(before, market)
    leg = Leg(ledger.meta.ordinal, before.account, before.market, LEG_TRANSFER, 0, 0, moved, 0, 0, pay)
    if not sums_fit(ledger, market, [(before, after, leg)]):
        return Refusal.OUT_OF_BOUNDS, []
    put_change(ledger, market, before, after, leg, market.mark)
    return Refusal.NONE, [leg]
