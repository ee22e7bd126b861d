"""`godark schema`: the frames for whoever writes a client: SBE schema or C header, on stdout."""

from __future__ import annotations

import click


@click.command(help="Print the SBE schema of the frames (XML), or with --c the C header made from it.")
@click.option("--c", "as_c", is_flag=True, help="C99 structs, enumerations and names instead of XML.")
@click.option("--write", is_flag=True, help="Bring the checked-in files of this checkout up to date instead.")
def command(as_c: bool, write: bool) -> None:
    from engine.journal.schema import c_header, sbe

    if write:
        for path, text in ((sbe.FILE, sbe.schema_text()), (c_header.FILE, c_header.header_text())):
            path.write_text(text)
            click.echo(f"{path}: written", err=True)
        return
    click.echo(c_header.header_text() if as_c else sbe.schema_text(), nl=False)
