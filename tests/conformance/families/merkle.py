"""RFC 9162 proofs: published ones to verify, and ones to make from a reference tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from engine.common.errors import ProofInvalid
from kernels.merkle import ProofFault
from relayer.core.log import MerkleLog, Proofs, verified
from relayer.core.proofs import (
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
    verify_subtree,
    verify_subtree_inclusion,
)
from relayer.core.rfc9162 import HASH_BYTES
from tests.conformance.data import DataFile, Malformed
from tests.conformance.harness import Family, Vector


def log_of(leaves: list[str]) -> MerkleLog:
    """A log of leaves given in hex."""
    log = MerkleLog()
    for leaf in leaves:
        data = np.frombuffer(bytes.fromhex(leaf), dtype=np.uint8)
        log.append(data.reshape(1, len(data)))
    return log


def _hashes(proof: list[str] | None) -> list[bytes]:
    return [bytes.fromhex(entry) for entry in proof or []]


def _verdict(case: dict[str, Any], verify: Callable[..., None], *arguments: Any) -> str | None:
    rejected = None
    try:
        verify(*arguments)
    except ProofInvalid as fault:
        rejected = fault.message
    if type(case["wantErr"]) is not bool:
        raise Malformed("wantErr is neither true nor false")
    if case["wantErr"]:
        return None if rejected else "accepted, must be rejected"
    return f"rejected ({rejected}), must be accepted" if rejected else None


def _check_inclusion(case: dict[str, Any]) -> str | None:
    leaf, root = bytes.fromhex(case["leafHash"]), bytes.fromhex(case["root"])
    place = leaf, case["leafIdx"], case["treeSize"], _hashes(case["proof"]), root
    return _verdict(case, verify_inclusion, *place) or _verdict(case, _verify_by_kernels, *place)


def _verify_by_kernels(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> None:
    """The compiled verifier, which takes whole hashes and 63 bits. What it cannot be given the plain one judges."""
    if not 0 <= index <= size < 1 << 63 or {len(value) for value in (leaf, root, *proof)} != {HASH_BYTES}:
        verify_inclusion(leaf, index, size, proof, root)
        return
    hashes = np.frombuffer(b"".join(proof), np.uint8).reshape(1, len(proof), HASH_BYTES)
    proofs = Proofs(hashes, np.array([len(proof)], np.int64))
    rows = np.frombuffer(leaf, np.uint8).reshape(1, HASH_BYTES)
    fault = ProofFault(int(verified(rows, np.array([index], np.int64), size, proofs, root)[0]))
    if fault is not ProofFault.NONE:
        raise ProofInvalid(fault.name)


def _check_consistency(case: dict[str, Any]) -> str | None:
    roots = bytes.fromhex(case["root1"]), bytes.fromhex(case["root2"])
    return _verdict(case, verify_consistency, case["size1"], case["size2"], *roots, _hashes(case["proof"]))


def _check_subtree_inclusion(case: dict[str, Any]) -> str | None:
    leaf, root = bytes.fromhex(case["leafHash"]), bytes.fromhex(case["root"])
    place = case["leafIdx"], case["start"], case["end"]
    return _verdict(case, verify_subtree_inclusion, leaf, *place, _hashes(case["proof"]), root)


def _check_subtree_consistency(case: dict[str, Any]) -> str | None:
    roots = bytes.fromhex(case["root1"]), bytes.fromhex(case["root2"])
    place = case["start"], case["end"], case["size"]
    return _verdict(case, verify_subtree, *place, *roots, _hashes(case["proof"]))


def _cases(file: DataFile) -> Iterator[Vector]:
    for number, case in enumerate(file.document["cases"]):
        yield Vector(f"{case.get('file', number)} ({case.get('desc', 'no description')})", case)


def _proofs(kind: str, function: str, check: Callable[[dict[str, Any]], str | None]) -> Family:
    def claims(file: DataFile) -> bool:
        named = {"family", "kind"} & file.keys
        return file.kind == "document" and any(file.document[key] == kind for key in named)

    return Family(f"merkle {kind}", f"relayer.core.proofs.{function}", claims, _cases, check)


def _tree_vectors(file: DataFile) -> Iterator[Vector]:
    """Every node of the tree, then every root."""
    tree = file.document
    log = log_of(tree["leaves"])
    for height, nodes in enumerate(tree["nodes_by_level"]):
        made = [row.tobytes().hex() for row in log.level(height)]
        if len(made) != len(nodes):
            raise Malformed(f"level {height} has {len(nodes)} nodes for {log.size} leaves")
        for place, (node, ours) in enumerate(zip(nodes, made, strict=True)):
            yield Vector(f"node {height}/{place}", (node, ours))
    for size, root in enumerate(tree["roots_by_size"]):
        yield Vector(f"root at {size}", (root, log.root(size).hex()))


def _check_equal(pair: tuple[Any, Any]) -> str | None:
    published, ours = pair
    return None if published == ours else f"published {published}, ours {ours}"


def _generated_vectors(file: DataFile) -> Iterator[Vector]:
    """Proofs of a tree whose leaves are in the file that `tree` names, beside this one."""
    beside = DataFile(file.path.with_name(file.document["tree"] + ".json"))
    log = log_of(beside.document["leaves"])
    for kind in ("inclusion", "consistency"):
        for number, case in enumerate(file.document[kind]):
            yield Vector(f"{kind} {number}", (log, case))


def _check_generated(vector: tuple[MerkleLog, dict[str, Any]]) -> str | None:
    log, case = vector
    proof = _hashes(case["proof"])
    if "leafIdx" in case:
        index, size = case["leafIdx"], case["treeSize"]
        ours = inclusion_proof(log, index, size)
        if log.inclusion_proofs([index], size).of(0) != ours:
            return "proofs in bulk and singly differ"
        verify_inclusion(log.leaf_hash(index), index, size, proof, log.root(size))
    else:
        size1, size2 = case["size1"], case["size2"]
        ours = consistency_proof(log, size1, size2)
        if log.consistency_proofs([size1], size2).of(0) != ours:
            return "proofs in bulk and singly differ"
        verify_consistency(size1, size2, log.root(size1), log.root(size2), proof)
    return _check_equal((proof, ours))


FAMILIES = [
    _proofs("inclusion", "verify_inclusion", _check_inclusion),
    _proofs("consistency", "verify_consistency", _check_consistency),
    _proofs("subtreeinclusion", "verify_subtree_inclusion", _check_subtree_inclusion),
    _proofs("subtreeconsistency", "verify_subtree", _check_subtree_consistency),
    Family(
        "merkle reference tree",
        "relayer.core.log.MerkleLog",
        lambda file: file.keys >= {"leaves", "nodes_by_level", "roots_by_size"},
        _tree_vectors,
        _check_equal,
    ),
    Family(
        "merkle generated proofs",
        "relayer.core.proofs.inclusion_proof, consistency_proof",
        lambda file: file.keys >= {"tree", "inclusion", "consistency"},
        _generated_vectors,
        _check_generated,
    ),
]
