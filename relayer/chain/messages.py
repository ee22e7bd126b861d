"""Transactions that carry a memo: build, sign, read back.

Measured in LiteSVM (solders 0.29): two compute-budget instructions and a memo without accounts take
532 + about 0.98 compute units per byte, 1,513 for a 1,000-byte memo. Older builds of the Memo program print
the memo with escapes and take many times that: simulate first on a chain that may have one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash, ParseHashError
from solders.instruction import Instruction
from solders.message import MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from engine.common.errors import MessageInvalid, MessageTooLarge

MEMO_PROGRAM: Final = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
PACKET_LIMIT_BYTES: Final = 1232
SIGNATURE_BYTES: Final = 64
_SIGNED_OVERHEAD_BYTES: Final = 1 + SIGNATURE_BYTES
# A packet less the 224 bytes of everything else in a memo transaction of one signer.
MEMO_LIMIT_BYTES: Final = PACKET_LIMIT_BYTES - 224
# Five times what the largest memo takes; an unset limit would mean 200,000 (and 0 in a v1 transaction).
MEMO_CU_LIMIT: Final = 8_000


class Signer(Protocol):
    """Something that holds one key and signs with it."""

    @property
    def public_key(self) -> Pubkey:
        """The key others know."""

    def sign(self, message: bytes) -> bytes:
        """The 64-byte ed25519 signature of a message."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A transaction ready to send: its signature (base58) and its bytes."""

    signature: str
    wire: bytes


def memo_message(
    payload: bytes, payer: Pubkey, blockhash: str, *, cu_limit: int = MEMO_CU_LIMIT, cu_price: int = 0
) -> bytes:
    """The message to sign for one memo paid and signed by `payer`.

    `payload`: UTF-8, at most MEMO_LIMIT_BYTES; `blockhash`: base58; `cu_price`: micro-lamports per unit.
    Raises MessageTooLarge, or MessageInvalid for what the Memo program or the codec would refuse.
    """
    _check_payload(payload)
    try:
        recent = Hash.from_string(blockhash)
    except ParseHashError:
        raise MessageInvalid("the blockhash is not base58 of 32 bytes") from None
    instructions = [
        set_compute_unit_limit(cu_limit),
        set_compute_unit_price(cu_price),
        Instruction(MEMO_PROGRAM, payload, []),
    ]
    message = to_bytes_versioned(MessageV0.try_compile(payer, instructions, [], recent))
    _check_size(message)
    return message


def sign(message: bytes, signer: Signer) -> Signed:
    """Sign a message of exactly one signer, after checking that the result fits a packet.

    Raises MessageTooLarge, or MessageInvalid where another key or number of signers is required.
    """
    _check_size(message)
    _check_signer(message, signer.public_key)
    signature = signer.sign(message)
    if len(signature) != SIGNATURE_BYTES:
        raise MessageInvalid(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    return Signed(str(Signature(signature)), b"\x01" + signature + message)


def parse_memo(wire: bytes) -> bytes:
    """The payload of the one memo in a transaction. Raises MessageInvalid where there is none, or two."""
    message = _decode(wire).message
    keys = message.account_keys
    found = [
        bytes(instruction.data)
        for instruction in message.instructions
        if instruction.program_id_index < len(keys) and keys[instruction.program_id_index] == MEMO_PROGRAM
    ]
    if len(found) != 1:
        raise MessageInvalid(f"the transaction holds {len(found)} memos, not one")
    return found[0]


def signature_of(wire: bytes) -> str:
    """The first signature of a transaction (base58): its identity. Raises MessageInvalid."""
    signatures = _decode(wire).signatures
    if not signatures:
        raise MessageInvalid("the transaction has no signature")
    return str(signatures[0])


def fee_payer_of(wire: bytes) -> Pubkey:
    """The account that paid. Raises MessageInvalid."""
    keys = _decode(wire).message.account_keys
    if not keys:
        raise MessageInvalid("the transaction names no account")
    return keys[0]


def _check_payload(payload: bytes) -> None:
    if len(payload) > MEMO_LIMIT_BYTES:
        raise MessageTooLarge(
            f"a memo of {len(payload)} bytes does not fit: at most {MEMO_LIMIT_BYTES}",
            size_bytes=len(payload),
            limit_bytes=MEMO_LIMIT_BYTES,
        )
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MessageInvalid(f"a memo must be UTF-8: byte {error.start} is not") from None


def _check_size(message: bytes) -> None:
    size = len(message) + _SIGNED_OVERHEAD_BYTES
    if size > PACKET_LIMIT_BYTES:
        raise MessageTooLarge(
            f"a transaction of {size} bytes does not fit: at most {PACKET_LIMIT_BYTES}",
            size_bytes=size,
            limit_bytes=PACKET_LIMIT_BYTES,
        )


def _check_signer(message: bytes, signer: Pubkey) -> None:
    try:
        decoded = MessageV0.from_bytes(message[1:])
    except ValueError:
        raise MessageInvalid("the message is not a v0 message") from None
    if message[0] != 0x80 or decoded.header.num_required_signatures != 1:
        raise MessageInvalid("the message is not a v0 message of one signer")
    if decoded.account_keys[0] != signer:
        raise MessageInvalid("the message is to be paid by another key than the signer's")


def _decode(wire: bytes) -> VersionedTransaction:
    try:
        return VersionedTransaction.from_bytes(wire)
    except ValueError as error:
        raise MessageInvalid(f"not a transaction: {error}") from None
