"""`godark verify`: recompute journal, proofs and chain in a process that shares nothing but the files."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import orjson

from engine.app.options import settings_options
from engine.common import logs
from engine.common.errors import ChecksFailed, UsageError
from engine.common.settings import Settings
from engine.journal.head import HeadPage


@click.command(help="Recompute the journal with plain integers, read the chain back, and compare.")
@click.option("--rpc", "rpc_url", help="JSON-RPC address of a node [the settings' first].")
@click.option("--payer", required=True, help="Public key that pays for the settlement transactions.")
@click.option("--digest", help="State digest to compare with, in hex.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object on stdout.")
@settings_options
def command(rpc_url: str | None, payer: str, digest: str | None, as_json: bool, settings: Settings) -> None:
    from relayer.verify.report import verify

    logs.configure(settings.logs, process="verify")
    url = rpc_url or next(iter(settings.relayer.rpc_urls), None)
    if url is None:
        raise UsageError("no node to ask: give --rpc, or set relayer.rpc_urls")
    live_digest = _digest(digest)
    directory = settings.data_dir / "journal"
    report = asyncio.run(
        verify(
            directory,
            url,
            payer,
            rows_per_chunk=settings.relayer.rows_per_chunk,
            upto=HeadPage(directory / "head").get("durable"),
            live_digest=live_digest,
            relayer_dir=settings.data_dir / "relayer",
            log_origin=settings.relayer.log_origin,
        )
    )
    show(report, as_json)
    require_ok(report)


def _digest(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise UsageError("--digest takes 64 hexadecimal digits")
    return value


def show(report: dict[str, Any], as_json: bool) -> None:
    """Print a report, for a machine or for a person."""
    if as_json:
        click.echo(orjson.dumps(report).decode())
        return
    for key, value in report.items():
        if isinstance(value, dict):
            click.echo(f"{key}:")
            for name, item in value.items():
                click.echo(f"  {name:<14} {item}")
        else:
            click.echo(f"{key:<16} {value}")


def require_ok(report: dict[str, Any]) -> None:
    """ChecksFailed, naming them, unless every check is true."""
    if not report["ok"]:
        bad = ", ".join(name for name, good in report["checks"].items() if not good)
        raise ChecksFailed(f"these checks are false: {bad}")
