"""The relayer's own log and the program: what the one commits and proves, the other takes."""

from __future__ import annotations

import pytest

from relayer.core.proofs import inclusion_proof
from relayer.core.shards import Shards
from relayer.program.errors import ProgramError as E
from relayer.program.instructions import Checkpoint
from tests.relayer.program.stage import Stage, both_feature_sets
from tests.relayer.published_fills import fills

BATCHES = (1, 300, 4_096, 7)


@both_feature_sets
def test_fills_of_every_batch_are_proven_to_every_later_commit(features: str) -> None:
    stage, shards, leaves = Stage(features).initialise(), Shards(), []
    sizes = []
    for batch, count in enumerate(BATCHES, 1):
        rows = fills(count, first_seq=len(leaves) + 1)
        leaves += [row.tobytes() for row in rows]
        shards.append(rows)
        log = Checkpoint(shards.size, shards.log.root())
        made = stage.position.commit(stage.relayer.pubkey(), batch, stage.log, log)
        assert stage.run(made, stage.relayer) is None
        stage.log = log
        sizes.append(shards.size)
    for batch, size in enumerate(sizes, 1):
        for index in {0, size // 3, size - 1, *(one - 1 for one in sizes if one <= size)}:
            proof = inclusion_proof(shards.log, index, size)
            assert stage.run(stage.position.verify(batch, index, leaves[index], proof)) is None


def test_a_fill_that_was_changed_is_told() -> None:
    stage, shards, rows = Stage().initialise(), Shards(), fills(40)
    shards.append(rows)
    log = Checkpoint(40, shards.log.root())
    made = stage.position.commit(stage.relayer.pubkey(), 1, stage.log, log)
    assert stage.run(made, stage.relayer) is None
    proof = inclusion_proof(shards.log, 11, 40)
    for at in range(112):
        changed = rows[11].copy()
        changed[at] ^= 1
        stage.refused(E.WRONG_ROOT, stage.position.verify(1, 11, changed.tobytes(), proof))


@pytest.mark.parametrize("batch", [1, 2])
def test_a_batch_that_was_never_committed_proves_nothing(batch: int) -> None:
    stage, shards, rows = Stage().initialise(), Shards(), fills(3)
    shards.append(rows)
    claim = stage.position.verify(batch, 0, rows[0].tobytes(), inclusion_proof(shards.log, 0, 3))
    stage.refused(E.WRONG_OWNER, claim)
