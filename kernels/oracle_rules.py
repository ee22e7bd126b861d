"""What a market's oracle rules are made of: one record, its knobs, their bounds, their starting values.

An ORACLE row serves `kernels.oracle_rounds.decide` as its rules and as its state. Starting values: facts,
Oracles, Rules 6; MONEY.md, Prices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import kernel
from kernels.layouts import STATUS_HELD, STATUS_NONE, STATUS_OK, STATUS_PRIMARY, STATUS_TWO
from kernels.oracle import ORACLE_RULES, age_limit_ns, starting_rules
from kernels.oracle_rounds import ORACLE_STATE
from kernels.types import Record

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
PPM = 1_000_000

LIVE = 1 << STATUS_OK | 1 << STATUS_TWO | 1 << STATUS_PRIMARY
"""Sets of statuses have bit 1 << status. These are of a price agreed on in this second."""

ORACLE = np.dtype(
    [
        *[(name, "<i8") for name in ORACLE_RULES.names or ()],
        *[(name, "<i8") for name in ORACLE_STATE.names or ()],
        ("age_limit_ns", "<i8"),  # 0: by the largest leverage that the market allows
        ("funding_on", "<i8"),  # statuses whose seconds count for funding
        ("liquidation_on", "<i8"),  # statuses on which positions may be liquidated
        ("restart_ns", "<i8"),  # what was published before says nothing any more
    ]
)
"""Rules and rounds of one market. `age_ns` is the limit of the last second: see `age_in_force`."""

BOUNDS = {
    "skew_ns": (0, 60 * SECOND_NS),
    "age_limit_ns": (0, DAY_NS),
    "conf_ppm": (1, PPM),
    "band_ppm": (1, PPM),
    "band_ppm_s": (0, PPM),
    "witness_ppm": (0, PPM),
    "rearm": (1, 3600),
    "hold_ns": (1, DAY_NS),
    "alone": (0, 1),
    "funding_on": (0, LIVE),
    "liquidation_on": (0, LIVE),
}
"""Smallest and largest value of each knob."""
ORACLE_KNOBS = tuple(BOUNDS)
"""A knob's number is its place here. How many samples a publisher needs is no knob of the books: no frame
tells it, whoever forwards an observation has checked it."""
_STATUS_SETS = ("funding_on", "liquidation_on")


def oracle_row(**changes: int) -> Any:
    """An ORACLE row with the starting values, some changed, and no price yet. Not checked: see `knob_fault`."""
    row = np.zeros(1, ORACLE)
    for name in ORACLE_RULES.names or ():
        row[name] = starting_rules()[name]
    row["age_ns"], row["funding_on"], row["liquidation_on"] = 0, LIVE, LIVE
    for name, value in changes.items():
        row[name] = value
    return row[0]


def knob_fault(number: int, value: int) -> str | None:
    """What is wrong with one knob by itself, in words, or None."""
    if not 0 <= number < len(ORACLE_KNOBS):
        return f"oracle knob {number} is not in 0..{len(ORACLE_KNOBS) - 1}"
    name = ORACLE_KNOBS[number]
    if name in _STATUS_SETS and value & (1 << STATUS_HELD | 1 << STATUS_NONE):
        return f"{name} {value} admits a price that is held or none: only OK, TWO and PRIMARY may act"
    low, high = BOUNDS[name]
    return None if low <= value <= high else f"{name} {value} is not in {low}..{high}"


@kernel
def own_age_limit(oracle: Record, leverage: int) -> int:
    """How old a vote may ever be: the market's own limit, or by the largest `leverage` that it allows (1 s above
    100x, 3 s above 20x, else 10 s)."""
    limit_ns = oracle["age_limit_ns"]
    return limit_ns if limit_ns != 0 else age_limit_ns(leverage)


@kernel
def age_in_force(oracle: Record, leverage: int, now_ns: int) -> int:
    """How old a vote may be at `now_ns`: its `own_age_limit`, and never from before the market's restart."""
    return min(own_age_limit(oracle, leverage), max(0, now_ns - oracle["restart_ns"]))


@kernel
def admits(statuses: int, status: int) -> int:
    """1 if `status` is in the set."""
    return statuses >> status & 1
