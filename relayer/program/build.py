"""Build the programs on chain: clang's BPF target, then a linker of our own.

`python -m relayer.program.build` writes the .so and its SHA-256 next to this file; with `--check` it writes nothing
and says whether what lies there is what the source gives. The same source gives the same bytes with the same clang.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from engine.common.errors import GodarkError, LinkError, UsageError
from relayer.program.linker import link

HERE: Final = Path(__file__).parent
PROGRAM: Final = HERE / "position_management.so"
DIGEST: Final = HERE / "position_management.so.sha256"
SOURCE: Final = HERE / "position" / "program.c"
COMPILER: Final = "clang-19"
TIMEOUT_S: Final = 60
# cpu v2: from v3 on clang uses 32-bit arithmetic, which the chain's machine carries out differently.
TARGET: Final = ("-target", "bpf", "-mcpu=v2", "-O2", "-mllvm", "-bpf-stack-size=4096")
LANGUAGE: Final = (
    "-std=c11",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-jump-tables",
    "-fwrapv",
    "-fno-strict-aliasing",
    "-Wall",
    "-Wextra",
    "-Werror",
)


def compiler() -> str | None:
    """The path of the one clang that builds the committed bytes, if it is installed."""
    return shutil.which(COMPILER)


def compile_object(source: Path, *flags: str) -> bytes:
    """The relocatable object of one C file. Raises UsageError without clang, LinkError (`compile`) with its words."""
    clang = compiler()
    if clang is None:
        raise UsageError(f"{COMPILER} is not installed: apt-get install {COMPILER}")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "program.o"
        include = f"-I{HERE / 'include'}"
        command = [clang, *TARGET, *LANGUAGE, *flags, include, "-c", str(source), "-o", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode:
            raise LinkError(f"{source.name}: {done.stderr.strip()}", reason="compile", place=source.name)
        return out.read_bytes()


def build() -> bytes:
    """The program, from its source."""
    return link(compile_object(SOURCE))


def digest_line(program: bytes) -> str:
    """What `sha256sum` prints of it."""
    return f"{hashlib.sha256(program).hexdigest()}  {PROGRAM.name}\n"


def main(arguments: list[str]) -> int:
    """Build and write, or with `--check` compare. The exit status: 0, or that of the error printed."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m relayer.program.build [--check]\n")
        return UsageError.exit_code
    try:
        program = build()
    except GodarkError as error:
        sys.stderr.write(f"{error.line()}\n")
        return error.exit_code
    if arguments:
        same = PROGRAM.read_bytes() == program and DIGEST.read_text() == digest_line(program)
        sys.stdout.write(
            "as built\n" if same else "differs from what the source gives: build and commit it\n"
        )
        return 0 if same else 1
    PROGRAM.write_bytes(program)
    DIGEST.write_text(digest_line(program))
    sys.stdout.write(digest_line(program))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
