"""JSON lines to frames and back, sans-IO: exact, and refused by field where a frame cannot hold what is said.

What a frame can hold is sent as it is, so that the engine refuses it as it would from anybody. Only what it
cannot hold (a fraction of a lot, a symbol that is no market) is refused here, by the same names.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray
from solders.pubkey import Pubkey

from engine.core.params import Row, stage
from engine.gateway import json_types as t
from engine.gateway.json_decimals import INT64_MAX, decimal_text, parse_decimal, scaled
from kernels import frames as f
from kernels.frames import Source, Template

LINE_BYTES_MAX = 65_536
MARK_MISSING_E6 = -(1 << 62)
"""In what an account may still use: unknown, for want of a mark. Told as null."""
_FIELD = re.compile(r"`\$\.(\w+)|field `(\w+)`")
_SOURCES = {
    t.Fill: Source.MATCHING, t.Account: Source.MATCHING, t.Setting: Source.API, t.Observation: Source.FEEDS,
    t.Tick: Source.CLOCK, t.Params: Source.ADMIN, t.Correction: Source.ADMIN,
}  # fmt: skip


class Scale(NamedTuple):
    """Of a market: e of the price, decimals of a lot."""

    price_exp: int
    lot_exp: int


class Directory(Protocol):
    """What the books say about names. Numbers of accounts and markets never change once given."""

    def market(self, symbol: str) -> int | None:
        """Number of a market."""

    def symbol(self, market: int) -> str | None:
        """Symbol of a market."""

    def scale(self, market: int) -> Scale | None:
        """How a market's prices and sizes are written."""

    def account(self, key: bytes) -> int | None:
        """Number of the account with a public key of 32 bytes."""


