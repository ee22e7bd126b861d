"""What a watcher computes for itself: identities from the positions, predicted rates, states."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.app.supervisor import Supervisor
from engine.app.watch import Lives, expected_e12, identities, market_of, residual, state_of
from engine.common.errors import ProcessFailed
from engine.core.apply import Machine
from engine.core.views import views_of
from engine.venue.simulator import Simulator
from kernels.layouts import (
    KNOBS,
    MARKET,
    MARKET_FROZEN,
    MARKET_HALTED,
    MARKET_REDUCE_ONLY,
    STATUS_HELD,
    STATUS_NONE,
    STATUS_OK,
)
from kernels.profiles import Profile, rule_row

NOW = 1_700_000_000 * 10**9
SECOND = 10**9


@pytest.fixture
def machine() -> Machine:
    """Books after half an hour of trading in two markets and an hour's funding."""
    simulator = Simulator(3, markets=2, accounts=10)
    start = NOW - NOW % (3600 * SECOND) + 1800 * SECOND
    parts = [simulator.genesis(start), simulator.tick(start), simulator.register()]
    for k in range(1, 1_861):
        parts.append(simulator.step(start + k * SECOND - 1, 2))
        parts.append(simulator.tick(start + k * SECOND))
    frames = np.concatenate(parts)
    machine = Machine(capacity=len(frames))
    machine.apply(views_of(frames), 0, len(frames))
    assert (machine.books.markets["index_e6"][:2] != 0).any(), "an hour was paid"
    return machine


def _parts(machine: Machine) -> tuple[NDArray[np.void], NDArray[np.void]]:
    books = machine.books
    return books.markets[:2], books.positions[: machine.state.number("positions")]


def _verdict(machine: Machine) -> dict[str, bool]:
    plans = Simulator(3, markets=2).markets
    return {check.name: check.good for check in identities(*_parts(machine), plans)}


def test_identities_hold_on_real_books(machine: Machine) -> None:
    assert _verdict(machine) == {"zero_sum": True, "cash": True}
    markets, positions = _parts(machine)
    for m in range(2):
        assert residual(markets[m], positions[positions["market"] == m]) == 0


@pytest.mark.parametrize("field", ["cash", "rem"])
def test_one_unit_in_one_position_is_seen(machine: Machine, field: str) -> None:
    _parts(machine)[1][field][3] += 1
    assert _verdict(machine) == {"zero_sum": True, "cash": False}


def test_a_size_that_does_not_cancel_is_seen(machine: Machine) -> None:
    _parts(machine)[1]["size"][3] += 1
    assert _verdict(machine)["zero_sum"] is False


@pytest.mark.parametrize("field", ["sum_cash", "sum_rem", "moved_in", "sum_size_idx_lo"])
def test_a_sum_that_drifted_is_seen(machine: Machine, field: str) -> None:
    _parts(machine)[0][field][1] += 1
    assert _verdict(machine)["cash"] is False


def test_what_is_wrong_is_named(machine: Machine) -> None:
    _parts(machine)[0]["sum_size"][1] += 1
    plans = Simulator(3, markets=2).markets
    zero_sum = identities(*_parts(machine), plans)[0]
    assert zero_sum.detail.endswith("in ETH")


def _market(**values: int) -> np.void:
    row = np.zeros(1, MARKET)[0]
    rule = rule_row(Profile.GODARK)
    for name in KNOBS:
        row[name] = rule[name]
    for name, value in values.items():
        row[name] = value
    return row


@pytest.mark.parametrize(
    ("premium_sum", "seconds", "expected"),
    [(0, 0, 0), (300, 3, 110), (-300, 3, -90), (10**6, 2, 5_000), (-(10**6), 2, -5_000)],
)
def test_predicted_rate(premium_sum: int, seconds: int, expected: int) -> None:
    row = _market(
        premium_sum_e12=premium_sum,
        weight_valid=seconds,
        seconds_valid=seconds,
        interest_e12=10,
        cap_e12=5_000,
    )
    assert expected_e12(row) == expected
    assert int(row["valid_min"]) == 1200


def test_a_predicted_rate_follows_the_rule_of_its_market() -> None:
    """Samples at places 1 and 3 of an interval whose weights rise: 3/4 of the second premium."""
    row = _market(
        premium_sum_e12=3 * 4 * 10**9,
        weight_valid=4,
        seconds_valid=2,
        weights=1,
        sample_s=5,
        interest_rule=1,
        interest_e12=10**8,
        dampener_e12=5 * 10**8,
        cap_e12=10**10,
    )
    assert expected_e12(row) == 3 * 10**9 - 5 * 10**8


@pytest.mark.parametrize(
    ("state", "status", "word"),
    [
        (0, STATUS_OK, "open"),
        (0, STATUS_NONE, "no price"),
        (0, STATUS_HELD, "held"),
        (MARKET_REDUCE_ONLY, STATUS_HELD, "reduce-only"),
        (MARKET_FROZEN | MARKET_REDUCE_ONLY, STATUS_OK, "frozen"),
        (MARKET_FROZEN | MARKET_HALTED, STATUS_OK, "halted"),
    ],
)
def test_state(state: int, status: int, word: str) -> None:
    assert state_of(_market(state=state, status=status)) == word


def test_a_market_row_is_shown_in_dollars_per_unit() -> None:
    plan = Simulator(3, markets=1).markets[0]
    row = _market(oracle=67_000_000_00, mark=67_067_000_00, status=STATUS_OK)
    market = market_of(plan, row)
    assert market.decimals == plan.price_exp - plan.lot_exp
    assert market.premium_e12 == 1_000_000_000
    assert market_of(plan, _market()).premium_e12 == 0


class _Supervised:
    """The three questions a supervisor is asked."""

    def __init__(self) -> None:
        self.pids: dict[str, int | None] = {"engine": 10, "keeper": 11}
        self.counts = {"engine": 0, "keeper": 0}
        self.down: set[str] = set()

    def failing(self, name: str) -> bool:
        return name in self.down

    def pid(self, name: str) -> int:
        pid = self.pids[name]
        if pid is None:
            raise ProcessFailed("not running")
        return pid

    def restarts(self, name: str) -> int:
        return self.counts[name]


def test_a_killed_process_is_restarting_until_its_next_life_is_ready() -> None:
    supervised = _Supervised()
    lives = Lives(cast(Supervisor, supervised), ["engine", "keeper"])
    seen = [lives.now()[0]]
    supervised.pids["engine"] = None
    seen.append(lives.now()[0])
    supervised.pids["engine"] = 20
    seen.append(lives.now()[0])
    supervised.counts["engine"] = 1
    seen += [lives.now()[0], lives.now()[0]]
    assert [(p.pid, p.restarts) for p in seen] == [(10, 0), (None, 0), (None, 0), (20, 1), (20, 1)]
    assert lives.now()[1].pid == 11


def test_a_process_that_others_go_on_without_is_failing_until_it_lives() -> None:
    supervised = _Supervised()
    supervised.pids["keeper"], supervised.down = None, {"keeper"}
    lives = Lives(cast(Supervisor, supervised), ["engine", "keeper"])
    seen = [lives.now()[1]]
    supervised.pids["keeper"], supervised.counts["keeper"] = 12, 1
    seen.append(lives.now()[1])
    supervised.down = set()
    seen.append(lives.now()[1])
    assert [(p.pid, p.failing) for p in seen] == [(None, True), (None, True), (12, False)]
