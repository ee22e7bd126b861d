"""From evidence to checks: each says one thing, and nothing else turns it false."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relayer.chain.rpc import RpcClient
from relayer.verify.batches import PlainBatch, PlainBatches
from relayer.verify.books import Audit, BooksEvidence
from relayer.verify.chain import (
    ChainEvidence,
    batch_differences,
    count_differences,
    dag_differences,
    read_chain,
    root_differences,
)

SHOWN = 3


def checks_of(
    books: BooksEvidence, batches: list[PlainBatch], chain: ChainEvidence, live_digest: bytes | None
) -> dict[str, list[str]]:
    """Every check and what speaks against it; an empty list is a passed check."""
    digests = {"model": books.model_digest, "fold": books.fold_digest}
    if live_digest is not None:
        digests["live"] = live_digest
    differ = len(set(digests.values())) > 1
    in_batches = sum(b.commit.fills for b in batches)
    lost = [] if in_batches == books.booked else [f"{books.booked} fills booked, {in_batches} in batches"]
    return {
        "zero_sum": [f"sizes of a market sum to {books.size_residual}"] if books.size_residual else [],
        "cash": ([f"cash is off by {books.cash_residual}"] if books.cash_residual else [])
        + books.leg_differences,
        "funding": books.funding_differences,
        "digest": [f"{k} {v.hex()[:16]}" for k, v in digests.items()] if differ else [],
        "chain_root": root_differences(batches, chain),
        "chain_count": count_differences(batches, chain),
        "one_batch": batch_differences(batches, chain) + lost,
        "dag": dag_differences(batches, chain),
    }


def report_of(
    books: BooksEvidence, plain: PlainBatches, chain: ChainEvidence, live_digest: bytes | None
) -> dict[str, Any]:
    """The report: figures, checks, and up to three reasons for each check that is false."""
    found = checks_of(books, plain.batches, chain, live_digest)
    checks = {name: not reasons for name, reasons in found.items()}
    report: dict[str, Any] = {
        "fills_in": books.booked + books.refused,
        "booked": books.booked,
        "duplicate": 0,
        "refused": books.refused,
        "liquidations": books.liquidations,
        "funding_hours": books.funding_hours,
        "funding_paid_e6": books.funding_paid_e6,
        "residual": max(books.size_residual, books.cash_residual),
        "batches": len(plain.batches),
        "log_size": plain.log.size,
        "root": plain.log.root().hex(),
        "tx_sent": chain.finalized,
        "tx_finalized": chain.finalized,
        "stages_ms": {},
        "checks": checks,
        "ok": all(checks.values()),
        "sampled_hours": books.hours_in_full,
        "digest": books.model_digest.hex(),
    }
    reasons = {name: r[:SHOWN] for name, r in found.items() if r}
    if reasons:
        report["reasons"] = reasons
    return report


async def verify(
    directory: Path,
    rpc_url: str,
    payer: str,
    *,
    rows_per_chunk: int,
    upto: int | None = None,
    live_digest: bytes | None = None,
) -> dict[str, Any]:
    """Recompute the journal, read the chain, compare. upto: journal position to stop at (None: its end)."""
    plain = PlainBatches(rows_per_chunk)
    books = Audit(directory, plain, upto=upto).run()
    async with RpcClient(rpc_url, timeout_s=30.0) as rpc:
        chain = await read_chain(rpc, payer)
    return report_of(books, plain, chain, live_digest)
