"""`godark compile` into an empty cache; then a whole replay, its five processes included, compiles nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from .recordings import hyperliquid
from .running import Room

pytestmark = pytest.mark.end_to_end


def compiled(cache: Path) -> set[str]:
    """Compiled functions, one file each."""
    return {str(file.relative_to(cache)) for file in cache.rglob("*.nbc")}


def test_a_replay_finds_everything_compiled(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(cache))
    told = room.run("compile", timeout_s=600)
    assert told.status == 0 and "kernels compiled in" in told.err
    before = compiled(cache)
    assert len(before) > 100
    again = room.run("compile")
    assert (again.status, again.err) == (0, "")
    trades = hyperliquid(tmp_path / "trades.csv", rows=300, seconds=5400)
    report = room.run("replay", trades, "--json").report()
    assert report["ok"]
    assert compiled(cache) == before
