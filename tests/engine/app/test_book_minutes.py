"""dYdX's samples and rates of a rebuilt book, against medians worked out with Python's own statistics."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.app.book_minutes import Minutes
from engine.app.cli import execute
from tests.engine.venue.test_orderbook import SNAPSHOT, update, write

HOUR_S = 3600


def told(votes: list[tuple[int, int | None]], min_votes: int) -> list[str]:
    minutes = Minutes(min_votes)
    for second, ppm in votes:
        minutes.vote(second, ppm)
    return list(minutes.lines())


@given(st.lists(st.none() | st.integers(-(10**6), 10**6), min_size=1, max_size=60), st.integers(1, 80))
def test_a_sample_is_the_median_of_its_votes_and_zeros(votes: list[int | None], min_votes: int) -> None:
    padded = [vote or 0 for vote in votes] + [0] * (min_votes - len(votes))
    middle = statistics.median(padded)
    wanted = int(abs(middle) + 0.5) * (1 if middle > 0 else -1)
    first, last = told(list(enumerate(votes)), min_votes)
    assert first == f"1970-01-01 00:00 UTC: {len(votes)} votes, sample {wanted:+d} ppm"
    mean = int(abs(wanted) / 60) * (1 if wanted > 0 else -1)
    assert last.endswith(
        f"1 of 60 samples, the rest 0; rate {max(-12.0, min(12.0, mean / 10**4)):+.4f} % per 8 h"
    )


def test_minutes_and_hours_close_each_on_its_own() -> None:
    votes: list[tuple[int, int | None]] = [
        (HOUR_S - 61, 600),
        (HOUR_S - 60, 1200),
        (HOUR_S - 1, 1200),
        (HOUR_S, -9),
    ]
    assert told(votes, 1) == [
        "1970-01-01 00:58 UTC: 1 votes, sample +600 ppm",
        "1970-01-01 00:59 UTC: 2 votes, sample +1200 ppm",
        "1970-01-01 00:00 UTC, the hour by dYdX's rule: 2 of 60 samples, the rest 0; rate +0.0030 % per 8 h",
        "1970-01-01 01:00 UTC: 1 votes, sample -9 ppm",
        "1970-01-01 01:00 UTC, the hour by dYdX's rule: 1 of 60 samples, the rest 0; rate +0.0000 % per 8 h",
    ]
    assert told([], 1) == []


def test_every_second_votes_whatever_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """25,641 ppm in 14 seconds, of which few are printed."""
    bodies = [SNAPSHOT, *(update(100 + k, 101 + k, 100 + k, [], []) for k in range(13))]
    arguments = ["book", str(write(tmp_path, *bodies)), "--premium", "dydx", "--index", "10.0"]
    arguments += ["--notional", "4", "--min-votes", "14"]
    assert execute([*arguments, "--every", "100"]) == 0
    few = capsys.readouterr().out.splitlines()
    assert execute(arguments) == 0
    many = capsys.readouterr().out.splitlines()
    assert len(many) - len(few) == 13
    assert few[-3:] == many[-3:]
    assert "14 votes, sample +25641 ppm" in few[-3]
    assert "rate +0.0427 % per 8 h" in few[-2]
    assert execute([*arguments, "--min-votes", "0"]) == 2


def test_the_middle_of_the_impact_prices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """(10.5 + 10.6) / 2 over 10.0; on a side that is too short there is no premium."""
    file = str(write(tmp_path, SNAPSHOT))
    for notional, shown in (("4", "5.50000000 %"), ("90", " -")):
        assert execute(["book", file, "--premium", "mid", "--index", "10.0", "--notional", notional]) == 0
        assert capsys.readouterr().out.splitlines()[1].endswith(shown)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["absent"], "cannot be read"), (["FILE", "--index", "x"], "'x' is not a decimal number")],
)
def test_what_is_wrong_is_one_line_and_no_table_is_begun(
    arguments: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(write(tmp_path, SNAPSHOT))
    assert execute(["book", *(file if part == "FILE" else part for part in arguments)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1 and word in told.err
