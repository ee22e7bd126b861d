from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.core.apply import Machine
from engine.core.views import views_of
from engine.venue.simulator import FILLS_MAX, MARKETS_MAX, Simulator
from kernels.crc32c import first_bad_frame, words_of
from kernels.frames import FILL, OBSERVATION, TICK, Template, TickKind

NOW = 1_700_000_000 * 10**9
SECOND = 10**9


def started(simulator: Simulator) -> None:
    simulator.genesis(NOW)
    simulator.register()


def session(simulator: Simulator, steps: int = 40, fills: int = 25) -> list[NDArray[np.void]]:
    """Genesis, accounts, then four steps a second and a tick at each."""
    out = [simulator.genesis(NOW), simulator.tick(NOW), simulator.register()]
    for k in range(1, steps + 1):
        out.append(simulator.step(NOW + k * SECOND // 4 - 1, fills))
        if k % 4 == 0:
            out.append(simulator.tick(NOW + k * SECOND // 4))
    return out


def test_the_same_calls_give_the_same_bytes() -> None:
    first, again, other = (np.concatenate(session(Simulator(seed))) for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_frames_are_sealed_and_contiguous_per_source() -> None:
    frames = np.concatenate(session(Simulator(3)))
    words = words_of(frames)
    assert first_bad_frame(words, 0, len(words)) == len(words)
    for source in set(frames["source"].tolist()):
        seqs = frames["seq"][frames["source"] == source]
        assert np.array_equal(seqs, np.arange(1, len(seqs) + 1))


@pytest.mark.parametrize("markets", [1, 4, MARKETS_MAX])
def test_the_engine_books_all_of_it_and_nobody_goes_under(markets: int) -> None:
    frames = np.concatenate(session(Simulator(3, markets=markets), steps=200))
    machine = Machine()
    refusals = machine.apply(views_of(frames), 0, len(frames)).results["refusal"]
    assert set(refusals.tolist()) == {0}
    assert machine.state.number("booked") == 200 * 25
    accounts = machine.books.accounts[: machine.state.number("accounts")]
    assert len(accounts) == 201
    assert accounts["free_e6"].min() > 0
    assert (machine.books.markets["status"][:markets] == 1).all()
    assert (machine.books.markets["state"][:markets] == 0).all()


def test_fills_lie_between_the_steps_and_make_sense() -> None:
    simulator = Simulator(3)
    started(simulator)
    simulator.step(NOW + SECOND, 10)
    fills = simulator.step(NOW + 2 * SECOND, 5000)
    fills = fills[fills["template"] == int(Template.FILL)].view(FILL)
    assert len(fills) == 5000
    assert (fills["time_ns"] > NOW + SECOND).all()
    assert (fills["time_ns"] <= NOW + 2 * SECOND).all()
    assert (np.diff(fills["time_ns"]) >= 0).all()
    assert (fills["maker"] != fills["taker"]).all()
    assert {int(fills["maker"].min()), int(fills["taker"].min())} == {1}
    assert max(fills["maker"].max(), fills["taker"].max()) <= 200
    assert set(fills["market"].tolist()) == {0, 1, 2, 3}
    assert 0.4 < (fills["size"] > 0).mean() < 0.6
    exps = np.array([plan.price_exp for plan in simulator.markets])[fills["market"]]
    worth_usd = np.abs(fills["size"]) * fills["price"] // 10**exps
    assert worth_usd.max() <= 2_000
    for market in range(4):
        path = fills["price"][fills["market"] == market]
        assert np.abs(np.diff(path) * 1_000_000 // path[:-1]).max() <= 31


def test_prices_stay_on_scale_for_long() -> None:
    simulator = Simulator(8, markets=MARKETS_MAX)
    started(simulator)
    for k in range(1, 61):
        fills = simulator.step(NOW + k * SECOND, 20_000)
        fills = fills[fills["template"] == int(Template.FILL)].view(FILL)
        assert fills["price"].min() >= 10**7
        assert fills["price"].max() <= 9 * 10**9


def test_each_market_is_observed_once_a_second() -> None:
    simulator = Simulator(3)
    started(simulator)
    counts = []
    for k in range(1, 9):
        made = simulator.step(NOW + k * SECOND // 2, 0)
        made = made[made["template"] == int(Template.OBSERVATION)].view(OBSERVATION)
        counts.append(len(made))
        assert (made["publish_ns"] <= NOW + k * SECOND // 2).all()
    assert counts == [24, 24, 0, 24, 0, 24, 0, 24]


def test_ticks() -> None:
    simulator = Simulator(3)
    ticks = np.concatenate([simulator.tick(NOW), simulator.tick(NOW + SECOND)]).view(TICK)
    assert ticks["kind"].tolist() == [int(TickKind.OPEN), int(TickKind.SECOND)]
    assert ticks["prev_ns"].tolist() == [0, NOW]
    assert ticks["interval_ns"].tolist() == [0, SECOND]
    with pytest.raises(ValueError, match="later"):
        simulator.tick(NOW + SECOND)


def test_arguments_that_cannot_be() -> None:
    for wrong in ({"markets": 0}, {"markets": MARKETS_MAX + 1}, {"accounts": 1}):
        with pytest.raises(ValueError, match="must be"):
            Simulator(1, **wrong)
    simulator = Simulator(1)
    with pytest.raises(ValueError, match="after genesis"):
        simulator.register()
    simulator.genesis(NOW)
    with pytest.raises(ValueError, match="register first"):
        simulator.step(NOW + 1, 1)
    simulator.register()
    with pytest.raises(ValueError, match="register comes once"):
        simulator.register()
    with pytest.raises(ValueError, match="genesis comes once"):
        simulator.genesis(NOW)
    with pytest.raises(ValueError, match="later time"):
        simulator.step(NOW, 1)
    with pytest.raises(ValueError, match="n_fills"):
        simulator.step(NOW + 1, FILLS_MAX + 1)
