"""Drift v2: positions, requirement, liquidation, lost collateral and trading fees."""

from __future__ import annotations

from typing import Any

from engine.app.venues.common import require
from kernels.venues import drift
from tests.conformance.data import Malformed
from tests.conformance.margin_vectors import family, number, numbers


def _position(inputs: dict[str, Any]) -> dict[str, Any]:
    held = numbers(inputs["position"], "base", "quote", "quote_entry", "quote_break_even")
    base, quote, entry, even, pnl, status = drift.position_update(
        *held, *numbers(inputs["delta"], "base", "quote")
    )
    require(status, "position")
    return {
        "base": int(base),
        "quote": int(quote),
        "quote_entry": int(entry),
        "quote_break_even": int(even),
        "realized_pnl": int(pnl),
    }


def _base_to_cover(inputs: dict[str, Any]) -> dict[str, Any]:
    names = ("margin_shortage_quote", "margin_ratio_1e4", "liquidator_fee_1e6", "insurance_fee_1e6")
    base, status = drift.base_to_cover_shortage(
        *numbers(inputs, *names, "oracle_price", "quote_oracle_price")
    )
    require(status, "base to cover")
    return {"base_1e9": int(base)}


def _insurance_fee(inputs: dict[str, Any]) -> dict[str, Any]:
    names = ("margin_shortage_quote", "user_base_1e9", "margin_ratio_1e4", "liquidator_fee_1e6")
    prices = ("oracle_price", "quote_oracle_price", "max_insurance_fee_1e6")
    fee, status = drift.insurance_fee(*numbers(inputs, *names, *prices))
    require(status, "insurance fee")
    return {"insurance_fee_1e6": int(fee)}


def _socialised_loss(inputs: dict[str, Any]) -> dict[str, Any]:
    rate, status = drift.socialised_loss_rate(*numbers(inputs, "loss_quote", "long_base", "short_base"))
    require(status, "socialised loss")
    return {"": int(rate)}


def _socialised_as_published(vector: dict[str, Any]) -> dict[str, Any]:
    """The one published case is an error; a case with a number may name the rate as it likes, if it is one
    number: the size of what both sides' cumulative rates move by."""
    sizes = {abs(number(value, key)) for key, value in vector["expected"].items() if key != "error"}
    if len(sizes) > 1:
        raise Malformed("more than one rate")
    return vector | {"expected": {"": sizes.pop()}} if sizes else vector


def _of_position(inputs: dict[str, Any], prefix: str) -> int:
    """The one input whose name begins so: of this family no file is at hand to fix the rest of the name."""
    names = [name for name in inputs if name.startswith(prefix) or name.endswith(f"_{prefix}")]
    if len(names) != 1:
        raise Malformed(f"{len(names)} inputs named {prefix}")
    return number(inputs[names[0]], names[0])


def _unrealised(inputs: dict[str, Any]) -> dict[str, Any]:
    held = inputs | inputs.get("position", {})
    held.pop("position", None)
    price = [name for name in held if name.endswith("price")]
    if len(price) != 1:
        raise Malformed(f"{len(price)} prices")
    given = number(held.pop(price[0]), price[0])
    pnl, status = drift.unrealised_pnl(_of_position(held, "base"), _of_position(held, "quote"), given)
    require(status, "unrealised PnL")
    return {"pnl": int(pnl)}


def _unrealised_as_published(vector: dict[str, Any]) -> dict[str, Any]:
    names = [name for name in vector["expected"] if "pnl" in name]
    return vector | {"expected": {"pnl": vector["expected"][names[0]]}} if len(names) == 1 else vector


def _requirement(inputs: dict[str, Any]) -> dict[str, Any]:
    """A ratio is given as initial_ratio_1e4 or maintenance_ratio_1e4; each asks for its own margin."""
    base, price, imf = numbers(inputs, "base_1e9", "oracle_price", "imf_factor_1e6")
    ours = {}
    for kind in ("initial", "maintenance"):
        if f"{kind}_ratio_1e4" in inputs:
            ratio = number(inputs[f"{kind}_ratio_1e4"], f"{kind}_ratio_1e4")
            quote, status = drift.margin_requirement(base, price, ratio, imf)
            require(status, f"{kind} requirement")
            ours[f"{kind}_margin_quote"] = int(quote)
    return ours


def _fees(inputs: dict[str, Any]) -> dict[str, Any]:
    rates = numbers(inputs, "notional_quote", "taker_fee_1e5", "maker_rebate_1e5", "fee_adjustment_pct")
    shares = numbers(inputs, "referee_discount_pct", "referrer_reward_pct")
    taker, maker, house, referrer, discount, status = drift.trade_fees(
        *rates, int(inputs["has_referrer"]), *shares
    )
    require(status, "fees")
    return {
        "taker_pays": int(taker),
        "maker_receives": int(maker),
        "house_receives": int(house),
        "referrer_receives": int(referrer),
        "referee_discount": int(discount),
    }


FAMILIES = [
    family("drift_position_update", "drift.position_update", _position),
    family("drift_base_to_cover_shortage", "drift.base_to_cover_shortage", _base_to_cover),
    family("drift_insurance_fee", "drift.insurance_fee", _insurance_fee),
    family("drift_socialise_loss", "drift.socialised_loss_rate", _socialised_loss, _socialised_as_published),
    family("drift_unrealised_pnl", "drift.unrealised_pnl", _unrealised, _unrealised_as_published),
    family("drift_margin_requirement", "drift.margin_requirement", _requirement),
    family("drift_trade_fees", "drift.trade_fees", _fees),
]
