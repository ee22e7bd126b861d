"""A seeded order flow that acts as the matching engine, the feeds and the chain of `godark demo`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.venue import scales
from engine.venue.build import (
    SECOND_NS,
    Frames,
    account_frames,
    deposit_frames,
    fill_frames,
    open_tick,
    sealed,
    second_ticks,
)
from engine.venue.daring import Daring
from engine.venue.desk import Desk, Match, Policy
from engine.venue.noise import below, draws, seeded_keys
from engine.venue.observations import KINDS_PER_POINT, Scales, point_frames
from engine.venue.recording import TRADE, MarketPlan
from engine.venue.stream import INSURANCE_DEPOSIT_E6, USDC_E6, genesis_params
from kernels.frames import TickKind

FILLS_MAX: Final = 1 << 16
OBSERVATION_AGE_NS: Final = 10 * SECOND_NS
"""So old may be what the book last said; providers age by the market's leverage, unless told otherwise."""
_LISTED: Final = (
    # symbol, first price in USD, decimals of a lot, share of the fills
    ("BTC", "67000", 4, 8),
    ("ETH", "3500", 3, 6),
    ("SOL", "150", 2, 5),
    ("XRP", "0.6", 0, 2),
    ("DOGE", "0.15", 0, 2),
    ("AVAX", "35", 2, 2),
    ("LINK", "15", 1, 1),
    ("ARB", "0.9", 0, 1),
)
MARKETS_MAX: Final = len(_LISTED)
_DEPOSIT_E6: Final = 1_000_000 * USDC_E6
_WORTH_USD: Final = (10, 2_000)
_STEP_PPM: Final = 30
_PULL: Final = 4_096
"""Each step pulls a price back by 1/4096 of its way from the first, so that a walk never leaves its scale."""
_STREAM_KEYS, _STREAM_MARKET, _STREAM_PAIR, _STREAM_SIZE, _STREAM_WALK, _STREAM_STAKE = 31, 32, 33, 34, 35, 36


