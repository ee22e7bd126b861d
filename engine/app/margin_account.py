"""The account that `godark margin --compare` reads: its form, its checks, and exact venue units.

Amounts are decimals in coins and USDC, as text or whole numbers; each venue's own units are made of them
exactly, or the field is refused by name. Nothing is rounded on the way in.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import msgspec

from engine.common.errors import InputFileError, ParameterError
from kernels.layouts import MAX_TIERS

I64_MAX = 2**63 - 1
_DECIMAL = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?", re.ASCII)
_EXPONENT_MAX = 30
FILE_LIMIT_BYTES = 1 << 20


class _Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A table of the file: every field is known, and what has no default must be there."""


Amount = str | int


class DydxMarket(_Strict):
    base_resolution: int
    price_exponent: int
    initial_margin_ppm: int
    maintenance_fraction_ppm: int
    open_interest: Amount = 0
    oi_lower_cap_usdc: Amount = 0
    oi_upper_cap_usdc: Amount = 0


class DriftMarket(_Strict):
    initial_ratio_1e4: int
    maintenance_ratio_1e4: int
    imf_factor_1e6: int = 0
    liquidator_fee_1e6: int = 0
    insurance_fee_max_1e6: int = 0
    long_base: Amount = 0
    short_base: Amount = 0


class MangoMarket(_Strict):
    base_decimals: int
    base_lot_size: int


class GodarkTier(_Strict):
    max_leverage: int
    initial_e12: int
    maintenance_e12: int
    max_notional_usdc: Amount = 0


class GodarkMarket(_Strict):
    price_exp: int
    lot_exp: int
    leverage: int
    tiers: tuple[GodarkTier, ...]


class Market(_Strict):
    price: Amount
    dydx: DydxMarket | None = None
    drift: DriftMarket | None = None
    mango: MangoMarket | None = None
    godark: GodarkMarket | None = None


class Position(_Strict):
    market: str
    size: Amount
    quote_usdc: Amount = 0


class Close(_Strict):
    market: str
    size: Amount
    fill_quote_usdc: Amount
    bankruptcy_adjustment_ppm: int = 1_000_000
    spread_to_maintenance_ppm: int = 100_000
    max_liquidation_fee_ppm: int = 5_000
    insurance_usdc: Amount = 0


class Trade(_Strict):
    market: str
    size: Amount
    quote_usdc: Amount
    other_size: Amount | None = None


class DriftFees(_Strict):
    taker_1e5: int
    maker_1e5: int
    adjustment_pct: int = 0
    referred: bool = False
    discount_pct: int = 0
    reward_pct: int = 0


class GodarkFees(_Strict):
    taker_e9: int
    maker_e9: int


class Fees(_Strict):
    notional_usdc: Amount
    drift: DriftFees | None = None
    godark: GodarkFees | None = None


class Account(_Strict):
    cash_usdc: Amount
    markets: dict[str, Market]
    positions: tuple[Position, ...] = ()
    close: Close | None = None
    trades: tuple[Trade, ...] = ()
    fees: Fees | None = None


def int64(value: int, field: str) -> int:
    """`value` itself. ParameterError: it is beyond the range of int64."""
    if not -I64_MAX - 1 <= value <= I64_MAX:
        raise ParameterError(f"{field}: {value} is beyond the range of int64", field=field)
    return value


def exact(amount: Amount, field: str) -> Fraction:
    """The number an amount stands for. ParameterError: it is no plain decimal."""
    if isinstance(amount, int):
        return Fraction(amount)
    if not _DECIMAL.fullmatch(amount):
        raise ParameterError(f"{field}: {amount[:40]!r} is not a plain decimal number", field=field)
    return Fraction(Decimal(amount))


def units(amount: Amount, exponent: int, field: str) -> int:
    """`amount` in units of 10**exponent. ParameterError: it is not a whole number of them, or too large."""
    value = exact(amount, field) / Fraction(10) ** bounded(exponent, -_EXPONENT_MAX, _EXPONENT_MAX, field)
    if value.denominator != 1:
        raise ParameterError(f"{field}: {amount} is not a multiple of 10**{exponent}", field=field)
    return int64(value.numerator, field)


def bounded(value: int, low: int, high: int, field: str) -> int:
    """`value` itself. ParameterError: it is not in low..high."""
    if not low <= value <= high:
        raise ParameterError(f"{field}: {value} is not in {low}..{high}", field=field)
    return value


