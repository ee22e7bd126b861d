"""What the engine is measured against: a database that syncs, and books without durability."""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.state import Books
from kernels.frames import FILL

SQLITE_BATCH = 8192
COLUMNS = ("seq", "time_ns", "trade_id", "market", "maker", "taker", "price", "size")

Book = dict[tuple[int, int], Decimal]


class Rival(NamedTuple):
    """Seconds for the whole job, its parsing included, and of that for the work on parsed rows alone."""

    whole_s: float
    work_s: float


def sqlite_rival(path: Path, parts: Iterable[NDArray[np.void]]) -> Rival:
    """Insert fills (FRAME arrays) in WAL mode with synchronous=FULL, one transaction for each 8,192.

    Rows are made outside the time of the work alone. RuntimeError: the table holds fewer.
    """
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute(f"CREATE TABLE fills ({', '.join(f'{name} INTEGER' for name in COLUMNS)}) STRICT")
    insert = f"INSERT INTO fills VALUES ({', '.join('?' * len(COLUMNS))})"
    whole = time.perf_counter()
    work_s, sent = 0.0, 0
    for part in _batches(parts):
        rows = list(zip(*(part[name].tolist() for name in COLUMNS), strict=True))
        began = time.perf_counter()
        db.execute("BEGIN")
        db.executemany(insert, rows)
        db.execute("COMMIT")
        work_s += time.perf_counter() - began
        sent += len(rows)
    whole_s = time.perf_counter() - whole
    kept = db.execute("SELECT count(*) FROM fills").fetchone()[0]
    db.close()
    if kept != sent:
        raise RuntimeError(f"SQLite kept {kept} of {sent} fills")
    return Rival(whole_s, work_s)


def decimal_rival(parts: Iterable[NDArray[np.void]]) -> tuple[Rival, Book]:
    """Book both legs in dicts of Decimal; also the net size per account and market.

    No fees, no funding, no journal: less than the engine does. Decimals are made outside the work's time.
    """
    sizes: Book = defaultdict(Decimal)
    cash: Book = defaultdict(Decimal)
    whole = time.perf_counter()
    work_s = 0.0
    for part in _batches(parts):
        numbers = [list(map(Decimal, part[name].tolist())) for name in ("price", "size")]
        keys = [part[name].tolist() for name in ("market", "maker", "taker")]
        rows = list(zip(*keys, *numbers, strict=True))
        began = time.perf_counter()
        for market, maker, taker, price, size in rows:
            quote = price * size
            sizes[taker, market] += size
            cash[taker, market] -= quote
            sizes[maker, market] -= size
            cash[maker, market] += quote
        work_s += time.perf_counter() - began
    return Rival(time.perf_counter() - whole, work_s), sizes


def _batches(parts: Iterable[NDArray[np.void]]) -> Iterator[NDArray[np.void]]:
    """FRAME arrays as FILL arrays of at least 8,192, but for the last."""
    held: list[NDArray[np.void]] = []
    for part in parts:
        held.append(part)
        if sum(map(len, held)) >= SQLITE_BATCH:
            yield np.concatenate(held).view(FILL)
            held = []
    if held:
        yield np.concatenate(held).view(FILL)


def same_sizes(books: Books, sizes: Book) -> bool:
    """Whether every position of the books has the net size that the Decimals came to."""
    used = books.positions[: int(books.meta[0]["positions"])]
    ours = {(int(p["account"]), int(p["market"])): int(p["size"]) for p in used if p["size"]}
    return ours == {key: int(size) for key, size in sizes.items() if size}
