"""Order books: Binance captures rebuilt against bookTicker (R9), dYdX's premium from a book."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.common.errors import InputFileError
from engine.venue.orderbook import Check, Rebuilt, read_events, rebuild
from kernels import orderbook
from tests.conformance.data import DataFile, Malformed
from tests.conformance.harness import REFUSED, Family, Outcome, Vector

_RAW = re.compile(r"binance_.+_raw_.+", re.ASCII)
_I64 = 1 << 63


def _claims_raw(file: DataFile) -> bool:
    """A capture with a bookTicker stream whose book can be rebuilt: from itself, or from one it continues."""
    if file.kind != "lines" or not _RAW.match(file.name):
        return False
    return any(event.kind == "ticker" for event in _safe(file.path)) and _chain(file.path) is not None


def _safe(path: Path) -> Iterator[Any]:
    """Events of a file as far as it is whole; what is wrong with it is told when it is checked."""
    try:
        yield from read_events(path)
    except InputFileError as fault:
        row = fault.context["row"]
        where = "" if row is None else f"row {row}: "
        raise Malformed(f"{where}{fault.context['reason']}") from fault


def _chain(path: Path) -> list[Path] | None:
    """The files of a book up to this one: from the newest of its stem that has a snapshot before updates."""
    stem = path.name.partition("_raw_")[0]
    before = sorted(
        p for p in path.parent.iterdir() if p.name.startswith(f"{stem}_raw_") and p.name <= path.name
    )
    for start in range(len(before) - 1, -1, -1):
        if any(event.kind == "snapshot" for event in _safe(before[start])):
            return before[start:]
    return None


def _raw_vectors(file: DataFile) -> Iterator[Vector]:
    paths = _chain(file.path)
    if paths is None:
        raise Malformed("no snapshot to start from")
    rebuilt = Rebuilt()
    for path in paths[:-1]:
        for _ in rebuild([path], rebuilt):
            pass
    yield Vector("sequence before", (0, rebuilt.gaps))
    before = rebuilt.gaps
    for _, check in rebuild(paths[-1:], rebuilt):
        if check is not None:
            yield Vector(f"row {check.row}", check)
    yield Vector("sequence", (before, rebuilt.gaps))


def _raw_check(vector: Check | tuple[int, int]) -> str | None:
    if not isinstance(vector, Check):
        before, after = vector
        return None if before == after else f"{after - before} updates missing"
    if vector.published == vector.rebuilt:
        return None
    return f"published {vector.published}, rebuilt {vector.rebuilt}"


def _dydx_vectors(file: DataFile) -> Iterator[Vector]:
    for vector in file.document["vectors"]:
        yield Vector(vector["id"], (vector["inputs"], vector["expected"]))


def _dydx_check(vector: tuple[dict[str, Any], dict[str, Any]]) -> Outcome:
    """A refusal is right where an error is expected, or an integer is beyond int64 and so no kernel input."""
    inputs, expected = vector
    names = (
        "index_price_subticks",
        "impact_notional_quote",
        "quantum_conversion_exponent",
        "max_abs_premium_ppm",
    )
    values = [inputs[name] for name in names]
    rows = [(orderbook.BIDS, *level) for level in inputs["bids"]]
    rows += [(orderbook.ASKS, *level) for level in inputs["asks"]]
    if any(not -_I64 <= value < _I64 for row in [values, *rows] for value in row):
        return REFUSED
    levels = np.zeros((2, max(1, len(rows)), 2), np.int64)
    book = np.zeros(1, orderbook.BOOK)
    status = orderbook.apply_snapshot(levels, book[0], np.array(rows, np.int64).reshape(-1, 3), 1)
    value, ok = orderbook.book_premium_ppm(levels, book[0], *values)
    refused = ok == 0 or status != orderbook.APPLIED
    if expected.get("error"):
        return REFUSED if refused else f"priced at {value} ppm, must be refused"
    if refused:
        return "refused, must be priced"
    published = expected["premium_ppm"]
    return None if value == published else f"published {published} ppm, ours {value}"


FAMILIES = [
    Family("R9 binance books", "godark book", _claims_raw, _raw_vectors, _raw_check),
    Family(
        "dydx premium from a book",
        "godark book --premium dydx",
        lambda file: file.family == "dydx_premium_from_book",
        _dydx_vectors,
        _dydx_check,
    ),
]
