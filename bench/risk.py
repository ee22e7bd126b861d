"""The risk process's sweep over its own copy of large books: calm and moving ticks, and what touches them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bench._margin_rivals import Books, moved, seeded_books
from bench.harness import Budget
from engine.core.apply import Machine
from engine.follower import Followed
from engine.risk.pace import Pace
from engine.risk.proposals import rank
from engine.risk.sweeper import Sweeper
from kernels import slots
from kernels.frames import FRAME
from kernels.layouts import ACCOUNT_CROSS, LEG, RESULT
from kernels.types import wide

ACCOUNTS, PER_ACCOUNT, MARKETS = 1_000_000, 4, 200
CROSS_EVERY = 10
FILLS_PER_S = 200_000
CALM_BPS, MOVING_BPS = 0.3, 20.0
"""Of all prices in 100 ms: some 5 % a day, and 300 % a day."""
TICKS = 5
STEADY, SUDDEN_AT = 40, 10
"""Sweeps one after the other as the process does them, and which of them meets a price that jumped."""
SLICES = 100
PROPOSED = 1024
TURN_NS, SHARE = 100_000_000, 4
"""A turn of the process, and which part of it rooms and first checks may take."""


def machine_of(books: Books) -> Machine:
    """A machine that stands in these books; every tenth account holds its positions in cross mode."""
    machine = Machine(capacity=16)
    state = machine.state
    state.reserve(len(books.positions))
    own = state.books
    positions, accounts = books.positions, len(books.positions) // PER_ACCOUNT
    positions["account"] = 1 + np.arange(len(positions)) // PER_ACCOUNT
    positions["mode"] = positions["account"] % CROSS_EVERY == 0
    own.positions[: len(positions)] = positions
    own.accounts["flags"][CROSS_EVERY : 1 + accounts : CROSS_EVERY] = ACCOUNT_CROSS
    own.meta[0]["positions"], own.meta[0]["accounts"] = len(positions), 1 + accounts
    own.meta[0]["markets"] = len(books.risk)
    for name in ("scale", "quote_mul", "quote_div", "index_e6", "mark"):
        own.markets[name][: len(books.risk)] = books.risk[name]
    own.markets["active"][: len(books.risk)] = 1
    own.markets["interval_s"][: len(books.risk)] = 3600
    own.markets["leverage_default"][: len(books.risk)] = 20
    own.tiers[:] = books.tiers
    slots.index_positions(own.position_table, own.positions, wide(len(positions)))
    slots.index_cross(own.cross_first, own.cross_next, own.positions, wide(len(positions)))
    return machine


def put_prices(machine: Machine, risk: NDArray[np.void]) -> None:
    """Marks and indices of a tick."""
    for name in ("mark", "index_e6"):
        machine.books.markets[name][: len(risk)] = risk[name]


def touching(machine: Machine, fills: int, seed: int) -> Followed:
    """Both legs of so many fills of random positions."""
    count = machine.state.number("positions")
    at = np.random.default_rng(seed).integers(0, count, 2 * fills)
    legs = np.zeros(2 * fills, LEG)
    legs["account"], legs["market"] = (machine.books.positions[name][at] for name in ("account", "market"))
    return Followed(np.zeros(0, FRAME), 1, np.zeros(0, RESULT), legs)


class Spent:
    """Best of several runs of each part, in seconds."""

    def __init__(self) -> None:
        self.best: dict[str, float] = {}
        self._began = 0.0

    def begin(self) -> None:
        self._began = time.perf_counter()

    def end(self, name: str) -> None:
        spent = time.perf_counter() - self._began
        self.best[name] = min(spent, self.best.get(name, spent))


def measured(machine: Machine, books: Books, fills: int) -> Spent:
    """Sweeps at prices as they were, a little and far from there. Every answer is compared with everyone's."""
    spent = Spent()
    for turn in range(TICKS + 1):
        if turn == 1:
            spent.best.clear()  # the first turn loads what is compiled
        for name, bps in (("calm", CALM_BPS), ("moving", MOVING_BPS)):
            put_prices(machine, books.risk)
            sweeper = Sweeper(machine)
            spent.begin()
            sweeper.sweep()
            spent.end("all rooms anew")
            put_prices(machine, moved(books, bps))
            spent.begin()
            sweeper.sweep()
            spent.end(f"{name}, nothing touched")
            followed = touching(machine, fills, turn)
            spent.begin()
            sweeper.touch(followed)
            spent.end("touch")
            spent.begin()
            found = sweeper.sweep()
            spent.end(name)
            spent.begin()
            rank(machine, sweeper, found, PROPOSED)
            spent.end(f"ranking, {name}")
            spent.begin()
            sweeper.check(found)
            spent.end("everyone")
    return spent


