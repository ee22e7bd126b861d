"""A run of the publisher without journal or chain: batches of given sizes, recorded as the relayer records them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from solders.keypair import Keypair

from engine.journal.reader import Cursor
from relayer.core.shards import Shards
from relayer.publisher import Publisher
from relayer.signer.keyfile import KeyfileSigner
from relayer.store import ResumePoint, Signed, Store

ORIGIN = "godark.example/log"
SIGNER = KeyfileSigner(Keypair.from_seed(bytes([3] * 32)))


def leaves_of(counts: Sequence[int], seed: int = 0) -> list[np.ndarray]:
    """The leaves of each batch."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (count, 112), dtype=np.uint8) for count in counts]


class Run:
    """A relayer's publishing, started anew on what is in `directory`."""

    def __init__(self, directory: Path, batches: list[np.ndarray], shard_leaves: int = 1 << 26) -> None:
        directory.mkdir(exist_ok=True)
        self.batches, self._shard_leaves = batches, shard_leaves
        self.store = Store(directory / "store.sqlite")
        self.store._db.execute("PRAGMA synchronous=OFF")  # SQLite's own syncs are not what is tested
        self.publisher = Publisher(directory / "log", SIGNER, ORIGIN, shard_leaves=shard_leaves)
        self.log: Shards = self.publisher.begin(self.store)
        point = self.store.resume_point()
        self.done = point.batch if point else 0

    def step(self, count: int = 1, between: Callable[[], None] = lambda: None) -> list[Signed]:
        """So many more batches in one write, as the relayer's turn publishes them."""
        numbers = range(self.done + 1, self.done + 1 + count)
        added = [(number, self.log.append(self.batches[number - 1])) for number in numbers]
        signed = self.publisher.write(added)
        between()
        with self.store.transaction():
            self.store.add_checkpoints(signed)
        between()
        self.publisher.announce(signed)
        self.done += count
        return signed

    def finish(self) -> None:
        """All that is left, a batch at a time."""
        while self.done < len(self.batches):
            self.step()

    def settle(self) -> None:
        """All so far is final: the next start goes on behind it."""
        with self.store.transaction():
            self.store.move_resume_point(
                ResumePoint(self.done, self.done, Cursor(self.done, 1, 7), self.log.size), []
            )


def roots_of(batches: list[np.ndarray], shard_leaves: int = 1 << 26) -> list[tuple[int, int, bytes]]:
    """(shard, size, root) behind each batch, without publisher or folder."""
    log, out = Shards(shard_leaves=shard_leaves), []
    for leaves in batches:
        growth = log.append(leaves)
        out.append((growth.shard, growth.after, growth.log.root()))
    return out


def tree_of(directory: Path) -> dict[str, bytes]:
    """Every published file."""
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}
