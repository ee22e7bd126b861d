"""Files of published data: opened, decompressed and parsed, each fault named by file and reason."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

FILE_LIMIT_BYTES = 1 << 28
KINDS = {".json": "document", ".jsonl": "lines", ".ndjson": "lines", ".csv": "table"}


class Malformed(Exception):
    """A file or a vector is not what its name or its family says."""


class DataFile:
    """One file, read no further than asked: a document, lines of JSON, a table with a header, or other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
        self.kind = KINDS.get(suffixes[-1], "other") if suffixes else "other"

    @cached_property
    def document(self) -> Any:
        """The whole file as one JSON value. Raises Malformed."""
        return _parse(self._text(FILE_LIMIT_BYTES))

    @cached_property
    def keys(self) -> frozenset[str]:
        """What a file is recognised by: a document's or first line's keys, or columns. Raises Malformed."""
        if self.kind == "document":
            sample = self.document
        elif self.kind == "lines":
            sample = next(self.records(), None)
        elif self.kind == "table":
            return frozenset(self.header)
        else:
            return frozenset()
        return frozenset(sample) if isinstance(sample, dict) else frozenset()

    @property
    def family(self) -> str | None:
        """The `family` a document names, if it names one."""
        named = self.document.get("family") if self.kind == "document" and "family" in self.keys else None
        return named if isinstance(named, str) else None

    @cached_property
    def header(self) -> tuple[str, ...]:
        """The columns of a table. Raises Malformed if there is no header."""
        for line in self._lines():
            return tuple(next(csv.reader([line])))
        raise Malformed("no header")

    def records(self) -> Iterator[Any]:
        """The lines as JSON values, or the rows as dicts by column. Raises Malformed naming the row, from 1.

        A captured line with its time of arrival in front is {"received": int, "body": value}.
        """
        if self.kind == "lines":
            for number, line in enumerate(self._lines(), 1):
                try:
                    yield _parse_line(line)
                except Malformed as fault:
                    raise Malformed(f"row {number}: {fault}") from fault
            return
        rows = csv.reader(self._lines())
        header = next(rows, [])
        for number, row in enumerate(rows, 1):
            if len(row) != len(header):
                raise Malformed(f"row {number}: {len(row)} columns, the header has {len(header)}")
            yield dict(zip(header, row, strict=True))

    def drain(self) -> None:
        """Read to the end, for the checksum of the compression. Raises Malformed."""
        try:
            with self._open() as stream:
                while stream.read(1 << 20):
                    pass
        except (OSError, EOFError, zlib.error) as fault:
            raise Malformed(_first_line(fault)) from fault

    def _text(self, limit_bytes: int) -> str:
        try:
            with self._open() as stream:
                data = stream.read(limit_bytes + 1)
            if len(data) > limit_bytes:
                raise Malformed(f"larger than {limit_bytes} bytes")
            return data.decode("utf-8-sig")
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as fault:
            raise Malformed(_first_line(fault)) from fault

    def _lines(self) -> Iterator[str]:
        try:
            with self._open() as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
                yield from text
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as fault:
            raise Malformed(_first_line(fault)) from fault

    def _open(self) -> gzip.GzipFile | io.BufferedReader:
        if self.name.endswith(".gz"):
            return gzip.GzipFile(self.path, "rb")
        return self.path.open("rb")


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as fault:
        raise Malformed(f"not JSON: {_first_line(fault)}") from fault


def _parse_line(line: str) -> Any:
    stamp, space, rest = line.partition(" ")
    if space and stamp.isdecimal():
        return {"received": int(stamp), "body": _parse(rest)}
    return _parse(line)


def _first_line(fault: BaseException) -> str:
    return (str(fault).splitlines() or [type(fault).__name__])[0]
