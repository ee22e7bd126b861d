"""Published states of Drift v2 held against the rules that they must obey: sums, index steps, payments."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from engine.common.errors import InputFileError
from engine.venue.columns import split_header
from engine.venue.textfile import first_line, open_text
from kernels.audit import market_sums, step_error
from kernels.funding_venues import drift_payment

PAYMENT_UNITS_MAX: Final = 4
"""A row may hold several settlements, each rounded toward zero: so many 1e-6 USDC it may differ."""

SNAPSHOTS, SETTLEMENTS, MARKETS, POSITIONS = "snapshots", "settlements", "markets", "positions"
_LONG: Final = "base_asset_amount_long"
_BASE: Final = ("base_asset_amount_with_amm", "base_asset_amount_with_unsettled_lp")
_STEPS: Final = (
    ("cumulative_funding_rate_long", "last_funding_rate_long"),
    ("cumulative_funding_rate_short", "last_funding_rate_short"),
)
_RECORDS: Final = "next_funding_rate_record_id"
_KNOWN: Final = {
    SNAPSHOTS: {_RECORDS, "amm." + _LONG, "amm." + _BASE[0]},
    SETTLEMENTS: {"base_asset_amount_1e9", "delta_cumulative_perp_funding_1e6_onchain"},
    MARKETS: {"base_long_1e9", "quote_asset_amount_1e6"},
    POSITIONS: {"user", "base_asset_amount", "quote_asset_amount", "lp_shares"},
}


class Finding(NamedTuple):
    """One rule at one row: `off` units away from what it says, 0 where it holds."""

    row: int
    rule: str
    off: int


def kind_of(columns: Sequence[str]) -> str | None:
    """Which published table has these columns."""
    return next((kind for kind, needed in _KNOWN.items() if needed <= set(columns)), None)


def audit(path: Path) -> Iterator[Finding]:
    """Every rule of a published table. Raises InputFileError."""
    kind = kind_of(split_header(str(path), first_line(path)))
    if kind == SNAPSHOTS:
        return _snapshots(path)
    if kind == SETTLEMENTS:
        return _settlements(path)
    if kind == MARKETS:
        return _markets(path)
    raise InputFileError(str(path), "is no published state that we know")


def positions_of(path: Path) -> Path:
    """The table of positions that belongs to a table of markets, by name."""
    return path.with_name(path.name.replace("_markets", "_positions"))


def _snapshots(path: Path) -> Iterator[Finding]:
    """Users' long and short base equal what they hold against the pool; each payment adds the last rate."""
    before: dict[str, str] | None = None
    for row, fields in _rows(path):
        held = [_units(path, row, fields, f"amm.{name}") for name in (_LONG, "base_asset_amount_short")]
        pool = [_units(path, row, fields, f"amm.{name}") for name in _BASE]
        positions = np.array([*held, -pool[0], -pool[1]], np.int64)
        total, _, _, ok = market_sums(positions, np.zeros_like(positions))
        yield Finding(row, "sizes sum to zero", int(total) if ok else 1)
        if before is not None and (paid := _payments(path, row, before, fields)) in (0, 1):
            for index, rate in _STEPS:
                at, to = (_units(path, row, side, f"amm.{index}") for side in (before, fields))
                off, ok = step_error(at, _units(path, row, fields, f"amm.{rate}") * paid, to)
                yield Finding(row, f"{index} grows by the last rate", int(off) if ok else 1)
        before = fields


def _payments(path: Path, row: int, before: dict[str, str], fields: dict[str, str]) -> int:
    return _units(path, row, fields, _RECORDS, 0) - _units(path, row, before, _RECORDS, 0)


def _settlements(path: Path) -> Iterator[Finding]:
    for row, fields in _rows(path):
        size, at, to, paid = (
            _units(path, row, fields, name, 0)
            for name in (
                "base_asset_amount_1e9",
                "cum_funding_before_1e9",
                "cum_funding_after_1e9",
                "delta_cumulative_perp_funding_1e6_onchain",
            )
        )
        moved, ok1 = step_error(at, 0, to)
        ours, ok2 = drift_payment(moved, size)
        if ok1 == 0 or ok2 == 0:
            raise InputFileError(str(path), "holds numbers beyond 64 bits", row)
        yield Finding(row, "funding paid", paid - int(ours))


def _markets(path: Path) -> Iterator[Finding]:
    """All users' positions sum to the market's account."""
    held: dict[tuple[str, str], list[tuple[int, int, int]]] = defaultdict(list)
    positions = positions_of(path)
    for row, fields in _rows(positions):
        names = "base_asset_amount", "quote_asset_amount", "lp_shares"
        base, quote, shares = (_units(positions, row, fields, name, 0) for name in names)
        held[fields["ts"], fields["market_index"]].append((base, quote, shares))
    for row, fields in _rows(path):
        users = np.array(held.get((fields["ts"], fields["market_index"]), []), np.int64).reshape(-1, 3)
        base, quote, shares = np.ascontiguousarray(users.T)
        total, longs, quotes, ok1 = market_sums(base, quote)
        _, pool, _, ok2 = market_sums(shares, quote)
        if ok1 == 0 or ok2 == 0:
            raise InputFileError(str(path), "holds positions whose sums are beyond 64 bits", row)
        long, short, cash, lent = (
            _units(path, row, fields, name, 0)
            for name in ("base_long_1e9", "base_short_1e9", "quote_asset_amount_1e6", "user_lp_shares_1e9")
        )
        yield Finding(row, "base sums to the market's", int(total) - long - short)
        yield Finding(row, "long base sums to the market's", int(longs) - long)
        yield Finding(row, "quote sums to the market's", int(quotes) - cash)
        yield Finding(row, "pool shares sum to the market's", int(pool) - lent)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(row from 1, fields by column). Raises InputFileError."""
    with open_text(path, first_line=0) as lines:
        header = split_header(str(path), next(lines, ""))
        for row, values in enumerate(csv.reader(lines), 1):
            if len(values) != len(header):
                reason = f"has {len(values)} fields, the header has {len(header)}"
                raise InputFileError(str(path), reason, row)
            yield row, dict(zip(header, values, strict=True))


def _units(path: Path, row: int, fields: dict[str, str], name: str, decimals: int = 9) -> int:
    """A decimal as whole units of 10**-decimals, exact. Raises InputFileError."""
    text = fields.get(name)
    if text is None:
        raise InputFileError(str(path), f"has no column {name}", row)
    try:
        scaled = Decimal(text).scaleb(decimals)
        value = int(scaled)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise InputFileError(str(path), f"{name}: {text[:40]!r} is not a number", row) from error
    if value != scaled or not -(1 << 62) < value < 1 << 62:
        raise InputFileError(str(path), f"{name}: {text[:40]!r} cannot be kept exactly", row)
    return value
