"""Lines to frames: every wrong input is refused by its field; outputs come back in units and names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from solders.pubkey import Pubkey

from engine.gateway.json_lines import (
    LineError,
    Scale,
    Unknown,
    Writer,
    key_bytes,
    key_text,
    output_object,
    parse_line,
)
from kernels import frames as f
from kernels.frames import Refusal, Source, Template

KEY = bytes(range(32))
ROOT = Path(__file__).resolve().parents[3]


class Names:
    """Market 0 is BTC, prices in 10^-6 USD per lot of 10^-4; the key is account 5."""

    def market(self, symbol: str) -> int | None:
        return {"BTC": 0}.get(symbol)

    def symbol(self, market: int) -> str | None:
        return "BTC" if market == 0 else None

    def scale(self, market: int) -> Scale | None:
        return Scale(6, 4) if market == 0 else None

    def account(self, key: bytes) -> int | None:
        return 5 if key == KEY else None


FILL: dict[str, Any] = {
    "type": "fill", "market": "BTC", "price": "66940.3", "size": "0.5", "side": "buy",
    "maker": 3, "taker": str(Pubkey(KEY)), "trade_id": 7, "time_ns": 1_700_000_000_000_000_001,
}  # fmt: skip
TRANSFER: dict[str, Any] = {
    "type": "transfer",
    "kind": "deposit",
    "account": 1,
    "quote": "1.5",
    "number": 1,
}


def row_of(line: dict[str, Any]) -> np.void:
    frames = Writer(Names()).frames(parse_line(orjson.dumps(line)), 9)
    assert len(frames) == 1
    return frames[0]


def test_a_fill_in_units_is_a_fill_in_lots() -> None:
    row = row_of(FILL)
    assert (int(row["seq"]), int(row["source"]), int(row["template"])) == (9, Source.MATCHING, Template.FILL)
    assert (int(row["price"]), int(row["size"])) == (6_694_030, 5_000)
    assert (int(row["maker"]), int(row["taker"]), int(row["trade_id"])) == (3, 5, 7)
    assert int(row["time_ns"]) == 1_700_000_000_000_000_001
    assert int(row_of(FILL | {"side": "sell"})["size"]) == -5_000


def test_milliseconds_do_as_well() -> None:
    line = {k: v for k, v in FILL.items() if k != "time_ns"} | {"time_ms": 1_700_000_000_123}
    assert int(row_of(line)["time_ns"]) == 1_700_000_000_123_000_000


def test_a_market_number_without_scale_is_refused_and_out_of_scale_is_for_the_engine() -> None:
    with pytest.raises(Unknown, match="no scale"):
        row_of(FILL | {"market": 7})
    assert int(row_of(FILL | {"price": "0.01"})["price"]) == 1


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"price": 66940.3}, "invalid_field", "price"),
        ({"price": 66940}, "invalid_field", "price"),
        ({"price": "6.6e4"}, "invalid_field", "price"),
        ({"price": ""}, "invalid_field", "price"),
        ({"price": None}, "invalid_field", "price"),
        ({"price": "66940.301"}, "price_off_scale", "price"),
        ({"price": "9" * 25}, "price_off_scale", "price"),
        ({"size": "0.00001"}, "size_off_scale", "size"),
        ({"size": "-1"}, "size_off_scale", "size"),
        ({"size": "x"}, "invalid_field", "size"),
        ({"side": "long"}, "invalid_field", "side"),
        ({"market": "DOGE"}, "unknown_market", "market"),
        ({"market": 40_000}, "invalid_field", "market"),
        ({"market": True}, "invalid_field", "market"),
        ({"maker": "zzz"}, "invalid_field", "maker"),
        ({"maker": -1}, "invalid_field", "maker"),
        ({"maker": 2**31}, "invalid_field", "maker"),
        ({"maker": 1.0}, "invalid_field", "maker"),
        ({"taker": str(Pubkey(bytes(31) + b"\1"))}, "unknown_account", "taker"),
        ({"taker": "0x" + "zz" * 20}, "invalid_field", "taker"),
        ({"trade_id": "7"}, "invalid_field", "trade_id"),
        ({"trade_id": 2**63}, "invalid_field", "trade_id"),
        ({"time_ns": -1}, "invalid_field", "time_ns"),
        ({"time_ms": 1}, "invalid_field", "time_ns"),
        ({"time_ns": None}, "invalid_field", "time_ns"),
        ({"seq": 0}, "invalid_field", "seq"),
        ({"prize": "1"}, "invalid_field", "prize"),
        ({"type": "fil"}, "invalid_field", "type"),
        ({"type": 4}, "invalid_field", "type"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], reason: str, field: str) -> None:
    with pytest.raises(LineError) as told:
        row_of(FILL | change)
    assert (told.value.reason, told.value.field) == (reason, field)


@pytest.mark.parametrize("field", [name for name in FILL if name not in ("type", "time_ns")])
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(LineError, match="missing required") as told:
        row_of({k: v for k, v in FILL.items() if k != field})
    assert told.value.field == field


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "not_json"),
        (b"[]", "not_json"),
        (b"7", "not_json"),
        (b'"x"', "not_json"),
        (b"\xff\xfe", "not_json"),
        (b'{"type": NaN}', "not_json"),
        (b'{"a":' * 20_000, "not_json"),
        (b'{"type":"fill","price":"1","price":"2"}', "duplicate_field"),
        (b"{}", "invalid_field"),
        (b'{"type":"fill"} {"type":"fill"}', "not_json"),
        (b'{"type":"tick","kind":"open","time_ns":' + b"9" * 5000 + b"}", "not_json"),
        (b'{"type":"tick","kind":"open","time_ns":' + b"9" * 50 + b"}", "invalid_field"),
    ],
)
def test_what_is_no_line(data: bytes, reason: str) -> None:
    with pytest.raises(LineError) as told:
        parse_line(data)
    assert told.value.reason == reason


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (TRANSFER | {"kind": "gift"}, "kind"),
        (TRANSFER | {"quote": "0.0000001"}, "quote"),
        (TRANSFER | {"quote": "1" + "0" * 15}, "quote"),
        ({"type": "account", "key": "0x12"}, "key"),
        ({"type": "account", "key": str(Pubkey(KEY)), "tier": 16}, "tier"),
        ({"type": "tick", "kind": "second", "time_ns": 5}, "prev_ns"),
        ({"type": "params", "change": 1, "rows": []}, "rows"),
        ({"type": "params", "change": 1, "rows": [["COMMIT", 0, 0, 0]]}, "rows"),
        ({"type": "params", "change": 1, "rows": [["HOLD_NS", 0, 1]]}, "rows"),
        ({"type": "correction", "kind": "void", "refused_source": "nobody"}, "refused_source"),
        (
            {"type": "observation", "kind": "mid", "market": "BTC", "price": "1", "conf": "-", "time_ns": 1},
            "conf",
        ),
        (
            {"type": "setting", "kind": "leverage", "account": 1, "market": "X", "value": 1, "nonce": 1},
            "market",
        ),
    ],
)
def test_wrong_fields_of_other_lines(line: dict[str, Any], field: str) -> None:
    with pytest.raises(LineError) as told:
        row_of(line)
    assert told.value.field == field


def test_who_numbers_a_transfer() -> None:
    writer = Writer(Names())
    assert writer.source_of(parse_line(orjson.dumps(TRANSFER))) is Source.CHAIN
    assert writer.source_of(parse_line(orjson.dumps(TRANSFER | {"kind": "withdrawal"}))) is Source.API


def test_a_change_of_parameters_is_all_its_frames() -> None:
    line = {"type": "params", "change": 3, "rows": [["HOLD_NS", 0, 5, 0], ["FEE_TIER", 1, 7, -2]]}
    frames = Writer(Names()).frames(parse_line(orjson.dumps(line)), 4)
    assert frames["seq"].tolist() == [4, 5, 6] and frames["key"].tolist() == [3, 12, 0]
    assert frames["of"].tolist() == [0, 0, 2]


def test_a_correction_of_an_account_carries_its_number() -> None:
    line = {"type": "correction", "kind": "account", "account": str(Pubkey(KEY))}
    assert int(row_of(line)["refused_seq"]) == 5


def test_a_setting_says_what_it_says() -> None:
    line = {"type": "setting", "kind": "margin_mode", "account": 4, "market": "BTC", "value": 1, "nonce": 8}
    row = row_of(line)
    assert [int(row[name]) for name in ("kind", "account", "market", "value", "nonce")] == [2, 4, 0, 1, 8]


@pytest.mark.parametrize("key", [KEY, bytes(32), bytes(12) + b"\7" * 20])
def test_keys_come_back(key: bytes) -> None:
    assert key_bytes(key_text(key)) == key
    assert key_text(key).startswith("0x") == (key[:12] == bytes(12) and any(key))


def output(template: Template, **fields: int) -> np.void:
    frame = f.new_frames(template, 1, source=Source.ENGINE, first_seq=12)
    for name, value in fields.items():
        frame[name] = value
    return frame.view(f.FRAME)[0]


def test_outputs_are_told_in_names_and_units() -> None:
    refusal = output(
        Template.REFUSAL, refused_seq=4, reason=int(Refusal.UNKNOWN_MARKET), market=99, account=3,
        refused_template=1, refused_source=1,
    )  # fmt: skip
    told = output_object(refusal, Names())
    assert told == {
        "type": "refusal", "output": 12, "market": 99, "refused_seq": 4, "ordinal": 0, "detail": 0, "account": 3,
        "refused_template": "fill", "refused_source": "matching", "reason": "unknown_market",
    }  # fmt: skip
    state = output_object(output(Template.MARKET_STATE, price=6_694_030, state=2), Names())
    assert (state["market"], state["price"], state["reason"]) == ("BTC", "66940.3", "none")
    order = output_object(output(Template.LIQUIDATION_ORDER, size=-5_000, price=6_694_030), Names())
    assert (order["size"], order["price"]) == ("-0.5", "66940.3")
    assert output_object(output(Template.LIQUIDATION_ORDER, size=1, market=9), Names())["size"] is None
    assigned = output(Template.ACCOUNT_ASSIGNED, account=5, market=-1)
    assert output_object(assigned, Names())["key"] == str(Pubkey(bytes(32)))
    equity = output_object(output(Template.ACCOUNT_STATE, equity_e6=-1_500_000), Names())
    assert equity["equity"] == "-1.5"
    assert output_object(output(Template.REFUSAL, reason=999), Names())["reason"] == 999
    free = output_object(output(Template.FREE_COLLATERAL, taker_free_e6=-(1 << 62), maker_free_e6=5), Names())
    assert (free["taker_free"], free["maker_free"]) == (None, "0.000005")


def test_the_lines_that_readme_shows_are_lines() -> None:
    """Each of them is taken; together they show every kind that has no own words there."""
    shown = [
        line.strip()
        for line in (ROOT / "engine" / "gateway" / "README.md").read_text().splitlines()
        if line.startswith('    {"type"')
    ]
    kinds = {type(parse_line(line.encode())).__name__ for line in shown}
    assert kinds == {
        "Fill",
        "Account",
        "Transfer",
        "Setting",
        "Observation",
        "Params",
        "Correction",
        "StatusRequest",
    }
