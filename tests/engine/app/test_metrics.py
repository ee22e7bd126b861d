"""`godark metrics` reads the engine's page and changes nothing on it."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
from click.testing import CliRunner

from engine.app.metrics import command, measured, swept
from engine.common.processes import start_ticks
from engine.journal.head import ACK_US, SYNC_US, HeadPage, slot
from engine.risk.page import RiskPage


def page_in(data_dir: Path) -> HeadPage:
    (data_dir / "journal").mkdir(parents=True)
    head = HeadPage(data_dir / "journal" / "head", create=True)
    for spent_us in [50] * 98 + [900] * 2:
        head.count_time(ACK_US, spent_us * 1000)
        head.count_time(SYNC_US, spent_us * 500)
    head.words[slot("groups")], head.words[slot("frames")] = 100, 2550
    head.words[slot("heartbeat_ns")] = 5_000_000_000
    head.words[slot("clock_off_ns")] = -3_000_000
    return head


def test_figures_are_those_of_the_page(tmp_path: Path) -> None:
    figures = measured(page_in(tmp_path), 5_042_000_000)
    assert (figures["ack_p50_us"], figures["ack_p99_us"], figures["ack_p99.9_us"]) == (64, 1024, 1024)
    assert (figures["sync_p50_us"], figures["sync_p99_us"]) == (32, 512)
    assert figures["frames_per_group"] == 25.5
    assert (figures["heartbeat_ms"], figures["clock_off_ms"]) == (42, -3)


def test_the_command_prints_them_and_leaves_the_page_alone(tmp_path: Path) -> None:
    page_in(tmp_path)
    before = (tmp_path / "journal" / "head").read_bytes()
    told = CliRunner().invoke(command, ["--data-dir", str(tmp_path), "--json"])
    assert told.exit_code == 0 and orjson.loads(told.stdout)["groups"] == 100
    table = CliRunner().invoke(command, ["--data-dir", str(tmp_path)])
    assert table.exit_code == 0 and "ack_p99_us" in table.stdout and "1,024" in table.stdout
    assert (tmp_path / "journal" / "head").read_bytes() == before


def test_of_risk_it_says_when_it_last_swept(tmp_path: Path) -> None:
    assert swept(tmp_path / "page", 0) == {}
    page = RiskPage(tmp_path / "page", create=True)
    page.row["sweeps"], page.row["heartbeat_ns"], page.row["sweep_max_ns"] = 7, 5_000_000_000, 3_000_000
    figures = swept(tmp_path / "page", 65_000_000_000)
    assert (figures["risk_sweeps"], figures["risk_sweep_max_us"]) == (7, 3_000)
    assert figures["risk_heartbeat_ms"] == 60_000, "nothing is being liquidated"


def test_an_engine_that_has_ended_is_told_from_one_that_runs(tmp_path: Path) -> None:
    head = page_in(tmp_path)
    assert measured(head, 0)["running"] is False
    head.words[slot("pid")], head.words[slot("pid_started")] = os.getpid(), start_ticks(os.getpid())
    assert measured(head, 0)["running"] is True and measured(head, 0)["pid"] == os.getpid()
    head.words[slot("pid_started")] -= 1
    assert (
        "running                          no"
        in CliRunner().invoke(command, ["--data-dir", str(tmp_path)]).stdout
    )


def test_no_engine_has_run_here(tmp_path: Path) -> None:
    told = CliRunner().invoke(command, ["--data-dir", str(tmp_path)])
    assert told.exit_code != 0
