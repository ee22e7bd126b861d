"""A picture of what funding rules add up to over time, as SVG."""

from __future__ import annotations

from xml.sax.saxutils import escape

from engine.app.funding_compare import Charged

WIDTH_PX, HEIGHT_PX, LEFT_PX, TOP_PX, NAMES_PX = 620, 340, 80, 40, 200
POINTS_MAX = 600
COLOURS = ("#1b6ca8", "#2a7d4f", "#c58a00", "#b4552d", "#7a4fa3", "#3f3f3f", "#d81e5b")
_FONT = 'font-family="system-ui, sans-serif" font-size="12"'


def thinned(line: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """At most POINTS_MAX points of a line, its last one among them."""
    step = max(1, -(-len(line) // POINTS_MAX))
    kept = line[::step]
    return kept if not line or kept[-1] == line[-1] else [*kept, line[-1]]


def picture(rows: list[Charged], title: str) -> str:
    """SVG: the sum of each rule in percent of notional, against hours."""
    points = [point for row in rows for point in row.line] or [(1, 0)]
    hours = max(hour for hour, _ in points)
    low, high = min(0, *(value for _, value in points)), max(0, *(value for _, value in points))
    span = max(high - low, 1)

    def x(hour: int) -> float:
        return LEFT_PX + WIDTH_PX * hour / hours

    def y(value: int) -> float:
        return TOP_PX + HEIGHT_PX * (high - value) / span

    width, height = LEFT_PX + WIDTH_PX + NAMES_PX, TOP_PX + HEIGHT_PX + 50
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {_FONT}>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{LEFT_PX}" y="22">What a long pays, in % of notional: {escape(title)}</text>',
        f'<path d="M{LEFT_PX} {y(0):.1f}h{WIDTH_PX}" stroke="#999"/>',
        f'<text x="{LEFT_PX + WIDTH_PX}" y="{TOP_PX + HEIGHT_PX + 30}" text-anchor="end">{hours:,} hours</text>',
    ]
    out += [
        f'<text x="{LEFT_PX - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value / 10**10:.2f} %</text>'
        for value in sorted({low, 0, high})
    ]
    for at, row in enumerate(rows):
        colour = COLOURS[at % len(COLOURS)]
        path = "L".join(f"{x(hour):.1f} {y(value):.1f}" for hour, value in [(0, 0), *thinned(row.line)])
        top = TOP_PX + 18 * at
        left = LEFT_PX + WIDTH_PX + 14
        out += [
            f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
            f'<rect x="{left}" y="{top}" width="12" height="12" fill="{colour}"/>',
            f'<text x="{left + 18}" y="{top + 11}">{escape(row.name)}</text>',
        ]
    return "\n".join([*out, "</svg>"]) + "\n"
