"""Notifications come at their commitment, once, and not at all for what was rolled back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from solders.pubkey import Pubkey

from relayer.devnet.bank import Refusal
from relayer.devnet.node import Node
from relayer.devnet.subscriptions import SUBSCRIPTION_LIMIT, Subscriptions
from tests.relayer.devnet.transactions import SEED, SIGNER, fund, memo, parsed, send

ADDRESS = str(SIGNER.public_key)


class Client:
    def __init__(self, data_dir: Path) -> None:
        self.node = Node.open(data_dir, new_seed=SEED)
        fund(self.node)
        self.got: list[dict[str, Any]] = []
        self.subscriptions = Subscriptions(self.node, lambda message: self.got.append(orjson.loads(message)))
        self.node.listeners.append(self.subscriptions)

    def take(self) -> list[tuple[str, Any]]:
        got, self.got = self.got, []
        return [(one["method"], one["params"]["result"]) for one in got]

    def subscribe(self, kind: str, *params: object) -> int:
        number: int = self.subscriptions.handle(f"{kind}Subscribe", list(params))
        self.subscriptions.settle()
        return number


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    made = Client(tmp_path)
    yield made
    made.node.close()


def test_a_signature_is_told_once_at_its_commitment(client: Client) -> None:
    signed = memo(client.node.bank.blockhash(client.node.bank.slot))
    number = client.subscribe("signature", signed.signature, {"commitment": "confirmed"})
    client.node.submit(parsed(client.node.bank, signed))
    assert client.take() == []
    client.node.advance()
    [(method, result)] = client.take()
    assert (method, result["value"]) == ("signatureNotification", {"err": None})
    client.node.advance()
    assert client.take() == []
    with pytest.raises(Refusal):
        client.subscriptions.handle("signatureUnsubscribe", [number])


def test_a_signature_that_has_landed_already_is_told_at_once(client: Client) -> None:
    signature = send(client.node, "early")
    client.subscribe("signature", signature, {"commitment": "processed"})
    assert len(client.take()) == 1


def test_slots_and_roots(client: Client) -> None:
    client.subscribe("slot")
    number = client.subscribe("root")
    client.node.advance()
    slot = client.node.bank.slot
    assert client.take() == [
        ("slotNotification", {"parent": slot - 1, "root": slot - 31, "slot": slot}),
        ("rootNotification", slot - 31),
    ]
    assert client.subscriptions.handle("rootUnsubscribe", [number]) is True
    client.node.advance()
    assert [method for method, _ in client.take()] == ["slotNotification"]


def test_accounts_are_told_as_they_were_in_their_slot(client: Client) -> None:
    client.subscribe("account", ADDRESS, {"encoding": "base64", "commitment": "confirmed"})
    client.subscribe("account", str(Pubkey([7] * 32)), {"encoding": "base64", "commitment": "processed"})
    send(client.node, "one")
    send(client.node, "two")
    client.node.advance()
    [(method, result)] = client.take()
    assert (method, result["value"]["lamports"]) == ("accountNotification", 10**10 - 10_000)
    send(client.node, "three")
    client.node.advance()
    assert [result["value"]["lamports"] for _, result in client.take()] == [10**10 - 15_000]


def test_logs_are_filtered_and_dropped_on_a_rollback(client: Client) -> None:
    client.subscribe("logs", {"mentions": [ADDRESS]}, {"commitment": "confirmed"})
    client.subscribe("logs", "all", {"commitment": "finalized"})
    client.subscribe("logs", {"mentions": [str(Pubkey([7] * 32))]}, {"commitment": "processed"})
    kept = client.node.bank.slot
    first = send(client.node, "stays")
    client.node.advance()
    send(client.node, "goes")
    client.node.roll_back(kept)
    for _ in range(40):
        client.node.advance()
    assert [(result["value"]["signature"], result["context"]["slot"]) for _, result in client.take()] == [
        (first, kept),
        (first, kept),
    ]


def test_wrong_subscriptions_are_refused(client: Client) -> None:
    for method, params in (
        ("signatureSubscribe", ["x"]),
        ("accountSubscribe", []),
        ("logsSubscribe", [{"mentions": []}]),
        ("logsSubscribe", []),
        ("slotUnsubscribe", [99]),
        ("blockSubscribe", []),
        ("accountSubscribe", [ADDRESS, {"commitment": "soon"}]),
    ):
        with pytest.raises(Refusal):
            client.subscriptions.handle(method, params)
    for _ in range(SUBSCRIPTION_LIMIT):
        client.subscribe("slot")
    with pytest.raises(Refusal, match="at most"):
        client.subscribe("slot")
