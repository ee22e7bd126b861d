"""Each import contract fails when the import it forbids is planted in a copy of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.app.checks import LINT_IMPORTS
from engine.app.cli import ROOT


def _lint(tree: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    chosen = [argument for name in contracts for argument in ("--contract", name)]
    return subprocess.run(
        [*LINT_IMPORTS, *chosen],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The packages as they are, without caches, and the contracts."""
    for package in ("kernels", "engine", "relayer"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.so")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _plant(tree: Path, module: str, line: str) -> None:
    """Put a module with one import line where `module` says, and the packages above it."""
    path = tree.joinpath(*module.split("."))
    path.parent.mkdir(parents=True, exist_ok=True)
    for package in path.parents:
        if package == tree:
            break
        (package / "__init__.py").touch()
    path.with_suffix(".py").write_text(line + "\n")


def test_the_tree_keeps_every_contract(tree: Path) -> None:
    result = _lint(tree)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("contract", "module", "line"),
    [
        ("layers", "kernels.planted", "import engine.common.errors"),
        ("layers", "engine.common.planted", "import engine.core.state"),
        ("layers", "engine.core.planted", "import engine.journal.writer"),
        ("layers", "engine.journal.planted", "import engine.follower"),
        ("layers", "engine.follower", "import engine.gateway.client"),
        ("house", "engine.cellar.planted", "import json"),
        ("kernels", "kernels.planted", "import time"),
        ("kernels", "kernels.planted", "import os.path"),
        ("engine_core", "engine.core.planted", "from random import choice"),
        ("engine_core", "engine.core.planted", "import engine.common.ready"),
        ("relayer_core", "relayer.core.planted", "import asyncio.subprocess"),
        ("relayer_core", "relayer.core.planted", "import socket"),
        ("engine_without_relayer", "engine.gateway.planted", "import relayer.core"),
        ("relayer_rooms", "relayer.core.planted", "import engine.gateway.client"),
        ("relayer_rooms", "relayer.planted", "from engine.app import cli"),
        ("gateway", "engine.gateway.planted", "import engine.venue.simulator"),
        ("app", "engine.gateway.planted", "import engine.app.cli"),
    ],
)
def test_a_planted_import_breaks_its_contract(tree: Path, contract: str, module: str, line: str) -> None:
    imported = line.split()[1]
    place = tree.joinpath(*imported.split("."))
    if imported.startswith("engine.") and not (place.is_dir() or place.with_suffix(".py").exists()):
        _plant(tree, imported, "")
    _plant(tree, module, line)
    result = _lint(tree, contract)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "1 broken" in result.stdout


def test_the_relayer_may_use_the_rooms_it_was_given(tree: Path) -> None:
    for room in ("engine.common.errors", "engine.core.given", "engine.journal.given", "engine.follower"):
        if not tree.joinpath(*room.split(".")).with_suffix(".py").exists():
            _plant(tree, room, "")
    _plant(
        tree,
        "relayer.planted",
        "import engine.common.errors, engine.core.given, engine.journal.given, engine.follower",
    )
    assert _lint(tree, "relayer_rooms").returncode == 0


def test_it_runs_with_this_interpreter() -> None:
    assert LINT_IMPORTS[0] == sys.executable
