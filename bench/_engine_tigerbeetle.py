"""TigerBeetle, where a user has one running: its own Python client sends it the same fills as transfers.

Neither the server nor its client is part of this project: `pip install tigerbeetle` into `.venv`, and start one.
"""

from __future__ import annotations

import importlib
import importlib.util
import queue
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import ConnectionLost, UsageError
from kernels.frames import FILL

CLIENT = "tigerbeetle"
BATCH = 8189
"""Transfers of the largest request that it takes."""
COUNT = 20 * BATCH
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 3001
LEDGER, CODE = 1, 1
_CONNECT_S = 2.0
_ANSWER_S = 30.0
_IDS_APART = 1 << 40


class Moved(NamedTuple):
    """What its run gave. seconds: of all requests, one in flight; client_s: what its client's Python took of that,
    by making the same bytes once more; right: every account's debits and credits are what the fills add up to."""

    seconds: float
    client_s: float
    right: bool


def places_of(address: str) -> list[tuple[str, int]]:
    """(host, port) of each replica in its own notation: hosts, ports or both, with commas between. UsageError."""
    places = []
    for part in address.split(","):
        host, colon, port = part.strip().rpartition(":")
        if not colon and "." in port:
            host, port = port, str(DEFAULT_PORT)
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise UsageError(f"--tigerbeetle {address}: '{part.strip()}' is not a host, a port or HOST:PORT")
        places.append((host or DEFAULT_HOST, int(port)))
    return places


def check(address: str) -> None:
    """See that it can be measured, before anything is. UsageError: no client. ConnectionLost: nobody listens."""
    places = places_of(address)
    if importlib.util.find_spec(CLIENT) is None:
        raise UsageError(
            f"--tigerbeetle {address}: its Python client is not installed; put the package {CLIENT} into .venv"
        )
    why = ""
    for place in places:
        try:
            socket.create_connection(place, _CONNECT_S).close()
        except OSError as error:
            why = error.strerror or str(error)
        else:
            return
    raise ConnectionLost(
        f"--tigerbeetle {address}: cannot be reached: {why}; start it, or leave the option out"
    )


def transferred(address: str, fills: NDArray[np.void], answer_s: float = _ANSWER_S) -> Moved:
    """Send FILL-like rows as transfers of |size| * price from buyer to seller, in requests of BATCH.

    One transfer for a fill: two balances move, no fee, no margin, no position. Accounts and numbers are new in every
    run. ConnectionLost: no answer in `answer_s`, as when something else listens there.
    """
    tb = importlib.import_module(CLIENT)
    rows = fills.view(FILL)
    buys = rows["size"] > 0
    debited = np.where(buys, rows["taker"], rows["maker"]).tolist()
    credited = np.where(buys, rows["maker"], rows["taker"]).tolist()
    amounts = [
        abs(size) * price for size, price in zip(rows["size"].tolist(), rows["price"].tolist(), strict=True)
    ]
    base = tb.id() // (2 * _IDS_APART) * (2 * _IDS_APART)
    moves = [
        tb.Transfer(
            id=base + _IDS_APART + number,
            debit_account_id=base + payer,
            credit_account_id=base + payee,
            amount=amount,
            ledger=LEDGER,
            code=CODE,
        )
        for number, (payer, payee, amount) in enumerate(zip(debited, credited, amounts, strict=True))
    ]
    debits, credits = _sums(debited, amounts), _sums(credited, amounts)
    numbers = sorted(debits.keys() | credits.keys())
    client = tb.ClientSync(cluster_id=0, replica_addresses=address)
    for part in _parts(numbers):
        accounts = [tb.Account(id=base + n, ledger=LEDGER, code=CODE) for n in part]
        _ask(client.create_accounts, accounts, answer_s)
    began = time.perf_counter()
    for part in _parts(moves):
        _ask(client.create_transfers, part, answer_s)
    seconds = time.perf_counter() - began
    told = {}
    for part in _parts(numbers):
        for account in _ask(client.lookup_accounts, [base + n for n in part], answer_s):
            told[account.id - base] = (account.debits_posted, account.credits_posted)
    client.close()  # not after an error: it insists that nothing is under way
    right = told == {n: (debits[n], credits[n]) for n in numbers}
    return Moved(seconds, _client_seconds(tb, moves), right)


def _ask(request: Callable[[list[Any]], Any], batch: list[Any], answer_s: float) -> Any:
    """The answer to a request of a client that would wait for ever by itself. ConnectionLost: none in time."""
    box: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            box.put((request(batch), None))
        except Exception as error:  # handed over to whoever waits
            box.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        answer, error = box.get(timeout=answer_s)
    except queue.Empty:
        raise ConnectionLost(f"tigerbeetle: no answer in {answer_s:g} s; is it one?") from None
    if error is not None:
        raise ConnectionLost(f"tigerbeetle: {type(error).__name__}: {error}") from error
    return answer


def _sums(accounts: list[int], amounts: list[int]) -> Counter[int]:
    out: Counter[int] = Counter()
    for account, amount in zip(accounts, amounts, strict=True):
        out[account] += amount
    return out


def _parts(items: Sequence[Any]) -> list[list[Any]]:
    return [list(items[start : start + BATCH]) for start in range(0, len(items), BATCH)]


def _client_seconds(tb: Any, moves: list[Any]) -> float:
    """What turning these transfers into bytes takes its client, as it does before each request."""
    kind = tb.bindings.CTransfer
    began = time.perf_counter()
    for part in _parts(moves):
        (kind * len(part))(*map(kind.from_param, part))
    return time.perf_counter() - began
