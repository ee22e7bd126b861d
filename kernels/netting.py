"""Netting: what a batch's legs add up to, per account and market."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DELTA = np.dtype(
    [
        ("account", "<i4"),
        ("market", "<i4"),
        ("dsize", "<i8"),
        ("dcash", "<i8"),
        ("transfer", "<i8"),
        ("cover", "<i8"),
        ("prev_batch", "<i8"),  # the batch that touched this position last, 0: none
    ]
)
"""A net delta (MONEY.md). Funding is never part of it: books and chain settle it from the same index."""

_SUMMED = ("dsize", "dcash", "transfer", "cover")


def net_legs(legs: NDArray[np.void]) -> NDArray[np.void]:
    """Net deltas of LEG[n], one per touched (account, market), by market, then account; prev_batch 0.

    Exact: sums of int64 whose bounds the books have checked. A position that nets to nothing keeps its row.
    """
    if not len(legs):
        return np.zeros(0, DELTA)
    market, account = legs["market"].astype(np.int64), legs["account"].astype(np.int64)
    order = np.lexsort((account, market))
    market, account = market[order], account[order]
    new = np.ones(len(legs), bool)
    new[1:] = (market[1:] != market[:-1]) | (account[1:] != account[:-1])
    starts = np.flatnonzero(new)
    out = np.zeros(len(starts), DELTA)
    out["account"], out["market"] = account[starts], market[starts]
    for name in _SUMMED:
        out[name] = np.add.reduceat(legs[name][order], starts)
    return out


def fees_by_market(legs: NDArray[np.void]) -> list[tuple[int, int]]:
    """(market, fees in 1e-6 USDC) of LEG[n], house's part, rebates subtracted, by market."""
    return [(int(m), int(legs["fee"][legs["market"] == m].sum())) for m in np.unique(legs["market"])]
