"""`godark json`: lines of JSON to frames and back, on stdin and stdout or behind a listener."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.app.options import settings_options

if TYPE_CHECKING:
    from engine.common.settings import Settings
    from engine.gateway.json_adapter import FollowedBooks
    from kernels.frames import Source

NAMES = ("matching", "clock", "feeds", "risk", "relayer", "chain", "api", "admin")


@click.command(
    help="Talk to a running engine in lines of JSON: one object a line in, acks, refusals, faults and outputs out."
    " Reads stdin unless --listen is given; engine/gateway/README.md lists the lines."
)
@click.option(
    "--source", "names", multiple=True, type=click.Choice(NAMES), help="Whose frames; repeatable. [matching]"
)
@click.option(
    "--engine", "address", metavar="ADDRESS", help="Socket path, host:port or ring:PATH. [engine.socket]"
)
@click.option("--listen", metavar="ADDRESS", help="Serve 127.0.0.1:PORT or a Unix socket instead of stdin.")
@click.option("--last-output", type=click.IntRange(0), default=0, help="Last output you have seen. [0]")
@click.option(
    "--example",
    type=click.Choice(["market", "trade"]),
    help="Print lines to begin with instead: a first market, or a first trade on it.",
)
@click.option("--no-outputs", is_flag=True, help="Tell no outputs, only acks and faults.")
@settings_options
def command(
    settings: Settings,
    names: tuple[str, ...],
    address: str | None,
    listen: str | None,
    last_output: int,
    no_outputs: bool,
    example: str | None,
) -> None:
    if example is not None:
        _print_example(example)
        return
    from engine.common.logs import configure
    from engine.gateway.json_adapter import FollowedBooks
    from engine.gateway.session import NO_OUTPUTS
    from kernels.frames import Source

    configure(settings.logs, process="json")
    sources = [Source[name.upper()] for name in dict.fromkeys(names or ("matching",))]
    books = FollowedBooks(settings.data_dir / "journal")
    engine = address if address is not None else settings.engine.socket
    after = NO_OUTPUTS if no_outputs else last_output
    try:
        if listen is None:
            asyncio.run(_talk(engine, sources, books, after))
        else:
            asyncio.run(_serve(engine, sources, books, after, listen))
    finally:
        books.close()


def _print_example(name: str) -> None:
    import orjson

    from engine.app.json_example import EXAMPLES

    for line in EXAMPLES[name]():
        click.echo(orjson.dumps(line))


async def _talk(engine: Path | str, sources: list[Source], books: FollowedBooks, last_output: int) -> None:
    """Stdin to stdout. InputFileError at the end if a line was not taken: those around it were."""
    import orjson

    from engine.common.errors import InputFileError
    from engine.gateway.json_adapter import Conversation, file_chunks

    def say(line: dict[str, Any]) -> None:
        sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
        sys.stdout.buffer.flush()

    conversation = Conversation(engine, sources, books, say, last_output=last_output)
    await conversation.run(file_chunks(sys.stdin.fileno()))
    refused = conversation.refused
    if refused:
        raise InputFileError(
            "stdin", f"this line was not taken; such lines in all: {len(refused)}", refused[0]
        )


async def _serve(
    engine: Path | str, sources: list[Source], books: FollowedBooks, last_output: int, address: str
) -> None:
    import signal

    from engine.common.ready import notify_ready
    from engine.gateway.json_listener import Listener

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    listener = Listener(engine, sources, books, last_output=last_output)
    await listener.start(address)
    notify_ready({"listen": address})
    click.echo(f"godark: JSON lines on {address}", err=True)
    try:
        while not stop.is_set():
            books.refresh()
            try:
                await asyncio.wait_for(stop.wait(), 0.2)
            except TimeoutError:
                continue
    finally:
        await listener.close()
        if "/" in address:
            Path(address).unlink(missing_ok=True)
