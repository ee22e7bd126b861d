"""Writes six files of vectors without the product: `python -m tests.vectors.make_settlement`.

Everything is spelled out from FRAMES.md and MONEY.md with struct, hashlib and base64.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

Vector = dict[str, Any]
HOUR_NS = 3_600_000_000_000
START_NS = 1_000 * HOUR_NS + 1_000_000_000
SECOND_NS = 1_000_000_000

KEY = ("key0 key1 key2 key3", "4q")
# template: (id, names of the payload in order, their struct codes; spare bytes as x)
TEMPLATES: dict[str, tuple[int, str, str]] = {
    "fill": (1, "time_ns trade_id price size maker taker", "4q2i"),
    "account": (2, f"{KEY[0]} tier", f"{KEY[1]}i4x"),
    "transfer": (3, "quote_e6 event_no chain_slot tx_prefix account index", "4q2i"),
    "setting": (4, "value nonce account kind", "2q2i16x"),
    "observation": (5, "publish_ns price conf slot feed expo kind", "4qi2h"),
    "tick": (6, "now_ns interval_ns prev_ns kind", "3qi12x"),
    "param": (7, "change key row of value value2 not_before_ns", "i2hi4x3q"),
    "candidate": (8, "seen_position account kind ratio counterparty", "q2i2q8x"),
    "outcome": (9, "batch slot chunk stage signature0 signature1", "2q2i2q"),
    "correction": (10, "refused_seq replacement_seq refused_source kind", "2q2i16x"),
    "part": (11, "part0 part1 part2 part3 part4", "5q"),
    "upgrade": (12, "rules digest0 digest1 digest2 digest3", "i4x4q"),
    "group": (13, "first_position durable_upto time_ns count epoch chain witness", "3q2i2I"),
    "refusal": (
        32,
        "refused_seq ordinal detail account refused_template refused_source reason",
        "3q4i",
    ),
    "account_assigned": (33, f"{KEY[0]} account tier", f"{KEY[1]}2i"),
    "liquidation_order": (34, "as_of_seq size price account kind", "3q2i8x"),
    "free_collateral": (35, "ordinal as_of_seq taker_free_e6 maker_free_e6 taker maker", "4q2i"),
    "market_state": (36, "ordinal price now_ns state reason", "3q2i8x"),
    "account_state": (37, "ordinal equity_e6 now_ns account state", "3q2i8x"),
    "hello": (64, "acked_seq last_output", "2q24x"),
    "welcome": (65, "last_seq first_missing_output ordinal now_ns epoch", "4qi4x"),
    "ack": (66, "durable_seq ordinal epoch", "2q16xi4x"),
    "fault": (67, "fault_seq expected_seq code", "2qi20x"),
    "status_request": (68, "kind", "i36x"),
    "status": (69, "ordinal digest0 digest1 digest2 digest3", "5q"),
}
FLAGGED = {"transfer": 3, "part": 0x24}


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), one bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frame_vectors() -> list[Vector]:
    """One sealed frame of each template; the k-th field of a template holds a number that only it has."""
    out = []
    for name, (number, fields, codes) in TEMPLATES.items():
        names = fields.split()
        values = [(-1) ** k * (100 * number + k + 1) for k in range(len(names))]
        if name == "group":
            values = [abs(v) for v in values]
        body = struct.pack("<4Hq", 56, number, 7011, 1, 7_000_000_000 + number)
        payload = struct.pack("<" + codes, *values)
        source, market = number % 9, -number
        head = body + payload + struct.pack("<BBh", source, FLAGGED.get(name, 0), market)
        frame = head + struct.pack("<I", crc32c(head))
        out.append(
            {
                "name": name,
                "template": number,
                "seq": 7_000_000_000 + number,
                "source": source,
                "flags": FLAGGED.get(name, 0),
                "market": market,
                "payload": dict(zip(names, values, strict=True)),
                "frame": frame.hex(),
            }
        )
    return out


def key(n: int) -> bytes:
    """A made-up public key."""
    return hashlib.sha256(f"account {n}".encode()).digest()


def leaf_vectors() -> list[Vector]:
    """Fills and their leaves: 4 bytes, market and two spare bytes, five numbers, both keys."""
    cases = [
        ("taker buys", 1, 0, 5, 1, 1_700_000_000_000_000_000, 77, 300_000_000, 25, 1, 2),
        ("taker sells", 1, 0, 0, 2, 1_700_000_000_000_000_001, 78, 9_000_000_000, -1, 2, 3),
        ("the insurance fund takes over", 0, 4, 255, 3, 1, 0, 10_000_000, -(2**53), 0, 1),
        ("a twenty-byte address", 1, 0, 1, 2**40, 2**60, -5, 123_456_789, 2**40, 4, 1),
    ]
    out = []
    for name, source, flags, market, seq, time_ns, trade_id, price, size, maker, taker in cases:
        keys = [key(maker), key(taker)]
        if maker == 4:
            keys[0] = bytes(12) + keys[0][:20]
        leaf = struct.pack("<4B2h5q", 1, 1, source, flags, market, 0, seq, time_ns, trade_id, price, size)
        leaf += keys[0] + keys[1]
        out.append(
            {
                "name": name,
                "fill": {"source": source, "flags": flags, "market": market, "seq": seq, "time_ns": time_ns,
                         "trade_id": trade_id, "price": price, "size": size},
                "maker": keys[0].hex(),
                "taker": keys[1].hex(),
                "leaf": leaf.hex(),
                "leaf_hash": hashlib.sha256(b"\0" + leaf).hexdigest(),
            }
        )  # fmt: skip
    return out


# account, market, dsize, dcash, transfer, cover, fee
LEGS: dict[str, list[tuple[int, ...]]] = {
    "one fill": [(1, 0, -5, 1_500, 10, 0, -1), (2, 0, 5, -1_510, 20, 0, 10)],
    "two markets, one account in both": [
        (2, 1, 7, -700, 70, 0, 3), (1, 1, -7, 698, 70, 0, -1),
        (2, 0, -1, 99, 0, 0, 1), (3, 0, 1, -101, 5, 0, 1),
        (1, 1, 2, -200, 0, 0, 1), (3, 1, -2, 199, 0, 0, 0),
    ],
    "back and forth nets to a row of zeros": [
        (1, 2, 9, -90, 0, 0, 0), (4, 2, -9, 90, 0, 0, 0), (1, 2, -9, 90, 0, 0, 0), (4, 2, 9, -90, 0, 0, 0),
    ],
    "insurance covers": [(1, 3, -4, 40, -30, 12, 2), (2, 3, 4, -44, 0, 0, 2)],
}  # fmt: skip
PREV = {"back and forth nets to a row of zeros": {(1, 2): 3, (4, 2): 6}}


def net(name: str) -> tuple[list[list[int]], list[list[int]]]:
    """Rows [account, market, four sums, prev_batch] by market and account; fees [market, sum] by market."""
    rows: dict[tuple[int, int], list[int]] = {}
    fees: dict[int, int] = {}
    for account, market, *sums, fee in LEGS[name]:
        total = rows.setdefault((market, account), [0] * 4)
        rows[market, account] = [a + b for a, b in zip(total, sums, strict=True)]
        fees[market] = fees.get(market, 0) + fee
    prev = PREV.get(name, {})
    deltas = [[a, m, *rows[m, a], prev.get((a, m), 0)] for m, a in sorted(rows)]
    return deltas, [list(pair) for pair in sorted(fees.items())]


def row_text(row: list[int]) -> str:
    """One delta as a line: the key in base64, then the numbers."""
    return " ".join([base64.b64encode(key(row[0])).decode(), *map(str, row[1:])])


def content_of(deltas: list[list[int]], fees: list[list[int]]) -> str:
    """The digest of a batch: its rows, then its fees, a line each."""
    lines = [*map(row_text, deltas), *(f"fee {m} {quote}" for m, quote in fees)]
    return hashlib.sha256("".join(line + "\n" for line in lines).encode()).hexdigest()


def delta_vectors() -> list[Vector]:
    """Legs, the net deltas they make, and the digest over them."""
    out = []
    for name in LEGS:
        deltas, fees = net(name)
        users = {str(row[0]): key(row[0]).hex() for row in deltas}
        out.append({"name": name, "legs": [list(leg) for leg in LEGS[name]], "users": users, "deltas": deltas,
                    "fees": fees, "content": content_of(deltas, fees)})  # fmt: skip
    return out


def memo_vectors() -> list[Vector]:
    """Commits and chunks as the memos that carry them."""
    out: list[Vector] = []
    for number, name in enumerate(LEGS, 7):
        deltas, fees = net(name)
        per_chunk = 2
        parts = [deltas[k : k + per_chunk] for k in range(0, len(deltas), per_chunk)]
        root = hashlib.sha256(f"root {number}".encode()).hexdigest()
        numbers = [number, 1_000 * number, 1_000 * number + 999, 40 + number, 50 * number]
        heads = " ".join(map(str, [*numbers, len(deltas), len(parts)]))
        names = ("batch", "first", "last", "fills", "log_size")
        content = content_of(deltas, fees)
        out.append({"name": f"commit: {name}", "kind": "commit", **dict(zip(names, numbers, strict=True)),
                    "root": root, "deltas": len(deltas), "chunks": len(parts), "content": content,
                    "memo": f"godark/1 commit\n{heads}\n{root}\n{content}\n"})  # fmt: skip
        for k, part in enumerate(parts):
            lines = ["godark/1 chunk", f"{number} {k} {len(part)}", *map(row_text, part)]
            rows = [[key(row[0]).hex(), *row[1:]] for row in part]
            out.append({"name": f"chunk {k}: {name}", "kind": "chunk", "batch": number, "chunk": k, "rows": rows,
                        "memo": "".join(line + "\n" for line in lines)})  # fmt: skip
    return out


def tick(ms: int) -> list[Any]:
    """A tick so many milliseconds behind the start."""
    return ["tick", START_NS + ms * 1_000_000]


# name, window, most fills of a batch, frames behind the start
JOURNALS: list[tuple[str, int, int, list[list[Any]]]] = [
    ("before the tick on the window", SECOND_NS, 65_536, [["fill", 3], tick(500), ["fill", 1], tick(1000)]),
    ("before the first tick past a window", SECOND_NS, 65_536, [["fill", 1], tick(3700), ["fill", 2], tick(3900)]),
    ("empty windows", SECOND_NS, 65_536, [["fill", 1], tick(1000), tick(2000), tick(3000), ["fill", 1], tick(4000)]),
    ("refused fills make none", SECOND_NS, 65_536, [["refused", 2], tick(1000), ["fill", 1], tick(2000)]),
    ("several windows passed at once", SECOND_NS, 65_536,
     [["fill", 2], tick(10_000), tick(10_500), ["fill", 1], tick(11_000)]),
    ("a funding tick inside a window", 7200 * SECOND_NS, 65_536,
     [["fill", 1], tick(1000), ["fill", 1], tick(3_599_000), ["fill", 1], tick(3_600_000)]),
    ("full of fills", SECOND_NS, 4, [["fill", 9], tick(1000), ["fill", 4], tick(2000)]),
    ("full just before the tick", SECOND_NS, 2,
     [["fill", 2], tick(1000), ["fill", 1], ["refused", 1], ["fill", 1], ["fill", 1], tick(2000)]),
]  # fmt: skip


def cut(window_ns: int, fills_max: int, items: list[list[Any]]) -> list[list[int]]:
    """[first, last, fills] of each batch, ordinals counted over the listed frames from 1."""
    out: list[list[int]] = []
    now_ns, first, at, fills = START_NS, 1, 0, 0
    for what, value in items:
        if what == "tick":
            passed = value // window_ns > now_ns // window_ns or value // HOUR_NS > now_ns // HOUR_NS
            if passed and fills:
                out.append([first, at, fills])
                first, fills = at + 1, 0
            now_ns = value
            at += 1
            continue
        for _ in range(value):
            at += 1
            fills += what == "fill"
            if fills == fills_max:
                out.append([first, at, fills])
                first, fills = at + 1, 0
    return out


def batch_vectors() -> list[Vector]:
    """Journals and where their batches end."""
    return [
        {"name": name, "start_ns": START_NS, "window_ns": window, "fills_max": most, "frames": items,
         "batches": cut(window, most, items)}
        for name, window, most, items in JOURNALS
    ]  # fmt: skip


def intent_vectors() -> list[Vector]:
    """Memos in the order of planning, the node each one is, and the nodes it waits for."""
    touched: dict[tuple[int, int], list[int]] = {}
    out = []
    batches = [[[(1, 0), (2, 0)], [(3, 0)]], [[(2, 0), (3, 0)], [(1, 1), (1, 0)]], [[(4, 0), (3, 0)]]]
    for number, parts in enumerate(batches, 1):
        rows = sum(map(len, parts))
        memo = (
            f"godark/1 commit\n{number} {number} {number} 0 0 {rows} {len(parts)}\n{'11' * 32}\n{'22' * 32}\n"
        )
        out.append({"name": f"commit {number}", "payload": memo, "node": [number, -1],
                    "waits_for": [[number - 1, -1]] if number > 1 else []})  # fmt: skip
        latest = {}
        for k, part in enumerate(parts):
            lines = [row_text([account, market, 1, -1, 0, 0, touched.get((account, market), [0])[0]])
                     for account, market in part]  # fmt: skip
            waits = {(number, -1)} | {tuple(touched[p]) for p in part if p in touched}
            latest.update({position: [number, k] for position in part})
            memo = "".join(f"{line}\n" for line in ["godark/1 chunk", f"{number} {k} {len(part)}", *lines])
            out.append({"name": f"chunk {number}.{k}", "payload": memo, "node": [number, k],
                        "waits_for": sorted(map(list, waits))})  # fmt: skip
        touched.update(latest)
    return out


FILES = {
    "frame": (
        frame_vectors,
        "64 bytes in hex, little-endian; CRC-32C of the first 60 last; spare bytes zero",
    ),
    "leaf": (leaf_vectors, "112 bytes in hex; leaf_hash is SHA-256 of 00 and the leaf; keys in hex"),
    "delta": (
        delta_vectors,
        (
            "legs: account, market, dsize, dcash, transfer, cover, fee; deltas: account, market, dsize, dcash,"
            " transfer, cover, prev_batch; users: each account's key in hex; content in hex"
        ),
    ),
    "memo": (
        memo_vectors,
        "memo as text; rows: user in hex, market, dsize, dcash, transfer, cover, prev_batch",
    ),
    "batch": (
        batch_vectors,
        (
            "frames: [what, how many] or [tick, now_ns]; batches: [first, last, fills] in ordinals of the listed"
            " frames; fills_max stands for 65,536"
        ),
    ),
    "intent": (intent_vectors, "in the order of planning; a node is [batch, chunk], -1 for the commit"),
}


def render(family: str) -> str:
    """One whole file."""
    make, note = FILES[family]
    vectors = make()
    content = {"family": family, "note": note, "count": len(vectors), "vectors": vectors}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for family in FILES:
        Path(__file__).with_name(f"{family}.json").write_text(render(family))
