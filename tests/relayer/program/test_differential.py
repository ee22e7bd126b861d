"""The same C three ways: in the chain's machine, compiled for this one, and the Python it must agree with."""

from __future__ import annotations

import ctypes
import hashlib
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.common.errors import ProofInvalid
from relayer.core.log import SHARD_LEAVES
from relayer.core.proofs import path_of_subtree, verify_inclusion
from relayer.core.rfc9162 import hash_leaf, hash_node
from relayer.program.build import HERE, compiler
from relayer.program.errors import ProgramError as E
from tests.relayer.program.objects import needs_clang
from tests.relayer.program.stage import Stage
from tests.relayer.program.trees import LEAF_BYTES

SOURCE = Path(__file__).parent / "merkle_native.c"
REASONS = {"index": E.INDEX_OUTSIDE, "proof_length": E.PROOF_LENGTH, "root": E.WRONG_ROOT}
LEVELS_MAX = 30
Check = Callable[[bytes, int, int, list[bytes], bytes], E | None]
HASH = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p)


class Claim(ctypes.Structure):
    """`Inclusion` of merkle.h."""

    _fields_ = (
        ("leaf", ctypes.c_char_p),
        ("leaf_bytes", ctypes.c_uint64),
        ("index", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("proof", ctypes.c_char_p),
        ("count", ctypes.c_uint64),
        ("root", ctypes.c_char_p),
    )


@HASH
def _sha256(pieces: int, count: int, out: int) -> None:
    rows = struct.iter_unpack("<QQ", ctypes.string_at(pieces, 16 * count))
    digest = hashlib.sha256(b"".join(ctypes.string_at(*row) for row in rows)).digest()
    ctypes.memmove(out, digest, len(digest))


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Compiled with the sanitizers that need no library: undefined behaviour ends the test run."""
    out = tmp_path_factory.mktemp("native") / "merkle.so"
    flags = ["-O1", "-shared", "-fPIC", "-ffreestanding", "-fsanitize=undefined", "-fsanitize-trap=undefined"]
    command = [str(compiler()), *flags, f"-I{HERE / 'include'}", str(SOURCE), "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    library = ctypes.CDLL(str(out))
    library.use_hash(_sha256)
    library.check.restype = ctypes.c_uint64

    def check(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> E | None:
        claim = Claim(leaf, len(leaf), index, size, b"".join(proof), len(proof), root)
        number = library.check(ctypes.byref(claim))
        return E(number) if number else None

    return check


@pytest.fixture(scope="module")
def on_chain() -> Check:
    """verify_fill on a commit that says this size and root."""
    stage = Stage().initialise().commit(1)
    key = stage.position.commit_address(1)[0]
    _, data, owner = stage.chain.account(key) or pytest.fail("no commit")

    def check(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> E | None:
        stage.put(key, data[:64] + struct.pack("<Q", size) + root, owner)
        return stage.run(stage.position.verify(1, index, leaf, proof))

    return check


def _in_python(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> E | None:
    try:
        verify_inclusion(hash_leaf(leaf), index, size, proof, root)
    except ProofInvalid as invalid:
        return REASONS[str(invalid.context["reason"])]
    return None


def _claim(dice: random.Random) -> tuple[bytes, int, int, list[bytes], bytes]:
    """A claim over a log of any size, half of them true, the others wrong in one thing."""
    size = dice.randrange(1, 1 << dice.randrange(1, LEVELS_MAX - 4))
    index = dice.choice((0, size - 1, dice.randrange(size)))
    leaf = dice.randbytes(LEAF_BYTES)
    steps = path_of_subtree(index, index + 1, size).steps
    proof = [dice.randbytes(32) for _ in steps]
    root = hash_leaf(leaf)
    for step, sibling in zip(steps, proof, strict=True):
        root = hash_node(sibling, root) if step.on_left else hash_node(root, sibling)
    wrong = dice.randrange(12)
    if wrong == 0:
        index ^= 1 << dice.randrange(64)
    elif wrong == 1:
        size = dice.choice((size + 1, size - 1, size * 2, dice.randrange(1 << 64)))
    elif wrong == 2:
        proof = proof[:-1]
    elif wrong == 3 and len(proof) < LEVELS_MAX - 4:
        proof = [*proof, dice.randbytes(32)]
    elif wrong == 4:
        leaf = leaf[:-1] + bytes([leaf[-1] ^ 1])
    elif wrong == 5:
        root = root[:-1] + bytes([root[-1] ^ 128])
    elif wrong == 6 and proof:
        at = dice.randrange(len(proof))
        proof[at] = dice.randbytes(32)
    return leaf, index, size, proof, root


def _compare(native: Check, on_chain: Check, seed: int, rounds: int) -> None:
    dice = random.Random(seed)
    seen = set()
    for number in range(rounds):
        claim = _claim(dice)
        expected = _in_python(*claim)
        seen.add(expected)
        assert native(*claim) is expected, (seed, number)
        leaf, index, size, proof, root = claim
        in_shard = (size - 1) % SHARD_LEAVES + 1 if size else 0
        assert on_chain(*claim) is _in_python(leaf, index, in_shard, proof, root), (seed, number)
    assert seen == {None, E.INDEX_OUTSIDE, E.PROOF_LENGTH, E.WRONG_ROOT}


@needs_clang
@pytest.mark.parametrize("seed", [1, 2])
def test_machine_native_and_python_agree(native: Check, on_chain: Check, seed: int) -> None:
    _compare(native, on_chain, seed, 400)


@needs_clang
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 13))
def test_machine_native_and_python_agree_for_long(native: Check, on_chain: Check, seed: int) -> None:
    _compare(native, on_chain, seed, 5_000)


@needs_clang
def test_all_indices_and_sizes_up_to_forty(native: Check) -> None:
    """With every proof length from none to one too many: exactly those of RFC 9162 pass."""
    for size in range(1, 41):
        for index in range(size):
            steps = path_of_subtree(index, index + 1, size).steps
            proof = [bytes([k]) * 32 for k in range(8)]
            root = hash_leaf(b"leaf")
            for step, sibling in zip(steps, proof, strict=False):
                root = hash_node(sibling, root) if step.on_left else hash_node(root, sibling)
            for count in range(8):
                expected = None if count == len(steps) else E.PROOF_LENGTH
                assert native(b"leaf", index, size, proof[:count], root) is expected
