"""Batches, net deltas, leaves and roots once more, the plain way: dicts, struct and hashlib."""

from __future__ import annotations

import hashlib
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.frames import Template
from relayer.core.batch import FILLS_MAX
from relayer.core.graph import COMMIT, Node
from relayer.core.log import SHARD_LEAVES
from relayer.core.payload import Chunk, Commit, Delta, content_digest, encode_chunk, encode_commit
from relayer.verify.model_prices import HOUR_NS
from relayer.verify.model_state import Ledger, Leg

_FILL = struct.Struct("<4Hq4q2i2Bh")


class PlainLog:
    """An RFC 9162 log that keeps only the right edge: roots of its perfect subtrees, largest first."""

    def __init__(self) -> None:
        self.size = 0
        self._edge: list[tuple[int, bytes]] = []

    def append(self, leaf: bytes) -> None:
        """Add one leaf; equal neighbours merge."""
        node = (1, hashlib.sha256(b"\0" + leaf).digest())
        while self._edge and self._edge[-1][0] == node[0]:
            width, left = self._edge.pop()
            node = (2 * width, hashlib.sha256(b"\1" + left + node[1]).digest())
        self._edge.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The root over all leaves."""
        if not self._edge:
            return hashlib.sha256(b"").digest()
        root = self._edge[-1][1]
        for _, left in reversed(self._edge[:-1]):
            root = hashlib.sha256(b"\1" + left + root).digest()
        return root


class PlainBatch(NamedTuple):
    """What a batch must look like on chain: the memo of each node, and what each waits for."""

    commit: Commit
    payloads: dict[Node, bytes]
    parents: dict[Node, set[Node]]


class PlainBatches:
    """Cuts booked fills into batches from ordinals and tick times, and says what the chain must show."""

    def __init__(self, rows_per_chunk: int, shard_leaves: int = SHARD_LEAVES) -> None:
        self.batches: list[PlainBatch] = []
        self.log = PlainLog()
        self.shard = 0
        self.open_fills = 0
        self._shard_leaves = shard_leaves
        self._leaves: list[bytes] = []
        self._rows_per_chunk = rows_per_chunk
        self._first = 1
        self._opened_ns = 0
        self._window_ns = 0
        self._fills = 0
        self._deltas: dict[tuple[int, int], list[int]] = {}
        self._fees: dict[int, int] = {}
        self._keys: dict[int, bytes] = {}
        self._touched: dict[tuple[bytes, int], tuple[int, Node]] = {}

    def took(self, ordinal: int, fill: bytes | None, legs: list[Leg], ledger: Ledger) -> None:
        """A frame that moved positions; `fill` if it is one."""
        if not self._deltas:
            self._opened_ns, self._window_ns = ledger.meta.now_ns, ledger.tables.batch_window_ns
        for leg in legs:
            at = (leg.market, leg.account)
            total = self._deltas.setdefault(at, [0, 0, 0, 0])
            for k, value in enumerate((leg.dsize, leg.dcash, leg.transfer, leg.cover)):
                total[k] += value
            self._fees[leg.market] = self._fees.get(leg.market, 0) + leg.fee
            self._keys[leg.account] = struct.pack("<4q", *ledger.accounts[leg.account].key)
        if fill is None:
            return
        self._leaves.append(self._leaf(fill))
        self._fills += 1
        if self._fills == FILLS_MAX:
            self._close(ordinal)

    def _leaf(self, fill: bytes) -> bytes:
        _, _, _, _, seq, time_ns, trade_id, price, size, maker, taker, source, flags, market = _FILL.unpack(
            fill[:60]
        )
        head = struct.pack(
            "<4B2h5q", 1, Template.FILL, source, flags, market, 0, seq, time_ns, trade_id, price, size
        )
        return head + self._keys[maker] + self._keys[taker]

    def saw_ticks(self, now_ns: NDArray[np.int64], ordinals: NDArray[np.int64]) -> None:
        """Ticks in order, and their ordinals: the first at or past a boundary closes what is open."""
        if not self._deltas or not len(now_ns):
            return
        past = (now_ns // self._window_ns > self._opened_ns // self._window_ns) | (
            now_ns // HOUR_NS > self._opened_ns // HOUR_NS
        )
        if past.any():
            self._close(int(ordinals[int(np.argmax(past))]) - 1)

    @property
    def log_size(self) -> int:
        """Leaves of full shards, as many as they have room for, and those of the open one."""
        return self.shard * self._shard_leaves + self.log.size

    def _append(self) -> None:
        """The leaves of a batch stay together: where they do not fit, the next shard begins with them."""
        if self.log.size + len(self._leaves) > self._shard_leaves:
            self.log = PlainLog()
            self.shard += 1
        for leaf in self._leaves:
            self.log.append(leaf)
        self._leaves = []

    def _close(self, last: int) -> None:
        self._append()
        number = len(self.batches) + 1
        rows = []
        for (market, account), total in sorted(self._deltas.items()):
            user = self._keys[account]
            before = self._touched.get((user, market))
            dsize, dcash, transfer, cover = total
            prev = before[0] if before else 0
            rows.append(Delta(user, market, dsize, dcash, transfer, cover, prev))
        fees = tuple(sorted(self._fees.items()))
        parts = [rows[k : k + self._rows_per_chunk] for k in range(0, len(rows), self._rows_per_chunk)]
        commit = Commit(
            number, self._first, last, self._fills, self.log_size, self.log.root(), len(rows), len(parts),
            content_digest(rows, fees),
        )  # fmt: skip
        root = Node(number, COMMIT)
        payloads = {root: encode_commit(commit)}
        parents: dict[Node, set[Node]] = {root: {Node(number - 1, COMMIT)} if number > 1 else set()}
        for k, part in enumerate(parts):
            node = Node(number, k)
            payloads[node] = encode_chunk(Chunk(number, k, tuple(part)))
            parents[node] = {root} | {self._touched[r.user, r.market][1] for r in part if r.prev_batch}
        for k, part in enumerate(parts):
            for row in part:
                self._touched[row.user, row.market] = (number, Node(number, k))
        self.batches.append(PlainBatch(commit, payloads, parents))
        self._first, self._fills = last + 1, 0
        self._deltas, self._fees = {}, {}

    def finish(self) -> None:
        """Set aside the batch that is still open: the chain cannot have it yet. Its fills are `open_fills`."""
        self.open_fills = self._fills
        self._append()
        self._deltas, self._fees, self._fills = {}, {}, 0


def expected_nodes(batches: list[PlainBatch]) -> dict[Node, bytes]:
    """Memo of every node of every batch."""
    out: dict[Node, bytes] = {}
    for batch in batches:
        out.update(batch.payloads)
    return out


__all__: list[Any] = ["PlainBatch", "PlainBatches", "PlainLog", "expected_nodes"]
