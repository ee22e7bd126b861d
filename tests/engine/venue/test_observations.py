from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.venue.observations import KINDS_PER_POINT, SPARSE_S, ObservedMarkets, Scales
from engine.venue.recording import Recording, load
from engine.venue.stream import buckets
from kernels.frames import OBSERVATION, ObservationKind

START_S = 1681901998  # 2023-04-19T10:59:58Z
END_S = 1681909200  # 13:00:00Z
SOL, ARB = 0, 1


def observed(recording: Recording, seed: int = 5) -> ObservedMarkets:
    exponents = [(plan.lot_exp, plan.price_exp) for plan in recording.markets]
    bucket = buckets(recording.trades["time_ns"], START_S)
    return ObservedMarkets(recording.trades, bucket, exponents, seed=seed, end_s=END_S)


def all_frames(recording: Recording, seed: int = 5) -> NDArray[np.void]:
    markets = observed(recording, seed)
    return markets.frames(*markets.points(START_S, END_S), 1)[0]


def test_every_second_with_a_trade_and_every_thirtieth_is_observed(small: Recording) -> None:
    markets = observed(small)
    seconds, market = markets.points(START_S, END_S)
    points = set(zip(seconds.tolist(), market.tolist(), strict=True))
    assert len(points) == len(seconds) == markets.count_points()
    first = {SOL: START_S + 1, ARB: START_S + 2}
    wanted = {(s, m) for m in (SOL, ARB) for s in range(first[m], END_S + 1) if s % SPARSE_S == 0}
    bucket = buckets(small.trades["time_ns"], START_S).tolist()
    wanted |= set(zip(bucket, small.trades["market"].tolist(), strict=True))
    assert points == wanted
    assert seconds.max() == END_S


def test_points_of_a_stretch_do_not_depend_on_how_it_is_cut(small: Recording) -> None:
    markets = observed(small)
    seconds, market = markets.points(START_S, END_S)
    whole, whole_s = markets.frames(seconds, market, 1)
    cut = START_S + 1802
    early, late = markets.points(START_S, cut), markets.points(cut, END_S)
    first, first_s = markets.frames(*early, 1)
    rest, rest_s = markets.frames(*late, 1 + len(first))
    assert np.concatenate([first, rest]).tobytes() == whole.tobytes()
    assert np.concatenate([first_s, rest_s]).tolist() == whole_s.tolist()


def test_prices_run_evenly_between_trades(small: Recording) -> None:
    markets = observed(small)
    at = np.array([START_S + 2, START_S + 2 + 900, START_S + 2 + 1800, END_S])
    got = markets.prices(at, np.full(4, SOL)).tolist()
    # 20.6 at 11:00:00 (the second of 10:59:59.5), 21 at 11:30:00, 20 at 12:10:01 and from there on
    assert got == [206_000_000, 208_000_000, 210_000_000, 200_000_000]
    assert markets.prices(np.array([START_S + 2]), np.array([ARB])).tolist() == [131_570_000]
    last_of_second = np.array([START_S + 2 + 4201])
    assert markets.prices(last_of_second, np.array([ARB])).tolist() == [131_000_000]


