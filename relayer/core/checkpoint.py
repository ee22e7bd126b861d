"""The checkpoint: what the log commits to at one size, as text (C2SP tlog-checkpoint) and as bytes.

The text is the body of a signed note: origin, size, base64 root, then optional extension lines, each ended
by a newline; a blank line and the signature lines may follow. There is one spelling of each checkpoint, so
equal bytes and equal checkpoints mean the same.

The binary form, little-endian, is for places where bytes are counted:
version u8 (1) · origin length u8 · size u64 · root 32 bytes · origin in UTF-8.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from typing import NoReturn

from engine.common.errors import CheckpointInvalid
from relayer.core.proofs import SIZE_LIMIT
from relayer.core.rfc9162 import EMPTY_ROOT, HASH_BYTES

# Sixteen post-quantum signatures of 5 kB, in base64, must fit (C2SP signed-note).
NOTE_LIMIT_BYTES = 1 << 17
ORIGIN_LIMIT_BYTES = 255
BINARY_VERSION = 1
BINARY_HEAD = struct.Struct("<BBQ32s")
SIGNATURE_START = "— "


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`root` (32 bytes) over the first `size` leaves of the log named `origin`.

    Raises CheckpointInvalid if a field breaks the rules of the text form, or if size 0 has another root
    than the hash of nothing.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_line("origin", self.origin)
        if len(self.origin.encode()) > ORIGIN_LIMIT_BYTES:
            _fail("origin", f"longer than {ORIGIN_LIMIT_BYTES} bytes")
        if not 0 <= self.size < SIZE_LIMIT:
            _fail("size", f"{self.size} does not fit 64 bits")
        if len(self.root) != HASH_BYTES:
            _fail("root", f"{len(self.root)} bytes, not {HASH_BYTES}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            _fail("root", "the empty log has one root, the SHA-256 of nothing")
        for line in self.extensions:
            _check_line("extension line", line)


@dataclass(frozen=True, slots=True)
class Note:
    """A checkpoint as received: `body` is what signatures sign, `signatures` their lines, untouched."""

    checkpoint: Checkpoint
    body: bytes
    signatures: bytes


def encode_text(checkpoint: Checkpoint) -> bytes:
    """The note body in UTF-8, without signatures."""
    root = base64.b64encode(checkpoint.root).decode()
    lines = (checkpoint.origin, str(checkpoint.size), root, *checkpoint.extensions)
    return "".join(f"{line}\n" for line in lines).encode()


def decode_text(note: bytes) -> Note:
    """Read a note body, with or without signature lines; signatures are not verified here.

    Raises CheckpointInvalid on whatever `encode_text` would not have written as body.
    """
    if len(note) > NOTE_LIMIT_BYTES:
        _fail("note", f"longer than {NOTE_LIMIT_BYTES} bytes")
    try:
        text = note.decode()
    except UnicodeDecodeError as fault:
        _fail("note", f"not UTF-8 at byte {fault.start}")
    body, blank, signatures = text.partition("\n\n")
    if blank:
        body += "\n"
        _check_signatures(signatures)
    if not body.endswith("\n"):
        _fail("note", "the last line does not end")
    lines = body[:-1].split("\n")
    if len(lines) < 3:
        _fail("note", f"{len(lines)} lines, at least 3 are needed")
    origin, size, root, *extensions = lines
    checkpoint = Checkpoint(origin, _parse_size(size), _parse_root(root), tuple(extensions))
    return Note(checkpoint, body.encode(), signatures.encode())


def encode_binary(checkpoint: Checkpoint) -> bytes:
    """The binary form. Raises CheckpointInvalid if there are extension lines: it has no place for them."""
    if checkpoint.extensions:
        _fail("extension line", "the binary form carries none")
    origin = checkpoint.origin.encode()
    return BINARY_HEAD.pack(BINARY_VERSION, len(origin), checkpoint.size, checkpoint.root) + origin


def decode_binary(data: bytes) -> Checkpoint:
    """Read the binary form. Raises CheckpointInvalid on any other bytes, spare ones included."""
    if len(data) < BINARY_HEAD.size:
        _fail("binary form", f"{len(data)} bytes, at least {BINARY_HEAD.size} are needed")
    version, origin_bytes, size, root = BINARY_HEAD.unpack_from(data)
    if version != BINARY_VERSION:
        _fail("version", f"{version} is unknown")
    if len(data) != BINARY_HEAD.size + origin_bytes:
        _fail("origin", f"{len(data) - BINARY_HEAD.size} bytes follow the head, which says {origin_bytes}")
    try:
        origin = data[BINARY_HEAD.size :].decode()
    except UnicodeDecodeError as fault:
        _fail("origin", f"not UTF-8 at byte {fault.start}")
    return Checkpoint(origin, size, root)


def _parse_size(line: str) -> int:
    # 20 digits hold every u64; the bound keeps int() off megabytes of digits.
    if not (line.isascii() and line.isdigit() and len(line) <= 20) or (line[0] == "0" and line != "0"):
        _fail("size", "not a decimal number without leading zeros")
    return int(line)


def _parse_root(line: str) -> bytes:
    try:
        root = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        _fail("root", "not base64")
    # Base64 decoders ignore the unused last bits, so one root would have four spellings.
    if base64.b64encode(root).decode() != line:
        _fail("root", "not the one base64 spelling of its bytes")
    return root


def _check_signatures(signatures: str) -> None:
    if not signatures.endswith("\n"):
        _fail("signature", "the last line does not end")
    for line in signatures[:-1].split("\n"):
        _check_line("signature", line)
        if not line.startswith(SIGNATURE_START):
            _fail("signature", "a line does not begin with an em dash and a space")


def _check_line(name: str, line: str) -> None:
    if not line:
        _fail(name, "empty")
    if any(character < " " for character in line):
        _fail(name, "holds a control character")
    try:
        line.encode()
    except UnicodeEncodeError:
        _fail(name, "cannot be written as UTF-8")


def _fail(field: str, rule: str) -> NoReturn:
    raise CheckpointInvalid(f"checkpoint: {field}: {rule}", field=field)
