"""Objects that clang does not write: each is refused for what is wrong with it, before anything is made of it."""

from __future__ import annotations

import struct

import pytest

from engine.common.errors import LinkError
from relayer.program.linker import link
from tests.relayer.program.linker.handmade import (
    ALLOC,
    CALL,
    EXEC,
    EXIT,
    FILE,
    FUNCTION,
    LOAD,
    NOBITS,
    OBJECT,
    RELA,
    RODATA,
    SECTION,
    TEXT,
    UNDEFINED,
    WRITE,
    Handmade,
    instruction,
)

ENTRY = ("entrypoint", FUNCTION, TEXT, 0, 24)
TABLE = ("table", OBJECT, RODATA, 0, 16)
ABSOLUTE, COMMON = 0xFFF1, 0xFFF2


def _loads(**changed) -> Handmade:
    values = {"text": LOAD + EXIT, "symbols": [ENTRY, TABLE], "relocations": [(TEXT, 0, 1, 2)]}
    return Handmade(**values | changed)


def _calls(callee: tuple[str, int, int, int, int], **changed) -> Handmade:
    entry = ("entrypoint", FUNCTION, TEXT, 0, 16)
    values = {"text": CALL + EXIT + EXIT, "symbols": [entry, callee], "relocations": [(TEXT, 0, 10, 2)]}
    return Handmade(**values | changed)


OTHER = ("other", FUNCTION, TEXT, 16, 8)

