"""From what a sweep found to CANDIDATE frames: lowest margin ratio first, a bounded number each time.

A candidate names a position to look at; the engine believes nothing else of it. So nothing is remembered
from sweep to sweep: whoever is still liquidatable is proposed again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.apply import Machine
from engine.risk.insolvent import Insolvent, waiting
from engine.risk.sweeper import Found, Sweeper
from kernels import candidates, liquidation
from kernels import frames as f
from kernels.crc32c import seal_frames, words_of
from kernels.frames import CandidateKind, Source, Template
from kernels.liquidation import UNWIND_NS
from kernels.margin import RATIO_MAX_E6
from kernels.types import wide


class Proposal(NamedTuple):
    """One candidate. counterparty: who is to take a deleveraged position over, else 0."""

    kind: CandidateKind
    account: int
    market: int
    ratio_e6: int
    counterparty: int = 0


class Ranked(NamedTuple):
    """proposals: in the order in which they are to be sent; faults: units whose margin cannot be told; worst_e6:
    the lowest ratio among all that were found."""

    proposals: list[Proposal]
    faults: int
    worst_e6: int


def propose(machine: Machine, sweeper: Sweeper, found: Found, most: int) -> Ranked:
    """All that a sweep leads to: liquidations by `rank`, what insurance sells, then deleveraging; `most` of each."""
    ranked = rank(machine, sweeper, found, most)
    more = unwinding(machine, sweeper)[:most]
    more += deleverage(machine, sweeper, waiting(machine, sweeper), most)
    return ranked._replace(proposals=ranked.proposals + more)


def unwinding(machine: Machine, sweeper: Sweeper) -> list[Proposal]:
    """Open positions of insurance by market: each once a second, for its next order, and at every sweep while it
    lacks margin. None where the engine would not liquidate now."""
    books, number = machine.books, machine.state.number
    count = wide(number("markets"))
    slots = np.zeros(int(count), np.int64)
    slots = slots[: int(candidates.list_held(wide(0), count, books.position_table, books.positions, slots))]
    equity, need, ratios = np.zeros((3, len(slots)), np.int64)
    rules = (sweeper.risk, books.tiers, sweeper.tier_at, sweeper.permitted)
    candidates.value_positions(slots, wide(len(slots)), books.positions, *rules, equity, need, ratios)
    rows = books.positions[slots]
    heard_ns = np.where(rows["liquidation"] > 0, books.liquidations["heard_ns"][rows["liquidation"] - 1], 0)
    due = (equity < need) | (number("now_ns") - heard_ns >= UNWIND_NS)
    due &= sweeper.permitted[rows["market"]] == 1
    told = zip(rows["market"][due].tolist(), ratios[due].tolist(), strict=True)
    return [Proposal(CandidateKind.LIQUIDATE, 0, market, ratio) for market, ratio in told]


def rank(machine: Machine, sweeper: Sweeper, found: Found, most: int) -> Ranked:
    """The `most` units with the lowest margin ratio; ties by number, positions before accounts.

    The position proposed for a cross account is its largest by maintenance. Those of insurance (account 0) go
    another way, see `unwinding`.
    """
    books = machine.books
    slots = found.slots[books.positions["account"][found.slots] != 0]
    accounts = found.accounts[found.accounts != 0]
    count = len(slots) + len(accounts)
    equity, need, ratios, to_close = np.zeros((4, count), np.int64)
    to_close[: len(slots)] = slots
    rules = (sweeper.risk, books.tiers, sweeper.tier_at, sweeper.permitted)
    faults = candidates.value_positions(
        slots, wide(len(slots)), books.positions, *rules, equity, need, ratios
    )
    faults += candidates.value_accounts(
        accounts,
        wide(len(accounts)),
        books.accounts,
        books.positions,
        books.cross_first,
        books.cross_next,
        sweeper.members,
        *rules,
        wide(len(slots)),
        equity,
        need,
        ratios,
        to_close,
    )
    units = _nearest(ratios, most)
    order = np.zeros(len(units), np.int64)
    ranked = int(liquidation.order_candidates(equity[units], need[units], order))
    out = []
    for unit in units[order[:ranked]].tolist():
        row = books.positions[to_close[unit]]
        ratio = int(ratios[unit])
        out.append(Proposal(CandidateKind.LIQUIDATE, int(row["account"]), int(row["market"]), ratio))
    return Ranked(out[:most], int(faults), int(ratios.min(initial=RATIO_MAX_E6)))


def _nearest(ratios_e6: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Rising numbers of the units that can be among the `most` lowest. A ratio rounded down keeps the order of
    the exact ones, so only those that are its equals need be kept beside the last."""
    if len(ratios_e6) <= most:
        return np.arange(len(ratios_e6))
    return np.flatnonzero(ratios_e6 <= np.partition(ratios_e6, most - 1)[most - 1])


