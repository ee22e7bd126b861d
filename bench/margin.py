"""Margin sweeps, full and incremental, and the hourly settlement of a whole view, on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bench._margin_rivals import Books, Columns, DecimalSweep, decimal_rows, model_rows, moved, seeded_books
from bench.harness import Budget, best_of
from kernels.room import (
    anchor_accounts,
    anchor_positions,
    move_markets,
    out_of_room,
    recheck_accounts,
    recheck_positions,
)
from kernels.slots import index_cross
from kernels.sweep import (
    FLAG_LIQUIDATABLE,
    list_cross,
    new_work,
    settle_positions,
    sweep_accounts,
    sweep_positions,
)
from kernels.touched import new_members

POSITIONS = 10_000_000
MARKETS = 200
CROSS_POSITIONS = 4_000_000
PER_ACCOUNT = 4
SLOW_ROWS = 50_000
MODEL_ROWS = 5_000
NUMPY_BLOCK = 1 << 16
CALM_BPS, ROUGH_BPS = 1.0, 20.0
ROUNDS = 5
_WORK = new_work()


def _million_per_s(count: int, seconds: float) -> float:
    return count / seconds / 1e6


def _full(books: Books, risk: NDArray[np.void], ratios: NDArray[np.int64], flags: NDArray[np.int8]) -> int:
    """Sweep every position of the books at `risk`."""
    count = len(books.positions)
    table = (books.tiers, books.tier_at)
    return int(sweep_positions(books.positions, 0, count, risk, *table, ratios, flags, _WORK))


def full_sweep(books: Books, slow_rows: int, checked_rows: int) -> Iterator[Budget]:
    """Ratio and flag of every isolated position, against NumPy in one piece and in blocks, and Decimal."""
    count = len(books.positions)
    ratios, flags = np.zeros(count, np.int64), np.zeros(count, np.int8)
    columns, floats, below = Columns(books), np.zeros(count), np.zeros(count, bool)

    def blocked() -> None:
        for at in range(0, count, NUMPY_BLOCK):
            columns.sweep(slice(at, at + NUMPY_BLOCK), floats, below)

    # In turns, so that a busy neighbour slows all of them.
    calls: dict[str, Callable[[], object]] = {
        "exact": partial(_full, books, books.risk, ratios, flags),
        "NumPy float64": partial(columns.sweep, slice(0, count), floats, below),
        "NumPy float64 in blocks of 65,536": blocked,
    }
    spent = dict.fromkeys(calls, float("inf"))
    for turn in range(ROUNDS):
        for name, call in calls.items():
            spent[name] = min(spent[name], best_of(call, 1, 1 if turn == 0 else 0))
    exact = spent.pop("exact")
    rival, rows = DecimalSweep(books), decimal_rows(books, slow_rows)
    began = time.perf_counter()
    decimal = rival.sweep(rows)
    decimal_s = (time.perf_counter() - began) / len(rows) * count
    answers = list(
        zip(ratios[: len(rows)].tolist(), (flags[: len(rows)] == FLAG_LIQUIDATABLE).tolist(), strict=True)
    )
    model = [(m.equity * 10**6 // m.maintenance, m.liquidatable) for m in model_rows(books, checked_rows)]
    right = answers == decimal and answers[: len(model)] == model
    sizes = {f"{name}, million positions/s": _million_per_s(count, s) for name, s in spent.items()}
    sizes |= {
        "exact, million positions/s": _million_per_s(count, exact),
        "positions": float(count),
        "liquidatable": float((flags == FLAG_LIQUIDATABLE).sum()),
        "NumPy ratios wrong, percent": 100 * float((floats != ratios).mean()),
    }
    yield Budget(
        name=f"exact full margin sweep of {count} positions, faster than NumPy float64",
        figure=spent["NumPy float64"] / exact,
        unit="x",
        goal="≥ 1.5",
        answer_checked=right,
        ratios={name: s / exact for name, s in spent.items()},
        sizes=sizes,
    )
    yield Budget(
        name="exact full margin sweep, faster than Decimal",
        figure=decimal_s / exact,
        unit="x",
        goal="≥ 25",
        answer_checked=right,
        ratios={"Decimal": decimal_s / exact},
        sizes={"Decimal, million positions/s": _million_per_s(count, decimal_s)},
    )


class Incremental:
    """The incremental sweep of isolated positions, with its working arrays."""

    def __init__(self, books: Books) -> None:
        self.books, count = books, len(books.positions)
        self.rooms, self.found = np.zeros(count, np.int32), np.zeros(count, np.int64)
        self.moves = np.zeros(len(books.risk), np.int64)
        anchor_positions(books.positions, 0, count, books.risk, books.tiers, books.tier_at, self.rooms)

    def tick(self, risk: NDArray[np.void]) -> NDArray[np.int64]:
        """Slots liquidatable at `risk`."""
        books, count = self.books, len(self.rooms)
        widest = move_markets(books.risk, risk, len(risk), self.moves)
        near = out_of_room(self.rooms, 0, count, widest, self.found)
        kept = recheck_positions(
            self.found, near, books.positions, risk, self.moves, self.rooms, books.tiers, books.tier_at
        )
        return self.found[:kept]


class IncrementalCross:
    """Both sweeps of cross accounts."""

    def __init__(self, books: Books) -> None:
        accounts = len(books.accounts)
        self.books, count = books, len(books.positions)
        first, members = np.zeros(accounts + 1, np.int64), np.zeros(count, np.int64)
        list_cross(books.positions, count, accounts, first, members)
        self.ranges = books.positions, first, members
        heads, following = np.zeros(accounts, np.int32), np.zeros(count, np.int32)
        index_cross(heads, following, books.positions, count)
        self.lists = books.positions, heads, following, new_members()
        self.rooms, self.found = np.zeros(accounts, np.int32), np.zeros(accounts, np.int64)
        self.ratios, self.flags = np.zeros(accounts, np.int64), np.zeros(accounts, np.int8)
        self.moves = np.zeros(len(books.risk), np.int64)
        self.table = (books.tiers, books.tier_at)
        anchor_accounts(books.accounts, 0, accounts, *self.lists, books.risk, *self.table, self.rooms)

    def full(self, risk: NDArray[np.void]) -> NDArray[np.int64]:
        """Accounts liquidatable at `risk`, every one valued."""
        accounts = self.books.accounts
        sweep_accounts(accounts, 0, len(accounts), *self.ranges, risk, *self.table, self.ratios, self.flags)
        return np.flatnonzero(self.flags == FLAG_LIQUIDATABLE)

    def tick(self, risk: NDArray[np.void]) -> NDArray[np.int64]:
        """The same by rooms."""
        books = self.books
        widest = move_markets(books.risk, risk, len(risk), self.moves)
        near = out_of_room(self.rooms, 0, len(self.rooms), widest, self.found)
        kept = recheck_accounts(
            self.found, near, books.accounts, *self.lists, risk, self.moves, self.rooms, *self.table
        )
        return self.found[:kept]


def incremental_sweep(books: Books, cross: Books) -> Iterator[Budget]:
    """A tick in which prices have moved a little since the anchor; both sweeps must name the same."""
    count = len(books.positions)
    ratios, flags = np.zeros(count, np.int64), np.zeros(count, np.int8)
    ours, accounts = Incremental(books), IncrementalCross(cross)
    sizes, right, gain = {}, True, {}
    for name, bps in (("calm", CALM_BPS), ("rough", ROUGH_BPS)):
        risk, cross_risk = moved(books, bps), moved(cross, bps)
        full_s = best_of(partial(_full, books, risk, ratios, flags), ROUNDS)
        tick_s = best_of(partial(ours.tick, risk), ROUNDS)
        right &= np.array_equal(ours.tick(risk), np.flatnonzero(flags == FLAG_LIQUIDATABLE))
        account_full_s = best_of(partial(accounts.full, cross_risk), ROUNDS)
        account_s = best_of(partial(accounts.tick, cross_risk), ROUNDS)
        right &= np.array_equal(accounts.tick(cross_risk), accounts.full(cross_risk))
        gain[name] = full_s / tick_s
        gain[f"{name}, cross"] = account_full_s / account_s
        sizes[f"{name} tick ({bps:g} bp), {count} positions, ms"] = tick_s * 1e3
        sizes[f"{name} tick, full, ms"] = full_s * 1e3
        n = len(cross.accounts)
        sizes[f"{name} tick ({bps:g} bp), {n} accounts of {PER_ACCOUNT}, ms"] = account_s * 1e3
        sizes[f"{name} tick, {n} accounts, full, ms"] = account_full_s * 1e3
    yield Budget(
        name="incremental margin sweep, faster than the full one in a calm tick",
        figure=min(gain["calm"], gain["calm, cross"]),
        unit="x",
        goal="≥ 15",
        answer_checked=right,
        ratios={f"full sweep, {name}": value for name, value in gain.items()},
        sizes=sizes,
    )


def settlement(books: Books, checked_rows: int) -> Iterator[Budget]:
    """Funding of one hour paid to every position in place."""
    count = len(books.positions)
    view = books.positions.copy()
    spent = float("inf")
    for _ in range(ROUNDS):
        view["cash"], view["rem"], view["idx"] = (books.positions[n] for n in ("cash", "rem", "idx"))
        began = time.perf_counter()
        failed = settle_positions(view, 0, count, books.risk)
        spent = min(spent, time.perf_counter() - began)
    old, names = books.positions[:checked_rows].tolist(), view.dtype.names
    assert names is not None
    at = {name: names.index(name) for name in ("market", "size", "cash", "idx", "rem")}
    plain = []
    for row in old:
        market = books.risk[row[at["market"]]]
        owed = -row[at["size"]] * (int(market["index_e6"]) - row[at["idx"]]) + row[at["rem"]]
        pay, rem = divmod(owed, int(market["scale"]))
        plain.append((row[at["cash"]] + pay, rem, int(market["index_e6"])))
    part = view[:checked_rows]
    right = failed == 0 and plain == list(
        zip(part["cash"].tolist(), part["rem"].tolist(), part["idx"].tolist(), strict=True)
    )
    yield Budget(
        name=f"hourly settlement of {count} positions",
        figure=spent * 1e3,
        unit="ms",
        goal="≤ 60",
        answer_checked=right,
        sizes={"ns a position": spent / count * 1e9, "positions": float(count)},
    )


def run(scale: int = 1) -> Iterator[Budget]:
    """Measure; `scale` divides every size, for a look at whether it runs."""
    books = seeded_books(max(POSITIONS // scale, 64), MARKETS)
    slow, model = max(SLOW_ROWS // scale, 32), max(MODEL_ROWS // scale, 32)
    yield from settlement(books, slow)
    yield from full_sweep(books, slow, model)
    cross = seeded_books(max(CROSS_POSITIONS // scale, 64), MARKETS, PER_ACCOUNT)
    yield from incremental_sweep(books, cross)
