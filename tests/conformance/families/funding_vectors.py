"""Vectors of other venues' own tests and documents: the answers of `godark funding --calculate`."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from engine.app.funding_calculator import FORMULAS, I64_MAX, I64_MIN, Refused, calculate
from tests.conformance.data import DataFile
from tests.conformance.harness import REFUSED, Family, Outcome, Vector


def vectors_of(file: DataFile) -> Iterator[Vector]:
    """The vectors of a document, each with the name of its family."""
    for vector in file.document["vectors"]:
        yield Vector(vector["id"], (file.document["family"], vector["inputs"], vector["expected"]))


def exceeds_int64(value: Any) -> bool:
    """Whether any integer in a JSON value does not fit 64 bits."""
    if isinstance(value, dict):
        return any(exceeds_int64(inner) for inner in value.values())
    if isinstance(value, list):
        return any(exceeds_int64(inner) for inner in value)
    return isinstance(value, int) and not I64_MIN <= value <= I64_MAX


def same(ours: Any, published: Any) -> bool:
    """Equal as rationals, item by item."""
    if isinstance(published, list):
        return (
            isinstance(ours, list)
            and len(ours) == len(published)
            and all(same(a, b) for a, b in zip(ours, published, strict=True))
        )
    if isinstance(published, dict):
        return (
            isinstance(ours, dict)
            and set(ours) == set(published)
            and all(same(ours[k], v) for k, v in published.items())
        )
    return Fraction(ours) == Fraction(published)


def difference(ours: dict[str, Any], published: dict[str, Any]) -> str | None:
    """The first key that differs; a fraction is compared as a whole."""
    ours, published = dict(ours), dict(published)
    for name in {key.removesuffix("_num") for key in published if key.endswith("_num")}:
        if isinstance(published[f"{name}_num"], list):
            continue
        for side in (ours, published):
            side[name] = str(Fraction(side.pop(f"{name}_num"), side.pop(f"{name}_den")))
    for key, value in published.items():
        if key not in ours or not same(ours[key], value):
            return f"{key}: published {value}, ours {ours.get(key)}"
    return None


def check(content: tuple[str, dict[str, Any], dict[str, Any]]) -> Outcome:
    """Recompute one vector; what must be refused, must be, and is counted apart."""
    formula, inputs, expected = content
    must = expected.get("error") is True or exceeds_int64(inputs) or exceeds_int64(expected)
    try:
        ours = calculate(formula, inputs)
    except Refused as refusal:
        return REFUSED if must else f"refused: {refusal}"
    return "answered, must be refused" if must else difference(ours, expected)


def _claims(family: str) -> Any:
    return lambda file: file.family == family


FAMILIES = [
    Family(name, f"godark funding --calculate {name}", _claims(name), vectors_of, check) for name in FORMULAS
]
