from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.common.errors import InputFileError
from engine.core.apply import Machine
from engine.core.views import views_of
from engine.venue.recording import MarketPlan, Recording, load
from engine.venue.stream import ReplayStream, buckets, busiest_hours, deposits_e6
from kernels.crc32c import first_bad_frame, words_of
from kernels.frames import (
    ACCOUNT_FRAME,
    FILL,
    FRAME,
    OBSERVATION,
    TICK,
    TRANSFER,
    Source,
    Template,
    TickKind,
    TransferKind,
    key_words,
)

SECOND = 10**9
START_S = 1681901998  # 2023-04-19T10:59:58Z
END_S = 1681909200  # 13:00:00Z
HOUR = 1681898400  # 10:00:00Z


def stream_of(recording: Recording, hours: int | None = None, seed: int = 5) -> ReplayStream:
    return ReplayStream(recording, seed=seed, hours=hours, batch_window_ns=60 * SECOND)


def whole(stream: ReplayStream) -> NDArray[np.void]:
    return np.concatenate([stream.genesis(), *stream.chunks()])


def of(frames: NDArray[np.void], template: Template, dtype: np.dtype[np.void]) -> NDArray[np.void]:
    return np.ascontiguousarray(frames[frames["template"] == int(template)]).view(dtype)


def check_order(frames: NDArray[np.void], start_s: int, end_s: int) -> None:
    """Sealed; every source contiguous; every second k holds (k - 1, k]: observations, fills, tick k."""
    words = words_of(frames)
    assert first_bad_frame(words, 0, len(words)) == len(words)
    for source in set(frames["source"].tolist()):
        seqs = frames["seq"][frames["source"] == source]
        assert np.array_equal(seqs, np.arange(1, len(seqs) + 1)), Source(source).name
    genesis = np.isin(frames["template"], [Template.PARAM, Template.ACCOUNT, Template.TRANSFER])
    assert genesis[: genesis.sum() + 1].sum() == genesis.sum(), "genesis and its tick come first"
    body = frames[~genesis]
    ticks = of(body, Template.TICK, TICK)
    assert np.array_equal(ticks["now_ns"], np.arange(start_s, end_s + 1) * SECOND)
    assert ticks["kind"].tolist() == [int(TickKind.OPEN)] + [int(TickKind.SECOND)] * (len(ticks) - 1)
    assert (ticks["prev_ns"][0], ticks["interval_ns"][0]) == (0, 0)
    assert np.array_equal(ticks["prev_ns"][1:], ticks["now_ns"][:-1])
    assert set(ticks["interval_ns"][1:].tolist()) == {SECOND}
    is_tick = body["template"] == int(Template.TICK)
    second = start_s + np.cumsum(is_tick) - is_tick  # of each frame: the ticks before it, itself not counted
    second_of_tick = second[is_tick]
    assert np.array_equal(second_of_tick[1:], np.arange(start_s + 1, end_s + 1))
    for template, dtype, name in (
        (Template.FILL, FILL, "time_ns"),
        (Template.OBSERVATION, OBSERVATION, "publish_ns"),
    ):
        at = second[body["template"] == int(template)]
        times = of(body, template, dtype)[name]
        assert (np.diff(times) >= 0).all()
        assert (times <= at * SECOND).all()
        inside = (times > (at - 1) * SECOND) | ((times == start_s * SECOND) & (at == start_s + 1))
        assert inside.all()
    rank = np.select([body["template"] == int(Template.OBSERVATION), is_tick], [0, 2], 1)
    assert (np.diff(second * 4 + rank) >= 0).all()


def test_the_small_stream_is_ordered_contiguous_and_sealed(small: Recording) -> None:
    stream = stream_of(small)
    frames = whole(stream)
    assert (stream.start_s, stream.end_s) == (START_S, END_S)
    check_order(frames, START_S, END_S)


def test_fills_come_through_unchanged_and_in_order(small: Recording) -> None:
    fills = of(whole(stream_of(small)), Template.FILL, FILL)
    for name in ("time_ns", "trade_id", "price", "size", "maker", "taker", "market"):
        assert np.array_equal(fills[name], small.trades[name]), name
    assert fills["seq"].tolist() == list(range(len(small.accounts) + 1, len(small.accounts) + 9))


def test_there_is_a_price_before_the_first_fill_of_a_market(small: Recording) -> None:
    frames = whole(stream_of(small))
    for market in (0, 1):
        here = frames["market"] == market
        first_fill = np.flatnonzero(here & (frames["template"] == int(Template.FILL)))[0]
        first_price = np.flatnonzero(here & (frames["template"] == int(Template.OBSERVATION)))[0]
        assert first_price < first_fill


