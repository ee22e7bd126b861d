from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.common.errors import CheckpointInvalid
from relayer.core.checkpoint import (
    NOTE_LIMIT_BYTES,
    Checkpoint,
    decode_binary,
    decode_text,
    encode_binary,
    encode_text,
)
from relayer.core.log import MerkleLog
from relayer.core.rfc9162 import EMPTY_ROOT
from tests.vectors import make_checkpoint

VECTOR_FILE = Path(__file__).parents[2] / "vectors" / "checkpoint.json"
VECTORS = json.loads(VECTOR_FILE.read_text())["vectors"]
ROOT = bytes(range(32))
BODY = encode_text(Checkpoint("godark.example/log", 7, ROOT))
SIGNED = BODY + "\n— godark.example/log AAAAAAAA\n— witness.example BBBB\n".encode()

lines = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=40)
checkpoints = st.builds(
    Checkpoint,
    lines,
    st.integers(1, (1 << 64) - 1),
    st.binary(min_size=32, max_size=32),
    st.lists(lines, max_size=3).map(tuple),
)


def field(decode: object, data: bytes) -> object:
    assert callable(decode)
    with pytest.raises(CheckpointInvalid) as caught:
        decode(data)
    return caught.value.context["field"]


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_committed_vectors(vector: dict[str, Any]) -> None:
    leaves = [bytes.fromhex(leaf) for leaf in vector["leaves"]]
    log = MerkleLog()
    for leaf in leaves:
        log.append(np.frombuffer(leaf, dtype=np.uint8).reshape(1, len(leaf)))
    checkpoint = Checkpoint(vector["origin"], log.size, log.root(), tuple(vector["extensions"]))
    assert encode_text(checkpoint).decode() == vector["text"]
    assert decode_text(vector["text"].encode()).checkpoint == checkpoint
    if vector["binary"] is not None:
        assert encode_binary(checkpoint).hex() == vector["binary"]
        assert decode_binary(bytes.fromhex(vector["binary"])) == checkpoint


def test_the_vectors_are_what_the_formats_say() -> None:
    assert (VECTOR_FILE.read_text(), len(VECTORS)) == (make_checkpoint.render(), 7)


@settings(max_examples=150, deadline=None)
@given(checkpoint=checkpoints)
def test_round_trips(checkpoint: Checkpoint) -> None:
    note = decode_text(encode_text(checkpoint))
    assert note.checkpoint == checkpoint
    assert note.body == encode_text(checkpoint)
    assert note.signatures == b""
    plain = Checkpoint(checkpoint.origin, checkpoint.size, checkpoint.root)
    assert decode_binary(encode_binary(plain)) == plain


def test_signature_lines_come_back_untouched() -> None:
    note = decode_text(SIGNED)
    assert note.checkpoint == Checkpoint("godark.example/log", 7, ROOT)
    assert note.body == BODY
    assert note.body + b"\n" + note.signatures == SIGNED


