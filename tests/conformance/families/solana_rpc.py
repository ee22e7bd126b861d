"""Recorded JSON-RPC bodies: parsed without a crash, results returned as they are, errors classified.

A body that is no answer (a request, a notification, a log, an account) must be refused as malformed. Each is
also cut in half, as a broken connection would: malformed as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from engine.common.errors import RpcError, RpcMalformed, RpcRefused, RpcUnavailable, TransactionRejected
from tests.conformance.data import DataFile
from tests.conformance.harness import Family, Vector

# What repeating the same call later may mend; what a changed transaction may mend. Else: refused.
LATER = {429, -32004, -32005, -32007, -32014, -32016}
TRANSACTION = {-32002, -32003}
# Errors that say only which family of trouble it was: any class but malformed will do.
FREE = {-32603, -32006, -32019}


def _vectors(file: DataFile) -> Iterator[Vector]:
    for number, row in enumerate(file.records(), 1):
        yield Vector(f"row {number} ({row['category']})", row["body"])


def _check(body: Any) -> str | None:
    if isinstance(body, dict) and body.keys() == {"request", "response"}:
        return _check_answer(body["response"])
    if isinstance(body, list) and body and all(isinstance(entry, dict) for entry in body):
        # A JSON-RPC batch: its answers one by one; as the answer to one call it is malformed.
        wrong = (_check_answer(entry) for entry in body)
        return next((line for line in wrong if line), None) or _expect(body, RpcMalformed)
    return _check_answer(body)


def _check_answer(answer: Any) -> str | None:
    if not isinstance(answer, dict) or not ({"result", "error"} & answer.keys()) or "method" in answer:
        return _expect(answer, RpcMalformed)
    halved = _outcome(json.dumps(answer).encode()[: len(json.dumps(answer)) // 2])
    if not isinstance(halved, RpcMalformed):
        return f"half of the body: {halved!r}"
    if answer.get("error") is None:
        result = _outcome(json.dumps(answer).encode())
        return None if result == answer["result"] else "the result is not the one in the body"
    return _expect(answer, *_classes(answer["error"]))


def _classes(error: Any) -> tuple[type[RpcError], ...]:
    code = error.get("code") if isinstance(error, dict) else None
    if not isinstance(code, int):
        return (RpcMalformed,)
    if code in FREE:
        return (RpcUnavailable, RpcRefused, TransactionRejected)
    if code in LATER:
        return (RpcUnavailable,)
    return (TransactionRejected,) if code in TRANSACTION else (RpcRefused,)


def _expect(body: Any, *classes: type[RpcError]) -> str | None:
    outcome = _outcome(json.dumps(body).encode())
    if isinstance(outcome, classes):
        return None
    return f"{type(outcome).__name__}, expected {' or '.join(kind.__name__ for kind in classes)}"


def _outcome(body: bytes) -> Any:
    """The result, or the RpcError that was raised; any other exception is the harness's to report."""
    from relayer.chain.answers import parse_answer

    try:
        return parse_answer(body, 200)
    except RpcError as error:
        return error


FAMILIES = [
    Family(
        "solana rpc",
        "relayer.chain.answers.parse_answer",
        lambda file: file.kind == "lines" and file.keys >= {"category", "source", "body"},
        _vectors,
        _check,
        requires=("relayer.chain.answers",),
    )
]
