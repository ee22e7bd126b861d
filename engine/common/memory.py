"""Memory of a process that will now only serve: fewer, larger pages, and none of the compiler.

The kernel frees a killed process page by page before anybody may take its place: what costs microseconds here
costs a standby milliseconds. Random reads gain as well.
"""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

_MADV_DONTNEED = 4
_MADV_COLLAPSE = 25
_HUGE_PAGE = 1 << 21
_SLICE = 4 * _HUGE_PAGE
_COMPILER = "libllvmlite"


def settle_memory(most_s: float = 1.0) -> None:
    """Gather private memory in huge pages, and let go of the compiler's code until it is used again.

    Where huge pages are hard to find, as on a machine whose memory is in pieces, it ends after `most_s` with part
    of it done. A kernel that cannot do the one or the other says so, and everything stays as it is.
    """
    until_s = time.monotonic() + most_s
    libc = ctypes.CDLL(None, use_errno=True)
    advise = libc.madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, access, _, _, inode, *name = line.split(maxsplit=5)
        start, stop = (int(end, 16) for end in span.split("-"))
        if access == "rw-p" and inode == "0":
            first, last = -(-start // _HUGE_PAGE) * _HUGE_PAGE, stop // _HUGE_PAGE * _HUGE_PAGE
            for at in range(first, last, _SLICE):
                if time.monotonic() >= until_s:
                    break
                advise(at, min(_SLICE, last - at), _MADV_COLLAPSE)
        elif access == "r-xp" and name and _COMPILER in os.path.basename(name[0]):
            advise(start, stop - start, _MADV_DONTNEED)  # unwritten pages of a file: read back if ever needed
