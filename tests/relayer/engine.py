"""The engine, as far as the relayer sees it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.frames import FRAME, OUTCOME, Source


class Engine:
    """An engine that refuses gaps and keeps what it got, like the real one."""

    def __init__(self) -> None:
        self.acked = [0] * 256
        self.frames: list[bytes] = []

    async def connect(self) -> dict[int, int]:
        return dict(enumerate(self.acked))

    async def send(self, frames: NDArray[np.void]) -> None:
        assert frames.dtype == FRAME
        for frame in frames:
            seq, raw = int(frame["seq"]), frame.tobytes()
            if seq <= len(self.frames):
                assert self.frames[seq - 1] == raw, "a resend differs"
                continue
            assert seq == len(self.frames) + 1, "a gap"
            self.frames.append(raw)
        self.acked[Source.RELAYER] = len(self.frames)

    async def keep(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def told(self) -> list[tuple[int, int, int]]:
        """(batch, chunk, stage) of each outcome, in order."""
        rows = [np.frombuffer(raw, OUTCOME)[0] for raw in self.frames]
        return [(int(r["batch"]), int(r["chunk"]), int(r["stage"])) for r in rows]
