"""`godark json` against the real server: the same books as by binary frames, the same answers, nothing half done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from engine.common.errors import TransportFault
from engine.gateway.client import EngineClient, seal
from engine.gateway.json_adapter import LineCutter
from engine.gateway.json_lines import LINE_BYTES_MAX
from kernels import frames as f
from kernels.frames import FRAME, Source, Template
from tests.engine.gateway.json_material import AsLines, lines_of
from tests.engine.gateway.json_talk import BTC, FLOW, OPENING, Talk, opened, text
from tests.engine.gateway.running import PATIENCE_S, run, running, settings_for
from tests.engine.journal.material import folded


@pytest.mark.parametrize("pieces", [pytest.param(1, marks=pytest.mark.slow), 37])
def test_the_same_lines_lead_to_the_same_digest(tmp_path: Path, pieces: int) -> None:
    data = lines_of(FLOW)
    step = -(-len(data) // pieces)
    parts = [data[at : at + step] for at in range(0, len(data), step)]

    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            talk = Talk(r)
            said = await talk.run(*parts, text({"type": "status"}))
            machine = folded(FLOW)
            assert talk.of("error") == [] and talk.of("fault") == []
            assert talk.of("status") == [
                {"type": "status", "ordinal": len(FLOW), "digest": machine.state.digest().hex()}
            ]
            assert r.engine.digest() == machine.state.digest()
            outputs = [line["output"] for line in said if "output" in line]
            assert outputs == list(range(1, r.engine.outputs() + 1))
            fills = [line for line in talk.of("sent") if line["source"] == "matching"]
            assert [line["seq"] for line in fills] == list(range(1, len(fills) + 1))
            acked = [line["seq"] for line in talk.of("ack") if line["source"] == "matching"]
            assert acked == sorted(acked) and acked[-1] == len(fills)

    run(main)


def test_a_bad_line_is_answered_and_the_others_are_taken(tmp_path: Path) -> None:
    lines = [
        text(BTC | {"trade_id": 1}),
        b"  \r\n",
        text(BTC | {"price": "0.0000001"}),
        b"{nonsense\n",
        b'{"pad":"' + b"x" * LINE_BYTES_MAX + b'"}\n',
        text(BTC | {"market": "NONE"}),
        text(BTC | {"trade_id": 2}),
    ]

    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            await opened(r)
            before = r.engine.durable_seq(Source.MATCHING)
            talk = Talk(r, [Source.MATCHING])
            await talk.run(b"".join(lines))
            told = [(line["line"], line["reason"], line["field"]) for line in talk.of("error")]
            assert told == [
                (3, "price_off_scale", "price"),
                (4, "not_json", None),
                (5, "line_too_long", None),
                (6, "unknown_market", "market"),
            ]
            assert talk.it.refused == [3, 4, 5, 6]
            sent = [(line["line"], line["seq"]) for line in talk.of("sent")]
            assert sent == [(1, before + 1), (7, before + 2)]
            assert r.engine.durable_seq(Source.MATCHING) == before + 2

    run(main)


def test_what_a_frame_can_hold_is_refused_by_the_engine_and_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            await opened(r)
            seq = r.engine.durable_seq(Source.MATCHING) + 1
            talk = Talk(r, [Source.MATCHING])
            await talk.run(text(BTC | {"maker": 99}, BTC | {"price": "1"}))
            refusals = [line for line in talk.of("refusal") if line["refused_seq"] >= seq]
            told = [(line["refused_seq"], line["reason"], line["market"]) for line in refusals]
            assert told == [(seq, "unknown_account", "BTC"), (seq + 1, "price_off_scale", "BTC")]
            assert talk.of("market_state")[-1]["state"] & 1, "the market is frozen, and that is told"

    run(main)


def test_names_made_known_by_the_lines_before_can_be_used(tmp_path: Path) -> None:
    """An account registered and used in one breath: the adapter waits until the books have it."""
    names = AsLines()
    opening = names.text(OPENING[OPENING["template"] != Template.TRANSFER])
    key = next(orjson.loads(line)["key"] for line in opening.splitlines() if b'"account"' in line)

    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            talk = Talk(r)
            await talk.run(opening + text(BTC | {"maker": key, "taker": 2}))
            assert talk.of("error") == []
            assert talk.of("account_assigned")[0]["key"] == key
            assert talk.of("account_assigned")[0]["account"] == 1

    run(main)


def test_sequence_numbers_of_ones_own(tmp_path: Path) -> None:
    """The next is taken, one beyond is refused by name, an equal resend passes, another under it is a conflict."""

    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            await opened(r)
            seq = r.engine.durable_seq(Source.MATCHING) + 1
            talk = Talk(r, [Source.MATCHING])
            await talk.run(text(BTC | {"seq": seq}, BTC | {"seq": seq + 5}, BTC | {"seq": seq}))
            assert [(e["reason"], e["field"]) for e in talk.of("error")] == [("gap", "seq")]
            assert r.engine.durable_seq(Source.MATCHING) == seq
            assert r.engine.head.get("duplicates") == 1 and talk.of("fault") == []
            talk = Talk(r, [Source.MATCHING])
            with pytest.raises(TransportFault, match="conflict"):
                await talk.run(text(BTC | {"seq": seq, "trade_id": 8}))
            fault = talk.of("fault")[0]
            assert (fault["fault"], fault["seq"]) == ("conflict", seq) and "seq known with other" in fault[
                "message"
            ]

    run(main)


def test_a_line_of_another_source_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            talk = Talk(r, [Source.MATCHING])
            await talk.run(text({"type": "tick", "kind": "open", "time_ns": 5}))
            assert talk.of("error")[0]["reason"] == "not_attached"
            assert "--source clock" in talk.of("error")[0]["message"]
            assert r.engine.ordinal() == 0

    run(main)


def test_it_goes_on_over_a_restart_of_the_engine(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    data = lines_of(FLOW)
    half = data.index(b"\n", len(data) // 2) + 1

    async def main() -> None:
        gone, back = asyncio.Event(), asyncio.Event()

        async def parts() -> AsyncIterator[bytes | None]:
            yield data[:half]
            gone.set()
            await back.wait()
            yield None
            yield data[half:]

        async with running(settings) as r:
            talk = Talk(r)
            talking = asyncio.ensure_future(talk.it.run(parts()))
            await asyncio.wait_for(gone.wait(), PATIENCE_S)
            await talk.it._client.drain()
        async with running(settings) as r:
            back.set()
            await asyncio.wait_for(talking, PATIENCE_S)
            assert r.engine.digest() == folded(FLOW).state.digest()
        talk.books.close()

    run(main)


def test_lines_are_cut_wherever_the_chunks_are() -> None:
    data = b"one\n\ntwo\r\n" + b"y" * (LINE_BYTES_MAX + 1) + b"\nthree"
    whole = [(n, None if part is None else part.strip()) for n, part in LineCutter().cut(data, end=True)]
    assert whole == [(1, b"one"), (2, b""), (3, b"two"), (4, None), (5, b"three")]
    for step in (61, 4096, 70_000):
        cutter = LineCutter()
        cut = [line for at in range(0, len(data), step) for line in cutter.cut(data[at : at + step])]
        cut += cutter.cut(b"", end=True)
        assert [(n, None if part is None else part.strip()) for n, part in cut] == whole


def test_one_endless_line_takes_no_memory() -> None:
    cutter = LineCutter()
    lines = [line for _ in range(100) for line in cutter.cut(b"z" * 50_000)]
    assert lines == [(1, None)] and len(cutter._rest) <= LINE_BYTES_MAX
    assert cutter.cut(b"\nok\n") == [(2, b"ok")]


def test_seal_makes_frames_that_are_taken(tmp_path: Path) -> None:
    """What README shows, word for word in kind: next_seq, seal, send, drain, inside `async with`."""

    async def main() -> None:
        async with running(settings_for(tmp_path)) as r:
            await opened(r)
            async with EngineClient(r.settings.engine.socket, [Source.MATCHING]) as client:
                first = client.next_seq(Source.MATCHING)
                fills = f.new_frames(Template.FILL, 2, source=Source.MATCHING, first_seq=first)
                fills["market"], fills["price"], fills["size"] = 0, 300_000_000, [5, -3]
                fills["maker"], fills["taker"] = 1, 2
                sealed = seal(fills)
                assert sealed.dtype == FRAME
                await client.send(sealed)
                assert client.next_seq(Source.MATCHING) == first + 2
                await client.drain()
            assert r.engine.durable_seq(Source.MATCHING) == first + 1

    run(main)
