"""Liquidation from end to end: sweep, candidate, decision, order, answer, takeover, deleveraging.

The simulated matching engine answers by each policy while prices move against accounts that overreach. After
every step the identities of MONEY.md hold and insurance owes nothing; at the end the books are the model's.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.app.watch import identities
from engine.core.apply import Machine
from engine.core.views import views_of
from engine.follower import Followed
from engine.risk.proposals import frames_of, propose
from engine.risk.sweeper import Sweeper
from engine.venue.desk import Policy
from engine.venue.simulator import Simulator
from kernels.frames import (
    CANDIDATE,
    DTYPES,
    FILL,
    FRAME,
    LiquidationKind,
    Refusal,
    SettingKind,
    Source,
    Template,
    TickKind,
)
from kernels.layouts import OUTBOX_SLOTS
from relayer.verify.model import Model
from tests.engine.core.builders import PRICE, Script, genesis
from tests.engine.core.twins import Twins

NOW = 1_700_000_000 * 10**9
SECOND = 10**9
STEP = SECOND // 10
ACCOUNTS, DARING, MARKETS = 12, 4, 2


def check_money(machine: Machine) -> None:
    """Identity 3, and that insurance never owes."""
    books, number = machine.books, machine.state.number
    accounts, markets = books.accounts[: number("accounts")], books.markets[: number("markets")]
    held = int(accounts["free_e6"].sum()) + int(markets["moved_in"].sum()) + number("house_e6")
    assert held + number("held_e6") == number("deposits_e6") - number("payouts_e6")
    assert int(accounts["free_e6"][0]) >= 0


class Exchange:
    """Engine, risk and matching engine in one thread: what one says the next hears at once."""

    def __init__(self, policy: Policy) -> None:
        self.simulator = Simulator(11, markets=MARKETS, accounts=ACCOUNTS, daring=DARING, policy=policy)
        self.machine, self.model = Machine(), Model()
        self.sweeper = Sweeper(self.machine)
        self.frames: list[NDArray[np.void]] = []
        self.refused: dict[Refusal, int] = {}
        self.candidates = 0
        self.told: list[tuple[LiquidationKind, int]] = []
        self._now = NOW
        for frames in (self.simulator.genesis(NOW), self.simulator.tick(NOW), self.simulator.register()):
            self.apply(frames)

    def apply(self, frames: NDArray[np.void]) -> None:
        """To the engine; its outputs to the matching engine."""
        before = self.machine.state.number("outputs")
        applied = self.machine.apply(views_of(frames), 0, len(frames))
        for why in applied.results["refusal"][applied.results["refusal"] != 0].tolist():
            self.refused[Refusal(why)] = self.refused.get(Refusal(why), 0) + 1
        self.sweeper.touch(Followed(frames, 1, applied.results, applied.legs))
        self.frames.append(frames.copy())
        for number in range(before, self.machine.state.number("outputs")):
            output = self.machine.books.outbox[number % OUTBOX_SLOTS].view(FRAME)
            self.simulator.hear(output[0])
            if int(output[0]["template"]) == int(Template.LIQUIDATION_ORDER):
                order = output.view(DTYPES[Template.LIQUIDATION_ORDER])[0]
                self.told.append((LiquidationKind(int(order["kind"])), int(order["account"])))
        check_money(self.machine)

    def step(self, fills: int = 4) -> None:
        """100 ms: orders, a tick, a sweep and what comes of it."""
        self._now += STEP
        self.apply(self.simulator.step(self._now - 1, fills))
        second = self._now % SECOND == 0
        self.apply(self.simulator.tick(self._now, TickKind.SECOND if second else TickKind.RISK))
        self.propose()

    def propose(self) -> None:
        """One sweep, checked against everyone, and its candidates."""
        found = self.sweeper.sweep()
        self.sweeper.check(found)
        told = propose(self.machine, self.sweeper, found, 100).proposals
        if told:
            seq = int(self.machine.books.sources[Source.RISK]["last_seq"]) + 1
            self.apply(frames_of(told, seq, self.machine.state.number("ordinal")))
            self.candidates += len(told)

    def verdicts(self) -> dict[str, bool]:
        """Identities 1 and 2 from the positions."""
        books, number = self.machine.books, self.machine.state.number
        rows = books.markets[:MARKETS], books.positions[: number("positions")]
        return {check.name: check.good for check in identities(*rows, self.simulator.markets)}

    def replayed(self) -> bytes:
        """The digest of the plain-integer model over the same frames."""
        for frame in np.concatenate(self.frames):
            self.model.apply(frame.tobytes())
        return self.model.digest()


def heard(exchange: Exchange) -> dict[str, int]:
    return {kind.name: count for kind, count in exchange.simulator.desk.heard.items()}


@pytest.mark.parametrize("policy", list(Policy))
def test_whatever_the_matching_engine_does_the_books_hold(policy: Policy) -> None:
    exchange = Exchange(policy)
    for k in range(115):
        exchange.step()
        if k % 10 == 0:
            assert exchange.verdicts() == {"zero_sum": True, "cash": True}
    told, books = heard(exchange), exchange.machine.books
    begun = exchange.machine.state.number("liquidations")
    assert begun >= DARING and told["CANCEL_ALL"] == begun
    assert told["RELEASE"] == begun - exchange.machine.state.number("open_liquidations")
    assert told["REDUCE_ONLY"] >= begun
    assert (books.markets["state"][:MARKETS] == 0).all(), "nothing halted, nothing frozen"
    assert set(exchange.refused) <= {Refusal.STALE_CANDIDATE}
    mine = books.positions[: exchange.machine.state.number("positions")]
    insured = mine[mine["account"] == 0]
    if policy is Policy.NEVER:
        # Insurance itself comes to what it took over, in each market once, and is not sold either.
        assert told["TAKEOVER"] == begun - MARKETS and len(insured) == MARKETS
        others = [kind for kind, account in exchange.told if account]
        assert others.count(LiquidationKind.REDUCE_ONLY) == 3 * told["TAKEOVER"]
    if policy in (Policy.FULL, Policy.LATE):
        assert told["TAKEOVER"] == 0 and len(insured) == 0
    if policy is Policy.FULL:
        assert told["REDUCE_ONLY"] == begun, "the first order was enough each time"
    assert told["DELEVERAGE"] == 0
    assert exchange.replayed() == exchange.machine.state.digest()


@pytest.mark.parametrize("policy", [Policy.FULL, Policy.PART, Policy.MIXED])
def test_what_insurance_took_over_is_sold_in_the_end(policy: Policy) -> None:
    """Nothing is answered until it holds something in each market; then by the policy, to the last lot."""
    exchange = Exchange(Policy.NEVER)
    desk, books = exchange.simulator.desk, exchange.machine.books

    def held() -> dict[int, int]:
        rows = books.positions[: exchange.machine.state.number("positions")]
        return {int(row["market"]): int(row["size"]) for row in rows if row["account"] == 0 and row["size"]}

    for _ in range(150):
        if len(held()) == MARKETS:
            break
        exchange.step()
    assert len(held()) == MARKETS
    assert {m: int(size) for m, size in enumerate(desk.held[0]) if size} == held(), "as the engine tells it"
    desk._policy = policy
    for _ in range(350):
        exchange.step()
        if not held():
            break
    assert held() == {} and not desk.held[0].any()
    rows = books.liquidations[: exchange.machine.state.number("open_liquidations")]
    assert 0 not in rows["account"]
    assert exchange.verdicts() == {"zero_sum": True, "cash": True}
    assert set(exchange.refused) <= {Refusal.STALE_CANDIDATE}
    assert exchange.replayed() == exchange.machine.state.digest()


def test_stale_and_repeated_candidates_do_no_harm() -> None:
    """Everything that risk ever said, said again in one go, and candidates for everybody: nothing moves."""
    exchange = Exchange(Policy.FULL)
    for _ in range(90):
        exchange.step()
    said = np.concatenate([f[f["template"] == int(Template.CANDIDATE)] for f in exchange.frames])
    assert len(said) > 3
    positions = exchange.machine.books.positions[: exchange.machine.state.number("positions")].tobytes()
    free = exchange.machine.books.accounts["free_e6"].tobytes()
    for kind in (1, 2):
        again = np.concatenate([said, said]).view(CANDIDATE).copy()
        again["kind"], again["counterparty"] = kind, 3
        again["seq"] = (
            int(exchange.machine.books.sources[Source.RISK]["last_seq"]) + 1 + np.arange(len(again))
        )
        exchange.apply(again.view(FRAME))
        assert exchange.machine.books.accounts["free_e6"].tobytes() == free
        now = exchange.machine.books.positions[: exchange.machine.state.number("positions")]
        for name in ("size", "cash", "idx", "rem"):
            assert now[name].tobytes() == np.frombuffer(positions, now.dtype)[name].tobytes()
    assert exchange.replayed() == exchange.machine.state.digest()


def test_takeover_comes_half_a_second_after_the_first_order() -> None:
    exchange = Exchange(Policy.NEVER)
    first_ns = taken_ns = 0
    while not taken_ns:
        exchange.step()
        desk = exchange.simulator.desk
        now = exchange.machine.state.number("now_ns")
        if not first_ns and desk.heard[LiquidationKind.CANCEL_ALL]:
            first_ns = now
        if desk.heard[LiquidationKind.TAKEOVER]:
            taken_ns = now
        assert now < NOW + 20 * SECOND
    assert taken_ns - first_ns == 5 * STEP


def test_answers_stay_within_the_order_and_its_limit() -> None:
    exchange, standing, answered = Exchange(Policy.MIXED), {}, 0
    for _ in range(115):
        count = len(exchange.frames)
        exchange.step()
        fills = exchange.frames[count]
        for fill in fills[fills["template"] == int(Template.FILL)].view(FILL):
            size, price = standing.get((int(fill["taker"]), int(fill["market"])), (0, 0))
            if size:
                answered += 1
                assert 0 < int(fill["size"]) / size <= 1
                assert (int(fill["price"]) - price) * np.sign(size) <= 0
        books = exchange.machine.books
        rows = books.liquidations[: exchange.machine.state.number("open_liquidations")]
        standing = {(int(r["account"]), int(r["market"])): (int(r["size"]), int(r["price"])) for r in rows}
    assert answered > DARING


class Small:
    """Books of a script, whose insurance holds one USDC, with risk over them."""

    def __init__(self, script: Script) -> None:
        self.script, self.twins = script, Twins(script.frames)
        self.sweeper = Sweeper(self.twins.machine)

    def price(self, price: int) -> None:
        """All of market 0 says so, and 100 ms pass."""
        start = len(self.script.frames)
        for feed in range(3):
            self.script.observe(price, feed=feed)
        self.script.tick(self.script.now_ns + STEP, TickKind.RISK)
        self.apply(self.script.frames[start:])

    def apply(self, frames: list[bytes]) -> list[int]:
        """To both twins, one by one: identities and digests are compared after each."""
        refusals = [self.twins.apply(raw).refusal for raw in frames]
        check_money(self.twins.machine)
        # What a follower would be told; here all rooms are simply taken anew.
        self.sweeper = Sweeper(self.twins.machine)
        return refusals

    def sweep(self) -> tuple[list[tuple[int, int, int]], list[int]]:
        """(kind, account, counterparty) of one sweep's candidates, and what the engine said to each."""
        machine = self.twins.machine
        told = propose(machine, self.sweeper, self.sweeper.sweep(), 100).proposals
        frames = frames_of(told, self.twins.next_seq(Source.RISK), machine.state.number("ordinal"))
        pairs = [(int(one.kind), one.account, one.counterparty) for one in told]
        return pairs, self.apply([frame.tobytes() for frame in frames])


