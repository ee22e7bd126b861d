"""Exact decimals, and the scale of a market: lots, and 10**-e USD per lot (MONEY.md)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernels.layouts import NOTIONAL_LIMIT_E6, PRICE_EXP_MAX, PRICE_MAX, PRICE_MIN

_PRICE_EXP_USUAL: Final = 9
_NEAREST_LOW_SQUARED: Final = 9 * 10**15
"""3e8 is the geometric middle of a decade of prices: P is in it where P**2 >= (3e8)**2 / 10."""

_DECIMALS_BITS: Final = 5
MANTISSA_MAX: Final = 10**17
_DECIMALS_MAX: Final = 18
_DIGITS_MAX: Final = 40
_EXPONENT = re.compile(r"[+-]?[0-9.]+[eE][+-]?[0-9]+", re.ASCII)
_MEMO_MAX: Final = 1 << 18


class BadField(ValueError):
    """A text is not what its column must hold. The message is the reason, without file and row."""


def parse_decimal(text: str) -> tuple[int, int]:
    """(mantissa, decimals) of a non-negative decimal, trailing zeros of the fraction dropped; exact.

    Raises BadField for signs, exponents, NaN, spaces, over 17 digits or over 18 decimals.
    """
    whole, dot, fraction = text.partition(".")
    digits = whole + fraction
    if not (whole and digits.isdigit() and digits.isascii()) or (dot and not fraction):
        raise BadField(_why_not_decimal(text))
    if fraction.endswith("0"):
        fraction = fraction.rstrip("0")
        digits = whole + fraction
    mantissa = int(digits) if len(digits) < _DIGITS_MAX else MANTISSA_MAX
    if mantissa >= MANTISSA_MAX or len(fraction) > _DECIMALS_MAX:
        raise BadField(f"{text[:40]!r} has more digits than can be kept exactly")
    return mantissa, len(fraction)


def _why_not_decimal(text: str) -> str:
    shown = repr(text[:40])
    if not text:
        return "is empty"
    if text.strip().lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return f"{shown} is not a number"
    if _EXPONENT.fullmatch(text):
        return f"{shown} has an exponent; write plain decimals"
    if text.startswith("-"):
        return f"{shown} is negative"
    return f"{shown} is not a decimal number"


def pack(mantissa: int, decimals: int) -> int:
    """Mantissa and decimals in one int64, so that a column of exact decimals is one array."""
    return mantissa << _DECIMALS_BITS | decimals


def unpack(packed: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(mantissa, decimals) of packed decimals."""
    return packed >> _DECIMALS_BITS, packed & ((1 << _DECIMALS_BITS) - 1)


class Memo(dict[str, int], ABC):
    """Text to integer by `convert`, remembered. Bounded: forgets everything when it is full.

    `dict.__getitem__` of a known text is C code, which is what makes columns fast to convert.
    """

    @abstractmethod
    def convert(self, text: str) -> int:
        """The integer that `text` stands for. BadField: it stands for none."""

    def __missing__(self, text: str) -> int:
        if len(self) >= _MEMO_MAX:
            self.clear()
        value = self[text] = self.convert(text)
        return value


class PositiveDecimals(Memo):
    """Packed exact decimals above zero."""

    def convert(self, text: str) -> int:
        mantissa, decimals = parse_decimal(text)
        if mantissa == 0:
            raise BadField("is zero")
        return pack(mantissa, decimals)


def choose_price_exp(mantissa: int, decimals: int, lot_exp: int) -> int:
    """The e in 0..9 that puts price * 10**(e - lot_exp) geometrically nearest 3e8; 10 or 11 for small lots.

    Price = mantissa / 10**decimals USD per base. There is no tie: the borders between decades are irrational.
    Beyond 9 only where the price would otherwise be below the scale.
    """
    for e in range(PRICE_EXP_MAX):
        over, under = _at(mantissa, decimals, lot_exp, e)
        near = over * over >= _NEAREST_LOW_SQUARED * under * under
        if near or (e == _PRICE_EXP_USUAL and over >= PRICE_MIN * under):
            return e
    return PRICE_EXP_MAX


def _at(mantissa: int, decimals: int, lot_exp: int, e: int) -> tuple[int, int]:
    """The price at scale e as a fraction (over, under)."""
    shift = e - lot_exp - decimals
    return mantissa * 10 ** max(shift, 0), 10 ** max(-shift, 0)


def rescale(
    packed: NDArray[np.int64], shift: NDArray[np.int64], lowest: int, highest: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(value * 10**shift, bad) of packed decimals: bad where not a whole number in lowest..highest.

    shift, highest: int64[n]. A bad value is 0. Nothing wraps: what would is bad.
    """
    mantissa, decimals = unpack(packed)
    net = shift - decimals
    powers = 10 ** np.arange(19, dtype=np.int64)
    up, down = powers[np.clip(net, 0, 18)], powers[np.clip(-net, 0, 18)]
    whole, rest = np.divmod(mantissa, down)
    bad = (rest != 0) | (np.abs(net) > 18) | (whole > highest // up)
    value = np.where(bad, 0, whole) * up
    bad |= (value < lowest) | (value > highest)
    value[bad] = 0
    return value, bad


def prices(
    packed: NDArray[np.int64], lot_exp: NDArray[np.int64], price_exp: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(price in 10**-e USD per lot, off scale) of packed USD prices per base."""
    return rescale(packed, price_exp - lot_exp, PRICE_MIN, np.full(len(packed), PRICE_MAX))


def lots(
    packed: NDArray[np.int64], lot_exp: NDArray[np.int64], price_exp: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(size in lots, off scale) of packed base sizes; the limit is that of a position in the books."""
    most = np.array([size_max(e) for e in range(PRICE_EXP_MAX + 1)], dtype=np.int64)
    return rescale(packed, lot_exp, 1, most[price_exp])


def size_max(price_exp: int) -> int:
    """Most lots whose worth at the largest on-scale price stays within the books' limit."""
    most: int = NOTIONAL_LIMIT_E6 * 10**price_exp // (PRICE_MAX * 10**6)
    return most


def plain(packed: int) -> str:
    """A packed decimal as text, for messages."""
    mantissa, decimals = packed >> _DECIMALS_BITS, packed & ((1 << _DECIMALS_BITS) - 1)
    digits = str(mantissa).rjust(decimals + 1, "0")
    return digits if decimals == 0 else f"{digits[:-decimals]}.{digits[-decimals:]}"
