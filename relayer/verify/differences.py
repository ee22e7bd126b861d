"""Where model and compiled books differ, and which check each difference speaks against.

A difference belongs to one check: sizes to `zero_sum`, indices, remainders and rates to `funding`, money to
`cash`, whatever else the state holds to `digest`. A number that is only wrong because another one is does not
speak a second time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.core.state import Section
from relayer.verify.model_state import Leg

ZERO_SUM, CASH, FUNDING, DIGEST = "zero_sum", "cash", "funding", "digest"
KEPT = 20
"""So many differences are told of each check; the others are counted."""

_SIZES = {"positions": {"size"}, "markets": {"sum_size", "open_interest"}}
_FUNDING = {
    "positions": {"idx", "rem"},
    "markets": {
        "sum_rem", "sum_size_idx_hi", "sum_size_idx_lo", "index_e6", "index_rem", "epoch",
        "premium_sum_e12", "weight_valid", "seconds_valid", "seconds_seen", "rate_set_e12", "rate_e12",
        "pay_price",
    },
}  # fmt: skip
_CASH = {
    "positions": {"cash", "cost_e6", "realised_e6"},
    "accounts": {"free_e6"},
    "markets": {"sum_cash", "moved_in", "fees_e6"},
    "meta": {"house_e6", "deposits_e6", "payouts_e6", "held_e6"},
}
_LEG_CHECKS = {"dsize": ZERO_SUM, "funding": FUNDING}


class Differences:
    """What speaks against each of the four checks of the books; memory is bounded."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys((ZERO_SUM, CASH, FUNDING, DIGEST), 0)
        self._told: dict[str, list[str]] = {name: [] for name in self.counts}

    def note(self, check: str, what: str) -> None:
        """One more difference."""
        self.counts[check] += 1
        if len(self._told[check]) < KEPT:
            self._told[check].append(what)

    def against(self, check: str) -> list[str]:
        """The first differences noted; empty if there are none."""
        return list(self._told[check])


def compare_states(model: list[Section], fold: list[Section], found: Differences) -> None:
    """Note every field in which two states differ, under the check it belongs to."""
    for mine, theirs in zip(model, fold, strict=True):
        if (mine.name, mine.rows.shape) != (theirs.name, theirs.rows.shape):
            found.note(DIGEST, f"{mine.name}: {len(mine.rows)} rows, the books have {len(theirs.rows)}")
            continue
        for field in mine.rows.dtype.names or ("",):
            rows = _differing(mine.rows, theirs.rows, field)
            if len(rows):
                at = f"{mine.name} {rows[0]}"
                found.note(_check_of(mine.name, field), f"{at} of {len(rows)}: {field}".rstrip(": "))


def compare_legs(model: list[Leg], fold: list[tuple[int, ...]], at: str, found: Differences) -> None:
    """Note every field in which the legs of a frame differ."""
    if len(model) != len(fold):
        found.note(DIGEST, f"{at}: {len(model)} legs, the books have {len(fold)}")
        return
    for mine, theirs in zip(model, fold, strict=True):
        for field, a, b in zip(Leg._fields, mine, theirs, strict=True):
            if a != b:
                found.note(_LEG_CHECKS.get(field, CASH), f"{at}: {field} {a}, the books have {b}")


def judge_identities(values: dict[str, int], found: Differences) -> int:
    """Note every identity of `Model.identities` that is not 0; returns the largest of those noted.

    Sizes first. Where they are wrong, what is derived from sizes (size·index, what a touch would settle, the
    cash identity) only repeats that; and the cash identity repeats a wrong remainder or size·index.
    """
    worst = 0
    spoken: set[str] = set()
    for check, endings, consequence_of in _RULES:
        for name, value in values.items():
            market = name.partition(":")[0]
            if not value or not name.endswith(endings):
                continue
            blamed = spoken if name == market else {s for s in spoken if s.startswith(f"{market}:")}
            if consequence_of and any(s.endswith(consequence_of) for s in blamed):
                continue
            spoken.add(name)
            worst = max(worst, abs(value))
            found.note(check, f"{name}: off by {value}")
    return worst


_SIZE_NAMES = ("sizes", "running S", "open interest")
_RULES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    # check, what belongs to it, of what it would be a mere consequence
    (ZERO_SUM, _SIZE_NAMES, ()),
    (FUNDING, ("running R", "running J"), ("sizes", "running S")),
    (FUNDING, ("hourly and on touch",), ("sizes", "running S", "running R", "running J")),
    (CASH, ("running A", "exchange", "fees"), ()),
    (CASH, (": cash",), ("sizes", "running S", "running R", "running J", "running A")),
)


def _check_of(section: str, field: str) -> str:
    for check, fields in ((ZERO_SUM, _SIZES), (FUNDING, _FUNDING), (CASH, _CASH)):
        if field in fields.get(section, ()):
            return check
    return DIGEST


def _differing(mine: NDArray[Any], theirs: NDArray[Any], field: str) -> NDArray[np.int64]:
    """Rows in which a field differs; all of a plain array if `field` is empty."""
    a, b = (mine[field], theirs[field]) if field else (mine, theirs)
    unequal = a != b
    return np.flatnonzero(unequal.any(axis=tuple(range(1, unequal.ndim))))
