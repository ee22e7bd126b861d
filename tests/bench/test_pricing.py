"""The pricing benchmark at tiny sizes: it runs, its checks are real, its rivals do the same job."""

from __future__ import annotations

import numpy as np
import pytest

from bench import _pricing_rivals as rivals
from bench import pricing
from bench._fills import Traders, feed, fills_of, opened
from bench._ticks import Clock
from bench.harness import Budget
from engine.core.apply import Machine
from kernels.frames import Template

SCALE = 64


@pytest.fixture(scope="module")
def budgets() -> list[Budget]:
    return list(pricing.run(SCALE))


def test_runs_and_checks_its_answers(budgets: list[Budget]) -> None:
    goals = ["≤ 2.1", "≤ 2.1", "≥ 200", "≥ 20000000", "≤ 1.4", "≥ 20", "≤ 20", "≥ 5000000"]
    assert [b.goal for b in budgets] == goals
    assert all(b.answer_checked and b.figure > 0 for b in budgets)
    assert all(ratio > 0 for b in budgets for ratio in b.ratios.values())


def test_says_how_wrong_the_fast_ways_are(budgets: list[Budget]) -> None:
    assert budgets[0].sizes["int64_wrong_percent"] > 50
    assert set(budgets[0].ratios) == {"int64", "int64, constant divisor", "float64", "Python int", "Decimal"}


def test_a_wrong_product_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "_exact", pricing._wrapping)
    assert not any(b.answer_checked for b in pricing.multiply_divide(256, 64))


def test_a_wrong_reciprocal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "by_constant", lambda divisor: (divisor, 0, 5))
    assert not any(b.answer_checked for b in pricing.multiply_divide(256, 64))


def booked() -> tuple[Machine, list[np.ndarray]]:
    traders = Traders(2, 10)
    machine, parts = opened(traders)
    parts.append(traders.fills(300))
    assert feed(machine, parts[-1]) == 0
    return machine, parts


def test_fills_go_on_in_sequence_between_different_accounts() -> None:
    _, parts = booked()
    fills = fills_of(parts)
    assert (np.diff(fills["seq"]) == 1).all()
    assert (fills["maker"] != fills["taker"]).all()
    assert fills["maker"].min() == fills["taker"].min() == 1
    assert fills["maker"].max() == fills["taker"].max() == 10


@pytest.mark.parametrize("field", ["size", "cash"])
def test_the_balance_sees_one_unit(field: str) -> None:
    machine, parts = booked()
    assert rivals.books_balance(machine.books, fills_of(parts))
    machine.books.positions[field][3] += 1
    assert not rivals.books_balance(machine.books, fills_of(parts))


def test_the_balance_sees_money_from_nowhere() -> None:
    machine, parts = booked()
    machine.books.accounts["free_e6"][2] += 1
    assert not rivals.books_balance(machine.books, fills_of(parts))


def test_the_balance_sees_a_missing_fill() -> None:
    machine, parts = booked()
    assert not rivals.books_balance(machine.books, fills_of(parts)[:-1])


def test_sums_do_not_wrap() -> None:
    values = np.array([2**62, 2**62, 2**62, -1, -(2**63)])
    assert rivals.exact_sum(values) == 3 * 2**62 - 1 - 2**63


@pytest.mark.parametrize("ledger", ["sizes", "cash", "free", "house"])
def test_the_decimal_engine_agrees_to_the_unit(ledger: str) -> None:
    traders, machine = Traders(2, 10), Machine()
    rival = None
    for part in [*traders.opening(), traders.fills(400)]:
        if part["template"][0] == int(Template.FILL):
            rival = rival or rivals.DecimalBooks(machine.books)
            rival.book(rivals.fill_rows(fills_of([part])))
        feed(machine, part)
    assert rival is not None
    assert rival.equals(machine.books)
    if ledger == "house":
        rival.house += 1
    elif ledger == "free":
        rival.free[3] += 1
    else:
        getattr(rival, ledger)[3, 1] += 1
    assert not rival.equals(machine.books)


def test_the_hour_pays_and_the_model_agrees() -> None:
    microseconds, right = pricing._ticks_of_model(2, 1300)
    assert right
    assert microseconds > 0
    clock, machine = Clock(2, seconds_before_hour=1298), Machine()
    feed(machine, np.concatenate([clock.opening(), clock.seconds(1300)]))
    assert machine.books.markets["index_e6"][:2].all()


def test_refused_ticks_give_no_figure() -> None:
    machine, clock = Machine(), Clock(2)
    feed(machine, clock.opening())
    clock.seconds(1)
    with pytest.raises(ValueError, match="refused"):
        pricing._tick_us(machine, clock.seconds(2), 1)


def test_feeds_meet_every_gate_and_status() -> None:
    feeds = pricing.seeded_feeds(2048, pricing.PROVIDERS)
    plain = rivals.plain_feeds(feeds, pricing._NOW_NS, pricing._AGE_NS)
    assert {0, 1, 2} <= {status for status, _, _ in plain}
    passing = [len(rivals.plain_votes(rows, pricing._NOW_NS, pricing._AGE_NS)) for rows in _by_feed(feeds)]
    assert set(passing) == set(range(min(passing), pricing.PROVIDERS + 1))
    assert min(passing) < 3


def _by_feed(feeds: np.ndarray) -> list[list[tuple[int, int, int, int, int]]]:
    rows = feeds.tolist()
    return [rows[at : at + pricing.PROVIDERS] for at in range(0, len(rows), 16)]


def test_consensus_by_hand() -> None:
    vote = rivals.Vote
    assert rivals.plain_consensus([]) == (0, 0, 0)
    assert rivals.plain_consensus([vote(1, 1, 100, 1)]) == (0, 0, 0)
    assert rivals.plain_consensus([vote(0, 1, 100, 1)]) == (3, 100, 1)
    assert rivals.plain_consensus([vote(0, 1, 10_000, 1), vote(2, 1, 10_026, 1)]) == (0, 0, 0)
    assert rivals.plain_consensus([vote(0, 1, 10_000, 1), vote(2, 1, 10_025, 1)]) == (2, 10_000, 1)
    three = [vote(0, 1, 30, 5), vote(1, 1, 10, 6), vote(2, 1, 20, 7)]
    assert rivals.plain_consensus(three) == (1, 20, 7)
    assert rivals.plain_consensus([*three[:2], vote(2, 2, 20, 7)]) == (2, 20, 7)
