"""A relayer's submitter against a served devnet, and what must hold between store and chain at the end."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from solders.signature import Signature as SolanaSignature

from engine.common.errors import RpcError
from relayer.chain import results
from relayer.chain.messages import parse_memo
from relayer.chain.rpc import RpcClient
from relayer.core.graph import Graph, Node
from relayer.core.lifecycle import State
from relayer.devnet import node as devnet
from relayer.devnet.faults import Faults
from relayer.devnet.server import Server
from relayer.store import Store
from relayer.submit import Landed, Submitter
from tests.relayer.devnet.transactions import SEED, SIGNER, fund

Edges = dict[Node, set[Node]]
INFLIGHT_MAX = 64


def payload_of(node: Node) -> bytes:
    """A memo that names its intent."""
    return f"batch {node.batch} chunk {node.chunk}".encode()


def batches(count: int, chunks: int) -> Edges:
    """Commits in a row, chunks behind their commit and behind the same chunk of the batch before."""
    edges: Edges = {}
    for batch in range(1, count + 1):
        root = Node(batch)
        edges[root] = {Node(batch - 1)} if batch > 1 else set()
        for k in range(chunks):
            edges[Node(batch, k)] = {root} | ({Node(batch - 1, k)} if batch > 1 else set())
    return edges


class Liar(RpcClient):
    """Swears consistently that all it is asked about has expired and never landed; sends nothing on."""

    async def slot(self, commitment: str = "confirmed") -> int:
        return await super().slot(commitment) + 10**6

    async def block_height(self, commitment: str = "confirmed") -> int:
        return await super().block_height(commitment) + 10**6

    async def latest_blockhash(self, commitment: str = "confirmed") -> results.BlockhashInfo:
        told = await super().latest_blockhash(commitment)
        return dataclasses.replace(told, slot=told.slot + 10**6)

    async def signature_statuses(
        self, signatures: Sequence[str], search_history: bool = False
    ) -> results.StatusPage:
        page = await super().signature_statuses(signatures, search_history)
        return results.StatusPage(page.slot + 10**6, [None] * len(signatures))

    async def call(self, method: str, params: Sequence[object] = ()) -> Any:
        answer = await super().call(method, params)
        if method == "isBlockhashValid":
            answer = {"context": {"slot": 10**7}, "value": False}
        return answer


class Stage:
    """One chain behind one or more endpoints, each with its own faults; a store, a graph, a submitter."""

    def __init__(self, chain: devnet.Node, store: Path) -> None:
        self.chain = chain
        self.faults: list[Faults] = []
        self.clients: list[RpcClient] = []
        self.edges: Edges = {}
        self._path = store
        self.landed: list[Landed] = []

    def open(self) -> None:
        """A relayer that starts: what the store knows is taken up as the service does it."""
        self.store = Store(self._path)
        self.graph = Graph()
        self.submitter = Submitter(self.clients, SIGNER, self.store, self.graph)
        self.plan(self.edges)

    def plan(self, edges: Edges) -> None:
        """Intents in an order in which parents come first."""
        self.edges = {**self.edges, **edges}
        with self.store.transaction():
            intents = [self.store.plan(node, payload_of(node)) for node in edges]
        for intent in intents:
            if intent.state is State.FINALIZED:
                continue
            self.graph.add(intent.node, edges[intent.node])
            if intent.state is State.SIGNED:
                self.graph.take(intent.node)
                self.submitter.adopt(intent.node, intent.payload, State.SIGNED)

    async def turn(self) -> None:
        """Watch, record, submit, as the service does; an unavailable node costs a turn."""
        ready: list[Node] = []
        try:
            if self.submitter.flights:
                self.record(await self.submitter.watch())
            ready = self.graph.take_ready(INFLIGHT_MAX - len(self.submitter.flights))
            if ready:
                await self.submitter.submit({node: payload_of(node) for node in ready})
        except RpcError:
            for node in ready:
                if node not in self.submitter.flights:
                    self.graph.give_back(node)

    def record(self, landed: list[Landed]) -> None:
        """What the outcomes do with a landing, as far as the store goes."""
        with self.store.transaction():
            self.store.set_states([(x.node, State.FINALIZED, x.slot) for x in landed])
        self.landed += landed

    async def turns(self, count: int) -> None:
        """So many turns, whatever comes of them."""
        for _ in range(count):
            await self.turn()

    async def settle(self, turns_max: int = 1500) -> None:
        """Turns until everything is final."""
        for _ in range(turns_max):
            if not len(self.graph):
                return
            await self.turn()
        raise AssertionError(f"{len(self.graph)} intents are not final after {turns_max} turns")

    def slots(self) -> dict[bytes, list[int]]:
        """From the chain itself: the slots in which each memo landed."""
        found: dict[bytes, list[int]] = {}
        for landed in self.chain.bank.history:
            memo = parse_memo(self.chain.wire_of(landed))
            if not memo.startswith(b"airdrop"):
                assert landed.err is None
                found.setdefault(memo, []).append(landed.slot)
        return found

    def check(self) -> None:
        """Each intent landed once, behind all it waits for, and the store says so too."""
        slots = self.slots()
        assert {memo: len(where) for memo, where in slots.items()} == {payload_of(n): 1 for n in self.edges}
        for node, parents in self.edges.items():
            for parent in parents:
                assert slots[payload_of(parent)][0] < slots[payload_of(node)][0], (parent, node)
        with self.store.transaction():
            intents = [self.store.plan(node, payload_of(node)) for node in self.edges]
        assert {i.node: (i.state, i.slot) for i in intents} == {
            n: (State.FINALIZED, slots[payload_of(n)][0]) for n in self.edges
        }
        for node in self.edges:
            mine = [SolanaSignature.from_string(s.signature) for s in self.store.signatures(node)]
            assert sum(self.chain.bank.find(s) is not None for s in mine) == 1
        assert sorted(x.node for x in self.landed) == sorted(self.edges)


def on_stage(
    data_dir: Path, play: Callable[[Stage], Awaitable[None]], *, endpoints: int = 1, liar: int = -1
) -> Stage:
    """Serve a new chain, run `play`, and hand back the stage, closed. `liar`: which endpoint is a Liar."""

    async def run() -> Stage:
        chain = devnet.Node.open(data_dir, on_demand=True, new_seed=SEED)
        fund(chain)
        for _ in range(devnet.FINALIZED_AFTER_SLOTS + 1):
            chain.advance()  # so that no rollback takes the money away
        stage = Stage(chain, data_dir / "store.sqlite")
        async with AsyncExitStack() as stack:
            stack.callback(chain.close)
            for k in range(endpoints):
                faults = Faults()
                server = Server(chain, faults)
                await server.start("127.0.0.1", 0)
                stack.push_async_callback(server.close)
                client = (Liar if k == liar else RpcClient)(f"http://127.0.0.1:{server.port}", timeout_s=2)
                stage.faults.append(faults)
                stage.clients.append(await stack.enter_async_context(client))
            stage.open()
            stack.callback(lambda: stage.store.close())
            await play(stage)
        return stage

    return asyncio.run(run())
