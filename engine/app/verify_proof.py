"""`godark verify-proof`: check a proof file with nothing but the file, and say what follows from it and what not.

Starts at once: no settings, no kernels, no network unless --rpc asks for it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.common.errors import ChecksFailed, GodarkError, InputFileError, UsageError
from relayer.core.proof_check import Proven, check
from relayer.core.proof_file import FILE_LIMIT_BYTES, FillLeaf, decode

if TYPE_CHECKING:
    from relayer.verify.proof_chain import Committed

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOT_PROVEN = (
    "that the users agreed to this fill: what a matching engine matched, the log takes as a fact",
    "that the log holds every fill there was",
    "that everybody is shown the same log: hold your checkpoint against somebody else's",
)


@click.command(
    "verify-proof",
    help="Check a proof file: the fill's fields, its hash, the path, the root, the signature. Asks nobody, unless"
    " --rpc says whom.",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    help="A checkpoint that you hold from elsewhere: the proof must lead to it.",
)
@click.option("--key", metavar="VKEY", help="The log's verifier key as you know it [the one in the file].")
@click.option("--rpc", "rpc_url", metavar="URL", help="Also read the batch's commit back from this node.")
@click.option("--payer", metavar="KEY", help="With --rpc: the key that must have signed the commit.")
@click.option("--json", "as_json", is_flag=True, help="The result as one JSON object.")
def command(
    file: Path,
    checkpoint: Path | None,
    key: str | None,
    rpc_url: str | None,
    payer: str | None,
    as_json: bool,
) -> None:
    data = _read(file)
    held = _read(checkpoint) if checkpoint is not None else None
    try:
        proven = check(decode(data), key=key, checkpoint=held)
    except GodarkError as error:
        error.message = plain(error.message)
        raise
    if payer is not None and rpc_url is None:
        raise UsageError("--payer is looked for on the chain: say with --rpc which node to ask")
    committed = _ask(rpc_url, payer, proven) if rpc_url is not None else None
    if as_json:
        click.echo(json.dumps(as_object(proven, committed)))
        return
    for line in lines_of(proven, committed, payer_is_given=payer is not None):
        click.echo(plain(line))


def _read(path: Path) -> bytes:
    """A file's bytes, and no more than any proof has."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise InputFileError(str(path), (error.strerror or str(error)).lower()) from error
    if len(data) > FILE_LIMIT_BYTES:
        raise InputFileError(str(path), f"longer than {FILE_LIMIT_BYTES} bytes: no proof, no checkpoint")
    return data


def _ask(url: str, payer: str | None, proven: Proven) -> Committed:
    """What the chain has. ChecksFailed, RpcError; the imports take longer than all the rest."""
    import asyncio

    from relayer.chain.rpc import RpcClient
    from relayer.verify.proof_chain import read_commit

    chain = proven.file.chain
    if chain is None:
        raise ChecksFailed("the file names no transaction: the batch was not on chain when it was written")

    async def ask() -> Committed:
        async with RpcClient(url) as rpc:
            return await read_commit(rpc, chain, proven.checkpoint)

    committed = asyncio.run(ask())
    if payer is not None and committed.payer != payer:
        raise ChecksFailed(f"the commit was signed by {committed.payer}, not by {payer}")
    return committed


def as_object(proven: Proven, committed: Committed | None) -> dict[str, object]:
    """The result for machines; numbers beyond 2^53 are texts."""
    file, checkpoint = proven.file, proven.checkpoint
    return {
        "ok": True,
        "source": file.leaf.source,
        "seq": str(file.leaf.seq),
        "leaf_hash": proven.leaf_hash.hex(),
        "index": str(file.index),
        "origin": checkpoint.origin,
        "size": str(checkpoint.size),
        "root": checkpoint.root.hex(),
        "key": proven.key.text,
        "key_is_given": proven.key_is_given,
        "checkpoint_is_given": proven.checkpoint_is_given,
        "committed": committed and {**committed._asdict(), "slot": str(committed.slot)},
    }


