"""Signed notes (C2SP signed-note): a text, a blank line, and lines of signatures over the text. Ed25519 only.

A verifier key says whom to believe, in one line: name, key id in hex, algorithm byte and public key in base64,
joined by plus signs. Whoever reads a note holds that line from elsewhere: a note is its own witness for nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import NamedTuple, NoReturn, Protocol, SupportsBytes

from solders.pubkey import Pubkey
from solders.signature import Signature

from engine.common.errors import NoteInvalid
from relayer.core.checkpoint import NOTE_LIMIT_BYTES, SIGNATURE_START, Checkpoint, decode_text

ED25519 = 1
PUBLIC_KEY_BYTES, SIGNATURE_BYTES, KEY_ID_BYTES = 32, 64, 4
SIGNATURES_MAX = 100
"""Lines that a verifier looks at; the specification asks for at least sixteen."""


class NoteSigner(Protocol):
    """Something that holds the log's key and signs with it."""

    @property
    def public_key(self) -> SupportsBytes:
        """The key others know, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """The 64-byte ed25519 signature of a message."""


class VerifierKey(NamedTuple):
    """Whose signatures are believed. public_key: 32 bytes."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256 over name, newline, algorithm and public key."""
        return _digest(self.name, self.public_key)[:KEY_ID_BYTES]

    @property
    def text(self) -> str:
        """The verifier key as one writes it down: name+keyid+base64."""
        public = base64.b64encode(bytes([ED25519]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{public}"


def verifier_key(name: str, signer: NoteSigner) -> str:
    """The line by which others verify what `signer` signs as `name`. NoteInvalid: no key can have that name."""
    _check_name(name)
    return VerifierKey(name, bytes(signer.public_key)).text


def parse_verifier_key(text: str) -> VerifierKey:
    """Read a verifier key. NoteInvalid (reason `key`) unless it is spelled as `VerifierKey.text` spells it."""
    name, _, rest = text.partition("+")
    key_id, _, public = rest.partition("+")
    _check_name(name)
    raw = _from_base64(public, "key", "what follows the key id is not base64")
    if len(raw) != 1 + PUBLIC_KEY_BYTES or raw[0] != ED25519:
        _fail("key", "not an Ed25519 key: algorithm byte 1, then 32 bytes")
    key = VerifierKey(name, raw[1:])
    if key.key_id.hex() != key_id:
        _fail("key", "the key id is not that of this name and public key")
    return key


def sign(body: bytes, name: str, signer: NoteSigner) -> bytes:
    """The note of `body` with one signature. NoteInvalid: the body or the name cannot stand in a note."""
    _check_name(name)
    _check_text(body)
    if not body.endswith(b"\n"):
        _fail("form", "the text does not end in a newline")
    key = VerifierKey(name, bytes(signer.public_key))
    signature = base64.b64encode(key.key_id + signer.sign(body)).decode()
    note = body + f"\n{SIGNATURE_START}{name} {signature}\n".encode()
    if len(note) > NOTE_LIMIT_BYTES:
        _fail("form", f"longer than {NOTE_LIMIT_BYTES} bytes")
    return note


def verify(note: bytes, verifier_key: str) -> bytes:
    """The text of a note that this key has signed. Signatures of others are passed over.

    Raises NoteInvalid, its context's `reason` one of form, key (the verifier key itself), unknown (no signature
    by this key) and signature (one by this key that does not verify).
    """
    key = parse_verifier_key(verifier_key)
    body, lines = _split(note)
    ours = [signature for name, signature in lines if _is_by(key, name, signature)]
    if not ours:
        _fail("unknown", f"no signature by {key.name}+{key.key_id.hex()}")
    for signature in ours:
        if not _verifies(key, signature[KEY_ID_BYTES:], body):
            _fail("signature", f"a signature by {key.name} does not verify")
    return body


def read_checkpoint(note: bytes, verifier_key: str) -> Checkpoint:
    """The checkpoint in a note that this key has signed, of the log that has the key's name.

    NoteInvalid as of `verify`, and with reason `origin` for a checkpoint of another log; CheckpointInvalid.
    """
    checkpoint = decode_text(verify(note, verifier_key)).checkpoint
    name = parse_verifier_key(verifier_key).name
    if checkpoint.origin != name:
        _fail("origin", f"a checkpoint of {checkpoint.origin}, signed by {name}")
    return checkpoint


def _split(note: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Text, and name and bytes of each signature. The last empty line is between them."""
    _check_text(note)
    body, blank, signatures = note.rpartition(b"\n\n")
    if not blank or not signatures.endswith(b"\n"):
        _fail("form", "no blank line with signature lines behind it")
    lines = signatures.decode()[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        _fail("form", f"{len(lines)} signatures, {SIGNATURES_MAX} are looked at")
    return body + b"\n", [_signature_of(line) for line in lines]


def _signature_of(line: str) -> tuple[str, bytes]:
    name, _, text = line.removeprefix(SIGNATURE_START).partition(" ")
    if not line.startswith(SIGNATURE_START):
        _fail("form", "a signature line does not begin with an em dash and a space")
    if not _is_name(name):
        _fail("form", "a signature line without a key name")
    signature = _from_base64(text, "form", "a signature is not base64")
    if len(signature) <= KEY_ID_BYTES:
        _fail("form", "a signature has no more than its key id")
    return name, signature


def _is_by(key: VerifierKey, name: str, signature: bytes) -> bool:
    return name == key.name and signature.startswith(key.key_id)


def _verifies(key: VerifierKey, signature: bytes, body: bytes) -> bool:
    if len(signature) != SIGNATURE_BYTES:
        return False
    return Signature.from_bytes(signature).verify(Pubkey.from_bytes(key.public_key), body)


def _digest(name: str, public_key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([ED25519]) + public_key).digest()


def _from_base64(text: str, reason: str, message: str) -> bytes:
    """Bytes of the one spelling that they have: decoders pass over the last, unused bits."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not raw or base64.b64encode(raw).decode() != text:
        _fail(reason, message)
    return raw


def _check_text(data: bytes) -> None:
    if len(data) > NOTE_LIMIT_BYTES:
        _fail("form", f"longer than {NOTE_LIMIT_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as fault:
        _fail("form", f"not UTF-8 at byte {fault.start}")
    if any(character < " " and character != "\n" for character in text):
        _fail("form", "holds a control character")


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and all(c > " " and not c.isspace() for c in name)


def _check_name(name: str) -> None:
    if not _is_name(name):
        _fail("key", "a key name is not empty and has neither spaces nor plus signs")


def _fail(reason: str, message: str) -> NoReturn:
    raise NoteInvalid(f"signed note: {message}", reason=reason)
