"""Blockhashes, duplicates and commitments: what LiteSVM alone does not know."""

import pytest
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import MessageV1, TransactionConfig
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from relayer.chain.messages import MEMO_PROGRAM, PACKET_LIMIT_BYTES, parse_memo
from relayer.devnet.bank import (
    BLOCKHASH_LIFE_BLOCKS,
    FINALIZED_AFTER_SLOTS,
    FIRST_SLOT,
    V1_LIMIT_BYTES,
    Bank,
    Refusal,
    commitment_slot,
    confirmation_of,
)
from relayer.signer.keyfile import KeyfileSigner
from tests.relayer.devnet.transactions import KEYPAIR, SEED, SIGNER, memo, parsed


@pytest.fixture
def bank() -> Bank:
    made = Bank(SEED)
    made.accept(made.airdrop(SIGNER.public_key, 10**10))
    return made


def refused(bank: Bank, wire: bytes) -> Refusal:
    with pytest.raises(Refusal) as caught:
        bank.accept(bank.parse(wire))
    return caught.value


def test_same_calls_give_the_same_chain() -> None:
    digests = []
    for _ in range(2):
        bank = Bank(SEED)
        landed = [bank.accept(bank.airdrop(SIGNER.public_key, 10**10))]
        bank.advance_to(FIRST_SLOT + 3)
        landed.append(bank.accept(parsed(bank, memo(bank.blockhash(bank.slot)))))
        digests.append([bank.digest(one) for one in landed])
    assert digests[0] == digests[1]
    assert Bank(bytes(32)).genesis_hash != Bank(SEED).genesis_hash


def test_a_memo_lands_with_its_logs(bank: Bank) -> None:
    signed = memo(bank.blockhash(bank.slot), "for the log")
    landed = bank.accept(parsed(bank, signed))
    assert (landed.err, landed.slot, str(landed.signature)) == (None, FIRST_SLOT, signed.signature)
    assert any("for the log" in line for line in bank.logs_of(landed) or [])
    assert bank.find(Signature.from_string(signed.signature)) is landed
    assert landed.number in bank.numbers_of(SIGNER.public_key)


def test_a_blockhash_lives_150_blocks_to_the_block(bank: Bank) -> None:
    born = bank.slot
    early, late = memo(bank.blockhash(born), "early"), memo(bank.blockhash(born), "late")
    bank.advance_to(born + BLOCKHASH_LIFE_BLOCKS)
    assert bank.height(bank.slot) == bank.last_valid_height(born)
    bank.accept(parsed(bank, early))
    bank.advance_to(bank.slot + 1)
    refusal = refused(bank, late.wire)
    assert (refusal.rpc_code, refusal.data["err"]) == (-32002, "BlockhashNotFound")


def test_a_far_jump_keeps_the_right_hashes(bank: Bank) -> None:
    bank.advance_to(bank.slot + 10_000)
    assert bank.blockhash_slot(bank.blockhash(bank.slot - BLOCKHASH_LIFE_BLOCKS)) is not None
    assert bank.blockhash_slot(bank.blockhash(bank.slot - BLOCKHASH_LIFE_BLOCKS - 1)) is None
    assert bank.blockhash_slot(bank.blockhash(bank.slot + 1)) is None


def test_slots_never_go_back(bank: Bank) -> None:
    with pytest.raises(ValueError, match="back"):
        bank.advance_to(bank.slot - 1)


def test_a_duplicate_lands_once_even_after_many_others(bank: Bank) -> None:
    first = memo(bank.blockhash(bank.slot), "twice?")
    bank.accept(parsed(bank, first))
    for number in range(60):
        bank.accept(parsed(bank, memo(bank.blockhash(bank.slot), f"other {number}")))
    count = len(bank.history)
    assert refused(bank, first.wire).data["err"] == "AlreadyProcessed"
    assert len(bank.history) == count


