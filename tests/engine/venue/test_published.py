from __future__ import annotations

from pathlib import Path

import pytest

from engine.app.cli import execute
from engine.common.errors import InputFileError
from engine.venue.published import audit

SETTLEMENTS = (
    "user,ts0,ts1,base_asset_amount_1e9,cum_funding_before_1e9,cum_funding_after_1e9,"
    "delta_cumulative_perp_funding_1e6_onchain\n"
)
SNAPSHOTS = (
    "next_funding_rate_record_id,amm.base_asset_amount_long,amm.base_asset_amount_short,"
    "amm.base_asset_amount_with_amm,amm.base_asset_amount_with_unsettled_lp,"
    "amm.cumulative_funding_rate_long,amm.cumulative_funding_rate_short,"
    "amm.last_funding_rate_long,amm.last_funding_rate_short\n"
)
POSITIONS = "ts,user,market_index,base_asset_amount,quote_asset_amount,lp_shares\n"
MARKETS = "ts,market_index,base_long_1e9,base_short_1e9,quote_asset_amount_1e6,user_lp_shares_1e9\n"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def offs(path: Path) -> list[int]:
    return [finding.off for finding in audit(path)]


def test_payments_are_rounded_toward_zero(tmp_path: Path) -> None:
    rows = "a,1,2,27100000000,-441904132,-443835215,52332\nb,1,2,-3,0,500000000000,1\nc,1,2,3,0,500000000000,-3\n"
    assert offs(write(tmp_path, "s.csv", SETTLEMENTS + rows)) == [0, 0, -2]


def test_a_payment_adds_the_last_rate_and_no_payment_adds_nothing(tmp_path: Path) -> None:
    """The last row follows after two payments, one of which nobody saw: only its sum is checked."""
    rows = (
        "5,8.0,-3.0,4.5,0.5,1.0,1.0,0.1,0.1\n6,8.0,-3.0,4.5,0.5,1.25,1.2,0.25,2.5e-01\n"
        "6,8.0,-3.0,4.5,0.4,1.25,1.3,0.25,0.25\n8,8.0,-3.0,4.5,0.5,9.0,9.0,0.25,0.25\n"
    )
    found = offs(write(tmp_path, "m.csv", SNAPSHOTS + rows))
    assert found == [0, 0, 0, -50_000_000, 100_000_000, 0, 100_000_000, 0]


def test_all_positions_sum_to_the_market(tmp_path: Path) -> None:
    write(tmp_path, "x_positions.csv", POSITIONS + "1,a,0,5,-50,1\n1,b,0,-3,31,2\n1,c,1,9,9,9\n2,a,0,9,9,9\n")
    markets = write(tmp_path, "x_markets.csv", MARKETS + "1,0,5,-3,-19,3\n1,1,10,0,8,9\n3,0,0,0,0,0\n")
    assert offs(markets) == [0, 0, 0, 0, -1, -1, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2\n", "no published state that we know"),
        (SETTLEMENTS + "a,1,2,x,0,0,0\n", "row 1: base_asset_amount_1e9: 'x' is not a number"),
        (SETTLEMENTS + "a,1,2,1.5,0,0,0\n", "row 1: base_asset_amount_1e9: '1.5' cannot be kept exactly"),
        (SETTLEMENTS + "a,1,2,nan,0,0,0\n", "row 1: base_asset_amount_1e9: 'nan' is not a number"),
        (SETTLEMENTS + "a,1,2,99999999999999999999,0,0,0\n", "cannot be kept exactly"),
        (SETTLEMENTS + "a,1\n", "row 1: has 2 fields, the header has 7"),
        (SETTLEMENTS + f"a,1,2,{2**61},0,{2**61},0\n", "row 1: holds numbers beyond 64 bits"),
    ],
)
def test_what_is_wrong_is_named(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match=reason):
        offs(write(tmp_path, "t.csv", text))


def test_the_command_counts_and_fails_beyond_the_tolerance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "a,1,2,27100000000,-441904132,-443835215,{}\nb,1,2,-3,0,500000000000,1\n"
    assert execute(["audit", str(write(tmp_path, "s.csv", SETTLEMENTS + rows.format(52328)))]) == 0
    assert "s.csv: funding paid: 1 of 2 exact, the rest within 4 units" in capsys.readouterr().out
    assert execute(["audit", str(write(tmp_path, "s.csv", SETTLEMENTS + rows.format(52327)))]) == 5
    assert "s.csv: row 1: funding paid: off by -5 units" in capsys.readouterr().err
