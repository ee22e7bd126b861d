"""Every check of the programs on chain, taken out one at a time: a test of the program must notice.

C has no guard of its own, so each refusal is a line that somebody wrote and somebody may lose. Built in a copy of
the project by clang; without it these are skipped. Some seconds each.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.mutation.runs import COPIED
from tests.relayer.program.objects import needs_clang

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path("relayer") / "program"
FILES = (
    *(f"include/{name}.h" for name in ("authority", "checks", "create", "entry", "merkle")),
    "position/program.c",
)
TESTS = ("tests/relayer/program/test_commit.py", "tests/relayer/program/test_verify_fill.py")
TIMEOUT_S = 120
FAILED_CALL = "a call of another program that fails ends the transaction by itself"
NO_ADDRESS = "no address was written, so the comparison behind it fails too"
EXPLAINED = {
    "if (sol_create_program_address(seeds, count, program, &address) != 0) {": NO_ADDRESS,
    "if (sol_try_find_program_address(seeds, count, program, &address, bump) != 0) {": NO_ADDRESS,
    "if (sol_get_rent_sysvar(&rent) != 0) {": "no chain is without rent",
    "data.number = lamports - created->lamports;": FAILED_CALL,
    "data.number = bytes;": FAILED_CALL,
}
"""What no test of the program can tell: by the line before the one that is taken out."""


class Removed(NamedTuple):
    """A refusal that is taken out: file, line (from 0), the line without it, the line before."""

    file: str
    line: int
    text: str
    before: str

    @property
    def name(self) -> str:
        """What a person reads."""
        return f"{Path(self.file).name}:{self.line + 1}"


def removals() -> list[Removed]:
    """Every TRY that hands on no error, every `? OK : X` without its X, every `return X` without it."""
    found = []
    for file in FILES:
        lines = (ROOT / PROGRAM / file).read_text().splitlines()
        for k, line in enumerate(lines):
            at_the_end = k + 1 < len(lines) and (lines[k + 1] == "}" or lines[k - 1].strip() == "default:")
            for pattern, instead in (
                (r"^(\s+)TRY\((.*)\);$", r"\1(void)(\2);"),
                (r"\? OK : [A-Z_]+;", "? OK : OK;"),
                (r"^(\s+)return [A-Z_]{3,};$", r"\1return OK;" if at_the_end else r"\1(void)0;"),
            ):
                changed = re.sub(pattern, instead, line)
                if changed != line:
                    found.append(Removed(file, k, changed, lines[k - 1].strip()))
    return found


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, to be changed."""
    folder = tmp_path_factory.mktemp("copy")
    for name in {*COPIED, "relayer", "tests", "engine", "kernels"}:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder)
    return folder


def _python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def test_there_is_something_to_take_out() -> None:
    names = [one.name for one in removals()]
    assert len(names) > 60
    assert len(set(names)) == len(names)
    assert set(EXPLAINED) <= {one.before for one in removals()}


@needs_clang
@pytest.mark.slow
@pytest.mark.parametrize("one", removals(), ids=lambda one: one.name)
def test_a_check_that_is_gone_is_missed(copy: Path, one: Removed) -> None:
    target = copy / PROGRAM / one.file
    sound = target.read_text()
    lines = sound.splitlines(keepends=True)
    before = lines[one.line].strip()
    lines[one.line] = one.text + "\n"
    try:
        target.write_text("".join(lines))
        built = _python(copy, "relayer.program.build")
        assert built.returncode == 0, built.stderr
        run = _python(copy, "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *TESTS)
    finally:
        target.write_text(sound)
    noticed = run.returncode == 1
    assert noticed != (one.before in EXPLAINED), f"{one.name}: nothing notices that this is gone: {before}"
