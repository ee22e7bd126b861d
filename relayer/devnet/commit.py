"""Group commit: one fdatasync for all answers that wait at the same time."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from engine.common.errors import SyncFailed
from relayer.devnet.ledger import Ledger

# A disk that takes this long has failed for every purpose here.
SYNC_TIMEOUT_S: Final = 30.0


class GroupCommit:
    """Waiters come and go; at any time at most one sync runs, in a thread of its own.

    `failed` is set once a sync has failed: what the disk holds is then unknown, and the process must end.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._thread = ThreadPoolExecutor(1, "devnet-sync")
        self._waiters: list[asyncio.Future[None]] = []
        self._rounds: asyncio.Task[None] | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def durable(self) -> None:
        """Wait until everything written before the call is on disk. Raises SyncFailed.

        After one failure never again succeeds: a second fdatasync may return well without having written what
        the first one lost.
        """
        if self.failed.done():
            raise SyncFailed("the devnet ledger can no longer be relied on")
        if self._ledger.durable >= self._ledger.written:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._run())
        try:
            async with asyncio.timeout(SYNC_TIMEOUT_S):
                await waiter
        except TimeoutError:
            failure = SyncFailed(f"the devnet ledger was not synced within {SYNC_TIMEOUT_S} s")
            self.fail(failure)
            raise failure from None

    def fail(self, error: BaseException) -> None:
        """Note that the ledger can no longer be relied on."""
        if not self.failed.done():
            self.failed.set_exception(error)

    async def close(self) -> None:
        """Let a running sync end."""
        if self._rounds is not None and not self._rounds.done():
            await asyncio.wait([self._rounds], timeout=SYNC_TIMEOUT_S)
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiters:
            group, self._waiters = self._waiters, []
            try:
                await loop.run_in_executor(self._thread, self._ledger.sync)
            except SyncFailed as error:
                self.fail(error)
                late, self._waiters = self._waiters, []
                for waiter in group + late:
                    if not waiter.done():
                        waiter.set_exception(error)
                return
            for waiter in group:
                if not waiter.done():
                    waiter.set_result(None)
