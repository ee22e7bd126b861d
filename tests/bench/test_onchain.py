"""The benchmark of compute units: its figures are the machine's own, so its goals are promises here too."""

from __future__ import annotations

import pytest

from bench import onchain
from bench.harness import Budget
from relayer.core.proofs import verify_inclusion
from relayer.core.rfc9162 import hash_leaf


@pytest.fixture(scope="module")
def budgets() -> list[Budget]:
    return list(onchain.run())


def test_every_budget_is_met_and_its_answer_checked(budgets: list[Budget]) -> None:
    assert len(budgets) == 4
    assert [budget.name for budget in budgets if not budget.met] == []


def test_units_are_counted_and_the_same_in_every_run(budgets: list[Budget]) -> None:
    again = list(onchain.run())
    assert [budget.row() for budget in again] == [budget.row() for budget in budgets]
    deep = budgets[0].sizes
    assert 1_000 < deep["20 levels, whole"] < deep["26 levels, whole"]


@pytest.mark.parametrize("levels", onchain.LEVELS)
def test_the_made_up_path_is_a_proof(levels: int) -> None:
    index, size, proof, root = onchain.path_of(levels)
    verify_inclusion(hash_leaf(onchain.LEAF), index, size, proof, root)


def test_a_program_that_takes_everything_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the wrong leaf is as good as the right one, no answer counts as checked."""
    monkeypatch.setattr(onchain, "LEAF", bytes(112))
    assert not any(budget.answer_checked for budget in onchain.verify_costs())
