"""Signed notes: what one key signed, nobody else can have changed in a single bit."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.keypair import Keypair

from engine.common.errors import NoteInvalid
from relayer.core import note
from relayer.core.checkpoint import NOTE_LIMIT_BYTES, Checkpoint, encode_text
from relayer.signer.keyfile import KeyfileSigner

NAME = "godark.example/log/0"
SIGNER, OTHER = (KeyfileSigner(Keypair.from_seed(bytes([k] * 32))) for k in (3, 4))
KEY = note.verifier_key(NAME, SIGNER)
CHECKPOINT = Checkpoint(NAME, 7, bytes(range(32)))
BODY = encode_text(CHECKPOINT)
SIGNED = note.sign(BODY, NAME, SIGNER)

# Signed by an implementation that is not ours.
FOREIGN_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOREIGN = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1E"
    "RYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()


def reason(data: bytes, key: str = KEY) -> object:
    with pytest.raises(NoteInvalid) as caught:
        note.verify(data, key)
    return caught.value.context["reason"]


def test_a_note_of_another_implementation_verifies() -> None:
    assert note.verify(FOREIGN, FOREIGN_KEY) == b"This is an example message.\n"
    assert note.parse_verifier_key(FOREIGN_KEY).text == FOREIGN_KEY


def test_what_is_signed_reads_back() -> None:
    assert note.verify(SIGNED, KEY) == BODY
    assert note.read_checkpoint(SIGNED, KEY) == CHECKPOINT
    assert note.sign(BODY, NAME, SIGNER) == SIGNED, "one signature of one text"
    assert SIGNED.decode().split("\n")[-2].startswith(f"— {NAME} ")


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=60), st.integers(0, 3))
def test_texts_with_empty_lines_are_signed_whole(text: str, blanks: int) -> None:
    body = ("\n" * blanks + text + "\n").encode()
    assert note.verify(note.sign(body, NAME, SIGNER), KEY) == body


def test_every_single_bit_change_is_refused() -> None:
    for at in range(8 * len(SIGNED)):
        changed = bytearray(SIGNED)
        changed[at >> 3] ^= 1 << (at & 7)
        with pytest.raises(NoteInvalid):
            note.verify(bytes(changed), KEY)


def test_every_cut_and_every_byte_too_many_is_refused() -> None:
    for length in range(len(SIGNED)):
        with pytest.raises(NoteInvalid):
            note.verify(SIGNED[:length], KEY)
    for more in (b"\n", b"x", b"\n\n", b" \n"):
        with pytest.raises(NoteInvalid):
            note.verify(SIGNED + more, KEY)


def test_signatures_of_others_are_passed_over_and_ours_must_all_verify() -> None:
    ours = SIGNED.removeprefix(BODY + b"\n")
    theirs = note.sign(BODY, "witness.example", OTHER).removeprefix(BODY + b"\n")
    same_name = note.sign(BODY, NAME, OTHER).removeprefix(BODY + b"\n")
    assert note.verify(BODY + b"\n" + theirs + same_name + ours, KEY) == BODY
    assert reason(BODY + b"\n" + theirs + same_name) == "unknown"
    of_another_text = note.sign(BODY + b"x\n", NAME, SIGNER).removeprefix(BODY + b"x\n\n")
    assert reason(BODY + b"\n" + ours + of_another_text) == "signature"
    assert reason(BODY + b"\n" + theirs * 100 + ours) == "form"
    assert note.verify(BODY + b"\n" + theirs * 99 + ours, KEY) == BODY


def test_a_short_signature_of_ours_is_a_wrong_one() -> None:
    short = base64.b64encode(note.parse_verifier_key(KEY).key_id + bytes(63)).decode()
    assert reason(BODY + f"\n— {NAME} {short}\n".encode()) == "signature"


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\nb", "a\tb"])
def test_names_that_no_key_has(name: str) -> None:
    with pytest.raises(NoteInvalid):
        note.sign(BODY, name, SIGNER)
    with pytest.raises(NoteInvalid):
        note.verifier_key(name, SIGNER)


TOO_LONG = [b"x" * NOTE_LIMIT_BYTES + b"\n", b"x" * (NOTE_LIMIT_BYTES - 9) + b"\n"]


@pytest.mark.parametrize("body", [b"", b"no newline", b"\xff\n", b"a\rb\n", *TOO_LONG])
def test_texts_that_no_note_has(body: bytes) -> None:
    with pytest.raises(NoteInvalid) as caught:
        note.sign(body, NAME, SIGNER)
    assert caught.value.context["reason"] == "form"


def test_verifier_keys_have_one_spelling() -> None:
    for at in range(8 * len(KEY)):
        changed = bytearray(KEY.encode())
        changed[at >> 3] ^= 1 << (at & 7)
        try:
            text = changed.decode()
        except UnicodeDecodeError:
            continue
        with pytest.raises(NoteInvalid) as caught:
            note.parse_verifier_key(text)
        assert caught.value.context["reason"] == "key"
    for wrong in ("", "name", "name+00000000", KEY + "\n", KEY.replace("+", "+ ", 1)):
        assert reason(SIGNED, wrong) == "key"


def test_a_checkpoint_of_another_log_is_refused() -> None:
    foreign = note.sign(encode_text(Checkpoint("other.example", 7, CHECKPOINT.root)), NAME, SIGNER)
    with pytest.raises(NoteInvalid, match=r"a checkpoint of other\.example"):
        note.read_checkpoint(foreign, KEY)
