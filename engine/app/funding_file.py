"""Published funding files as hours of premium: columns are recognised, faults named by file and row."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import InputFileError
from kernels.funding_premium import share_e12
from kernels.profiles import RATE_ONE

HOUR_S = 3600
HOURLY_HYPERLIQUID_H = 1_686_186_000 // HOUR_S
"""From this hour on Hyperliquid pays every hour; before, every eight."""
HOURS_MAX = 24 * 366 * 30
Row = dict[str, str]


@dataclass
class Stretch:
    """Hours of one market. Arrays have one value an hour; price is in 1e-4 USD, 0 throughout: not in the file.

    oracle_e6, mark_e6: averages of index price and mark in 1e-6 USD, where the venue states them, else 0.
    published: (index of the last hour that a payment is for, hours, rate in 1e-12 of those hours).
    """

    venue: str
    first_hour: int
    premium_e12: NDArray[np.int64]
    valid: NDArray[np.int64]
    price_e4: NDArray[np.int64]
    oracle_e6: NDArray[np.int64]
    mark_e6: NDArray[np.int64]
    published: list[tuple[int, int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    coin: str = ""
    """As the file names it, where it does."""


@dataclass
class Span:
    """What one row says: of the `hours` hours before `end`, numbered since 1970. None: not said."""

    end: int
    hours: int
    premium_e12: int | None
    rate_e12: int | None
    price_e4: int = 0
    averages_e6: tuple[int, int] | None = None
    """Of the index price and of the mark, where the venue states them."""


def read_rows(path: Path) -> tuple[list[str], Iterator[tuple[int, Row]]]:
    """(header, numbered rows) of a CSV file, plain or gzip. Raises InputFileError."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputFileError(
            str(path), f"cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from error
    lines = csv.reader(io.StringIO(text))
    header = next(lines, [])

    def numbered() -> Iterator[tuple[int, Row]]:
        for number, values in enumerate(lines, 1):
            if len(values) != len(header):
                raise InputFileError(
                    str(path), f"{len(values)} columns, the header has {len(header)}", number
                )
            yield number, dict(zip(header, values, strict=True))

    return header, numbered()


def scaled(text: str, one: int) -> int:
    """A decimal times `one`, nearest. Raises ValueError."""
    try:
        value = Decimal(text) * one
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is not a number") from error
    if not value.is_finite() or abs(value) > 1 << 62:
        raise ValueError(f"{text} is out of range")
    return int(value.to_integral_value())


