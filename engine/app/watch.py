"""Watching a group from outside: its three pages, its supervisor, and a follower of our own that checks it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.app.group import Group
from engine.app.supervisor import Supervisor
from engine.app.view import Check, Flow, Market, Process, Risk, Settlement, Snapshot
from engine.common.errors import JournalError, ProcessFailed
from engine.follower import Follower
from engine.venue.recording import MarketPlan
from kernels.book import residual_is_zero
from kernels.frames import OUTCOME, OutcomeStage, Template
from kernels.funding import premium_e12
from kernels.funding_rate import interval_rate_e12
from kernels.layouts import (
    MARKET,
    MARKET_FROZEN,
    MARKET_HALTED,
    MARKET_REDUCE_ONLY,
    POSITION,
    STATUS_HELD,
    STATUS_NONE,
)
from kernels.profiles import SKIP
from relayer.core.batch import Batcher

_STATES = ((MARKET_HALTED, "halted"), (MARKET_FROZEN, "frozen"), (MARKET_REDUCE_ONLY, "reduce-only"))


class Watcher:
    """Folds the journal beside the group, and reads what the others publish. Never waits, never writes."""

    def __init__(self, group: Group, plans: list[MarketPlan]) -> None:
        self._group, self._plans = group, plans
        self._head, self._page, self._risk = group.head(), group.relayer_page(), group.risk_page()
        engine = group.settings.engine
        self._follower = Follower(
            group.settings.data_dir / "journal", capacity=max(8192, engine.group_frames_max)
        )
        self._lives = Lives(group.supervisor, group.names())
        self._batcher = Batcher()
        self._committed = 0
        self._log_size = 0
        self._fault = ""
        self._relayer_pid = 0
        self._sent_before = self._sent = 0
        self._peak = {"tx_confirmed": 0, "tx_finalized": 0, "slot": 0}

    def books_now_ns(self) -> int:
        """The books' time, as the engine publishes it."""
        return self._head.get("now_ns")

    @property
    def booked(self) -> int:
        """Fills booked, as the engine publishes it."""
        return self._head.get("booked")

    def fold(self) -> bool:
        """Fold one stretch of journal; False if there is none now, or if an earlier one was found wrong."""
        if self._fault:
            return False
        try:
            followed = self._follower.poll()
        except JournalError as error:
            self._fault = error.line()
            return False
        if followed is None:
            return False
        for batch in self._batcher.feed(*followed):
            self._log_size += len(batch.fills)
        told = followed.frames[followed.frames["template"] == int(Template.OUTCOME)].view(OUTCOME)
        commits = told["batch"][told["stage"] == int(OutcomeStage.COMMIT)]
        self._committed = max(self._committed, int(commits.max(initial=0)))
        return True

    def unsettled(self) -> bool:
        """True while a fill is not in a batch, or a batch not settled, or something durable not folded."""
        return bool(
            self._batcher.open_fills
            or self._batcher.number != self._settled()
            or self._follower.position < self._follower.durable
        )

    def progress(self) -> tuple[int, int]:
        """What grows while settling moves: (batches settled, transactions finalized)."""
        return self._settled(), self._page.get("tx_finalized")

    def _settled(self) -> int:
        return self._follower.machine.state.number("settled_batch")

    def snapshot(self, title: str, elapsed_s: int, flow: Flow) -> Snapshot:
        """All there is to show; `flow` brings what only the client of the gateway can measure."""
        head = self._head
        seen = Flow(
            fills_per_s=flow.fills_per_s,
            booked=self.booked,
            refused=head.get("refused"),
            frames=head.get("ordinal"),
            resent=flow.resent,
            epoch=head.get("epoch"),
            ack_p50_ns=flow.ack_p50_ns,
            ack_p99_ns=flow.ack_p99_ns,
        )
        return Snapshot(
            title=title,
            elapsed_s=elapsed_s,
            flow=seen,
            markets=self._markets(),
            settlement=self._settlement(),
            processes=self._lives.now(),
            checks=self._checks(),
            lag_frames=max(0, self._follower.durable - self._follower.position),
            risk=self._risk_now(),
        )

    def _risk_now(self) -> Risk:
        page, books = self._risk, self._follower.machine.books
        positions = books.positions[: int(books.meta[0]["positions"])]
        return Risk(
            units=page.get("units"),
            sweep_ns=page.get("sweep_ns") if page.get("sweeps") else -1,
            found=page.get("found"),
            candidates=page.get("candidates"),
            worst_e6=page.get("worst_e6"),
            begun=int(books.meta[0]["liquidations"]),
            insurance_e6=int(books.accounts[0]["free_e6"]),
            insured=int(((positions["account"] == 0) & (positions["size"] != 0)).sum()),
        )

    def _markets(self) -> list[Market]:
        rows = self._follower.machine.books.markets
        return [market_of(plan, rows[m]) for m, plan in enumerate(self._plans)]

    def _settlement(self) -> Settlement:
        page, peak = self._page, self._peak
        for field in peak:
            peak[field] = max(peak[field], page.get(field))
        return Settlement(
            closed=self._batcher.number,
            committed=self._committed,
            settled=self._settled(),
            open_fills=self._batcher.open_fills,
            log_size=self._log_size,
            tx_sent=self._sent_in_all(),
            tx_confirmed=peak["tx_confirmed"],
            tx_finalized=peak["tx_finalized"],
            tx_failed=page.get("tx_failed"),
            slot=peak["slot"],
        )

    def _sent_in_all(self) -> int:
        """Transactions sent over all lives of the relayer, whose page begins anew with each."""
        pid = self._page.get("pid")
        if pid != self._relayer_pid:
            self._relayer_pid, self._sent_before = pid, self._sent
        self._sent = max(self._sent, self._sent_before + self._page.get("tx_sent"))
        return self._sent

    def _checks(self) -> list[Check]:
        books = self._follower.machine.books
        positions = books.positions[: int(books.meta[0]["positions"])]
        checks = [Check("witness", not self._fault, self._fault)]
        checks += identities(books.markets[: len(self._plans)], positions, self._plans)
        closed, committed, settled = self._batcher.number, self._committed, self._settled()
        checks.append(
            Check(
                "order",
                settled <= committed <= closed,
                f"settled {settled}, committed {committed}, closed {closed}",
            )
        )
        return checks


