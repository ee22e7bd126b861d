"""`godark book FILE...`: order books rebuilt from captures, checked against what the venue says is best."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import numpy as np

from engine.app.book_minutes import Minutes
from engine.common.errors import ChecksFailed, InputFileError, UsageError
from engine.venue.orderbook import Event, Rebuilt, rebuild
from engine.venue.scales import BadField
from kernels.funding_premium import premium_of_source
from kernels.orderbook import ASKS, BIDS
from kernels.profiles import IMPACT, MID, RATE_ONE

SECOND_NS = 1_000_000_000
_HEADER = f"{'UTC':>19} {'bid':>12} {'ask':>12} {'impact bid':>12} {'impact ask':>12} {'premium':>12}"


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--notional", default=10_000, show_default=True, help="Impact notional in USD.")
@click.option("--index", help="Index price in USD; without it, the last trade stands in.")
@click.option(
    "--premium",
    "rule",
    type=click.Choice(["impact", "mid", "dydx"]),
    default="impact",
    show_default=True,
    help="Of the impact prices, of their middle, or dYdX's with its samples and rate.",
)
@click.option("--every", default=1, show_default=True, help="Seconds between lines.")
@click.option(
    "--min-votes", default=15, show_default=True, help="dYdX's least votes of a minute, the rest 0."
)
def command(
    files: Sequence[Path], notional: int, index: str | None, rule: str, every: int, min_votes: int
) -> None:
    """Rebuild the order book of a capture and print best, impact and premium.

    FILES: a Binance raw capture with a REST snapshot, files that continue it, a Hyperliquid l2Book capture
    or a Tardis book snapshot table. Premium = (max(impact bid - index, 0) - max(index - impact ask, 0)) /
    index; mid: (middle of the impact prices - index) / index; dydx: its rule for votes, one a second, and the
    medians of minutes and rates of hours that they make. "-" where a side is too short. Fails if a best
    price differs from bookTicker's or an update is missing.
    """
    if notional <= 0 or every <= 0:
        raise UsageError("--notional and --every must be above 0")
    if not 1 <= min_votes <= 10_000:
        raise UsageError("--min-votes must be 1 to 10,000")
    rebuilt = Rebuilt()
    table = _Table(rebuilt, notional, index, rule, every, Minutes(min_votes))
    checked = differing = 0
    first = ""
    for event, check in rebuild(files, rebuilt):
        if check is None:
            table.see(event)
            continue
        checked += 1
        if check.published != check.rebuilt:
            differing += 1
            first = first or f"row {check.row}: published {check.published}, rebuilt {check.rebuilt}"
    if not rebuilt.snapshots:
        raise InputFileError(str(files[0]), "has no book snapshot; put the file it continues before it")
    for line in table.minutes.lines():
        click.echo(line)
    click.echo(
        f"{rebuilt.symbol or files[0].name}: {rebuilt.snapshots} snapshots, {rebuilt.updates} updates, "
        f"{rebuilt.old} older than the snapshot, {rebuilt.gaps} gaps; best prices and sizes equal "
        f"bookTicker's after {checked - differing} of {checked} updates that it names"
    )
    if differing or rebuilt.gaps:
        raise ChecksFailed(first or f"{rebuilt.gaps} gaps in the sequence of updates")


class _Table:
    """Prints a line whenever `every` seconds of the capture's own clock have passed."""

    def __init__(
        self, rebuilt: Rebuilt, notional: int, index: str | None, rule: str, every: int, minutes: Minutes
    ) -> None:
        self.minutes = minutes
        self._rebuilt, self._notional, self._index = rebuilt, notional, index
        self._rule, self._every = rule, every
        self._last_trade = ""
        self._second = 0

    def see(self, event: Event) -> None:
        if event.kind == "trade":
            self._last_trade = event.bids[0][0]
        second = event.received_ns // _clock(event.received_ns)
        before = self._second
        if second != before and event.kind in ("snapshot", "update") and self._rebuilt.book.ready:
            self._second = second
            premium = self._votes(second) if self._rule == "dydx" else ""
            if second // self._every != before // self._every:
                line = self._line(second, premium)
                if before == 0:  # not before: what is wrong with a file is told in one line
                    click.echo(_HEADER)
                click.echo(line)

    def _line(self, second: int, premium: str) -> str:
        rebuilt, book = self._rebuilt, self._rebuilt.book
        best = book.best()
        bid, ask = (book.impact(side, self._notional, rebuilt.contract_usd) for side in (BIDS, ASKS))
        shown = [self._usd(price) for price in (best.bid, best.ask, bid, ask)]
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
        return f"{stamp} {' '.join(f'{text:>12}' for text in (*shown, premium or self._premium(bid, ask)))}"

    def _index_price(self) -> int:
        """The index price in the book's units, 0 where there is none yet. Raises UsageError."""
        text = self._index or self._last_trade
        if not text:
            return 0
        try:
            index = self._rebuilt.book.price(text)
        except BadField as error:
            if self._index is None:
                return 0
            raise UsageError(f"--index: {error}") from error
        if index <= 0:
            raise UsageError("--index must be above 0")
        return index

    def _votes(self, second: int) -> str:
        """dYdX's premium in percent, which is also the second's vote."""
        index = self._index_price()
        if index == 0:
            return "-"
        ppm = self._rebuilt.book.premium_ppm(index, self._notional, self._rebuilt.contract_usd)
        self.minutes.vote(second, ppm)
        return "-" if ppm is None else f"{Decimal(ppm).scaleb(-4):.4f} %"

    def _premium(self, bid: int, ask: int) -> str:
        """In percent, ten decimals of the rate; with a side that is too short there is none."""
        index = self._index_price()
        if index == 0:
            return "-"
        # Twice the middle over twice the index: a half unit of price is not lost.
        mid = bid + ask if bid and ask else 0
        source, scale = (IMPACT, 1) if self._rule == "impact" else (MID, 2)
        given: list[Any] = [np.int64(v) for v in (source, 0, mid, bid, ask, scale * index, RATE_ONE)]
        value, valid = premium_of_source(*given)
        return f"{Decimal(int(value)).scaleb(-10):.8f} %" if valid else "-"

    def _usd(self, price: int) -> str:
        return str(Decimal(price).scaleb(-self._rebuilt.book.price_decimals)) if price else "-"


def _clock(received: int) -> int:
    """Units of a second in a local time: nanoseconds, or microseconds in older captures."""
    return SECOND_NS if received >= 10**18 else SECOND_NS // 1000
