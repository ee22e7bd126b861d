"""The conformance command, run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.__main__ import main


@pytest.fixture
def outcome(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str]]]:
    def run_main(*paths: Path) -> tuple[int, list[str]]:
        status = main([str(path) for path in paths])
        captured = capsys.readouterr()
        return status, (captured.out + captured.err).splitlines()

    return run_main