def identities(
    markets: NDArray[np.void], positions: NDArray[np.void], plans: list[MarketPlan]
) -> list[Check]:
    """Identities 1 and 2 of MONEY.md per market, from the positions alone and from the sums kept on the way.

    markets: MARKET[m]; positions: POSITION[n] in use.
    """
    uneven, wrong = [], []
    for m, plan in enumerate(plans):
        market = markets[m]
        own = positions[positions["market"] == m]
        if int(own["size"].sum()) or int(market["sum_size"]):
            uneven.append(plan.symbol)
        if residual(market, own) or not residual_is_zero(market):
            wrong.append(plan.symbol)
    return [
        Check("zero_sum", not uneven, f"sizes do not cancel in {', '.join(uneven)}"),
        Check("cash", not wrong, f"cash, funding and transfers do not agree in {', '.join(wrong)}"),
    ]


def residual(market: np.void, positions: NDArray[np.void]) -> int:
    """A*D + R + J - S*I - T*D of one market in plain integers, summed anew over its POSITION[n]; 0 is right."""
    total = -int(market["moved_in"]) * int(market["scale"])
    index = int(market["index_e6"])
    for row in positions.tolist():
        size, cash, idx, rem = row[_SIZE], row[_CASH], row[_IDX], row[_REM]
        total += cash * int(market["scale"]) + rem + size * idx - size * index
    return total


_NAMES = list(POSITION.names or ())
_SIZE, _CASH, _IDX, _REM = (_NAMES.index(name) for name in ("size", "cash", "idx", "rem"))


def market_of(plan: MarketPlan, row: np.void) -> Market:
    """What is shown of one MARKET row."""
    oracle, mark = int(row["oracle"]), int(row["mark"])
    return Market(
        symbol=plan.symbol,
        decimals=plan.price_exp - plan.lot_exp,
        index_price=oracle,
        mark_price=mark,
        premium_e12=premium_e12(mark, oracle) if oracle else 0,
        predicted_e12=expected_e12(row),
        seconds_sampled=int(row["seconds_valid"]),
        state=state_of(row),
    )


def expected_e12(row: np.void) -> int:
    """The rate per 8 h that the market's own rule would set if the samples still to come, and those missed,
    were like those so far; 0 before the first."""
    rule = np.array([row], MARKET)[0]
    rule["missing"], rule["valid_min"] = SKIP, 0
    samples = int(rule["interval_s"]) // int(rule["sample_s"])
    names = ("premium_sum_e12", "weight_valid", "seconds_valid")
    so_far: list[Any] = [row[name] for name in names]
    last: list[Any] = [np.int64(samples), row["rate_set_e12"]]
    return int(interval_rate_e12(rule, *so_far, *last))


def state_of(row: np.void) -> str:
    """The worst a market is told, in one word."""
    for bit, name in _STATES:
        if int(row["state"]) & bit:
            return name
    if int(row["status"]) == STATUS_HELD:
        return "held"
    return "no price" if int(row["status"]) == STATUS_NONE else "open"


class Lives:
    """Id and restarts of each process of a group; a life that is not ready yet counts as restarting."""

    def __init__(self, supervisor: Supervisor, names: list[str]) -> None:
        self._supervisor, self._names = supervisor, names
        up = [name for name in names if not supervisor.failing(name)]
        self._ready = {name: (supervisor.pid(name), supervisor.restarts(name)) for name in up}

    def now(self) -> list[Process]:
        """One row for each process, in the order they were started."""
        return [self._row(name) for name in self._names]

    def _row(self, name: str) -> Process:
        restarts = self._supervisor.restarts(name)
        if self._supervisor.failing(name):
            return Process(name, None, restarts, failing=True)
        try:
            pid = self._supervisor.pid(name)
        except ProcessFailed:
            return Process(name, None, restarts)
        known_pid, known_restarts = self._ready.setdefault(name, (pid, restarts))
        if restarts != known_restarts:
            self._ready[name] = (pid, restarts)
        elif pid != known_pid:
            return Process(name, None, restarts)
        return Process(name, pid, restarts)


def load_kernels() -> None:
    """Load every kernel that watching needs, so that none is compiled while others wait."""
    from engine.app.warm import WATCH, load

    load(WATCH)
