"""`godark prove`: find a fill in the published log and write the file that proves it to whoever has it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from urllib.parse import urlsplit

import click

from engine.app.options import settings_options
from engine.common.errors import NO_ROOM, InputFileError, UsageError
from engine.common.settings import Settings

PAGE = Path(__file__).resolve().parents[2] / "relayer" / "verify" / "proof.html"
_STDOUT = "-"


@click.command(
    "prove",
    help="Write the file that proves one fill. FILL is the sequence number that the matching engine gave it; with"
    " --trade-id the trade's id, which must be of one fill only. Reads the published log and the relayer's record;"
    " the group may run or not.",
)
@click.argument("fill", type=int)
@click.option("--trade-id", "is_trade", is_flag=True, help="FILL is a trade id.")
@click.option(
    "--source", type=click.IntRange(1, 255), help="Who numbered the fill, if not the matching engine."
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="A signed checkpoint that the proof is to lead to [the one signed behind the fill's batch].",
)
@click.option("--out", metavar="FILE", help="Where to write it, - for stdout [fill-SEQ.proof.json].")
@settings_options
def command(
    fill: int,
    is_trade: bool,
    source: int | None,
    checkpoint: Path | None,
    out: str | None,
    settings: Settings,
) -> None:
    from kernels.frames import Source
    from relayer.core.proof_file import encode
    from relayer.prove import find_fill, find_trade, key_of, proof_of
    from relayer.publisher import LOG
    from relayer.record import Record

    if is_trade and source is not None:
        raise UsageError("--source says who numbered a fill; a trade id is none of its numbers")
    relayer = settings.data_dir / "relayer"
    log, store = relayer / LOG, relayer / "store.sqlite"
    place = find_trade(log, fill) if is_trade else find_fill(log, fill, source or int(Source.MATCHING))
    held = _read(checkpoint) if checkpoint is not None else None
    record = Record(store) if store.is_file() else None
    with contextlib.closing(record) if record is not None else contextlib.nullcontext():
        file = proof_of(log, place, key_of(log, place.shard), record, chain_name(settings), held)
    data = encode(file)
    if out == _STDOUT:
        click.echo(data.decode(), nl=False)
        return
    target = Path(out if out is not None else f"fill-{place.seq}.proof.json")
    _write(target, data)
    click.echo(f"{target}: leaf {place.leaf} of {file.checkpoint.decode().partition(chr(10))[0]}")
    click.echo(f"check it: godark verify-proof {target}, or open {PAGE} in a browser")


def chain_name(settings: Settings) -> str:
    """What a proof file calls the chain: the node's host, for its address may hold an access token."""
    urls = settings.relayer.rpc_urls
    return str(urlsplit(urls[0]).hostname) if urls else "embedded devnet"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputFileError(str(path), (error.strerror or str(error)).lower()) from error


def _write(target: Path, data: bytes) -> None:
    """The whole file or none."""
    new = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        new.write_bytes(data)
        os.replace(new, target)
    except OSError as error:
        new.unlink(missing_ok=True)
        if error.errno in NO_ROOM:
            raise
        raise UsageError(f"cannot write {target}: {(error.strerror or str(error)).lower()}") from error
