"""The instructions of the position-management program, as bytes and accounts.

Builders only: what decodes accounts and events, and the relayer that sends them, do not exist yet.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM

from relayer.core.rfc9162 import EMPTY_ROOT

LOADER: Final = Pubkey.from_string("BPFLoaderUpgradeab1e11111111111111111111111")


def discriminator(text: str) -> bytes:
    """Anchor's rule."""
    return hashlib.sha256(text.encode()).digest()[:8]


def metas(accounts: list[tuple[Pubkey, int, int]]) -> list[AccountMeta]:
    """(key, signs, written) as the chain wants them."""
    return [AccountMeta(key, bool(signs), bool(written)) for key, signs, written in accounts]


def program_data(program: Pubkey) -> Pubkey:
    """Where the loader keeps a program's bytes."""
    return Pubkey.find_program_address([bytes(program)], LOADER)[0]


@dataclass(frozen=True)
class Checkpoint:
    """Where a log stands."""

    size: int = 0
    root: bytes = EMPTY_ROOT

    def encode(self) -> bytes:
        """As an instruction carries it."""
        return struct.pack("<Q", self.size) + self.root


@dataclass(frozen=True)
class Position:
    """The position-management program: instructions with what a test wants to change in them."""

    program: Pubkey

    @property
    def exchange(self) -> Pubkey:
        """The one exchange."""
        return Pubkey.find_program_address([b"exchange"], self.program)[0]

    def commit_address(self, batch: int) -> tuple[Pubkey, int]:
        """Where the commit of a batch lies, and the bump."""
        return Pubkey.find_program_address([b"commit", struct.pack("<Q", batch)], self.program)

    def initialise(self, authority: Pubkey, relayer: Pubkey) -> Instruction:
        """Set up."""
        accounts = [
            (authority, 1, 1),
            (self.exchange, 0, 1),
            (program_data(self.program), 0, 0),
            (SYSTEM, 0, 0),
        ]
        return Instruction(self.program, discriminator("global:initialise") + bytes(relayer), metas(accounts))

    def commit(self, relayer: Pubkey, batch: int, previous: Checkpoint, log: Checkpoint) -> Instruction:
        """Commit a batch."""
        key, bump = self.commit_address(batch)
        data = struct.pack("<Q", batch) + previous.encode() + log.encode() + struct.pack("<Q", bump)
        accounts = [(relayer, 1, 1), (self.exchange, 0, 1), (key, 0, 1), (SYSTEM, 0, 0)]
        return Instruction(self.program, discriminator("global:commit_batch") + data, metas(accounts))

    def verify(self, batch: int, index: int, leaf: bytes, proof: list[bytes]) -> Instruction:
        """Verify a fill."""
        data = discriminator("global:verify_fill") + struct.pack("<Q", index) + leaf + b"".join(proof)
        return Instruction(self.program, data, metas([(self.commit_address(batch)[0], 0, 0)]))
