"""What every message and field of `kernels/frames.py` means, as the schema tells it: units, signs, what zero says.

A field that has no word of its own under its template takes the one in `COMMON`; `spare` fields are zero."""

from __future__ import annotations

import enum
from typing import NamedTuple

from kernels import frames as f
from kernels.frames import Template


class MessageWords(NamedTuple):
    """One template: what it says, and what those of its fields say that need words of their own."""

    description: str
    fields: dict[str, str]


COMMON: dict[str, str] = {
    "source": "Who numbers this frame",
    "market": "Market number, or -1 where none is meant",
    "crc": "CRC-32C over bytes 0..59 of the frame, header included",
    "flags": "Zero",
    "seq": "Contiguous per source, from 1",
    "account": "Account number",
}

MESSAGES: dict[Template, MessageWords] = {
    Template.FILL: MessageWords(
        "A matched trade: one frame books both legs",
        {
            "time_ns": "Time of the match, ns since 1970 UTC",
            "trade_id": "The matching engine's number of the trade",
            "price": "Price in 10^-e USD per lot, e per market; 1e7..9e9 is on scale",
            "size": "Size in lots, not 0; the sign is the taker's side, positive: the taker buys",
            "maker": "Account number of the maker",
            "taker": "Account number of the taker",
        },
    ),
    Template.ACCOUNT: MessageWords(
        "A new public key; the engine assigns the account number and answers AccountAssignedFrame",
        {
            "key0": "Public key, 32 bytes: word 0 of 4, little endian. A 20-byte address is preceded by 12 zero bytes",
            "key1": "Public key, 32 bytes: word 1 of 4, little endian. A 20-byte address is preceded by 12 zero bytes",
            "key2": "Public key, 32 bytes: word 2 of 4, little endian. A 20-byte address is preceded by 12 zero bytes",
            "key3": "Public key, 32 bytes: word 3 of 4, little endian. A 20-byte address is preceded by 12 zero bytes",
            "tier": "Fee tier, 0..15",
        },
    ),
    Template.TRANSFER: MessageWords(
        "Collateral in, out, or between free balance and a position; the kind stands in flags",
        {
            "quote_e6": "Quote moved, in 1e-6 USDC, positive",
            "event_no": "Deposit: the vault program's event number of the account. Otherwise: the account's nonce. Only the next is accepted",
            "chain_slot": "Deposit: slot of the transaction on chain. Otherwise 0",
            "tx_prefix": "Deposit: first 8 bytes of the transaction's signature. Otherwise 0",
            "index": "Deposit: place of the event within its transaction. Otherwise 0",
            "flags": "Kind of the transfer",
        },
    ),
    Template.SETTING: MessageWords(
        "A user's setting of one account in one market",
        {
            "value": "LEVERAGE: whole times. MARGIN_MODE: 0 isolated, 1 cross",
            "nonce": "Nonce of the account; only the next is accepted",
            "kind": "What is set",
        },
    ),
    Template.OBSERVATION: MessageWords(
        "One price from one feed; hints, never resent",
        {
            "publish_ns": "Time of publication by the feed, ns since 1970 UTC",
            "price": "Price, value = price * 10^expo USD",
            "conf": "Confidence interval of the price, one sided, in the same units",
            "slot": "Slot of the chain the price was read at; 0 if none",
            "feed": "ORACLE: provider number 0..12. Otherwise 0",
            "expo": "Decimal exponent of price and conf, mostly negative",
            "kind": "What was observed",
        },
    ),
    Template.TICK: MessageWords(
        "The clock; the first tick past an hour pays funding",
        {
            "now_ns": "Time, ns since 1970 UTC",
            "interval_ns": "SECOND: now_ns - prev_ns",
            "prev_ns": "SECOND: time of the tick before",
            "kind": "What the tick does",
        },
    ),
    Template.PARAM: MessageWords(
        "One staged parameter row; the COMMIT row puts a change in force",
        {
            "change": "Number of the change that the row belongs to",
            "key": "What the row sets",
            "row": "Market or tier number, by key",
            "of": "COMMIT: count of rows staged before it. Otherwise 0",
            "value": "By key. COMMIT: bytes 0..7 of the SHA-256 of the rows",
            "value2": "By key. COMMIT: bytes 8..15 of the SHA-256 of the rows",
            "not_before_ns": "COMMIT: in force at the first tick at or past it, ns since 1970 UTC",
        },
    ),
    Template.CANDIDATE: MessageWords(
        "Risk proposes an account for liquidation; the engine checks again",
        {
            "seen_position": "Journal position that risk had seen",
            "kind": "Kind of the proposal",
            "ratio": "Margin ratio seen",
            "counterparty": "DELEVERAGE: account on the other side; else 0",
        },
    ),
    Template.OUTCOME: MessageWords(
        "A finalized transaction, or a settled batch, from the relayer",
        {
            "batch": "Batch number, from 1",
            "slot": "Slot of the chain in which it was finalized",
            "chunk": "CHUNK: number of the chunk. Otherwise 0",
            "stage": "What is finalized",
            "signature0": "Bytes 0..7 of the transaction's signature",
            "signature1": "Bytes 8..15 of the transaction's signature",
        },
    ),
    Template.CORRECTION: MessageWords(
        "An operator's word on a refused frame",
        {
            "refused_seq": "seq of the refused frame. ACCOUNT: the account number",
            "replacement_seq": "REPLACED: seq of the frame that stands for it. Otherwise 0",
            "refused_source": "Source of the refused frame, numbered as in Source",
            "kind": "What is said of it",
        },
    ),
    Template.PART: MessageWords(
        "Part k of n of what does not fit one frame, k and n in the high and low 4 bits of flags; acts on the last part",
        {
            "part0": "Bytes 0..7 of this part",
            "part1": "Bytes 8..15 of this part",
            "part2": "Bytes 16..23 of this part",
            "part3": "Bytes 24..31 of this part",
            "part4": "Bytes 32..39 of this part",
            "flags": "k in the high 4 bits, n in the low 4",
        },
    ),
    Template.UPGRADE: MessageWords(
        "From here on other rules are in force",
        {
            "rules": "Version of the rules",
            "digest0": "SHA-256 of what carries the rules: word 0 of 4, little endian",
            "digest1": "SHA-256 of what carries the rules: word 1 of 4, little endian",
            "digest2": "SHA-256 of what carries the rules: word 2 of 4, little endian",
            "digest3": "SHA-256 of what carries the rules: word 3 of 4, little endian",
        },
    ),
    Template.GROUP: MessageWords(
        "Group header; journal only, never on the wire",
        {
            "seq": "Journal position of this header, plus 1",
            "first_position": "Journal position of the group's first frame",
            "durable_upto": "Journal position up to which all was durable when the group was written",
            "time_ns": "Time of the group, ns since 1970 UTC; 0 in a replay",
            "count": "Frames in the group",
            "epoch": "Epoch of the writer",
            "chain": "CRC-32C chained over the frames' CRCs, this group included",
            "witness": "Rolling CRC-32C over the results of all frames before this group",
        },
    ),
    Template.REFUSAL: MessageWords(
        "Output: a frame was journaled and refused",
        {
            "seq": "Number of the output, contiguous from 1",
            "refused_seq": "seq of the refused frame",
            "ordinal": "Ordinal of the refused frame: frames in the journal, group headers not counted",
            "detail": "A number that helps, by reason",
            "account": "Account the frame names, or -1",
            "refused_template": "Template id of the refused frame",
            "refused_source": "Source of the refused frame, numbered as in Source",
            "reason": "Why",
        },
    ),
    Template.ACCOUNT_ASSIGNED: MessageWords(
        "Output: the number given to a public key",
        {
            "seq": "Number of the output, contiguous from 1",
            "key0": "Public key, 32 bytes: word 0 of 4, little endian. A 20-byte address is preceded by 12 zero bytes",
            "key1": "Public key, 32 bytes: word 1 of 4, little endian. A 20-byte address is preceded by 12 zero bytes",
            "key2": "Public key, 32 bytes: word 2 of 4, little endian. A 20-byte address is preceded by 12 zero bytes",
            "key3": "Public key, 32 bytes: word 3 of 4, little endian. A 20-byte address is preceded by 12 zero bytes",
            "tier": "Fee tier, 0..15",
        },
    ),
    Template.LIQUIDATION_ORDER: MessageWords(
        "Output: a step of a liquidation; what to do is told by `kind`",
        {
            "seq": "Number of the output, contiguous from 1",
            "as_of_seq": "Last seq of the matching engine's frames that this regards",
            "size": "Size in lots; positive buys",
            "price": "Limit price in 10^-e USD per lot",
            "kind": "Kind of the order",
        },
    ),
    Template.FREE_COLLATERAL: MessageWords(
        "Output: what the accounts that a frame touched may still use",
        {
            "seq": "Number of the output, contiguous from 1",
            "ordinal": "Ordinal of the frame that changed it",
            "as_of_seq": "Last seq of the matching engine's frames that this regards",
            "taker_free_e6": "Free collateral of taker in 1e-6 USDC, signed; -2^62 where a mark is missing that it depends on",
            "maker_free_e6": "The same of maker in 1e-6 USDC; 0 where there is none",
            "taker": "Account number: a fill's taker, or the one account of any other frame",
            "maker": "Account number: a fill's maker, or -1",
        },
    ),
    Template.MARKET_STATE: MessageWords(
        "Output: state of a market after a change",
        {
            "seq": "Number of the output, contiguous from 1",
            "ordinal": "Ordinal of the frame that changed it",
            "price": "Mark price in 10^-e USD per lot; 0 if none yet",
            "now_ns": "Time of the books, ns since 1970 UTC",
            "state": "Bits: 1 frozen, 2 halted, 4 reduce-only",
            "reason": "The refusal that changed it, else NONE",
        },
    ),
    Template.ACCOUNT_STATE: MessageWords(
        "Output: state of an account after a change",
        {
            "seq": "Number of the output, contiguous from 1",
            "ordinal": "Ordinal of the frame that changed it",
            "equity_e6": "Equity that led to it, in 1e-6 USDC, rounded down; 0 when thawed",
            "now_ns": "Time of the books, ns since 1970 UTC",
            "state": "Bits: 1 frozen; 2 reduce-only, of the account in this market: its position is larger than its leverage admits",
        },
    ),
    Template.HELLO: MessageWords(
        "Session: first frame of a client; source says who it is",
        {
            "seq": "Contiguous per source, from 1. Session frames: 0",
            "acked_seq": "Highest durable seq the client was told, 0 if none",
            "last_output": "Number of the last output received, 0 if none",
        },
    ),
    Template.WELCOME: MessageWords(
        "Session: answer to hello",
        {
            "seq": "Contiguous per source, from 1. Session frames: 0",
            "last_seq": "Last durable seq of this source",
            "first_missing_output": "Number of the first output that will be sent",
            "ordinal": "Ordinal of the last durable frame",
            "now_ns": "Time of the books, ns since 1970 UTC",
            "epoch": "Epoch of the engine",
        },
    ),
    Template.ACK: MessageWords(
        "Session: all frames of this source up to durable_seq are on disk",
        {
            "seq": "Contiguous per source, from 1. Session frames: 0",
            "durable_seq": "Last durable seq of this source",
            "ordinal": "Ordinal of the last durable frame",
            "epoch": "Epoch of the engine",
        },
    ),
    Template.FAULT: MessageWords(
        "Session: a frame was not taken, nothing was journaled",
        {
            "seq": "Contiguous per source, from 1. Session frames: 0",
            "fault_seq": "seq of the frame at fault",
            "expected_seq": "seq that the engine expects next",
            "code": "Why",
        },
    ),
    Template.STATUS_REQUEST: MessageWords(
        "Session: asks for a status",
        {
            "seq": "Contiguous per source, from 1. Session frames: 0",
            "kind": "What is asked for",
        },
    ),
    Template.STATUS: MessageWords(
        "Session: digest of the state",
        {
            "seq": "Contiguous per source, from 1. Session frames: 0",
            "ordinal": "Ordinal of the last applied frame",
            "digest0": "SHA-256 of the state: word 0 of 4, little endian",
            "digest1": "SHA-256 of the state: word 1 of 4, little endian",
            "digest2": "SHA-256 of the state: word 2 of 4, little endian",
            "digest3": "SHA-256 of the state: word 3 of 4, little endian",
        },
    ),
}

ENUM_FIELDS: dict[tuple[Template, str], type[enum.IntEnum]] = {
    (Template.TRANSFER, "flags"): f.TransferKind,
    (Template.SETTING, "kind"): f.SettingKind,
    (Template.OBSERVATION, "kind"): f.ObservationKind,
    (Template.TICK, "kind"): f.TickKind,
    (Template.CANDIDATE, "kind"): f.CandidateKind,
    (Template.LIQUIDATION_ORDER, "kind"): f.LiquidationKind,
    (Template.PARAM, "key"): f.ParamKey,
    (Template.OUTCOME, "stage"): f.OutcomeStage,
    (Template.CORRECTION, "kind"): f.CorrectionKind,
    (Template.REFUSAL, "reason"): f.Refusal,
    (Template.MARKET_STATE, "reason"): f.Refusal,
    (Template.FAULT, "code"): f.Fault,
    (Template.STATUS_REQUEST, "kind"): f.StatusKind,
}
"""Fields that carry an enumeration; `source` does in every template."""
