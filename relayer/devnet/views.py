"""How accounts, statuses and transactions look in JSON, and how parameters are read out of it."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import Any, Final

from solders.account import Account
from solders.hash import Hash, ParseHashError
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import Legacy, VersionedTransaction

from relayer.devnet.bank import CODE_PARAMS, Landed, Refusal, confirmation_of

BASE58_LIMIT_BYTES: Final = 128
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_WIRE_LIMIT_CHARACTERS: Final = 8192
_RENT_EPOCH: Final = 2**64 - 1


def invalid(what: str) -> Refusal:
    """The answer to wrong parameters."""
    return Refusal(CODE_PARAMS, f"Invalid params: {what}")


def argument(params: list[Any], at: int, kind: type, what: str) -> Any:
    """A required positional parameter of a type. Raises Refusal."""
    if at >= len(params) or type(params[at]) is not kind:
        raise invalid(f"{what} must be a {kind.__name__}")
    return params[at]


def options(params: list[Any], at: int) -> dict[str, Any]:
    """The optional configuration object at a position. Raises Refusal."""
    if at >= len(params) or params[at] is None:
        return {}
    if not isinstance(params[at], dict):
        raise invalid("the configuration must be an object")
    return dict(params[at])


def pubkey(value: object) -> Pubkey:
    """A base58 public key. Raises Refusal."""
    try:
        return Pubkey.from_string(value)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        raise invalid("unable to parse a public key") from None


def signature(value: object) -> Signature:
    """A base58 signature. Raises Refusal."""
    try:
        return Signature.from_string(value)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        raise invalid("unable to parse a signature") from None


def blockhash(value: object) -> Hash:
    """A base58 hash. Raises Refusal."""
    try:
        return Hash.from_string(value)  # type: ignore[arg-type]
    except (ParseHashError, ValueError, TypeError):
        raise invalid("unable to parse a blockhash") from None


def binary(text: str, encoding: object) -> bytes:
    """Bytes in base64, or in base58 (the default, as ever). Raises Refusal."""
    if len(text) > _WIRE_LIMIT_CHARACTERS:
        raise Refusal(CODE_PARAMS, f"{encoding} encoded data too large: {len(text)} bytes")
    if encoding == "base64":
        try:
            return b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise invalid("not base64") from None
    if encoding not in (None, "base58"):
        raise invalid(f"unsupported encoding: {encoding}")
    return _from_base58(text)


def _from_base58(text: str) -> bytes:
    number = 0
    for character in text:
        digit = _BASE58.find(character)
        if digit < 0:
            raise invalid("not base58")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def to_base58(data: bytes) -> str:
    """Bytes in base58."""
    number = int.from_bytes(data, "big")
    digits: list[str] = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_BASE58[digit])
    zeros = len(data) - len(data.lstrip(b"\x00"))
    return "1" * zeros + "".join(reversed(digits))


def account_view(account: Account | None, config: dict[str, Any]) -> dict[str, Any] | None:
    """An account in the encoding asked for; what cannot be parsed comes in base64, as on a real node."""
    if account is None:
        return None
    data = bytes(account.data)
    part = config.get("dataSlice")
    if part is not None:
        offset, length = (part.get("offset"), part.get("length")) if isinstance(part, dict) else (None, None)
        if type(offset) is not int or type(length) is not int or min(offset, length) < 0:
            raise invalid("dataSlice needs offset and length")
        data = data[offset : offset + length]
    encoding = config.get("encoding")
    encoded: object
    if encoding in ("base64", "jsonParsed"):
        encoded = [b64encode(data).decode("ascii"), "base64"]
    elif encoding in (None, "base58", "binary"):
        if len(data) > BASE58_LIMIT_BYTES:
            message = (
                "Encoded binary (base 58) data should be less than 128 bytes, please use Base64 encoding."
            )
            raise Refusal(-32600, message)
        text = to_base58(data)
        encoded = [text, "base58"] if encoding == "base58" else text
    else:
        raise invalid(f"unsupported encoding: {encoding}")
    return {
        "lamports": account.lamports,
        "owner": str(account.owner),
        "data": encoded,
        "executable": account.executable,
        "rentEpoch": _RENT_EPOCH,
        "space": len(account.data),
    }


def status_view(landed: Landed, slot: int) -> dict[str, Any]:
    """One entry of getSignatureStatuses, seen from a slot."""
    confirmation = confirmation_of(landed.slot, slot)
    return {
        "slot": landed.slot,
        "confirmations": None if confirmation == "finalized" else slot - landed.slot,
        "err": landed.err,
        "status": {"Ok": None} if landed.err is None else {"Err": landed.err},
        "confirmationStatus": confirmation,
    }


def transaction_view(
    landed: Landed, wire: bytes, logs: list[str] | None, config: dict[str, Any], block_unix_s: int
) -> dict[str, Any]:
    """getTransaction. Balances before and after are not kept, and are empty. Raises Refusal."""
    transaction = VersionedTransaction.from_bytes(wire)
    version = transaction.version()
    legacy = version == Legacy.Legacy
    ceiling = config.get("maxSupportedTransactionVersion")
    if not legacy and (type(ceiling) is not int or int(version) > ceiling):
        raise Refusal(-32015, f"Transaction version ({version}) is not supported by the requesting client")
    view: dict[str, Any] = {
        "slot": landed.slot,
        "blockTime": block_unix_s,
        "transaction": _encoded_transaction(transaction, wire, config.get("encoding")),
        "meta": {
            "err": landed.err,
            "status": {"Ok": None} if landed.err is None else {"Err": landed.err},
            "fee": landed.fee_lamports,
            "preBalances": [],
            "postBalances": [],
            "innerInstructions": [],
            "logMessages": logs,
            "preTokenBalances": [],
            "postTokenBalances": [],
            "rewards": None,
            "loadedAddresses": {"readonly": [], "writable": []},
            "computeUnitsConsumed": landed.units,
        },
    }
    if ceiling is not None:
        view["version"] = "legacy" if legacy else int(version)
    return view


def _encoded_transaction(transaction: VersionedTransaction, wire: bytes, encoding: object) -> Any:
    if encoding == "base64":
        return [b64encode(wire).decode("ascii"), "base64"]
    if encoding in ("base58", "binary"):
        return [to_base58(wire), "base58"] if encoding == "base58" else to_base58(wire)
    if encoding not in (None, "json"):
        raise invalid(f"unsupported encoding: {encoding}")
    message = transaction.message
    header = message.header
    view: dict[str, Any] = {
        "accountKeys": [str(key) for key in message.account_keys],
        "header": {
            "numRequiredSignatures": header.num_required_signatures,
            "numReadonlySignedAccounts": header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": header.num_readonly_unsigned_accounts,
        },
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [
            {
                "programIdIndex": instruction.program_id_index,
                "accounts": list(instruction.accounts),
                "data": to_base58(bytes(instruction.data)),
                "stackHeight": 1,
            }
            for instruction in message.instructions
        ],
    }
    if isinstance(message, MessageV0):
        view["addressTableLookups"] = [
            {
                "accountKey": str(lookup.account_key),
                "writableIndexes": list(lookup.writable_indexes),
                "readonlyIndexes": list(lookup.readonly_indexes),
            }
            for lookup in message.address_table_lookups
        ]
    return {"signatures": [str(one) for one in transaction.signatures], "message": view}
