"""`./godark`: what is locked, and how set-up begins, fails and is repeated, with stand-ins for Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
import tomllib
from pathlib import Path

import pytest

from engine.app.cli import ROOT

# Stands in for the interpreter: makes a "virtual environment" out of copies of itself, notes what it was asked.
FAKE_PYTHON = """#!/bin/sh
echo "${0##*/} $*" >>"$FAKE_NOTES"
case "$*" in
*version_info*) exit "${FAKE_VERSION_STATUS:-0}" ;;
*ensurepip*) exit "${FAKE_VENV_STATUS:-0}" ;;
"-m venv "*)
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$0" "$3/bin/uv"
    sleep "${FAKE_VENV_S:-0}"
    ;;
*"pip install"*) exit "${FAKE_PIP_STATUS:-0}" ;;
"-m engine.app compile") exit "${FAKE_COMPILE_STATUS:-0}" ;;
"-m engine.app "*) echo "ran $*" ;;
esac
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with a blank in its name, holding the script and a compile command."""
    home = tmp_path / "a checkout"
    (home / "engine" / "app").mkdir(parents=True)
    (home / "kernels").mkdir()
    (home / "engine" / "app" / "compile.py").touch()
    (home / "kernels" / "margin.py").touch()
    for name in ("godark", "requirements.txt"):
        shutil.copy(ROOT / name, home)
    fake = tmp_path / "python3.11"
    fake.write_text(FAKE_PYTHON)
    fake.chmod(0o755)
    return home


def _env(tree: Path, **more: str) -> dict[str, str]:
    own = {"GODARK_PYTHON": str(tree.parent / "python3.11"), "FAKE_NOTES": str(tree.parent / "notes")}
    return {name: value for name, value in os.environ.items() if not name.startswith("GODARK_")} | own | more


def _start(
    tree: Path, *arguments: str, script: str | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script or str(tree / "godark"), *arguments],
        env=_env(tree, **env),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
    )


def _asked(tree: Path, what: str) -> int:
    return (tree.parent / "notes").read_text().count(what)


def test_first_start_sets_up_once_and_the_second_is_silent(tree: Path) -> None:
    first = _start(tree, "config", "--json")
    assert (first.returncode, first.stdout) == (0, "ran -m engine.app config --json\n")
    assert "setting up once" in first.stderr
    second = _start(tree, "config")
    assert (second.returncode, second.stderr) == (0, "")
    assert _asked(tree, "-m venv") == 1
    assert _asked(tree, "--require-hashes") == 2
    assert _asked(tree, "app compile") == 0


def test_kernels_are_compiled_once_per_source(tree: Path) -> None:
    for _ in range(2):
        assert _start(tree, "replay", "f").returncode == 0
    assert _asked(tree, "-m engine.app compile") == 1
    (tree / "kernels" / "margin.py").write_text("changed = 1\n")
    assert _start(tree, "demo").returncode == 0
    assert _asked(tree, "-m engine.app compile") == 2
    assert _asked(tree, "-m venv") == 1


def test_a_failed_compile_is_repeated(tree: Path) -> None:
    assert _start(tree, "demo", FAKE_COMPILE_STATUS="6").returncode == 6
    assert _start(tree, "demo").returncode == 0
    assert _asked(tree, "-m engine.app compile") == 2


def test_a_changed_lock_installs_anew(tree: Path) -> None:
    _start(tree, "config")
    with (tree / "requirements.txt").open("a") as lock:
        lock.write("# changed\n")
    assert "setting up" in _start(tree, "config").stderr
    assert _asked(tree, "-m venv") == 2


def test_a_failed_install_counts_as_none(tree: Path) -> None:
    failed = _start(tree, "config", FAKE_PIP_STATUS="1")
    assert failed.returncode == 69
    assert "godark: cannot install uv; the whole log:" in failed.stderr
    assert _start(tree, "config").returncode == 0


def test_an_interrupted_install_counts_as_none(tree: Path) -> None:
    child = subprocess.Popen(
        [tree / "godark", "config"],
        env=_env(tree, FAKE_VENV_S="30"),
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    deadline_s = time.monotonic() + 10
    while not (tree / ".venv" / "bin" / "uv").exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    os.killpg(child.pid, 9)
    child.wait(10)
    again = _start(tree, "config")
    assert again.returncode == 0
    assert "setting up once" in again.stderr


def test_two_first_starts_at_once_set_up_once(tree: Path) -> None:
    env = _env(tree, FAKE_VENV_S="0.3")
    both = [
        subprocess.Popen([tree / "godark", "config"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [child.communicate(timeout=30) for child in both]
    assert [child.returncode for child in both] == [0, 0]
    assert all(out == b"ran -m engine.app config\n" for out, _ in outputs)
    assert _asked(tree, "-m venv") == 1


def test_it_starts_through_links(tree: Path) -> None:
    (tree.parent / "bin").mkdir()
    (tree.parent / "bin" / "one").symlink_to("../a checkout/godark")
    (tree.parent / "two").symlink_to(tree.parent / "bin" / "one")
    assert _start(tree, "config", script=str(tree.parent / "two")).stdout == "ran -m engine.app config\n"
    assert (tree / ".venv").is_dir()


@pytest.mark.parametrize(
    ("env", "line"),
    [
        (
            {"GODARK_PYTHON": "/no/python"},
            "Python 3.11 not found: install the packages python3.11 and python3.11-venv",
        ),
        (
            {"FAKE_VERSION_STATUS": "1"},
            "Python 3.11 not found: install the packages python3.11 and python3.11-venv",
        ),
        ({"FAKE_VENV_STATUS": "1"}, "cannot make virtual environments: install the package python3.11-venv"),
    ],
)
def test_a_missing_python_is_one_clear_line(tree: Path, env: dict[str, str], line: str) -> None:
    result = _start(tree, "config", **env)
    assert result.returncode == 69
    assert line in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tree / ".venv").exists()


def test_the_lock_names_no_place_and_hashes_everything() -> None:
    text = (ROOT / "requirements.txt").read_text()
    rows = [row for row in text.replace("\\\n", " ").splitlines() if row and not row.startswith("#")]
    assert len(rows) > 40
    for row in rows:
        assert re.match(r"^[a-z0-9][a-z0-9._-]*==[^ ]+ ( *--hash=sha256:[0-9a-f]{64})+\s*$", row), row[:80]


def test_the_lock_holds_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = project["project"]["dependencies"] + project["dependency-groups"]["dev"]
    locked = {row.split(" ")[0] for row in (ROOT / "requirements.txt").read_text().splitlines()}
    assert set(asked) <= locked


def test_no_file_of_the_set_up_names_a_host() -> None:
    for name in ("godark", "requirements.txt", "pyproject.toml", ".ci/run"):
        assert not re.search(r"https?://|index-url\s*=\s*\S*\.\w+/", (ROOT / name).read_text()), name
