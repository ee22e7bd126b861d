"""Who is liquidatable, in a follower's books: by rooms in a calm tick, by valuing everyone where that is due.

`Sweeper` keeps a room for every unit (`kernels.room`): an isolated position, or an account with its cross
positions. What frames touch gets a new room before the next sweep; when too many units have to be valued
that were safe after all, all rooms are taken anew at the marks of that moment.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import SweepMismatch
from engine.core.apply import Machine
from engine.core.views import views_of
from engine.follower import Followed
from kernels import candidates, margin, room, sweep, touched
from kernels.layouts import MAX_MARKETS
from kernels.margin import LEVERAGE_MAX, RISK
from kernels.sweep import FLAG_FAULT, FLAG_LIQUIDATABLE
from kernels.types import wide

LISTED_LEAST, LISTED_SHARE = 1 << 16, 8
"""So many touched units, or an eighth of all, are listed one by one; past that all rooms are taken anew."""
WASTE_SHARE, WASTE_LEAST = 32, 64
"""Rooms are taken anew when more than 1/32 of the units, and this many, were valued for nothing."""


class Found(NamedTuple):
    """What a sweep marked: liquidatable, or at fault because a number left its bounds or a mark is missing.

    slots: int64[n] of isolated positions; accounts: int64[m] whose cross side it is. Valid until the next.
    """

    slots: NDArray[np.int64]
    accounts: NDArray[np.int64]


class Counts(NamedTuple):
    """Of one sweep. units: positions and accounts there are; valued: how many were looked at one by one;
    worst_e6: lowest margin ratio when all were last valued; anchored: 1 if rooms were taken anew."""

    units: int
    valued: int
    worst_e6: int
    anchored: int


class Sweeper:
    """Rooms over the books of `machine`, which the caller folds. Nothing here changes those."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.risk = np.zeros(MAX_MARKETS, RISK)
        self.permitted = np.zeros(MAX_MARKETS, np.int64)
        self.tier_at = np.zeros((LEVERAGE_MAX + 1, 4), np.int64)
        self.members = touched.new_members()
        self._anchor = np.zeros(MAX_MARKETS, RISK)
        self._anchored_markets = -1
        self._tiers = b""
        self._moves = np.zeros(MAX_MARKETS, np.int64)
        self._work = sweep.new_work()
        self._worst_e6 = margin.RATIO_MAX_E6
        self._stale = True
        self.counts = Counts(0, 0, self._worst_e6, 0)
        self._resize(0, 0)

    def forget(self) -> None:
        """The books are others than before: no room that was taken in the old ones counts."""
        self._stale = True

    def touch(self, followed: Followed) -> None:
        """Note what these frames, which the machine has folded, may have changed."""
        self._fit()
        if self._stale:
            return
        books, in_use = self._machine.books, wide(self._machine.state.number("accounts"))
        at = (books.position_table, books.positions, books.accounts, in_use)
        touched.touch_legs(followed.legs, wide(len(followed.legs)), *at, self._touched)
        views = views_of(followed.frames)
        touched.touch_frames(
            views.frame, views.transfer, views.setting, wide(len(followed.frames)), *at, self._touched
        )
        if (self._touched.counts == len(self._touched.slots)).any():
            self._stale = True

    def sweep(self) -> Found:
        """The units that are liquidatable or at fault now, in rising order of their numbers."""
        self._bring_rules()
        number = self._machine.state.number
        slots, accounts = wide(number("positions")), wide(number("accounts"))
        books, anchored = self._machine.books, int(self._stale)
        if self._stale:
            self._take_anchor()
        rules = (books.tiers, self.tier_at)
        lists = (books.cross_first, books.cross_next, self.members)
        touched.refresh_rooms(
            self._touched,
            books.positions,
            books.accounts,
            *lists,
            self._anchor,
            *rules,
            self._rooms,
            self._account_rooms,
        )
        moves = self._moves
        widest = touched.widest_move(self._anchor, self.risk, wide(number("markets")), moves)
        found, found_accounts = self._found, self._found_accounts
        near = room.out_of_room(self._rooms, wide(0), slots, widest, found)
        near_accounts = room.out_of_room(self._account_rooms, wide(0), accounts, widest, found_accounts)
        kept = room.recheck_positions(
            found, near, books.positions, self.risk, moves, self._rooms, books.tiers, self.tier_at
        )
        kept_accounts = touched.recheck_linked(
            found_accounts,
            near_accounts,
            books.accounts,
            books.positions,
            *lists,
            self.risk,
            moves,
            self._account_rooms,
            *rules,
        )
        units, valued = int(slots) + int(accounts), int(near) + int(near_accounts)
        wasted = valued - int(kept) - int(kept_accounts)
        self._stale = wasted > max(WASTE_LEAST, units // WASTE_SHARE)
        self.counts = Counts(units, valued, self._worst_e6, anchored)
        return Found(found[: int(kept)], found_accounts[: int(kept_accounts)])

    def full(self) -> Found:
        """The same by valuing everyone; keeps the lowest ratio."""
        self._bring_rules()
        books, number = self._machine.books, self._machine.state.number
        slots, accounts = number("positions"), number("accounts")
        first, members = self._list_cross()
        ratios, flags = self._ratios[: slots + accounts], self._flags[: slots + accounts]
        rules = (self.risk, books.tiers, self.tier_at)
        zero = wide(0)
        sweep.sweep_positions(
            books.positions, zero, wide(slots), *rules, ratios[:slots], flags[:slots], self._work
        )
        sweep.sweep_accounts(
            books.accounts,
            zero,
            wide(accounts),
            books.positions,
            first,
            members,
            *rules,
            ratios[slots:],
            flags[slots:],
        )
        self._worst_e6 = int(ratios.min(initial=margin.RATIO_MAX_E6))
        flags &= np.int8(FLAG_LIQUIDATABLE | FLAG_FAULT)
        return Found(np.flatnonzero(flags[:slots]), np.flatnonzero(flags[slots:]))

    def check(self, found: Found) -> None:
        """Compare a sweep's answer with that of `full`, of the same books. SweepMismatch: they differ."""
        whole = self.full()
        for name, ours, theirs in zip(Found._fields, found, whole, strict=True):
            odd = np.setxor1d(ours, theirs)
            if len(odd):
                unit = int(odd[0])
                who = "the full sweep" if unit in theirs else "the sweep by rooms"
                raise SweepMismatch(
                    f"only {who} marks {name[:-1]} {unit} ({len(odd)} differ) after "
                    f"{self._machine.state.number('ordinal')} frames",
                    unit=unit,
                    differ=len(odd),
                )

    def _bring_rules(self) -> None:
        """Markets and tiers as they are now. Tiers that changed, or another market, make every room void."""
        self._fit()
        books, markets = self._machine.books, self._machine.state.number("markets")
        meta, taken = books.meta[0], books.tiers["fees_set"] == 1
        fees = (books.tiers["taker_e9"].max(where=taken, initial=0), meta["liquidation_fee_e9"])
        given = (wide(markets), meta["second_ns"], *fees)
        candidates.put_risks(books.markets, books.oracles, *given, self.risk, self.permitted)
        tiers = books.tiers.tobytes()
        if tiers != self._tiers:
            self._tiers, self._stale = tiers, True
            margin.index_tiers(books.tiers, self.tier_at)
        if markets != self._anchored_markets:
            self._stale = True

    def _take_anchor(self) -> None:
        """Take every room anew, at the marks of now."""
        books, number = self._machine.books, self._machine.state.number
        self._anchor[:] = self.risk
        self._anchored_markets = number("markets")
        rules = (self._anchor, books.tiers, self.tier_at)
        zero = wide(0)
        room.anchor_positions(books.positions, zero, wide(number("positions")), *rules, self._rooms)
        first, members = self._list_cross()
        room.anchor_accounts(
            books.accounts,
            zero,
            wide(number("accounts")),
            books.positions,
            first,
            members,
            *rules,
            self._account_rooms,
        )
        touched.forget(self._touched)
        self._stale = False

    def _list_cross(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        books, number = self._machine.books, self._machine.state.number
        slots, accounts = number("positions"), number("accounts")
        first, members = self._first[: accounts + 1], self._members[: slots + 1]
        sweep.list_cross(books.positions, wide(slots), wide(accounts), first, members)
        return first, members

    def _fit(self) -> None:
        """Follow the books as their arrays grow. New units have no room until theirs is taken."""
        slots, accounts = len(self._machine.books.positions), len(self._machine.books.accounts)
        if slots > len(self._rooms) or accounts > len(self._account_rooms):
            self._resize(slots, accounts)

    def _resize(self, slots: int, accounts: int) -> None:
        self._rooms = np.full(slots, room.ROOM_NONE, np.int32)
        self._account_rooms = np.full(accounts, room.ROOM_NONE, np.int32)
        self._found, self._found_accounts = np.zeros(slots, np.int64), np.zeros(accounts, np.int64)
        self._first, self._members = np.zeros(accounts + 1, np.int64), np.zeros(slots + 1, np.int64)
        self._ratios, self._flags = np.zeros(slots + accounts, np.int64), np.zeros(slots + accounts, np.int8)
        listed = max(LISTED_LEAST, max(slots, accounts) // LISTED_SHARE)
        self._touched = touched.new_touched(slots, accounts, listed)
        self._stale = True
