"""A key in a file: a JSON array of 64 numbers, as Solana's own tools write it.

Nothing here formats, pickles or copies the key, and no error quotes what a key file holds.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Final, NoReturn

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from engine.common.errors import SettingsError

_MODE: Final = 0o600
_KEY_BYTES: Final = 64
_FILE_LIMIT_BYTES: Final = 4096


class KeyfileSigner:
    """Signs with the key of a file. Shows only its public key, whoever asks and however."""

    __slots__ = ("__keypair", "_public_key")

    def __init__(self, keypair: Keypair) -> None:
        self.__keypair = keypair
        self._public_key = keypair.pubkey()

    @classmethod
    def load(cls, path: Path) -> KeyfileSigner:
        """Read a key file. Raises SettingsError unless it is ours, a plain file, of mode 0600, and sound."""
        raw = _read_private(path)
        try:
            numbers = json.loads(raw)
        except ValueError:
            # The decoder's error carries the whole document: it must not travel on.
            numbers = None
        if (
            not isinstance(numbers, list)
            or len(numbers) != _KEY_BYTES
            or not all(type(number) is int and 0 <= number <= 255 for number in numbers)
        ):
            raise SettingsError(f"{path}: a key file is a JSON array of {_KEY_BYTES} numbers from 0 to 255")
        secret = bytes(numbers)
        keypair = Keypair.from_seed(secret[:32])
        if bytes(keypair.pubkey()) != secret[32:]:
            raise SettingsError(f"{path}: the public half of the key does not belong to the private half")
        return cls(keypair)

    @classmethod
    def create(cls, path: Path) -> KeyfileSigner:
        """Make a new key, durable on disk before it is used. Raises SettingsError where a file is there."""
        keypair = Keypair()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, _MODE)
        except OSError as error:
            raise SettingsError(f"{path}: cannot make a key file: {error.strerror}") from None
        try:
            os.fchmod(descriptor, _MODE)
            os.write(descriptor, json.dumps(list(bytes(keypair))).encode("ascii"))
            os.fsync(descriptor)
        except OSError:
            os.unlink(path)  # half a key would be in the way of a whole one
            raise
        finally:
            os.close(descriptor)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return cls(keypair)

    @classmethod
    def load_or_create(cls, path: Path) -> KeyfileSigner:
        """The key of a file, which is made with a new one on the first start. Errors as of `load` and `create`."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls.load(path) if os.path.lexists(path) else cls.create(path)

    @property
    def public_key(self) -> Pubkey:
        """The key others know."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """The 64-byte ed25519 signature of a message."""
        return bytes(self.__keypair.sign_message(message))

    def __repr__(self) -> str:
        return f"KeyfileSigner({self._public_key})"

    def __str__(self) -> str:
        return repr(self)

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a signer is neither pickled nor copied")


def _read_private(path: Path) -> bytes:
    """The bytes of a file only we can read. What is checked is the open file, so none can be swapped in."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise SettingsError(
            f"{path}: no key file; put the payer's key there (a JSON array of {_KEY_BYTES} numbers, as solana-keygen"
            " writes it, mode 0600) or name another with relayer.keyfile"
        ) from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot open the key file: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SettingsError(f"{path}: a key file must be a plain file")
        if status.st_uid != os.geteuid():
            raise SettingsError(f"{path}: a key file must belong to the user who runs this")
        if stat.S_IMODE(status.st_mode) != _MODE:
            raise SettingsError(f"{path}: a key file must have mode 0600: chmod 600 {path}")
        return os.read(descriptor, _FILE_LIMIT_BYTES)
    finally:
        os.close(descriptor)
