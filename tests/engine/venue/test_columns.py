from __future__ import annotations

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.venue.columns import IsoTimes, Population, Symbols, UnixTimes
from engine.venue.scales import BadField

UTC = datetime.UTC


@given(st.datetimes(datetime.datetime(1970, 1, 2), datetime.datetime(2099, 12, 31)))
def test_iso_times_agree_with_datetime(moment: datetime.datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    since = moment - datetime.datetime(1970, 1, 1, tzinfo=UTC)
    exact_ns = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    assert IsoTimes()[moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")] == exact_ns


@pytest.mark.parametrize(
    "text",
    [
        "2023-02-29T00:00:00Z",
        "2023-02-27T24:00:00Z",
        "2023-02-27T22:60:00Z",
        "2023-02-27T22:22:60Z",
        "2023-02-27T22:22:46",
        "2023-02-27 22:22:46Z",
        "2023-02-27T22:22:46.0123456789Z",
        "1969-12-31T23:59:59Z",
        "2100-01-01T00:00:00Z",
        "",
    ],
)
def test_what_is_not_a_utc_time_is_refused(text: str) -> None:
    with pytest.raises(BadField):
        IsoTimes()[text]


def test_a_time_in_the_wrong_unit_is_noticed() -> None:
    assert UnixTimes(1_000)["1582329602111000"] == 1582329602111000000
    with pytest.raises(BadField, match="unit"):
        UnixTimes(1_000_000)["1582329602111000"]


@pytest.mark.parametrize("text", ["", "a b", "ARB,", "X" * 17, "Ä"])
def test_a_symbol_must_be_short_and_ascii(text: str) -> None:
    with pytest.raises(BadField):
        Symbols()[text]


def test_there_are_at_most_256_markets() -> None:
    symbols = Symbols()
    assert [symbols[f"M{n}"] for n in range(256)] == list(range(256))
    with pytest.raises(BadField, match="256"):
        symbols["M256"]


def test_a_population_never_trades_with_itself_and_everybody_trades() -> None:
    rows = np.arange(1, 20_001)
    maker, taker = Population(9).pair(rows)
    assert (maker != taker).all()
    assert set(maker.tolist()) == set(taker.tolist()) == set(range(1, 65))
    counts = np.bincount(taker, minlength=65)
    assert counts[1:5].min() > 4 * counts[5:].max(), "the first four are the busy ones"


def test_a_population_follows_its_seed_and_the_row_alone() -> None:
    rows = np.arange(1, 1001)
    whole = Population(9).pair(rows)
    parts = [Population(9).pair(rows[:7]), Population(9).pair(rows[7:])]
    for side in (0, 1):
        assert np.array_equal(whole[side], np.concatenate([part[side] for part in parts]))
    assert not np.array_equal(whole[1], Population(10).pair(rows)[1])
    keys = Population(9).accounts
    assert len(set(keys)) == 64
    assert {len(key) for key in keys} == {32}
    assert keys != Population(10).accounts
