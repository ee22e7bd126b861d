"""The mutation runner on a kernel of its own: what it changes, what it lets live, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation import __main__ as mutation
from tests.mutation import runs
from tests.mutation.mutants import mutants_of

SOURCE = '''
LIMIT = 5

@kernel
def capped(value: int) -> int:
    """At most 5."""
    low = max(value, 0)
    if low > LIMIT and not low == 7:
        return LIMIT
    return low

@primitive(plain)
def machine(a):
    return a + 1

def emit_one(builder, a):
    return builder.add(a, 1)
'''
KERNEL = "def capped(value):\n    if value > 5:\n        return 5\n    return value + 0 - 0\n"
TEST = """from kernels.sample import capped

def test_it():
    assert [capped(n) for n in (4, 5, 6, 9)] == [4, 5, 5, 5]

def test_nothing():
    pass
"""


def test_every_change_is_one_and_machine_code_is_left_alone() -> None:
    names = [mutant.name for mutant in mutants_of(SOURCE)]
    assert names == [
        "capped: low = max(value, 0) -> pass",
        "capped: low = max(value, 0) -> low = min(value, 0)",
        "capped: low = max(value, 0) -> low = max(value, 1)",
        "capped: if low > LIMIT and (not low == 7): -> if low > LIMIT or not low == 7:",
        "capped: if low > LIMIT and (not low == 7): -> if low >= LIMIT and (not low == 7):",
        "capped: if low > LIMIT and (not low == 7): -> if low > LIMIT and low == 7:",
        "capped: if low > LIMIT and (not low == 7): -> if low > LIMIT and (not low != 7):",
        "capped: if low > LIMIT and (not low == 7): -> if low > LIMIT and (not low == 8):",
    ]
    for mutant in mutants_of(SOURCE):
        assert mutant.source.count("machine") == mutant.source.count("builder.add(a, 1)") == 1
        compile(mutant.source, "mutant", "exec")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("kernels", "tests", "tests/kernels"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "kernels" / "sample.py").write_text(KERNEL)
    (tmp_path / "tests" / "kernels" / "test_sample.py").write_text(TEST)
    return tmp_path


def run(project: Path, *arguments: str) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "tests.mutation", "--root", str(project), *arguments]
    done = subprocess.run(command, cwd=mutation.ROOT, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout.splitlines()


def row(*cells: str | int) -> list[str]:
    return [str(cell) for cell in cells]


HEAD = row("file", "mutants", "killed", "explained", "unexplained", "late")


def test_a_survivor_is_named_with_its_line_and_fails(project: Path) -> None:
    status, lines = run(project, "kernels/sample.py")
    assert status == 1
    assert lines[:4] == [
        "  survived kernels/sample.py:2 capped: if value > 5: -> if value >= 5:",
        "  survived kernels/sample.py:4 capped: return value + 0 - 0 -> return value + 0 + 0",
        "  survived kernels/sample.py:4 capped: return value + 0 - 0 -> return value - 0 - 0",
        "file                   mutants       killed    explained  unexplained         late",
    ]
    counts = row(7, 4, 0, 3, 0)
    assert [line.split() for line in lines[4:]] == [["kernels/sample.py", *counts], ["in", "all", *counts]]
    assert (project / "kernels" / "sample.py").read_text() == KERNEL


def test_tests_that_fail_anyway_and_kernels_without_tests_are_no_pass(project: Path) -> None:
    (project / "kernels" / "alone.py").write_text(KERNEL)
    (project / "tests" / "kernels" / "test_sample.py").write_text(TEST.replace("9)", "10, 11)"))
    status, lines = run(project, "--every", "2")
    assert status == 1
    assert lines[:2] == [
        "kernels/alone.py: no test names it",
        "kernels/sample.py: its tests fail without any mutant",
    ]
    assert lines[-1].split() == ["in", "all", *row(8, 0, 0, 8, 0)]


def test_a_kernel_that_no_test_names_is_tested_by_those_of_its_users(project: Path) -> None:
    (project / "kernels" / "within.py").write_text(KERNEL)
    (project / "kernels" / "sample.py").write_text("from kernels.within import capped\n")
    status, lines = run(project, "kernels/within.py")
    assert status == 1
    assert lines[-1].split() == ["in", "all", *row(7, 4, 0, 3, 0)]


def test_a_mutant_that_hangs_is_killed(project: Path) -> None:
    (project / "kernels" / "sample.py").write_text(
        "def capped(value):\n    while value > 5:\n        value = 5\n    return value\n"
    )
    status, lines = run(project, "kernels/sample.py", "--every", "4")
    assert status == 0
    assert lines[-1].split() == ["in", "all", *row(1, 1, 0, 0, 0)]


def test_what_runs_at_import_is_tested_by_all(project: Path) -> None:
    """And what is changed for that is not what the other mutants are tried on."""
    (project / "kernels" / "sample.py").write_text(
        "def last():\n    return 5\n\nLAST = last()\n\ndef capped(value):\n    return min(value, LAST) + 0\n"
    )
    status, lines = run(project, "kernels/sample.py")
    assert status == 1
    assert lines[0].endswith("capped: return min(value, LAST) + 0 -> return min(value, LAST) - 0")
    assert lines[-1].split() == ["in", "all", *row(4, 3, 0, 1, 0)]


def test_lines_tell_which_tests_run(project: Path) -> None:
    """A test that does not reach a line cannot notice what changes there."""
    reached = runs.reach(project, "kernels/sample.py", ["tests/kernels/test_sample.py"], 60)
    assert reached is not None
    assert reached.tests(2, 2) == ["tests/kernels/test_sample.py::test_it"]
    assert len(reached.tests(1, 1)) == 2


def test_the_time_is_bounded_and_what_was_late_is_said(project: Path) -> None:
    status, lines = run(project, "--seconds", "0", "kernels/sample.py")
    assert status == 0
    assert lines[0].split() == HEAD
    assert lines[-1].split() == ["in", "all", *row(0, 0, 0, 0, 7)]


def test_repeated_changes_have_names_of_their_own() -> None:
    source = "def twice(a):\n    if a:\n        return 0\n    return 0\n"
    assert [mutant.name for mutant in mutants_of(source)] == [
        "twice: return 0 -> return 1",
        "twice: return 0 -> return 1 #2",
    ]


def test_a_wrong_file_exits_2(project: Path) -> None:
    assert run(project, "kernels/none.py") == (2, [])


@pytest.mark.slow
def test_explanations_name_mutants_that_exist() -> None:
    """An explanation of a mutant that is gone is a leftover; one without a reason explains nothing."""
    explained: dict[str, set[str]] = {}
    for row in json.loads(mutation.EXPLAINED.read_text()):
        explained.setdefault(row["file"], set()).add(row["mutant"])
        assert len(row["why"]) > 10
    for file, mutants in explained.items():
        assert mutants <= {mutant.name for mutant in mutants_of((mutation.ROOT / file).read_text())}, file
