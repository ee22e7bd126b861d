"""A picture of budgets: `godark bench --json | python -m bench._picture > figures.svg`."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any
from xml.sax.saxutils import escape

import orjson

ROW_PX, LABEL_PX, BAR_PX, FIGURE_PX, TOP_PX = 26, 470, 300, 250, 34
MET, MISSED = "#2a7d4f", "#b4552d"
_DECADES = 2.0
_FONT = 'font-family="system-ui, sans-serif" font-size="13"'


def reach(row: dict[str, Any]) -> float:
    """How far a figure goes beyond its goal: 1 at the goal, 2 twice as good, 0.5 half as good."""
    sign, number = row["goal"][0], row["goal"][1:]
    bound, figure = float(number), float(row["figure"])
    return figure / bound if sign == "≥" else bound / figure


def bar_px(row: dict[str, Any]) -> float:
    """Length of a bar: the goal in the middle, a hundredth of it at the left, a hundredfold at the right."""
    decades = math.log10(max(reach(row), 1e-9))
    return BAR_PX * (min(max(decades / _DECADES, -1.0), 1.0) + 1) / 2


def picture(rows: Iterable[dict[str, Any]]) -> str:
    """SVG, one bar for each budget row, on a logarithmic scale round its goal."""
    kept = list(rows)
    width, height = LABEL_PX + BAR_PX + FIGURE_PX, TOP_PX + ROW_PX * len(kept) + 10
    goal_px = LABEL_PX + BAR_PX / 2
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {_FONT}>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{goal_px}" y="20" text-anchor="middle">goal</text>',
    ]
    for at, row in enumerate(kept):
        top = TOP_PX + ROW_PX * at
        colour = MET if row["met"] else MISSED
        said = f"{row['figure']:,.4g} {row['unit']} ({row['goal']})"
        if not row["answer_checked"]:
            said += ", answer wrong"
        lines += [
            f'<text x="{LABEL_PX - 10}" y="{top + 16}" text-anchor="end">{escape(row["name"])}</text>',
            f'<rect x="{LABEL_PX}" y="{top + 4}" width="{bar_px(row):.1f}" height="16" fill="{colour}"/>',
            f'<text x="{LABEL_PX + BAR_PX + 10}" y="{top + 16}">{escape(said)}</text>',
        ]
    lines.append(f'<path d="M{goal_px} 26V{height - 6}" stroke="black" stroke-dasharray="3 3"/></svg>')
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(picture(orjson.loads(line) for line in sys.stdin))
