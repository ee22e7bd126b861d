"""Writing a program as the strict loader of sBPF v3 wants it: constants, code, then what only people read."""

from __future__ import annotations

import struct
from typing import Final

from relayer.program.linker.elf import (
    EM_BPF,
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHT_PROGBITS,
    SHT_STRTAB,
    SHT_SYMTAB,
    STT_FUNC,
)
from relayer.program.linker.layout import RODATA_START, TEXT_START, Image

SBPF_VERSION: Final = 3
_HEADER_BYTES: Final = 64
_SEGMENT_BYTES: Final = 56
_SECTION_BYTES: Final = 64
_SYMBOL_BYTES: Final = 24
_ET_DYN: Final = 3
_PT_LOAD: Final = 1
_PF_X: Final = 1
_PF_R: Final = 4
_NAMES: Final = ("", ".rodata", ".text", ".symtab", ".strtab", ".shstrtab")


def write_program(image: Image) -> bytes:
    """The bytes of the .so: a function of the image alone."""
    rodata_at = _HEADER_BYTES + 2 * _SEGMENT_BYTES
    text_at = rodata_at + len(image.rodata)
    symbols, strings = _symbols(image)
    section_names = _strings(_NAMES)
    symbols_at = text_at + len(image.text)
    strings_at = symbols_at + len(symbols)
    names_at = strings_at + len(strings)
    end = names_at + len(section_names)
    table_at = end + -end % 8
    places = [
        (0, 0, 0, 0, 0, 0, 0, 0, 0),
        (SHT_PROGBITS, SHF_ALLOC, RODATA_START, rodata_at, len(image.rodata), 0, 0, 8, 0),
        (SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, TEXT_START, text_at, len(image.text), 0, 0, 8, 0),
        (SHT_SYMTAB, 0, 0, symbols_at, len(symbols), 4, 1, 8, _SYMBOL_BYTES),
        (SHT_STRTAB, 0, 0, strings_at, len(strings), 0, 0, 1, 0),
        (SHT_STRTAB, 0, 0, names_at, len(section_names), 0, 0, 1, 0),
    ]
    rows = zip(_offsets(_NAMES), places, strict=True)
    table = b"".join(struct.pack("<IIQQQQIIQQ", name, *row) for name, row in rows)
    return b"".join(
        (
            _header(image.entry, table_at),
            _segment(_PF_R, RODATA_START, rodata_at, len(image.rodata)),
            _segment(_PF_X, TEXT_START, text_at, len(image.text)),
            image.rodata,
            image.text,
            symbols,
            strings,
            section_names,
            bytes(table_at - end),
            table,
        )
    )


def _header(entry: int, table_at: int) -> bytes:
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    sizes = (_HEADER_BYTES, _SEGMENT_BYTES, 2, _SECTION_BYTES, len(_NAMES), len(_NAMES) - 1)
    places = (TEXT_START + entry, _HEADER_BYTES, table_at)
    return struct.pack("<16sHHIQQQIHHHHHH", ident, _ET_DYN, EM_BPF, 1, *places, SBPF_VERSION, *sizes)


def _segment(flags: int, address: int, offset: int, size: int) -> bytes:
    return struct.pack("<IIQQQQQQ", _PT_LOAD, flags, offset, address, address, size, size, 8)


def _symbols(image: Image) -> tuple[bytes, bytes]:
    names = ("", *(function.name for function in image.functions))
    rows = [bytes(_SYMBOL_BYTES)]
    for at, function in zip(_offsets(names)[1:], image.functions, strict=True):
        size = function.end - function.start
        info = 1 << 4 | STT_FUNC
        rows.append(struct.pack("<IBBHQQ", at, info, 0, 2, TEXT_START + function.start, size))
    strings = _strings(names)
    return b"".join(rows), strings + bytes(-len(strings) % 8)


def _strings(names: tuple[str, ...]) -> bytes:
    return b"".join(name.encode() + b"\0" for name in names)


def _offsets(names: tuple[str, ...]) -> list[int]:
    offsets, at = [], 0
    for name in names:
        offsets.append(at)
        at += len(name.encode()) + 1
    return offsets
