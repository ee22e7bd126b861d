"""`python -m tests.mutation [kernels/FILE.py ...] [--seconds N] [--every N]`: which wrong kernels go unseen.

Each mutant is one change of one kernel (`mutants`), put into a copy of kernels/ and tests/kernels; with the
JIT off, those test files run that name the module, until the first failure. A mutant that makes a test fail,
hang or crash is killed. One that survives is either in `explained.json` (file, mutant, why nobody could tell
the difference) or a missing test: then the exit status is 1. Without files every kernel is taken; `--seconds`
(default 600) bounds the time, and what was not reached is counted aloud; `--every N` takes each Nth mutant.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[2]
EXPLAINED = Path(__file__).with_name("explained.json")
HANG_S = 30
_COPIED = ("kernels", "tests/kernels", "tests/__init__.py", "tests/conftest.py")


def tests_of(root: Path, module: str) -> list[str]:
    """Test files that name a kernel module, its own first."""
    named = re.compile(rf"from kernels import [^\n]*\b{module}\b|kernels\.{module}\b|kernels/{module}\b")
    files = sorted((root / "tests" / "kernels").glob("test_*.py"))
    own = f"test_{module}"
    found = [path for path in files if path.stem == own or named.search(path.read_text())]
    found.sort(key=lambda path: (path.stem != own, path.name))
    return [path.relative_to(root).as_posix() for path in found]


def copy_of(root: Path, folder: Path) -> None:
    """What the kernels' tests need, without compiled leftovers."""
    for name in _COPIED:
        source, target = root / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copy(source, target)


def survives(folder: Path, tests: Sequence[str]) -> bool:
    """Run the tests of the copy in a child of this process, which has imported all but the kernels."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(HANG_S)
            status = _run_tests(folder, tests)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _run_tests(folder: Path, tests: Sequence[str]) -> int:
    import pytest

    os.chdir(folder)
    for name in [name for name in sys.modules if name == "tests" or name.startswith("tests.")]:
        del sys.modules[name]
    sys.path[:] = [str(folder), *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        return int(
            pytest.main(["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-W", "error", *tests])
        )


def explained(file: str) -> dict[str, str]:
    """Mutants of a file that no test can kill, by name, with the reason."""
    return {row["mutant"]: row["why"] for row in json.loads(EXPLAINED.read_text()) if row["file"] == file}


def check_file(root: Path, folder: Path, file: str, every: int, until_s: float) -> int:
    """Try the mutants of one file; the number that survived without a reason."""
    source = (root / file).read_text()
    module = Path(file).stem
    tests = tests_of(root, module)
    mutants = list(mutants_of(source))[::every]
    if not mutants:
        return 0
    if not tests:
        print(f"{file}: no test names it")
        return len(mutants)
    if not survives(folder, tests):
        print(f"{file}: its tests fail without any mutant")
        return len(mutants)
    known = explained(file)
    killed = excused = tried = 0
    unseen: list[Mutant] = []
    for mutant in mutants:
        if time.monotonic() > until_s:
            break
        tried += 1
        (folder / file).write_text(mutant.source)
        if not survives(folder, tests):
            killed += 1
        elif mutant.name in known:
            excused += 1
        else:
            unseen.append(mutant)
            print(f"  survived {file}:{mutant.line} {mutant.name}", flush=True)
    (folder / file).write_text(source)
    late = f", {len(mutants) - tried} not reached in time" if tried < len(mutants) else ""
    print(
        f"{file}: {tried} mutants, {killed} killed, {excused} survived and explained, "
        f"{len(unseen)} unexplained{late}",
        flush=True,
    )
    return len(unseen)


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
    os.environ.update(NUMBA_DISABLE_JIT="1", HYPOTHESIS_PROFILE="ci", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    sys.dont_write_bytecode = True
    for name in ("hypothesis.strategies", "numba.extending", "pytest"):
        importlib.import_module(name)  # once here, not in every child
    until_s = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory(prefix="godark-mutation-") as name:
        folder = Path(name)
        copy_of(root, folder)
        unexplained = sum(check_file(root, folder, file, options.every, until_s) for file in files)
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