def load(path: Path) -> Account:
    """Read and check an account. InputFileError: names the file, the field and the rule."""
    try:
        with path.open("rb") as stream:
            data = stream.read(FILE_LIMIT_BYTES + 1)
    except OSError as fault:
        raise InputFileError(str(path), fault.strerror or "cannot be read") from fault
    if len(data) > FILE_LIMIT_BYTES:
        raise InputFileError(str(path), f"larger than {FILE_LIMIT_BYTES} bytes")
    try:
        account = msgspec.json.decode(data, type=Account)
        check(account)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise InputFileError(str(path), str(fault)) from fault
    except ParameterError as fault:
        raise InputFileError(str(path), fault.message) from fault
    return account


def check(account: Account) -> None:
    """What holds whatever the venue. ParameterError: names the field and the rule."""
    seen: set[str] = set()
    for k, position in enumerate(account.positions):
        _known(account, position.market, f"positions[{k}].market")
        if position.market in seen:
            raise ParameterError(f"positions[{k}].market: {position.market} has two positions")
        seen.add(position.market)
    for k, trade in enumerate(account.trades):
        _known(account, trade.market, f"trades[{k}].market")
        size = exact(trade.size, f"trades[{k}].size")
        quote = exact(trade.quote_usdc, f"trades[{k}].quote_usdc")
        if size * quote >= 0:
            raise ParameterError(f"trades[{k}].quote_usdc: must have the sign opposite to size, neither 0")
    if (close := account.close) is not None:
        if close.market not in seen:
            raise ParameterError(f"close.market: there is no position in {close.market!r}")
        _not_negative(close.fill_quote_usdc, "close.fill_quote_usdc")
        _not_negative(close.insurance_usdc, "close.insurance_usdc")
    if account.fees is not None:
        _not_negative(account.fees.notional_usdc, "fees.notional_usdc")
    for name, market in account.markets.items():
        if exact(market.price, f"markets.{name}.price") <= 0:
            raise ParameterError(f"markets.{name}.price: must be above 0")
        _check_rules(f"markets.{name}", market)


def _known(account: Account, market: str, field: str) -> None:
    if market not in account.markets:
        raise ParameterError(f"{field}: {market!r} is not among the markets", field=field)


def _not_negative(amount: Amount, field: str) -> None:
    if exact(amount, field) < 0:
        raise ParameterError(f"{field}: must not be negative", field=field)


def _check_rules(where: str, market: Market) -> None:
    if (dydx := market.dydx) is not None:
        for name in ("initial_margin_ppm", "maintenance_fraction_ppm"):
            bounded(getattr(dydx, name), 0, 1_000_000, f"{where}.dydx.{name}")
        for name in ("base_resolution", "price_exponent"):
            bounded(getattr(dydx, name), -_EXPONENT_MAX, _EXPONENT_MAX, f"{where}.dydx.{name}")
        for name in ("open_interest", "oi_lower_cap_usdc", "oi_upper_cap_usdc"):
            _not_negative(getattr(dydx, name), f"{where}.dydx.{name}")
    if (drift := market.drift) is not None:
        for name in ("initial_ratio_1e4", "maintenance_ratio_1e4"):
            bounded(getattr(drift, name), 1, 10_000, f"{where}.drift.{name}")
        for name in ("imf_factor_1e6", "liquidator_fee_1e6", "insurance_fee_max_1e6"):
            bounded(getattr(drift, name), 0, 1_000_000, f"{where}.drift.{name}")
        if drift.maintenance_ratio_1e4 > drift.initial_ratio_1e4:
            raise ParameterError(f"{where}.drift.maintenance_ratio_1e4: is above initial_ratio_1e4")
    if (mango := market.mango) is not None:
        bounded(mango.base_decimals, 0, 18, f"{where}.mango.base_decimals")
        bounded(mango.base_lot_size, 1, I64_MAX, f"{where}.mango.base_lot_size")
    if (godark := market.godark) is not None:
        _check_tiers(f"{where}.godark", godark)


def _check_tiers(where: str, market: GodarkMarket) -> None:
    bounded(market.price_exp, 0, 9, f"{where}.price_exp")
    bounded(market.lot_exp, 0, 9, f"{where}.lot_exp")
    bounded(market.leverage, 1, 1000, f"{where}.leverage")
    bounded(len(market.tiers), 1, MAX_TIERS, f"{where}.tiers: number of tiers")
    for k, tier in enumerate(market.tiers):
        field = f"{where}.tiers[{k}]"
        bounded(tier.initial_e12, 1, 10**12, f"{field}.initial_e12")
        bounded(tier.maintenance_e12, 1, tier.initial_e12, f"{field}.maintenance_e12")
        bounded(tier.max_leverage, 1, 1000, f"{field}.max_leverage")
        _not_negative(tier.max_notional_usdc, f"{field}.max_notional_usdc")
        if k and tier.max_leverage <= market.tiers[k - 1].max_leverage:
            raise ParameterError(f"{field}.max_leverage: tiers must be in rising order")
