"""The Merkle benchmark at tiny sizes, and that its checks see a wrong tree."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bench import merkle
from bench.harness import Budget
from kernels.sha256 import best_path
from relayer.core.log import MerkleLog
from relayer.core.rfc9162 import EMPTY_ROOT


@pytest.fixture(scope="module")
def budgets() -> list[Budget]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merkle, "openssl_blocks_per_second", lambda: None)
        return list(merkle.run(256))


def test_runs_and_checks_its_answers(budgets: list[Budget]) -> None:
    goals = [b.goal for b in budgets if "node hashing" not in b.name]
    assert goals == ["≥ 14", "≥ 180", "≤ 400", "≥ 2000000", "≥ 300", "≤ 64", "≤ 0.5"]
    nodes = {b.name.rpartition(" ")[2]: b.goal for b in budgets if "node hashing" in b.name}
    assert nodes[best_path().name.lower()] == "≥ 3" and nodes["portable"] in ("≥ 2", "≥ 3")
    assert all(b.answer_checked and b.figure > 0 for b in budgets)


def test_says_how_many_leaves_a_rival_was_given(budgets: list[Budget]) -> None:
    few = merkle.PYMERKLE_LEAVES // 256
    assert f"pymerkle SqliteTree, {few} leaves, leaves/s" in budgets[0].sizes
    assert set(budgets[0].ratios) == {"hashlib loop", "pymerkle InmemoryTree", "pymerkle SqliteTree"}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_the_hashlib_loop_is_rfc_9162(count: int) -> None:
    leaves = merkle.seeded_leaves(count)
    assert merkle.hashlib_root([row.tobytes() for row in leaves]) == merkle.log_of(leaves).root()


def test_a_wrong_root_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MerkleLog, "root", lambda self, size=None: EMPTY_ROOT)
    assert not any(b.answer_checked for b in merkle.tree(32, 8))


def test_a_wrong_node_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merkle, "openssl_blocks_per_second", lambda: None)
    monkeypatch.setattr(merkle, "append_hashes", lambda words, *rest: words.fill(1))
    assert not any(b.answer_checked for b in merkle.node_rates(32))


def fake_openssl(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "openssl"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_openssl_speed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_openssl(tmp_path, "echo '+H:16384'; echo '+F:25:sha256:640000.50'", monkeypatch)
    assert merkle.openssl_blocks_per_second() == pytest.approx(10_000, abs=1)


@pytest.mark.parametrize("body", ["exit 1", "echo '+H:16384'", None])
def test_without_openssl_hashlib_stands_for_it(
    body: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_openssl(tmp_path, body or "", monkeypatch)
    if body is None:
        (tmp_path / "openssl").unlink()
    assert merkle.openssl_blocks_per_second() is None
    budget = next(merkle.node_rates(64))
    assert list(budget.ratios) == ["hashlib, 16 KiB"]
    assert budget.figure == budget.ratios["hashlib, 16 KiB"]


def test_seeded_leaves_are_the_same_everywhere() -> None:
    leaves = merkle.seeded_leaves(4)
    assert leaves.shape == (4, 112)
    assert (
        hashlib.sha256(leaves.tobytes()).digest()
        == hashlib.sha256(merkle.seeded_leaves(4).tobytes()).digest()
    )
