"""Frames as named tuples of Python integers, and back: read off the layouts by `struct`, not by numpy."""

from __future__ import annotations

import struct
from collections import namedtuple
from typing import Any

from kernels.frames import (
    BLOCK_LENGTH,
    HEADER,
    PAYLOADS,
    SCHEMA_ID,
    SCHEMA_VERSION,
    TRAILER,
    Source,
    Template,
)

_CODES = {"u1": "B", "<u2": "H", "<i2": "h", "<u4": "I", "<i4": "i", "<i8": "q"}


def _format(fields: list[tuple[str, str]]) -> str:
    return "".join(_CODES[kind] for _, kind in fields)


_FIELDS = {template: [*HEADER, *payload, *TRAILER] for template, payload in PAYLOADS.items()}
_STRUCTS = {template: struct.Struct("<" + _format(fields)) for template, fields in _FIELDS.items()}
_TUPLES: dict[Template, Any] = {
    template: namedtuple(f"{template.name.title()}Frame", [name for name, _ in fields])
    for template, fields in _FIELDS.items()
}
_HEAD = struct.Struct("<2xH4xq40xBBhI")


def head_of(frame: bytes) -> tuple[int, int, int, int]:
    """(template, seq, source, market) of any frame."""
    template, seq, source, _, market, _ = _HEAD.unpack(frame)
    return template, seq, source, market


def decode(template: Template, frame: bytes) -> Any:
    """The frame's fields by name, as in `frames.PAYLOADS`."""
    return _TUPLES[template]._make(_STRUCTS[template].unpack(frame))


def encode(template: Template, seq: int, market: int, *payload: int) -> bytes:
    """A frame of the engine with these payload fields, spare ones included; its CRC is left zero."""
    return _STRUCTS[template].pack(
        BLOCK_LENGTH,
        template,
        SCHEMA_ID,
        SCHEMA_VERSION,
        seq,
        *payload,
        Source.ENGINE,
        0,
        market,
        0,
    )
