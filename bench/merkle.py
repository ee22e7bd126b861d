"""The Merkle log: append and root, proofs, node hashing, against hashlib, pymerkle and OpenSSL on one core."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pymerkle import InmemoryTree, SqliteTree

from bench.harness import Budget, best_of
from relayer.core.leaf import LEAF_BYTES
from relayer.core.log import HASH_BYTES, NODE_PREFIX, MerkleLog, hash_leaf, hash_node, hash_pairs
from relayer.core.proofs import inclusion_proof, verify_inclusion

LEAVES = 1 << 17
PYMERKLE_LEAVES = 1 << 14
LARGE_LOG = 1 << 20
APPENDED = 4096
PROOFS = 10_000
PYMERKLE_PROOFS = 1_000
NODE_BLOCKS = 2
"""SHA-256 blocks of a node: 65 bytes and padding. A leaf of 112 bytes takes two as well."""
_BLOCK_BYTES = 64
_BULK_BYTES = 16_384
_OPENSSL_TIMEOUT_S = 10.0

Rows = NDArray[np.uint8]


def seeded_leaves(count: int) -> Rows:
    """uint8[count, 112]."""
    return np.random.default_rng(5).integers(0, 256, (count, LEAF_BYTES), np.uint8)


def log_of(leaves: Rows) -> MerkleLog:
    """A log of these leaves, appended at once."""
    log = MerkleLog()
    log.append(leaves)
    return log


def hashlib_root(entries: list[bytes]) -> bytes:
    """The root by a loop over hashlib, level by level; an odd node at the end moves up as it is."""
    sha256 = hashlib.sha256
    level = [sha256(b"\x00" + entry).digest() for entry in entries]
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [sha256(b"\x01" + left + right).digest() for left, right in pairs] + odd
    return level[0]


def tree(count: int, pymerkle_count: int) -> Iterator[Budget]:
    """Append + root of `count` leaves in one call; pymerkle does fewer, at so much a leaf."""
    leaves = seeded_leaves(count)
    entries = [row.tobytes() for row in leaves]
    ours = best_of(lambda: log_of(leaves).root(), 3)
    loop = best_of(lambda: hashlib_root(entries), 2)
    few = entries[:pymerkle_count]
    root = log_of(leaves[:pymerkle_count]).root()
    per_leaf = {"hashlib loop": loop / count}
    right = log_of(leaves).root() == hashlib_root(entries)
    for name, seconds, state in _pymerkle_trees(few):
        per_leaf[name] = seconds / len(few)
        right = right and state == root
    sizes = {f"{count} leaves, leaves/s": count / ours}
    for name, spent in per_leaf.items():
        sizes[f"{name}, {count if name == 'hashlib loop' else len(few)} leaves, leaves/s"] = 1 / spent
    for rival, goal in (("hashlib loop", "≥ 14"), ("pymerkle InmemoryTree", "≥ 180")):
        yield Budget(
            name=f"append and root of {count} leaves of {LEAF_BYTES} bytes, over {rival}",
            figure=per_leaf[rival] * count / ours,
            unit="x",
            goal=goal,
            answer_checked=right,
            ratios={name: spent * count / ours for name, spent in per_leaf.items()},
            sizes=sizes if rival == "hashlib loop" else {},
        )


def _pymerkle_trees(entries: list[bytes]) -> Iterator[tuple[str, float, bytes]]:
    """(name, seconds of append and root, root) of pymerkle's trees over `entries`."""
    with tempfile.TemporaryDirectory(prefix="godark-") as folder:
        makers = {
            "pymerkle InmemoryTree": InmemoryTree,
            "pymerkle SqliteTree": partial(SqliteTree, str(Path(folder) / "tree.sqlite")),
        }
        for name, make in makers.items():
            rival = make(algorithm="sha256")
            began = time.perf_counter()
            rival.append_entries(entries)
            root = rival.get_root()
            yield name, time.perf_counter() - began, root
            if isinstance(rival, SqliteTree):
                rival.con.close()


def incremental(size: int, count: int) -> Iterator[Budget]:
    """Append + root of a batch of leaves into a large log."""
    random = np.random.default_rng(6)
    log = MerkleLog()
    log.append_hashes(random.integers(0, 256, (size, HASH_BYTES), np.uint8))
    batches = [seeded_leaves(count) for _ in range(4)]
    spent = []
    for leaves in batches:
        began = time.perf_counter()
        log.append(leaves)
        root = log.root()
        spent.append(time.perf_counter() - began)
    again = MerkleLog()
    again.append_hashes(np.ascontiguousarray(log.level(0)))
    last = hash_leaf(batches[-1][-1].tobytes())
    yield Budget(
        name=f"append and root of {count} leaves into a log of {size}",
        figure=min(spent) * 1e6,
        unit="us",
        goal="≤ 400",
        answer_checked=again.root() == root and log.leaf_hash(log.size - 1) == last,
        sizes={str(count): min(spent) * 1e6},
    )


