"""How compiled code sees a buffer of frames, and the scratch where results land."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels import frames as f
from kernels.crc32c import words_of
from kernels.layouts import LEG, MAX_MARKETS, RESULT

RING = 128
"""Words of a ring that holds two for each fill looked up ahead."""
TICKS = 32
"""So many ticks at most are taken together."""


class Views(NamedTuple):
    """The same frames, once for each template that compiled code reads."""

    frame: NDArray[np.void]
    fill: NDArray[np.void]
    account: NDArray[np.void]
    transfer: NDArray[np.void]
    setting: NDArray[np.void]
    observation: NDArray[np.void]
    tick: NDArray[np.void]
    outcome: NDArray[np.void]
    correction: NDArray[np.void]
    candidate: NDArray[np.void]


class Scratch(NamedTuple):
    """Where results land, and what is looked up ahead. legs: two per frame at most; leg_words (rows of 8) and
    legs_flat: the same memory. slots: two per fill, fill i's at 2 * i % RING; ahead: [first frame whose slots
    are not looked up, fills booked by `engine.core.fast_fills` since these arrays were made]. marks: two for each
    market and each of the ticks that `engine.core.fast_ticks` takes together.
    """

    results: NDArray[np.void]
    legs: NDArray[np.void]
    leg_words: NDArray[np.int64]
    legs_flat: NDArray[np.int64]
    slots: NDArray[np.int64]
    ahead: NDArray[np.int64]
    marks: NDArray[np.int64]


def views_of(frames: NDArray[np.void]) -> Views:
    """Views of a contiguous, writable array of 64-byte frames of any dtype."""
    return Views(
        frames.view(f.FRAME),
        frames.view(f.FILL),
        frames.view(f.ACCOUNT_FRAME),
        frames.view(f.TRANSFER),
        frames.view(f.SETTING),
        frames.view(f.OBSERVATION),
        frames.view(f.TICK),
        frames.view(f.OUTCOME),
        frames.view(f.CORRECTION),
        frames.view(f.CANDIDATE),
    )


def new_scratch(capacity: int) -> Scratch:
    """Scratch for up to `capacity` frames a call."""
    legs = np.zeros(2 * capacity, LEG)
    return Scratch(
        np.zeros(capacity, RESULT),
        legs,
        words_of(legs),
        legs.view(np.int64),
        np.zeros(RING, np.int64),
        np.zeros(2, np.int64),
        np.zeros(2 * TICKS * MAX_MARKETS, np.int64),
    )
