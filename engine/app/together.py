"""Several processes go through one list of steps: each takes the next that nobody has taken.

What they share is a directory of marks. Steps are taken once, in order; one may have to wait for others. Who dies
leaves its step undone: whoever started the others does at the end what is missing.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

LOOK_S = 0.02
END_S = 5.0


class Step(NamedTuple):
    """What to do, and how many of the steps before it must be done first, counted from the first."""

    act: Callable[[], None]
    after: int = 0


class Board:
    """Marks of the steps of one list in a directory: taken, done."""

    def __init__(self, directory: Path, steps: Sequence[Step]) -> None:
        self._directory, self._steps = directory, steps

    def take(self) -> int | None:
        """The first step that is free and need not wait, now ours."""
        for k, step in enumerate(self._steps):
            if self._is(k, "taken") or not all(self._is(j, "done") for j in range(step.after)):
                continue
            with contextlib.suppress(FileExistsError):
                self._mark(k, "taken").touch(exist_ok=False)
                return k
        return None

    def finish(self, k: int) -> None:
        """Step `k` is done."""
        self._mark(k, "done").touch()

    def done(self) -> int:
        """How many are done."""
        return sum(self._is(k, "done") for k in range(len(self._steps)))

    def all_taken(self) -> bool:
        """Whether nothing is left to take."""
        return all(self._is(k, "taken") for k in range(len(self._steps)))

    def _mark(self, k: int, what: str) -> Path:
        return self._directory / f"{k}.{what}"

    def _is(self, k: int, what: str) -> bool:
        return self._mark(k, what).exists()


def work(board: Board, steps: Sequence[Step], others: Callable[[], bool]) -> None:
    """Take steps and do them until all are taken; while one has to wait, as long as `others` says that somebody
    else is at work."""
    while not board.all_taken():
        k = board.take()
        if k is not None:
            steps[k].act()
            board.finish(k)
        elif others():
            time.sleep(LOOK_S)
        else:
            return


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextlib.contextmanager
def helpers(
    command: Callable[[Path], Sequence[str]], count: int
) -> Iterator[tuple[Path, Callable[[], bool]]]:
    """Start so many processes of `command(directory)`; gives the directory and whether one of them still runs.

    What they say is dropped: whoever does their part after them says it too. All are gone afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="godark-together-") as name:
        started = [
            subprocess.Popen(
                list(command(Path(name))), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for _ in range(count)
        ]  # fmt: skip
        try:
            yield Path(name), lambda: any(process.poll() is None for process in started)
        finally:
            for process in started:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