class LineError(Exception):
    """A line that was not taken: `reason` for machines, the field it is about if one is, and words."""

    def __init__(self, reason: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.reason, self.message, self.field = reason, message, field


class Unknown(LineError):
    """A name that the books do not hold, or do not hold yet."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise LineError("duplicate_field", "is there twice", twice)
    return found


def _no_constant(text: str) -> Any:
    raise LineError("not_json", f"{text} is not JSON")


def parse_line(data: bytes) -> t.AnyLine:
    """One line, its types checked. LineError names the field."""
    try:
        raw = json.loads(data.decode(), object_pairs_hook=_pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise LineError("not_json", f"not a JSON object in UTF-8: {error}") from None
    if not isinstance(raw, dict):
        raise LineError("not_json", "a line is one JSON object")
    try:
        return msgspec.convert(raw, t.AnyLine)
    except msgspec.ValidationError as error:
        said = str(error)
        match = _FIELD.search(said)
        field = next((part for part in match.groups() if part), None) if match else None
        raise LineError("invalid_field", said[0].lower() + said[1:].partition(" - at ")[0], field) from None


def key_bytes(text: str) -> bytes:
    """32 bytes of a public key in base58, or of a 20-byte address as 0x and hex. LineError."""
    try:
        if text.startswith("0x") and len(text) == 42:
            return bytes(12) + bytes.fromhex(text[2:])
        return bytes(Pubkey.from_string(text))
    except ValueError:
        raise LineError(
            "invalid_field", "is no public key: base58 of 32 bytes, or 0x and 40 hex digits"
        ) from None


def key_text(key: bytes) -> str:
    """The same backwards."""
    return f"0x{key[12:].hex()}" if not any(key[:12]) and any(key) else str(Pubkey(key))


class Writer:
    """Makes the frames of a line. Their CRC is not yet written."""

    def __init__(self, books: Directory) -> None:
        self._books = books

    def source_of(self, line: t.AnyLine) -> Source:
        """Who numbers what a line says: deposits are the chain's, other transfers a user's request."""
        if isinstance(line, t.Transfer):
            return Source.CHAIN if line.kind == "deposit" else Source.API
        return _SOURCES[type(line)]

    def frames(self, line: t.AnyLine, first_seq: int) -> NDArray[np.void]:
        """All frames of the line, or LineError for the first field that a frame cannot hold."""
        if isinstance(line, t.Params):
            return self._params(line, first_seq)
        makers: dict[type[t.Line], tuple[Template, Any]] = {
            t.Fill: (Template.FILL, self._fill),
            t.Account: (Template.ACCOUNT, self._account_frame),
            t.Transfer: (Template.TRANSFER, self._transfer),
            t.Setting: (Template.SETTING, self._setting),
            t.Observation: (Template.OBSERVATION, self._observation),
            t.Tick: (Template.TICK, self._tick),
            t.Correction: (Template.CORRECTION, self._correction),
        }
        template, fields = makers[type(line)]
        frames = f.new_frames(template, 1, source=self.source_of(line), first_seq=first_seq)
        for name, value in fields(line).items():
            frames[name] = value
        return frames

    def _market(self, named: t.Market) -> int:
        if isinstance(named, int):
            return named
        number = self._books.market(named)
        if number is None:
            raise Unknown("unknown_market", f"the books have no market {named[:32]!r}", "market")
        return number

    def _account(self, named: t.Name, field: str) -> int:
        if isinstance(named, int):
            return named
        number = self._books.account(_in_field(key_bytes, named, field))
        if number is None:
            raise Unknown("unknown_account", "the books have no account with this key", field)
        return number

    def _scaled(self, text: str, decimals: int, field: str, reason: str, unit: str) -> int:
        value = _in_field(scaled, text, field, decimals)
        if value is None:
            raise LineError(reason, f"{text} is not a whole number of {unit}", field)
        return int(value)

    def _fill(self, line: t.Fill) -> dict[str, int]:
        market = self._market(line.market)
        scale = self._books.scale(market)
        if scale is None:
            raise Unknown("unknown_market", f"market {market} has no scale to write prices in", "market")
        steps = scale.price_exp - scale.lot_exp
        price = self._scaled(line.price, steps, "price", "price_off_scale", f"steps of 10^{-steps} USD")
        lots = self._scaled(
            line.size, scale.lot_exp, "size", "size_off_scale", f"lots of 10^-{scale.lot_exp}"
        )
        if lots < 0:
            raise LineError("size_off_scale", "is positive; `side` says who buys", "size")
        return {
            "market": market, "price": price, "size": lots if line.side == "buy" else -lots,
            "maker": self._account(line.maker, "maker"), "taker": self._account(line.taker, "taker"),
            "trade_id": line.trade_id, "time_ns": _time_ns(line),
        }  # fmt: skip

    def _account_frame(self, line: t.Account) -> dict[str, int]:
        words = f.key_words(_in_field(key_bytes, line.key, "key"))
        return {**{f"key{k}": word for k, word in enumerate(words)}, "tier": line.tier}

    def _transfer(self, line: t.Transfer) -> dict[str, int]:
        return {
            "flags": int(f.TransferKind[line.kind.upper()]),
            "account": self._account(line.account, "account"),
            "quote_e6": self._scaled(line.quote, 6, "quote", "out_of_bounds", "10^-6 USDC"),
            "event_no": line.number, "chain_slot": line.chain_slot, "tx_prefix": line.tx_prefix,
            "index": line.index, "market": self._market(line.market),
        }  # fmt: skip

    def _setting(self, line: t.Setting) -> dict[str, int]:
        return {
            "kind": int(f.SettingKind[line.kind.upper()]), "account": self._account(line.account, "account"),
            "market": self._market(line.market), "value": line.value, "nonce": line.nonce,
        }  # fmt: skip

    def _observation(self, line: t.Observation) -> dict[str, int]:
        """Price and confidence with the decimals that they are written with; the engine brings them to scale."""
        decimals = max(-_in_field(parse_decimal, text, name)[1] for name, text in
                       (("price", line.price), ("conf", line.conf)))  # fmt: skip
        return {
            "kind": int(f.ObservationKind[line.kind.upper()]), "market": self._market(line.market),
            "feed": line.feed, "slot": line.slot, "publish_ns": _time_ns(line), "expo": -decimals,
            "price": self._scaled(line.price, decimals, "price", "price_off_scale", f"10^-{decimals} USD"),
            "conf": self._scaled(line.conf, decimals, "conf", "price_off_scale", f"10^-{decimals} USD"),
        }  # fmt: skip

    def _tick(self, line: t.Tick) -> dict[str, int]:
        made = {"kind": int(f.TickKind[line.kind.upper()]), "now_ns": line.time_ns, "market": -1}
        if line.kind == "second":
            if line.prev_ns is None:
                raise LineError(
                    "invalid_field", "a tick of kind second says when the one before was", "prev_ns"
                )
            made |= {"prev_ns": line.prev_ns, "interval_ns": line.time_ns - line.prev_ns}
        return made

    def _correction(self, line: t.Correction) -> dict[str, int]:
        source = f.Source.__members__.get(line.refused_source.upper())
        if source is None:
            raise LineError("invalid_field", "is no source", "refused_source")
        refused = line.refused_seq
        if line.account is not None:
            refused = self._account(line.account, "account")
        return {
            "kind": int(f.CorrectionKind[line.kind.upper()]), "refused_source": int(source),
            "refused_seq": refused, "replacement_seq": line.replacement_seq, "market": self._market(line.market),
        }  # fmt: skip

    def _params(self, line: t.Params, first_seq: int) -> NDArray[np.void]:
        rows = []
        for name, row, value, value2 in line.rows:
            key = f.ParamKey.__members__.get(name)
            if key is None or key is f.ParamKey.COMMIT:
                raise LineError("invalid_field", f"{name[:40]!r} is no parameter", "rows")
            rows.append(Row(key, row, value, value2))
        return stage(rows, change=line.change, not_before_ns=line.not_before_ns, first_seq=first_seq)


def _in_field(read: Any, text: str, field: str, *more: int) -> Any:
    """What `read` makes of a field's text; its ValueError or LineError as one that names the field."""
    try:
        return read(text, *more)
    except ValueError as error:
        raise LineError("invalid_field", str(error), field) from None
    except LineError as error:
        raise LineError(error.reason, error.message, field) from None


def _time_ns(line: t.Fill | t.Observation) -> int:
    if (line.time_ns is None) == (line.time_ms is None):
        raise LineError("invalid_field", "give time_ns or time_ms, one of them", "time_ns")
    time_ns = line.time_ns if line.time_ns is not None else (line.time_ms or 0) * 10**6
    return min(time_ns, INT64_MAX)


def output_object(row: np.void, books: Directory) -> dict[str, Any]:
    """An output frame as a line: enumerations by name, prices and sizes in units, balances in USDC."""
    template = Template(int(row["template"]))
    row = np.frombuffer(row.tobytes(), f.DTYPES[template])[0]
    said: dict[str, Any] = {"type": template.name.lower(), "output": int(row["seq"])}
    market = int(row["market"])
    scale = books.scale(market) if market >= 0 else None
    if market >= 0:
        said["market"] = books.symbol(market) or market
    for name in (row.dtype.names or ())[5:-4]:
        value = int(row[name])
        if name.endswith("_e6"):
            said[name.removesuffix("_e6")] = None if value == MARK_MISSING_E6 else decimal_text(value, 6)
        elif name in ("price", "size") and scale is not None:
            decimals = scale.lot_exp if name == "size" else scale.price_exp - scale.lot_exp
            said[name] = decimal_text(value, decimals)
        elif name in ("price", "size"):
            said[name] = None
        elif name == "reason":
            said[name] = _named(f.Refusal, value)
        elif name == "refused_source":
            said[name] = _named(Source, value)
        elif name == "refused_template":
            said[name] = _named(Template, value)
        elif not name.startswith(("spare", "key")):
            said[name] = value
    if template is Template.ACCOUNT_ASSIGNED:
        said["key"] = key_text(row.tobytes()[16:48])
    return said


def _named(enumeration: Any, value: int) -> str | int:
    return enumeration(value).name.lower() if value in enumeration._value2member_map_ else value
