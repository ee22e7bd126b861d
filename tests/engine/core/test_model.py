"""The compiled fold against its naive twin, frame by frame, on sequences that hypothesis makes up."""

from __future__ import annotations

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from kernels.frames import Refusal, Template
from relayer.verify.model_frames import decode, head_of
from tests.engine.core.builders import genesis
from tests.engine.core.strategies import fills, hours, paid_hours, steps, ticks, transfers
from tests.engine.core.twins import Twins

GENESIS = genesis().frames
QUIET = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def run(drawn: list) -> Twins:
    """Take the steps on both twins after genesis, comparing after each frame."""
    twins = Twins(GENESIS)
    for step in drawn:
        for raw in step.build(twins):
            outcome = twins.apply(raw)
            event(f"{Template(head_of(raw)[0]).name} {Refusal(outcome.refusal).name}")
    return twins


@QUIET
@given(st.lists(steps, min_size=10, max_size=40))
def test_any_frames_do_the_same_to_machine_and_model(drawn: list) -> None:
    run(drawn)


@QUIET
@given(st.lists(st.one_of(fills, fills, transfers, hours, ticks), min_size=15, max_size=40))
def test_money_and_hours_do_the_same_to_machine_and_model(drawn: list) -> None:
    twins = run(drawn)
    for payment in twins.model.payments:
        if payment.paid_e6:
            event("an hour paid")


@settings(QUIET, max_examples=60)
@given(st.lists(paid_hours, min_size=2, max_size=8))
def test_dust_of_many_hours_does_the_same_to_machine_and_model(drawn: list) -> None:
    twins = run(drawn)
    dust = sum(position.rem for position in twins.model.ledger.positions)
    event(f"dust {dust > 0}, paid {any(payment.paid_e6 for payment in twins.model.payments)}")


def test_frames_decode_to_what_the_layouts_say() -> None:
    fill = next(raw for raw in genesis().frames if head_of(raw)[0] == Template.ACCOUNT)
    decoded = decode(Template.ACCOUNT, fill)
    assert (decoded.template, decoded.seq, decoded.key1, decoded.tier) == (Template.ACCOUNT, 1, 7919, 1)
