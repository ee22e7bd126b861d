"""`godark funding`: what each venue's rule would have charged, and single formulas of other venues."""

from __future__ import annotations

import json
from pathlib import Path

import click

from engine.app.funding_calculator import FORMULAS, calculate
from engine.app.funding_compare import compare
from engine.app.funding_drift import FORM, charged_by_sides, parse_imbalance
from engine.app.funding_file import read_stretch
from engine.app.funding_picture import picture
from engine.app.funding_text import as_object, as_text
from engine.common.errors import InputFileError, UsageError

_FILE = click.Path(path_type=Path)


@click.command("funding")
@click.option(
    "--compare", "file", type=_FILE, help="A published funding file with premiums, .csv or .csv.gz."
)
@click.option("--coin", help="Which coin, where a file holds several.")
@click.option("--picture", "picture_file", type=_FILE, help="Save the sums over time as an SVG.")
@click.option(
    "--drift-sides",
    metavar=FORM,
    help="Also what Drift's longs and shorts get when so many coins stand on each side and its fee pool holds "
    "POOL USD of FEES earned: receivers get less once the pool cannot pay. Needs a file with prices.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--calculate", "formula", help="One formula of one venue, from INPUTS; 'list' names them.")
@click.argument("inputs", required=False)
def command(
    file: Path | None,
    coin: str | None,
    picture_file: Path | None,
    drift_sides: str | None,
    as_json: bool,
    formula: str | None,
    inputs: str | None,
) -> None:
    """What a long of constant notional would have paid over a stretch of market data, by each venue's rule.

    Positive: longs pay, shorts receive. The rules are those a market can follow, each at its own interval;
    the premiums are those of the file, so this says what a rule makes of one market, not what that market
    would have become under it.
    """
    if formula is not None and file is None and picture_file is None:
        _calculate(formula, inputs)
        return
    if file is None or formula is not None or inputs is not None:
        raise UsageError("name one file with --compare FILE, or one formula with --calculate NAME INPUTS")
    if picture_file is not None and picture_file.suffix != ".svg":
        raise UsageError(f"--picture {picture_file}: a picture is saved as .svg")
    imbalance = None if drift_sides is None else parse_imbalance(drift_sides)
    stretch = read_stretch(file, coin)
    rows = compare(stretch, coin)
    if imbalance is not None:
        more, note = charged_by_sides(stretch, imbalance)
        rows += more
        stretch.notes.append(note)
    title = f"{file.name}{f', {stretch.coin}' if stretch.coin else ''}"
    if picture_file is not None:
        _save(picture_file, picture(rows, title, stretch))
    click.echo(json.dumps(as_object(stretch, rows)) if as_json else as_text(title, stretch, rows))


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
