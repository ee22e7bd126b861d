"""Arrays for the oracle kernels from the twin's votes and rules."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from kernels import oracle, oracle_rounds
from tests.kernels.oracle_twin import FullVote, Rules

SLOTS = oracle_rounds.VOTE_SLOTS
SECOND = 10**9
NOW = 10**18
GOOD = FullVote(1, NOW, 300_000_000, 300_000)


def rows_of(votes: list[FullVote], dtype: np.dtype = oracle.VOTE) -> np.ndarray:
    rows = np.zeros(SLOTS, dtype)
    rows[: len(votes)] = np.array(votes, dtype)
    return rows


def rules_of(rules: Rules) -> np.ndarray:
    row = np.zeros(1, oracle.ORACLE_RULES)
    for name, value in asdict(rules).items():
        row[name] = value
    return row
