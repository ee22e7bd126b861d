"""A disk that may forget: built from the record of what processes did to files, cut at any point of it.

What was synced is there after a cut. Of what was not, any part may be: each file's writes in any subset of their
512-byte sectors, in no order among files; names in the order in which they were given, up to some point. A sync
of a file says nothing of its name; that takes a sync of its directory (the file systems in use do more, and
nothing here relies on it). A rename is whole or has not happened.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kernels import frames as f
from kernels.frames import FRAME_BYTES, SCHEMA_ID, Template

SECTOR_BYTES = 512
_RECORD = struct.Struct("<iiiiqq")


class Kind(IntEnum):
    """As in `shim.c`."""

    WRITE = 1
    SYNC = 2
    RENAME = 3
    TRUNCATE = 4
    CREATE = 5
    MKDIR = 6
    UNLINK = 7
    SENT = 8


class Record(NamedTuple):
    """One thing that a process did. CREATE has `offset` 1 if it also cut the file to nothing."""

    kind: Kind
    path: str
    path2: str
    data: bytes
    offset: int


def read_log(path: Path, *, failed: bool = False) -> list[Record]:
    """Everything recorded, in order; calls that came back with an error only if asked for."""
    raw, at, out = path.read_bytes(), 0, []
    while at < len(raw):
        kind, path_bytes, path2_bytes, data_bytes, offset, result = _RECORD.unpack_from(raw, at)
        at += _RECORD.size
        name, other = raw[at : at + path_bytes], raw[at + path_bytes : at + path_bytes + path2_bytes]
        at += path_bytes + path2_bytes
        if result >= 0 or failed:
            out.append(Record(Kind(kind), name.decode(), other.decode(), raw[at : at + data_bytes], offset))
        at += data_bytes
    return out


class _File:
    """Contents as the disk has them, and what was written since the last sync: (offset, data), or a size."""

    def __init__(self) -> None:
        self.durable = bytearray()
        self.pending: list[tuple[int, bytes | None]] = []

    def sync(self) -> None:
        """Everything written is on the disk."""
        for offset, data in self.pending:
            _put(self.durable, offset, data)
        self.pending.clear()

    def after_cut(self, chance: random.Random, keep: float) -> bytes:
        """What may be found: of each sector written and not synced, with this probability, what was written."""
        found = bytearray(self.durable)
        for offset, data in self.pending:
            if data is None:
                if chance.random() < keep:
                    _put(found, offset, None)
                continue
            at = 0
            while at < len(data):
                end = min(len(data), (offset + at) // SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES - offset)
                if chance.random() < keep:
                    _put(found, offset + at, data[at:end])
                at = end
        return bytes(found)


def _put(into: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del into[offset:]
        into.extend(bytes(offset - len(into)))
        return
    into.extend(bytes(max(0, offset - len(into))))
    into[offset : offset + len(data)] = data


class _Names:
    """A tree of names: files, and directories as None."""

    def __init__(self) -> None:
        self.files: dict[str, _File | None] = {}

    def apply(self, record: Record, file: _File | None) -> None:
        """A CREATE, MKDIR, RENAME or UNLINK."""
        if record.kind in (Kind.CREATE, Kind.MKDIR):
            self.files[record.path] = file
        elif record.kind == Kind.UNLINK:
            self.files.pop(record.path, None)
        elif record.path in self.files:
            self.files[record.path2] = self.files.pop(record.path)

    def reachable(self, root: str) -> dict[str, _File | None]:
        """Names whose directories are all there."""
        return {
            name: file
            for name, file in self.files.items()
            if all(
                str(p) in self.files
                for p in Path(name).parents
                if str(p) != root and root in map(str, p.parents)
            )
        }


class Disk:
    """The state of the disk behind some records. `root` itself is there from the start.

    acked: highest sequence promised of each source, by acks and welcomes that were sent to anybody. position: of
    the journal, as far as it was synced when the last of these was sent: what a head page may say.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.acked: dict[int, int] = {}
        self.position = 0
        self._synced_position = 0
        self._live, self._durable = _Names(), _Names()
        self._pending: list[tuple[Record, _File | None]] = []
        self._written: dict[str, int] = {}

    def apply(self, record: Record) -> None:
        """What the record says has happened."""
        if record.kind == Kind.SENT:
            self._promised(record.data)
        elif record.kind in (Kind.WRITE, Kind.TRUNCATE):
            self._file(record.path).pending.append(
                (record.offset, record.data if record.kind == Kind.WRITE else None)
            )
            self._note_slots(record)
        elif record.kind == Kind.SYNC:
            self._sync(record.path)
        elif record.path == self.root:
            return
        elif record.kind == Kind.CREATE and record.path in self._live.files:
            if record.offset:
                self._file(record.path).pending.append((0, None))
        else:
            file = _File() if record.kind == Kind.CREATE else None
            self._live.apply(record, file)
            self._pending.append((record, file))

    def cut(self, into: Path, seed: int, keep: float) -> None:
        """Write to `into` what may be found after a cut now. keep: how much of what was not synced; 0 forgets
        all of it, 1 none.
        """
        chance = random.Random(seed)
        names = _Names()
        names.files = dict(self._durable.files)
        for record, file in self._pending[: round(len(self._pending) * min(1.0, keep * 2 * chance.random()))]:
            names.apply(record, file)
        if keep == 1:
            names.files = dict(self._live.files)
        for name, file in sorted(names.reachable(self.root).items()):
            path = into / os.path.relpath(name, self.root)
            if file is None:
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(file.after_cut(chance, keep))

    def _file(self, path: str) -> _File:
        file = self._live.files[path]
        assert file is not None, path
        return file

    def _sync(self, path: str) -> None:
        if path == self.root or self._live.files.get(path, 0) is None:
            left = []
            for record, file in self._pending:
                if path in (os.path.dirname(record.path), os.path.dirname(record.path2)):
                    self._durable.apply(record, file)
                else:
                    left.append((record, file))
            self._pending = left
            return
        self._file(path).sync()
        self._synced_position = max(self._synced_position, self._written.get(path, 0))

    def _note_slots(self, record: Record) -> None:
        name = os.path.basename(record.path)
        if name.endswith(".seg") and any(record.data):
            end = int(name[9:25]) + (record.offset + len(record.data.rstrip(b"\0"))) // FRAME_BYTES
            self._written[record.path] = end

    def _promised(self, data: bytes) -> None:
        for at in range(0, len(data), FRAME_BYTES):
            raw = data[at : at + FRAME_BYTES]
            head = np.frombuffer(raw, f.FRAME)[0]
            assert int(head["schema"]) == SCHEMA_ID, "not whole frames"
            template, source = int(head["template"]), int(head["source"])
            if template not in (Template.ACK, Template.WELCOME):
                continue
            row = np.frombuffer(raw, f.DTYPES[Template(template)])[0]
            seq = int(row["durable_seq"] if template == Template.ACK else row["last_seq"])
            self.acked[source] = max(self.acked.get(source, 0), seq)
            self.position = self._synced_position


def sync_points(records: Iterable[Record]) -> list[int]:
    """How many records lie before each sync, and before each message that promises something."""
    return [k for k, record in enumerate(records) if record.kind in (Kind.SYNC, Kind.SENT)]
