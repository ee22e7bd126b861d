"""Hand-made recordings, and the recorded files where they are present."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.venue.recording import Recording, load

SHARED = Path(os.environ.get("GODARK_SHARED", Path(__file__).resolve().parents[4] / "shared"))
HL_HEADER = "time,user,coin,side,px,sz,crossed"
USERS = ["0x" + f"{n:040x}" for n in (0xA1, 0xB2, 0xC3)]


@pytest.fixture
def market_file() -> Callable[[str], Path]:
    """Path of a recorded file, or a visible skip."""

    def find(name: str) -> Path:
        path = SHARED / "data" / "market" / name
        if not path.exists():
            pytest.skip(f"{path} is absent: set GODARK_SHARED to test on recorded trades")
        return path

    return find


@pytest.fixture
def hl_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows of (time, user, coin, side, px, sz, crossed) as a Hyperliquid CSV."""

    def write(*rows: str, header: str = HL_HEADER) -> Path:
        path = tmp_path / "trades.csv"
        path.write_text("\n".join([header, *rows]) + "\n")
        return path

    return write


@pytest.fixture
def small(hl_file: Callable[..., Path]) -> Recording:
    """Eight fills of two coins in three hours: whole seconds, a fraction, a full hour, two in one second."""
    a, b, c = USERS
    return load(
        hl_file(
            f"2023-04-19T10:59:58Z,{a},SOL,Bid,20.5,1.5,true",
            f"2023-04-19T10:59:59.5Z,{b},SOL,Ask,20.6,2,true",
            f"2023-04-19T11:00:00Z,{a},ARB,Bid,1.3157,100,false",
            f"2023-04-19T11:30:00Z,{c},SOL,Ask,21,0.25,false",
            f"2023-04-19T11:30:00Z,{c},SOL,Ask,21,0.25,false",
            f"2023-04-19T12:10:00.25Z,{a},ARB,Ask,1.32,40,true",
            f"2023-04-19T12:10:00.75Z,{b},ARB,Ask,1.31,40,true",
            f"2023-04-19T12:10:01Z,{b},SOL,Bid,20,3,true",
        ),
        seed=5,
    )
