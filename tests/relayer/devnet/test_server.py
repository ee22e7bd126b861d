"""The devnet over real sockets, with the project's own client."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.common.errors import RpcMalformed, RpcUnavailable, SettingsError, SyncFailed, TransactionRejected
from relayer.chain.messages import Signed, parse_memo
from relayer.chain.rpc import RpcClient
from relayer.devnet.faults import Faults
from relayer.devnet.node import Node
from relayer.devnet.server import CLIENT_QUEUE, Server
from tests.relayer.devnet.transactions import SEED, SIGNER, memo

ADDRESS = str(SIGNER.public_key)


class Stage:
    """A served node and a client of it."""

    def __init__(self, node: Node, server: Server, faults: Faults, client: RpcClient) -> None:
        self.node, self.server, self.faults, self.client = node, server, faults, client

    async def signed(self, text: str = "hello") -> Signed:
        return memo((await self.client.latest_blockhash()).blockhash, text)


def on_stage(data_dir: Path, play: Callable[[Stage], Awaitable[Any]], *, on_demand: bool = True) -> Any:
    async def run() -> Any:
        node = Node.open(data_dir, on_demand=on_demand, new_seed=SEED)
        faults = Faults()
        server = Server(node, faults)
        await server.start("127.0.0.1", 0)
        try:
            async with RpcClient(f"http://127.0.0.1:{server.port}", timeout_s=5) as client:
                await client.request_airdrop(ADDRESS, 10**10)
                return await play(Stage(node, server, faults, client))
        finally:
            await server.close()
            node.close()

    return asyncio.run(run())


def test_a_transaction_from_blockhash_to_finalized(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        client = stage.client
        signed = await stage.signed("through the wire")
        assert await client.send_transaction(signed.wire) == signed.signature
        seen = []
        for _ in range(40):
            [status] = (await client.signature_statuses([signed.signature], True)).statuses
            assert status is not None
            seen.append(status.confirmation)
        assert sorted(set(seen), key=seen.index) == ["confirmed", "finalized"]
        landed = await client.transaction(signed.signature, "finalized")
        assert landed is not None
        assert parse_memo(landed.wire) == b"through the wire"
        assert (await client.transactions([signed.signature] * 120))[119] == landed
        history = await client.signatures_for_address(ADDRESS)
        assert history[0].signature == signed.signature
        assert await client.balance(ADDRESS) == 10**10 - 5000
        assert (await client.multiple_accounts([ADDRESS]))[0] == await client.account_info(ADDRESS)
        assert await client.block_height() < await client.slot()
        assert (await client.health(), await client.genesis_hash()) == ("ok", stage.node.bank.genesis_hash)
        assert (await client.simulate((await stage.signed("other")).wire)).err is None

    on_stage(tmp_path, play)


def test_nothing_is_answered_before_it_is_durable(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        ledger = stage.node.ledger
        sync, unsynced = ledger.sync, []

        def watched() -> None:
            unsynced.append(ledger.written - ledger.durable)
            sync()

        ledger.sync = watched  # type: ignore[method-assign]
        for number in range(20):
            await stage.client.send_transaction((await stage.signed(str(number))).wire)
            assert ledger.durable == ledger.written
        assert len(unsynced) >= 20
        signed = [await stage.signed(f"group {number}") for number in range(64)]
        before = len(unsynced)
        await asyncio.gather(*(stage.client.send_transaction(one.wire) for one in signed))
        assert len(unsynced) - before < 64
        assert len(stage.node.bank.history) == 85

    on_stage(tmp_path, play)


def test_a_failed_sync_answers_nothing_and_ends_the_server(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        signed = await stage.signed()

        def fail() -> None:
            raise SyncFailed("no disk")

        stage.node.ledger.sync = fail  # type: ignore[method-assign]
        with pytest.raises(RpcUnavailable):
            await stage.client.send_transaction(signed.wire)
        with pytest.raises(SyncFailed):
            await asyncio.wait_for(stage.server.failed, 1)
        stage.node.ledger.sync = lambda: None  # type: ignore[method-assign]
        with pytest.raises(RpcUnavailable):
            await stage.client.slot()

    on_stage(tmp_path, play)


def test_faults_of_the_wire(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        client, faults = stage.client, stage.faults
        signed = await stage.signed()
        faults.set("drop_send", 1)
        with pytest.raises(RpcUnavailable):
            await client.send_transaction(signed.wire)
        assert (await client.signature_statuses([signed.signature])).statuses == [None]
        faults.set("lose_answer", 1)
        with pytest.raises(RpcUnavailable):
            await client.send_transaction(signed.wire)
        assert (await client.signature_statuses([signed.signature])).statuses != [None]
        faults.set("http_429", 1)
        with pytest.raises(RpcUnavailable):
            await client.slot()
        faults.set("malformed", 1)
        with pytest.raises(RpcMalformed):
            await client.slot()
        faults.set("delay_ms", 50)
        started = asyncio.get_running_loop().time()
        await client.slot()
        assert asyncio.get_running_loop().time() - started >= 0.05

    on_stage(tmp_path, play)


def test_rejections_reach_the_client_by_name(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        with pytest.raises(TransactionRejected) as caught:
            await stage.client.send_transaction(memo("1" * 32).wire)
        assert caught.value.reason == "BlockhashNotFound"
        assert caught.value.resend_same

    on_stage(tmp_path, play)


def test_websocket_subscriptions(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        url = f"ws://127.0.0.1:{stage.server.port}"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            signed = await stage.signed()
            params = [signed.signature, {"commitment": "confirmed"}]
            await socket.send_json({"id": 1, "method": "signatureSubscribe", "params": params})
            assert (await socket.receive_json(timeout=2))["result"] == 1
            await socket.send_json({"id": 2, "method": "getHealth"})
            assert (await socket.receive_json(timeout=2))["result"] == "ok"
            await socket.send_json({"id": 3, "method": "blockSubscribe"})
            assert (await socket.receive_json(timeout=2))["error"]["code"] == -32601
            await socket.send_str("nonsense")
            assert (await socket.receive_json(timeout=2))["error"]["code"] == -32700
            await stage.client.send_transaction(signed.wire)
            await stage.server.advance()
            told = await socket.receive_json(timeout=2)
            assert told["method"] == "signatureNotification"
            assert told["params"]["subscription"] == 1
        for _ in range(100):
            if not stage.node.listeners:
                break
            await asyncio.sleep(0.01)
        assert stage.node.listeners == []

    on_stage(tmp_path, play)


def test_a_slow_client_is_closed(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        url = f"ws://127.0.0.1:{stage.server.port}"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            await socket.send_json({"id": 1, "method": "slotSubscribe"})
            assert (await socket.receive_json(timeout=2))["result"] == 1
            for _ in range(CLIENT_QUEUE + 1):
                stage.node.advance()
            code = None
            while code is None:
                message = await socket.receive(timeout=2)
                if message.type is aiohttp.WSMsgType.CLOSE:
                    code = message.data
            assert code == aiohttp.WSCloseCode.POLICY_VIOLATION

    on_stage(tmp_path, play)


def test_other_requests_and_other_addresses_are_refused(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        url = f"http://127.0.0.1:{stage.server.port}"
        async with aiohttp.ClientSession() as session:
            assert (await session.get(url)).status == 405
            assert (await session.post(url, data=b"x" * 2**21)).status == 413
        for host in ("0.0.0.0", "example.org"):
            with pytest.raises(SettingsError, match="loopback"):
                await stage.server.start(host, 0)

    on_stage(tmp_path, play)
