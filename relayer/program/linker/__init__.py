"""From clang's BPF object to a program of the Solana virtual machine (sBPF v3).

`elf` reads the object, `layout` places and relocates, `check` refuses what the machine would misread, `write`
writes the result. Whatever they do not know they refuse, by name and place: LinkError.
"""

from __future__ import annotations

from relayer.program.linker.check import check_program
from relayer.program.linker.elf import read_object
from relayer.program.linker.layout import lay_out
from relayer.program.linker.write import write_program


def link(object_bytes: bytes, entry: str = "entrypoint") -> bytes:
    """The program of one relocatable object. Raises LinkError: the reason, and function + offset."""
    image = lay_out(read_object(object_bytes), entry)
    check_program(image)
    return write_program(image)
