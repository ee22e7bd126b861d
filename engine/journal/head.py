"""The head page: what the engine publishes to whoever follows it, in shared memory.

One writer. A reader sees each field whole (aligned eight bytes); `durable` only grows within an epoch.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from engine.common.errors import NO_ROOM, JournalError, JournalFull
from engine.common.page import PAGE_BYTES, map_page

MAGIC = 0x4B524144_4F47_0001
BUCKETS = 24
"""Of a histogram of times: bucket k counts those under 2**k µs and no less than half of that, the last all above."""

HEAD = np.dtype(
    [
        ("magic", "<i8"),
        ("epoch", "<i8"),
        ("durable", "<i8"),  # first position that is not durable
        ("ordinal", "<i8"),  # frames applied
        ("heartbeat_ns", "<i8"),  # monotonic clock of this machine
        ("pid", "<i8"),
        ("now_ns", "<i8"),  # the books' time
        ("groups", "<i8"),
        ("booked", "<i8"),
        ("refused", "<i8"),
        ("duplicates", "<i8"),
        ("faults", "<i8"),
        ("sessions", "<i8"),
        ("sync_ns", "<i8"),  # spent in fdatasync, in all
        ("ack_ns", "<i8"),  # of the last group: first byte read to ack written
        ("settled_batch", "<i8"),
        ("group_frames_max", "<i8"),
        ("pid_started", "<i8"),  # when the process began, see `engine.common.processes.start_ticks`
        ("frames", "<i8"),  # journaled since this engine started, and their bytes with headers
        ("bytes", "<i8"),
        (
            "logged",
            "<i8",
        ),  # lines that the log got; what a hostile peer causes beyond its rate is only counted
        ("unlogged", "<i8"),
        ("clock_off_ns", "<i8"),  # wall clock less the engine's own, if that runs
        ("grown", "<i8"),  # times that the books outgrew what was reserved
        *((f"ack_us_{k}", "<i8") for k in range(BUCKETS)),
        *((f"sync_us_{k}", "<i8") for k in range(BUCKETS)),
    ]
)


def slot(field: str) -> int:
    """Where a field lies in `HeadPage.words`."""
    assert HEAD.fields is not None
    return HEAD.fields[field][1] // 8


ACK_US, SYNC_US = slot("ack_us_0"), slot("sync_us_0")


def _unusable(path: Path, error: OSError) -> JournalError:
    kind = JournalFull if error.errno in NO_ROOM else JournalError
    return kind(f"{path}: cannot be used: {error.strerror}", path=str(path))


class HeadPage:
    """The mapped page. `row` is its one record; `words` the same as 64-bit integers, for who writes often.

    A word is written with one store, in a tenth of the time that a field of `row` takes.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        flags = os.O_RDWR | (os.O_CREAT if create else 0)
        try:
            fd = os.open(path, flags, 0o600)
        except FileNotFoundError as error:
            raise JournalError(
                f"{path}: no engine has run here yet; name the directory of one with --data-dir",
                path=str(path),
            ) from error
        except OSError as error:
            raise _unusable(path, error) from error
        try:
            if not create and os.fstat(fd).st_size != PAGE_BYTES:
                raise JournalError(f"{path}: not a head page", path=str(path))
            self._map = map_page(fd)
        except OSError as error:
            raise _unusable(path, error) from error
        finally:
            os.close(fd)
        self.row = np.frombuffer(self._map, HEAD, 1)[0]
        self.words = memoryview(self._map).cast("q")
        if create:
            self.row["magic"] = MAGIC
        elif int(self.row["magic"]) != MAGIC:
            raise JournalError(f"{path}: not a head page", path=str(path))

    def get(self, field: str) -> int:
        """One field as a Python integer."""
        return int(self.row[field])

    def count_time(self, first: int, spent_ns: int) -> None:
        """Count a time in the histogram whose first bucket is at `first` (ACK_US, SYNC_US)."""
        self.words[first + min((spent_ns // 1000).bit_length(), BUCKETS - 1)] += 1

    def histogram(self, first: int) -> list[int]:
        """The buckets of a histogram of times."""
        return self.words[first : first + BUCKETS].tolist()


def quantile_us(buckets: list[int], share: float) -> int:
    """Upper bound, in µs, of the bucket that holds this share of the times; 0 if there are none."""
    wanted, seen = share * sum(buckets), 0
    for k, count in enumerate(buckets):
        seen += count
        if count and seen >= wanted:
            return 1 << k
    return 0
