"""The proof file: one fill of the log, in clear, with all that is needed to check that the log holds it.

JSON in UTF-8, version `godark-proof/1`; every member is there, and no other:

- format: "godark-proof/1"
- leaf: the fields of the leaf (`relayer.core.leaf`). version, kind, source, flags, market are numbers; seq, time_ns,
  trade_id, price, size are decimal strings, because JavaScript rounds numbers beyond 2^53; maker, taker are base58
- index: the leaf's place in the log, from 0, a decimal string
- proof: the inclusion proof of RFC 9162, bottom up, each hash in base64
- checkpoint: the signed checkpoint that the proof leads to, as text (C2SP tlog-checkpoint, signed-note)
- key: the verifier key of the log, as whoever wrote the file says it is
- chain: where the operator says that the batch is on chain, or null: rpc (a name, not an address), batch and slot
  (decimal strings; slot "0": not known), signatures (base58, every transaction that was ever signed to commit it)

Each value has one spelling and no name occurs twice; only white space between the values is free. So two readers
never see different things in one file, and no bit of what is proven can be changed.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, NoReturn

from solders.pubkey import Pubkey
from solders.signature import Signature

from engine.common.errors import ProofFileInvalid
from relayer.core.checkpoint import NOTE_LIMIT_BYTES
from relayer.core.proofs import SIZE_LIMIT
from relayer.core.rfc9162 import HASH_BYTES

FORMAT: Final = "godark-proof/1"
FILE_LIMIT_BYTES: Final = 2 * NOTE_LIMIT_BYTES
"""A note is at most half of that; the rest of a file is a few kilobytes."""
PROOF_HASHES_MAX: Final = 64
SIGNATURES_MAX: Final = 100
NAME_CHARACTERS_MAX: Final = 255
_LEAF: Final = struct.Struct("<4B2h5q32s32s")
_LEAF_VERSION, _FILL = 1, 1
_I64: Final = range(-(1 << 63), 1 << 63)
_BLANKS: Final = re.compile(r'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')


class FillLeaf(NamedTuple):
    """A fill as the log holds it. price, size: integers in the market's units; size has the taker's sign.

    seq: of the source that sent it. maker, taker: 32-byte keys.
    """

    version: int
    kind: int
    source: int
    flags: int
    market: int
    seq: int
    time_ns: int
    trade_id: int
    price: int
    size: int
    maker: bytes
    taker: bytes


class OnChain(NamedTuple):
    """Where the operator says that the batch of a fill was committed. Nothing of it is proven by the file.

    rpc: which chain or node, in words; signatures: of every transaction signed to commit the batch, of which one
    landed; slot: 0 if it is not known to have landed.
    """

    rpc: str
    batch: int
    signatures: tuple[str, ...]
    slot: int


@dataclass(frozen=True, slots=True)
class ProofFile:
    """A proof file's content. index: from 0; checkpoint: the signed note; key: the verifier key's text."""

    leaf: FillLeaf
    index: int
    proof: tuple[bytes, ...]
    checkpoint: bytes
    key: str
    chain: OnChain | None


def leaf_bytes(leaf: FillLeaf) -> bytes:
    """The 112 bytes that the log hashes."""
    head, tail = leaf[:5], leaf[5:]
    return _LEAF.pack(*head, 0, *tail)


def leaf_of(data: bytes) -> FillLeaf:
    """A leaf's fields. ProofFileInvalid unless it is a fill in the layout that this version knows."""
    if len(data) != _LEAF.size:
        _fail("leaf", f"{len(data)} bytes, a fill has {_LEAF.size}")
    *head, spare, seq, time_ns, trade_id, price, size, maker, taker = _LEAF.unpack(data)
    if spare:
        _fail("leaf", "bytes that must be zero are not")
    leaf = FillLeaf._make((*head, seq, time_ns, trade_id, price, size, maker, taker))
    _check_kind(leaf)
    return leaf