REFUSED = {
    "object: another machine": Handmade(machine=62),
    "object: relocations with addends": _loads(relocation_kind=RELA),
    "object: a symbol outside of its section": Handmade(symbols=[("entrypoint", FUNCTION, TEXT, 0, 16)]),
    "object: a symbol of a section that is not there": Handmade(symbols=[("x", FUNCTION, 99, 0, 8)]),
    "object: a relocation of a symbol that is not there": _loads(relocations=[(TEXT, 0, 1, 9)]),
    "object: a relocation behind its section": _loads(relocations=[(TEXT, 24, 1, 2)]),
    "object: an alignment that is no power of two": Handmade(rodata_align=24),
    "object: an alignment beyond a page": Handmade(rodata_align=8192),
    "section: code that can be written": Handmade(text_flags=ALLOC | EXEC | WRITE),
    "section: code elsewhere": Handmade(text_name=".text.entrypoint"),
    "section: no code": Handmade(text_flags=ALLOC),
    "section: half an instruction": Handmade(text=EXIT + bytes(4)),
    "section: constants without content": Handmade(rodata_kind=NOBITS, rodata_name=".bss"),
    "section: constants of another name": Handmade(rodata_name=".maps"),
    "mutable_global: constants that can be written": Handmade(rodata_flags=ALLOC | WRITE),
    "mutable_global: a common symbol": _loads(symbols=[ENTRY, ("shared", OBJECT, COMMON, 8, 8)]),
    "mutable_global: an absolute symbol": _loads(symbols=[ENTRY, ("fixed", OBJECT, ABSOLUTE, 8, 8)]),
    "function: code in front of the first": Handmade(
        text=EXIT + EXIT, symbols=[("entrypoint", FUNCTION, TEXT, 8, 8)]
    ),
    "function: code behind the last": Handmade(
        text=EXIT + EXIT, symbols=[("entrypoint", FUNCTION, TEXT, 0, 8)]
    ),
    "function: two in one place": Handmade(
        symbols=[("entrypoint", FUNCTION, TEXT, 0, 8), ("again", FUNCTION, TEXT, 0, 8)]
    ),
    "function: an empty one": Handmade(
        symbols=[("none", FUNCTION, TEXT, 0, 0), ("entrypoint", FUNCTION, TEXT, 0, 8)]
    ),
    "function: one that ends within an instruction": Handmade(
        text=EXIT + EXIT, symbols=[("entrypoint", FUNCTION, TEXT, 0, 12), ("b", FUNCTION, TEXT, 12, 4)]
    ),
    "entry: two of the name": Handmade(
        text=EXIT + EXIT, symbols=[("entrypoint", FUNCTION, TEXT, 0, 8), ("entrypoint", FUNCTION, TEXT, 8, 8)]
    ),
    "relocation: an unknown kind in code": _loads(relocations=[(TEXT, 0, 3, 2)]),
    "relocation: an unknown kind in constants": _loads(relocations=[(TEXT, 0, 1, 2), (RODATA, 0, 1, 2)]),
    "relocation: an address that is cut": _loads(relocations=[(TEXT, 0, 1, 2), (RODATA, 12, 2, 2)]),
    "relocation: two in one place": _loads(relocations=[(TEXT, 0, 1, 2), (TEXT, 0, 1, 2)]),
    "relocation: an address where none is loaded": _loads(relocations=[(TEXT, 16, 1, 2)]),
    "relocation: an address between instructions": _loads(relocations=[(TEXT, 4, 1, 2)]),
    "relocation: a call where none is made": _loads(relocations=[(TEXT, 0, 10, 1)]),
    "relocation: a call of constants": _calls(
        ("table", OBJECT, RODATA, 0, 16),
        text=CALL + EXIT,
        symbols=[("entrypoint", FUNCTION, TEXT, 0, 16), TABLE],
    ),
    "relocation: a constant outside of its section": _loads(
        text=instruction(0x18, 1, imm=17) + instruction(0) + EXIT
    ),
    "relocation: a constant before its section": _loads(
        text=instruction(0x18, 1, imm=-1) + instruction(0, imm=-1) + EXIT
    ),
    "relocation: what no program holds": _loads(symbols=[ENTRY, ("names", SECTION, 4, 0, 0)]),
    "undefined: a constant": _loads(symbols=[ENTRY, ("elsewhere", OBJECT, UNDEFINED, 0, 0)]),
    "function_pointer: in code": _loads(relocations=[(TEXT, 0, 1, 1)]),
    "function_pointer: in constants": _loads(relocations=[(TEXT, 0, 1, 2), (RODATA, 8, 2, 1)]),
    "syscall: a name that no cluster has": _calls(
        ("sol_teleport", FUNCTION, UNDEFINED, 0, 0), text=CALL + EXIT
    ),
    "call: the middle of a function": _calls(OTHER, text=instruction(0x85, 0, 1, 0, -2) + EXIT + EXIT),
    "call: one that nobody filled in": _calls(
        OTHER, text=EXIT + CALL + EXIT, relocations=[], symbols=[("entrypoint", FUNCTION, TEXT, 0, 24)]
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str) -> None:
    with pytest.raises(LinkError) as caught:
        link(REFUSED[what].encode())
    assert caught.value.context["reason"] == what.partition(":")[0]
    assert caught.value.context["place"]


def test_what_is_sound_is_linked() -> None:
    """The forms that the refused ones are a step away from."""
    file = ("text.c", FILE, ABSOLUTE, 0, 0)
    known = ("sol_log_data", FUNCTION, UNDEFINED, 0, 0)
    last = instruction(0x18, 1, imm=16) + instruction(0) + EXIT
    sound = (
        Handmade(),
        _loads(),
        _loads(text=last),
        _loads(symbols=[ENTRY, TABLE, file]),
        _loads(relocations=[(TEXT, 0, 1, 2), (RODATA, 8, 2, 2)]),
        _calls(OTHER),
        _calls(known, text=CALL + EXIT),
    )
    assert all(link(one.encode()) for one in sound)


def test_what_is_filled_in() -> None:
    """An address: where the constant lies plus what stood there. A call: how far, or the number of a syscall."""
    table = _loads(
        text=instruction(0x18, 1, imm=8) + instruction(0) + EXIT,
        rodata=struct.pack("<2Q", 4, 7),
        relocations=[(TEXT, 0, 1, 2), (RODATA, 0, 2, 2)],
    )
    program = link(table.encode())
    rodata, text = program[176:208], program[208:232]
    assert struct.unpack("<4Q", rodata) == (0, 0, 20, 7)
    assert struct.unpack_from("<I4xI", text, 4) == (24, 0)
    call = link(_calls(OTHER).encode())[208:]
    assert struct.unpack_from("<BBhi", call) == (0x85, 0x10, 0, 1)
    known = _calls(("sol_sha256", FUNCTION, UNDEFINED, 0, 0), text=CALL + EXIT)
    assert struct.unpack_from("<BBhI", link(known.encode())[208:]) == (0x85, 0, 0, 0x11F49D86)
