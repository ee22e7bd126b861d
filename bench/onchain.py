"""What our own program costs on chain: compute units of each instruction, bytes of the transactions.

Units are counted by the machine itself and are the same in every run. The rival is today's way of saying the
same, a memo: it costs less and enforces nothing.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

from solders.account import Account
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import MessageV0
from solders.system_program import ID as SYSTEM
from solders.transaction import VersionedTransaction

from bench.harness import Budget
from bench.programs import Till, seeded_commit
from relayer.core.rfc9162 import hash_leaf, hash_node
from relayer.program.build import PROGRAM
from relayer.program.instructions import Checkpoint, Position
from relayer.program.sandbox import Chain, Outcome

LEVELS = (1, 10, 20, 26)
LEAF = bytes(range(112))
COMMIT_UNITS = 15_000
VERIFY_UNITS = 6_000
UNITS_A_LEVEL = 150
PACKET_BYTES = 1232
ADDRESSES_TRIED = 64


class Deployed:
    """The program set up on a chain of its own."""

    def __init__(self, name: str = "bench") -> None:
        self.chain = Chain()
        self.relayer = self.chain.funded(b"relayer")
        self.position = Position(self.chain.deploy(PROGRAM.read_bytes(), name.encode()))
        payer = self.chain.payer.pubkey()
        self.setup = self.chain.send(self.position.initialise(payer, self.relayer.pubkey()))
        self.batch, self.log = 0, Checkpoint()

    def commit(self, log: Checkpoint, lamports_before: int = 0) -> tuple[Outcome, bool]:
        """Commit the next batch; right if the chain then holds its checkpoint and its number."""
        batch = self.batch + 1
        key = self.position.commit_address(batch)[0]
        if lamports_before:
            self.chain.svm.set_account(key, Account(lamports_before, b"", SYSTEM))
        instruction = self.position.commit(self.relayer.pubkey(), batch, self.log, log)
        outcome = self.chain.send(instruction, signers=(self.relayer,))
        held = self.chain.account(key)
        expected = struct.pack("<Q", batch) + self.log.encode() + log.encode()
        self.batch, self.log = batch, log
        return outcome, outcome.err is None and held is not None and held[1][16:] == expected

    def wire_bytes(self, instruction: Instruction) -> int:
        """The size of a transaction with this one instruction."""
        payer = self.chain.payer
        message = MessageV0.try_compile(payer.pubkey(), [instruction], [], Hash.default())
        return len(bytes(VersionedTransaction(message, [payer])))


def path_of(levels: int, index: int | None = None) -> tuple[int, int, list[bytes], bytes]:
    """(index, size, proof, root) of a leaf in a full log of so many levels; the last leaf costs most."""
    proof = [hashlib.sha256(bytes([level])).digest() for level in range(levels)]
    place = (1 << levels) - 1 if index is None else index
    node = hash_leaf(LEAF)
    for level, sibling in enumerate(proof):
        node = hash_node(sibling, node) if place >> level & 1 else hash_node(node, sibling)
    return place, 1 << levels, proof, node


def _by_side(levels: int) -> dict[str, int]:
    """Units of the first leaf, of the last, and of one whose path turns at every level."""
    places = {"first leaf": 0, "last leaf": (1 << levels) - 1, "turning path": (1 << levels) // 3}
    units = {}
    for name, place in places.items():
        deployed = Deployed()
        index, size, proof, root = path_of(levels, place)
        deployed.commit(Checkpoint(size, root))
        units[name] = deployed.chain.send(deployed.position.verify(1, index, LEAF, proof)).units
    return units


def verify_costs() -> Iterator[Budget]:
    """verify_fill by the depth of the log; every claim with one bit changed must be refused."""
    units, wire, right = {}, {}, True
    for levels in LEVELS:
        deployed = Deployed()
        index, size, proof, root = path_of(levels)
        right &= deployed.commit(Checkpoint(size, root))[1]
        good = deployed.position.verify(1, index, LEAF, proof)
        outcome = deployed.chain.send(good)
        wrong = deployed.position.verify(1, index, LEAF[:-1] + b"\0", proof)
        right &= outcome.err is None and deployed.chain.send(wrong).err is not None
        units[levels], wire[levels] = outcome.units, deployed.wire_bytes(good)
    deepest, least = LEVELS[-1], LEVELS[0]
    yield Budget(
        name="verify_fill, compute units but for 150 a level",
        figure=max(units[levels] - UNITS_A_LEVEL * levels for levels in LEVELS),
        unit="CU",
        goal=f"≤ {VERIFY_UNITS}",
        answer_checked=right,
        sizes={f"{levels} levels, whole": units[levels] for levels in LEVELS},
    )
    yield Budget(
        name="verify_fill, compute units a level",
        figure=(units[deepest] - units[least]) / (deepest - least),
        unit="CU",
        goal=f"≤ {UNITS_A_LEVEL}",
        answer_checked=right,
        sizes={f"{name}, {deepest} levels, whole": cost for name, cost in _by_side(deepest).items()},
    )
    yield Budget(
        name=f"verify_fill, transaction of {deepest} levels",
        figure=wire[deepest],
        unit="bytes",
        goal=f"≤ {PACKET_BYTES}",
        answer_checked=right,
        sizes={f"{levels} levels": wire[levels] for levels in LEVELS},
    )


def commit_costs() -> Iterator[Budget]:
    """A commit on a fresh address and on one that somebody sent lamports to, the worst of 64 batches each."""
    deployed = Deployed()
    units: dict[str, int] = {}
    right = deployed.setup.err is None
    for number in range(1, 2 * ADDRESSES_TRIED + 1):
        log = Checkpoint(number, hashlib.sha256(bytes([number])).digest())
        funded = number > ADDRESSES_TRIED
        outcome, held = deployed.commit(log, lamports_before=1_000 if funded else 0)
        name = "funded before" if funded else "fresh address"
        units[name], right = max(units.get(name, 0), outcome.units), right and held
    memo = Till().cost(seeded_commit(7))
    yield Budget(
        name="commit_batch, compute units",
        figure=max(units.values()),
        unit="CU",
        goal=f"≤ {COMMIT_UNITS}",
        answer_checked=right and memo.right,
        ratios={"memo of the same": max(units.values()) / memo.units},
        sizes={**units, "initialise, once": deployed.setup.units},
    )


def run() -> Iterator[Budget]:
    """The budgets of issue 6 that what exists can meet."""
    yield from verify_costs()
    yield from commit_costs()
