"""The margin benchmark at tiny sizes: it runs, its checks are real, its rivals do the same job."""

from __future__ import annotations

import numpy as np
import pytest

from bench import _margin_rivals as rivals
from bench import margin
from bench.harness import Budget


@pytest.fixture(scope="module")
def budgets() -> list[Budget]:
    return list(margin.run(20_000))


def test_runs_and_checks_its_answers(budgets: list[Budget]) -> None:
    assert [b.goal for b in budgets] == ["≤ 60", "≥ 1.5", "≥ 25", "≥ 15"]
    assert all(b.answer_checked and b.figure > 0 for b in budgets)
    assert all(ratio > 0 for b in budgets for ratio in b.ratios.values())


def test_books_hold_both_kinds_and_unsettled_funding() -> None:
    books = rivals.seeded_books(40_000, 20)
    ratios, flags = np.zeros(40_000, np.int64), np.zeros(40_000, np.int8)
    marked = margin._full(books, books.risk, ratios, flags)
    assert 0 < marked < 400
    assert (books.positions["idx"] != books.risk["index_e6"][books.positions["market"]]).mean() > 0.99
    assert abs(float((books.positions["size"] > 0).mean()) - 0.5) < 0.02


def test_numpy_and_decimal_agree_where_floats_reach() -> None:
    books = rivals.seeded_books(2_000, 20)
    books.positions["size"][:200] *= 30
    books.positions["cash"][:200] *= 30
    ratios, flags = np.zeros(2_000, np.int64), np.zeros(2_000, np.int8)
    margin._full(books, books.risk, ratios, flags)
    floats, below = np.zeros(2_000), np.zeros(2_000, bool)
    rivals.Columns(books).sweep(slice(0, 2_000), floats, below)
    assert (below == (flags == 1)).all()
    assert (np.abs(floats - ratios) <= 1).all()
    decimal = rivals.DecimalSweep(books).sweep(rivals.decimal_rows(books, 2_000))
    assert decimal == list(zip(ratios.tolist(), (flags == 1).tolist(), strict=True))


@pytest.mark.parametrize("wrong", ["ratio", "flag"])
def test_a_wrong_answer_is_told(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = margin.sweep_positions

    def off_by_one(*args: object) -> int:
        marked = real(*args)
        args[-3 if wrong == "ratio" else -2][3] += 1  # type: ignore[index]
        return marked

    monkeypatch.setattr(margin, "sweep_positions", off_by_one)
    books = rivals.seeded_books(64, 4)
    assert not any(b.answer_checked for b in margin.full_sweep(books, 32, 32))


def test_a_missed_candidate_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = margin.recheck_positions
    monkeypatch.setattr(margin, "recheck_positions", lambda *args: max(0, real(*args) - 1))
    books, cross = rivals.seeded_books(40_000, 4), rivals.seeded_books(64, 4, 4)
    assert not any(b.answer_checked for b in margin.incremental_sweep(books, cross))


def test_a_wrong_payment_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(margin, "settle_positions", lambda *args: 0)
    assert not any(b.answer_checked for b in margin.settlement(rivals.seeded_books(64, 4), 32))
