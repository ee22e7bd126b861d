"""Drift's published state: index steps and zero sums (R5), payments (R6), whole exchange (R7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from engine.venue import published
from engine.venue.published import Finding
from tests.conformance.data import DataFile
from tests.conformance.harness import Family, Vector


def _claims(kind: str) -> Callable[[DataFile], bool]:
    def claims(file: DataFile) -> bool:
        if file.kind != "table" or published.kind_of(file.header) != kind:
            return False
        return kind != published.MARKETS or published.positions_of(file.path).is_file()

    return claims


def _claims_positions(file: DataFile) -> bool:
    """Read together with its table of markets; counted here so that a lone one is listed as not covered."""
    markets = file.path.with_name(file.name.replace("_positions", "_markets"))
    known = file.kind == "table" and published.kind_of(file.header) == published.POSITIONS
    return known and markets != file.path and markets.is_file()


def _vectors(file: DataFile) -> Iterator[Vector]:
    for finding in published.audit(file.path):
        yield Vector(f"row {finding.row}: {finding.rule}", (file.name, finding))


def _check(vector: tuple[str, Finding]) -> str | None:
    _, finding = vector
    return None if finding.off == 0 else f"off by {finding.off}"


def _check_payment(vector: tuple[str, Finding]) -> str | None:
    """A row may hold several payments, each rounded on its own: within 4 units, exact ones counted."""
    name, finding = vector
    count = _exact.setdefault(name, [0, 0])
    count[0] += finding.off == 0
    count[1] += 1
    return None if abs(finding.off) <= published.PAYMENT_UNITS_MAX else f"off by {finding.off} units"


def _note() -> str:
    exact, rows = (sum(count[k] for count in _exact.values()) for k in (0, 1))
    return f"{exact} of {rows} exact, the rest within {published.PAYMENT_UNITS_MAX} units"


def _position_vectors(file: DataFile) -> Iterator[Vector]:
    markets = file.path.with_name(file.name.replace("_positions", "_markets"))
    told = {(row["ts"], row["market_index"]) for row in DataFile(markets).records()}
    for number, row in enumerate(file.records(), 1):
        yield Vector(f"row {number}", (row["ts"], row["market_index"]) in told)


_exact: dict[str, list[int]] = {}
"""By file: exact payments, payments."""

FAMILIES = [
    Family("R5 drift state", "godark audit", _claims(published.SNAPSHOTS), _vectors, _check),
    Family(
        "R6 drift settlements",
        "godark audit",
        _claims(published.SETTLEMENTS),
        _vectors,
        _check_payment,
        note=_note,
        forget=_exact.clear,
    ),
    Family("R7 drift whole exchange", "godark audit", _claims(published.MARKETS), _vectors, _check),
    Family(
        "R7 drift positions, summed above",
        "godark audit",
        _claims_positions,
        _position_vectors,
        lambda told: None if told else "no market row of that instant",
    ),
]
