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
from relayer.store import Intent, Store
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
        self._slot = 0
        self.settled = _last_settled(store)
        self.finalized = 0

    def begin_behind(self, batch: int) -> None:
        """Everything up to this batch is final and told; the first to be expected is the next one."""
        self.finalized, self._slot = self._store.final_upto(batch)

    def expect(self, batch: int, intents: list[Intent]) -> None:
        """A batch was planned; an earlier run may have seen some of its transactions final, and told.

        StoreError: the record says that the batch is settled, but not that all its transactions are final.
        """
        left = {i.node for i in intents if i.state is not State.FINALIZED}
        self.finalized += len(intents) - len(left)
        self._slot = max(self._slot, *(i.slot for i in intents))
        if batch > self.settled:
            self._open[batch] = left
        elif left:
            raise StoreError(f"batch {batch} was told as settled, but {len(left)} of its intents are open")

    def due(self) -> bool:
        """True if a batch is settled and not told: an earlier run had seen all of it before the one before it."""
        return self._open.get(self.settled + 1) == set()

    def record(self, landed: list[Landed]) -> list[bytes]:
        """Record landings and what they settle, in one transaction. Returns the frames to send.

        The slot of a settled batch is the highest of any transaction seen final so far.
        """
        frames = [self._frame(_stage(x.node), x.node, x.slot, x.signature) for x in landed]
        for x in landed:
            self._open[x.node.batch].discard(x.node)
        self.finalized += len(landed)
        self._slot = max([self._slot, *(x.slot for x in landed)])
        while self.due():
            self.settled += 1
            del self._open[self.settled]
            frames.append(self._frame(OutcomeStage.SETTLED, Node(self.settled), self._slot, None))
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

        StoreError: the engine has outcomes that this record lacks, or lacks some that it had and the record let
        go of: one of the two is not what it was.
        """
        if durable > self._seq:
            raise StoreError(
                f"the engine has outcome {durable}, the relayer's record ends at {self._seq}: restore the record"
            )
        gone = self._store.pruned().outcome
        if durable < gone:
            raise StoreError(
                f"the engine has outcome {durable} and had {gone}: restore journal and record from the same copy"
            )
        for frame in self._store.outcomes_after(durable):
            await engine.send(np.frombuffer(frame, FRAME))


def _stage(node: Node) -> OutcomeStage:
    return OutcomeStage.COMMIT if node.chunk == COMMIT else OutcomeStage.CHUNK


def _last_settled(store: Store) -> int:
    """The last batch that was recorded as settled, 0 if none: settled ones are told in order."""
    for raw in store.outcomes_backwards():
        frame = np.frombuffer(raw, f.OUTCOME)[0]
        if frame["stage"] == OutcomeStage.SETTLED:
            return int(frame["batch"])
    return store.pruned().batch
