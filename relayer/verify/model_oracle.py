"""The price of a market from round to round, in plain integers: facts, Oracles, Rules; MONEY.md, Prices.

Each provider has one vote, its newest observation, and a reason if it may not count. The last good price is
the reference: votes too far from it are let in only when providers agree on the jump round after round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from kernels.layouts import (
    PRICE_MAX,
    PRICE_MIN,
    STATUS_HELD,
    STATUS_NONE,
    STATUS_OK,
    STATUS_PRIMARY,
    STATUS_TWO,
)
from kernels.oracle import (
    FROM_THE_FUTURE,
    NO_TIME,
    NO_WEIGHT,
    OFF_SCALE,
    PASSES,
    TOO_FAR,
    TOO_OLD,
    TOO_WIDE,
)

SECOND_NS = 10**9
_LIVE = 1 << STATUS_OK | 1 << STATUS_TWO | 1 << STATUS_PRIMARY
_DAY_NS = 86_400 * SECOND_NS
ORACLE_BOUNDS = (
    ("skew_ns", 0, 60 * SECOND_NS),
    ("age_limit_ns", 0, _DAY_NS),
    ("conf_ppm", 1, 10**6),
    ("band_ppm", 1, 10**6),
    ("band_ppm_s", 0, 10**6),
    ("witness_ppm", 0, 10**6),
    ("rearm", 1, 3600),
    ("hold_ns", 1, _DAY_NS),
    ("alone", 0, 1),
    ("funding_on", 0, _LIVE),
    ("liquidation_on", 0, _LIVE),
)
"""Every rule that a parameter row can set, by its number, with its bounds."""
STATUS_SETS = ("funding_on", "liquidation_on")


@dataclass(slots=True)
class Oracle:
    """Rules and rounds of one market; named as in `oracle_rules.ORACLE`."""

    skew_ns: int = SECOND_NS
    age_ns: int = 0
    conf_ppm: int = 20_000
    band_ppm: int = 100_000
    band_ppm_s: int = 500
    samples_min: int = 1
    rearm: int = 3
    hold_ns: int = 300 * SECOND_NS
    witness_ppm: int = 2_500
    alone: int = 0
    reference: int = 0
    reference_conf: int = 0
    reference_ns: int = 0
    jump: int = 0
    jump_ns: int = 0
    agreements: int = 0
    age_limit_ns: int = 0
    funding_on: int = _LIVE
    liquidation_on: int = _LIVE
    restart_ns: int = 0


class Vote(NamedTuple):
    """One provider's newest observation; without one its time is 0."""

    weight: int
    publish_ns: int = 0
    price: int = 0
    conf: int = 0


class Verdict(NamedTuple):
    """What a round says, and the price and confidence it says it of."""

    status: int
    price: int = 0
    conf: int = 0


NOTHING = Verdict(STATUS_NONE)


def age_limit(oracle: Oracle, leverage: int, now_ns: int) -> int:
    """How old a vote may be: by the market's own limit or the leverage it allows, never before its restart."""
    by_leverage = 1 if leverage > 100 else 3 if leverage > 20 else 10
    limit = oracle.age_limit_ns or by_leverage * SECOND_NS
    return min(limit, max(0, now_ns - oracle.restart_ns))


def widened(price: int, seconds_ns: int, ppm: int, ppm_s: int) -> int:
    """ppm of a price, and ppm_s more for every second, rounded down."""
    return price * (ppm * SECOND_NS + ppm_s * seconds_ns) // 10**15


def reason(vote: Vote, oracle: Oracle, band: int, now_ns: int) -> int:
    """Why this vote may not count, or PASSES. Observations are on scale and positive when they are kept."""
    if vote.weight <= 0:
        return NO_WEIGHT
    if vote.publish_ns <= 0:
        return NO_TIME
    if vote.publish_ns > now_ns + oracle.skew_ns:
        return FROM_THE_FUTURE
    if vote.publish_ns < now_ns - oracle.age_ns:
        return TOO_OLD
    if not PRICE_MIN <= vote.price <= PRICE_MAX:
        return OFF_SCALE
    if vote.conf > PRICE_MAX or vote.conf * 10**6 > vote.price * oracle.conf_ppm:
        return TOO_WIDE
    if oracle.reference and abs(vote.price - oracle.reference) > band:
        return TOO_FAR
    return PASSES


