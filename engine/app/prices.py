"""`godark prices`: what every second's price was made of and the funding rate it led to, from the journal.

The books keep only the newest votes; a follower that stops at each tick sees them all, and for each the
reason why it did not count. The same journal gives the same record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import orjson
from numpy.typing import NDArray

from engine.app.options import settings_options
from engine.common.errors import UsageError
from engine.common.settings import Settings
from engine.core.apply import Machine
from engine.core.views import views_of
from engine.journal.head import HeadPage
from engine.journal.reader import JournalReader, check_witness
from engine.journal.restore import require_whole
from engine.journal.segment import list_segments
from kernels.frames import OBSERVATION, TICK, ObservationKind, Refusal, Template, TickKind
from kernels.funding_rate import predicted_rate_e12
from kernels.layouts import (
    FEED_SLOTS,
    MARKET_FROZEN,
    MARKET_HALTED,
    MARKET_REDUCE_ONLY,
    MAX_PROVIDERS,
    STATUS_HELD,
    STATUS_NONE,
)
from kernels.oracle import PASSES, REASONS

STATUSES = ("NONE", "OK", "TWO", "PRIMARY", "HELD")
_STATES = ((MARKET_FROZEN, "frozen"), (MARKET_HALTED, "halted"), (MARKET_REDUCE_ONLY, "reduce-only"))
_SECOND_NS = 1_000_000_000
_ALWAYS = 1 << 62


class Heard(NamedTuple):
    """One provider's vote in one second. Prices in USD per unit of base; age_ns: None without a vote."""

    provider: int
    weight: int
    reason: int
    price: Decimal
    conf: Decimal
    age_ns: int | None


class PricedSecond(NamedTuple):
    """One market in one second. `price` and `mark` are the last good ones where the status is HELD or NONE."""

    now_ns: int
    symbol: str
    status: int
    price: Decimal
    conf: Decimal
    mark: Decimal
    samples: int  # of the premium in the open funding interval
    predicted_e12: int  # funding rate in 1e-12 per 8 h, were the interval over now
    state: int
    votes: list[Heard]
    refused: list[tuple[int, str]]  # observations since the second before: provider, why the books took none

    @property
    def clean(self) -> bool:
        """A price was agreed on, every provider's vote counted, and no observation was refused."""
        agreed = self.status not in (STATUS_NONE, STATUS_HELD)
        return agreed and not self.refused and all(vote.reason == PASSES for vote in self.votes)


def symbol_of(market: np.void) -> str:
    """The market's name."""
    raw = market["symbol0"].tobytes() + market["symbol1"].tobytes()
    return str(raw.rstrip(b"\0").decode("ascii", "replace"))


def priced_seconds(
    directory: Path, *, from_ns: int = 0, to_ns: int = _ALWAYS, upto: int | None = None
) -> Iterator[PricedSecond]:
    """Every market in every second with from_ns <= time <= to_ns, in order; as far as position `upto`.

    JournalDamaged, WitnessMismatch: the journal is not what the engine wrote. JournalGone: its start was unlinked.
    """
    require_whole(directory, "prices are recomputed from its first frame")
    machine, reader = Machine(), JournalReader(directory)
    refused: dict[int, list[tuple[int, str]]] = {}
    try:
        while len((chunk := reader.read(upto)).frames):
            check_witness(chunk.witness, machine.witness, reader.cursor.position)
            frames, at = chunk.frames, 0
            views, ticks = views_of(frames), frames.view(TICK)
            is_second = (frames["template"] == int(Template.TICK)) & (ticks["kind"] == int(TickKind.SECOND))
            wanted = is_second & (ticks["now_ns"] >= from_ns) & (ticks["now_ns"] <= to_ns)
            for tick in np.flatnonzero(wanted).tolist():
                applied = machine.apply(views, at, tick + 1)
                _note_refused(refused, frames[at:tick], is_second[at:tick], applied.results["refusal"])
                at = tick + 1
                if applied.results["refusal"][-1] == 0:
                    yield from _markets_now(machine, refused)
                    refused.clear()
            applied = machine.apply(views, at, len(frames))
            _note_refused(refused, frames[at:], is_second[at:], applied.results["refusal"])
            if machine.state.number("now_ns") > to_ns:
                return
    finally:
        reader.close()


def _note_refused(
    into: dict[int, list[tuple[int, str]]],
    frames: NDArray[np.void],
    is_second: NDArray[np.bool_],
    refusals: NDArray[np.int32],
) -> None:
    """Remember, by market, what providers said since the last second and the books refused."""
    ends = np.flatnonzero(is_second)
    if len(ends):  # seconds that nobody asked for
        into.clear()
        frames, refusals = frames[ends[-1] :], refusals[ends[-1] :]
    seen, refusals = frames.view(OBSERVATION), refusals[: len(frames)]
    is_vote = (frames["template"] == int(Template.OBSERVATION)) & (
        seen["kind"] == int(ObservationKind.ORACLE)
    )
    for at in np.flatnonzero(is_vote & (refusals != 0)).tolist():
        why = Refusal(int(refusals[at])).name
        into.setdefault(int(frames[at]["market"]), []).append((int(seen[at]["feed"]), why))


