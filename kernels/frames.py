"""Every layout that crosses a wire, a file or a wall: 64-byte frames, and the arrays of the state.

The frame on the wire is the record in the journal (`shared/FRAMES.md`). Each template has its own dtype;
all are views of the same 64 bytes: 8 of SBE header, seq, 40 of payload, source, flags, market, CRC-32C.
Layouts are checked when this module is imported: a size or an alignment that is off stops the process.
"""

from __future__ import annotations

import enum

import numpy as np
from numpy.typing import NDArray

FRAME_BYTES = 64
PAYLOAD_BYTES = 40
SCHEMA_ID = 7011
SCHEMA_VERSION = 1
BLOCK_LENGTH = FRAME_BYTES - 8


class Template(enum.IntEnum):
    """Template ids. 1..31 change state and are journaled; 32..63 are outputs; 64.. are session only."""

    FILL = 1
    ACCOUNT = 2
    TRANSFER = 3
    SETTING = 4
    OBSERVATION = 5
    TICK = 6
    PARAM = 7
    CANDIDATE = 8
    OUTCOME = 9
    CORRECTION = 10
    PART = 11
    UPGRADE = 12
    GROUP = 13
    REFUSAL = 32
    ACCOUNT_ASSIGNED = 33
    LIQUIDATION_ORDER = 34
    FREE_COLLATERAL = 35
    MARKET_STATE = 36
    ACCOUNT_STATE = 37
    HELLO = 64
    WELCOME = 65
    ACK = 66
    FAULT = 67
    STATUS_REQUEST = 68
    STATUS = 69


class Source(enum.IntEnum):
    """Who numbers a frame. Each source has its own contiguous sequence."""

    ENGINE = 0
    MATCHING = 1
    CLOCK = 2
    FEEDS = 3
    RISK = 4
    RELAYER = 5
    CHAIN = 6
    API = 7
    ADMIN = 8


class TransferKind(enum.IntEnum):
    """In `flags` of a transfer frame."""

    DEPOSIT = 1
    WITHDRAWAL = 2
    TO_POSITION = 3
    FROM_POSITION = 4


class SettingKind(enum.IntEnum):
    """In `kind` of a setting frame. MARGIN_MODE values: 0 isolated, 1 cross."""

    LEVERAGE = 1
    MARGIN_MODE = 2


class ObservationKind(enum.IntEnum):
    """In `kind` of an observation frame. ORACLE uses `feed` as the provider number."""

    ORACLE = 0
    MID = 1
    IMPACT_BID = 2
    IMPACT_ASK = 3


class TickKind(enum.IntEnum):
    """OPEN starts or resumes the clock and samples nothing; SECOND samples funding.

    RISK, ten a second, takes prices anew between two seconds and samples nothing.
    """

    OPEN = 0
    SECOND = 1
    RISK = 2


class CandidateKind(enum.IntEnum):
    """In `kind` of a candidate frame. LIQUIDATE: the next step of a position that lacks margin, or of any that
    insurance holds.

    DELEVERAGE: what insurance cannot take of a bankrupt position is moved to that of `counterparty`.
    """

    LIQUIDATE = 1
    DELEVERAGE = 2


class LiquidationKind(enum.IntEnum):
    """In `kind` of a liquidation order: what the matching engine does. Sizes are signed by their side.

    CANCEL_ALL: cancel every order of the account, in all markets (market -1). REDUCE_ONLY: place this one, in
    place of the one before in that market; `price` is its limit. TAKEOVER, DELEVERAGE: without a match the
    account's position has changed by `size`, at about `price`; withdraw its reduce-only order. What is taken over
    is added to the position of insurance, account 0, which is worked off by reduce-only orders like any other.
    RELEASE: the liquidation is over, withdraw it too.
    """

    CANCEL_ALL = 1
    REDUCE_ONLY = 2
    TAKEOVER = 3
    DELEVERAGE = 4
    RELEASE = 5


class OutcomeStage(enum.IntEnum):
    """COMMIT and CHUNK: that transaction is finalized. SETTLED: every transaction of the batch is."""

    COMMIT = 1
    CHUNK = 2
    SETTLED = 3


