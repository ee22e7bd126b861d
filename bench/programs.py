"""What settlement costs on chain today, as memos: bytes, compute units, deltas a transaction, transactions/s."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from solders.keypair import Keypair

from bench.harness import Budget
from engine.app.cli import ROOT
from engine.app.supervisor import ProcessSpec, Supervisor, python_command
from engine.common.errors import ProcessFailed
from engine.common.settings import Settings
from relayer.chain.messages import Signed, memo_message, parse_memo, sign
from relayer.chain.rpc import RpcClient
from relayer.core.payload import ROWS_PER_CHUNK_MAX, Chunk, Commit, Delta, decode, encode_chunk, encode_commit
from relayer.devnet.bank import Bank
from relayer.signer.keyfile import KeyfileSigner

TRANSACTIONS = 2_000
WINDOW = 250
_LAMPORTS = 10**12
_WIDEST = 1 << 61
_READY_S = 30.0
_FINAL_S = 30.0
_SEED = hashlib.sha256(b"godark bench").digest()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def seeded_commit(batch: int, widest: bool = False) -> Commit:
    """The commit of a busy second, or one whose numbers are as long as they get."""
    first = _WIDEST if widest else batch * 20_000
    fills, deltas = (65_536, 131_072) if widest else (12_000, 900)
    chunks = -(-deltas // ROWS_PER_CHUNK_MAX)
    number = _WIDEST if widest else batch
    log_size = 1 << 26 if widest else 12_000 * batch
    return Commit(number, first, first, fills, log_size, _digest("root"), deltas, chunks, _digest(str(batch)))


def seeded_chunk(batch: int, rows: int, widest: bool = False) -> Chunk:
    """A chunk of `rows` deltas of ordinary numbers, or of numbers as long as they get."""
    deltas = []
    for k in range(rows):
        user = _digest(f"user {batch} {k}")
        if widest:
            deltas.append(Delta(user, 255, -_WIDEST, -_WIDEST, -_WIDEST, _WIDEST, 10**9 - 1))
        else:
            deltas.append(
                Delta(user, k, 1_250 * (k + 1), -48_213_774_210 * (k + 1), 5_000_000_000, 0, batch - 1)
            )
    return Chunk(10**9 if widest else batch, 10**5 if widest else 0, tuple(deltas))


class Cost(NamedTuple):
    """One transaction on the embedded chain."""

    wire_bytes: int
    units: int
    right: bool


class Till:
    """A bank in this process and a funded payer, both seeded."""

    def __init__(self) -> None:
        self.bank = Bank(_SEED)
        self.signer = KeyfileSigner(Keypair.from_seed(_SEED))
        self.bank.accept(self.bank.airdrop(self.signer.public_key, _LAMPORTS))

    def signed(self, payload: bytes) -> Signed:
        """A memo on the newest blockhash."""
        blockhash = str(self.bank.blockhash(self.bank.slot))
        return sign(memo_message(payload, self.signer.public_key, blockhash), self.signer)

    def cost(self, value: Commit | Chunk) -> Cost:
        """Land a commit or a chunk; right if it is read back from the wire and is in the chain's log."""
        payload = encode_commit(value) if isinstance(value, Commit) else encode_chunk(value)
        wire = self.signed(payload).wire
        landed = self.bank.accept(self.bank.parse(wire))
        printed = "".join(self.bank.logs_of(landed) or [])
        heard = payload.decode().splitlines()[1] in printed
        right = landed.err is None and decode(parse_memo(wire)) == value and heard
        return Cost(len(wire), landed.units, right)


