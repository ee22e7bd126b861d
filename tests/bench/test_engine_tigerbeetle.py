"""TigerBeetle beside the engine: what is refused, and that an answer is checked. No server is started here."""

from __future__ import annotations

import socket
import sys
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bench import _engine_tigerbeetle as subject
from bench.harness import Budget
from engine.app import benchmarks
from engine.common.errors import ConnectionLost, UsageError
from kernels.frames import FILL


@dataclass
class Account:
    id: int
    ledger: int = 0
    code: int = 0
    debits_posted: int = 0
    credits_posted: int = 0


@dataclass
class Transfer:
    id: int
    debit_account_id: int
    credit_account_id: int
    amount: int
    ledger: int
    code: int


class _Kind(type):
    """Its arrays are made by multiplication."""

    def __mul__(cls, count: int) -> Any:
        return lambda *rows: len(rows) == count


class CTransfer(metaclass=_Kind):
    """Stands for the structure that its client makes of a transfer."""

    @staticmethod
    def from_param(transfer: Transfer) -> Transfer:
        return transfer


class Ledger:
    """A client with the calls of the real one, and accounts in a dict. `loses`: it forgets one transfer's credit."""

    loses = False
    answers = True
    sizes: list[int]

    def __init__(self, cluster_id: int, replica_addresses: str) -> None:
        assert cluster_id == 0 and replica_addresses
        self.accounts: dict[int, Account] = {}
        Ledger.sizes = []

    def create_accounts(self, accounts: list[Account]) -> list[Any]:
        if not self.answers:
            time.sleep(0.5)
        self.accounts |= {account.id: account for account in accounts}
        return []

    def create_transfers(self, transfers: list[Transfer]) -> list[Any]:
        Ledger.sizes.append(len(transfers))
        for number, transfer in enumerate(transfers):
            self.accounts[transfer.debit_account_id].debits_posted += transfer.amount
            if not (self.loses and number == 3):
                self.accounts[transfer.credit_account_id].credits_posted += transfer.amount
        return []

    def lookup_accounts(self, ids: list[int]) -> list[Account]:
        return [self.accounts[n] for n in ids if n in self.accounts]

    def close(self) -> None:
        self.accounts = {}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Ledger]]:
    module = types.ModuleType(subject.CLIENT)
    module.id = lambda: 2**127 + 12345  # type: ignore[attr-defined]
    module.Account, module.Transfer, module.ClientSync = Account, Transfer, Ledger  # type: ignore[attr-defined]
    module.bindings = types.SimpleNamespace(CTransfer=CTransfer)  # type: ignore[attr-defined]
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, subject.CLIENT, module)
    monkeypatch.setattr(Ledger, "loses", False)
    monkeypatch.setattr(Ledger, "answers", True)
    yield Ledger


def fills(count: int) -> Any:
    rows = np.zeros(count, FILL)
    rows["maker"], rows["taker"] = np.arange(count) % 7 + 1, np.arange(count) % 5 + 8
    rows["price"], rows["size"] = 9_000_000_000, np.where(np.arange(count) % 3, 1 << 40, -(1 << 40))
    return rows


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("address", "places"),
    [
        ("3000", [("127.0.0.1", 3000)]),
        ("10.0.0.7", [("10.0.0.7", 3001)]),
        ("10.0.0.7:3003, 3004", [("10.0.0.7", 3003), ("127.0.0.1", 3004)]),
    ],
)
def test_addresses_are_its_own(address: str, places: list[tuple[str, int]]) -> None:
    assert subject.places_of(address) == places


@pytest.mark.parametrize("address", ["", "here", "127.0.0.1:", "127.0.0.1:70000", "3000,", "0"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is not a host, a port or HOST:PORT"):
        subject.check(address)


def test_refused_without_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "CLIENT", "tigerbeetle_not_installed")
    with pytest.raises(UsageError, match="client is not installed") as refused:
        subject.check("3000")
    assert len(refused.value.line()) < 120


def test_refused_where_nobody_listens(client: type[Ledger]) -> None:
    with listening() as port:
        subject.check(f"{port}")
    with pytest.raises(ConnectionLost, match="cannot be reached: Connection refused"):
        subject.check(f"127.0.0.1:{port}")


def test_the_command_refuses_before_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(**options: Any) -> Iterator[Budget]:
        raise AssertionError("measured")
        yield

    monkeypatch.setattr(subject, "CLIENT", "tigerbeetle_not_installed")
    monkeypatch.setattr(benchmarks, "_load", lambda area: measured)
    for words, why in ((["engine"], "not installed"), (["merkle"], "beside the area engine")):
        result = CliRunner().invoke(benchmarks.command, [*words, "--tigerbeetle", "3000"])
        assert isinstance(result.exception, UsageError)
        assert why in result.exception.line()


def test_balances_are_what_the_fills_add_up_to(client: type[Ledger]) -> None:
    moved = subject.transferred("3000", fills(2 * subject.BATCH + 5))
    assert moved.right
    assert Ledger.sizes == [8189, 8189, 5]
    assert min(moved.client_s, moved.seconds) > 0


def test_a_lost_credit_is_seen(client: type[Ledger], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "loses", True)
    assert not subject.transferred("3000", fills(10)).right


def test_a_peer_that_never_answers_ends_the_run(
    client: type[Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "answers", False)
    with pytest.raises(ConnectionLost, match=r"no answer in 0\.1 s"):
        subject.transferred("3000", fills(3), answer_s=0.1)


def test_the_real_client_gives_up_on_a_peer_that_is_none() -> None:
    pytest.importorskip("tigerbeetle")
    with listening() as port, pytest.raises(ConnectionLost, match="no answer"):
        subject.transferred(f"127.0.0.1:{port}", fills(3), answer_s=0.3)
