"""The committed vectors of settlement against the product."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.core.params import Row
from kernels.frames import FILL, ParamKey
from kernels.layouts import LEG
from kernels.netting import fees_by_market, net_legs
from relayer.core import batch as batch_module
from relayer.core.graph import Node, edges_of
from relayer.core.leaf import leaves_of
from relayer.core.payload import (
    Chunk,
    Commit,
    Delta,
    content_digest,
    decode,
    delta_rows,
    encode_chunk,
    encode_commit,
)
from tests.engine.core import builders
from tests.relayer.core.journeys import batches_of
from tests.vectors import make_settlement

DIRECTORY = Path(__file__).parents[2] / "vectors"


def vectors(family: str) -> Any:
    """The cases of a committed file, each under its name."""
    content = json.loads((DIRECTORY / f"{family}.json").read_text())
    assert (content["family"], content["count"]) == (family, len(content["vectors"]))
    return pytest.mark.parametrize("vector", content["vectors"], ids=lambda v: v["name"])


@pytest.mark.parametrize("family", make_settlement.FILES)
def test_the_files_are_what_the_maker_writes(family: str) -> None:
    assert (DIRECTORY / f"{family}.json").read_text() == make_settlement.render(family)


@vectors("leaf")
def test_leaves(vector: dict[str, Any]) -> None:
    fill = np.zeros(1, FILL)
    for name, value in vector["fill"].items():
        fill[name] = value
    fill["maker"], fill["taker"] = 0, 1
    keys = np.frombuffer(bytes.fromhex(vector["maker"] + vector["taker"]), np.uint8).reshape(2, 32)
    leaf = leaves_of(fill, keys)[0].tobytes()
    assert leaf.hex() == vector["leaf"]
    assert hashlib.sha256(b"\0" + leaf).hexdigest() == vector["leaf_hash"]


@vectors("delta")
def test_deltas(vector: dict[str, Any]) -> None:
    legs = np.zeros(len(vector["legs"]), LEG)
    names = ("account", "market", "dsize", "dcash", "transfer", "cover", "fee")
    for leg, row in zip(legs, vector["legs"], strict=True):
        for name, value in zip(names, row, strict=True):
            leg[name] = value
    deltas = net_legs(legs)
    for row, expected in zip(deltas, vector["deltas"], strict=True):
        row["prev_batch"] = expected[6]
    assert [[int(x) for x in row] for row in deltas] == vector["deltas"]
    fees = tuple(fees_by_market(legs))
    assert [list(pair) for pair in fees] == vector["fees"]
    keys = np.zeros((8, 32), np.uint8)
    for account, user in vector["users"].items():
        keys[int(account)] = np.frombuffer(bytes.fromhex(user), np.uint8)
    batch = batch_module.Batch(9, 1, 2, np.zeros(0, FILL), deltas, fees)
    assert content_digest(delta_rows(batch, keys), fees).hex() == vector["content"]


@vectors("memo")
def test_memos(vector: dict[str, Any]) -> None:
    memo = vector["memo"].encode()
    if vector["kind"] == "commit":
        numbers = [vector[name] for name in ("batch", "first", "last", "fills", "log_size")]
        root, content = bytes.fromhex(vector["root"]), bytes.fromhex(vector["content"])
        commit = Commit(*numbers, root, vector["deltas"], vector["chunks"], content)
        assert encode_commit(commit) == memo
        assert decode(memo) == commit
    else:
        rows = tuple(Delta(bytes.fromhex(user), *numbers) for user, *numbers in vector["rows"])
        chunk = Chunk(vector["batch"], vector["chunk"], rows)
        assert encode_chunk(chunk) == memo
        assert decode(memo) == chunk


@vectors("batch")
def test_batch_boundaries(vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for row in builders.genesis_rows() if row.key != ParamKey.BATCH_WINDOW_NS]
    window = Row(ParamKey.BATCH_WINDOW_NS, 0, vector["window_ns"])
    monkeypatch.setattr(builders, "genesis_rows", lambda: [*rows, window])
    monkeypatch.setattr(batch_module, "FILLS_MAX", vector["fills_max"])
    script = builders.genesis()
    assert script.now_ns == vector["start_ns"]
    lead = len(script.frames)
    for what, value in vector["frames"]:
        if what == "tick":
            script.tick(value)
        else:
            for _ in range(value):
                script.fill(1, 2, 1, builders.PRICE, market=0 if what == "fill" else 9)
    made = [[b.first - lead, b.last - lead, len(b.fills)] for b in batches_of(script.frames, [lead, 2, 1])]
    made[0][0] += lead  # the first batch begins where the journal does
    assert made == vector["batches"]


def test_intents() -> None:
    content = json.loads((DIRECTORY / "intent.json").read_text())["vectors"]
    last: dict[tuple[bytes, int], Node] = {}
    made: dict[Node, set[Node]] = {}
    read = [decode(v["payload"].encode()) for v in content]
    for value in read:
        if isinstance(value, Commit):
            chunks = [c for c in read if isinstance(c, Chunk) and c.batch == value.batch]
            made.update(edges_of(value, chunks, last))
    assert [list(node) for node in made] == [v["node"] for v in content]
    assert [sorted(map(list, waits)) for waits in made.values()] == [v["waits_for"] for v in content]
