"""`godark margin --compare`: one account under each venue's margin and liquidation rules, side by side."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import click

from engine.common.errors import InputFileError, ParameterError, UsageError

VENUES = ("godark", "dydx", "drift", "mango")
FORM = """Requirement, liquidation, close, fees and PnL of one account under each venue's rules.

ACCOUNT.json holds (--example prints one that runs):

\b
cash_usdc   what the account holds beside its positions
markets     name -> price in USDC per coin and, for each venue, its units and rates:
              dydx    base_resolution, price_exponent, initial_margin_ppm, maintenance_fraction_ppm,
                      open_interest, oi_lower_cap_usdc, oi_upper_cap_usdc
              drift   initial_ratio_1e4, maintenance_ratio_1e4, imf_factor_1e6, liquidator_fee_1e6,
                      insurance_fee_max_1e6, long_base, short_base
              mango   base_decimals, base_lot_size
              godark  price_exp, lot_exp, leverage, tiers (max_leverage, initial_e12, maintenance_e12,
                      max_notional_usdc; what lies beyond is held to the tier below, 0: no end)
positions   market, size in coins (positive: long), quote_usdc (signed: - paid, + received)
close       a liquidation that fills: market, size, fill_quote_usdc (unsigned), insurance_usdc,
            bankruptcy_adjustment_ppm, spread_to_maintenance_ppm, max_liquidation_fee_ppm
trades      market, size, quote_usdc (sign opposite to size), other_size (of the other side, before)
fees        notional_usdc; drift: taker_1e5, maker_1e5, adjustment_pct, referred, discount_pct,
            reward_pct; godark: taker_e9, maker_e9

Amounts are plain decimals as text, or whole numbers; each must be exact in every venue's units. A venue
for which a market has no section is left out and said so. All arithmetic is exact; what exceeds int64 is
refused by name.

--books takes a data directory instead and shows what would be liquidated in it now: lowest margin ratio
first, the part to close, its fee, prices, what insurance would pay for the whole and who would be
deleveraged for what it cannot take. --move asks what if every mark had moved.
"""

EXAMPLE: dict[str, Any] = {
    "cash_usdc": "499",
    "markets": {
        "BTC": {
            "price": "50000",
            "dydx": {
                "base_resolution": -8,
                "price_exponent": -5,
                "initial_margin_ppm": 200000,
                "maintenance_fraction_ppm": 500000,
                "open_interest": "400",
                "oi_lower_cap_usdc": 10000000,
                "oi_upper_cap_usdc": 50000000,
            },
            "drift": {
                "initial_ratio_1e4": 1000,
                "maintenance_ratio_1e4": 500,
                "imf_factor_1e6": 1000,
                "liquidator_fee_1e6": 10000,
                "insurance_fee_max_1e6": 50000,
                "long_base": "120.5",
                "short_base": "-98",
            },
            "mango": {"base_decimals": 6, "base_lot_size": 100},
            "godark": {
                "price_exp": 7,
                "lot_exp": 4,
                "leverage": 20,
                "tiers": [
                    {"max_leverage": 20, "initial_e12": 50000000000, "maintenance_e12": 25000000000},
                    {"max_leverage": 50, "initial_e12": 20000000000, "maintenance_e12": 10000000000},
                ],
            },
        }
    },
    "positions": [{"market": "BTC", "size": "0.1", "quote_usdc": "-5000"}],
    "close": {"market": "BTC", "size": "-0.1", "fill_quote_usdc": "4950", "insurance_usdc": "1000"},
    "trades": [
        {"market": "BTC", "size": "-0.05", "quote_usdc": "2510.25", "other_size": "0"},
        {"market": "BTC", "size": "-0.1", "quote_usdc": "4990", "other_size": "-2"},
    ],
    "fees": {
        "notional_usdc": "100",
        "drift": {
            "taker_1e5": 100,
            "maker_1e5": 60,
            "referred": True,
            "discount_pct": 10,
            "reward_pct": 10,
        },
        "godark": {"taker_e9": 500000, "maker_e9": -100000},
    },
}


@click.command("margin", help=FORM)
@click.option(
    "--compare",
    "path",
    type=click.Path(path_type=Path),
    metavar="ACCOUNT.json",
    help="The account to compare.",
)
@click.option("--example", is_flag=True, help="Print an account to start from.")
@click.option(
    "--books", type=click.Path(path_type=Path), metavar="DIR", help="The books of a data directory at rest."
)
@click.option("--move", default="0", metavar="PERCENT", help="With --books: every mark moved by so much.")
@click.option(
    "--fee", default="0.5", metavar="PERCENT", help="With --books: liquidation fee.", show_default=True
)
@click.option(
    "--reserve",
    default="1",
    metavar="PERCENT",
    help="With --books: margin that insurance keeps.",
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, exact integers and rationals.")
def command(
    path: Path | None, example: bool, books: Path | None, move: str, fee: str, reserve: str, as_json: bool
) -> None:
    if (path is not None) + (books is not None) + example != 1:
        raise UsageError("give one of --compare ACCOUNT.json, --books DIR or --example")
    if books is not None:
        _show_books(books, move, fee, reserve, as_json)
        return
    if path is None:
        click.echo(json.dumps(EXAMPLE, indent=2))
        return
    report = compare(path)
    if as_json:
        # Exact rationals may be beyond 64 bits, which orjson has no room for.
        click.echo(json.dumps(report, separators=(",", ":")))
        return
    for line in lines(report):
        click.echo(line)


def _show_books(directory: Path, move: str, fee: str, reserve: str, as_json: bool) -> None:
    from engine.app import margin_books

    told = margin_books.report(
        directory,
        percent("--move", move, 10**6, -(10**6), 10**7),
        percent("--fee", fee, 10**9, 0, 10**8),
        percent("--reserve", reserve, 10**12, 0, 10**12),
    )
    for line in [json.dumps(told)] if as_json else margin_books.lines(told):
        click.echo(line)


def percent(option: str, text: str, one: int, low: int, high: int) -> int:
    """A percentage in parts of `one`. UsageError: no plain number, too many decimals, not in low..high."""
    try:
        value = Fraction(text) / 100 * one
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{option} {text}: not a number of percent") from None
    if value.denominator != 1 or not low <= value <= high:
        raise UsageError(
            f"{option} {text}: from {low * 100 // one} to {high * 100 // one}, in steps of 1/{one // 100}"
        )
    return int(value)


def compare(path: Path) -> dict[str, Any]:
    """Every venue's answer for the account in a file. InputFileError: names the file, field and rule."""
    import importlib

    from engine.app.margin_account import load

    account = load(path)
    report: dict[str, Any] = {}
    for venue in VENUES:
        absent = [name for name, market in account.markets.items() if getattr(market, venue) is None]
        if absent:
            report[venue] = {"left_out": f"market {absent[0]} has no section {venue}"}
            continue
        rules = importlib.import_module(f"engine.app.venues.{venue}")
        try:
            report[venue] = rules.report(account)
        except ParameterError as fault:
            raise InputFileError(str(path), fault.message) from fault
    return report


