"""What the simulated matching engine does about what the engine tells it: liquidation orders are answered by a
policy, halted markets and frozen accounts are left alone.

Outputs are heard one by one, in order; `answers` makes the fills that have become due. No clock of its own.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.venue.noise import below, draws
from kernels.frames import DTYPES, LiquidationKind, Template
from kernels.layouts import ACCOUNT_FROZEN, ACCOUNT_REDUCE_ONLY, MARKET_FROZEN, MARKET_HALTED

LATE_NS: Final = 250_000_000
"""How late LATE is: after the second of three orders, before takeover."""
_STREAM_POLICY, _STREAM_PART, _STREAM_MAKER = 41, 42, 43
_PART_MOST: Final = 900
_FREE_UNKNOWN: Final = 1 << 62
_WITHDRAWN: Final = (LiquidationKind.TAKEOVER, LiquidationKind.DELEVERAGE, LiquidationKind.RELEASE)


class Policy(enum.IntEnum):
    """How a liquidation order is answered. MIXED: each liquidation by one of the others, seeded; of insurance, whose
    orders come until all is sold, each order.

    FULL: whole, at the next step. PART: a part of it, at each order anew. LATE: whole, LATE_NS after the first
    order of the liquidation. NEVER: not at all.
    """

    FULL = 0
    PART = 1
    LATE = 2
    NEVER = 3
    MIXED = 4


class Order(NamedTuple):
    """A reduce-only order that stands. size: signed by its side; due_ns: when it is filled; part_e3: how much of
    it in thousandths."""

    account: int
    market: int
    size: int
    price: int
    due_ns: int
    part_e3: int


class Match(NamedTuple):
    """A fill of a liquidation order: the account under liquidation is its taker."""

    account: int
    maker: int
    market: int
    size: int
    price: int


class Desk:
    """Orders that stand, and who may trade, for accounts 0..accounts-1 in so many markets.

    held: lots by (account, market), as the matching engine counts them. account_closed: frozen, or under
    liquidation. free_e6: what each account may still use, far too much until it is told.
    """

    def __init__(self, seed: int, markets: int, accounts: int, policy: Policy) -> None:
        self._seed, self._policy = seed, policy
        self._orders: dict[tuple[int, int], Order] = {}
        self._first_ns: dict[tuple[int, int], int] = {}
        self._drawn = 0
        self.now_ns = 0
        self.market_closed = np.zeros(markets, bool)
        self.account_closed = np.zeros(accounts, bool)
        self.reduce_only = np.zeros((accounts, markets), bool)
        self.free_e6 = np.full(accounts, _FREE_UNKNOWN, np.int64)
        self.held = np.zeros((accounts, markets), np.int64)
        self._under = np.zeros(accounts, np.int64)
        self._frozen: set[int] = set()
        self.heard = dict.fromkeys(LiquidationKind, 0)
        self._hearers: dict[int, Callable[[np.void], None]] = {
            int(Template.LIQUIDATION_ORDER): self._hear_liquidation,
            int(Template.MARKET_STATE): self._hear_market,
            int(Template.ACCOUNT_STATE): self._hear_account,
            int(Template.FREE_COLLATERAL): self._hear_free,
        }

    def hear(self, output: np.void) -> None:
        """Take one output frame (a FRAME record); those of no concern are passed over."""
        template = int(output["template"])
        hearer = self._hearers.get(template)
        if hearer is not None:
            hearer(np.frombuffer(output.tobytes(), DTYPES[Template(template)])[0])

    def admits(self, trades: NDArray[np.void], worth_e6: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these trades (recording.TRADE) a matching engine would match: market and both accounts open,
        and each side closing, or with enough free for all the trade is worth."""
        market = trades["market"]
        good = ~self.market_closed[market]
        for side, sign in (("taker", 1), ("maker", -1)):
            account = trades[side]
            held, size = self.held[account, market], sign * trades["size"]
            closing = (np.sign(held) == -np.sign(size)) & (np.abs(size) <= np.abs(held))
            opening = ~self.reduce_only[account, market] & (self.free_e6[account] >= worth_e6)
            good &= ~self.account_closed[account] & (closing | opening)
        return good

    def matched(self, trades: NDArray[np.void]) -> None:
        """Count these trades into what is held."""
        np.add.at(self.held, (trades["taker"], trades["market"]), trades["size"])
        np.subtract.at(self.held, (trades["maker"], trades["market"]), trades["size"])

    def answers(
        self, now_ns: int, prices: NDArray[np.int64], makers: Callable[[int, int], int | None]
    ) -> list[Match]:
        """Fills of the orders that are due, at the market's price where the limit allows that.

        makers: names who takes the other side, by (draw, market), or None if nobody may.
        """
        self.now_ns = now_ns
        out = []
        for key, order in list(self._orders.items()):
            size = int(np.sign(order.size)) * max(1, abs(order.size) * order.part_e3 // 1000)
            price = int(prices[order.market])
            within = price >= order.price if order.size < 0 else price <= order.price
            if order.due_ns > now_ns or not within or self.market_closed[order.market]:
                continue
            maker = makers(self._draw(_STREAM_MAKER, 1 << 31), order.market)
            if maker is None:
                continue
            del self._orders[key]
            out.append(Match(order.account, maker, order.market, size, price))
        return out

    def _hear_liquidation(self, row: np.void) -> None:
        account, market, kind = int(row["account"]), int(row["market"]), LiquidationKind(int(row["kind"]))
        self.heard[kind] += 1
        if kind is LiquidationKind.CANCEL_ALL:
            self._under[account] += 1
        elif kind is LiquidationKind.REDUCE_ONLY:
            self._place(account, market, int(row["size"]), int(row["price"]))
        elif kind in _WITHDRAWN:
            self._orders.pop((account, market), None)
        if kind is LiquidationKind.RELEASE:
            self._first_ns.pop((account, market), None)
            self._under[account] -= 1
        if kind in (LiquidationKind.TAKEOVER, LiquidationKind.DELEVERAGE):
            self.held[account, market] += int(row["size"])
        if kind is LiquidationKind.TAKEOVER:
            self.held[0, market] -= int(row["size"])
            self._trim(0, market)
        self._close_account(account)

    def _place(self, account: int, market: int, size: int, price: int) -> None:
        """One order stands for a position: a new one takes the place of the one before."""
        first_ns = self._first_ns.setdefault((account, market), self.now_ns) if account else self.now_ns
        policy = self._policy
        if policy is Policy.MIXED:
            # Of the liquidation, not of the order: one that is never filled stays so to the takeover.
            pick = draws(self._seed, _STREAM_POLICY, np.array([first_ns + 1009 * account + market]))
            policy = Policy(int(below(pick, int(Policy.MIXED))[0]))
        part_e3 = 100 + self._draw(_STREAM_PART, _PART_MOST - 100) if policy is Policy.PART else 1000
        due_ns = first_ns + LATE_NS if policy is Policy.LATE else self.now_ns
        if policy is not Policy.NEVER:
            self._orders[account, market] = Order(account, market, size, price, due_ns, part_e3)

    def _trim(self, account: int, market: int) -> None:
        """A reduce-only order is never for more than is held, and none if that is on the other side now."""
        order, held = self._orders.get((account, market)), int(self.held[account, market])
        if order is None or (abs(order.size) <= abs(held) and order.size * held < 0):
            return
        del self._orders[account, market]
        if order.size * held < 0:
            self._orders[account, market] = order._replace(size=-held)

    def _hear_market(self, row: np.void) -> None:
        stops = MARKET_HALTED | MARKET_FROZEN
        market = int(row["market"])
        if 0 <= market < len(self.market_closed):
            self.market_closed[market] = int(row["state"]) & stops != 0

    def _hear_account(self, row: np.void) -> None:
        account, market, state = int(row["account"]), int(row["market"]), int(row["state"])
        if state & ACCOUNT_FROZEN:
            self._frozen.add(account)
        else:
            self._frozen.discard(account)
        if 0 <= market < self.reduce_only.shape[1]:
            self.reduce_only[account, market] = state & ACCOUNT_REDUCE_ONLY != 0
        self._close_account(account)

    def _hear_free(self, row: np.void) -> None:
        for side in ("taker", "maker"):
            if int(row[side]) >= 0:
                self.free_e6[int(row[side])] = row[f"{side}_free_e6"]

    def _close_account(self, account: int) -> None:
        self.account_closed[account] = self._under[account] > 0 or account in self._frozen

    def _draw(self, stream: int, bound: int) -> int:
        self._drawn += 1
        return int(below(draws(self._seed, stream, np.array([self._drawn])), bound)[0])
