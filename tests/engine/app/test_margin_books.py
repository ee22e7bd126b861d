"""`godark margin --books`: order, sizes, prices and where a loss goes, against plain integers."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from engine.app import margin_books
from engine.app.cli import execute
from engine.app.margin_books import Candidates, fold, units_of, view_of
from engine.common.errors import InputFileError, JournalDamaged
from engine.core.apply import Machine
from engine.follower import Follower
from engine.journal.head import HeadPage
from engine.journal.segment import list_segments
from kernels.frames import SettingKind, TransferKind
from tests.engine.core.builders import PRICE, Script, genesis, views
from tests.relayer.verify.material import write_journal


def machine_of(script: Script) -> Machine:
    machine = Machine(capacity=len(script.frames))
    machine.apply(views(script.frames), 0, len(script.frames))
    return machine


def run_of_three() -> Machine:
    """A long of 10 lots of 30,000 USD each, with a tenth of that behind it, against shorts of 6 and 4."""
    script = genesis(accounts=3, deposit_e6=0)
    for account, deposit in ((1, 31_000), (2, 500_000), (3, 21_000)):
        script.deposit(account, deposit * 10**6)
    script.setting(3, SettingKind.LEVERAGE, 20)
    script.fill(2, 1, 6, PRICE)
    script.fill(3, 1, 4, PRICE)
    script.seconds(1)
    return machine_of(script)


def candidates(machine: Machine, move_e6: int, fee_e9: int = 0, reserve_e12: int = 0) -> list[dict[str, Any]]:
    return Candidates(view_of(machine, move_e6, fee_e9), fee_e9, reserve_e12).rows()


def test_nothing_is_liquidated_while_equity_covers_maintenance() -> None:
    assert candidates(run_of_three(), 0) == []


def test_a_long_that_is_under_water_is_taken_over_and_deleveraged() -> None:
    """At -20 % it has lost 60,000 of its 30,000: insurance holds 1 USDC, which bears no lot, so the shorts do."""
    machine = run_of_three()
    long = next(row for row in machine.books.positions if int(row["size"]) == 10)
    (row,) = candidates(machine, -200_000)
    assert (row["account"], row["mode"], row["size_lots"]) == (1, "isolated", 10)
    mark = PRICE * 8 // 10
    assert row["equity_e6"] == int(long["cash"]) + 10 * mark * 100
    assert row["equity_e6"] < 0
    assert row["close_lots"] == 10
    assert row["takeover_lots"] == 0 and row["takeover_cost_e6"] == 0
    assert sum(one["lots"] for one in row["deleverage"]) == 10
    # All of the position's cash goes with it: at its bankruptcy price nobody gains or loses.
    assert sum(one["dcash_e6"] for one in row["deleverage"]) == int(long["cash"])
    # The short of 4 lots has the same profit on half the margin, so it comes first.
    assert [(one["account"], one["lots"]) for one in row["deleverage"]] == [(3, 4), (2, 6)]
    assert abs(row["bankruptcy_price"] - Fraction(-int(long["cash"]), 10 * 100)) < 1


def test_insurance_pays_while_it_lasts_and_never_more() -> None:
    script = genesis(accounts=3, deposit_e6=0)
    for account in (1, 2, 3):
        script.deposit(account, 31_000 * 10**6)
    script.deposit(0, 40_000 * 10**6)
    script.fill(3, 1, 10, PRICE)
    script.fill(3, 2, 10, PRICE)
    script.seconds(1)
    walk = Candidates(view_of(machine_of(script), -200_000, 0), 0, 0)
    before = walk.insurance_e6
    rows = walk.rows()
    assert [row["account"] for row in rows] == [1, 2]
    assert rows[0]["takeover_lots"] == 10 and rows[0]["takeover_cost_e6"] == -rows[0]["equity_e6"]
    assert 0 < rows[1]["takeover_lots"] < 10
    assert sum(one["lots"] for one in rows[1]["deleverage"]) == 10 - rows[1]["takeover_lots"]
    assert 0 <= walk.insurance_e6 == before - sum(row["takeover_cost_e6"] for row in rows)


@pytest.mark.parametrize("fund_e6", [10**12, 1_000 * 10**6, 0])
def test_of_insurance_itself_what_its_fund_puts_behind_it_or_who_is_deleveraged(fund_e6: int) -> None:
    """The long of 10 lots is insurance's; at -11 % it has lost more than its 30,000."""
    machine = run_of_three()
    long = next(row for row in machine.books.positions if int(row["size"]) == 10)
    long["account"] = 0
    machine.books.accounts[0]["free_e6"] = fund_e6
    (row,) = [row for row in candidates(machine, -110_000) if row["account"] == 0]
    equity, need = row["equity_e6"], row["maintenance_e6"]
    assert (row["close_lots"], row["takeover_lots"]) == (10, None) and equity < 0
    if fund_e6 > need - equity:
        assert row["takeover_cost_e6"] == math.ceil(Fraction(need * 5, 4)) - equity
        assert row["deleverage"] == []
    else:
        assert row["takeover_cost_e6"] == min(-equity, fund_e6)
        assert (
            sum(one["dcash_e6"] for one in row["deleverage"]) == int(long["cash"]) + row["takeover_cost_e6"]
        )


