"""Snapshots: the books at one position of the journal, as one file that is whole or not there.

A header of 4 KiB, then every array from a multiple of 4 KiB on: the used prefixes that the state's digest
covers, and the CRCs by which a gateway's gate judges resends. Tables and caches are not in it; they are rebuilt.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.common.errors import JournalFull, SchemaUnknown, SnapshotUnusable
from engine.core.apply import Machine
from engine.core.state import RULES, Section, State, digest_of
from engine.journal.reader import Cursor
from engine.journal.segment import sync_directory
from kernels.admission import HISTORY, SOURCES_MAX, Gate
from kernels.crc32c import crc32c, crc_row

SNAPSHOT_DIR = "snapshots"
FORMAT = 1
MAGIC = 0x50414E53_4F47_0001
HEADER_BYTES = 4096
ARRAYS_MAX = 48
_ALIGN = 4096
_SLICE_BYTES = 4 << 20
_NAME = re.compile(r"(\d{16})\.snap")
_CRCS = "gate_crcs"

ARRAY = np.dtype(
    [
        ("name", "S24"),
        ("rows", "<i8"),
        ("row_bytes", "<i4"),
        (
            "layout",
            "<u4",
        ),  # CRC of the dtype's description: two builds with the same one agree on every field
        ("offset", "<i8"),
        ("crc", "<i8"),
        ("in_digest", "<i8"),
    ]
)
HEADER = np.dtype(
    [
        ("magic", "<i8"),
        ("format", "<i4"),
        ("rules", "<i4"),
        ("position", "<i8"),  # of the journal: the first slot that is not in these books
        ("ordinal", "<i8"),
        ("epoch", "<i8"),
        ("chain", "<i8"),
        ("witness", "<i8"),
        ("time_ns", "<i8"),  # the books' time
        ("bytes", "<i8"),  # of the whole file
        ("arrays", "<i8"),
        ("digest", "u1", (32,)),
        ("table", ARRAY, (ARRAYS_MAX,)),
        ("spare", "u1", (HEADER_BYTES - 120 - ARRAYS_MAX * ARRAY.itemsize,)),
        ("crc", "<i8"),
    ]
)
if HEADER.itemsize != HEADER_BYTES:
    raise AssertionError(f"a snapshot's header has {HEADER.itemsize} bytes")


class Interrupted(Exception):
    """Writing was broken off because the caller asked for it; nothing is left behind."""


class Loaded(NamedTuple):
    """A snapshot in memory. `crcs`: the gate's history, for `restore_gate`."""

    state: State
    cursor: Cursor
    crcs: NDArray[np.int64]


def snapshot_path(directory: Path, position: int) -> Path:
    """Where the snapshot at `position` of the journal in `directory` lies."""
    return directory / SNAPSHOT_DIR / f"{position:016d}.snap"


