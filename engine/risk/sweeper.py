"""Who is liquidatable, in a follower's books: by rooms in a calm tick, by valuing everyone where that is due.

`Sweeper` keeps a room for every unit (`engine.risk.rooms`): an isolated position, or an account with its cross
positions. What frames touch gets a new room before the next sweep, as far as the caller gives time; when too many
units have to be valued that were safe after all, a new anchor is taken. Every unit's answer is compared with its
exact margin in turn, a slice of all at each sweep, but not as long as it is late.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import SweepMismatch
from engine.core.apply import Machine
from engine.follower import Followed
from engine.risk.rooms import Rooms
from kernels import candidates, margin, room, sweep, touched
from kernels.layouts import MAX_MARKETS
from kernels.margin import LEVERAGE_MAX, RISK
from kernels.sweep import FLAG_FAULT, FLAG_LIQUIDATABLE
from kernels.types import wide

WASTE_SHARE, WASTE_LEAST = 32, 64
"""A new anchor is taken when more than 1/32 of the units, and this many, were valued for nothing."""


class Found(NamedTuple):
    """What a sweep marked: liquidatable, or at fault because a number left its bounds or a mark is missing.

    slots: int64[n] of isolated positions; accounts: int64[m] whose cross side it is. Valid until the next.
    """

    slots: NDArray[np.int64]
    accounts: NDArray[np.int64]


class Counts(NamedTuple):
    """Of one sweep. units: positions and accounts there are; valued: how many were looked at one by one;
    worst_e6: lowest margin ratio when all were last valued; anchored: 1 if an anchor was taken, or all rooms came
    due; late: units whose room is still due."""

    units: int
    valued: int
    worst_e6: int
    anchored: int
    late: int


class Sweeper:
    """Sweeps the books of `machine`, which the caller folds. Nothing here changes those."""

    def __init__(self, machine: Machine, known: Found | None = None) -> None:
        self._machine = machine
        self._known = known or Found(np.zeros(0, np.int64), np.zeros(0, np.int64))
        self.risk = np.zeros(MAX_MARKETS, RISK)
        self.permitted = np.zeros(MAX_MARKETS, np.int64)
        self.tier_at = np.zeros((LEVERAGE_MAX + 1, 4), np.int64)
        self.rooms = Rooms(machine, self.tier_at)
        self.members = self.rooms.members
        self._tiers = b""
        self._work = sweep.new_work()
        self._worst_e6 = self._round_e6 = margin.RATIO_MAX_E6
        self._checked = (0, 0)
        self._began = 0
        self.counts = Counts(0, 0, self._worst_e6, 0, 0)
        self._found, self._found_accounts = np.zeros((2, 0), np.int64)
        self._ratios, self._flags = np.zeros(0, np.int64), np.zeros(0, np.int8)
        self._fit()

    def touch(self, followed: Followed) -> None:
        """Note what these frames, which the machine has folded, may have changed."""
        self.rooms.touch(followed)

    def sweep(self) -> Found:
        """`take_rooms` of everyone, and `look`."""
        self.take_rooms(np.iinfo(np.int64).max)
        return self.look()

    def take_rooms(self, most: int) -> int:
        """Take the rooms that are due: of `most` units but those done in any case, listed or with a new anchor.

        Where all are due, those found by the last sweep come first. How many of `most` were used.
        """
        self._bring_rules()
        began, used = self.rooms.bring(self.risk, most, self._known)
        self._began |= began
        return used

    def look(self) -> Found:
        """The units that are liquidatable or at fault now, in rising order of their numbers, by the rooms just taken.

        One that is late may be missing; none is marked wrongly.
        """
        valued, slots, accounts = 0, 0, 0
        for part in self.rooms.parts(self.risk):
            near, kept = self._positions(part.slots, part.widest, part.moves, self._found[slots:])
            valued, slots = valued + near, slots + kept
            near, kept = self._accounts(
                part.accounts, part.widest, part.moves, self._found_accounts[accounts:]
            )
            valued, accounts = valued + near, accounts + kept
        number = self._machine.state.number
        units = number("positions") + number("accounts")
        if valued - slots - accounts > max(WASTE_LEAST, units // WASTE_SHARE):
            self.rooms.turn()
        self.counts = Counts(units, valued, self._worst_e6, self._began, self.rooms.late)
        self._began = 0
        self._known = Found(self._found[:slots], self._found_accounts[:accounts])
        return self._known

    def _positions(
        self, span: tuple[int, int], widest: int, moves: NDArray[np.int64], out: NDArray[np.int64]
    ) -> tuple[int, int]:
        """(slots of a span without room enough, how many of them are marked: those begin `out`)."""
        books, rooms = self._machine.books, self.rooms.slots
        near = room.out_of_room(rooms, wide(span[0]), wide(span[1]), wide(widest), out)
        rules = (books.tiers, self.tier_at)
        kept = room.recheck_positions(out, near, books.positions, self.risk, moves, rooms, *rules)
        return int(near), int(kept)

    def _accounts(
        self, span: tuple[int, int], widest: int, moves: NDArray[np.int64], out: NDArray[np.int64]
    ) -> tuple[int, int]:
        """The same of accounts with cross positions."""
        books, rooms = self._machine.books, self.rooms.accounts
        near = room.out_of_room(rooms, wide(span[0]), wide(span[1]), wide(widest), out)
        kept = room.recheck_accounts(
            out,
            near,
            books.accounts,
            books.positions,
            books.cross_first,
            books.cross_next,
            self.members,
            self.risk,
            moves,
            rooms,
            books.tiers,
            self.tier_at,
        )
        return int(near), int(kept)

    def full(self) -> Found:
        """The same by valuing everyone, but for those that are late; keeps the lowest ratio."""
        self._bring_rules()
        number = self._machine.state.number
        found, self._worst_e6 = self._value((0, number("positions")), (0, number("accounts")))
        return found

    def check(self, found: Found) -> None:
        """Compare a sweep's answer with that of `full`, of the same books. SweepMismatch: they differ."""
        self._compare(found, self.full())

    def check_slice(self, found: Found, slices: int) -> bool:
        """Compare one of so many slices of a sweep's answer with exact margins; True with the last of a round.

        Slices follow each other from call to call, each on the books of its own sweep. SweepMismatch.
        """
        number = self._machine.state.number
        slot, account = self._checked
        slots, accounts = number("positions"), number("accounts")
        last = min(slots, slot + -(-slots // slices))
        last_account = min(accounts, account + -(-accounts // slices))
        whole, worst_e6 = self._value((slot, last), (account, last_account))
        ours = Found(_between(found.slots, slot, last), _between(found.accounts, account, last_account))
        self._compare(ours, whole)
        self._round_e6 = min(self._round_e6, worst_e6)
        done = last == slots and last_account == accounts
        if done:
            self._worst_e6, self._round_e6 = self._round_e6, margin.RATIO_MAX_E6
        self._checked = (0, 0) if done else (last, last_account)
        return done

    def _value(self, slots: tuple[int, int], accounts: tuple[int, int]) -> tuple[Found, int]:
        """(who is marked among these and not late, the lowest ratio of them all), each valued exactly."""
        books = self._machine.books
        rules = (self.risk, books.tiers, self.tier_at)
        ratios, flags = self._ratios, self._flags
        own = ratios[: len(books.positions)], flags[: len(books.positions)]
        theirs = ratios[len(books.positions) :], flags[len(books.positions) :]
        sweep.sweep_positions(books.positions, wide(slots[0]), wide(slots[1]), *rules, *own, self._work)
        touched.sweep_linked(
            books.accounts,
            wide(accounts[0]),
            wide(accounts[1]),
            books.positions,
            books.cross_first,
            books.cross_next,
            self.members,
            *rules,
            *theirs,
        )
        marked, worst_e6 = [], margin.RATIO_MAX_E6
        late = self.rooms.touched.slot_marks, self.rooms.touched.account_marks
        for (ratio, flag), (first, last), waits in zip((own, theirs), (slots, accounts), late, strict=True):
            marks = flag[first:last] & np.int8(FLAG_LIQUIDATABLE | FLAG_FAULT)
            marked.append(first + np.flatnonzero((marks != 0) & (waits[first:last] == 0)))
            worst_e6 = int(ratio[first:last].min(initial=worst_e6))
        return Found(*marked), worst_e6

    def _compare(self, found: Found, whole: Found) -> None:
        late = self.rooms.touched.slot_marks, self.rooms.touched.account_marks
        for name, ours, theirs, waits in zip(Found._fields, found, whole, late, strict=True):
            odd = np.setxor1d(ours[waits[ours] == 0], theirs)
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
        """Markets and tiers as they are now. When tiers change, every room is due."""
        self._fit()
        books, markets = self._machine.books, self._machine.state.number("markets")
        meta, taken = books.meta[0], books.tiers["fees_set"] == 1
        fees = (books.tiers["taker_e9"].max(where=taken, initial=0), meta["liquidation_fee_e9"])
        given = (wide(markets), meta["second_ns"], *fees)
        candidates.put_risks(books.markets, books.oracles, *given, self.risk, self.permitted)
        tiers = books.tiers.tobytes()
        if tiers != self._tiers:
            self._tiers, self.rooms.void = tiers, True
            margin.index_tiers(books.tiers, self.tier_at)

    def _fit(self) -> None:
        """Follow the books as their arrays grow."""
        self.rooms.fit()
        slots, accounts = len(self._machine.books.positions), len(self._machine.books.accounts)
        if slots != len(self._found) or accounts != len(self._found_accounts):
            self._found, self._found_accounts = np.zeros(slots, np.int64), np.zeros(accounts, np.int64)
            self._ratios, self._flags = (
                np.zeros(slots + accounts, np.int64),
                np.zeros(slots + accounts, np.int8),
            )


def _between(units: NDArray[np.int64], first: int, last: int) -> NDArray[np.int64]:
    """Of rising numbers those from `first` to before `last`."""
    return units[np.searchsorted(units, first) : np.searchsorted(units, last)]
