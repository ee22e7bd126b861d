"""Small recordings made by hand, one in each format that is known."""

from __future__ import annotations

import datetime
import json
import random
from pathlib import Path

HL_HEADER = "time,user,coin,side,px,sz,crossed"
UM_HEADER = "exchange,symbol,timestamp,local_timestamp,id,side,price,amount"
START_S = 472_222 * 3600
USERS = ["0x" + f"{n:040x}" for n in range(0xA1, 0xA9)]


def _iso(second: int) -> str:
    return datetime.datetime.fromtimestamp(second, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def hyperliquid(path: Path, *, rows: int, seconds: int, start_s: int = START_S, seed: int = 1) -> Path:
    """Fill sides of two coins, spread evenly over `seconds`; the price of each walks."""
    chance = random.Random(seed)
    cents = {"SOL": 2050, "ARB": 131}
    lines = [HL_HEADER]
    for k in range(rows):
        coin = chance.choice(["SOL", "SOL", "ARB"])
        cents[coin] = max(50, cents[coin] + chance.randint(-1, 1))
        px, sz = f"{cents[coin] / 100:.2f}", chance.randint(1, 400) / 4
        user, side, crossed = (
            chance.choice(USERS),
            chance.choice(["Bid", "Ask"]),
            chance.choice(["true", "false"]),
        )
        lines.append(f"{_iso(start_s + seconds * k // rows)},{user},{coin},{side},{px},{sz:g},{crossed}")
    path.write_text("\n".join(lines) + "\n")
    return path


def binance_trades(path: Path, *, rows: int, seconds: int) -> Path:
    """Trades of one linear contract in Binance's columns; no accounts in it."""
    lines = [UM_HEADER]
    for k in range(rows):
        time_us = (START_S * 10**6) + seconds * 10**6 * k // rows
        side = "buy" if k % 3 else "sell"
        price = 9682 + k % 7 * 0.5
        lines.append(
            f"binance-futures,BTCUSDT,{time_us},{time_us + 5000},{1000 + k},{side},{price},0.{1 + k % 9}"
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def binance_raw(path: Path, *, rows: int, seconds: int) -> Path:
    """Trades of an inverse contract between messages of another stream."""
    lines = []
    for k in range(rows):
        time_ms = START_S * 1000 + seconds * 1000 * k // rows
        trade = {"e": "trade", "T": time_ms, "s": "BTCUSD_PERP", "t": 500 + k, "p": f"{61804 + k % 5}.5"}
        trade |= {"q": str(1 + k % 20), "X": "MARKET", "m": k % 2 == 0}
        lines.append(f"{time_ms}000123 {json.dumps({'stream': 'btcusd_perp@trade', 'data': trade})}")
        lines.append(f'{time_ms}000456 {{"stream":"btcusd_perp@depth@0ms","data":{{"e":"depthUpdate"}}}}')
    path.write_text("\n".join(lines) + "\n")
    return path
