"""The text that emits SHA-256 for LLVM, made wrong: tests/kernels/test_sha256.py, compiled anew, must notice.

`python -m tests.mutation` runs without the JIT and never comes there. Every change is compiled in a copy of the
project, which takes some seconds; those of a form that this CPU has not are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from kernels.jit import JIT_DISABLED
from kernels.sha256 import HashPath, has_path
from tests.mutation.runs import COPIED

ROOT = Path(__file__).resolve().parents[2]
LANES, EXTENSION, FORMS = (f"kernels/sha256{part}.py" for part in ("_lanes", "_extension", ""))
PORTABLE, SHA, AVX512 = HashPath.PORTABLE, HashPath.EXTENSION, HashPath.AVX512


class Planted(NamedTuple):
    """The form that gets it, the file, what stands there once, and what stands there instead."""

    form: HashPath
    file: str
    before: str
    after: str


MUTANTS = [
    # Lanes, on every CPU: rotations, logic, schedule.
    Planted(
        PORTABLE,
        LANES,
        "start, self._choice(e, f, g), self._xor_of(*self._right(e, 6, 11, 25))",
        "start, self._choice(e, f, g), self._xor_of(*self._right(e, 6, 11, 24))",
    ),
    Planted(
        PORTABLE,
        LANES,
        "self._majority(a, b, c), self._xor_of(*self._right(a, 2, 13, 22))",
        "self._majority(a, b, c), self._xor_of(*self._right(a, 2, 12, 22))",
    ),
    Planted(PORTABLE, LANES, "[self.joined(word, word, 32 - bits)", "[self.joined(word, word, bits)"),
    Planted(PORTABLE, LANES, "self._right(word, 7, 18)", "self._right(word, 7, 19)"),
    Planted(
        PORTABLE, LANES, "self.builder.lshr(word, _constant(10))", "self.builder.lshr(word, _constant(9))"
    ),
    Planted(
        PORTABLE, LANES, "self.builder.xor(g, self.builder.and_(e", "self.builder.xor(f, self.builder.and_(e"
    ),
    Planted(
        PORTABLE,
        LANES,
        "self.builder.and_(c, self.builder.or_(a, b))",
        "self.builder.and_(c, self.builder.and_(a, b))",
    ),
    Planted(PORTABLE, LANES, "words[t - 7]", "words[t - 8]"),
    Planted(
        PORTABLE, LANES, "known = sum(word for word in words if isinstance(word, int)) & MASK", "known = 0"
    ),
    Planted(
        PORTABLE,
        LANES,
        "zip(state, (a, b, c, d, e, f, g, h), strict=True)]\n\n    def _mixed",
        "zip(state, (a, b, c, d, e, f, h, g), strict=True)]\n\n    def _mixed",
    ),
    # Shuffles: which word of which row comes where.
    Planted(
        PORTABLE,
        LANES,
        "for x in (first, ROWS + first, first + 1, ROWS + first + 1)",
        "for x in (first, ROWS + first, ROWS + first + 1, first + 1)",
    ),
    Planted(
        PORTABLE,
        LANES,
        "for x in (first, first + 1, ROWS + first, ROWS + first + 1)",
        "for x in (first, first + 1, ROWS + first + 1, ROWS + first)",
    ),
    Planted(PORTABLE, LANES, "range(4 * first, 2 * ROWS, 8)", "range(4 - 4 * first, 2 * ROWS, 8)"),
    Planted(PORTABLE, LANES, "out[k + 4 * half + 8 * upper]", "out[k + 8 * half + 4 * upper]"),
    Planted(PORTABLE, LANES, "ROWS + 4 * g + 4)]", "ROWS + 4 * g + 3), ROWS + 4 * g]"),
    Planted(PORTABLE, LANES, "self.swapped(self.load(base, offset))", "self.load(base, offset)"),
    # Padding, what is carried from block to block, and where hashes go.
    Planted(PORTABLE, LANES, "_constant(0x800000)", "_constant(0x80000000)"),
    Planted(PORTABLE, LANES, "*[0] * 14, NODE_BITS]", "*[0] * 14, NODE_BITS + 8]"),
    Planted(
        PORTABLE,
        LANES,
        "before = [_constant(NODE_PREFIX), *words]",
        "before = [_constant(LEAF_PREFIX), *words]",
    ),
    Planted(PORTABLE, LANES, "(LEAF_PREFIX, *INITIAL)", "(NODE_PREFIX, *INITIAL)"),
    Planted(PORTABLE, LANES, "self.builder.and_(word, keep), put", "word, put"),
    Planted(PORTABLE, LANES, "self.builder.mul(block, ir.Constant(_I64, 2 * ROWS))", "ir.Constant(_I64, 0)"),
    Planted(PORTABLE, LANES, "[words[-1], *done]", "[shifted[-1], *done]"),
    Planted(PORTABLE, LANES, '"<", following, blocks', '"<=", following, blocks'),
    Planted(PORTABLE, LANES, "2 * HASH_BYTES * k)))", "HASH_BYTES * k)))"),
    Planted(
        PORTABLE, FORMS, "ir.Constant(ir.IntType(64), 2 * ROWS))", "ir.Constant(ir.IntType(64), 4 * ROWS))"
    ),
    # What only AVX-512 runs.
    Planted(AVX512, LANES, "0xCA", "0xAC"),
    Planted(AVX512, LANES, "0xE8", "0xE9"),
    Planted(
        AVX512,
        LANES,
        "begun, self._xor_of(*self._right(e, 6, 11, 25))",
        "begun, self._xor_of(*self._right(e, 6, 10, 25))",
    ),
    Planted(AVX512, LANES, "self.builder.sub(into_e, d)", "self.builder.sub(into_e, e)"),
    Planted(AVX512, LANES, "[ir.Constant(_I64, t)]))", "[ir.Constant(_I64, t ^ 1)]))"),
    # What only the CPU's SHA instructions run.
    Planted(SHA, EXTENSION, "_quad(_F, _E, _B, _A)", "_quad(_E, _F, _B, _A)"),
    Planted(SHA, EXTENSION, "words, 3, 4, 5, 6)", "words, 4, 5, 6, 7)"),
    Planted(SHA, EXTENSION, "_quad(*[24] * 4)", "_quad(*[16] * 4)"),
    Planted(SHA, EXTENSION, "self._mixed(w[2], w[3], 1, 2, 3, 4)", "self._mixed(w[2], w[3], 0, 1, 2, 3)"),
    Planted(SHA, EXTENSION, "begun, w[3])", "begun, w[2])"),
    Planted(SHA, EXTENSION, "self._mixed(added, added, 2, 3, 0, 1)", "self._mixed(added, added, 3, 2, 0, 1)"),
    Planted(SHA, EXTENSION, "ROUND[4 * g : 4 * g + 4]", "ROUND[4 * (g % 15) : 4 * (g % 15) + 4]"),
    Planted(SHA, EXTENSION, "self._mixed(low, high, 3, 2, 7, 6)", "self._mixed(low, high, 2, 3, 7, 6)"),
    Planted(SHA, EXTENSION, "_quad(1 << 31, 0, 0, 0)", "_quad(1 << 30, 0, 0, 0)"),
    Planted(SHA, EXTENSION, "_quad(0, 0, 0, NODE_PREFIX), words", "_quad(NODE_PREFIX, 0, 0, 0), words"),
    Planted(SHA, EXTENSION, "zip(carried, data, strict=True)", "zip(carried[::-1], data, strict=True)"),
    Planted(SHA, EXTENSION, "2 * BLOCK_BYTES))", "BLOCK_BYTES))"),
    Planted(
        SHA,
        EXTENSION,
        "builder.mul(group, ir.Constant(_I64, 2 * WAYS))",
        "builder.mul(group, ir.Constant(_I64, WAYS))",
    ),
    Planted(
        SHA,
        EXTENSION,
        "builder.mul(extension.plus(done, k), width)",
        "builder.mul(extension.plus(done, 0), width)",
    ),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, to be made wrong."""
    folder = tmp_path_factory.mktemp("planted")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def compared(folder: Path) -> tuple[int, str]:
    """Exit code and output of the comparison with hashlib, compiled in a directory of its own."""
    tests = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/kernels/test_sha256.py",
        "-k",
        "as_hashlib or so_do",
    ]
    with_jit = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_OPT": "1"}
    cache = folder / "compiled"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *tests],
        cwd=folder,
        env=os.environ | with_jit | {"NUMBA_CACHE_DIR": str(cache), "HYPOTHESIS_PROFILE": "mutants"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    shutil.rmtree(cache, ignore_errors=True)
    return done.returncode, done.stdout + done.stderr


def test_every_change_is_of_one_place() -> None:
    for planted in MUTANTS:
        text = (ROOT / planted.file).read_text()
        assert text.count(planted.before) == 1 and planted.after != planted.before, planted
    assert len(set(MUTANTS)) == len(MUTANTS)


@pytest.mark.slow
@pytest.mark.skipif(JIT_DISABLED, reason="the JIT is what runs it")
def test_the_comparison_passes_as_long_as_nothing_is_planted(copy: Path) -> None:
    assert compared(copy)[0] == 0


@pytest.mark.slow
@pytest.mark.skipif(JIT_DISABLED, reason="the JIT is what runs it")
@pytest.mark.parametrize("planted", MUTANTS, ids=lambda planted: f"{planted.form.name} {planted.after}")
def test_what_is_planted_is_noticed(planted: Planted, copy: Path) -> None:
    if not has_path(planted.form):
        pytest.skip(f"this CPU has not {planted.form.name}")
    path = copy / planted.file
    text = path.read_text()
    path.write_text(text.replace(planted.before, planted.after))
    status, said = compared(copy)
    path.write_text(text)
    assert status == 1 and "FAILED" in said, said
    assert "numba.core.errors" not in said, "what does not compile says nothing of the comparison"
