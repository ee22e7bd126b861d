"""The margin families: every published vector, and that a wrong product or a wrong vector shows."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.common.errors import ParameterError
from tests.conformance.data import Malformed
from tests.conformance.families import margin_drift, margin_dydx, margin_mango
from tests.conformance.harness import REFUSED, run
from tests.conformance.margin_vectors import beyond_int64, checked, number

SHARED = Path(os.environ.get("GODARK_SHARED", Path(__file__).parents[2].parent / "shared"))
FAMILIES = margin_dydx.FAMILIES + margin_drift.FAMILIES + margin_mango.FAMILIES


def test_every_published_vector() -> None:
    data = SHARED / "data" / "funding-vectors"
    if not data.is_dir():
        pytest.skip(f"{data} is absent: set GODARK_SHARED to check against published data")
    report = run([data], FAMILIES)
    names = {family.name for family in FAMILIES}
    wanted = {
        path.stem: len(json.loads(path.read_text())["vectors"])
        for path in data.glob("*.json")
        if path.stem in names
    }
    assert {name: tally.matched for name, tally in report.tallies.items()} == wanted
    assert report.failed == 0
    assert sum(wanted.values()) == 75


def vector(inputs: dict[str, Any], **expected: Any) -> dict[str, Any]:
    return {"id": "v", "inputs": inputs, "expected": expected}


def _family(name: str) -> Any:
    return next(family.check for family in FAMILIES if family.name == name)


PNL = {"base_1e9": -(10**9), "quote": 70, "oracle_price": 50}
ROLLED = {"net_collateral": 5, "maintenance_margin": 6}


def test_a_wrong_number_is_named() -> None:
    check = _family("dydx_is_liquidatable")
    assert check(vector(ROLLED, liquidatable=True)) is None
    assert check(vector(ROLLED, liquidatable=False)) == "liquidatable: expected False, ours True"
    assert check(vector(ROLLED, other=1)) == "other is not something the product states"


def test_refusals_count_only_where_they_must() -> None:
    check = _family("dydx_open_interest_delta")
    sides = {"account_a_size": 0, "account_a_delta": 5, "account_b_size": 0, "account_b_delta": 5}
    assert check(vector(sides, error=True)) is REFUSED
    assert check(vector(sides, open_interest_delta=5)).startswith("refused: open interest: the two sides")
    match = sides | {"account_b_delta": -5}
    assert check(vector(match, error=True)) == "accepted, must be refused"
    assert check(vector(match | {"account_a_size": 2**63}, open_interest_delta=5)) is REFUSED
    assert check(vector(match | {"account_a_size": -(2**63)}, open_interest_delta=0)) is None


def test_refusals_are_counted_apart(tmp_path: Path) -> None:
    sides = {"account_a_size": 0, "account_a_delta": 5, "account_b_size": 0, "account_b_delta": 5}
    vectors = [vector(sides, error=True), vector(sides | {"account_b_delta": -5}, open_interest_delta=5)]
    path = tmp_path / "f.json"
    path.write_text(json.dumps({"family": "dydx_open_interest_delta", "vectors": vectors}))
    lines = list(run([tmp_path]).lines())
    assert lines[0].startswith("dydx_open_interest_delta 2/2, 1 by refusal (godark margin --compare")
    assert lines[-1] == "2 passed, 0 failed"


def test_an_exception_of_the_product_is_no_refusal() -> None:
    def crash(inputs: dict[str, Any]) -> dict[str, Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        checked(crash)(vector({}, error=True))


def test_what_is_beyond_int64() -> None:
    assert beyond_int64({"a": [1, {"b": 2**63}]})
    assert beyond_int64(["-9223372036854775809"])
    assert not beyond_int64({"a": [2**63 - 1, -(2**63), "1.5", "BTC", None, True]})
    with pytest.raises(ParameterError):
        number(2**63, "a")
    for wrong in (1.0, True, None, "0.5"):
        with pytest.raises(Malformed):
            number(wrong, "a")


def test_forms_of_which_no_file_is_at_hand() -> None:
    check = _family("drift_unrealised_pnl")
    assert check(vector(PNL, pnl=20)) is None
    assert check(vector({"position": {"base": -(10**9), "quote": 70}, "price": 50}, pnl_quote=20)) is None
    assert check(vector(PNL, pnl=21)) == "pnl: expected 21, ours 20"
    check = _family("drift_socialise_loss")
    loss = {"loss_quote": -(10**6), "long_base": 3 * 10**9, "short_base": -(10**9)}
    assert check(vector(loss, rate_added=250_000_000)) is None
    assert check(vector(loss, rate_added=1)) is not None
