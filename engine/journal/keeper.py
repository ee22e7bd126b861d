"""The keeper: a process of its own that keeps prezeroed segments ahead, so the engine never waits for one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from engine.common.errors import JournalFull
from engine.common.logs import get_logger
from engine.common.ready import notify_ready
from engine.common.settings import Settings
from engine.common.stop import StopSignals
from engine.journal.segment import disk_error, sync_directory, write_zeros
from engine.journal.writer import SPARE_DIR

AHEAD = 2
_PAUSE_S = 0.05
_BREATH_S = 0.002
"""Between two slices while a spare is ready: the engine's syncs then wait for a slice at most, and seldom."""
_FULL_PAUSE_S = 1.0


def top_up(
    directory: Path,
    segment_bytes: int,
    ahead: int = AHEAD,
    pause: Callable[[], bool] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> int:
    """Make prezeroed segments until `ahead` of them are ready; returns how many it made.

    A segment has its final name only when it is wholly written and synced. JournalFull: no room. SyncFailed: the
    disk fails. pause: after each small slice, see `write_zeros`. The first one of none is made without pauses, in
    slices of full size; there `stopped` is asked.
    """
    spare = directory / SPARE_DIR
    try:
        spare.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise disk_error(f"{spare}: cannot be made", error) from error
    sizes = _sizes(spare)
    ready = sum(size == segment_bytes for size in sizes.values())
    made = 0
    number = 1 + max((int(p.stem) for p in sizes), default=0)
    while ready + made < ahead:
        part = spare / f"{number:016d}.part"
        at_ease = pause is not None and (ready or made)
        if not write_zeros(part, segment_bytes, pause if at_ease else stopped, small=bool(at_ease)):
            break
        try:
            part.rename(part.with_suffix(".ready"))
            sync_directory(spare)
        except OSError as error:
            raise disk_error(f"{part}: cannot be made ready", error) from error
        made += 1
        number += 1
    return made


def _sizes(spare: Path) -> dict[Path, int]:
    """Every spare segment and its size; one that the engine takes meanwhile is none any more."""
    sizes = {}
    for path in spare.glob("*.ready"):
        with contextlib.suppress(FileNotFoundError):
            sizes[path] = path.stat().st_size
    return sizes


def run(settings: Settings) -> None:
    """Process entry point: top up until told to stop. A full disk is told once and tried again."""
    stop = StopSignals()
    directory = settings.data_dir / "journal"
    log = get_logger()
    notify_ready({"pid": os.getpid()})
    full = False
    while not stop.wait(_FULL_PAUSE_S if full else _PAUSE_S):
        try:
            top_up(
                directory,
                settings.engine.segment_bytes,
                pause=lambda: stop.wait(_BREATH_S),
                stopped=stop.is_set,
            )
            full = False
        except JournalFull as error:
            if not full:
                log.warning("journal_full", reason=error.line())
            full = True
