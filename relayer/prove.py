"""Finding a fill in the published log, and writing down what proves it. Reads files only, and trusts none of them.

A fill is named by the sequence number that its source gave it, which is unique, or by its trade id, which need not
be. Within a source the numbers ascend through the log, so a number is found by halving; a trade id by looking at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import LogSplit, UsageError
from kernels.frames import Source
from relayer.core.checkpoint import Checkpoint, decode_text
from relayer.core.leaf import LEAF, LEAF_BYTES
from relayer.core.note import read_checkpoint
from relayer.core.proof_check import check
from relayer.core.proof_file import OnChain, ProofFile, leaf_of
from relayer.core.tile_log import TileLog, read_tile
from relayer.core.tiles import ENTRIES, TILE_WIDTH, even_entries_in, tile_at
from relayer.published import PublishedLog, shards_in
from relayer.publisher import VERIFIER_KEY
from relayer.record import Record

NAMED_AT_MOST = 5
"""Fills that an error lists by name."""


class Place(NamedTuple):
    """Where a fill lies: leaf number `leaf`, from 0, of a shard; source and seq name it."""

    shard: int
    leaf: int
    source: int
    seq: int


class Fills:
    """The fills of one shard as they were published, at the size of its newest checkpoint."""

    def __init__(self, directory: Path, shard: int) -> None:
        self.shard = shard
        self.folder = PublishedLog(directory / str(shard))
        self.checkpoint = decode_text(self.folder.note()).checkpoint

    @property
    def bundles(self) -> int:
        """How many files its fills are in."""
        return -(-self.checkpoint.size // TILE_WIDTH)

    def rows(self, bundle: int) -> NDArray[np.void]:
        """LEAF[n] of one file. LogDamaged: it is missing or cut."""
        tile = tile_at(ENTRIES, bundle, self.checkpoint.size)
        found, data = read_tile(tile, self.folder.fetch, self.checkpoint.origin)
        rows = even_entries_in(data, found, LEAF_BYTES, self.checkpoint.origin)[: tile.width]
        return np.ascontiguousarray(rows).view(LEAF).reshape(-1)

    def find(self, source: int, seq: int) -> Place | None:
        """The fill that a source gave this number."""
        low, high = 0, self.bundles
        while high - low > 1:
            middle = (low + high) // 2
            mine = _of(self.rows(middle), source)
            if not len(mine):  # a file full of other sources' fills says nothing of where to go on
                break
            low, high = (middle, high) if mine[0] <= seq else (low, middle)
        places = (
            self._place(k, row, rows)
            for k, rows in ((k, self.rows(k)) for k in range(low, high))
            for row in np.flatnonzero((rows["source"] == source) & (rows["seq"] == seq))
        )
        return next(places, None)

    def trades(self, trade_id: int) -> Iterator[Place]:
        """Every fill of this trade id, in order."""
        for k in range(self.bundles):
            rows = self.rows(k)
            for row in np.flatnonzero(rows["trade_id"] == trade_id):
                yield self._place(k, row, rows)

    def ends(self, source: int) -> list[int]:
        """The first and the last number of a source in the first and the last file, as far as they have one."""
        found = [_of(self.rows(bundle), source) for bundle in sorted({0, self.bundles - 1}) if self.bundles]
        return [int(numbers[k]) for numbers in found if len(numbers) for k in (0, -1)]

    def _place(self, bundle: int, row: np.int64, rows: NDArray[np.void]) -> Place:
        leaf = rows[row]
        return Place(self.shard, bundle * TILE_WIDTH + int(row), int(leaf["source"]), int(leaf["seq"]))


def _of(rows: NDArray[np.void], source: int) -> NDArray[np.int64]:
    """The numbers of one source's fills."""
    numbers: NDArray[np.int64] = rows["seq"][rows["source"] == source]
    return numbers


def find_fill(directory: Path, seq: int, source: int = int(Source.MATCHING)) -> Place:
    """The fill with this number. directory: that of the shards. UsageError: nothing published has it."""
    ends: list[int] = []
    for shard in reversed(_shards(directory)):
        fills = Fills(directory, shard)
        place = fills.find(source, seq)
        if place is not None:
            return place
        ends += fills.ends(source)
    known = f"published are some from {min(ends)} to {max(ends)}" if ends else "none of it is"
    raise UsageError(
        f"no fill with number {seq} of {_name(source)} is published; {known} (its other frames have numbers too; a"
        " fill is published when its batch closes, a refused one never)"
    )


