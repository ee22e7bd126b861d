"""`godark compile`: compile every kernel into the cache, with a line of progress."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from engine.app import together

_MARK = ".complete"


@click.command(help="Compile the kernels into the cache; silent when that is done.")
@click.option(
    "--board", hidden=True, type=click.Path(path_type=Path), help="Help the process that set it up."
)
def command(board: Path | None) -> None:
    from kernels.jit import config

    if board is not None:
        from engine.app.warm import help_to_compile

        help_to_compile(board)
        return
    mark = Path(config.CACHE_DIR) / _MARK
    warm = mark.exists()
    shown = not warm and sys.stderr.isatty()
    began = time.perf_counter()

    def progress(done: int, of: int) -> None:
        if shown:
            click.echo(f"\rgodark: compiling kernels: {done} of {of} ", err=True, nl=False)

    if not warm:
        long = "half a minute" if together.cores() > 1 else "a minute"
        click.echo(f"godark: compiling kernels (about {long}, once) ...", err=True, nl=not shown)
    from engine.app.warm import compile_everything, compile_together

    if warm:
        compile_everything()
    else:
        compile_together(progress)
    if not warm:
        # Only whether a line is printed hangs on the mark: what is compiled is decided by the cache itself.
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        start = "\r" if shown else ""
        click.echo(
            f"{start}godark: kernels compiled in {time.perf_counter() - began:.0f} s{' ' * 30}", err=True
        )
