"""Order books rebuilt from captures: Binance raw streams, Hyperliquid l2Book, Tardis book snapshots.

Decimals become integers once: a book's prices and sizes are in units of its own decimals, taken from its
snapshot. Updates that come before the snapshot wait for it, since the snapshot is older than its arrival.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from engine.common.errors import InputFileError
from engine.venue.columns import split_header
from engine.venue.scales import BadField, parse_decimal
from engine.venue.textfile import open_text
from kernels import orderbook as kernel
from kernels.types import Words

CAPACITY: Final = 1 << 14
"""Levels of a side. Binance sends 1,000 at first; a day of updates leaves a few thousand."""
WAITING_MAX: Final = 10_000
"""Of more updates that wait for a snapshot the oldest are let go: if it needed them, that is a gap."""
_LIMIT: Final = 1 << 62
_LINE = re.compile(r"[0-9]{13,19} \{", re.ASCII)
_INVERSE: Final = re.compile(r"([A-Z0-9]+)USD_(PERP|[0-9]{6})", re.ASCII)
_INVERSE_USD: Final = {"BTC": 100}
_INVERSE_USD_OTHERS: Final = 10  # as in binance_raw: contract specifications of COIN-M futures
_LINEAR_EXP: Final = 6
_LIMIT_PPM: Final = 1_000_000

Level = Sequence[str]


class Event(NamedTuple):
    """One message about a book. kind: snapshot, update, ticker (best prices as the venue says) or trade."""

    row: int
    received_ns: int
    kind: str
    bids: Sequence[Level]
    asks: Sequence[Level]
    first_id: int = 0
    last_id: int = 0
    previous_id: int = 0
    symbol: str = ""


class Best(NamedTuple):
    """Best levels of a book in its own units; 0, 0 where a side is empty."""

    bid: int
    bid_size: int
    ask: int
    ask_size: int


class OrderBook:
    """One book. Prices in 10**-price_decimals, sizes in 10**-size_decimals, both fixed by the snapshot."""

    def __init__(self) -> None:
        self._levels = np.zeros((2, CAPACITY, 2), np.int64)
        self._linear = np.zeros_like(self._levels)
        self._rows = np.zeros(1, kernel.BOOK)
        self.price_decimals = 0
        self.size_decimals = 0

    @property
    def update_id(self) -> int:
        return int(self._rows[0]["update_id"])

    @property
    def ready(self) -> bool:
        """Whether a snapshot was taken and no update is missing since."""
        return bool(self._rows[0]["state"] != kernel.LOST)

    def snapshot(self, event: Event) -> int:
        """Replace the book. A status of `kernels.orderbook`. Raises BadField."""
        levels = [*event.bids, *event.asks]
        self.price_decimals = max((_places(level[0]) for level in levels), default=0)
        self.size_decimals = max((_places(level[1]) for level in levels), default=0)
        rows = self._integers(event)
        return int(kernel.apply_snapshot(self._levels, self._rows[0], rows, event.last_id))

    def update(self, event: Event) -> int:
        """Apply one update in sequence. A status of `kernels.orderbook`. Raises BadField."""
        rows = self._integers(event)
        ids = event.first_id, event.last_id, event.previous_id
        return int(kernel.apply_update(self._levels, self._rows[0], rows, *ids))

    def best(self) -> Best:
        return Best(*map(int, kernel.best(self._levels, self._rows[0])))

    def best_of(self, event: Event) -> Best:
        """What a ticker says, in this book's units. Raises BadField."""
        rows = self._integers(event).tolist()
        return Best(rows[0][1], rows[0][2], rows[1][1], rows[1][2])

    def price(self, text: str) -> int:
        """A decimal price in this book's units. Raises BadField."""
        return _integer(text, self.price_decimals)

    def impact(self, side: int, notional_usd: int, contract_usd: int = 0) -> int:
        """Average price of trading `notional_usd` against a side, or 0 where the book is too short.

        contract_usd: sizes are inverse contracts of so many USD, turned into 1e-6 of the base first.
        """
        levels, notional = self._linear_view(notional_usd, contract_usd)
        price, status = kernel.impact_price(levels, self._rows[0], side, notional, 0)
        return int(price) if status == kernel.PRICED else 0

    def premium_ppm(self, index: int, notional_usd: int, contract_usd: int = 0) -> int | None:
        """dYdX's premium of this book over `index`, a price in its units, within +-100 %; None: refused."""
        levels, notional = self._linear_view(notional_usd, contract_usd)
        value, ok = kernel.book_premium_ppm(levels, self._rows[0], index, notional, 0, _LIMIT_PPM)
        return int(value) if ok else None

    def _linear_view(self, notional_usd: int, contract_usd: int) -> tuple[Words, int]:
        """(levels with linear sizes, notional in price units times size units; -1 where either is too large)."""
        levels, places = self._levels, self.size_decimals
        if contract_usd:
            places = _LINEAR_EXP
            above = contract_usd * 10 ** (self.price_decimals + _LINEAR_EXP - self.size_decimals)
            levels = self._linear
            if kernel.linear_levels(self._levels, self._rows[0], above, levels) == 0:
                return levels, -1
        notional = notional_usd * 10 ** (self.price_decimals + places)
        return levels, notional if notional < _LIMIT else -1

    def _integers(self, event: Event) -> Any:
        rows = [(kernel.BIDS, *self._level(level)) for level in event.bids]
        rows += [(kernel.ASKS, *self._level(level)) for level in event.asks]
        return np.array(rows, np.int64).reshape(-1, 3)

    def _level(self, level: Level) -> tuple[int, int]:
        return _integer(level[0], self.price_decimals), _integer(level[1], self.size_decimals)