@pytest.mark.parametrize(
    ("note", "where"),
    [
        (b"", "note"),
        (BODY[:-1], "note"),
        (BODY + b"\n", "signature"),
        (BODY + b"\nunsigned\n", "signature"),
        (SIGNED[:-1], "signature"),
        (SIGNED + b"\n", "signature"),
        (b"\n" + BODY, "size"),
        (b"a\n7\n", "note"),
        (BODY.replace(b"\n7\n", b"\n07\n"), "size"),
        (BODY.replace(b"\n7\n", b"\n+7\n"), "size"),
        (BODY.replace(b"\n7\n", b"\n7 \n"), "size"),
        (BODY.replace(b"\n7\n", b"\n-7\n"), "size"),
        (BODY.replace(b"\n7\n", b"\n1_0\n"), "size"),
        (BODY.replace(b"\n7\n", "\n\u0667\n".encode()), "size"),
        (BODY.replace(b"\n7\n", b"\n18446744073709551616\n"), "size"),
        (BODY.replace(b"\n7\n", b"\n" + b"9" * 5000 + b"\n"), "size"),
        (BODY.replace(b"\n7\n", b"\n0\n"), "root"),
        (BODY.replace(b"\n", b"\r\n"), "size"),
        (BODY.replace(b"godark", b"go\x00ark"), "origin"),
        (BODY.replace(b"godark", b"go\xffark"), "note"),
        (BODY.replace(b"godark", b"g" * 255), "origin"),
        (BODY.replace(b"=", b""), "root"),
        (BODY.replace(b"=", b"=="), "root"),
        (BODY.replace(b"AAEC", b"AA C"), "root"),
        (BODY.replace(b"8=", b"9="), "root"),
        (BODY.replace(b"8=\n", b"8=\nextra\x01\n"), "extension line"),
        (BODY + b"x" * NOTE_LIMIT_BYTES, "note"),
        (b"o\n1\n" + base64.b64encode(bytes(31)) + b"\n", "root"),
        (b"o\n1\n" + base64.b64encode(bytes(33)) + b"\n", "root"),
    ],
)
def test_other_texts_are_refused_by_name(note: bytes, where: str) -> None:
    assert field(decode_text, note) == where


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"", "binary form"),
        (encode_binary(Checkpoint("o", 1, ROOT))[:41], "binary form"),
        (encode_binary(Checkpoint("o", 1, ROOT))[:-1], "origin"),
        (encode_binary(Checkpoint("o", 1, ROOT)) + b"x", "origin"),
        (struct.pack("<BBQ32s", 2, 1, 1, ROOT) + b"o", "version"),
        (struct.pack("<BBQ32s", 1, 0, 1, ROOT), "origin"),
        (struct.pack("<BBQ32s", 1, 1, 1, ROOT) + b"\n", "origin"),
        (struct.pack("<BBQ32s", 1, 1, 1, ROOT) + b"\xff", "origin"),
        (struct.pack("<BBQ32s", 1, 1, 0, ROOT) + b"o", "root"),
    ],
)
def test_other_bytes_are_refused_by_name(data: bytes, where: str) -> None:
    assert field(decode_binary, data) == where


@pytest.mark.parametrize(
    "arguments",
    [
        ("", 1, ROOT),
        ("a\nb", 1, ROOT),
        ("\ud800", 1, ROOT),
        ("o", -1, ROOT),
        ("o", 1 << 64, ROOT),
        ("o", 1, ROOT[:-1]),
        ("o", 0, ROOT),
        ("o", 1, ROOT, ("",)),
        ("o", 1, ROOT, ("two\nlines",)),
    ],
)
def test_a_checkpoint_that_could_not_be_read_back_cannot_be_made(arguments: tuple) -> None:
    with pytest.raises(CheckpointInvalid):
        Checkpoint(*arguments)


def test_the_binary_form_has_no_place_for_extensions() -> None:
    with pytest.raises(CheckpointInvalid, match="carries none"):
        encode_binary(Checkpoint("o", 0, EMPTY_ROOT, ("x",)))


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
@example(data=BODY)
@example(data=SIGNED)
def test_any_bytes_are_read_or_refused_and_have_one_spelling(data: bytes) -> None:
    try:
        note = decode_text(data)
    except CheckpointInvalid:
        pass
    else:
        blank = b"\n" if note.signatures else b""
        assert encode_text(note.checkpoint) + blank + note.signatures == data
    try:
        checkpoint = decode_binary(data)
    except CheckpointInvalid:
        return
    assert encode_binary(checkpoint) == data


@settings(max_examples=400, deadline=None)
@given(place=st.integers(0, len(SIGNED) - 1), value=st.integers(0, 255), cut=st.booleans())
def test_a_changed_note_is_refused_or_says_something_else(place: int, value: int, cut: bool) -> None:
    changed = SIGNED[:place] + (b"" if cut else bytes([value])) + SIGNED[place + 1 :]
    try:
        note = decode_text(changed)
    except CheckpointInvalid:
        return
    blank = b"\n" if note.signatures else b""
    assert note.body + blank + note.signatures == changed
    assert encode_text(note.checkpoint) == note.body
