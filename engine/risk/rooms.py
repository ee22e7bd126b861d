"""The rooms of all units (`kernels.room`) in a follower's books, kept in step with what frames touch.

What frames touch is due to get a new room. So are all units at first and when the tiers change. No sweep waits for
all of them: it takes as many as it is told to, and the others are *late*. Of a late unit the room is one of before,
or none was ever taken: who is marked by it is judged exactly all the same, but it may not be found at all.

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

LISTED = 1 << 16
"""So many slots and so many accounts are listed as they are touched, and done first."""
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
        self.upto = np.full(2, np.iinfo(np.int64).max)
        self._markets = self._known = 0
        self._moves = np.zeros((2, MAX_MARKETS), np.int64)
        self.void = True
        self.turning = self._turn_due = False
        self._at, self._account_at = 0, 0
        self.slots, self.accounts = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self.touched = touched.new_touched(0, 0, 0)

    def fit(self) -> bool:
        """Follow the books as their arrays grow; True if they did."""
        slots, accounts = len(self._machine.books.positions), len(self._machine.books.accounts)
        if slots <= len(self.slots) and accounts <= len(self.accounts):
            return False
        before = self.touched
        self.slots, self.accounts = _longer(self.slots, slots), _longer(self.accounts, accounts)
        self.touched = touched.new_touched(slots, accounts, LISTED)
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

    @property
    def late(self) -> int:
        """Units that were touched and whose rooms no sweep has taken since."""
        return int(self.touched.counts[touched.MORE :].sum())

    def bring(
        self, risk: NDArray[np.void], most: int, known: tuple[NDArray[np.int64], NDArray[np.int64]]
    ) -> tuple[int, int]:
        """Take rooms that are due: a slice while the anchor changes, what is listed, and `most` of the others.

        risk: the markets now; known: slots and accounts that come first where all are due.
        (1 if an anchor was taken or all came due, how many of `most` were used).
        """
        number = self._machine.state.number
        counts, markets = (number("positions"), number("accounts")), number("markets")
        if markets != self._markets:
            fresh = slice(self._markets, markets)
            self.anchor[fresh], self.former[fresh] = risk[fresh], risk[fresh]
            self._markets = markets
        began = int(self.void or self._turn_due)
        if self.void:
            self._all_due(counts, known)
        # A new account has no positions yet, or is touched by those; without a room it is looked at for nothing.
        self._anchor_accounts(min(self._known, counts[1]), counts[1])
        self._known = counts[1]
        self._turn(risk, counts)
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
        return began, self._take_late(counts, most)

    def turn(self) -> None:
        """Take a new anchor at the next sweep, and the rooms slice by slice from then on."""
        self._turn_due = not self.turning

    def _turn(self, risk: NDArray[np.void], counts: tuple[int, int]) -> None:
        """Begin a new anchor if that is due; take the next slice of rooms at one that is being taken."""
        if self._turn_due:
            self.former[:] = self.anchor
            self.anchor[:] = risk
            self.upto[:] = 0
            self.turning, self._turn_due = True, False
        if self.turning:
            self._take(*(max(SLICE_LEAST, count // SLICE_SHARE) for count in counts))
            self.turning = bool(self.upto[POSITIONS] < counts[0] or self.upto[ACCOUNTS] < counts[1])
        if not self.turning:
            # Whatever comes to the books from now on counts from this anchor.
            self.upto[:] = np.iinfo(np.int64).max

    def _all_due(self, counts: tuple[int, int], known: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
        if not self._known:
            # Nobody has a room yet. Without one, everyone would be looked at.
            self.slots[: counts[0]], self.accounts[: counts[1]] = room.ROOM_NEVER, room.ROOM_NEVER
            self._known = counts[1]
        first, first_accounts = (units[units < count] for units, count in zip(known, counts, strict=True))
        touched.touch_all(wide(counts[0]), wide(counts[1]), first, first_accounts, self.touched)
        self._at = self._account_at = 0
        self.void = False

    def _take_late(self, counts: tuple[int, int], most: int) -> int:
        """The rooms of so many units that are late, going round; half of them slots if there are both."""
        used = 0
        late, late_accounts = self.touched.counts[touched.MORE :].tolist()
        if late:
            share = most - min(most // 2, late_accounts)
            if self._at >= counts[0]:
                self._at = 0
            at, taken = self._take_slots(self._at, counts[0], share)
            if taken < min(share, late):
                at, more = self._take_slots(0, counts[0], share - taken)
                taken += more
            self._at, used = at, taken
        if late_accounts:
            if self._account_at >= counts[1]:
                self._account_at = 0
            at, taken = self._take_accounts(self._account_at, counts[1], most - used)
            if taken < min(most - used, late_accounts):
                at, more = self._take_accounts(0, counts[1], most - used - taken)
                taken += more
            self._account_at = at
            used += taken
        return used

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

    def _take_slots(self, start: int, stop: int, most: int) -> tuple[int, int]:
        """(slot to go on from, rooms taken) of the late ones among these."""
        books = self._machine.books
        at, taken = touched.take_slots(
            self.touched,
            wide(start),
            wide(stop),
            wide(most),
            books.positions,
            self.anchor,
            self.former,
            self.upto,
            books.tiers,
            self._tier_at,
            self.slots,
        )
        return int(at), int(taken)

    def _take_accounts(self, start: int, stop: int, most: int) -> tuple[int, int]:
        """The same of accounts."""
        books = self._machine.books
        at, taken = touched.take_accounts(
            self.touched,
            wide(start),
            wide(stop),
            wide(most),
            books.accounts,
            books.positions,
            books.cross_first,
            books.cross_next,
            self.members,
            self.anchor,
            self.former,
            self.upto,
            books.tiers,
            self._tier_at,
            self.accounts,
        )
        return int(at), int(taken)

    def _anchor_accounts(self, first: int, last: int) -> None:
        books = self._machine.books
        room.anchor_accounts(
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
