"""Binary frames as the JSON lines that mean the same, made with decimals and not with the code under test."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Context, Decimal
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from solders.pubkey import Pubkey

from kernels import frames as f
from kernels.frames import FRAME, Template

EXACT = Context(prec=60)


def text(value: int, decimals: int) -> str:
    return f"{Decimal(int(value)).scaleb(-decimals, EXACT):f}"


class AsLines:
    """Remembers what parameters said of the markets, to write prices and sizes in their units."""

    def __init__(self) -> None:
        self.scale: dict[int, tuple[int, int]] = {}
        self.symbol: dict[int, str] = {}
        self._rows: list[list[Any]] = []

    def of(self, frames: NDArray[np.void]) -> Iterator[dict[str, Any]]:
        for row in frames:
            template = Template(int(row["template"]))
            line = self._line(template, np.frombuffer(row.tobytes(), f.DTYPES[template])[0])
            if line is not None:
                yield line

    def text(self, frames: NDArray[np.void]) -> bytes:
        return b"".join(orjson.dumps(line) + b"\n" for line in self.of(frames))

    def _line(self, template: Template, row: np.void) -> dict[str, Any] | None:
        makers = {
            Template.PARAM: self._param,
            Template.FILL: self._fill,
            Template.ACCOUNT: self._account,
            Template.TRANSFER: self._transfer,
            Template.OBSERVATION: self._observation,
            Template.TICK: self._tick,
        }
        return makers[template](row)

    def _param(self, row: np.void) -> dict[str, Any] | None:
        key = f.ParamKey(int(row["key"]))
        market, value, value2 = int(row["row"]), int(row["value"]), int(row["value2"])
        if key is f.ParamKey.COMMIT:
            rows, self._rows = self._rows, []
            return {
                "type": "params",
                "change": int(row["change"]),
                "not_before_ns": int(row["not_before_ns"]),
                "rows": rows,
            }
        if key is f.ParamKey.MARKET_SCALE:
            self.scale[market] = (value, value2)
        if key is f.ParamKey.MARKET_SYMBOL:
            words = np.array([value, value2], "<i8").tobytes()
            self.symbol[market] = words.rstrip(b"\0").decode()
        self._rows.append([key.name, market, value, value2])
        return None

    def _fill(self, row: np.void) -> dict[str, Any]:
        market = int(row["market"])
        price_exp, lot_exp = self.scale[market]
        return {
            "type": "fill",
            "market": self.symbol[market],
            "price": text(row["price"], price_exp - lot_exp),
            "size": text(abs(int(row["size"])), lot_exp),
            "side": "buy" if row["size"] > 0 else "sell",
            "maker": int(row["maker"]),
            "taker": int(row["taker"]),
            "trade_id": int(row["trade_id"]),
            "time_ns": int(row["time_ns"]),
        }

    def _account(self, row: np.void) -> dict[str, Any]:
        return {"type": "account", "key": str(Pubkey(row.tobytes()[16:48])), "tier": int(row["tier"])}

    def _transfer(self, row: np.void) -> dict[str, Any]:
        return {
            "type": "transfer",
            "kind": f.TransferKind(int(row["flags"])).name.lower(),
            "account": int(row["account"]),
            "quote": text(row["quote_e6"], 6),
            "number": int(row["event_no"]),
            "index": int(row["index"]),
        }

    def _observation(self, row: np.void) -> dict[str, Any]:
        expo = int(row["expo"])
        return {
            "type": "observation",
            "kind": f.ObservationKind(int(row["kind"])).name.lower(),
            "market": self.symbol[int(row["market"])],
            "price": text(row["price"], -expo),
            "conf": text(row["conf"], -expo),
            "feed": int(row["feed"]),
            "slot": int(row["slot"]),
            "time_ns": int(row["publish_ns"]),
        }

    def _tick(self, row: np.void) -> dict[str, Any]:
        kind = f.TickKind(int(row["kind"])).name.lower()
        line = {"type": "tick", "kind": kind, "time_ns": int(row["now_ns"])}
        return line | ({"prev_ns": int(row["prev_ns"])} if kind == "second" else {})


def lines_of(frames: NDArray[np.void]) -> bytes:
    """All of it."""
    return AsLines().text(frames.view(FRAME))
