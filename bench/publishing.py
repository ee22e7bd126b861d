"""The published log: a batch made durable as tiles, recorded and announced; a start that makes the log again.

Every figure is of real files and real syncs in a temporary directory: it is the disk's as much as ours. The rival of
a batch is the same bytes appended to one file and synced once; that of a start is a hashlib loop over the leaves.
"""

from __future__ import annotations

import hashlib
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from solders.keypair import Keypair

from bench.harness import Budget
from relayer.core import note
from relayer.core.leaf import LEAF_BYTES
from relayer.core.rfc9162 import HASH_BYTES, LEAF_PREFIX, NODE_PREFIX
from relayer.core.shards import Shards
from relayer.core.tiles import LENGTH_BYTES
from relayer.published import PublishedLog
from relayer.publisher import LOG, Publisher
from relayer.signer.keyfile import KeyfileSigner
from relayer.store import Store

LEAVES = 1 << 20
BATCHES = (1, 1000, 4096)
ROUNDS = 15
ORIGIN = "godark.local/log"
_BUILT_AT_ONCE = 1 << 16
_SIGNER = KeyfileSigner(Keypair.from_seed(bytes(range(32))))


class Published:
    """A published log in a directory, and the record beside it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = Store(directory / "store.sqlite")
        self.publisher = Publisher(directory / LOG, _SIGNER, ORIGIN)
        self.log: Shards = self.publisher.begin(self.store)
        self._batch = 0
        self._random = np.random.default_rng(7)

    def batch(self, count: int) -> tuple[float, float, float]:
        """One more batch. Seconds until its files are durable, until it is recorded, until it is announced."""
        leaves = self._random.integers(0, 256, (count, LEAF_BYTES), np.uint8)
        growth = self.log.append(leaves)
        self._batch += 1
        began = time.perf_counter()
        signed = self.publisher.write([(self._batch, growth)])
        written = time.perf_counter()
        with self.store.transaction():
            self.store.add_checkpoints(signed)
        recorded = time.perf_counter()
        self.publisher.announce(signed)
        return written - began, recorded - written, time.perf_counter() - recorded

    def reads_back(self) -> bool:
        """Whether a stranger finds the root that we have, and the last leaf under it."""
        shown = PublishedLog(self.directory / LOG / "0")
        key = note.verifier_key(f"{ORIGIN}/0", _SIGNER)
        tiles = shown.at(note.read_checkpoint(shown.note(), key))
        proven = tiles.inclusion(tiles.size - 1) is not None and bool(tiles.entry(tiles.size - 1))
        return proven and (tiles.size, tiles.root()) == (self.log.log.size, self.log.log.root())


def _one_file(path: Path, count: int) -> float:
    """Seconds to append as many bytes as a batch of `count` brings to one file, and sync it."""
    data = os.urandom(count * (LENGTH_BYTES + LEAF_BYTES + HASH_BYTES))
    began = time.perf_counter()
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - began


def batches(log: Published, counts: tuple[int, ...], rounds: int) -> Iterator[Budget]:
    """Batches of each size into a log that is there."""
    for count in counts:
        steps, plain = [], []
        for _ in range(rounds):
            steps.append(log.batch(count))
            plain.append(_one_file(log.directory / "plain", count))
        whole = [sum(step) for step in steps]
        written, recorded, announced = (statistics.median(part) * 1e3 for part in zip(*steps, strict=True))
        yield Budget(
            name=f"a batch of {count} published",
            figure=statistics.median(whole) * 1e3,
            unit="ms",
            goal="≤ 50",
            answer_checked=log.reads_back(),
            ratios={
                "the same bytes in one file, one sync": statistics.median(whole) / statistics.median(plain)
            },
            sizes={
                "tiles durable, ms": written,
                "recorded, ms": recorded,
                "announced, ms": announced,
                "slowest, ms": max(whole) * 1e3,
            },
        )


def start(log: Published) -> Iterator[Budget]:
    """The log made again from its files, as a relayer starts; what that takes of memory."""
    root, size = log.log.log.root(), log.log.log.size
    log.store.close()
    before, began = _resident_bytes(), time.perf_counter()
    store = Store(log.directory / "store.sqlite")
    publisher = Publisher(log.directory / LOG, _SIGNER, ORIGIN)
    begun = publisher.begin(store)
    seconds = time.perf_counter() - began
    grown = _resident_bytes() - before
    store.close()
    yield Budget(
        name=f"a start on {size} published leaves",
        figure=seconds,
        unit="s",
        goal="≤ 5",
        answer_checked=publisher.head(0) == (size, root) and begun.size == 0,
        ratios={"hashlib loop over as many leaves and nodes": seconds / _hashlib_seconds(size)},
        sizes={"resident, bytes/leaf": grown / size, "read back, MB": _published_bytes(log.directory) / 1e6},
    )


def _hashlib_seconds(count: int) -> float:
    """Hashing `count` leaves and as many nodes, from a thousand of each."""
    sha256, leaf, pair = hashlib.sha256, bytes(LEAF_BYTES), bytes(2 * HASH_BYTES)
    began = time.perf_counter()
    for _ in range(1000):
        sha256(LEAF_PREFIX + leaf).digest()
        sha256(NODE_PREFIX + pair).digest()
    return (time.perf_counter() - began) * count / 1000


def _published_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in (directory / LOG).rglob("*") if path.is_file())


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def run(scale: int = 1) -> Iterator[Budget]:
    """Measure; `scale` divides every size, for a look at whether it runs."""
    with tempfile.TemporaryDirectory(prefix="godark-bench-") as directory:
        log = Published(Path(directory))
        left = LEAVES // scale
        while left:
            left -= (count := min(left, _BUILT_AT_ONCE))
            log.batch(count)
        yield from batches(
            log, tuple(dict.fromkeys(max(count // scale, 1) for count in BATCHES)), max(ROUNDS // scale, 2)
        )
        yield from start(log)
