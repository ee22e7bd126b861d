"""What goes to an RPC node and what may come back, without a socket.

Nodes, load balancers and providers answer with anything: HTML, half a body, the wrong id, an error that is a
string. Every body ends here in a value or in exactly one of four errors, so that "no" is never mistaken
for "not there": `RpcUnavailable` and `RpcMalformed` leave open whether what was sent has landed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from engine.common.errors import RpcError, RpcMalformed, RpcRefused, RpcUnavailable, TransactionRejected

_HTTP_OK: Final = 200
_HTTP_LATER: Final = frozenset({408, 425, 429})
_HTTP_SERVER_FAULT: Final = 500

# The node's own codes for "not now": block not there yet, node behind, slot skipped or lost to a ledger
# jump, status not there yet, context slot not reached, archive unreachable, internal error, too many.
_CODES_LATER: Final = frozenset({429, -32004, -32005, -32007, -32009, -32014, -32016, -32019, -32603})
# Preflight failed, signature does not verify, precompile does not verify.
_CODES_TRANSACTION: Final = frozenset({-32002, -32003, -32006})
_CODE_SIGNATURE: Final = -32003

# Names whose cause passes by itself while the transaction stays valid.
_RESEND_SAME: Final = frozenset(
    {
        "AccountInUse",
        "BlockhashNotFound",
        "ClusterMaintenance",
        "WouldExceedAccountDataBlockLimit",
        "WouldExceedMaxAccountCostLimit",
        "WouldExceedMaxBlockCostLimit",
    }
)

# The sentences nodes send where `data` is missing, and the names they stand for.
_SENTENCES: Final = (
    ("blockhash not found", "BlockhashNotFound"),
    ("already been processed", "AlreadyProcessed"),
    ("insufficient funds for fee", "InsufficientFundsForFee"),
    ("insufficient funds for rent", "InsufficientFundsForRent"),
    ("no record of a prior credit", "AccountNotFound"),
    ("account not found", "AccountNotFound"),
    ("error processing instruction", "InstructionError"),
    ("signature verification failure", "SignatureFailure"),
    ("did not pass signature verification", "SignatureFailure"),
    ("failed to sanitize", "SanitizeFailure"),
    ("account in use", "AccountInUse"),
)

_QUOTE_LIMIT: Final = 160


def encode_request(request_id: int, method: str, params: Sequence[object] = ()) -> bytes:
    """One JSON-RPC 2.0 request."""
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": list(params)})


def encode_batch(first_id: int, calls: Sequence[tuple[str, Sequence[object]]]) -> bytes:
    """A JSON-RPC batch; call k has the id `first_id + k`."""
    return orjson.dumps(
        [
            {"jsonrpc": "2.0", "id": first_id + k, "method": method, "params": list(params)}
            for k, (method, params) in enumerate(calls)
        ]
    )


def parse_answer(body: bytes, http_status: int = _HTTP_OK, request_id: int | None = None) -> Any:
    """The `result` of one answer, as plain JSON values (which may be None).

    `request_id` None accepts any id. Raises RpcUnavailable, RpcMalformed, TransactionRejected or RpcRefused,
    and nothing else, whatever the bytes.
    """
    return _result_of(_parse_body(body, http_status), request_id)


def parse_batch(body: bytes, http_status: int, first_id: int, count: int) -> list[Any]:
    """The answers of a batch in the order of its calls: results, and for a failed call its RpcError.

    Raises like `parse_answer` where the batch as a whole failed. An answer that is missing, repeated or
    of a strange id makes the batch malformed: which call it belongs to would be a guess.
    """
    answers = _parse_body(body, http_status)
    if not isinstance(answers, list):
        _result_of(answers, None)
        raise RpcMalformed("the answer to a batch is not a list")
    by_id: dict[int, Any] = {}
    for answer in answers:
        number = answer.get("id") if isinstance(answer, dict) else None
        if type(number) is not int or number in by_id or not first_id <= number < first_id + count:
            raise RpcMalformed("a batch answer has a missing, repeated or strange id", id=_quote(number))
        by_id[number] = answer
    if len(by_id) != count:
        raise RpcMalformed("a batch answer is incomplete", asked=count, answered=len(by_id))
    return [_result_or_error(by_id[first_id + k]) for k in range(count)]


def reason_of(err: object, message: str = "") -> str:
    """The node's name of a transaction error: from its value, else from its sentence, else "Unknown"."""
    if isinstance(err, str) and err:
        return err
    if isinstance(err, dict) and len(err) == 1:
        return str(next(iter(err)))
    lowered = message.lower()
    return next((name for sentence, name in _SENTENCES if sentence in lowered), "Unknown")


