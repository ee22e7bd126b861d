"""Objects put together by hand: what clang would not write, and what runs where it is not."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

FUNCTION, OBJECT, SECTION, FILE = 2, 1, 3, 4
PROGBITS, SYMTAB, STRTAB, RELA, NOBITS, REL = 1, 2, 3, 4, 8, 9
WRITE, ALLOC, EXEC = 1, 2, 4
TEXT, RODATA, UNDEFINED = 1, 2, 0


def instruction(opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """Eight bytes of code."""
    return struct.pack("<BBhI", opcode, dst | src << 4, off, imm & 0xFFFFFFFF)


EXIT = instruction(0x95)
LOAD = instruction(0x18, 1) + instruction(0)
CALL = instruction(0x85, 0, 1, 0, -1)


@dataclass
class Handmade:
    """Code in section 1, constants in section 2; symbols (name, kind, section, value, size) from number 1 on;
    relocations (section, offset, kind, symbol)."""

    text: bytes = EXIT
    rodata: bytes = bytes(16)
    symbols: list[tuple[str, int, int, int, int]] = field(default_factory=list)
    relocations: list[tuple[int, int, int, int]] = field(default_factory=list)
    text_flags: int = ALLOC | EXEC
    text_name: str = ".text"
    rodata_name: str = ".rodata"
    rodata_kind: int = PROGBITS
    rodata_flags: int = ALLOC
    rodata_align: int = 8
    relocation_kind: int = REL
    machine: int = 247

    def encode(self) -> bytes:
        """The bytes of the file."""
        symbols = self.symbols or [("entrypoint", FUNCTION, TEXT, 0, len(self.text))]
        strings, rows = b"\0", [bytes(24)]
        for name, kind, section, value, size in symbols:
            rows.append(struct.pack("<IBBHQQ", len(strings), 16 | kind, 0, section, value, size))
            strings += name.encode() + b"\0"
        tables = [
            b"".join(
                struct.pack("<QQ", at, kind | symbol << 32)
                for to, at, kind, symbol in self.relocations
                if to == k
            )
            for k in (TEXT, RODATA)
        ]
        names = [
            "",
            self.text_name,
            self.rodata_name,
            ".symtab",
            ".strtab",
            ".rel.text",
            ".rel.rodata",
            ".shstrtab",
        ]
        offsets = [len("\0".join(names[:k])) + (k > 0) for k in range(len(names))]
        bodies = [
            b"",
            self.text,
            self.rodata,
            b"".join(rows),
            strings,
            *tables,
            "\0".join(names).encode() + b"\0",
        ]
        heads = [
            (0, 0, 0, 0, 0),
            (PROGBITS, self.text_flags, 0, 0, 8),
            (self.rodata_kind, self.rodata_flags, 0, 0, self.rodata_align),
            (SYMTAB, 0, 4, 1, 8),
            (STRTAB, 0, 0, 0, 1),
            (self.relocation_kind, 0, 3, TEXT, 8),
            (self.relocation_kind, 0, 3, RODATA, 8),
            (STRTAB, 0, 0, 0, 1),
        ]
        at, table = 64, b""
        for name, body, (kind, flags, link, info, align) in zip(offsets, bodies, heads, strict=True):
            table += struct.pack("<IIQQQQIIQQ", name, kind, flags, 0, at, len(body), link, info, align, 0)
            at += len(body)
        ident = b"\x7fELF\x02\x01\x01" + bytes(9)
        counts = (64, 0, 0, 64, len(heads), len(heads) - 1)
        return (
            struct.pack("<16sHHIQQQIHHHHHH", ident, 1, self.machine, 1, 0, 0, at, 0, *counts)
            + b"".join(bodies)
            + table
        )
