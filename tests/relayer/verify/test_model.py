"""The model's light mode against the compiled fold, and that its identities see what is wrong."""

from __future__ import annotations

import pytest

from engine.core.apply import Machine
from kernels.frames import Source, Template
from relayer.verify.model import Model
from relayer.verify.model_frames import decode, head_of
from relayer.verify.model_prices import MarketPrices
from tests.engine.core.builders import HOUR_NS, PRICE, SECOND_NS, Script, genesis, views
from tests.engine.core.fixed_run import fixed_frames


def prices_of(machine: Machine) -> dict[int, MarketPrices]:
    """What the compiled fold knows of every market's prices."""
    rows = machine.books.markets[: machine.state.number("markets")]
    return {n: MarketPrices(*(int(row[name]) for name in MarketPrices._fields)) for n, row in enumerate(rows)}


def test_a_light_replay_ends_in_the_same_state() -> None:
    frames, machine, model = fixed_frames(4000), Machine(capacity=64), Model()
    seen = views(frames)
    for at, raw in enumerate(frames):
        template, _, source, _ = head_of(raw)
        before, hour = prices_of(machine), machine.state.number("funding_hour")
        feeds = machine.books.feeds[: 16 * len(before)].copy()
        result = machine.apply(seen, at, at + 1).results[0]
        if template == Template.OBSERVATION:
            model.skip(source, 1, refused=int(result["refusal"] != 0))
        elif template == Template.TICK and not result["refusal"]:
            tick = decode(Template.TICK, raw)
            ends_hour = tick.now_ns // HOUR_NS > hour
            if ends_hour or model.ledger.meta.pending:
                model.adopt_feeds(feeds)
                assert model.apply(raw).boundary or not ends_hour
            else:
                second_ns = machine.state.number("second_ns")
                model.skip(source, 1, now_ns=tick.now_ns, second_ns=second_ns)
                for number, prices in prices_of(machine).items():
                    model.adopt_prices(number, prices)
                    model.adopt_oracle(number, machine.books.oracles[number])
                outputs = machine.state.number("outputs")
                model.adopt_outputs(outputs, machine.books.outbox[:outputs])
        else:
            assert model.apply(raw).refusal == int(result["refusal"])
    model.adopt_feeds(machine.books.feeds[: 16 * machine.state.number("markets")])
    assert any(payment.paid_e6 for payment in model.payments)
    assert not any(model.identities().values())
    assert model.digest() == machine.state.digest()


def paid_hour() -> Script:
    """Three positions, 1,300 priced seconds, and the clock one second before the hour."""
    script = genesis(deposit_e6=10**13, start_ns=1000 * HOUR_NS)
    script.fill(1, 2, 7, PRICE)
    script.fill(3, 2, 4, PRICE)
    for _ in range(1300):
        for k in range(3):
            script.observe(PRICE + 40_000, feed=k)
        script.seconds(1)
    script.tick(1001 * HOUR_NS - SECOND_NS)
    return script


def test_skipped_seconds_are_counted() -> None:
    machine, model, script = Machine(capacity=4096), Model(), genesis()
    for raw in script.frames:
        model.apply(raw)
    script.seconds(9)
    machine.apply(views(script.frames), 0, len(script.frames))
    model.skip(Source.CLOCK, 9, now_ns=script.now_ns)
    for number, prices in prices_of(machine).items():
        model.adopt_prices(number, prices)
        model.adopt_oracle(number, machine.books.oracles[number])
    outputs = machine.state.number("outputs")
    model.adopt_outputs(outputs, machine.books.outbox[:outputs])
    assert model.digest() == machine.state.digest()


def test_ticks_that_do_more_than_sample_cannot_be_skipped() -> None:
    model, script = Model(), genesis()
    for raw in script.frames:
        model.apply(raw)
    with pytest.raises(ValueError, match="apply them"):
        model.skip(Source.CLOCK, 1, now_ns=1001 * HOUR_NS)


def test_outputs_are_adopted_with_their_count() -> None:
    machine, model, script = Machine(capacity=64), Model(), genesis()
    machine.apply(views(script.frames), 0, len(script.frames))
    count = machine.state.number("outputs")
    model.adopt_outputs(count, machine.books.outbox[:count])
    assert b"".join(model.ledger.outbox) == machine.books.outbox[:count].tobytes()
    with pytest.raises(ValueError, match="outputs"):
        model.adopt_outputs(count + 1, machine.books.outbox[:count])


@pytest.mark.parametrize(
    ("where", "field", "name"),
    [
        ("position", "size", "market 0: sizes"),
        ("position", "cash", "market 0: cash"),
        ("position", "rem", "market 0: cash"),
        ("position", "rem", "hourly and on touch"),
        ("position", "idx", "market 0: cash"),
        ("market", "moved_in", "exchange"),
        ("market", "sum_cash", "market 0: running A"),
        ("market", "sum_rem", "market 0: running R"),
        ("market", "sum_size_idx", "market 0: running J"),
        ("market", "sum_size", "market 0: running S"),
        ("market", "open_interest", "market 0: open interest"),
        ("account", "free_e6", "exchange"),
        ("meta", "house_e6", "fees"),
        ("meta", "deposits_e6", "exchange"),
    ],
)
def test_one_unit_off_is_seen(where: str, field: str, name: str) -> None:
    model = Model()
    for raw in paid_hour().frames:
        model.apply(raw)
    assert not any(model.identities().values())
    ledger = model.ledger
    thing = {
        "position": ledger.positions[0],
        "market": ledger.tables.markets[0],
        "account": ledger.accounts[2],
        "meta": ledger.meta,
    }[where]
    setattr(thing, field, getattr(thing, field) + 1)
    assert model.identities()[name] != 0
