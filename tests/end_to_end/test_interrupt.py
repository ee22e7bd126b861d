"""Ctrl-C, at whatever moment: the group ends within two seconds and leaves nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from relayer.page import RelayerPage
from tests.patience import within

from .recordings import hyperliquid
from .running import Command, Room

pytestmark = pytest.mark.end_to_end

ENDS_WITHIN_S = 2.0
# The interpreter's own start and end, on a machine that does other things too.
SLACK_S = 1.0


def interrupt(room: Room, command: Command, number: signal.Signals = signal.SIGINT) -> None:
    """Signal the command alone, as a supervisor of ours would, and see that all of it ends."""
    with within(ENDS_WITHIN_S + SLACK_S):
        command.process.send_signal(number)
        result = command.wait(30)
    assert result.status == 130, result
    assert result.out == ""
    assert "Traceback" not in result.err
    assert room.alive() == {}
    assert list(room.temporary.iterdir()) == []


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A recording whose settling takes some seconds."""
    return hyperliquid(tmp_path / "trades.csv", rows=2000, seconds=8 * 3600)


def test_while_the_group_starts(room: Room, long: Path) -> None:
    command = room.start("replay", long, "--json", "--data-dir", "kept")
    command.until(lambda: command.pid_of("engine"))
    interrupt(room, command)


def test_while_batches_are_settled(room: Room, long: Path) -> None:
    command = room.start("replay", long, "--json", "--data-dir", "kept")
    page = room.path / "kept" / "relayer" / "page"
    command.until(lambda: page.exists() and RelayerPage(page).get("settled") >= 5)
    interrupt(room, command)


def test_a_supervisor_s_sigterm_while_it_verifies(room: Room, long: Path) -> None:
    command = room.start("replay", long, "--json", "--hours", 1)
    command.until(lambda: any("verify" in line for line in room.alive().values()))
    interrupt(room, command, signal.SIGTERM)
