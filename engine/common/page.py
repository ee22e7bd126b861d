"""A page in shared memory: one record that a process writes and whoever watches it reads, at no cost to either.

One writer. A reader sees each field whole: aligned eight bytes.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np

from engine.common.errors import SettingsError

PAGE_BYTES = 4096


def map_page(fd: int) -> mmap.mmap:
    """Map the page in `fd`, made whole first where it is not. OSError: no room, or not to be used."""
    if os.fstat(fd).st_size != PAGE_BYTES:
        # Written, not reserved: storing into a hole on a full disk would end the process by a signal.
        os.pwrite(fd, bytes(PAGE_BYTES), 0)
        os.ftruncate(fd, PAGE_BYTES)
    return mmap.mmap(fd, PAGE_BYTES)


class Page:
    """The mapped page; `row` is its one record, of `layout`, whose first fields are magic and pid.

    create: begin it anew, private to its owner. FileNotFoundError: there is none to read. SettingsError: what lies
    at the path is no such page; it is left as it is.
    """

    def __init__(self, path: Path, layout: np.dtype[np.void], magic: int, *, create: bool = False) -> None:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
        try:
            found = os.pread(fd, PAGE_BYTES + 1, 0)
            # Zeros are a page whose writer has only begun it; a reader needs it whole.
            unfinished = not any(found) and (len(found) == PAGE_BYTES or (create and len(found) < PAGE_BYTES))
            ours = len(found) == PAGE_BYTES and int.from_bytes(found[:8], "little") == magic
            if not unfinished and not ours:
                raise SettingsError(f"{path}: not a page of this process; name another file")
            self._map = map_page(fd)
        finally:
            os.close(fd)
        self.row = np.frombuffer(self._map, layout, 1)[0]
        if create:
            for name in layout.names or ():
                self.row[name] = 0
            self.row["magic"], self.row["pid"] = magic, os.getpid()

    def get(self, field: str) -> int:
        """One field as a Python integer."""
        return int(self.row[field])
