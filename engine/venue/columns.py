"""What every trade format has in common: columns of raw trades, and CSV read column by column."""

from __future__ import annotations

import csv
import datetime
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import InputFileError
from engine.venue.noise import below, draws, seeded_keys
from engine.venue.scales import BadField, Memo

CHUNK_ROWS: Final = 2048
_SECOND_NS: Final = 1_000_000_000
_HOUR_SECONDS: Final = 3_600
_EPOCH_DAY: Final = datetime.date(1970, 1, 1).toordinal()
_TIME_MAX_NS: Final = 4_102_444_800 * _SECOND_NS
"""2100-01-01: a time beyond it is a unit taken for another."""
_SYMBOL = re.compile(r"[A-Za-z0-9_/.-]{1,16}", re.ASCII)
_SYMBOLS_MAX: Final = 256
_ISO_HOUR = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([01][0-9]|2[0-3]):", re.ASCII)
_ISO_REST = re.compile(r"([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,9}))?Z", re.ASCII)
_ISO_HOUR_LENGTH: Final = len("2023-02-27T22:")
_INTEGER_DIGITS: Final = 18


class Columns(NamedTuple):
    """Trades as a file tells them, not yet on a market's scale. Every array has one entry per trade."""

    row: NDArray[np.int64]  # in the file, from 1
    time_ns: NDArray[np.int64]
    symbol: NDArray[np.int64]  # index into the parser's symbols
    price: NDArray[np.int64]  # packed decimals (scales.pack), USD per base
    size: NDArray[np.int64]  # packed decimals, base
    side: NDArray[np.int64]  # +1 or -1: the taker buys or sells
    maker: NDArray[np.int64]  # account numbers
    taker: NDArray[np.int64]
    trade_id: NDArray[np.int64]


class TradeParser(Protocol):
    """Reads one file of one format, once. `symbols`, `accounts` and `remarks` are whole after `read`."""

    remarks: list[str]

    @property
    def symbols(self) -> list[str]:
        """Markets in order of appearance."""
        ...

    @property
    def accounts(self) -> list[bytes]:
        """32-byte keys; account n is at n - 1."""
        ...

    def read(self, lines: Iterator[str], file: str) -> Iterator[Columns]:
        """Chunks of raw trades in file order. Raises InputFileError with row and reason."""
        ...


