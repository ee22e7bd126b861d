"""Finding fills in the published log, and the proofs of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.common.errors import LogDamaged, LogSplit, NoteInvalid, StoreError, UsageError
from relayer.core import note
from relayer.core.checkpoint import Checkpoint, decode_text, encode_text
from relayer.core.graph import Node
from relayer.core.leaf import LEAF
from relayer.core.proof_check import check
from relayer.core.proof_file import OnChain, leaf_bytes
from relayer.core.tiles import ENTRIES, tile_at
from relayer.prove import Fills, Place, find_fill, find_trade, key_of, proof_of
from relayer.record import CommitRecord, Record
from relayer.store import Store
from tests.relayer.core.fills import COMMIT, SIGNER, STRANGER
from tests.relayer.published_fills import ORIGIN, SHARD_LEAVES, fills, publish, settle

SIZES = (300, 0, 1, 500, 200, 400, 7)
"""Batches: the sixth does not fit the first shard, and begins the second."""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("data")
    starts = np.cumsum((1, *SIZES))
    publish(found, [fills(count, int(first)) for count, first in zip(SIZES, starts, strict=False)])
    settle(found, 4, [COMMIT], 0)
    settle(found, 5, [COMMIT[:-1] + "t", COMMIT[:-1] + "u"], 77)
    return found


@pytest.fixture(scope="module")
def log(data_dir: Path) -> Path:
    return data_dir / "relayer" / "log"


@pytest.fixture(scope="module")
def record(data_dir: Path) -> Record:
    return Record(data_dir / "relayer" / "store.sqlite")


def place(seq: int) -> Place:
    """Where a fill must be."""
    first = 1 + sum(SIZES[:5])
    return Place(0, seq - 1, 1, seq) if seq < first else Place(1, seq - first, 1, seq)


def test_every_fill_is_found_by_its_number(log: Path) -> None:
    for seq in (*range(1, 20), *range(250, 310), 800, *range(990, 1010), 1401, 1402, 1408):
        assert find_fill(log, seq) == place(seq)
    fills_of_shard = Fills(log, 0)
    reads: list[int] = []
    rows = fills_of_shard.rows
    fills_of_shard.rows = lambda bundle: reads.append(bundle) or rows(bundle)  # type: ignore[method-assign,func-returns-value]
    assert fills_of_shard.find(1, 700) == place(700)
    assert len(reads) <= 3, "a number is found by halving"


def test_a_fill_that_is_not_published_is_told_with_the_newest_that_is(log: Path) -> None:
    for seq in (0, -1, 1409, 1 << 62):
        with pytest.raises(UsageError, match="published are some from 1 to 1408"):
            find_fill(log, seq)
    with pytest.raises(UsageError, match="of source 8 is published; none of it is"):
        find_fill(log, 5, source=8)


def test_a_trade_is_found_by_its_id_if_it_is_one_fill(log: Path) -> None:
    assert find_trade(log, 10) == place(1)
    assert find_trade(log, 14000) == place(1400)
    with pytest.raises(UsageError, match="no fill with trade id 5 "):
        find_trade(log, 5)


def test_a_trade_of_several_fills_is_refused_with_their_numbers(tmp_path: Path) -> None:
    leaves = fills(20)
    leaves.view(LEAF).reshape(-1)["trade_id"][[3, 7, *range(10, 18)]] = [9, 9, *[8] * 8]
    log = publish(tmp_path, [leaves])
    with pytest.raises(UsageError, match=r"one of 4 of the matching engine, 8 of the matching engine$"):
        find_trade(log, 9)
    with pytest.raises(UsageError, match=r"…$"):
        find_trade(log, 8)


def test_numbers_of_several_sources_are_kept_apart(tmp_path: Path) -> None:
    mixed = [fills(300), fills(700, source=8), fills(20, 301), fills(1, 701, source=8)]
    log = publish(tmp_path, mixed, shard_leaves=4096)
    assert find_fill(log, 5) == Place(0, 4, 1, 5)
    assert find_fill(log, 5, source=8) == Place(0, 304, 8, 5)
    assert find_fill(log, 310) == Place(0, 1009, 1, 310)
    assert find_fill(log, 701, source=8) == Place(0, 1020, 8, 701)
    with pytest.raises(UsageError):
        find_fill(log, 321)


def test_a_proof_leads_to_the_checkpoint_behind_the_batch_of_the_fill(log: Path, record: Record) -> None:
    sizes = {1: 300, 300: 300, 301: 301, 302: 801, 801: 801, 802: 1001, 1002: 400, 1401: 400, 1402: 407}
    for seq, size in sizes.items():
        where = place(seq)
        file = proof_of(log, where, key_of(log, where.shard), record, "a node")
        proven = check(file, key=note.verifier_key(f"{ORIGIN}/{where.shard}", SIGNER))
        assert (proven.checkpoint.size, file.index) == (size, where.leaf)
        assert file.leaf.seq == seq
        rows = Fills(log, where.shard).rows(where.leaf // 256)
        assert leaf_bytes(file.leaf) == rows[where.leaf % 256].tobytes()


def test_the_record_says_where_the_batch_is_on_chain(log: Path, record: Record) -> None:
    def chain(seq: int) -> OnChain | None:
        return proof_of(log, place(seq), key_of(log, 0), record, "a node").chain

    assert chain(1) == OnChain("a node", 1, (), 0), "signed for the log, and not yet for the chain"
    assert chain(302) == OnChain("a node", 4, (COMMIT,), 0)
    assert chain(802) == OnChain("a node", 5, (COMMIT[:-1] + "t", COMMIT[:-1] + "u"), 77)


def test_without_a_record_the_proof_leads_to_the_newest_checkpoint(log: Path) -> None:
    file = proof_of(log, place(5), key_of(log, 0), None, "a node")
    assert check(file).checkpoint.size == 1001
    assert file.chain is None


def test_a_checkpoint_in_hand_is_led_to(log: Path, record: Record) -> None:
    key = key_of(log, 0)
    newest = proof_of(log, place(5), key, None, "").checkpoint
    file = proof_of(log, place(5), key, record, "a node", held=newest)
    assert check(file, checkpoint=newest).checkpoint.size == 1001
    assert file.chain is None, "on chain is another size than the one in hand"
    first = proof_of(log, place(5), key, record, "").checkpoint
    for seq in (301, 900):  # its first leaf that is not in the checkpoint, and a later one
        with pytest.raises(UsageError, match="take a later one"):
            proof_of(log, place(seq), key, record, "", held=first)
    assert proof_of(log, place(300), key, record, "", held=first)


def test_a_checkpoint_of_another_log_is_refused(log: Path, record: Record) -> None:
    key, origin = key_of(log, 0), f"{ORIGIN}/0"

    def held(size: int, root: bytes, signer: object = SIGNER) -> bytes:
        return note.sign(encode_text(Checkpoint(origin, size, root)), origin, signer)  # type: ignore[arg-type]

    with pytest.raises(LogSplit, match="split view"):
        proof_of(log, place(5), key, record, "", held=held(300, bytes(32)))
    with pytest.raises(UsageError, match="published is"):
        proof_of(log, place(5), key, record, "", held=held(1002, bytes(32)))
    with pytest.raises(NoteInvalid):
        proof_of(log, place(5), key, record, "", held=held(300, bytes(32), STRANGER))


def test_files_that_were_changed_prove_nothing(tmp_path: Path) -> None:
    log = publish(tmp_path, [fills(600)])
    key = key_of(log, 0)
    where = find_fill(log, 5)
    for path in (tile_at(ENTRIES, 0, 600).path, tile_at(0, 0, 600).path):
        file = log / "0" / path
        data = bytearray(file.read_bytes())
        data[120 * 4 + 40] ^= 1
        file.write_bytes(data)
        with pytest.raises(LogDamaged):
            proof_of(log, where, key, None, "")
        data[120 * 4 + 40] ^= 1
        file.write_bytes(data)
    assert proof_of(log, where, key, None, "")
    (log / "0" / tile_at(ENTRIES, 1, 600).path).unlink()
    with pytest.raises(LogDamaged):
        find_fill(log, 300)


def test_what_is_no_log_and_no_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no published log"):
        find_fill(tmp_path, 1)
    (tmp_path / "0").mkdir()
    with pytest.raises(LogDamaged):
        find_fill(tmp_path, 1)
    with pytest.raises(UsageError, match="verifier-key"):
        key_of(tmp_path, 0)
    for name, data in (("none", None), ("other", b"x" * 4096)):
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(StoreError, match=name):
            Record(path).commit_of(1)


def test_what_committed_a_batch_is_known_when_the_rest_of_it_was_forgotten(tmp_path: Path) -> None:
    log = publish(tmp_path, [fills(5), fills(5, 6), fills(5, 11)])
    settle(tmp_path, 1, [COMMIT], 44)
    settle(tmp_path, 2, [COMMIT[:-1] + "t", COMMIT[:-1] + "u"], 45)
    store = Store(tmp_path / "relayer" / "store.sqlite")
    signed = store.total_signatures()
    with store.transaction():
        store.prune_batches(2)
    assert (store.total_signatures(), store.pruned().signatures) == (signed, 3)
    assert not store.signatures(Node(1))
    store.close()
    record = Record(tmp_path / "relayer" / "store.sqlite")
    assert record.commit_of(1) == CommitRecord((COMMIT,), 44)
    assert record.commit_of(2) == CommitRecord((COMMIT[:-1] + "t", COMMIT[:-1] + "u"), 45)
    assert record.commit_of(3) == CommitRecord((), 0)
    file = proof_of(log, find_fill(log, 7), key_of(log, 0), record, "a node")
    assert file.chain == OnChain("a node", 2, (COMMIT[:-1] + "t", COMMIT[:-1] + "u"), 45)
    record.close()


def test_the_record_is_read_while_it_is_written_and_not_changed(data_dir: Path, log: Path) -> None:
    path = data_dir / "relayer" / "store.sqlite"
    before = path.read_bytes()
    reader = Record(path)
    assert reader.commit_of(5) == CommitRecord((COMMIT[:-1] + "t", COMMIT[:-1] + "u"), 77)
    assert reader.commit_of(99) == CommitRecord((), 0)
    found = reader.batch_of(1, 406)
    assert found is not None
    assert (found.batch, decode_text(found.note).checkpoint.size) == (7, 407)
    assert reader.batch_of(1, 407) is None
    assert reader.batch_of(0, SHARD_LEAVES) is None
    reader.close()
    assert path.read_bytes() == before
