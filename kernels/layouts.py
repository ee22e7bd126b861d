"""The arrays in memory: state of the books, and what applying a frame leaves behind.

All fields are signed; money in 1e-6 USDC (`_e6`), rates in 1e-12 per 8 h (`_e12`), prices in 10**-e USD
per lot of their market, funding indices in 1e-6 of such price units.
"""

from __future__ import annotations

import numpy as np

FEED_SLOTS = 16
"""Observation slots of a market: 0..12 oracle providers, then the matching engine's mid, bid and ask."""
SLOT_MID, SLOT_BID, SLOT_ASK = 13, 14, 15
MAX_PROVIDERS = 13

MAX_MARKETS = 256
MAX_TIERS = 16
MAX_STAGED = 8192
MAX_OPEN_REFUSALS = 1024
OUTBOX_SLOTS = 131_072
"""Outputs kept for who asks for them again, 8 MiB: two for each frame of the largest group (65,536), so that one
group never overwrites what the group before it put there. A fill makes one at most, but for the rare ones that
refuse, halt or warn."""
MAX_LIQUIDATIONS = 1024
SOURCES = 256

PRICE_MIN, PRICE_MAX = 10_000_000, 9_000_000_000
PRICE_EXP_MAX = 11
"""Lots are worth at least 1e-4 USD."""
MAX_ACCOUNTS = 1 << 26
"""Each has one position in a market, and each position a remainder below 10**11: their sum stays in int64."""
LIMIT = 1 << 61
"""No balance, sum, cost or index leaves +-LIMIT (L below); every one is checked before it is written."""
NOTIONAL_LIMIT_E6 = 1 << 60
"""No position is worth more than this (N below) at the largest on-scale price; `size_max` of a market follows.

Why nothing wraps in the modules of engine/core: int64 ends at 4L = 8N. A mark may lie 50 bps past the largest
price, so that worth, notional and requirement at a mark are at most M = N + N/128.
engine/core/fast_fills.py books only what lies far within these bounds (SNUG there).

1. |size| <= size_max, so |size| * quote_mul * price <= N * quote_div and |size| <= 2**44 (e = 11, the widest).
   A fill's quote is at most N, worth (down) and notional (up) at most M, in any rounding. Fee rates are below 1
   and margin rates at most 1 in every slice: |fee| <= N, requirement <= M.
2. A leg: cash (<= L) + pay (checked <= L) <= 2L, checked; + dcash (|quote| + |fee| <= 2N = L) <= 2L, checked.
   short = requirement - (cash + worth) <= M + L + M < 3L, and no liquidation fee adds to it, which takes no more
   of an isolated position than its equity. Reach: free - locked >= -3L, as 0 <= locked <= 2L. transfer <=
   min(short, free - locked) <= L, or -cash when a position closes; cover <= -cash, then transfer = 0. So cash
   and free after them are <= 2L + N, checked.
3. Cost and realised: |cost + quote| <= L + N; a share of either is no larger than it; the realised step is
   <= L + N and added to <= L: 2L + N, checked.
4. Sums after a leg: A + (cash - old cash) <= 3L; T + transfer + cover - fee <= 2L + 3N; fees and house <= L + N;
   open interest <= L + 2**44; all checked, before the other leg is added. |S| <= 2**44 between two legs, 0 after
   both. R is a sum of remainders below D <= 10**11 over at most 2**26 accounts, < 2**63.
5. J in 128 bits: sum |size| = 2 * open interest <= 2L and |idx| <= L, so |J| <= 2**123; A*D, T*D <= 2**98;
   their sum stays below 2**124. Settling: |size * (I - idx)| + rem <= 2**44 * 2**62 + 2**37; a quotient that
   does not fit int64 is a status, one that leaves +-L is refused.
6. Transfers: quote <= L is added to balances <= L, checked. Withdrawals take at most what is free. A lower
   leverage moves requirement - (cash + worth) < 3L, refused where free does not reach, so <= L.
   Cross sides: settled cash <= 2L (pay checked) + worth <= M a position, 256 of them summed in 128 bits;
   what is locked of free, and equity as it is told, are brought to 2L = 2**62. Free collateral as it is told is
   free - locked >= -3L, brought to -2L.
7. A tick: prices are below 2**34, so (mid - oracle) * 10**6 and price * 10**6 are below 2**54; price * rate *
   seconds is taken in 128 bits, rate <= 10**12 and seconds <= 86400 before in 64; an index that would leave +-L
   stays where it is, the accrued one of units too.
   Premiums: at most 2**20 samples (`funding.SAMPLES_MAX`) of a second of at most 10**12, below 2**60; with
   rising weights at most one for each slot, `profiles.contradiction` keeps their sum within L. A sum of
   differences of prices stays below 2**54.
   Rounds: votes and references are prices (below 2**34), shares at most 10**6 ppm, so price * share < 2**54;
   13 weights of at most 10**6; bands are taken in 128 bits and saturate; a held confidence stops at PRICE_MAX.
8. Sequences, ordinals, nonces, epochs and counters rise by one a frame: 2**63 frames are out of reach. Times
   that are kept are positive, so the difference of two fits; else they are compared and divided.
   Positions have 31 bits: so many take 128 GiB.
9. Liquidation (engine/core/units.py, candidates.py): a position's equity is settled cash (checked <= L) + worth
   <= M. A unit's sums over 256 positions are taken in 128 bits and brought to 2L; a unit whose equity,
   maintenance or other equity lies past L is not judged. A liquidation fee is at most N, of an equity <= 2L + M;
   insurance + fee is checked. An exchange: cash + pay (checked) + moved (<= L, checked) + dcash (<= L): each
   sum <= 2L, checked. At size 0 all of that goes to free: transfer <= 2L, free - transfer <= 3L, checked. Cost
   <= 2L, realised <= 3L, checked. T + transfer <= 3L, A + (cash - old cash) <= 3L, checked before the other
   side is added. A counterparty's other equity - transfer + cash + worth <= 3L + M. An order's equity - worth
   <= L + M, checked. Insurance pays at most what it has free.
10. Insurance's own (engine/core/insurance.py): equity <= L (else not judged) + free <= 2L; 1.25 x maintenance in
   128 bits, less equity <= 2.25L; what is moved is at most what it has free, as in 6. An order's equity - worth is
   checked, + free <= 2L, brought to L. Its fills, whatever their size and side, are legs as in 2; its free balance
   is at once what covers the other side. Of its own leg at most one of transfer and cover is not 0 (it pays no
   liquidation fee), so what a first leg leaves, free - transfer - cover, is one of the two sums checked in 2, and
   the second is held with that: its sums start within +-L and are checked again. Transfers reach at most to 0
   (nothing of it is locked) and covers take at most what is there, so that the fund stays >= 0 at every step.

tests/engine/core/test_bounds.py runs 2 to 4, 6 and 9 at these bounds, where one unit more would be told.
"""