def position_of(path: Path) -> int:
    """The position that a snapshot's name tells."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise SnapshotUnusable(f"{path}: not a snapshot's name; move it away", path=str(path))
    return int(match[1])


def list_snapshots(directory: Path) -> list[Path]:
    """The snapshots of the journal in `directory`, oldest first. What was never finished is not among them."""
    return sorted((directory / SNAPSHOT_DIR).glob("*.snap"), key=position_of)


def never() -> bool:
    """Writing is not to be broken off."""
    return False


def write_snapshot(
    directory: Path, machine: Machine, gate: Gate, cursor: Cursor, *, broken_off: Callable[[], bool] = never
) -> Path:
    """Write the books at `cursor`, in slices of 4 MiB; `broken_off` is asked between them. Returns the path.

    The name appears when every byte is synced. `machine` must not change meanwhile. Interrupted: `broken_off`
    said so. JournalFull: the disk has no room. Both leave nothing behind.
    """
    path = snapshot_path(directory, cursor.position)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(f".{os.getpid()}.part")  # two standbys may write the same one
    state = machine.state
    sections = state.sections()
    arrays = [*sections, Section(_CRCS, _used_crcs(gate))]
    between = functools.partial(_ask, broken_off)
    header, offsets = _header(machine, cursor, arrays)
    try:
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            digests = list(_write_arrays(fd, arrays, offsets, between))
            header["table"][0]["crc"][: len(arrays)] = digests
            header["digest"][0] = np.frombuffer(digest_of(sections, between), np.uint8)
            _seal(header)
            _write_whole(fd, header.view(np.uint8).data, 0)
            os.ftruncate(fd, int(header["bytes"][0]))
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise JournalFull(f"{path}: cannot be written: {error.strerror}") from error
    except Interrupted:
        temporary.unlink(missing_ok=True)
        raise
    return path


def load_snapshot(path: Path, *, check_digest: bool = True, spare: int = 0) -> Loaded:
    """Read a snapshot into a new state, every CRC checked and, if asked, the digest; tables are rebuilt.

    spare: the state has room for what so many more frames can add.
    An array that this build has and the file lacks starts empty. SnapshotUnusable: damaged, or an array has
    another layout. SchemaUnknown: written by a newer GoDark.
    """
    fd = _open(path)
    try:
        header = _read_header(fd, path)
        entries = {row["name"].decode(): row for row in header["table"][: int(header["arrays"])]}
        state = State()
        meta = np.zeros_like(state.books.meta)
        _read_array(fd, path, _entry(path, entries, "meta", meta), meta)
        sections = {s.name: s for s in state.restore(meta, spare)}
        crcs = np.zeros(int(entries[_CRCS]["rows"]) if _CRCS in entries else 0, np.int64)
        present = []
        for name, row in entries.items():
            if name != _CRCS and name not in sections:
                raise SchemaUnknown(f"{path.name}: array {name} is not known: run a newer GoDark")
            rows = crcs if name == _CRCS else sections[name].rows
            _read_array(fd, path, _entry(path, entries, name, rows), rows)
            if row["in_digest"]:
                present.append(Section(name, rows))
    finally:
        os.close(fd)
    if check_digest and digest_of(present) != header["digest"].tobytes():
        raise SnapshotUnusable(f"{path.name}: its digest is not that of its arrays", path=str(path))
    state.books.witness[0] = header["witness"]
    state.reindex()
    return Loaded(state, Cursor(int(header["position"]), int(header["epoch"]), int(header["chain"])), crcs)


def verify_snapshot(path: Path, *, broken_off: Callable[[], bool] = never) -> None:
    """Read a snapshot back from the disk and check every CRC. SnapshotUnusable, SchemaUnknown, Interrupted."""
    fd = _open(path)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # what the disk has, not what we remember
        header = _read_header(fd, path)
        for entry in header["table"][: int(header["arrays"])]:
            crc, at = 0, int(entry["offset"])
            stop = at + int(entry["rows"]) * int(entry["row_bytes"])
            buffer = np.zeros(_SLICE_BYTES // 8, np.int64)
            while at < stop:
                _ask(broken_off)
                part = buffer[: min(len(buffer), (stop - at) // 8)]
                _read_whole(fd, path, part, at)
                crc = _crc_of(part, crc)
                at += part.nbytes
            if crc != int(entry["crc"]):
                raise _damaged(path, f"array {entry['name'].decode()}")
    finally:
        os.close(fd)


def restore_gate(gate: Gate, loaded: Loaded) -> None:
    """Put a snapshot's last sequences and history of CRCs into a new gate."""
    gate.last_seq[:] = loaded.state.books.sources["last_seq"][:SOURCES_MAX]
    at = 0
    for source, used in enumerate(_used_slots(gate)):
        if at + used <= len(loaded.crcs):
            gate.crcs[source, :used] = loaded.crcs[at : at + used]
        at += used


def _used_slots(gate: Gate) -> list[int]:
    """How much of each source's ring of CRCs can be in use: sequence s lies at s % HISTORY, the first is 1."""
    return [min(int(last) + 1, HISTORY) if last else 0 for last in gate.last_seq]


def _used_crcs(gate: Gate) -> NDArray[np.int64]:
    return np.concatenate([gate.crcs[source, :used] for source, used in enumerate(_used_slots(gate))])


