"""Finds the family of each file, checks its vectors, and reports. Adapters are in `families/`.

A vector passes only if the product's code gave what it says; whatever else happens, an exception in an
adapter or in the product included, is a failure with a line that names it.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from engine.common.errors import InputFileError
from tests.conformance.data import DataFile, Malformed
from tests.conformance.not_covered import reason_of

DOCUMENTATION = {".md", ".txt", ".rst"}


class Vector(NamedTuple):
    """One published case; `label` finds it in its file."""

    label: str
    content: Any


class Refusal:
    """The product refused a vector that it must refuse: a match, counted apart."""


REFUSED = Refusal()


class LeftOut(NamedTuple):
    """A row that no rule covers, and why: neither passed nor failed, but told."""

    reason: str


Outcome = str | Refusal | LeftOut | None


@dataclass(frozen=True)
class Family:
    """How one kind of data is recognised, taken apart and recomputed.

    `check` returns None where the product agrees, REFUSED where it rightly refused, LeftOut where no rule
    covers the vector, else what differs.
    `reaches` names the product command or module that is exercised; `requires` names modules without which
    the family is not covered yet.
    """

    name: str
    reaches: str
    claims: Callable[[DataFile], bool]
    vectors: Callable[[DataFile], Iterable[Vector]]
    check: Callable[[Any], Outcome]
    requires: tuple[str, ...] = ()
    note: Callable[[], str] = str
    """What the report adds below the line of the family, once its files were checked."""
    forget: Callable[[], object] = str
    """Called before a run: what `note` was to tell of an earlier one goes."""

    def missing(self) -> str | None:
        """The first required module that does not exist."""
        return next((name for name in self.requires if not _exists(name)), None)


@dataclass
class Tally:
    """What came out of one family."""

    reaches: str
    matched: int = 0
    total: int = 0
    refused: int = 0
    first_mismatch: str | None = None
    note: Callable[[], str] = str
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Vectors without a rule, by file and reason."""

    def count(self, where: str, outcome: Outcome) -> None:
        if isinstance(outcome, LeftOut):
            self.left_out[where.partition(": ")[0], outcome.reason] += 1
            return
        self.total += 1
        self.matched += not isinstance(outcome, str)
        self.refused += isinstance(outcome, Refusal)
        if isinstance(outcome, str) and self.first_mismatch is None:
            self.first_mismatch = f"{where}: {outcome}"


@dataclass
class Report:
    """What came out of a run."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    malformed: list[str] = field(default_factory=list)
    not_covered: list[str] = field(default_factory=list)

    @property
    def passed(self) -> int:
        return sum(tally.matched for tally in self.tallies.values())

    @property
    def failed(self) -> int:
        return sum(tally.total - tally.matched for tally in self.tallies.values()) + len(self.malformed)

    def lines(self) -> Iterator[str]:
        """The report, its last line the sum."""
        for name in sorted(name for name, tally in self.tallies.items() if tally.total):
            tally = self.tallies[name]
            apart = f", {tally.refused} by refusal" if tally.refused else ""
            yield f"{name} {tally.matched}/{tally.total}{apart} ({tally.reaches})"
            if tally.first_mismatch is not None:
                yield f"  first mismatch: {tally.first_mismatch}"
            if tally.note():
                yield f"  {tally.note()}"
        yield from (f"malformed: {line}" for line in self.malformed)
        told = [
            f"{file}: {count} of its vectors: {reason}"
            for tally in self.tallies.values()
            for (file, reason), count in tally.left_out.items()
        ]
        yield from (f"not covered: {line}" for line in sorted([*self.not_covered, *told]))
        yield f"{self.passed} passed, {self.failed} failed"


def load_families() -> list[Family]:
    """Every Family in the FAMILIES of a module of `tests.conformance.families`, by module name."""
    package = importlib.import_module("tests.conformance.families")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    families = [family for module in modules for family in module.FAMILIES]
    if len({family.name for family in families}) != len(families):
        raise ValueError("two conformance families have one name")
    return families


def files_below(root: Path) -> Iterator[Path]:
    """The data files of a directory, sorted, no documentation, no hidden ones; or the one file itself."""
    if root.is_file():
        yield root
        return
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.is_file() and not hidden and path.suffix not in DOCUMENTATION:
            yield path


def run(roots: Iterable[Path], families: list[Family] | None = None) -> Report:
    """Check every file below the roots."""
    known = load_families() if families is None else families
    for family in known:
        family.forget()
    report = Report()
    for root in roots:
        for path in files_below(root):
            shown = str(path.relative_to(root)) if path != root else path.name
            try:
                _check_file(DataFile(path), shown, known, report)
            except Malformed as fault:
                report.malformed.append(f"{shown}: {fault}")
    return report


def _check_file(file: DataFile, shown: str, known: list[Family], report: Report) -> None:
    reason = reason_of(file)  # also parses a document, so that a malformed one fails whoever claims it
    family = next((candidate for candidate in known if candidate.claims(file)), None)
    if family is None:
        file.drain()
        report.not_covered.append(f"{shown}: {reason}")
        return
    absent = family.missing()
    if absent is not None:
        report.not_covered.append(f"{shown}: {family.name} needs {absent}")
        return
    tally = report.tallies.setdefault(family.name, Tally(family.reaches, note=family.note))
    before = tally.total + tally.left_out.total()
    try:
        for label, content in family.vectors(file):
            tally.count(f"{shown}: {label}", _outcome(family, content))
    except Exception as fault:
        tally.count(shown, f"malformed: {_named(fault)}")
    if tally.total + tally.left_out.total() == before:
        tally.count(shown, "malformed: it holds no vectors")


def _outcome(family: Family, content: Any) -> Outcome:
    try:
        return family.check(content)
    except Exception as fault:
        return _named(fault)


def _named(fault: Exception) -> str:
    """Our own errors in their words, without the path, which stands before them; others with their type."""
    if isinstance(fault, InputFileError):
        row, reason = fault.context["row"], fault.context["reason"]
        return str(reason) if row is None else f"row {row}: {reason}"
    text = " ".join(str(fault).split())
    return text if isinstance(fault, Malformed) else f"{type(fault).__name__}: {text}"


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
