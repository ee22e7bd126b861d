"""What `godark compile` compiles is all that the commands call: in a process of its own, none compiles more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.app.cli import ROOT
from engine.app.warm import CALLS, compile_everything
from kernels.jit import JIT_DISABLED
from tests.engine.app import commands

# Run by a fresh interpreter: every signature that a command adds to those of `compile_everything` is printed.
PROGRAM = """
import contextlib, io, json, sys
from numba.core.registry import CPUDispatcher
from engine.app.cli import execute
from engine.app.warm import compile_everything

def signatures():
    rooms = ("kernels", "engine", "relayer", "bench")
    modules = [m for name, m in list(sys.modules.items()) if name.partition(".")[0] in rooms]
    kernels = {id(v): v for m in modules for v in vars(m).values() if isinstance(v, CPUDispatcher)}
    return {f"{k.py_func.__module__}.{k.__name__}{s}" for k in kernels.values() for s in k.overloads}

compile_everything()
before = signatures()
out = io.StringIO()
statuses = []
with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
    for arguments in json.load(sys.stdin):
        if arguments == ["watch"]:
            from engine.app.watch import load_kernels
            load_kernels()
        else:
            statuses.append(execute(arguments))
assert not any(statuses), (statuses, out.getvalue())
print(json.dumps({"before": len(before), "new": sorted(signatures() - before)}))
"""


def run(argument_lists: list[list[str]], program: str = PROGRAM) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(argument_lists).encode(),
        env=os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_DISABLE_JIT": "0"},
        cwd=ROOT,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    assert isinstance(told, dict)
    return told


def test_no_command_compiles_anything_that_set_up_has_not(tmp_path: Path) -> None:
    told = run([*commands.all_of(tmp_path), ["watch"]])
    assert told["new"] == []
    assert isinstance(told["before"], int) and told["before"] >= len(CALLS)


def test_a_call_that_is_not_in_the_list_is_seen(tmp_path: Path) -> None:
    """The same with an empty list: then the commands' own calls are all new."""
    program = PROGRAM.replace("compile_everything()\nbefore", "before")
    new = run(commands.audits(tmp_path), program)["new"]
    assert isinstance(new, list)
    assert any(name.startswith("kernels.audit.market_sums(") for name in new)


def test_progress_is_told_call_by_call() -> None:
    if JIT_DISABLED:
        pytest.skip("this loads compiled code: there is none with the JIT off")
    seen: list[tuple[int, int]] = []
    compile_everything(lambda done, of: seen.append((done, of)))
    assert seen == [(k, 1 + len(CALLS)) for k in range(1, 2 + len(CALLS))]
