"""Getting transactions onto the chain: sign, record, send, watch, resend the same bytes, re-sign with proof.

What is assumed. An intent is settled twice only if it is signed again while an earlier signature may still
land, so that step alone decides: it needs the proof of `relayer/expiry.py`. With two endpoints or more, one
that lies, lags or fails can delay a settlement, never double it: it cannot prove alone, and whatever another
has found counts. With one endpoint there is nobody to ask but that one: it may be late, lose answers, answer
with nothing or confuse slots and heights, but an endpoint that consistently tells a false history is believed.
That something is final is believed of the endpoint that is watched, in both cases; `verify` reads it again.

Order holds through rollbacks, because a child is signed with a blockhash that is no older than what it waits
for: on a fork without its parents its blockhash does not exist, and its bytes cannot land there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.common.errors import InvariantBroken, RpcError, RpcUnavailable, TransactionRejected
from engine.common.logs import get_logger
from relayer.chain.messages import Signed, Signer, memo_message, sign
from relayer.chain.results import BlockhashInfo, StatusPage, TransactionStatus, commitment_rank
from relayer.chain.rpc import RpcClient
from relayer.core.graph import Graph, Node
from relayer.core.lifecycle import Event, State, after
from relayer.expiry import ExpiryProof
from relayer.store import Signature, Store

BLOCKHASH_FRESH_SLOTS = 40
"""A blockhash older than this is not signed with any more; it is valid for 150 blocks."""
RESEND_POLLS = 20
EXPIRY_POLLS = 60
_PROCESSED, _NO_BLOCKHASH = "AlreadyProcessed", "BlockhashNotFound"


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
        self._watched = 0
        self._proof = ExpiryProof(rpcs)
        self._blockhash: BlockhashInfo | None = None
        self._landed_slot = 0
        self._expired: dict[Node, Flight] = {}  # proven; to be signed again when their parents are confirmed
        self.flights: dict[Node, Flight] = {}
        self.slot = 0
        self.sent = 0
        self.resigned = 0
        self.failed = 0
        self.rpc_errors = 0
        self._log = get_logger()

    @property
    def _rpc(self) -> RpcClient:
        return self._rpcs[self._watched]

    @property
    def confirmed(self) -> int:
        """How many are confirmed and not yet final."""
        return sum(flight.state is State.CONFIRMED for flight in self.flights.values())

    def adopt(self, node: Node, payload: bytes, state: State) -> None:
        """Take up an intent that an earlier run had signed: it may have landed, so it is watched first."""
        flight = Flight(node, payload, state, self._store.signatures(node))
        flight.polls_unseen = RESEND_POLLS - 1
        self.flights[node] = flight

    async def submit(self, ready: dict[Node, bytes]) -> None:
        """Sign, record and send what is ready. Unanswered ones stay in flight: they may have landed.

        RpcError: no blockhash can be had now; nothing was signed.
        """
        expired = [self._expired[node] for node in ready if node in self._expired]
        dead_height = max((s.last_valid_height for f in expired for s in f.signatures), default=0)
        blockhash = await self._fresh_blockhash(dead_height)
        made: list[tuple[Flight, Signature]] = []
        for node, payload in ready.items():
            flight = self._expired.get(node) or Flight(node, payload, State.PLANNED)
            made.append((flight, self._sign(flight, blockhash)))
        with self._store.transaction():
            self._store.add_signatures([s for _, s in made])
            self._store.set_states([(flight.node, State.SIGNED, 0) for flight, _ in made])
        for flight, signature in made:
            if self._expired.pop(flight.node, None) is not None:
                self.resigned += 1
                self._log.warning("re_signed", batch=flight.node.batch, chunk=flight.node.chunk)
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

    async def _fresh_blockhash(self, dead_height: int) -> BlockhashInfo:
        """A blockhash no older than anything seen landed nor BLOCKHASH_FRESH_SLOTS, valid past `dead_height`."""
        if self._blockhash is None or not self._is_fresh(self._blockhash, dead_height):
            self._blockhash = None
            try:
                found = await self._rpc.latest_blockhash("confirmed")
                if not self._is_fresh(found, dead_height):
                    raise RpcUnavailable(
                        f"{self._rpc.host} has no new blockhash: its newest is of {found.slot}"
                    )
            except RpcError:
                self._watch_another()
                raise
            self._blockhash = found
            self.slot = max(self.slot, found.slot)
        return self._blockhash

    def _is_fresh(self, blockhash: BlockhashInfo, dead_height: int) -> bool:
        oldest = max(self._landed_slot, self.slot - BLOCKHASH_FRESH_SLOTS)
        return blockhash.slot >= oldest and blockhash.last_valid_block_height > dead_height

    def _watch_another(self) -> None:
        """Turn to the next endpoint, and forget what time it was at this one: it may have lied."""
        self._watched = (self._watched + 1) % len(self._rpcs)
        self._blockhash = None
        self.slot = 0

    async def _send(self, flight: Flight) -> None:
        """Send the newest bytes once; what the answer means is in the table."""
        try:
            await self._rpc.send_transaction(flight.signatures[-1].wire)
        except TransactionRejected as error:
            accepted = error.reason == _PROCESSED
            flight.state = after(flight.state, Event.ACCEPTED if accepted else Event.UNANSWERED)
            if error.reason == _NO_BLOCKHASH:
                self._blockhash = None
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

        RpcError: the node cannot be asked now; nothing is concluded from that. InvariantBroken: two
        signatures of one intent have landed.
        """
        flights = list(self.flights.values())
        asked = [(flight, s) for flight in flights for s in flight.signatures]
        page = await self._look([s for _, s in asked])
        seen: dict[Node, tuple[Signature, TransactionStatus]] = {}
        for (flight, signature), status in zip(asked, page.statuses, strict=True):
            if status is not None:
                seen[flight.node] = _better(seen.get(flight.node), (signature, status))
        landed = []
        for flight in flights:
            if flight.node in seen:
                final = self._saw(flight, *seen[flight.node])
                if final is not None:
                    landed.append(final)
            else:
                self._saw_nothing(flight)
        # What has landed is returned whatever becomes of the rest: nothing below raises RpcError.
        await self._chase([f for f in flights if f.node not in seen])
        return landed

    async def _look(self, signatures: list[Signature]) -> StatusPage:
        try:
            page = await self._rpc.signature_statuses([s.signature for s in signatures], search_history=True)
        except RpcError:
            self._watch_another()
            raise
        self.slot = page.slot
        return page

    def _saw(self, flight: Flight, signature: Signature, status: TransactionStatus) -> Landed | None:
        flight.polls_unseen = 0
        if status.err is not None:
            if status.reached("finalized"):
                self._failed(flight, status.slot)
            return None
        if status.reached("confirmed"):
            self._landed_slot = max(self._landed_slot, status.slot)
        if status.reached("finalized"):
            flight.state = after(flight.state, Event.SEEN_FINALIZED)
            self._graph.finish(flight.node)
            del self.flights[flight.node]
            return Landed(flight.node, status.slot, signature.signature)
        if status.reached("confirmed"):
            flight.state = after(flight.state, Event.SEEN_CONFIRMED)
            self._graph.confirm(flight.node)
        elif flight.state is State.CONFIRMED:
            self._rolled_back(flight)
        return None

    def _failed(self, flight: Flight, slot: int) -> None:
        flight.state = after(flight.state, Event.LANDED_WITH_ERROR)
        with self._store.transaction():
            self._store.set_states([(flight.node, flight.state, slot)])
        self.failed += 1
        self._log.error("transaction_failed", batch=flight.node.batch, chunk=flight.node.chunk)
        del self.flights[flight.node]

    def _saw_nothing(self, flight: Flight) -> None:
        flight.polls_unseen += 1
        if flight.state is State.CONFIRMED:
            self._rolled_back(flight)

    def _rolled_back(self, flight: Flight) -> None:
        flight.state = after(flight.state, Event.ROLLED_BACK)
        undone = self._graph.unconfirm(flight.node)
        self._blockhash = None  # it may be of the fork that went
        self._log.warning("rolled_back", batch=flight.node.batch, chunk=flight.node.chunk, undone=len(undone))

    async def _chase(self, unseen: list[Flight]) -> None:
        """Resend the same bytes of what stays unseen; what provably cannot land waits to be signed anew."""
        late = [f for f in unseen if f.polls_unseen % RESEND_POLLS == 0]
        await asyncio.gather(*(self._send(f) for f in late))
        old = [f for f in late if f.polls_unseen >= EXPIRY_POLLS]
        if not old:
            return
        verdicts = await self._proof.judge([f.signatures for f in old])
        if any(verdict.found for verdict in verdicts):
            self._watch_another()
        for flight, verdict in zip(old, verdicts, strict=True):
            if verdict.expired:
                flight.state = after(flight.state, Event.PROVEN_EXPIRED)
                self._expired[flight.node] = self.flights.pop(flight.node)
                self._graph.give_back(flight.node)


_Seen = tuple[Signature, TransactionStatus]


def _better(known: _Seen | None, new: _Seen) -> _Seen:
    """The status of an intent of which several signatures are known: the one that is further."""
    if known is None:
        return new
    node, statuses = new[0].node, (known[1], new[1])
    if all(status.reached("finalized") for status in statuses):
        raise InvariantBroken(
            f"batch {node.batch}, chunk {node.chunk}: two signatures of it are finalized on chain",
            signatures=[known[0].signature, new[0].signature],
        )
    return max(known, new, key=lambda seen: commitment_rank(seen[1].confirmation))