def test_chunks_are_clock_hours(small: Recording) -> None:
    ends = [int(of(chunk, Template.TICK, TICK)["now_ns"][-1]) for chunk in stream_of(small).chunks()]
    assert ends == [h * 3600 * SECOND for h in range(START_S // 3600 + 1, END_S // 3600 + 1)]


def test_an_observation_is_never_older_than_a_minute_at_a_tick(small: Recording) -> None:
    stream = stream_of(small)
    for market in (0, 1):
        seen = [of(chunk, Template.OBSERVATION, OBSERVATION) for chunk in stream.chunks()]
        made = np.concatenate(seen)
        oracle = made[(made["market"] == market) & (made["kind"] == 0) & (made["feed"] == 1)]["publish_ns"]
        gaps = np.diff(np.append(oracle, END_S * SECOND))
        assert gaps.max() <= 31 * SECOND


def test_totals_are_what_comes(small: Recording) -> None:
    for hours in (None, 1, 2, 9):
        stream = stream_of(small, hours)
        frames, totals = whole(stream), stream.totals
        counted = {t: int((frames["template"] == int(t)).sum()) for t in Template}
        assert totals.frames == len(frames)
        assert totals.fills == counted[Template.FILL]
        assert totals.observations == counted[Template.OBSERVATION]
        assert totals.ticks == counted[Template.TICK] == totals.seconds + 1
        assert totals.hours == len(list(stream.chunks()))
        fills = of(frames, Template.FILL, FILL)
        assert totals.fills_per_market == {
            plan.symbol: int((fills["market"] == m).sum()) for m, plan in enumerate(small.markets)
        }


def test_genesis_registers_everybody_and_gives_them_enough(small: Recording) -> None:
    genesis = stream_of(small).genesis()
    kinds = genesis["template"].tolist()
    assert kinds == sorted(
        kinds, key=[Template.PARAM, Template.TICK, Template.ACCOUNT, Template.TRANSFER].index
    )
    accounts = of(genesis, Template.ACCOUNT, ACCOUNT_FRAME)
    words = [tuple(int(row[f"key{k}"]) for k in range(4)) for row in accounts]
    assert words == [key_words(key) for key in small.accounts]
    deposits = of(genesis, Template.TRANSFER, TRANSFER)
    assert deposits["account"].tolist() == list(range(len(small.accounts) + 1))
    assert set(deposits["event_no"].tolist()) == {1}
    assert set(deposits["flags"].tolist()) == {int(TransferKind.DEPOSIT)}
    assert set(deposits["index"].tolist()) == set(deposits["market"].tolist()) == {-1}
    assert deposits["quote_e6"][0] > 0
    for number in range(1, len(small.accounts) + 1):
        mine = small.trades[(small.trades["maker"] == number) | (small.trades["taker"] == number)]
        exps = [small.markets[int(m)].price_exp for m in mine["market"]]
        worth = sum(
            abs(int(t["size"])) * int(t["price"]) * 10**6 / 10**e for t, e in zip(mine, exps, strict=True)
        )
        got = int(deposits["quote_e6"][number])
        assert 3 * worth + 10_000 * 10**6 <= got < 3 * worth + 10_003 * 10**6
    doubled = of(stream_of(small).genesis(passes=2), Template.TRANSFER, TRANSFER)["quote_e6"]
    assert (doubled[1:] > deposits["quote_e6"][1:]).all()


def test_what_is_worth_more_than_the_books_is_refused(small: Recording) -> None:
    trades = small.trades.copy()
    trades["size"] = 1 << 40
    trades["price"] = 9 * 10**9
    rich = dataclasses.replace(
        small, trades=trades, markets=[MarketPlan("SOL", 0, 0), MarketPlan("ARB", 0, 0)]
    )
    with pytest.raises(InputFileError, match="worth more"):
        stream_of(rich).genesis()


def test_the_busiest_hours_are_replayed_from_their_first_second(small: Recording) -> None:
    stream = stream_of(small, 1)  # 10h, 11h and 12h have 2, 3 and 3 trades: 11h is the earlier of the busiest
    frames = whole(stream)
    assert (stream.start_s, stream.end_s) == (HOUR + 3600, HOUR + 7200)
    check_order(frames, HOUR + 3600, HOUR + 7200)
    assert of(frames, Template.FILL, FILL)["trade_id"].tolist() == [3, 4, 5]
    assert len(of(frames, Template.ACCOUNT, ACCOUNT_FRAME)) == len(small.accounts)
    all_hours = stream_of(small, 99)
    assert (all_hours.start_s, all_hours.end_s) == (HOUR, HOUR + 3 * 3600)


@given(st.lists(st.integers(0, 40 * 3600), min_size=1, max_size=60), st.integers(1, 50))
def test_busiest_hours_against_counting(seconds: list[int], hours: int) -> None:
    time_ns = np.sort(np.array(seconds)) * SECOND + 1
    first, last = busiest_hours(time_ns, hours)
    clock = (time_ns // (3600 * SECOND)).tolist()
    span = min(hours, clock[-1] - clock[0] + 1)
    counts = {h: sum(h <= c < h + span for c in clock) for h in range(clock[0], clock[-1] - span + 2)}
    assert last - first == span
    assert counts[first] == max(counts.values())
    assert all(n < counts[first] for h, n in counts.items() if h < first)


def test_no_hours_is_an_error(small: Recording) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        stream_of(small, 0)


@pytest.mark.parametrize(
    ("times", "start_s", "end_s"),
    [
        (["11:00:00", "11:00:00"], HOUR + 3600, HOUR + 7200),
        (["10:59:59", "11:00:00"], HOUR + 3599, HOUR + 3600),
        (["10:59:59.5"], HOUR + 3599, HOUR + 3600),
        (["10:00:00", "11:00:00.000000001"], HOUR, HOUR + 7200),
    ],
)
def test_edges_of_the_hour(hl_file: Callable[..., Path], times: list[str], start_s: int, end_s: int) -> None:
    rows = [f"2023-04-19T{time}Z,0x{'a' * 40},ARB,Bid,1.5,10,true" for time in times]
    stream = stream_of(load(hl_file(*rows), seed=1))
    frames = whole(stream)
    assert (stream.start_s, stream.end_s) == (start_s, end_s)
    check_order(frames, start_s, end_s)
    assert len(of(frames, Template.FILL, FILL)) == len(times) == stream.totals.fills


def test_a_trade_on_a_whole_second_belongs_to_it() -> None:
    times = np.array([5 * SECOND, 5 * SECOND + 1, 6 * SECOND - 1, 6 * SECOND, 6 * SECOND + 1])
    assert buckets(times, 4).tolist() == [5, 6, 6, 6, 7]
    assert buckets(times, 5).tolist() == [6, 6, 6, 6, 7]


def test_the_same_seed_gives_the_same_bytes(small: Recording) -> None:
    assert whole(stream_of(small)).tobytes() == whole(stream_of(small)).tobytes()
    assert whole(stream_of(small)).tobytes() != whole(stream_of(small, seed=6)).tobytes()


def test_a_loop_parses_again_and_numbers_on(small: Recording) -> None:
    frames = np.concatenate(list(stream_of(small).looped(30)))
    assert len(frames) == 30
    fills = frames.view(FILL)
    words = words_of(frames)
    assert first_bad_frame(words, 0, 30) == 30
    assert np.array_equal(fills["seq"], np.arange(30) + len(small.accounts) + 1)
    assert (np.diff(fills["time_ns"]) >= 0).all()
    assert np.array_equal(fills["price"], np.resize(small.trades["price"], 30))
    assert fills["time_ns"][8] - fills["time_ns"][0] == 2 * 3600 * SECOND
    small.path.write_text(small.path.read_text().replace("20.5", "20.7"))
    assert next(stream_of(small).looped(1)).view(FILL)["price"].tolist() == [207_000_000]


def test_deposits_count_both_sides() -> None:
    trades = np.zeros(1, dtype=[(n, "i8") for n in ("maker", "taker", "market", "price", "size")])
    trades[0] = (1, 2, 0, 2 * 10**9, -3)  # three lots at 2 USD
    assert deposits_e6(trades, [MarketPlan("X", 0, 9)], 3, 1) == [10_019_000_000] * 2 + [10_000_000_000]


def test_the_engine_books_all_of_it(small: Recording) -> None:
    frames = whole(stream_of(small))
    machine = Machine()
    applied = machine.apply(views_of(frames), 0, len(frames))
    assert set(applied.results["refusal"].tolist()) == {0}
    assert machine.state.number("booked") == 8
    assert (machine.books.markets["oracle"][:2] > 0).all()
    assert (machine.books.markets["epoch"][:2] > 0).all()


@pytest.mark.parametrize(
    "name",
    [
        "hl_non_mm_trades_2023.csv.gz",
        "binance_um_BTCUSDT_trades_20200222_a.csv.gz",
        "binance_cm_btcusd_perp_raw_20240808.ndjson.gz",
    ],
)
def test_recorded_hours(market_file: Callable[[str], Path], name: str) -> None:
    stream = stream_of(load(market_file(name), seed=7), 3)
    frames = whole(stream)
    check_order(frames, stream.start_s, stream.end_s)
    assert stream.totals.frames == len(frames)
    assert stream.end_s % 3600 == 0


def test_the_whole_recording_by_its_totals(market_file: Callable[[str], Path]) -> None:
    stream = stream_of(load(market_file("hl_non_mm_trades_2023.csv.gz"), seed=7))
    totals = stream.totals
    assert totals.fills == 23_262 == sum(totals.fills_per_market.values())
    assert totals.seconds == stream.end_s - stream.start_s > 5_400_000
    first = list(islice(stream.chunks(), 30))
    check_order(
        np.concatenate([stream.genesis(), *first]), stream.start_s, (stream.start_s // 3600 + 30) * 3600
    )
    assert all(chunk.dtype == FRAME for chunk in first)
