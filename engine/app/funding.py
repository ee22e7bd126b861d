"""`godark funding`: what each venue's rule would have charged, and single formulas of other venues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from engine.app.funding_calculator import FORMULAS, calculate
from engine.app.funding_compare import Charged, compare
from engine.app.funding_file import Stretch, read_stretch
from engine.app.funding_picture import picture
from engine.common.errors import InputFileError, UsageError

_FILE = click.Path(path_type=Path)


@click.command("funding")
@click.option(
    "--compare", "file", type=_FILE, help="A published funding file with premiums, .csv or .csv.gz."
)
@click.option("--coin", help="Which coin, where a file holds several.")
@click.option("--picture", "picture_file", type=_FILE, help="Save the sums over time as an SVG.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--calculate", "formula", help="One formula of one venue, from INPUTS; 'list' names them.")
@click.argument("inputs", required=False)
def command(
    file: Path | None,
    coin: str | None,
    picture_file: Path | None,
    as_json: bool,
    formula: str | None,
    inputs: str | None,
) -> None:
    """What a long of one unit would have paid over a stretch of market data, by each venue's rule.

    Positive: the long pays. The profiles are those a market can follow.
    """
    if formula is not None and file is None and picture_file is None:
        _calculate(formula, inputs)
        return
    if file is None or formula is not None or inputs is not None:
        raise UsageError("name one file with --compare FILE, or one formula with --calculate NAME INPUTS")
    if picture_file is not None and picture_file.suffix != ".svg":
        raise UsageError(f"--picture {picture_file}: a picture is saved as .svg")
    stretch = read_stretch(file, coin)
    rows = compare(stretch, coin)
    if picture_file is not None:
        _save(picture_file, picture(rows, f"{file.name}{f', {coin}' if coin else ''}"))
    click.echo(json.dumps(_as_object(stretch, rows)) if as_json else _as_text(stretch, rows))


def _calculate(formula: str, inputs: str | None) -> None:
    if formula == "list":
        click.echo("\n".join(FORMULAS))
        return
    try:
        given = json.loads(inputs or "")
    except ValueError as error:
        raise UsageError(f"INPUTS is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise UsageError("INPUTS is not a JSON object")
    click.echo(json.dumps(calculate(formula, given)))


def _save(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as error:
        raise InputFileError(str(file), f"cannot be written: {error.strerror}") from error


def _percent(value_e12: int) -> str:
    return f"{value_e12 / 10**10:+.6f} %"


def _coin(row: Charged) -> str:
    return "" if row.coin_e10 is None else f"{row.coin_e10 / 10**10:+,.4f}"


def _as_text(stretch: Stretch, rows: list[Charged]) -> str:
    lines = [
        f"{'rule':<24}{'hours':>8}{'sum':>18}{'mean per 8 h':>18}{'largest per 8 h':>18}{'USD/coin':>16}"
    ]
    lines += [
        f"{row.name:<24}{row.hours:>8}{_percent(row.sum_e12):>18}{_percent(row.mean_8h_e12):>18}"
        f"{_percent(row.max_8h_e12):>18}{_coin(row):>16}"
        for row in rows
    ]
    known = int(stretch.valid.sum())
    lines.append(f"{len(stretch.valid)} hours, {known} with a premium; positive: a long pays")
    if stretch.note:
        lines.append(stretch.note)
    return "\n".join(lines)


def _as_object(stretch: Stretch, rows: list[Charged]) -> dict[str, Any]:
    return {
        "venue": stretch.venue,
        "first_hour": stretch.first_hour,
        "hours": len(stretch.valid),
        "hours_with_premium": int(stretch.valid.sum()),
        "note": stretch.note,
        "rules": [
            {
                "name": row.name,
                "hours": row.hours,
                "sum_e12": row.sum_e12,
                "mean_8h_e12": row.mean_8h_e12,
                "max_8h_e12": row.max_8h_e12,
                "usd_per_coin_e10": row.coin_e10,
            }
            for row in rows
        ],
    }
