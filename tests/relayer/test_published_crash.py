"""A crash at every step of publishing: nothing that was signed is lost, nothing unsynced is published.

The system calls go through a recorder that knows what a disk would still have after a power cut: of a file what it
held when it was synced, of a directory the names it had when it was synced. Each step is tried with the least that
may be left and with all of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relayer import published
from relayer.core import note
from relayer.core.checkpoint import Checkpoint
from relayer.published import PublishedLog
from tests.relayer.publishing import ORIGIN, SIGNER, Run, leaves_of, roots_of, tree_of

COUNTS = [3, 255, 2]
KEY = note.verifier_key(f"{ORIGIN}/0", SIGNER)


class Crash(BaseException):
    """The process ends here."""


class Disk:
    """Counts steps, crashes at one of them, and remembers what was made durable."""

    def __init__(self, crash_at: int = -1) -> None:
        self.steps, self.crash_at = 0, crash_at
        self._ids: dict[int, int] = {}
        self._synced: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._kinds: dict[int, bool] = {}

    def step(self) -> None:
        """One more place to crash at."""
        self.steps += 1
        if self.steps == self.crash_at:
            raise Crash

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Stand between the folder and the system."""
        fsync, rename, mkdir, create, rmtree = (
            self._fsync,
            os.rename,
            os.mkdir,
            published.create,
            shutil.rmtree,
        )

        def stepped(call: Callable[..., Any]) -> Callable[..., Any]:
            def run(*arguments: Any, **options: Any) -> Any:
                self.step()
                return call(*arguments, **options)

            return run

        def torn(path: Path, data: bytes) -> int:
            self.step()
            descriptor = create(path, data[: len(data) // 2])
            self._new(descriptor)
            try:
                self.step()
                os.write(descriptor, data[len(data) // 2 :])
            except Crash:
                os.close(descriptor)
                raise
            return descriptor

        patch.setattr(published, "create", torn)
        patch.setattr(os, "fsync", stepped(fsync))
        patch.setattr(os, "rename", stepped(rename))
        patch.setattr(os, "mkdir", stepped(mkdir))
        patch.setattr(published.shutil, "rmtree", stepped(rmtree))

    def _new(self, descriptor: int) -> None:
        """An inode number is used again: what was synced under it was another file."""
        self._ids[os.fstat(descriptor).st_ino] = len(self._ids) + len(self._synced) + 1_000_000 * self.steps

    def _id(self, inode: int) -> int:
        return self._ids.setdefault(inode, inode)

    def _fsync(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        inode = self._id(path.stat().st_ino)
        if path.is_dir():
            self._names[inode] = {p.name: self._id(p.stat().st_ino) for p in path.iterdir()}
            for p in path.iterdir():
                self._kinds[self._id(p.stat().st_ino)] = p.is_dir()
        else:
            self._synced[inode] = path.read_bytes()

    def cut(self, directory: Path, to: Path) -> None:
        """What a power cut leaves of `directory` at the least."""
        self._copy(self._id(directory.stat().st_ino), to)

    def _copy(self, inode: int, to: Path) -> None:
        to.mkdir()
        for name, child in self._names.get(inode, {}).items():
            if self._kinds[child]:
                self._copy(child, to / name)
            else:
                (to / name).write_bytes(self._synced.get(child, b""))


def crashed(directory: Path, crash_at: int, count: int) -> Disk:
    """A run of all batches, `count` in a write, that ends at a step; the folder is as the process left it."""
    disk, run = Disk(crash_at), None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        directory.mkdir()
        (directory / "log").mkdir()
        disk.install(patch)
        try:
            run = Run(directory, leaves_of(COUNTS))
            while run.done < len(COUNTS):
                run.step(count, disk.step)
        except Crash:
            pass
        finally:
            if run is not None:
                run.store.close()
    return disk


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    yield


def readable(folder: Path) -> int:
    """A stranger finds all that the checkpoint speaks of; its size, -1 if there is none."""
    found = PublishedLog(folder).note_if_any()
    if found is None:
        return -1
    tiles = PublishedLog(folder).at(note.read_checkpoint(found, KEY))
    for index in range(tiles.size):
        tiles.entry(index)
    return tiles.size


EVERY = [pytest.param(1, 1, 1, marks=pytest.mark.slow), pytest.param(3, 1, 1, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("count", "first", "stride"), [(1, 2, 4), (3, 1, 4), *EVERY])
def test_a_crash_at_any_step_loses_nothing_and_publishes_nothing_unsynced(
    tmp_path: Path, count: int, first: int, stride: int
) -> None:
    """A fast run takes every fourth step, the slow one every step."""
    batches = leaves_of(COUNTS)
    roots = roots_of(batches)
    steps = crashed(tmp_path / "whole", -1, count).steps
    whole = tree_of(tmp_path / "whole" / "log")
    assert steps > 40
    for at in range(first, steps + 1, stride):
        directory = tmp_path / str(at)
        disk = crashed(directory, at, count)
        least = tmp_path / f"{at}-cut"
        least.mkdir()
        disk.cut(directory / "log", least / "log")
        for left in directory.glob("store.sqlite*"):
            shutil.copy(left, least)
        for place in (directory, least):
            assert readable(place / "log" / "0") in {-1, *(size for _, size, _ in roots)}
            run = Run(place, batches)
            recorded = [row[1:4] for row in run.store.checkpoints()]
            assert recorded == roots[: len(recorded)]
            assert readable(place / "log" / "0") == (recorded[-1][1] if recorded else -1), (
                "announced at the start"
            )
            run.step(len(recorded) or count)
            while run.done < len(COUNTS):
                run.step(count)
            run.store.close()
            for shard, size, root in roots:
                assert PublishedLog(place / "log" / "0").at(Checkpoint(f"{ORIGIN}/{shard}", size, root))
            left = tree_of(place / "log")
            assert {name: data for name, data in left.items() if name in whole} == whole
            assert all(".p/" in name or "/.new/" in name for name in left.keys() - whole.keys())
        shutil.rmtree(directory)
        shutil.rmtree(least)
