"""`godark bench`: runs the areas under bench/ and shows each budget."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from bench.harness import Budget, machine_load
from engine.app.cli import ROOT
from engine.common.errors import ChecksFailed, UsageError
from engine.common.logs import configure
from engine.common.sections import LogSettings

_NOT_AREAS = frozenset({"__init__", "harness"})
_WITH_TIGERBEETLE = "engine"


def area_names(folder: Path = ROOT / "bench") -> list[str]:
    """The areas there are: the modules of bench/."""
    names = (path.stem for path in folder.glob("*.py"))
    return sorted(name for name in names if name not in _NOT_AREAS and not name.startswith("_"))


def choose(wanted: tuple[str, ...], known: list[str]) -> list[str]:
    """The wanted areas in the order asked for, all without a wish. UsageError: one does not exist."""
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UsageError(f"no benchmark area '{unknown[0]}'; areas: {', '.join(known) or 'none yet'}")
    return list(dict.fromkeys(wanted)) or known


def judge(budgets: list[Budget], strict: bool) -> None:
    """ChecksFailed: an answer was wrong or not checked or, if `strict`, a goal was missed."""
    wrong = [budget.name for budget in budgets if not budget.answer_checked]
    if wrong:
        raise ChecksFailed(f"answer wrong or not checked: {', '.join(wrong)}")
    missed = [budget.name for budget in budgets if not budget.met]
    if strict and missed:
        raise ChecksFailed(f"goal missed: {', '.join(missed)}")


def options_of(area: str, tigerbeetle: str | None) -> dict[str, Any]:
    """What an area's `run` is told. Only one of them has anything to measure beside another's server."""
    return {"tigerbeetle": tigerbeetle} if area == _WITH_TIGERBEETLE and tigerbeetle is not None else {}


def check_tigerbeetle(address: str, chosen: list[str]) -> None:
    """Refuse in one line, before anything is measured, what cannot be: UsageError, ConnectionLost."""
    if _WITH_TIGERBEETLE not in chosen:
        raise UsageError(f"--tigerbeetle is measured beside the area {_WITH_TIGERBEETLE}: name that too")
    importlib.import_module("bench._engine_tigerbeetle").check(address)


def _load(area: str) -> Callable[..., Iterator[Budget]]:
    run: Callable[..., Iterator[Budget]] = importlib.import_module(f"bench.{area}").run
    return run


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


def _pairs(values: dict[str, float], suffix: str = "") -> str:
    return "\n".join(f"{name}: {_number(value)}{suffix}" for name, value in values.items())


def _show_table(budgets: list[Budget]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=None)
    for heading in ("budget", "figure", "goal", "met", "rivals", "sizes", "answer"):
        table.add_column(heading, justify="right" if heading == "figure" else "left")
    for budget in budgets:
        table.add_row(
            budget.name,
            f"{_number(budget.figure)} {budget.unit}",
            budget.goal,
            "yes" if budget.met else "no",
            _pairs(budget.ratios, "x"),
            _pairs(budget.sizes),
            "right" if budget.answer_checked else "WRONG",
        )
    Console().print(table)


@click.command("bench", help="Measure budgets; every benchmark checks its answer. Without AREA: all.")
@click.argument("areas", nargs=-1, metavar="[AREA]...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per budget, one per line.")
@click.option("--strict", is_flag=True, help="Fail also when a goal is missed.")
@click.option("--tigerbeetle", metavar="ADDR", help="Measure yours beside the engine: HOST:PORT or port.")
def command(areas: tuple[str, ...], as_json: bool, strict: bool, tigerbeetle: str | None) -> None:
    # What is measured within this process must not write between the lines.
    configure(LogSettings(level="warning"), "bench")
    budgets: list[Budget] = []
    chosen = choose(areas, area_names())
    if tigerbeetle is not None:
        check_tigerbeetle(tigerbeetle, chosen)
    for area in chosen:
        click.echo(f"measuring {area}; {machine_load()}", err=True)
        for budget in _load(area)(**options_of(area, tigerbeetle)):
            budgets.append(budget)
            if as_json:
                click.echo(orjson.dumps(budget.row()))
    if not as_json:
        _show_table(budgets)
    judge(budgets, strict)
