"""dYdX v4: requirement, liquidation, bankruptcy and fillable price, insurance and open interest."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.app.venues.common import require
from engine.app.venues.dydx import fillable_price
from kernels.venues import dydx
from tests.conformance.data import Malformed
from tests.conformance.margin_vectors import family, number, numbers

_CAPS = ("oi_notional_quote", "oi_lower_cap_quote", "oi_upper_cap_quote")


def _exponent(inputs: dict[str, Any]) -> int:
    return (
        number(inputs["price_exponent"], "price_exponent")
        + number(inputs["base_atomic_resolution"], "base_atomic_resolution")
        - number(inputs.get("quote_atomic_resolution", -6), "quote_atomic_resolution")
    )


def _account(inputs: dict[str, Any]) -> tuple[int, NDArray[np.void], int]:
    """(usdc, positions, place of the market) of a vector with an account."""
    account = inputs["account"]
    quote = account.get("quote_atomic_resolution", -6)
    rows = np.zeros(len(account["positions"]), dydx.POSITION)
    for row, held in zip(rows, account["positions"], strict=True):
        row["size_base"], row["price"] = numbers(held, "size_base", "price")
        row["exponent"] = _exponent({"quote_atomic_resolution": quote} | held)
        row["initial_ppm"], row["maintenance_ppm"] = numbers(
            held, "initial_margin_ppm", "maintenance_fraction_ppm"
        )
    places = [k for k, held in enumerate(account["positions"]) if held["market"] == inputs["market"]]
    if len(places) != 1:
        raise Malformed(f"{len(places)} positions in {inputs['market']}")
    return number(account["usdc_quantums"], "usdc_quantums"), rows, places[0]


def _margin_requirement(inputs: dict[str, Any]) -> dict[str, Any]:
    size, price = numbers(inputs, "size_base", "price")
    rates = numbers(inputs, "initial_margin_ppm", "maintenance_fraction_ppm")
    interest = numbers(inputs, "open_interest_base", "oi_lower_cap_quote", "oi_upper_cap_quote")
    initial, maintenance, status = dydx.margin_requirement(size, price, _exponent(inputs), *rates, *interest)
    require(status, "requirement")
    return {"initial_margin_quote": int(initial), "maintenance_margin_quote": int(maintenance)}


def _initial_margin(inputs: dict[str, Any]) -> dict[str, Any]:
    quote, status = dydx.initial_margin_e6(*numbers(inputs, "notional_quote", "initial_margin_ppm", *_CAPS))
    require(status, "initial margin")
    return {"initial_margin_quote": int(quote)}


def _scaled_rate(inputs: dict[str, Any]) -> dict[str, Any]:
    rate, status = dydx.scaled_initial_ppm(*numbers(inputs, "initial_margin_ppm", *_CAPS))
    require(status, "scaled rate")
    return {"effective_initial_margin_ppm": int(rate)}


def _is_liquidatable(inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        "liquidatable": bool(dydx.is_liquidatable(*numbers(inputs, "net_collateral", "maintenance_margin")))
    }


def _bankruptcy(inputs: dict[str, Any]) -> dict[str, Any]:
    quote, status = dydx.bankruptcy_quote(*_account(inputs), number(inputs["delta_base"], "delta_base"))
    require(status, "bankruptcy price")
    return {"bankruptcy_quote": int(quote)}


def _fillable(inputs: dict[str, Any]) -> dict[str, Any]:
    rates = numbers(inputs, "bankruptcy_adjustment_ppm", "spread_to_maintenance_ppm")
    price, status = fillable_price(*_account(inputs), *rates)
    require(status, "fillable price")
    return {"price": price}


def _fillable_as_published(vector: dict[str, Any]) -> dict[str, Any]:
    """The published price need not be in lowest terms: one fraction is compared, not two integers."""
    expected = vector["expected"]
    if "price_quote_per_base_num" not in expected:
        return vector
    price = Fraction(expected["price_quote_per_base_num"], expected["price_quote_per_base_den"])
    return vector | {"expected": {"price": price}}


def _insurance(inputs: dict[str, Any]) -> dict[str, Any]:
    fill = numbers(inputs, "fill_base", "fill_quote", "max_liquidation_fee_ppm")
    delta, status = dydx.insurance_delta(*_account(inputs), int(inputs["liquidated_account_buys"]), *fill)
    require(status, "insurance delta")
    return {"insurance_fund_delta_quote": int(delta)}


def _open_interest(inputs: dict[str, Any]) -> dict[str, Any]:
    sides = ("account_a_size", "account_a_delta", "account_b_size", "account_b_delta")
    delta, status = dydx.open_interest_delta(*numbers(inputs, *sides))
    require(status, "open interest")
    return {"open_interest_delta": int(delta)}


FAMILIES = [
    family("dydx_margin_requirement", "dydx.margin_requirement", _margin_requirement),
    family("dydx_initial_margin_quote", "dydx.initial_margin_e6", _initial_margin),
    family("dydx_oi_scaled_imf", "dydx.scaled_initial_ppm", _scaled_rate),
    family("dydx_is_liquidatable", "dydx.is_liquidatable", _is_liquidatable),
    family("dydx_bankruptcy_price", "dydx.bankruptcy_quote", _bankruptcy),
    family("dydx_fillable_price", "dydx.fillable_price", _fillable, _fillable_as_published),
    family("dydx_insurance_delta", "dydx.insurance_delta", _insurance),
    family("dydx_open_interest_delta", "dydx.open_interest_delta", _open_interest),
]