POSITION = np.dtype(
    [
        ("account", "<i4"),
        ("market", "<i2"),
        ("mode", "i1"),  # 0 isolated, 1 cross
        ("flags", "i1"),  # POSITION_TOO_LARGE, POSITION_LIQUIDATING
        ("size", "<i8"),
        ("cash", "<i8"),
        ("idx", "<i8"),
        ("rem", "<i8"),
        ("cost_e6", "<i8"),  # signed quote of the open size, for people
        ("realised_e6", "<i8"),  # for people
        ("leverage", "<i4"),  # 0: the market's default
        ("liquidation", "<i4"),  # its row of LIQUIDATION + 1, 0: none
    ]
)

POSITION_TOO_LARGE = 1
"""Since it was last touched a position is larger than its leverage admits: closing orders only."""
POSITION_LIQUIDATING = 2
"""The position is being liquidated, see its row of LIQUIDATION."""

NEAR_ENTRIES = 8
ACCOUNT = np.dtype(
    [
        ("tier", "<i4"),
        ("flags", "<i4"),
        ("free_e6", "<i8"),
        ("event_no", "<i8"),
        ("nonce", "<i8"),
        ("near", "<i4", (NEAR_ENTRIES,)),  # where its positions are, see `kernels.slots.near_position`
    ]
)
KEY = np.dtype([("key0", "<i8"), ("key1", "<i8"), ("key2", "<i8"), ("key3", "<i8")])
"""The public key of an account, apart: fills do not need it."""
ACCOUNT_FROZEN, ACCOUNT_REDUCE_ONLY, ACCOUNT_CROSS = 1, 2, 4
"""Bits of an account's state. REDUCE_ONLY is told of an account in one market and kept with the position;
CROSS says that the account has positions in cross mode, open or not, and is never told."""

