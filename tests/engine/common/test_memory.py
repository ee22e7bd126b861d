"""Settling memory changes no byte of it, and what was let go of is there when it is used again."""

from __future__ import annotations

import os
import subprocess
import sys

from engine.app.cli import ROOT
from engine.common.processes import start_ticks

PROGRAM = """
import numpy as np
from engine.common.memory import settle_memory
from kernels.crc32c import crc_row
rows = np.arange(3_000_000).reshape(1, -1)
texts = [str(k) for k in range(300_000)]
before = int(crc_row(rows, 0, 3_000_000, 0))
import llvmlite.binding as llvm
settle_memory()
assert int(crc_row(rows, 0, 3_000_000, 0)) == before
assert texts == [str(k) for k in range(300_000)]
assert "i32" in str(llvm.parse_assembly("define i32 @f() { ret i32 7 }")), "the compiler still works"
settle_memory()
print("same")
"""


def test_nothing_changes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "same\n"), done.stderr


def test_no_process_has_no_start() -> None:
    assert start_ticks(os.getpid()) > 0
    assert start_ticks(2**22 + 1) == -1
