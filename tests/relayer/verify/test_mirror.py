"""The audit mirror: the published log in pymerkle's own trees, caught up after any stop, compared at checkpoints."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pymerkle
import pytest

from engine.app.cli import ROOT, execute
from engine.common.errors import LogDamaged, MirrorDiffers, StoreError
from relayer.core import note
from relayer.core.checkpoint import Checkpoint, encode_text
from relayer.core.tiles import ENTRIES, tile_at
from relayer.publisher import LOG, Publisher
from relayer.store import Store
from relayer.verify import mirror as module
from relayer.verify.mirror import Mirror
from tests.patience import crowd
from tests.relayer.core.fills import SIGNER
from tests.relayer.published_fills import ORIGIN, fills


class Publishing:
    """A log that grows by batches."""

    def __init__(self, data_dir: Path, shard_leaves: int = 1024) -> None:
        self.log = data_dir / "relayer" / LOG
        self._store = Store(data_dir / "relayer" / "store.sqlite")
        self._publisher = Publisher(self.log, SIGNER, ORIGIN, shard_leaves=shard_leaves)
        self._shards = self._publisher.begin(self._store)
        self._batch = self._seq = 0

    def grow(self, *counts: int) -> None:
        """A batch of each of these sizes."""
        for count in counts:
            self._batch += 1
            leaves = fills(count, self._seq + 1)
            self._seq += count
            signed = self._publisher.write([(self._batch, self._shards.append(leaves))])
            with self._store.transaction():
                self._store.add_checkpoints(signed)
            self._publisher.announce(signed)


@pytest.fixture
def published(tmp_path: Path) -> Publishing:
    return Publishing(tmp_path)


@pytest.fixture
def mirror(tmp_path: Path, published: Publishing) -> Iterator[Mirror]:
    made = Mirror(tmp_path / "mirror", published.log)
    yield made
    made.close()


def catch_up(mirror: Mirror) -> dict[int, int]:
    """Sizes that were compared, by shard."""
    while mirror.turn():
        pass
    return {shard: checkpoint.size for shard, checkpoint in mirror.compared().items()}


def test_it_holds_every_leaf_and_agrees_at_every_checkpoint(
    tmp_path: Path, published: Publishing, mirror: Mirror
) -> None:
    assert catch_up(mirror) == {}
    (published.log / "0").mkdir(parents=True, exist_ok=True)
    assert catch_up(mirror) == {}, "a shard without a checkpoint says nothing yet"
    for counts, sizes in (([1], {0: 1}), ([299, 0], {0: 300}), ([700, 200], {0: 1000, 1: 200})):
        published.grow(*counts)
        assert catch_up(mirror) == sizes
    tree = pymerkle.SqliteTree(str(tmp_path / "mirror" / "0.sqlite"))
    leaves = np.concatenate((fills(1), fills(299, 2), fills(700, 301)))
    assert [tree.get_entry(k) for k in (1, 2, 1000)] == [leaves[k].tobytes() for k in (0, 1, 999)]
    tree.close()


def test_it_goes_on_where_it_stopped(
    tmp_path: Path, published: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUNDLES_AT_ONCE", 1)
    published.grow(900)
    first = Mirror(tmp_path / "mirror", published.log)
    assert first.turn(), "some of it"
    assert first.compared() == {}
    first.close()
    published.grow(30)
    second = Mirror(tmp_path / "mirror", published.log)
    assert catch_up(second) == {0: 930}
    second.close()


def test_two_do_not_keep_one_mirror(tmp_path: Path, published: Publishing, mirror: Mirror) -> None:
    with pytest.raises(StoreError, match="another process"):
        Mirror(tmp_path / "mirror", published.log)


def test_a_root_that_differs_is_told_by_name(published: Publishing, mirror: Mirror) -> None:
    published.grow(300)
    catch_up(mirror)
    published.grow(1)
    origin = f"{ORIGIN}/0"
    forged = note.sign(encode_text(Checkpoint(origin, 301, bytes(32))), origin, SIGNER)
    (published.log / "0" / "checkpoint").write_bytes(forged)
    with pytest.raises(MirrorDiffers, match=f"log {origin} at 301 leaves: the signed root is {'00' * 32}"):
        catch_up(mirror)


def test_leaves_that_were_changed_after_they_were_published_are_found(
    tmp_path: Path, published: Publishing
) -> None:
    published.grow(300)
    bundle = published.log / "0" / tile_at(ENTRIES, 0, 300).path
    data = bytearray(bundle.read_bytes())
    data[1000] ^= 1
    bundle.write_bytes(data)
    late = Mirror(tmp_path / "late", published.log)
    with pytest.raises(MirrorDiffers, match="at 300 leaves"):
        catch_up(late)
    late.close()


def test_a_log_put_back_from_an_older_copy_is_found(
    tmp_path: Path, published: Publishing, mirror: Mirror
) -> None:
    published.grow(300)
    shutil.copytree(published.log, tmp_path / "older")
    published.grow(5)
    assert catch_up(mirror) == {0: 305}
    shutil.rmtree(published.log)
    shutil.copytree(tmp_path / "older", published.log)
    with pytest.raises(MirrorDiffers, match="the mirror holds 305"):
        catch_up(mirror)


def test_what_is_missing_or_no_mirror_is_named(tmp_path: Path, published: Publishing) -> None:
    published.grow(300)
    (published.log / "0" / tile_at(ENTRIES, 0, 300).path).unlink()
    made = Mirror(tmp_path / "mirror", published.log)
    with pytest.raises(LogDamaged):
        made.turn()
    made.close()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "0.sqlite").write_bytes(b"x" * 4096)
    made = Mirror(tmp_path / "other", published.log)
    with pytest.raises(StoreError, match=r"0\.sqlite"):
        made.turn()
    made.close()


def test_the_command_compares_once(
    tmp_path: Path, published: Publishing, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "nice", lambda _: 0)
    published.grow(300)
    place = ["--data-dir", str(tmp_path), "--set", f"relayer.mirror={tmp_path / 'mirror'}"]
    assert execute(["mirror", "--once", *place]) == 0
    assert "shard 0: 300 leaves, root " in capsys.readouterr().out
    assert execute(["mirror", "--once", "--data-dir", str(tmp_path)]) == 2
    assert "relayer.mirror=DIRECTORY" in capsys.readouterr().err
    (published.log / "0" / "checkpoint").write_bytes(b"nonsense\n")
    assert execute(["mirror", "--once", *place]) == 5


def test_the_process_follows_and_ends_when_told(tmp_path: Path, published: Publishing) -> None:
    published.grow(3)
    place = ["--data-dir", str(tmp_path), "--set", f"relayer.mirror={tmp_path / 'mirror'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.app", "mirror", *place, "--set", "relayer.mirror_ms=10"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until(lambda: size(tmp_path) == 3, process)
        published.grow(300)
        until(lambda: size(tmp_path) == 303, process)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=10 * crowd()) == (None, "")
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


def size(data_dir: Path) -> int:
    """Leaves in the mirror of the first shard."""
    path = data_dir / "mirror" / "0.sqlite"
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        try:
            return int(db.execute("SELECT count(*) FROM leaf").fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # its table is being made


def until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline_s = time.monotonic() + 20 * crowd()
    while not holds():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
