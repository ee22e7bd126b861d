"""The proof file: what it says reads back, in one spelling, and nothing else is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.common.errors import ProofFileInvalid
from relayer.core.leaf import LEAF, LEAF_BYTES
from relayer.core.proof_file import (
    FILE_LIMIT_BYTES,
    FillLeaf,
    OnChain,
    decode,
    encode,
    leaf_bytes,
    leaf_of,
)
from tests.relayer.core.fills import CHAIN, leaves_of, proof_file

FILE = proof_file(leaves_of(13), 5)
DATA = encode(FILE)
I64 = st.integers(-(1 << 63), (1 << 63) - 1)
LEAVES = st.builds(
    FillLeaf,
    version=st.just(1),
    kind=st.just(1),
    source=st.integers(0, 255),
    flags=st.integers(0, 255),
    market=st.integers(-(1 << 15), (1 << 15) - 1),
    seq=I64,
    time_ns=I64,
    trade_id=I64,
    price=I64,
    size=I64,
    maker=st.binary(min_size=32, max_size=32),
    taker=st.binary(min_size=32, max_size=32),
)


def refused(change: Callable[[dict[str, Any]], object]) -> str:
    """The member that is named when the document is changed like this."""
    document = json.loads(DATA)
    change(document)
    with pytest.raises(ProofFileInvalid) as caught:
        decode(json.dumps(document, ensure_ascii=False).encode())
    return str(caught.value.context["member"])


@given(leaf=LEAVES)
def test_a_leaf_is_the_bytes_that_the_log_hashes(leaf: FillLeaf) -> None:
    row = np.frombuffer(leaf_bytes(leaf), LEAF)[0]
    assert len(leaf_bytes(leaf)) == LEAF_BYTES
    for name, value in leaf._asdict().items():
        found = row[name].tobytes() if isinstance(value, bytes) else int(row[name])
        assert found == value, name
    assert row["spare"] == 0
    assert leaf_of(leaf_bytes(leaf)) == leaf
    assert decode(encode(replace(FILE, leaf=leaf))).leaf == leaf


def test_a_file_reads_back_with_and_without_a_place_on_chain() -> None:
    for chain in (None, CHAIN, OnChain("a node", 1, (), 0)):
        file = replace(FILE, chain=chain)
        assert decode(encode(file)) == file


def test_numbers_beyond_2_53_are_texts() -> None:
    document = json.loads(DATA)
    assert document["leaf"]["price"] == str(FILE.leaf.price)
    assert document["index"] == "5"
    assert document["leaf"]["market"] == FILE.leaf.market


def test_white_space_is_free() -> None:
    for indent in (None, 0, 7):
        data = json.dumps(json.loads(DATA), ensure_ascii=False, indent=indent).encode()
        assert decode(data) == FILE
    assert decode(DATA.replace(b"\n", b"\r\n")) == FILE


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'"index": "5"', b'"index": "5", "index": "5"'),
        (b'"index": "5"', b'"index": "\\u0035"'),
        (b'"version": 1', b'"version": 1.0'),
        (b'"version": 1', b'"version": 1e0'),
        (b'"version": 1', b'"version": NaN'),
        (b'"flags": 0', b'"flags": -0'),
        (b'"flags": 0', b'"flags": ' + b"9" * 5000),
        (b'"market"', b'"market" /* of it */'),
    ],
)
def test_there_is_one_spelling_of_each_value(before: bytes, after: bytes) -> None:
    assert before in DATA
    with pytest.raises(ProofFileInvalid):
        decode(DATA.replace(before, after, 1))


@pytest.mark.parametrize("text", ["05", "+5", "-0", " 5", "5 ", "5.0", "٥", "0x5", "", "-1", str(1 << 64)])
def test_an_index_has_one_spelling_and_bounds(text: str) -> None:
    assert refused(lambda document: document.update(index=text)) == "index"


@pytest.mark.parametrize("value", [5, None, True, ["5"], {}])
def test_an_index_is_a_text(value: object) -> None:
    assert refused(lambda document: document.update(index=value)) == "index"


def test_every_member_is_there_and_no_other() -> None:
    for name in json.loads(DATA):
        assert refused(lambda document, name=name: document.pop(name)) == "the file"
    for name in FillLeaf._fields:
        assert refused(lambda document, name=name: document["leaf"].pop(name)) == "leaf"
    assert refused(lambda document: document.update(note="x")) == "the file"
    assert refused(lambda document: document["leaf"].update(spare=0)) == "leaf"
    assert refused(lambda document: document["chain"].update(spare=0)) == "chain"


def test_members_out_of_their_bounds_are_named() -> None:
    leaf = json.loads(DATA)["leaf"]
    wrong: dict[str, object] = {
        **dict.fromkeys(("version", "kind", "source", "flags"), 256),
        "market": 1 << 15,
        **dict.fromkeys(("seq", "time_ns", "trade_id", "price", "size"), str(1 << 63)),
        **dict.fromkeys(("maker", "taker"), leaf["maker"][:-2]),
    }
    for name, value in wrong.items():
        member = refused(lambda document, name=name, value=value: document["leaf"].update({name: value}))
        assert member == f"leaf.{name}"
    assert refused(lambda document: document["leaf"].update(version=True)) == "leaf.version"
    assert refused(lambda document: document["leaf"].update(version=2)) == "leaf"
    assert refused(lambda document: document["leaf"].update(kind=2)) == "leaf"
    assert refused(lambda document: document["leaf"].update(maker="0" * 43)) == "leaf.maker"
    assert refused(lambda document: document.update(leaf=[])) == "leaf"
    assert refused(lambda document: document.update(format="godark-proof/2")) == "format"
    assert refused(lambda document: document.update(checkpoint=None)) == "checkpoint"
    assert refused(lambda document: document.update(proof={})) == "proof"
    assert refused(lambda document: document.update(proof=document["proof"] * 20)) == "proof"
    assert refused(lambda document: document["chain"].update(rpc="a\nb")) == "chain.rpc"
    assert refused(lambda document: document["chain"].update(slot="-1")) == "chain.slot"
    assert refused(lambda document: document["chain"].update(signatures=["abc"])) == "chain.signatures"


def test_what_is_as_long_as_it_may_be_is_read() -> None:
    assert decode(DATA + b" " * (FILE_LIMIT_BYTES - len(DATA))) == FILE
    with pytest.raises(ProofFileInvalid, match="longer than"):
        decode(DATA + b" " * (FILE_LIMIT_BYTES - len(DATA) + 1))
    for chain in (CHAIN._replace(rpc="n" * 255), CHAIN._replace(signatures=CHAIN.signatures * 100)):
        assert decode(encode(replace(FILE, chain=chain))).chain == chain
    assert refused(lambda document: document["chain"].update(rpc="n" * 256)) == "chain.rpc"
    many = {"signatures": list(CHAIN.signatures * 101)}
    assert refused(lambda document: document["chain"].update(many)) == "chain.signatures"
    long = replace(FILE, proof=(bytes(32),) * 64)
    assert decode(encode(long)) == long


def test_a_hash_has_one_base64() -> None:
    text = json.loads(DATA)["proof"][0]
    for other in (text[:-1], text + "=", text[:-2] + "=" + text[-1], text.replace("=", ""), "", text[:-5]):
        assert refused(lambda document, other=other: document["proof"].__setitem__(0, other)) == "proof"
    # The last two of the 258 bits of 43 characters mean nothing to a decoder.
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".index(text[-2])
    sibling = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[last ^ 1]
    assert refused(lambda document: document["proof"].__setitem__(0, text[:-2] + sibling + "=")) == "proof"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"godark-proof/1"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 20_000,
        *(b"[" * depth + b"]" * depth for depth in (500, 900, 950, 980, 5000)),
        b"\xef\xbb\xbf" + DATA,
        DATA + b"x",
        DATA[:-3],
        b" " * (FILE_LIMIT_BYTES + 1),
        DATA.replace(b"godark.test", b"godark\\ud800test"),
    ],
)
def test_what_is_no_proof_file_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(ProofFileInvalid) as caught:
        decode(data)
    assert "\n" not in caught.value.line()
    assert len(caught.value.line()) < 200


def test_a_leaf_of_another_layout_is_refused() -> None:
    data = leaf_bytes(FILE.leaf)
    for changed in (data[:-1], data + b"\0", b"\2" + data[1:], data[:1] + b"\2" + data[2:]):
        with pytest.raises(ProofFileInvalid):
            leaf_of(changed)
    with pytest.raises(ProofFileInvalid, match="must be zero"):
        leaf_of(data[:6] + b"\1" + data[7:])