@dataclass
class Rebuilt:
    """What a replay of a capture left behind."""

    book: OrderBook = field(default_factory=OrderBook)
    symbol: str = ""
    snapshots: int = 0
    updates: int = 0
    old: int = 0
    gaps: int = 0
    tickers: int = 0

    @property
    def contract_usd(self) -> int:
        """USD of one contract of an inverse market, 0 for a linear one."""
        inverse = _INVERSE.fullmatch(self.symbol)
        return _INVERSE_USD.get(inverse[1], _INVERSE_USD_OTHERS) if inverse else 0


class Check(NamedTuple):
    """A ticker of the venue beside our book as of the same update."""

    row: int
    update_id: int
    published: Best
    rebuilt: Best


def rebuild(paths: Sequence[Path], into: Rebuilt) -> Iterator[tuple[Event, Check | None]]:
    """Replay captures that follow one another into a book, event by event.

    Each event comes after it was applied; a ticker again, with its Check, once the book has reached its
    update. A ticker between two updates of the book names a state that was never sent and is passed over.
    Raises InputFileError.
    """
    waiting: deque[Event] = deque(maxlen=WAITING_MAX)
    tickers: deque[Event] = deque(maxlen=WAITING_MAX)
    for path in paths:
        for event in read_events(path):
            try:
                yield from _apply(event, into, waiting, tickers)
            except BadField as error:
                raise InputFileError(str(path), str(error), event.row) from error


def _apply(
    event: Event, into: Rebuilt, waiting: deque[Event], tickers: deque[Event]
) -> Iterator[tuple[Event, Check | None]]:
    into.symbol = event.symbol or into.symbol
    if event.kind == "ticker":
        into.tickers += 1
        if into.book.ready:
            tickers.append(event)
    elif event.kind == "snapshot":
        into.snapshots += 1
        _require(into.book.snapshot(event))
        while waiting:
            _update(waiting.popleft(), into)
    elif event.kind == "update":
        if into.book.ready:
            _update(event, into)
        else:
            waiting.append(event)
    yield event, None
    while tickers and event.kind == "update" and tickers[0].last_id <= into.book.update_id:
        ticker = tickers.popleft()
        if ticker.last_id == into.book.update_id and into.book.ready:
            published = into.book.best_of(ticker)
            yield ticker, Check(ticker.row, ticker.last_id, published, into.book.best())


def _update(event: Event, into: Rebuilt) -> None:
    status = into.book.update(event)
    if status == kernel.APPLIED:
        into.updates += 1
    elif status == kernel.OLD:
        into.old += 1
    elif status in (kernel.GAP, kernel.NO_SNAPSHOT):
        into.gaps += 1
    else:
        _require(status)


def _require(status: int) -> None:
    if status != kernel.APPLIED:
        raise BadField(f"the book cannot take it: {kernel.STATUSES[status]}")


def read_events(path: Path) -> Iterator[Event]:
    """The messages of a capture that concern a book or trade, told by their form. Raises InputFileError."""
    with open_text(path, first_line=1) as lines:
        first = next(lines, "")
        if _LINE.match(first):
            yield from _captured([first], str(path), 1)
            yield from _captured(lines, str(path), 2)
        else:
            yield from _tardis(first, lines, str(path))