def transaction_costs() -> Iterator[Budget]:
    """Bytes and compute units of a commit and of chunks; goals on units are those for our own programs."""
    till = Till()
    commits = {"ordinary": till.cost(seeded_commit(7)), "widest": till.cost(seeded_commit(7, widest=True))}
    chunks = {
        f"{rows} deltas{', widest' * widest}": till.cost(seeded_chunk(7, rows, widest=bool(widest)))
        for rows in (1, ROWS_PER_CHUNK_MAX)
        for widest in (0, 1)
    }
    fullest = chunks[f"{ROWS_PER_CHUNK_MAX} deltas, widest"]
    deltas = ROWS_PER_CHUNK_MAX
    for what, costs, worst in (("commit", commits, commits["widest"]), ("chunk", chunks, fullest)):
        yield Budget(
            name=f"memo {what}, transaction size",
            figure=worst.wire_bytes,
            unit="bytes",
            goal="≤ 1232",
            answer_checked=all(cost.right for cost in costs.values()),
            sizes={name: cost.wire_bytes for name, cost in costs.items()},
        )
    yield Budget(
        name="memo commit, compute units",
        figure=commits["widest"].units,
        unit="CU",
        goal="≤ 15000",
        answer_checked=all(cost.right for cost in commits.values()),
        sizes={name: cost.units for name, cost in commits.items()},
    )
    yield Budget(
        name="memo chunk, compute units a delta",
        figure=fullest.units / deltas,
        unit="CU",
        goal="≤ 4000",
        answer_checked=fullest.right,
        sizes={f"{name}, whole": cost.units for name, cost in chunks.items()},
    )
    yield Budget(
        name="deltas in one transaction",
        figure=deltas,
        unit="deltas",
        goal="≥ 20",
        answer_checked=fullest.right,
        sizes={"compute units a transaction": fullest.units},
    )


def bank_rate(count: int) -> float:
    """Transactions/s of signing and executing alone: no HTTP, no disk, no polling."""
    till = Till()
    payloads = [encode_chunk(seeded_chunk(batch, ROWS_PER_CHUNK_MAX)) for batch in range(1, count + 1)]
    began = time.perf_counter()
    for payload in payloads:
        till.bank.accept(till.bank.parse(till.signed(payload).wire))
    return count / (time.perf_counter() - began)


async def _settle(url: str, payloads: list[bytes]) -> tuple[float, bool]:
    """(seconds from the first signing until all are finalized, all were read back as they were sent)."""
    signer = KeyfileSigner(Keypair.from_seed(_SEED))
    async with RpcClient(url, timeout_s=20.0) as rpc:
        await rpc.request_airdrop(str(signer.public_key), _LAMPORTS)
        signatures: list[str] = []
        began = time.perf_counter()
        for at in range(0, len(payloads), WINDOW):
            recent = (await rpc.latest_blockhash()).blockhash
            made = [
                sign(memo_message(payload, signer.public_key, recent), signer)
                for payload in payloads[at : at + WINDOW]
            ]
            await asyncio.gather(*(rpc.send_transaction(signed.wire) for signed in made))
            signatures += [signed.signature for signed in made]
        while not await _all_final(rpc, signatures):
            if time.perf_counter() - began > _FINAL_S:
                raise ProcessFailed(f"not finalized within {_FINAL_S:.0f} s")
        seconds = time.perf_counter() - began
        landed = await rpc.transactions(signatures, "finalized")
    read = [parse_memo(one.wire) for one in landed if one is not None and one.err is None]
    return seconds, read == payloads


async def _all_final(rpc: RpcClient, signatures: list[str]) -> bool:
    page = await rpc.signature_statuses(signatures)
    return all(status is not None and status.reached("finalized") for status in page.statuses)


async def _with_devnet(folder: Path, payloads: list[bytes]) -> tuple[float, bool]:
    settings = Settings(data_dir=folder, devnet={"slot_ms": 0})
    supervisor = Supervisor(log_dir=folder / "logs")
    try:
        spec = ProcessSpec("devnet", python_command("devnet"), _READY_S, settings.to_env())
        ready = await supervisor.start(spec)
        return await _settle(ready["url"], payloads)
    finally:
        await supervisor.stop()


def devnet_rate(count: int) -> Iterator[Budget]:
    """Full chunks through a devnet process: sign, HTTP, execute, sync, poll to finality. No issue sets this goal."""
    payloads = [encode_chunk(seeded_chunk(batch, ROWS_PER_CHUNK_MAX)) for batch in range(1, count + 1)]
    (ROOT / ".cache").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / ".cache") as folder:
        seconds, right = asyncio.run(_with_devnet(Path(folder), payloads))
    rate = count / seconds
    yield Budget(
        name="devnet, chunks signed, sent and finalized",
        figure=rate,
        unit="transactions/s",
        goal="≥ 1000",
        answer_checked=right,
        ratios={"bank alone, no HTTP, no disk": rate / bank_rate(count)},
        sizes={str(count): rate, "deltas/s": rate * ROWS_PER_CHUNK_MAX},
    )


def run(transactions: int = TRANSACTIONS) -> Iterator[Budget]:
    """Measure, sending so many transactions end to end."""
    yield from transaction_costs()
    yield from devnet_rate(transactions)
