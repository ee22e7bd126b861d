"""The plan of `godark test`, and how a step's end is told."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner

from engine.app import checks
from engine.app.checks import Step, run_step, steps
from engine.common.errors import ChecksFailed


def _python(name: str, code: str, tests: bool = False) -> Step:
    return Step(name, [sys.executable, "-c", code], tests)


def test_the_order_of_the_steps() -> None:
    names = [step.name for step in steps(fast=False, expression=None)]
    assert names[:5] == ["format", "lint", "types", "import contracts", "unit tests"]
    assert names[5:] in (
        ["kernel tests, JIT off", "end to end"],
        ["kernel tests, JIT off"],
        ["end to end"],
        [],
    )


def test_fast_leaves_out_the_end_to_end_tests_and_k_reaches_pytest() -> None:
    plan = steps(fast=True, expression="frames")
    assert "end to end" not in [step.name for step in plan]
    assert all(step.command[-2:] == ["-k", "frames"] for step in plan if step.tests)
    for step in plan:
        if step.name == "kernel tests, JIT off":
            assert step.env["NUMBA_DISABLE_JIT"] == "1"


def test_end_to_end_tests_run_two_at_once_a_file_on_one_worker() -> None:
    command = next(step.command for step in steps(fast=False, expression=None) if step.name == "end to end")
    assert command[command.index("-n") : command.index("-n") + 4] == ["-n", "2", "--dist", "loadfile"]


def test_output_is_shown_only_on_failure() -> None:
    quiet = run_step(_python("a", "print('chatter')"))
    assert (quiet.passed, quiet.shown, quiet.closing) == (True, [], "")
    loud = run_step(_python("a", "print('reason'); raise SystemExit(3)"))
    assert (loud.passed, loud.shown) == (False, ["reason"])


def test_steps_keep_compiled_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    assert run_step(_python("s", "import sys; sys.exit(sys.dont_write_bytecode)")).passed


def test_skips_and_the_closing_line_are_shown_of_tests() -> None:
    code = "print('...'); print('SKIPPED [1] t.py:3: no data'); print('=== 3 passed, 1 skipped in 0.1s ===')"
    outcome = run_step(_python("t", code, tests=True))
    assert outcome.shown == ["SKIPPED [1] t.py:3: no data"]
    assert outcome.closing == "3 passed, 1 skipped in 0.1s"
    assert outcome.counted


def test_no_tests_selected_fails_unless_the_user_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "print('no tests ran in 0.01s'); raise SystemExit(5)"]
    assert not run_step(Step("t", command, True)).passed
    chosen = run_step(Step("t", command, True, may_select_none=True))
    assert chosen.passed
    assert not chosen.counted


def test_a_step_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "STEP_TIMEOUT_S", 0.3)
    outcome = run_step(_python("hang", "import time; time.sleep(60)"))
    assert not outcome.passed
    assert outcome.shown == ["not finished within 0.3 s"]
    assert outcome.seconds < 5


def test_all_steps_run_and_the_last_line_tells_of_the_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = [
        _python("lint", "print('line too long'); raise SystemExit(1)"),
        _python("unit tests", "print('1 failed, 2 passed in 1.0s'); raise SystemExit(1)", tests=True),
        _python("end to end", "print('4 passed in 1.0s')", tests=True),
    ]
    monkeypatch.setattr(checks, "steps", lambda fast, expression: plan)
    result = CliRunner().invoke(checks.command, [])
    assert isinstance(result.exception, ChecksFailed)
    assert str(result.exception) == "failed: lint, unit tests"
    assert "line too long" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 failed, 2 passed in 1.0s"
    monkeypatch.setattr(checks, "steps", lambda fast, expression: plan[2:])
    result = CliRunner().invoke(checks.command, [])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "4 passed in 1.0s"