def hour_of(text: str, units_per_s: int) -> int:
    """The hour nearest to a time, since 1970. Raises ValueError."""
    return (scaled(text, 1) // units_per_s + HOUR_S // 2) // HOUR_S


def _hyperliquid(row: Row) -> Span:
    name = "time_s" if "time_s" in row else "time"
    end = hour_of(row[name], 1 if name == "time_s" else 1000)
    rate = row["funding_rate"] if "funding_rate" in row else row["fundingRate"]
    premium = row["premium_8dp"] if "premium_8dp" in row else row["premium"]
    hours = 1 if end >= HOURLY_HYPERLIQUID_H else 8
    return Span(end, hours, scaled(premium, RATE_ONE) if premium else None, scaled(rate, RATE_ONE))


def _binance_premium(row: Row) -> Span:
    end = hour_of(row["open_time_ms"], 1000) + 1
    middle = scaled(row["open"], RATE_ONE // 2) + scaled(row["close"], RATE_ONE // 2)
    return Span(end, 1, middle, None)


def _binance_funding(row: Row) -> Span:
    price = row["mark_price_open_at_funding_hour"]
    return Span(
        hour_of(row["calc_time_ms"], 1000),
        scaled(row["funding_interval_hours"], 1),
        None,
        scaled(row["funding_rate"], RATE_ONE),
        scaled(price, 10_000) if price else 0,
    )


def _bitmex(row: Row) -> Span:
    end, rate = hour_of(row["timestamp"], 1), scaled(row["funding_rate"], RATE_ONE)
    interest, dampener = RATE_ONE // 10_000, 5 * RATE_ONE // 10_000
    premium = rate if rate == interest else rate + dampener if rate > interest else rate - dampener
    return Span(end, 8, premium, rate, scaled(row["close"], 10_000))


def _share_e12(difference: int, oracle: int) -> int:
    values: list[Any] = [np.int64(value) for value in (difference, oracle, RATE_ONE)]
    return int(share_e12(*values))


def _drift(row: Row) -> Span:
    mark, oracle = scaled(row["markPriceTwap"], 10**6), scaled(row["oraclePriceTwap"], 10**6)
    if oracle <= 0:
        raise ValueError("oraclePriceTwap is not positive")
    premium = _share_e12(mark - oracle, oracle)
    rate = _share_e12(scaled(row["fundingRate"], 10**9), oracle * 1000)
    return Span(hour_of(row["ts"], 1), 1, premium, rate, oracle // 100, (oracle, mark))


_FORMATS: list[tuple[str, set[str], Callable[[Row], Span]]] = [
    ("Hyperliquid", {"time_s", "funding_rate", "premium_8dp"}, _hyperliquid),
    ("Hyperliquid", {"time", "funding_rate", "premium"}, _hyperliquid),
    ("Hyperliquid", {"time", "fundingRate", "premium"}, _hyperliquid),
    ("Binance", {"open_time_ms", "open", "close"}, _binance_premium),
    ("Binance", {"calc_time_ms", "funding_interval_hours", "funding_rate"}, _binance_funding),
    ("BitMEX", {"timestamp", "close", "funding_rate"}, _bitmex),
    ("Drift", {"ts", "fundingRate", "oraclePriceTwap", "markPriceTwap"}, _drift),
]
_PAIR = ("_funding_mark", "_premium_index_1h")


def _spans(path: Path, coin: str | None) -> tuple[str, list[Span], str]:
    """(venue, what its rows say, the one coin or "")."""
    header, rows = read_rows(path)
    found = next(((venue, take) for venue, columns, take in _FORMATS if columns <= set(header)), None)
    if found is None:
        said = ", ".join(header[:8]) or "none"
        raise InputFileError(str(path), f"its columns ({said}) are those of no funding file that is known")
    venue, take = found
    spans: list[Span] = []
    coins: set[str] = set()
    for number, row in rows:
        if "coin" in row:
            coins.add(row["coin"])
            if coin is not None and row["coin"] != coin:
                continue
        try:
            spans.append(take(row))
        except ValueError as error:
            raise InputFileError(str(path), str(error), number) from error
    if coin is None and len(coins) > 1:
        few = ", ".join(sorted(coins)[:5])
        raise InputFileError(str(path), f"it holds {len(coins)} coins ({few}, …): choose one with --coin")
    if not spans:
        reason = f"no row of coin {coin}" if coin is not None and coins else "it has no rows"
        raise InputFileError(str(path), reason)
    return venue, spans, coin if coin is not None else "".join(coins)


def _other_half(path: Path) -> Path:
    """The file that goes with one of Binance's two. Raises InputFileError."""
    name = path.name
    for here, there in (_PAIR, _PAIR[::-1]):
        if here in name:
            other = path.with_name(name.replace(here, there))
            if other.is_file():
                return other
            raise InputFileError(str(path), f"{other.name} is needed beside it")
    raise InputFileError(str(path), f"Binance's files come as a pair, named *{_PAIR[0]}* and *{_PAIR[1]}*")


def read_stretch(path: Path, coin: str | None = None) -> Stretch:
    """The hours of a published funding file. Raises InputFileError."""
    venue, spans, only = _spans(path, coin)
    notes = []
    if venue == "Binance":
        spans += _spans(_other_half(path), coin)[1]
        notes.append("the premium of an hour is the middle of its first and its last")
    elif venue == "BitMEX":
        notes.append("premiums are not published: each is the one nearest to interest that gives the rate")
    first = min(span.end - span.hours for span in spans)
    count = max(span.end for span in spans) - first
    if not 0 < count <= HOURS_MAX or any(not 0 < span.hours <= 24 for span in spans):
        raise InputFileError(str(path), f"its times reach over {count} hours, at most {HOURS_MAX} are taken")
    stretch = _laid_out(venue, spans, first, count)
    stretch.notes, stretch.coin = notes, only
    return stretch


def _laid_out(venue: str, spans: list[Span], first: int, count: int) -> Stretch:
    premium, valid, price, oracle, mark = np.zeros((5, count), np.int64)
    out = Stretch(venue, first, premium, valid, price, oracle, mark)
    for span in sorted(spans, key=lambda span: span.end):
        hours = slice(span.end - span.hours - first, span.end - first)
        if span.premium_e12 is not None:
            out.premium_e12[hours] = span.premium_e12
            out.valid[hours] = 1
        if span.price_e4:
            out.price_e4[hours] = span.price_e4
        if span.rate_e12 is not None:
            out.published.append((span.end - first - 1, span.hours, span.rate_e12))
        if span.averages_e6 is not None:
            out.oracle_e6[hours], out.mark_e6[hours] = span.averages_e6
    if out.price_e4.any():
        _carry_price(out.price_e4)
    return out


def _carry_price(price_e4: NDArray[np.int64]) -> None:
    """An hour without a price has the last one; before the first, the first."""
    last = int(price_e4[np.flatnonzero(price_e4)[0]])
    for k, price in enumerate(price_e4):
        last = int(price) or last
        price_e4[k] = last
