"""Memo transactions: what fits, what they cost, and that they read back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.account import Account
from solders.hash import Hash
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from engine.common.errors import MessageInvalid, MessageTooLarge
from relayer.chain import messages
from relayer.chain.messages import MEMO_CU_LIMIT, MEMO_LIMIT_BYTES, PACKET_LIMIT_BYTES
from relayer.signer.keyfile import KeyfileSigner

KEYPAIR = Keypair.from_seed(bytes(range(32)))
SIGNER = KeyfileSigner(KEYPAIR)
BLOCKHASH = str(Hash(bytes([7] * 32)))


class ShortSigner:
    public_key = SIGNER.public_key

    def sign(self, message: bytes) -> bytes:
        return b"\x00" * 63


def signed(payload: bytes) -> messages.Signed:
    return messages.sign(messages.memo_message(payload, SIGNER.public_key, BLOCKHASH), SIGNER)


def test_the_limit_is_exact() -> None:
    largest = signed(b"a" * MEMO_LIMIT_BYTES)
    assert len(largest.wire) == PACKET_LIMIT_BYTES
    with pytest.raises(MessageTooLarge):
        messages.memo_message(b"a" * (MEMO_LIMIT_BYTES + 1), SIGNER.public_key, BLOCKHASH)


def test_oversize_is_refused_before_signing() -> None:
    class Never(ShortSigner):
        def sign(self, message: bytes) -> bytes:
            raise AssertionError("asked to sign what does not fit")

    message = messages.memo_message(b"a" * MEMO_LIMIT_BYTES, SIGNER.public_key, BLOCKHASH)
    with pytest.raises(MessageTooLarge):
        messages.sign(message + b"a", Never())


@pytest.mark.parametrize("text", ["a", "é", "€", "😀", '"', "\\", "\x01"])
def test_the_largest_memo_runs_within_the_limit(text: str) -> None:
    svm = LiteSVM().with_blockhash_check(False)
    svm.set_account(SIGNER.public_key, Account(10**9, b"", Pubkey.default()))
    payload = text.encode() * (MEMO_LIMIT_BYTES // len(text.encode()))
    landed = svm.send_transaction(VersionedTransaction.from_bytes(signed(payload).wire))
    assert 1_000 < landed.compute_units_consumed() <= MEMO_CU_LIMIT // 5
    assert text in landed.logs()[-3]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=250))
def test_memos_read_back(text: str) -> None:
    transaction = signed(text.encode())
    assert messages.parse_memo(transaction.wire) == text.encode()
    assert messages.signature_of(transaction.wire) == transaction.signature
    assert messages.fee_payer_of(transaction.wire) == SIGNER.public_key
    assert VersionedTransaction.from_bytes(transaction.wire).verify_with_results() == [True]


def test_not_utf8_is_refused() -> None:
    with pytest.raises(MessageInvalid, match="byte 1"):
        messages.memo_message(b"a\xff", SIGNER.public_key, BLOCKHASH)


def test_wrong_parts_are_refused() -> None:
    with pytest.raises(MessageInvalid):
        messages.memo_message(b"a", SIGNER.public_key, "not a hash")
    message = messages.memo_message(b"a", Pubkey.default(), BLOCKHASH)
    with pytest.raises(MessageInvalid, match="another key"):
        messages.sign(message, SIGNER)
    with pytest.raises(MessageInvalid, match="64 bytes"):
        messages.sign(messages.memo_message(b"a", SIGNER.public_key, BLOCKHASH), ShortSigner())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 200), st.binary(max_size=3))
def test_reading_never_crashes(noise: bytes, at: int, patch: bytes) -> None:
    wire = signed(b"hello").wire
    for candidate in (noise, wire[:at], wire[:at] + patch + wire[at + len(patch) :]):
        try:
            messages.parse_memo(candidate)
            messages.signature_of(candidate)
        except MessageInvalid:
            continue


def test_no_memo_is_named() -> None:
    svm_wire = bytes(VersionedTransaction.default())
    with pytest.raises(MessageInvalid):
        messages.parse_memo(svm_wire)