def deleverage(machine: Machine, sweeper: Sweeper, waiting: list[Insolvent], most: int) -> list[Proposal]:
    """Counterparties for positions that insurance cannot take, in their order, until each is covered.

    Of each market and side the highest score comes first (`liquidation.deleverage_score`), ties by slot; a
    counterparty's lots are given out once. At most `most` proposals.
    """
    queues: dict[tuple[int, int], Queue] = {}
    out: list[Proposal] = []
    for one in waiting:
        side = -1 if one.size > 0 else 1
        queue = queues.get((one.market, side))
        if queue is None:
            queue = queues[one.market, side] = Queue(machine, sweeper, one.market, side)
        out += [
            Proposal(CandidateKind.DELEVERAGE, one.account, one.market, -RATIO_MAX_E6, counterparty)
            for counterparty in queue.cover(one, most - len(out))
        ]
    return out


class Queue:
    """Positions of one market on one side, in the order in which they are deleveraged."""

    def __init__(self, machine: Machine, sweeper: Sweeper, market: int, side: int) -> None:
        books = machine.books
        count = machine.state.number("positions")
        sized = books.positions[:count]
        held = int(((sized["market"] == market) & (np.sign(sized["size"]) == side)).sum())
        slots, sizes, scores, equity = np.zeros((4, held), np.int64)
        candidates.score_side(
            wide(market),
            wide(side),
            wide(count),
            books.accounts,
            books.positions,
            books.cross_first,
            books.cross_next,
            sweeper.members,
            sweeper.risk,
            books.tiers,
            sweeper.tier_at,
            slots,
            sizes,
            scores,
            equity,
        )
        order = np.zeros(held, np.int64)
        ranked = int(liquidation.order_deleveraging(scores, sizes, wide(side), order))
        rank_order = order[:ranked]
        self._accounts = books.positions["account"][slots[rank_order]].tolist()
        self._left = np.abs(sizes[rank_order]).tolist()
        self._equity_e6 = equity[rank_order].tolist()
        self._first = 0

    def cover(self, one: Insolvent, most: int) -> list[int]:
        """Accounts that take its lots between them, or all that can, or `most`.

        Passed over are itself and whoever its price would leave below zero: the engine moves nothing to those.
        """
        whole = lots = abs(one.size)
        out: list[int] = []
        for k in range(self._first, len(self._accounts)):
            if lots == 0 or len(out) == most:
                break
            part = min(lots, self._left[k])
            cost_e6 = -(min(0, one.equity_e6) * part // whole)
            if part == 0 or self._accounts[k] == one.account or self._equity_e6[k] < cost_e6:
                continue
            out.append(self._accounts[k])
            lots -= part
            self._left[k] -= part
            self._equity_e6[k] -= cost_e6
        while self._first < len(self._left) and self._left[self._first] == 0:
            self._first += 1
        return out


def frames_of(proposals: list[Proposal], first_seq: int, seen_ordinal: int) -> NDArray[np.void]:
    """Sealed CANDIDATE frames of source RISK. seen_ordinal: the last frame that the books held."""
    out = f.new_frames(Template.CANDIDATE, len(proposals), source=Source.RISK, first_seq=first_seq)
    out["seen_position"] = seen_ordinal
    for row, one in zip(out, proposals, strict=True):
        row["account"], row["market"], row["kind"] = one.account, one.market, int(one.kind)
        row["ratio"], row["counterparty"] = one.ratio_e6, one.counterparty
    seal_frames(words_of(out), 0, len(out))
    return out.view(f.FRAME)
