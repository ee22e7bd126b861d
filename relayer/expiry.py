"""The proof that what was signed can land no more: the only thing that allows signing again.

An endpoint proves it alone, by answers of its own that agree: its finalized block height is past the last
valid one, it holds none of the blockhashes for valid, and a search through its history, from a view not older
than that height, finds none of the signatures. Where several endpoints are configured two must prove it, and
none may have found anything; an endpoint that errs or contradicts itself has said nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from solders.transaction import VersionedTransaction

from engine.common.errors import RpcError, RpcMalformed, RpcUnavailable
from engine.common.logs import get_logger
from relayer.chain import results
from relayer.chain.rpc import RpcClient
from relayer.core.lifecycle import ChainEnd, may_expire, plausible
from relayer.store import Signature

PROOFS_NEEDED = 2


class Verdict(NamedTuple):
    """What endpoints say of one intent. found: one of them knows a signature of it."""

    expired: bool
    found: bool


class Endpoint:
    """One endpoint as a witness."""

    def __init__(self, rpc: RpcClient) -> None:
        self._rpc = rpc
        self._end: ChainEnd | None = None

    async def testify(self, intents: Sequence[Sequence[Signature]]) -> list[Verdict]:
        """One verdict per intent. RpcError: nothing may be concluded."""
        end = await self._chain_end()
        hashes = {s.signature: _blockhash_of(s) for signatures in intents for s in signatures}
        valid = {h: await self._is_valid(h, end) for h in sorted(set(hashes.values()))}
        page = await self._rpc.signature_statuses(list(hashes), search_history=True)
        known = {s for s, status in zip(hashes, page.statuses, strict=True) if status is not None}
        verdicts = []
        for signatures in intents:
            found = any(s.signature in known for s in signatures)
            expired = may_expire(
                end=end,
                last_valid_height=max(s.last_valid_height for s in signatures),
                blockhash_valid=any(valid[hashes[s.signature]] for s in signatures),
                found=found,
                search_slot=page.slot,
            )
            verdicts.append(Verdict(expired, found))
        return verdicts

    async def _chain_end(self) -> ChainEnd:
        # Slot first: a node that gives slots for heights is then caught even if a slot passes in between.
        end = ChainEnd(await self._rpc.slot("finalized"), await self._rpc.block_height("finalized"))
        before, self._end = self._end, end
        if not plausible(end, before):
            raise RpcMalformed(f"{self._rpc.host} contradicts itself on slot and block height")
        return end

    async def _is_valid(self, blockhash: str, end: ChainEnd) -> bool:
        answer = await self._rpc.call("isBlockhashValid", [blockhash, {"commitment": "processed"}])
        slot, value = results.with_context(answer)
        if not isinstance(value, bool):
            raise RpcMalformed("isBlockhashValid is not a boolean")
        if slot < end.slot:
            raise RpcUnavailable(f"{self._rpc.host} answers from a view older than its own height")
        return value


class ExpiryProof:
    """All endpoints as witnesses. One endpoint alone is believed; of several, two must agree."""

    def __init__(self, rpcs: Sequence[RpcClient]) -> None:
        self._endpoints = [Endpoint(rpc) for rpc in rpcs]
        self._needed = min(PROOFS_NEEDED, len(self._endpoints))

    async def judge(self, intents: Sequence[Sequence[Signature]]) -> list[Verdict]:
        """One verdict per intent, each given as every signature ever made for it. Never raises RpcError."""
        heard = await asyncio.gather(*(self._ask(e, intents) for e in self._endpoints))
        answers = [verdicts for verdicts in heard if verdicts is not None]
        out = []
        for k in range(len(intents)):
            said = [verdicts[k] for verdicts in answers]
            found = any(v.found for v in said)
            out.append(Verdict(sum(v.expired for v in said) >= self._needed and not found, found))
        return out

    async def _ask(self, endpoint: Endpoint, intents: Sequence[Sequence[Signature]]) -> list[Verdict] | None:
        try:
            return await endpoint.testify(intents)
        except RpcError as error:
            get_logger().warning("no_expiry_evidence", reason=error.line())
            return None


def _blockhash_of(signature: Signature) -> str:
    return str(VersionedTransaction.from_bytes(signature.wire).message.recent_blockhash)
