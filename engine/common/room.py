"""Waiting for room on a disk that is full: a process of the group that finds none begins again when there is some."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from engine.common.errors import NO_ROOM, JournalFull, StoreFull
from engine.common.logs import get_logger
from engine.common.ready import notify_waiting

_TRIED_BYTES = 1 << 20
_NAME = ".room"
_PAUSE_S = 0.5
_TOLD_EVERY = 20


async def serve_while_full(
    serve: Callable[[], Coroutine[Any, Any, None]], directory: Path, stop: asyncio.Event
) -> None:
    """Await `serve()`; where it ends for want of room in `directory`, wait for that and begin again, until `stop`.

    What `serve` had in memory is gone with it: it starts from what is on disk, as after a crash. Told once.
    """
    while not stop.is_set():
        try:
            await serve()
            return
        except (StoreFull, JournalFull) as error:
            reason = error.line()
        get_logger().error("disk_full", reason=reason, action="waiting for room")
        began_s, tries = time.monotonic(), 0
        while not stop.is_set() and not has_room(directory):
            if tries % _TOLD_EVERY == 0:
                notify_waiting(reason)
            tries += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_S):
                    await stop.wait()
        # The line before may have been lost, if the log is on that disk.
        get_logger().info("disk_has_room", waited_s=round(time.monotonic() - began_s, 1))


def has_room(directory: Path, size: int = _TRIED_BYTES) -> bool:
    """Whether `size` more bytes can be written in `directory` now: it is tried, and nothing of it is left."""
    path = directory / _NAME
    try:
        with _temporary(path) as fd:
            left = size
            while left:
                left -= os.write(fd, bytes(min(left, _TRIED_BYTES)))
    except OSError as error:
        if error.errno in NO_ROOM:
            return False
        raise
    return True


@contextmanager
def _temporary(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)
        path.unlink(missing_ok=True)
