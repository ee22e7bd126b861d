"""`godark book FILE...`: order books rebuilt from captures, checked against what the venue says is best."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import click

from engine.common.errors import ChecksFailed, InputFileError, UsageError
from engine.venue.orderbook import Event, Rebuilt, rebuild
from engine.venue.scales import BadField
from kernels.funding import premium_e12
from kernels.orderbook import ASKS, BIDS

SECOND_NS = 1_000_000_000
_HEADER = f"{'UTC':>19} {'bid':>12} {'ask':>12} {'impact bid':>12} {'impact ask':>12} {'premium':>12}"


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--notional", default=10_000, show_default=True, help="Impact notional in USD.")
@click.option("--index", help="Index price in USD; without it, the last trade stands in.")
@click.option("--premium", "rule", type=click.Choice(["impact", "dydx"]), default="impact", show_default=True)
@click.option("--every", default=1, show_default=True, help="Seconds between lines.")
def command(files: Sequence[Path], notional: int, index: str | None, rule: str, every: int) -> None:
    """Rebuild the order book of a capture and print best, impact and premium.

    FILES: a Binance raw capture with a REST snapshot, files that continue it, a Hyperliquid l2Book capture
    or a Tardis book snapshot table. Premium = (max(impact bid - index, 0) - max(index - impact ask, 0)) /
    index, or by dYdX's rule for its block votes. Fails if a best price differs from bookTicker's or an
    update is missing.
    """
    if notional <= 0 or every <= 0:
        raise UsageError("--notional and --every must be above 0")
    rebuilt = Rebuilt()
    table = _Table(rebuilt, notional, index, rule, every)
    checked = differing = 0
    first = ""
    click.echo(_HEADER)
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
    click.echo(
        f"{rebuilt.symbol or files[0].name}: {rebuilt.snapshots} snapshots, {rebuilt.updates} updates, "
        f"{rebuilt.old} older than the snapshot, {rebuilt.gaps} gaps; best prices and sizes equal "
        f"bookTicker's after {checked - differing} of {checked} updates that it names"
    )
    if differing or rebuilt.gaps:
        raise ChecksFailed(first or f"{rebuilt.gaps} gaps in the sequence of updates")


class _Table:
    """Prints a line whenever `every` seconds of the capture's own clock have passed."""

    def __init__(self, rebuilt: Rebuilt, notional: int, index: str | None, rule: str, every: int) -> None:
        self._rebuilt, self._notional, self._index = rebuilt, notional, index
        self._rule, self._every = rule, every
        self._last_trade = ""
        self._shown = 0

    def see(self, event: Event) -> None:
        if event.kind == "trade":
            self._last_trade = event.bids[0][0]
        at = event.received_ns // (_clock(event.received_ns) * self._every)
        if at != self._shown and event.kind in ("snapshot", "update") and self._rebuilt.book.ready:
            self._shown = at
            click.echo(self._line(event))

    def _line(self, event: Event) -> str:
        rebuilt, book = self._rebuilt, self._rebuilt.book
        best = book.best()
        bid, ask = (book.impact(side, self._notional, rebuilt.contract_usd) for side in (BIDS, ASKS))
        shown = [self._usd(price) for price in (best.bid, best.ask, bid, ask)]
        seconds = event.received_ns // _clock(event.received_ns)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
        return f"{stamp} {' '.join(f'{text:>12}' for text in (*shown, self._premium(bid, ask)))}"

    def _premium(self, bid: int, ask: int) -> str:
        """In percent, ten decimals of the rate; a side that is too short counts nothing."""
        text = self._index or self._last_trade
        if not text:
            return "-"
        try:
            index = self._rebuilt.book.price(text)
        except BadField as error:
            if self._index is None:
                return "-"
            raise UsageError(f"--index: {error}") from error
        if index <= 0:
            raise UsageError("--index must be above 0")
        if self._rule == "dydx":
            ppm = self._rebuilt.book.premium_ppm(index, self._notional, self._rebuilt.contract_usd)
            return "-" if ppm is None else f"{Decimal(ppm).scaleb(-4):.4f} %"
        apart = max(bid - index, 0) - max(index - ask, 0) if bid and ask else 0
        return f"{Decimal(premium_e12(index + apart, index)).scaleb(-10):.8f} %"

    def _usd(self, price: int) -> str:
        return str(Decimal(price).scaleb(-self._rebuilt.book.price_decimals)) if price else "-"


def _clock(received: int) -> int:
    """Units of a second in a local time: nanoseconds, or microseconds in older captures."""
    return SECOND_NS if received >= 10**18 else SECOND_NS // 1000
