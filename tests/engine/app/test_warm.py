"""What `godark compile` compiles is all that the commands call: in a process of its own, none compiles more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.app import warm
from engine.app.cli import ROOT
from engine.app.together import Board, work
from engine.app.warm import CALLS, compile_everything, steps
from engine.gateway.warm import compile_all, parts_of_fold
from kernels.jit import JIT_DISABLED, prepare
from kernels.parcel import Handle
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
        timeout=600,
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


def test_the_steps_that_processes_share_are_all_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[object] = []
    monkeypatch.setattr(warm, "prepare", lambda kernel, *like: prepared.append(kernel))
    monkeypatch.setattr(warm, "compile_all", lambda: prepared.append("the fold"))
    plan = steps()
    work(Board(tmp_path, plan), plan, lambda: False)
    parts = [part for part, _ in parts_of_fold()]
    assert prepared[: len(parts) + 1] == [*parts, "the fold"], "the fold finds its parts compiled"
    assert sorted(map(str, prepared[len(parts) + 1 :])) == sorted(str(call.kernel) for call in CALLS)


def test_the_fold_asks_for_its_parts_with_the_types_that_set_up_compiled() -> None:
    """With others it would compile them again, after them instead of beside them."""
    if JIT_DISABLED:
        pytest.skip("nothing is compiled with the JIT off")
    compile_all()
    for part, like in parts_of_fold():
        prepare(part, *like)
        wanted = set(part.signatures)  # type: ignore[attr-defined]
        index = part._cache._cache_file._load_index()  # type: ignore[attr-defined]
        handed = {isinstance(value, Handle) for value in like[:1]}
        cached = {sig for sig, _, _ in index if isinstance(sig[0], Handle) in handed}
        assert cached == {sig for sig in wanted if isinstance(sig[0], Handle) in handed}, part
