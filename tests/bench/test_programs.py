"""The benchmark of what memos cost, with a handful of transactions."""

from __future__ import annotations

import pytest

from bench import programs
from bench.harness import Budget
from relayer.chain.messages import PACKET_LIMIT_BYTES
from relayer.core.payload import ROWS_PER_CHUNK_MAX, decode, encode_chunk, encode_commit


@pytest.fixture(scope="module")
def costs() -> list[Budget]:
    return list(programs.transaction_costs())


def test_every_transaction_is_read_back_and_fits(costs: list[Budget]) -> None:
    assert all(b.answer_checked for b in costs)
    sizes = [b for b in costs if b.unit == "bytes"]
    assert len(sizes) == 2
    assert all(0 < b.figure <= PACKET_LIMIT_BYTES and b.met for b in sizes)
    assert all(b.figure == max(b.sizes.values()) for b in sizes)


def test_units_grow_with_what_is_said(costs: list[Budget]) -> None:
    chunk = next(b for b in costs if b.name.startswith("memo chunk, compute"))
    one, full = chunk.sizes["1 deltas, whole"], chunk.sizes[f"{ROWS_PER_CHUNK_MAX} deltas, widest, whole"]
    assert 400 < one < full
    assert chunk.figure == full / ROWS_PER_CHUNK_MAX


@pytest.mark.parametrize("widest", [False, True])
def test_payloads_are_ones_that_the_relayer_reads(widest: bool) -> None:
    commit, chunk = programs.seeded_commit(9, widest), programs.seeded_chunk(9, 6, widest)
    assert decode(encode_commit(commit)) == commit
    assert decode(encode_chunk(chunk)) == chunk


def test_a_memo_that_says_something_else_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    till = programs.Till()
    other = encode_commit(programs.seeded_commit(8))
    monkeypatch.setattr(programs, "parse_memo", lambda wire: other)
    assert not till.cost(programs.seeded_commit(9)).right


@pytest.mark.end_to_end
def test_transactions_travel_to_finality_and_back() -> None:
    (budget,) = programs.devnet_rate(12)
    assert budget.answer_checked
    assert budget.figure > 0
    assert budget.ratios["bank alone, no HTTP, no disk"] > 0


@pytest.mark.end_to_end
def test_a_lost_transaction_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "parse_memo", lambda wire: b"something else")
    (budget,) = programs.devnet_rate(3)
    assert not budget.answer_checked
