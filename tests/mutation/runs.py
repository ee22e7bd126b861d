"""Test runs in a copy of the project: which tests reach which lines, and whether a chosen few still pass.

Every run is a child of this process, which has imported all but the kernels. The child answers in a file.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

import pytest

COPIED = ("kernels", "engine", "relayer", "bench", "tests")
"""What a copy of the project holds; whatever of it this process has imported, children import from there."""
_ANSWER = "answer.json"


class Reach:
    """Pytest plugin: the lines of one file that each test runs, and how long it takes."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.imported: set[int] = set()
        self.lines: dict[str, set[int]] = {}
        self.seconds: dict[str, float] = {}
        self._now = self.imported

    def _call(self, frame: FrameType, event: str, given: Any) -> Any:
        return self._line if frame.f_code.co_filename == self.path else None

    def _line(self, frame: FrameType, event: str, given: Any) -> Any:
        self._now.add(frame.f_lineno)
        return self._line

    def pytest_sessionstart(self) -> None:
        sys.settrace(self._call)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._now = self.lines.setdefault(item.nodeid, set())
        started_s = time.monotonic()
        sys.settrace(self._call)
        yield
        sys.settrace(None)
        self.seconds[item.nodeid] = time.monotonic() - started_s

    def answer(self) -> Any:
        lines = {test: sorted(lines) for test, lines in self.lines.items()}
        return {"imported": sorted(self.imported), "lines": lines, "seconds": self.seconds}


class Chosen:
    """Pytest plugin: runs these tests in this order; remembers the first that fails."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.place = {test: k for k, test in enumerate(tests)}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.place), key=lambda item: self.place[item.nodeid]
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def answer(self) -> Any:
        return self.failed


class Reached(NamedTuple):
    """What a run without any mutant found out."""

    imported: set[int]
    lines: dict[str, set[int]]
    seconds: dict[str, float]

    def at_import(self, first: int, last: int) -> bool:
        """Whether any of these lines runs while tests are collected."""
        return not self.imported.isdisjoint(range(first, last + 1))

    def tests(self, first: int, last: int) -> list[str]:
        """Tests that run any of these lines; all of them if importing the file already does."""
        if self.at_import(first, last):
            return list(self.lines)
        return [test for test, lines in self.lines.items() if not lines.isdisjoint(range(first, last + 1))]


def run(folder: Path, files: Sequence[str], plugin: Reach | Chosen, limit_s: float) -> tuple[bool, Any]:
    """(all passed, what the plugin says or None) of the tests in these files of the copy."""
    answer = folder / _ANSWER
    answer.unlink(missing_ok=True)

    def child() -> int:
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        status = _run_tests(folder, files, plugin)
        answer.write_text(json.dumps(plugin.answer()))
        return status

    passed = _forked(child) == 0
    return passed, json.loads(answer.read_text()) if answer.exists() else None


def _forked(work: Callable[[], int]) -> int:
    """Exit code of `work` in a child; a timer that it sets ends it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Patch(NamedTuple):
    """Another body for a function of a module, and the tests to run with it, in order, each for so long."""

    module: str
    function: str
    source: str
    tests: list[str]
    limits_s: list[float]


class Patching:
    """Pytest plugin, and the handle of the child that it runs in: tests are collected and kernels imported
    once, then every patch is tried in a child of that child. What importing runs cannot be patched so.
    """

    def __init__(self, folder: Path, files: Sequence[str]) -> None:
        ask, self._ask = os.pipe()
        self._told, tell = os.pipe()
        self._failed = ""
        self._child = os.fork()
        if self._child == 0:
            try:
                os.close(self._ask)
                os.close(self._told)
                self._asked, self._tell = os.fdopen(ask), tell
                _run_tests(folder, files, self)
            finally:
                os._exit(0)
        os.close(ask)
        os.close(tell)
        self._answers = os.fdopen(self._told)
        # Not before all is imported may anybody change the files of the copy.
        if self._answers.readline() != "ready\n":
            raise RuntimeError("the tests could not be collected")

    def kill(self, patch: Patch) -> tuple[bool, str]:
        """(whether a test failed, hung or crashed, its name if it failed)."""
        os.write(self._ask, json.dumps(patch).encode() + b"\n")
        status, failed = json.loads(self._answers.readline())
        return status != 0, failed

    def close(self) -> None:
        os.close(self._ask)
        self._answers.close()
        os.waitpid(self._child, 0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed = report.nodeid

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        os.write(self._tell, b"ready\n")
        for line in self._asked:
            patch = Patch(*json.loads(line))
            function = inspect.unwrap(getattr(sys.modules[patch.module], patch.function))
            code = _code_of(patch, function)
            chosen = [items[test] for test in patch.tests]
            work = functools.partial(self._try, function, code, chosen, patch.limits_s)
            read, write = os.pipe()
            status = _forked(functools.partial(work, write))
            os.close(write)
            with os.fdopen(read) as told:
                os.write(self._tell, json.dumps([status, told.read()]).encode() + b"\n")
        return True

    def _try(
        self,
        function: FunctionType,
        code: CodeType,
        items: Sequence[pytest.Item],
        limits_s: Sequence[float],
        write: int,
    ) -> int:
        function.__code__ = code
        for item, after, limit_s in zip(items, [*items[1:], None], limits_s, strict=True):
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self._failed:
                os.write(write, self._failed.encode())
                return 1
        return 0


def _code_of(patch: Patch, function: FunctionType) -> CodeType:
    """The patched body. Raises where it could not stand in for the function's own."""
    whole = compile(patch.source, function.__code__.co_filename, "exec")
    bodies = [code for code in whole.co_consts if getattr(code, "co_name", "") == patch.function]
    if len(bodies) != 1 or len(bodies[0].co_freevars) != len(function.__code__.co_freevars):
        raise LookupError(f"{patch.module}.{patch.function} cannot be patched")
    return bodies[0]


def _run_tests(folder: Path, files: Sequence[str], plugin: Reach | Chosen | Patching) -> int:
    here = str(Path(__file__).resolve().parents[2])
    os.chdir(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] in COPIED]:
        del sys.modules[name]
    sys.path[:] = [str(folder), *(entry for entry in sys.path if entry not in ("", here))]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-W", "error"]
        return int(pytest.main([*options, *files], plugins=[plugin]))


def reach(folder: Path, file: str, files: Sequence[str], limit_s: int) -> Reached | None:
    """Which tests of `files` reach which lines of `file`; None if one of them fails."""
    passed, found = run(folder, files, Reach(folder / file), limit_s)
    if not passed or found is None:
        return None
    lines = {test: set(reached) for test, reached in found["lines"].items()}
    return Reached(set(found["imported"]), lines, found["seconds"])