def _markets_now(machine: Machine, refused: dict[int, list[tuple[int, str]]]) -> Iterator[PricedSecond]:
    books, now_ns = machine.books, machine.state.number("now_ns")
    for m in range(machine.state.number("markets")):
        market = books.markets[m]
        scale = int(market["lot_exp"]) - int(market["price_exp"])

        def usd(value: Any, scale: int = scale) -> Decimal:
            return Decimal(int(value)).scaleb(scale)

        votes = []
        for k in range(MAX_PROVIDERS):
            at = m * FEED_SLOTS + k
            row = books.votes[at]
            if int(row["weight"]) > 0:
                published = int(row["publish_ns"])
                votes.append(
                    Heard(
                        k,
                        int(row["weight"]),
                        int(books.reasons[at]),
                        usd(row["price"]),
                        usd(row["conf"]),
                        now_ns - published if published else None,
                    )
                )
        yield PricedSecond(
            now_ns,
            symbol_of(market),
            int(market["status"]),
            usd(market["oracle"]),
            usd(market["conf"]),
            usd(market["mark"]),
            int(market["seconds_valid"]),
            predicted_e12(market, now_ns),
            int(market["state"]),
            votes,
            refused.get(m, []),
        )


def predicted_e12(market: np.void, now_ns: int) -> int:
    """Funding rate in 1e-12 per 8 h that a MARKET row would set if its interval ended at `now_ns`."""
    total, weight, valid = (market[name] for name in ("premium_sum_e12", "weight_valid", "seconds_valid"))
    now: Any = np.int64(now_ns)
    return int(predicted_rate_e12(market, total, weight, valid, now, market["rate_set_e12"]))


@click.command(
    help="Show what every second's price was made of, why a provider did not count, and the funding rate per 8 h "
    "that would be set if the interval ended there."
)
@click.option("--market", "symbol", help="Only this market, by its symbol [all].")
@click.option("--from", "from_", metavar="TIME", help="From this second on, UTC, as 2026-01-31T12:00:00.")
@click.option("--to", "to", metavar="TIME", help="Up to this second, UTC.")
@click.option("--excluded", is_flag=True, help="Only seconds in which a provider did not count.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a second and market on stdout.")
@settings_options
def command(
    symbol: str | None, from_: str | None, to: str | None, excluded: bool, as_json: bool, settings: Settings
) -> None:
    directory = settings.data_dir / "journal"
    if not directory.is_dir() or not list_segments(directory):
        raise UsageError(f"{directory}: no journal; name the directory of a run with --data-dir")
    from_ns, to_ns = _time_ns("--from", from_, 0), _time_ns("--to", to, _ALWAYS)
    if from_ns > to_ns:
        raise UsageError("--from must not be after --to")
    known: set[str] = set()
    told: Counter[tuple[str, int, str]] = Counter()
    head = directory / "head"
    upto = HeadPage(head).get("durable") if head.is_file() else None
    for second in priced_seconds(directory, from_ns=from_ns, to_ns=to_ns, upto=upto):
        known.add(second.symbol)
        if symbol not in (None, second.symbol):
            continue
        told.update((second.symbol, vote.provider, REASONS[vote.reason]) for vote in second.votes)
        if not (excluded and second.clean):
            click.echo(orjson.dumps(as_object(second)).decode() if as_json else "\n".join(lines_of(second)))
    if not known:
        raise UsageError(f"{directory}: no priced second in that time")
    if symbol not in (None, *known):
        raise UsageError(f"no market {symbol!r}; the journal has {', '.join(sorted(known))}")
    if not as_json:
        for (name, provider, reason), count in sorted(told.items()):
            click.echo(f"{name} provider {provider}: {count} s {reason}")


def _time_ns(option: str, text: str | None, otherwise: int) -> int:
    if text is None:
        return otherwise
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} takes a time such as 2026-01-31T12:00:00, not {text!r}") from None
    since = at.replace(tzinfo=at.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * _SECOND_NS + since.microseconds * 1000


def _states(state: int) -> list[str]:
    return [name for bit, name in _STATES if state & bit]


def as_object(second: PricedSecond) -> dict[str, Any]:
    """For machines: numbers that may have fractions are strings, exact."""
    return {
        "time_ns": second.now_ns,
        "market": second.symbol,
        "status": STATUSES[second.status],
        "price": f"{second.price:f}",
        "conf": f"{second.conf:f}",
        "mark": f"{second.mark:f}",
        "samples": second.samples,
        "predicted_e12": second.predicted_e12,
        "state": _states(second.state),
        "providers": [
            {
                "provider": vote.provider,
                "weight": vote.weight,
                "counts": vote.reason == PASSES,
                "reason": REASONS[vote.reason],
                "price": f"{vote.price:f}",
                "conf": f"{vote.conf:f}",
                "age_ns": vote.age_ns,
            }
            for vote in second.votes
        ],
        "refused": [{"provider": provider, "reason": why} for provider, why in second.refused],
    }


def lines_of(second: PricedSecond) -> list[str]:
    """For people: the second, then each provider that did not count."""
    at = datetime.fromtimestamp(second.now_ns // _SECOND_NS, UTC).strftime("%Y-%m-%d %H:%M:%S")
    counted = sum(vote.reason == PASSES for vote in second.votes)
    state = ", ".join(_states(second.state)) or "open"
    price = "no price yet"
    if second.price:
        rate = f"{Decimal(second.predicted_e12).scaleb(-10):+.4f} %"
        price = f"{second.price:f} ± {second.conf:f}  mark {second.mark:f}  funding {rate}"
    count = f"{counted} of {len(second.votes)} count"
    out = [f"{at} {second.symbol:<8} {STATUSES[second.status]:<7} {price}  {count}  {state}"]
    for vote in second.votes:
        if vote.reason == PASSES:
            continue
        said = "nothing said"
        if vote.age_ns is not None:
            said = f"{vote.price:f} ± {vote.conf:f}, {Decimal(vote.age_ns // 10**6).scaleb(-3):f} s old"
        out.append(f"{'':<20}provider {vote.provider}: {REASONS[vote.reason]} ({said})")
    out += [f"{'':<20}provider {provider}: refused, {why}" for provider, why in second.refused]
    return out
