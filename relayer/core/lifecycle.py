"""The life of an intent, as one table: where it is, what happens to it, where that leads.

Unknown is a state of its own: a transaction whose sending was not answered may have landed. Only proof that
no earlier signature can land any more (EXPIRED) allows signing again.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class State(enum.StrEnum):
    """Where an intent is."""

    PLANNED = "planned"  # recorded, nothing signed
    SIGNED = "signed"  # signature and bytes are durable, sending may have happened
    SENT = "sent"  # a node has accepted it
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"
    EXPIRED = "expired"  # proven: no signature so far can land
    FAILED = "failed"  # landed with an error: needs a person


class Event(enum.StrEnum):
    """What can happen to an intent."""

    SIGN = "sign"
    ACCEPTED = "accepted"
    UNANSWERED = "unanswered"
    SEEN_CONFIRMED = "seen_confirmed"
    SEEN_FINALIZED = "seen_finalized"
    ROLLED_BACK = "rolled_back"
    PROVEN_EXPIRED = "proven_expired"
    LANDED_WITH_ERROR = "landed_with_error"


_S, _E = State, Event
TRANSITIONS: dict[tuple[State, Event], State] = {
    (_S.PLANNED, _E.SIGN): _S.SIGNED,
    (_S.EXPIRED, _E.SIGN): _S.SIGNED,
    (_S.SIGNED, _E.ACCEPTED): _S.SENT,
    (_S.SIGNED, _E.UNANSWERED): _S.SIGNED,
    (_S.SENT, _E.UNANSWERED): _S.SENT,
    (_S.SENT, _E.ACCEPTED): _S.SENT,
    (_S.SIGNED, _E.SEEN_CONFIRMED): _S.CONFIRMED,
    (_S.SENT, _E.SEEN_CONFIRMED): _S.CONFIRMED,
    (_S.SIGNED, _E.SEEN_FINALIZED): _S.FINALIZED,
    (_S.SENT, _E.SEEN_FINALIZED): _S.FINALIZED,
    (_S.CONFIRMED, _E.SEEN_CONFIRMED): _S.CONFIRMED,
    (_S.CONFIRMED, _E.SEEN_FINALIZED): _S.FINALIZED,
    (_S.CONFIRMED, _E.ROLLED_BACK): _S.SENT,
    (_S.SIGNED, _E.PROVEN_EXPIRED): _S.EXPIRED,
    (_S.SENT, _E.PROVEN_EXPIRED): _S.EXPIRED,
    (_S.SIGNED, _E.LANDED_WITH_ERROR): _S.FAILED,
    (_S.SENT, _E.LANDED_WITH_ERROR): _S.FAILED,
    (_S.CONFIRMED, _E.LANDED_WITH_ERROR): _S.FAILED,
}

IN_FLIGHT = frozenset({State.SIGNED, State.SENT, State.CONFIRMED})
ENDED = frozenset({State.FINALIZED, State.FAILED})


def after(state: State, event: Event) -> State:
    """The state that `event` leads to. AssertionError: the table has no such step, which is a bug."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise AssertionError(f"no transition from {state} on {event}") from None


class ChainEnd(NamedTuple):
    """The finalized end of the chain as one endpoint tells it: its slot, asked first, and its block height."""

    slot: int
    height: int


def plausible(end: ChainEnd, before: ChainEnd | None) -> bool:
    """False if an endpoint contradicts itself: a height not below its slot, or either one going backwards."""
    if end.height >= end.slot:
        return False
    return before is None or (end.slot >= before.slot and end.height >= before.height)


def may_expire(
    *, end: ChainEnd, last_valid_height: int, blockhash_valid: bool, found: bool, search_slot: int
) -> bool:
    """True if one endpoint proves that a signature can never land.

    Its finalized block height is past the last valid one, it takes none of the blockhashes any more, and a
    search through history, from a view not older than that height, found nothing.
    """
    expired = end.height > last_valid_height and not blockhash_valid
    return expired and not found and search_slot >= end.slot