KNOBS = (
    "profile",
    "source",  # of the premium: mark, impact, mid or the difference of two averages
    "sample_s",
    "weights",
    "missing",
    "valid_min",  # samples of an interval; with fewer the rate is 0
    "premium_limit_e12",
    "interest_rule",
    "dampener_e12",
    "multiplier_ppm",
    "period_s",  # over which premium + interest are owed
    "interval_s",  # from payment to payment
    "change_e12",  # how far the rate may move from one interval to the next, 0: any
    "lag",
    "pay_on",
    "rounding",
)
"""How a market's funding rate is made; what the values mean is told in `kernels/profiles.py`."""

MARKET = np.dtype(
    [
        # identity and parameters
        ("active", "<i8"),
        ("symbol0", "<i8"),
        ("symbol1", "<i8"),
        ("price_exp", "<i8"),
        ("lot_exp", "<i8"),
        ("scale", "<i8"),  # D = 10**price_exp
        ("quote_mul", "<i8"),  # quote_e6 = size * price * quote_mul / quote_div
        ("quote_div", "<i8"),
        ("size_max", "<i8"),
        ("leverage_default", "<i8"),
        ("leverage_max", "<i8"),
        ("interest_e12", "<i8"),
        ("cap_e12", "<i8"),
        ("band_e6", "<i8"),
        *[(name, "<i8") for name in KNOBS],
        # totals: the identities of MONEY.md
        ("sum_size", "<i8"),
        ("sum_cash", "<i8"),
        ("sum_rem", "<i8"),
        ("sum_size_idx_hi", "<i8"),
        ("sum_size_idx_lo", "<i8"),
        ("moved_in", "<i8"),  # T
        ("open_interest", "<i8"),
        ("fees_e6", "<i8"),
        # funding
        ("index_e6", "<i8"),  # I
        ("index_rem", "<i8"),
        ("epoch", "<i8"),
        ("premium_sum_e12", "<i8"),  # of the interval's samples by weight; twap_diff: of mark - index price
        ("weight_valid", "<i8"),  # of the samples in the sum; twap_diff: sum of index prices
        ("seconds_valid", "<i8"),  # samples in the sum
        ("seconds_seen", "<i8"),
        ("rate_set_e12", "<i8"),  # of the last interval that ended; with a lag it is paid after the next
        ("rate_e12", "<i8"),  # of the last payment
        ("pay_price", "<i8"),  # mark of the last valid second
        # prices
        ("status", "<i8"),
        ("oracle", "<i8"),  # index price
        ("conf", "<i8"),
        ("mark", "<i8"),
        ("basis_e6", "<i8"),  # EMA of mid - oracle, in 1e-6 price units
        ("basis_known", "<i8"),
        ("held_since_ns", "<i8"),
        # state towards the matching engine
        ("state", "<i8"),
        ("open_refusals", "<i8"),
        ("move_e12", "<i8"),  # parameter: what the price moves in 100 ms at p99.99
    ]
)
MARKET_FROZEN, MARKET_HALTED, MARKET_REDUCE_ONLY = 1, 2, 4
STATUS_NONE, STATUS_OK, STATUS_TWO, STATUS_PRIMARY, STATUS_HELD = 0, 1, 2, 3, 4

