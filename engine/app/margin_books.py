"""What would be liquidated in a journal's books now: who first, how much, at what cost, and who is deleveraged.

The kernels are those of the risk process: full sweeps find the units (an isolated position, or an account with
its cross positions), the lowest margin ratio goes first. Nothing is changed; each candidate is shown as if the
ones before it had been taken over, as far as insurance goes. The open hour's funding is not accrued.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.app.prices import symbol_of
from engine.common.errors import InputFileError, UsageError
from engine.follower import Follower
from engine.journal.segment import list_segments
from kernels import candidates, liquidation, liquidation_price, margin, sweep, touched
from kernels.liquidation import FULL_BELOW_E6, TARGET_E6
from kernels.liquidation_price import PRICE_FOUND
from kernels.margin import LEVERAGE_MAX, RISK
from kernels.slots import index_cross

QUEUE_SHOWN: Final = 5
MOVE_ONE: Final = 1_000_000


def word(value: int) -> Any:
    """An integer as kernels take it."""
    return np.int64(value)


@dataclass
class View:
    """A settled copy of the books, and what sweeps need beside it. queues: order of deleveraging by (market,
    side)."""

    markets: NDArray[np.void]
    accounts: NDArray[np.void]
    positions: NDArray[np.void]
    tiers: NDArray[np.void]
    risk: NDArray[np.void]
    tier_at: NDArray[np.int64]
    first: NDArray[np.int64]
    members: NDArray[np.int64]
    ordinal: int


def fold(directory: Path) -> Any:
    """The machine after all of a journal that its engine says is durable, else after its last whole group.

    Raises InputFileError, JournalError: damage before the durable end is never taken for the end.
    """
    journal = directory / "journal" if (directory / "journal").is_dir() else directory
    if not journal.is_dir() or not list_segments(journal):
        raise InputFileError(str(directory), "is no directory with a journal")
    follower = Follower(journal, live=(journal / "head").is_file(), from_snapshot=True)
    try:
        while follower.poll() is not None:
            continue
        return follower.machine
    finally:
        follower.close()


def view_of(machine: Any, move_e6: int, liquidation_e9: int) -> View:
    """Settled copies of a machine's books, all marks moved by `move_e6` parts in a million."""
    books, number = machine.books, machine.state.number
    markets = books.markets[: number("markets")]
    accounts, positions = (
        books.accounts[: number("accounts")].copy(),
        books.positions[: number("positions")].copy(),
    )
    risk = np.zeros(len(markets), RISK)
    taker_e9 = int(books.tiers[0]["taker_e9"])
    for row, market in zip(risk, markets, strict=True):
        mark = int(market["mark"]) * (MOVE_ONE + move_e6) // MOVE_ONE
        floor = margin.floor_rate_e12(*map(word, (taker_e9, liquidation_e9, int(market["conf"]), mark, 0)))
        names = ("scale", "quote_mul", "quote_div")
        given = (mark if mark > 0 else -1, market["index_e6"], floor, market["leverage_default"])
        margin.put_risk(row, *(word(int(v)) for v in (*given, *(market[name] for name in names))))
    tier_at = np.zeros((LEVERAGE_MAX + 1, 4), np.int64)
    margin.index_tiers(books.tiers, tier_at)
    sweep.settle_positions(positions, word(0), word(len(positions)), risk)
    first, members = np.zeros(len(accounts) + 1, np.int64), np.zeros(len(positions) + 1, np.int64)
    sweep.list_cross(positions, word(len(positions)), word(len(accounts)), first, members)
    return View(
        markets, accounts, positions, books.tiers.copy(), risk, tier_at, first, members, number("ordinal")
    )


def units_of(view: View) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]]:
    """(equity, maintenance) by unit, slots first and then accounts, and the units whose margin cannot be told."""
    slots, accounts = len(view.positions), len(view.accounts)
    equity, need = np.zeros((2, slots + accounts), np.int64)
    faults = []
    for unit in range(slots + accounts):
        if unit < slots:
            row = view.positions[unit]
            if int(row["mode"]) != 0:
                continue
            own = margin.position_margin(row, view.risk[int(row["market"])], view.tiers, view.tier_at)
            told = int(own[0]), int(own[1]), int(own[3])
        else:
            told = account_margin(view, unit - slots)
        if told[2] == 0:
            faults.append(unit)
        equity[unit], need[unit] = told[:2]
    return equity, need, faults