def test_what_cannot_pay_or_verify_does_not_land(bank: Bank) -> None:
    stranger = KeyfileSigner(Keypair.from_seed(bytes([1] * 32)))
    assert (
        refused(bank, memo(bank.blockhash(bank.slot), signer=stranger).wire).data["err"] == "AccountNotFound"
    )
    forged = bytearray(memo(bank.blockhash(bank.slot)).wire)
    forged[5] ^= 1
    assert refused(bank, bytes(forged)).rpc_code == -32003
    assert len(bank.history) == 1


def test_a_failing_transaction_lands_with_its_error(bank: Bank) -> None:
    message = memo(bank.blockhash(bank.slot), "ok").wire[65:]
    wrong = message.replace(b"ok", b"\xff\xff")
    before = bank.svm.get_balance(SIGNER.public_key) or 0
    landed = bank.accept(bank.parse(b"\x01" + SIGNER.sign(wrong) + wrong))
    assert landed.err == {"InstructionError": [2, "ProgramFailedToComplete"]}
    assert before - (bank.svm.get_balance(SIGNER.public_key) or 0) == landed.fee_lamports == 5000


@pytest.mark.parametrize("damage", ["long", "cut", "over", "empty", "noise"])
def test_what_is_no_transaction_is_refused(bank: Bank, damage: str) -> None:
    wire = memo(bank.blockhash(bank.slot)).wire
    bad = {
        "long": wire + bytes(1232),
        "cut": wire[:-1],
        "over": wire + b"\0",
        "empty": b"",
        "noise": b"\x02" * 99,
    }
    with pytest.raises(Refusal) as caught:
        bank.parse(bad[damage])
    assert caught.value.rpc_code == -32602


def test_simulation_changes_nothing(bank: Bank) -> None:
    transaction = parsed(bank, memo(bank.blockhash(bank.slot)))
    err, logs, units, fee = bank.simulate(transaction, True)
    assert (err, fee, len(bank.history)) == (None, 5000, 1)
    assert logs
    assert units > 500
    unsigned = VersionedTransaction.populate(transaction.message, [Signature.default()])
    assert bank.simulate(unsigned, False)[0] is None
    assert bank.simulate(unsigned, True)[0] == "SignatureFailure"


def test_commitments_by_age() -> None:
    assert [confirmation_of(100, slot) for slot in (100, 101, 130, 131)] == [
        "processed",
        "confirmed",
        "confirmed",
        "finalized",
    ]
    for name in ("processed", "confirmed", "finalized"):
        slot = commitment_slot(500, name)
        assert confirmation_of(slot, 500) == name or name == "processed"
    assert commitment_slot(500, "finalized") == 500 - FINALIZED_AFTER_SLOTS
    with pytest.raises(Refusal):
        commitment_slot(500, "max")


def test_a_fork_has_other_hashes_above_its_root() -> None:
    plain, forked = Bank(SEED), Bank(SEED, [(1_010, 1), (1_005, 2)])
    assert plain.blockhash(1_004) == forked.blockhash(1_004)
    assert (
        len({plain.blockhash(1_010), forked.blockhash(1_010), Bank(SEED, [(1_010, 1)]).blockhash(1_010)}) == 3
    )


def test_an_unknown_blockhash_is_refused(bank: Bank) -> None:
    assert refused(bank, memo(Hash.default()).wire).data["err"] == "BlockhashNotFound"


def test_a_v1_transaction_lands_and_reads_back(bank: Bank) -> None:
    limits = TransactionConfig(compute_unit_limit=50_000)
    instruction = Instruction(MEMO_PROGRAM, b"v" * 2_000, [])
    message = MessageV1.try_compile(SIGNER.public_key, [instruction], bank.blockhash(bank.slot), limits)
    wire = bytes(VersionedTransaction(message, [KEYPAIR]))
    assert PACKET_LIMIT_BYTES < len(wire) < V1_LIMIT_BYTES
    landed = bank.accept(bank.parse(wire))
    assert landed.err is None
    assert parse_memo(wire) == b"v" * 2_000
    assert refused(bank, wire).data["err"] == "AlreadyProcessed"
