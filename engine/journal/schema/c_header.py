"""The same frames for C: `engine/gateway/c/godark_frames.h`, made from the layouts and words of the schema.

Structs are laid out by their own alignment; a size or an offset that is off does not compile.
"""

from __future__ import annotations

import enum
import textwrap
from collections.abc import Iterator
from pathlib import Path

from engine.journal.schema.enums import ENUMS, FAULT_ANSWERS
from engine.journal.schema.messages import MESSAGES
from engine.journal.schema.sbe import Field, fields_of
from kernels import frames as f
from kernels.frames import Template

FILE = Path(__file__).resolve().parents[2] / "gateway" / "c" / "godark_frames.h"

_WIDTH = 100
_TYPE_OF = {"<i8": "int64_t", "<i4": "int32_t", "<i2": "int16_t", "|u1": "uint8_t", "<u4": "uint32_t"}
_NAMED = (f.Source, f.Refusal, f.Fault)
"""Enumerations that also get a function from number to name."""

_HEAD = """\
/*
 * godark_frames.h: the 64-byte frames of GoDark for C99 and later. Made by `godark schema --c`: do not edit.
 *
 * The layout is that of a little-endian machine, so a frame is sent and received as it lies in memory.
 * The CRC, encoders and decoders are in godark.h.
 */
#ifndef GODARK_FRAMES_H
#define GODARK_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "godark_frames.h is for little-endian machines; generate a codec from godark.xml instead"
#endif
"""


def _comment(text: str, indent: str = "") -> Iterator[str]:
    lines = textwrap.wrap(text, _WIDTH - len(indent) - 6)
    if len(lines) == 1:
        yield f"{indent}/* {lines[0]} */"
        return
    yield f"{indent}/* {lines[0]}"
    yield from (f"{indent}   {line}" for line in lines[1:-1])
    yield f"{indent}   {lines[-1]} */"


def _snake(name: str) -> str:
    return "".join(f"_{c}" if c.isupper() and k else c for k, c in enumerate(name)).lower()


def _enum_lines(enumeration: type[enum.IntEnum]) -> Iterator[str]:
    words = ENUMS.get(enumeration)  # none for Template: each message has its own
    prefix = f"GD_{_snake(enumeration.__name__).upper()}"
    yield from _comment(words.description if words else "Template ids: which message a frame is")
    yield "enum {"
    for member in enumeration:
        said = words.values[member.name] if words else MESSAGES[Template(member)].description
        if enumeration is f.Fault:
            said = f"{said}. What to do: {FAULT_ANSWERS[f.Fault(member)]}"
        yield from _comment(said, "    ")
        yield f"    {prefix}_{member.name} = {member.value},"
    yield "};"


def _name_lines(enumeration: type[enum.IntEnum]) -> Iterator[str]:
    prefix = _snake(enumeration.__name__)
    yield from _comment(f'Name of a number of this enumeration, "?" for one that is not known: {prefix}')
    yield f"static inline const char *gd_{prefix}_name(int64_t number) {{"
    yield "    switch (number) {"
    for member in enumeration:
        yield f'    case {member.value}: return "{member.name}";'
    yield '    default: return "?";'
    yield "    }"
    yield "}"


def struct_name(template: Template) -> str:
    """FREE_COLLATERAL as gd_free_collateral."""
    return f"gd_{template.name.lower()}"


def _struct_lines(template: Template) -> Iterator[str]:
    name = struct_name(template)
    yield from _comment(MESSAGES[template].description)
    yield f"typedef struct {name} {{"
    yield "    uint16_t block_length, template_id, schema, version;"
    fields = fields_of(template)
    for field in fields:
        yield from _field_lines(field)
    yield f"}} {name};"
    yield f"GD_ASSERT({name}_bytes, sizeof({name}) == GD_FRAME_BYTES);"
    for field in fields:
        yield f"GD_ASSERT({name}_{field.name}, offsetof({name}, {field.name}) == {field.offset});"


def _field_lines(field: Field) -> Iterator[str]:
    said = field.description
    if field.enumeration is not None and field.name != "source":
        said += f". One of GD_{_snake(field.enumeration.__name__).upper()}_*"
    yield from _comment(said, "    ")
    yield f"    {_TYPE_OF[field.kind.str]} {field.name};"


def _union_lines() -> Iterator[str]:
    yield "/* A frame of any template; template_id of any member says which one it is. */"
    yield "typedef union gd_frame {"
    yield from (f"    {struct_name(t)} {t.name.lower()};" for t in Template)
    yield "    uint8_t bytes[GD_FRAME_BYTES];"
    yield "    uint64_t words[8];"
    yield "} gd_frame;"
    yield "GD_ASSERT(gd_frame_bytes, sizeof(gd_frame) == GD_FRAME_BYTES);"


def header_text() -> str:
    """The whole header, as `engine/gateway/c/godark_frames.h` holds it."""
    blocks = [
        _HEAD.rstrip("\n").split("\n"),
        [
            f"#define GD_FRAME_BYTES {f.FRAME_BYTES}",
            f"#define GD_BLOCK_LENGTH {f.BLOCK_LENGTH}",
            f"#define GD_SCHEMA_ID {f.SCHEMA_ID}",
            f"#define GD_SCHEMA_VERSION {f.SCHEMA_VERSION}",
            "/* In last_output of a hello: this session wants no outputs. */",
            "#define GD_NO_OUTPUTS (-1)",
            "#define GD_ASSERT(name, holds) typedef char gd_assert_##name[(holds) ? 1 : -1]",
        ],
        ['#ifdef __cplusplus', 'extern "C" {', "#endif"],
        list(_enum_lines(Template)),
        *(list(_enum_lines(e)) for e in ENUMS),
        *(list(_name_lines(e)) for e in (Template, *_NAMED)),
        *(list(_struct_lines(t)) for t in Template),
        list(_union_lines()),
        ["#ifdef __cplusplus", "}", "#endif", "#endif"],
    ]  # fmt: skip
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"
