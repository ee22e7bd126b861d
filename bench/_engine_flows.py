"""Where the engine's benchmark has its fills from: a recording, or the simulator where none is at hand."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench._engine_peer import SECOND_NS, Frames
from engine.app.cli import ROOT
from engine.venue.recording import load
from engine.venue.simulator import Simulator
from engine.venue.stream import ReplayStream
from kernels.frames import Template

RECORDING = "hl_non_mm_trades_2023.csv.gz"
CHUNK = 2048
_START_NS = 1_700_000_000 * SECOND_NS


class Flow(NamedTuple):
    """Where fills come from. `fills(n)` makes n of them anew, sealed, in the order of their sequence.

    mixed: everything that a replay sends, from genesis on.
    """

    name: str
    genesis: Frames
    fills: Callable[[int], Iterator[Frames]]
    mixed: Callable[[], Iterator[Frames]]


def recorded_flow(path: Path, count: int) -> Flow:
    """The text of a recording over and over, parsed anew in every pass."""
    recording = load(path, seed=7)
    stream = ReplayStream(recording, seed=7, hours=None, batch_window_ns=60 * SECOND_NS)
    genesis = stream.genesis(passes=1 + 3 * count // recording.rows)
    return Flow("recorded", genesis, stream.looped, lambda: itertools.chain([genesis], stream.chunks()))


def simulated_flow() -> Flow:
    """Seeded fills where no recording is at hand: nothing is parsed, so the figure is not the same."""
    venue = Simulator(7, markets=8)
    first = [venue.genesis(_START_NS), venue.tick(_START_NS), venue.register()]
    return Flow("simulated, not parsed", np.concatenate(first), _simulated_fills, _simulated_seconds)


def _simulated_fills(count: int) -> Iterator[Frames]:
    """The same fills at every call."""
    venue = Simulator(7, markets=8)
    venue.genesis(_START_NS)
    venue.register()
    now_ns, left = _START_NS, count
    while left:
        now_ns += SECOND_NS
        frames = venue.step(now_ns, min(left, CHUNK))
        part = frames[frames["template"] == Template.FILL]
        left -= len(part)
        yield part


def _simulated_seconds() -> Iterator[Frames]:
    """What the simulator sends, second by second: observations, a tick, 200 fills."""
    venue = Simulator(7, markets=8)
    yield np.concatenate([venue.genesis(_START_NS), venue.tick(_START_NS), venue.register()])
    for second in itertools.count(1):
        yield venue.step(_START_NS + second * SECOND_NS, 200)


def flow_of(count: int) -> Flow:
    """The recording under ../shared (or GODARK_SHARED), else the simulator."""
    shared = Path(os.environ.get("GODARK_SHARED", ROOT.parent / "shared"))
    path = shared / "data" / "market" / RECORDING
    return recorded_flow(path, count) if path.exists() else simulated_flow()
