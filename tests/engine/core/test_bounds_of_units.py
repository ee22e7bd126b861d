"""The rest of the proof beside LIMIT (kernels/layouts.py): units, exchanges, free collateral, accounts at the bounds.

With the JIT on a wrapped sum shows as a wrong number, with the JIT off and `-W error` as an overflow.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from engine.core import accounts, candidates, cross, units
from engine.core.apply import Machine
from engine.core.legs import Held, Leg
from engine.core.state import Books
from engine.core.views import Scratch, new_scratch
from kernels import funding_accrual
from kernels.frames import ACCOUNT_FRAME, Refusal
from kernels.funding import MARK_BAND_PPM
from kernels.jit import kernel
from kernels.layouts import ACCOUNT_CROSS, LEG_DELEVERAGE, LIMIT, MAX_ACCOUNTS, PRICE_EXP_MAX, PRICE_MAX
from kernels.slots import index_cross
from kernels.types import Rows
from relayer.verify import model_settings
from relayer.verify.model import Model
from tests.engine.core.builders import SCALES, genesis, views
from tests.kernels.entries import run
from tests.kernels.twins import Scale

SCALE = Scale(SCALES[0][0])
SIZE_MAX = SCALE.size_max
MARK_MAX = PRICE_MAX + PRICE_MAX * MARK_BAND_PPM // 10**6
WORTH = math.floor(SCALE.worth(SIZE_MAX, MARK_MAX))
BOUNDS = int(Refusal.OUT_OF_BOUNDS)


@kernel
def free_of(books: Books, account: int) -> int:
    return cross.free_of(books, account)


@kernel
def equity_of_cross(books: Books, account: int) -> int:
    return cross.equity_of_cross(books, account, 0, 0)


@kernel
def bears_more(books: Books, account: int, more_e6: int) -> int:
    return cross.bears_more(books, account, more_e6)


@kernel
def unit_of(books: Books, slot: int, accrued: int) -> tuple[int, int, int, int, int]:
    unit = units.unit_of(books, slot, accrued)
    return unit.ok, unit.equity, unit.maintenance, unit.beside, unit.own


@kernel
def held_of(h: np.ndarray) -> Held:
    return Held(h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9])


@kernel
def leg_of(x: np.ndarray) -> Leg:
    return Leg(x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], x[9], x[10], x[11], x[12], x[13])


@kernel
def left_with(books: Books, slot: int, held: np.ndarray, leg: np.ndarray) -> int:
    return candidates.left_with(books, slot, held_of(held), leg_of(leg))


@kernel
def settled_with(books: Books, slot: int, held: np.ndarray) -> tuple[int, int, int]:
    return candidates.settled_with(books, slot, held_of(held), books.markets[0])


@kernel
def exchange_books(books: Books, helds: np.ndarray, legs: np.ndarray, scratch: Scratch) -> int:
    """`book_exchange` of int64[2, 10] and int64[2, 14] between accounts 1 and 2."""
    return candidates.book_exchange(
        books, 0, LEG_DELEVERAGE, 0, 1, held_of(helds[0]), leg_of(legs[0]),
        1, 2, held_of(helds[1]), leg_of(legs[1]), scratch, 0,
    )  # fmt: skip


@kernel
def apply_account(books: Books, frames: Rows) -> int:
    return accounts.apply_account(books, frames[0])


@kernel
def accrued_index(markets: Rows, second_ns: int) -> int:
    return funding_accrual.accrued_index(markets[0], second_ns)


@functools.cache
def opened() -> Machine:
    """Accounts 1 and 2, and nothing traded."""
    script = genesis()
    for n in (1, 2):
        script.account(n)
    machine = Machine()
    machine.apply(views(script.frames), 0, len(script.frames))
    return machine


def cross_books(count: int, size: int, cash: int, free: int, mark: int = MARK_MAX) -> Books:
    """Account 1 with `count` cross positions of the first market, more than real books could hold."""
    books = opened().books
    books = books._replace(
        meta=books.meta.copy(), accounts=books.accounts.copy(), positions=books.positions.copy(),
        markets=books.markets.copy(), cross_first=np.zeros_like(books.cross_first),
        cross_next=np.zeros_like(books.cross_next),
    )  # fmt: skip
    rows = books.positions[:count]
    rows["account"], rows["market"], rows["mode"] = 1, 0, 1
    rows["size"], rows["cash"], rows["leverage"] = size, cash, 1
    books.meta[0]["positions"] = count
    books.accounts[1]["flags"], books.accounts[1]["free_e6"] = ACCOUNT_CROSS, free
    books.markets[0]["mark"], books.markets[0]["index_e6"] = mark, 0
    index_cross(books.cross_first, books.cross_next, books.positions, np.int64(count))
    return books


def brought(value: int, bound: int = 2 * LIMIT) -> int:
    return max(-bound, min(bound, value))


def test_the_largest_worth_at_a_mark_past_the_largest_price() -> None:
    assert 2**60 < WORTH <= 2**60 + 2**53
    assert SCALE.worth(SIZE_MAX, PRICE_MAX) <= 2**60


@pytest.mark.parametrize("count", [1, 2, 7, 40])
@pytest.mark.parametrize("free", [-LIMIT, 0, LIMIT])
@pytest.mark.parametrize("cash", [-LIMIT, 0, LIMIT])
def test_what_is_told_and_borne_of_many_large_positions(count: int, free: int, cash: int) -> None:
    books = cross_books(count, SIZE_MAX, cash, free)
    equity, need = count * (cash + WORTH), count * math.ceil(SCALE.worth(SIZE_MAX, MARK_MAX))
    locked = need if equity >= 0 else need - equity
    assert run(free_of, books, 1) == max(free - brought(locked), -2 * LIMIT)
    assert run(equity_of_cross, books, 1) == brought(free + equity)
    for more in (-LIMIT, 0, LIMIT):
        assert (run(bears_more, books, 1, more) == 0) == (need + more <= free + equity)


@pytest.mark.parametrize("count", [1, 2, 7, 40])
@pytest.mark.parametrize("free", [-LIMIT, 0, LIMIT])
@pytest.mark.parametrize("cash", [-LIMIT, -WORTH, 0, LIMIT])
def test_a_unit_is_exact_or_not_judged(count: int, free: int, cash: int) -> None:
    books = cross_books(count, SIZE_MAX, cash, free)
    each = cash + WORTH
    ok, equity, maintenance, beside, own = run(unit_of, books, 0, 0)
    wanted = free + count * each, count * own, free + (count - 1) * each
    assert ok == all(abs(value) <= LIMIT for value in wanted)
    if ok:
        assert (equity, maintenance, beside) == wanted


@pytest.mark.parametrize("cash", [-LIMIT, LIMIT])
@pytest.mark.parametrize("free", [-LIMIT, -1, 0, LIMIT])
def test_cash_with_the_units_other_equity_is_exact_or_refused(cash: int, free: int) -> None:
    books = cross_books(1, 1, cash, free)
    held = np.array([1, cash, 0, 0, 0, 0, 0, 1, free, 0])
    bounded = abs(cash + free) <= LIMIT and abs(cash + free + math.floor(SCALE.worth(1, MARK_MAX))) <= LIMIT
    got = run(settled_with, books, 0, held)
    assert got == (cash + free, free, 1) if bounded else got[2] == 0


@pytest.mark.parametrize("sign", [-1, 1])
def test_what_a_counterparty_is_left_with_at_the_bounds(sign: int) -> None:
    """Other equity - transfer + cash + worth: three times LIMIT and the largest worth."""
    free = sign * LIMIT
    books = cross_books(1, 1, -free, free)
    held, leg = np.zeros(10, np.int64), np.zeros(14, np.int64)
    leg[2], leg[7], leg[9] = sign * LIMIT, sign * WORTH, -sign * LIMIT
    assert run(left_with, books, 0, held, leg) == sign * (3 * LIMIT + WORTH)
    leg[9] = LIMIT + 1
    assert run(left_with, books, 0, held, leg) == -1


@pytest.mark.parametrize("sums", ["sum_cash", "moved_in"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_an_exchange_past_the_sums_by_one_leg_is_refused_before_the_other(sums: str, sign: int) -> None:
    """Both legs move twice LIMIT the same way, from LIMIT: five times LIMIT, of which int64 holds four."""
    books = cross_books(2, 5, 0, 0)
    books.markets[0][sums] = sign * LIMIT
    helds, legs = np.zeros((2, 10), np.int64), np.zeros((2, 14), np.int64)
    helds[:, 1], legs[:, 2] = -sign * LIMIT, sign * LIMIT
    legs[:, 0], legs[:, 9] = 1, sign * 2 * LIMIT
    before = [array.tobytes() for array in books]
    assert run(exchange_books, books, helds, legs, new_scratch(1)) == BOUNDS
    assert [array.tobytes() for array in books] == before


def test_remainders_of_all_accounts_sum_in_int64() -> None:
    assert MAX_ACCOUNTS * (10**PRICE_EXP_MAX - 1) < 2**63
    assert 2 * MAX_ACCOUNTS * 10**PRICE_EXP_MAX > 2**63, "the bound is no lower than it must be"


def test_past_the_last_account_none_is_opened() -> None:
    books = opened().books
    books = books._replace(meta=books.meta.copy(), accounts=books.accounts.copy(), keys=books.keys.copy())
    books.meta[0]["accounts"] = MAX_ACCOUNTS
    frame = np.zeros(1, ACCOUNT_FRAME)
    frame["key0"] = 99
    assert run(apply_account, books, frame) == BOUNDS
    assert int(books.meta[0]["accounts"]) == MAX_ACCOUNTS

    class Crowd(list):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return MAX_ACCOUNTS

    model, script = Model(), genesis()
    for raw in script.frames:
        model.apply(raw)
    model.ledger.accounts = Crowd(model.ledger.accounts)
    given = type("Frame", (), {"key0": 99, "key1": 0, "key2": 0, "key3": 0, "tier": 0})
    assert model_settings.apply_account(model.ledger, given) == Refusal.OUT_OF_BOUNDS


@pytest.mark.parametrize("index", [LIMIT, -LIMIT, LIMIT - 1, 0])
@pytest.mark.parametrize("rate", [10**12, -(10**12)])
def test_an_accrued_index_stays_within_bounds(index: int, rate: int) -> None:
    """A day at 100 % per 8 h of the largest price: three times it, or nothing where that would leave the bounds."""
    books = cross_books(1, 1, 0, 0)
    market = books.markets[0]
    market["index_e6"], market["index_rem"], market["pay_price"] = index, 0, MARK_MAX
    market["lag"], market["rate_set_e12"], market["open_interest"], market["interval_s"] = 1, rate, 1, 86_400
    seconds = 86_399
    step = MARK_MAX * 10**6 * rate * seconds // (28_800 * 10**12)
    wanted = index + step if abs(index + step) <= LIMIT else index
    assert run(accrued_index, books.markets, (86_400 + seconds) * 10**9) == wanted
