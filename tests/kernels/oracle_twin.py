"""Naive twin of the oracle rules, in plain integers and fractions: one object per market."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from tests.kernels.twins import I64_MAX, NONE, OK, PRICE_MAX, PRICE_MIN, PRIMARY, TWO

HELD = 4
BILLION = 10**9


class FullVote(NamedTuple):
    """One provider's newest observation, in the fields of oracle.VOTE."""

    weight: int
    publish_ns: int
    price: int
    conf: int
    samples: int = 3
    valid: int = 1


@dataclass
class Rules:
    """oracle.ORACLE_RULES with its starting values."""

    skew_ns: int = BILLION
    age_ns: int = 10 * BILLION
    conf_ppm: int = 20_000
    band_ppm: int = 100_000
    band_ppm_s: int = 500
    samples_min: int = 1
    rearm: int = 3
    hold_ns: int = 300 * BILLION
    witness_ppm: int = 2_500
    alone: int = 0


def band(price: int, age_ns: int, base_ppm: int, ppm_s: int) -> int:
    """Share of a price, growing with age; no more than an int64 holds."""
    ppm = base_ppm + Fraction(ppm_s * age_ns, BILLION)
    if ppm * BILLION > I64_MAX:
        return I64_MAX
    return min(I64_MAX, math.floor(price * ppm / 10**6))


def reason(vote: FullVote, rules: Rules, reference: int, band: int, now_ns: int) -> int:
    """Number of the first gate that fails, from 1; 0 if none does."""
    ladder = [
        0 < vote.weight <= 2**32,
        vote.valid == 1,
        vote.publish_ns > 0,
        vote.publish_ns <= now_ns + rules.skew_ns,
        vote.publish_ns >= now_ns - rules.age_ns,
        vote.price > 0,
        PRICE_MIN <= vote.price <= PRICE_MAX,
        0 <= vote.conf <= PRICE_MAX and vote.conf * 10**6 <= vote.price * rules.conf_ppm,
        reference == 0 or abs(vote.price - reference) <= band,
        vote.samples >= rules.samples_min,
    ]
    return ladder.index(False) + 1 if False in ladder else 0


def tally(votes: dict[int, FullVote], reference: int, witness_ppm: int = 2_500) -> tuple[int, int, int]:
    """(status, price, conf) of the votes that passed, by provider."""
    if not votes or (len(votes) == 1 and 0 not in votes):
        return NONE, 0, 0
    first = votes[min(votes)]
    if len(votes) == 1:
        return PRIMARY, first.price, first.conf
    if len(votes) == 2:
        other = votes[max(votes)]
        apart = max(first.conf + other.conf, math.floor(first.price * Fraction(witness_ppm, 10**6)))
        agree = abs(first.price - other.price) <= apart
        return (TWO, first.price, first.conf) if agree else (NONE, 0, 0)
    ranked = [votes[k] for k in sorted(votes, key=lambda k: (votes[k].price, k))]
    total = sum(v.weight for v in ranked)
    status = TWO if any(Fraction(v.weight, total) >= Fraction(1, 2) for v in ranked) else OK
    for i, vote in enumerate(ranked):
        share = Fraction(sum(v.weight for v in ranked[: i + 1]), total)
        if share == Fraction(1, 2) and reference > 0:
            low, high = vote, ranked[i + 1]
            price = sorted([low.price, reference, high.price])[1]
            return status, price, max(low.conf, high.conf)
        if share >= Fraction(1, 2):
            return status, vote.price, vote.conf
    raise AssertionError("the last vote completes the weight")


@dataclass
class Market:
    """The rounds of one market."""

    rules: Rules = field(default_factory=Rules)
    reference: int = 0
    reference_conf: int = 0
    reference_ns: int = 0
    jump: int = 0
    jump_ns: int = 0
    agreements: int = 0
    reasons: list[int] = field(default_factory=list)

    def decide(self, votes: list[FullVote], now_ns: int) -> tuple[int, int, int]:
        """One round."""
        rules = self.rules
        age_ns = max(0, now_ns - self.reference_ns)
        width = band(self.reference, age_ns, rules.band_ppm, rules.band_ppm_s)
        self.reasons = [reason(v, rules, self.reference, width, now_ns) for v in votes]
        near = {k: v for k, v in enumerate(votes) if self.reasons[k] == 0}
        far = {k: v for k, v in enumerate(votes) if self.reasons[k] == 9 and v.samples >= rules.samples_min}
        near_weight = sum(v.weight for v in near.values())
        far_weight = sum(v.weight for v in far.values())
        found = NONE, 0, 0
        if near_weight > far_weight:
            self.agreements = 0
            found = tally(near, self.reference, rules.witness_ppm)
            if found[0] == PRIMARY and self.reference == 0 and not rules.alone:
                found = NONE, 0, 0
        elif far_weight > 0:
            found = self._jump(near | far)
        else:
            self.agreements = 0
        if found[0] != NONE:
            _, self.reference, self.reference_conf = found
            self.reference_ns, self.agreements = now_ns, 0
            return found
        if self.reference == 0 or not 0 <= now_ns - self.reference_ns <= rules.hold_ns:
            return NONE, 0, 0
        wider = min(PRICE_MAX, band(self.reference, now_ns - self.reference_ns, 0, rules.band_ppm_s))
        return HELD, self.reference, min(PRICE_MAX, self.reference_conf + wider)

    def _jump(self, votes: dict[int, FullVote]) -> tuple[int, int, int]:
        found = tally(votes, self.reference, self.rules.witness_ppm)
        if found[0] not in (OK, TWO):
            self.agreements = 0
            return NONE, 0, 0
        newest_ns = max(v.publish_ns for v in votes.values())
        if self.agreements and newest_ns <= self.jump_ns:
            return NONE, 0, 0
        close = abs(found[1] - self.jump) <= band(self.jump, 0, self.rules.band_ppm, 0)
        self.agreements = self.agreements + 1 if self.agreements and close else 1
        self.jump, self.jump_ns = found[1], newest_ns
        if self.agreements < self.rules.rearm:
            return NONE, 0, 0
        for k in votes:
            self.reasons[k] = 0
        return found
