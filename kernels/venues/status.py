"""What a venue's rule answers besides its numbers. `OVERFLOW` and `OK` are the `ok` of the other kernels."""

from __future__ import annotations

OVERFLOW = 0
OK = 1
OUT_OF_RANGE = 2
NOT_A_REDUCTION = 3
NOT_OPPOSITE = 4
NO_REQUIREMENT = 5
NO_OPEN_INTEREST = 6
NO_SIZE = 7

REASONS = {
    OVERFLOW: "a result is beyond the range of int64",
    OUT_OF_RANGE: "an amount that must not be negative is, or a price is 0",
    NOT_A_REDUCTION: "a close must be against the position and no larger than it",
    NOT_OPPOSITE: "the two sides of a match must be exactly opposite",
    NO_REQUIREMENT: "the account has no maintenance requirement to share its collateral out by",
    NO_OPEN_INTEREST: "there is no open interest to share a loss out over",
    NO_SIZE: "no size restores the margin",
}
"""Each refusal in words, for a person."""
