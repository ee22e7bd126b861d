"""Reading the chain back: pages, failures, foreigners, commitments, on a fake node and on the devnet."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.common.errors import RpcUnavailable
from relayer.chain.results import LandedTransaction
from relayer.chain.rpc import RpcClient
from relayer.core.graph import Node
from relayer.core.payload import Chunk, Commit, Delta, encode_chunk, encode_commit
from relayer.devnet.faults import Faults
from relayer.devnet.node import Node as Devnet
from relayer.devnet.server import Server
from relayer.verify.batches import PlainBatch
from relayer.verify.chain import (
    ChainEvidence,
    batch_differences,
    count_differences,
    dag_differences,
    read_chain,
    root_differences,
)
from tests.relayer.devnet.transactions import SEED, SIGNER, memo

from .material import PAYER, Entry, FakeChain, wire_of


def commit(batch: int) -> Commit:
    return Commit(batch, 10 * batch, 10 * batch + 9, 3, 3 * batch, bytes([batch % 256] * 32), 1, 1, bytes(32))


def chunk(batch: int) -> Chunk:
    return Chunk(batch, 0, (Delta(bytes([1] * 32), 0, 5, -5, 0, 0, batch - 1),))


def read(entries: list[Entry]) -> tuple[ChainEvidence, FakeChain]:
    chain = FakeChain(entries)
    return asyncio.run(read_chain(chain, PAYER)), chain  # type: ignore[arg-type]


def test_commits_and_chunks_by_node() -> None:
    found, _ = read([Entry(7, wire_of(encode_commit(commit(1)))), Entry(8, wire_of(encode_chunk(chunk(1))))])
    assert set(found.transactions) == {Node(1), Node(1, 0)}
    landed = found.one(Node(1, 0))
    assert landed is not None
    assert (landed.slot, landed.memo) == (8, encode_chunk(chunk(1)))
    assert (found.finalized, found.foreign) == (2, 0)


@pytest.mark.parametrize(("count", "pages"), [(0, 1), (1, 1), (999, 1), (1000, 2), (1001, 2), (2500, 3)])
def test_every_page_is_read_once(count: int, pages: int) -> None:
    entries = [Entry(k, wire_of(encode_commit(commit(k)))) for k in range(1, count + 1)]
    found, chain = read(entries)
    assert chain.pages == pages
    assert set(found.transactions) == {Node(k) for k in range(1, count + 1)}
    assert found.finalized == count
    assert all(len(landed) == 1 for landed in found.transactions.values())


def test_what_failed_settles_nothing() -> None:
    error = {"InstructionError": [0, "Custom"]}
    found, _ = read([Entry(7, wire_of(encode_commit(commit(1))), err=error)])
    assert found == ChainEvidence()


def test_a_failure_hidden_in_the_list_is_seen_in_the_transaction() -> None:
    class Liar(FakeChain):
        async def transactions(
            self, signatures: list[str], commitment: str
        ) -> list[LandedTransaction | None]:
            return [LandedTransaction(7, "AccountInUse", None, e.wire, 5000, None) for e in self.entries]

    chain = Liar([Entry(7, wire_of(encode_commit(commit(1))))])
    assert asyncio.run(read_chain(chain, PAYER)).transactions == {}  # type: ignore[arg-type]


def test_what_is_not_finalized_settles_nothing() -> None:
    class Young(FakeChain):
        async def transactions(
            self, signatures: list[str], commitment: str
        ) -> list[LandedTransaction | None]:
            return [None for _ in signatures]

    chain = Young([Entry(7, wire_of(encode_commit(commit(1))))])
    found = asyncio.run(read_chain(chain, PAYER))  # type: ignore[arg-type]
    assert (found.transactions, found.finalized, found.foreign) == ({}, 0, 1)


@pytest.mark.parametrize(
    "memo_bytes",
    [
        b"somebody's words",
        b"godark/1 commit\n1 2 3\n",
        encode_commit(commit(1)) + b"\n",
        encode_commit(commit(1)).replace(b" 19 ", b" +19 "),
        encode_chunk(chunk(1)).replace(b" -5 ", b" -05 "),
    ],
)
def test_a_foreign_memo_is_counted_and_never_taken_for_ours(memo_bytes: bytes) -> None:
    found, _ = read([Entry(7, wire_of(memo_bytes)), Entry(8, wire_of(encode_commit(commit(1))))])
    assert (found.foreign, found.finalized) == (1, 1)
    assert set(found.transactions) == {Node(1)}


def test_a_node_that_landed_twice_is_no_evidence_of_either() -> None:
    wire = wire_of(encode_commit(commit(1)))
    found, _ = read([Entry(7, wire), Entry(9, wire)])
    assert [landed.slot for landed in found.transactions[Node(1)]] == [9, 7]
    assert found.one(Node(1)) is None


def test_an_unreachable_node_is_an_error_and_not_an_empty_chain() -> None:
    async def ask() -> ChainEvidence:
        async with RpcClient("http://127.0.0.1:9", timeout_s=1.0) as rpc:
            return await read_chain(rpc, PAYER)

    with pytest.raises(RpcUnavailable):
        asyncio.run(ask())


def test_an_empty_chain_lacks_every_node_and_nothing_else() -> None:
    root = Node(1)
    batch = PlainBatch(commit(1), {root: encode_commit(commit(1))}, {root: set()})
    empty = ChainEvidence()
    assert count_differences([batch], empty) == [f"{root} is not on chain"]
    assert root_differences([batch], empty) == batch_differences([batch], empty) == []
    assert dag_differences([batch], empty) == []


def test_the_real_devnet_is_read_back(tmp_path: Path) -> None:
    """Over real HTTP: our two memos, a stranger's words, a transfer, all finalized."""

    async def play() -> ChainEvidence:
        node = Devnet.open(tmp_path, on_demand=True, new_seed=SEED)
        server = Server(node, Faults())
        await server.start("127.0.0.1", 0)
        try:
            async with RpcClient(f"http://127.0.0.1:{server.port}", timeout_s=5) as client:
                payer = str(SIGNER.public_key)
                await client.request_airdrop(payer, 10**10)
                blockhash = (await client.latest_blockhash()).blockhash
                signatures = []
                for text in (encode_commit(commit(1)), encode_chunk(chunk(1)), b"hello"):
                    signed = memo(blockhash, text.decode())
                    signatures.append(await client.send_transaction(signed.wire))
                    await _final(client, signed.signature)
                return await read_chain(client, payer)
        finally:
            await server.close()
            node.close()

    async def _final(client: RpcClient, signature: str) -> None:
        async with asyncio.timeout(10):
            while True:
                [status] = (await client.signature_statuses([signature], True)).statuses
                if status is not None and status.reached("finalized"):
                    return

    found = asyncio.run(play())
    assert set(found.transactions) == {Node(1), Node(1, 0)}
    assert (found.finalized, found.foreign) == (2, 2)
    first, second = found.one(Node(1)), found.one(Node(1, 0))
    assert first is not None
    assert second is not None
    assert second.slot > first.slot
