"""Bank and ledger together: a chain that survives its process.

Order of things: execute, write to the ledger, sync, answer. What is written but not synced may be seen by
nobody, so whoever answers waits until everything written before is durable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from engine.common.errors import StoreError
from relayer.devnet.bank import (
    FINALIZED_AFTER_SLOTS,
    FIRST_SLOT,
    Bank,
    Landed,
    Refusal,
)
from relayer.devnet.ledger import DIGEST_BYTES, HORIZON, ROLLBACK, TRANSACTION, Ledger, Record

# Slots reserved on disk at a time: a restart skips at most this many, and never goes back.
HORIZON_SLOTS: Final = 32


class Listener(Protocol):
    """Something that is told what happens on the chain, at once and in order."""

    def landed(self, landed: Landed, transaction: VersionedTransaction) -> None:
        """A transaction has landed in the present slot."""

    def advanced(self) -> None:
        """A new slot is open."""

    def rolled_back(self, kept_slot: int) -> None:
        """Everything above a slot has gone."""


class Node:
    """The chain and its record. `on_demand`: slots advance when someone polls, not by a clock."""

    def __init__(self, ledger: Ledger, *, on_demand: bool = False) -> None:
        self.ledger = ledger
        self.on_demand = on_demand
        self.listeners: list[Listener] = []
        self._horizon = FIRST_SLOT
        self._forks: list[tuple[int, int]] = []
        self.bank = self._rebuild()
        self._reserve(self.bank.slot)

    @classmethod
    def open(cls, data_dir: Path, *, on_demand: bool = False, new_seed: bytes | None = None) -> Node:
        """The chain kept in a directory, re-executed and compared, or a new one. Raises StoreError."""
        ledger = Ledger.open(data_dir / "ledger", new_seed)
        try:
            return cls(ledger, on_demand=on_demand)
        except BaseException:
            ledger.close()
            raise

    def submit(self, transaction: VersionedTransaction) -> Landed:
        """Land a transaction and write it down. Raises Refusal, or StoreError: then the process must end."""
        landed = self.bank.accept(transaction)
        body = self.bank.digest(landed) + bytes(transaction)
        landed.offset = self.ledger.append(TRANSACTION, landed.slot, body)
        for listener in self.listeners:
            listener.landed(landed, transaction)
        return landed

    def airdrop(self, to: Pubkey, lamports: int) -> Landed:
        """Land a transfer from the faucet. Raises Refusal where the faucet cannot pay."""
        return self.submit(self.bank.airdrop(to, lamports))

    def wire_of(self, landed: Landed) -> bytes:
        """The bytes of a landed transaction, from the ledger."""
        return self.ledger.read(landed.offset).body[DIGEST_BYTES:]

    def advance(self) -> None:
        """Open the next slot."""
        slot = self.bank.slot + 1
        self._reserve(slot)
        self.bank.advance_to(slot)
        for listener in self.listeners:
            listener.advanced()

    def roll_back(self, kept_slot: int) -> int:
        """Fork: unfinalized slots above `kept_slot` are replaced by empty ones. Returns what was dropped.

        The open slot stays, the hashes of replaced slots change. Raises Refusal where a finalized slot
        would go.
        """
        slot = self.bank.slot
        if not slot - FINALIZED_AFTER_SLOTS <= kept_slot < slot:
            raise Refusal(-32602, f"cannot roll back to slot {kept_slot}: finalized, or not in the past")
        before = len(self.bank.history)
        self.ledger.append(ROLLBACK, slot, kept_slot.to_bytes(8, "little", signed=True))
        self.bank = self._rebuild(slot)
        for listener in self.listeners:
            listener.rolled_back(kept_slot)
        return before - len(self.bank.history)

    def close(self) -> None:
        """Close the ledger. What was not synced was not told to anyone."""
        self.ledger.close()

    def _reserve(self, slot: int) -> None:
        """Write down that slots up to some way above this one may be shown."""
        if slot >= self._horizon:
            self._horizon = slot + HORIZON_SLOTS
            self.ledger.append(HORIZON, self._horizon, b"")

    def _rebuild(self, slot: int | None = None) -> Bank:
        """Re-execute the surviving transactions in their slots, then open `slot` (None: the horizon)."""
        survivors: list[tuple[int, int]] = []
        self._forks = []
        for record in self.ledger.records():
            if record.kind == TRANSACTION:
                survivors.append((record.slot, record.offset))
            elif record.kind == HORIZON:
                self._horizon = max(self._horizon, record.slot)
            else:
                # A rollback takes with it what earlier forks had put above the slot it keeps.
                kept = int.from_bytes(record.body, "little", signed=True)
                survivors = [(at, offset) for at, offset in survivors if at <= kept]
                self._forks.append((kept + 1, len(self._forks) + 1))
        bank = Bank(self.ledger.seed, self._forks)
        for _, offset in survivors:
            self._repeat(bank, self.ledger.read(offset))
        bank.advance_to(max(bank.slot, self._horizon if slot is None else slot))
        return bank

    def _repeat(self, bank: Bank, record: Record) -> None:
        if record.slot < bank.slot:
            raise StoreError(f"the devnet ledger goes back to slot {record.slot} at byte {record.offset}")
        bank.advance_to(record.slot)
        try:
            landed = bank.repeat(VersionedTransaction.from_bytes(record.body[DIGEST_BYTES:]))
        except (Refusal, ValueError) as error:
            raise StoreError(f"the transaction at byte {record.offset} no longer lands: {error}") from error
        if bank.digest(landed) != record.body[:DIGEST_BYTES]:
            raise StoreError(f"the transaction at byte {record.offset} gives another result than before")
        landed.offset = record.offset
