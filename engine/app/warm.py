"""The one list of what `godark` commands call compiled, with the types of every call.

`godark compile` goes through it at set-up, so that nothing is compiled while somebody waits. The engine's own
way of a frame is run on throw-away data instead (`engine.gateway.warm`), as the engine does before it serves.
Not in it: `godark bench` and `godark test`, which measure and check compiling itself.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from engine.app import together
from engine.app.together import Board, Step, helpers, work
from engine.gateway.warm import compile_all, parts_of_fold
from kernels import (
    audit,
    book,
    candidates,
    funding,
    funding_compare,
    funding_premium,
    funding_rate,
    funding_samples,
    funding_venues,
    int128,
    liquidation,
    liquidation_price,
    margin,
    merkle,
    orderbook,
    room,
    sha256,
    slots,
    sweep,
    touched,
)
from kernels.frames import FRAME, SETTING, TRANSFER
from kernels.jit import prepare
from kernels.layouts import ACCOUNT, KEY, LEG, MARKET, POSITION, TIER
from kernels.oracle_rules import ORACLE
from kernels.profiles import RULE
from kernels.venues import drift, dydx, mango

PROCESSES_MAX: Final = 3
"""More would wait for the fold, which one of them compiles."""


class Call(NamedTuple):
    """A kernel and arguments like those it is called with: their types are the signature."""

    kernel: Callable[..., Any]
    like: tuple[Any, ...]


def _integers(kernel: Callable[..., Any], count: int) -> Call:
    return Call(kernel, (INT,) * count)


INT: Final = np.int64(0)
WORDS: Final = np.zeros(1, np.int64)
WORDS32: Final = np.zeros(1, np.int32)
TABLE: Final = np.zeros((1, 1), np.int64)
LEVELS: Final = np.zeros((2, 1, 2), np.int64)
BOOK: Final = np.zeros(1, orderbook.BOOK)[0]
HELD: Final = np.zeros(1, dydx.POSITION)
TIERS: Final = np.zeros(1, TIER)
RULES: Final = np.zeros(1, RULE)
RULE_ROW: Final = RULES[0]
MARKETS: Final = np.zeros(1, MARKET)
MARKET_ROW: Final = MARKETS[0]

WATCH: Final = (
    Call(book.residual_is_zero, (MARKET_ROW,)),
    _integers(funding.premium_e12, 2),
    Call(funding_rate.interval_rate_e12, (MARKET_ROW, *(INT,) * 5)),
)
"""`godark demo`."""

PRICES: Final = (Call(funding_rate.predicted_rate_e12, (MARKET_ROW, *(INT,) * 5)),)
"""`godark prices`."""

JSON_LINES: Final = (Call(slots.find_account, (WORDS, np.zeros(1, KEY), INT, INT, INT, INT)),)
"""`godark json`."""

FUNDING: Final = (
    Call(funding_compare.charge, (RULES, WORDS, INT, WORDS, WORDS, WORDS, TABLE)),
    Call(funding_rate.rate_of_mean, (RULE_ROW, INT)),
    Call(funding_rate.interval_rate_e12, (RULE_ROW, *(INT,) * 5)),
    _integers(funding_premium.share_e12, 3),
    Call(funding_samples.median, (WORDS, INT)),
    Call(funding_samples.padded_mean, (WORDS, INT, INT)),
    Call(funding_samples.padded_median, (WORDS, INT, INT)),
    Call(funding_samples.running_difference, (WORDS, WORDS, WORDS)),
    Call(funding_samples.trim_tails, (WORDS, INT, INT)),
    Call(funding_samples.twap_step, (WORDS, WORDS, TABLE, INT, INT)),
    _integers(funding_venues.difference_payment, 6),
    _integers(funding_venues.drift_rate_e9, 5),
    _integers(funding_venues.drift_sides, 6),
    _integers(funding_venues.drift_spread_limit, 2),
    _integers(funding_venues.index_step_ppm, 5),
    _integers(funding_venues.margin_bound, 3),
    Call(funding_venues.settle_together, (WORDS, WORDS)),
    _integers(funding_venues.settlement_ppm, 3),
    _integers(funding_venues.times, 2),
    _integers(int128.mul_div_floor, 3),
    _integers(int128.mul_div_trunc, 3),
)
"""`godark funding`."""

BOOKS: Final = (
    Call(orderbook.apply_snapshot, (LEVELS, BOOK, TABLE, INT)),
    Call(orderbook.apply_update, (LEVELS, BOOK, TABLE, INT, INT, INT)),
    Call(orderbook.best, (LEVELS, BOOK)),
    Call(orderbook.book_premium_ppm, (LEVELS, BOOK, INT, INT, INT, INT)),
    Call(orderbook.impact_price, (LEVELS, BOOK, INT, INT, INT)),
    Call(orderbook.linear_levels, (LEVELS, BOOK, INT, LEVELS)),
    _integers(funding_premium.premium_of_source, 7),
)
"""`godark book`."""

AUDIT: Final = (
    Call(audit.market_sums, (WORDS, WORDS)),
    _integers(audit.step_error, 3),
    _integers(funding_venues.drift_payment, 2),
)
"""`godark audit`."""

MARGIN: Final = (
    _integers(book.close_out, 3),
    _integers(book.fee_of, 2),
    _integers(book.next_cost, 4),
    _integers(book.size_limit, 2),
    _integers(margin.valued, 4),
    _integers(margin.equity_e6, 9),
    Call(margin.initial_e6, (TIERS, INT, INT, INT)),
    Call(margin.maintenance_e6, (TIERS, INT, INT, INT)),
    _integers(margin.liquidatable, 2),
    Call(margin.tier_of, (TIERS, INT)),
    _integers(drift.base_to_cover_shortage, 6),
    _integers(drift.insurance_fee, 7),
    _integers(drift.is_liquidatable, 2),
    _integers(drift.margin_requirement, 4),
    _integers(drift.position_update, 6),
    _integers(drift.socialised_loss_rate, 3),
    _integers(drift.trade_fees, 7),
    _integers(drift.unrealised_pnl, 3),
    Call(dydx.account_totals, (INT, HELD)),
    Call(dydx.bankruptcy_quote, (INT, HELD, INT, INT)),
    Call(dydx.fillable_price, (INT, HELD, INT, INT, INT, WORDS, WORDS)),
    Call(dydx.insurance_delta, (INT, HELD, INT, INT, INT, INT, INT)),
    _integers(dydx.is_liquidatable, 2),
    _integers(dydx.margin_requirement, 8),
    _integers(dydx.open_interest_delta, 4),
    _integers(mango.break_even, 2),
    _integers(mango.trade, 6),
    _integers(mango.unsettled_pnl, 5),
)
"""`godark margin`."""

RISK: Final = np.zeros(1, margin.RISK)
POSITIONS: Final = np.zeros(1, POSITION)
ACCOUNTS: Final = np.zeros(1, ACCOUNT)
FLAGS: Final = np.zeros(1, np.int8)
SWEPT: Final = (RISK, TIERS, TABLE)
RULES_OF_TIER: Final = (TIERS, INT, INT)

LIQUIDATION: Final = (
    _integers(margin.floor_rate_e12, 5),
    _integers(margin.ratio_e6, 2),
    _integers(margin.unrealised_e6, 5),
    Call(margin.put_risk, (RISK[0], *(INT,) * 7)),
    Call(margin.index_tiers, (TIERS, TABLE)),
    Call(margin.position_margin, (POSITIONS[0], RISK[0], TIERS, TABLE)),
    Call(sweep.settle_positions, (POSITIONS, INT, INT, RISK)),
    Call(sweep.list_cross, (POSITIONS, INT, INT, WORDS, WORDS)),
    Call(sweep.account_margin, (INT, POSITIONS, WORDS, INT, INT, *SWEPT)),
    Call(sweep.sweep_positions, (POSITIONS, INT, INT, *SWEPT, WORDS, FLAGS, sweep.new_work())),
    Call(sweep.sweep_accounts, (ACCOUNTS, INT, INT, POSITIONS, WORDS, WORDS, *SWEPT, WORDS, FLAGS)),
    Call(liquidation.order_candidates, (WORDS, WORDS, WORDS)),
    Call(liquidation.close_size, (*(INT,) * 4, *RULES_OF_TIER, *(INT,) * 5)),
    _integers(liquidation.closing_cost, 5),
    _integers(liquidation.takeover, 7),
    _integers(liquidation.deleverage_score, 4),
    Call(liquidation.order_deleveraging, (WORDS, WORDS, INT, WORDS)),
    Call(slots.index_cross, (WORDS32, WORDS32, POSITIONS, INT)),
    Call(liquidation.deleverage, (INT, INT, WORDS, WORDS, INT, WORDS, WORDS)),
    Call(liquidation_price.liquidation_price, (INT, INT, *RULES_OF_TIER, INT, INT)),
    _integers(liquidation_price.bankruptcy_price, 4),
)
"""`godark margin --books`."""


ORACLES: Final = np.zeros(1, ORACLE)
LEGS: Final = np.zeros(1, LEG)
FRAMES: Final = np.zeros(1, FRAME)
TOUCHED: Final = touched.new_touched(1, 1, 1)
LINKED: Final = (WORDS32, WORDS32, WORDS)
"""An account's cross positions by the books' own lists, and scratch for them."""
TAKEN: Final = (RISK, RISK, WORDS, TIERS, TABLE, WORDS32)
BY_PAIR: Final = (WORDS, POSITIONS, ACCOUNTS, INT)

RISK_PROCESS: Final = (
    Call(slots.find_position, (WORDS, POSITIONS, INT, INT)),
    _integers(margin.valued, 4),
    Call(margin.index_tiers, (TIERS, TABLE)),
    Call(margin.position_margin, (POSITIONS[0], RISK[0], TIERS, TABLE)),
    Call(sweep.account_margin, (INT, POSITIONS, WORDS, INT, INT, *SWEPT)),
    Call(sweep.sweep_positions, (POSITIONS, INT, INT, *SWEPT, WORDS, FLAGS, sweep.new_work())),
    Call(touched.sweep_linked, (ACCOUNTS, INT, INT, POSITIONS, *LINKED, *SWEPT, WORDS, FLAGS)),
    Call(room.anchor_positions, (POSITIONS, INT, INT, *SWEPT, WORDS32)),
    Call(room.anchor_accounts, (ACCOUNTS, INT, INT, POSITIONS, *LINKED, *SWEPT, WORDS32)),
    Call(room.out_of_room, (WORDS32, INT, INT, INT, WORDS)),
    Call(room.recheck_positions, (WORDS, INT, POSITIONS, RISK, WORDS, WORDS32, TIERS, TABLE)),
    Call(touched.touch_legs, (LEGS, INT, *BY_PAIR, TOUCHED)),
    Call(touched.touch_frames, (FRAMES, FRAMES.view(TRANSFER), FRAMES.view(SETTING), INT, *BY_PAIR, TOUCHED)),
    Call(
        touched.refresh_rooms,
        (TOUCHED, POSITIONS, ACCOUNTS, *LINKED, RISK, RISK, WORDS, TIERS, TABLE, WORDS32, WORDS32),
    ),
    Call(touched.touch_all, (INT, INT, WORDS, WORDS, TOUCHED)),
    Call(touched.take_slots, (TOUCHED, INT, INT, INT, POSITIONS, *TAKEN)),
    Call(touched.take_accounts, (TOUCHED, INT, INT, INT, ACCOUNTS, POSITIONS, *LINKED, *TAKEN)),
    Call(touched.widest_move, (RISK, RISK, INT, WORDS)),
    Call(slots.list_linked, (WORDS32, WORDS32, INT, WORDS)),
    Call(
        room.recheck_accounts,
        (WORDS, INT, ACCOUNTS, POSITIONS, *LINKED, RISK, WORDS, WORDS32, TIERS, TABLE),
    ),
    Call(candidates.put_risks, (MARKETS, ORACLES, *(INT,) * 4, RISK, WORDS)),
    Call(candidates.list_held, (INT, INT, WORDS, POSITIONS, WORDS)),
    Call(candidates.value_positions, (WORDS, INT, POSITIONS, *SWEPT, *(WORDS,) * 4)),
    Call(
        candidates.value_accounts,
        (WORDS, INT, ACCOUNTS, POSITIONS, *LINKED, *SWEPT, WORDS, INT, *(WORDS,) * 4),
    ),
    Call(candidates.score_side, (*(INT,) * 3, ACCOUNTS, POSITIONS, *LINKED, *SWEPT, *(WORDS,) * 4)),
    Call(liquidation.order_candidates, (WORDS, WORDS, WORDS)),
    Call(liquidation.order_deleveraging, (WORDS, WORDS, INT, WORDS)),
    _integers(liquidation.takeover, 7),
)
"""`godark risk`."""

BYTES: Final = np.zeros(1, np.uint8)
PADDING: Final = np.zeros(1, np.uint32)

MERKLE_LOG: Final = (
    Call(merkle.append_hashes, (WORDS, INT, INT, INT, WORDS, INT)),
    Call(sha256.hash_leaves, (BYTES, INT, INT, WORDS, INT, PADDING, BYTES, WORDS, INT)),
    Call(merkle.range_root, (WORDS, INT, INT, INT, WORDS, INT, WORDS, INT)),
    Call(merkle.edge_of, (WORDS, INT, INT, WORDS, WORDS, INT)),
    Call(merkle.inclusion_paths, (WORDS, INT, INT, WORDS, WORDS, WORDS, INT, WORDS)),
    Call(merkle.consistency_paths, (WORDS, INT, INT, WORDS, WORDS, WORDS, INT, WORDS)),
    Call(merkle.verify_inclusions, (WORDS, WORDS, INT, WORDS, INT, WORDS, WORDS, WORDS, WORDS, WORDS, INT)),
    Call(merkle.level_start, (INT, INT)),
)
"""`godark relayer`, `godark prove`, `godark verify`."""

CALLS: Final = (
    *RISK_PROCESS,
    *MERKLE_LOG,
    *WATCH,
    *PRICES,
    *JSON_LINES,
    *FUNDING,
    *BOOKS,
    *AUDIT,
    *MARGIN,
    *LIQUIDATION,
)


def load(calls: Sequence[Call], progress: Callable[[int, int], None] = lambda done, of: None) -> None:
    """Compile these calls and the engine's way of a frame, or load them from the cache. `progress` is told
    (done, of how many) after each step."""
    compile_all()
    progress(1, 1 + len(calls))
    for done, call in enumerate(calls, 2):
        prepare(call.kernel, *call.like)
        progress(done, 1 + len(calls))


def compile_everything(progress: Callable[[int, int], None] = lambda done, of: None) -> None:
    """All that any command needs."""
    load(CALLS, progress)


def steps() -> list[Step]:
    """The same in parts that several processes can share, longest first: each of the fold's, then the fold
    itself, which finds them in the cache, then what each command calls."""
    parts = [Step(partial(prepare, part, *like)) for part, like in parts_of_fold()]
    groups = (
        RISK_PROCESS,
        MERKLE_LOG,
        LIQUIDATION,
        MARGIN,
        FUNDING,
        BOOKS,
        (*WATCH, *PRICES, *JSON_LINES, *AUDIT),
    )
    calls = [Step(partial(_prepare_all, group)) for group in groups]
    return [*parts, Step(compile_all, after=len(parts)), *calls]


def _prepare_all(calls: Sequence[Call]) -> None:
    for call in calls:
        prepare(call.kernel, *call.like)


def help_to_compile(directory: Path) -> None:
    """Take steps from a board that our parent works on too, and end with it."""
    plan, parent = steps(), os.getppid()
    work(Board(directory, plan), plan, lambda: os.getppid() == parent)


def compile_together(progress: Callable[[int, int], None] = lambda done, of: None) -> None:
    """`compile_everything` by as many processes as there are cores, this one among them; then look that nothing
    is missing. `progress` is told (done, of how many) steps."""
    plan = steps()

    def command(directory: Path) -> Sequence[str]:
        return [sys.executable, "-m", "engine.app", "compile", "--board", str(directory)]

    with helpers(command, min(together.cores(), PROCESSES_MAX) - 1) as (directory, others):
        board = Board(directory, plan)

        def told(step: Step) -> Step:
            def act() -> None:
                step.act()
                progress(board.done() + 1, len(plan) + 1)

            return step._replace(act=act)

        plan = [told(step) for step in plan]
        work(board, plan, others)
        while others() and board.done() < len(plan):
            time.sleep(together.LOOK_S)
    compile_everything()
    progress(len(plan) + 1, len(plan) + 1)
