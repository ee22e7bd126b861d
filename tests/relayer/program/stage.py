"""An exchange set up on a chain, its first batches committed, and the question whether anything changed."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import pytest
from solders.account import Account
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from relayer.program.build import PROGRAM
from relayer.program.errors import ProgramError
from relayer.program.instructions import Checkpoint, Position
from relayer.program.sandbox import Chain
from tests.relayer.program.trees import hashes, root


class Stage:
    """Program deployed; `initialise` and `commit` as tests want them."""

    def __init__(self, features: str = "mainnet") -> None:
        self.chain = Chain(features)
        self.authority = self.chain.funded(b"authority")
        self.relayer = self.chain.funded(b"relayer")
        self.stranger = self.chain.funded(b"stranger")
        self.program = self.chain.deploy(PROGRAM.read_bytes(), authority=self.authority)
        self.position = Position(self.program)
        self.log = Checkpoint()
        self.batch = 0

    def initialise(self) -> Stage:
        """Set up, as must succeed."""
        instruction = self.position.initialise(self.authority.pubkey(), self.relayer.pubkey())
        assert self.run(instruction, self.authority) is None
        return self

    def next_commit(self, size: int) -> Instruction:
        """The commit of the next batch, after which the log has `size` leaves."""
        log = Checkpoint(size, root(hashes(size)))
        return self.position.commit(self.relayer.pubkey(), self.batch + 1, self.log, log)

    def commit(self, size: int) -> Stage:
        """Commit the next batch, as must succeed."""
        assert self.run(self.next_commit(size), self.relayer) is None
        self.batch, self.log = self.batch + 1, Checkpoint(size, root(hashes(size)))
        return self

    def run(self, instruction: Instruction, *signers: Keypair) -> ProgramError | None:
        """Run one instruction, its fee paid by somebody else. Our error, None on success."""
        return self.chain.send(instruction, signers=(self.chain.payer, *signers)).error

    def everything(self, instruction: Instruction) -> list[Any]:
        """All accounts an instruction names, and the exchange, as they are."""
        keys = [self.position.exchange, *(meta.pubkey for meta in instruction.accounts)]
        return [self.chain.account(key) for key in keys]

    def refused(self, error: ProgramError, instruction: Instruction, *signers: Keypair) -> None:
        """The instruction fails with exactly this error, and no account is another one afterwards."""
        before = self.everything(instruction)
        assert self.run(instruction, *signers) is error
        assert self.everything(instruction) == before

    def refused_by_chain(self, instruction: Instruction, *signers: Keypair) -> Any:
        """The instruction fails before or besides our program; nothing changes. The chain's error."""
        before = self.everything(instruction)
        outcome = self.chain.send(instruction, signers=(self.chain.payer, *signers))
        assert outcome.err is not None
        assert self.everything(instruction) == before
        return outcome.err

    def put(self, key: Pubkey, data: bytes, owner: Pubkey, lamports: int = 10**9) -> None:
        """Make an account what no instruction of ours would."""
        self.chain.svm.set_account(key, Account(lamports, data, owner))


def with_data(instruction: Instruction, data: bytes) -> Instruction:
    """The same instruction with other data."""
    return Instruction(instruction.program_id, data, instruction.accounts)


def with_account(instruction: Instruction, place: int, **changed: Any) -> Instruction:
    """The same with one account's key, `is_signer` or `is_writable` changed."""
    metas: list[AccountMeta] = list(instruction.accounts)
    old = metas[place]
    values = {"pubkey": old.pubkey, "is_signer": old.is_signer, "is_writable": old.is_writable} | changed
    metas[place] = AccountMeta(**values)
    return Instruction(instruction.program_id, bytes(instruction.data), metas)


def with_accounts(instruction: Instruction, metas: Iterable[AccountMeta]) -> Instruction:
    """The same with other accounts."""
    return Instruction(instruction.program_id, bytes(instruction.data), list(metas))


def exchange_fields(data: bytes) -> tuple[Any, ...]:
    """discriminator, version, bump, relayer, last batch, log size, root."""
    return struct.unpack("<8sII32sQQ32s", data)


def commit_fields(data: bytes) -> tuple[Any, ...]:
    """discriminator, version, bump, batch, previous size and root, size and root."""
    return struct.unpack("<8sIIQQ32sQ32s", data)


both_feature_sets = pytest.mark.parametrize("features", ("mainnet", "all"))