def tally(votes: dict[int, Vote], oracle: Oracle) -> Verdict:
    """One price of the votes that count, by provider. One: the primary's (provider 0). Two: the lower number's,
    if the other is near. More: the weighted median; cut in halves exactly, the price of the two sides'
    stretch that is nearest to the reference."""
    if len(votes) < 2:
        return Verdict(STATUS_PRIMARY, votes[0].price, votes[0].conf) if 0 in votes else NOTHING
    if len(votes) == 2:
        first, second = (votes[k] for k in sorted(votes))
        near = max(first.conf + second.conf, first.price * oracle.witness_ppm // 10**6)
        if abs(first.price - second.price) > near:
            return NOTHING
        return Verdict(STATUS_TWO, first.price, first.conf)
    total = sum(vote.weight for vote in votes.values())
    dominated = any(2 * vote.weight >= total for vote in votes.values())
    status = STATUS_TWO if dominated else STATUS_OK
    ranked = [votes[k] for k in sorted(votes, key=lambda k: (votes[k].price, k))]
    below = 0
    for vote, above in zip(ranked, [*ranked[1:], ranked[-1]], strict=True):
        below += vote.weight
        if 2 * below == total and oracle.reference:
            nearest = min(max(oracle.reference, vote.price), above.price)
            return Verdict(status, nearest, max(vote.conf, above.conf))
        if 2 * below >= total:
            return Verdict(status, vote.price, vote.conf)
    raise AssertionError("all votes together have their whole weight")


def believe_jump(votes: dict[int, Vote], oracle: Oracle) -> Verdict:
    """What the votes say that only the reference speaks against, once `rearm` rounds in a row agreed on it, each
    with something newer published; NOTHING until then."""
    found = tally(votes, oracle)
    if found.status not in (STATUS_OK, STATUS_TWO):
        oracle.agreements = 0
        return NOTHING
    newest_ns = max(vote.publish_ns for vote in votes.values())
    if oracle.agreements and newest_ns <= oracle.jump_ns:
        return NOTHING
    same = abs(found.price - oracle.jump) <= widened(oracle.jump, 0, oracle.band_ppm, 0)
    oracle.agreements = oracle.agreements + 1 if same else 1
    oracle.jump, oracle.jump_ns = found.price, newest_ns
    return found if oracle.agreements >= oracle.rearm else NOTHING


def decide(votes: dict[int, Vote], oracle: Oracle, now_ns: int) -> tuple[Verdict, dict[int, int]]:
    """(what this round says, each provider's reason). Moves the reference on."""
    since_ns = max(0, now_ns - oracle.reference_ns)
    band = widened(oracle.reference, since_ns, oracle.band_ppm, oracle.band_ppm_s)
    reasons = {k: reason(vote, oracle, band, now_ns) for k, vote in votes.items()}
    near = {k: votes[k] for k, why in reasons.items() if why == PASSES}
    far = {k: votes[k] for k, why in reasons.items() if why == TOO_FAR}
    found = NOTHING
    if sum(v.weight for v in near.values()) > sum(v.weight for v in far.values()):
        found = tally(near, oracle)
        if found.status == STATUS_PRIMARY and not (oracle.reference or oracle.alone):
            found = NOTHING
        oracle.agreements = 0
    elif far:
        found = believe_jump(near | far, oracle)
        if found.status != STATUS_NONE:
            reasons |= dict.fromkeys(far, PASSES)
    else:
        oracle.agreements = 0
    if found.status != STATUS_NONE:
        oracle.reference, oracle.reference_conf, oracle.reference_ns = found.price, found.conf, now_ns
        oracle.agreements = 0
        return found, reasons
    if not oracle.reference or not 0 <= now_ns - oracle.reference_ns <= oracle.hold_ns:
        return NOTHING, reasons
    wider = oracle.reference_conf + widened(oracle.reference, since_ns, 0, oracle.band_ppm_s)
    return Verdict(STATUS_HELD, oracle.reference, min(PRICE_MAX, wider)), reasons
