"""Trades inside a raw capture of Binance streams: lines of `<local ns> {json}`, all other streams skipped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
import orjson

from engine.common.errors import InputFileError
from engine.venue.columns import CHUNK_ROWS, Columns, Population, Symbols, UnixTimes
from engine.venue.scales import MANTISSA_MAX, BadField, pack, parse_decimal

LINE = re.compile(r"[0-9]{13,19} \{", re.ASCII)
_TRADE_MARK: Final = '@trade"'
_INVERSE = re.compile(r"([A-Z0-9]+)USD_(PERP|[0-9]{6})", re.ASCII)
_CONTRACT_USD: Final = {"BTC": 100}
_CONTRACT_USD_OTHERS: Final = 10  # Binance COIN-M futures, contract specifications
_LOT_EXP_MAX: Final = 6


class _Trade(msgspec.Struct):
    """The fields used of Binance's `trade` event. m: the buyer is the maker, so the taker sells."""

    T: int
    s: str
    t: int
    p: str
    q: str
    m: bool
    X: str = "MARKET"


class _Message(msgspec.Struct):
    stream: str
    data: _Trade


class BinanceRaw:
    """Coin-margined contracts are turned linear: size = half-even(USD of a contract * q / p).

    BTC: 100 USD a contract, to 1e-6 BTC. Others: 10 USD, to the finest power of ten that is worth a cent.
    """

    format: ClassVar[str] = "binance_raw"

    def __init__(self, seed: int) -> None:
        self._symbols = Symbols()
        self._population = Population(seed)
        self._times = UnixTimes(1_000_000)
        self._lot_exps: dict[str, int] = {}
        self.remarks = [f"no accounts in the file: a seeded population of {Population.SIZE} trades it"]

    @property
    def symbols(self) -> list[str]:
        return list(self._symbols)

    @property
    def accounts(self) -> list[bytes]:
        return self._population.accounts

    def read(self, lines: Iterator[str], file: str) -> Iterator[Columns]:
        """Chunks of raw trades; a row is a line of the file, whatever its stream."""
        batch: list[tuple[int, ...]] = []
        row = trades = 0
        for row, line in enumerate(lines, 1):
            if not LINE.match(line):
                raise InputFileError(file, "is not a line of `<local ns> {json}`", row)
            if _TRADE_MARK not in line:
                continue
            try:
                values = self._values(_decode(line))
            except BadField as error:
                raise InputFileError(file, str(error), row) from error
            if values is None:
                continue
            batch.append((row, *values))
            trades += 1
            if len(batch) == CHUNK_ROWS:
                yield self._columns(batch)
                batch = []
        if trades == 0:
            raise InputFileError(file, f"has no trades in its {row} lines")
        if batch:
            yield self._columns(batch)

    def _values(self, trade: _Trade) -> tuple[int, ...] | None:
        """(time_ns, symbol, price, size, side, id), or None for Binance's placeholder of no trade."""
        if trade.X == "NA":
            return None
        price, decimals = _field("p", trade.p)
        size = _field("q", trade.q)
        inverse = _INVERSE.fullmatch(trade.s)
        if inverse:
            contract_usd, lot_exp = self._contract(inverse[1], trade.s, price, decimals)
            size = linear_size(size, price, decimals, contract_usd, lot_exp), lot_exp
            if size[0] >= MANTISSA_MAX:
                raise BadField(f"q: {trade.q!r} contracts are more than can be kept exactly")
            if size[0] == 0:
                raise BadField(f"q: {trade.q!r} contracts are less than half of 1e-{lot_exp} {inverse[1]}")
        if not 0 <= trade.t < 1 << 62:
            raise BadField(f"t: {trade.t} is not a trade id")
        time_ns = self._times[str(trade.T)]
        side = -1 if trade.m else 1
        return time_ns, self._symbols[trade.s], pack(price, decimals), pack(*size), side, trade.t

    def _contract(self, base: str, symbol: str, price: int, decimals: int) -> tuple[int, int]:
        """(USD of a contract, decimals of a lot) of an inverse market; the lot is fixed by its first price."""
        contract_usd = _CONTRACT_USD.get(base, _CONTRACT_USD_OTHERS)
        if symbol not in self._lot_exps:
            lot_exp = self._lot_exps[symbol] = (
                _LOT_EXP_MAX if base in _CONTRACT_USD else finest_lot_exp(price, decimals)
            )
            self.remarks.append(
                f"{symbol}: inverse contracts of {contract_usd} USD turned linear, "
                f"size = half-even({contract_usd} * contracts / price) to 1e-{lot_exp} {base}"
            )
        return contract_usd, self._lot_exps[symbol]

    def _columns(self, batch: list[tuple[int, ...]]) -> Columns:
        row, time_ns, symbol, price, size, side, trade_id = np.array(batch, dtype=np.int64).T
        maker, taker = self._population.pair(row)
        return Columns(row, time_ns, symbol, price, size, side, maker, taker, trade_id)


def _decode(line: str) -> _Trade:
    """The trade of a line. Raises BadField, naming the field, where it is not one."""
    body: Any
    try:
        body = orjson.loads(line[line.index("{") :])
        return msgspec.convert(body, _Message).data
    except orjson.JSONDecodeError as error:
        raise BadField(f"is not JSON ({error})") from error
    except msgspec.ValidationError as error:
        raise BadField(f"is not a trade ({error})") from error


def _field(name: str, text: str) -> tuple[int, int]:
    try:
        mantissa, decimals = parse_decimal(text)
    except BadField as error:
        raise BadField(f"{name}: {error}") from error
    if mantissa == 0:
        raise BadField(f"{name}: is zero")
    return mantissa, decimals


def finest_lot_exp(price: int, decimals: int) -> int:
    """Most decimals of a lot, 6 at most, with which it is worth a cent at price / 10**decimals USD."""
    for lot_exp in range(_LOT_EXP_MAX, 0, -1):
        if 100 * price >= 10 ** (lot_exp + decimals):
            return lot_exp
    return 0


def linear_size(
    contracts: tuple[int, int], price: int, price_decimals: int, contract_usd: int, lot_exp: int
) -> int:
    """Contracts (mantissa, decimals) at price / 10**price_decimals as 10**-lot_exp base, nearest, ties to even."""
    mantissa, decimals = contracts
    above = mantissa * contract_usd * 10 ** (lot_exp + price_decimals)
    below: int = price * 10**decimals
    whole: int
    whole, rest = divmod(above, below)
    if 2 * rest > below or (2 * rest == below and whole % 2):
        whole += 1
    return whole
