"""The funding index between payments, as equity counts it."""

from __future__ import annotations

from kernels.funding import SECOND_NS, next_index
from kernels.funding_rate import predicted_rate_e12
from kernels.jit import kernel
from kernels.types import Record


@kernel
def accrued_index(market: Record, second_ns: int) -> int:
    """Funding index of a MARKET row with the open interval's accrual in it, in 1e-6 price units per lot, down.

    As if the interval's rate so far, or with a lag the one already set, were paid for the whole seconds that
    are over at `second_ns`, the last second sampled; on the last price of payment. Moves no money: what is
    paid is decided when the interval ends. The index itself without open interest, or past +-LIMIT.
    """
    index = market["index_e6"]
    seconds = second_ns % (market["interval_s"] * SECOND_NS) // SECOND_NS
    if seconds == 0 or market["open_interest"] == 0:
        return index
    rate = market["rate_set_e12"]
    if market["lag"] == 0:
        rate = predicted_rate_e12(
            market,
            market["premium_sum_e12"],
            market["weight_valid"],
            market["seconds_valid"],
            second_ns,
            rate,
        )
    accrued, _, _ = next_index(index, market["index_rem"], market["pay_price"], rate, seconds)
    return accrued
