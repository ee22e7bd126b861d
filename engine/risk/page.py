"""The risk process's page: what it has seen and found, in shared memory, for whoever watches the group."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.common.page import Page

MAGIC = 0x474F_4452_0003
PAGE = np.dtype(
    [
        ("magic", "<i8"),
        ("pid", "<i8"),
        ("heartbeat_ns", "<i8"),  # monotonic clock of this machine
        ("ordinal", "<i8"),  # frames folded
        ("lag_frames", "<i8"),  # durable and not folded at the last sweep; group headers count
        ("sweeps", "<i8"),
        ("sweep_ns", "<i8"),  # the last one, ranking included
        ("sweep_max_ns", "<i8"),
        ("units", "<i8"),  # positions and accounts swept
        ("valued", "<i8"),  # of those, looked at one by one
        ("anchors", "<i8"),  # how often all rooms began to be taken anew
        ("late", "<i8"),  # units whose room is still to be taken: until then they may be missed
        ("checks", "<i8"),  # rounds of everyone that agreed
        ("check_ns", "<i8"),  # the last of those
        ("found", "<i8"),  # units liquidatable at the last sweep, those at fault included
        ("faults", "<i8"),  # units whose margin cannot be told
        ("candidates", "<i8"),  # sent since this process began
        ("deleverage", "<i8"),  # of those, for deleveraging
        ("unsent", "<i8"),  # lost with an engine that went away: never resent
        ("worst_e6", "<i8"),  # lowest margin ratio seen at the last sweep or check
    ]
)


class RiskPage(Page):
    """The risk process's page (`engine.common.page.Page`)."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        super().__init__(path, PAGE, MAGIC, create=create)
