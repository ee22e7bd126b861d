"""The published folder: what is in it at every size, what others read from it, and that no bit of it can change."""

from __future__ import annotations

import errno
import functools
import http.server
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.keypair import Keypair

from engine.common.errors import GodarkError, LogDamaged, LogSplit, StoreError, StoreFull, UsageError
from relayer import published
from relayer.core import note
from relayer.core.checkpoint import Checkpoint, encode_text
from relayer.core.log import MerkleLog
from relayer.core.proofs import consistency_proof, inclusion_proof, verify_inclusion
from relayer.core.rfc9162 import hash_leaf
from relayer.core.tile_log import TileLog
from relayer.core.tiles import CHECKPOINT, grown
from relayer.published import Growth, LogFolder, PublishedLog, shards_in
from relayer.signer.keyfile import KeyfileSigner

ORIGIN = "godark.example/log/0"
SIGNER = KeyfileSigner(Keypair.from_seed(bytes([3] * 32)))
KEY = note.verifier_key(ORIGIN, SIGNER)
WIDTH = 112


@pytest.fixture(scope="module", autouse=True)
def unsynced() -> Iterator[None]:
    """What is synced when is for `test_published_crash`; here it only takes time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def leaves_of(count: int) -> np.ndarray:
    return np.random.default_rng(11).integers(0, 256, (count, WIDTH), dtype=np.uint8)


def growths_of(sizes: Iterable[int], leaves: np.ndarray) -> list[Growth]:
    """A log that grew through these sizes. All growths share the log, which never changes what is complete."""
    log, out = MerkleLog(), []
    for after in sizes:
        before = log.size
        log.append(leaves[before:after])
        out.append(Growth(0, before, after, log, leaves[before // 256 * 256 : after]))
    return out


def checkpoint_of(log: MerkleLog, size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, log.root(size))


def signed(checkpoint: Checkpoint) -> bytes:
    return note.sign(encode_text(checkpoint), ORIGIN, SIGNER)


def publish(directory: Path, growths: list[Growth]) -> PublishedLog:
    """Each growth as a batch of its own."""
    folder = LogFolder(directory)
    for growth in growths:
        folder.write([growth])
        folder.publish(signed(checkpoint_of(growth.log, growth.after)))
        folder.tidy([growth])
    return PublishedLog(directory)


def files_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@settings(max_examples=15)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=7))
def test_readers_of_any_checkpoint_find_what_they_need(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int]
) -> None:
    sizes = np.cumsum(steps).tolist()
    leaves = leaves_of(sizes[-1])
    growths = growths_of(sizes, leaves)
    log, directory = growths[-1].log, tmp_path_factory.mktemp("log")
    reader = publish(directory, growths)
    assert note.read_checkpoint(reader.note(), KEY) == checkpoint_of(log, sizes[-1])
    full = {tile.path for tile in grown(0, sizes[-1]) if tile.full == tile}
    edge = {t.path for s in sizes for t in grown(0, s) if t.full != t and t.full.path not in full}
    assert files_in(directory) == full | edge | {CHECKPOINT}, "and nothing that is not called for"
    for size in sizes:
        tiles = reader.at(checkpoint_of(log, size))
        assert tiles.root() == log.root(size)
        for index in {0, size // 3, size - 1} & set(range(size)):
            assert tiles.inclusion(index) == inclusion_proof(log, index, size)
            assert tiles.entry(index) == leaves[index].tobytes()
        for before in [s for s in sizes if s <= size]:
            proof = consistency_proof(log, before, size) if before else []
            assert tiles.consistency(checkpoint_of(log, before)) == proof


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000, 66_000])
def test_proofs_from_tiles_are_those_of_the_log_and_of_pymerkle(tmp_path: Path, size: int) -> None:
    leaves = leaves_of(size)
    growths = growths_of([size], leaves)
    tiles = publish(tmp_path, growths).at(checkpoint_of(growths[0].log, size))
    theirs = pymerkle.InmemoryTree(algorithm="sha256")
    few = size if size <= 1000 else 600
    for leaf in leaves[:few]:
        theirs.append_entry(leaf.tobytes())
    indices = sorted({0, 1, 200, 255, 256, 300, few - 1, size - 2, size - 1} & set(range(size)))
    for index in indices:
        proof = tiles.inclusion(index)
        assert proof == inclusion_proof(growths[0].log, index, size)
        verify_inclusion(hash_leaf(leaves[index].tobytes()), index, size, proof, tiles.root())
        if few == size:
            assert [hash_leaf(leaves[index].tobytes()), *proof] == theirs.prove_inclusion(index + 1).path
    assert tiles.root(few) == theirs.get_root(few)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checkpoint, Checkpoint]:
    """A log of 261 leaves in three batches, its first checkpoint and its last."""
    directory = tmp_path_factory.mktemp("small")
    growths = growths_of([3, 258, 261], leaves_of(261))
    publish(directory, growths)
    return directory, checkpoint_of(growths[0].log, 3), checkpoint_of(growths[0].log, 261)


def read_all(fetch: published.Fetch, first: Checkpoint) -> None:
    """All that a reader looks at who has the first checkpoint, and the key."""
    newest = note.read_checkpoint(fetch(CHECKPOINT), KEY)
    tiles = TileLog(newest, fetch)
    tiles.consistency(first)
    for index in range(tiles.size):
        assert hash_leaf(tiles.entry(index)) == tiles.leaf_hash(index)
        if index % 32 == 0:
            tiles.inclusion(index)


def test_a_reader_looks_at_every_file(small: tuple[Path, Checkpoint, Checkpoint]) -> None:
    directory, first, last = small
    asked: set[str] = set()

    def fetch(path: str) -> bytes:
        asked.add(path)
        return PublishedLog(directory).fetch(path)

    read_all(fetch, first)
    assert asked == {t.path for t in grown(0, last.size)} | {CHECKPOINT}


def refused(directory: Path, first: Checkpoint, path: str, wrong: bytes | None) -> None:
    """Whoever finds this in the place of one file does not believe it. None: it is missing."""

    def fetch(asked: str) -> bytes:
        if asked != path:
            return PublishedLog(directory).fetch(asked)
        if wrong is None:
            raise FileNotFoundError(asked)
        return wrong

    missing = wrong is None and path == CHECKPOINT
    with pytest.raises(FileNotFoundError if missing else GodarkError):
        read_all(fetch, first)


def test_no_single_bit_of_a_log_can_change(tmp_path: Path) -> None:
    growths = growths_of([1, 3], leaves_of(3))
    reader, first = publish(tmp_path, growths), checkpoint_of(growths[0].log, 1)
    read_all(reader.fetch, first)
    for path in [*(tile.path for tile in grown(0, 3)), CHECKPOINT]:
        data = reader.fetch(path)
        for at in range(8 * len(data)):
            changed = bytearray(data)
            changed[at >> 3] ^= 1 << (at & 7)
            refused(tmp_path, first, path, bytes(changed))


def test_no_file_can_be_changed_cut_or_missing(small: tuple[Path, Checkpoint, Checkpoint]) -> None:
    directory, first, last = small
    for path in [*(tile.path for tile in grown(0, last.size)), CHECKPOINT]:
        data = PublishedLog(directory).fetch(path)
        spots = {0, 1, 2, len(data) // 3, len(data) - 1}
        changed = [data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in spots]
        for wrong in [*changed, data[:-1], data[: len(data) // 2], b"", data + b"\0", None]:
            refused(directory, first, path, wrong)


def test_damage_names_the_log_and_the_file(
    small: tuple[Path, Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    directory, _, last = small
    tiles = PublishedLog(tmp_path)
    with pytest.raises(LogDamaged, match=rf"{ORIGIN}: tile/1/000\.p/1: missing"):
        tiles.at(last)
    with pytest.raises(LogDamaged, match="nothing was published"):
        tiles.note()
    (tmp_path / CHECKPOINT).mkdir()
    with pytest.raises(LogDamaged, match=CHECKPOINT):
        tiles.note()
    with pytest.raises(LogDamaged, match="not the root that was signed at size 261"):
        PublishedLog(directory).at(Checkpoint(ORIGIN, 261, bytes(32)))


def test_a_tile_that_the_root_does_not_come_from_is_judged_where_it_is_used(
    small: tuple[Path, Checkpoint, Checkpoint],
) -> None:
    """The root of 261 leaves comes from tile 1/000: of a changed tile 0/000 only a proof can tell."""
    directory, first, last = small

    def fetch(path: str) -> bytes:
        data = PublishedLog(directory).fetch(path)
        return data[:33] + bytes([data[33] ^ 1]) + data[34:] if path == "tile/0/000" else data

    tiles = TileLog(last, fetch)
    with pytest.raises(LogDamaged, match="leaf 0 at size 261"):
        tiles.inclusion(0)
    with pytest.raises(LogDamaged, match="from size 3 to 261"):
        tiles.consistency(first)
    assert tiles.inclusion(260)


@pytest.mark.parametrize("size", [2, 3, 256, 261])
def test_a_split_view_is_told_by_name(small: tuple[Path, Checkpoint, Checkpoint], size: int) -> None:
    directory, _, last = small
    tiles = PublishedLog(directory).at(last)
    with pytest.raises(LogSplit, match=f"size 261 does not extend what was signed at size {size}"):
        tiles.consistency(Checkpoint(ORIGIN, size, bytes(range(32))))
    tiles.consistency(Checkpoint(ORIGIN, size, tiles.root(size)))
    for other in (Checkpoint("other.example", 2, bytes(32)), Checkpoint(ORIGIN, 262, bytes(32))):
        with pytest.raises(UsageError):
            tiles.consistency(other)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Python's own file server, silent."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(small: tuple[Path, Checkpoint, Checkpoint]) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(small[0]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


def test_any_web_server_will_do(small: tuple[Path, Checkpoint, Checkpoint], served: str) -> None:
    def fetch(path: str) -> bytes:
        try:
            with urllib.request.urlopen(f"{served}/{path}", timeout=10) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            assert error.code == 404
            raise FileNotFoundError(path) from error

    read_all(fetch, small[1])


def test_shards_are_folders_with_a_number(tmp_path: Path) -> None:
    assert shards_in(tmp_path / "none") == []
    for name in ("0", "10", "2", "x", "01", "-1", ".new"):
        (tmp_path / name).mkdir()
    (tmp_path / "3").touch()
    assert shards_in(tmp_path) == [0, 2, 10]


def test_several_batches_at_once_leave_no_partial_form_of_what_is_full(tmp_path: Path) -> None:
    growths = growths_of([100, 300, 300, 520], leaves_of(520))
    folder = LogFolder(tmp_path)
    written = folder.write(growths)
    folder.publish(signed(checkpoint_of(growths[0].log, 520)))
    folder.tidy(growths)
    full = {"tile/0/000", "tile/0/001", "tile/entries/000", "tile/entries/001"}
    partial = {"tile/0/002.p/8", "tile/entries/002.p/8", "tile/1/000.p/1", "tile/1/000.p/2"}
    assert files_in(tmp_path) == full | partial | {CHECKPOINT}
    assert written == len(full | partial)
    for size in (100, 300):
        assert PublishedLog(tmp_path).at(checkpoint_of(growths[0].log, size)).size == size


def test_more_files_than_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "FILES_AT_ONCE", 3)
    growths = growths_of([2000], leaves_of(2000))
    assert LogFolder(tmp_path).write(growths) == 17
    assert PublishedLog(tmp_path).at(checkpoint_of(growths[0].log, 2000)).entry(1999)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, StoreFull), (errno.EIO, StoreError)])
@pytest.mark.parametrize("call", ["write", "fsync", "rename", "mkdir"])
def test_a_disk_that_fails_is_told_by_name_and_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[StoreError], call: str
) -> None:
    growths = growths_of([300], leaves_of(300))
    folder = LogFolder(tmp_path)
    open_before = len(os.listdir("/proc/self/fd"))

    def fail(*_: object) -> None:
        raise OSError(number, "injected")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(kind, match="the published log cannot be written: injected"):
        folder.write(growths)
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == open_before
    publish(tmp_path, growths)
    assert not list((tmp_path / published.NEW).iterdir())