FEED = np.dtype(
    [("weight", "<i8"), ("publish_ns", "<i8"), ("price", "<i8"), ("conf", "<i8"), ("slot", "<i8")]
)

TIER = np.dtype(
    [
        ("taker_e9", "<i8"),
        ("maker_e9", "<i8"),
        ("initial_e12", "<i8"),
        ("maintenance_e12", "<i8"),
        ("max_leverage", "<i8"),
        ("max_notional_e6", "<i8"),
        ("fees_set", "<i8"),
        ("margin_set", "<i8"),
    ]
)

SOURCE = np.dtype([("last_seq", "<i8")])
OPEN_REFUSAL = np.dtype([("source", "<i4"), ("market", "<i4"), ("seq", "<i8")])

META = np.dtype(
    [
        ("rules", "<i8"),
        ("ordinal", "<i8"),
        ("now_ns", "<i8"),
        ("accounts", "<i8"),
        ("positions", "<i8"),
        ("markets", "<i8"),
        ("outputs", "<i8"),
        ("open_refusals", "<i8"),
        ("booked", "<i8"),
        ("refused", "<i8"),
        ("house_e6", "<i8"),
        ("deposits_e6", "<i8"),
        ("payouts_e6", "<i8"),
        ("held_e6", "<i8"),
        ("settled_batch", "<i8"),
        ("outcomes", "<i8"),
        ("batch_window_ns", "<i8"),
        ("observation_age_ns", "<i8"),
        ("hold_ns", "<i8"),
        ("staged", "<i8"),
        ("staged_change", "<i8"),
        ("pending", "<i8"),  # 1: a committed change waits for its tick
        ("pending_not_before_ns", "<i8"),
        ("funding_hour", "<i8"),  # hour number up to which funding is done
        ("liquidations", "<i8"),  # begun so far
        ("open_liquidations", "<i8"),  # rows of LIQUIDATION
        ("second_ns", "<i8"),  # the last tick that was no RISK tick: up to here funding is sampled
        ("liquidation_fee_e9", "<i8"),
        ("reserve_e12", "<i8"),  # margin that insurance keeps behind what it takes over
    ]
)

LIQUIDATION = np.dtype(
    [
        ("account", "<i4"),
        ("market", "<i4"),
        ("first_ns", "<i8"),  # books' time of the first candidate
        ("heard_ns", "<i8"),  # of the last one that was right
        ("ordered_ns", "<i8"),  # of the last order
        ("orders", "<i8"),
        ("size", "<i8"),  # of the last order, signed by its side
        ("price", "<i8"),  # its limit
    ]
)
"""A position that is being liquidated; of an account's cross positions one at a time."""

LEG = np.dtype(
    [
        ("ordinal", "<i8"),
        ("account", "<i4"),
        ("market", "<i2"),
        ("kind", "<i2"),
        ("dsize", "<i8"),
        ("dcash", "<i8"),  # -side * quote - fee; funding is never part of it
        ("transfer", "<i8"),  # from the account's free balance into the position
        ("cover", "<i8"),  # from insurance into the position; negative: a liquidation fee to insurance
        ("fee", "<i8"),  # the house's part; negative is a rebate
        ("funding", "<i8"),  # settled on this touch
    ]
)
LEG_MAKER, LEG_TAKER, LEG_TRANSFER, LEG_TAKEOVER, LEG_DELEVERAGE = 1, 2, 3, 4, 5

RESULT = np.dtype([("refusal", "<i4"), ("legs", "<i2"), ("boundary", "<i2")])
"""What a frame did: why it was refused (0: not), its legs, and 1 if it is a tick that closes a batch."""

for _dtype in (POSITION, ACCOUNT, LEG):
    if _dtype.itemsize != 64:
        raise AssertionError(
            f"a position, an account and a leg are one cache line, not {_dtype.itemsize} bytes"
        )
