"""JSON lines over a socket: a listener on loopback or a Unix path, one conversation for each that connects."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from pathlib import Path
from typing import Any

import orjson

from engine.common.errors import GodarkError, SettingsError
from engine.common.logs import get_logger
from engine.gateway.json_adapter import Conversation, FollowedBooks, error_object, stream_chunks
from kernels.frames import Source

PEERS_MAX = 16
UNREAD_MAX = 1 << 20
_PATIENCE_S = 2.0


class Listener:
    """Serves who connects. A source that another carries is told so: each belongs to one session at a time."""

    def __init__(
        self, engine: Path | str, sources: list[Source], books: FollowedBooks, *, last_output: int
    ) -> None:
        self._engine, self._sources, self._books, self._last_output = engine, sources, books, last_output
        self._peers: set[asyncio.Task[None]] = set()
        self._server: asyncio.AbstractServer | None = None

    async def start(self, address: str) -> None:
        """Listen on host:port of this machine or on a path. SettingsError."""
        host, _, port = address.rpartition(":")
        try:
            if "/" not in address and host and port.isdecimal():
                _must_be_loopback(host)
                self._server = await asyncio.start_server(self._serve, host.strip("[]"), int(port))
                return
            if os.path.exists(address):
                raise SettingsError(f"--listen {address}: is there already; remove it or choose another path")
            mask = os.umask(0o177)
            try:
                self._server = await asyncio.start_unix_server(self._serve, address)
            finally:
                os.umask(mask)
        except OSError as error:
            raise SettingsError(f"--listen {address}: cannot listen: {error.strerror or error}") from error

    @property
    def port(self) -> int:
        """The TCP port that was taken."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None

        def say(line: dict[str, Any]) -> None:
            writer.write(orjson.dumps(line) + b"\n")
            if writer.transport.get_write_buffer_size() > UNREAD_MAX:
                get_logger().warning("json_peer_does_not_read", unread_bytes_max=UNREAD_MAX)
                writer.transport.abort()

        if len(self._peers) >= PEERS_MAX:
            writer.transport.abort()
            return
        self._peers.add(task)
        conversation = Conversation(
            self._engine, self._sources, self._books, say,
            last_output=self._last_output, patience_s=_PATIENCE_S,
        )  # fmt: skip
        try:
            await conversation.run(stream_chunks(reader))
        except GodarkError as error:
            say(error_object(error))
        except ConnectionError:
            get_logger().info("json_peer_left")
        finally:
            self._peers.discard(task)
            writer.close()

    async def close(self) -> None:
        """Stop listening and end every conversation."""
        if self._server is not None:
            self._server.close()
        peers = list(self._peers)
        for task in peers:
            task.cancel()
        await asyncio.gather(*peers, return_exceptions=True)


def _must_be_loopback(host: str) -> None:
    try:
        loopback = ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise SettingsError(f"--listen {host}: must be an address of this machine's own, as 127.0.0.1")
