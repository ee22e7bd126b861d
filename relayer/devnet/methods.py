"""The JSON-RPC methods of the devnet: bytes of a request in, bytes of an answer out.

Nothing here waits. Whoever sends the answer must first wait until the ledger is durable: an answer may tell
of anything written before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson
from solders.message import from_bytes_versioned
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from relayer.devnet import views
from relayer.devnet.bank import (
    CODE_PARAMS,
    FIRST_SLOT,
    GENESIS_UNIX_S,
    Bank,
    Landed,
    Refusal,
    commitment_slot,
    confirmation_of,
    rejection,
)
from relayer.devnet.faults import Faults
from relayer.devnet.node import Node

API_VERSION: Final = "3.1.0"
BATCH_LIMIT: Final = 100
STATUS_LIMIT: Final = 256
ACCOUNT_LIMIT: Final = 100
HISTORY_LIMIT: Final = 1_000
FEE_ACCOUNT_LIMIT: Final = 128
AIRDROP_LIMIT_LAMPORTS: Final = 10**15

_SLOTS_PER_EPOCH: Final = 432_000
_SLOTS_PER_SECOND: Final = 5
_TOKEN_AMOUNT_AT: Final = 64
_MINT_DECIMALS_AT: Final = 44

Method = Callable[[list[Any]], Any]


class Methods:
    """All methods over one node. `control`: faults may be set by RPC."""

    def __init__(self, node: Node, faults: Faults, *, control: bool = False) -> None:
        self._node = node
        self._faults = faults
        self._table: dict[str, Method] = {
            "getVersion": lambda params: {"solana-core": API_VERSION, "feature-set": 0},
            "getHealth": lambda params: "ok",
            "getGenesisHash": lambda params: self._bank.genesis_hash,
            "getSlot": self._get_slot,
            "getBlockHeight": self._get_block_height,
            "getEpochInfo": self._get_epoch_info,
            "getLatestBlockhash": self._get_latest_blockhash,
            "isBlockhashValid": self._is_blockhash_valid,
            "getAccountInfo": self._get_account_info,
            "getMultipleAccounts": self._get_multiple_accounts,
            "getBalance": self._get_balance,
            "getTokenAccountBalance": self._get_token_account_balance,
            "getMinimumBalanceForRentExemption": self._get_minimum_balance,
            "getFeeForMessage": self._get_fee_for_message,
            "getRecentPrioritizationFees": self._get_recent_prioritization_fees,
            "simulateTransaction": self._simulate_transaction,
            "sendTransaction": self._send_transaction,
            "getSignatureStatuses": self._get_signature_statuses,
            "getTransaction": self._get_transaction,
            "getSignaturesForAddress": self._get_signatures_for_address,
            "requestAirdrop": self._request_airdrop,
        }
        if control:
            self._table["devnetSetFault"] = self._set_fault
            self._table["devnetRollback"] = self._roll_back

    @property
    def _bank(self) -> Bank:
        return self._node.bank

    def answer(self, body: bytes) -> bytes:
        """The answer to a request or a batch of up to 100, whatever the bytes."""
        try:
            request = orjson.loads(body)
        except orjson.JSONDecodeError:
            return orjson.dumps(_failure(None, Refusal(-32700, "Parse error")))
        if not isinstance(request, list):
            return orjson.dumps(self.answer_one(request))
        if not 0 < len(request) <= BATCH_LIMIT:
            return orjson.dumps(_failure(None, Refusal(-32600, f"a batch holds 1 to {BATCH_LIMIT} calls")))
        return orjson.dumps([self.answer_one(call) for call in request])

    def answer_one(self, request: object) -> dict[str, Any]:
        """The answer to one request."""
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _failure(None, Refusal(-32600, "Invalid request"))
        request_id = request.get("id")
        params = request.get("params", [])
        method = self._table.get(request["method"])
        try:
            if self._faults.take("rpc_429"):
                raise Refusal(429, "Too many requests")
            if self._faults.take("node_behind"):
                raise Refusal(-32005, "Node is behind by 42 slots", {"numSlotsBehind": 42})
            if method is None:
                raise Refusal(-32601, "Method not found")
            if not isinstance(params, list):
                raise views.invalid("the parameters must be an array")
            return {"jsonrpc": "2.0", "result": method(params), "id": request_id}
        except Refusal as refusal:
            return _failure(request_id, refusal)

    def _now(self) -> int:
        """The open slot, as far as this node lets on."""
        return max(FIRST_SLOT, self._bank.slot - self._faults.lag_slots)

    def _poll(self) -> None:
        if self._node.on_demand:
            self._node.advance()

    def _slot_for(self, config: dict[str, Any], default: str = "finalized") -> int:
        """The slot at the commitment of a configuration. Raises Refusal, -32016 below minContextSlot."""
        slot = commitment_slot(self._now(), config.get("commitment") or default)
        floor = config.get("minContextSlot")
        if floor is not None and (type(floor) is not int or slot < floor):
            raise Refusal(-32016, "Minimum context slot has not been reached", {"contextSlot": slot})
        return slot

    def _with_context(self, slot: int, value: object) -> dict[str, Any]:
        return {"context": {"apiVersion": API_VERSION, "slot": slot}, "value": value}

    # The chain

    def _get_slot(self, params: list[Any]) -> int:
        self._poll()
        return self._slot_for(views.options(params, 0))

    def _get_block_height(self, params: list[Any]) -> int:
        self._poll()
        slot = self._slot_for(views.options(params, 0))
        return self._bank.height(slot) + self._faults.height_offset

    def _get_epoch_info(self, params: list[Any]) -> dict[str, Any]:
        slot = self._slot_for(views.options(params, 0))
        return {
            "absoluteSlot": slot,
            "blockHeight": self._bank.height(slot) + self._faults.height_offset,
            "epoch": slot // _SLOTS_PER_EPOCH,
            "slotIndex": slot % _SLOTS_PER_EPOCH,
            "slotsInEpoch": _SLOTS_PER_EPOCH,
            "transactionCount": len(self._bank.history),
        }

    def _get_latest_blockhash(self, params: list[Any]) -> dict[str, Any]:
        slot = self._slot_for(views.options(params, 0))
        value = {
            "blockhash": str(self._bank.blockhash(slot)),
            "lastValidBlockHeight": self._bank.last_valid_height(slot),
        }
        return self._with_context(slot, value)

    def _is_blockhash_valid(self, params: list[Any]) -> dict[str, Any]:
        recent = views.blockhash(views.argument(params, 0, str, "blockhash"))
        slot = self._slot_for(views.options(params, 1))
        at = self._bank.blockhash_slot(recent)
        return self._with_context(slot, at is not None and at <= slot)

    def _get_recent_prioritization_fees(self, params: list[Any]) -> list[dict[str, int]]:
        if params and len(views.argument(params, 0, list, "accounts")) > FEE_ACCOUNT_LIMIT:
            raise Refusal(CODE_PARAMS, f"Too many inputs provided; max {FEE_ACCOUNT_LIMIT}")
        now = self._now()
        return [{"slot": slot, "prioritizationFee": 0} for slot in range(now - 149, now + 1)]

    # Accounts. LiteSVM keeps the present state only, so every commitment sees what processed sees.

    def _get_account_info(self, params: list[Any]) -> dict[str, Any]:
        key = views.pubkey(views.argument(params, 0, str, "account"))
        config = views.options(params, 1)
        slot = self._slot_for(config)
        return self._with_context(slot, views.account_view(self._bank.svm.get_account(key), config))

    def _get_multiple_accounts(self, params: list[Any]) -> dict[str, Any]:
        keys = views.argument(params, 0, list, "accounts")
        if len(keys) > ACCOUNT_LIMIT:
            raise Refusal(CODE_PARAMS, f"Too many inputs provided; max {ACCOUNT_LIMIT}")
        config = views.options(params, 1)
        slot = self._slot_for(config)
        accounts = [self._bank.svm.get_account(views.pubkey(key)) for key in keys]
        return self._with_context(slot, [views.account_view(account, config) for account in accounts])

    def _get_balance(self, params: list[Any]) -> dict[str, Any]:
        key = views.pubkey(views.argument(params, 0, str, "account"))
        slot = self._slot_for(views.options(params, 1))
        return self._with_context(slot, self._bank.svm.get_balance(key) or 0)

    def _get_token_account_balance(self, params: list[Any]) -> dict[str, Any]:
        account = self._bank.svm.get_account(views.pubkey(views.argument(params, 0, str, "account")))
        slot = self._slot_for(views.options(params, 1))
        data = b"" if account is None else bytes(account.data)
        mint = (
            self._bank.svm.get_account(views.pubkey(views.to_base58(data[:32]))) if len(data) >= 165 else None
        )
        if mint is None or len(mint.data) <= _MINT_DECIMALS_AT:
            raise views.invalid("not a Token account")
        units = int.from_bytes(data[_TOKEN_AMOUNT_AT : _TOKEN_AMOUNT_AT + 8], "little")
        decimals = mint.data[_MINT_DECIMALS_AT]
        digits = str(units).rjust(decimals + 1, "0")
        whole, part = digits[: len(digits) - decimals], digits[len(digits) - decimals :].rstrip("0")
        text = f"{whole}.{part}" if part else whole
        value = {
            "amount": str(units),
            "decimals": decimals,
            "uiAmount": float(text),
            "uiAmountString": text,
        }
        return self._with_context(slot, value)

    def _get_minimum_balance(self, params: list[Any]) -> int:
        size = views.argument(params, 0, int, "data length")
        if not 0 <= size <= 10 * 1024 * 1024:
            raise views.invalid("data length out of range")
        return self._bank.svm.minimum_balance_for_rent_exemption(size)

    # Transactions

    def _transaction_of(self, params: list[Any], config: dict[str, Any]) -> VersionedTransaction:
        text = views.argument(params, 0, str, "transaction")
        return self._bank.parse(views.binary(text, config.get("encoding")))

    def _get_fee_for_message(self, params: list[Any]) -> dict[str, Any]:
        raw = views.binary(views.argument(params, 0, str, "message"), "base64")
        slot = self._slot_for(views.options(params, 1))
        try:
            message = from_bytes_versioned(raw)
            count = message.header.num_required_signatures
            unsigned = VersionedTransaction.populate(message, [Signature.default()] * count)
            unsigned.sanitize()
        except ValueError as error:
            raise views.invalid(f"not a message: {error}") from None
        if self._bank.blockhash_slot(message.recent_blockhash) is None:
            return self._with_context(slot, None)
        return self._with_context(slot, self._bank.simulate(unsigned, False)[3])

    def _simulate_transaction(self, params: list[Any]) -> dict[str, Any]:
        config = views.options(params, 1)
        transaction = self._transaction_of(params, config)
        slot = self._slot_for(config)
        replace = config.get("replaceRecentBlockhash") is True
        if replace and config.get("sigVerify") is True:
            raise views.invalid("sigVerify may not be used with replaceRecentBlockhash")
        err: Any = None
        logs: list[str] = []
        units, fee = 0, None
        if not replace and self._bank.blockhash_slot(transaction.message.recent_blockhash) is None:
            err = "BlockhashNotFound"
        elif self._bank.duplicate_of(transaction) is not None:
            err = "AlreadyProcessed"
        else:
            err, logs, units, fee = self._bank.simulate(transaction, config.get("sigVerify") is True)
        value = {
            "err": err,
            "logs": logs,
            "accounts": None,
            "unitsConsumed": units,
            "fee": fee,
            "returnData": None,
            "innerInstructions": None,
            "replacementBlockhash": self._replacement() if replace else None,
        }
        return self._with_context(slot, value)

    def _replacement(self) -> dict[str, Any]:
        slot = self._bank.slot
        return {
            "blockhash": str(self._bank.blockhash(slot)),
            "lastValidBlockHeight": self._bank.last_valid_height(slot),
        }

    def _send_transaction(self, params: list[Any]) -> str:
        config = views.options(params, 1)
        transaction = self._transaction_of(params, config)
        preflight = config.get("skipPreflight") is not True
        signature = str(transaction.signatures[0])
        if self._bank.duplicate_of(transaction) is not None:
            # A node that skips preflight forwards a duplicate and answers as ever: it lands once.
            if preflight:
                raise rejection("AlreadyProcessed")
            return signature
        if self._faults.take("vanish_send"):
            return signature
        if preflight and self._bank.blockhash_slot(transaction.message.recent_blockhash) is not None:
            err, logs, units, _ = self._bank.simulate(transaction, True)
            if err is not None:
                raise rejection(err, logs, units)
        return str(self._node.submit(transaction).signature)

    def _get_signature_statuses(self, params: list[Any]) -> dict[str, Any]:
        signatures = views.argument(params, 0, list, "signatures")
        if len(signatures) > STATUS_LIMIT:
            raise Refusal(CODE_PARAMS, f"Too many inputs provided; max {STATUS_LIMIT}")
        wanted = [views.signature(text) for text in signatures]
        self._poll()
        now = self._now()
        if self._faults.take("null_statuses"):
            return self._with_context(now, [None] * len(wanted))
        found = [self._bank.find(signature) for signature in wanted]
        statuses = [
            None if landed is None or landed.slot > now else views.status_view(landed, now)
            for landed in found
        ]
        return self._with_context(now, statuses)

    def _get_transaction(self, params: list[Any]) -> dict[str, Any] | None:
        landed = self._bank.find(views.signature(views.argument(params, 0, str, "signature")))
        # The old form names the encoding where the configuration stands now.
        old_form = len(params) > 1 and isinstance(params[1], str)
        config = {"encoding": params[1]} if old_form else views.options(params, 1)
        slot = self._slot_for(config)
        if config.get("commitment") == "processed":
            raise views.invalid("Method does not support commitment below `confirmed`")
        if landed is None or landed.slot > slot:
            return None
        logs = self._bank.logs_of(landed)
        return views.transaction_view(landed, self._node.wire_of(landed), logs, config, _block_time(landed))

    def _get_signatures_for_address(self, params: list[Any]) -> list[dict[str, Any]]:
        numbers = self._bank.numbers_of(views.pubkey(views.argument(params, 0, str, "address")))
        config = views.options(params, 1)
        slot, now = self._slot_for(config), self._now()
        limit = config.get("limit", HISTORY_LIMIT)
        if type(limit) is not int or not 1 <= limit <= HISTORY_LIMIT:
            raise views.invalid(f"Invalid limit; max {HISTORY_LIMIT}")
        before, until = self._number_of(config.get("before")), self._number_of(config.get("until"))
        entries: list[dict[str, Any]] = []
        for number in reversed(numbers):
            landed = self._bank.history[number]
            if until is not None and number <= until:
                break
            if landed.slot > slot or (before is not None and number >= before):
                continue
            entries.append(_history_entry(landed, now))
            if len(entries) == limit:
                break
        return entries

    def _number_of(self, signature: object) -> int | None:
        """The place of a signature in the history. One nobody knows is before everything."""
        if signature is None:
            return None
        landed = self._bank.find(views.signature(signature))
        return -1 if landed is None else landed.number

    def _request_airdrop(self, params: list[Any]) -> str:
        to = views.pubkey(views.argument(params, 0, str, "account"))
        lamports = views.argument(params, 1, int, "lamports")
        if not 0 < lamports <= AIRDROP_LIMIT_LAMPORTS:
            raise views.invalid("lamports out of range")
        return str(self._node.airdrop(to, lamports).signature)

    # Control, for tests

    def _set_fault(self, params: list[Any]) -> None:
        name = views.argument(params, 0, str, "fault")
        value = views.argument(params, 1, int, "value")
        self._faults.set(name, value, views.argument(params, 2, int, "every") if len(params) > 2 else 1)

    def _roll_back(self, params: list[Any]) -> int:
        return self._node.roll_back(views.argument(params, 0, int, "slot to keep"))


def _failure(request_id: object, refusal: Refusal) -> dict[str, Any]:
    error: dict[str, Any] = {"code": refusal.rpc_code, "message": refusal.message}
    if refusal.data is not None:
        error["data"] = refusal.data
    return {"jsonrpc": "2.0", "error": error, "id": request_id}


def _block_time(landed: Landed) -> int:
    return GENESIS_UNIX_S + landed.slot // _SLOTS_PER_SECOND


def _history_entry(landed: Landed, now: int) -> dict[str, Any]:
    return {
        "signature": str(landed.signature),
        "slot": landed.slot,
        "err": landed.err,
        "memo": None,
        "blockTime": _block_time(landed),
        "confirmationStatus": confirmation_of(landed.slot, now),
    }
