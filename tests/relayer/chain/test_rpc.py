"""The client against servers that answer well, badly, late or not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from engine.common.errors import RpcError, RpcMalformed, RpcRefused, RpcUnavailable
from relayer.chain.results import commitment_rank
from relayer.chain.rpc import BATCH_LIMIT, RpcClient

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Use = Callable[[RpcClient], Awaitable[Any]]


def against(handler: Handler, use: Use, *, timeout_s: float = 2.0, max_inflight: int = 64) -> Any:
    """Run `use` with a client of a server that answers by `handler`."""

    async def run() -> Any:
        runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{site.port}/?token=canary"
        try:
            async with RpcClient(url, timeout_s=timeout_s, max_inflight=max_inflight) as client:
                return await use(client)
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def result_of(value: object) -> Handler:
    """A handler that answers every call, or every call of a batch, with one result."""

    async def handler(request: web.BaseRequest) -> web.Response:
        asked = orjson.loads(await request.read())
        calls = asked if isinstance(asked, list) else [asked]
        answers = [{"jsonrpc": "2.0", "id": call["id"], "result": value} for call in calls]
        return web.Response(body=orjson.dumps(answers if isinstance(asked, list) else answers[0]))

    return handler


def body_of(body: bytes, status: int = 200) -> Handler:
    async def handler(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=body, status=status)

    return handler


def test_commitments_rank() -> None:
    assert commitment_rank("processed") < commitment_rank("confirmed") < commitment_rank("finalized")
    with pytest.raises(RpcMalformed):
        commitment_rank("rooted")


@pytest.mark.parametrize("value", [None, {}, [], "x", -1, 1.5, True, {"context": {}}])
def test_results_of_a_wrong_shape_are_malformed(value: object) -> None:
    calls: list[Use] = [
        lambda c: c.slot(),
        lambda c: c.block_height(),
        lambda c: c.latest_blockhash(),
        lambda c: c.signature_statuses(["x"]),
        lambda c: c.balance("x"),
        lambda c: c.version(),
        lambda c: c.simulate(b""),
        lambda c: c.multiple_accounts(["x"]),
        lambda c: c.account_info("x"),
    ]

    async def use(client: RpcClient) -> None:
        for call in calls:
            with pytest.raises(RpcMalformed):
                await call(client)

    against(result_of(value), use)


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (body_of(b"<html>busy</html>", 503), RpcUnavailable),
        (body_of(b"", 429), RpcUnavailable),
        (body_of(b"hello"), RpcMalformed),
        (body_of(b'{"jsonrpc":"2.0","id":999,"result":1}'), RpcMalformed),
        (body_of(b"go away", 403), RpcRefused),
        (body_of(b"", 302), RpcRefused),
    ],
)
def test_bad_answers(handler: Handler, error: type[RpcError]) -> None:
    async def use(client: RpcClient) -> None:
        with pytest.raises(error):
            await client.slot()

    against(handler, use)


def test_silence_ends_with_the_time_out_and_names_no_token() -> None:
    async def silent(request: web.BaseRequest) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    async def use(client: RpcClient) -> None:
        with pytest.raises(RpcUnavailable) as caught:
            await client.slot()
        assert "canary" not in f"{caught.value} {caught.value.context} {client!r}"

    against(silent, use, timeout_s=0.1)


def test_a_broken_connection_and_no_server_are_unavailable() -> None:
    async def hang_up(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def use(client: RpcClient) -> None:
        with pytest.raises(RpcUnavailable):
            await client.slot()

    against(hang_up, use)

    async def nobody() -> None:
        async with RpcClient("http://127.0.0.1:1/?token=canary") as client:
            with pytest.raises(RpcUnavailable) as caught:
                await client.slot()
        assert "canary" not in str(caught.value)
        with pytest.raises(RpcUnavailable, match="closed"):
            await client.slot()

    asyncio.run(nobody())


def test_requests_in_flight_are_bounded() -> None:
    now = most = 0

    async def count(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return await result_of(5)(request)

    async def use(client: RpcClient) -> list[int]:
        return await asyncio.gather(*(client.slot() for _ in range(20)))

    assert against(count, use, max_inflight=3) == [5] * 20
    assert most == 3


def test_statuses_go_in_chunks_of_256_and_keep_their_order() -> None:
    sizes: list[int] = []

    async def statuses(request: web.BaseRequest) -> web.Response:
        asked = orjson.loads(await request.read())
        signatures, options = asked["params"]
        assert options == {"searchTransactionHistory": True}
        sizes.append(len(signatures))
        value = [{"slot": int(s), "err": None, "confirmationStatus": "confirmed"} for s in signatures]
        result = {"context": {"slot": 10_000 - len(signatures)}, "value": value}
        return web.Response(body=orjson.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}))

    async def use(client: RpcClient) -> None:
        page = await client.signature_statuses([str(k) for k in range(600)], True)
        assert [status.slot for status in page.statuses if status] == list(range(600))
        assert page.slot == 10_000 - 256
        assert all(status.reached("confirmed") for status in page.statuses if status)
        assert not any(status.reached("finalized") for status in page.statuses if status)

    against(statuses, use)
    assert sorted(sizes) == [88, 256, 256]


def test_one_failed_call_of_a_batch_is_raised_not_taken_for_null() -> None:
    async def half(request: web.BaseRequest) -> web.Response:
        answers: list[dict[str, object]] = [
            {"jsonrpc": "2.0", "id": call["id"], "result": None}
            for call in orjson.loads(await request.read())
        ]
        answers[1] = {
            "jsonrpc": "2.0",
            "id": answers[1]["id"],
            "error": {"code": -32005, "message": "behind"},
        }
        return web.Response(body=orjson.dumps(answers))

    async def use(client: RpcClient) -> None:
        with pytest.raises(RpcUnavailable):
            await client.transactions(["a", "b", "c"])
        with pytest.raises(ValueError, match="at most"):
            await client.call_batch([("getSlot", [])] * (BATCH_LIMIT + 1))
        assert await client.call_batch([]) == []

    against(half, use)
    assert against(result_of(None), lambda c: c.transactions(["a"] * 120)) == [None] * 120