def account_margin(view: View, account: int) -> tuple[int, int, int]:
    """(equity, maintenance, ok) of an account's cross side."""
    begin, end = (word(int(view.first[account + k])) for k in (0, 1))
    free = word(int(view.accounts[account]["free_e6"]))
    told = sweep.account_margin(
        free, view.positions, view.members, begin, end, view.risk, view.tiers, view.tier_at
    )
    return int(told[0]), int(told[1]), int(told[2])


def flagged(view: View) -> int:
    """How many units the full sweeps mark: what `order_candidates` must find, faults apart."""
    slots, accounts = len(view.positions), len(view.accounts)
    ratios, flags = np.zeros(max(slots, accounts, 1), np.int64), np.zeros(max(slots, accounts, 1), np.int8)
    common: Any = view.risk, view.tiers, view.tier_at, ratios, flags
    alone: Any = *common, sweep.new_work()
    marked = sweep.sweep_positions(view.positions, word(0), word(slots), *alone)
    lists = view.positions, view.first, view.members
    return int(marked) + int(sweep.sweep_accounts(view.accounts, word(0), word(accounts), *lists, *common))


class Candidates:
    """Walks the candidates in order, insurance running down on the way."""

    def __init__(self, view: View, liquidation_e9: int, reserve_e12: int) -> None:
        self.view, self._reserve_e12 = view, reserve_e12
        self._fee_e9 = liquidation_e9
        self.insurance_e6 = int(view.accounts[0]["free_e6"]) if len(view.accounts) else 0
        self.equity, self.need, self.faults = units_of(view)
        self._links = np.zeros(len(view.accounts), np.int32), np.zeros(len(view.positions), np.int32)
        index_cross(*self._links, view.positions, word(len(view.positions)))

    def rows(self) -> list[dict[str, Any]]:
        """One entry for each position of each candidate, lowest margin ratio first."""
        order = np.zeros(len(self.equity), np.int64)
        count = int(liquidation.order_candidates(self.equity, self.need, order))
        if count + len(self.faults) != flagged(self.view):
            raise AssertionError("the sweep and the order of candidates disagree")
        slots = len(self.view.positions)
        out = []
        for rank, unit in enumerate(order[:count].tolist(), 1):
            held = [unit]
            if unit >= slots:
                begin, end = self.view.first[unit - slots], self.view.first[unit - slots + 1]
                held = self.view.members[begin:end].tolist()
            out += [self._row(rank, unit, slot) for slot in held if int(self.view.positions[slot]["size"])]
        return out

    def _row(self, rank: int, unit: int, slot: int) -> dict[str, Any]:
        view = self.view
        row = view.positions[slot]
        market = int(row["market"])
        risk = view.risk[market]
        equity, need = int(self.equity[unit]), int(self.need[unit])
        size, mark = int(row["size"]), int(risk["mark"])
        leverage = min(max(int(row["leverage"]) or int(risk["leverage"]), 1), LEVERAGE_MAX)
        top, floor = int(view.tier_at[leverage, 0]), int(risk["floor_e12"])
        scale: list[Any] = [word(int(risk["quote_mul"])), word(int(risk["quote_div"]))]
        own = margin.position_margin(row, risk, view.tiers, view.tier_at)
        # What stands behind this position apart from its worth: all the unit's equity but that.
        worth = int(own[0]) - int(row["cash"])
        rules: list[Any] = [view.tiers, word(top), word(floor)]
        fee_e9 = int(view.tiers[0]["taker_e9"]) + self._fee_e9
        sizing: list[Any] = [word(value) for value in (fee_e9, TARGET_E6, FULL_BELOW_E6)]
        lots, ok = liquidation.close_size(*map(word, (size, equity, need, mark)), *rules, *sizing, *scale)
        cost, ok2 = liquidation.closing_cost(*map(word, (int(lots), mark, fee_e9)), *scale)
        others = need - int(own[1])
        price = liquidation_price.liquidation_price(word(size), word(equity - worth - others), *rules, *scale)
        empty = liquidation_price.bankruptcy_price(word(size), word(equity - worth), *scale)
        out = {
            "rank": rank,
            "account": int(row["account"]),
            "market": market,
            "mode": "cross" if int(row["mode"]) else "isolated",
            "size_lots": size,
            "equity_e6": equity,
            "maintenance_e6": need,
            "ratio_e6": int(margin.ratio_e6(word(equity), word(need))),
            "close_lots": int(lots) if int(ok) else None,
            "closing_fee_e6": int(cost) if int(ok) and int(ok2) else None,
            "liquidation_price": int(price[0]) if int(price[1]) == PRICE_FOUND else None,
            "bankruptcy_price": int(empty[0]) if int(empty[1]) == PRICE_FOUND else None,
        }
        if int(row["account"]) == 0:
            return out | self._backed(slot, equity, need, equity - worth)
        if int(row["mode"]):
            # Which of an account's positions is taken first is the engine's to decide: nothing is said here.
            return out | {"takeover_lots": None, "takeover_cost_e6": None, "deleverage": []}
        return out | self._taken(slot, equity - worth, mark, scale)

    def _taken(self, slot: int, cash: int, mark: int, scale: list[Any]) -> dict[str, Any]:
        """What insurance would take of the whole position, and who would be deleveraged for what is left."""
        row = self.view.positions[slot]
        size = int(row["size"])
        dsize, dcash, transfer, ok = (
            int(value)
            for value in liquidation.takeover(
                *map(word, (size, cash, mark, self.insurance_e6, self._reserve_e12)), *scale
            )
        )
        if not ok:
            return {"takeover_lots": None, "takeover_cost_e6": None, "deleverage": []}
        self.insurance_e6 -= transfer
        return {
            "takeover_lots": dsize,
            "takeover_cost_e6": transfer,
            "deleverage": self._queue(slot, size - dsize, cash - dcash),
        }

    def _backed(self, slot: int, equity: int, need: int, cash: int) -> dict[str, Any]:
        """Of a position of insurance, which is sold whole: what its fund puts behind it, or, where that does not
        reach its maintenance, who is deleveraged for it."""
        size, fund = int(self.view.positions[slot]["size"]), max(0, self.insurance_e6)
        reaches = equity + fund >= need
        moved = min(-(-need * TARGET_E6 // MOVE_ONE) - equity if reaches else max(0, -equity), fund)
        self.insurance_e6 -= moved
        queue = [] if reaches else self._queue(slot, size, cash + moved)
        told = {"takeover_lots": None, "takeover_cost_e6": moved, "deleverage": queue}
        return {"close_lots": abs(size)} | told

    def _queue(self, slot: int, size: int, cash: int) -> list[dict[str, int]]:
        if size == 0:
            return []
        view = self.view
        rows, side = view.positions, word(-1 if size > 0 else 1)
        at, sizes, scores, equity = np.zeros((4, len(rows)), np.int64)
        lists: list[Any] = [*self._links, touched.new_members()]
        given: list[Any] = [
            word(int(rows[slot]["market"])),
            side,
            word(len(rows)),
            view.accounts,
            rows,
            *lists,
        ]
        rules: list[Any] = [view.risk, view.tiers, view.tier_at, at, sizes, scores, equity]
        found = int(candidates.score_side(*given, *rules))
        order, dsizes, dcashes = np.zeros((3, len(rows)), np.int64)
        count = liquidation.order_deleveraging(scores[:found], sizes[:found], side, order)
        _left, used, ok = liquidation.deleverage(
            word(size), word(cash), sizes, order, word(int(count)), dsizes, dcashes
        )
        if not int(ok):
            return []
        return [
            {
                "account": int(rows[at[order[k]]]["account"]),
                "lots": int(dsizes[k]),
                "dcash_e6": int(dcashes[k]),
            }
            for k in range(int(used))
        ]


def report(directory: Path, move_e6: int, liquidation_e9: int, reserve_e12: int) -> dict[str, Any]:
    """What would be liquidated in the books of a data directory. Raises InputFileError, JournalError, UsageError."""
    if not -MOVE_ONE < move_e6 <= 10 * MOVE_ONE:
        raise UsageError("--move must be above -100 % and at most 1,000 %")
    view = view_of(fold(directory), move_e6, liquidation_e9)
    walk = Candidates(view, liquidation_e9, reserve_e12)
    before = walk.insurance_e6
    rows = walk.rows()
    return {
        "ordinal": view.ordinal,
        "move_e6": move_e6,
        "positions": int((view.positions["size"] != 0).sum()),
        "insurance_e6": before,
        "insurance_left_e6": walk.insurance_e6,
        "not_told": len(walk.faults),
        "markets": [
            {
                "market": m,
                "mark": int(view.risk[m]["mark"]),
                "price_decimals": int(row["price_exp"]) - int(row["lot_exp"]),
                "size_decimals": int(row["lot_exp"]),
                "symbol": symbol_of(row),
            }
            for m, row in enumerate(view.markets)
        ],
        "candidates": rows,
    }


def lines(told: dict[str, Any]) -> list[str]:
    """The report for a person."""
    markets = {row["market"]: row for row in told["markets"]}
    out = [
        f"books after {told['ordinal']:,} frames: {told['positions']:,} open positions, insurance "
        f"{told['insurance_e6'] / 10**6:,.2f} USDC"
        + (f"; marks moved by {told['move_e6'] / 10**4:+g} %" if told["move_e6"] else "")
    ]
    if told["not_told"]:
        out.append(
            f"{told['not_told']} units cannot be valued: a mark is unknown or a number past its bounds"
        )
    if not told["candidates"]:
        return [
            *out,
            "nothing else would be liquidated" if told["not_told"] else "nothing would be liquidated",
        ]
    out.append(
        f"{'':>4} {'account':>8} {'market':<10}{'mode':<9}{'size':>16}{'equity':>16}{'needs':>16}{'ratio':>9}"
        f"{'close':>16}{'fee':>12}{'liq. price':>14}{'bankrupt at':>14}{'insurance pays':>16}  deleverage"
    )
    return out + [_line(row, markets[row["market"]]) for row in told["candidates"]]


def _price(value: int | None, places: int) -> str:
    """A price of so many decimals: at least two of them, and six digits in all, so that cheap coins can be told
    apart."""
    if value is None:
        return "-"
    shown = Decimal(value).scaleb(-places)
    return f"{shown:,.{max(2, 5 - shown.adjusted())}f}"


def _line(row: dict[str, Any], market: dict[str, Any]) -> str:
    def usdc(value_e6: int | None) -> str:
        return "-" if value_e6 is None else f"{Decimal(value_e6).scaleb(-6):,.2f}"

    def coins(lots: int | None) -> str:
        return "-" if lots is None else f"{lots / 10 ** market['size_decimals']:+,.6g}"

    queue = [f"{one['account']}: {coins(one['lots'])}" for one in row["deleverage"][:QUEUE_SHOWN]]
    more = f" and {len(row['deleverage']) - QUEUE_SHOWN} more" if len(row["deleverage"]) > QUEUE_SHOWN else ""
    places = market["price_decimals"]
    side = -1 if row["size_lots"] > 0 else 1
    close = None if row["close_lots"] is None else side * row["close_lots"]
    return (
        f"{row['rank']:>4} {row['account']:>8} {market['symbol']:<10}{row['mode']:<9}{coins(row['size_lots']):>16}"
        f"{usdc(row['equity_e6']):>16}{usdc(row['maintenance_e6']):>16}{row['ratio_e6'] / 10**6:>9.3f}"
        f"{coins(close):>16}{usdc(row['closing_fee_e6']):>12}{_price(row['liquidation_price'], places):>14}"
        f"{_price(row['bankruptcy_price'], places):>14}{usdc(row['takeover_cost_e6']):>16}  "
        f"{', '.join(queue) or '-'}{more}"
    )
