"""A key file is refused unless private, and the key never shows."""

import copy
import errno
import json
import os
import pickle
import traceback
from pathlib import Path

import pytest
from solders.keypair import Keypair

from engine.common.errors import SettingsError
from relayer.signer.keyfile import KeyfileSigner

CANARY = Keypair.from_seed(b"canary-canary-canary-canary-1234")


def write_key(path: Path, content: str | None = None, mode: int = 0o600) -> Path:
    path.write_text(json.dumps(list(bytes(CANARY))) if content is None else content)
    path.chmod(mode)
    return path


def leaks(text: str) -> bool:
    secret = CANARY.secret()
    shapes = [str(CANARY), secret.hex(), "canary", repr(list(secret))[1:-1].replace(" ", "")]
    return any(shape in text or shape in text.replace(" ", "") for shape in shapes)


def test_the_canary_is_seen_when_it_leaks() -> None:
    assert leaks(f"{CANARY}")
    assert leaks(CANARY.to_json())


def test_create_then_load(tmp_path: Path) -> None:
    made = KeyfileSigner.create(tmp_path / "key.json")
    assert (tmp_path / "key.json").stat().st_mode & 0o777 == 0o600
    loaded = KeyfileSigner.load(tmp_path / "key.json")
    assert loaded.public_key == made.public_key
    assert loaded.sign(b"m") == made.sign(b"m")
    with pytest.raises(SettingsError):
        KeyfileSigner.create(tmp_path / "key.json")


def test_signs_with_the_key(tmp_path: Path) -> None:
    signer = KeyfileSigner.load(write_key(tmp_path / "k"))
    assert signer.sign(b"message") == bytes(CANARY.sign_message(b"message"))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o400, 0o700])
def test_other_modes_are_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SettingsError, match="chmod 600"):
        KeyfileSigner.load(write_key(tmp_path / "k", mode=mode))


def test_other_owner_link_and_absence_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = write_key(tmp_path / "k")
    (tmp_path / "link").symlink_to(key)
    for path in (tmp_path / "link", tmp_path / "absent", tmp_path):
        with pytest.raises(SettingsError):
            KeyfileSigner.load(path)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(SettingsError, match="belong"):
        KeyfileSigner.load(key)


@pytest.mark.parametrize("damage", ["cut", "half", "text", "object", "range", "boolean"])
def test_damaged_files_are_refused_without_quoting_them(tmp_path: Path, damage: str) -> None:
    numbers = list(bytes(CANARY))
    content = {
        "cut": json.dumps(numbers)[:-5],
        "half": json.dumps([*numbers[:32], *([0] * 32)]),
        "text": str(CANARY),
        "object": json.dumps({"key": numbers}),
        "range": json.dumps([256, *numbers[1:]]),
        "boolean": json.dumps([True, *numbers[1:]]),
    }[damage]
    with pytest.raises(SettingsError) as caught:
        KeyfileSigner.load(write_key(tmp_path / "k", content))
    assert not leaks("".join(traceback.format_exception(caught.value)))
    assert not leaks(repr(caught.value.context))
    assert caught.value.__cause__ is None


def test_nothing_formats_or_copies_the_key(tmp_path: Path) -> None:
    signer = KeyfileSigner.load(write_key(tmp_path / "k"))
    shown = f"{signer} {signer!r} {signer!s} {signer:>100} %s %r" % (signer, signer)
    assert str(CANARY.pubkey()) in shown
    assert not leaks(shown)
    assert not hasattr(signer, "__dict__")
    for copier in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            copier(signer)


def test_a_missing_key_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no key file; put the payer's key there .* relayer\.keyfile"):
        KeyfileSigner.load(tmp_path / "key.json")


def test_the_first_start_makes_a_key_and_the_next_ones_take_it(tmp_path: Path) -> None:
    path = tmp_path / "relayer" / "log-key.json"
    made = KeyfileSigner.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert KeyfileSigner.load_or_create(path).public_key == made.public_key
    path.write_text("[]")
    with pytest.raises(SettingsError, match="JSON array"):
        KeyfileSigner.load_or_create(path)


def test_a_key_that_cannot_be_written_whole_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no room"):
        KeyfileSigner.create(tmp_path / "k")
    assert not (tmp_path / "k").exists()
