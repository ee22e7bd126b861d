"""Every recorded body, and mutations of them, end in a value or in one of the four errors."""

import gzip
import os
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.common.errors import RpcError, RpcMalformed, RpcRefused, RpcUnavailable, TransactionRejected
from relayer.chain.answers import encode_batch, encode_request, parse_answer, parse_batch

ALLOWED = (RpcUnavailable, RpcMalformed, RpcRefused, TransactionRejected)
SHARED = Path(os.environ.get("GODARK_SHARED", Path(__file__).resolve().parents[4] / "shared"))
RECORDED = SHARED / "data" / "solana-rpc" / "solana_rpc_fixtures.jsonl.gz"


@cache
def recorded_bodies() -> tuple[Any, ...]:
    with gzip.open(RECORDED, "rb") as lines:
        return tuple(orjson.loads(line)["body"] for line in lines)


needs_recorded = pytest.mark.skipif(not RECORDED.exists(), reason=f"{RECORDED} is absent")


def error_body(code: object, message: object = "m", request_id: object = 1, **more: object) -> bytes:
    error = {"code": code, "message": message, **more}
    return orjson.dumps({"jsonrpc": "2.0", "error": error, "id": request_id})


def outcome(body: bytes, status: int = 200, request_id: int | None = None) -> object:
    """The result, or the exact class of the error raised."""
    try:
        return parse_answer(body, status, request_id)
    except RpcError as error:
        assert type(error) in ALLOWED
        return type(error)


def test_requests_are_json_rpc() -> None:
    assert orjson.loads(encode_request(7, "getSlot", [{"commitment": "confirmed"}])) == {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "getSlot",
        "params": [{"commitment": "confirmed"}],
    }
    assert [call["id"] for call in orjson.loads(encode_batch(3, [("a", []), ("b", [1])]))] == [3, 4]


@needs_recorded
def test_recorded_bodies_are_classified() -> None:
    bodies = recorded_bodies()
    assert len(bodies) == 250
    seen: dict[str, int] = {}
    for body in bodies:
        answer = body["response"] if isinstance(body, dict) and "response" in body else body
        got = outcome(orjson.dumps(answer))
        if isinstance(answer, dict) and "result" in answer and "error" not in answer:
            assert got == answer["result"]
        elif isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            expected = {
                -32005: RpcUnavailable,
                -32004: RpcUnavailable,
                -32002: TransactionRejected,
            }.get(answer["error"]["code"], RpcRefused)
            assert got is expected, answer
            seen[str(answer["error"]["code"])] = seen.get(str(answer["error"]["code"]), 0) + 1
        else:
            assert got is RpcMalformed
    assert {"-32005", "-32602", "-32600", "-32002", "-32004", "-32015"} <= set(seen)


@needs_recorded
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_bodies_never_crash(data: st.DataObject) -> None:
    raw = bytearray(orjson.dumps(data.draw(st.sampled_from(recorded_bodies())))[:4000])
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        raw = raw or bytearray(b"0")
    outcome(
        bytes(raw), data.draw(st.sampled_from([200, 200, 400, 429, 500])), data.draw(st.none() | st.just(1))
    )


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["id", "error", "result", "code", "message", "data", "err", "logs"]), inner
            )
        ),
        max_leaves=12,
    ),
    st.integers(0, 2),
)
def test_any_json_is_answered(value: object, count: int) -> None:
    outcome(orjson.dumps(value), 200, 1)
    try:
        assert len(parse_batch(orjson.dumps(value), 200, 1, count)) == count
    except RpcError as error:
        assert type(error) in ALLOWED


@pytest.mark.parametrize("code", [429, -32004, -32005, -32007, -32009, -32014, -32016])
def test_later_codes(code: int) -> None:
    assert outcome(error_body(code)) is RpcUnavailable


def test_too_many_requests_in_every_dress() -> None:
    assert outcome(b"<html>slow down</html>", 429) is RpcUnavailable
    assert outcome(b'{"jsonrpc":"2.0","error":429,"id":1}') is RpcUnavailable
    assert outcome(error_body(429), 200) is RpcUnavailable


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_server_faults(status: int) -> None:
    assert outcome(b"", status) is RpcUnavailable


def test_client_faults_are_refused_or_classified() -> None:
    assert outcome(b"Forbidden", 403) is RpcRefused
    assert outcome(error_body(-32602), 400) is RpcRefused
    assert outcome(error_body(-32005), 400) is RpcUnavailable


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"3", b'"x"', b"{", b"\xff", b'{"id":1,"jsonrpc":"2.0"}']
)
def test_what_is_not_an_answer(body: bytes) -> None:
    assert outcome(body) is RpcMalformed


def test_ids() -> None:
    ok = b'{"jsonrpc":"2.0","result":5,"id":1}'
    assert outcome(ok, 200, 1) == 5
    assert outcome(ok, 200, 2) is RpcMalformed
    assert outcome(b'{"jsonrpc":"2.0","result":5,"id":null}', 200, 1) is RpcMalformed
    assert outcome(b'{"jsonrpc":"2.0","result":5,"id":true}', 200, 1) is RpcMalformed
    assert outcome(error_body(-32700, request_id=None), 200, 1) is RpcRefused


def test_a_null_result_is_a_result() -> None:
    assert parse_answer(b'{"jsonrpc":"2.0","result":null,"id":1}', 200, 1) is None


@pytest.mark.parametrize(
    ("data", "message", "reason", "resend_same"),
    [
        ({"err": "BlockhashNotFound", "logs": []}, "", "BlockhashNotFound", True),
        (None, "Transaction simulation failed: Blockhash not found", "BlockhashNotFound", True),
        ({"err": "AlreadyProcessed"}, "", "AlreadyProcessed", False),
        (None, "This transaction has already been processed", "AlreadyProcessed", False),
        ({"err": {"InstructionError": [0, {"Custom": 1}]}}, "", "InstructionError", False),
        ({"err": "InsufficientFundsForFee"}, "", "InsufficientFundsForFee", False),
        (
            None,
            "Attempt to debit an account but found no record of a prior credit.",
            "AccountNotFound",
            False,
        ),
        (7, "something new", "Unknown", False),
    ],
)
def test_rejections_say_why(data: object, message: str, reason: str, resend_same: bool) -> None:
    with pytest.raises(TransactionRejected) as caught:
        parse_answer(error_body(-32002, message, data=data))
    assert (caught.value.reason, caught.value.resend_same) == (reason, resend_same)


def test_signature_failure_has_its_own_code() -> None:
    with pytest.raises(TransactionRejected) as caught:
        parse_answer(error_body(-32003, "Transaction signature verification failure"))
    assert caught.value.reason == "SignatureFailure"


def test_batch_in_any_order_and_with_failures() -> None:
    body = orjson.dumps(
        [
            {"jsonrpc": "2.0", "id": 11, "result": "b"},
            {"jsonrpc": "2.0", "id": 10, "error": {"code": -32005, "message": "behind"}},
        ]
    )
    first, second = parse_batch(body, 200, 10, 2)
    assert type(first) is RpcUnavailable
    assert second == "b"


@pytest.mark.parametrize("ids", [[10], [10, 10], [10, 12], [10, None]])
def test_batch_with_wrong_ids_is_malformed(ids: list[object]) -> None:
    body = orjson.dumps([{"jsonrpc": "2.0", "id": number, "result": 1} for number in ids])
    with pytest.raises(RpcMalformed):
        parse_batch(body, 200, 10, 2)
