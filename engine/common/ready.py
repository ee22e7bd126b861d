"""How a process of the group tells its supervisor that it serves.

The supervisor hands down the write end of a pipe and names it in the environment; the process writes one
JSON line there when it is ready, and closes it. Lines `{"waiting": REASON}` before that ask for patience: what it
waits for may take long (room on a disk). Started by hand, there is no pipe and nothing happens.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import orjson

READY_FD = "GODARK_READY_FD"
READY_BYTES_MAX = 4096
WAITING = "waiting"
_REASON_CHARS_MAX = 1000


def notify_waiting(reason: str) -> None:
    """Tell the supervisor that this process is alive and waits for `reason`: its time to be ready begins anew.

    Without the variable, and once the process was ready, does nothing.
    """
    fd_text = os.environ.get(READY_FD)
    if fd_text is not None:
        os.write(int(fd_text), orjson.dumps({WAITING: reason[:_REASON_CHARS_MAX]}) + b"\n")


def notify_ready(info: Mapping[str, object]) -> None:
    """Write `info` as one JSON line to the descriptor in GODARK_READY_FD and close it; once.

    Without the variable, and on later calls, does nothing. ValueError: the line is over 4096 bytes (a pipe
    takes that much in one piece) or the variable is not a number.
    """
    fd_text = os.environ.get(READY_FD)
    if fd_text is None:
        return
    line = orjson.dumps(dict(info)) + b"\n"
    if len(line) > READY_BYTES_MAX:
        raise ValueError(f"ready line has {len(line)} bytes, at most {READY_BYTES_MAX} fit")
    fd = int(fd_text)
    del os.environ[READY_FD]
    try:
        os.write(fd, line)
    finally:
        os.close(fd)
