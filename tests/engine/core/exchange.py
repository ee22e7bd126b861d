"""An exchange that tests drive second by second, in machine and model at once."""

from __future__ import annotations

from engine.core.params import Row
from kernels import oracle
from tests.engine.core.builders import SECOND_NS, genesis
from tests.engine.core.twins import Twins


class Exchange:
    """The exchange of `genesis`, second by second: frames go to machine and model as they are made."""

    def __init__(self, *rules: Row) -> None:
        self.script = genesis()
        if rules:
            self.script.params(list(rules), change=2)
        self._sent = 0
        self.twins = Twins()
        self.send()

    def send(self) -> None:
        """Apply what was scripted since."""
        self.twins.apply_all(self.script.frames[self._sent :])
        self._sent = len(self.script.frames)
        self.same_reasons()

    def same_reasons(self) -> None:
        """What each provider is told is the same in model and books."""
        for m, reasons in self.twins.model.ledger.reasons.items():
            heard = self.twins.machine.books.reasons[m * 16 : m * 16 + 13].tolist()
            assert heard == [reasons.get(k, oracle.NO_WEIGHT) for k in range(13)]

    def second(
        self, prices: dict[int, int] | None = None, *, market: int = 0, conf: int = 0, wait: int = 1
    ) -> None:
        """Providers say `prices`, then so many seconds pass in one tick."""
        self.script.now_ns += (wait - 1) * SECOND_NS
        for k, price in (prices or {}).items():
            self.script.observe(price, market=market, feed=k, conf=conf, expo=(0, -9, 9)[market])
        self.script.now_ns -= (wait - 1) * SECOND_NS
        self.script.tick(self.script.now_ns + wait * SECOND_NS)
        self.send()

    def status(self, market: int = 0) -> int:
        return int(self.twins.market(market)["status"])

    def state(self, market: int = 0) -> int:
        return int(self.twins.market(market)["state"])

    def number(self, name: str, market: int = 0) -> int:
        return int(self.twins.market(market)[name])

    def reasons(self, market: int = 0) -> list[int]:
        return self.twins.machine.books.reasons[market * 16 : market * 16 + 3].tolist()


def three(price: int) -> dict[int, int]:
    return {0: price, 1: price, 2: price}
