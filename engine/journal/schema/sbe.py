"""The SBE schema, made from the layouts of `kernels/frames.py` and the words of this folder.

`godark.xml` beside this file is its output, checked in so that codecs can be generated without Python; a test
compares the two. `godark schema` prints it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import numpy as np

from engine.journal.schema.enums import ENUMS
from engine.journal.schema.messages import COMMON, ENUM_FIELDS, MESSAGES
from kernels import frames as f
from kernels.frames import Template

FILE = Path(__file__).with_name("godark.xml")

_HEADER_BYTES = 8
_TYPE_OF = {"<i8": "i64", "<i4": "i32", "<i2": "i16", "|u1": "flags", "<u4": "crc32c"}
_ENCODING = {"|u1": "uint8", "<i2": "kind16", "<i4": "kind32"}
_TRAILER_IDS = {"seq": 1, "source": 90, "flags": 91, "market": 92, "crc": 93}
_FIRST_PAYLOAD_ID = 10

_HEAD = """\
<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<!--
  The wire and the journal of GoDark: one 64-byte little-endian frame per message.
  8 bytes of header, then a block of 56: seq, 40 bytes of payload, source, flags, market, crc.
  Send frames back to back, with nothing between them. Every frame is 64 bytes long, so a stream is cut
  every 64 bytes and the template id says which message each piece is.
  crc is CRC-32C (Castagnoli) over bytes 0..59 of the frame, header included: encode first, then write it.
  Fields named spare*, and flags where its description says so, are zero, else the frame is refused.
  Template ids 1..31 change state, 32..63 are outputs of the engine, from 64 on they are of the session.
  Layouts never widen; a new meaning is a new template. The twin of this file is kernels/frames.py.
-->
<sbe:messageSchema xmlns:sbe="http://fixprotocol.io/2016/sbe" package="godark" id="{id}" version="{version}" \
semanticVersion="1.0" byteOrder="littleEndian" headerType="messageHeader"
                   description="Frames of the GoDark settlement and funding engine">
  <types>
    <composite name="messageHeader" description="First 8 bytes of every frame">
      <type name="blockLength" primitiveType="uint16" description="Always {block}"/>
      <type name="templateId" primitiveType="uint16" description="Which message"/>
      <type name="schemaId" primitiveType="uint16" description="Always {id}"/>
      <type name="version" primitiveType="uint16" description="Always {version}"/>
    </composite>
    <type name="crc32c" primitiveType="uint32" minValue="0" maxValue="4294967295" \
description="CRC-32C; every value is meant"/>
    <type name="flags" primitiveType="uint8" minValue="0" maxValue="255" \
description="Bits; every value is meant"/>
    <type name="i64" primitiveType="int64" minValue="-9223372036854775808" maxValue="9223372036854775807" \
description="Signed; every value is meant"/>
    <type name="i32" primitiveType="int32" minValue="-2147483648" maxValue="2147483647" \
description="Signed; every value is meant"/>
    <type name="i16" primitiveType="int16" minValue="-32768" maxValue="32767" \
description="Signed; every value is meant"/>
    <type name="kind16" primitiveType="int16" description="Carries enumerations of two bytes"/>
    <type name="kind32" primitiveType="int32" description="Carries enumerations of four bytes"/>
"""


class Field(NamedTuple):
    """One field of a message: its place in the frame of 64 bytes, and the enumeration it carries, if any."""

    name: str
    kind: np.dtype[np.generic]
    offset: int
    enumeration: type[enum.IntEnum] | None
    description: str


def message_name(template: Template) -> str:
    """FREE_COLLATERAL as FreeCollateralFrame."""
    return "".join(part.capitalize() for part in template.name.split("_")) + "Frame"


def fields_of(template: Template) -> list[Field]:
    """Fields of a template behind the header, in their order. KeyError names one without words."""
    own = MESSAGES[template].fields
    dtype = f.DTYPES[template]
    assert dtype.names is not None and dtype.fields is not None
    found = []
    for name in dtype.names[4:]:
        kind, offset = dtype.fields[name][:2]
        carries = f.Source if name == "source" else ENUM_FIELDS.get((template, name))
        if name.startswith("spare"):
            words = "Zero"
        elif name in own or name in COMMON:
            words = own.get(name, COMMON.get(name, ""))
        else:
            raise KeyError(f"{template.name}.{name}: engine/journal/schema/messages.py has no words for it")
        found.append(Field(name, kind, int(offset), carries, words))
    return found


def encoding_of(enumeration: type[enum.IntEnum]) -> np.dtype[np.generic]:
    """How an enumeration lies on the wire: the kind of the first field that carries it."""
    for template in Template:
        for field in fields_of(template):
            if field.enumeration is enumeration:
                return field.kind
    raise KeyError(f"{enumeration.__name__}: no field carries it")


def _enum_lines(enumeration: type[enum.IntEnum]) -> Iterator[str]:
    words = ENUMS[enumeration]
    encoding = _ENCODING[encoding_of(enumeration).str]
    yield (
        f'    <enum name="{enumeration.__name__}" encodingType="{encoding}"'
        f" description={quoteattr(words.description)}>"
    )
    for member in enumeration:
        said = quoteattr(words.values[member.name])
        yield f'      <validValue name="{member.name}" description={said}>{member.value}</validValue>'
    yield "    </enum>"


def _message_lines(template: Template) -> Iterator[str]:
    yield (
        f'  <sbe:message name="{message_name(template)}" id="{int(template)}" blockLength="{f.BLOCK_LENGTH}"'
        f" description={quoteattr(MESSAGES[template].description)}>"
    )
    for place, field in enumerate(fields_of(template)):
        number = _TRAILER_IDS.get(field.name, _FIRST_PAYLOAD_ID + place - 1)
        kind = field.enumeration.__name__ if field.enumeration else _TYPE_OF[field.kind.str]
        yield (
            f'    <field name="{field.name}" id="{number}" type="{kind}" offset="{field.offset - _HEADER_BYTES}"'
            f" description={quoteattr(field.description)}/>"
        )
    yield "  </sbe:message>"


def schema_text() -> str:
    """The whole schema, as `godark.xml` holds it."""
    lines = [_HEAD.format(id=f.SCHEMA_ID, version=f.SCHEMA_VERSION, block=f.BLOCK_LENGTH).rstrip("\n")]
    for enumeration in ENUMS:
        lines += _enum_lines(enumeration)
    lines.append("  </types>")
    for template in Template:
        lines += ["", *_message_lines(template)]
    lines.append("</sbe:messageSchema>\n")
    return "\n".join(lines)