def plain(line: str) -> str:
    """A line that does nothing to a terminal: names come from a file that anybody may have written."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in line)


def lines_of(proven: Proven, committed: Committed | None, *, payer_is_given: bool = False) -> list[str]:
    """The result for people: each step, then what is proven, then what is not."""
    file, checkpoint = proven.file, proven.checkpoint
    rows = [
        *fill_rows(file.leaf),
        ("leaf", f"112 bytes rebuilt from these fields; hash {proven.leaf_hash.hex()}"),
        ("place", f"{file.index:,} of {checkpoint.size:,}, counted from 0; path of {len(file.proof)} hashes"),
        ("root", f"{checkpoint.root.hex()}: where the path leads, and what the checkpoint says"),
        ("checkpoint", f"of {checkpoint.origin}, {_whose(proven)}"),
        ("signature", f"by {proven.key.text}"),
        ("chain", _chain(proven, committed)),
    ]
    lines = [f"{name:<11} {text}" for name, text in rows]
    lines += ["", "proven      " + _claim(proven, committed)]
    lines += [
        f"{'not proven' if k == 0 else '':<11} {text}"
        for k, text in enumerate(not_proven(proven, committed, payer_is_given))
    ]
    return lines


def fill_rows(leaf: FillLeaf) -> list[tuple[str, str]]:
    """The fill in words. Prices and sizes are integers in the units of the market."""
    source = "the matching engine" if leaf.source == 1 else f"source {leaf.source}"
    side = "buys" if leaf.size > 0 else "sells"
    return [
        ("fill", f"{leaf.seq} of {source}, trade {leaf.trade_id}, at {_time(leaf.time_ns)}"),
        (
            "",
            f"market {leaf.market}, price {leaf.price}, size {abs(leaf.size)} in its units; the taker {side}",
        ),
        ("maker", _base58(leaf.maker)),
        ("taker", _base58(leaf.taker)),
    ]


def _base58(key: bytes) -> str:
    from solders.pubkey import Pubkey

    return str(Pubkey.from_bytes(key))


def _time(time_ns: int) -> str:
    try:
        second = _EPOCH + timedelta(seconds=time_ns // 10**9)
    except OverflowError:
        return f"{time_ns} ns"
    return f"{second:%Y-%m-%dT%H:%M:%S}.{time_ns % 10**9:09d}Z"


def _whose(proven: Proven) -> str:
    return "the same as yours" if proven.checkpoint_is_given else "from the file"


def _claim(proven: Proven, committed: Committed | None) -> str:
    checkpoint = proven.checkpoint
    who = "The holder of your key" if proven.key_is_given else "Whoever holds the key above"
    text = (
        f"{who} signed a log of {checkpoint.size:,} leaves in which number {proven.file.index:,} is this fill, to"
        " the last bit."
    )
    if committed is not None:
        text += (
            f" The same root was committed on chain in slot {committed.slot:,}, signed by {committed.payer}."
        )
    return text


def _chain(proven: Proven, committed: Committed | None) -> str:
    chain = proven.file.chain
    if committed is not None:
        return f"finalized in slot {committed.slot:,}: {committed.signature}"
    if chain is None:
        return "the file names no transaction"
    where = f"batch {chain.batch} on {chain.rpc}" + (f", slot {chain.slot:,}" if chain.slot else "")
    return f"not asked (--rpc URL asks); the file says {where}"


def not_proven(proven: Proven, committed: Committed | None, payer_is_given: bool) -> list[str]:
    """What a reader may not conclude."""
    lines = []
    if not proven.key_is_given:
        lines.append(
            "whose key it is: compare it with the one that the exchange publishes, or give yours with --key"
        )
    if committed is None:
        lines.append("that the batch is on chain: nobody was asked")
    elif not payer_is_given:
        lines.append(f"that {committed.payer} settles for the exchange: give the key that does with --payer")
    return [*lines, *NOT_PROVEN]
