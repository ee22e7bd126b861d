"""The Merkle log: append and root, proofs, node hashing, against hashlib, pymerkle and OpenSSL on one core."""

from __future__ import annotations

import hashlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pymerkle import InmemoryTree, SqliteTree

from bench.harness import Budget, best_of
from engine.app.cli import ROOT
from kernels.merkle import append_hashes
from kernels.sha256 import HASH_WORDS, SCRATCH_WORDS, HashPath, best_path, has_path
from relayer.core.leaf import LEAF_BYTES
from relayer.core.log import MerkleLog
from relayer.core.rfc9162 import HASH_BYTES, NODE_PREFIX, hash_leaf

LEAVES = 1 << 17
PYMERKLE_LEAVES = 1 << 17
LARGE_LOG = 1 << 20
APPENDED = 4096
PROOFS = 1 << 14
"""In one call. They fill 9 MB: of many more the time is that of new memory."""
PYMERKLE_PROOFS = 1_000
NODES = 1 << 14
NODE_BLOCKS = 2
"""SHA-256 blocks of a node: 65 bytes and padding. A leaf of 112 bytes takes two as well."""
_BLOCK_BYTES = 64
_BULK_BYTES = 16_384
_OPENSSL_TIMEOUT_S = 10.0
_LOAD_TIMEOUT_S = 60.0

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
    """Append + root of `count` leaves in one call; pymerkle of as many or fewer, at so much a leaf."""
    leaves = seeded_leaves(count)
    entries = [row.tobytes() for row in leaves]
    ours = best_of(lambda: log_of(leaves).root(), 9)
    loop = best_of(lambda: hashlib_root(entries), 3)
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
    """Inclusion proofs at random places of one tree, all in one call; pymerkle's compared hash by hash."""
    leaves = seeded_leaves(count)
    log = log_of(leaves)
    rival = InmemoryTree.init_from_entries([row.tobytes() for row in leaves], algorithm="sha256")
    places = np.random.default_rng(8).integers(0, count, asked)
    some = places[:pymerkle_asked].tolist()
    ours = best_of(lambda: log.inclusion_proofs(places), 5)
    theirs = best_of(lambda: [rival.prove_inclusion(k + 1) for k in some], 1)
    made = log.inclusion_proofs(places)
    faults = log.verify_inclusions(places, made, log.root())
    right = rival.get_root() == log.root() and not faults.any()
    right = right and all(made.of(k) == rival.prove_inclusion(at + 1).path[1:] for k, at in enumerate(some))
    rate, rival_rate = asked / ours, len(some) / theirs
    checked = asked / best_of(lambda: log.verify_inclusions(places, made, log.root()), 3)
    for name, figure, unit, goal in (
        ("inclusion proofs in bulk", rate, "proofs/s", "≥ 2000000"),
        ("inclusion proofs in bulk, over pymerkle", rate / rival_rate, "x", "≥ 300"),
    ):
        yield Budget(
            name=f"{name}, {count} leaves",
            figure=figure,
            unit=unit,
            goal=goal,
            answer_checked=right,
            ratios={"pymerkle InmemoryTree": rate / rival_rate},
            sizes={str(count): rate, f"pymerkle, {count}": rival_rate, "verified in bulk": checked},
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


def node_rates(count: int) -> Iterator[Budget]:
    """Blocks a second while nodes of a level are hashed, over the bulk rate of OpenSSL on long input."""
    bulk = {"hashlib, 16 KiB": hashlib_blocks_per_second()}
    measured = openssl_blocks_per_second()
    if measured is not None:
        bulk["openssl speed, 16 KiB"] = measured
    hashes = np.random.default_rng(9).integers(0, 256, (count, HASH_BYTES), np.uint8)
    expected = _plain_levels(hashes.tobytes())
    for path in reversed(HashPath):
        if not has_path(path):
            continue
        words, scratch = np.zeros(2 * count * HASH_WORDS, np.int64), np.zeros(SCRATCH_WORDS, np.int64)
        words[: count * HASH_WORDS] = hashes.reshape(-1).view(np.int64)
        whole = partial(append_hashes, words, count, 0, count, scratch, int(path))
        rate = NODE_BLOCKS * (count - 1) / best_of(whole, 200)
        right = words.tobytes() == expected
        goal = {best_path(): "≥ 3", HashPath.PORTABLE: "≥ 2"}.get(path, "≥ 1")
        yield Budget(
            name=f"node hashing, in blocks, over OpenSSL in bulk: {path.name.lower()}",
            figure=rate / max(bulk.values()),
            unit="x",
            goal=goal,
            answer_checked=right,
            ratios={name: rate / theirs for name, theirs in bulk.items()},
            sizes={
                f"{count - 1} nodes, blocks/s": rate,
                **{f"{n}, blocks/s": theirs for n, theirs in bulk.items()},
            },
        )


def _plain_levels(hashes: bytes) -> bytes:
    """All levels over a power of two of leaf hashes, one after the other, and 32 bytes of zeros."""
    levels = [hashes]
    while len(level := levels[-1]) > HASH_BYTES:
        pairs = [level[k : k + 2 * HASH_BYTES] for k in range(0, len(level), 2 * HASH_BYTES)]
        levels.append(b"".join(hashlib.sha256(NODE_PREFIX + pair).digest() for pair in pairs))
    return b"".join(levels) + bytes(HASH_BYTES)


def memory(count: int) -> Iterator[Budget]:
    """What a full log of `count` leaves, a power of two, holds."""
    log = MerkleLog()
    before = _resident_bytes()
    log.append_hashes(np.zeros((count, HASH_BYTES), np.uint8))
    per_leaf = (_resident_bytes() - before) / count
    yield Budget(
        name=f"memory of a log of {count} leaves",
        figure=log.held_bytes / count,
        unit="bytes/leaf",
        goal="≤ 64",
        answer_checked=log.size == count,
        sizes={"resident, bytes/leaf": per_leaf},
    )


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


_LOAD = """
import time
import numpy as np
from relayer.core.log import MerkleLog
began = time.perf_counter()
log = MerkleLog()
log.append(np.zeros((40, 112), np.uint8))
log.inclusion_proofs([3])
print(time.perf_counter() - began, log.root().hex())
"""


def loading() -> Iterator[Budget]:
    """The first append, root and proof of a process, its kernels compiled before."""
    answers = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", _LOAD],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=_LOAD_TIMEOUT_S,
            check=True,
        )
        answers.append(done.stdout.split())
    root = hashlib_root([bytes(LEAF_BYTES)] * 40).hex()
    yield Budget(
        name="a process's first append, root and proof, kernels from the cache",
        figure=min(float(seconds) for seconds, _ in answers[1:]),
        unit="s",
        goal="≤ 0.5",
        answer_checked=all(told == root for _, told in answers),
    )


def run(scale: int = 1) -> Iterator[Budget]:
    """Measure; `scale` divides every size, for a look at whether it runs."""
    few = PYMERKLE_LEAVES // scale
    many = LEAVES // scale
    yield from tree(many, few)
    yield from incremental(LARGE_LOG // scale, max(APPENDED // scale, 8))
    yield from proofs(many, PROOFS // scale, PYMERKLE_PROOFS // scale)
    yield from node_rates(NODES // scale)
    yield from memory(LARGE_LOG // scale)
    yield from loading()
