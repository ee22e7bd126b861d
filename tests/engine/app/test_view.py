"""The live view: numbers in, text out, on any size of terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from engine.app import view
from engine.app.view import Check, Flow, Market, Process, Risk, Settlement, Snapshot

MARKETS = [
    Market(name, 5, 6_700_012_345 + k, 6_700_112_345, 149_253_731 * (-1) ** k, 10**8, 1234, "open")
    for k, name in enumerate(("BTC", "ETH", "SOL", "XRP", "DOGE", "AVAX", "LINK", "ARB"))
]
PROCESSES = [
    Process("devnet", 4_194_301, 0),
    Process("engine", 4_194_302, 12),
    Process("keeper", 4_194_303, 0),
    Process("relayer", None, 3),
]
CHECKS = [Check(name, True) for name in ("witness", "zero_sum", "cash", "order")]
NOW = Snapshot(
    title="demo: seeded orders of 40 accounts",
    elapsed_s=3_725,
    flow=Flow(2_001, 7_450_123, 0, 7_700_456, 2, 3, 210_000, 1_234_567),
    markets=MARKETS[:4],
    settlement=Settlement(3_725, 3_719, 3_718, 1_800, 7_448_000, 104_301, 104_200, 104_120, 0, 19_031),
    processes=PROCESSES,
    checks=CHECKS,
    risk=Risk(3_120, 310_000, 2, 14, 874_999, 9, 10**13, 1),
)


def drawn(now: Snapshot, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), color_system=None)
    console.print(view.screen(now, width, height))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return text.rstrip("\n").split("\n")


def test_everything_is_on_a_small_terminal() -> None:
    lines = drawn(NOW)
    text = "\n".join(lines)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    for wanted in (
        "1:02:05", "2,001", "7,450,123", "0.21 ms", "1.23 ms", "67,000.1", "67,001.1", "+0.0149 %", "-0.0149 %",
        "+0.0100 %", "1234 s", "closed  3,725", "committed  3,719", "settled  3,718", "sent  104,301",
        "confirmed 104,200", "final  104,120", "slot  19,031", "7,448,000", "1,800", "pid 4194302", "restarted 12x",
        "restarting", "0.31 ms", "worst   0.87", "low    2",
        "liquidations     9", "✔ witness", "✔ zero_sum", "✔ cash", "✔ order",
    ):  # fmt: skip
        assert wanted in text, f"{wanted} is missing"


@pytest.mark.parametrize(
    ("width", "height"), [(80, 24), (80, 16), (60, 12), (40, 8), (20, 5), (110, 30), (300, 90)]
)
@pytest.mark.parametrize("markets", [0, 1, 4, 8])
def test_it_fits_every_terminal(width: int, height: int, markets: int) -> None:
    lines = drawn(replace(NOW, markets=MARKETS[:markets]), width, height)
    assert len(lines) <= max(height, view.HEIGHT_MIN)
    assert max(map(len, lines)) <= min(width, view.WIDTH_MAX)


def test_what_does_not_fit_is_said_and_checks_stay() -> None:
    lines = drawn(replace(NOW, markets=MARKETS), 80, 18)
    assert any("more in a higher window" in line for line in lines)
    assert "✔ order" in lines[-1]
    hidden = next(int(line.split()[1]) for line in lines if "higher window" in line)
    assert hidden + sum(" open" in line and "batch" not in line for line in lines) == len(MARKETS)


def test_lines_stand_still_while_numbers_grow() -> None:
    before, after = (drawn(replace(NOW, flow=replace(NOW.flow, booked=n))) for n in (7, 999_999_999))
    assert len(before) == len(after)
    assert before[2].index("refused") == after[2].index("refused")


def test_a_false_check_says_why() -> None:
    bad = replace(NOW, checks=[*CHECKS[:3], Check("order", False, "settled 9, committed 8, closed 8")])
    text = "\n".join(drawn(bad))
    assert "✘ order" in text
    assert "order: settled 9, committed 8, closed 8" in text
    assert not bad.ok
    assert "checks FALSE: order" in view.line(bad)
    assert "CHECKS FAILED" in view.farewell(bad)
    assert view.summary(bad)["ok"] is False
    assert view.summary(bad)["checks"]["order"] is False


def test_a_market_that_is_not_open_says_so() -> None:
    held = [replace(MARKETS[0], state="reduce-only")]
    assert any(line.rstrip().endswith("reduce-only") for line in drawn(replace(NOW, markets=held)))


def test_failed_transactions_and_lag_are_shown_only_when_there_are_some() -> None:
    quiet = "\n".join(drawn(NOW))
    assert "failed" not in quiet
    assert "behind" not in quiet
    failed = replace(NOW, settlement=replace(NOW.settlement, tx_failed=2), lag_frames=20_000)
    text = "\n".join(drawn(failed))
    assert "2 transactions failed" in text
    assert "20,000 frames behind" in text


def test_risk_is_shown_once_it_has_swept() -> None:
    assert not any(" risk " in line for line in drawn(replace(NOW, risk=Risk())))
    assert any("any" in line for line in drawn(replace(NOW, risk=replace(NOW.risk, worst_e6=2**62))))
    assert view.ratio_text(-1) == "-0.01" and view.ratio_text(999_999) == "0.99"
    told = view.summary(NOW)["risk"]
    assert told == {
        "units": 3120,
        "sweep_us": 310,
        "candidates": 14,
        "liquidations": 9,
        "insurance_e6": 10**13,
        "insurance_positions": 1,
    }
    assert view.summary(replace(NOW, risk=Risk()))["risk"]["sweep_us"] is None


def test_confirmed_is_not_guessed() -> None:
    untold = replace(NOW, settlement=replace(NOW.settlement, tx_confirmed=0))
    assert "confirmed       –" in "\n".join(drawn(untold))


@pytest.mark.parametrize(
    ("closed", "committed", "settled", "marks"),
    [
        (0, 0, 0, ""),
        (3, 0, 0, "□□□"),
        (5, 4, 2, "■■▣▣□"),
        (9, 9, 9, "■■■■■■"),
        (20, 17, 16, "■■▣□□□"),
    ],
)
def test_strip_of_batches(closed: int, committed: int, settled: int, marks: str) -> None:
    text = view.strip(Settlement(closed=closed, committed=committed, settled=settled), 6).plain
    assert text.strip().split(" ■ settled")[0].strip() == marks.strip() or marks == ""
    assert len(text) == len(view.strip(Settlement(), 6).plain)
    assert sum(map(text.count, "■▣□")) - 3 == len(marks)


@pytest.mark.parametrize(
    ("price", "decimals", "text"),
    [
        (0, 4, "–"),
        (6_700_012_345, 5, "67,000.1"),
        (599_999_999, 9, "0.599999"),
        (123_456_789, 2, "1,234,567"),
        (15, 0, "15"),
        (10_000_000, 12, "0.0000100000"),
    ],
)
def test_price_text(price: int, decimals: int, text: str) -> None:
    assert view.price_text(price, decimals) == text


def test_a_price_in_tens_of_dollars_is_written_out() -> None:
    assert view.price_text(1_234, -1) == "12,340"


@pytest.mark.parametrize(
    ("rate_e12", "text"), [(0, "+0.0000 %"), (149_253_731, "+0.0149 %"), (-50_000_000_000, "-5.0000 %")]
)
def test_rate_text(rate_e12: int, text: str) -> None:
    assert view.rate_text(rate_e12) == text


def test_latency_and_clock() -> None:
    assert [view.latency_text(ns) for ns in (-1, 0, 214_999, 30_000_000_000)] == [
        "–", "0.00 ms", "0.21 ms", "30000.00 ms",
    ]  # fmt: skip
    assert [view.clock_text(s) for s in (0, 59, 3_600, 360_000)] == [
        "0:00:00",
        "0:00:59",
        "1:00:00",
        "100:00:00",
    ]


def test_the_plain_line_has_no_line_break_and_names_restarts() -> None:
    text = view.line(NOW)
    assert "\n" not in text
    assert "15 restarts" in text
    assert "restarts" not in view.line(replace(NOW, processes=[Process("engine", 1, 0)]))


def test_a_process_that_the_others_go_on_without_is_told_everywhere() -> None:
    down = replace(NOW, processes=[*PROCESSES, Process("risk", None, 20, failing=True)])
    assert any("risk" in line and "FAILING" in line for line in drawn(down))
    assert "WITHOUT risk" in view.line(down)
    assert view.summary(down)["failing"] == ["risk"] and view.summary(NOW)["failing"] == []


def test_the_farewell_fits_a_line() -> None:
    short = replace(NOW, settlement=Settlement(closed=123, settled=117), elapsed_s=125)
    assert len(view.farewell(replace(short, flow=replace(NOW.flow, booked=247_316)))) <= 80
    assert "\n" not in view.farewell(NOW)


def test_unknown_latency_is_null_for_a_machine() -> None:
    report = view.summary(replace(NOW, flow=Flow()))
    assert report["ack_p50_us"] is None
    assert view.summary(NOW)["ack_p99_us"] == 1234
    assert view.summary(NOW)["restarts"] == {"devnet": 0, "engine": 12, "keeper": 0, "relayer": 3}
