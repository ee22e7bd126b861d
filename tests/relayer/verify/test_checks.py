"""Each of the eight checks: one byte or number corrupted, and that check alone turns false."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relayer.core.graph import Node
from relayer.core.payload import Chunk, Commit
from relayer.verify.books import Audit
from relayer.verify.chain import read_chain
from relayer.verify.model_state import Ledger
from relayer.verify.report import report_of

from .material import PAYER, Entries, FakeChain, altered, audited, settle, wire_of, write_journal

CHECKS = {"zero_sum", "cash", "funding", "digest", "chain_root", "chain_count", "one_batch", "dag"}
Tamper = Callable[[Audit], object]


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """(directory, digest of the state that wrote it)."""
    directory = tmp_path_factory.mktemp("run") / "journal"
    return directory, write_journal(directory)


def judge(
    journal: tuple[Path, bytes],
    *,
    books: Tamper = lambda _: None,
    chain: Callable[[Entries], Entries] = lambda entries: entries,
    live: Callable[[bytes], bytes] = lambda digest: digest,
    live_follows_books: bool = False,
) -> dict[str, Any]:
    """The report on the run, with the evidence corrupted on the way."""
    directory, digest = journal
    audit, plain = audited(directory)
    books(audit)
    evidence = audit.conclude()
    entries = chain(settle(plain.batches))
    found = asyncio.run(read_chain(FakeChain(list(entries.values())), PAYER))  # type: ignore[arg-type]
    seen = evidence.fold_digest if live_follows_books else live(digest)
    return report_of(evidence, plain, found, seen)


def only(report: dict[str, Any], check: str) -> None:
    """That check is false, the other seven are true, and a reason is given."""
    assert {name for name, good in report["checks"].items() if not good} == {check}, report.get("reasons")
    assert not report["ok"]
    assert list(report["reasons"]) == [check]
    assert report["reasons"][check]


def test_an_honest_run_passes_all_eight(journal: tuple[Path, bytes]) -> None:
    report = judge(journal)
    assert report["checks"] == dict.fromkeys(CHECKS, True), report.get("reasons")
    assert report["ok"]
    assert report["residual"] == 0
    assert "reasons" not in report
    assert report["booked"] == report["log_size"] == report["fills_in"] > 400
    assert report["funding_hours"] == 1
    assert report["funding_paid_e6"] > 0
    assert report["batches"] > 20
    assert report["tx_finalized"] > 2 * report["batches"]


def bump(target: object, name: str) -> None:
    setattr(target, name, getattr(target, name) + 1)


LEDGER: list[tuple[str, str, Callable[[Ledger], object]]] = [
    ("zero_sum", "a position's size", lambda ledger: bump(ledger.positions[3], "size")),
    ("zero_sum", "a running sum of sizes", lambda ledger: bump(ledger.tables.markets[1], "sum_size")),
    ("zero_sum", "open interest", lambda ledger: bump(ledger.tables.markets[0], "open_interest")),
    ("cash", "a position's cash", lambda ledger: bump(ledger.positions[3], "cash")),
    ("cash", "a balance", lambda ledger: bump(ledger.accounts[2], "free_e6")),
    ("cash", "the insurance fund", lambda ledger: bump(ledger.accounts[0], "free_e6")),
    ("cash", "the house", lambda ledger: bump(ledger.meta, "house_e6")),
    ("cash", "a sum moved in", lambda ledger: bump(ledger.tables.markets[1], "moved_in")),
    ("cash", "deposits", lambda ledger: bump(ledger.meta, "deposits_e6")),
    ("funding", "a funding index", lambda ledger: bump(ledger.tables.markets[0], "index_e6")),
    ("funding", "the index a position was settled to", lambda ledger: bump(ledger.positions[3], "idx")),
    ("funding", "a remainder", lambda ledger: bump(ledger.positions[3], "rem")),
    ("funding", "a rate", lambda ledger: bump(ledger.tables.markets[1], "rate_e12")),
    ("funding", "what a position owes", lambda ledger: bump(ledger.positions[3], "eager_pay_e6")),
    ("digest", "a price", lambda ledger: bump(ledger.tables.markets[0], "mark")),
    ("digest", "a nonce", lambda ledger: bump(ledger.accounts[2], "nonce")),
]  # fmt: skip


@pytest.mark.parametrize(("check", "what", "tamper"), LEDGER, ids=[f"{c}: {w}" for c, w, _ in LEDGER])
def test_a_number_of_the_recomputed_books(
    journal: tuple[Path, bytes], check: str, what: str, tamper: Callable[[Ledger], object]
) -> None:
    only(judge(journal, books=lambda audit: tamper(audit.model.ledger)), check)


ARRAYS = [
    ("zero_sum", "positions", 3, "size"),
    ("cash", "positions", 3, "cash"),
    ("cash", "accounts", 2, "free_e6"),
    ("funding", "markets", 0, "index_e6"),
    ("funding", "positions", 3, "idx"),
    ("digest", "feeds", 0, "price"),
]


@pytest.mark.parametrize(("check", "array", "row", "field"), ARRAYS)
def test_a_number_of_the_engine_s_own_arrays(
    journal: tuple[Path, bytes], check: str, array: str, row: int, field: str
) -> None:
    """As if the compiled fold were wrong, live and replayed alike: the plain integers know better."""

    def tamper(audit: Audit) -> None:
        getattr(audit.machine.books, array)[row][field] += 1

    only(judge(journal, books=tamper, live_follows_books=True), check)


def test_the_residual_is_the_largest_difference(journal: tuple[Path, bytes]) -> None:
    def tamper(audit: Audit) -> None:
        audit.model.ledger.positions[0].cash += 5
        audit.model.ledger.meta.house_e6 += 77

    assert judge(journal, books=tamper)["residual"] >= 77


@pytest.mark.parametrize("byte", [0, 31])
def test_a_byte_of_the_live_digest(journal: tuple[Path, bytes], byte: int) -> None:
    def flip(digest: bytes) -> bytes:
        return digest[:byte] + bytes([digest[byte] ^ 1]) + digest[byte + 1 :]

    only(judge(journal, live=flip), "digest")


def commit_with(**changes: Any) -> Callable[[Commit | Chunk], Commit | Chunk]:
    def change(value: Commit | Chunk) -> Commit | Chunk:
        assert isinstance(value, Commit)
        return value._replace(**{k: f(getattr(value, k)) for k, f in changes.items()})

    return change


def first_byte(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def row_with(**changes: Any) -> Callable[[Commit | Chunk], Commit | Chunk]:
    def change(value: Commit | Chunk) -> Commit | Chunk:
        assert isinstance(value, Chunk)
        row = value.rows[0]._replace(**{k: f(getattr(value.rows[0], k)) for k, f in changes.items()})
        return value._replace(rows=(row, *value.rows[1:]))

    return change


MEMOS: list[tuple[str, Node, Callable[[Commit | Chunk], Commit | Chunk]]] = [
    ("chain_root", Node(1), commit_with(root=first_byte)),
    ("chain_root", Node(9), commit_with(root=lambda root: root[:31] + bytes([root[31] ^ 128]))),
    ("chain_root", Node(9), commit_with(log_size=lambda n: n + 1)),
    ("chain_count", Node(9), commit_with(fills=lambda n: n + 1)),
    ("chain_count", Node(9), commit_with(deltas=lambda n: n - 1)),
    ("chain_count", Node(9), commit_with(chunks=lambda n: n + 1)),
    ("chain_count", Node(9), commit_with(content=first_byte)),
    ("chain_count", Node(5, 0), row_with(dsize=lambda n: n + 1)),
    ("chain_count", Node(5, 1), row_with(dcash=lambda n: n - 1)),
    ("chain_count", Node(5, 1), row_with(user=first_byte)),
    ("chain_count", Node(5, 1), row_with(prev_batch=lambda n: n + 1)),
    ("one_batch", Node(9), commit_with(first=lambda n: n - 1)),
    ("one_batch", Node(9), commit_with(last=lambda n: n + 1)),
]


@pytest.mark.parametrize(("check", "node", "change"), MEMOS)
def test_a_number_of_a_memo_on_chain(
    journal: tuple[Path, bytes], check: str, node: Node, change: Callable[[Commit | Chunk], Commit | Chunk]
) -> None:
    only(judge(journal, chain=lambda entries: altered(entries, node, change)), check)


@pytest.mark.parametrize("node", [Node(4), Node(4, 1)])
def test_a_node_missing_on_chain(journal: tuple[Path, bytes], node: Node) -> None:
    def drop(entries: Entries) -> Entries:
        return {at: entry for at, entry in entries.items() if at != node}

    only(judge(journal, chain=drop), "chain_count")


def test_a_memo_that_is_not_ours_any_more(journal: tuple[Path, bytes]) -> None:
    def spoil(entries: Entries) -> Entries:
        return entries | {Node(4, 0): replace(entries[Node(4, 0)], wire=wire_of(b"godark/1 chunk\n4 0 x\n"))}

    only(judge(journal, chain=spoil), "chain_count")


def test_a_node_that_nobody_asked_for(journal: tuple[Path, bytes]) -> None:
    def extra(entries: Entries) -> Entries:
        copied = altered(entries, Node(4, 0), lambda chunk: chunk._replace(chunk=99))
        return entries | {Node(4, 99): copied[Node(4, 0)]}

    only(judge(journal, chain=extra), "chain_count")


@pytest.mark.parametrize("node", [Node(4), Node(4, 1)])
def test_a_node_that_landed_twice(journal: tuple[Path, bytes], node: Node) -> None:
    def again(entries: Entries) -> Entries:
        return entries | {Node(-1): entries[node]}

    only(judge(journal, chain=again), "one_batch")


@pytest.mark.parametrize("late", [0, 1])
def test_the_slot_of_a_parent(journal: tuple[Path, bytes], late: int) -> None:
    """A commit that landed in the slot of its own first chunk, or after it."""

    def shift(entries: Entries) -> Entries:
        slot = entries[Node(4, 0)].slot + late
        return entries | {Node(4): replace(entries[Node(4)], slot=slot)}

    only(judge(journal, chain=shift), "dag")


def test_a_chunk_before_the_one_that_last_touched_its_positions(journal: tuple[Path, bytes]) -> None:
    def shift(entries: Entries) -> Entries:
        commit_slot = entries[Node(7)].slot
        later = {node: e for node, e in entries.items() if node.batch > 6}
        kept = {node: e for node, e in entries.items() if node.batch <= 6}
        # Batch 6's chunk lands only behind the chunk of batch 7 that waits for it.
        moved = replace(entries[Node(6, 0)], slot=commit_slot + 1)
        return kept | {Node(6, 0): moved} | later

    only(judge(journal, chain=shift), "dag")
