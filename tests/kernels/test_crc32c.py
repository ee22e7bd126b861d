"""CRC-32C: published values, a bitwise twin, and what a seal detects."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import crc32c as c
from kernels import frames as f
from kernels.jit import JIT_DISABLED
from tests.kernels import twins
from tests.kernels.entries import int64s, run

PUBLISHED = [
    (b"123456789", 0xE3069283),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
]
"""The check value of the polynomial's catalogue entry, and RFC 3720 B.4."""
crcs = st.integers(0, 2**32 - 1)


def frames(count: int, seed: int = 7) -> np.ndarray:
    """Unsealed frames of random bytes."""
    raw = np.random.default_rng(seed).integers(0, 256, (count, 64), dtype=np.uint8)
    return raw.reshape(-1).view(f.FRAME)


def crc_of_row(row: np.ndarray) -> int:
    return twins.crc32c(row.tobytes()[:60])


@pytest.mark.parametrize(("data", "crc"), PUBLISHED)
def test_published_values(data: bytes, crc: int) -> None:
    assert c.crc32c(data) == crc
    assert twins.crc32c(data) == crc
    if len(data) == 32:
        words = np.frombuffer(data.ljust(64, b"\0"), np.int64).reshape(1, 8).copy()
        assert run(c.crc_row, words, 0, 4, 0) == crc


@given(st.binary(max_size=70), st.binary(max_size=70), crcs)
def test_bytes_against_the_twin_and_chained(a: bytes, b: bytes, start: int) -> None:
    assert c.crc32c(a, start) == twins.crc32c(a, start)
    assert c.crc32c(b, c.crc32c(a, start)) == c.crc32c(a + b, start)


@given(int64s, crcs)
def test_word(word: int, crc: int) -> None:
    assert run(c.crc_word, crc, word) == twins.crc32c(word.to_bytes(8, "little", signed=True), crc)


@given(st.lists(int64s, min_size=8, max_size=8), st.integers(0, 8), crcs)
def test_row(words: list[int], n_words: int, crc: int) -> None:
    row = np.array([words], np.int64)
    assert run(c.crc_row, row, 0, n_words, crc) == twins.crc32c(row.tobytes()[: 8 * n_words], crc)


@given(st.lists(int64s, min_size=8, max_size=8))
def test_eight_words_at_hand_are_a_row(words: list[int]) -> None:
    assert run(c.crc_of_words, *words) == twins.crc32c(np.array(words, np.int64).tobytes())


def test_seal_writes_only_the_crc_of_its_rows() -> None:
    rows = frames(12)
    before = rows.copy()
    words = c.words_of(rows)
    assert run(c.first_bad_frame, words, 0, 12) == 0
    run(c.seal_frames, words, 3, 9)
    for k in range(12):
        if 3 <= k < 9:
            assert int(rows[k]["crc"]) == crc_of_row(rows[k]) == run(c.crc_frame, words, k)
            assert run(c.stored_crc, words, k) == int(rows[k]["crc"])
            assert rows[k].tobytes()[:60] == before[k].tobytes()[:60]
        else:
            assert rows[k] == before[k]
    assert run(c.first_bad_frame, words, 3, 9) == 9
    assert run(c.first_bad_frame, words, 3, 12) == 9
    assert run(c.first_bad_frame, words, 5, 5) == 5


@settings(max_examples=4)
@given(st.integers(0, 2**32))
def test_every_bit_flip_is_detected(seed: int) -> None:
    good = frames(1, seed)
    run(c.seal_frames, c.words_of(good), 0, 1)
    flipped = np.repeat(good.view(np.uint8).reshape(1, 64), 512, axis=0)
    for bit in range(512):
        flipped[bit, bit // 8] ^= 1 << (bit % 8)
    words = flipped.view(np.int64)
    assert run(c.first_bad_frame, c.words_of(good), 0, 1) == 1
    assert [run(c.first_bad_frame, words, bit, bit + 1) for bit in range(512)] == list(range(512))


@given(st.integers(0, 9), st.integers(0, 9), crcs)
def test_chain_of_frames_composes(first: int, more: int, crc: int) -> None:
    rows = frames(first + more)
    words = c.words_of(rows)
    run(c.seal_frames, words, 0, first + more)
    wanted = crc
    for row in rows:
        wanted = twins.crc32c(int(row["crc"]).to_bytes(8, "little"), wanted)
    assert run(c.chain_frames, words, 0, first + more, crc) == wanted
    part = run(c.chain_frames, words, 0, first, crc)
    assert run(c.chain_frames, words, first, first + more, part) == wanted


def test_words_of_is_a_view() -> None:
    rows = frames(2)
    words = c.words_of(rows)
    assert words.shape == (2, 8)
    words[1, 1] = 77
    assert int(rows[1]["seq"]) == 77


GENERIC = """
import numpy as np
from kernels import crc32c as c
assert not c.has_cpu_feature("sse4.2")
words = np.frombuffer(b"123456789".rjust(64, b"\\0"), np.int64).reshape(1, 8).copy()
c.seal_frames(words, 0, 1)
print(c.crc_row(words, 0, 7, 0), c.stored_crc(words, 0), c.crc_word(0, -1))
"""


@pytest.mark.skipif(JIT_DISABLED, reason="compiles for a generic CPU: needs the JIT")
def test_a_cpu_without_the_instruction_gives_the_same() -> None:
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", GENERIC],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    raw = b"123456789".rjust(64, b"\0")
    wanted = [twins.crc32c(raw[:56]), twins.crc32c(raw[:60]), twins.crc32c(b"\xff" * 8)]
    assert [int(x) for x in done.stdout.split()] == wanted