def encode(file: ProofFile) -> bytes:
    """The file's bytes, indented for people. ProofFileInvalid on values that no file may have."""
    leaf = {
        name: str(value) if name in _TEXT_NUMBERS else value
        for name, value in file.leaf._asdict().items()
        if isinstance(value, int)
    }
    leaf |= {"maker": _key_text(file.leaf.maker), "taker": _key_text(file.leaf.taker)}
    chain = file.chain
    document = {
        "format": FORMAT,
        "leaf": leaf,
        "index": str(file.index),
        "proof": [base64.b64encode(value).decode() for value in file.proof],
        "checkpoint": file.checkpoint.decode(),
        "key": file.key,
        "chain": chain
        and {
            "rpc": chain.rpc,
            "batch": str(chain.batch),
            "signatures": list(chain.signatures),
            "slot": str(chain.slot),
        },
    }
    data = (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode()
    if decode(data) != file:
        raise AssertionError("a proof file does not read back as it was written")
    return data


def decode(data: bytes) -> ProofFile:
    """Read a proof file; nothing in it is verified here. ProofFileInvalid names the member and the rule it breaks."""
    if len(data) > FILE_LIMIT_BYTES:
        _fail("the file", f"longer than {FILE_LIMIT_BYTES} bytes")
    document = _members(_parse(data), "the file", _FILE)
    if document["format"] != FORMAT:
        _fail("format", f"is not {FORMAT}, the one that this version reads")
    checkpoint, key = _text(document, "checkpoint"), _text(document, "key")
    chain = document["chain"]
    return ProofFile(
        _decode_leaf(_members(document["leaf"], "leaf", _LEAF_MEMBERS)),
        _number(document, "index", range(SIZE_LIMIT)),
        tuple(_hash(value) for value in _list(document, "proof", PROOF_HASHES_MAX)),
        checkpoint.encode(),
        key,
        None if chain is None else _decode_chain(_members(chain, "chain", _CHAIN)),
    )


_SMALL_NUMBERS: Final = {
    "version": range(1 << 8),
    "kind": range(1 << 8),
    "source": range(1 << 8),
    "flags": range(1 << 8),
    "market": range(-(1 << 15), 1 << 15),
}
_TEXT_NUMBERS: Final = ("seq", "time_ns", "trade_id", "price", "size")
_FILE: Final = frozenset({"format", "leaf", "index", "proof", "checkpoint", "key", "chain"})
_LEAF_MEMBERS: Final = frozenset(FillLeaf._fields)
_CHAIN: Final = frozenset(OnChain._fields)


def _parse(data: bytes) -> object:
    """The JSON document, refused where a second spelling of anything in it is used."""
    try:
        text = data.decode()
    except UnicodeDecodeError as fault:
        _fail("the file", f"not UTF-8 at byte {fault.start}")
    try:
        document: object = json.loads(text)
        respelled = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    except json.JSONDecodeError as fault:
        _fail("the file", f"not JSON: {fault.msg} in line {fault.lineno}, column {fault.colno}")
    except (ValueError, RecursionError):
        _fail("the file", "not JSON of a proof")
    if respelled != _BLANKS.sub(lambda found: found[1] or "", text):
        _fail("the file", "a value is spelled in another way than proof files do, or a name occurs twice")
    return document


def _decode_leaf(members: dict[str, Any]) -> FillLeaf:
    small: dict[str, int] = {}
    for name, bounds in _SMALL_NUMBERS.items():
        value = members[name]
        if type(value) is not int or value not in bounds:
            _fail(f"leaf.{name}", f"not a number from {bounds.start} to {bounds.stop - 1}")
        small[name] = value
    large = {name: _number(members, name, _I64, "leaf.") for name in _TEXT_NUMBERS}
    leaf = FillLeaf(**small, **large, maker=_key(members, "maker"), taker=_key(members, "taker"))
    _check_kind(leaf)
    return leaf


def _check_kind(leaf: FillLeaf) -> None:
    if (leaf.version, leaf.kind) != (_LEAF_VERSION, _FILL):
        _fail(
            "leaf",
            f"kind {leaf.kind} in version {leaf.version}; known is {_FILL} (a fill) in {_LEAF_VERSION}",
        )


def _decode_chain(members: dict[str, Any]) -> OnChain:
    rpc = _text(members, "rpc", "chain.")
    if len(rpc) > NAME_CHARACTERS_MAX or not rpc.isprintable():
        _fail("chain.rpc", f"not a name of at most {NAME_CHARACTERS_MAX} printable characters")
    signatures = tuple(_signature(value) for value in _list(members, "signatures", SIGNATURES_MAX, "chain."))
    batch, slot = (_number(members, name, range(1 << 63), "chain.") for name in ("batch", "slot"))
    return OnChain(rpc, batch, signatures, slot)


def _members(value: object, name: str, names: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        _fail(name, "not an object with named members")
    if missing := sorted(names - value.keys()):
        _fail(name, f"has no {missing[0]}")
    if unknown := sorted(value.keys() - names):
        _fail(name, f"has an unknown member {unknown[0][:40]!r}")
    return value


def _text(members: dict[str, Any], name: str, within: str = "") -> str:
    value = members[name]
    if not isinstance(value, str):
        _fail(within + name, "not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        _fail(within + name, "cannot be written as UTF-8")
    return value


def _number(members: dict[str, Any], name: str, bounds: range, within: str = "") -> int:
    text = _text(members, name, within)
    # 20 digits hold every u64; the bound keeps int() off megabytes of digits.
    value = int(text) if re.fullmatch(r"-?[0-9]{1,20}", text) else None
    if value is None or str(value) != text or value not in bounds:
        _fail(within + name, f"not a decimal number from {bounds.start} to {bounds.stop - 1}, as a text")
    return value


def _list(members: dict[str, Any], name: str, longest: int, within: str = "") -> list[Any]:
    value = members[name]
    if not isinstance(value, list) or len(value) > longest:
        _fail(within + name, f"not a list of at most {longest}")
    return value


def _hash(value: object) -> bytes:
    try:
        raw = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
    except (binascii.Error, ValueError):
        raw = b""
    # Base64 decoders ignore the unused last bits, so one hash would have four spellings.
    if len(raw) != HASH_BYTES or base64.b64encode(raw).decode() != value:
        _fail("proof", f"an entry is not the base64 of {HASH_BYTES} bytes")
    return raw


def _key(members: dict[str, Any], name: str) -> bytes:
    value = members[name]
    try:
        key = Pubkey.from_string(value) if isinstance(value, str) else None
    except ValueError:
        key = None
    if key is None or str(key) != value:
        _fail(f"leaf.{name}", "not the base58 of 32 bytes")
    return bytes(key)


def _key_text(key: bytes) -> str:
    return str(Pubkey.from_bytes(key))


def _signature(value: object) -> str:
    try:
        signature = Signature.from_string(value) if isinstance(value, str) else None
    except ValueError:
        signature = None
    if signature is None or str(signature) != value:
        _fail("chain.signatures", "an entry is not the base58 of 64 bytes")
    return str(signature)


def _fail(member: str, rule: str) -> NoReturn:
    raise ProofFileInvalid(f"proof file: {member}: {rule}", member=member)