class CorrectionKind(enum.IntEnum):
    """What an operator says of a refused frame: it never happened, or another stands for it.

    MARKET: every open refusal of the market is dealt with, and its halt is over. ACCOUNT: the account whose
    number stands in `refused_seq` is no longer frozen.
    """

    VOID = 1
    REPLACED = 2
    MARKET = 3
    ACCOUNT = 4


class StatusKind(enum.IntEnum):
    """What a status request asks for."""

    DIGEST = 1


class ParamKey(enum.IntEnum):
    """Keys of param rows: what `row`, `value` and `value2` mean is told in `engine/core/params.py`."""

    COMMIT = 0
    BATCH_WINDOW_NS = 1
    OBSERVATION_AGE_NS = 2
    HOLD_NS = 3
    LIQUIDATION = 4
    MARGIN_TIER_RATES = 10
    MARGIN_TIER_LIMITS = 11
    FEE_TIER = 12
    MARKET_SYMBOL = 20
    MARKET_SCALE = 21
    MARKET_LEVERAGE = 22
    MARKET_FUNDING = 23
    MARKET_BAND = 24
    FEED = 25
    MARKET_MOVE = 26
    MARKET_PROFILE = 30
    MARKET_KNOB = 31
    MARKET_ORACLE = 32


class Refusal(enum.IntEnum):
    """Domain refusals: journaled, decided by the core, consume their sequence, named in an output."""

    NONE = 0
    UNKNOWN_MARKET = 1
    UNKNOWN_ACCOUNT = 2
    PRICE_OFF_SCALE = 3
    SIZE_OFF_SCALE = 4
    OUT_OF_BOUNDS = 5
    UNKNOWN_KIND = 6
    NOT_IN_FORCE = 7
    EVENT_OUT_OF_ORDER = 8
    NONCE_OUT_OF_ORDER = 9
    INSUFFICIENT_FREE = 10
    INSUFFICIENT_POSITION = 11
    ACCOUNT_EXISTS = 12
    CLOCK_OUT_OF_ORDER = 13
    PARAM_DIGEST = 14
    PARAM_INVALID = 15
    PARAM_FULL = 16
    UNKNOWN_FEED = 17
    OBSERVATION_INVALID = 18
    OBSERVATION_OLD = 19
    BATCH_OUT_OF_ORDER = 20
    NOTHING_TO_CORRECT = 21
    LEVERAGE_OFF_TABLE = 22
    RULES_UNKNOWN = 23
    STALE_CANDIDATE = 24
    UNKNOWN_TIER = 25
    SEQUENCE = 26
    MARK_UNKNOWN = 27
    LIQUIDATIONS_FULL = 28
    INSURANCE_REDUCE_ONLY = 29
    OBSERVATION_AHEAD = 30


class Fault(enum.IntEnum):
    """Transport faults: answered by name, never journaled, consume no sequence."""

    NONE = 0
    BAD_CRC = 1
    WRONG_SCHEMA = 2
    UNKNOWN_TEMPLATE = 3
    SPARE_NOT_ZERO = 4
    GAP = 5
    CONFLICT = 6
    DUPLICATE_UNVERIFIED = 7
    NO_HELLO = 8
    SOURCE_TAKEN = 9
    LOST_DATA = 10
    JOURNAL_FULL = 11
    SOURCE_FORBIDDEN = 12


HEADER: list[tuple[str, str]] = [
    ("block_length", "<u2"),
    ("template", "<u2"),
    ("schema", "<u2"),
    ("version", "<u2"),
    ("seq", "<i8"),
]
TRAILER: list[tuple[str, str]] = [("source", "u1"), ("flags", "u1"), ("market", "<i2"), ("crc", "<u4")]

_KEY = [("key0", "<i8"), ("key1", "<i8"), ("key2", "<i8"), ("key3", "<i8")]

