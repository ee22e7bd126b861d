"""Reading a relocatable ELF object: sections, symbols, relocations, every bound checked."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from engine.common.errors import LinkError

SHT_PROGBITS: Final = 1
SHT_SYMTAB: Final = 2
SHT_STRTAB: Final = 3
SHT_RELA: Final = 4
SHT_NOBITS: Final = 8
SHT_REL: Final = 9
SHF_WRITE: Final = 1
SHF_ALLOC: Final = 2
SHF_EXECINSTR: Final = 4
SHN_UNDEF: Final = 0
SHN_RESERVED: Final = 0xFF00
STT_FUNC: Final = 2
STT_FILE: Final = 4
EM_BPF: Final = 247

_ET_REL: Final = 1
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_RELOCATION: Final = struct.Struct("<QQ")
_IDENT: Final = b"\x7fELF\x02\x01\x01" + bytes(9)
_ALIGN_MAX: Final = 4096


class Section(NamedTuple):
    """One section. `size` is that in memory: of NOBITS, `data` is empty."""

    name: str
    kind: int
    flags: int
    data: bytes
    size: int
    link: int
    info: int
    align: int


class Symbol(NamedTuple):
    """One symbol; `value` is an offset in its section."""

    name: str
    kind: int
    section: int
    value: int
    size: int


class Relocation(NamedTuple):
    """Something to be filled in at `offset` of section `target`."""

    target: int
    offset: int
    kind: int
    symbol: int


@dataclass(frozen=True, slots=True)
class ElfObject:
    """What an object holds, indices as in the file."""

    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    relocations: tuple[Relocation, ...]


def refuse(reason: str, place: str, message: str) -> LinkError:
    """The error to raise: `reason` is one of the linker's few words, `place` where in the program."""
    return LinkError(f"{place}: {message}", reason=reason, place=place)


def read_object(data: bytes) -> ElfObject:
    """Parse a 64-bit little-endian relocatable BPF object. Raises LinkError, reason `object`."""
    if len(data) < _HEADER.size:
        raise _broken("header", "shorter than an ELF header")
    ident, kind, machine, version, _, _, shoff, _, _, _, _, shentsize, shnum, shstrndx = _HEADER.unpack_from(
        data
    )
    if ident != _IDENT or kind != _ET_REL or machine != EM_BPF or version != 1 or shentsize != _SECTION.size:
        raise _broken("header", "not a relocatable little-endian BPF object")
    raw = [
        _SECTION.unpack(_cut(data, shoff + k * _SECTION.size, _SECTION.size, f"section header {k}"))
        for k in range(shnum)
    ]
    if shstrndx >= shnum:
        raise _broken("header", "no table of section names")
    names = _cut(data, raw[shstrndx][4], raw[shstrndx][5], "section names")
    sections = tuple(_section(data, row, names) for row in raw)
    tables = [section for section in sections if section.kind == SHT_SYMTAB]
    if len(tables) != 1:
        raise _broken("sections", f"{len(tables)} symbol tables, not one")
    symbols = _symbols(tables[0], sections)
    return ElfObject(sections, symbols, _relocations(sections, symbols))


def _section(data: bytes, row: tuple[int, ...], names: bytes) -> Section:
    name_at, kind, flags, _, offset, size, link, info, align, _ = row
    name = _text(names, name_at)
    if align > _ALIGN_MAX or align & (align - 1):
        raise _broken(name, f"alignment {align}")
    body = b"" if kind in (SHT_NOBITS, 0) else _cut(data, offset, size, name)
    return Section(name, kind, flags, body, size, link, info, align or 1)


def _symbols(table: Section, sections: tuple[Section, ...]) -> tuple[Symbol, ...]:
    if table.link >= len(sections) or len(table.data) % _SYMBOL.size:
        raise _broken(table.name, "the symbol table is damaged")
    names = sections[table.link].data
    symbols = []
    for name_at, info, _, index, value, size in _SYMBOL.iter_unpack(table.data):
        name = _text(names, name_at)
        if index < SHN_RESERVED:
            if index >= len(sections) or (index and value + size > sections[index].size):
                raise _broken(name or table.name, "a symbol outside of its section")
        symbols.append(Symbol(name, info & 15, index, value, size))
    return tuple(symbols)


def _relocations(sections: tuple[Section, ...], symbols: tuple[Symbol, ...]) -> tuple[Relocation, ...]:
    found = []
    for section in sections:
        if section.kind == SHT_RELA:
            raise _broken(section.name, "relocations with addends are not known")
        if section.kind != SHT_REL:
            continue
        if section.info >= len(sections) or len(section.data) % _RELOCATION.size:
            raise _broken(section.name, "the relocation table is damaged")
        for offset, info in _RELOCATION.iter_unpack(section.data):
            if info >> 32 >= len(symbols) or offset >= sections[section.info].size:
                raise _broken(section.name, "a relocation outside of its section or symbols")
            found.append(Relocation(section.info, offset, info & 0xFFFFFFFF, info >> 32))
    return tuple(found)


def _cut(data: bytes, offset: int, size: int, place: str) -> bytes:
    if offset + size > len(data):
        raise _broken(place, "ends behind the end of the file")
    return data[offset : offset + size]


def _text(table: bytes, offset: int) -> str:
    end = table.find(b"\0", offset)
    if offset > len(table) or end < 0:
        raise _broken("names", "a name without an end")
    return table[offset:end].decode("ascii", "backslashreplace")


def _broken(place: str, message: str) -> LinkError:
    return refuse("object", place, message)
