"""The leaf: 112 bytes that say everything about a fill and nothing about where its frame lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels.frames import Template

VERSION = 1
LEAF = np.dtype(
    [
        ("version", "u1"),
        ("kind", "u1"),
        ("source", "u1"),
        ("flags", "u1"),
        ("market", "<i2"),
        ("spare", "<i2"),
        ("seq", "<i8"),
        ("time_ns", "<i8"),
        ("trade_id", "<i8"),
        ("price", "<i8"),
        ("size", "<i8"),
        ("maker", "u1", (32,)),
        ("taker", "u1", (32,)),
    ]
)
LEAF_BYTES = 112
if LEAF.itemsize != LEAF_BYTES:
    raise AssertionError(f"a leaf has {LEAF.itemsize} bytes, not {LEAF_BYTES}")


def leaves_of(fills: NDArray[np.void], keys: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Leaf bytes, uint8[n, 112], of booked FILL[n]. keys: uint8[accounts, 32], by account number."""
    out = np.zeros(len(fills), LEAF)
    out["version"], out["kind"] = VERSION, int(Template.FILL)
    for name in ("source", "flags", "market", "seq", "time_ns", "trade_id", "price", "size"):
        out[name] = fills[name]
    out["maker"], out["taker"] = keys[fills["maker"]], keys[fills["taker"]]
    return out.view(np.uint8).reshape(len(fills), LEAF_BYTES)


def account_keys(accounts: NDArray[np.void]) -> NDArray[np.uint8]:
    """uint8[n, 32]: the public keys of KEY[n]."""
    words = np.stack([accounts[f"key{k}"] for k in range(4)], axis=1)
    return np.ascontiguousarray(words).view(np.uint8).reshape(len(accounts), 32)
