"""The lines to begin with lead to a first trade."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from engine.app.cli import execute
from engine.app.json_example import market_lines, trade_lines
from kernels.frames import Source
from tests.engine.gateway.json_talk import Talk, text
from tests.engine.gateway.running import run, running, settings_for


def test_a_market_a_tick_and_a_trade_without_a_refusal(tmp_path: Path) -> None:
    trade = list(trade_lines())
    now_ns = trade[-1]["time_ms"] * 1_000_000
    tick = {"type": "tick", "kind": "open", "time_ns": now_ns}

    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            sources = [Source.ADMIN, Source.CLOCK, Source.MATCHING, Source.CHAIN, Source.FEEDS]
            opening = Talk(r, sources)
            await opening.run(text(*market_lines(), tick))
            talk = Talk(r, sources)
            await talk.run(text(*trade))
            assert not [t for t in (opening, talk) for kind in ("error", "fault", "refusal") if t.of(kind)]
            free = talk.of("free_collateral")[-1]
            # 0.5 at 66940.3 by a leverage of 10; the taker pays 0.05 %, the maker gets 0.01 % back.
            assert (free["taker_free"], free["maker_free"]) == ("6636.249925", "6656.332015")

    run(main)


@pytest.mark.parametrize(
    ("name", "kinds"), [("market", {"params"}), ("trade", {"account", "transfer", "observation", "fill"})]
)
def test_the_command_prints_them(name: str, kinds: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["json", "--example", name]) == 0
    assert {orjson.loads(line)["type"] for line in capsys.readouterr().out.splitlines()} == kinds
