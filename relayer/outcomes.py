"""What the relayer tells the engine: each finalized transaction, and each batch all of whose are."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from solders.signature import Signature as SolanaSignature

from engine.common.errors import StoreError
from kernels import frames as f
from kernels.crc32c import seal_frames, words_of
from kernels.frames import FRAME, OutcomeStage, Source, Template
from relayer.core.graph import COMMIT, Node
from relayer.core.lifecycle import State
from relayer.store import Store
from relayer.submit import Landed


class EngineLink(Protocol):
    """The way back to the engine; the composition root brings it."""

    acked: list[int]

    async def connect(self) -> dict[int, int]:
        """Say hello; the last durable seq of each source."""

    async def send(self, frames: NDArray[np.void]) -> None:
        """Send sealed frames in order; kept and resent until acked."""

    async def keep(self) -> None:
        """Reconnect and resend if the engine went away and something is not acked yet."""

    async def close(self) -> Any:
        """Leave."""


class Outcomes:
    """Turns landings into recorded frames, and batches into settled ones, strictly in order."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seq = store.last_outcome()
        self._open: dict[int, set[Node]] = {}
        self.settled = 0
        self.finalized = 0

    def expect(self, batch: int, nodes: list[Node], ended: list[Node]) -> None:
        """A batch was planned; `ended` of its nodes an earlier run has already seen final and told.

        A batch whose nodes had all ended was told as settled in the same transaction, if those before were.
        """
        left = set(nodes) - set(ended)
        self.finalized += len(ended)
        self._open[batch] = left
        while self._open.get(self.settled + 1) == set() and self.settled + 1 <= batch:
            self.settled += 1
            del self._open[self.settled]

    def record(self, landed: list[Landed]) -> list[bytes]:
        """Record landings and what they settle, in one transaction. Returns the frames to send."""
        frames = [self._frame(_stage(x.node), x.node, x.slot, x.signature) for x in landed]
        for x in landed:
            self._open[x.node.batch].discard(x.node)
        self.finalized += len(landed)
        slot = max((x.slot for x in landed), default=0)
        while self._open.get(self.settled + 1) == set():
            self.settled += 1
            del self._open[self.settled]
            frames.append(self._frame(OutcomeStage.SETTLED, Node(self.settled), slot, None))
        first = self._seq - len(frames) + 1
        with self._store.transaction():
            self._store.set_states([(x.node, State.FINALIZED, x.slot) for x in landed])
            self._store.add_outcomes([(first + k, frame) for k, frame in enumerate(frames)])
        return frames

    def _frame(self, stage: OutcomeStage, node: Node, slot: int, signature: str | None) -> bytes:
        self._seq += 1
        frame = f.new_frames(Template.OUTCOME, 1, source=Source.RELAYER, first_seq=self._seq)
        frame["market"] = -1
        frame["batch"], frame["chunk"], frame["stage"], frame["slot"] = (
            node.batch,
            node.chunk,
            int(stage),
            slot,
        )
        if signature is not None:
            words = np.frombuffer(bytes(SolanaSignature.from_string(signature))[:16], "<i8")
            frame["signature0"], frame["signature1"] = words
        seal_frames(words_of(frame), 0, 1)
        return frame.tobytes()

    async def resend(self, engine: EngineLink, durable: int) -> None:
        """After a start: send what is recorded and the engine does not have, byte-identical.

        StoreError: the engine has outcomes that this record lacks, so the record is not the one it was.
        """
        if durable > self._seq:
            raise StoreError(
                f"the engine has outcome {durable}, the relayer's record ends at {self._seq}: restore the record"
            )
        for frame in self._store.outcomes_after(durable):
            await engine.send(np.frombuffer(frame, FRAME))


def _stage(node: Node) -> OutcomeStage:
    return OutcomeStage.COMMIT if node.chunk == COMMIT else OutcomeStage.CHUNK
