"""Text files, plain or gzip, line by line; whatever is wrong with the bytes becomes one InputFileError."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from engine.common.errors import InputFileError

_GZIP_MAGIC: Final = b"\x1f\x8b"
_DAMAGED: Final = (EOFError, zlib.error, gzip.BadGzipFile)


@contextmanager
def open_text(path: Path, *, first_line: int) -> Iterator[io.TextIOWrapper]:
    """The file as UTF-8 text, unzipped by its magic bytes, not by its name.

    `first_line`: the row number of the first line, 0 where it is a header; used only to name the row at
    which unzipping or decoding fails. Raises InputFileError.
    """
    try:
        with _open_bytes(path) as raw, io.TextIOWrapper(raw, encoding="utf-8", newline="") as text:
            yield text
    except UnicodeDecodeError as error:
        raise InputFileError(str(path), "is not UTF-8 text", _failing_row(path, first_line)) from error
    except _DAMAGED as error:
        reason = "the gzip data is cut short" if isinstance(error, EOFError) else f"is damaged gzip ({error})"
        raise InputFileError(str(path), reason, _failing_row(path, first_line)) from error
    except OSError as error:
        raise InputFileError(str(path), f"cannot be read ({error.strerror or error})") from error


def first_line(path: Path) -> str:
    """The first line without its end; empty for an empty file. Raises InputFileError."""
    with open_text(path, first_line=0) as text:
        return text.readline(1 << 20).rstrip("\r\n")


def _open_bytes(path: Path) -> BinaryIO:
    raw = path.open("rb")
    try:
        magic = raw.read(2)
        raw.seek(0)
    except OSError:
        raw.close()
        raise
    if magic != _GZIP_MAGIC:
        return raw
    raw.close()
    return cast(BinaryIO, gzip.open(path, "rb"))


def _failing_row(path: Path, first_line: int) -> int:
    """Number of the first line that cannot be read to its end or decoded."""
    row = first_line
    with _open_bytes(path) as raw:
        try:
            for line in raw:
                line.decode("utf-8")
                row += 1
        except (UnicodeDecodeError, *_DAMAGED):
            return row
    return row