def _header(machine: Machine, cursor: Cursor, arrays: list[Section]) -> tuple[NDArray[np.void], list[int]]:
    header = np.zeros(1, HEADER)
    row, state = header[0], machine.state
    row["magic"], row["format"], row["rules"] = MAGIC, FORMAT, state.number("rules")
    row["position"], row["epoch"], row["chain"] = cursor
    row["ordinal"], row["time_ns"] = state.number("ordinal"), state.number("now_ns")
    row["witness"], row["arrays"] = machine.witness, len(arrays)
    offsets = []
    end = HEADER_BYTES
    for k, (name, rows) in enumerate(arrays):
        offset = -(-end // _ALIGN) * _ALIGN
        row["table"][k] = (
            name.encode(), len(rows), _row_bytes(rows), layout_of(rows.dtype), offset, 0, name != _CRCS
        )  # fmt: skip
        offsets.append(offset)
        end = offset + rows.nbytes
    row["bytes"] = end
    return header, offsets


def _seal(header: NDArray[np.void]) -> None:
    header["crc"][0] = _crc_of(header.view(np.int64)[:-1], 0)


def layout_of(dtype: DTypeLike) -> int:
    """A number for the names, types and offsets of a row's fields."""
    return crc32c(repr(np.dtype(dtype).descr).encode())


def _row_bytes(rows: NDArray[np.generic]) -> int:
    return rows.strides[0]


def _write_arrays(
    fd: int, arrays: list[Section], offsets: list[int], between: Callable[[], None]
) -> Iterator[int]:
    """Write each array at its offset, synced slice by slice; yields its CRC."""
    for (_, rows), offset in zip(arrays, offsets, strict=True):
        words, crc = _words(rows), 0
        for first in range(0, len(words), _SLICE_BYTES // 8):
            between()
            part = words[first : first + _SLICE_BYTES // 8]
            crc = _crc_of(part, crc)
            _write_whole(fd, part.view(np.uint8).data, offset + 8 * first)
            os.fdatasync(fd)  # in slices: a sync of the engine's then never waits behind a whole snapshot
        yield crc


def _ask(broken_off: Callable[[], bool]) -> None:
    if broken_off():
        raise Interrupted


def _words(rows: NDArray[np.generic]) -> NDArray[np.int64]:
    return np.ascontiguousarray(rows).view(np.int64).reshape(-1)


def _crc_of(words: NDArray[np.int64], crc: int) -> int:
    """CRC-32C continued over int64[n]."""
    return int(crc_row(words.reshape(1, -1), 0, len(words), crc))


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise SnapshotUnusable(f"{path}: cannot be read: {error.strerror}", path=str(path)) from error


def _read_header(fd: int, path: Path) -> np.void:
    raw = np.zeros(1, HEADER)
    _read_whole(fd, path, raw.view(np.int64), 0)
    header = raw[0]
    if int(header["magic"]) != MAGIC or int(header["crc"]) != _crc_of(raw.view(np.int64)[:-1], 0):
        raise _damaged(path, "its header")
    if int(header["format"]) > FORMAT or int(header["rules"]) > RULES:
        what = f"format {int(header['format'])}, rules {int(header['rules'])}"
        raise SchemaUnknown(f"{path.name}: {what}: written by a newer GoDark; run that one", path=str(path))
    if int(header["position"]) != position_of(path) or os.fstat(fd).st_size != int(header["bytes"]):
        raise SnapshotUnusable(f"{path.name}: its name or its size is not its own", path=str(path))
    return header


def _entry(path: Path, entries: dict[str, np.void], name: str, rows: NDArray[np.generic]) -> np.void:
    """The table's row of an array, which must be laid out as `rows` is."""
    if name not in entries:
        raise SnapshotUnusable(f"{path.name}: it has no array {name}", path=str(path))
    entry = entries[name]
    if int(entry["layout"]) != layout_of(rows.dtype) or int(entry["row_bytes"]) != _row_bytes(rows):
        raise SnapshotUnusable(
            f"{path.name}: array {name} has the layout of another build; replay the journal, or run that build",
            path=str(path),
        )
    if int(entry["rows"]) != len(rows):
        raise SnapshotUnusable(f"{path.name}: array {name} has {int(entry['rows'])} rows, not {len(rows)}")
    return entry


def _read_array(fd: int, path: Path, entry: np.void, rows: NDArray[np.generic]) -> None:
    words = rows.view(np.int64).reshape(-1)
    _read_whole(fd, path, words, int(entry["offset"]))
    if _crc_of(words, 0) != int(entry["crc"]):
        raise _damaged(path, f"array {entry['name'].decode()}")


def _read_whole(fd: int, path: Path, words: NDArray[np.int64], offset: int) -> None:
    """Fill `words` from `offset` on; one call reads less than 2 GiB."""
    view = words.view(np.uint8).data
    done = 0
    while done < len(view):
        got = os.preadv(fd, [view[done:]], offset + done)
        if not got:
            raise SnapshotUnusable(f"{path.name}: cut short at byte {offset + done}", path=str(path))
        done += got


def _write_whole(fd: int, data: memoryview, offset: int) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], offset + done)


def _damaged(path: Path, what: str) -> SnapshotUnusable:
    return SnapshotUnusable(f"{path.name}: {what} is damaged", path=str(path))
