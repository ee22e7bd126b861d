"""`godark audit FILE...`: another venue's published state, held against the rules that it must obey."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import click

from engine.common.errors import ChecksFailed
from engine.venue.published import PAYMENT_UNITS_MAX, audit


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(files: Sequence[Path]) -> None:
    """Recompute sums, funding steps and payments of published Drift v2 state.

    FILES: tables of market snapshots, of funding settlements per account, or of markets (its table of
    positions lies beside it). Prints for every rule in how many rows it holds to the last unit; payments may
    differ by up to 4 units, since a row may hold several.
    """
    broken = ""
    for path in files:
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for finding in audit(path):
            count = counts[finding.rule]
            count[0] += 1
            count[1] += finding.off == 0
            count[2] = max(count[2], abs(finding.off))
            allowed = PAYMENT_UNITS_MAX if finding.rule == "funding paid" else 0
            if abs(finding.off) > allowed and not broken:
                broken = f"{path.name}: row {finding.row}: {finding.rule}: off by {finding.off} units"
        for rule, (rows, exact, most) in counts.items():
            largest = f", the rest within {most} units" if most else ""
            click.echo(f"{path.name}: {rule}: {exact} of {rows} exact{largest}")
    if broken:
        raise ChecksFailed(broken)
