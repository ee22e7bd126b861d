"""What goes on chain while programs of our own do not: canonical text, one memo per transaction.

A commit says what a batch holds and where the log stands after it; a chunk carries net deltas. Each has one
spelling, so that what is read back can be compared byte by byte.
"""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import PayloadInvalid
from relayer.core.batch import Batch

COMMIT_HEAD = "godark/1 commit"
CHUNK_HEAD = "godark/1 chunk"
ROWS_PER_CHUNK_MAX = 6
"""So many rows of the widest numbers fit a memo of 1,008 bytes."""


class Commit(NamedTuple):
    """The commit of a batch. content: SHA-256 over every delta row and fee of the batch."""

    batch: int
    first: int
    last: int
    fills: int
    log_size: int
    root: bytes
    deltas: int
    chunks: int
    content: bytes


class Delta(NamedTuple):
    """One net delta as it stands on chain; user is the 32-byte key."""

    user: bytes
    market: int
    dsize: int
    dcash: int
    transfer: int
    cover: int
    prev_batch: int


class Chunk(NamedTuple):
    """Part `chunk` of the deltas of a batch, from 0."""

    batch: int
    chunk: int
    rows: tuple[Delta, ...]


def delta_rows(batch: Batch, keys: NDArray[np.uint8]) -> list[Delta]:
    """The deltas of a batch with their users' keys. keys: uint8[accounts, 32]."""
    return [
        Delta(
            keys[int(r["account"])].tobytes(),
            int(r["market"]),
            int(r["dsize"]),
            int(r["dcash"]),
            int(r["transfer"]),
            int(r["cover"]),
            int(r["prev_batch"]),
        )
        for r in batch.deltas
    ]


def chunks_of(batch: Batch, rows: list[Delta], rows_per_chunk: int) -> list[Chunk]:
    """The rows cut into chunks, in order."""
    parts = [tuple(rows[k : k + rows_per_chunk]) for k in range(0, len(rows), rows_per_chunk)]
    return [Chunk(batch.number, k, part) for k, part in enumerate(parts)]


def content_digest(rows: list[Delta], fees: tuple[tuple[int, int], ...]) -> bytes:
    """SHA-256 over the text of every row, then of every fee line `fee market quote_e6`."""
    h = hashlib.sha256()
    for row in rows:
        h.update(_row_text(row).encode() + b"\n")
    for market, quote in fees:
        h.update(f"fee {market} {quote}\n".encode())
    return h.digest()


def commit_of(batch: Batch, rows: list[Delta], *, log_size: int, root: bytes, rows_per_chunk: int) -> Commit:
    """The commit of a batch whose fills are already in the log."""
    chunks = -(-len(rows) // rows_per_chunk)
    digest = content_digest(rows, batch.fees)
    return Commit(
        batch.number, batch.first, batch.last, len(batch.fills), log_size, root, len(rows), chunks, digest
    )


def encode_commit(commit: Commit) -> bytes:
    """The memo of a commit."""
    c = commit
    numbers = f"{c.batch} {c.first} {c.last} {c.fills} {c.log_size} {c.deltas} {c.chunks}"
    return f"{COMMIT_HEAD}\n{numbers}\n{c.root.hex()}\n{c.content.hex()}\n".encode()


def encode_chunk(chunk: Chunk) -> bytes:
    """The memo of a chunk."""
    lines = [CHUNK_HEAD, f"{chunk.batch} {chunk.chunk} {len(chunk.rows)}", *map(_row_text, chunk.rows)]
    return ("\n".join(lines) + "\n").encode()


def decode(memo: bytes) -> Commit | Chunk:
    """What a memo says. PayloadInvalid unless it is exactly what `encode_…` writes."""
    try:
        lines = memo.decode("ascii").split("\n")
        value = _decode_commit(lines) if lines[0] == COMMIT_HEAD else _decode_chunk(lines)
    except (ValueError, IndexError, TypeError) as error:
        raise PayloadInvalid("not a settlement memo of ours") from error
    _check(value)
    encoded = encode_commit(value) if isinstance(value, Commit) else encode_chunk(value)
    if encoded != memo:
        raise PayloadInvalid("a settlement memo in another spelling than ours")
    return value


def _check(value: Commit | Chunk) -> None:
    """Numbers that no settlement of ours can have. PayloadInvalid names none: the text may be anybody's."""
    if isinstance(value, Commit):
        c = value
        sound = 1 <= c.first <= c.last and min(c.fills, c.log_size, c.deltas, c.chunks) >= 0
        numbers: list[int] = [c.batch, c.last, c.fills, c.log_size, c.deltas, c.chunks]
    else:
        sound = value.chunk >= 0 and 1 <= len(value.rows) <= ROWS_PER_CHUNK_MAX
        sound = sound and all(len(r.user) == 32 and 0 <= r.market < 1 << 15 for r in value.rows)
        sound = sound and all(0 <= r.prev_batch < value.batch for r in value.rows)
        numbers = [value.batch, value.chunk, *(n for r in value.rows for n in r[2:])]
    if not sound or value.batch < 1 or any(not -(1 << 63) <= n < 1 << 63 for n in numbers):
        raise PayloadInvalid("a settlement memo with numbers that cannot be")


def _row_text(row: Delta) -> str:
    user = base64.b64encode(row.user).decode()
    return f"{user} {row.market} {row.dsize} {row.dcash} {row.transfer} {row.cover} {row.prev_batch}"


def _decode_commit(lines: list[str]) -> Commit:
    batch, first, last, fills, size, deltas, chunks = (int(x) for x in lines[1].split(" "))
    root, content = bytes.fromhex(lines[2]), bytes.fromhex(lines[3])
    if len(root) != 32 or len(content) != 32:
        raise ValueError("a digest has 32 bytes")
    return Commit(batch, first, last, fills, size, root, deltas, chunks, content)


def _decode_chunk(lines: list[str]) -> Chunk:
    if lines[0] != CHUNK_HEAD:
        raise ValueError("unknown head")
    batch, number, count = (int(x) for x in lines[1].split(" "))
    rows = []
    for line in lines[2 : 2 + count]:
        user, *numbers = line.split(" ")
        rows.append(Delta(base64.b64decode(user, validate=True), *(int(x) for x in numbers)))
    return Chunk(batch, number, tuple(rows))
