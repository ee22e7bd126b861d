"""C of a few lines, compiled as our programs are, for tests of the linker."""

from __future__ import annotations

from pathlib import Path

import pytest

from relayer.program.build import COMPILER, compile_object, compiler
from relayer.program.linker import link

needs_clang = pytest.mark.skipif(compiler() is None, reason=f"no {COMPILER}: programs are not compiled here")

HEAD = '#include "types.h"\n'
ENTRY = "u64 entrypoint(u8 *in) { return f(*(u64 *)in); }\n"


def object_of(folder: Path, text: str, *flags: str) -> bytes:
    """The object of a C text that includes types.h by itself."""
    source = folder / "text.c"
    source.write_text(HEAD + text)
    return compile_object(source, *flags)


def program_of(folder: Path, text: str, *flags: str) -> bytes:
    """The program of it."""
    return link(object_of(folder, text, *flags))