# Payloads, in the order of the templates. Fields named spare* must be zero.
PAYLOADS: dict[Template, list[tuple[str, str]]] = {
    Template.FILL: [
        ("time_ns", "<i8"), ("trade_id", "<i8"), ("price", "<i8"), ("size", "<i8"),
        ("maker", "<i4"), ("taker", "<i4"),
    ],
    Template.ACCOUNT: [*_KEY, ("tier", "<i4"), ("spare0", "<i4")],
    Template.TRANSFER: [
        ("quote_e6", "<i8"), ("event_no", "<i8"), ("chain_slot", "<i8"), ("tx_prefix", "<i8"),
        ("account", "<i4"), ("index", "<i4"),
    ],
    Template.SETTING: [
        ("value", "<i8"), ("nonce", "<i8"), ("account", "<i4"), ("kind", "<i4"),
        ("spare0", "<i8"), ("spare1", "<i8"),
    ],
    Template.OBSERVATION: [
        ("publish_ns", "<i8"), ("price", "<i8"), ("conf", "<i8"), ("slot", "<i8"),
        ("feed", "<i4"), ("expo", "<i2"), ("kind", "<i2"),
    ],
    Template.TICK: [
        ("now_ns", "<i8"), ("interval_ns", "<i8"), ("prev_ns", "<i8"), ("kind", "<i4"),
        ("spare0", "<i4"), ("spare1", "<i8"),
    ],
    Template.PARAM: [
        ("change", "<i4"), ("key", "<i2"), ("row", "<i2"), ("of", "<i4"), ("spare0", "<i4"),
        ("value", "<i8"), ("value2", "<i8"), ("not_before_ns", "<i8"),
    ],
    Template.CANDIDATE: [
        ("seen_position", "<i8"), ("account", "<i4"), ("kind", "<i4"), ("ratio", "<i8"),
        ("counterparty", "<i8"), ("spare0", "<i8"),
    ],
    Template.OUTCOME: [
        ("batch", "<i8"), ("slot", "<i8"), ("chunk", "<i4"), ("stage", "<i4"),
        ("signature0", "<i8"), ("signature1", "<i8"),
    ],
    Template.CORRECTION: [
        ("refused_seq", "<i8"), ("replacement_seq", "<i8"), ("refused_source", "<i4"), ("kind", "<i4"),
        ("spare0", "<i8"), ("spare1", "<i8"),
    ],
    Template.PART: [("part0", "<i8"), ("part1", "<i8"), ("part2", "<i8"), ("part3", "<i8"), ("part4", "<i8")],
    Template.UPGRADE: [
        ("rules", "<i4"), ("spare0", "<i4"),
        ("digest0", "<i8"), ("digest1", "<i8"), ("digest2", "<i8"), ("digest3", "<i8"),
    ],
    Template.GROUP: [
        ("first_position", "<i8"), ("durable_upto", "<i8"), ("time_ns", "<i8"), ("count", "<i4"),
        ("epoch", "<i4"), ("chain", "<u4"), ("witness", "<u4"),
    ],
    Template.REFUSAL: [
        ("refused_seq", "<i8"), ("ordinal", "<i8"), ("detail", "<i8"), ("account", "<i4"),
        ("refused_template", "<i4"), ("refused_source", "<i4"), ("reason", "<i4"),
    ],
    Template.ACCOUNT_ASSIGNED: [*_KEY, ("account", "<i4"), ("tier", "<i4")],
    Template.LIQUIDATION_ORDER: [
        ("as_of_seq", "<i8"), ("size", "<i8"), ("price", "<i8"), ("account", "<i4"), ("kind", "<i4"),
        ("spare0", "<i8"),
    ],
    Template.FREE_COLLATERAL: [
        ("ordinal", "<i8"), ("as_of_seq", "<i8"), ("taker_free_e6", "<i8"), ("maker_free_e6", "<i8"),
        ("taker", "<i4"), ("maker", "<i4"),
    ],
    Template.MARKET_STATE: [
        ("ordinal", "<i8"), ("price", "<i8"), ("now_ns", "<i8"), ("state", "<i4"), ("reason", "<i4"),
        ("spare0", "<i8"),
    ],
    Template.ACCOUNT_STATE: [
        ("ordinal", "<i8"), ("equity_e6", "<i8"), ("now_ns", "<i8"), ("account", "<i4"), ("state", "<i4"),
        ("spare0", "<i8"),
    ],
    Template.HELLO: [
        ("acked_seq", "<i8"), ("last_output", "<i8"), ("spare0", "<i8"), ("spare1", "<i8"), ("spare2", "<i8"),
    ],
    Template.WELCOME: [
        ("last_seq", "<i8"), ("first_missing_output", "<i8"), ("ordinal", "<i8"), ("now_ns", "<i8"),
        ("epoch", "<i4"), ("spare0", "<i4"),
    ],
    Template.ACK: [
        ("durable_seq", "<i8"), ("ordinal", "<i8"), ("spare0", "<i8"), ("spare1", "<i8"), ("epoch", "<i4"),
        ("spare2", "<i4"),
    ],
    Template.FAULT: [
        ("fault_seq", "<i8"), ("expected_seq", "<i8"), ("code", "<i4"), ("spare0", "<i4"),
        ("spare1", "<i8"), ("spare2", "<i8"),
    ],
    Template.STATUS_REQUEST: [
        ("kind", "<i4"), ("spare0", "<i4"), ("spare1", "<i8"), ("spare2", "<i8"), ("spare3", "<i8"),
        ("spare4", "<i8"),
    ],
    Template.STATUS: [
        ("ordinal", "<i8"), ("digest0", "<i8"), ("digest1", "<i8"), ("digest2", "<i8"), ("digest3", "<i8"),
    ],
}  # fmt: skip

