"""`godark metrics`: what engine and risk publish of themselves on their pages, read from outside at no cost to
them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import orjson

from engine.app.options import settings_options
from engine.common.processes import start_ticks
from engine.common.settings import Settings
from engine.journal.head import ACK_US, SYNC_US, HeadPage, quantile_us
from engine.risk.page import RiskPage

_COUNTS = ("epoch", "durable", "ordinal", "booked", "refused", "duplicates", "faults", "sessions", "groups", "frames",
           "bytes", "settled_batch", "logged", "unlogged", "grown")  # fmt: skip
_RISK_COUNTS = ("sweeps", "checks", "units", "late", "found", "faults", "candidates", "deleverage", "unsent")


def measured(head: HeadPage, monotonic_ns: int) -> dict[str, Any]:
    """Every figure of the page. Times of a group are upper bounds of their bucket, since the engine's start.

    `running`: whether the process that wrote the page lives. `heartbeat_ms`: its age; an engine that serves is never
    silent for longer than 100 ms and a group in hand.
    """
    out: dict[str, Any] = {field: head.get(field) for field in _COUNTS}
    groups = max(out["groups"], 1)
    out["frames_per_group"] = round(out["frames"] / groups, 1)
    for name, first in (("ack", ACK_US), ("sync", SYNC_US)):
        buckets = head.histogram(first)
        out |= {f"{name}_p{share:g}_us": quantile_us(buckets, share / 100) for share in (50, 99, 99.9)}
    out["pid"] = head.get("pid")
    out["running"] = start_ticks(out["pid"]) == head.get("pid_started")
    out["heartbeat_ms"] = max(0, monotonic_ns - head.get("heartbeat_ns")) // 1_000_000
    out["clock_off_ms"] = head.get("clock_off_ns") // 1_000_000
    return out


def swept(path: Path, monotonic_ns: int) -> dict[str, Any]:
    """Of the risk process; empty if none has run here. `risk_heartbeat_ms`: how long ago it swept."""
    if not path.is_file():
        return {}
    page = RiskPage(path)
    out: dict[str, Any] = {f"risk_{field}": page.get(field) for field in _RISK_COUNTS}
    out |= {f"risk_{name}_us": page.get(f"{name}_ns") // 1000 for name in ("sweep", "sweep_max")}
    out["risk_heartbeat_ms"] = max(0, monotonic_ns - page.get("heartbeat_ns")) // 1_000_000
    return out


def _text(name: str, value: int | float | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if name == "pid" else f"{value:,}"


@click.command("metrics", help="What the engine counts, and how long its acks and syncs take.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@settings_options
def command(as_json: bool, settings: Settings) -> None:
    now_ns = time.monotonic_ns()
    figures = measured(HeadPage(settings.data_dir / "journal" / "head"), now_ns)
    figures |= swept(settings.risk.page, now_ns)
    if as_json:
        click.echo(orjson.dumps(figures))
        return
    for name, value in figures.items():
        click.echo(f"{name:<18} {_text(name, value):>16}")
