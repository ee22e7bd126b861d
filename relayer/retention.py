"""What of the relayer's record is kept: everything that a start, or a step of one, may still ask for.

A resume point says that all before it is final, and that a fold never plans it again. As with the journal and its
snapshots two are waited for: when one takes the place of another, what lies behind the older goes, in the same
transaction. Of the outcomes only those that the engine has on its disk go, so that it can be told the rest again.
Of what went, numbers are kept (`Pruned`).
"""

from __future__ import annotations

import numpy as np

from kernels import frames as f
from kernels.frames import OutcomeStage
from relayer.store import Store

BATCHES_AT_ONCE = 1000
"""A record from before there was retention goes in pieces: nobody waits for all of it."""


def prune(store: Store, upto: int, acked: int) -> None:
    """Forget batches up to `upto`, which are final, and outcomes up to number `acked` that speak of them.

    Belongs inside a transaction of the store. Bounded: what is left of a long arrear goes the next time.
    """
    upto = min(upto, store.pruned().batch + BATCHES_AT_ONCE)
    if upto > store.pruned().batch:
        store.prune_batches(upto)
    told = min(acked, _settled_in(store, upto))
    if told:
        store.prune_outcomes(told)


def _settled_in(store: Store, batch: int) -> int:
    """Number of the outcome that tells the last batch up to `batch` as settled; 0: the record holds none.

    Whatever a settled batch has to tell was told before that, and the newest settled one is never asked for.
    """
    number = 0
    for seq, raw in store.outcomes():
        frame = np.frombuffer(raw, f.OUTCOME)[0]
        if frame["stage"] == OutcomeStage.SETTLED:
            if frame["batch"] > batch:
                break
            number = seq
    return number
