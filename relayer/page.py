"""The relayer's page: how far it is, in shared memory, for whoever watches the group."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.common.page import Page

PAGE = np.dtype(
    [
        ("magic", "<i8"),
        ("pid", "<i8"),
        ("heartbeat_ns", "<i8"),
        ("position", "<i8"),  # of the journal, folded
        ("ordinal", "<i8"),
        ("batches", "<i8"),  # closed
        ("settled", "<i8"),  # every transaction finalized, and the engine told
        ("open_fills", "<i8"),
        ("log_size", "<i8"),
        ("planned", "<i8"),  # transactions wanted so far
        ("tx_sent", "<i8"),  # transactions signed and sent, re-signed ones included
        ("tx_confirmed", "<i8"),  # finalized ones included
        ("tx_finalized", "<i8"),
        ("tx_failed", "<i8"),
        ("slot", "<i8"),
        ("outcomes_acked", "<i8"),
        ("resigned", "<i8"),
        ("rpc_errors", "<i8"),
    ]
)
MAGIC = 0x474F_4452_0001


class RelayerPage(Page):
    """The relayer's page (`engine.common.page.Page`)."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        super().__init__(path, PAGE, MAGIC, create=create)
