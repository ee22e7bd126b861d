"""Exact arithmetic, booking, the tick and consensus, on one thread and without a journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from decimal import ROUND_FLOOR, Decimal
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench._fills import CHUNK, Traders, feed, fills_of, opened
from bench._pricing_rivals import DecimalBooks, books_balance, fill_rows, plain_rounds
from bench._ticks import Clock
from bench.harness import Budget, best_of
from engine.core.apply import Machine
from kernels.book import residual_is_zero
from kernels.columns import mul_div_floor_column
from kernels.frames import Template
from kernels.int128 import by_constant, mul_div_floor, mul_div_floor_by
from kernels.jit import kernel
from kernels.layouts import PRICE_MAX, PRICE_MIN
from kernels.oracle import VOTE, starting_rules
from kernels.oracle_rounds import CONSENSUS, ORACLE_STATE, VOTE_SLOTS, decide_all
from kernels.types import Words
from relayer.verify.model import Model

MARKETS = 8
POSITIONS = (1_000, 1_000_000, 10_000_000)
FILLS = 1 << 20
ROUNDS = 4
"""Rounds of forty milliseconds or more. To make the fills of one takes the books out of the caches, their tables of
pages too, and the first fills of each round pay for that: an engine does not make its fills."""
DECIMAL_FILLS = 20_000
PRODUCTS = 1 << 16
SLOW_PRODUCTS = 1 << 14
DIVISOR = 10**8
TICK_MARKETS = (8, 200)
TICKS = 200
FEEDS = 4096
PROVIDERS = 5
_NOW_NS, _AGE_NS = 10**18, 10 * 10**9


@kernel
def _exact(a: Words, b: Words, divisor: int, out: Words) -> int:
    """out = floor(a * b / divisor). How many did not fit."""
    bad = 0
    for i in range(a.shape[0]):
        out[i], ok = mul_div_floor(a[i], b[i], divisor)
        bad += 1 - ok
    return bad


@kernel
def _by_reciprocal(a: Words, b: Words, divisor: int, reciprocal: int, shift: int, out: Words) -> int:
    """The same by a divisor whose reciprocal was computed before."""
    bad = 0
    for i in range(a.shape[0]):
        out[i], ok = mul_div_floor_by(a[i], b[i], divisor, reciprocal, shift)
        bad += 1 - ok
    return bad


@kernel
def _wrapping(a: Words, b: Words, divisor: int, out: Words) -> None:
    """The same with a product of 64 bits: wrong wherever it wraps."""
    for i in range(a.shape[0]):
        out[i] = a[i] * b[i] // divisor


@kernel
def _wrapping_constant(a: Words, b: Words, out: Words) -> None:
    """The same once more, by a divisor that the compiler knows and need not divide by."""
    for i in range(a.shape[0]):
        out[i] = a[i] * b[i] // 100_000_000


@kernel
def _floating(a: Words, b: Words, divisor: float, out: Words) -> None:
    """The same in float64: wrong wherever the product has over 53 bits."""
    for i in range(a.shape[0]):
        out[i] = int(np.floor(float(a[i]) * float(b[i]) / divisor))


def multiply_divide(products: int, slow_products: int) -> Iterator[Budget]:
    """Size times price by a divisor known only at run time, each way of doing it over the same numbers."""
    random = np.random.default_rng(1)
    a = random.integers(-(10**12), 10**12, products)
    b = random.integers(PRICE_MIN, PRICE_MAX, products)
    right = np.array([x * y // DIVISOR for x, y in zip(a.tolist(), b.tolist(), strict=True)], np.int64)
    calls: dict[str, Callable[[NDArray[np.int64]], object]] = {
        "exact": lambda out: _exact(a, b, DIVISOR, out),
        "a column": lambda out: mul_div_floor_column(a, b, DIVISOR, out),
        "by reciprocal": lambda out: _by_reciprocal(a, b, *by_constant(DIVISOR), out),
        "int64": lambda out: _wrapping(a, b, DIVISOR, out),
        "int64, constant divisor": lambda out: _wrapping_constant(a, b, out),
        "float64": lambda out: _floating(a, b, float(DIVISOR), out),
    }
    outs = {name: np.empty_like(a) for name in calls}
    spent_ns = {name: best_of(partial(calls[name], outs[name]), 9) / products * 1e9 for name in calls}
    wrong = {name: 100 * float((out != right).mean()) for name, out in outs.items()}
    slow_ns, slow_right = _slow_products(a[:slow_products], b[:slow_products], right[:slow_products])
    spent_ns |= slow_ns
    exactly = ("exact", "by reciprocal", "a column")
    checked = slow_right and not any(wrong[name] for name in exactly)
    sizes = {f"{name.replace(' ', '_')}_ns": ns for name, ns in spent_ns.items()}
    exact, shorter, column = (spent_ns.pop(name) for name in exactly)
    sizes |= {f"{name}_wrong_percent": wrong[name] for name in ("int64", "float64")}
    yield Budget(
        name="exact multiply-divide, over the wrong int64 product",
        figure=exact / spent_ns["int64"],
        unit="x",
        goal="≤ 2.1",
        answer_checked=checked,
        ratios={name: exact / ns for name, ns in spent_ns.items()},
        sizes=sizes,
    )
    yield Budget(
        name="exact multiply-divide by a reciprocal, over the wrong int64 product",
        figure=shorter / spent_ns["int64"],
        unit="x",
        goal="≤ 2.1",
        answer_checked=checked,
        ratios={name: shorter / ns for name, ns in spent_ns.items()},
    )
    yield Budget(
        name="exact multiply-divide of a column, over the wrong int64 product by a constant divisor",
        figure=column / spent_ns["int64, constant divisor"],
        unit="x",
        goal="≤ 2.1",
        answer_checked=checked,
        ratios={name: column / ns for name, ns in spent_ns.items()},
    )
    yield Budget(
        name="exact multiply-divide of a column, as margin sweeps value positions, faster than Decimal",
        figure=spent_ns["Decimal"] / column,
        unit="x",
        goal="≥ 200",
        answer_checked=checked,
        ratios={rival: spent_ns[rival] / column for rival in ("Decimal", "Python int")},
        sizes={
            "one at a time, as fills are booked, x": spent_ns["Decimal"] / exact,
            "the wrong int64 product one at a time, x": spent_ns["Decimal"] / spent_ns["int64"],
        },
    )


def _slow_products(
    a: NDArray[np.int64], b: NDArray[np.int64], right: NDArray[np.int64]
) -> tuple[dict[str, float], bool]:
    """(nanoseconds a product in Python integers and in Decimal, both right)."""
    rows = list(zip(a.tolist(), b.tolist(), strict=True))
    decimals = [(Decimal(x), Decimal(y)) for x, y in rows]
    divisor = Decimal(DIVISOR)
    answers: dict[str, list[int] | list[Decimal]] = {}

    def integers() -> None:
        answers["Python int"] = [x * y // DIVISOR for x, y in rows]

    def decimal() -> None:
        answers["Decimal"] = [(x * y / divisor).to_integral_value(ROUND_FLOOR) for x, y in decimals]

    spent = {"Python int": best_of(integers, 3), "Decimal": best_of(decimal, 3)}
    checked = all(answer == right.tolist() for answer in answers.values())
    return {name: s / len(rows) * 1e9 for name, s in spent.items()}, checked


class Rate(NamedTuple):
    """Fills a second in the fastest round and in the middle one, and the share of all fills that moved collateral."""

    best: float
    median: float
    drew: float


class Booked(NamedTuple):
    """Fills at one size of the books, twice over: positions as their first fills left them, which draw collateral
    as they grow (more work, and the more of it the younger they are), then with margin in hand.
    """

    positions: int
    fresh: Rate
    in_hand: Rate
    right: bool


def book(positions: int, count: int, rounds: int) -> Booked:
    """Book `rounds` times `count` fills between any two of about `positions` positions, fresh and with margin."""
    traders = Traders(MARKETS, max(2, -(-positions // MARKETS)) & ~1)
    machine, parts = opened(traders)
    fresh = _rounds(machine, traders, parts, count, rounds)
    for frames in traders.margins(machine.books):
        if feed(machine, frames):
            raise ValueError("a transfer to a position was refused")
    in_hand = _rounds(machine, traders, parts, count, rounds)
    books = machine.books
    right = int(books.meta[0]["refused"]) == 0 and int(books.meta[0]["positions"]) == traders.positions
    right = right and all(residual_is_zero(books.markets[m]) for m in range(MARKETS))
    return Booked(traders.positions, fresh, in_hand, right and books_balance(books, fills_of(parts)))


def _rounds(
    machine: Machine, traders: Traders, parts: list[NDArray[np.void]], count: int, rounds: int
) -> Rate:
    """Book so many rounds of new fills, and add them to `parts`."""
    seconds, told = [], machine.state.number("outputs")
    for _ in range(rounds):
        fills = traders.fills(count)
        began = time.perf_counter()
        feed(machine, fills)
        seconds.append(time.perf_counter() - began)
        parts.append(fills)
    drew = (machine.state.number("outputs") - told) / (rounds * count)
    return Rate(count / min(seconds), count / sorted(seconds)[rounds // 2], drew)


def book_decimal(positions: int, count: int) -> tuple[float, bool]:
    """(fills a second in dicts of Decimal, every number is a machine's to the unit), of fresh positions."""
    traders = Traders(MARKETS, max(2, -(-positions // MARKETS)) & ~1)
    machine, rival, seconds = Machine(capacity=CHUNK), None, 0.0
    for part in [*traders.opening(), traders.fills(count)]:
        if int(part["template"][0]) == int(Template.FILL):
            rival = rival or DecimalBooks(machine.books)
            rows = fill_rows(fills_of([part]))
            began = time.perf_counter()
            rival.book(rows)
            seconds = time.perf_counter() - began
        feed(machine, part)
    assert rival is not None
    return count / seconds, rival.equals(machine.books)


def booking(positions: tuple[int, ...], count: int, rounds: int, decimal_fills: int) -> Iterator[Budget]:
    """Two-leg fills by size of the books, and the Decimal engine at the smallest, which suits it best."""
    runs = [book(size, count, rounds) for size in positions]
    rival, rival_right = book_decimal(positions[0], decimal_fills)
    small, large = runs[0], runs[-1]
    right = all(run.right for run in runs)
    yield Budget(
        name=f"booking two-leg fills, {large.positions} positions with margin in hand",
        figure=large.in_hand.best,
        unit="fills/s",
        goal="≥ 20000000",
        answer_checked=right,
        sizes=_by_size({run.positions: run.in_hand for run in runs}),
    )
    yield Budget(
        name=f"booking, slower with {large.positions} than with {small.positions} positions",
        figure=small.in_hand.best / large.in_hand.best,
        unit="x",
        goal="≤ 1.4",
        answer_checked=right,
        sizes={str(run.positions): small.in_hand.best / run.in_hand.best for run in runs},
    )
    yield Budget(
        name=f"booking two-leg fills, {large.positions} fresh positions, which draw as they grow",
        figure=large.fresh.best,
        unit="fills/s",
        goal="≥ 20000000",
        answer_checked=right,
        sizes=_by_size({run.positions: run.fresh for run in runs}),
    )
    yield Budget(
        name=f"booking, over a dict of Decimal, {small.positions} positions",
        figure=small.fresh.best / rival,
        unit="x",
        goal="≥ 20",
        answer_checked=right and rival_right,
        ratios={"dict of Decimal, without funding, sums and bounds": small.fresh.best / rival},
    )


def _by_size(rates: dict[int, Rate]) -> dict[str, float]:
    """Rates by number of positions, with the share of fills that drew collateral beside each."""
    sizes = {}
    for positions, rate in rates.items():
        sizes[str(positions)] = rate.best
        sizes[f"{positions}_median"] = rate.median
        sizes[f"{positions}_drew_percent"] = 100 * rate.drew
    return sizes


def ticks(markets: tuple[int, ...], count: int, model_seconds: int) -> Iterator[Budget]:
    """One second of every market: consensus, mark, premium; checked against the model over an hour's end."""
    sizes = {}
    for number in markets:
        clock = Clock(number)
        machine = Machine(capacity=CHUNK)
        feed(machine, clock.opening())
        each, single = f"{number} markets", f"{number} markets, a call for each tick"
        sizes[each] = min(_tick_us(machine, clock.seconds(count), CHUNK) for _ in range(4))
        sizes[single] = _tick_us(machine, clock.seconds(count), 1)
    model_us, right = _ticks_of_model(markets[0], model_seconds)
    figure = sizes[f"{markets[-1]} markets"]
    yield Budget(
        name=f"funding tick of {markets[-1]} markets",
        figure=figure,
        unit="us",
        goal="≤ 20",
        answer_checked=right,
        ratios={"plain Python integers, per market": figure / markets[-1] / model_us},
        sizes=sizes,
    )


def _tick_us(machine: Machine, frames: NDArray[np.void], chunk: int) -> float:
    """Microseconds a tick. ValueError: one was refused, so that the figure would mean nothing."""
    began = time.perf_counter()
    refused = feed(machine, frames, chunk)
    spent = time.perf_counter() - began
    if refused:
        raise ValueError(f"{refused} ticks were refused")
    return spent / len(frames) * 1e6


def _ticks_of_model(markets: int, seconds: int) -> tuple[float, bool]:
    """(microseconds a market and second in the naive twin, its digest after the hour is the machine's)."""
    clock = Clock(markets, seconds_before_hour=seconds - 2)
    frames = np.concatenate([clock.opening(), clock.seconds(seconds)])
    machine, model = Machine(capacity=CHUNK), Model()
    refused = feed(machine, frames)
    for raw in frames[:-seconds]:
        model.apply(raw)

    began = time.perf_counter()
    for raw in frames[-seconds:]:
        model.apply(raw)
    spent = time.perf_counter() - began
    paid = seconds < 1300 or bool(machine.books.markets["index_e6"][:markets].all())
    right = refused == 0 and paid and model.digest() == machine.state.digest()
    return spent / seconds / markets * 1e6, right


def seeded_votes(count: int, providers: int) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """(VOTE[count * 16], ORACLE_STATE[count] before the round): near prices, some stale, some unsure, some far
    off, some from the future; most markets have a last good price, of up to three seconds ago."""
    random = np.random.default_rng(3)
    votes = np.zeros((count, VOTE_SLOTS), VOTE)
    seen = votes[:, :providers]
    centre = random.integers(2 * PRICE_MIN, PRICE_MAX // 2, (count, 1))
    seen["weight"] = random.integers(1, 4, seen.shape)
    seen["price"] = centre + centre * random.integers(-3000, 3000, seen.shape) // 10**6
    seen["price"] += seen["price"] // 4 * (random.random(seen.shape) < 0.02)
    seen["conf"] = seen["price"] // random.choice(
        (20, 1000, 2000, 4000), seen.shape, p=(0.05, 0.35, 0.3, 0.3)
    )
    seen["publish_ns"] = _NOW_NS - random.integers(-(10**9) // 2, _AGE_NS + 10**9, seen.shape)
    votes["samples"] = votes["valid"] = 1
    states = np.zeros(count, ORACLE_STATE)
    states["reference"] = centre[:, 0] * (random.random(count) < 0.9)
    states["reference_ns"] = _NOW_NS - 10**9 * random.integers(1, 4, count)
    return votes.reshape(-1), states


def feeds_per_second(count: int, providers: int) -> Iterator[Budget]:
    """One round of so many markets of `providers` each in one call, by the rule that the engine's tick uses."""
    votes, before = seeded_votes(count, providers)
    rules, states = starting_rules(), before.copy()
    order, reasons = np.zeros(VOTE_SLOTS, np.int64), np.zeros(len(votes), np.int64)
    out = np.zeros(count, CONSENSUS)
    seconds = float("inf")
    for _ in range(9):
        states[:] = before
        began = time.perf_counter()
        decide_all(votes, rules[0], states, _NOW_NS, order, reasons, out)
        seconds = min(seconds, time.perf_counter() - began)
    began = time.perf_counter()
    plain = plain_rounds(votes, rules, before, _NOW_NS)
    plain_s = time.perf_counter() - began
    yield Budget(
        name=f"consensus, {providers} providers a feed",
        figure=count / seconds,
        unit="feeds/s",
        goal="≥ 5000000",
        answer_checked=plain == out.tolist(),
        ratios={"plain Python integers": plain_s / seconds},
        sizes={str(count): count / seconds, "observations": count * providers / seconds},
    )


def run(scale: int = 1) -> Iterator[Budget]:
    """Measure; `scale` divides every size, for a look at whether it runs."""
    yield from multiply_divide(PRODUCTS // scale, SLOW_PRODUCTS // scale)
    positions = tuple(max(size // scale, 16) for size in POSITIONS)
    yield from booking(positions, FILLS // scale, ROUNDS, DECIMAL_FILLS // scale)
    yield from ticks(TICK_MARKETS, max(TICKS // scale, 4), 1300)
    yield from feeds_per_second(FEEDS // scale, PROVIDERS)
