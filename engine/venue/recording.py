"""Recorded trades of any known format as one exact, checked array on the markets' scales."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import InputFileError
from engine.venue import scales
from engine.venue.binance_raw import LINE as RAW_LINE
from engine.venue.binance_raw import BinanceRaw
from engine.venue.binance_trades import BinanceTrades
from engine.venue.columns import Columns, TradeParser, column_places, split_header
from engine.venue.hl_trades import HlTrades
from engine.venue.textfile import first_line, open_text
from kernels.layouts import PRICE_MAX, PRICE_MIN

TRADE: Final = np.dtype(
    [
        ("time_ns", "<i8"),
        ("trade_id", "<i8"),
        ("price", "<i8"),  # 10**-price_exp USD per lot
        ("size", "<i8"),  # lots, signed by the taker's side
        ("maker", "<i4"),  # account numbers, from 1
        ("taker", "<i4"),
        ("market", "<i8"),
    ]
)
_CSV_FORMATS: Final[tuple[type[HlTrades] | type[BinanceTrades], ...]] = (HlTrades, BinanceTrades)
_PARSERS: Final[dict[str, Callable[[int], TradeParser]]] = {
    HlTrades.format: HlTrades,
    BinanceTrades.format: BinanceTrades,
    BinanceRaw.format: BinanceRaw,
}


class MarketPlan(NamedTuple):
    """Scale of one market: a lot is 10**-lot_exp base, a price counts 10**-price_exp USD per lot."""

    symbol: str
    lot_exp: int
    price_exp: int


@dataclass(frozen=True)
class Recording:
    """A whole file, checked. `accounts[n - 1]` is the 32-byte key of account n; trades are sorted by time."""

    path: Path
    format: str
    seed: int
    rows: int
    markets: list[MarketPlan]
    accounts: list[bytes]
    trades: NDArray[np.void]  # TRADE
    remarks: list[str] = field(default_factory=list)


def load(path: Path, *, seed: int) -> Recording:
    """Read and check the whole of `path`; `seed` makes the accounts where the file names none.

    The format is known by the columns of the header, or by the shape of the first line. Raises
    InputFileError with file, row (from 1; the header is not counted) and reason; returns nothing half done.
    """
    form = detect(str(path), first_line(path))
    parser = _PARSERS[form](seed)
    with open_text(path, first_line=_first_row(form)) as text:
        chunks = list(parser.read(text, str(path)))
    columns = Columns(*map(np.concatenate, zip(*chunks, strict=True)))
    markets = _plans(columns, parser.symbols, str(path))
    columns = _in_time_order(columns, parser.remarks)
    trades = _on_scale(columns, markets, str(path))
    return Recording(
        path=path,
        format=form,
        seed=seed,
        rows=len(trades),
        markets=markets,
        accounts=parser.accounts,
        trades=trades,
        remarks=parser.remarks,
    )


def fills_from_text(lines: Iterable[str], recording: Recording) -> Iterator[NDArray[np.void]]:
    """Parse the file's text once more, from its first line, onto the scales of `recording`.

    Yields TRADE arrays of at most 2,048 rows. Nothing parsed before is used again, so a benchmark that
    loops over a text pays for parsing each time.
    """
    parser = _PARSERS[recording.format](recording.seed)
    for columns in parser.read(iter(lines), str(recording.path)):
        yield _on_scale(columns, recording.markets, str(recording.path))


def read_lines(recording: Recording) -> list[str]:
    """The lines of the recording's file, unzipped, for `fills_from_text`."""
    with open_text(recording.path, first_line=_first_row(recording.format)) as text:
        return text.readlines()


def detect(file: str, line: str) -> str:
    """Name of the format whose first line this is. Raises InputFileError: what is missing, what was found."""
    if not line:
        raise InputFileError(file, "is empty")
    if RAW_LINE.match(line):
        return BinanceRaw.format
    header = split_header(file, line)
    nearest = max(_CSV_FORMATS, key=lambda form: len(set(form.wanted) & set(header)))
    if len(set(nearest.wanted) & set(header)) < 3:
        known = "; ".join(",".join(form.wanted) for form in _CSV_FORMATS)
        found = line[:200]
        raise InputFileError(file, f"is in no known trade format; found: {found}; known columns: {known}")
    column_places(file, header, nearest.wanted)
    return nearest.format


def _first_row(form: str) -> int:
    return 1 if form == BinanceRaw.format else 0


def _in_time_order(columns: Columns, remarks: list[str]) -> Columns:
    """Rows by time, in file order where times are equal; told if the file had them otherwise."""
    late = int(np.count_nonzero(np.diff(columns.time_ns) < 0))
    if not late:
        return columns
    remarks.append(f"{late} rows stand behind later ones: replayed in order of time")
    order = np.argsort(columns.time_ns, kind="stable")
    return Columns(*(values[order] for values in columns))


def _plans(columns: Columns, symbols: list[str], file: str) -> list[MarketPlan]:
    """Lot: the most decimals of size in the market. Price: by the market's first."""
    decimals = scales.unpack(columns.size)[1]
    plans = []
    for market, symbol in enumerate(symbols):
        at = np.flatnonzero(columns.symbol == market)
        lot_exp = int(decimals[at].max())
        mantissa, price_decimals = scales.unpack(columns.price[at[:1]])
        price_exp = scales.choose_price_exp(int(mantissa[0]), int(price_decimals[0]), lot_exp)
        plans.append(MarketPlan(symbol, lot_exp, price_exp))
    return plans


def _on_scale(columns: Columns, markets: list[MarketPlan], file: str) -> NDArray[np.void]:
    lot_exp = np.array([plan.lot_exp for plan in markets], np.int64)[columns.symbol]
    price_exp = np.array([plan.price_exp for plan in markets], np.int64)[columns.symbol]
    price, bad_price = scales.prices(columns.price, lot_exp, price_exp)
    size, bad_size = scales.lots(columns.size, lot_exp, price_exp)
    off = np.flatnonzero(bad_price | bad_size)
    if len(off):
        at = int(off[0])
        raise _off_scale(columns, at, markets[columns.symbol[at]], bool(bad_price[at]), file)
    trades = np.empty(len(price), TRADE)
    trades["time_ns"], trades["trade_id"] = columns.time_ns, columns.trade_id
    trades["price"], trades["size"] = price, size * columns.side
    trades["maker"], trades["taker"] = columns.maker, columns.taker
    trades["market"] = columns.symbol
    return trades


def _off_scale(columns: Columns, at: int, plan: MarketPlan, is_price: bool, file: str) -> InputFileError:
    text = scales.plain(int((columns.price if is_price else columns.size)[at]))
    if is_price:
        unit = f"price unit of {plan.symbol} (10**{plan.lot_exp - plan.price_exp} USD per base)"
        low, high = PRICE_MIN, PRICE_MAX
        reason = f"price {text} is off scale: not a whole number of {low} to {high} in the {unit}"
    else:
        most = scales.size_max(plan.price_exp)
        reason = f"size {text} is off scale: not 1 to {most} lots of 10**-{plan.lot_exp} {plan.symbol}"
    return InputFileError(file, reason, int(columns.row[at]))