def test_each_point_is_six_staggered_observations(small: Recording) -> None:
    markets = observed(small)
    seconds, market = markets.points(START_S, END_S)
    frames, frame_s = markets.frames(seconds, market, 11)
    frames = frames.view(OBSERVATION)
    assert len(frames) == KINDS_PER_POINT * len(seconds)
    assert frames["seq"].tolist() == list(range(11, 11 + len(frames)))
    assert (np.diff(frames["publish_ns"]) >= 0).all()
    late = frame_s * 10**9 - frames["publish_ns"]
    assert late.min() > 0
    assert late.max() < 10**9
    for second, m in zip(seconds.tolist(), market.tolist(), strict=True):
        here = frames[(frame_s == second) & (frames["market"] == m)]
        assert sorted(zip(here["kind"].tolist(), here["feed"].tolist(), strict=True)) == [
            (0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (3, 0),
        ]  # fmt: skip
        oracles = here[here["kind"] == ObservationKind.ORACLE]
        assert len(set(oracles["publish_ns"].tolist())) == 3


def test_prices_are_within_their_noise_of_the_recorded(small: Recording) -> None:
    markets = observed(small)
    seconds, market = markets.points(START_S, END_S)
    frames, frame_s = markets.frames(seconds, market, 1)
    frames = frames.view(OBSERVATION)
    truth = markets.prices(frame_s, frames["market"].astype(np.int64))
    exps = [(plan.lot_exp, plan.price_exp) for plan in small.markets]
    own = np.array([lot - price for lot, price in exps])[frames["market"]]
    unit = 10 ** (own - frames["expo"]).astype(np.int64)  # native units in one market unit
    off_ppm = (frames["price"] - truth * unit) * 1_000_000 // (truth * unit)
    oracle = frames["kind"] == ObservationKind.ORACLE
    assert np.abs(off_ppm[oracle]).max() <= 201
    assert len(set(off_ppm[oracle].tolist())) > 100, "the providers are noisy"
    conf_ppm = frames["conf"] * 1_000_000 // frames["price"]
    assert conf_ppm[oracle].min() >= 298
    assert conf_ppm[oracle].max() <= 600
    assert np.abs(off_ppm[frames["kind"] == ObservationKind.MID]).min() >= 350
    assert np.abs(off_ppm).max() < 1_100


def test_the_book_leans_to_one_side_for_hours_and_impact_prices_straddle_the_mid(small: Recording) -> None:
    frames = all_frames(small).view(OBSERVATION)
    mid, bid, ask = (frames[frames["kind"] == kind] for kind in (1, 2, 3))
    assert (bid["price"] < mid["price"]).all()
    assert (mid["price"] < ask["price"]).all()
    sides = set()
    for seed in range(12):
        made = all_frames(small, seed).view(OBSERVATION)
        middle = made[(made["kind"] == 1) & (made["market"] == SOL)]
        index = made[(made["kind"] == 0) & (made["feed"] == 0) & (made["market"] == SOL)]
        native = 10 ** (middle["expo"][0] - index["expo"][0]).astype(np.int64)
        above = middle["price"] * native > index["price"]
        stretch = -(-middle["publish_ns"] // 10**9) // (3 * 3600)
        for s in set(stretch.tolist()):
            assert len(set(above[stretch == s].tolist())) == 1
            sides.add(bool(above[stretch == s][0]))
    assert sides == {True, False}


def test_the_seed_decides(small: Recording) -> None:
    assert all_frames(small, 5).tobytes() == all_frames(small, 5).tobytes()
    assert all_frames(small, 5).tobytes() != all_frames(small, 6).tobytes()


@pytest.mark.parametrize("lot_exp", range(10))
@pytest.mark.parametrize("price_exp", range(10))
def test_native_prices_fit_and_are_no_coarser_than_the_market(lot_exp: int, price_exp: int) -> None:
    native, oracle_expo, book_expo = (int(a[0]) for a in Scales.of([(lot_exp, price_exp)]))
    assert native * 9 * 10**9 < 1 << 63
    assert native == 10 ** (book_expo - oracle_expo)
    assert book_expo == lot_exp - price_exp


def test_observations_at_the_edge_of_the_scale_stay_on_it(hl_file: Callable[..., Path]) -> None:
    row = "2023-04-19T10:59:58Z,0x" + "a" * 40 + ",ARB,Bid,{},1,true"
    recording = load(hl_file(row.format("0.01"), row.format("9")), seed=1)
    assert recording.trades["price"].tolist() == [10**7, 9 * 10**9]
    frames = all_frames(recording).view(OBSERVATION)
    assert frames["price"].max() <= 9 * 10**9
