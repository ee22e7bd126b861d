"""What `verify` finds in a published log: nothing in an honest one, and everything that was done to another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from relayer.core import note
from relayer.core.checkpoint import Checkpoint, encode_text
from relayer.core.payload import Commit
from relayer.core.tiles import grown
from relayer.signer.keyfile import KeyfileSigner
from relayer.store import Signed, Store
from relayer.verify.batches import PlainBatch
from relayer.verify.published import published_differences
from tests.relayer.publishing import ORIGIN, SIGNER, Run, leaves_of, roots_of

COUNTS = [3, 0, 250, 10, 600, 1]
SHARD_LEAVES = 800
OTHER = KeyfileSigner(Keypair.from_seed(bytes([8] * 32)))


@pytest.fixture(scope="module", autouse=True)
def unsynced() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards, published by the relayer's own code; the record is closed."""
    directory = tmp_path_factory.mktemp("honest") / "relayer"
    run = Run(directory, leaves_of(COUNTS), SHARD_LEAVES)
    run.finish()
    run.store.close()
    return directory


@pytest.fixture
def copy(honest: Path, tmp_path: Path) -> Path:
    return shutil.copytree(honest, tmp_path / "relayer")


def recomputed() -> list[PlainBatch]:
    """Batches with what the journal would give."""
    return [
        PlainBatch(Commit(n, n, n, 0, SHARD_LEAVES * shard + size, root, 0, 0, bytes(32)), {}, {})
        for n, (shard, size, root) in enumerate(roots_of(leaves_of(COUNTS), SHARD_LEAVES), 1)
    ]


def found(directory: Path, needed: int = len(COUNTS)) -> list[str]:
    return published_differences(directory, ORIGIN, recomputed(), needed, SHARD_LEAVES)


def test_an_honest_log_has_nothing_against_it(honest: Path) -> None:
    assert found(honest) == []
    assert published_differences(honest, ORIGIN, recomputed()[:4], 4, SHARD_LEAVES) == [], (
        "a relayer that runs on"
    )


def test_it_is_read_while_the_relayer_writes(tmp_path: Path) -> None:
    run = Run(tmp_path / "relayer", leaves_of(COUNTS), SHARD_LEAVES)
    for done in range(1, len(COUNTS) + 1):
        run.step(
            1, lambda done=done: None if found(tmp_path / "relayer", done - 1) == [] else pytest.fail("found")
        )  # type: ignore[misc]
        assert found(tmp_path / "relayer", done) == []


def test_what_is_on_chain_must_be_published(copy: Path, tmp_path: Path) -> None:
    assert found(copy, 7) == ["batch 7 is on chain, checkpoints are recorded up to batch 6"]
    assert found(tmp_path / "nowhere") == ["batch 6 is on chain, checkpoints are recorded up to batch 0"]
    assert found(tmp_path / "nowhere", 0) == []


@pytest.mark.parametrize(
    "change", [lambda data: data[:-2], lambda data: bytes([data[0] ^ 1]) + data[1:], None]
)
def test_every_file_is_looked_at(copy: Path, change: Callable[[bytes], bytes] | None) -> None:
    names = [f"{shard}/{tile.path}" for shard, size in ((0, 263), (1, 601)) for tile in grown(0, size)]
    for name in [*names, "0/checkpoint", "1/checkpoint", "0/verifier-key"]:
        path = copy / "log" / name
        data = path.read_bytes()
        path.unlink() if change is None else path.write_bytes(change(data))
        assert found(copy), name
        path.write_bytes(data)
    assert found(copy) == []


def signed(shard: int, size: int, root: bytes, signer: KeyfileSigner = SIGNER) -> bytes:
    origin = f"{ORIGIN}/{shard}"
    return note.sign(encode_text(Checkpoint(origin, size, root)), origin, signer)


