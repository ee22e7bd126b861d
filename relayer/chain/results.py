"""What RPC methods return, read out of JSON with every type checked.

A field of the wrong type raises RpcMalformed: a node that answers `null` for a slot has said nothing, and
nothing may be concluded from it.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Final

from engine.common.errors import RpcMalformed

COMMITMENT_RANK: Final = {"processed": 0, "confirmed": 1, "finalized": 2}


def commitment_rank(commitment: str) -> int:
    """processed 0 < confirmed 1 < finalized 2. Raises RpcMalformed for any other name."""
    rank = COMMITMENT_RANK.get(commitment)
    if rank is None:
        raise RpcMalformed("unknown commitment", commitment=commitment)
    return rank


@dataclass(frozen=True, slots=True)
class BlockhashInfo:
    """A blockhash (base58), the last block height it is valid at, and the slot of the answer."""

    blockhash: str
    last_valid_block_height: int
    slot: int


@dataclass(frozen=True, slots=True)
class TransactionStatus:
    """Where a signature has landed. `err` is the node's error value, None when it succeeded."""

    slot: int
    confirmation: str
    err: Any

    def reached(self, commitment: str) -> bool:
        """Whether the status is at least at that commitment."""
        return commitment_rank(self.confirmation) >= commitment_rank(commitment)


@dataclass(frozen=True, slots=True)
class StatusPage:
    """Statuses in the order asked; None: not known there. `slot`: the lowest context slot of the answers."""

    slot: int
    statuses: list[TransactionStatus | None]


@dataclass(frozen=True, slots=True)
class LandedTransaction:
    """A transaction read back. `logs` is None where the node kept none; fee in lamports."""

    slot: int
    err: Any
    logs: list[str] | None
    wire: bytes
    fee_lamports: int
    units_consumed: int | None


@dataclass(frozen=True, slots=True)
class SignatureEntry:
    """One line of an address's history."""

    signature: str
    slot: int
    err: Any
    confirmation: str | None


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a transaction would do: error or None, logs, compute units."""

    slot: int
    err: Any
    logs: list[str]
    units_consumed: int


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """An account. `owner` in base58, `data` decoded."""

    lamports: int
    owner: str
    data: bytes
    executable: bool


def integer(value: object, what: str) -> int:
    """A non-negative integer."""
    if type(value) is not int or value < 0:
        raise RpcMalformed(f"{what} is not a non-negative integer")
    return value


def text(value: object, what: str) -> str:
    """A non-empty string."""
    if not isinstance(value, str) or not value:
        raise RpcMalformed(f"{what} is not a string")
    return value


def mapping(value: object, what: str) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise RpcMalformed(f"{what} is not an object")
    return value


def sequence(value: object, what: str, length: int | None = None) -> list[Any]:
    """A JSON array, of that length if one is given."""
    if not isinstance(value, list):
        raise RpcMalformed(f"{what} is not an array")
    if length is not None and len(value) != length:
        raise RpcMalformed(f"{what} has {len(value)} entries, not {length}")
    return value


def with_context(result: object) -> tuple[int, Any]:
    """`{context: {slot}, value}` as (slot, value)."""
    outer = mapping(result, "result")
    slot = integer(mapping(outer.get("context"), "context").get("slot"), "context slot")
    if "value" not in outer:
        raise RpcMalformed("result has no value")
    return slot, outer["value"]


def base64_field(value: object, what: str) -> bytes:
    """`[data, "base64"]`, decoded strictly."""
    pair = sequence(value, what, 2)
    if pair[1] != "base64" or not isinstance(pair[0], str):
        raise RpcMalformed(f"{what} is not base64")
    try:
        return b64decode(pair[0], validate=True)
    except (binascii.Error, ValueError):
        raise RpcMalformed(f"{what} is not base64") from None


def strings(value: object, what: str) -> list[str]:
    """A list of strings."""
    entries = sequence(value, what)
    if not all(isinstance(entry, str) for entry in entries):
        raise RpcMalformed(f"{what} holds something that is not a string")
    return entries


def blockhash_info(result: object) -> BlockhashInfo:
    """getLatestBlockhash."""
    slot, value = with_context(result)
    fields = mapping(value, "value")
    return BlockhashInfo(
        text(fields.get("blockhash"), "blockhash"),
        integer(fields.get("lastValidBlockHeight"), "lastValidBlockHeight"),
        slot,
    )


def transaction_status(value: object) -> TransactionStatus | None:
    """One entry of getSignatureStatuses. Old nodes say it in `confirmations` only (null: rooted)."""
    if value is None:
        return None
    fields = mapping(value, "status")
    confirmation = fields.get("confirmationStatus")
    if confirmation is None:
        confirmation = "finalized" if fields.get("confirmations", 0) is None else "processed"
    if confirmation not in COMMITMENT_RANK:
        raise RpcMalformed("unknown confirmation status")
    return TransactionStatus(integer(fields.get("slot"), "slot"), confirmation, fields.get("err"))


def status_page(result: object, asked: int) -> StatusPage:
    """getSignatureStatuses for `asked` signatures."""
    slot, value = with_context(result)
    return StatusPage(slot, [transaction_status(entry) for entry in sequence(value, "statuses", asked)])


def landed_transaction(result: object) -> LandedTransaction | None:
    """getTransaction with base64 encoding."""
    if result is None:
        return None
    fields = mapping(result, "transaction")
    meta = mapping(fields.get("meta"), "meta")
    logs, units = meta.get("logMessages"), meta.get("computeUnitsConsumed")
    return LandedTransaction(
        slot=integer(fields.get("slot"), "slot"),
        err=meta.get("err"),
        logs=None if logs is None else strings(logs, "logMessages"),
        wire=base64_field(fields.get("transaction"), "transaction"),
        fee_lamports=integer(meta.get("fee"), "fee"),
        units_consumed=None if units is None else integer(units, "computeUnitsConsumed"),
    )


def signature_entries(result: object) -> list[SignatureEntry]:
    """getSignaturesForAddress, newest first."""
    entries = [mapping(entry, "signature entry") for entry in sequence(result, "signatures")]
    return [
        SignatureEntry(
            text(entry.get("signature"), "signature"),
            integer(entry.get("slot"), "slot"),
            entry.get("err"),
            entry.get("confirmationStatus"),
        )
        for entry in entries
    ]


def simulation(result: object) -> Simulation:
    """simulateTransaction."""
    slot, value = with_context(result)
    fields = mapping(value, "simulation")
    return Simulation(
        slot,
        fields.get("err"),
        strings(fields.get("logs") or [], "logs"),
        integer(fields.get("unitsConsumed") or 0, "unitsConsumed"),
    )


def account_info(value: object) -> AccountInfo | None:
    """One account in base64, or None where there is none."""
    if value is None:
        return None
    fields = mapping(value, "account")
    return AccountInfo(
        integer(fields.get("lamports"), "lamports"),
        text(fields.get("owner"), "owner"),
        base64_field(fields.get("data"), "account data"),
        fields.get("executable") is True,
    )
