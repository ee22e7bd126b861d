"""The devnet's memory: every accepted transaction, in one append-only file.

    header   magic 8 · seed 32 · spare 20 · crc32 u32                    64 bytes
    record   body length u32 · crc32 u32 · kind u8 · spare 7 · slot i64  24 bytes, then the body

The CRC covers everything behind it. A transaction's body is 8 bytes of its result's digest and the wire; a
horizon says that slots up to it may have been shown to someone; a rollback's body is the last slot kept.
A tail that was being written when the process died is cut off at start. Damage before valid records is not a
torn tail: it is refused, never repaired by guessing.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.common.errors import NO_ROOM, StoreError, StoreFull, SyncFailed

TRANSACTION: Final = 1
HORIZON: Final = 2
ROLLBACK: Final = 3

SEED_BYTES: Final = 32
DIGEST_BYTES: Final = 8
BODY_LIMIT_BYTES: Final = DIGEST_BYTES + 4096

_MAGIC: Final = b"GDKCHN01"
_HEADER: Final = struct.Struct("<8s32s20xI")
_RECORD: Final = struct.Struct("<II")
_TAIL: Final = struct.Struct("<B7xq")
_RECORD_BYTES: Final = _RECORD.size + _TAIL.size
_KINDS: Final = frozenset({TRANSACTION, HORIZON, ROLLBACK})


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `offset` is where it starts in the file."""

    kind: int
    slot: int
    body: bytes
    offset: int


class Ledger:
    """Appends reach the page cache at once (so a killed process loses none) and the disk at `sync`.

    `written` and `durable` are file offsets: what lies below `durable` survives a power cut. Not safe for
    threads, but for `sync`, which may run in one other thread while records are appended.
    """

    def __init__(self, path: Path, descriptor: int, seed: bytes, end: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self.seed = seed
        self.written = end
        self.durable = end

    @classmethod
    def open(cls, path: Path, new_seed: bytes | None = None) -> Ledger:
        """Open a ledger, or make one with `new_seed` (32 bytes, random if None).

        Cuts a torn tail. Raises StoreError: held by another process, not a ledger, or damaged.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"{path}: cannot open the ledger: {error.strerror}") from None
        try:
            _lock(descriptor, path)
            size = os.fstat(descriptor).st_size
            if size < _HEADER.size:
                # Nothing was ever answered before the header was durable.
                seed = os.urandom(SEED_BYTES) if new_seed is None else new_seed
                _write_header(descriptor, path, seed)
                end = _HEADER.size
            else:
                seed = _read_header(descriptor, path)
                end = _scan_end(descriptor, path, size)
                if end < size:
                    os.ftruncate(descriptor, end)
                _sync(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor, seed, end)

    def append(self, kind: int, slot: int, body: bytes) -> int:
        """Append one record and return its offset. Raises StoreError (StoreFull) where it cannot be written whole."""
        tail = _TAIL.pack(kind, slot) + body
        record = _RECORD.pack(len(body), zlib.crc32(tail)) + tail
        offset = self.written
        try:
            count = os.pwrite(self._descriptor, record, offset)
        except OSError as error:
            full = error.errno in NO_ROOM
            raise (StoreFull if full else StoreError)(
                f"{self._path}: cannot write the ledger: {error.strerror}"
            ) from error
        if count != len(record):
            raise StoreFull(f"{self._path}: cannot write the ledger: no space left on device")
        self.written = offset + count
        return offset

    def sync(self) -> None:
        """Wait until all that is written now is on disk. Raises SyncFailed: the process must end."""
        upto = self.written
        _sync(self._descriptor, self._path)
        self.durable = upto

    def read(self, offset: int) -> Record:
        """The record at an offset that `append` or `records` gave. Raises StoreError if it is damaged."""
        record = _read_record(self._descriptor, offset, self.written)
        if record is None:
            raise StoreError(f"{self._path}: damaged at byte {offset}")
        return record

    def records(self) -> Iterator[Record]:
        """All records, oldest first."""
        offset = _HEADER.size
        while offset < self.written:
            record = self.read(offset)
            yield record
            offset += _RECORD_BYTES + len(record.body)

    def close(self) -> None:
        """Close the file, and with it the lock."""
        os.close(self._descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreError(f"{path}: another devnet is using this ledger") from None


def _sync(descriptor: int, path: Path) -> None:
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        raise SyncFailed(f"{path}: fdatasync failed: {error.strerror}") from error


def _write_header(descriptor: int, path: Path, seed: bytes) -> None:
    if len(seed) != SEED_BYTES:
        raise StoreError(f"{path}: a seed has {SEED_BYTES} bytes, not {len(seed)}")
    os.ftruncate(descriptor, 0)
    body = _HEADER.pack(_MAGIC, seed, 0)[:-4]
    os.pwrite(descriptor, body + struct.pack("<I", zlib.crc32(body)), 0)
    _sync(descriptor, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read_header(descriptor: int, path: Path) -> bytes:
    raw = os.pread(descriptor, _HEADER.size, 0)
    magic, seed, crc = _HEADER.unpack(raw)
    if magic != _MAGIC or crc != zlib.crc32(raw[:-4]):
        raise StoreError(f"{path}: not a devnet ledger, or its header is damaged")
    return bytes(seed)


def _read_record(descriptor: int, offset: int, end: int) -> Record | None:
    """The record at an offset, or None where there is no whole and sound one below `end`."""
    raw = os.pread(descriptor, min(_RECORD_BYTES + BODY_LIMIT_BYTES, end - offset), offset)
    if len(raw) < _RECORD_BYTES:
        return None
    length, crc = _RECORD.unpack_from(raw)
    stop = _RECORD_BYTES + length
    if length > BODY_LIMIT_BYTES or len(raw) < stop or zlib.crc32(raw[_RECORD.size : stop]) != crc:
        return None
    kind, slot = _TAIL.unpack_from(raw, _RECORD.size)
    return Record(kind, slot, raw[_RECORD_BYTES:stop], offset) if kind in _KINDS else None


def _scan_end(descriptor: int, path: Path, size: int) -> int:
    """Where the last whole record ends. Raises StoreError where sound records follow a damaged one."""
    offset = _HEADER.size
    while offset < size:
        record = _read_record(descriptor, offset, size)
        if record is None:
            if _sound_record_after(descriptor, offset, size):
                raise StoreError(f"{path}: damaged at byte {offset}, with sound records behind it")
            return offset
        offset += _RECORD_BYTES + len(record.body)
    return offset


def _sound_record_after(descriptor: int, offset: int, size: int) -> bool:
    """Whether any record can be read behind a damaged one, found by the length it claims or by looking."""
    window = os.pread(descriptor, 4 * (_RECORD_BYTES + BODY_LIMIT_BYTES), offset)
    return any(
        _read_record(descriptor, offset + at, size) is not None
        for at in range(1, len(window) - _RECORD_BYTES + 1)
        if int.from_bytes(window[at : at + 4], "little") <= BODY_LIMIT_BYTES and window[at + 8] in _KINDS
    )
