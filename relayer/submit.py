"""Getting transactions onto the chain: sign, record, send, watch, resend the same bytes, re-sign with proof."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.common.errors import RpcError, TransactionRejected
from engine.common.logs import get_logger
from relayer.chain.messages import Signed, Signer, memo_message, sign
from relayer.chain.results import BlockhashInfo, TransactionStatus
from relayer.chain.rpc import RpcClient
from relayer.core.graph import Graph, Node
from relayer.core.lifecycle import Event, State, after, may_expire
from relayer.store import Signature, Store

BLOCKHASH_FRESH_SLOTS = 40
"""A blockhash older than this is not signed with any more; it is valid for 150 blocks."""
RESEND_POLLS = 20
EXPIRY_POLLS = 60
_PROCESSED = "AlreadyProcessed"


@dataclass(slots=True)
class Flight:
    """An intent that is signed and not yet final."""

    node: Node
    payload: bytes
    state: State
    signatures: list[Signature] = field(default_factory=list)
    polls_unseen: int = 0
    last_error: str = ""  # an error repeated at every poll is told once


class Landed(NamedTuple):
    """A transaction that is now finalized."""

    node: Node
    slot: int
    signature: str


class Submitter:
    """Owns every intent from ready to final. Decisions are the core's; this does the waiting."""

    def __init__(self, rpcs: Sequence[RpcClient], signer: Signer, store: Store, graph: Graph) -> None:
        self._rpcs, self._signer, self._store, self._graph = rpcs, signer, store, graph
        self._blockhash: BlockhashInfo | None = None
        self.flights: dict[Node, Flight] = {}
        self.slot = 0
        self.sent = 0
        self.resigned = 0
        self.failed = 0
        self.rpc_errors = 0
        self._log = get_logger()

    @property
    def _rpc(self) -> RpcClient:
        return self._rpcs[0]

    def adopt(self, node: Node, payload: bytes, state: State) -> None:
        """Take up an intent that an earlier run had signed: it may have landed, so it is watched first."""
        flight = Flight(node, payload, state, self._store.signatures(node))
        flight.polls_unseen = RESEND_POLLS - 1
        self.flights[node] = flight

    async def submit(self, ready: dict[Node, bytes]) -> None:
        """Sign, record and send what is ready. Unanswered ones stay in flight: they may have landed.

        RpcError: no blockhash can be had now; nothing was signed.
        """
        blockhash = await self._fresh_blockhash()
        made: list[tuple[Flight, Signature]] = []
        for node, payload in ready.items():
            flight = self.flights.get(node) or Flight(node, payload, State.PLANNED)
            made.append((flight, self._sign(flight, blockhash)))
        with self._store.transaction():
            self._store.add_signatures([s for _, s in made])
            self._store.set_states([(flight.node, State.SIGNED, 0) for flight, _ in made])
        for flight, signature in made:
            flight.state = after(flight.state, Event.SIGN)
            flight.signatures.append(signature)
            flight.polls_unseen = 0
            self.flights[flight.node] = flight
            self.sent += 1
        await asyncio.gather(*(self._send(flight) for flight, _ in made))

    def _sign(self, flight: Flight, blockhash: BlockhashInfo) -> Signature:
        message = memo_message(flight.payload, self._signer.public_key, blockhash.blockhash)
        signed: Signed = sign(message, self._signer)
        return Signature(signed.signature, flight.node, signed.wire, blockhash.last_valid_block_height)

    async def _fresh_blockhash(self) -> BlockhashInfo:
        known = self._blockhash
        if known is None or self.slot - known.slot > BLOCKHASH_FRESH_SLOTS:
            known = self._blockhash = await self._rpc.latest_blockhash("confirmed")
            self.slot = max(self.slot, known.slot)
        return known

    async def _send(self, flight: Flight) -> None:
        """Send the newest bytes once; what the answer means is in the table."""
        try:
            await self._rpc.send_transaction(flight.signatures[-1].wire)
        except TransactionRejected as error:
            accepted = error.reason == _PROCESSED
            flight.state = after(flight.state, Event.ACCEPTED if accepted else Event.UNANSWERED)
            if not accepted:
                self._tell(flight, error)
        except RpcError as error:
            flight.state = after(flight.state, Event.UNANSWERED)
            self._tell(flight, error)
        else:
            flight.state = after(flight.state, Event.ACCEPTED)

    def _tell(self, flight: Flight, error: RpcError) -> None:
        self.rpc_errors += 1
        if flight.last_error != error.line():
            flight.last_error = error.line()
            self._log.warning(
                "send_unanswered", batch=flight.node.batch, chunk=flight.node.chunk, reason=error.line()
            )

    async def watch(self) -> list[Landed]:
        """One look at everything in flight. Returns what became final; drives resends and expiry proofs.

        RpcError: the node cannot be asked now; nothing is concluded from that.
        """
        flights = list(self.flights.values())
        asked = [(flight, s) for flight in flights for s in flight.signatures]
        page = await self._rpc.signature_statuses([s.signature for _, s in asked], search_history=True)
        self.slot = max(self.slot, page.slot)
        seen: dict[Node, tuple[Signature, TransactionStatus]] = {}
        for (flight, signature), status in zip(asked, page.statuses, strict=True):
            if status is not None:
                seen[flight.node] = (signature, status)
        landed = []
        for flight in flights:
            if flight.node in seen:
                final = self._saw(flight, *seen[flight.node])
                if final is not None:
                    landed.append(final)
            else:
                self._saw_nothing(flight)
        await self._chase([f for f in flights if f.node not in seen and f.node in self.flights], page.slot)
        return landed

    def _saw(self, flight: Flight, signature: Signature, status: TransactionStatus) -> Landed | None:
        flight.polls_unseen = 0
        if status.err is not None:
            if status.reached("finalized"):
                flight.state = after(flight.state, Event.LANDED_WITH_ERROR)
                self.failed += 1
                self._log.error("transaction_failed", batch=flight.node.batch, chunk=flight.node.chunk)
                del self.flights[flight.node]
            return None
        if status.reached("finalized"):
            flight.state = after(flight.state, Event.SEEN_FINALIZED)
            self._graph.finish(flight.node)
            del self.flights[flight.node]
            return Landed(flight.node, status.slot, signature.signature)
        if status.reached("confirmed"):
            flight.state = after(flight.state, Event.SEEN_CONFIRMED)
            self._graph.confirm(flight.node)
        return None

    def _saw_nothing(self, flight: Flight) -> None:
        flight.polls_unseen += 1
        if flight.state is State.CONFIRMED:
            flight.state = after(flight.state, Event.ROLLED_BACK)
            undone = self._graph.unconfirm(flight.node)
            self._log.warning(
                "rolled_back", batch=flight.node.batch, chunk=flight.node.chunk, undone=len(undone)
            )

    async def _chase(self, unseen: list[Flight], slot: int) -> None:
        """Resend the same bytes of what stays unseen, and sign anew only what provably cannot land."""
        late = [f for f in unseen if f.polls_unseen % RESEND_POLLS == 0 and f.polls_unseen]
        if late:
            await asyncio.gather(*(self._send(f) for f in late))
        old = [f for f in unseen if f.polls_unseen >= EXPIRY_POLLS]
        if not old:
            return
        heights = [await rpc.block_height("finalized") for rpc in self._rpcs[:2]]
        gone = [f for f in old if min(heights) > max(s.last_valid_height for s in f.signatures)]
        if not gone:
            return
        proven = [f for f in gone if await self._proven_absent(f, min(heights), slot)]
        for flight in proven:
            flight.state = after(flight.state, Event.PROVEN_EXPIRED)
            self.resigned += 1
            self._log.warning("re_signing", batch=flight.node.batch, chunk=flight.node.chunk)
        if proven:
            await self.submit({f.node: f.payload for f in proven})

    async def _proven_absent(self, flight: Flight, height: int, slot: int) -> bool:
        """No signature of the intent is known anywhere, asked after all of them expired."""
        asked = [s.signature for s in flight.signatures]
        for rpc in self._rpcs[:2]:
            page = await rpc.signature_statuses(asked, search_history=True)
            found = any(status is not None for status in page.statuses)
            last = max(s.last_valid_height for s in flight.signatures)
            if not may_expire(
                finalized_height=height, last_valid_height=last, found=found, search_slot=page.slot, slot=slot
            ):
                return False
        return True
