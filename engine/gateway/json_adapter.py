"""JSON lines for people: an ordinary client of the gateway that speaks text on its other side.

Names and scales come from a follower of the journal: the books are where accounts get their numbers and markets
their scales, genesis alone would not know what came later. So the adapter runs where the journal is.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import ConnectionLost, GodarkError
from engine.follower import Follower
from engine.gateway.client import EngineClient, seal, typed
from engine.gateway.json_lines import (
    LINE_BYTES_MAX,
    LineError,
    Scale,
    Unknown,
    Writer,
    output_object,
    parse_line,
)
from engine.gateway.json_types import AnyLine, Params, StatusRequest
from engine.gateway.session import NO_OUTPUTS
from engine.journal.schema.enums import ENUMS, FAULT_ANSWERS
from kernels.frames import FRAME, Fault, Source, Template, key_words
from kernels.layouts import KEY
from kernels.slots import find_account

Say = Callable[[dict[str, Any]], None]
_IDLE_S = 0.2
_OUTPUTS_S = 5.0
_SEND_FRAMES = 1024
_CHUNK = 1 << 16


class FollowedBooks:
    """The `Directory` of a journal that is being written: behind by at most what `refresh` has not folded."""

    def __init__(self, journal: Path) -> None:
        self._follower = Follower(journal, from_snapshot=True)
        self._symbols: list[str] = []
        self.refresh()

    def refresh(self) -> None:
        """Fold everything that is durable now."""
        until = self._follower.durable
        while self._follower.position < until and self._follower.poll() is not None:
            continue
        books, count = self._follower.machine.books, self._follower.machine.state.number("markets")
        words = [(row["symbol0"], row["symbol1"]) for row in books.markets[:count]]
        self._symbols = [np.array(pair, "<i8").tobytes().rstrip(b"\0").decode("ascii") for pair in words]

    def outputs(self) -> int:
        """Number of the newest output folded."""
        return self._follower.machine.state.number("outputs")

    def market(self, symbol: str) -> int | None:
        return self._symbols.index(symbol) if symbol and symbol in self._symbols else None

    def symbol(self, market: int) -> str | None:
        return self._symbols[market] if 0 <= market < len(self._symbols) else None

    def scale(self, market: int) -> Scale | None:
        if not 0 <= market < len(self._symbols):
            return None
        row = self._follower.machine.books.markets[market]
        return Scale(int(row["price_exp"]), int(row["lot_exp"])) if row["active"] else None

    def account(self, key: bytes) -> int | None:
        books = self._follower.machine.books
        row = np.array([key_words(key)], KEY)[0]
        found = find_account(
            books.account_table, books.keys, row["key0"], row["key1"], row["key2"], row["key3"]
        )
        return int(found) if found >= 0 else None

    def close(self) -> None:
        """Let go of the journal."""
        self._follower.close()


class Numbered(NamedTuple):
    """A line of the input, counted from 1. `data` None: it was longer than a line may be."""

    number: int
    data: bytes | None


class LineCutter:
    """Bytes in, whole lines out. Holds at most one line's worth."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False
        self._number = 0

    def cut(self, data: bytes, *, end: bool = False) -> list[Numbered]:
        """The lines that `data` completes; at the `end` also one without its newline."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if end and self._rest:
            whole, self._rest = [*whole, self._rest], b""
        lines = []
        for part in whole:
            if self._skipping:
                self._skipping = False
                continue
            self._number += 1
            lines.append(Numbered(self._number, part if len(part) <= LINE_BYTES_MAX else None))
        if len(self._rest) > LINE_BYTES_MAX:
            if not self._skipping:
                self._number += 1
                lines.append(Numbered(self._number, None))
            self._rest, self._skipping = b"", True
        return lines


class Conversation:
    """One person's (or script's) lines, and what the engine says to them, through `say`, one object a line."""

    def __init__(
        self,
        address: Path | str,
        sources: list[Source],
        books: FollowedBooks,
        say: Say,
        *,
        last_output: int = NO_OUTPUTS,
        patience_s: float = 30.0,
    ) -> None:
        self._books, self._say = books, say
        self._sources = sources
        self._client = EngineClient(
            address, sources, patience_s=patience_s, last_output=last_output,
            on_output=self._output, on_ack=self._ack, on_fault=self._fault,
        )  # fmt: skip
        self._outputs = last_output != NO_OUTPUTS and Source.MATCHING in sources
        self._writer = Writer(books)
        self._next: dict[Source, int] = {}
        self._made: list[NDArray[np.void]] = []
        self._early: list[np.void] = []  # outputs that came with the welcome, to be told after it
        self.refused: list[int] = []

    async def run(self, chunks: AsyncIterator[bytes | None]) -> None:
        """Until the chunks end; None among them: nothing came for a while. Errors of the client end it."""
        last = await self._client.connect()
        for source in self._sources:
            self._next[source] = last[source] + 1
            self._say({"type": "welcome", "source": source.name.lower(), "next_seq": last[source] + 1})
        early, self._early = self._early, []
        for row in early:
            self._output(row)
        cutter = LineCutter()
        try:
            async for chunk in chunks:
                if chunk is None:
                    await self._client.keep(always=True)
                    self._books.refresh()
                    continue
                await self._take(cutter.cut(chunk))
            await self._take(cutter.cut(b"", end=True))
            await self._finish()
        finally:
            await self._client.close()

    async def _take(self, lines: list[Numbered]) -> None:
        for line in lines:
            if line.data is None or line.data.strip():
                await self._one(line)
        await self._flush()

    async def _one(self, line: Numbered) -> None:
        try:
            if line.data is None:
                raise LineError("line_too_long", f"longer than {LINE_BYTES_MAX} bytes")
            asked = parse_line(line.data)
            if isinstance(asked, StatusRequest):
                await self._status()
                return
            source, seq, count = await self._queue(asked)
        except LineError as error:
            self.refused.append(line.number)
            self._say({"type": "error", "line": line.number, "reason": error.reason,
                       "field": error.field, "message": error.message})  # fmt: skip
            return
        said: dict[str, Any] = {
            "type": "sent",
            "line": line.number,
            "source": source.name.lower(),
            "seq": seq,
        }
        self._say(said | ({"frames": count} if isinstance(asked, Params) else {}))

    async def _queue(self, line: AnyLine) -> tuple[Source, int, int]:
        """Make the frames of a line and put them in line to be sent. (source, first seq, how many)."""
        source = self._writer.source_of(line)
        if source not in self._sources:
            name = source.name.lower()
            raise LineError("not_attached", f"these lines are of source {name}: start with --source {name}")
        following = self._next[source]
        seq = following if line.seq is None else line.seq
        if seq > following:
            raise LineError("gap", f"is {seq}; the next of {source.name.lower()} is {following}", "seq")
        try:
            frames = self._writer.frames(line, seq)
        except Unknown:
            # What was sent just now may be what makes the name known.
            await self._flush()
            await self._client.drain()
            self._books.refresh()
            frames = self._writer.frames(line, seq)
        self._made.append(frames.view(FRAME))
        self._next[source] = max(following, seq + len(frames))
        if sum(map(len, self._made)) >= _SEND_FRAMES:
            await self._flush()
        return source, seq, len(frames)

    async def _flush(self) -> None:
        if self._made:
            frames, self._made = np.concatenate(self._made), []
            await self._client.send(seal(frames))

    async def _status(self) -> None:
        await self._flush()
        status = await self._client.status()
        self._say({"type": "status", "ordinal": status.ordinal, "digest": status.digest.hex()})

    async def _finish(self) -> None:
        """Everything durable, and every output that follows from it heard."""
        await self._flush()
        await self._client.answered()
        self._books.refresh()
        try:
            async with asyncio.timeout(_OUTPUTS_S):
                while self._outputs and self._client.last_output < self._books.outputs():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise ConnectionLost(
                f"outputs end at {self._client.last_output}, the books have {self._books.outputs()}"
            ) from None

    def _ack(self, source: Source, seq: int) -> None:
        if self._next:
            self._say({"type": "ack", "source": source.name.lower(), "seq": seq})

    def _output(self, row: np.void) -> None:
        if not self._next:
            self._early.append(row)
            return
        market = int(row["market"])
        if market >= 0 and self._books.scale(market) is None:
            self._books.refresh()
        self._say(output_object(row, self._books))

    def _fault(self, row: np.void) -> None:
        told = typed(row, Template.FAULT)
        fault = Fault(int(told["code"]))
        meaning = ENUMS[Fault].values[fault.name]
        self._say({
            "type": "fault", "fault": fault.name.lower(), "source": Source(int(told["source"])).name.lower(),
            "seq": int(told["fault_seq"]), "expected": int(told["expected_seq"]),
            "message": f"{meaning}. {FAULT_ANSWERS[fault]}",
        })  # fmt: skip


async def file_chunks(fd: int) -> AsyncIterator[bytes | None]:
    """What a file, pipe or terminal gives. Read by a thread that nobody waits for: a terminal may never answer."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes] = asyncio.Queue(maxsize=4)

    def read() -> None:
        while True:
            data = os.read(fd, _CHUNK)
            try:
                asyncio.run_coroutine_threadsafe(queue.put(data), loop).result()
            except RuntimeError:
                return  # the loop has ended
            if not data:
                return

    threading.Thread(target=read, daemon=True, name="lines").start()
    while True:
        try:
            data = await asyncio.wait_for(queue.get(), _IDLE_S)
        except TimeoutError:
            yield None
            continue
        if not data:
            return
        yield data


async def stream_chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes | None]:
    """What a socket gives."""
    reading: asyncio.Task[bytes] | None = None
    try:
        while True:
            reading = reading or asyncio.ensure_future(reader.read(_CHUNK))
            done, _ = await asyncio.wait({reading}, timeout=_IDLE_S)
            if not done:
                yield None
                continue
            data, reading = reading.result(), None
            if not data:
                return
            yield data
    finally:
        if reading is not None:
            reading.cancel()


def error_object(error: GodarkError) -> dict[str, Any]:
    """What ended a conversation, as its last line."""
    return {"type": "error", "line": None, "reason": error.code, "field": None, "message": error.line()}
