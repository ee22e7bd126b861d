"""The state: named arrays, their growth, and the digest that says two of them are equal."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kernels import layouts, margin, narrow, slots
from kernels.frames import PARAM
from kernels.oracle import VOTE
from kernels.oracle_rules import ORACLE

RULES = 1
"""The newest rules this build can fold. Only an `upgrade` frame changes the rules in force."""

_SLICE_BYTES = 4 << 20
_HUGE_PAGE = 1 << 21
_HUGE_FROM = 4 * _HUGE_PAGE

_START_ACCOUNTS = 1 << 10
_START_POSITIONS = 1 << 12


class Books(NamedTuple):
    """The arrays that kernels work on. Witness, scratch and what is derived are not part of the digest.

    Derived are the hash tables, the lists of each account's cross positions (`slots.Links`: cross_first by
    account, cross_next by slot), `initial_at` (`margin.index_initial`), `quote_by` (`narrow.index_quotes`) and
    `stands`, of each market the time up to which its index price need not be decided anew (`prices.stands_until`),
    0 where it must be, or `prices.UNHEARD`.
    near: the account rows as int32[], see `slots.near_position`.
    outbox: int64[n, 8], a ring of output frames, output k at (k - 1) % n, their CRC still 0. votes, reasons:
    of the last second that sampled, provider k of market m at m * 16 + k; reasons are `oracle.REASONS`.
    """

    meta: NDArray[np.void]
    sources: NDArray[np.void]
    accounts: NDArray[np.void]
    keys: NDArray[np.void]
    positions: NDArray[np.void]
    markets: NDArray[np.void]
    feeds: NDArray[np.void]
    oracles: NDArray[np.void]
    tiers: NDArray[np.void]
    refusals: NDArray[np.void]
    outbox: NDArray[np.int64]
    liquidations: NDArray[np.void]
    staged: NDArray[np.void]
    witness: NDArray[np.int64]
    account_table: NDArray[np.int64]
    position_table: NDArray[np.int64]
    order: NDArray[np.int64]
    cross_first: NDArray[np.int32]
    cross_next: NDArray[np.int32]
    initial_at: NDArray[np.int64]
    quote_by: NDArray[np.int64]
    near: NDArray[np.int32]
    votes: NDArray[np.void]
    reasons: NDArray[np.int64]
    stands: NDArray[np.int64]


class Section(NamedTuple):
    """A named used prefix of an array, as it enters the digest and a snapshot."""

    name: str
    rows: NDArray[Any]


class State:
    """Owns the arrays of one copy of the books. `books` is what kernels take; it changes when arrays grow."""

    def __init__(self) -> None:
        zeros = np.zeros
        self.books = Books(
            meta=zeros(1, layouts.META),
            sources=zeros(layouts.SOURCES, layouts.SOURCE),
            accounts=zeros(_START_ACCOUNTS, layouts.ACCOUNT),
            keys=zeros(_START_ACCOUNTS, layouts.KEY),
            positions=zeros(_START_POSITIONS, layouts.POSITION),
            markets=zeros(layouts.MAX_MARKETS, layouts.MARKET),
            feeds=zeros(layouts.MAX_MARKETS * layouts.FEED_SLOTS, layouts.FEED),
            oracles=zeros(layouts.MAX_MARKETS, ORACLE),
            tiers=zeros(layouts.MAX_TIERS, layouts.TIER),
            refusals=zeros(layouts.MAX_OPEN_REFUSALS, layouts.OPEN_REFUSAL),
            outbox=zeros((layouts.OUTBOX_SLOTS, 8), np.int64),
            liquidations=zeros(layouts.MAX_LIQUIDATIONS, layouts.LIQUIDATION),
            staged=zeros(layouts.MAX_STAGED, PARAM),
            witness=zeros(1, np.int64),
            account_table=np.full(4 * _START_ACCOUNTS, slots.EMPTY, np.int64),
            position_table=np.full(4 * _START_POSITIONS, slots.EMPTY, np.int64),
            order=zeros(layouts.FEED_SLOTS, np.int64),
            cross_first=zeros(_START_ACCOUNTS, np.int32),
            cross_next=zeros(_START_POSITIONS, np.int32),
            initial_at=zeros((margin.LEVERAGE_MAX + 1, 4), np.int64),
            quote_by=zeros((layouts.MAX_MARKETS, 4), np.int64),
            near=zeros(0, np.int32),
            votes=zeros(layouts.MAX_MARKETS * layouts.FEED_SLOTS, VOTE),
            reasons=zeros(layouts.MAX_MARKETS * layouts.FEED_SLOTS, np.int64),
            stands=zeros(layouts.MAX_MARKETS, np.int64),
        )
        self.books = self.books._replace(near=self.books.accounts.view(np.int32))
        meta = self.books.meta[0]
        meta["rules"] = RULES
        meta["accounts"] = 1  # account 0 is the insurance fund
        slots.insert_account(self.books.account_table, self.books.keys, 0)
        self.derive()
        self._seen, self._numbers = self.books, _numbers_of(self.books)

    def number(self, field: str) -> int:
        """One field of `meta` as a Python integer."""
        if self.books is not self._seen:
            self._seen, self._numbers = self.books, _numbers_of(self.books)
        return self._numbers[_FIELD[field]]

    def derive(self) -> None:
        """Take anew what is derived from parameters, and trust no price that was decided by others."""
        self.books.stands[:] = 0
        margin.index_initial(self.books.tiers, self.books.initial_at)
        narrow.index_quotes(self.books.markets, self.books.tiers, self.books.quote_by)

    def reserve(self, frames: int) -> None:
        """Make room for whatever `frames` more frames can add: an account each, two positions each."""
        self._make_room(self.number("accounts") + frames, self.number("positions") + 2 * frames)

    def _make_room(self, accounts: int, positions: int) -> None:
        b = self.books
        if accounts > len(b.accounts):
            grown = _grown(b.accounts, accounts)
            keys = _grown(b.keys, accounts)
            table = zeros_for_random_access(_table_size(len(grown)), np.int64)
            slots.index_accounts(table, keys, self.number("accounts"))
            b = b._replace(accounts=grown, keys=keys, account_table=table, near=grown.view(np.int32))
        if positions > len(b.positions):
            grown = _grown(b.positions, positions)
            table = zeros_for_random_access(_table_size(len(grown)), np.int64)
            slots.index_positions(table, grown, self.number("positions"))
            b = b._replace(positions=grown, position_table=table)
        if len(b.accounts) > len(b.cross_first) or len(b.positions) > len(b.cross_next):
            first = zeros_for_random_access(len(b.accounts), np.int32)
            following = zeros_for_random_access(len(b.positions), np.int32)
            slots.index_cross(first, following, b.positions, self.number("positions"))
            b = b._replace(cross_first=first, cross_next=following)
        self.books = b

    def restore(self, meta: NDArray[np.void], spare: int = 0) -> list[Section]:
        """Make a new state ready for a snapshot's rows: `meta` taken over, room for as many as it counts and, as
        `reserve` would make it, for what `spare` more frames can add: books that grow are copied once more.

        The caller fills the sections returned, which are this state's own memory, then calls `reindex`.
        """
        self._make_room(int(meta[0]["accounts"]) + spare, int(meta[0]["positions"]) + 2 * spare)
        self.books.meta[:] = meta
        return self.sections()

    def reindex(self) -> None:
        """Take anew all that is not authoritative: tables, lists, and what follows from parameters."""
        b = self.books
        slots.index_accounts(b.account_table, b.keys, self.number("accounts"))
        slots.index_positions(b.position_table, b.positions, self.number("positions"))
        b.cross_first[:], b.cross_next[:] = 0, 0
        slots.index_cross(b.cross_first, b.cross_next, b.positions, self.number("positions"))
        self.derive()

    def sections(self) -> list[Section]:
        """The authoritative arrays, used prefixes only: independent of capacity, grouping and caches."""
        b, n = self.books, self.number
        return [
            Section("meta", b.meta),
            Section("sources", b.sources),
            Section("accounts", b.accounts[: n("accounts")]),
            Section("keys", b.keys[: n("accounts")]),
            Section("positions", b.positions[: n("positions")]),
            Section("markets", b.markets[: n("markets")]),
            Section("feeds", b.feeds[: n("markets") * layouts.FEED_SLOTS]),
            Section("oracles", b.oracles[: n("markets")]),
            Section("tiers", b.tiers),
            Section("refusals", b.refusals[: n("open_refusals")]),
            Section("outbox", b.outbox[: min(n("outputs"), layouts.OUTBOX_SLOTS)]),
            Section("staged", b.staged[: n("staged")]),
            Section("liquidations", b.liquidations[: n("open_liquidations")]),
        ]

    def digest(self) -> bytes:
        """SHA-256 over name, row count, row bytes of every section."""
        return digest_of(self.sections())


_FIELD = {name: k for k, name in enumerate(layouts.META.names or ())}


def _numbers_of(books: Books) -> memoryview:
    """The fields of `meta`, all of them int64, as Python reads them fastest."""
    return books.meta.view(np.int64).data


def digest_of(sections: list[Section], between: Callable[[], None] = lambda: None) -> bytes:
    """SHA-256 over sections in order: name, NUL, rows and row bytes as u64 LE each, then the rows.

    `between` is called before every 4 MiB: what it raises breaks off.
    """
    h = hashlib.sha256()
    for name, rows in sections:
        h.update(
            name.encode() + b"\0" + len(rows).to_bytes(8, "little") + rows.itemsize.to_bytes(8, "little")
        )
        data = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
        for start in range(0, len(data), _SLICE_BYTES):
            between()
            h.update(data[start : start + _SLICE_BYTES])
    return h.digest()


def zeros_for_random_access(count: int, dtype: DTypeLike) -> NDArray[Any]:
    """Zeros, in huge pages from 8 MiB on: rows met at random then miss the CPU's table of pages far less.

    Where the system has no huge pages, or gives none, these are ordinary zeros.
    """
    size = count * np.dtype(dtype).itemsize
    if size < _HUGE_FROM or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(count, dtype)
    room = (size // _HUGE_PAGE + 2) * _HUGE_PAGE
    memory = mmap.mmap(-1, room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(
        OSError
    ):  # a kernel without huge pages says no: the memory is there all the same
        memory.madvise(mmap.MADV_HUGEPAGE)
    raw = np.frombuffer(memory, np.uint8)
    start = -raw.ctypes.data % _HUGE_PAGE
    return raw[start : start + size].view(dtype)


def _grown(rows: NDArray[np.void], needed: int) -> NDArray[np.void]:
    """At least twice as many rows, so that growing costs little a row; no more than needed of far more than that:
    memory that a start fills with zeros is most of its time."""
    size = max(2 * len(rows), -(-needed // _START_POSITIONS) * _START_POSITIONS)
    out = zeros_for_random_access(size, rows.dtype)
    out[: len(rows)] = rows
    return out


def _table_size(rows: int) -> int:
    return 1 << (2 * rows - 1).bit_length()