class CsvFormat:
    """Turns the wanted columns of a CSV text into integers, a block of rows at a time.

    A block is split in one go into a flat list of fields with a row-end mark after each row; only a block
    with quotes goes through the csv module, which is half as fast.
    """

    def __init__(self, file: str, converters: dict[str, Callable[[str], int]]) -> None:
        self._file = file
        self._converters = converters

    def chunks(self, lines: Iterator[str]) -> Iterator[tuple[int, list[NDArray[np.int64]]]]:
        """(row number of the first row, one int64 array per wanted column), to the end of the text."""
        header = split_header(self._file, next(lines, ""))
        places = column_places(self._file, header, tuple(self._converters))
        first = 1
        while block := list(islice(lines, CHUNK_ROWS)):
            fields = self._fields(block, len(header), first)
            yield first, self._convert(fields, len(header) + 1, first, places)
            first += len(block)
        if first == 1:
            raise InputFileError(self._file, "has a header but no rows")

    def _fields(self, block: list[str], width: int, first: int) -> list[str]:
        """All fields of the rows, a newline after each row. Raises where a row has not `width` fields."""
        text = "".join(block)
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        if '"' in text:
            return self._quoted(block, width, first)
        if not text.endswith("\n"):
            text += "\n"
        fields = text.replace("\n", ",\n,").split(",")
        fields.pop()
        if len(fields) != len(block) * (width + 1) or fields[width :: width + 1].count("\n") != len(block):
            counts = [line.count(",") + 1 for line in block]
            self._refuse_width(counts, width, first)
        return fields

    def _quoted(self, block: list[str], width: int, first: int) -> list[str]:
        rows: list[list[str]] = []
        try:
            rows.extend(csv.reader(block, strict=True))
        except csv.Error as error:
            raise InputFileError(self._file, f"is not CSV ({error})", first + len(rows)) from error
        self._refuse_width(list(map(len, rows)), width, first)
        return [field for row in rows for field in (*row, "\n")]

    def _refuse_width(self, counts: list[int], width: int, first: int) -> None:
        for at, count in enumerate(counts):
            if count != width:
                reason = f"has {count} fields, the header has {width}"
                raise InputFileError(self._file, reason, first + at)

    def _convert(
        self, fields: list[str], stride: int, first: int, places: list[int]
    ) -> list[NDArray[np.int64]]:
        count = len(fields) // stride
        converters = self._converters.values()
        try:
            return [
                np.fromiter(map(convert, fields[place::stride]), np.int64, count)
                for place, convert in zip(places, converters, strict=True)
            ]
        except BadField:
            self._refuse_field(fields, stride, first, places)
            raise

    def _refuse_field(self, fields: list[str], stride: int, first: int, places: list[int]) -> None:
        """Find the first row, and in it the first column, that does not convert."""
        for at in range(len(fields) // stride):
            for place, (name, convert) in zip(places, self._converters.items(), strict=True):
                try:
                    convert(fields[at * stride + place])
                except BadField as error:
                    raise InputFileError(self._file, f"{name}: {error}", first + at) from error


def split_header(file: str, line: str) -> list[str]:
    """The column names of a header line. Raises InputFileError."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error as error:
        raise InputFileError(file, f"has a header that is not CSV ({error})") from error


def column_places(file: str, header: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Where each wanted column stands. Raises InputFileError naming what is missing and what was found."""
    missing = [name for name in wanted if name not in header]
    found = ", ".join(header)[:400]
    if missing:
        raise InputFileError(file, f"misses the column {', '.join(missing)}; found: {found}")
    twice = [name for name in wanted if header.count(name) > 1]
    if twice:
        raise InputFileError(file, f"has the column {twice[0]} twice; found: {found}")
    return [header.index(name) for name in wanted]


class Choice(Memo):
    """One of a few words."""

    def __init__(self, what: str, values: dict[str, int]) -> None:
        super().__init__(values)
        self._reason = f"is not a known {what} ({' or '.join(values)})"

    def convert(self, text: str) -> int:
        raise BadField(f"{text[:40]!r} {self._reason}")


class Numbering(dict[str, int]):
    """Texts to numbers in order of first appearance, from `first`. Not a Memo: it must never forget."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self._first = first

    def check(self, text: str) -> None:
        """Raise BadField where `text` cannot be named."""

    def __missing__(self, text: str) -> int:
        self.check(text)
        number = self[text] = self._first + len(self)
        return number


class Symbols(Numbering):
    """Market symbols, numbered from 0."""

    def __init__(self) -> None:
        super().__init__(0)

    def check(self, text: str) -> None:
        if not _SYMBOL.fullmatch(text):
            raise BadField(f"{text[:40]!r} is not a symbol of 1 to 16 letters and digits")
        if len(self) >= _SYMBOLS_MAX:
            raise BadField(f"{text!r} is one market more than the {_SYMBOLS_MAX} there can be")


class Integers(Memo):
    """Non-negative integers of at most 18 digits."""

    def convert(self, text: str) -> int:
        return whole_number(text)


class UnixTimes(Memo):
    """Integer UNIX times in a fixed unit, to nanoseconds."""

    def __init__(self, unit_ns: int) -> None:
        super().__init__()
        self._unit_ns = unit_ns

    def convert(self, text: str) -> int:
        return checked_time(whole_number(text) * self._unit_ns, text)


class _IsoHours(Memo):
    def convert(self, text: str) -> int:
        match = _ISO_HOUR.fullmatch(text)
        if match is None:
            raise BadField("")
        try:
            days = datetime.date.fromisoformat(match[1]).toordinal() - _EPOCH_DAY
        except ValueError as error:
            raise BadField("") from error
        return (days * 24 + int(match[2])) * _HOUR_SECONDS * _SECOND_NS


class _IsoRests(Memo):
    def convert(self, text: str) -> int:
        match = _ISO_REST.fullmatch(text)
        if match is None:
            raise BadField("")
        return (int(match[1]) * 60 + int(match[2])) * _SECOND_NS + int((match[3] or "").ljust(9, "0"))


class IsoTimes(Memo):
    """UTC times such as 2023-02-27T22:22:46Z, with up to nine decimals of the second, to nanoseconds."""

    def __init__(self) -> None:
        super().__init__()
        self._hours, self._rests = _IsoHours(), _IsoRests()

    def convert(self, text: str) -> int:
        try:
            time_ns = self._hours[text[:_ISO_HOUR_LENGTH]] + self._rests[text[_ISO_HOUR_LENGTH:]]
        except BadField as error:
            raise BadField(f"{text[:40]!r} is not a UTC time like 2023-02-27T22:22:46Z") from error
        return checked_time(time_ns, text)


def whole_number(text: str) -> int:
    """`text` as a non-negative integer of at most 18 digits; BadField where it is not one."""
    if len(text) > _INTEGER_DIGITS or not (text.isdigit() and text.isascii()):
        raise BadField(f"{text[:40]!r} is not a whole number")
    return int(text)


def checked_time(time_ns: int, text: str) -> int:
    """`time_ns`, or BadField where it is not between 1970 and 2100."""
    if not 0 < time_ns < _TIME_MAX_NS:
        raise BadField(f"{text[:40]!r} is not a time between 1970 and 2100 (is its unit another?)")
    return time_ns


class Population:
    """64 seeded accounts that trade a recording which names none. A few of them are busier."""

    SIZE: Final = 64
    _BUSY_SHARE: Final = (24, 16, 12, 8)  # of 124 draws: accounts 1 to 4; the others have one each

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.accounts = seeded_keys(seed, 11, self.SIZE)
        shares = [*self._BUSY_SHARE, *[1] * (self.SIZE - len(self._BUSY_SHARE))]
        self._taker_of = np.repeat(np.arange(self.SIZE, dtype=np.int64), shares)

    def pair(self, row: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(maker, taker) account numbers for trades at these rows; never the same account twice."""
        taker = self._taker_of[below(draws(self._seed, 12, row), len(self._taker_of))]
        maker = (taker + 1 + below(draws(self._seed, 13, row), self.SIZE - 1)) % self.SIZE
        return maker + 1, taker + 1
