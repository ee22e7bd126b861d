"""Accounts that overreach: they open with all the leverage there is, and their market moves against them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from engine.core.apply import Machine
from engine.core.views import views_of
from engine.venue.daring import DRIFT_PPM_PER_S, LEVERAGE, PERIOD_NS
from engine.venue.simulator import Simulator
from kernels.frames import FILL, Template, TickKind

NOW = 1_700_000_000 * 10**9
SECOND = 10**9
ACCOUNTS, DARING = 20, 4


def steps(simulator: Simulator, seconds: int, fills: int = 50) -> Iterator[NDArray[np.void]]:
    """Genesis, accounts, then four steps and ten ticks a second."""
    yield simulator.genesis(NOW)
    yield simulator.tick(NOW)
    yield simulator.register()
    for k in range(1, 20 * seconds + 1):
        now = NOW + k * SECOND // 20
        if k % 5 == 0:
            yield simulator.step(now - 1, fills)
        if k % 2 == 0:
            yield simulator.tick(now, TickKind.SECOND if k % 20 == 0 else TickKind.RISK)


def booked(seconds: int, markets: int = 2) -> Machine:
    simulator = Simulator(3, markets=markets, accounts=ACCOUNTS, daring=DARING)
    machine = Machine()
    for frames in steps(simulator, seconds):
        refused = machine.apply(views_of(frames), 0, len(frames)).results["refusal"]
        assert not refused.any()
    return machine


def test_each_opens_once_with_all_its_leverage_and_little_margin() -> None:
    machine = booked(7)
    rows = machine.books.positions[: machine.state.number("positions")]
    mine = rows[rows["account"] > ACCOUNTS]
    assert mine["account"].tolist() == [ACCOUNTS + 1, ACCOUNTS + 3, ACCOUNTS + 2, ACCOUNTS + 4]
    assert mine["market"].tolist() == [0, 0, 1, 1]
    assert set(mine["leverage"].tolist()) == {LEVERAGE}
    assert (mine["size"] > 0).all(), "the first move is down"
    worth = mine["cost_e6"]
    assert (worth + mine["cash"] >= worth * 19 // 1000).all()
    assert (worth + mine["cash"] <= worth * 23 // 1000).all()


def test_the_price_moves_against_them_within_the_band_and_back_again() -> None:
    simulator = Simulator(3, markets=2, accounts=ACCOUNTS, daring=DARING)
    fills = np.concatenate(list(steps(simulator, 24)))
    fills = fills[fills["template"] == int(Template.FILL)].view(FILL)
    path = fills[fills["market"] == 0]
    at = {s: int(path["price"][path["time_ns"] <= NOW + s * SECOND][-1]) for s in (1, 8, 13, 20)}
    assert at[1] * 0.978 < at[8] < at[1] * 0.987
    assert at[20] > at[13] * 1.01
    steps_ppm = np.abs(np.diff(path["price"]) * 10**6 // path["price"][:-1])
    assert steps_ppm.max() < DRIFT_PPM_PER_S // 4 + 500
    assert booked(20).books.markets["state"].max() == 0


def test_they_come_again_in_the_next_cycle_on_the_other_side() -> None:
    simulator = Simulator(3, markets=1, accounts=ACCOUNTS, daring=1)
    fills = np.concatenate(list(steps(simulator, 2 * PERIOD_NS // SECOND + 4)))
    fills = fills[fills["template"] == int(Template.FILL)].view(FILL)
    theirs = fills[fills["taker"] > ACCOUNTS]
    assert len(theirs) == 3
    assert (theirs["size"] > 0).tolist() == [True, False, True]
    assert (np.diff(theirs["time_ns"]) == PERIOD_NS).all()


def test_without_them_and_without_orders_nothing_moves() -> None:
    plain = Simulator(3, markets=2, accounts=ACCOUNTS)
    assert all(plain._daring.drift_ppm(0, NOW + k, NOW + k + SECOND) == 0 for k in range(0, 10**10, 10**8))
    quiet = Simulator(3, markets=2, accounts=ACCOUNTS, daring=DARING)
    frames = np.concatenate(list(steps(quiet, 8, fills=0)))
    assert not (frames["template"] == int(Template.FILL)).any()
