"""Writes checkpoint.json without the product: `python -m tests.vectors.make_checkpoint`."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tests.relayer.core import twin

ORIGIN = "godark.example/devnet"
NOTE = "leaves and binary in hex; binary is null where there are extension lines, which it cannot carry"
CASES: list[tuple[str, str, list[bytes], list[str]]] = [
    ("empty log", ORIGIN, [], []),
    ("one empty leaf", ORIGIN, [b""], []),
    ("three leaves", ORIGIN, [b"a", b"bc", b"def"], []),
    ("a power of two", ORIGIN, [bytes([i]) * 112 for i in range(8)], []),
    ("one past a power of two", ORIGIN, [bytes([i]) * 112 for i in range(9)], []),
    ("origin outside ASCII", "börse.example/größe", [bytes(112)], []),
    ("extension lines", ORIGIN, [b"a", b"b"], ["epoch 3", "— not a signature"]),
]


def vector(name: str, origin: str, leaves: list[bytes], extensions: list[str]) -> dict[str, object]:
    """One vector, both forms spelled out."""
    root = twin.tree_head([twin.leaf(leaf) for leaf in leaves])
    head = bytes([1, len(origin.encode())]) + len(leaves).to_bytes(8, "little")
    lines = [origin, str(len(leaves)), base64.b64encode(root).decode(), *extensions]
    return {
        "name": name,
        "origin": origin,
        "leaves": [leaf.hex() for leaf in leaves],
        "extensions": extensions,
        "text": "".join(line + "\n" for line in lines),
        "binary": None if extensions else (head + root + origin.encode()).hex(),
    }


def render() -> str:
    """The whole file."""
    vectors = [vector(*case) for case in CASES]
    content = {"family": "checkpoint", "note": NOTE, "count": len(vectors), "vectors": vectors}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("checkpoint.json").write_text(render())
