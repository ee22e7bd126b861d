"""A chain that is opened again is the same chain; a fork drops what was not finalized."""

from pathlib import Path

import pytest
from solders.signature import Signature

from engine.common.errors import StoreError
from relayer.devnet.bank import FINALIZED_AFTER_SLOTS, Refusal
from relayer.devnet.ledger import TRANSACTION, Ledger
from relayer.devnet.node import HORIZON_SLOTS, Node
from tests.relayer.devnet.transactions import SEED, SIGNER, fund, memo, parsed, send


def story(data_dir: Path) -> tuple[Node, list[str]]:
    node = Node.open(data_dir, new_seed=SEED)
    fund(node)
    signatures = []
    for number in range(10):
        node.advance()
        signatures.append(send(node, f"memo {number}"))
    return node, signatures


def test_reopening_gives_the_same_chain(tmp_path: Path) -> None:
    node, signatures = story(tmp_path)
    before = [(one.slot, one.signature, one.err, node.bank.digest(one)) for one in node.bank.history]
    slot, hashes = node.bank.slot, [node.bank.blockhash(s) for s in range(1000, 1020)]
    balance = node.bank.svm.get_balance(SIGNER.public_key)
    node.close()
    again = Node.open(tmp_path)
    assert [
        (one.slot, one.signature, one.err, again.bank.digest(one)) for one in again.bank.history
    ] == before
    assert [again.bank.blockhash(s) for s in range(1000, 1020)] == hashes
    assert again.bank.svm.get_balance(SIGNER.public_key) == balance
    assert slot <= again.bank.slot <= slot + HORIZON_SLOTS
    assert all(again.bank.find(Signature.from_string(text)) for text in signatures)
    duplicate = again.bank.parse(again.wire_of(again.bank.history[-1]))
    assert again.bank.duplicate_of(duplicate) is again.bank.history[-1]
    again.close()


def test_slots_never_go_back_over_many_restarts(tmp_path: Path) -> None:
    seen = 0
    for steps in (0, 1, 31, 32, 33, 70, 5):
        node = Node.open(tmp_path, new_seed=SEED)
        assert node.bank.slot >= seen
        for _ in range(steps):
            node.advance()
        seen = node.bank.slot
        node.close()


def test_a_result_that_differs_is_refused(tmp_path: Path) -> None:
    node, _ = story(tmp_path)
    wire = memo(node.bank.blockhash(node.bank.slot), "new").wire
    node.ledger.append(TRANSACTION, node.bank.slot, bytes(8) + wire)
    node.close()
    with pytest.raises(StoreError, match="another result"):
        Node.open(tmp_path)
    Ledger.open(tmp_path / "ledger").close()


def test_a_rollback_drops_what_came_after_and_it_may_land_again(tmp_path: Path) -> None:
    node, signatures = story(tmp_path)
    kept = node.bank.slot - 5
    old_blockhash = node.bank.blockhash(kept)
    late = memo(old_blockhash, "late")
    node.submit(parsed(node.bank, late))
    lost = memo(node.bank.blockhash(node.bank.slot), "on the fork that goes")
    slot = node.bank.slot
    assert node.roll_back(kept) == 6
    assert node.bank.slot == slot
    assert [node.bank.find(Signature.from_string(text)) is not None for text in signatures] == [True] * 5 + [
        False
    ] * 5
    with pytest.raises(Refusal, match="Blockhash"):
        node.bank.accept(parsed(node.bank, lost))
    node.submit(parsed(node.bank, late))
    history = [(one.slot, one.signature) for one in node.bank.history]
    node.close()
    again = Node.open(tmp_path)
    assert [(one.slot, one.signature) for one in again.bank.history] == history
    assert again.roll_back(again.bank.slot - 1) == 0
    again.close()


def test_finalized_slots_stay(tmp_path: Path) -> None:
    node, _ = story(tmp_path)
    for kept in (node.bank.slot - FINALIZED_AFTER_SLOTS - 1, node.bank.slot, node.bank.slot + 1):
        with pytest.raises(Refusal):
            node.roll_back(kept)
    node.close()
