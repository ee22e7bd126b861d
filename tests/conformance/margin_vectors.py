"""What the adapters of the margin families share: numbers through the product's own gate, and the comparison.

A vector's integers pass `engine.app.margin_account.int64`, as those of `godark margin --compare` do; what it
refuses counts as a match only where a number really is beyond int64 or an error is expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from engine.app.margin_account import int64
from engine.common.errors import ParameterError
from tests.conformance.data import DataFile, Malformed
from tests.conformance.harness import REFUSED, Family, Outcome, Vector

REACHES = "godark margin --compare"
Compute = Callable[[dict[str, Any]], dict[str, Any]]


def number(value: Any, field: str) -> int:
    """An integer of a vector, past the product's gate."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise Malformed(f"{field} is no exact number")
    exact = Fraction(Decimal(value)) if isinstance(value, str) else Fraction(value)
    if exact.denominator != 1:
        raise Malformed(f"{field} is no integer")
    return int64(exact.numerator, field)


def numbers(inputs: dict[str, Any], *names: str) -> tuple[int, ...]:
    """The named integers of a vector, in that order."""
    return tuple(number(inputs[name], name) for name in names)


def beyond_int64(value: Any) -> bool:
    """Whether an integer anywhere in `value` is beyond int64."""
    if isinstance(value, dict):
        return any(beyond_int64(item) for item in value.values())
    if isinstance(value, list):
        return any(beyond_int64(item) for item in value)
    if isinstance(value, str):
        try:
            value = Decimal(value)
        except ArithmeticError:
            return False
    return isinstance(value, int | Decimal) and not -(2**63) <= value < 2**63


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bool):
        return value
    return Fraction(Decimal(value)) if isinstance(value, str) else Fraction(value)


def differs(expected: dict[str, Any], ours: dict[str, Any]) -> str | None:
    """What differs between the expected keys and ours, numbers as rationals."""
    for key, value in expected.items():
        if key not in ours:
            return f"{key} is not something the product states"
        if _plain(value) != _plain(ours[key]):
            return f"{key}: expected {value}, ours {ours[key]}"
    return None


def _as_it_is(vector: dict[str, Any]) -> dict[str, Any]:
    return vector


def checked(compute: Compute, restate: Compute = _as_it_is) -> Callable[[dict[str, Any]], Outcome]:
    """The check of a vector whose `inputs` go to `compute`; `restate` first puts `expected` in its terms."""

    def check(vector: dict[str, Any]) -> Outcome:
        expected = vector["expected"]
        must_refuse = expected.get("error") is True
        try:
            ours = compute(vector["inputs"])
        except ParameterError as fault:
            if must_refuse or beyond_int64(vector["inputs"]) or beyond_int64(expected):
                return REFUSED
            return f"refused: {fault.message}"
        if must_refuse:
            return "accepted, must be refused"
        return differs(restate(vector)["expected"], ours)

    return check


def _vectors(file: DataFile) -> Iterator[Vector]:
    for vector in file.document["vectors"]:
        yield Vector(vector["id"], vector)


def family(name: str, kernel: str, compute: Compute, restate: Compute = _as_it_is) -> Family:
    """A family of funding-vectors, recomputed by a kernel that `godark margin --compare` reaches."""

    def claims(file: DataFile) -> bool:
        return file.family == name

    return Family(name, f"{REACHES}: {kernel}", claims, _vectors, checked(compute, restate))
