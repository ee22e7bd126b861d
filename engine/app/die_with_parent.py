"""Run a command that the kernel kills when its parent ends, however the parent ends.

`python -I -S die_with_parent.py PARENT_PID COMMAND…` asks for the signal and becomes the command: same
process id, and the request survives exec. A file of its own, because code run between fork and exec of a
process with threads is not safe. The signal follows the *thread* that spawned us, so a supervisor spawns from
its main thread.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Never returns: becomes the command, or exits 127 with a line on stderr."""
    parent_pid, command = int(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        sys.exit(f"godark: prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent_pid:
        sys.exit("godark: the supervisor ended before its child began")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"godark: {command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


if __name__ == "__main__":
    main()