def find_trade(directory: Path, trade_id: int) -> Place:
    """The fill with this trade id. UsageError: none, or more than one, which are then named by their numbers."""
    found: list[Place] = []
    for shard in _shards(directory):
        for place in Fills(directory, shard).trades(trade_id):
            found.append(place)
            if len(found) > NAMED_AT_MOST:
                break
    if not found:
        raise UsageError(f"no fill with trade id {trade_id} is published")
    if len(found) > 1:
        names = ", ".join(f"{place.seq} of {_name(place.source)}" for place in found[:NAMED_AT_MOST]) + (
            ", …" if len(found) > NAMED_AT_MOST else ""
        )
        raise UsageError(f"trade id {trade_id} has more than one fill: name it by its number, one of {names}")
    return found[0]


def proof_of(
    directory: Path, place: Place, key: str, record: Record | None, rpc: str, held: bytes | None = None
) -> ProofFile:
    """The proof of a fill, to the checkpoint signed behind its batch; that one is on chain.

    directory: that of the shards. record: None: the proof leads to the newest checkpoint, and names no transaction.
    held: a signed checkpoint to lead to instead; the chain is then told of only if it is that one. rpc: what to call
    the chain.
    Raises LogDamaged, LogSplit (`held` is not of the log that is published), UsageError (it is older than the fill),
    NoteInvalid, CheckpointInvalid.
    """
    folder = PublishedLog(directory / str(place.shard))
    newest = folder.note()
    batch = record.batch_of(place.shard, place.leaf) if record is not None else None
    note = held if held is not None else batch.note if batch is not None else newest
    checkpoint = read_checkpoint(note, key)
    if place.leaf >= checkpoint.size:
        raise UsageError(
            f"the fill is leaf {place.leaf}, the checkpoint has {checkpoint.size}: take a later one"
        )
    log = _log_at(folder, checkpoint, read_checkpoint(newest, key))
    file = ProofFile(
        leaf_of(log.entry(place.leaf)),
        place.leaf,
        tuple(log.inclusion(place.leaf)),
        note,
        key,
        _on_chain(record, batch.batch, rpc) if record and batch and batch.note == note else None,
    )
    check(file)
    return file


def _log_at(folder: PublishedLog, checkpoint: Checkpoint, newest: Checkpoint) -> TileLog:
    """The published log at a checkpoint, which must be of it."""
    log = folder.at(newest)
    if checkpoint.origin != newest.origin or checkpoint.size > newest.size:
        raise UsageError(
            f"the checkpoint is of {checkpoint.origin} at {checkpoint.size} leaves; published is"
            f" {newest.origin} at {newest.size}"
        )
    if log.root(checkpoint.size) != checkpoint.root:
        raise LogSplit(
            f"split view: {checkpoint.origin} signed a root over {checkpoint.size} leaves that the published log"
            " has not; keep both"
        )
    return folder.at(checkpoint)


def _on_chain(record: Record, batch: int, rpc: str) -> OnChain:
    commit = record.commit_of(batch)
    return OnChain(rpc, batch, commit.signatures, commit.slot)


def _shards(directory: Path) -> list[int]:
    shards = shards_in(directory)
    if not shards:
        raise UsageError(f"{directory}: no published log; name the directory of a run with --data-dir")
    return shards


def _name(source: int) -> str:
    return "the matching engine" if source == Source.MATCHING else f"source {source}"


def key_of(directory: Path, shard: int) -> str:
    """The verifier key that lies beside a shard's log, for those who have no better source. UsageError: none does."""
    try:
        return (
            PublishedLog(directory / str(shard)).fetch(VERIFIER_KEY).decode("utf-8", "replace").rstrip("\n")
        )
    except FileNotFoundError:
        raise UsageError(
            f"{directory / str(shard)}: no {VERIFIER_KEY} here: it is not a published log"
        ) from None
