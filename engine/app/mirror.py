"""`godark mirror`: keep the audit mirror, beside the relayer or by hand."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from engine.app.options import settings_options
from engine.common import logs
from engine.common.errors import SettingsError, StoreFull
from engine.common.ready import notify_ready
from engine.common.settings import Settings
from engine.common.stop import StopSignals

if TYPE_CHECKING:
    from relayer.verify.mirror import Mirror

_NICE = 10
"""An audit may be late; whoever settles may not."""


@click.command(
    "mirror",
    help="Copy the published log into pymerkle's SQLite trees and compare the roots: with --once what is there now,"
    " else for as long as it runs. `godark run` starts it where relayer.mirror is set.",
)
@click.option("--once", is_flag=True, help="Take what is there, compare, and end.")
@settings_options
def command(once: bool, settings: Settings) -> None:
    from relayer.publisher import LOG
    from relayer.verify.mirror import Mirror

    logs.configure(settings.logs, process="mirror")
    if settings.relayer.mirror is None:
        raise SettingsError("no mirror is set: say where it is to lie with --set relayer.mirror=DIRECTORY")
    os.nice(_NICE)
    mirror = Mirror(settings.relayer.mirror, settings.data_dir / "relayer" / LOG)
    try:
        if once:
            while mirror.turn():
                pass
            for shard, checkpoint in sorted(mirror.compared().items()):
                click.echo(
                    f"shard {shard}: {checkpoint.size:,} leaves, root {checkpoint.root.hex()}: the same"
                )
        else:
            _keep(mirror, settings.relayer.mirror_ms / 1000)
    finally:
        mirror.close()


def _keep(mirror: Mirror, pause_s: float) -> None:
    stop = StopSignals()
    notify_ready({})
    try:
        while not stop.is_set():
            try:
                busy = mirror.turn()
            except StoreFull as error:
                logs.get_logger().warning("mirror_waits", reason=error.line())
                busy = False
            if not busy:
                stop.wait(pause_s)
    finally:
        stop.close()
