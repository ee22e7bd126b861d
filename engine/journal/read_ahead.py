"""Reading a journal at rest on a thread of its own, one chunk ahead of whoever folds it.

Reading and checking let go of the interpreter's lock, as folding does: where there is a second core, a replay
takes as long as the slower of the two and not as long as both.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from engine.journal.reader import Chunk, Cursor, JournalReader


class ReadAhead:
    """A `JournalReader` to the last complete group of a journal that nobody writes. Answers and errors are its own.

    A chunk is valid until the next read. `close` waits for what is being read, a chunk at most.
    """

    def __init__(self, directory: Path, *, capacity: int = 65_536, cursor: Cursor | None = None) -> None:
        self._reader = JournalReader(directory, capacity=capacity, cursor=cursor, buffers=2)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._next: Future[Chunk] | None = None
        self.cursor = self._reader.cursor

    def read(self) -> Chunk:
        """The next chunk, as of `JournalReader.read`; the one behind it is begun. `cursor`: behind this one."""
        coming, self._next = self._next, None
        chunk = self._reader.read() if coming is None else coming.result()
        if len(chunk.frames):
            self._next = self._thread.submit(self._reader.read)
        self.cursor = chunk.cursor
        return chunk

    def close(self) -> None:
        """End the thread and let go of the open segment."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._next = None
        self._reader.close()
