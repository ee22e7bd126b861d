"""`godark margin --compare`: what it says, and what it says about a wrong account."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from engine.app.cli import execute
from engine.app.margin import EXAMPLE, VENUES, lines, shown
from tests.kernels.venues import twins
from tests.kernels.venues.twins import Held

Edit = Callable[[dict[str, Any]], None]


def written(folder: Path, account: Any) -> Path:
    path = folder / "account.json"
    path.write_text(account if isinstance(account, str) else json.dumps(account))
    return path


@pytest.fixture
def report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def run(edit: Edit = lambda account: None) -> dict[str, Any]:
        account = copy.deepcopy(EXAMPLE)
        edit(account)
        assert execute(["margin", "--json", "--compare", str(written(tmp_path, account))]) == 0
        out: dict[str, Any] = json.loads(capsys.readouterr().out)
        return out

    return run


def test_the_printed_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["margin", "--example"]) == 0
    path = written(tmp_path, capsys.readouterr().out)
    assert execute(["margin", "--compare", str(path)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == list(VENUES)
    row = next(line for line in table if line.startswith("maintenance USDC"))
    assert row.split()[2:] == ["125.00", "500.00", "250.00", "-"]
    assert len({len(line) for line in table}) == 1


def test_the_example_against_the_plain_rules(report: Callable[..., dict[str, Any]]) -> None:
    answer = report()
    held = Held(10_000_000, 5_000_000_000, -7, 200_000, 500_000)
    usdc = 499_000_000 - 5_000_000_000
    net, need = twins.totals(usdc, [held])
    dydx = answer["dydx"]
    assert (dydx["collateral_e6"], dydx["maintenance_e6"], dydx["liquidatable"]) == (net, need, net < need)
    scaled = twins.initial_margin(held.quote(), 200_000, held.quote(400 * 10**8), 10**13, 5 * 10**13)
    assert dydx["initial_e6"] == scaled
    close = dydx["close"]
    assert close["bankruptcy_quote_e6"] == twins.bankruptcy_quote(usdc, [held], 0, -held.size)
    per_coin = twins.fillable_price(usdc, [held], 0, 10**6, 10**5)
    assert per_coin is not None
    assert Fraction(close["fillable_price"]["num"], close["fillable_price"]["den"]) == per_coin * 100
    paid = twins.insurance_delta(usdc, [held], 0, False, held.size, 4_950_000_000, 5000)
    assert close["insurance_delta_e6"] == paid
    drift = answer["drift"]
    assert drift["initial_e6"] == twins.drift_requirement(10**8, 50_000 * 10**6, 1000, 1000)
    first = twins.position_update(10**8, *[-5_000_000_000] * 3, -5 * 10**7, 2_510_250_000)
    second = twins.position_update(*first[:4], -(10**8), 4_990_000_000)
    assert [trade["realised_pnl_e6"] for trade in drift["trades"]] == [first[4], second[4]]
    lots = twins.Lots(1000, Fraction(5_000_000), -5_000_000_000)
    lots, pnl = twins.mango_trade(lots, -500, 2_510_250_000)
    _, pnl2 = twins.mango_trade(lots, -1000, 4_990_000_000)
    told = [trade["realised_pnl_e6"] for trade in answer["mango"]["trades"]]
    assert [Fraction(row["num"], row["den"]) for row in told] == [pnl, pnl2]
    fees = answer["drift"]["fees"]
    assert (fees["taker_pays_e6"], fees["house_receives_e6"]) == (90_000, 20_000)


def test_godark_by_its_own_rules(report: Callable[..., dict[str, Any]]) -> None:
    def bankrupt(account: dict[str, Any]) -> None:
        account["cash_usdc"] = "124.999999"
        account["close"] |= {"fill_quote_usdc": "4900.5", "insurance_usdc": "60"}

    godark = report(bankrupt)["godark"]
    assert (godark["initial_e6"], godark["maintenance_e6"]) == (250_000_000, 125_000_000)
    assert godark["liquidatable"] is True
    assert godark["close"] == {"to_free_e6": 0, "insurance_delta_e6": -60_000_000, "bad_debt_e6": 39_500_000}
    assert report(lambda account: account.update(cash_usdc=125))["godark"]["liquidatable"] is False
    assert godark["fees"] == {
        "taker_pays_e6": 50_000,
        "maker_receives_e6": 10_000,
        "house_receives_e6": 40_000,
    }


def test_godark_holds_what_lies_beyond_a_tier_to_the_tier_below(
    report: Callable[..., dict[str, Any]],
) -> None:
    """5,000 USDC at 50x: the first 2,000 at 2 % and 1 %, the rest at 5 % and 2.5 %."""

    def edit(account: dict[str, Any]) -> None:
        account["markets"]["BTC"]["godark"]["leverage"] = 50
        account["markets"]["BTC"]["godark"]["tiers"][1]["max_notional_usdc"] = "2000"

    godark = report(edit)["godark"]
    assert (godark["initial_e6"], godark["maintenance_e6"]) == (190_000_000, 95_000_000)


def test_a_price_of_many_digits_is_exact(report: Callable[..., dict[str, Any]]) -> None:
    """The price of an ordinary account, beyond 64 bits as a fraction, is told whole."""

    def edit(account: dict[str, Any]) -> None:
        account["cash_usdc"] = "499.000001"
        account["positions"][0]["size"] = "0.0997"
        account["close"] |= {"size": "-0.0997", "bankruptcy_adjustment_ppm": 999_983}
        account["close"]["spread_to_maintenance_ppm"] = 99_991

    price = report(edit)["dydx"]["close"]["fillable_price"]
    held = Held(9_970_000, 5_000_000_000, -7, 200_000, 500_000)
    wanted = twins.fillable_price(499_000_001 - 5 * 10**9, [held], 0, 999_983, 99_991)
    assert wanted is not None
    assert Fraction(price["num"], price["den"]) == wanted * 100
    assert wanted.numerator > 2**64
    assert shown("price", price) == "~49,985.457926"


def test_a_venue_without_a_section_is_left_out(report: Callable[..., dict[str, Any]]) -> None:
    answer = report(lambda account: account["markets"]["BTC"].pop("drift"))
    assert answer["drift"] == {"left_out": "market BTC has no section drift"}
    assert "maintenance_e6" in answer["dydx"]
    assert "drift left_out: market BTC has no section drift" in lines(answer)


def test_a_rule_that_does_not_apply_says_so(report: Callable[..., dict[str, Any]]) -> None:
    def free(account: dict[str, Any]) -> None:
        account["markets"]["BTC"]["dydx"]["initial_margin_ppm"] = 0
        account["markets"]["BTC"]["drift"] |= {"long_base": 0, "short_base": 0, "liquidator_fee_1e6": 50_000}

    answer = report(free)
    assert answer["dydx"]["close"]["bankruptcy_price"]["refused"].startswith("the account has no maintenance")
    assert answer["drift"]["close"]["base_to_cover_1e9"] == {"refused": "no size restores the margin"}
    assert answer["drift"]["close"]["socialised_loss_rate_1e9"]["refused"].startswith("there is no open")


def test_an_account_without_positions_or_extras(report: Callable[..., dict[str, Any]]) -> None:
    def bare(account: dict[str, Any]) -> None:
        account["positions"] = []
        for name in ("close", "trades", "fees"):
            account.pop(name)

    answer = report(bare)
    for venue in ("godark", "dydx", "drift"):
        assert (answer[venue]["collateral_e6"], answer[venue]["liquidatable"]) == (499_000_000, False)


def _set(path: str, value: Any) -> Edit:
    *where, last = [int(part) if part.isdecimal() else part for part in path.split(".")]

    def edit(account: Any) -> None:
        for part in where:
            account = account[part]
        account[last] = value

    return edit


BTC = "markets.BTC"


@pytest.mark.parametrize(
    ("path", "value", "line"),
    [
        ("cash_usdc", 1.5, "Expected `int | str`, got `float` - at `$.cash_usdc`"),
        ("cash_usdc", "1e3", "cash_usdc: '1e3' is not a plain decimal number"),
        ("cash_usdc", "٣", "cash_usdc: '٣' is not a plain decimal number"),
        ("cash_usdc", "0.0000001", "cash_usdc: 0.0000001 is not a multiple of 10**-6"),
        ("cash_usdc", "9223372036854.775808", "cash_usdc: 9223372036854775808 is beyond the range of int64"),
        ("casj_usdc", "1", "Object contains unknown field `casj_usdc`"),
        (f"{BTC}.price", "0", "markets.BTC.price: must be above 0"),
        (f"{BTC}.price", "50000.000001", "markets.BTC.price: 50000.000001 is not a multiple of 10**"),
        (f"{BTC}.dydx.initial_margin_ppm", 1_000_001, "initial_margin_ppm: 1000001 is not in 0..1000000"),
        (f"{BTC}.dydx.open_interest", "-1", "markets.BTC.dydx.open_interest: must not be negative"),
        (f"{BTC}.dydx.price_exponent", -31, "markets.BTC.dydx.price_exponent: -31 is not in -30..30"),
        (f"{BTC}.drift.maintenance_ratio_1e4", 1001, "maintenance_ratio_1e4: is above initial_ratio_1e4"),
        (f"{BTC}.mango.base_lot_size", 3, "is not a whole number of lots of 3"),
        (f"{BTC}.godark.lot_exp", 1, "markets.BTC.price in 10**-7 USDC per lot: 50000000000 is not in"),
        (f"{BTC}.godark.leverage", 51, "markets.BTC.godark.leverage: no tier admits 51"),
        (f"{BTC}.godark.tiers.1.max_leverage", 20, "tiers[1].max_leverage: tiers must be in rising order"),
        (
            f"{BTC}.godark.tiers.1.maintenance_e12",
            20000000001,
            "tiers[1].maintenance_e12: 20000000001 is not in",
        ),
        (f"{BTC}.godark.tiers.0.max_notional_usdc", "-1", "tiers[0].max_notional_usdc: must not be negative"),
        (
            f"{BTC}.godark.tiers.1.max_notional_usdc",
            "0.0000001",
            "godark.tiers[1].max_notional_usdc: 0.0000001 is not",
        ),
        ("positions.0.market", "ETH", "positions[0].market: 'ETH' is not among the markets"),
        ("positions.0.size", "92233720369", "positions[0].size"),
        ("close.size", "-0.2", "close.size: a close must be against the position and no larger than it"),
        ("close.size", "0.1", "close.size: a close must be against the position and no larger than it"),
        ("close.fill_quote_usdc", "-1", "close.fill_quote_usdc: must not be negative"),
        ("trades.0.quote_usdc", "-2510", "trades[0].quote_usdc: must have the sign opposite to size"),
        ("fees.drift.discount_pct", 101, "fees.drift.discount_pct: 101 is not in 0..100"),
    ],
)
def test_a_wrong_account_is_told_in_one_line(
    path: str, value: Any, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    account = copy.deepcopy(EXAMPLE)
    _set(path, value)(account)
    file = written(tmp_path, account)
    assert execute(["margin", "--compare", str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"godark: {file}: ")
    assert line in captured.err
    assert captured.err.count("\n") == 1


def test_two_positions_in_one_market(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    account = copy.deepcopy(EXAMPLE)
    account["positions"] *= 2
    assert execute(["margin", "--compare", str(written(tmp_path, account))]) == 2
    assert "positions[1].market: BTC has two positions" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"cash_usdc": "1"}', "[" * 100_000, '"\xff'])
def test_what_is_no_account(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin-1"))
    assert execute(["margin", "--compare", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"godark: {path}: ")


def test_a_wrong_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["margin"]) == 2
    assert "give one of --compare ACCOUNT.json, --books DIR or --example" in capsys.readouterr().err
    assert execute(["margin", "--compare", str(tmp_path / "none.json")]) == 2
    assert capsys.readouterr().err == f"godark: {tmp_path / 'none.json'}: No such file or directory\n"
    huge = tmp_path / "huge.json"
    huge.write_bytes(b" " * ((1 << 20) + 1))
    assert execute(["margin", "--compare", str(huge)]) == 2
    assert "larger than 1048576 bytes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("x_e6", -1, "-0.000001"),
        ("x_e6", 1_234_500_000, "1,234.50"),
        ("x_e6", {"num": -1, "den": 3}, "~-0.000001"),
        ("x", {"num": 5, "den": 4}, "1.25"),
        ("x", 1_000, "1,000"),
        ("x", True, "yes"),
    ],
)
def test_values_for_a_person(name: str, value: Any, text: str) -> None:
    assert shown(name, value) == text
