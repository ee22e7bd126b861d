"""The comparison of funding rules as text and as an object: what stretch, which sources, who pays whom."""

from __future__ import annotations

import datetime
from typing import Any, Final

import numpy as np

from engine.app.funding_file import HOUR_S, Stretch
from engine.app.funding_rows import Charged
from kernels.profiles import RULES

SPANS_SHOWN: Final = 3
YEAR_8H: Final = 3 * 365
_TITLES: Final = ("hours charged", "in all", "mean, 8 h", "mean, year", "largest, 8 h")


def utc(hour: int) -> str:
    """The start of an hour numbered since 1970."""
    return datetime.datetime.fromtimestamp(hour * HOUR_S, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def absent_spans(stretch: Stretch) -> list[tuple[int, int]]:
    """(first hour, hours) of every run of hours without a premium, numbered since 1970."""
    edges = np.flatnonzero(np.diff(np.concatenate([[1], stretch.valid, [1]])))
    runs = edges.reshape(-1, 2)
    return [(stretch.first_hour + int(start), int(end - start)) for start, end in runs]


def percent(value_e12: int) -> str:
    """A rate in percent, all ten decimals of 1e-12 but the last four."""
    return f"{value_e12 / 10**10:+.6f} %"


def _head(title: str, stretch: Stretch) -> list[str]:
    hours, known = len(stretch.valid), int(stretch.valid.sum())
    lines = [
        (
            f"market data  {title}: {stretch.venue}, {utc(stretch.first_hour)} to "
            f"{utc(stretch.first_hour + hours)} UTC, {hours:,} hours"
        ),
        f"premium      known in {known:,} hours" + _absent(stretch),
        "sign         + longs pay shorts, - shorts pay longs; in % of a position's notional",
    ]
    return lines + [f"note         {note}" for note in stretch.notes]


def _absent(stretch: Stretch) -> str:
    spans = absent_spans(stretch)
    if not spans:
        return ", none missing"
    shown = [f"{utc(start)} ({hours} h)" for start, hours in spans[:SPANS_SHOWN]]
    more = f" and {len(spans) - SPANS_SHOWN} more times" if len(spans) > SPANS_SHOWN else ""
    return f", missing from {', '.join(shown)}{more}"


def _coin(row: Charged) -> str:
    return "" if row.coin_e10 is None else f"{row.coin_e10 / 10**10:+,.4f}"


def as_text(title: str, stretch: Stretch, rows: list[Charged]) -> str:
    """The comparison for a person."""
    wide = max(24, *(len(row.name) for row in rows)) + 1
    priced = any(row.coin_e10 is not None for row in rows)
    titles = [*_TITLES, "USD per coin"] if priced else _TITLES
    lines = [*_head(title, stretch), ""]
    lines.append(f"{'rule':<{wide}}" + "".join(f"{name:>16}" for name in titles))
    for row in rows:
        cells = (
            f"{row.hours:,}",
            percent(row.sum_e12),
            percent(row.mean_8h_e12),
            f"{row.mean_8h_e12 * YEAR_8H / 10**10:+.2f} %",
            percent(row.max_8h_e12).lstrip("+"),
            _coin(row),
        )
        lines.append(f"{row.name:<{wide}}" + "".join(f"{cell:>16}" for cell in cells[: len(titles)]))
    lines += ["", "hours charged: whole intervals of a rule (1 h or 8 h) inside the stretch"]
    if not priced:
        lines.append("USD per coin: not said, the file has no prices")
    lines += ["rules by source:", *(f"  {rule.about}" for rule in RULES.values())]
    return "\n".join(line.rstrip() for line in lines)


def as_object(stretch: Stretch, rows: list[Charged]) -> dict[str, Any]:
    """The same for a machine, exact."""
    return {
        "venue": stretch.venue,
        "first_hour": stretch.first_hour,
        "hours": len(stretch.valid),
        "hours_with_premium": int(stretch.valid.sum()),
        "missing": [{"first_hour": start, "hours": hours} for start, hours in absent_spans(stretch)],
        "note": "; ".join(stretch.notes),
        "rules": [
            {
                "name": row.name,
                "hours": row.hours,
                "sum_e12": row.sum_e12,
                "mean_8h_e12": row.mean_8h_e12,
                "max_8h_e12": row.max_8h_e12,
                "usd_per_coin_e10": row.coin_e10,
            }
            for row in rows
        ],
    }
