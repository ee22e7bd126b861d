"""Where the time of a batch goes in the engine: the steps of its turn, on an engine of this process."""

from __future__ import annotations

import time
from collections import defaultdict

import numpy as np

from bench._engine_peer import Frames, bursts
from engine.common.settings import Settings
from engine.core.views import views_of
from engine.gateway.process import open_engine
from engine.gateway.session import Session


def parts_us(settings: Settings, genesis: Frames, fills: Frames, batch: int) -> dict[str, float]:
    """Median microseconds of each step for a batch of `fills`, which begin where `genesis` ends.

    admit: CRC, sequence, copy into the group. write: CRC chain, header, pwrite, the disk told to begin. book: both
    legs, while the disk writes. sync: what of the disk's time is then left. What a real batch takes beyond their
    sum is its way through the socket, both processes' wake-ups, and the ack.
    """
    engine = open_engine(settings)
    spent: dict[str, list[int]] = defaultdict(list)
    session = Session(engine, engine.gate, settings.engine.ring_frames)
    session.attached[:] = 1
    views = views_of(engine.group)
    try:
        for part in [*bursts(genesis, batch), *bursts(fills, batch)]:
            session.room()[: part.nbytes] = np.ascontiguousarray(part).view(np.uint8).data
            session.received(part.nbytes)
            marks = [time.perf_counter_ns()]
            made = session.take(engine.group, 0, []).made
            marks.append(time.perf_counter_ns())
            engine.writer.write(made, time.time_ns(), engine.machine.witness)
            marks.append(time.perf_counter_ns())
            engine.machine.apply(views, 0, made)
            marks.append(time.perf_counter_ns())
            engine.writer.sync()
            marks.append(time.perf_counter_ns())
            if made == batch:
                for name, ns in zip(("admit", "write", "book", "sync"), np.diff(marks), strict=True):
                    spent[name].append(int(ns))
    finally:
        engine.close()
    return {f"{name}_us": float(np.median(ns)) / 1e3 for name, ns in spent.items()}