def _captured(lines: Iterable[str], file: str, first_row: int) -> Iterator[Event]:
    for row, line in enumerate(lines, first_row):
        if not _LINE.match(line):
            raise InputFileError(file, "is not a line of `<local ns> {json}`", row)
        stamp, _, text = line.partition(" ")
        try:
            body = orjson.loads(text)
            event = _message(row, int(stamp), body)
        except orjson.JSONDecodeError as error:
            raise InputFileError(file, f"is not JSON ({error})", row) from error
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputFileError(file, f"is not a book message ({error!r})", row) from error
        if event is not None:
            yield event


def _message(row: int, received_ns: int, body: dict[str, Any]) -> Event | None:
    """The event of a decoded line, or None for a message that is about something else."""
    if "lastUpdateId" in body:
        ids = 0, int(body["lastUpdateId"])
        sides = _pairs(body["bids"]), _pairs(body["asks"])
        return Event(row, received_ns, "snapshot", *sides, *ids, 0, body.get("symbol", ""))
    data: Any = body.get("data")
    if body.get("channel") == "l2Book":
        bids, asks = ([(level["px"], level["sz"]) for level in side] for side in data["levels"])
        return Event(row, received_ns, "snapshot", bids, asks, 0, int(data["time"]), 0, data["coin"])
    if not isinstance(data, dict):
        return None
    kind = data.get("e")
    if kind == "depthUpdate":
        ids3 = int(data["U"]), int(data["u"]), int(data["pu"])
        return Event(row, received_ns, "update", _pairs(data["b"]), _pairs(data["a"]), *ids3, data["s"])
    if kind == "bookTicker":
        best = [(data["b"], data["B"])], [(data["a"], data["A"])]
        return Event(row, received_ns, "ticker", *best, 0, int(data["u"]), 0, data["s"])
    if kind == "trade" and data.get("X") != "NA":
        return Event(row, received_ns, "trade", [(data["p"], data["q"])], [], symbol=data["s"])
    return None


def _tardis(header: str, lines: Iterable[str], file: str) -> Iterator[Event]:
    """Rows of a Tardis book_snapshot table; times in microseconds."""
    names = split_header(file, header)
    places = {name: k for k, name in enumerate(names)}
    sides = [_tardis_side(places, "bids"), _tardis_side(places, "asks")]
    if "local_timestamp" not in places or not sides[0] or not sides[1]:
        raise InputFileError(file, "is no capture of an order book that we know", 1)
    for row, line in enumerate(lines, 1):
        fields = line.rstrip("\r\n").split(",")
        if len(fields) != len(names):
            raise InputFileError(file, f"has {len(fields)} fields, the header has {len(names)}", row)
        stamp = fields[places["local_timestamp"]]
        if not (stamp.isascii() and stamp.isdigit()):
            raise InputFileError(file, f"local_timestamp: {stamp[:40]!r} is not a time", row)
        bids, asks = ([(fields[p], fields[q]) for p, q in side if fields[p]] for side in sides)
        yield Event(row, int(stamp) * 1000, "snapshot", bids, asks, 0, row)


def _tardis_side(places: dict[str, int], side: str) -> list[tuple[int, int]]:
    """Columns of (price, amount) of the levels of a side, best first."""
    out: list[tuple[int, int]] = []
    while f"{side}[{len(out)}].price" in places and f"{side}[{len(out)}].amount" in places:
        out.append((places[f"{side}[{len(out)}].price"], places[f"{side}[{len(out)}].amount"]))
    return out


def _pairs(levels: Any) -> list[Level]:
    return [(price, size) for price, size in levels]


def _places(text: str) -> int:
    return len(text.partition(".")[2]) if isinstance(text, str) else 0


def _integer(text: str, decimals: int) -> int:
    if not isinstance(text, str):
        raise BadField(f"{text!r} is not a decimal in quotes")
    mantissa, own = parse_decimal(text)
    if own > decimals:
        raise BadField(f"{text[:40]!r} has more decimals than the {decimals} of the snapshot")
    value: int = mantissa * 10 ** (decimals - own)
    if value >= _LIMIT:
        raise BadField(f"{text[:40]!r} has more digits than can be kept exactly")
    return value