def proofs(count: int, asked: int, pymerkle_asked: int) -> Iterator[Budget]:
    """Inclusion proofs at random places of one tree, ours and pymerkle's compared hash by hash."""
    leaves = seeded_leaves(count)
    log = log_of(leaves)
    entries = [row.tobytes() for row in leaves]
    rival = InmemoryTree.init_from_entries(entries, algorithm="sha256")
    places = np.random.default_rng(8).integers(0, count, asked).tolist()
    some = places[:pymerkle_asked]
    ours = best_of(lambda: [inclusion_proof(log, k, count) for k in places], 3)
    theirs = best_of(lambda: [rival.prove_inclusion(k + 1) for k in some], 1)
    root, right = rival.get_root(), True
    for k in some:
        proof = inclusion_proof(log, k, count)
        verify_inclusion(hash_leaf(entries[k]), k, count, proof, root)
        right = right and proof == rival.prove_inclusion(k + 1).path[1:]
    rate, rival_rate = asked / ours, len(some) / theirs
    for name, figure, unit, goal in (
        ("inclusion proofs", rate, "proofs/s", "≥ 2000000"),
        ("inclusion proofs, over pymerkle", rate / rival_rate, "x", "≥ 300"),
    ):
        yield Budget(
            name=f"{name}, {count} leaves",
            figure=figure,
            unit=unit,
            goal=goal,
            answer_checked=right,
            ratios={"pymerkle InmemoryTree": rate / rival_rate},
            sizes={str(count): rate, f"pymerkle, {count}": rival_rate},
        )


def openssl_blocks_per_second(seconds: int = 1) -> float | None:
    """SHA-256 blocks/s of `openssl speed` on 16 KiB; None where there is no openssl, or it says nothing."""
    path = shutil.which("openssl")
    if path is None:
        return None
    command = [path, "speed", "-mr", "-seconds", str(seconds), "-bytes", str(_BULK_BYTES), "-evp", "sha256"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_OPENSSL_TIMEOUT_S, check=True)
    except (subprocess.SubprocessError, OSError):
        return None
    rates = [line.split(":")[-1] for line in done.stdout.splitlines() if line.startswith("+F:")]
    return float(rates[0]) / _BLOCK_BYTES if rates else None


def hashlib_blocks_per_second() -> float:
    """SHA-256 blocks/s of hashlib, which is OpenSSL's code, on 16 KiB."""
    data = bytes(_BULK_BYTES)

    def many() -> None:
        for _ in range(256):
            hashlib.sha256(data).digest()

    return 256 * _BULK_BYTES / _BLOCK_BYTES / best_of(many)


def node_rate(count: int) -> Iterator[Budget]:
    """Blocks a second while nodes of a level are hashed, over the bulk rate of OpenSSL on long input."""
    nodes = np.random.default_rng(9).integers(0, 256, (2 * count, HASH_BYTES), np.uint8)
    rate = NODE_BLOCKS * count / best_of(lambda: hash_pairs(nodes), 3)
    raw = nodes.tobytes()
    step = 2 * HASH_BYTES
    plain = [hashlib.sha256(NODE_PREFIX + raw[k : k + step]).digest() for k in range(0, len(raw), step)]
    right = hash_pairs(nodes).tobytes() == b"".join(plain)
    right = right and plain[0] == hash_node(raw[:HASH_BYTES], raw[HASH_BYTES:step])
    bulk = {"hashlib, 16 KiB": hashlib_blocks_per_second()}
    measured = openssl_blocks_per_second()
    if measured is not None:
        bulk["openssl speed, 16 KiB"] = measured
    yield Budget(
        name="node hashing, in blocks, over OpenSSL in bulk",
        figure=rate / max(bulk.values()),
        unit="x",
        goal="≥ 3",
        answer_checked=right,
        ratios={name: rate / theirs for name, theirs in bulk.items()},
        sizes={f"{count} nodes, blocks/s": rate, **{f"{n}, blocks/s": theirs for n, theirs in bulk.items()}},
    )


def run(scale: int = 1) -> Iterator[Budget]:
    """Measure; `scale` divides every size, for a look at whether it runs."""
    few = PYMERKLE_LEAVES // scale
    yield from tree(LEAVES // scale, few)
    yield from incremental(LARGE_LOG // scale, max(APPENDED // scale, 8))
    yield from proofs(few, PROOFS // scale, PYMERKLE_PROOFS // scale)
    yield from node_rate(LEAVES // scale)
