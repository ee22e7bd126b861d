"""The table of transitions: every pair of it, and what can be reached."""

from __future__ import annotations

from itertools import product

import pytest

from relayer.core.lifecycle import (
    ENDED,
    IN_FLIGHT,
    TRANSITIONS,
    ChainEnd,
    Event,
    State,
    after,
    may_expire,
    plausible,
)


@pytest.mark.parametrize("state, event", [*product(State, Event)])
def test_every_pair_is_defined_or_a_bug(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert after(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(AssertionError, match=f"{state} on {event}"):
            after(state, event)


def test_signing_follows_nothing_but_a_plan_or_a_proof() -> None:
    assert {s for s, e in TRANSITIONS if e is Event.SIGN} == {State.PLANNED, State.EXPIRED}
    assert {e for (_, e), to in TRANSITIONS.items() if to is State.EXPIRED} == {Event.PROVEN_EXPIRED}


def test_what_ended_stays_and_what_is_confirmed_does_not_expire() -> None:
    assert not {s for s, _ in TRANSITIONS} & ENDED
    assert (State.CONFIRMED, Event.PROVEN_EXPIRED) not in TRANSITIONS
    assert {to for (s, e), to in TRANSITIONS.items() if e is Event.ROLLED_BACK} == {State.SENT}


def test_every_state_is_reached_and_only_ends_are_final() -> None:
    assert {State.PLANNED, *TRANSITIONS.values()} == set(State)
    assert {s for s, _ in TRANSITIONS} | ENDED == set(State)
    assert {s for s, e in TRANSITIONS if e is Event.UNANSWERED} == IN_FLIGHT - {State.CONFIRMED}


@pytest.mark.parametrize(
    "end, before, sound",
    [
        ((200, 100), None, True),
        ((200, 200), None, False),
        ((200, 199), None, True),
        ((200, 100), (200, 100), True),
        ((199, 100), (200, 100), False),
        ((201, 99), (200, 100), False),
        ((201, 101), (200, 100), True),
    ],
)
def test_plausible(end: tuple[int, int], before: tuple[int, int] | None, sound: bool) -> None:
    assert plausible(ChainEnd(*end), before and ChainEnd(*before)) is sound


EXPIRY = product((99, 100, 101), (True, False), (True, False), (499, 500, 501))


@pytest.mark.parametrize("height, valid, found, search", [*EXPIRY])
def test_expiry_needs_all_of_it(height: int, valid: bool, found: bool, search: int) -> None:
    proven = may_expire(
        end=ChainEnd(500, height),
        last_valid_height=100,
        blockhash_valid=valid,
        found=found,
        search_slot=search,
    )
    assert proven == (height == 101 and not valid and not found and search >= 500)
