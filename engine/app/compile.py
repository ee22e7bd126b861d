"""`godark compile`: compile every kernel into the cache, with a line of progress."""

from __future__ import annotations

import sys
import time

import click


@click.command(help="Compile the kernels into the cache; silent when that is done.")
def command() -> None:
    from kernels.jit import cache_dir

    warm = cache_dir().exists()
    began = time.perf_counter()
    if not warm:
        click.echo("godark: compiling kernels (about 20 s, once) ...", err=True, nl=not sys.stderr.isatty())
    from engine.gateway.warm import compile_all

    compile_all()
    if not warm:
        click.echo(f"\rgodark: kernels compiled in {time.perf_counter() - began:.0f} s{' ' * 30}", err=True)
