"""Machine and model side by side: every frame goes to both, and everything they say must be equal."""

from __future__ import annotations

from typing import Any

from engine.core.apply import Machine
from engine.core.state import Section
from kernels.frames import Source, Template
from relayer.verify.model import Model, Outcome
from relayer.verify.model_frames import head_of
from tests.engine.core.builders import Script, views

COUNTERS = {"ordinal", "refused", "outputs"}
FREEZE = {"state", "open_refusals"}


def differences(left: list[Section], right: list[Section]) -> list[str]:
    """Where two states differ, in words; empty if nowhere."""
    out = []
    for (name, a), (_, b) in zip(left, right, strict=True):
        if a.tobytes() == b.tobytes():
            continue
        if a.shape != b.shape or a.dtype.names is None:
            out.append(f"{name}: {a.tolist()[-3:]} is not {b.tolist()[-3:]}")
            continue
        for row, (x, y) in enumerate(zip(a, b, strict=True)):
            out += [f"{name}[{row}].{n}: {x[n]} is not {y[n]}" for n in a.dtype.names if x[n] != y[n]]
    return out


def substance(sections: list[Section]) -> dict[str, Any]:
    """The state without what even a refused frame may change: counters, sequences, outbox, a market's freeze."""
    out: dict[str, Any] = {}
    for name, rows in sections:
        if name in ("sources", "outbox", "refusals"):
            continue
        kept = rows.copy()
        for field in COUNTERS | FREEZE | {"open_refusals"}:
            if field in (kept.dtype.names or ()):
                kept[field] = 0
        out[name] = kept.tobytes()
    return out


class Twins:
    """A machine and a model that have seen the same frames."""

    def __init__(self, frames: list[bytes] | None = None) -> None:
        self.machine, self.model = Machine(capacity=2048), Model()
        if frames:
            self.apply_all(frames)

    def apply(self, raw: bytes) -> Outcome:
        """One frame to both; refusal, legs, digest and identities checked, and that a refusal leaves no trace."""
        before = substance(self.machine.state.sections())
        result = self.machine.apply(views([raw]), 0, 1)
        outcome = self.model.apply(raw)
        assert int(result.results["refusal"][0]) == outcome.refusal
        assert int(result.results["legs"][0]) == len(outcome.legs)
        assert bool(result.results["boundary"][0]) == outcome.boundary
        assert result.legs.tolist() == [tuple(leg) for leg in outcome.legs]
        self.compare()
        if outcome.refusal and head_of(raw)[0] != Template.PARAM:
            assert substance(self.machine.state.sections()) == before
        return outcome

    def apply_all(self, frames: list[bytes]) -> None:
        """Many frames to both, compared once at the end."""
        for start in range(0, len(frames), 2048):
            group = frames[start : start + 2048]
            applied = self.machine.apply(views(group), 0, len(group))
            outcomes = [self.model.apply(raw) for raw in group]
            assert applied.results["refusal"].tolist() == [outcome.refusal for outcome in outcomes]
            assert applied.results["boundary"].tolist() == [outcome.boundary for outcome in outcomes]
            assert applied.legs.tolist() == [tuple(leg) for outcome in outcomes for leg in outcome.legs]
        self.compare()

    def compare(self) -> None:
        """State digests equal and every identity zero."""
        assert differences(self.machine.state.sections(), self.model.sections()) == []
        assert self.machine.state.digest() == self.model.digest()
        assert {name: value for name, value in self.model.identities().items() if value} == {}

    def last_of(self, script: Script) -> int:
        """The refusal of the script's last frame, applied by itself."""
        return self.apply(script.frames[-1]).refusal

    def position(self, account: int, market: int = 0) -> Any:
        """A position of the machine."""
        rows = self.machine.books.positions
        return next(row for row in rows if (row["account"], row["market"]) == (account, market))

    def market(self, number: int = 0) -> Any:
        """A market of the machine."""
        return self.machine.books.markets[number]

    def free(self, account: int) -> int:
        """An account's free balance in the machine."""
        return int(self.machine.books.accounts[account]["free_e6"])

    def outputs(self) -> list[int]:
        """Templates of the outputs so far, as long as none has left the ring."""
        rows = self.machine.books.outbox[: self.model.ledger.outputs]
        return [int(row[0]) >> 16 & 0xFFFF for row in rows]

    def next_seq(self, source: Source | int) -> int:
        """The sequence number that `source` must use next."""
        return self.model.ledger.last_seq.get(int(source), 0) + 1
