"""Small journals for the tests of batches: how they are folded, and the plain way to cut them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from engine.core.apply import Machine
from kernels.frames import FILL, FRAME, Template, TransferKind
from relayer.core.batch import Batch, Batcher
from tests.engine.core.builders import HOUR_NS, PRICE, SECOND_NS, Script, array_of, genesis, views

Event = tuple[str, int, int, int, int]
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(("fill", "fill", "fill", "second", "within", "skip", "hour", "move", "unknown")),
        st.integers(1, 5),
        st.integers(1, 5),
        st.sampled_from((1, -1, 2, -3)),
        st.integers(0, 2),
    ),
    max_size=40,
)


def script_of(events: Iterable[Event]) -> Script:
    """Genesis, then what the events say. "unknown" is a fill of a market that is not there: refused."""
    script = genesis()
    for what, maker, taker, size, market in events:
        if what == "fill":
            script.fill(maker, taker, size, PRICE, market=market)
        elif what == "unknown":
            script.fill(maker, taker, size, PRICE, market=9)
        elif what == "second":
            script.seconds(1)
        elif what == "within":
            script.tick(script.now_ns + SECOND_NS // 4)
        elif what == "skip":
            script.tick(script.now_ns + maker * SECOND_NS)
        elif what == "hour":
            script.tick((script.now_ns // HOUR_NS + 1) * HOUR_NS)
        else:
            script.move(TransferKind.TO_POSITION, maker, 1_000, market=market)
    script.seconds(2)
    return script


def batches_of(frames: list[bytes], sizes: Iterable[int], machine: Machine | None = None) -> list[Batch]:
    """The batches of frames that a follower sees in stretches of these sizes, the last for the rest."""
    machine = machine or Machine(capacity=max(len(frames), 1))
    batcher, out, at = Batcher(), [], 0
    for size in [*sizes, len(frames)]:
        stop = min(at + size, len(frames))
        if stop > at:
            part = array_of(frames[at:stop])
            applied = machine.apply(views(frames[at:stop]), 0, stop - at)
            out += list(batcher.feed(part, at + 1, applied.results, applied.legs))
            at = stop
    return out


def plain(batch: Batch) -> dict[str, Any]:
    """A batch as values that can be compared."""
    return {
        "number": batch.number,
        "first": batch.first,
        "last": batch.last,
        "fills": batch.fills.tobytes(),
        "deltas": [tuple(int(x) for x in row) for row in batch.deltas],
        "fees": batch.fees,
    }


def cut_plainly(frames: list[bytes], fills_max: int) -> list[dict[str, Any]]:
    """The same from one frame after the other, with dicts."""
    machine, out, touched = Machine(capacity=1), [], {}
    first, fills, sums, fees = 1, b"", {}, {}

    def close(last: int) -> None:
        nonlocal first, fills, sums, fees
        if not sums:
            return
        number = len(out) + 1
        deltas = [(account, market, *total, touched.get((account, market), 0))
                  for (market, account), total in sorted(sums.items())]  # fmt: skip
        touched.update({(account, market): number for market, account in sums})
        out.append({"number": number, "first": first, "last": last, "fills": fills, "deltas": deltas,
                    "fees": tuple(sorted(fees.items()))})  # fmt: skip
        first, fills, sums, fees = last + 1, b"", {}, {}

    for ordinal, raw in enumerate(frames, 1):
        applied = machine.apply(views([raw]), 0, 1)
        if applied.results[0]["boundary"]:
            close(ordinal - 1)
        for leg in applied.legs:
            at = (int(leg["market"]), int(leg["account"]))
            total = sums.setdefault(at, [0, 0, 0, 0])
            for k, name in enumerate(("dsize", "dcash", "transfer", "cover")):
                total[k] += int(leg[name])
            fees[at[0]] = fees.get(at[0], 0) + int(leg["fee"])
        if len(applied.legs) and array_of([raw])[0]["template"] == Template.FILL:
            fills += raw
            if len(fills) // FILL.itemsize == fills_max:
                close(ordinal)
    return out


def fill_count(batch: Batch) -> int:
    """Booked fills."""
    assert batch.fills.dtype == FILL
    assert FRAME.itemsize == FILL.itemsize
    return len(batch.fills)
