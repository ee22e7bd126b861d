"""Leaves and nodes hash as hashlib says, on every form this CPU has, and on the portable one for any CPU."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels import sha256
from kernels.jit import JIT_DISABLED
from kernels.merkle import append_hashes
from kernels.sha256 import (
    HASH_BYTES,
    HASH_WORDS,
    SCRATCH_WORDS,
    HashPath,
    best_path,
    has_path,
    hash_leaves,
    hash_nodes,
    leaves_of_path,
    nodes_of_path,
    padding_of,
    path_named,
    tail_bytes,
)
from kernels.sha256_rounds import (
    BLOCK_BYTES,
    INITIAL,
    MASK,
    ROUND,
    ROWS,
    blocks_of,
    rotated,
    small_sigma0,
    small_sigma1,
)

ROOT = Path(__file__).resolve().parents[2]
PATHS = [path for path in HashPath if has_path(path)]
GUARD = 0x5A
"""What stands where nothing may be written."""


def leaf_hashes(leaves: np.ndarray, path: HashPath, first: int = 0) -> bytes:
    """The hashes as bytes; asserts that nothing else was written."""
    count, width = leaves.shape
    out = np.full((first + count + 20) * HASH_BYTES, GUARD, np.uint8).view(np.int64)
    tail, scratch = np.full(tail_bytes(width), 0xEE, np.uint8), np.full(SCRATCH_WORDS, -1, np.int64)
    raw = np.ascontiguousarray(leaves).reshape(-1)
    hash_leaves(raw, width, count, out, first, padding_of(width), tail, scratch, int(path))
    written = out.tobytes()
    start, end = first * HASH_BYTES, (first + count) * HASH_BYTES
    assert set(written[:start] + written[end:]) == {GUARD}
    return written[start:end]


def random_leaves(count: int, width: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, width), np.uint8)


def test_the_constants_are_those_of_the_standard() -> None:
    assert (hex(INITIAL[0]), hex(INITIAL[7])) == ("0x6a09e667", "0x5be0cd19")
    assert (hex(ROUND[0]), hex(ROUND[63])) == ("0x428a2f98", "0xc67178f2")


@pytest.mark.parametrize("width, blocks", [(0, 1), (54, 1), (55, 2), (112, 2), (118, 2), (119, 3)])
def test_a_record_up_to_118_bytes_takes_two_blocks(width: int, blocks: int) -> None:
    assert blocks_of(width) == blocks


def plain_sha256(first: bytes, data: bytes, behind: int) -> bytes:
    """The standard in plain integers, with the constants, shifts and padding that the forms share.

    behind: what stands in memory behind the data, in every byte.
    """
    table = padding_of(len(data)).astype(object).reshape(-1, 2, 16)
    raw = first + data + bytes([behind]) * (BLOCK_BYTES * len(table) - 1 - len(data))
    state = list(INITIAL)
    for block, (keep, put) in enumerate(table):
        begin = BLOCK_BYTES * block
        words = [int.from_bytes(raw[begin + 4 * k : begin + 4 * k + 4], "big") for k in range(16)]
        words = [word & keep[k] | put[k] for k, word in enumerate(words)]
        for t in range(16, 64):
            more = words[t - 16] + small_sigma0(words[t - 15]) + words[t - 7] + small_sigma1(words[t - 2])
            words.append(more & MASK)
        a, b, c, d, e, f, g, h = state
        for t in range(64):
            turned = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)
            one = h + turned + (e & f ^ ~e & g) + ROUND[t] + words[t]
            two = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + (a & b ^ a & c ^ b & c)
            a, b, c, d, e, f, g, h = (one + two) & MASK, a, b, c, (d + one) & MASK, e, f, g
        state = [(x + y) & MASK for x, y in zip(state, (a, b, c, d, e, f, g, h), strict=True)]
    return b"".join(word.to_bytes(4, "big") for word in state)


@pytest.mark.parametrize("width", [0, 3, 52, 53, 54, 55, 56, 63, 64, 112, 117, 118, 119, 300])
def test_what_the_forms_share_makes_sha_256_in_plain_integers(width: int) -> None:
    """Compiled and not: constants and shifts, and padding that keeps the data and nothing behind it."""
    data = random_leaves(1, width, seed=width).tobytes()
    for first in (b"\x00", b"\x01"):
        for behind in (0x00, 0xFF):
            assert plain_sha256(first, data, behind) == hashlib.sha256(first + data).digest()
    table = padding_of(width)
    assert (table.dtype, table.shape) == (np.uint32, (32 * blocks_of(width),))


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, 70), width=st.integers(0, 300), first=st.integers(0, 3))
@example(count=16, width=54, first=0)
@example(count=17, width=55, first=0)
@example(count=33, width=112, first=1)
@example(count=15, width=119, first=0)
def test_leaves_hash_as_hashlib_says(path: HashPath, count: int, width: int, first: int) -> None:
    leaves = random_leaves(count, width, seed=count + 1000 * width)
    expected = b"".join(hashlib.sha256(b"\x00" + row.tobytes()).digest() for row in leaves)
    assert leaf_hashes(leaves, path, first) == expected


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("fill", [0x00, 0x7F, 0x80, 0xFF])
def test_so_do_leaves_of_one_byte_over_and_over(path: HashPath, fill: int) -> None:
    leaves = np.full((16, 112), fill, np.uint8)
    assert leaf_hashes(leaves, path) == 16 * hashlib.sha256(bytes([0]) + bytes([fill]) * 112).digest()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("count", [1, 2, 3, 16, 31, 32, 33, 34, 64, 100, 1000])
def test_nodes_hash_as_hashlib_says(path: HashPath, count: int) -> None:
    capacity = 1 << max(count - 1, 15).bit_length()
    log = np.full(2 * capacity * HASH_BYTES, GUARD, np.uint8).view(np.int64)
    level = [row.tobytes() for row in random_leaves(count, HASH_BYTES, seed=count)]
    log[: count * HASH_WORDS] = np.frombuffer(b"".join(level), np.int64)
    append_hashes(log, capacity, 0, count, np.zeros(SCRATCH_WORDS, np.int64), int(path))
    written, start, room = log.tobytes(), 0, capacity
    while room:
        end = start + HASH_BYTES * len(level)
        assert written[start:end] == b"".join(level)
        start += HASH_BYTES * room
        assert set(written[end:start]) <= {GUARD}
        room //= 2
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in pairs]
    assert set(written[start:]) == {GUARD}


def test_the_best_form_is_one_this_cpu_has() -> None:
    assert has_path(best_path())
    assert has_path(HashPath.PORTABLE)


@pytest.mark.parametrize(
    "features, best",
    [
        ([], HashPath.PORTABLE),
        (["sha"], HashPath.PORTABLE),
        (["sse4.1"], HashPath.PORTABLE),
        (["sha", "sse4.1"], HashPath.EXTENSION),
        (["avx512f"], HashPath.AVX512),
        (["sha", "sse4.1", "avx512f"], HashPath.AVX512),
    ],
)
def test_a_form_is_there_if_the_cpu_has_all_it_needs(
    features: list[str], best: HashPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sha256, "has_cpu_feature", features.__contains__)
    assert best_path() is path_named("auto") is best
    for path in HashPath:
        assert has_path(path) == (path <= best and (path is not HashPath.EXTENSION or "sha" in features))
        assert path_named(path.name.lower()) is path, "a wish is a wish"
    with pytest.raises(KeyError):
        path_named("fastest")


@pytest.mark.parametrize("there", [(), (HashPath.EXTENSION,), (HashPath.AVX512,), tuple(HashPath)])
def test_a_form_that_is_there_is_the_one_that_runs(
    there: tuple[HashPath, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    for kind in ("nodes", "leaves"):
        for path in HashPath:
            note = f"{kind} {path.name}"
            monkeypatch.setattr(
                sha256, f"_{kind}_{path.name.lower()}", lambda *_, note=note: ran.append(note)
            )
    monkeypatch.setattr(sha256, "_HAS_AVX512", HashPath.AVX512 in there)
    monkeypatch.setattr(sha256, "_HAS_EXTENSION", HashPath.EXTENSION in there)
    bytes_, words, pad = np.zeros(0, np.uint8), np.zeros(0, np.int64), padding_of(0)
    for path in HashPath:
        plain_of(nodes_of_path)(words, 0, words, 0, int(path))
        plain_of(leaves_of_path)(bytes_, 0, 0, pad, words, 0, int(path))
        runs = path if path in there else HashPath.PORTABLE
        assert ran == [f"nodes {runs.name}", f"leaves {runs.name}"]
        ran.clear()


def plain_of(kernel: Callable[..., int]) -> Callable[..., int]:
    """The kernel as it stands in the text."""
    return getattr(kernel, "py_func", kernel)


@pytest.mark.parametrize("width", [0, 1, 54, 55, 112, 118, 119, 300])
def test_a_tail_holds_sixteen_leaves_and_the_last_one_s_blocks(width: int) -> None:
    assert tail_bytes(width) >= 15 * width + BLOCK_BYTES * blocks_of(width)
    assert tail_bytes(width) >= ROWS * width


@pytest.mark.skipif(not JIT_DISABLED, reason="compiled code does not say that it reads past an array's end")
@pytest.mark.parametrize("count", [0, 1, 7, 15, 16, 17, 32, 47])
def test_nothing_is_read_past_the_pairs(count: int) -> None:
    source = random_leaves(2 * count, HASH_BYTES).reshape(-1).view(np.int64)
    target, scratch = np.zeros(count * HASH_WORDS, np.int64), np.zeros(SCRATCH_WORDS, np.int64)
    hash_nodes(source, 0, count, target, 0, scratch, int(HashPath.PORTABLE))
    pairs = source.tobytes()
    expected = [hashlib.sha256(b"\x01" + pairs[64 * k : 64 * k + 64]).digest() for k in range(count)]
    assert target.tobytes() == b"".join(expected)


# Run by a fresh interpreter with fewer CPU features: forms that are gone are the portable one, to the byte.
PROGRAM = """
import sys
import numpy as np
from kernels.sha256 import HashPath, best_path, has_path
from relayer.core.log import MerkleLog
leaves = np.random.default_rng(3).integers(0, 256, (40, 112), np.uint8)
roots = set()
for path in HashPath:
    log = MerkleLog(path)
    log.append(leaves)
    roots.add(log.root().hex())
print(best_path().name, *(path.name for path in HashPath if has_path(path)), *roots)
"""


@pytest.mark.skipif(JIT_DISABLED, reason="compiles for other CPUs: needs the JIT")
@pytest.mark.parametrize(
    "cpu, features, left",
    [
        ("generic", "", ["PORTABLE"]),
        ("x86-64-v3", "+avx2,+sha,+sse4.1,+ssse3,+sse4.2", ["EXTENSION", "PORTABLE", "EXTENSION"]),
    ],
)
def test_on_a_smaller_cpu_the_answer_is_the_same(
    cpu: str, features: str, left: list[str], tmp_path: Path
) -> None:
    if HashPath.EXTENSION not in PATHS and "sha" in features:
        pytest.skip("this CPU has no SHA extension")
    smaller = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | smaller | {"PYTHONPATH": str(ROOT), "NUMBA_OPT": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    *forms, root = done.stdout.split()
    assert forms[:1] + sorted(forms[1:]) == left[:1] + sorted(left[1:] or left)
    entries = random_leaves(40, 112, seed=3)
    assert root == twin_root([row.tobytes() for row in entries]).hex()


def twin_root(entries: list[bytes]) -> bytes:
    level = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in pairs] + odd
    return level[0]
