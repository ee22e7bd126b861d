"""Placing an object's code and constants in the machine's memory, and filling in what refers to them."""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final, NamedTuple

from relayer.program.linker.elf import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHF_WRITE,
    SHN_RESERVED,
    SHN_UNDEF,
    SHT_PROGBITS,
    STT_FILE,
    STT_FUNC,
    ElfObject,
    Relocation,
    Symbol,
    refuse,
)
from relayer.program.linker.syscalls import SYSCALLS

RODATA_START: Final = 0
TEXT_START: Final = 1 << 32
NULL_GUARD_BYTES: Final = 16
"""Constants begin here: nothing that a program may point at has the address of a null pointer."""
RODATA_LIMIT: Final = 1 << 20

R_BPF_64_64: Final = 1
R_BPF_64_ABS64: Final = 2
R_BPF_64_32: Final = 10

_INSTRUCTION: Final = 8
_LOAD_CONSTANT: Final = 0x18
_CALL: Final = 0x85
_WORD: Final = 1 << 64


class Function(NamedTuple):
    """A function: bytes [start, end) of the code."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Image:
    """A program laid out: constants from address 0, code from 2^32. Both a multiple of 8 bytes long."""

    rodata: bytes
    text: bytes
    functions: tuple[Function, ...]
    entry: int

    def place(self, offset: int) -> str:
        """Where in the code, for a person: function + offset."""
        at = bisect_right([function.start for function in self.functions], offset) - 1
        if at < 0:
            return f".text+0x{offset:x}"
        return f"{self.functions[at].name}+0x{offset - self.functions[at].start:x}"


def lay_out(source: ElfObject, entry: str) -> Image:
    """Place and relocate. Raises LinkError; reasons: section, mutable_global, function, entry, relocation,
    function_pointer, undefined, syscall.
    """
    text_at = _text_section(source)
    functions = _functions(source, text_at)
    rodata, places = _rodata(source, text_at)
    text = bytearray(source.sections[text_at].data)
    starts = [function.start for function in functions if function.name == entry]
    if len(starts) != 1:
        raise refuse("entry", entry, "no such function to begin with")
    image = Image(b"", b"", functions, starts[0])
    filled: set[tuple[int, int]] = set()
    for relocation in source.relocations:
        target = source.sections[relocation.target]
        if not target.flags & SHF_ALLOC:
            continue
        if (relocation.target, relocation.offset) in filled:
            raise refuse("relocation", target.name, f"two relocations at 0x{relocation.offset:x}")
        filled.add((relocation.target, relocation.offset))
        symbol = source.symbols[relocation.symbol]
        if relocation.target != text_at:
            _relocate_constant(source, relocation, symbol, rodata, places)
        elif relocation.kind == R_BPF_64_32:
            _relocate_call(image, relocation.offset, symbol, text, text_at)
        elif relocation.kind == R_BPF_64_64:
            _relocate_load(source, image, relocation.offset, symbol, text, places)
        else:
            raise refuse("relocation", image.place(relocation.offset), f"unknown kind {relocation.kind}")
    return Image(bytes(rodata), bytes(text), functions, starts[0])


def _text_section(source: ElfObject) -> int:
    found = [k for k, s in enumerate(source.sections) if s.flags & SHF_EXECINSTR and s.size]
    if len(found) != 1 or source.sections[found[0]].name != ".text":
        names = ", ".join(source.sections[k].name for k in found) or "none"
        raise refuse("section", ".text", f"code must be in this one section, found: {names}")
    text = source.sections[found[0]]
    if text.flags & SHF_WRITE or text.kind != SHT_PROGBITS or text.size % _INSTRUCTION:
        raise refuse("section", ".text", "writable, without content, or not whole instructions")
    return found[0]


def _functions(source: ElfObject, text_at: int) -> tuple[Function, ...]:
    """The functions, which must cover the code from end to end."""
    text = source.sections[text_at]
    rows = sorted((s.value, s.value + s.size, s.name) for s in _symbols_of(source, text_at))
    at = 0
    for start, end, name in rows:
        if start != at or end == start or end % _INSTRUCTION:
            raise refuse("function", name, f"begins at 0x{start:x}, code without a function at 0x{at:x}")
        at = end
    if at != text.size:
        raise refuse("function", ".text", f"code without a function at 0x{at:x}")
    return tuple(Function(name, start, end) for start, end, name in rows)


def _symbols_of(source: ElfObject, section: int) -> list[Symbol]:
    return [s for s in source.symbols if s.section == section and s.kind == STT_FUNC]


def _rodata(source: ElfObject, text_at: int) -> tuple[bytearray, dict[int, int]]:
    """All constants in one piece, and the address of each section that holds some."""
    for symbol in source.symbols:
        if symbol.section >= SHN_RESERVED and symbol.kind != STT_FILE:
            raise refuse("mutable_global", symbol.name, "a common or absolute symbol")
    rodata, places = bytearray(NULL_GUARD_BYTES), {}
    for k, section in enumerate(source.sections):
        if not section.flags & SHF_ALLOC or k == text_at or not section.size:
            continue
        if section.flags & SHF_WRITE:
            names = [s.name for s in source.symbols if s.section == k and s.name]
            raise refuse("mutable_global", names[0] if names else section.name, f"lies in {section.name}")
        if section.kind != SHT_PROGBITS or not section.name.startswith(".rodata"):
            raise refuse("section", section.name, "not known: only .text and .rodata are loaded")
        rodata += bytes(-len(rodata) % max(section.align, _INSTRUCTION))
        places[k] = RODATA_START + len(rodata)
        rodata += section.data
    rodata += bytes(-len(rodata) % _INSTRUCTION)
    if len(rodata) > RODATA_LIMIT:
        raise refuse("section", ".rodata", f"{len(rodata)} bytes of constants, {RODATA_LIMIT} are the most")
    return rodata, places


def _address(source: ElfObject, symbol: Symbol, addend: int, places: dict[int, int], place: str) -> int:
    """The address of a constant. What is no constant is refused by its name."""
    if symbol.section == SHN_UNDEF:
        raise refuse("undefined", place, f"{symbol.name} is defined nowhere")
    if symbol.section not in places:
        if source.sections[symbol.section].flags & SHF_EXECINSTR:
            raise refuse("function_pointer", place, f"takes the address of code ({symbol.name or '.text'})")
        raise refuse("relocation", place, f"refers to {source.sections[symbol.section].name}")
    offset = symbol.value + addend
    if not 0 <= offset <= source.sections[symbol.section].size:
        raise refuse("relocation", place, f"points outside of {source.sections[symbol.section].name}")
    return places[symbol.section] + offset


def _relocate_constant(
    source: ElfObject, relocation: Relocation, symbol: Symbol, rodata: bytearray, places: dict[int, int]
) -> None:
    section = source.sections[relocation.target]
    place = f"{section.name}+0x{relocation.offset:x}"
    if relocation.kind != R_BPF_64_ABS64 or relocation.offset + 8 > section.size:
        raise refuse("relocation", place, f"unknown kind {relocation.kind}")
    at = places[relocation.target] + relocation.offset - RODATA_START
    (addend,) = struct.unpack_from("<q", rodata, at)
    struct.pack_into("<Q", rodata, at, _address(source, symbol, addend, places, place))


def _relocate_load(
    source: ElfObject,
    image: Image,
    offset: int,
    symbol: Symbol,
    text: bytearray,
    places: dict[int, int],
) -> None:
    place = image.place(offset)
    if offset % _INSTRUCTION or offset + 16 > len(text) or text[offset] != _LOAD_CONSTANT:
        raise refuse("relocation", place, "an address is filled in where none is loaded")
    low, high = struct.unpack_from("<I4xI", text, offset + 4)
    addend = (low | high << 32) - (_WORD if high >> 31 else 0)
    address = _address(source, symbol, addend, places, place)
    struct.pack_into("<I4xI", text, offset + 4, address & 0xFFFFFFFF, address >> 32)


def _relocate_call(image: Image, offset: int, symbol: Symbol, text: bytearray, text_at: int) -> None:
    """A call of a function of ours becomes relative, one of anything else the number of a syscall."""
    place = image.place(offset)
    if offset % _INSTRUCTION or text[offset] != _CALL:
        raise refuse("relocation", place, "a call is filled in where none is made")
    if symbol.section == SHN_UNDEF:
        if symbol.name not in SYSCALLS:
            raise refuse("syscall", place, f"calls {symbol.name}, which is no syscall that we know")
        struct.pack_into("<BBhI", text, offset, _CALL, 0, 0, SYSCALLS[symbol.name])
        return
    if symbol.section != text_at:
        raise refuse("relocation", place, f"calls {symbol.name}, which is not code")
    (addend,) = struct.unpack_from("<i", text, offset + 4)
    target = symbol.value + (addend + 1) * _INSTRUCTION
    struct.pack_into("<BBhi", text, offset, _CALL, 0x10, 0, (target - offset) // _INSTRUCTION - 1)
