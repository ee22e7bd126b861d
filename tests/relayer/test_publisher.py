"""Publishing and starting again: what was signed binds, and what is on the disk must still lead to it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.keypair import Keypair

from engine.common.errors import LogDamaged, LogSplit, UsageError
from relayer.core import note
from relayer.core.checkpoint import Checkpoint, encode_text
from relayer.core.rfc9162 import hash_leaf
from relayer.core.shards import Shards, place_of
from relayer.core.tiles import grown
from relayer.published import PublishedLog, shards_in
from relayer.publisher import Publisher
from relayer.signer.keyfile import KeyfileSigner
from relayer.store import Store
from tests.relayer.publishing import ORIGIN, SIGNER, Run, leaves_of, roots_of, tree_of

COUNTS = [3, 0, 250, 10, 600, 1]
KEY = note.verifier_key(f"{ORIGIN}/0", SIGNER)


@pytest.fixture(scope="module", autouse=True)
def unsynced() -> Iterator[None]:
    """What is synced when is for `test_published_crash`; here it only takes time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def test_every_batch_has_a_signed_checkpoint_in_record_and_folder(tmp_path: Path) -> None:
    batches = leaves_of(COUNTS)
    run = Run(tmp_path, batches)
    for number, (shard, size, root) in enumerate(roots_of(batches), 1):
        run.step()
        newest = list(run.store.checkpoints())[-1]
        assert newest[:4] == (number, shard, size, root)
        assert note.read_checkpoint(newest.note, KEY) == Checkpoint(f"{ORIGIN}/0", size, root)
        assert PublishedLog(tmp_path / "log" / "0").note() == newest.note
    assert (tmp_path / "log" / "0" / "verifier-key").read_text() == f"{KEY}\n"


@settings(max_examples=12)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=8), st.data())
def test_stopped_and_started_anywhere_the_same_folder(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], data: st.DataObject
) -> None:
    batches, directory = leaves_of(counts), tmp_path_factory.mktemp("run")
    Run(directory / "whole", batches).finish()
    while True:
        run = Run(directory / "parts", batches)
        assert run.log.size == sum(counts[: run.done])
        assert (
            run.log.log.root()
            == ([roots_of(batches)[run.done - 1][2]] if run.done else [run.log.log.root(0)])[0]
        )
        run.step(data.draw(st.integers(1, len(counts) - run.done)))
        if data.draw(st.booleans()):
            run.settle()
        if run.done == len(counts):
            break
        run.store.close()
    assert [s[:4] for s in run.store.checkpoints()] == [
        (k, *row) for k, row in enumerate(roots_of(batches), 1)
    ]
    whole, parts = (tree_of(directory / name / "log") for name in ("whole", "parts"))
    partial_of_full = {name for name in whole.keys() - parts.keys() if ".p/" in name}
    assert {name: data for name, data in whole.items() if name not in partial_of_full} == parts


def test_behind_the_resume_point_nothing_is_written_twice(tmp_path: Path) -> None:
    batches = leaves_of(COUNTS)
    run = Run(tmp_path, batches)
    run.step(3)
    run.settle()
    run.step(2)
    run.store.close()
    before = tree_of(tmp_path / "log")
    run = Run(tmp_path, batches)
    assert (run.done, run.log.size) == (3, 253)
    run.step()
    run.step()
    assert tree_of(tmp_path / "log") == before
    run.step()
    assert run.log.log.root() == roots_of(batches)[-1][2]


def published(directory: Path) -> list[np.ndarray]:
    batches = leaves_of(COUNTS)
    run = Run(directory, batches)
    run.finish()
    run.store.close()
    return batches


