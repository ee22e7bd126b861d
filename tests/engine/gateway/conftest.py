"""C programs, compiled once for every test that runs them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.engine.gateway.c_material import WARNINGS, C


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `example`, `ring_example` and `c_peer`, compiled without a warning."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here: the C header and example are not checked")
    where = tmp_path_factory.mktemp("c")
    for source in (C / "example.c", C / "ring_example.c", Path(__file__).with_name("c_peer.c")):
        command = [compiler, *WARNINGS, "-I", str(C), "-o", str(where / source.stem), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    return where