DTYPES: dict[Template, np.dtype[np.void]] = {
    template: np.dtype([*HEADER, *payload, *TRAILER]) for template, payload in PAYLOADS.items()
}

FRAME = np.dtype([*HEADER, *[(f"word{k}", "<i8") for k in range(5)], *TRAILER])
FILL = DTYPES[Template.FILL]
ACCOUNT_FRAME = DTYPES[Template.ACCOUNT]
TRANSFER = DTYPES[Template.TRANSFER]
SETTING = DTYPES[Template.SETTING]
OBSERVATION = DTYPES[Template.OBSERVATION]
TICK = DTYPES[Template.TICK]
PARAM = DTYPES[Template.PARAM]
OUTCOME = DTYPES[Template.OUTCOME]
CORRECTION = DTYPES[Template.CORRECTION]
CANDIDATE = DTYPES[Template.CANDIDATE]
UPGRADE = DTYPES[Template.UPGRADE]
GROUP = DTYPES[Template.GROUP]
REFUSAL = DTYPES[Template.REFUSAL]

JOURNALED = frozenset(t for t in Template if t < 32 and t != Template.GROUP)
SPARE_KINDS_FLAGS = {Template.TRANSFER, Template.PART}


def _check_layouts() -> None:
    for template, dtype in {**DTYPES, Template.FILL: FILL}.items():
        if dtype.itemsize != FRAME_BYTES:
            raise AssertionError(f"{template.name}: {dtype.itemsize} bytes, not {FRAME_BYTES}")
        for name, (kind, offset) in dtype.fields.items():  # type: ignore[union-attr, misc]
            if offset % kind.itemsize:
                raise AssertionError(f"{template.name}.{name}: offset {offset} is not aligned")


_check_layouts()


def spare_words() -> NDArray[np.int64]:
    """int64[128, 8]: for each template the bits that must be zero (spare fields, unused flags)."""
    masks = np.zeros((128, 8), dtype=np.int64)
    for template, dtype in DTYPES.items():
        blank = np.zeros(1, dtype=dtype)
        raw = blank.view(np.uint8)
        for name, (kind, offset) in dtype.fields.items():  # type: ignore[union-attr, misc]
            if name.startswith("spare"):
                raw[offset : offset + kind.itemsize] = 0xFF
        if template not in SPARE_KINDS_FLAGS:
            raw[57] = 0xFF
        masks[int(template)] = blank.view(np.int64)
    return masks


def new_frames(template: Template, count: int, *, source: Source, first_seq: int = 1) -> NDArray[np.void]:
    """`count` frames of one template with header, source and contiguous seq set; payload and CRC zero."""
    frames = np.zeros(count, dtype=DTYPES[template])
    frames["block_length"] = BLOCK_LENGTH
    frames["template"] = int(template)
    frames["schema"] = SCHEMA_ID
    frames["version"] = SCHEMA_VERSION
    frames["seq"] = np.arange(first_seq, first_seq + count)
    frames["source"] = int(source)
    return frames


def key_words(key: bytes) -> tuple[int, int, int, int]:
    """The four little-endian words of a 32-byte key; a 20-byte address becomes 12 zero bytes + address."""
    if len(key) == 20:
        key = bytes(12) + key
    if len(key) != 32:
        raise ValueError(f"a key has 32 bytes (or 20), not {len(key)}")
    w = np.frombuffer(key, dtype="<i8")
    return int(w[0]), int(w[1]), int(w[2]), int(w[3])
