"""The proof of expiry: what one endpoint must say for it, and how many must say it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.common.errors import RpcError, RpcMalformed, RpcUnavailable
from relayer.chain.results import StatusPage, TransactionStatus
from relayer.core.graph import Node
from relayer.expiry import Endpoint, ExpiryProof, Verdict
from relayer.store import Signature
from tests.relayer.devnet.transactions import memo

LAST_VALID = 1_000
SIGNED = memo("1" * 32)
OLD = Signature(SIGNED.signature, Node(1), SIGNED.wire, LAST_VALID)
SEEN = TransactionStatus(5, "processed", None)


class Says:
    """An endpoint that answers what it is told to. By default it proves."""

    host = "said"

    def __init__(self, **answers: Any) -> None:
        self.answers = {"slot": 2_000, "height": LAST_VALID + 1, "valid": False, "valid_slot": 2_000,
                        "search_slot": 2_000, "status": None, **answers}  # fmt: skip

    def _get(self, name: str) -> Any:
        value = self.answers[name]
        if isinstance(value, list):
            value = value.pop(0)
        if isinstance(value, RpcError):
            raise value
        return value

    async def slot(self, commitment: str) -> int:
        assert commitment == "finalized"
        return self._get("slot")

    async def block_height(self, commitment: str) -> int:
        assert commitment == "finalized"
        return self._get("height")

    async def call(self, method: str, params: list[Any]) -> Any:
        assert (method, params) == ("isBlockhashValid", ["1" * 32, {"commitment": "processed"}])
        return {"context": {"slot": self._get("valid_slot")}, "value": self._get("valid")}

    async def signature_statuses(self, signatures: list[str], search_history: bool) -> StatusPage:
        assert search_history
        return StatusPage(self._get("search_slot"), [self._get("status") for _ in signatures])


def judged(*endpoints: Says) -> Verdict:
    [verdict] = asyncio.run(ExpiryProof(endpoints).judge([[OLD]]))  # type: ignore[arg-type]
    return verdict


NO_PROOF = [
    {"height": LAST_VALID},
    {"height": 2_000},
    {"valid": True},
    {"valid": None},
    {"valid_slot": 1_999},
    {"search_slot": 1_999},
    {"slot": RpcUnavailable("later")},
    {"height": RpcMalformed("nonsense")},
    {"valid": RpcUnavailable("later")},
    {"status": RpcUnavailable("later")},
]


def test_one_endpoint_that_proves_it_alone() -> None:
    assert judged(Says()) == (True, False)


@pytest.mark.parametrize("answers", [*NO_PROOF, {"status": SEEN}])
def test_each_part_of_the_proof_is_needed(answers: dict[str, Any]) -> None:
    found = answers == {"status": SEEN}
    assert judged(Says(**answers)) == (False, found)
    assert judged(Says(), Says(**answers)) == (False, found)
    assert judged(Says(**answers), Says()) == (False, found)


def test_two_of_three_are_enough_unless_the_third_has_found_it() -> None:
    assert judged(Says(), Says(), Says(slot=RpcUnavailable("later"))).expired
    assert judged(Says(), Says(), Says(status=SEEN)) == (False, True)


def test_every_signature_of_an_intent_counts() -> None:
    newer = OLD._replace(last_valid_height=LAST_VALID + 1, signature="other")
    [verdict] = asyncio.run(ExpiryProof([Says()]).judge([[OLD, newer]]))  # type: ignore[list-item]
    assert not verdict.expired
    [verdict] = asyncio.run(ExpiryProof([Says(status=[None, SEEN])]).judge([[OLD, newer]]))  # type: ignore[list-item]
    assert verdict == (False, True)


def test_an_endpoint_that_goes_backwards_says_nothing() -> None:
    async def play() -> None:
        endpoint = Endpoint(Says(slot=[2_000, 1_999, 2_000], height=LAST_VALID + 1))  # type: ignore[arg-type]
        assert await endpoint.testify([[OLD]]) == [(True, False)]
        with pytest.raises(RpcMalformed, match="contradicts"):
            await endpoint.testify([[OLD]])
        assert await endpoint.testify([[OLD]]) == [(True, False)]

    asyncio.run(play())