class Simulator:
    """Orders of `accounts` seeded accounts in the first `markets` of a fixed list (at most 8).

    daring: so many accounts more, which overreach and have to be liquidated. policy: how liquidation orders
    are answered. The same seed and the same calls give the same bytes, what was heard included. Sequences go
    on from call to call, one per source. Raises ValueError for arguments that cannot be.
    """

    def __init__(
        self,
        seed: int,
        markets: int = 4,
        accounts: int = 200,
        *,
        batch_window_ns: int = SECOND_NS,
        observation_age_ns: int | None = None,
        daring: int = 0,
        policy: Policy = Policy.MIXED,
    ) -> None:
        if not 1 <= markets <= MARKETS_MAX:
            raise ValueError(f"markets must be 1 to {MARKETS_MAX}, not {markets}")
        if not 2 <= accounts < 1 << 20:
            raise ValueError(f"accounts must be 2 to {(1 << 20) - 1}, not {accounts}")
        self._seed = seed
        self._accounts = accounts
        self._all = accounts + daring
        self._batch_window_ns = batch_window_ns
        self._observation_age_ns = observation_age_ns
        self.markets, self._first_price = _listed(markets)
        self._price = self._first_price.copy()
        shares = [share for *_, share in _LISTED[:markets]]
        self._market_of = np.repeat(np.arange(markets, dtype=np.int64), shares)
        self._scales = Scales.of([(plan.lot_exp, plan.price_exp) for plan in self.markets])
        self._unit = 10 ** np.array([plan.price_exp for plan in self.markets], np.int64)
        self._daring = Daring(accounts + 1, daring, markets, self._unit)
        self.desk = Desk(seed, markets, 1 + self._all, policy)
        self._chain_seq = accounts + 2
        self._matching_seq = self._feeds_seq = self._clock_seq = 1
        self._fills = 0
        self._stepped_ns = self._ticked_ns = 0
        self._observed_s = -1

    def genesis(self, now_ns: int) -> Frames:
        """Parameters, sealed; the next tick puts them in force. To be called once, before anything else."""
        if self._stepped_ns:
            raise ValueError("genesis comes once")
        self._stepped_ns = now_ns
        params = genesis_params(
            self.markets,
            batch_window_ns=self._batch_window_ns,
            observation_age_ns=self._observation_age_ns or OBSERVATION_AGE_NS,
            price_age_ns=self._observation_age_ns or 0,
        )
        return sealed([params])

    def register(self) -> Frames:
        """Accounts and deposits, sealed. Once, after genesis and a tick: an account's fee tier is in force."""
        if not self._stepped_ns or self._matching_seq != 1:
            raise ValueError("register comes once, after genesis")
        self._matching_seq += self._all
        accounts = account_frames(seeded_keys(self._seed, _STREAM_KEYS, self._all), 1)
        deposits = deposit_frames([INSURANCE_DEPOSIT_E6, *[_DEPOSIT_E6] * self._accounts], 1)
        return sealed([accounts, deposits])

    def step(self, now_ns: int, n_fills: int) -> Frames:
        """What came since the step before, sealed: observations once in each second, then `n_fills` fills at most.

        With them come answers to liquidation orders that were heard, and what daring accounts do. A fill that
        a matching engine would not have matched, by what was heard, is left out.
        """
        if now_ns <= self._stepped_ns or self._matching_seq == 1:
            raise ValueError("step needs register first, and a later time at every call")
        if not 0 <= n_fills <= FILLS_MAX:
            raise ValueError(f"n_fills must be 0 to {FILLS_MAX}, not {n_fills}")
        observations = self._observe(now_ns)
        parts = [observations]
        trades = [self._answer(now_ns)]
        if n_fills:
            deposits, settings, stakes = self._daring.step(
                now_ns, self._price, self._makers(now_ns), self.desk.account_closed
            )
            deposits["seq"] = np.arange(self._chain_seq, self._chain_seq + len(deposits))
            self._chain_seq += len(deposits)
            parts += [deposits, settings]
            trades.append(self._numbered(stakes[~self.desk.market_closed[stakes["market"]]]))
            trades.append(self._trade(now_ns, n_fills))
        matched = np.concatenate(trades)
        self.desk.matched(matched)
        fills = fill_frames(matched, self._matching_seq)
        self._matching_seq += len(fills)
        self._feeds_seq += len(observations)
        self._stepped_ns = now_ns
        return sealed([*parts, fills])

    def hear(self, output: np.void) -> None:
        """Take one output of the engine (a FRAME record), in order."""
        self.desk.hear(output)

    def _answer(self, now_ns: int) -> NDArray[np.void]:
        """Fills of liquidation orders that are due."""
        matches = self.desk.answers(now_ns, self._price, self._maker)
        trades = np.zeros(len(matches), TRADE)
        trades["time_ns"] = now_ns
        for name, column in zip(Match._fields, zip(*matches, strict=True), strict=False):
            trades["taker" if name == "account" else name] = column
        return self._numbered(trades)

    def _numbered(self, trades: NDArray[np.void]) -> NDArray[np.void]:
        """The same with the next trade ids."""
        trades["trade_id"] = np.arange(self._fills, self._fills + len(trades)) + 1
        self._fills += len(trades)
        return trades

    def _maker(self, draw: int, market: int) -> int | None:
        """The first account from a drawn one on that may trade, or None. Never one of the daring."""
        for k in range(self._accounts):
            account = (draw + k) % self._accounts + 1
            if not self.desk.account_closed[account] and not self.desk.reduce_only[account, market]:
                return account
        return None

    def _makers(self, now_ns: int) -> NDArray[np.int64]:
        """An account for each of the daring to trade with."""
        index = np.arange(self._all - self._accounts) + now_ns // SECOND_NS
        return below(draws(self._seed, _STREAM_STAKE, index), self._accounts) + 1

    def tick(self, now_ns: int, kind: TickKind = TickKind.SECOND) -> Frames:
        """The next tick of a clock, sealed: the first is OPEN, the others as asked."""
        if now_ns <= self._ticked_ns:
            raise ValueError("a tick must be later than the one before")
        if self._ticked_ns == 0:
            frame = open_tick(now_ns, self._clock_seq)
        else:
            frame = second_ticks(np.array([now_ns]), np.array([self._ticked_ns]), self._clock_seq)
            frame["kind"] = int(kind)
        self._clock_seq += 1
        self._ticked_ns = now_ns
        return sealed([frame])

    def _observe(self, now_ns: int) -> Frames:
        markets = np.arange(len(self.markets))
        if now_ns // SECOND_NS == self._observed_s:
            markets = markets[:0]
        self._observed_s = now_ns // SECOND_NS
        return point_frames(
            np.full(len(markets), self._observed_s),
            markets,
            self._price[markets],
            np.arange(KINDS_PER_POINT * len(markets)).reshape(KINDS_PER_POINT, -1),
            scales=self._scales,
            seed=self._seed,
            first_seq=self._feeds_seq,
            due_ns=np.full(len(markets), now_ns),
        )

    def _trade(self, now_ns: int, count: int) -> NDArray[np.void]:
        """`count` trades (recording.TRADE) spread over the time since the last step, one second at most."""
        index = np.arange(self._fills, self._fills + count)
        self._fills += count
        market = self._market_of[below(draws(self._seed, _STREAM_MARKET, index), len(self._market_of))]
        trades = np.zeros(count, TRADE)
        from_ns = max(self._stepped_ns, now_ns - SECOND_NS)
        trades["time_ns"] = from_ns + (now_ns - from_ns) * np.arange(1, count + 1) // max(count, 1)
        trades["trade_id"] = index + 1
        trades["market"] = market
        self._drive(now_ns)
        trades["price"] = price = self._walk(market, draws(self._seed, _STREAM_WALK, index))
        draw = draws(self._seed, _STREAM_SIZE, index)
        worth_usd = _WORTH_USD[0] + below(draw, _WORTH_USD[1] - _WORTH_USD[0])
        size = np.maximum(worth_usd * self._unit[market] // price, 1)
        trades["size"] = np.where(draw & np.uint64(1), size, -size)
        pair = draws(self._seed, _STREAM_PAIR, index)
        taker = np.minimum(below(pair, self._accounts), below(pair << np.uint64(20), self._accounts))
        other = below(pair << np.uint64(32), self._accounts - 1)
        trades["taker"] = taker + 1
        trades["maker"] = (taker + 1 + other) % self._accounts + 1
        worth_e6 = (size * price // self._unit[market] + 1) * USDC_E6
        return trades[self.desk.admits(trades, worth_e6)]

    def _drive(self, now_ns: int) -> None:
        """Move prices against those who overreach."""
        for m in range(len(self.markets)):
            drift_ppm = self._daring.drift_ppm(m, self._stepped_ns, now_ns)
            self._price[m] += int(self._price[m]) * drift_ppm // 1_000_000

    def _walk(self, market: NDArray[np.int64], draw: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Prices of fills in these markets, each a small step from the one before; moves the walk on."""
        steps_ppm = below(draw, 2 * _STEP_PPM + 1) - _STEP_PPM
        out = np.zeros(len(market), np.int64)
        for m, first in enumerate(self._first_price.tolist()):
            at = market == m
            start = int(self._price[m])
            start += (first - start) // _PULL
            path = np.clip(start + np.cumsum(start * steps_ppm[at] // 1_000_000), first // 2, 2 * first)
            out[at] = path
            self._price[m] = path[-1] if len(path) else start
        return out


def _listed(markets: int) -> tuple[list[MarketPlan], NDArray[np.int64]]:
    """(plans, first prices on scale) of the first so many listed markets."""
    plans, first = [], []
    for symbol, text, lot_exp, _ in _LISTED[:markets]:
        mantissa, decimals = scales.parse_decimal(text)
        plan = MarketPlan(symbol, lot_exp, scales.choose_price_exp(mantissa, decimals, lot_exp))
        plans.append(plan)
        first.append(mantissa * 10 ** (plan.price_exp - lot_exp - decimals))
    return plans, np.array(first, np.int64)
