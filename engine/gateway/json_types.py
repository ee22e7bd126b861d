"""The lines a person may write to `godark json`: one JSON object each, told apart by `type`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Whole = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Signed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Small = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Short = Annotated[int, msgspec.Meta(ge=-1, le=2**15 - 1)]
Name = str | Small
"""An account: its number, or its public key in base58 (a 20-byte address as 0x and hex)."""
Market = str | Short
"""A market: its symbol, or its number."""
Param = tuple[str, Annotated[int, msgspec.Meta(ge=0, le=2**15 - 1)], Signed, Signed]
"""Name of the key, row, value, value2."""


class Line(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, kw_only=True):
    """What every line may carry: `seq`, the number it must have. Without one it gets the next of its source."""

    seq: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)] | None = None


class Fill(Line, tag="fill"):
    """A matched trade. `size` in units of base, positive; `side` is the taker's; `price` in USD per unit."""

    market: Market
    price: str
    size: str
    side: Literal["buy", "sell"]
    maker: Name
    taker: Name
    trade_id: Signed
    time_ns: Whole | None = None
    time_ms: Annotated[int, msgspec.Meta(ge=0, le=2**63 // 10**6 - 1)] | None = None


class Account(Line, tag="account"):
    """A new public key; its number comes back as `account_assigned`."""

    key: str
    tier: Annotated[int, msgspec.Meta(ge=0, le=15)] = 0


class Transfer(Line, tag="transfer"):
    """Collateral in USDC. `number`: of a deposit the vault's event number, else the account's nonce."""

    kind: Literal["deposit", "withdrawal", "to_position", "from_position"]
    account: Name
    quote: str
    number: Whole
    market: Market = -1
    chain_slot: Whole = 0
    tx_prefix: Signed = 0
    index: Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)] = 0


class Setting(Line, tag="setting"):
    """`leverage` with whole times, or `margin_mode` with 0 isolated or 1 cross."""

    kind: Literal["leverage", "margin_mode"]
    account: Name
    market: Market
    value: Signed
    nonce: Whole


class Observation(Line, tag="observation"):
    """A price in USD per unit of base; `feed`: the provider's number, of kind oracle."""

    kind: Literal["oracle", "mid", "impact_bid", "impact_ask"]
    market: Market
    price: str
    conf: str = "0"
    feed: Small = 0
    slot: Whole = 0
    time_ns: Whole | None = None
    time_ms: Annotated[int, msgspec.Meta(ge=0, le=2**63 // 10**6 - 1)] | None = None


class Tick(Line, tag="tick"):
    """The clock, where the engine has none of its own. `prev_ns`: time of the tick before, of kind second."""

    kind: Literal["open", "second"]
    time_ns: Whole
    prev_ns: Whole | None = None


class Params(Line, tag="params"):
    """One whole change of parameters: its rows and, made here, its commit row with count and digest."""

    change: Small
    rows: Annotated[list[Param], msgspec.Meta(min_length=1, max_length=1024)]
    not_before_ns: Whole = 0


class Correction(Line, tag="correction"):
    """An operator's word on a refused frame, a market's halt or an account's freeze."""

    kind: Literal["void", "replaced", "market", "account"]
    refused_source: str = "matching"
    refused_seq: Whole = 0
    replacement_seq: Whole = 0
    market: Market = -1
    account: Name | None = None


class StatusRequest(Line, tag="status"):
    """Asks for ordinal and digest, once everything before it is durable."""


AnyLine = Fill | Account | Transfer | Setting | Observation | Tick | Params | Correction | StatusRequest