def test_every_file_that_was_signed_must_be_there_to_the_last_bit(tmp_path: Path) -> None:
    batches = published(tmp_path)
    folder = tmp_path / "log" / "0"
    needed = {t.path for s in (863, 864) for t in grown(0, s)} | {"tile/1/000.p/1"}  # of 263 leaves
    assert {name for name in tree_of(folder) if name.startswith("tile")} == needed
    for name in sorted(needed):
        path, data = folder / name, (folder / name).read_bytes()
        spots = sorted({0, 1, len(data) // 2, len(data) - 1})
        wrong = [data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :] for at in spots]
        for changed in [*wrong, data[:-1], b"", data + b"\0", None]:
            path.unlink() if changed is None else path.write_bytes(changed)
            with pytest.raises(LogDamaged, match=rf"log {ORIGIN}/0.*tile/") as caught:
                Run(tmp_path, batches)
            assert caught.value.context["path"], "the file is named"
        path.write_bytes(data)
    Run(tmp_path, batches).finish()


def test_no_single_bit_of_a_small_log_can_change(tmp_path: Path) -> None:
    batches = leaves_of([2])
    run = Run(tmp_path, batches)
    run.finish()
    folder = tmp_path / "log" / "0"
    for name in ("tile/0/000.p/2", "tile/entries/000.p/2", "checkpoint"):
        data = (folder / name).read_bytes()
        for at in range(0, 8 * len(data), 3 if name == "checkpoint" else 11):
            changed = bytearray(data)
            changed[at >> 3] ^= 1 << (at & 7)
            (folder / name).write_bytes(changed)
            with pytest.raises(LogDamaged):
                Publisher(tmp_path / "log", SIGNER, ORIGIN).begin(run.store)
        (folder / name).write_bytes(data)


def test_files_that_agree_with_one_another_and_not_with_what_was_signed(tmp_path: Path) -> None:
    """An entry and its hash changed alike, in every file that has them."""
    batches = leaves_of([2, 3])
    Run(tmp_path, batches).finish()
    for size in (2, 5):
        entries = tmp_path / "log" / "0" / f"tile/entries/000.p/{size}"
        tile = tmp_path / "log" / "0" / f"tile/0/000.p/{size}"
        forged = bytearray(entries.read_bytes())
        forged[3] ^= 1
        entries.write_bytes(forged)
        tile.write_bytes(hash_leaf(bytes(forged[2:114])) + tile.read_bytes()[32:])
    with pytest.raises(
        LogDamaged, match=r"log .* at size 5: tile: not the root that was signed at size [25]"
    ):
        Run(tmp_path, batches)


def test_a_start_finishes_what_a_crash_left_undone(tmp_path: Path) -> None:
    """Partial forms of what is full, and files in the making."""
    batches = published(tmp_path)
    before = tree_of(tmp_path / "log")
    folder = tmp_path / "log" / "0"
    for stale in (folder / "tile" / "0" / "000.p", folder / "tile" / "entries" / "002.p", folder / ".new"):
        stale.mkdir(exist_ok=True)
        (stale / "7").write_bytes(b"left")
    Run(tmp_path, batches)
    assert tree_of(tmp_path / "log") == before


def test_a_record_that_goes_on_behind_what_is_published_is_refused(tmp_path: Path) -> None:
    batches = leaves_of(COUNTS)
    run = Run(tmp_path, batches)
    run.step(4)
    run.settle()
    with run.store.transaction():
        run.store._db.execute("DELETE FROM checkpoint")
    run.store.close()
    shutil.rmtree(tmp_path / "log")
    with pytest.raises(LogDamaged, match="0 leaves are published, the relayer's record goes on behind 263"):
        Run(tmp_path, batches)


def test_a_checkpoint_file_that_is_gone_is_made_from_the_record(tmp_path: Path) -> None:
    batches = published(tmp_path)
    before = tree_of(tmp_path / "log")
    (tmp_path / "log" / "0" / "checkpoint").unlink()
    Run(tmp_path, batches)
    assert tree_of(tmp_path / "log") == before


def test_without_its_record_the_folder_binds_all_the_same(tmp_path: Path) -> None:
    batches = published(tmp_path)
    before = tree_of(tmp_path / "log")
    (tmp_path / "store.sqlite").unlink()
    Run(tmp_path, batches).finish()
    assert tree_of(tmp_path / "log") == before
    (tmp_path / "store.sqlite").unlink()
    other = Run(tmp_path, [*batches[:3], *leaves_of(COUNTS[3:], seed=1)])
    other.step(3)
    with pytest.raises(LogSplit, match=f"log {ORIGIN}/0: checkpoint of 263 leaves: another root was signed"):
        other.step()
    (tmp_path / "store.sqlite").unlink()
    with pytest.raises(LogSplit, match="checkpoint of 1000 leaves: it does not extend that of 864"):
        Run(tmp_path, leaves_of([1000], seed=1)).step()
    assert tree_of(tmp_path / "log") == before


def test_without_the_folder_the_record_is_refused(tmp_path: Path) -> None:
    batches = published(tmp_path)
    shutil.rmtree(tmp_path / "log")
    with pytest.raises(LogDamaged, match=rf"log {ORIGIN}/0 at size 864: tile/entries/000: .*missing"):
        Run(tmp_path, batches)


def test_another_journal_than_the_signed_one_is_refused(tmp_path: Path) -> None:
    batches = leaves_of(COUNTS)
    Run(tmp_path, batches).step(4)
    other = Run(tmp_path, leaves_of(COUNTS, seed=1))
    with pytest.raises(LogSplit):
        other.step(4)


def test_two_roots_of_one_size_are_a_split_view(tmp_path: Path) -> None:
    batches = published(tmp_path)
    root = bytes(range(32))
    lie = note.sign(encode_text(Checkpoint(f"{ORIGIN}/0", 864, root)), f"{ORIGIN}/0", SIGNER)
    (tmp_path / "log" / "0" / "checkpoint").write_bytes(lie)
    with pytest.raises(LogSplit, match="checkpoint of 864 leaves: it was signed with two roots"):
        Run(tmp_path, batches)


def test_a_key_that_signed_none_of_it_is_refused(tmp_path: Path) -> None:
    published(tmp_path)
    other = KeyfileSigner(Keypair.from_seed(bytes([4] * 32)))
    store = Store(tmp_path / "store.sqlite")
    for signer, origin in ((other, ORIGIN), (SIGNER, "another.example")):
        with pytest.raises(LogDamaged, match=f"log {origin}/0: checkpoint: .* no signature by"):
            Publisher(tmp_path / "log", signer, origin).begin(store)


def test_a_batch_that_does_not_fit_begins_the_next_shard(tmp_path: Path) -> None:
    """Shards of 700: the third batch would end at 750."""
    counts = [300, 300, 150, 0, 550, 1, 700]
    batches = leaves_of(counts)
    places = [(shard, size) for shard, size, _ in roots_of(batches, 700)]
    assert places == [(0, 300), (0, 600), (1, 150), (1, 150), (1, 700), (2, 1), (3, 700)]
    log = Shards(shard_leaves=700)
    for leaves, (shard, size) in zip(batches, places, strict=True):
        log.append(leaves)
        assert log.size == 700 * shard + size
        assert place_of(log.size, 700) == (shard, size)
    with pytest.raises(UsageError, match="do not fit"):
        log.append(np.zeros((701, 112), np.uint8))
    assert log.size == 2800
    for stop in (0, 2, 3, 5, 6, 7):
        directory = tmp_path / str(stop)
        run = Run(directory, batches, 700)
        if stop:
            run.step(stop)
        if stop % 2:
            run.settle()
        run.store.close()
        run = Run(directory, batches, 700)
        run.finish()
        assert [s[1:4] for s in run.store.checkpoints()] == roots_of(batches, 700)
        assert shards_in(directory / "log") == [0, 1, 2, 3]
        for shard, size, root in roots_of(batches, 700):
            tiles = PublishedLog(directory / "log" / str(shard)).at(
                Checkpoint(f"{ORIGIN}/{shard}", size, root)
            )
            assert not size or tiles.entry(size - 1)
        run.store.close()


def test_places_of_sizes() -> None:
    assert [place_of(size, 4) for size in (0, 1, 4, 5, 8, 9)] == [
        (0, 0),
        (0, 1),
        (0, 4),
        (1, 1),
        (1, 4),
        (2, 1),
    ]
    assert place_of((3 << 26) + 1) == (3, 1)
    with pytest.raises(UsageError):
        place_of(-1)


def test_a_tail_that_does_not_lead_on_is_refused() -> None:
    with pytest.raises(UsageError, match="do not lead on"):
        Shards(tail=np.zeros((1, 112), np.uint8))
