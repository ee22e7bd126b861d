"""The published log, read as a stranger reads it and compared with the recomputation: files, record, signatures.

Tiles are worked out from the entries with hashlib, the roots of every recorded checkpoint from the tiles, and each
checkpoint must extend the one before by a consistency proof. Two signed checkpoints that contradict each other are a
split view, and told by that name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from engine.common.errors import GodarkError, LogSplit, StoreError
from relayer.core.checkpoint import Checkpoint
from relayer.core.log import SHARD_LEAVES
from relayer.core.note import parse_verifier_key, read_checkpoint
from relayer.core.rfc9162 import hash_leaf, hash_node
from relayer.core.tile_log import TileLog, read_tile
from relayer.core.tiles import ENTRIES, TILE_WIDTH, Tile, damaged, entries_in, grown, tile_at
from relayer.published import PublishedLog, shards_in
from relayer.publisher import LOG, VERIFIER_KEY
from relayer.store import Signed
from relayer.verify.batches import PlainBatch

REASONS_MAX = 20


def published_differences(
    directory: Path, origin: str, batches: list[PlainBatch], needed: int, shard_leaves: int = SHARD_LEAVES
) -> list[str]:
    """What speaks against the log that is published and recorded below the relayer's `directory`.

    batches: as recomputed from the journal; needed: the last of them that is on chain, and so must be published.
    """
    reasons: list[str] = []
    for reason in _differences(directory, origin, batches, needed, shard_leaves):
        reasons.append(reason)
        if len(reasons) == REASONS_MAX:
            break
    return reasons


def _differences(
    directory: Path, origin: str, batches: list[PlainBatch], needed: int, shard_leaves: int
) -> Iterator[str]:
    # The folders are read before the record: a relayer that runs records first, and announces then.
    shown = {shard: PublishedLog(directory / LOG / str(shard)) for shard in shards_in(directory / LOG)}
    notes = {shard: folder.note_if_any() for shard, folder in shown.items()}
    try:
        rows = recorded_in(directory / "store.sqlite")
    except StoreError as error:
        yield error.line()
        return
    yield from _against_journal(rows, batches, needed, shard_leaves)
    keys: set[bytes] = set()
    for shard in sorted({*shown, *(row.shard for row in rows)}):
        folder, name = PublishedLog(directory / LOG / str(shard)), f"{origin}/{shard}"
        try:
            key = folder.fetch(VERIFIER_KEY).decode().removesuffix("\n")
            keys.add(parse_verifier_key(key).public_key)
            signed = [(f"batch {row.batch}", row.note) for row in rows if row.shard == shard]
            note = notes.get(shard)
            if note is not None:
                signed.append(("the folder", note))
            yield from _against_tiles(folder, name, key, signed)
            yield from _against_record([row for row in rows if row.shard == shard], key)
            due = max((row.size for row in rows if row.shard == shard and row.batch <= needed), default=0)
            if due and (note is None or read_checkpoint(note, key).size < due):
                yield f"log {name}: the folder shows no checkpoint of {due} leaves, which are on chain"
        except (GodarkError, OSError, UnicodeDecodeError) as error:
            yield _told(name, error)
    if len(keys) > 1:
        yield "shards are signed by more than one key"


def recorded_in(path: Path) -> list[Signed]:
    """Every checkpoint that the relayer's record has, in the order of batches. StoreError: it cannot be read."""
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            found = db.execute(
                "SELECT batch, shard, size, root, note FROM checkpoint ORDER BY batch"
            ).fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"{path}: the relayer's record cannot be read: {error}") from error
    return [Signed(*row) for row in found]


def _against_journal(
    rows: list[Signed], batches: list[PlainBatch], needed: int, shard_leaves: int
) -> Iterator[str]:
    """One checkpoint a batch, none left out, each of the size and root that the journal gives."""
    if [row.batch for row in rows] != list(range(1, len(rows) + 1)):
        yield "the record has not one checkpoint for each batch"
    if len(rows) < needed:
        yield f"batch {needed} is on chain, checkpoints are recorded up to batch {len(rows)}"
    for row, batch in zip(rows, batches, strict=False):
        commit = batch.commit
        if (row.shard * shard_leaves + row.size, row.root) != (commit.log_size, commit.root):
            yield f"batch {row.batch}: signed was size {row.size} of shard {row.shard}, not what the journal gives"


def _against_record(rows: list[Signed], key: str) -> Iterator[str]:
    """The columns of the record, of one shard, say what the signed notes in it say."""
    for row in rows:
        signed = read_checkpoint(row.note, key)
        if (signed.size, signed.root) != (row.size, row.root):
            yield f"batch {row.batch}: another checkpoint is recorded than was signed"


def _against_tiles(
    folder: PublishedLog, name: str, key: str, signed: Iterable[tuple[str, bytes]]
) -> Iterator[str]:
    """Signatures, roots and order of these checkpoints of one shard; then every file of the largest."""
    seen: dict[int, bytes] = {}
    largest: Checkpoint | None = None
    for where, note in signed:
        checkpoint = read_checkpoint(note, key)
        if checkpoint.origin != name:
            yield f"{where}: a checkpoint of {checkpoint.origin}, not of {name}"
            continue
        known = seen.setdefault(checkpoint.size, checkpoint.root)
        if known != checkpoint.root:
            yield f"split view: log {name} signed two roots at size {checkpoint.size} ({where})"
    for size, root in sorted(seen.items()):
        before, largest = largest, Checkpoint(name, size, root)
        try:
            tiles = folder.at(largest)
            if before is not None:
                tiles.consistency(before)
        except GodarkError as error:
            yield _told(name, error)
    if largest is not None:
        check_files(folder.at(largest), folder)


def check_files(tiles: TileLog, folder: PublishedLog) -> None:
    """Every entry hashes to its tile, every tile to the one above. LogDamaged, naming the file that does not.

    Keeps the hashes of one level of tiles, one in 256 leaves.
    """
    log, size = tiles.checkpoint.origin, tiles.size
    above: list[bytes] = []
    for bundle in grown(0, size):
        if bundle.level == ENTRIES:
            found, data = read_tile(bundle, folder.fetch, log)
            hashes = [hash_leaf(entry) for entry in entries_in(data, found, log)[: bundle.width]]
            _check_tile(folder, log, bundle._replace(level=0), hashes)
            above += _over(hashes)
    level = 1
    while above:
        below, above = above, []
        for first in range(0, len(below), TILE_WIDTH):
            hashes = below[first : first + TILE_WIDTH]
            _check_tile(folder, log, tile_at(level, first // TILE_WIDTH, size), hashes)
            above += _over(hashes)
        level += 1


def _check_tile(folder: PublishedLog, log: str, tile: Tile, hashes: list[bytes]) -> None:
    found, data = read_tile(tile, folder.fetch, log)
    if len(data) != 32 * found.width or data[: 32 * tile.width] != b"".join(hashes):
        damaged(log, tile.path, "not what the entries below it give")


def _over(hashes: list[bytes]) -> list[bytes]:
    """The root of a full tile, as the one hash that stands for it above; of a partial one nothing."""
    if len(hashes) < TILE_WIDTH:
        return []
    while len(hashes) > 1:
        hashes = [hash_node(*hashes[k : k + 2]) for k in range(0, len(hashes), 2)]
    return hashes


def _told(name: str, error: Exception) -> str:
    if isinstance(error, LogSplit):
        return f"split view: {error.line()}"
    if isinstance(error, GodarkError):
        return error.line()
    return f"log {name}: {error}"
