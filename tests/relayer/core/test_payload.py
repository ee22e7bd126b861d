"""Memos: what is written is read back, in one spelling only, and nothing else is read at all."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.common.errors import PayloadInvalid
from relayer.chain.messages import MEMO_LIMIT_BYTES
from relayer.core.payload import (
    ROWS_PER_CHUNK_MAX,
    Chunk,
    Commit,
    Delta,
    chunks_of,
    content_digest,
    decode,
    encode_chunk,
    encode_commit,
)
from tests.relayer.core.journeys import batches_of, script_of

I64 = st.integers(-(2**63), 2**63 - 1)
COUNT = st.integers(0, 2**63 - 1)
KEY = st.binary(min_size=32, max_size=32)


@st.composite
def commits(draw: st.DrawFn) -> Commit:
    first = draw(st.integers(1, 2**62))
    return Commit(draw(st.integers(1, 2**62)), first, first + draw(st.integers(0, 2**61)), draw(COUNT), draw(COUNT),
                  draw(KEY), draw(COUNT), draw(COUNT), draw(KEY))  # fmt: skip


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    batch = draw(st.integers(1, 2**63 - 1))
    row = st.builds(Delta, KEY, st.integers(0, 255), I64, I64, I64, I64, st.integers(0, batch - 1))
    rows = draw(st.lists(row, min_size=1, max_size=ROWS_PER_CHUNK_MAX))
    return Chunk(batch, draw(COUNT), tuple(rows))


ROW = Delta(bytes(range(32)), 3, -12, 34, 5, 0, 6)
CHUNK = Chunk(7, 0, (ROW, ROW._replace(prev_batch=0)))
COMMIT = Commit(7, 100, 250, 9, 33, bytes([1]) * 32, 4, 2, bytes([2]) * 32)


@given(commits() | chunks())
def test_round_trip(value: Commit | Chunk) -> None:
    memo = encode_commit(value) if isinstance(value, Commit) else encode_chunk(value)
    assert decode(memo) == value
    assert memo.isascii()


@pytest.mark.parametrize("memo", [encode_commit(COMMIT), encode_chunk(CHUNK)])
def test_every_other_byte_is_another_value_or_none(memo: bytes) -> None:
    """No byte can be changed, dropped, doubled or added without being seen."""
    value = decode(memo)
    for at in range(len(memo)):
        for other in b"0 1+-_\n\tAa=/\x00\xff":
            changed = memo[:at] + bytes([other]) + memo[at + 1 :]
            for text in (changed, memo[:at] + bytes([other]) + memo[at:]):
                if text == memo:
                    continue
                try:
                    read = decode(text)
                except PayloadInvalid:
                    continue
                assert read != value
                assert (encode_commit(read) if isinstance(read, Commit) else encode_chunk(read)) == text
        for cut in (memo[:at], memo[:at] + memo[at + 1 :]):
            try:
                assert decode(cut) != value
            except PayloadInvalid:
                continue


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda t: t.encode()))
@example(b"")
@example(b"godark/1 commit")
@example(b"godark/1 chunk\n1 0 -1\n")
@example(b"godark/1 commit\n" + b"9" * 6000 + b" 1 1 1 1 1 1\n" + b"0" * 64 + b"\n" + b"0" * 64 + b"\n")
def test_hostile_bytes_are_refused_by_name(memo: bytes) -> None:
    for text in (
        memo,
        b"godark/1 commit\n" + memo,
        b"godark/1 chunk\n" + memo,
        b"godark/1 chunk\n1 0 1\n" + memo,
    ):
        with pytest.raises(PayloadInvalid):
            decode(text)


WRONG = [
    encode_commit(COMMIT._replace(batch=0)),
    encode_commit(COMMIT._replace(batch=-1)),
    encode_commit(COMMIT._replace(first=0)),
    encode_commit(COMMIT._replace(last=99)),
    encode_commit(COMMIT._replace(fills=-1)),
    encode_commit(COMMIT._replace(log_size=-1)),
    encode_commit(COMMIT._replace(chunks=2**63)),
    encode_commit(COMMIT._replace(root=bytes(31))),
    encode_commit(COMMIT._replace(content=bytes(33))),
    encode_chunk(CHUNK._replace(batch=0)),
    encode_chunk(CHUNK._replace(chunk=-1)),
    encode_chunk(CHUNK._replace(rows=())),
    encode_chunk(CHUNK._replace(rows=(ROW,) * (ROWS_PER_CHUNK_MAX + 1))),
    *(
        encode_chunk(CHUNK._replace(rows=(ROW, ROW._replace(**change))))
        for change in (
            {"user": bytes(31)},
            {"user": bytes(33)},
            {"user": b""},
            {"market": -1},
            {"market": 1 << 15},
            {"dsize": 2**63},
            {"dcash": -(2**63) - 1},
            {"prev_batch": 7},
            {"prev_batch": -1},
        )
    ),
]


@pytest.mark.parametrize("memo", WRONG)
def test_values_that_cannot_be_are_refused(memo: bytes) -> None:
    with pytest.raises(PayloadInvalid):
        decode(memo)


def test_other_spellings_of_the_same_values_are_refused() -> None:
    memo, chunk = encode_commit(COMMIT), encode_chunk(CHUNK)
    key = base64.b64encode(ROW.user)
    for text in (
        memo.replace(b"7 100", b"07 100"),
        memo.replace(b"7 100", b"+7 100"),
        memo.replace(b"7 100", b"7  100"),
        memo.replace(b"100", b"1_00"),
        memo.replace(b"02" * 32, b"02" * 31 + b" 02"),
        memo.replace(b"\n", b"\r\n"),
        memo + b"\n",
        memo[:-1],
        chunk.replace(b" -12 ", b" -0012 "),
        chunk.replace(b" 0 6\n", b" -0 6\n"),
        chunk.replace(key, key[:-2] + bytes([key[-2] + 1]) + b"="),
        chunk.replace(b"7 0 2", b"7 0 1"),
        chunk.replace(b"7 0 2", b"7 0 3"),
    ):
        assert text not in (memo, chunk)
        with pytest.raises(PayloadInvalid):
            decode(text)


def test_the_widest_numbers_fit_a_memo() -> None:
    lowest = -(2**63)
    widest = Delta(bytes([255]) * 32, (1 << 15) - 1, lowest, lowest, lowest, lowest, 2**63 - 2)
    chunk = Chunk(2**63 - 1, 2**31 - 1, (widest,) * ROWS_PER_CHUNK_MAX)
    memo = encode_chunk(chunk)
    assert decode(memo) == chunk
    assert len(memo) <= MEMO_LIMIT_BYTES
    top = 2**63 - 1
    assert (
        len(encode_commit(Commit(top, top, top, top, top, bytes(32), top, top, bytes(32))))
        <= MEMO_LIMIT_BYTES
    )


@pytest.mark.parametrize("per_chunk", range(1, ROWS_PER_CHUNK_MAX + 1))
def test_chunks_hold_every_row_once_in_order(per_chunk: int) -> None:
    [batch] = batches_of(
        script_of([("fill", a, b, 1, m) for a, b in ((1, 2), (3, 4)) for m in (0, 1, 2)]).frames, []
    )
    rows = [ROW._replace(dsize=k) for k in range(len(batch.deltas) + 1)]
    parts = chunks_of(batch, rows, per_chunk)
    assert [r for part in parts for r in part.rows] == rows
    assert [(p.batch, p.chunk) for p in parts] == [(1, k) for k in range(-(-len(rows) // per_chunk))]
    assert all(len(p.rows) == per_chunk for p in parts[:-1])


def test_the_digest_tells_rows_from_fees_and_one_order_from_another() -> None:
    a, b = ROW, ROW._replace(dcash=35)
    digests = [
        content_digest(rows, fees)
        for rows in ([], [a], [b], [a, b], [b, a])
        for fees in ((), ((3, 1),), ((3, 2),), ((3, 1), (4, 2)))
    ]
    assert len(set(digests)) == len(digests)