def steady(machine: Machine, books: Books, fills: int) -> list[float]:
    """Seconds of each of STEADY sweeps in a row, with their slice of the check and their ranking, while prices walk
    and once jump so that a new anchor has to be taken."""
    sweeper, spent = Sweeper(machine), []
    put_prices(machine, books.risk)
    sweeper.touch(touching(machine, 1, 0))
    sweeper.check(sweeper.sweep())
    for turn in range(STEADY):
        put_prices(machine, moved(books, CALM_BPS * (1 + turn) + (MOVING_BPS if turn >= SUDDEN_AT else 0)))
        followed = touching(machine, fills, turn)
        began = time.perf_counter()
        sweeper.touch(followed)
        found = sweeper.sweep()
        rank(machine, sweeper, found, PROPOSED)
        sweeper.check_slice(found, SLICES)
        spent.append(time.perf_counter() - began)
    return spent


def in_turns(machine: Machine, sweeper: Sweeper) -> list[float]:
    """Seconds of each turn, with its ranking, until no room is late; then of each slice of a check of everyone."""
    rooms, checks, spent = Pace(TURN_NS // SHARE), Pace(TURN_NS // SHARE), []
    late, done = True, False
    while not done:
        began = time.perf_counter()
        if late:
            used = sweeper.take_rooms(rooms.units())
            rooms.took(used, int((time.perf_counter() - began) * 1e9))
            found = sweeper.look()
            rank(machine, sweeper, found, PROPOSED)
            late = sweeper.counts.late > 0
        else:
            slices = -(-sweeper.counts.units // checks.units())
            done = sweeper.check_slice(found, slices)
            checks.took(sweeper.counts.units // slices, int((time.perf_counter() - began) * 1e9))
        spent.append(time.perf_counter() - began)
    return spent


def upheavals(machine: Machine) -> dict[str, list[float]]:
    """Seconds of each turn where all rooms are due: at a start, when the tiers change, when half of all positions
    are touched."""
    sweeper = Sweeper(machine)
    out = {"start": in_turns(machine, sweeper)}
    machine.books.tiers["maintenance_e12"][0] += 1
    out["tiers"] = in_turns(machine, sweeper)
    sweeper.touch(touching(machine, machine.state.number("positions") // 3, 1))
    out["half touched"] = in_turns(machine, sweeper)
    return out


def run(scale: int = 1) -> Iterator[Budget]:
    """Measure; `scale` divides every size, for a look at whether it runs."""
    count = max(ACCOUNTS // scale, 16) * PER_ACCOUNT
    books = seeded_books(count, MARKETS)
    machine = machine_of(books)
    fills = max(FILLS_PER_S // 10 // scale, 1)
    best = measured(machine, books, fills).best
    spent = steady(machine, books, fills)
    turns = upheavals(machine)
    sizes = {f"{name}, ms": seconds * 1e3 for name, seconds in best.items()}
    sizes |= {"positions": float(count), "fills that touch, a tick": float(fills)}
    yield Budget(
        name=f"risk sweep of {count // PER_ACCOUNT} accounts, {count} positions in a calm 100 ms",
        figure=(best["calm"] + best["touch"] + best["ranking, calm"]) * 1e3,
        unit="ms",
        goal="≤ 25",
        answer_checked=True,
        ratios={"everyone": (best["calm"] + best["touch"]) / best["everyone"]},
        sizes=sizes,
    )
    at_once = best["all rooms anew"] + best["everyone"]
    yield Budget(
        name=f"worst of {STEADY} sweeps in a row, checks and a new anchor in slices",
        figure=max(spent) * 1e3,
        unit="ms",
        goal="≤ 100",
        answer_checked=True,
        ratios={"all rooms and everyone in one": max(spent) / at_once},
        sizes={"median, ms": sorted(spent)[STEADY // 2] * 1e3, "after a jump, ms": spent[SUDDEN_AT] * 1e3},
    )
    worst = {name: max(spent) for name, spent in turns.items()}
    yield Budget(
        name="worst turn of a start, a change of tiers, and half of all positions touched",
        figure=max(worst.values()) * 1e3,
        unit="ms",
        goal="≤ 100",
        answer_checked=True,
        ratios={"all rooms and everyone in one": max(worst.values()) / at_once},
        sizes={f"{name}, worst ms": seconds * 1e3 for name, seconds in worst.items()}
        | {f"{name}, turns": float(len(spent)) for name, spent in turns.items()},
    )
