"""Outputs: numbered frames in a bounded ring, and what a refusal leaves behind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core import outputs
from engine.core.state import Books, State
from kernels import frames as f
from kernels.frames import Refusal, Source, Template
from kernels.layouts import MARKET_FROZEN, MARKET_HALTED, MARKET_REDUCE_ONLY, MAX_OPEN_REFUSALS, OUTBOX_SLOTS


@pytest.fixture
def books() -> Books:
    """Two markets, three accounts, some time and a mark."""
    out = State().books
    meta = out.meta[0]
    meta["markets"], meta["accounts"], meta["ordinal"], meta["now_ns"] = 2, 3, 41, 10**18
    out.markets[1]["mark"] = 305_000_000
    for k in range(4):
        out.keys[2][f"key{k}"] = -(k + 1) * 10**17
    out.accounts[2]["tier"], out.accounts[2]["flags"] = 3, 1
    return out


def sent(books: Books, template: Template) -> np.void:
    """The newest output, as a frame of its template."""
    count = int(books.meta[0]["outputs"])
    row = books.outbox[(count - 1) % OUTBOX_SLOTS : (count - 1) % OUTBOX_SLOTS + 1].reshape(-1)
    frame = row.view(f.DTYPES[template])[0]
    head = [int(frame[n]) for n in ("block_length", "template", "schema", "version", "seq")]
    assert head == [f.BLOCK_LENGTH, int(template), f.SCHEMA_ID, f.SCHEMA_VERSION, count]
    assert (int(frame["source"]), int(frame["flags"]), int(frame["crc"])) == (int(Source.ENGINE), 0, 0)
    assert not np.any(row & f.spare_words()[int(template)])
    return frame


def head_of(template: Template, source: Source, *, market: int, seq: int = 9) -> np.void:
    frame = f.new_frames(template, 1, source=source, first_seq=seq)
    frame["market"] = market
    return frame.view(f.FRAME)[0]


def fields(frame: np.void, *names: str) -> list[int]:
    return [int(frame[n]) for n in names]


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_pair_is_two_int32(low: int, high: int) -> None:
    word = int(outputs.pair(np.int64(low), np.int64(high)))
    assert np.array([word], "<i8").view("<i4").tolist() == [low, high]


def test_an_assigned_account_is_told(books: Books) -> None:
    outputs.emit_assigned(books, 2)
    frame = sent(books, Template.ACCOUNT_ASSIGNED)
    keys = [-(k + 1) * 10**17 for k in range(4)]
    assert fields(frame, "key0", "key1", "key2", "key3", "account", "tier") == [*keys, 2, 3]
    assert int(frame["market"]) == -1


def test_an_account_state_is_told(books: Books) -> None:
    outputs.emit_account_state(books, 2, 1, -5)
    frame = sent(books, Template.ACCOUNT_STATE)
    said = fields(frame, "ordinal", "equity_e6", "now_ns", "account", "state", "market")
    assert said == [41, -5, 10**18, 2, 1, 1]


def test_a_market_state_is_told_once_per_change(books: Books) -> None:
    outputs.set_market_state(books, 1, MARKET_HALTED, 1, 7)
    frame = sent(books, Template.MARKET_STATE)
    said = fields(frame, "ordinal", "price", "now_ns", "state", "reason", "market")
    assert said == [41, 305_000_000, 10**18, MARKET_HALTED, 7, 1]
    outputs.set_market_state(books, 1, MARKET_HALTED, 1, 7)
    outputs.set_market_state(books, 1, MARKET_FROZEN, 0, 0)
    assert int(books.meta[0]["outputs"]) == 1
    outputs.set_market_state(books, 1, MARKET_REDUCE_ONLY, 1, 0)
    assert int(sent(books, Template.MARKET_STATE)["state"]) == MARKET_HALTED | MARKET_REDUCE_ONLY
    outputs.set_market_state(books, 1, MARKET_HALTED, 0, 0)
    assert int(sent(books, Template.MARKET_STATE)["state"]) == MARKET_REDUCE_ONLY
    assert int(books.meta[0]["outputs"]) == 3
    assert int(books.markets[0]["state"]) == 0


def test_the_ring_keeps_the_newest(books: Books) -> None:
    books.meta[0]["outputs"] = OUTBOX_SLOTS - 1
    outputs.emit_account_state(books, 1, 0, 11)
    assert int(sent(books, Template.ACCOUNT_STATE)["equity_e6"]) == 11
    outputs.emit_account_state(books, 1, 0, 12)
    assert int(sent(books, Template.ACCOUNT_STATE)["equity_e6"]) == 12
    assert int(books.outbox[OUTBOX_SLOTS - 1, 1]) == OUTBOX_SLOTS
    assert int(books.outbox[0, 1]) == OUTBOX_SLOTS + 1
    assert not books.outbox[1].any()


@pytest.mark.parametrize(
    "template", [Template.TRANSFER, Template.SETTING, Template.CORRECTION, Template.TICK]
)
def test_a_refusal_that_is_no_fill_freezes_nothing(books: Books, template: Template) -> None:
    outputs.refuse(books, head_of(template, Source.API, market=1), 2, int(Refusal.NONCE_OUT_OF_ORDER), -77)
    frame = sent(books, Template.REFUSAL)
    said = fields(frame, "refused_seq", "ordinal", "detail", "account", "refused_template")
    assert said == [9, 41, -77, 2, int(template)]
    assert fields(frame, "refused_source", "reason") == [int(Source.API), int(Refusal.NONCE_OUT_OF_ORDER)]
    meta = books.meta[0]
    assert fields(meta, "refused", "outputs", "open_refusals") == [1, 1, 0]
    assert int(books.markets[1]["state"]) == 0


@pytest.mark.parametrize("source", [Source.FEEDS, Source.RISK])
def test_a_refused_hint_is_only_counted(books: Books, source: Source) -> None:
    head = head_of(Template.OBSERVATION, source, market=1)
    outputs.refuse(books, head, -1, int(Refusal.OBSERVATION_OLD), 0)
    assert fields(books.meta[0], "refused", "outputs") == [1, 0]


def test_a_refused_fill_freezes_its_market_and_waits(books: Books) -> None:
    head = head_of(Template.FILL, Source.MATCHING, market=1, seq=5)
    outputs.refuse(books, head, -1, int(Refusal.UNKNOWN_ACCOUNT), 0)
    state = sent(books, Template.MARKET_STATE)
    assert fields(state, "state", "reason", "market") == [MARKET_FROZEN, int(Refusal.UNKNOWN_ACCOUNT), 1]
    assert fields(books.meta[0], "refused", "outputs", "open_refusals") == [1, 2, 1]
    assert fields(books.refusals[0], "source", "market", "seq") == [int(Source.MATCHING), 1, 5]
    outputs.refuse(books, head, -1, int(Refusal.UNKNOWN_ACCOUNT), 0)
    assert fields(books.meta[0], "outputs", "open_refusals") == [3, 2]
    assert int(books.markets[1]["open_refusals"]) == 2 and int(books.markets[0]["open_refusals"]) == 0


@pytest.mark.parametrize("market", [-1, 2, 32767])
def test_a_refused_fill_of_no_market_freezes_none(books: Books, market: int) -> None:
    head = head_of(Template.FILL, Source.MATCHING, market=market)
    outputs.refuse(books, head, 1, int(Refusal.UNKNOWN_MARKET), 0)
    assert int(sent(books, Template.REFUSAL)["market"]) == market
    assert fields(books.meta[0], "outputs", "open_refusals") == [1, 0]
    assert not books.markets["state"].any()


def test_past_the_table_only_the_market_remembers(books: Books) -> None:
    books.meta[0]["open_refusals"] = MAX_OPEN_REFUSALS
    books.markets[1]["open_refusals"] = MAX_OPEN_REFUSALS
    head = head_of(Template.FILL, Source.MATCHING, market=1)
    outputs.refuse(books, head, 1, int(Refusal.OUT_OF_BOUNDS), 0)
    assert int(books.meta[0]["open_refusals"]) == MAX_OPEN_REFUSALS
    assert int(books.markets[1]["open_refusals"]) == MAX_OPEN_REFUSALS + 1
    assert int(books.markets[1]["state"]) == MARKET_FROZEN
    assert not books.refusals["seq"].any()
