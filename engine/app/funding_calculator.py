"""One formula of one venue, from numbers given as JSON: what `godark funding --calculate` answers.

Names and numbers are those of the vectors in `shared/data/funding-vectors`. Integers stay integers; decimals
are strings and become integers in 1e-12. What the kernels cannot hold in 64 bits is refused, never wrapped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.common.errors import UsageError
from kernels import funding_premium, funding_rate, funding_samples, funding_venues, profiles
from kernels.int128 import mul_div_floor, mul_div_trunc
from kernels.profiles import PPM, RATE_ONE, Profile

I64_MIN, I64_MAX = -(1 << 63), (1 << 63) - 1
Inputs = dict[str, Any]


class Refused(UsageError):
    """A number cannot be held in 64 bits, or the formula has no answer for it."""

    code = "refused"


def whole(value: Any) -> int:
    """An integer of 64 bits as given. Raises Refused."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(f"{value!r} is not an integer")
    if not I64_MIN <= value <= I64_MAX:
        raise Refused(f"{value} exceeds 64 bits")
    return value


def scaled(text: Any, places: int = 12) -> int:
    """A decimal as an integer in 10**-places, exactly. Raises Refused."""
    try:
        value = Fraction(Decimal(str(text))) * 10**places
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise Refused(f"{text!r} is not a decimal number") from error
    if value.denominator != 1:
        raise Refused(f"{text} has more than {places} decimals")
    return whole(int(value))


def exact(value: int, places: int = 12) -> str:
    """The decimal text of an integer in 10**-places."""
    return format(Decimal(value).scaleb(-places).normalize(), "f")


def column(values: Any, room: int = 0) -> NDArray[np.int64]:
    """int64 of the values, at least `room` long. Raises Refused."""
    out = np.zeros(max(len(values), room), np.int64)
    out[: len(values)] = [whole(value) for value in values]
    return out


def words(*values: Any) -> list[Any]:
    """Arguments of a kernel: every integer as int64. Raises Refused."""
    return [np.int64(whole(value)) for value in values]


def held(answer: tuple[Any, ...]) -> tuple[int, ...]:
    """What a kernel answers, without its status. Raises Refused if it is 0."""
    *values, ok = (int(value) for value in answer)
    if ok != 1:
        raise Refused("no answer fits in 64 bits, or there is nothing to answer from")
    return tuple(values)


def power(exponent: Any) -> tuple[int, int]:
    """(mul, div) of 10**exponent as a fraction. Raises Refused."""
    if abs(whole(exponent)) > 18:
        raise Refused(f"10**{exponent} exceeds 64 bits")
    return 10 ** max(0, exponent), 10 ** max(0, -exponent)


def index_delta(given: Inputs) -> Inputs:
    """dYdX: step of the funding index."""
    quote = given.get("quote_atomic_resolution", -6)
    mul, div = power(given["price_exponent"] + given["base_atomic_resolution"] - quote)
    values = words(given["elapsed_s"], given["rate_8h_ppm"], given["price"], mul, div)
    return {"index_delta_ppm": held(funding_venues.index_step_ppm(*values))[0]}


def max_abs_rate(given: Inputs) -> Inputs:
    """dYdX: the largest rate, from margins."""
    initial = whole(given["initial_margin_ppm"])
    (maintenance,) = held(mul_div_floor(*words(initial, given["maintenance_fraction_ppm"], PPM)))
    factor = given.get("clamp_factor_ppm", given.get("funding_clamp_factor_ppm"))
    (bound,) = held(funding_venues.margin_bound(*words(factor, initial, maintenance)))
    return {"max_abs_rate_ppm": bound}


def run_lengths(pairs: Any) -> list[int]:
    """The values of [value, count] pairs. Raises Refused past 100,000 of them."""
    if sum(whole(count) for _, count in pairs) > 100_000:
        raise Refused("more than 100,000 samples")
    return [value for value, count in pairs for _ in range(count)]


