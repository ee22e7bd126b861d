"""LiteSVM to try a program in, under mainnet's features or all, and the way a program gets onto any cluster.

For tests and benchmarks: nothing here signs for anybody, and the keys are functions of their names.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Any

import orjson
from solders.account import Account
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.litesvm import FeatureSet, LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM
from solders.system_program import CreateAccountParams, create_account
from solders.sysvar import CLOCK, RENT
from solders.transaction import VersionedTransaction

from relayer.program.errors import ProgramError
from relayer.program.instructions import LOADER, metas, program_data

WRITE_BYTES = 900
PROGRAM_ACCOUNT_BYTES = 36
BUFFER_HEAD_BYTES = 37
RICH = 10**12
RICH_TIMES = 10**6
FEATURES = ("mainnet", "all")


@dataclass(frozen=True)
class Outcome:
    """What a transaction did: the error of the chain (None), units, logs."""

    err: Any
    units: int
    logs: list[str]

    @property
    def error(self) -> ProgramError | None:
        """Our own error, None on success. Anything else fails the test that asks."""
        if self.err is None:
            return None
        _, detail = self.err["InstructionError"]
        return ProgramError(detail["Custom"])


class Chain:
    """LiteSVM under one of FEATURES."""

    def __init__(self, features: str = "mainnet") -> None:
        fresh = LiteSVM.default()
        chosen = (
            fresh.with_mainnet_features()
            if features == "mainnet"
            else fresh.with_feature_set(FeatureSet.all_enabled())
        )
        # In this order: the machine that runs programs is made with the features in force by then.
        svm = chosen.with_builtins().with_lamports(RICH * RICH_TIMES).with_sysvars().with_feature_accounts()
        self.svm = svm.with_default_programs().with_sigverify(True).with_transaction_history(0)
        self.payer = self.funded(b"payer")

    def funded(self, name: bytes) -> Keypair:
        """A key with lamports, always the same for a name."""
        key = Keypair.from_seed(hashlib.sha256(name).digest())
        self.svm.set_account(key.pubkey(), Account(RICH, b"", SYSTEM))
        return key

    def send(self, *instructions: Instruction, signers: tuple[Keypair, ...] = ()) -> Outcome:
        """Run one transaction; the first signer, else the payer, pays."""
        keys = signers or (self.payer,)
        message = MessageV0.try_compile(keys[0].pubkey(), list(instructions), [], self.svm.latest_blockhash())
        result = self.svm.send_transaction(VersionedTransaction(message, list(keys)))
        err = orjson.loads(result.to_json())["err"] if hasattr(result, "err") else None
        meta = result.meta() if hasattr(result, "meta") else result
        self.svm.expire_blockhash()
        return Outcome(err, meta.compute_units_consumed(), meta.logs())

    def account(self, key: Pubkey) -> tuple[int, bytes, Pubkey] | None:
        """Lamports, data, owner."""
        found = self.svm.get_account(key)
        return None if found is None else (found.lamports, bytes(found.data), found.owner)

    def deploy(self, program: bytes, name: bytes = b"program", authority: Keypair | None = None) -> Pubkey:
        """Deploy through the upgradeable loader. AssertionError with the logs where it does not take it."""
        owner = authority or self.payer
        key, buffer = (Keypair.from_seed(hashlib.sha256(name + part).digest()) for part in (b"", b"buffer"))
        size = BUFFER_HEAD_BYTES + len(program)
        self._must(
            create_account(self._space(buffer.pubkey(), size)),
            _loader(0, b"", [(buffer.pubkey(), 0, 1), (owner.pubkey(), 0, 0)]),
            signers=(self.payer, buffer),
        )
        for at in range(0, len(program), WRITE_BYTES):
            part = program[at : at + WRITE_BYTES]
            data = struct.pack("<IQ", at, len(part)) + part
            accounts = [(buffer.pubkey(), 0, 1), (owner.pubkey(), 1, 0)]
            self._must(_loader(1, data, accounts), signers=self._with(owner))
        accounts = [
            (self.payer.pubkey(), 1, 1),
            (program_data(key.pubkey()), 0, 1),
            (key.pubkey(), 0, 1),
            (buffer.pubkey(), 0, 1),
            (RENT, 0, 0),
            (CLOCK, 0, 0),
            (SYSTEM, 0, 0),
            (owner.pubkey(), 1, 0),
        ]
        self._must(
            create_account(self._space(key.pubkey(), PROGRAM_ACCOUNT_BYTES)),
            _loader(2, struct.pack("<Q", len(program)), accounts),
            signers=(*self._with(owner), key),
        )
        self.svm.warp_to_slot(self.svm.get_clock().slot + 2)
        return key.pubkey()

    def _with(self, owner: Keypair) -> tuple[Keypair, ...]:
        return (self.payer,) if owner == self.payer else (self.payer, owner)

    def _space(self, key: Pubkey, size: int) -> CreateAccountParams:
        lamports = self.svm.minimum_balance_for_rent_exemption(size)
        return CreateAccountParams(
            from_pubkey=self.payer.pubkey(), to_pubkey=key, lamports=lamports, space=size, owner=LOADER
        )

    def _must(self, *instructions: Instruction, signers: tuple[Keypair, ...]) -> None:
        outcome = self.send(*instructions, signers=signers)
        if outcome.err is not None:
            raise AssertionError(f"{outcome.err}: {outcome.logs}")


def _loader(tag: int, data: bytes, accounts: list[tuple[Pubkey, int, int]]) -> Instruction:
    return Instruction(LOADER, struct.pack("<I", tag) + data, metas(accounts))
