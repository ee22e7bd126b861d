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
from kernels import oracle
from kernels.frames import Template

SCALE = 64


@pytest.fixture(scope="module")
def budgets() -> list[Budget]:
    return list(pricing.run(SCALE))


def test_runs_and_checks_its_answers(budgets: list[Budget]) -> None:
    goals = ["≤ 2.1", "≤ 2.1", "≤ 2.1", "≥ 200"]
    goals += ["≥ 20000000", "≤ 1.4", "≥ 20000000", "≥ 20", "≤ 20", "≥ 5000000"]
    assert [b.goal for b in budgets] == goals
    assert all(b.answer_checked and b.figure > 0 for b in budgets)
    assert all(ratio > 0 for b in budgets for ratio in b.ratios.values())


def test_says_how_wrong_the_fast_ways_are(budgets: list[Budget]) -> None:
    assert budgets[0].sizes["int64_wrong_percent"] > 50
    assert set(budgets[0].ratios) == {"int64", "int64, constant divisor", "float64", "Python int", "Decimal"}


def test_the_judged_product_says_what_one_at_a_time_is_worth(budgets: list[Budget]) -> None:
    """Of a column, as sweeps work; what a single product gains, right or wrong, stands beside it."""
    judged = budgets[3]
    assert "column" in judged.name
    assert judged.figure == judged.ratios["Decimal"]
    spent = budgets[0].sizes
    one, wrong = (spent["Decimal_ns"] / spent[name] for name in ("exact_ns", "int64_ns"))
    assert list(judged.sizes.values()) == [one, wrong]


def test_with_margin_in_hand_fills_are_the_same_work_at_any_size(budgets: list[Budget]) -> None:
    """Fresh positions draw collateral, the more of them the larger the books; with margin in hand
    hardly any but those that were closed in between."""
    in_hand, fresh = (
        [share for size, share in budgets[k].sizes.items() if size.endswith("_drew_percent")] for k in (4, 6)
    )
    assert len(in_hand) == len(pricing.POSITIONS)
    assert max(in_hand) < 5
    assert fresh[0] < 50 < fresh[-1]


def test_a_wrong_product_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "_exact", pricing._wrapping)
    assert not any(b.answer_checked for b in pricing.multiply_divide(256, 64))


def test_a_wrong_column_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "mul_div_floor_column", pricing._wrapping)
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


def test_feeds_meet_every_status_and_most_gates() -> None:
    """The seeded round reaches every status, and every gate that numbers can meet."""
    votes, states = pricing.seeded_votes(2048, pricing.PROVIDERS)
    plain = rivals.plain_rounds(votes, pricing.starting_rules(), states, pricing._NOW_NS)
    assert {status for status, _, _ in plain} == {0, 1, 2, 3, 4}
    out, reasons = np.zeros(2048, pricing.CONSENSUS), np.zeros(len(votes), np.int64)
    order = np.zeros(pricing.VOTE_SLOTS, np.int64)
    rules, now_ns = pricing.starting_rules()[0], np.int64(pricing._NOW_NS)
    pricing.decide_all(votes, rules, states, now_ns, order, reasons, out)
    assert {oracle.PASSES, oracle.NO_WEIGHT, oracle.TOO_OLD, oracle.TOO_WIDE, oracle.TOO_FAR} == set(
        reasons.tolist()
    )


def test_a_wrong_round_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "decide_all", lambda *_: None)
    assert not any(b.answer_checked for b in pricing.feeds_per_second(64, pricing.PROVIDERS))
