"""What every enumeration of `kernels/frames.py` and each of its values means, as the schema tells it."""

from __future__ import annotations

import enum
from typing import NamedTuple

from kernels import frames as f


class EnumWords(NamedTuple):
    """One enumeration: what it is for, and a line for each value."""

    description: str
    values: dict[str, str]


ENUMS: dict[type[enum.IntEnum], EnumWords] = {
    f.Source: EnumWords(
        "Who numbers a frame; each source has its own contiguous seq from 1",
        {
            "ENGINE": "Outputs and answers",
            "MATCHING": "The matching engine",
            "CLOCK": "The engine's clock",
            "FEEDS": "Price feeds; hints",
            "RISK": "The risk follower; hints",
            "RELAYER": "The settlement relayer",
            "CHAIN": "Events of the vault program",
            "API": "Users' requests",
            "ADMIN": "The operator",
        },
    ),
    f.TransferKind: EnumWords(
        "In flags of a transfer",
        {
            "DEPOSIT": "Chain to free balance",
            "WITHDRAWAL": "Free balance to held, until a settled batch pays it out",
            "TO_POSITION": "Free balance to an open position",
            "FROM_POSITION": "An open position to free balance",
        },
    ),
    f.SettingKind: EnumWords(
        "In kind of a setting",
        {
            "LEVERAGE": "Leverage, in force at the next increase",
            "MARGIN_MODE": "0 isolated, 1 cross",
        },
    ),
    f.ObservationKind: EnumWords(
        "In kind of an observation",
        {
            "ORACLE": "Price of an oracle provider",
            "MID": "Mid price of the matching engine's book",
            "IMPACT_BID": "Impact bid of the book",
            "IMPACT_ASK": "Impact ask of the book",
        },
    ),
    f.TickKind: EnumWords(
        "In kind of a tick",
        {
            "OPEN": "Starts or resumes the clock, samples nothing",
            "SECOND": "Samples funding",
            "RISK": "Ten a second: takes prices anew between two seconds, samples nothing",
        },
    ),
    f.CandidateKind: EnumWords(
        "In kind of a candidate",
        {
            "LIQUIDATE": "The next step of a position that lacks margin, or of any of insurance",
            "DELEVERAGE": "What insurance cannot take of a bankrupt position goes to the counterparty's",
        },
    ),
    f.LiquidationKind: EnumWords(
        "In kind of a liquidation order",
        {
            "CANCEL_ALL": "Cancel every order of the account, in all markets",
            "REDUCE_ONLY": "Place this order, in place of the one before in that market",
            "TAKEOVER": "Insurance has taken this size of the position; withdraw its order",
            "DELEVERAGE": "The position was closed by this size against another; withdraw its order",
            "RELEASE": "The liquidation is over; withdraw its order",
        },
    ),
    f.OutcomeStage: EnumWords(
        "In stage of an outcome",
        {
            "COMMIT": "The batch's commit transaction",
            "CHUNK": "One chunk's transaction",
            "SETTLED": "Every transaction of the batch",
        },
    ),
    f.CorrectionKind: EnumWords(
        "In kind of a correction",
        {
            "VOID": "The refused frame never happened",
            "REPLACED": "Another frame stands for it",
            "MARKET": "All refusals of the market are dealt with, its halt is over",
            "ACCOUNT": "The account is no longer frozen",
        },
    ),
    f.StatusKind: EnumWords(
        "In kind of a status request",
        {
            "DIGEST": "Digest of the state",
        },
    ),
    f.ParamKey: EnumWords(
        "In key of a parameter row",
        {
            "COMMIT": "Puts the staged rows in force",
            "BATCH_WINDOW_NS": "value: batch window, ns",
            "OBSERVATION_AGE_NS": "value: oldest observation that counts, ns",
            "HOLD_NS": "value: time without a price before reduce-only, ns",
            "LIQUIDATION": "value: liquidation fee, 1e-9 of quote; value2: reserve of insurance, 1e-12 of notional",
            "MARGIN_TIER_RATES": "row: tier; value: initial, value2: maintenance, both 1e-12",
            "MARGIN_TIER_LIMITS": "row: tier; value: largest leverage; value2: largest notional in 1e-6 USDC, 0 none",
            "FEE_TIER": "row: tier; value: taker, value2: maker, both 1e-9 of quote, negative is a rebate",
            "MARKET_SYMBOL": "row: market; value, value2: 16 ASCII bytes",
            "MARKET_SCALE": "row: market; value: e of the price; value2: decimals of a lot",
            "MARKET_LEVERAGE": "row: market; value: default, value2: largest, whole times",
            "MARKET_FUNDING": "row: market; value: interest, value2: cap, both 1e-12 per 8 h",
            "MARKET_BAND": "row: market; value: band of fills round the mark, 1e-6",
            "FEED": "row: market; value: provider 0..12; value2: weight, 0 none",
            "MARKET_MOVE": "row: market; value: what the price moves in 100 ms at p99.99, 1e-12",
            "MARKET_PROFILE": "row: market; value: whose funding rule, with all its knobs",
            "MARKET_KNOB": "row: market; value: number of a funding knob, value2: its value",
            "MARKET_ORACLE": "row: market; value: number of an oracle rule, value2: its value",
        },
    ),
    f.Refusal: EnumWords(
        "Domain refusals: journaled, consume their seq",
        {
            "NONE": "Taken",
            "UNKNOWN_MARKET": "No such market in force",
            "UNKNOWN_ACCOUNT": "No such account",
            "PRICE_OFF_SCALE": "Price outside 1e7..9e9",
            "SIZE_OFF_SCALE": "Size 0 or above the market's largest",
            "OUT_OF_BOUNDS": "A number would leave its bounds",
            "UNKNOWN_KIND": "No such kind",
            "NOT_IN_FORCE": "Template not served by the rules in force",
            "EVENT_OUT_OF_ORDER": "Not the account's next chain event",
            "NONCE_OUT_OF_ORDER": "Not the account's next nonce",
            "INSUFFICIENT_FREE": "More than is free and not needed by cross positions, or the account is frozen",
            "INSUFFICIENT_POSITION": "No open position, one that may not change so, or one that would fall below its requirement",
            "ACCOUNT_EXISTS": "The public key has a number",
            "CLOCK_OUT_OF_ORDER": "Tick not after, or not following on, the one before",
            "PARAM_DIGEST": "Count or digest of staged rows differs",
            "PARAM_INVALID": "Rows contradict a rule",
            "PARAM_FULL": "A change is pending or too many rows are staged",
            "UNKNOWN_FEED": "No such feed registered",
            "OBSERVATION_INVALID": "Price off scale or time missing",
            "OBSERVATION_OLD": "Older than the one known",
            "BATCH_OUT_OF_ORDER": "Not the next batch",
            "NOTHING_TO_CORRECT": "No such open refusal, halt or freeze",
            "LEVERAGE_OFF_TABLE": "Leverage outside market or tiers",
            "RULES_UNKNOWN": "Rules not known to this build",
            "STALE_CANDIDATE": "The account no longer qualifies",
            "UNKNOWN_TIER": "No such fee tier",
            "SEQUENCE": "Not the source's next seq",
            "MARK_UNKNOWN": "A market of the account has no mark to judge it by",
            "LIQUIDATIONS_FULL": "No more liquidations at a time; risk proposes again",
            "INSURANCE_REDUCE_ONLY": "A fill of insurance in a market where it never held anything",
            "OBSERVATION_AHEAD": "Published more than an hour after the last tick",
        },
    ),
    f.Fault: EnumWords(
        "Transport faults: not journaled, consume no seq",
        {
            "NONE": "No fault",
            "BAD_CRC": "CRC differs",
            "WRONG_SCHEMA": "Block length, schema or version differs",
            "UNKNOWN_TEMPLATE": "No such template for clients",
            "SPARE_NOT_ZERO": "Spare bytes or unused flags are set",
            "GAP": "seq beyond the next",
            "CONFLICT": "seq known with other bytes",
            "DUPLICATE_UNVERIFIED": "seq known, too old to compare",
            "NO_HELLO": "The session has not begun",
            "SOURCE_TAKEN": "Another session has this source",
            "LOST_DATA": "The client was acked more than is here: alarm",
            "JOURNAL_FULL": "No room to journal; try again later",
            "SOURCE_FORBIDDEN": "This connection may not send as this source",
        },
    ),
}

