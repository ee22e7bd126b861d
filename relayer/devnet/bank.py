"""The chain itself: LiteSVM with what it lacks, as a deterministic state machine.

LiteSVM knows one blockhash, forgets duplicates and has no commitments. Here a blockhash is a function of seed
and slot and lives for 150 blocks, a message lands once, and a transaction of slot s is confirmed when a later
slot exists and finalized 31 slots later. No clock, no files, no sockets: the same calls give the same chain.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import orjson
from solders.account import Account
from solders.clock import Clock
from solders.hash import Hash
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.message import Message, MessageV0, MessageV1
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.system_program import TransferParams, transfer
from solders.transaction import SanitizeError, VersionedTransaction

from engine.common.errors import GodarkError
from relayer.chain.messages import MEMO_PROGRAM, PACKET_LIMIT_BYTES

FIRST_SLOT: Final = 1_000
# Some early slots had no block, as on every real chain: a height is never a slot.
SLOTS_WITHOUT_BLOCK: Final = 100
BLOCKHASH_LIFE_BLOCKS: Final = 150
CONFIRMED_AFTER_SLOTS: Final = 1
FINALIZED_AFTER_SLOTS: Final = 31
V1_LIMIT_BYTES: Final = 4096
GENESIS_UNIX_S: Final = 1_750_000_000
LOGS_KEPT: Final = 8_192

_SLOTS_PER_SECOND: Final = 5
_FAUCET_LAMPORTS: Final = 10**18
_V1_FIRST_BYTE: Final = 0x81
_NO_SIGNATURE: Final = Signature.default()

CODE_PREFLIGHT: Final = -32002
CODE_SIGNATURE: Final = -32003
CODE_PARAMS: Final = -32602

AnyMessage = Message | MessageV0 | MessageV1

_SENTENCES: Final = {
    "AccountNotFound": "Attempt to debit an account but found no record of a prior credit.",
    "AlreadyProcessed": "This transaction has already been processed",
    "BlockhashNotFound": "Blockhash not found",
    "InsufficientFundsForFee": "Insufficient funds for fee",
}


class Refusal(GodarkError):
    """An answer with a JSON-RPC error: its code, its sentence, its data."""

    code: ClassVar[str] = "devnet_refusal"

    def __init__(self, rpc_code: int, message: str, data: object = None) -> None:
        super().__init__(message, rpc_code=rpc_code)
        self.rpc_code = rpc_code
        self.data = data


@dataclass(slots=True)
class Landed:
    """A transaction on the chain. `offset` is where the ledger keeps its bytes (-1: not there yet)."""

    number: int
    slot: int
    signature: Signature
    err: Any
    fee_lamports: int
    units: int
    offset: int = -1


class Bank:
    """Slots, blockhashes, accounts and history from genesis on.

    `seed`: 32 bytes; `forks`: (first slot, number) of every fork that replaced slots from there on.
    """

    def __init__(self, seed: bytes, forks: Sequence[tuple[int, int]] = ()) -> None:
        self._seed = seed
        self._forks = tuple(forks)
        self._svm = LiteSVM().with_blockhash_check(False).with_transaction_history(0)
        self._faucet = Keypair.from_seed(hashlib.sha256(b"godark devnet faucet" + seed).digest())
        self._svm.set_account(self._faucet.pubkey(), Account(_FAUCET_LAMPORTS, b"", SYSTEM_PROGRAM))
        self._queue: dict[Hash, int] = {}
        self._messages: dict[Hash, dict[Hash, int]] = {}
        self._history: list[Landed] = []
        self._by_signature: dict[Signature, int] = {}
        self._by_address: dict[Pubkey, array[int]] = {}
        self._logs: dict[int, list[str]] = {}
        self.slot = FIRST_SLOT
        self.advance_to(FIRST_SLOT)

    @property
    def genesis_hash(self) -> str:
        """Which chain this is: a function of the seed."""
        return str(Hash(hashlib.sha256(b"godark devnet genesis" + self._seed).digest()))

    @property
    def history(self) -> Sequence[Landed]:
        """Everything landed, oldest first."""
        return self._history

    @property
    def svm(self) -> LiteSVM:
        """The accounts, for reading only."""
        return self._svm

    def height(self, slot: int) -> int:
        """Block height of a slot."""
        return slot - SLOTS_WITHOUT_BLOCK

    def blockhash(self, slot: int) -> Hash:
        """The blockhash of a slot on the fork in force."""
        fork = max((number for first, number in self._forks if first <= slot), default=0)
        return Hash(
            hashlib.sha256(self._seed + slot.to_bytes(8, "little") + fork.to_bytes(4, "little")).digest()
        )

    def blockhash_slot(self, blockhash: Hash) -> int | None:
        """The slot of a blockhash that is still valid now, else None."""
        return self._queue.get(blockhash)

    def last_valid_height(self, slot: int) -> int:
        """The last block height at which the blockhash of a slot is accepted."""
        return self.height(slot) + BLOCKHASH_LIFE_BLOCKS

    def advance_to(self, slot: int) -> None:
        """Open a slot at or above the present one; blockhashes over 150 blocks old expire."""
        if slot < self.slot:
            raise ValueError("slots never go back")
        oldest = slot - BLOCKHASH_LIFE_BLOCKS
        for past in range(max(self.slot + 1, oldest) if self._queue else oldest, slot + 1):
            self._queue[self.blockhash(past)] = past
        while len(self._queue) > BLOCKHASH_LIFE_BLOCKS + 1:
            expired = next(iter(self._queue))
            del self._queue[expired]
            self._messages.pop(expired, None)
        self.slot = slot
        unix_s = GENESIS_UNIX_S + slot // _SLOTS_PER_SECOND
        self._svm.set_clock(Clock(slot, GENESIS_UNIX_S, 0, 1, unix_s))

    def parse(self, wire: bytes) -> VersionedTransaction:
        """A transaction as a node takes it off the wire. Raises Refusal: too large, not one, not sane."""
        v1 = wire[:1] == bytes([_V1_FIRST_BYTE])
        limit = V1_LIMIT_BYTES if v1 else PACKET_LIMIT_BYTES
        if len(wire) > limit:
            raise Refusal(CODE_PARAMS, f"transaction too large: {len(wire)} bytes (max: {limit} bytes)")
        try:
            transaction = VersionedTransaction.from_bytes(wire)
            transaction.sanitize()
        except ValueError as error:
            raise Refusal(CODE_PARAMS, f"failed to deserialize transaction: {error}") from None
        except SanitizeError as error:
            raise Refusal(
                CODE_PARAMS, f"invalid transaction: Transaction failed to sanitize: {error}"
            ) from None
        if bytes(transaction) != wire:
            raise Refusal(CODE_PARAMS, "failed to deserialize transaction: bytes left over")
        return transaction

    def find(self, signature: Signature) -> Landed | None:
        """A landed transaction by its signature."""
        number = self._by_signature.get(signature)
        return None if number is None else self._history[number]

    def logs_of(self, landed: Landed) -> list[str] | None:
        """What it printed; None for all but the latest 8,192."""
        return self._logs.get(landed.number)

    def numbers_of(self, address: Pubkey) -> Sequence[int]:
        """Numbers of the transactions that name an address, oldest first."""
        return self._by_address.get(address, ())

    def duplicate_of(self, transaction: VersionedTransaction) -> Landed | None:
        """The landed transaction with the same message, as long as its blockhash lives."""
        landed = self._messages.get(transaction.message.recent_blockhash)
        number = None if landed is None else landed.get(transaction.message.hash())
        return None if number is None else self._history[number]

    def accept(self, transaction: VersionedTransaction) -> Landed:
        """Execute and land a transaction in the present slot, with its error if it has one.

        Raises Refusal where it cannot land: a duplicate (look with `duplicate_of` first), an expired or
        unknown blockhash, a bad signature, no account to pay the fee.
        """
        if transaction.message.recent_blockhash not in self._queue:
            raise rejection("BlockhashNotFound")
        if self.duplicate_of(transaction) is not None:
            raise rejection("AlreadyProcessed")
        return self._execute(transaction)

    def repeat(self, transaction: VersionedTransaction) -> Landed:
        """Execute what `accept` once took, without asking again. Raises Refusal where it does not land."""
        self._svm.with_sigverify(False)
        try:
            return self._execute(transaction)
        finally:
            self._svm.with_sigverify(True)

    def airdrop(self, to: Pubkey, lamports: int) -> VersionedTransaction:
        """A signed transfer from the faucet, made unique by a memo; `accept` lands it."""
        faucet = self._faucet.pubkey()
        unique = f"airdrop {len(self._history)}".encode("ascii")
        instructions = [
            transfer(TransferParams(from_pubkey=faucet, to_pubkey=to, lamports=lamports)),
            Instruction(MEMO_PROGRAM, unique, []),
        ]
        message = MessageV0.try_compile(faucet, instructions, [], self.blockhash(self.slot))
        return VersionedTransaction(message, [self._faucet])

    def simulate(self, transaction: VersionedTransaction, verify: bool) -> tuple[Any, list[str], int, int]:
        """(err, logs, compute units, fee in lamports) of a run that changes nothing."""
        self._svm.with_sigverify(verify)
        try:
            result = self._svm.simulate_transaction(transaction)
        finally:
            self._svm.with_sigverify(True)
        meta = result.meta()
        return _error_of(result), meta.logs(), meta.compute_units_consumed(), meta.fee()

    def _execute(self, transaction: VersionedTransaction) -> Landed:
        result = self._svm.send_transaction(transaction)
        err = _error_of(result)
        meta = result.meta() if hasattr(result, "meta") else result
        if meta.signature() == _NO_SIGNATURE:
            raise rejection(err)
        message = transaction.message
        landed = Landed(
            len(self._history),
            self.slot,
            transaction.signatures[0],
            err,
            meta.fee(),
            meta.compute_units_consumed(),
        )
        self._history.append(landed)
        self._by_signature[landed.signature] = landed.number
        self._messages.setdefault(message.recent_blockhash, {})[message.hash()] = landed.number
        for key in message.account_keys:
            self._by_address.setdefault(key, array("q")).append(landed.number)
        self._logs[landed.number] = meta.logs()
        self._logs.pop(landed.number - LOGS_KEPT, None)
        return landed

    def digest(self, landed: Landed) -> bytes:
        """8 bytes over what a transaction did: slot, error, fee, units, logs."""
        facts = [landed.slot, landed.err, landed.fee_lamports, landed.units, self._logs.get(landed.number)]
        return hashlib.sha256(bytes(landed.signature) + orjson.dumps(facts)).digest()[:8]


def commitment_slot(slot: int, commitment: str) -> int:
    """The highest slot at a commitment when `slot` is open. Raises Refusal for a strange name."""
    if commitment == "processed":
        return slot
    if commitment == "confirmed":
        return slot - CONFIRMED_AFTER_SLOTS
    if commitment == "finalized":
        return slot - FINALIZED_AFTER_SLOTS
    raise Refusal(CODE_PARAMS, "Invalid params: unknown commitment")


def confirmation_of(landed_slot: int, slot: int) -> str:
    """The commitment a transaction has when `slot` is open."""
    age = slot - landed_slot
    if age >= FINALIZED_AFTER_SLOTS:
        return "finalized"
    return "confirmed" if age >= CONFIRMED_AFTER_SLOTS else "processed"


def rejection(err: Any, logs: list[str] | None = None, units: int = 0) -> Refusal:
    """The answer to a transaction that was not taken, in the shape a failed preflight has."""
    if err == "SignatureFailure":
        return Refusal(CODE_SIGNATURE, "Transaction signature verification failure")
    name = err if isinstance(err, str) else next(iter(err))
    sentence = _SENTENCES.get(name, f"Error processing transaction: {name}")
    data = {
        "accounts": None,
        "err": err,
        "innerInstructions": None,
        "logs": logs or [],
        "replacementBlockhash": None,
        "returnData": None,
        "unitsConsumed": units,
    }
    return Refusal(CODE_PREFLIGHT, f"Transaction simulation failed: {sentence}", data)


def _error_of(result: Any) -> Any:
    """The JSON value of an error, None on success."""
    return orjson.loads(result.to_json())["err"] if hasattr(result, "err") else None
