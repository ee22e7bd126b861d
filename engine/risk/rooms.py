"""The rooms of all units (`kernels.room`) in a follower's books, kept in step with what frames touch.

Rooms count from an anchor, the markets as they stood at one moment. When that lies too far back, a new one is taken
and the rooms with it: a slice of the units at each sweep, so that no single sweep waits for all. Meanwhile the units
below `upto` count from the new anchor and the others from the one before; a room depends on its unit and its anchor
only, so whom a sweep marks is the same at every moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.apply import Machine
from engine.core.views import views_of
from engine.follower import Followed
from kernels import room, touched
from kernels.layouts import MAX_MARKETS
from kernels.margin import RISK
from kernels.touched import ACCOUNTS, POSITIONS
from kernels.types import wide

LISTED_LEAST, LISTED_SHARE = 1 << 16, 8
"""So many touched units, or an eighth of all, are listed one by one; past that all rooms are taken anew at once."""
SLICE_LEAST, SLICE_SHARE = 1 << 15, 32
"""So many units' rooms, or a 32nd of all, are taken at a sweep while the anchor changes."""


class Part(NamedTuple):
    """Slots and accounts (first, one past the last) whose rooms count from the same anchor, how far each market has
    moved since then, and the farthest of these."""

    slots: tuple[int, int]
    accounts: tuple[int, int]
    moves: NDArray[np.int64]
    widest: int


class Rooms:
    """slots, accounts: int32 room by slot and by account of the books of `machine`, which the caller folds.

    tier_at: the caller's `margin.index_tiers`, read at every call.
    """

    def __init__(self, machine: Machine, tier_at: NDArray[np.int64]) -> None:
        self._machine, self._tier_at = machine, tier_at
        self.members = touched.new_members()
        self.anchor, self.former = np.zeros(MAX_MARKETS, RISK), np.zeros(MAX_MARKETS, RISK)
        self.upto = np.zeros(2, np.int64)
        self._markets = self._known = 0
        self._moves = np.zeros((2, MAX_MARKETS), np.int64)
        self.void = True
        self.turning = False
        self.slots, self.accounts = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self.touched = touched.new_touched(0, 0, 0)

    def fit(self) -> bool:
        """Follow the books as their arrays grow; True if they did."""
        slots, accounts = len(self._machine.books.positions), len(self._machine.books.accounts)
        if slots <= len(self.slots) and accounts <= len(self.accounts):
            return False
        before = self.touched
        self.slots, self.accounts = _longer(self.slots, slots), _longer(self.accounts, accounts)
        self.touched = touched.new_touched(
            slots, accounts, max(LISTED_LEAST, max(slots, accounts) // LISTED_SHARE)
        )
        pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(self.touched, before, strict=True)
        for new, old in pairs:
            new[: len(old)] = old
        return True

    def touch(self, followed: Followed) -> None:
        """Note what these frames, which the machine has folded, may have changed."""
        self.fit()
        if self.void:
            return
        books, in_use = self._machine.books, wide(self._machine.state.number("accounts"))
        at = (books.position_table, books.positions, books.accounts, in_use)
        touched.touch_legs(followed.legs, wide(len(followed.legs)), *at, self.touched)
        views = views_of(followed.frames)
        touched.touch_frames(
            views.frame, views.transfer, views.setting, wide(len(followed.frames)), *at, self.touched
        )
        self.void = bool((self.touched.counts == len(self.touched.slots)).any())

    def bring(self, risk: NDArray[np.void]) -> int:
        """Take the rooms that are due: all if they are void, else a slice while the anchor changes, and what was
        touched. risk: the markets now. 1 if an anchor was taken."""
        number = self._machine.state.number
        counts, markets = (number("positions"), number("accounts")), number("markets")
        if markets != self._markets:
            fresh = slice(self._markets, markets)
            self.anchor[fresh], self.former[fresh] = risk[fresh], risk[fresh]
            self._markets = markets
        # A new account has no positions yet, or is touched by those; without a room it is looked at for nothing.
        self._anchor_accounts(min(self._known, counts[1]), counts[1])
        self._known = counts[1]
        taken = int(self.void or (self.turning and not self.upto.any()))
        if taken:
            self.former[:] = self.anchor
            self.anchor[:] = risk
        if self.void:
            self.upto[:] = 0
            self._take(*counts)
            touched.forget(self.touched)
            self.void, self.turning = False, False
        elif self.turning:
            self._take(*(max(SLICE_LEAST, count // SLICE_SHARE) for count in counts))
            self.turning = bool(self.upto[POSITIONS] < counts[0] or self.upto[ACCOUNTS] < counts[1])
        if not self.turning:
            # Whatever comes to the books from now on counts from this anchor.
            self.upto[:] = np.iinfo(np.int64).max
        books = self._machine.books
        touched.refresh_rooms(
            self.touched,
            books.positions,
            books.accounts,
            books.cross_first,
            books.cross_next,
            self.members,
            self.anchor,
            self.former,
            self.upto,
            books.tiers,
            self._tier_at,
            self.slots,
            self.accounts,
        )
        return taken

    def turn(self) -> None:
        """Take a new anchor at the next sweep, and the rooms slice by slice from then on."""
        if not self.turning:
            self.turning = True
            self.upto[:] = 0

    def parts(self, risk: NDArray[np.void]) -> list[Part]:
        """All units in use, by their anchor; one part while none is being taken. Valid until the next."""
        number = self._machine.state.number
        slots, accounts, markets = number("positions"), number("accounts"), wide(number("markets"))
        at, account_at = min(slots, int(self.upto[POSITIONS])), min(accounts, int(self.upto[ACCOUNTS]))
        widest = touched.widest_move(self.anchor, risk, markets, self._moves[0])
        out = [Part((0, at), (0, account_at), self._moves[0], int(widest))]
        if at < slots or account_at < accounts:
            widest = touched.widest_move(self.former, risk, markets, self._moves[1])
            out.append(Part((at, slots), (account_at, accounts), self._moves[1], int(widest)))
        return out

    def _take(self, slots: int, accounts: int) -> None:
        """The rooms of so many more units, at the anchor."""
        books, number = self._machine.books, self._machine.state.number
        first, first_account = self.upto.tolist()
        last = min(number("positions"), first + slots)
        last_account = min(number("accounts"), first_account + accounts)
        rules = (self.anchor, books.tiers, self._tier_at)
        room.anchor_positions(books.positions, wide(first), wide(last), *rules, self.slots)
        self._anchor_accounts(first_account, last_account)
        self.upto[:] = last, last_account

    def _anchor_accounts(self, first: int, last: int) -> None:
        books = self._machine.books
        touched.anchor_linked(
            books.accounts,
            wide(first),
            wide(last),
            books.positions,
            books.cross_first,
            books.cross_next,
            self.members,
            self.anchor,
            books.tiers,
            self._tier_at,
            self.accounts,
        )


def _longer(rooms: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    out = np.full(count, room.ROOM_NONE, np.int32)
    out[: len(rooms)] = rooms
    return out
