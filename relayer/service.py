"""The relayer process: follow, plan, publish, submit, watch, tell the engine. One loop, one turn after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TypeVar

import numpy as np

from engine.common.errors import JournalError, ProcessFailed, RpcError
from engine.common.logs import get_logger
from engine.common.ready import notify_ready
from engine.common.settings import Settings
from kernels.frames import FRAME, Source
from kernels.sha256 import path_named
from relayer.chain.messages import Signer
from relayer.chain.rpc import RpcClient
from relayer.core.batch import FILLS_MAX
from relayer.core.graph import Graph, Node
from relayer.core.lifecycle import IN_FLIGHT, State
from relayer.core.note import NoteSigner
from relayer.outcomes import EngineLink, Outcomes
from relayer.page import RelayerPage
from relayer.planner import Plan, Planner
from relayer.publisher import LOG, Publisher
from relayer.resume import ResumePoints
from relayer.signer.keyfile import KeyfileSigner
from relayer.store import Intent, Store, StoreLock
from relayer.submit import Landed, Submitter

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")
_RPC_PAUSE_FIRST_S, _RPC_PAUSE_MAX_S = 0.05, 2.0
_ENGINE_PATIENCE_S = 30.0
_BACKLOG_FACTOR = 4
"""Planned and unsent transactions, as a multiple of those in flight, at which following pauses."""


class Relayer:
    """All parts of the relayer and the turn that drives them."""

    def __init__(
        self,
        settings: Settings,
        rpcs: list[RpcClient],
        signer: Signer,
        log_signer: NoteSigner,
        store: Store,
        engine: EngineLink,
    ) -> None:
        self._settings = settings
        self._store = store
        self._engine = engine
        journal = settings.data_dir / "journal"
        self._publisher = Publisher(
            settings.data_dir / "relayer" / LOG, log_signer, settings.relayer.log_origin
        )
        log = self._publisher.begin(store, path_named(settings.relayer.sha256))
        self._planner = Planner(journal, rows_per_chunk=settings.relayer.rows_per_chunk, store=store, log=log)
        self._resume = ResumePoints(
            store, journal
        )  # lets go of segments: after the planner has seen the journal
        self._graph = Graph()
        self._submitter = Submitter(rpcs, signer, store, self._graph)
        self._outcomes = Outcomes(store)
        self._payloads: dict[Node, bytes] = {}
        self._batches = self._planner.batcher.number
        self._outcomes.begin_behind(self._batches)
        self._planned = self._outcomes.finalized
        self._page = RelayerPage(settings.relayer.page, create=True)
        self._pause_s = 0.0
        self._last_poll_s = 0.0

    async def start(self) -> None:
        """Meet the engine, and send again what it has not got."""
        durable = (await self._engine.connect())[Source.RELAYER]
        await self._outcomes.resend(self._engine, durable)

    async def turn(self) -> bool:
        """One step of everything; True if something happened, so that the next should follow at once."""
        followed = await self._follow()
        await self._engine.keep()
        submitted, told = False, False
        try:
            # Watching comes first: a node that gives no blockhash must not keep us from what has landed.
            told = await self._tell(await self._watch())
            submitted = await self._submit()
            self._pause_s = 0.0
        except RpcError as error:
            self._submitter.rpc_errors += 1
            if not self._pause_s:
                get_logger().warning("rpc_unavailable", reason=error.line())
            self._pause_s = min(max(2 * self._pause_s, _RPC_PAUSE_FIRST_S), _RPC_PAUSE_MAX_S)
            await asyncio.sleep(self._pause_s)
        self._resume.advance(self._outcomes.settled, time.monotonic_ns(), self._engine.acked[Source.RELAYER])
        self._publish()
        return followed or submitted or told

    async def _follow(self) -> bool:
        """Plan what the journal has, publish it, take it up. The disk is waited for elsewhere: nobody stalls."""
        plans, moved = self._gather()
        if plans:
            added = [(plan.commit.batch, plan.growth) for plan in plans]
            signed = await _in_thread(self._publisher.write, added)
            with self._store.transaction():
                self._store.add_checkpoints(signed)
                intents = [[self._store.plan(*row) for row in plan.payloads.items()] for plan in plans]
            await _in_thread(self._publisher.announce, signed)
            for plan, mine in zip(plans, intents, strict=True):
                self._take_up(plan, mine)
        return moved

    def _gather(self) -> tuple[list[Plan], bool]:
        """Plans, as long as the backlog is small enough: full means, follow later; and whether anything moved."""
        room = _BACKLOG_FACTOR * self._settings.relayer.inflight_max - len(self._graph)
        plans: list[Plan] = []
        leaves, moved = 0, False
        while room > 0 and leaves < FILLS_MAX:
            before = self._planner.follower.position
            plan = self._planner.next()
            if plan is not None:
                plans.append(plan)
                room -= len(plan.payloads)
                leaves += plan.commit.fills
            elif self._planner.follower.position == before:
                break
            moved = True
        return plans, moved

    def _take_up(self, plan: Plan, intents: list[Intent]) -> None:
        """Go on with each of its transactions, which are recorded, from where an earlier run left it."""
        self._batches = plan.commit.batch
        self._planned += len(intents)
        self._outcomes.expect(plan.commit.batch, intents)
        self._resume.expect(plan.resume, plan.deltas)
        for intent in intents:
            if intent.state is State.FINALIZED:
                continue
            if intent.state is State.FAILED:
                raise ProcessFailed(f"batch {intent.node.batch} failed on chain; an operator must look at it")
            self._graph.add(intent.node, plan.edges[intent.node])
            self._payloads[intent.node] = intent.payload
            if intent.state in IN_FLIGHT:
                self._graph.take(intent.node)
                self._submitter.adopt(intent.node, intent.payload, State.SIGNED)

    async def _submit(self) -> bool:
        room = self._settings.relayer.inflight_max - len(self._submitter.flights)
        ready = self._graph.take_ready(max(0, room))
        if not ready:
            return False
        try:
            await self._submitter.submit({node: self._payloads[node] for node in ready})
        except RpcError:
            for node in ready:
                if node not in self._submitter.flights:
                    self._graph.give_back(node)
            raise
        return True

    async def _watch(self) -> list[Landed]:
        if not self._submitter.flights:
            return []
        now_s = time.monotonic()
        if now_s - self._last_poll_s < self._settings.relayer.rpc_poll_ms / 1000:
            return []
        self._last_poll_s = now_s
        landed = await self._submitter.watch()
        if self._submitter.failed:
            raise ProcessFailed("a settlement transaction failed on chain; settling stops")
        return landed

    async def _tell(self, landed: list[Landed]) -> bool:
        if not landed and not self._outcomes.due():
            return False
        frames = self._outcomes.record(landed)
        for x in landed:
            del self._payloads[x.node]
        await self._engine.send(np.frombuffer(b"".join(frames), FRAME))
        return True

    def _publish(self) -> None:
        row, planner, submitter = self._page.row, self._planner, self._submitter
        row["position"], row["ordinal"] = planner.follower.position, planner.ordinal
        row["batches"], row["settled"] = self._batches, self._outcomes.settled
        row["open_fills"], row["log_size"] = planner.batcher.open_fills, planner.log.size
        row["planned"], row["tx_sent"] = self._planned, submitter.sent
        row["tx_finalized"], row["tx_failed"] = self._outcomes.finalized, submitter.failed
        row["tx_confirmed"] = self._outcomes.finalized + submitter.confirmed
        row["slot"], row["resigned"] = submitter.slot, submitter.resigned
        row["rpc_errors"] = submitter.rpc_errors
        row["outcomes_acked"] = self._engine.acked[Source.RELAYER]
        row["heartbeat_ns"] = time.monotonic_ns()


async def serve(settings: Settings, engine: EngineLink, stop: asyncio.Event) -> None:
    """Run until `stop`. The key is loaded, the record opened, the engine met before the first transaction."""
    signer = KeyfileSigner.load(settings.relayer.keyfile)
    log_signer = KeyfileSigner.load_or_create(settings.relayer.log_keyfile)
    lock = StoreLock(settings.data_dir / "relayer")
    store = Store(settings.data_dir / "relayer" / "store.sqlite")
    async with AsyncExitStack() as stack:
        stack.callback(lock.release)
        stack.callback(store.close)
        rpcs = [await stack.enter_async_context(RpcClient(url)) for url in settings.relayer.rpc_urls]
        if not rpcs:
            raise ProcessFailed("the relayer has no RPC endpoint: set relayer.rpc_urls")
        await _await_journal(settings, stop)
        relayer = Relayer(settings, rpcs, signer, log_signer, store, engine)
        await relayer.start()
        stack.push_async_callback(engine.close)
        notify_ready({"payer": str(signer.public_key)})
        while not stop.is_set():
            if not await relayer.turn():
                await asyncio.sleep(settings.relayer.poll_ms / 1000)


async def _in_thread(call: Callable[[_Given], _Made], given: _Given) -> _Made:
    """Call it beside the loop. Whoever is cancelled meanwhile still waits for its end, some syncs at most.

    So the lock is given back when nothing is written any more.
    """
    task = asyncio.create_task(asyncio.to_thread(call, given))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _await_journal(settings: Settings, stop: asyncio.Event) -> None:
    """Wait for the engine's head page: the relayer may start first."""
    head = settings.data_dir / "journal" / "head"
    deadline = time.monotonic() + _ENGINE_PATIENCE_S
    while not head.exists() and not stop.is_set():
        if time.monotonic() > deadline:
            raise JournalError(f"{head}: no engine has run here; start one")
        await asyncio.sleep(0.05)