def funding_tick(given: Inputs) -> Inputs:
    """dYdX: rate and index step of an hour of samples."""
    if whole(given["sample_duration_s"]) <= 0 or whole(given["tick_duration_s"]) <= 0:
        raise Refused("durations must be positive")
    samples = column(run_lengths(given["samples_ppm_run_length"]))
    needed = -(-given["tick_duration_s"] // given["sample_duration_s"])
    first, last = funding_samples.trim_tails(samples, *words(len(samples), given["tail_removal_ppm"]))
    kept = np.ascontiguousarray(samples[int(first) : int(last)])
    mean = 0
    if len(kept):
        (mean,) = held(funding_samples.padded_mean(kept, *words(len(kept), needed)))
    bound = max_abs_rate(given)["max_abs_rate_ppm"]
    rule = profiles.rule_row(
        Profile.DYDX_V4, interest_e12=whole(given["default_funding_8h_ppm"] * PPM), cap_e12=whole(bound * PPM)
    )
    rate = int(funding_rate.rate_of_mean(rule, *words(mean * PPM))) // PPM
    step = index_delta(given | {"elapsed_s": given["tick_duration_s"], "rate_8h_ppm": rate})
    return {"rate_8h_ppm": rate} | step


def settlement(given: Inputs) -> Inputs:
    """dYdX: what one position receives, in quote ppm."""
    names = ("market_index_ppm", "position_index_ppm", "size_base")
    net = held(funding_venues.settlement_ppm(*words(*(given[name] for name in names))))[0]
    return {"net_settlement_quote_ppm": net}


def settle_account(given: Inputs) -> Inputs:
    """dYdX: an account's positions settled together."""
    nets = [settlement(position)["net_settlement_quote_ppm"] for position in given["positions"]]
    payments = np.zeros(len(nets), np.int64)
    (received,) = held(funding_venues.settle_together(column(nets), payments))
    paid = {
        str(position["perp"]): int(payment)
        for position, net, payment in zip(given["positions"], nets, payments, strict=True)
        if net
    }
    balance = whole(whole(given["usdc_quantums"]) + received)
    return {"funding_payment_by_perp": paid, "usdc_quantums": balance}


def trim(given: Inputs) -> Inputs:
    """dYdX: samples without their tails."""
    values = column(given["samples"])
    tail = whole(given["tail_removal_ppm"])
    if not 0 <= tail <= PPM:
        raise Refused(f"tail_removal_ppm {tail} is not in 0..{PPM}")
    first, last = funding_samples.trim_tails(values, *words(len(values), tail))
    return {"kept": [int(value) for value in values[int(first) : int(last)]]}


def padded_median(given: Inputs) -> Inputs:
    """dYdX: median of votes among zeros."""
    votes = given["nonzero_votes_ppm"]
    length = max(whole(given["num_rounds"]), whole(given["min_votes"]))
    if length > 1_000_000:
        raise Refused("more than 1,000,000 votes")
    values = column(votes, length)
    return {"sample_ppm": held(funding_samples.padded_median(values, *words(len(votes), length)))[0]}


def median(given: Inputs) -> Inputs:
    """Median, halves away from zero."""
    values = column(given["values"])
    return {"median": held(funding_samples.median(values, *words(len(values))))[0]}


def mean(given: Inputs) -> Inputs:
    """Mean, toward zero."""
    values = column(given["values"])
    return {"mean": held(funding_samples.padded_mean(values, *words(len(values), 0)))[0]}


def drift_rate(given: Inputs) -> Inputs:
    """Drift: rate of an hour from two averages."""
    names = ("mark_twap", "oracle_twap", "offset_denominator", "max_spread_denominator", "funding_period_s")
    return {"funding_rate_1e9": held(funding_venues.drift_rate_e9(*words(*(given[n] for n in names))))[0]}


def drift_spread(given: Inputs) -> Inputs:
    """Drift: the largest spread."""
    oracle, part = words(given["oracle_twap"], given["max_spread_denominator"])
    if oracle < 0 or part <= 0:
        raise Refused("the oracle price is negative, or the denominator not positive")
    return {"max_spread": int(funding_venues.drift_spread_limit(oracle, part))}


def drift_symmetric(given: Inputs) -> Inputs:
    """Drift: rates of both sides within what the fee pool bears."""
    names = ("funding_rate_1e9", "net_base_vs_protocol", "long_base", "short_base")
    fees = (given["total_exchange_fee"], given["fee_pool_total"])
    sides = held(funding_venues.drift_sides(*words(*(given[name] for name in names), *fees)))
    return dict(zip(("rate_long", "rate_short", "fee_pool_total_after"), sides, strict=True))


def twap(given: Inputs) -> Inputs:
    """Vega: average over time of a price that steps."""
    times = column([moment for moment, _ in given["updates"]])
    prices = column([price for _, price in given["updates"]])
    outages = np.array(given["excluded"], np.int64).reshape(-1, 2)
    values = words(given["last_before"], given["period_s"])
    total, seconds = held(funding_samples.twap_step(times, prices, outages, *values))
    return {"twap_num": total, "twap_den": seconds}


def difference_payment(given: Inputs) -> Inputs:
    """Vega: payment of a difference of averages, and the rate it is. Prices in 1e-9."""
    places = 0 if given["truncate_payment_to_integer"] else 9
    internal, external = (scaled(given[name], 9) for name in ("internal_twap", "external_twap"))
    if external <= 0:
        raise Refused("external_twap is not positive")
    interest = given["interest_enabled"]
    low, high = (scaled(given[f"clamp_{side}"]) if interest else 0 for side in ("lower", "upper"))
    years = Fraction(Decimal(given["interest_rate_annual"])) * Fraction(Decimal(given["year_fraction"]))
    grown = int((1 + years) * RATE_ONE)
    share = Fraction(Decimal(given["active_fraction"])) * Fraction(Decimal(given["scaling"]))
    values = words(internal, external, low, high, grown, int(share * RATE_ONE))
    (payment,) = held(funding_venues.difference_payment(*values))
    for bound, choose in ((given["rate_upper"], min), (given["rate_lower"], max)):
        if bound is not None:
            (limit,) = held(mul_div_trunc(*words(scaled(bound), external, RATE_ONE)))
            payment = choose(payment, limit)
    (rate,) = held(mul_div_trunc(*words(payment, RATE_ONE, external)))
    if places == 0:
        payment = held(mul_div_trunc(*words(payment, 1, 10**9)))[0] * 10**9
    return {"payment": exact(payment, 9), "rate": exact(rate)}


def published(given: Inputs) -> Inputs:
    """Worked examples of documents, by `kind`."""
    if given.get("kind") not in EXAMPLES:
        raise Refused(f"kind {given.get('kind')!r} is not one of {', '.join(sorted(EXAMPLES))}")
    return EXAMPLES[given["kind"]](given)


def dampened_rate(given: Inputs) -> Inputs:
    """Premium of an impact bid, interest and dampener: the rate per 8 h."""
    index = scaled(_first(given, "index", "oracle", "index_price"), 9)
    bid = scaled(_first(given, "bid", "impact_bid", "impact_bid_price"), 9)
    premium = int(funding_premium.share_e12(*words(max(0, bid - index), index, RATE_ONE)))
    interest = scaled(_first(given, "interest", "interest_rate", "interest_8h"))
    damper = scaled(_first(given, "dampener", "clamp"))
    rule = profiles.rule_row(
        Profile.HYPERLIQUID, interest_e12=interest, dampener_e12=damper, cap_e12=RATE_ONE
    )
    rate = int(funding_rate.rate_of_mean(rule, *words(premium)))
    return {"premium": exact(premium), "rate": exact(rate), "rate_8h": exact(rate)}


def bitmex_cap(given: Inputs) -> Inputs:
    """The largest rate, from margins."""
    margins = [scaled(given[name]) for name in ("initial_margin", "maintenance_margin")]
    (bound,) = held(funding_venues.margin_bound(*words(scaled(given["factor"], 6), *margins)))
    return {"max_abs_rate": exact(bound)}


def mid_premium_day(given: Inputs) -> Inputs:
    """Rate of a day from the mid price, and what a long's balance changes by."""
    mid, oracle = (scaled(_first(given, name, f"{name}_price"), 9) for name in ("mid", "oracle"))
    rate = int(funding_premium.share_e12(*words(mid - oracle, oracle, RATE_ONE)))
    size = scaled(given.get("size", "0"), 6)
    (paid,) = held(mul_div_trunc(*words(rate, oracle, RATE_ONE)))
    (received,) = held(mul_div_trunc(*words(-paid, size, PPM)))
    return {"rate": exact(rate), "balance_change": exact(received, 9)}


def impact_notional(given: Inputs) -> Inputs:
    """Notional of the impact prices: margin at the largest leverage."""
    margin, leverage = scaled(given["margin_usdt"], 6), whole(given["max_leverage"])
    (notional,) = held(funding_venues.times(*words(margin, leverage)))
    return {"impact_notional_usdt": exact(notional, 6)}


def cumulative(given: Inputs) -> Inputs:
    """Running sum of mark - index, over its divisor."""
    mark, index = (column([scaled(v, 9) for v in given[name]]) for name in ("mark", "index"))
    out = np.zeros_like(mark)
    if int(funding_samples.running_difference(mark, index, out)) != 1:
        raise Refused("a sum exceeds 64 bits")
    return {"cumulative_num": [exact(int(v), 9) for v in out], "cumulative_den": whole(given["divisor"])}


def _first(given: Inputs, *names: str) -> Any:
    for name in names:
        if name in given:
            return given[name]
    raise KeyError(names[0])


EXAMPLES: dict[str, Callable[[Inputs], Inputs]] = {
    "dampened_rate_8h": dampened_rate,
    "bitmex_cap": bitmex_cap,
    "mid_premium_day": mid_premium_day,
    "impact_margin_notional": impact_notional,
    "cumulative_index": cumulative,
}
FORMULAS: dict[str, Callable[[Inputs], Inputs]] = {
    "dydx_funding_index_delta": index_delta,
    "dydx_funding_tick": funding_tick,
    "dydx_settlement_ppm": settlement,
    "dydx_settle_account": settle_account,
    "dydx_trim_tails": trim,
    "dydx_padded_median": padded_median,
    "dydx_int_median": median,
    "dydx_int_mean": mean,
    "dydx_max_abs_rate": max_abs_rate,
    "drift_rate_from_twaps": drift_rate,
    "drift_max_spread": drift_spread,
    "drift_capped_symmetric": drift_symmetric,
    "published_example": published,
    "twap_step": twap,
    "twap_difference_payment": difference_payment,
}


@contextlib.contextmanager
def _named(formula: str) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise Refused(f"{formula}: the field {error.args[0]} is missing") from error
    except (TypeError, ValueError, AttributeError, InvalidOperation) as error:
        raise Refused(f"{formula}: {error}") from error


def calculate(formula: str, inputs: Inputs) -> Inputs:
    """The answer of one formula, by the product's kernels. Raises Refused, UsageError."""
    if formula not in FORMULAS:
        raise UsageError(f"no formula '{formula}'; there are: {', '.join(FORMULAS)}")
    with _named(formula):
        return FORMULAS[formula](inputs)
