"""Every kernel that a family runs is run by the product command that the family's line names.

Both sides run with the JIT off in a process of its own, which notes each function of `kernels` that is called.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.harness import files_below, load_families
from tests.engine.app import commands

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("GODARK_SHARED", ROOT.parent / "shared"))
HEAD_ROWS = 30
VECTORS = 12

PROGRAM = """
import contextlib, io, itertools, json, os, sys
from pathlib import Path
from engine.app.cli import execute
from tests.conformance.data import DataFile
from tests.conformance.harness import load_families

kernels = os.path.join(os.getcwd(), "kernels") + os.sep
seen = set()

def note(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(kernels) and not code.co_name.startswith("<"):
        seen.add(code.co_filename[len(kernels):-3].replace(os.sep, ".") + "." + code.co_name)

@contextlib.contextmanager
def noting(into):
    seen.clear()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
        into.update(seen)

asked = json.load(sys.stdin)
families = load_families()
commands, used = {}, {}
for name, lists in asked["commands"].items():
    out = io.StringIO()
    with noting(commands.setdefault(name, set())), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        statuses = [execute(arguments) for arguments in lists]
    assert lists and not any(statuses), (name, statuses, out.getvalue())
for path in asked["files"]:
    file = DataFile(Path(path))
    family = next((f for f in families if f.claims(file)), None)
    if family is not None and family.reaches.startswith("godark"):
        with noting(used.setdefault(family.name, set())):
            for vector in itertools.islice(family.vectors(file), asked["vectors"]):
                outcome = family.check(vector.content)
                assert not isinstance(outcome, str), (path, vector.label, outcome)
print(json.dumps([{k: sorted(v) for k, v in part.items()} for part in (commands, used)]))
"""


def lists_of(reaches: str, lists: list[list[str]]) -> list[list[str]]:
    """The small commands among `lists` that a family's `reaches` names."""
    words = reaches.partition(":")[0].replace(",", "").split()[1:]
    if words[0] == "book" and words[1:]:
        rules = words[2:]
        return [one for one in lists if one[0] == "book" and ("--premium" not in one or one[3] in rules)]
    return [one for one in lists if one[: len(words)] == words]


def heads(folder: Path) -> list[Path]:
    """The published files, tables cut to a few rows, side by side as they belong together."""
    for path in files_below(SHARED / "data"):
        if not path.name.endswith((".csv.gz", "0808.ndjson.gz")) and path.parent.name != "funding-vectors":
            continue
        if path.name.endswith(".csv.gz") and "full_exchange" not in path.name:
            with gzip.open(path, "rt") as text:
                lines = [line for line, _ in zip(text, range(HEAD_ROWS), strict=False)]
            (folder / path.name.removesuffix(".gz")).write_text("".join(lines))
        else:
            (folder / path.name).symlink_to(path)
    return list(files_below(folder))


def test_every_family_s_kernels_are_reached_by_its_command(tmp_path: Path) -> None:
    if not (SHARED / "data").is_dir():
        pytest.skip(f"{SHARED / 'data'} is absent: set GODARK_SHARED to check against published data")
    made, cut = tmp_path / "made", tmp_path / "cut"
    made.mkdir()
    cut.mkdir()
    lists = commands.all_of(made)
    families = {f.name: f.reaches for f in load_families() if f.reaches.startswith("godark")}
    asked = {
        "commands": {reaches.partition(":")[0]: lists_of(reaches, lists) for reaches in families.values()},
        "files": [str(path) for path in heads(cut)],
        "vectors": VECTORS,
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(asked).encode(),
        env=os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_DISABLE_JIT": "1"},
        cwd=ROOT,
        capture_output=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    reached, used = json.loads(done.stdout)
    assert set(used) >= set(families) - {"drift_unrealised_pnl"}, "a family without a file"
    beyond = {}
    for name, kernels in used.items():
        command, _, named = families[name].partition(":")
        wanted = {*kernels, *(f"venues.{kernel.strip()}" for kernel in named.split(",") if kernel.strip())}
        if more := wanted - set(reached[command]):
            beyond[name] = sorted(more)
    assert beyond == {}
