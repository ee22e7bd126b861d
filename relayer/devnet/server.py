"""The devnet on a loopback socket: HTTP POST and WebSocket, on one port."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from aiohttp import WSCloseCode, WSMsgType, web

from engine.common.errors import SettingsError, StoreError
from relayer.devnet.bank import Refusal
from relayer.devnet.commit import GroupCommit
from relayer.devnet.faults import Faults
from relayer.devnet.methods import Methods
from relayer.devnet.node import Node
from relayer.devnet.subscriptions import Subscriptions

BODY_LIMIT_BYTES: Final = 1024 * 1024
CLIENT_QUEUE: Final = 1_024
CLIENT_LIMIT: Final = 256
SEND_TIMEOUT_S: Final = 5.0
SHUTDOWN_TIMEOUT_S: Final = 0.3
_JSON: Final = "application/json"


class Server:
    """Serves one node. Every answer waits until what it may tell of is durable."""

    def __init__(self, node: Node, faults: Faults, *, control: bool = False) -> None:
        self._node = node
        self._faults = faults
        self._methods = Methods(node, faults, control=control)
        self._commit = GroupCommit(node.ledger)
        self._clients: set[_Client] = set()
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=SHUTDOWN_TIMEOUT_S)
        self.port = 0

    @property
    def failed(self) -> asyncio.Future[None]:
        """Carries the error after which nothing may be answered any more."""
        return self._commit.failed

    async def start(self, host: str, port: int) -> None:
        """Listen; `port` 0 takes a free one, found in `self.port`. Raises SettingsError or StoreError."""
        if not _is_loopback(host):
            raise SettingsError(f"the devnet serves loopback addresses only, not {host}")
        await self._commit.durable()
        if self._runner.server is None:
            await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        self.port = site.port

    async def advance(self) -> None:
        """Open a slot, and tell those who listen once that is durable."""
        self._node.advance()
        await self._commit.durable()

    async def close(self) -> None:
        """Close all connections and sync."""
        for client in list(self._clients):
            client.stop(WSCloseCode.GOING_AWAY)
        await self._runner.cleanup()
        await self._commit.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            return await self._post(request)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._websocket(request)
        return web.Response(status=405, headers={"Allow": "POST"})

    async def _post(self, request: web.BaseRequest) -> web.StreamResponse:
        # Refuses what is over aiohttp's limit of 1 MiB.
        body = await request.read()
        if self._faults.take("http_429"):
            return web.Response(status=429, text="Too many requests")
        if self._faults.delay_ms:
            await asyncio.sleep(self._faults.delay_ms / 1000)
        sends = b'"sendTransaction"' in body
        if sends and self._faults.take("drop_send"):
            return _hang_up(request)
        answer = await self._answer(body)
        if sends and self._faults.take("lose_answer"):
            return _hang_up(request)
        if self._faults.take("malformed"):
            answer = answer[: len(answer) // 2]
        return web.Response(body=answer, content_type=_JSON)

    async def _answer(self, body: bytes) -> bytes:
        try:
            answer = self._methods.answer(body)
        except StoreError as error:
            # Executed but not written: memory and ledger no longer agree.
            self._commit.fail(error)
            raise
        await self._commit.durable()
        return answer

    async def _websocket(self, request: web.BaseRequest) -> web.StreamResponse:
        if len(self._clients) >= CLIENT_LIMIT:
            return web.Response(status=503)
        stream = web.WebSocketResponse(heartbeat=20, max_msg_size=BODY_LIMIT_BYTES)
        await stream.prepare(request)
        client = _Client(self._node, stream, self._commit.durable, request.transport)
        self._clients.add(client)
        self._node.listeners.append(client.subscriptions)
        sender = asyncio.create_task(client.send_queued())
        try:
            async for message in stream:
                if message.type is WSMsgType.TEXT:
                    await self._receive(client, message.data.encode())
        finally:
            self._node.listeners.remove(client.subscriptions)
            self._clients.discard(client)
            sender.cancel()
            await asyncio.wait([sender])
        return stream

    async def _receive(self, client: _Client, body: bytes) -> None:
        """A subscription, or any method over the WebSocket."""
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError:
            request = None
        method = request.get("method") if isinstance(request, dict) else None
        if not isinstance(method, str) or not method.endswith(("Subscribe", "Unsubscribe")):
            client.queue(await self._answer(body))
            return
        params = request.get("params") or []
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request.get("id")}
        try:
            if not isinstance(params, list):
                raise Refusal(-32602, "Invalid params: the parameters must be an array")
            answer["result"] = client.subscriptions.handle(method, params)
        except Refusal as refusal:
            answer["error"] = {"code": refusal.rpc_code, "message": refusal.message}
        client.queue(orjson.dumps(answer))
        client.subscriptions.settle()


class _Client:
    """One WebSocket client: a bounded queue and a task that empties it. A slow client is closed."""

    def __init__(
        self,
        node: Node,
        stream: web.WebSocketResponse,
        durable: Callable[[], Awaitable[None]],
        transport: asyncio.BaseTransport | None,
    ) -> None:
        self.subscriptions = Subscriptions(node, self.queue)
        self._stream = stream
        self._durable = durable
        self._transport = transport
        self._messages: asyncio.Queue[bytes] = asyncio.Queue(CLIENT_QUEUE)
        self._closing: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def queue(self, message: bytes) -> None:
        """Take a message to send, or close a client that does not keep up."""
        try:
            self._messages.put_nowait(message)
        except asyncio.QueueFull:
            self.stop(WSCloseCode.POLICY_VIOLATION)
        if self.subscriptions.overflow:
            self.stop(WSCloseCode.POLICY_VIOLATION)

    def stop(self, code: int) -> None:
        """Close the connection with a code; what is queued is dropped."""
        if not self._closing.done():
            self._closing.set_result(code)

    async def send_queued(self) -> None:
        """Send what is queued until told to stop or the client no longer takes it."""
        pump = asyncio.create_task(self._pump())
        try:
            ends: list[asyncio.Future[Any]] = [pump, self._closing]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            code = self._closing.result() if self._closing.done() else WSCloseCode.POLICY_VIOLATION
            async with asyncio.timeout(SHUTDOWN_TIMEOUT_S):
                await self._stream.close(code=code, drain=False)
        except (TimeoutError, ConnectionError):
            # A client that takes nothing does not take a goodbye either.
            self._abort()
        finally:
            pump.cancel()
            await asyncio.wait([pump])

    def _abort(self) -> None:
        if isinstance(self._transport, asyncio.Transport):
            self._transport.abort()

    async def _pump(self) -> None:
        while True:
            message = await self._messages.get()
            await self._durable()
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await self._stream.send_str(message.decode())
            except (TimeoutError, ConnectionError):
                return


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hang_up(request: web.BaseRequest) -> web.Response:
    """Break the connection, as a proxy or a network does. The response goes nowhere."""
    if request.transport is not None:
        sock = request.transport.get_extra_info("socket")
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
        request.transport.abort()
    return web.Response(status=500)
