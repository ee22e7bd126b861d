"""Which positions under liquidation wait for deleveraging: due for takeover, and more than insurance can bear; or
insurance's own, and more than its fund can back.

The engine takes over first and says so in the books; this only tells for whom a ranking of the other side is
worth its cost, and how much of the position that has to cover.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.core.apply import Machine
from engine.risk.sweeper import Sweeper
from kernels import liquidation, margin, slots, sweep
from kernels.liquidation import TAKEOVER_NS
from kernels.types import wide


class Insolvent(NamedTuple):
    """A position that waits. size: what insurance would leave of it, signed; equity_e6: of that part, what its unit
    is worth, below zero what the other side has to bear."""

    account: int
    market: int
    size: int
    equity_e6: int = 0


def waiting(machine: Machine, sweeper: Sweeper) -> list[Insolvent]:
    """Positions that insurance cannot take whole now, the longest under liquidation first.

    Insurance is counted down from one to the next, as takeovers would use it up.
    """
    books, number = machine.books, machine.state.number
    rows = books.liquidations[: number("open_liquidations")]
    now_ns, available = number("now_ns"), int(books.accounts[0]["free_e6"])
    out = []
    columns = (rows[name].tolist() for name in ("first_ns", "account", "market"))
    for first_ns, account, market in sorted(zip(*columns, strict=True)):
        slot = int(slots.find_position(books.position_table, books.positions, wide(account), wide(market)))
        equity, need, ok = _unit(machine, sweeper, slot)
        size = int(books.positions[slot]["size"])
        if ok and account == 0 and equity < need and equity + available < need:
            lifted = min(max(0, -equity), available)
            available -= lifted
            out.append(Insolvent(account, market, size, equity + lifted))
        if not ok or account == 0 or (equity > 0 and now_ns - first_ns < TAKEOVER_NS):
            continue
        taken, transfer = _takeover(machine, sweeper, slot, equity, available)
        available -= transfer
        if size != taken:
            out.append(Insolvent(account, market, size - taken, equity * (size - taken) // size))
    return out


def _unit(machine: Machine, sweeper: Sweeper, slot: int) -> tuple[int, int, bool]:
    """(equity, maintenance, whether they can be told) of the unit that the position in `slot` belongs to."""
    books = machine.books
    rules = (sweeper.risk, books.tiers, sweeper.tier_at)
    row = books.positions[slot]
    if int(row["mode"]) == 0:
        equity, need, _, ok = margin.position_margin(row, sweeper.risk[int(row["market"])], *rules[1:])
        return int(equity), int(need), bool(ok)
    account = wide(row["account"])
    held = slots.list_linked(books.cross_first, books.cross_next, account, sweeper.members)
    free = books.accounts[account]["free_e6"]
    equity, need, ok = sweep.account_margin(
        free, books.positions, sweeper.members, wide(0), wide(held), *rules
    )
    return int(equity), int(need), bool(ok)


def _takeover(
    machine: Machine, sweeper: Sweeper, slot: int, equity_e6: int, available_e6: int
) -> tuple[int, int]:
    """(lots that insurance would take, what it would put behind them) of a position whose unit has so much."""
    books = machine.books
    row = books.positions[slot]
    risk = sweeper.risk[int(row["market"])]
    scale = (risk["quote_mul"], risk["quote_div"])
    worth, _, ok = margin.valued(row["size"], risk["mark"], *scale)
    reserve = books.meta[0]["reserve_e12"]
    given = (wide(equity_e6 - int(worth)), risk["mark"], wide(available_e6), reserve)
    dsize, _, transfer, fits = liquidation.takeover(row["size"], *given, *scale)
    return (int(dsize), int(transfer)) if ok and fits else (0, 0)