FAULT_ANSWERS: dict[f.Fault, str] = {
    f.Fault.NONE: "Go on",
    f.Fault.BAD_CRC: "Mend the sender: the CRC-32C covers bytes 0..59, header included. Say hello, resend from last_seq + 1",
    f.Fault.WRONG_SCHEMA: "Build against this schema: block length 56, schema 7011, version 1. Nothing was taken",
    f.Fault.UNKNOWN_TEMPLATE: "Send only templates of clients: 1..12, hello, status request",
    f.Fault.SPARE_NOT_ZERO: "Zero the spare fields, and flags where they carry nothing; say hello, resend from last_seq + 1",
    f.Fault.GAP: "Say hello again and resend from expected_seq",
    f.Fault.CONFLICT: "Stop and look: another frame was booked under this seq. Never send a changed frame under a used number",
    f.Fault.DUPLICATE_UNVERIFIED: "Nothing: the frame is passed over and the session goes on. Resend no older than you must",
    f.Fault.NO_HELLO: "Say hello for the source first, on this connection",
    f.Fault.SOURCE_TAKEN: "Wait and say hello again: the source is free when its other session ends",
    f.Fault.LOST_DATA: "Stop and alarm: what you hold an ack or an output for is not here. An operator decides",
    f.Fault.JOURNAL_FULL: "Wait, say hello again, resend from last_seq + 1: the disk has no room now",
    f.Fault.SOURCE_FORBIDDEN: "Use the source that is yours; the engine keeps its own, and its clock when that runs",
}
"""What the peer does about a fault. All but DUPLICATE_UNVERIFIED end the session after they are told."""
