"""`godark bench --json`: every area prints one JSON object a line, with exactly the documented keys."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from engine.app import benchmarks

KEYS = ["name", "figure", "unit", "goal", "met", "ratios", "answer_checked", "sizes"]
TINY: dict[str, dict[str, Any]] = {
    "engine": {"count": 4_000, "paced": 1_000},
    "failover": {"takeovers": 1, "positions": 4_000},
    "margin": {"scale": 50_000},
    "merkle": {"scale": 512},
    "onchain": {},
    "pricing": {"scale": 256},
    "programs": {"transactions": 4},
    "publishing": {"scale": 512},
    "ring": {"count": 4_096, "through": 16_384},
    "risk": {"scale": 4_000},
}


@pytest.mark.end_to_end
@pytest.mark.parametrize("area", benchmarks.area_names())
def test_every_line_is_a_budget(area: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert area in TINY, f"give bench/{area}.py sizes to be tried with"
    run = functools.partial(importlib.import_module(f"bench.{area}").run, **TINY[area])
    monkeypatch.setattr(benchmarks, "_load", lambda name: run)
    result = CliRunner().invoke(benchmarks.command, [area, "--json"])
    assert result.exception is None, result.output
    rows = [orjson.loads(line) for line in result.stdout.splitlines()]
    assert rows
    for row in rows:
        assert list(row) == KEYS
        assert isinstance(row["met"], bool)
        assert row["answer_checked"] is True
        assert isinstance(row["figure"], int | float)
        numbers = [*row["ratios"].values(), *row["sizes"].values()]
        assert all(isinstance(number, int | float) for number in numbers)
    assert len({row["name"] for row in rows}) == len(rows)
