"""The benchmark of failover, with counts that only show that it runs and checks its answer."""

from __future__ import annotations

import pytest

from bench import failover as subject


@pytest.mark.end_to_end
def test_runs_and_checks_its_answer() -> None:
    budgets = list(subject.run(takeovers=1, positions=2_000))
    assert [b.name.partition(",")[0] for b in budgets] == [
        "snapshot",
        "start to first durable ack",
        "resident memory of the engine",
        "SIGKILL to first durable ack",
        "the same",
    ]
    assert all(b.answer_checked and b.figure > 0 for b in budgets)
    assert all(ratio > 0 for b in budgets for ratio in b.ratios.values())
