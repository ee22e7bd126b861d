"""The published log on disk: a folder a shard, as any web server can serve it.

    <shard>/checkpoint                 the newest signed checkpoint, replaced in one step
    <shard>/tile/<level>/<number>      256 hashes; <number>.p/<width> while there are fewer
    <shard>/tile/entries/<number>      the leaves themselves

A file is written under a name of its own in `.new`, synced, and renamed; when every file and every directory is
synced, and not before, a checkpoint may speak of them. A crash leaves at most files that no checkpoint speaks of:
nobody reads them, and they are written again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from engine.common.errors import NO_ROOM, LogDamaged, StoreError, StoreFull
from relayer.core.checkpoint import NOTE_LIMIT_BYTES, Checkpoint
from relayer.core.shards import Growth
from relayer.core.tile_log import Fetch, TileLog
from relayer.core.tiles import (
    CHECKPOINT,
    ENTRIES,
    PARTIAL,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    encode_bundle,
    grown,
    tile_of_path,
)

NEW = ".new"
_FILE_MODE, _DIRECTORY_MODE = 0o644, 0o755
FILES_AT_ONCE = 128
"""Open at a time: a batch of 65,536 fills has more than five hundred."""


class PublishedLog:
    """One shard's folder, read as a stranger would: nothing but the files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def note(self) -> bytes:
        """The newest checkpoint as it was signed; `relayer.core.note.read_checkpoint` verifies it.

        LogDamaged: there is none, or it is longer than a note can be.
        """
        note = self.note_if_any()
        if note is None:
            raise LogDamaged(
                f"{self.directory}: no {CHECKPOINT} here: nothing was published", path=CHECKPOINT
            )
        return note

    def note_if_any(self) -> bytes | None:
        """The same; None: nothing was published here."""
        try:
            note = self.fetch(CHECKPOINT)
        except FileNotFoundError:
            return None
        if len(note) > NOTE_LIMIT_BYTES:
            raise LogDamaged(f"{self.directory}: {CHECKPOINT}: longer than a note can be", path=CHECKPOINT)
        return note

    def fetch(self, path: str) -> bytes:
        """The bytes of a file below the folder. FileNotFoundError; LogDamaged: it is there and cannot be read."""
        try:
            return (self.directory / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(path) from None
        except OSError as error:
            raise LogDamaged(f"{self.directory}: {path}: {error.strerror}", path=path) from error

    def at(self, checkpoint: Checkpoint) -> TileLog:
        """The log as of a checkpoint, the newest or any before it: proofs and entries. Errors as of `TileLog`."""
        fetch: Fetch = self.fetch
        return TileLog(checkpoint, fetch)


def shards_in(directory: Path) -> list[int]:
    """Numbers of the shards that have a folder here, in order."""
    if not directory.is_dir():
        return []
    names = [path.name for path in directory.iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and str(int(name)) == name)


class LogFolder:
    """Writes one shard's folder. One at a time: the relayer's lock sees to that.

    Every method: StoreFull where the disk has no room, StoreError where it cannot be written. After either of them
    nothing may be written through this object: what of it is on the disk is not known.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._known: set[Path] = set()
        self._unsynced: set[Path] = set()
        with writing(directory):
            self._need_directory(directory / NEW)
            for left in (directory / NEW).iterdir():
                left.unlink()
            self._sync_directories()

    def write(self, growths: Iterable[Growth]) -> int:
        """Make every tile and bundle durable that these growths, one behind the other, call for. How many files.

        A partial one that a later growth fills is not written: the full one serves in its place.
        """
        wanted: dict[Tile, Growth] = {}
        for growth in growths:
            for tile in grown(growth.before, growth.after):
                wanted[tile] = growth
        partial = [tile for tile in wanted if tile.width < TILE_WIDTH and tile.full in wanted]
        for tile in partial:
            del wanted[tile]
        with writing(self.directory):
            self._write((tile.path, tile_bytes(tile, growth)) for tile, growth in wanted.items())
        return len(wanted)

    def publish(self, note: bytes) -> None:
        """Replace the checkpoint, durably. Everything that it speaks of must have been written."""
        self.put(CHECKPOINT, note)

    def put(self, path: str, data: bytes) -> None:
        """Replace one file, durably and in one step."""
        with writing(self.directory):
            self._write([(path, data)])

    def holds(self, path: str, data: bytes) -> bool:
        """Whether a file is there and says this."""
        with writing(self.directory):
            target = self.directory / path
            return target.is_file() and target.read_bytes() == data

    def tidy(self, growths: Iterable[Growth]) -> None:
        """Remove the partial forms of what these growths filled. The checkpoint must speak of the full ones."""
        with writing(self.directory):
            for growth in growths:
                for tile in grown(growth.before, growth.after):
                    if tile.width == TILE_WIDTH:
                        shutil.rmtree(self.directory / tile.partials, ignore_errors=True)
                        self._known.discard(self.directory / tile.partials)

    def sweep(self, size: int) -> None:
        """Remove what a crash kept `tidy` from removing at a checkpoint of this size. Looks at all names."""
        with writing(self.directory):
            for partials in (self.directory / "tile").rglob(f"*{PARTIAL}"):
                full = tile_of_path(str(partials.relative_to(self.directory)).removesuffix(PARTIAL))
                nodes = size >> TILE_HEIGHT * max(full.level, 0)
                if full.first + TILE_WIDTH <= nodes and (self.directory / full.path).is_file():
                    shutil.rmtree(partials, ignore_errors=True)

    def _write(self, files: Iterable[tuple[str, bytes]]) -> None:
        """All of them durable, some at a time: there are only so many descriptors."""
        waiting = iter(files)
        while some := list(islice(waiting, FILES_AT_ONCE)):
            self._write_some(some)
        self._sync_directories()

    def _write_some(self, files: list[tuple[str, bytes]]) -> None:
        """All bytes first, then all syncs, then all renames."""
        descriptors: list[int] = []
        try:
            for number, (_, data) in enumerate(files):
                descriptors.append(create(self.directory / NEW / str(number), data))
            for descriptor in descriptors:
                os.fsync(descriptor)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        for number, (path, _) in enumerate(files):
            target = self.directory / path
            self._need_directory(target.parent)
            os.rename(self.directory / NEW / str(number), target)
            self._unsynced.add(target.parent)

    def _need_directory(self, directory: Path) -> None:
        """Make it and what is above it. A new one is durable when the one above it is synced."""
        if directory in self._known:
            return
        if not directory.is_dir():
            self._need_directory(directory.parent)
            os.mkdir(directory, _DIRECTORY_MODE)
            self._unsynced |= {directory.parent}
        self._known.add(directory)

    def _sync_directories(self) -> None:
        for directory in sorted(self._unsynced):
            sync_directory(directory)
        self._unsynced.clear()


def tile_bytes(tile: Tile, growth: Growth) -> bytes:
    """What stands in a tile or bundle after a growth."""
    if tile.level == ENTRIES:
        begin = growth.before >> TILE_HEIGHT << TILE_HEIGHT
        return encode_bundle(growth.entries[tile.first - begin : tile.first - begin + tile.width])
    return growth.log.level(TILE_HEIGHT * tile.level)[tile.first : tile.first + tile.width].tobytes()


def create(path: Path, data: bytes) -> int:
    """A new file with these bytes, not synced; its descriptor. What a crash left under that name is overwritten."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, _FILE_MODE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def sync_directory(path: Path) -> None:
    """Names in a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """System calls that fail, by name."""
    try:
        yield
    except OSError as error:
        kind = StoreFull if error.errno in NO_ROOM else StoreError
        raise kind(f"{directory}: the published log cannot be written: {error.strerror}") from error
