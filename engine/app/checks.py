"""`godark test`: everything that must hold before a change is accepted, in order, one line each.

What a step says is shown if it fails; of the tests also their closing line and what they skipped. All steps
run, so that one call shows all there is to mend; the last line is pytest's own closing line.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO

import click

from engine.app.cli import ROOT
from engine.common.errors import ChecksFailed

STEP_TIMEOUT_S = 900.0
PYTEST_NO_TESTS = 5
# import-linter has no `python -m` form, and its console script names the place it was installed at.
_LINT_IMPORTS_CODE = (
    "import sys; from importlinter.cli import lint_imports_command as lint; "
    "lint(['--no-logo', '--no-cache', *sys.argv[1:]])"
)
LINT_IMPORTS = [sys.executable, "-c", _LINT_IMPORTS_CODE]
_PYTEST = [sys.executable, "-m", "pytest", "-rs"]
# A worker for each core, a file on one worker. End-to-end tests take two at most: they start whole groups.
_ON_ALL_CORES = ["-n", "auto", "--dist", "loadfile"]
_TWO_AT_ONCE = ["-n", "2", "--dist", "loadfile"]
_COUNTS = re.compile(r"\b\d+ (passed|failed|skipped|errors?|xfailed|xpassed)\b")


@dataclass(frozen=True)
class Step:
    """One check: a command run in the root of the checkout. `tests`: it is pytest."""

    name: str
    command: list[str]
    tests: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    may_select_none: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a step ended; `closing` is pytest's last line, `shown` what the user is to see."""

    passed: bool
    seconds: float
    closing: str
    shown: list[str]

    @property
    def counted(self) -> bool:
        """Whether pytest counted tests."""
        return bool(_COUNTS.search(self.closing))


def steps(fast: bool, expression: str | None) -> list[Step]:
    """What to run. `fast` leaves out the end-to-end tests; `expression` is pytest's -k."""
    chosen = [] if expression is None else ["-k", expression]
    none_ok = expression is not None
    ruff = [sys.executable, "-m", "ruff"]
    plan = [
        Step("format", [*ruff, "format", "--check", "."]),
        Step("lint", [*ruff, "check", "."]),
        Step("types", [sys.executable, "-m", "mypy"]),
        Step("import contracts", list(LINT_IMPORTS)),
        Step("unit tests", [*_unit_tests(), *chosen], True, {}, none_ok),
    ]
    if (ROOT / "tests" / "kernels").is_dir():
        command = [*_unit_tests("tests/kernels"), *chosen]
        plan.append(Step("kernel tests, JIT off", command, True, {"NUMBA_DISABLE_JIT": "1"}, none_ok))
    if not fast and _has_end_to_end():
        command = [*_PYTEST, *_TWO_AT_ONCE, "-m", "end_to_end and not slow", *chosen]
        plan.append(Step("end to end", command, True, {}, none_ok))
    return plan


def _unit_tests(*paths: str) -> list[str]:
    return [*_PYTEST, *_ON_ALL_CORES, "-m", "not end_to_end and not slow", *paths]


def _has_end_to_end() -> bool:
    mark = re.compile(r"^\s*(?:@|pytestmark\s*=.*)pytest\.mark\.end_to_end\b", re.MULTILINE)
    return any(mark.search(path.read_text()) for path in (ROOT / "tests").rglob("test_*.py"))


def run_step(step: Step) -> Outcome:
    """Run one step to its end, or to its time-out."""
    began_s = time.monotonic()
    env = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "dumb"} | dict(step.env)
    # Without compiled modules each of some hundred processes, and each collection of tests, reads all anew.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryFile() as output:
        status = _run(step.command, env, output)
        output.seek(0)
        lines = output.read().decode("utf-8", "replace").splitlines()
    filled = [line for line in lines if line.strip()]
    closing = filled[-1].strip("= ") if step.tests and filled else ""
    passed = status == 0 or (step.may_select_none and status == PYTEST_NO_TESTS)
    if not passed:
        shown = lines if status is not None else [*lines, f"not finished within {STEP_TIMEOUT_S:g} s"]
    else:
        shown = [line for line in filled if step.tests and line.startswith("SKIPPED")]
    return Outcome(passed, time.monotonic() - began_s, closing, shown)


def _run(command: list[str], env: Mapping[str, str], output: IO[bytes]) -> int | None:
    """Exit status, or None on time-out; the process is gone when this returns or raises."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
    )
    try:
        return process.wait(STEP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(2.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@click.command("test", help="Format, lint, types, import contracts, all tests; under ten minutes.")
@click.option("--fast", is_flag=True, help="Without the end-to-end tests.")
@click.option("-k", "expression", metavar="EXPR", help="Only tests whose names match, as pytest's -k.")
def command(fast: bool, expression: str | None) -> None:
    failed: list[str] = []
    closing = "no tests ran"
    closing_failed = False
    for step in steps(fast, expression):
        click.echo(f"{step.name:<24}", nl=False)
        sys.stdout.flush()
        outcome = run_step(step)
        verdict = "ok    " if outcome.passed else "FAILED"
        click.echo(f"{verdict} {outcome.seconds:6.1f} s  {outcome.closing}".rstrip())
        for line in outcome.shown:
            click.echo(f"  {line}" if outcome.passed else line)
        if not outcome.passed:
            failed.append(step.name)
        # A failed step's line outranks later ones: whoever reads only the last line must see the failure.
        if outcome.counted and not closing_failed:
            closing, closing_failed = outcome.closing, not outcome.passed
    click.echo(closing)
    if failed:
        raise ChecksFailed(f"failed: {', '.join(failed)}")
