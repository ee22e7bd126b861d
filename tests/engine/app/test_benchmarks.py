"""Budgets are judged by the harness, and an unchecked answer is never accepted."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from bench.harness import Budget, best_of
from engine.app import benchmarks
from engine.common.errors import ChecksFailed, UsageError


def _budget(figure: float = 3.0, goal: str = "≥ 2", checked: bool = True) -> Budget:
    return Budget("fills", figure, "fills/s", goal, checked, {"rival": 1.5}, {"10": 2.0})


@pytest.mark.parametrize(
    ("figure", "goal", "met"),
    [
        (2.0, "≥ 2", True),
        (1.9, "≥ 2", False),
        (2.0, "≤ 2.0", True),
        (2.1, "≤ 2.0", False),
        (250_000, "≥ 200_000", True),
    ],
)
def test_met_follows_from_figure_and_goal(figure: float, goal: str, met: bool) -> None:
    assert _budget(figure, goal).met is met


def test_a_wrong_answer_never_meets_its_goal() -> None:
    assert not _budget(checked=False).met


@pytest.mark.parametrize("goal", ["> 2", "2", "≥ many", ""])
def test_a_goal_in_another_form_is_refused(goal: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        _budget(goal=goal)


def test_areas_are_the_modules_there_are(tmp_path: Path) -> None:
    for name in ("__init__", "harness", "pricing", "merkle", "_common"):
        (tmp_path / f"{name}.py").touch()
    assert benchmarks.area_names(tmp_path) == ["merkle", "pricing"]
    assert benchmarks.choose((), ["merkle", "pricing"]) == ["merkle", "pricing"]
    assert benchmarks.choose(("pricing", "pricing"), ["merkle", "pricing"]) == ["pricing"]
    with pytest.raises(UsageError, match="no benchmark area 'prising'; areas: merkle, pricing"):
        benchmarks.choose(("prising",), ["merkle", "pricing"])


def test_judgement() -> None:
    missed = _budget(1.0)
    benchmarks.judge([_budget(), missed], strict=False)
    with pytest.raises(ChecksFailed, match="goal missed: fills"):
        benchmarks.judge([missed], strict=True)
    with pytest.raises(ChecksFailed, match="answer wrong or not checked: fills"):
        benchmarks.judge([_budget(checked=False)], strict=False)


def test_json_is_one_object_per_line_in_the_order_of_the_issue(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> Iterator[Budget]:
        yield _budget()
        yield _budget(1.0)

    area = types.ModuleType("bench.planted")
    area.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bench.planted", area)
    monkeypatch.setattr(benchmarks, "area_names", lambda: ["planted"])
    result = CliRunner().invoke(benchmarks.command, ["planted", "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    rows = [orjson.loads(line) for line in result.stdout.splitlines()]
    keys = ["name", "figure", "unit", "goal", "met", "ratios", "answer_checked", "sizes"]
    assert [list(row) for row in rows] == [keys, keys]
    assert [row["met"] for row in rows] == [True, False]
    table = CliRunner().invoke(benchmarks.command, ["planted"], catch_exceptions=False)
    assert "rival: 1.5x" in table.stdout


def test_best_of_calls_warmups_and_repeats() -> None:
    calls = []
    assert best_of(lambda: calls.append(1), repeats=3, warmups=2) > 0
    assert len(calls) == 5
