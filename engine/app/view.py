"""What `godark demo` shows: numbers in, text out. No clock, no terminal, no process is touched here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

WIDTH_MAX = 110
HEIGHT_MIN = 8
_LABEL_WIDTH = 10
_STRIP_BATCHES = (4, 64)
_LEGEND_WIDTH = 33
_LAG_SHOWN = 8192
"""Fewer frames than one step folds are on their way at any moment."""
_DIGITS = 6
_RATIO_SHOWN_E6 = 10**12
_GOOD, _BAD, _FAINT, _HEAD = "green", "bold red", "bright_black", "bold cyan"


@dataclass(frozen=True)
class Flow:
    """Order flow and journal. Latencies: a slice of fills sent → all of it acknowledged; -1 unknown."""

    fills_per_s: int = 0
    booked: int = 0
    refused: int = 0
    frames: int = 0
    resent: int = 0
    epoch: int = 0
    ack_p50_ns: int = -1
    ack_p99_ns: int = -1


@dataclass(frozen=True)
class Market:
    """One market. Prices in 10**-decimals USD per unit of base; 0: none yet. Rates in 1e-12 per 8 h."""

    symbol: str
    decimals: int
    index_price: int
    mark_price: int
    premium_e12: int
    predicted_e12: int
    seconds_sampled: int
    state: str


@dataclass(frozen=True)
class Settlement:
    """How far batches and transactions are. `tx_confirmed` counts finalized ones too; 0: not told."""

    closed: int = 0
    committed: int = 0
    settled: int = 0
    open_fills: int = 0
    log_size: int = 0
    tx_sent: int = 0
    tx_confirmed: int = 0
    tx_finalized: int = 0
    tx_failed: int = 0
    slot: int = 0


@dataclass(frozen=True)
class Risk:
    """The risk process and what came of it. units: positions and accounts swept; found: under their maintenance
    margin now; candidates: proposed so far; worst_e6: lowest margin ratio. begun: liquidations so far; insured:
    positions that insurance holds now."""

    units: int = 0
    sweep_ns: int = -1
    found: int = 0
    candidates: int = 0
    worst_e6: int = 0
    begun: int = 0
    insurance_e6: int = 0
    insured: int = 0


@dataclass(frozen=True)
class Process:
    """One process of the group; `pid` None: it is being restarted. failing: the others go on without it."""

    name: str
    pid: int | None
    restarts: int
    failing: bool = False


@dataclass(frozen=True)
class Check:
    """Something that must hold. `detail` says what does not."""

    name: str
    good: bool
    detail: str = ""


@dataclass(frozen=True)
class Snapshot:
    """Everything shown at one moment."""

    title: str
    elapsed_s: int
    flow: Flow
    markets: Sequence[Market]
    settlement: Settlement
    processes: Sequence[Process]
    checks: Sequence[Check]
    lag_frames: int = 0
    risk: Risk = Risk()

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.good for check in self.checks)


def price_text(price: int, decimals: int) -> str:
    """USD with at least six digits that say something, cut toward zero; "–" for 0."""
    if price == 0:
        return "–"
    value = Decimal(price).scaleb(-decimals)
    shown = max(0, min(decimals, _DIGITS - 1 - value.adjusted()))
    cut = Decimal(price // 10 ** (decimals - shown)).scaleb(-shown) if decimals >= 0 else value
    return f"{cut:,f}"


def rate_text(rate_e12: int) -> str:
    """A rate in percent, four decimals, signed."""
    return f"{Decimal(rate_e12).scaleb(-10):+.4f} %"


def latency_text(ns: int) -> str:
    """Milliseconds; "–" for a negative number."""
    return "–" if ns < 0 else f"{Decimal(ns).scaleb(-6):.2f} ms"


def clock_text(seconds: int) -> str:
    """h:mm:ss."""
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def screen(now: Snapshot, width: int, height: int) -> RenderableType:
    """The live view for a terminal of this size. Blank lines go first where it is low, then the last markets."""
    width = min(width, WIDTH_MAX)
    blocks = [
        [_title(now, width)],
        _flow_lines(now),
        _market_lines(now, len(now.markets)),
        _settlement_lines(now.settlement, width),
        _risk_lines(now.risk),
        _process_lines(now.processes),
        _check_lines(now),
    ]
    lines = sum(map(len, blocks))
    if lines > height:
        fits = max(1, len(now.markets) - (lines - height) - 1)
        blocks[2] = _market_lines(now, fits)
        lines = sum(map(len, blocks))
    spare = max(0, height - lines)
    out: list[Text] = []
    for k, block in enumerate(blocks):
        if k and spare >= len(blocks) - k:
            out.append(Text(""))
            spare -= 1
        out += block
    for line in out:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return Stack(*out[: max(height, HEIGHT_MIN)])


def _title(now: Snapshot, width: int) -> Text:
    left = Text.assemble((" GoDark ", "bold reverse cyan"), f" {now.title}")
    right = Text.assemble(clock_text(now.elapsed_s), ("  Ctrl-C ends it", _FAINT))
    left.truncate(max(10, width - right.cell_len - 1), overflow="ellipsis")
    return Text.assemble(left, " " * max(1, width - left.cell_len - right.cell_len), right)


def _labelled(label: str, *pairs: tuple[str, str] | tuple[str, str, str]) -> Text:
    """`label`, then name and value of each pair; values are padded so that columns stand still."""
    text = Text.assemble((f" {label:<{_LABEL_WIDTH}}", _HEAD))
    for name, value, *style in pairs:
        text.append(f"{name} ", _FAINT)
        text.append(value, style[0] if style else "")
        text.append("  ")
    return text


def _flow_lines(now: Snapshot) -> list[Text]:
    flow = now.flow
    return [
        _labelled(
            "fills",
            ("per second", f"{flow.fills_per_s:>9,}", "bold"),
            ("booked", f"{flow.booked:>13,}"),
            ("refused", f"{flow.refused:,}", _BAD if flow.refused else ""),
            ("sent again", f"{flow.resent:,}"),
        ),
        _labelled(
            "ack",
            ("p50", f"{latency_text(flow.ack_p50_ns):>9}", "bold"),
            ("p99", f"{latency_text(flow.ack_p99_ns):>9}", "bold"),
            ("frames", f"{flow.frames:>11,}"),
            ("epoch", f"{flow.epoch}"),
        ),
    ]


def _market_lines(now: Snapshot, shown: int) -> list[Text]:
    form = " {:<9}{:>12} {:>12} {:>10} {:>10} {:>7}  {}"
    head = form.format("funding", "index price", "mark", "premium", "next / 8 h", "sampled", "state")
    lines = [Text(head, _HEAD)]
    for market in now.markets[:shown]:
        row = form.format(
            market.symbol[:9],
            price_text(market.index_price, market.decimals),
            price_text(market.mark_price, market.decimals),
            rate_text(market.premium_e12),
            rate_text(market.predicted_e12),
            f"{market.seconds_sampled} s",
            "",
        )
        text = Text(row)
        text.append(market.state, _GOOD if market.state == "open" else _BAD)
        lines.append(text)
    hidden = len(now.markets) - shown
    if hidden > 0:
        lines.append(Text(f" and {hidden} more in a higher window", _FAINT))
    return lines


def _settlement_lines(s: Settlement, width: int) -> list[Text]:
    confirmed = f"{max(s.tx_confirmed, s.tx_finalized):,}" if s.tx_confirmed else "–"
    lines = [
        _labelled(
            "batches",
            ("closed", f"{s.closed:>6,}"),
            ("committed", f"{s.committed:>6,}"),
            ("settled", f"{s.settled:>6,}", "bold"),
        ),
        strip(s, max(_STRIP_BATCHES[0], min(_STRIP_BATCHES[1], width - _LABEL_WIDTH - _LEGEND_WIDTH))),
        _labelled(
            "chain",
            ("sent", f"{s.tx_sent:>8,}"),
            ("confirmed", f"{confirmed:>7}"),
            ("final", f"{s.tx_finalized:>8,}", "bold"),
            ("slot", f"{s.slot:>7,}"),
        ),
        _labelled("log", ("size", f"{s.log_size:>8,}"), ("fills in the open batch", f"{s.open_fills:>7,}")),
    ]
    if s.tx_failed:
        lines.append(Text(f" {s.tx_failed:,} transactions failed on chain", _BAD))
    return lines


def strip(s: Settlement, batches: int) -> Text:
    """The newest `batches` as a strip: settled, committed, closed; the left end is the oldest shown."""
    first = max(1, s.closed - batches + 1)
    marks = Text.assemble((f" {'':<{_LABEL_WIDTH}}", _HEAD))
    for number in range(first, s.closed + 1):
        if number <= s.settled:
            marks.append("■", _GOOD)
        elif number <= s.committed:
            marks.append("▣", "yellow")
        else:
            marks.append("□", _FAINT)
    marks.append(" " * (batches - (s.closed - first + 1)))
    for mark, style, name in (("■", _GOOD, "settled"), ("▣", "yellow", "committed"), ("□", _FAINT, "closed")):
        marks.append(f" {mark}", style)
        marks.append(f" {name}", _FAINT)
    return marks


def ratio_text(ratio_e6: int) -> str:
    """A margin ratio, cut to two decimals; "any" where nothing needs margin."""
    return "any" if abs(ratio_e6) > _RATIO_SHOWN_E6 else f"{Decimal(ratio_e6 // 10_000).scaleb(-2):.2f}"


def _risk_lines(risk: Risk) -> list[Text]:
    """One line, once the risk process has swept."""
    if risk.sweep_ns < 0:
        return []
    return [
        _labelled(
            "risk",
            ("sweep", f"{latency_text(risk.sweep_ns):>9}"),
            ("worst", f"{ratio_text(risk.worst_e6):>6}"),
            ("low", f"{risk.found:>4,}"),
            ("liquidations", f"{risk.begun:>5,}", "bold"),
        )
    ]


def _process_lines(processes: Iterable[Process]) -> list[Text]:
    """Two processes to a line."""
    rows = list(processes)
    lines = []
    for k in range(0, len(rows), 2):
        line = Text.assemble((f" {'' if k else 'processes':<{_LABEL_WIDTH}}", _HEAD))
        for row in rows[k : k + 2]:
            line.append(f"{row.name:<8}")
            if row.failing:
                line.append(f"{'FAILING':<12}", _BAD)
            elif row.pid is None:
                line.append(f"{'restarting':<12}", _BAD)
            else:
                line.append(f"pid {row.pid:<8}", _FAINT)
            restarts = f"restarted {row.restarts}x" if row.restarts else ""
            line.append(f"{restarts:<14}", "yellow")
        lines.append(line)
    return lines


def _check_lines(now: Snapshot) -> list[Text]:
    line = Text.assemble((f" {'checks':<{_LABEL_WIDTH}}", _HEAD))
    for check in now.checks:
        line.append("✔ " if check.good else "✘ ", _GOOD if check.good else _BAD)
        line.append(f"{check.name}  ", "" if check.good else _BAD)
    if now.lag_frames > _LAG_SHOWN:
        line.append(f"{now.lag_frames:,} frames behind", _FAINT)
    bad = [Text(f" {c.name}: {c.detail}", _BAD) for c in now.checks if not c.good]
    return [line, *bad]


def line(now: Snapshot) -> str:
    """One plain line, for whoever reads no terminal."""
    flow, s = now.flow, now.settlement
    restarts = sum(process.restarts for process in now.processes)
    parts = [
        f"{clock_text(now.elapsed_s)} {flow.fills_per_s:,} fills/s, {flow.booked:,} booked",
        f"ack p50 {latency_text(flow.ack_p50_ns)} p99 {latency_text(flow.ack_p99_ns)}",
        f"batches {s.closed:,} closed {s.committed:,} committed {s.settled:,} settled",
        f"{s.tx_finalized:,} of {s.tx_sent:,} transactions final",
        "checks ok" if now.ok else f"checks FALSE: {', '.join(c.name for c in now.checks if not c.good)}",
    ]
    if restarts:
        parts.insert(4, f"{restarts} restarts")
    failing = [process.name for process in now.processes if process.failing]
    if failing:
        parts.insert(4, f"WITHOUT {', '.join(failing)}")
    return "; ".join(parts)


def farewell(now: Snapshot) -> str:
    """The last line of a demo."""
    flow, s = now.flow, now.settlement
    verdict = "checks held" if now.ok else "CHECKS FAILED"
    return (
        f"{flow.booked:,} fills in {clock_text(now.elapsed_s)}, ack {latency_text(flow.ack_p50_ns)};"
        f" {s.settled:,} of {s.closed:,} batches settled; {verdict}"
    )


def summary(now: Snapshot) -> dict[str, Any]:
    """The figures of a whole demo, for a machine. Money and rates stay integers."""
    flow, s = now.flow, now.settlement
    return {
        "seconds": now.elapsed_s,
        "booked": flow.booked,
        "refused": flow.refused,
        "frames": flow.frames,
        "sent_again": flow.resent,
        "epoch": flow.epoch,
        "ack_p50_us": flow.ack_p50_ns // 1000 if flow.ack_p50_ns >= 0 else None,
        "ack_p99_us": flow.ack_p99_ns // 1000 if flow.ack_p99_ns >= 0 else None,
        "batches": {"closed": s.closed, "committed": s.committed, "settled": s.settled},
        "log_size": s.log_size,
        "tx_sent": s.tx_sent,
        "tx_finalized": s.tx_finalized,
        "tx_failed": s.tx_failed,
        "slot": s.slot,
        "risk": {
            "units": now.risk.units,
            "sweep_us": now.risk.sweep_ns // 1000 if now.risk.sweep_ns >= 0 else None,
            "candidates": now.risk.candidates,
            "liquidations": now.risk.begun,
            "insurance_e6": now.risk.insurance_e6,
            "insurance_positions": now.risk.insured,
        },
        "markets": {
            m.symbol: {
                "index_price": price_text(m.index_price, m.decimals),
                "mark_price": price_text(m.mark_price, m.decimals),
                "premium_e12": m.premium_e12,
                "predicted_e12": m.predicted_e12,
                "seconds_sampled": m.seconds_sampled,
                "state": m.state,
            }
            for m in now.markets
        },
        "restarts": {process.name: process.restarts for process in now.processes},
        "failing": [process.name for process in now.processes if process.failing],
        "checks": {check.name: check.good for check in now.checks},
        "ok": now.ok,
    }
