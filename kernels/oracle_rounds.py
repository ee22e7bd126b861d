"""Oracle prices from round to round: the last good price is the reference, held through gaps.

A round is one call with the newest vote of each provider. Votes too far from the reference are held back; it
is let go of only for a jump that providers agree on round after round.
"""

from __future__ import annotations

import numpy as np

from kernels.jit import kernel
from kernels.layouts import PRICE_MAX, STATUS_HELD, STATUS_NONE, STATUS_OK, STATUS_PRIMARY, STATUS_TWO
from kernels.oracle import PASSES, TOO_FAR, band_of, insert_vote, tally, vote_reason
from kernels.types import Record, Rows, Words

VOTE_SLOTS = 16
"""Providers of a market in an array of VOTE."""
ORACLE_STATE = np.dtype(
    [
        ("reference", "<i8"),  # last good price, 0: none yet
        ("reference_conf", "<i8"),
        ("reference_ns", "<i8"),
        ("jump", "<i8"),  # price that providers agree on, beyond the band
        ("jump_ns", "<i8"),  # newest publish time that spoke for it
        ("agreements", "<i8"),
    ]
)
CONSENSUS = np.dtype([("status", "<i8"), ("price", "<i8"), ("conf", "<i8")])


@kernel
def hear_votes(
    votes: Rows, base: int, rules: Record, state: Record, now_ns: int, order: Words, reasons: Words
) -> tuple[int, int, int]:
    """Pass one market's VOTE rows through the gates: (votes that passed, their weight, weight too far).

    Writes order[:passed], sorted by price, and a reason for each of reasons[base : base + 16].
    """
    reference = state["reference"]
    age_ns = max(0, now_ns - state["reference_ns"])
    band = band_of(reference, age_ns, rules["band_ppm"], rules["band_ppm_s"])
    passed = 0
    near = 0
    far = 0
    for k in range(VOTE_SLOTS):
        vote = votes[base + k]
        reason = vote_reason(vote, rules, reference, band, now_ns)
        reasons[base + k] = reason
        if reason == PASSES:
            insert_vote(votes, base, order, passed, k)
            passed += 1
            near += vote["weight"]
        elif reason == TOO_FAR and vote["samples"] >= rules["samples_min"]:
            far += vote["weight"]
    return passed, near, far


@kernel
def hear_jump(
    votes: Rows, base: int, rules: Record, state: Record, order: Words, reasons: Words
) -> tuple[int, int, int]:
    """What all votes say that only the reference speaks against: (status, price, conf), NONE until believed.

    At least two providers must agree, in `rearm` rounds in a row, each on newer observations and each within
    the base band of the round before. A lone primary is never believed about a jump: it waits for the band
    to widen. Writes `order`, the jump in `state`, and clears the reasons of a jump that is believed.
    """
    count = 0
    newest_ns = 0
    for k in range(VOTE_SLOTS):
        vote = votes[base + k]
        far = reasons[base + k] == TOO_FAR and vote["samples"] >= rules["samples_min"]
        if reasons[base + k] == PASSES or far:
            insert_vote(votes, base, order, count, k)
            count += 1
            newest_ns = max(newest_ns, vote["publish_ns"])
    status, price, conf = tally(votes, base, order, count, state["reference"], rules["witness_ppm"])
    if status != STATUS_OK and status != STATUS_TWO:
        state["agreements"] = 0
        return STATUS_NONE, 0, 0
    if newest_ns <= state["jump_ns"] and state["agreements"] > 0:
        return STATUS_NONE, 0, 0
    close = abs(price - state["jump"]) <= band_of(state["jump"], 0, rules["band_ppm"], 0)
    state["agreements"] = state["agreements"] + 1 if close else 1
    state["jump"] = price
    state["jump_ns"] = newest_ns
    if state["agreements"] < rules["rearm"]:
        return STATUS_NONE, 0, 0
    for i in range(count):
        reasons[base + order[i]] = PASSES
    return status, price, conf


@kernel
def decide(
    votes: Rows, market: int, rules: Record, state: Record, now_ns: int, order: Words, reasons: Words
) -> tuple[int, int, int]:
    """(status, price, conf) of one market by all the rules; moves its reference on.

    votes: VOTE[markets * 16]; state: its ORACLE_STATE row; reasons: int64[markets * 16]; order: int64[16],
    scratch. The votes near the reference decide if they outweigh those too far from it; otherwise there may
    have been a jump (`hear_jump`). A primary alone needs a reference, or `alone`. Without a decision the last
    good price is HELD, its confidence wider by `band_ppm_s` for every second, until `hold_ns` is over: then
    NONE.
    """
    base = market * VOTE_SLOTS
    passed, near, far = hear_votes(votes, base, rules, state, now_ns, order, reasons)
    if near > far:
        status, price, conf = tally(votes, base, order, passed, state["reference"], rules["witness_ppm"])
        state["agreements"] = 0
        if status == STATUS_PRIMARY and state["reference"] == 0 and rules["alone"] == 0:
            status = STATUS_NONE
    elif far > 0:
        status, price, conf = hear_jump(votes, base, rules, state, order, reasons)
    else:
        state["agreements"] = 0
        status, price, conf = STATUS_NONE, 0, 0
    if status != STATUS_NONE:
        state["reference"] = price
        state["reference_conf"] = conf
        state["reference_ns"] = now_ns
        state["agreements"] = 0
        return status, price, conf
    held_ns = now_ns - state["reference_ns"]
    if state["reference"] == 0 or held_ns > rules["hold_ns"] or held_ns < 0:
        return STATUS_NONE, 0, 0
    wider = band_of(state["reference"], held_ns, 0, rules["band_ppm_s"])
    return STATUS_HELD, state["reference"], min(PRICE_MAX, state["reference_conf"] + min(PRICE_MAX, wider))


@kernel
def decide_all(
    votes: Rows, rules: Record, states: Rows, now_ns: int, order: Words, reasons: Words, out: Rows
) -> None:
    """`decide` for every market of `states`: ORACLE_STATE[n], moved on. out: CONSENSUS[n]; the rest as there."""
    for m in range(len(states)):
        status, price, conf = decide(votes, m, rules, states[m], now_ns, order, reasons)
        out[m]["status"] = status
        out[m]["price"] = price
        out[m]["conf"] = conf
