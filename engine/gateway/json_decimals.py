"""Decimal text and scaled integers, exactly: no float, no rounding, no exponent."""

from __future__ import annotations

import re

_DECIMAL = re.compile(r"(-?)(\d{1,30})(?:\.(\d{1,30}))?", re.ASCII)
INT64_MAX = 2**63 - 1


def parse_decimal(text: str) -> tuple[int, int]:
    """(digits, exponent): the value is digits * 10**exponent, exponent <= 0. ValueError says what a decimal is."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError('must be a decimal in a string, as "66940.3"')
    sign, whole, part = match.groups()
    digits = int(whole + (part or ""))
    return (-digits if sign else digits), -len(part or "")


def scaled(text: str, decimals: int) -> int | None:
    """The value times 10**decimals, or None where that is no int64. ValueError: not a decimal."""
    digits, exponent = parse_decimal(text)
    shift = decimals + exponent
    if shift >= 0:
        value = digits * 10**shift
    else:
        value, rest = divmod(digits, 10**-shift)
        if rest:
            return None
    return value if -INT64_MAX <= value <= INT64_MAX else None


def decimal_text(value: int, decimals: int) -> str:
    """value * 10**-decimals in full, without zeros at its end."""
    if decimals <= 0:
        return str(value * 10**-decimals)
    whole, part = divmod(abs(value), 10**decimals)
    text = f"{whole}.{part:0{decimals}}".rstrip("0").rstrip(".")
    return f"-{text}" if value < 0 else text
