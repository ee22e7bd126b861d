"""Lines of JSON said to a running engine, and everything it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import orjson

from engine.gateway.client import EngineClient
from engine.gateway.json_adapter import Conversation, FollowedBooks
from engine.gateway.session import NO_OUTPUTS
from kernels.frames import Source, Template
from tests.engine.gateway.running import SOURCES, Running
from tests.engine.journal.material import flow

FLOW = flow()
FIRST_FILL = int(np.flatnonzero(FLOW["template"] == Template.FILL)[0])


OPENING = FLOW[:FIRST_FILL]
BTC = {"type": "fill", "market": "BTC", "price": "67000", "size": "0.01", "side": "buy", "maker": 1, "taker": 2,
       "trade_id": 1, "time_ns": 1_700_000_000_000_000_000}  # fmt: skip


def text(*lines: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(line) + b"\n" for line in lines)


async def chunks(*parts: bytes | None) -> AsyncIterator[bytes | None]:
    for part in parts:
        yield part


class Talk:
    """A conversation with a running engine, and everything it said."""

    def __init__(self, r: Running, sources: list[Source] = SOURCES, **options: Any) -> None:
        self.said: list[dict[str, Any]] = []
        self.books = FollowedBooks(r.journal)
        options = {"last_output": 0, **options}
        self.it = Conversation(r.settings.engine.socket, sources, self.books, self.said.append, **options)

    async def run(self, *parts: bytes | None) -> list[dict[str, Any]]:
        try:
            await self.it.run(chunks(*parts))
        finally:
            self.books.close()
        return self.said

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.said if line["type"] == kind]


async def opened(r: Running, frames: np.ndarray = OPENING) -> None:
    client = EngineClient(r.settings.engine.socket, SOURCES, last_output=NO_OUTPUTS)
    await client.connect()
    await client.send(frames)
    await client.drain()
    await client.close()