def bankrupt(cross: tuple[int, ...] = ()) -> Small:
    """Account 1 is long of 10 lots at 20x; 2, 3 and 4 are short of them at 5x, 20x and 10x. It falls by 8 %."""
    script = genesis(accounts=5, deposit_e6=0)
    for account, usdc in ((1, 16_000), (2, 10**6), (3, 10**6), (4, 10**6)):
        script.deposit(account, usdc * 10**6)
    for account in cross:
        script.setting(account, SettingKind.MARGIN_MODE, 1)
    for account, lots, leverage in ((2, 4, 5), (3, 3, 20), (4, 3, 10)):
        script.setting(account, SettingKind.LEVERAGE, leverage)
        script.setting(1, SettingKind.LEVERAGE, 20)
        script.fill(account, 1, lots, PRICE)
    script.seconds(1)
    small = Small(script)
    small.price(PRICE * 92 // 100)
    return small


@pytest.mark.parametrize("cross", [(), (1,), (2, 3, 4), (1, 3)])
def test_what_insurance_cannot_take_goes_to_the_other_side_by_profit_and_leverage(
    cross: tuple[int, ...],
) -> None:
    small = bankrupt(cross)
    assert small.sweep() == ([(1, 1, 0)], [0])
    told, refusals = small.sweep()
    assert refusals == [0] * len(told)
    assert told[0] == (1, 1, 0)
    order = [counterparty for kind, _, counterparty in told if kind == 2]
    # Of cross accounts the leverage is the whole account's: with a million free it is small, and of 2, which is
    # short of one lot more, the largest.
    alone, together = {3: 0, 4: 1, 2: 2}, {2: 3, 3: 4, 4: 5}
    expected = sorted((2, 3, 4), key=lambda a: together[a] if a in cross else alone[a])
    assert order == expected
    sizes = {account: int(small.twins.position(account)["size"]) for account in (1, 2, 3, 4)}
    assert sizes == {1: 0, 2: 0, 3: 0, 4: 0}
    assert small.sweep() == ([], [])
    assert small.twins.machine.state.number("open_liquidations") == 0


def test_risk_sees_what_the_engine_decides_by() -> None:
    """Every position that the sweep finds, and no other, is one that the engine takes a candidate for."""
    exchange = Exchange(Policy.NEVER)
    for k in range(60):
        exchange.step()
        if k < 30:
            continue
        found = exchange.sweeper.sweep()
        marked = set(found.slots.tolist())
        rows = exchange.machine.books.positions[: exchange.machine.state.number("positions")]
        twin = Machine()
        twin.state.books = exchange.machine.books._replace(
            **{name: array.copy() for name, array in exchange.machine.books._asdict().items()}
        )
        twin.state.books = twin.state.books._replace(near=twin.state.books.accounts.view(np.int32))
        for slot, row in enumerate(rows):
            if int(row["account"]) == 0 or not int(row["size"]):
                continue
            candidate = np.zeros(1, CANDIDATE)
            candidate["template"], candidate["source"] = int(Template.CANDIDATE), int(Source.RISK)
            candidate["seq"] = int(twin.books.sources[Source.RISK]["last_seq"]) + 1
            candidate["kind"], candidate["account"], candidate["market"] = 1, row["account"], row["market"]
            why = twin.apply(views_of(candidate.view(FRAME)), 0, 1).results["refusal"][0]
            assert (int(why) == 0) == (slot in marked), (slot, int(why))
