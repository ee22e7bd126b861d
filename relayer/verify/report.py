"""From evidence to checks: each says one thing, and nothing else turns it false."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.journal.restore import require_whole
from relayer.chain.rpc import RpcClient
from relayer.core.graph import Node
from relayer.verify.batches import PlainBatches
from relayer.verify.books import Audit, BooksEvidence
from relayer.verify.chain import (
    ChainEvidence,
    batch_differences,
    count_differences,
    dag_differences,
    read_chain,
    root_differences,
)
from relayer.verify.differences import CASH, DIGEST, FUNDING, ZERO_SUM
from relayer.verify.published import published_differences

SHOWN = 3


def checks_of(
    books: BooksEvidence,
    plain: PlainBatches,
    chain: ChainEvidence,
    live_digest: bytes | None,
    published: list[str] | None = None,
) -> dict[str, list[str]]:
    """Every check and what speaks against it; an empty list is a passed check.

    published: what speaks against the published log; None: nobody looked, and there is no such check.
    """
    live = books.fold_digest if live_digest is None else live_digest
    differ = [f"live {live.hex()[:16]}, replayed {books.fold_digest.hex()[:16]}"]
    batches = plain.batches
    held = sum(b.commit.fills for b in batches) + plain.open_fills
    lost = [] if held == books.booked else [f"{books.booked} fills booked, {held} in batches"]
    found = books.differences
    checks = {
        "zero_sum": found.against(ZERO_SUM),
        "cash": found.against(CASH),
        "funding": found.against(FUNDING),
        "digest": (differ if live != books.fold_digest else []) + found.against(DIGEST),
        "chain_root": root_differences(batches, chain),
        "chain_count": count_differences(batches, chain),
        "one_batch": batch_differences(batches, chain) + lost,
        "dag": dag_differences(batches, chain),
    }
    return checks if published is None else checks | {"published": published}


def report_of(
    books: BooksEvidence,
    plain: PlainBatches,
    chain: ChainEvidence,
    live_digest: bytes | None,
    published: list[str] | None = None,
) -> dict[str, Any]:
    """The report: figures, checks, and up to three reasons for each check that is false."""
    found = checks_of(books, plain, chain, live_digest, published)
    checks = {name: not reasons for name, reasons in found.items()}
    report: dict[str, Any] = {
        "fills_in": books.booked + books.refused,
        "booked": books.booked,
        "duplicate": 0,
        "refused": books.refused,
        "liquidations": books.liquidations,
        "funding_hours": books.funding_hours,
        "funding_paid_e6": books.funding_paid_e6,
        "residual": books.residual,
        "batches": len(plain.batches),
        "log_size": plain.log_size,
        "root": plain.log.root().hex(),
        "tx_sent": chain.finalized,
        "tx_finalized": chain.finalized,
        "stages_ms": {},
        "checks": checks,
        "ok": all(checks.values()),
        "sampled_hours": books.hours_in_full,
        "digest": books.fold_digest.hex(),
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
    relayer_dir: Path | None = None,
    log_origin: str = "",
) -> dict[str, Any]:
    """Recompute the journal, read the chain, compare. upto: journal position to stop at (None: its end).

    relayer_dir: where the relayer keeps its record and the published log, named log_origin; None: not looked at.
    JournalGone: its start was unlinked. A fold from a snapshot would believe what it should check.
    """
    require_whole(directory, "it is checked from its first frame, not from a snapshot")
    plain = PlainBatches(rows_per_chunk)
    books = Audit(directory, plain, upto=upto).run()
    async with RpcClient(rpc_url, timeout_s=30.0) as rpc:
        chain = await read_chain(rpc, payer)
    published = None
    if relayer_dir is not None:
        on_chain = [b.commit.batch for b in plain.batches if chain.one(Node(b.commit.batch))]
        published = published_differences(relayer_dir, log_origin, plain.batches, max(on_chain, default=0))
    return report_of(books, plain, chain, live_digest, published)
