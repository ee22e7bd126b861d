"""Who a process is: its number is used again when it has ended, its start is not."""

from __future__ import annotations

from pathlib import Path

_START_FIELD = 22 - 3  # of /proc/PID/stat (proc(5)), counted behind the name, which may hold anything


def start_ticks(pid: int) -> int:
    """When process `pid` began, in clock ticks since this machine did; -1 if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return int(stat[stat.rindex(b")") + 2 :].split()[_START_FIELD])
