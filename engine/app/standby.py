"""`godark standby`: the standby's room and the gateway's server, put together here because rooms do not meet."""

from __future__ import annotations

import functools
import signal

from engine.common import logs
from engine.common.settings import Settings
from engine.gateway.process import make_room, open_reachable, serve_until_stopped
from engine.gateway.warm import compile_all
from engine.standby.process import follow


def run(settings: Settings) -> None:
    """Process entry: a standby first, and from the engine's death on the engine."""
    compile_all()
    taken = follow(settings, functools.partial(make_room, accounts=settings.engine.reserve_accounts))
    if taken is not None:
        logs.configure(settings.logs, process="engine")
        # Nothing is acknowledged before the server takes signals: until then they end the process, also one that
        # waits for room on the disk.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        serve_until_stopped(settings, *open_reachable(settings, *taken))
