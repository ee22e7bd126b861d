"""`python -m tests.mutation [kernels/FILE.py ...] [--seconds N] [--every N]`: which wrong kernels go unseen.

Each mutant is one change of one kernel (`mutants`), put into a copy of the project. Tests are
those of the files that name the module, or where none does, that name a module importing it. With the JIT
off, those tests run that reach the changed line, the most successful first, until one fails (`runs`). A mutant
that makes a test fail, hang or crash is killed. One that survives is either in `explained.json` (file, mutant,
why nobody could tell the difference) or a missing test: then the exit status is 1. Without files every kernel
is taken; `engine/core/fast_fills.py` may be named too. `--seconds` (default 600) bounds the time, and what was
not reached is counted aloud; `--every N` takes each Nth mutant. A table of all files ends it.
"""

from __future__ import annotations

import argparse
import compileall
import importlib.util
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.mutation import runs
from tests.mutation.mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[2]
EXPLAINED = Path(__file__).with_name("explained.json")
REACH_S = 300
"""Longest run without a mutant."""
HANG_S = 2
"""A mutant hangs if a test takes so long, and five times what it takes without it, counting its lines."""
IMPORT_S = 5
"""What importing anew may take beyond that."""


class Result(NamedTuple):
    """Counts of one file."""

    file: str
    mutants: int = 0
    killed: int = 0
    explained: int = 0
    unexplained: int = 0
    late: int = 0


def naming(root: Path, paths: Iterable[Path], file: str) -> list[Path]:
    """Which of these files name a kernel module, by import or by path."""
    package, module = Path(file).parent.as_posix().replace("/", "."), Path(file).stem
    listed = rf"from {package} import (?:[^\n(]*|\([^)]*)\b{module}\b"
    named = re.compile(rf"{listed}|\b{re.escape(package)}\.{module}\b|{re.escape(file)}\b")
    return [path for path in paths if path != root / file and named.search(path.read_text())]


def tests_of(root: Path, file: str) -> list[str]:
    """Test files that name a module; where there is none, those of the modules that import it."""
    room = Path(file).parts[0]
    tests = sorted((root / "tests" / room).rglob("test_*.py"))
    found = {*naming(root, tests, file), *(path for path in tests if path.stem == f"test_{Path(file).stem}")}
    if not found:
        for user in naming(root, (root / room).rglob("*.py"), file):
            found.update(naming(root, tests, user.relative_to(root).as_posix()))
    return sorted(path.relative_to(root).as_posix() for path in found)


def copy_of(root: Path, folder: Path) -> None:
    """What the kernels' tests import, compiled once."""
    for name in runs.COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(folder, quiet=2)


def explained(file: str) -> dict[str, str]:
    """Mutants of a file that no test can kill, by name, with the reason."""
    return {row["mutant"]: row["why"] for row in json.loads(EXPLAINED.read_text()) if row["file"] == file}


class Killers:
    """Runs the tests that reach a mutant, those first that have killed most, then the fastest."""

    def __init__(self, folder: Path, file: str, tests: Sequence[str], reached: runs.Reached) -> None:
        self.folder, self.file, self.reached = folder, file, reached
        self.kills: Counter[str] = Counter()
        self.patching = runs.Patching(folder, tests)

    def kill(self, mutant: Mutant) -> bool:
        """Whether any test can tell this mutant; the copy stays as it was."""
        tests = self.reached.tests(mutant.line, mutant.last)
        if not tests:
            return False
        tests.sort(key=lambda test: (-self.kills[test], self.reached.seconds[test]))
        limits_s = [HANG_S + 5 * self.reached.seconds[test] for test in tests]
        if self.reached.at_import(*mutant.body):
            killed, killer = self._anew(mutant, tests, IMPORT_S + sum(limits_s))
        else:
            module = self.file.removesuffix(".py").replace("/", ".")
            patch = runs.Patch(module, mutant.function, mutant.source, tests, limits_s)
            killed, killer = self.patching.kill(patch)
        if killer:
            self.kills[killer] += 1
        return killed

    def _anew(self, mutant: Mutant, tests: Sequence[str], limit_s: float) -> tuple[bool, str]:
        """The same where importing runs the mutant, by importing all of it anew."""
        path = self.folder / self.file
        source = path.read_text()
        path.write_text(mutant.source)
        files = sorted({test.partition("::")[0] for test in tests})
        passed, killer = runs.run(self.folder, files, runs.Chosen(tests), limit_s)
        path.write_text(source)
        return not passed, killer or ""


def check_file(root: Path, folder: Path, file: str, every: int, until_s: float) -> Result:
    """Try the mutants of one file."""
    mutants = list(mutants_of((root / file).read_text()))[::every]
    # A mutant may have the size and the second of what was compiled: it must be read anew.
    Path(importlib.util.cache_from_source(str(folder / file))).unlink(missing_ok=True)
    tests = tests_of(root, file)
    if not mutants:
        return Result(file)
    if not tests:
        print(f"{file}: no test names it")
        return Result(file, len(mutants), unexplained=len(mutants))
    reached = runs.reach(folder, file, tests, REACH_S)
    if reached is None:
        print(f"{file}: its tests fail without any mutant")
        return Result(file, len(mutants), unexplained=len(mutants))
    known, killers, count = explained(file), Killers(folder, file, tests, reached), Counter[str]()
    for mutant in mutants:
        if time.monotonic() > until_s:
            break
        if killers.kill(mutant):
            count["killed"] += 1
        elif mutant.name in known:
            count["explained"] += 1
        else:
            count["unexplained"] += 1
            print(f"  survived {file}:{mutant.line} {mutant.name}", flush=True)
    killers.patching.close()
    tried = sum(count.values())
    return Result(file, tried, **count, late=len(mutants) - tried)


def table(results: Sequence[Result]) -> str:
    """One line a file, and their sum."""
    rows = [result for result in results if result.mutants or result.late]
    total = [sum(column) for column in zip(*(row[1:] for row in rows), strict=True)]
    lines = [("file", *Result._fields[1:]), *rows, ("in all", *total)]
    wide = max(len(line[0]) for line in lines)
    return "\n".join(f"{line[0]:{wide}}" + "".join(f"{x:>13}" for x in line[1:]) for line in lines)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("files", nargs="*", help="kernels/FILE.py; default: all of them")
    parser.add_argument("--seconds", type=int, default=600, help="stop after so long")
    parser.add_argument("--every", type=int, default=1, help="take each Nth mutant only")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    root: Path = options.root.resolve()
    files = options.files or sorted(p.relative_to(root).as_posix() for p in root.glob("kernels/**/*.py"))
    for file in files:
        if not (root / file).is_file():
            print(f"no such file: {file}", file=sys.stderr)
            return 2
    os.environ.update(NUMBA_DISABLE_JIT="1", HYPOTHESIS_PROFILE="mutants", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    sys.dont_write_bytecode = True
    for name in ("hypothesis.strategies", "numba.extending"):
        importlib.import_module(name)  # once here, not in every child
    until_s = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory(prefix="godark-mutation-") as name:
        folder = Path(name)
        copy_of(root, folder)
        results = [check_file(root, folder, file, options.every, until_s) for file in files]
    if any(result.mutants or result.late for result in results):
        print(table(results))
    return 1 if any(result.unexplained for result in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