def test_part_of_a_position_is_closed_where_that_is_enough() -> None:
    """One lot less would not restore 1.25 x maintenance."""
    machine = run_of_three()
    moves = [move for move in range(-80_000, -70_000, 500) if candidates(machine, move)]
    (row,) = candidates(machine, max(moves))
    assert 0 < row["close_lots"] < 10
    mark = PRICE * (10**6 + max(moves)) // 10**6

    def restored(lots: int) -> bool:
        kept_e6, closed_e6 = (10 - lots) * mark * 100, lots * mark * 100
        maintenance = math.ceil(Fraction(kept_e6 * 25, 1000))
        fee = math.ceil(Fraction(closed_e6 * 500_000, 10**9))
        return bool(row["equity_e6"] - fee >= math.ceil(Fraction(maintenance * 5, 4)))

    assert restored(row["close_lots"]) and not restored(row["close_lots"] - 1)
    assert row["liquidation_price"] > mark > row["bankruptcy_price"]


def test_a_cross_account_is_one_unit_with_a_row_for_each_position() -> None:
    script = genesis(accounts=2, deposit_e6=0)
    script.deposit(1, 70_000 * 10**6)
    script.deposit(2, 10**6 * 10**6)
    for market in (0, 2):
        script.setting(1, SettingKind.MARGIN_MODE, 1, market=market)
    script.fill(2, 1, 10, PRICE)
    script.fill(2, 1, 100, PRICE, market=2)
    script.seconds(1)
    rows = candidates(machine_of(script), -300_000)
    assert [(row["rank"], row["account"], row["market"], row["mode"]) for row in rows] == [
        (1, 1, 0, "cross"),
        (1, 1, 2, "cross"),
    ]
    assert rows[0]["equity_e6"] == rows[1]["equity_e6"]
    assert rows[0]["takeover_lots"] is None and rows[0]["deleverage"] == []


def test_what_cannot_be_valued_is_counted() -> None:
    script = genesis(accounts=2)
    script.move(TransferKind.TO_POSITION, 1, 10**6)
    script.fill(2, 1, 10, PRICE)
    script.seconds(1)
    view = view_of(machine_of(script), 0, 0)
    assert units_of(view)[2] == []
    view.risk["mark"] = -1
    assert len(units_of(view)[2]) == 2


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose accounts are far from harm."""
    directory = tmp_path_factory.mktemp("books")
    (directory / "journal").mkdir()
    write_journal(directory / "journal")
    return directory


def test_the_command_on_a_journal(books: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["margin", "--books", str(books)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["nothing would be liquidated"]
    assert execute(["margin", "--books", str(books / "journal"), "--move", "200", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = told["candidates"]
    assert len(rows) >= 2
    ratios = [Fraction(row["equity_e6"], row["maintenance_e6"]) for row in rows]
    assert ratios == sorted(ratios)
    assert told["insurance_left_e6"] == told["insurance_e6"] - sum(row["takeover_cost_e6"] for row in rows)
    assert execute(["margin", "--books", str(books), "--move", "200"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 2 + len(rows)
    assert "marks moved by +200 %" in shown[0] and "BTC" in shown[2]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--books", "absent"], "no directory with a journal"),
        (["--books", ".", "--example"], "give one of"),
        (["--books", ".", "--move", "-100"], "above -100 %"),
        (["--books", ".", "--move", "x"], "not a number of percent"),
        (["--books", ".", "--fee", "11"], "from 0 to 10"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str],
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert execute(["margin", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and word in told


@pytest.mark.parametrize("inside", ["", "journal"])
def test_a_directory_without_a_journal_is_not_an_exchange_without_risk(inside: str, tmp_path: Path) -> None:
    (tmp_path / inside).mkdir(exist_ok=True)
    with pytest.raises(InputFileError, match="no directory with a journal"):
        margin_books.report(tmp_path, 0, 0, 0)


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [(None, 4, "-"), (668_914_500, 4, "66,891.45"), (50_123_456, 8, "0.501235"), (1_234, 8, "0.0000123400")],
)
def test_prices_of_cheap_coins_can_be_told_apart(value: int | None, places: int, text: str) -> None:
    assert margin_books._price(value, places) == text


def test_damage_before_the_durable_end_is_not_taken_for_the_end(tmp_path: Path) -> None:
    """A journal that breaks off early would show fewer positions, and none of the later ones at risk."""
    journal = tmp_path / "journal"
    journal.mkdir()
    write_journal(journal)
    whole = fold(tmp_path).state.number("ordinal")
    reader = Follower(journal, live=False)
    while reader.poll() is not None:
        continue
    head = HeadPage(journal / "head", create=True)
    head.row["durable"] = reader.position
    reader.close()
    assert fold(tmp_path).state.number("ordinal") == whole
    segment = list_segments(journal)[0].path
    raw = bytearray(segment.read_bytes())
    raw[64 * 300 + 20] ^= 1
    segment.write_bytes(raw)
    with pytest.raises(JournalDamaged, match="before the durable end"):
        fold(tmp_path)


def test_what_cannot_be_valued_is_not_passed_over_in_silence() -> None:
    told: dict[str, Any] = {"ordinal": 7, "positions": 2, "insurance_e6": 0, "move_e6": 0, "candidates": []}
    told |= {"markets": [], "not_told": 2}
    assert margin_books.lines(told)[-1] == "nothing else would be liquidated"
    assert margin_books.lines(told | {"not_told": 0})[-1] == "nothing would be liquidated"