def _result_or_error(answer: object) -> Any:
    try:
        return _result_of(answer, None)
    except RpcError as error:
        return error


def _parse_body(body: bytes, http_status: int) -> Any:
    """The JSON value of a body, after what the HTTP status alone decides."""
    if http_status in _HTTP_LATER or http_status >= _HTTP_SERVER_FAULT:
        raise RpcUnavailable(f"the node answered HTTP {http_status}", http_status=http_status)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
        if http_status == _HTTP_OK:
            raise RpcMalformed("the answer is not JSON", body=_quote(body)) from None
    if http_status != _HTTP_OK and not (isinstance(value, dict) and isinstance(value.get("error"), dict)):
        raise RpcRefused(f"the node answered HTTP {http_status}", http_status=http_status, body=_quote(body))
    return value


def _result_of(answer: object, request_id: int | None) -> Any:
    if not isinstance(answer, dict):
        raise RpcMalformed("the answer is not a JSON object", body=_quote(answer))
    answered_id = answer.get("id")
    error = answer.get("error")
    # A node that could not read the request cannot know its id: errors may carry null.
    anonymous = error is not None and answered_id is None
    if request_id is not None and not anonymous and not _same_id(answered_id, request_id):
        raise RpcMalformed(
            "the answer has the id of another request", asked=request_id, got=_quote(answered_id)
        )
    if error is not None:
        raise _classify(error)
    if "result" not in answer:
        raise RpcMalformed("the answer has neither result nor error")
    return answer["result"]


def _same_id(answered: object, asked: int) -> bool:
    return type(answered) is int and answered == asked


def _classify(error: object) -> RpcError:
    """The error an `error` member stands for. Some providers send a bare number or string there."""
    if isinstance(error, dict):
        code, message, data = error.get("code"), error.get("message"), error.get("data")
    elif type(error) is int:
        code, message, data = error, "", None
    else:
        return RpcMalformed("the error member is not an object", error=_quote(error))
    text = message if isinstance(message, str) else _quote(message)
    if type(code) is not int:
        return RpcMalformed("the error has no numeric code", error=_quote(error))
    if code in _CODES_LATER:
        return RpcUnavailable(f"the node says later: {text[:_QUOTE_LIMIT]}", rpc_code=code)
    if code in _CODES_TRANSACTION:
        return _rejection(code, text, data)
    return RpcRefused(f"the node refused: {text[:_QUOTE_LIMIT]}", rpc_code=code)


def _rejection(code: int, text: str, data: object) -> TransactionRejected:
    err = data.get("err") if isinstance(data, dict) else None
    reason = "SignatureFailure" if code == _CODE_SIGNATURE and err is None else reason_of(err, text)
    return TransactionRejected(
        f"the node rejected the transaction: {text[:_QUOTE_LIMIT] or reason}",
        reason=reason,
        resend_same=reason in _RESEND_SAME,
        err=err,
        rpc_code=code,
        logs=data.get("logs") if isinstance(data, dict) else None,
    )


def _quote(value: object) -> str:
    """The beginning of something unexpected, printable and short."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else repr(value)
    return text if len(text) <= _QUOTE_LIMIT else text[:_QUOTE_LIMIT] + "…"