def lines(report: dict[str, Any]) -> list[str]:
    """The report for a person: the same rows for each venue, side by side, then each rule that refused."""
    rows: dict[str, dict[str, str]] = {}
    notes = []
    for venue, answer in report.items():
        for name, value in _leaves(answer, ""):
            if isinstance(value, str):
                notes.append(f"{venue} {name}: {value}".replace(" :", ":"))
            else:
                rows.setdefault(titled(name), {})[venue] = shown(name, value)
    wide = max((len(name) for name in rows), default=0)
    columns = {v: max([len(v), *(len(cells.get(v, "-")) for cells in rows.values())]) for v in report}
    out = [" " * wide + "".join(f"  {venue:>{width}}" for venue, width in columns.items())]
    for name, cells in rows.items():
        out.append(f"{name:<{wide}}" + "".join(f"  {cells.get(v, '-'):>{w}}" for v, w in columns.items()))
    return out + notes


def _leaves(value: Any, name: str) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value.keys() != {"num", "den"}:
        named = [(key, item) for key, item in value.items() if key not in ("market", "trade")]
        return [leaf for key, item in named for leaf in _leaves(item, f"{name} {key}".strip())]
    if isinstance(value, list):
        labels = [item.get("market") or item.get("trade") for item in value]
        return [
            leaf
            for label, item in zip(labels, value, strict=True)
            for leaf in _leaves(item, f"{name} {label}" if item.get("market") else label)
        ]
    return [(name, value)]


def titled(name: str) -> str:
    """A row's name for a person: 1e-6 USDC is shown as USDC."""
    return name.removesuffix("_e6") + " USDC" if name.endswith("_e6") else name


def shown(name: str, value: Any) -> str:
    """A value in its field's units: amounts in USDC, rationals as decimals, exact where they end within 12
    places, else rounded down at the 6th and marked with ~; verdicts as words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    money = name.endswith("_e6")
    if isinstance(value, int) and not money:
        return f"{value:,}"
    exact = Fraction(value["num"], value["den"]) if isinstance(value, dict) else Fraction(value)
    return _decimal(exact / 1_000_000 if money else exact)


def _decimal(value: Fraction) -> str:
    places = next((n for n in range(2, 13) if (value * 10**n).denominator == 1), None)
    if places is None:
        return "~" + _decimal(Fraction(math.floor(value * 10**6), 10**6))
    whole, part = divmod(int(abs(value) * 10**places), 10**places)
    return f"{'-' if value < 0 else ''}{whole:,}.{part:0{places}}"
