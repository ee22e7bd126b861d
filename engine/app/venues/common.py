"""What the venues' answers have in common: refusals in words, exact prices, places of an account's parts."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from engine.app.margin_account import Account, Amount, Market, Position, Trade, units
from engine.common.errors import ParameterError
from kernels.venues.status import OK, OVERFLOW, REASONS

QUOTE_EXPONENT = -6

Report = dict[str, Any]


def require(status: int, what: str) -> None:
    """ParameterError, naming `what` and the rule, unless `status` is OK."""
    if status != OK:
        raise ParameterError(f"{what}: {REASONS[int(status)]}", rule=what)


def answer(status: int, what: str, value: Callable[[], Any]) -> Any:
    """`value()` if the rule applies, else {"refused": why not}. ParameterError: overflow."""
    if status == OVERFLOW:
        require(status, what)
    return value() if status == OK else {"refused": REASONS[int(status)]}


def e6(amount: Amount, field: str) -> int:
    """USDC in 1e-6. ParameterError: not a whole number of them, or beyond int64."""
    return units(amount, QUOTE_EXPONENT, field)


def rational(num: int, den: int, factor: Fraction = Fraction(1)) -> dict[str, int]:
    """num / den * factor, exact, in lowest terms."""
    value = Fraction(int(num), int(den)) * factor
    return {"num": value.numerator, "den": value.denominator}


def positions_of(account: Account) -> list[tuple[int, Position, Market]]:
    """(number, position, its market) of each position."""
    return [(k, held, account.markets[held.market]) for k, held in enumerate(account.positions)]


def held_in(account: Account, market: str) -> Position:
    """The position in a market, one of size 0 if there is none."""
    none = Position(market=market, size=0)
    return next((held for held in account.positions if held.market == market), none)


def trades_in(account: Account, market: str) -> list[tuple[str, Trade]]:
    """(field name, trade) of a market's trades, in the order of the file."""
    return [(f"trades[{k}]", t) for k, t in enumerate(account.trades) if t.market == market]
