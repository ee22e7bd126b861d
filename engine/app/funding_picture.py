"""A picture of what funding rules add up to over time, as SVG."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

from engine.app.funding_file import Stretch
from engine.app.funding_rows import Charged
from engine.app.funding_text import absent_spans, utc

WIDTH_PX, HEIGHT_PX, LEFT_PX, TOP_PX, NAMES_PX = 640, 340, 90, 64, 290
POINTS_MAX: Final = 600
COLOURS: Final = ("#1b6ca8", "#2a7d4f", "#c58a00", "#b4552d", "#7a4fa3", "#3f3f3f", "#d81e5b")
DASHES: Final = ("", "6 3", "2 2")
_FONT = 'font-family="system-ui, sans-serif" font-size="12"'
_STEPS: Final = (1, 2, 5)


def thinned(line: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """At most POINTS_MAX points of a line, its last one among them."""
    step = max(1, -(-len(line) // POINTS_MAX))
    kept = line[::step]
    return kept if not line or kept[-1] == line[-1] else [*kept, line[-1]]


def rounds(low: int, high: int) -> list[int]:
    """Multiples of a round step from `low` to `high`, at most eight of them, 0 among them if it is inside."""
    step = next(k * 10**p for p in range(64) for k in _STEPS if (high - low) // (k * 10**p) <= 6)
    return list(range(-(-low // step) * step, high + 1, step))


class _Scale:
    """From hours and sums to places in the picture."""

    def __init__(self, rows: list[Charged], stretch: Stretch) -> None:
        values = [value for row in rows for _, value in row.line]
        self.hours = max(1, len(stretch.valid))
        self.low, self.high = min(0, *values, 0), max(0, *values, 0)

    def x(self, hour: int) -> float:
        return LEFT_PX + WIDTH_PX * hour / self.hours

    def y(self, value: int) -> float:
        return TOP_PX + HEIGHT_PX * (self.high - value) / max(self.high - self.low, 1)


def picture(rows: list[Charged], title: str, stretch: Stretch) -> str:
    """SVG: the sum of each rule in percent of notional against time; hours without a premium are shaded."""
    scale = _Scale(rows, stretch)
    width, height = LEFT_PX + WIDTH_PX + NAMES_PX, TOP_PX + HEIGHT_PX + 50
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {_FONT}>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        (
            f'<text x="{LEFT_PX}" y="20" font-size="14">{escape(title)}: funding paid by a long of constant '
            "notional, added up, in %</text>"
        ),
        (
            f'<text x="{LEFT_PX}" y="40" fill="#555">rising: longs pay shorts; falling: shorts pay longs; '
            "shaded: no premium known</text>"
        ),
        *_ground(scale, stretch),
    ]
    for at, row in enumerate(rows):
        out += _line(scale, at, row)
    return "\n".join([*out, "</svg>"]) + "\n"


def _ground(scale: _Scale, stretch: Stretch) -> Iterator[str]:
    """Gaps, levels and dates."""
    for start, hours in absent_spans(stretch):
        left, wide = scale.x(start - stretch.first_hour), max(1.0, WIDTH_PX * hours / scale.hours)
        yield f'<rect x="{left:.1f}" y="{TOP_PX}" width="{wide:.1f}" height="{HEIGHT_PX}" fill="#eee"/>'
    for value in rounds(scale.low, scale.high):
        colour = "#888" if value == 0 else "#ddd"
        yield f'<path d="M{LEFT_PX} {scale.y(value):.1f}h{WIDTH_PX}" stroke="{colour}"/>'
        yield (
            f'<text x="{LEFT_PX - 8}" y="{scale.y(value) + 4:.1f}" text-anchor="end">'
            f"{f'{value / 10**10:+g}' if value else 0} %</text>"
        )
    for part, anchor in ((0, "start"), (1, "middle"), (2, "end")):
        hour = scale.hours * part // 2
        yield (
            f'<text x="{scale.x(hour):.1f}" y="{TOP_PX + HEIGHT_PX + 30}" text-anchor="{anchor}">'
            f"{utc(stretch.first_hour + hour)}{' UTC' if part == 2 else ''}</text>"
        )


def _line(scale: _Scale, at: int, row: Charged) -> Iterator[str]:
    """One rule: its line, and its name with what it comes to."""
    colour, dash = COLOURS[at % len(COLOURS)], DASHES[at // len(COLOURS) % len(DASHES)]
    points = "L".join(
        f"{scale.x(hour):.1f} {scale.y(value):.1f}" for hour, value in [(0, 0), *thinned(row.line)]
    )
    top, left = TOP_PX + 20 * at, LEFT_PX + WIDTH_PX + 14
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    yield f'<path d="M{points}" fill="none" stroke="{colour}" stroke-width="1.5"{dashed}/>'
    yield f'<path d="M{left} {top + 6}h14" stroke="{colour}" stroke-width="3"{dashed}/>'
    yield f'<text x="{left + 20}" y="{top + 11}">{escape(row.name)}</text>'
    yield (
        f'<text x="{LEFT_PX + WIDTH_PX + NAMES_PX - 8}" y="{top + 11}" text-anchor="end">'
        f"{row.sum_e12 / 10**10:+.2f} %</text>"
    )
