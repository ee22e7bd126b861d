"""`godark prices`: the record of every second recomputed from a journal, and what it says of wrong input."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from engine.app.cli import execute
from engine.app.prices import Heard, PricedSecond, as_object, lines_of, priced_seconds
from engine.core.apply import Machine
from kernels.crc32c import seal_frames, words_of
from kernels.frames import TickKind
from kernels.layouts import PRICE_MAX, STATUS_HELD, STATUS_NONE, STATUS_OK, STATUS_TWO
from kernels.oracle import NO_TIME, PASSES, REASONS, TOO_FAR, TOO_OLD
from tests.engine.core.builders import PRICE, SECOND_NS, array_of, genesis
from tests.engine.journal.material import append, open_writer

Report = Callable[..., tuple[int, list[str], str]]
USD = Decimal(PRICE)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven seconds of three markets: all agree; one far off; silence till it is held; a pause; one more."""
    script = genesis()
    script.observe(PRICE + 2, feed=0)
    script.observe(PRICE * 2, feed=1, conf=7)
    script.observe(PRICE + 4, feed=2)
    script.seconds(5)
    script.observe(PRICE_MAX + 1, feed=2)
    script.tick(script.now_ns + 9 * SECOND_NS, TickKind.OPEN)
    script.observe(PRICE, feed=9)
    script.seconds(1)
    frames = array_of(script.frames)
    seal_frames(words_of(frames), 0, len(frames))
    directory = tmp_path_factory.mktemp("run")
    writer = open_writer(directory / "journal")
    append(writer, frames, [7] * len(frames), Machine())
    writer.close()
    return directory