def rewrite(directory: Path, batch: int, change: Callable[[Signed], Signed]) -> None:
    """Another row in the record."""
    store = Store(directory / "store.sqlite")
    row = next(row for row in store.checkpoints() if row.batch == batch)
    new = change(row)
    with store.transaction():
        store._db.execute("DELETE FROM checkpoint WHERE batch=?", (batch,))
        store.add_checkpoints([new])
    store.close()


ROOT = bytes(range(32))
OTHER_ROOT = signed(0, 253, ROOT)
LIES: list[tuple[str, int, Callable[[Signed], Signed]]] = [
    (
        "batch 3: signed was size 253 of shard 0, not what",
        3,
        lambda row: row._replace(root=ROOT, note=OTHER_ROOT),
    ),
    ("does not extend what was signed at size 253", 3, lambda row: row._replace(root=ROOT, note=OTHER_ROOT)),
    ("batch 3: another checkpoint is recorded", 3, lambda row: row._replace(note=signed(0, 3, row.root))),
    ("split view: log godark.example/log/0 signed two", 3, lambda row: row._replace(note=signed(0, 3, ROOT))),
    ("does not verify", 3, lambda row: row._replace(note=row.note[:-20] + b"AAAA" + row.note[-16:])),
    ("no signature by", 3, lambda row: row._replace(note=signed(0, 253, row.root, OTHER))),
    ("no signature by", 5, lambda row: row._replace(note=signed(0, 600, row.root))),
    ("not one checkpoint for each batch", 3, lambda row: row._replace(batch=9)),
]


@pytest.mark.parametrize(("reason", "batch", "change"), LIES, ids=[f"{k}" for k in range(len(LIES))])
def test_a_record_that_lies(copy: Path, reason: str, batch: int, change: Callable[[Signed], Signed]) -> None:
    rewrite(copy, batch, change)
    assert any(reason in told for told in found(copy)), found(copy)


def test_tiles_that_no_checkpoint_s_root_comes_from_are_looked_at(tmp_path: Path) -> None:
    """The root of 66,000 leaves comes from tiles 2/000, 1/001 and 0/257."""
    run = Run(tmp_path / "relayer", leaves_of([66_000]))
    run.finish()
    run.store.close()
    assert published_differences(tmp_path / "relayer", ORIGIN, [], 1) == []
    for name in ("tile/1/000", "tile/0/000", "tile/entries/256"):
        path = tmp_path / "relayer" / "log" / "0" / name
        data = path.read_bytes()
        path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
        (told,) = published_differences(tmp_path / "relayer", ORIGIN, [], 1)
        assert name.replace("entries/256", "0/256") in told
        path.write_bytes(data)


def test_a_folder_that_shows_another_view(copy: Path) -> None:
    (copy / "log" / "1" / "checkpoint").write_bytes(signed(1, 601, ROOT))
    assert found(copy)[0].startswith(f"split view: log {ORIGIN}/1 signed two roots at size 601 (the folder)")


def test_a_folder_that_stays_behind(copy: Path) -> None:
    newest = copy / "log" / "1" / "checkpoint"
    newest.write_bytes(signed(1, 600, roots_of(leaves_of(COUNTS), SHARD_LEAVES)[4][2]))
    assert found(copy) == [
        f"log {ORIGIN}/1: the folder shows no checkpoint of 601 leaves, which are on chain"
    ]
    assert found(copy, 5) == []
    newest.unlink()
    assert len(found(copy, 5)) == 1


def test_shards_of_two_keys(copy: Path) -> None:
    (copy / "log" / "1" / "verifier-key").write_text(note.verifier_key(f"{ORIGIN}/1", OTHER) + "\n")
    assert "shards are signed by more than one key" in found(copy)


def test_a_record_that_is_none(copy: Path) -> None:
    (copy / "store.sqlite").write_bytes(b"not a database" * 100)
    for left in copy.glob("store.sqlite-*"):
        left.unlink()
    assert ["cannot be read" in told for told in found(copy)] == [True]
