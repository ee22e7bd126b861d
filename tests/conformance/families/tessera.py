"""A log as Tessera published it: entries, their hashes, and a signed checkpoint for each size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from relayer.core.checkpoint import Checkpoint, decode_text, encode_text
from relayer.core.log import MerkleLog
from relayer.core.note import read_checkpoint
from tests.conformance.data import DataFile
from tests.conformance.families.merkle import log_of
from tests.conformance.harness import Family, Vector


def _vectors(file: DataFile) -> Iterator[Vector]:
    published = file.document
    log = log_of(published["entries"])
    for index, leaf_hash in enumerate(published["tile0_hashes"]):
        yield Vector(f"leaf {index}", (log, index, leaf_hash))
    for size, case in published["checkpoints"].items():
        yield Vector(
            f"checkpoint {size}", (log, published["public_key"], published["origin"], int(size), case)
        )


def _check(vector: tuple[Any, ...]) -> str | None:
    return _check_leaf(*vector) if len(vector) == 3 else _check_checkpoint(*vector)


def _check_leaf(log: MerkleLog, index: int, published: str) -> str | None:
    ours = log.leaf_hash(index).hex()
    return None if ours == published else f"published {published}, ours {ours}"


def _check_checkpoint(log: MerkleLog, key: str, origin: str, size: int, case: dict[str, str]) -> str | None:
    ours = Checkpoint(origin, size, log.root(size))
    note = decode_text(case["checkpoint"].encode())
    if ours.root.hex() != case["root"]:
        return f"published root {case['root']}, ours {ours.root.hex()}"
    if note.checkpoint != ours:
        return f"published {note.checkpoint}, ours {ours}"
    if encode_text(ours) + b"\n" + note.signatures != case["checkpoint"].encode():
        return "our text differs from the published one"
    if read_checkpoint(case["checkpoint"].encode(), key) != ours:
        return "the signature is over another checkpoint"
    return None


FAMILIES = [
    Family(
        "tessera log",
        "relayer.core.log.MerkleLog, relayer.core.checkpoint, relayer.core.note",
        lambda file: file.keys >= {"origin", "entries", "tile0_hashes", "checkpoints"},
        _vectors,
        _check,
    )
]
