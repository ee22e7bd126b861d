"""A stage for stories of liquidation: what is written goes to machine and model, and account 2 is in danger."""

from __future__ import annotations

from typing import Any, NamedTuple

from engine.core.params import Row
from kernels.frames import (
    CandidateKind,
    LiquidationKind,
    ParamKey,
    SettingKind,
    Template,
    TickKind,
)
from relayer.verify.model_frames import decode, head_of
from tests.engine.core.builders import PRICE, SCALES, SECOND_NS, WEIGHTS, genesis
from tests.engine.core.twins import Twins

USDC = 10**6
LOT = 30_000 * USDC  # of market 0 at PRICE
TENTH_NS = SECOND_NS // 10
TAKER_E9, FEE_E9 = 500_000, 5_000_000
LIQUIDATE, DELEVERAGE = CandidateKind.LIQUIDATE, CandidateKind.DELEVERAGE
CANCEL_ALL, REDUCE_ONLY, TAKEOVER, RELEASE = (
    LiquidationKind.CANCEL_ALL,
    LiquidationKind.REDUCE_ONLY,
    LiquidationKind.TAKEOVER,
    LiquidationKind.RELEASE,
)


class Order(NamedTuple):
    """A liquidation order as it was told."""

    kind: LiquidationKind
    account: int
    market: int
    size: int
    price: int


class Stage:
    """Account 1 makes every market; 2 is what a story is about. Frames go to both twins as they are written."""

    def __init__(self, insurance_e6: int = 10**13, rows: tuple[Row, ...] = ()) -> None:
        self.script = genesis(accounts=5, deposit_e6=10**14)
        if insurance_e6 > USDC:
            self.script.deposit(0, insurance_e6 - USDC)
        calm = [Row(ParamKey.MARKET_FUNDING, m, 0, 10**10) for m in (0, 1)]
        self.script.params([Row(ParamKey.MARKET_BAND, 0, 100_000), *calm, *rows], change=2)
        self.script.seconds(1)
        self.twins = Twins(self.script.frames)
        self._told = 0

    def take(self) -> int:
        """Everything written since; the last frame's refusal."""
        script, ledger = self.script, self.twins.model.ledger
        why = [self.twins.apply(raw).refusal for raw in script.frames[ledger.meta.ordinal :]]
        return why[-1] if why else 0

    def open(self, size: int, leverage: int = 20, account: int = 2, market: int = 0, maker: int = 1) -> None:
        """A position at PRICE with just its initial margin; account 1 takes the other side."""
        self.script.setting(account, SettingKind.LEVERAGE, leverage, market=market)
        self.script.fill(maker, account, size, PRICE, market=market)
        assert self.take() == 0

    def say(self, ppm: int, market: int = 0, conf: int = 0) -> None:
        """All providers say a price, so many millionths off PRICE."""
        for k in range(len(WEIGHTS[market])):
            expo = SCALES[market][1] - SCALES[market][0]
            self.script.observe(PRICE + PRICE * ppm // 10**6, market=market, feed=k, expo=expo, conf=conf)

    def later(self, count: int = 1) -> None:
        """RISK ticks, 100 ms each."""
        for _ in range(count):
            self.script.tick(self.script.now_ns + TENTH_NS, TickKind.RISK)
        assert self.take() == 0

    def move(self, ppm: int, market: int = 0) -> None:
        """The market's price, in force 100 ms later."""
        self.say(ppm, market)
        self.later()

    def candidate(self, account: int = 2, kind: int = LIQUIDATE, against: int = 0, market: int = 0) -> int:
        """Risk's word; the refusal."""
        self.script.add(Template.CANDIDATE, market=market, account=account, kind=kind, counterparty=against)
        return self.take()

    def told(self) -> list[Order]:
        """Liquidation orders since last asked."""
        outbox = self.twins.model.ledger.outbox[self._told :]
        self._told += len(outbox)
        orders = [decode(Template.LIQUIDATION_ORDER, raw) for raw in outbox if head_of(raw)[0] == 34]
        return [Order(LiquidationKind(o.kind), o.account, o.market, o.size, o.price) for o in orders]

    def position(self, account: int = 2, market: int = 0) -> tuple[int, int]:
        """(size, cash)."""
        row = self.twins.position(account, market)
        return int(row["size"]), int(row["cash"])

    def legs(self) -> list[Any]:
        """Legs of the last frame."""
        return self.twins.machine._scratch.legs[:2].tolist()

    def free(self, account: int = 0) -> int:
        return self.twins.free(account)

    def open_rows(self) -> int:
        return self.twins.machine.state.number("open_liquidations")


def mark(ppm: int) -> int:
    return PRICE + PRICE * ppm // 10**6


def quote(lots: int, price: int) -> int:
    """In 1e-6 USDC, in market 0."""
    return lots * price * 100
