"""The benchmark of the risk process's sweep at a tiny size: it runs, and every sweep agreed with everyone's."""

from __future__ import annotations

from bench import risk
from bench._margin_rivals import seeded_books
from kernels.layouts import ACCOUNT_CROSS


def test_runs_and_checks_its_answers() -> None:
    budget, worst, upheaval = risk.run(10_000)
    assert upheaval.answer_checked and upheaval.figure > 0
    assert all(upheaval.sizes[f"{name}, turns"] == 2 for name in ("start", "tiers", "half touched"))
    assert worst.figure >= worst.sizes["median, ms"] > 0
    assert budget.answer_checked and budget.figure > 0
    for part in ("calm", "moving", "touch", "everyone", "all rooms anew", "ranking, calm"):
        assert budget.sizes[f"{part}, ms"] > 0


def test_a_tenth_of_the_accounts_is_cross_and_some_are_found() -> None:
    machine = risk.machine_of(seeded_books(40_000, 20))
    books, number = machine.books, machine.state.number
    rows = books.positions[: number("positions")]
    assert number("accounts") == 10_001 and len(rows) == 40_000
    cross = rows["account"][rows["mode"] == 1]
    assert len(cross) == 4_000 and (books.accounts["flags"][cross] == ACCOUNT_CROSS).all()
    sweeper = risk.Sweeper(machine)
    found = sweeper.sweep()
    sweeper.check(found)
    assert 0 < len(found.slots) < 400