@pytest.fixture
def run(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Report:
    def run(*arguments: str) -> tuple[int, list[str], str]:
        status = execute(["prices", "--data-dir", str(data_dir), *arguments])
        said = capsys.readouterr()
        return status, said.out.splitlines(), said.err

    return run


def test_every_second_and_market_once_with_each_reason(data_dir: Path) -> None:
    record = [s for s in priced_seconds(data_dir / "journal") if s.symbol == "M0"]
    seconds = [(s.now_ns // SECOND_NS - 3_600_000, s.status, [v.reason for v in s.votes]) for s in record]
    assert seconds == [
        (1, STATUS_OK, [PASSES] * 3),
        (2, STATUS_TWO, [PASSES, TOO_FAR, PASSES]),
        (3, STATUS_TWO, [PASSES, TOO_FAR, PASSES]),
        (4, STATUS_TWO, [PASSES, TOO_FAR, PASSES]),
        (5, STATUS_HELD, [TOO_OLD] * 3),
        (6, STATUS_HELD, [TOO_OLD] * 3),
        (16, STATUS_HELD, [TOO_OLD] * 3),
    ]
    assert [s.price for s in record[:3]] == [USD, USD + 2, USD + 2]
    far = record[1].votes[1]
    assert (far.weight, far.price, far.conf, far.age_ns) == (2, 2 * USD, 7, SECOND_NS)
    assert [s.refused for s in record] == [[]] * 6 + [[(2, "OBSERVATION_INVALID"), (9, "UNKNOWN_FEED")]]
    assert [s.clean for s in record] == [True] + [False] * 6


def test_the_funding_rate_is_told_as_if_the_interval_ended_there(data_dir: Path) -> None:
    """At the index price nobody owes a premium: interest alone, and nothing once two thirds are unsampled."""
    seconds = [s for s in priced_seconds(data_dir / "journal") if s.symbol == "M0"]
    assert [s.samples for s in seconds] == [1, 2, 3, 4, 4, 4, 4]
    assert [s.predicted_e12 for s in seconds] == [10**8] * 6 + [0]
    assert [as_object(s)["predicted_e12"] for s in seconds] == [10**8] * 6 + [0]


def test_a_stretch_is_the_same_as_in_the_whole(data_dir: Path) -> None:
    whole = list(priced_seconds(data_dir / "journal"))
    start = whole[0].now_ns
    part = list(
        priced_seconds(data_dir / "journal", from_ns=start + 2 * SECOND_NS, to_ns=start + 3 * SECOND_NS)
    )
    assert part == [s for s in whole if 2 <= (s.now_ns - start) // SECOND_NS <= 3] and len(part) == 6
    assert list(priced_seconds(data_dir / "journal", from_ns=start + 15 * SECOND_NS)) == whole[-3:]
    assert list(priced_seconds(data_dir / "journal", upto=0)) == []


def test_lines_for_people(run: Report) -> None:
    status, lines, _ = run("--market", "M0", "--excluded")
    assert status == 0
    assert "TWO" in lines[0] and "± 0  mark 300000002  funding +0.0100 %  2 of 3 count  open" in lines[0]
    assert lines[1].strip() == f"provider 1: {REASONS[TOO_FAR]} (600000000 ± 7, 1.000 s old)"
    assert "M0 provider 1: 3 s too far from the last good price" in lines
    assert "M0 provider 1: 3 s older than the age limit" in lines
    assert "M0 provider 0: 4 s passes" in lines
    assert any(line.strip() == "provider 2: refused, OBSERVATION_INVALID" for line in lines)
    assert any("HELD" in line and "reduce-only" in line for line in lines)
    assert not any(line.startswith("M1") for line in lines)


def test_a_market_without_a_price_says_so() -> None:
    silent = Heard(0, 1, NO_TIME, Decimal(0), Decimal(0), None)
    second = PricedSecond(10**18, "NEW", STATUS_NONE, *[Decimal(0)] * 3, 0, 0, 0, [silent], [])
    head, *rest = lines_of(second)
    assert head == "2001-09-09 01:46:40 NEW      NONE    no price yet  0 of 1 count  open"
    assert [line.strip() for line in rest] == ["provider 0: no publish time (nothing said)"]
    assert as_object(second)["providers"][0]["age_ns"] is None


def test_objects_for_machines(run: Report) -> None:
    status, lines, _ = run("--json", "--market", "M1")
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert status == 0 and len(rows) == 7
    assert {row["market"] for row in rows} == {"M1"}
    assert Decimal(rows[0]["price"]) == USD.scaleb(-9) and rows[0]["state"] == []
    assert [p["counts"] for p in rows[0]["providers"]] == [True, True]
    last = rows[-1]
    assert last["refused"] == []
    assert (last["status"], last["state"]) == ("HELD", ["reduce-only"])
    assert last["providers"][0] == {
        "provider": 0,
        "weight": 1,
        "counts": False,
        "reason": REASONS[TOO_OLD],
        "price": "0.300000000",
        "conf": "0.000000000",
        "age_ns": 16 * SECOND_NS,
    }


def test_from_and_to_bound_the_record(run: Report) -> None:
    def at(second: int) -> str:
        return datetime.fromtimestamp(3_600_000 + second, UTC).isoformat()

    _, lines, _ = run("--json", "--market", "M2", "--from", at(2), "--to", at(4)[:19])
    assert [json.loads(line)["time_ns"] // SECOND_NS - 3_600_000 for line in lines] == [2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--market", "NONE"], "no market 'NONE'; the journal has M0, M1, M2"),
        (["--from", "yesterday"], "--from takes a time such as 2026-01-31T12:00:00, not 'yesterday'"),
        (["--to", "1.5."], "--to takes a time such as"),
        (["--from", "2026-02-01", "--to", "2026-01-01"], "--from must not be after --to"),
        (["--from", "2026-02-01"], "no priced second in that time"),
    ],
)
def test_wrong_input_is_one_line(run: Report, arguments: list[str], says: str) -> None:
    status, lines, said = run(*arguments)
    assert status == 2 and lines == []
    assert says in said and said.count("\n") == 1


def test_a_directory_without_a_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["prices", "--data-dir", str(tmp_path)]) == 2
    assert "no journal; name the directory of a run with --data-dir" in capsys.readouterr().err
