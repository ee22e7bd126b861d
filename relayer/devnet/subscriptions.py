"""WebSocket subscriptions of one client, without the socket.

What happens on the chain is turned into notifications as it happens and handed to `emit`; the shell queues
and sends them. Values that belong to a commitment wait here until their slot has reached it, and are dropped
with their slot on a rollback.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import orjson
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from relayer.devnet import views
from relayer.devnet.bank import CODE_PARAMS, FINALIZED_AFTER_SLOTS, Landed, Refusal, commitment_slot
from relayer.devnet.methods import API_VERSION
from relayer.devnet.node import Node

SUBSCRIPTION_LIMIT: Final = 1_024
PENDING_LIMIT: Final = 65_536
_KINDS: Final = ("signature", "slot", "account", "logs", "root")


@dataclass(slots=True)
class _Subscription:
    number: int
    kind: str
    commitment: str = "finalized"
    signature: Signature | None = None
    account: Pubkey | None = None
    config: dict[str, Any] = field(default_factory=dict)
    waiting: list[tuple[int, Any]] = field(default_factory=list)


class Subscriptions:
    """The subscriptions of one client; a listener of the node.

    `emit` takes one finished message. `overflow` turns true when more waits than is kept: close the client.
    """

    def __init__(self, node: Node, emit: Callable[[bytes], None]) -> None:
        self._node = node
        self._emit = emit
        self._numbers = count(1)
        self._active: dict[int, _Subscription] = {}
        self.overflow = False

    def handle(self, method: str, params: list[Any]) -> Any:
        """Subscribe or unsubscribe; the `result` of the answer. Raises Refusal, -32601 for other methods."""
        for kind in _KINDS:
            if method == f"{kind}Unsubscribe":
                if self._active.pop(views.argument(params, 0, int, "subscription"), None) is None:
                    raise Refusal(CODE_PARAMS, "Invalid subscription id.")
                return True
            if method == f"{kind}Subscribe":
                if len(self._active) >= SUBSCRIPTION_LIMIT:
                    raise Refusal(CODE_PARAMS, f"at most {SUBSCRIPTION_LIMIT} subscriptions")
                subscription = self._subscription(kind, params)
                self._active[subscription.number] = subscription
                return subscription.number
        raise Refusal(-32601, "Method not found")

    def settle(self) -> None:
        """Notify what had already come true when it was subscribed. Call after the answer is queued."""
        self._release()

    def landed(self, landed: Landed, transaction: VersionedTransaction) -> None:
        """Keep what subscribers of logs and accounts will be told, and tell it at processed."""
        keys: list[Pubkey] | None = None
        for subscription in self._active.values():
            if subscription.kind not in ("logs", "account"):
                continue
            keys = keys if keys is not None else list(transaction.message.account_keys)
            if subscription.account is not None and subscription.account not in keys:
                continue
            self._keep(subscription, landed)
        self._release()

    def advanced(self) -> None:
        """Tell slots, roots, and what has reached its commitment."""
        slot = self._node.bank.slot
        root = slot - FINALIZED_AFTER_SLOTS
        for subscription in self._active.values():
            if subscription.kind == "slot":
                self._notify(subscription, {"parent": slot - 1, "root": root, "slot": slot})
            elif subscription.kind == "root":
                self._notify(subscription, root)
        self._release()

    def rolled_back(self, kept_slot: int) -> None:
        """Forget what was to be told of slots that have gone."""
        for subscription in self._active.values():
            subscription.waiting = [entry for entry in subscription.waiting if entry[0] <= kept_slot]

    def _subscription(self, kind: str, params: list[Any]) -> _Subscription:
        made = _Subscription(next(self._numbers), kind)
        if kind in ("slot", "root"):
            return made
        made.config = views.options(params, 1)
        made.commitment = made.config.get("commitment") or "finalized"
        commitment_slot(0, made.commitment)
        if kind == "signature":
            made.signature = views.signature(views.argument(params, 0, str, "signature"))
        elif kind == "account":
            made.account = views.pubkey(views.argument(params, 0, str, "account"))
        else:
            made.account = _mentioned(params[0] if params else None)
        return made

    def _keep(self, subscription: _Subscription, landed: Landed) -> None:
        bank = self._node.bank
        value: Any
        if subscription.kind == "logs":
            logs = bank.logs_of(landed)
            value = {"signature": str(landed.signature), "err": landed.err, "logs": logs}
        else:
            assert subscription.account is not None
            value = views.account_view(bank.svm.get_account(subscription.account), subscription.config)
            # Of one slot only the last state is told, as on a real node.
            subscription.waiting = [entry for entry in subscription.waiting if entry[0] != landed.slot]
        subscription.waiting.append((landed.slot, value))
        self.overflow |= len(subscription.waiting) > PENDING_LIMIT

    def _release(self) -> None:
        bank = self._node.bank
        for subscription in list(self._active.values()):
            reached = commitment_slot(bank.slot, subscription.commitment)
            if subscription.signature is not None:
                landed = bank.find(subscription.signature)
                if landed is not None and landed.slot <= reached:
                    self._notify(subscription, _in_context(landed.slot, {"err": landed.err}))
                    del self._active[subscription.number]
            elif subscription.waiting and subscription.waiting[0][0] <= reached:
                ready = [entry for entry in subscription.waiting if entry[0] <= reached]
                subscription.waiting = subscription.waiting[len(ready) :]
                for slot, value in ready:
                    self._notify(subscription, _in_context(slot, value))

    def _notify(self, subscription: _Subscription, result: object) -> None:
        params = {"result": result, "subscription": subscription.number}
        message = {"jsonrpc": "2.0", "method": f"{subscription.kind}Notification", "params": params}
        self._emit(orjson.dumps(message))


def _mentioned(selector: object) -> Pubkey | None:
    """The account a logs filter names, None for all of them. Raises Refusal."""
    if selector in ("all", "allWithVotes"):
        return None
    mentions = selector.get("mentions") if isinstance(selector, dict) else None
    if not isinstance(mentions, list) or len(mentions) != 1:
        raise Refusal(CODE_PARAMS, "Invalid Request: the filter is `all` or one address in `mentions`")
    return views.pubkey(mentions[0])


def _in_context(slot: int, value: object) -> dict[str, Any]:
    return {"context": {"apiVersion": API_VERSION, "slot": slot}, "value": value}
