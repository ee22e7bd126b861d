/*
 * godark_frames.h: the 64-byte frames of GoDark for C99 and later. Made by `godark schema --c`: do not edit.
 *
 * The layout is that of a little-endian machine, so a frame is sent and received as it lies in memory.
 * The CRC, encoders and decoders are in godark.h.
 */
#ifndef GODARK_FRAMES_H
#define GODARK_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "godark_frames.h is for little-endian machines; generate a codec from godark.xml instead"
#endif

#define GD_FRAME_BYTES 64
#define GD_BLOCK_LENGTH 56
#define GD_SCHEMA_ID 7011
#define GD_SCHEMA_VERSION 1
/* In last_output of a hello: this session wants no outputs. */
#define GD_NO_OUTPUTS (-1)
#define GD_ASSERT(name, holds) typedef char gd_assert_##name[(holds) ? 1 : -1]

#ifdef __cplusplus
extern "C" {
#endif

/* Template ids: which message a frame is */
enum {
    /* A matched trade: one frame books both legs */
    GD_TEMPLATE_FILL = 1,
    /* A new public key; the engine assigns the account number and answers AccountAssignedFrame */
    GD_TEMPLATE_ACCOUNT = 2,
    /* Collateral in, out, or between free balance and a position; the kind stands in flags */
    GD_TEMPLATE_TRANSFER = 3,
    /* A user's setting of one account in one market */
    GD_TEMPLATE_SETTING = 4,
    /* One price from one feed; hints, never resent */
    GD_TEMPLATE_OBSERVATION = 5,
    /* The clock; the first tick past an hour pays funding */
    GD_TEMPLATE_TICK = 6,
    /* One staged parameter row; the COMMIT row puts a change in force */
    GD_TEMPLATE_PARAM = 7,
    /* Risk proposes an account for liquidation; the engine checks again */
    GD_TEMPLATE_CANDIDATE = 8,
    /* A finalized transaction, or a settled batch, from the relayer */
    GD_TEMPLATE_OUTCOME = 9,
    /* An operator's word on a refused frame */
    GD_TEMPLATE_CORRECTION = 10,
    /* Part k of n of what does not fit one frame, k and n in the high and low 4 bits of flags;
       acts on the last part */
    GD_TEMPLATE_PART = 11,
    /* From here on other rules are in force */
    GD_TEMPLATE_UPGRADE = 12,
    /* Group header; journal only, never on the wire */
    GD_TEMPLATE_GROUP = 13,
    /* Output: a frame was journaled and refused */
    GD_TEMPLATE_REFUSAL = 32,
    /* Output: the number given to a public key */
    GD_TEMPLATE_ACCOUNT_ASSIGNED = 33,
    /* Output: a step of a liquidation; what to do is told by `kind` */
    GD_TEMPLATE_LIQUIDATION_ORDER = 34,
    /* Output: what the accounts that a frame touched may still use */
    GD_TEMPLATE_FREE_COLLATERAL = 35,
    /* Output: state of a market after a change */
    GD_TEMPLATE_MARKET_STATE = 36,
    /* Output: state of an account after a change */
    GD_TEMPLATE_ACCOUNT_STATE = 37,
    /* Session: first frame of a client; source says who it is */
    GD_TEMPLATE_HELLO = 64,
    /* Session: answer to hello */
    GD_TEMPLATE_WELCOME = 65,
    /* Session: all frames of this source up to durable_seq are on disk */
    GD_TEMPLATE_ACK = 66,
    /* Session: a frame was not taken, nothing was journaled */
    GD_TEMPLATE_FAULT = 67,
    /* Session: asks for a status */
    GD_TEMPLATE_STATUS_REQUEST = 68,
    /* Session: digest of the state */
    GD_TEMPLATE_STATUS = 69,
};

/* Who numbers a frame; each source has its own contiguous seq from 1 */
enum {
    /* Outputs and answers */
    GD_SOURCE_ENGINE = 0,
    /* The matching engine */
    GD_SOURCE_MATCHING = 1,
    /* The engine's clock */
    GD_SOURCE_CLOCK = 2,
    /* Price feeds; hints */
    GD_SOURCE_FEEDS = 3,
    /* The risk follower; hints */
    GD_SOURCE_RISK = 4,
    /* The settlement relayer */
    GD_SOURCE_RELAYER = 5,
    /* Events of the vault program */
    GD_SOURCE_CHAIN = 6,
    /* Users' requests */
    GD_SOURCE_API = 7,
    /* The operator */
    GD_SOURCE_ADMIN = 8,
};

/* In flags of a transfer */
enum {
    /* Chain to free balance */
    GD_TRANSFER_KIND_DEPOSIT = 1,
    /* Free balance to held, until a settled batch pays it out */
    GD_TRANSFER_KIND_WITHDRAWAL = 2,
    /* Free balance to an open position */
    GD_TRANSFER_KIND_TO_POSITION = 3,
    /* An open position to free balance */
    GD_TRANSFER_KIND_FROM_POSITION = 4,
};

/* In kind of a setting */
enum {
    /* Leverage, in force at the next increase */
    GD_SETTING_KIND_LEVERAGE = 1,
    /* 0 isolated, 1 cross */
    GD_SETTING_KIND_MARGIN_MODE = 2,
};

/* In kind of an observation */
enum {
    /* Price of an oracle provider */
    GD_OBSERVATION_KIND_ORACLE = 0,
    /* Mid price of the matching engine's book */
    GD_OBSERVATION_KIND_MID = 1,
    /* Impact bid of the book */
    GD_OBSERVATION_KIND_IMPACT_BID = 2,
    /* Impact ask of the book */
    GD_OBSERVATION_KIND_IMPACT_ASK = 3,
};

/* In kind of a tick */
enum {
    /* Starts or resumes the clock, samples nothing */
    GD_TICK_KIND_OPEN = 0,
    /* Samples funding */
    GD_TICK_KIND_SECOND = 1,
    /* Ten a second: takes prices anew between two seconds, samples nothing */
    GD_TICK_KIND_RISK = 2,
};

/* In kind of a candidate */
enum {
    /* The next step of a position that lacks margin, or of any of insurance */
    GD_CANDIDATE_KIND_LIQUIDATE = 1,
    /* What insurance cannot take of a bankrupt position goes to the counterparty's */
    GD_CANDIDATE_KIND_DELEVERAGE = 2,
};

/* In kind of a liquidation order */
enum {
    /* Cancel every order of the account, in all markets */
    GD_LIQUIDATION_KIND_CANCEL_ALL = 1,
    /* Place this order, in place of the one before in that market */
    GD_LIQUIDATION_KIND_REDUCE_ONLY = 2,
    /* Insurance has taken this size of the position; withdraw its order */
    GD_LIQUIDATION_KIND_TAKEOVER = 3,
    /* The position was closed by this size against another; withdraw its order */
    GD_LIQUIDATION_KIND_DELEVERAGE = 4,
    /* The liquidation is over; withdraw its order */
    GD_LIQUIDATION_KIND_RELEASE = 5,
};

/* In stage of an outcome */
enum {
    /* The batch's commit transaction */
    GD_OUTCOME_STAGE_COMMIT = 1,
    /* One chunk's transaction */
    GD_OUTCOME_STAGE_CHUNK = 2,
    /* Every transaction of the batch */
    GD_OUTCOME_STAGE_SETTLED = 3,
};

/* In kind of a correction */
enum {
    /* The refused frame never happened */
    GD_CORRECTION_KIND_VOID = 1,
    /* Another frame stands for it */
    GD_CORRECTION_KIND_REPLACED = 2,
    /* All refusals of the market are dealt with, its halt is over */
    GD_CORRECTION_KIND_MARKET = 3,
    /* The account is no longer frozen */
    GD_CORRECTION_KIND_ACCOUNT = 4,
};

/* In kind of a status request */
enum {
    /* Digest of the state */
    GD_STATUS_KIND_DIGEST = 1,
};

/* In key of a parameter row */
enum {
    /* Puts the staged rows in force */
    GD_PARAM_KEY_COMMIT = 0,
    /* value: batch window, ns */
    GD_PARAM_KEY_BATCH_WINDOW_NS = 1,
    /* value: oldest observation that counts, ns */
    GD_PARAM_KEY_OBSERVATION_AGE_NS = 2,
    /* value: time without a price before reduce-only, ns */
    GD_PARAM_KEY_HOLD_NS = 3,
    /* value: liquidation fee, 1e-9 of quote; value2: reserve of insurance, 1e-12 of notional */
    GD_PARAM_KEY_LIQUIDATION = 4,
    /* row: tier; value: initial, value2: maintenance, both 1e-12 */
    GD_PARAM_KEY_MARGIN_TIER_RATES = 10,
    /* row: tier; value: largest leverage; value2: largest notional in 1e-6 USDC, 0 none */
    GD_PARAM_KEY_MARGIN_TIER_LIMITS = 11,
    /* row: tier; value: taker, value2: maker, both 1e-9 of quote, negative is a rebate */
    GD_PARAM_KEY_FEE_TIER = 12,
    /* row: market; value, value2: 16 ASCII bytes */
    GD_PARAM_KEY_MARKET_SYMBOL = 20,
    /* row: market; value: e of the price; value2: decimals of a lot */
    GD_PARAM_KEY_MARKET_SCALE = 21,
    /* row: market; value: default, value2: largest, whole times */
    GD_PARAM_KEY_MARKET_LEVERAGE = 22,
    /* row: market; value: interest, value2: cap, both 1e-12 per 8 h */
    GD_PARAM_KEY_MARKET_FUNDING = 23,
    /* row: market; value: band of fills round the mark, 1e-6 */
    GD_PARAM_KEY_MARKET_BAND = 24,
    /* row: market; value: provider 0..12; value2: weight, 0 none */
    GD_PARAM_KEY_FEED = 25,
    /* row: market; value: what the price moves in 100 ms at p99.99, 1e-12 */
    GD_PARAM_KEY_MARKET_MOVE = 26,
    /* row: market; value: whose funding rule, with all its knobs */
    GD_PARAM_KEY_MARKET_PROFILE = 30,
    /* row: market; value: number of a funding knob, value2: its value */
    GD_PARAM_KEY_MARKET_KNOB = 31,
    /* row: market; value: number of an oracle rule, value2: its value */
    GD_PARAM_KEY_MARKET_ORACLE = 32,
};

/* Domain refusals: journaled, consume their seq */
enum {
    /* Taken */
    GD_REFUSAL_NONE = 0,
    /* No such market in force */
    GD_REFUSAL_UNKNOWN_MARKET = 1,
    /* No such account */
    GD_REFUSAL_UNKNOWN_ACCOUNT = 2,
    /* Price outside 1e7..9e9 */
    GD_REFUSAL_PRICE_OFF_SCALE = 3,
    /* Size 0 or above the market's largest */
    GD_REFUSAL_SIZE_OFF_SCALE = 4,
    /* A number would leave its bounds */
    GD_REFUSAL_OUT_OF_BOUNDS = 5,
    /* No such kind */
    GD_REFUSAL_UNKNOWN_KIND = 6,
    /* Template not served by the rules in force */
    GD_REFUSAL_NOT_IN_FORCE = 7,
    /* Not the account's next chain event */
    GD_REFUSAL_EVENT_OUT_OF_ORDER = 8,
    /* Not the account's next nonce */
    GD_REFUSAL_NONCE_OUT_OF_ORDER = 9,
    /* More than is free and not needed by cross positions, or the account is frozen */
    GD_REFUSAL_INSUFFICIENT_FREE = 10,
    /* No open position, one that may not change so, or one that would fall below its requirement */
    GD_REFUSAL_INSUFFICIENT_POSITION = 11,
    /* The public key has a number */
    GD_REFUSAL_ACCOUNT_EXISTS = 12,
    /* Tick not after, or not following on, the one before */
    GD_REFUSAL_CLOCK_OUT_OF_ORDER = 13,
    /* Count or digest of staged rows differs */
    GD_REFUSAL_PARAM_DIGEST = 14,
    /* Rows contradict a rule */
    GD_REFUSAL_PARAM_INVALID = 15,
    /* A change is pending or too many rows are staged */
    GD_REFUSAL_PARAM_FULL = 16,
    /* No such feed registered */
    GD_REFUSAL_UNKNOWN_FEED = 17,
    /* Price off scale or time missing */
    GD_REFUSAL_OBSERVATION_INVALID = 18,
    /* Older than the one known */
    GD_REFUSAL_OBSERVATION_OLD = 19,
    /* Not the next batch */
    GD_REFUSAL_BATCH_OUT_OF_ORDER = 20,
    /* No such open refusal, halt or freeze */
    GD_REFUSAL_NOTHING_TO_CORRECT = 21,
    /* Leverage outside market or tiers */
    GD_REFUSAL_LEVERAGE_OFF_TABLE = 22,
    /* Rules not known to this build */
    GD_REFUSAL_RULES_UNKNOWN = 23,
    /* The account no longer qualifies */
    GD_REFUSAL_STALE_CANDIDATE = 24,
    /* No such fee tier */
    GD_REFUSAL_UNKNOWN_TIER = 25,
    /* Not the source's next seq */
    GD_REFUSAL_SEQUENCE = 26,
    /* A market of the account has no mark to judge it by */
    GD_REFUSAL_MARK_UNKNOWN = 27,
    /* No more liquidations at a time; risk proposes again */
    GD_REFUSAL_LIQUIDATIONS_FULL = 28,
    /* A fill of insurance in a market where it never held anything */
    GD_REFUSAL_INSURANCE_REDUCE_ONLY = 29,
    /* Published more than an hour after the last tick */
    GD_REFUSAL_OBSERVATION_AHEAD = 30,
};

/* Transport faults: not journaled, consume no seq */
enum {
    /* No fault. What to do: Go on */
    GD_FAULT_NONE = 0,
    /* CRC differs. What to do: Mend the sender: the CRC-32C covers bytes 0..59, header included.
       Say hello, resend from last_seq + 1 */
    GD_FAULT_BAD_CRC = 1,
    /* Block length, schema or version differs. What to do: Build against this schema: block
       length 56, schema 7011, version 1. Nothing was taken */
    GD_FAULT_WRONG_SCHEMA = 2,
    /* No such template for clients. What to do: Send only templates of clients: 1..12, hello,
       status request */
    GD_FAULT_UNKNOWN_TEMPLATE = 3,
    /* Spare bytes or unused flags are set. What to do: Zero the spare fields, and flags where
       they carry nothing; say hello, resend from last_seq + 1 */
    GD_FAULT_SPARE_NOT_ZERO = 4,
    /* seq beyond the next. What to do: Say hello again and resend from expected_seq */
    GD_FAULT_GAP = 5,
    /* seq known with other bytes. What to do: Stop and look: another frame was booked under this
       seq. Never send a changed frame under a used number */
    GD_FAULT_CONFLICT = 6,
    /* seq known, too old to compare. What to do: Nothing: the frame is passed over and the
       session goes on. Resend no older than you must */
    GD_FAULT_DUPLICATE_UNVERIFIED = 7,
    /* The session has not begun. What to do: Say hello for the source first, on this connection */
    GD_FAULT_NO_HELLO = 8,
    /* Another session has this source. What to do: Wait and say hello again: the source is free
       when its other session ends */
    GD_FAULT_SOURCE_TAKEN = 9,
    /* The client was acked more than is here: alarm. What to do: Stop and alarm: what you hold
       an ack or an output for is not here. An operator decides */
    GD_FAULT_LOST_DATA = 10,
    /* No room to journal; try again later. What to do: Wait, say hello again, resend from
       last_seq + 1: the disk has no room now */
    GD_FAULT_JOURNAL_FULL = 11,
    /* This connection may not send as this source. What to do: Use the source that is yours; the
       engine keeps its own, and its clock when that runs */
    GD_FAULT_SOURCE_FORBIDDEN = 12,
};

/* Name of a number of this enumeration, "?" for one that is not known: template */
static inline const char *gd_template_name(int64_t number) {
    switch (number) {
    case 1: return "FILL";
    case 2: return "ACCOUNT";
    case 3: return "TRANSFER";
    case 4: return "SETTING";
    case 5: return "OBSERVATION";
    case 6: return "TICK";
    case 7: return "PARAM";
    case 8: return "CANDIDATE";
    case 9: return "OUTCOME";
    case 10: return "CORRECTION";
    case 11: return "PART";
    case 12: return "UPGRADE";
    case 13: return "GROUP";
    case 32: return "REFUSAL";
    case 33: return "ACCOUNT_ASSIGNED";
    case 34: return "LIQUIDATION_ORDER";
    case 35: return "FREE_COLLATERAL";
    case 36: return "MARKET_STATE";
    case 37: return "ACCOUNT_STATE";
    case 64: return "HELLO";
    case 65: return "WELCOME";
    case 66: return "ACK";
    case 67: return "FAULT";
    case 68: return "STATUS_REQUEST";
    case 69: return "STATUS";
    default: return "?";
    }
}

/* Name of a number of this enumeration, "?" for one that is not known: source */
static inline const char *gd_source_name(int64_t number) {
    switch (number) {
    case 0: return "ENGINE";
    case 1: return "MATCHING";
    case 2: return "CLOCK";
    case 3: return "FEEDS";
    case 4: return "RISK";
    case 5: return "RELAYER";
    case 6: return "CHAIN";
    case 7: return "API";
    case 8: return "ADMIN";
    default: return "?";
    }
}

/* Name of a number of this enumeration, "?" for one that is not known: refusal */
static inline const char *gd_refusal_name(int64_t number) {
    switch (number) {
    case 0: return "NONE";
    case 1: return "UNKNOWN_MARKET";
    case 2: return "UNKNOWN_ACCOUNT";
    case 3: return "PRICE_OFF_SCALE";
    case 4: return "SIZE_OFF_SCALE";
    case 5: return "OUT_OF_BOUNDS";
    case 6: return "UNKNOWN_KIND";
    case 7: return "NOT_IN_FORCE";
    case 8: return "EVENT_OUT_OF_ORDER";
    case 9: return "NONCE_OUT_OF_ORDER";
    case 10: return "INSUFFICIENT_FREE";
    case 11: return "INSUFFICIENT_POSITION";
    case 12: return "ACCOUNT_EXISTS";
    case 13: return "CLOCK_OUT_OF_ORDER";
    case 14: return "PARAM_DIGEST";
    case 15: return "PARAM_INVALID";
    case 16: return "PARAM_FULL";
    case 17: return "UNKNOWN_FEED";
    case 18: return "OBSERVATION_INVALID";
    case 19: return "OBSERVATION_OLD";
    case 20: return "BATCH_OUT_OF_ORDER";
    case 21: return "NOTHING_TO_CORRECT";
    case 22: return "LEVERAGE_OFF_TABLE";
    case 23: return "RULES_UNKNOWN";
    case 24: return "STALE_CANDIDATE";
    case 25: return "UNKNOWN_TIER";
    case 26: return "SEQUENCE";
    case 27: return "MARK_UNKNOWN";
    case 28: return "LIQUIDATIONS_FULL";
    case 29: return "INSURANCE_REDUCE_ONLY";
    case 30: return "OBSERVATION_AHEAD";
    default: return "?";
    }
}

/* Name of a number of this enumeration, "?" for one that is not known: fault */
static inline const char *gd_fault_name(int64_t number) {
    switch (number) {
    case 0: return "NONE";
    case 1: return "BAD_CRC";
    case 2: return "WRONG_SCHEMA";
    case 3: return "UNKNOWN_TEMPLATE";
    case 4: return "SPARE_NOT_ZERO";
    case 5: return "GAP";
    case 6: return "CONFLICT";
    case 7: return "DUPLICATE_UNVERIFIED";
    case 8: return "NO_HELLO";
    case 9: return "SOURCE_TAKEN";
    case 10: return "LOST_DATA";
    case 11: return "JOURNAL_FULL";
    case 12: return "SOURCE_FORBIDDEN";
    default: return "?";
    }
}

/* A matched trade: one frame books both legs */
typedef struct gd_fill {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1 */
    int64_t seq;
    /* Time of the match, ns since 1970 UTC */
    int64_t time_ns;
    /* The matching engine's number of the trade */
    int64_t trade_id;
    /* Price in 10^-e USD per lot, e per market; 1e7..9e9 is on scale */
    int64_t price;
    /* Size in lots, not 0; the sign is the taker's side, positive: the taker buys */
    int64_t size;
    /* Account number of the maker */
    int32_t maker;
    /* Account number of the taker */
    int32_t taker;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_fill;
GD_ASSERT(gd_fill_bytes, sizeof(gd_fill) == GD_FRAME_BYTES);
GD_ASSERT(gd_fill_seq, offsetof(gd_fill, seq) == 8);
GD_ASSERT(gd_fill_time_ns, offsetof(gd_fill, time_ns) == 16);
GD_ASSERT(gd_fill_trade_id, offsetof(gd_fill, trade_id) == 24);
GD_ASSERT(gd_fill_price, offsetof(gd_fill, price) == 32);
GD_ASSERT(gd_fill_size, offsetof(gd_fill, size) == 40);
GD_ASSERT(gd_fill_maker, offsetof(gd_fill, maker) == 48);
GD_ASSERT(gd_fill_taker, offsetof(gd_fill, taker) == 52);
GD_ASSERT(gd_fill_source, offsetof(gd_fill, source) == 56);
GD_ASSERT(gd_fill_flags, offsetof(gd_fill, flags) == 57);
GD_ASSERT(gd_fill_market, offsetof(gd_fill, market) == 58);
GD_ASSERT(gd_fill_crc, offsetof(gd_fill, crc) == 60);

/* A new public key; the engine assigns the account number and answers AccountAssignedFrame */
typedef struct gd_account {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1 */
    int64_t seq;
    /* Public key, 32 bytes: word 0 of 4, little endian. A 20-byte address is preceded by 12 zero
       bytes */
    int64_t key0;
    /* Public key, 32 bytes: word 1 of 4, little endian. A 20-byte address is preceded by 12 zero
       bytes */
    int64_t key1;
    /* Public key, 32 bytes: word 2 of 4, little endian. A 20-byte address is preceded by 12 zero
       bytes */
    int64_t key2;
    /* Public key, 32 bytes: word 3 of 4, little endian. A 20-byte address is preceded by 12 zero
       bytes */
    int64_t key3;
    /* Fee tier, 0..15 */
    int32_t tier;
    /* Zero */
    int32_t spare0;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_account;
GD_ASSERT(gd_account_bytes, sizeof(gd_account) == GD_FRAME_BYTES);
GD_ASSERT(gd_account_seq, offsetof(gd_account, seq) == 8);
GD_ASSERT(gd_account_key0, offsetof(gd_account, key0) == 16);
GD_ASSERT(gd_account_key1, offsetof(gd_account, key1) == 24);
GD_ASSERT(gd_account_key2, offsetof(gd_account, key2) == 32);
GD_ASSERT(gd_account_key3, offsetof(gd_account, key3) == 40);
GD_ASSERT(gd_account_tier, offsetof(gd_account, tier) == 48);
GD_ASSERT(gd_account_spare0, offsetof(gd_account, spare0) == 52);
GD_ASSERT(gd_account_source, offsetof(gd_account, source) == 56);
GD_ASSERT(gd_account_flags, offsetof(gd_account, flags) == 57);
GD_ASSERT(gd_account_market, offsetof(gd_account, market) == 58);
GD_ASSERT(gd_account_crc, offsetof(gd_account, crc) == 60);

/* Collateral in, out, or between free balance and a position; the kind stands in flags */
typedef struct gd_transfer {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1 */
    int64_t seq;
    /* Quote moved, in 1e-6 USDC, positive */
    int64_t quote_e6;
    /* Deposit: the vault program's event number of the account. Otherwise: the account's nonce.
       Only the next is accepted */
    int64_t event_no;
    /* Deposit: slot of the transaction on chain. Otherwise 0 */
    int64_t chain_slot;
    /* Deposit: first 8 bytes of the transaction's signature. Otherwise 0 */
    int64_t tx_prefix;
    /* Account number */
    int32_t account;
    /* Deposit: place of the event within its transaction. Otherwise 0 */
    int32_t index;
    /* Who numbers this frame */
    uint8_t source;
    /* Kind of the transfer. One of GD_TRANSFER_KIND_* */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_transfer;
GD_ASSERT(gd_transfer_bytes, sizeof(gd_transfer) == GD_FRAME_BYTES);
GD_ASSERT(gd_transfer_seq, offsetof(gd_transfer, seq) == 8);
GD_ASSERT(gd_transfer_quote_e6, offsetof(gd_transfer, quote_e6) == 16);
GD_ASSERT(gd_transfer_event_no, offsetof(gd_transfer, event_no) == 24);
GD_ASSERT(gd_transfer_chain_slot, offsetof(gd_transfer, chain_slot) == 32);
GD_ASSERT(gd_transfer_tx_prefix, offsetof(gd_transfer, tx_prefix) == 40);
GD_ASSERT(gd_transfer_account, offsetof(gd_transfer, account) == 48);
GD_ASSERT(gd_transfer_index, offsetof(gd_transfer, index) == 52);
GD_ASSERT(gd_transfer_source, offsetof(gd_transfer, source) == 56);
GD_ASSERT(gd_transfer_flags, offsetof(gd_transfer, flags) == 57);
GD_ASSERT(gd_transfer_market, offsetof(gd_transfer, market) == 58);
GD_ASSERT(gd_transfer_crc, offsetof(gd_transfer, crc) == 60);

/* A user's setting of one account in one market */
typedef struct gd_setting {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1 */
    int64_t seq;
    /* LEVERAGE: whole times. MARGIN_MODE: 0 isolated, 1 cross */
    int64_t value;
    /* Nonce of the account; only the next is accepted */
    int64_t nonce;
    /* Account number */
    int32_t account;
    /* What is set. One of GD_SETTING_KIND_* */
    int32_t kind;
    /* Zero */
    int64_t spare0;
    /* Zero */
    int64_t spare1;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_setting;
GD_ASSERT(gd_setting_bytes, sizeof(gd_setting) == GD_FRAME_BYTES);
GD_ASSERT(gd_setting_seq, offsetof(gd_setting, seq) == 8);
GD_ASSERT(gd_setting_value, offsetof(gd_setting, value) == 16);
GD_ASSERT(gd_setting_nonce, offsetof(gd_setting, nonce) == 24);
GD_ASSERT(gd_setting_account, offsetof(gd_setting, account) == 32);
GD_ASSERT(gd_setting_kind, offsetof(gd_setting, kind) == 36);
GD_ASSERT(gd_setting_spare0, offsetof(gd_setting, spare0) == 40);
GD_ASSERT(gd_setting_spare1, offsetof(gd_setting, spare1) == 48);
GD_ASSERT(gd_setting_source, offsetof(gd_setting, source) == 56);
GD_ASSERT(gd_setting_flags, offsetof(gd_setting, flags) == 57);
GD_ASSERT(gd_setting_market, offsetof(gd_setting, market) == 58);
GD_ASSERT(gd_setting_crc, offsetof(gd_setting, crc) == 60);

/* One price from one feed; hints, never resent */
typedef struct gd_observation {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1 */
    int64_t seq;
    /* Time of publication by the feed, ns since 1970 UTC */
    int64_t publish_ns;
    /* Price, value = price * 10^expo USD */
    int64_t price;
    /* Confidence interval of the price, one sided, in the same units */
    int64_t conf;
    /* Slot of the chain the price was read at; 0 if none */
    int64_t slot;
    /* ORACLE: provider number 0..12. Otherwise 0 */
    int32_t feed;
    /* Decimal exponent of price and conf, mostly negative */
    int16_t expo;
    /* What was observed. One of GD_OBSERVATION_KIND_* */
    int16_t kind;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_observation;
GD_ASSERT(gd_observation_bytes, sizeof(gd_observation) == GD_FRAME_BYTES);
GD_ASSERT(gd_observation_seq, offsetof(gd_observation, seq) == 8);
GD_ASSERT(gd_observation_publish_ns, offsetof(gd_observation, publish_ns) == 16);
GD_ASSERT(gd_observation_price, offsetof(gd_observation, price) == 24);
GD_ASSERT(gd_observation_conf, offsetof(gd_observation, conf) == 32);
GD_ASSERT(gd_observation_slot, offsetof(gd_observation, slot) == 40);
GD_ASSERT(gd_observation_feed, offsetof(gd_observation, feed) == 48);
GD_ASSERT(gd_observation_expo, offsetof(gd_observation, expo) == 52);
GD_ASSERT(gd_observation_kind, offsetof(gd_observation, kind) == 54);
GD_ASSERT(gd_observation_source, offsetof(gd_observation, source) == 56);
GD_ASSERT(gd_observation_flags, offsetof(gd_observation, flags) == 57);
GD_ASSERT(gd_observation_market, offsetof(gd_observation, market) == 58);
GD_ASSERT(gd_observation_crc, offsetof(gd_observation, crc) == 60);

/* The clock; the first tick past an hour pays funding */
typedef struct gd_tick {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1 */
    int64_t seq;
    /* Time, ns since 1970 UTC */
    int64_t now_ns;
    /* SECOND: now_ns - prev_ns */
    int64_t interval_ns;
    /* SECOND: time of the tick before */
    int64_t prev_ns;
    /* What the tick does. One of GD_TICK_KIND_* */
    int32_t kind;
    /* Zero */
    int32_t spare0;
    /* Zero */
    int64_t spare1;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_tick;
GD_ASSERT(gd_tick_bytes, sizeof(gd_tick) == GD_FRAME_BYTES);
GD_ASSERT(gd_tick_seq, offsetof(gd_tick, seq) == 8);
GD_ASSERT(gd_tick_now_ns, offsetof(gd_tick, now_ns) == 16);
GD_ASSERT(gd_tick_interval_ns, offsetof(gd_tick, interval_ns) == 24);
GD_ASSERT(gd_tick_prev_ns, offsetof(gd_tick, prev_ns) == 32);
GD_ASSERT(gd_tick_kind, offsetof(gd_tick, kind) == 40);
GD_ASSERT(gd_tick_spare0, offsetof(gd_tick, spare0) == 44);
GD_ASSERT(gd_tick_spare1, offsetof(gd_tick, spare1) == 48);
GD_ASSERT(gd_tick_source, offsetof(gd_tick, source) == 56);
GD_ASSERT(gd_tick_flags, offsetof(gd_tick, flags) == 57);
GD_ASSERT(gd_tick_market, offsetof(gd_tick, market) == 58);
GD_ASSERT(gd_tick_crc, offsetof(gd_tick, crc) == 60);

/* One staged parameter row; the COMMIT row puts a change in force */
typedef struct gd_param {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1 */
    int64_t seq;
    /* Number of the change that the row belongs to */
    int32_t change;
    /* What the row sets. One of GD_PARAM_KEY_* */
    int16_t key;
    /* Market or tier number, by key */
    int16_t row;
    /* COMMIT: count of rows staged before it. Otherwise 0 */
    int32_t of;
    /* Zero */
    int32_t spare0;
    /* By key. COMMIT: bytes 0..7 of the SHA-256 of the rows */
    int64_t value;
    /* By key. COMMIT: bytes 8..15 of the SHA-256 of the rows */
    int64_t value2;
    /* COMMIT: in force at the first tick at or past it, ns since 1970 UTC */
    int64_t not_before_ns;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_param;
GD_ASSERT(gd_param_bytes, sizeof(gd_param) == GD_FRAME_BYTES);
GD_ASSERT(gd_param_seq, offsetof(gd_param, seq) == 8);
GD_ASSERT(gd_param_change, offsetof(gd_param, change) == 16);
GD_ASSERT(gd_param_key, offsetof(gd_param, key) == 20);
GD_ASSERT(gd_param_row, offsetof(gd_param, row) == 22);
GD_ASSERT(gd_param_of, offsetof(gd_param, of) == 24);
GD_ASSERT(gd_param_spare0, offsetof(gd_param, spare0) == 28);
GD_ASSERT(gd_param_value, offsetof(gd_param, value) == 32);
GD_ASSERT(gd_param_value2, offsetof(gd_param, value2) == 40);
GD_ASSERT(gd_param_not_before_ns, offsetof(gd_param, not_before_ns) == 48);
GD_ASSERT(gd_param_source, offsetof(gd_param, source) == 56);
GD_ASSERT(gd_param_flags, offsetof(gd_param, flags) == 57);
GD_ASSERT(gd_param_market, offsetof(gd_param, market) == 58);
GD_ASSERT(gd_param_crc, offsetof(gd_param, crc) == 60);

/* Risk proposes an account for liquidation; the engine checks again */
typedef struct gd_candidate {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1 */
    int64_t seq;
    /* Journal position that risk had seen */
    int64_t seen_position;
    /* Account number */
    int32_t account;
    /* Kind of the proposal. One of GD_CANDIDATE_KIND_* */
    int32_t kind;
    /* Margin ratio seen */
    int64_t ratio;
    /* DELEVERAGE: account on the other side; else 0 */
    int64_t counterparty;
    /* Zero */
    int64_t spare0;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_candidate;
GD_ASSERT(gd_candidate_bytes, sizeof(gd_candidate) == GD_FRAME_BYTES);
GD_ASSERT(gd_candidate_seq, offsetof(gd_candidate, seq) == 8);
GD_ASSERT(gd_candidate_seen_position, offsetof(gd_candidate, seen_position) == 16);
GD_ASSERT(gd_candidate_account, offsetof(gd_candidate, account) == 24);
GD_ASSERT(gd_candidate_kind, offsetof(gd_candidate, kind) == 28);
GD_ASSERT(gd_candidate_ratio, offsetof(gd_candidate, ratio) == 32);
GD_ASSERT(gd_candidate_counterparty, offsetof(gd_candidate, counterparty) == 40);
GD_ASSERT(gd_candidate_spare0, offsetof(gd_candidate, spare0) == 48);
GD_ASSERT(gd_candidate_source, offsetof(gd_candidate, source) == 56);
GD_ASSERT(gd_candidate_flags, offsetof(gd_candidate, flags) == 57);
GD_ASSERT(gd_candidate_market, offsetof(gd_candidate, market) == 58);
GD_ASSERT(gd_candidate_crc, offsetof(gd_candidate, crc) == 60);

/* A finalized transaction, or a settled batch, from the relayer */
typedef struct gd_outcome {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1 */
    int64_t seq;
    /* Batch number, from 1 */
    int64_t batch;
    /* Slot of the chain in which it was finalized */
    int64_t slot;
    /* CHUNK: number of the chunk. Otherwise 0 */
    int32_t chunk;
    /* What is finalized. One of GD_OUTCOME_STAGE_* */
    int32_t stage;
    /* Bytes 0..7 of the transaction's signature */
    int64_t signature0;
    /* Bytes 8..15 of the transaction's signature */
    int64_t signature1;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_outcome;
GD_ASSERT(gd_outcome_bytes, sizeof(gd_outcome) == GD_FRAME_BYTES);
GD_ASSERT(gd_outcome_seq, offsetof(gd_outcome, seq) == 8);
GD_ASSERT(gd_outcome_batch, offsetof(gd_outcome, batch) == 16);
GD_ASSERT(gd_outcome_slot, offsetof(gd_outcome, slot) == 24);
GD_ASSERT(gd_outcome_chunk, offsetof(gd_outcome, chunk) == 32);
GD_ASSERT(gd_outcome_stage, offsetof(gd_outcome, stage) == 36);
GD_ASSERT(gd_outcome_signature0, offsetof(gd_outcome, signature0) == 40);
GD_ASSERT(gd_outcome_signature1, offsetof(gd_outcome, signature1) == 48);
GD_ASSERT(gd_outcome_source, offsetof(gd_outcome, source) == 56);
GD_ASSERT(gd_outcome_flags, offsetof(gd_outcome, flags) == 57);
GD_ASSERT(gd_outcome_market, offsetof(gd_outcome, market) == 58);
GD_ASSERT(gd_outcome_crc, offsetof(gd_outcome, crc) == 60);

/* An operator's word on a refused frame */
typedef struct gd_correction {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1 */
    int64_t seq;
    /* seq of the refused frame. ACCOUNT: the account number */
    int64_t refused_seq;
    /* REPLACED: seq of the frame that stands for it. Otherwise 0 */
    int64_t replacement_seq;
    /* Source of the refused frame, numbered as in Source */
    int32_t refused_source;
    /* What is said of it. One of GD_CORRECTION_KIND_* */
    int32_t kind;
    /* Zero */
    int64_t spare0;
    /* Zero */
    int64_t spare1;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_correction;
GD_ASSERT(gd_correction_bytes, sizeof(gd_correction) == GD_FRAME_BYTES);
GD_ASSERT(gd_correction_seq, offsetof(gd_correction, seq) == 8);
GD_ASSERT(gd_correction_refused_seq, offsetof(gd_correction, refused_seq) == 16);
GD_ASSERT(gd_correction_replacement_seq, offsetof(gd_correction, replacement_seq) == 24);
GD_ASSERT(gd_correction_refused_source, offsetof(gd_correction, refused_source) == 32);
GD_ASSERT(gd_correction_kind, offsetof(gd_correction, kind) == 36);
GD_ASSERT(gd_correction_spare0, offsetof(gd_correction, spare0) == 40);
GD_ASSERT(gd_correction_spare1, offsetof(gd_correction, spare1) == 48);
GD_ASSERT(gd_correction_source, offsetof(gd_correction, source) == 56);
GD_ASSERT(gd_correction_flags, offsetof(gd_correction, flags) == 57);
GD_ASSERT(gd_correction_market, offsetof(gd_correction, market) == 58);
GD_ASSERT(gd_correction_crc, offsetof(gd_correction, crc) == 60);

/* Part k of n of what does not fit one frame, k and n in the high and low 4 bits of flags; acts
   on the last part */
typedef struct gd_part {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1 */
    int64_t seq;
    /* Bytes 0..7 of this part */
    int64_t part0;
    /* Bytes 8..15 of this part */
    int64_t part1;
    /* Bytes 16..23 of this part */
    int64_t part2;
    /* Bytes 24..31 of this part */
    int64_t part3;
    /* Bytes 32..39 of this part */
    int64_t part4;
    /* Who numbers this frame */
    uint8_t source;
    /* k in the high 4 bits, n in the low 4 */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_part;
GD_ASSERT(gd_part_bytes, sizeof(gd_part) == GD_FRAME_BYTES);
GD_ASSERT(gd_part_seq, offsetof(gd_part, seq) == 8);
GD_ASSERT(gd_part_part0, offsetof(gd_part, part0) == 16);
GD_ASSERT(gd_part_part1, offsetof(gd_part, part1) == 24);
GD_ASSERT(gd_part_part2, offsetof(gd_part, part2) == 32);
GD_ASSERT(gd_part_part3, offsetof(gd_part, part3) == 40);
GD_ASSERT(gd_part_part4, offsetof(gd_part, part4) == 48);
GD_ASSERT(gd_part_source, offsetof(gd_part, source) == 56);
GD_ASSERT(gd_part_flags, offsetof(gd_part, flags) == 57);
GD_ASSERT(gd_part_market, offsetof(gd_part, market) == 58);
GD_ASSERT(gd_part_crc, offsetof(gd_part, crc) == 60);

/* From here on other rules are in force */
typedef struct gd_upgrade {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1 */
    int64_t seq;
    /* Version of the rules */
    int32_t rules;
    /* Zero */
    int32_t spare0;
    /* SHA-256 of what carries the rules: word 0 of 4, little endian */
    int64_t digest0;
    /* SHA-256 of what carries the rules: word 1 of 4, little endian */
    int64_t digest1;
    /* SHA-256 of what carries the rules: word 2 of 4, little endian */
    int64_t digest2;
    /* SHA-256 of what carries the rules: word 3 of 4, little endian */
    int64_t digest3;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_upgrade;
GD_ASSERT(gd_upgrade_bytes, sizeof(gd_upgrade) == GD_FRAME_BYTES);
GD_ASSERT(gd_upgrade_seq, offsetof(gd_upgrade, seq) == 8);
GD_ASSERT(gd_upgrade_rules, offsetof(gd_upgrade, rules) == 16);
GD_ASSERT(gd_upgrade_spare0, offsetof(gd_upgrade, spare0) == 20);
GD_ASSERT(gd_upgrade_digest0, offsetof(gd_upgrade, digest0) == 24);
GD_ASSERT(gd_upgrade_digest1, offsetof(gd_upgrade, digest1) == 32);
GD_ASSERT(gd_upgrade_digest2, offsetof(gd_upgrade, digest2) == 40);
GD_ASSERT(gd_upgrade_digest3, offsetof(gd_upgrade, digest3) == 48);
GD_ASSERT(gd_upgrade_source, offsetof(gd_upgrade, source) == 56);
GD_ASSERT(gd_upgrade_flags, offsetof(gd_upgrade, flags) == 57);
GD_ASSERT(gd_upgrade_market, offsetof(gd_upgrade, market) == 58);
GD_ASSERT(gd_upgrade_crc, offsetof(gd_upgrade, crc) == 60);

/* Group header; journal only, never on the wire */
typedef struct gd_group {
    uint16_t block_length, template_id, schema, version;
    /* Journal position of this header, plus 1 */
    int64_t seq;
    /* Journal position of the group's first frame */
    int64_t first_position;
    /* Journal position up to which all was durable when the group was written */
    int64_t durable_upto;
    /* Time of the group, ns since 1970 UTC; 0 in a replay */
    int64_t time_ns;
    /* Frames in the group */
    int32_t count;
    /* Epoch of the writer */
    int32_t epoch;
    /* CRC-32C chained over the frames' CRCs, this group included */
    uint32_t chain;
    /* Rolling CRC-32C over the results of all frames before this group */
    uint32_t witness;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_group;
GD_ASSERT(gd_group_bytes, sizeof(gd_group) == GD_FRAME_BYTES);
GD_ASSERT(gd_group_seq, offsetof(gd_group, seq) == 8);
GD_ASSERT(gd_group_first_position, offsetof(gd_group, first_position) == 16);
GD_ASSERT(gd_group_durable_upto, offsetof(gd_group, durable_upto) == 24);
GD_ASSERT(gd_group_time_ns, offsetof(gd_group, time_ns) == 32);
GD_ASSERT(gd_group_count, offsetof(gd_group, count) == 40);
GD_ASSERT(gd_group_epoch, offsetof(gd_group, epoch) == 44);
GD_ASSERT(gd_group_chain, offsetof(gd_group, chain) == 48);
GD_ASSERT(gd_group_witness, offsetof(gd_group, witness) == 52);
GD_ASSERT(gd_group_source, offsetof(gd_group, source) == 56);
GD_ASSERT(gd_group_flags, offsetof(gd_group, flags) == 57);
GD_ASSERT(gd_group_market, offsetof(gd_group, market) == 58);
GD_ASSERT(gd_group_crc, offsetof(gd_group, crc) == 60);

/* Output: a frame was journaled and refused */
typedef struct gd_refusal {
    uint16_t block_length, template_id, schema, version;
    /* Number of the output, contiguous from 1 */
    int64_t seq;
    /* seq of the refused frame */
    int64_t refused_seq;
    /* Ordinal of the refused frame: frames in the journal, group headers not counted */
    int64_t ordinal;
    /* A number that helps, by reason */
    int64_t detail;
    /* Account the frame names, or -1 */
    int32_t account;
    /* Template id of the refused frame */
    int32_t refused_template;
    /* Source of the refused frame, numbered as in Source */
    int32_t refused_source;
    /* Why. One of GD_REFUSAL_* */
    int32_t reason;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_refusal;
GD_ASSERT(gd_refusal_bytes, sizeof(gd_refusal) == GD_FRAME_BYTES);
GD_ASSERT(gd_refusal_seq, offsetof(gd_refusal, seq) == 8);
GD_ASSERT(gd_refusal_refused_seq, offsetof(gd_refusal, refused_seq) == 16);
GD_ASSERT(gd_refusal_ordinal, offsetof(gd_refusal, ordinal) == 24);
GD_ASSERT(gd_refusal_detail, offsetof(gd_refusal, detail) == 32);
GD_ASSERT(gd_refusal_account, offsetof(gd_refusal, account) == 40);
GD_ASSERT(gd_refusal_refused_template, offsetof(gd_refusal, refused_template) == 44);
GD_ASSERT(gd_refusal_refused_source, offsetof(gd_refusal, refused_source) == 48);
GD_ASSERT(gd_refusal_reason, offsetof(gd_refusal, reason) == 52);
GD_ASSERT(gd_refusal_source, offsetof(gd_refusal, source) == 56);
GD_ASSERT(gd_refusal_flags, offsetof(gd_refusal, flags) == 57);
GD_ASSERT(gd_refusal_market, offsetof(gd_refusal, market) == 58);
GD_ASSERT(gd_refusal_crc, offsetof(gd_refusal, crc) == 60);

/* Output: the number given to a public key */
typedef struct gd_account_assigned {
    uint16_t block_length, template_id, schema, version;
    /* Number of the output, contiguous from 1 */
    int64_t seq;
    /* Public key, 32 bytes: word 0 of 4, little endian. A 20-byte address is preceded by 12 zero
       bytes */
    int64_t key0;
    /* Public key, 32 bytes: word 1 of 4, little endian. A 20-byte address is preceded by 12 zero
       bytes */
    int64_t key1;
    /* Public key, 32 bytes: word 2 of 4, little endian. A 20-byte address is preceded by 12 zero
       bytes */
    int64_t key2;
    /* Public key, 32 bytes: word 3 of 4, little endian. A 20-byte address is preceded by 12 zero
       bytes */
    int64_t key3;
    /* Account number */
    int32_t account;
    /* Fee tier, 0..15 */
    int32_t tier;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_account_assigned;
GD_ASSERT(gd_account_assigned_bytes, sizeof(gd_account_assigned) == GD_FRAME_BYTES);
GD_ASSERT(gd_account_assigned_seq, offsetof(gd_account_assigned, seq) == 8);
GD_ASSERT(gd_account_assigned_key0, offsetof(gd_account_assigned, key0) == 16);
GD_ASSERT(gd_account_assigned_key1, offsetof(gd_account_assigned, key1) == 24);
GD_ASSERT(gd_account_assigned_key2, offsetof(gd_account_assigned, key2) == 32);
GD_ASSERT(gd_account_assigned_key3, offsetof(gd_account_assigned, key3) == 40);
GD_ASSERT(gd_account_assigned_account, offsetof(gd_account_assigned, account) == 48);
GD_ASSERT(gd_account_assigned_tier, offsetof(gd_account_assigned, tier) == 52);
GD_ASSERT(gd_account_assigned_source, offsetof(gd_account_assigned, source) == 56);
GD_ASSERT(gd_account_assigned_flags, offsetof(gd_account_assigned, flags) == 57);
GD_ASSERT(gd_account_assigned_market, offsetof(gd_account_assigned, market) == 58);
GD_ASSERT(gd_account_assigned_crc, offsetof(gd_account_assigned, crc) == 60);

/* Output: a step of a liquidation; what to do is told by `kind` */
typedef struct gd_liquidation_order {
    uint16_t block_length, template_id, schema, version;
    /* Number of the output, contiguous from 1 */
    int64_t seq;
    /* Last seq of the matching engine's frames that this regards */
    int64_t as_of_seq;
    /* Size in lots; positive buys */
    int64_t size;
    /* Limit price in 10^-e USD per lot */
    int64_t price;
    /* Account number */
    int32_t account;
    /* Kind of the order. One of GD_LIQUIDATION_KIND_* */
    int32_t kind;
    /* Zero */
    int64_t spare0;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_liquidation_order;
GD_ASSERT(gd_liquidation_order_bytes, sizeof(gd_liquidation_order) == GD_FRAME_BYTES);
GD_ASSERT(gd_liquidation_order_seq, offsetof(gd_liquidation_order, seq) == 8);
GD_ASSERT(gd_liquidation_order_as_of_seq, offsetof(gd_liquidation_order, as_of_seq) == 16);
GD_ASSERT(gd_liquidation_order_size, offsetof(gd_liquidation_order, size) == 24);
GD_ASSERT(gd_liquidation_order_price, offsetof(gd_liquidation_order, price) == 32);
GD_ASSERT(gd_liquidation_order_account, offsetof(gd_liquidation_order, account) == 40);
GD_ASSERT(gd_liquidation_order_kind, offsetof(gd_liquidation_order, kind) == 44);
GD_ASSERT(gd_liquidation_order_spare0, offsetof(gd_liquidation_order, spare0) == 48);
GD_ASSERT(gd_liquidation_order_source, offsetof(gd_liquidation_order, source) == 56);
GD_ASSERT(gd_liquidation_order_flags, offsetof(gd_liquidation_order, flags) == 57);
GD_ASSERT(gd_liquidation_order_market, offsetof(gd_liquidation_order, market) == 58);
GD_ASSERT(gd_liquidation_order_crc, offsetof(gd_liquidation_order, crc) == 60);

/* Output: what the accounts that a frame touched may still use */
typedef struct gd_free_collateral {
    uint16_t block_length, template_id, schema, version;
    /* Number of the output, contiguous from 1 */
    int64_t seq;
    /* Ordinal of the frame that changed it */
    int64_t ordinal;
    /* Last seq of the matching engine's frames that this regards */
    int64_t as_of_seq;
    /* Free collateral of taker in 1e-6 USDC, signed; -2^62 where a mark is missing that it
       depends on */
    int64_t taker_free_e6;
    /* The same of maker in 1e-6 USDC; 0 where there is none */
    int64_t maker_free_e6;
    /* Account number: a fill's taker, or the one account of any other frame */
    int32_t taker;
    /* Account number: a fill's maker, or -1 */
    int32_t maker;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_free_collateral;
GD_ASSERT(gd_free_collateral_bytes, sizeof(gd_free_collateral) == GD_FRAME_BYTES);
GD_ASSERT(gd_free_collateral_seq, offsetof(gd_free_collateral, seq) == 8);
GD_ASSERT(gd_free_collateral_ordinal, offsetof(gd_free_collateral, ordinal) == 16);
GD_ASSERT(gd_free_collateral_as_of_seq, offsetof(gd_free_collateral, as_of_seq) == 24);
GD_ASSERT(gd_free_collateral_taker_free_e6, offsetof(gd_free_collateral, taker_free_e6) == 32);
GD_ASSERT(gd_free_collateral_maker_free_e6, offsetof(gd_free_collateral, maker_free_e6) == 40);
GD_ASSERT(gd_free_collateral_taker, offsetof(gd_free_collateral, taker) == 48);
GD_ASSERT(gd_free_collateral_maker, offsetof(gd_free_collateral, maker) == 52);
GD_ASSERT(gd_free_collateral_source, offsetof(gd_free_collateral, source) == 56);
GD_ASSERT(gd_free_collateral_flags, offsetof(gd_free_collateral, flags) == 57);
GD_ASSERT(gd_free_collateral_market, offsetof(gd_free_collateral, market) == 58);
GD_ASSERT(gd_free_collateral_crc, offsetof(gd_free_collateral, crc) == 60);

/* Output: state of a market after a change */
typedef struct gd_market_state {
    uint16_t block_length, template_id, schema, version;
    /* Number of the output, contiguous from 1 */
    int64_t seq;
    /* Ordinal of the frame that changed it */
    int64_t ordinal;
    /* Mark price in 10^-e USD per lot; 0 if none yet */
    int64_t price;
    /* Time of the books, ns since 1970 UTC */
    int64_t now_ns;
    /* Bits: 1 frozen, 2 halted, 4 reduce-only */
    int32_t state;
    /* The refusal that changed it, else NONE. One of GD_REFUSAL_* */
    int32_t reason;
    /* Zero */
    int64_t spare0;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_market_state;
GD_ASSERT(gd_market_state_bytes, sizeof(gd_market_state) == GD_FRAME_BYTES);
GD_ASSERT(gd_market_state_seq, offsetof(gd_market_state, seq) == 8);
GD_ASSERT(gd_market_state_ordinal, offsetof(gd_market_state, ordinal) == 16);
GD_ASSERT(gd_market_state_price, offsetof(gd_market_state, price) == 24);
GD_ASSERT(gd_market_state_now_ns, offsetof(gd_market_state, now_ns) == 32);
GD_ASSERT(gd_market_state_state, offsetof(gd_market_state, state) == 40);
GD_ASSERT(gd_market_state_reason, offsetof(gd_market_state, reason) == 44);
GD_ASSERT(gd_market_state_spare0, offsetof(gd_market_state, spare0) == 48);
GD_ASSERT(gd_market_state_source, offsetof(gd_market_state, source) == 56);
GD_ASSERT(gd_market_state_flags, offsetof(gd_market_state, flags) == 57);
GD_ASSERT(gd_market_state_market, offsetof(gd_market_state, market) == 58);
GD_ASSERT(gd_market_state_crc, offsetof(gd_market_state, crc) == 60);

/* Output: state of an account after a change */
typedef struct gd_account_state {
    uint16_t block_length, template_id, schema, version;
    /* Number of the output, contiguous from 1 */
    int64_t seq;
    /* Ordinal of the frame that changed it */
    int64_t ordinal;
    /* Equity that led to it, in 1e-6 USDC, rounded down; 0 when thawed */
    int64_t equity_e6;
    /* Time of the books, ns since 1970 UTC */
    int64_t now_ns;
    /* Account number */
    int32_t account;
    /* Bits: 1 frozen; 2 reduce-only, of the account in this market: its position is larger than
       its leverage admits */
    int32_t state;
    /* Zero */
    int64_t spare0;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_account_state;
GD_ASSERT(gd_account_state_bytes, sizeof(gd_account_state) == GD_FRAME_BYTES);
GD_ASSERT(gd_account_state_seq, offsetof(gd_account_state, seq) == 8);
GD_ASSERT(gd_account_state_ordinal, offsetof(gd_account_state, ordinal) == 16);
GD_ASSERT(gd_account_state_equity_e6, offsetof(gd_account_state, equity_e6) == 24);
GD_ASSERT(gd_account_state_now_ns, offsetof(gd_account_state, now_ns) == 32);
GD_ASSERT(gd_account_state_account, offsetof(gd_account_state, account) == 40);
GD_ASSERT(gd_account_state_state, offsetof(gd_account_state, state) == 44);
GD_ASSERT(gd_account_state_spare0, offsetof(gd_account_state, spare0) == 48);
GD_ASSERT(gd_account_state_source, offsetof(gd_account_state, source) == 56);
GD_ASSERT(gd_account_state_flags, offsetof(gd_account_state, flags) == 57);
GD_ASSERT(gd_account_state_market, offsetof(gd_account_state, market) == 58);
GD_ASSERT(gd_account_state_crc, offsetof(gd_account_state, crc) == 60);

/* Session: first frame of a client; source says who it is */
typedef struct gd_hello {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1. Session frames: 0 */
    int64_t seq;
    /* Highest durable seq the client was told, 0 if none */
    int64_t acked_seq;
    /* Number of the last output received, 0 if none */
    int64_t last_output;
    /* Zero */
    int64_t spare0;
    /* Zero */
    int64_t spare1;
    /* Zero */
    int64_t spare2;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_hello;
GD_ASSERT(gd_hello_bytes, sizeof(gd_hello) == GD_FRAME_BYTES);
GD_ASSERT(gd_hello_seq, offsetof(gd_hello, seq) == 8);
GD_ASSERT(gd_hello_acked_seq, offsetof(gd_hello, acked_seq) == 16);
GD_ASSERT(gd_hello_last_output, offsetof(gd_hello, last_output) == 24);
GD_ASSERT(gd_hello_spare0, offsetof(gd_hello, spare0) == 32);
GD_ASSERT(gd_hello_spare1, offsetof(gd_hello, spare1) == 40);
GD_ASSERT(gd_hello_spare2, offsetof(gd_hello, spare2) == 48);
GD_ASSERT(gd_hello_source, offsetof(gd_hello, source) == 56);
GD_ASSERT(gd_hello_flags, offsetof(gd_hello, flags) == 57);
GD_ASSERT(gd_hello_market, offsetof(gd_hello, market) == 58);
GD_ASSERT(gd_hello_crc, offsetof(gd_hello, crc) == 60);

/* Session: answer to hello */
typedef struct gd_welcome {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1. Session frames: 0 */
    int64_t seq;
    /* Last durable seq of this source */
    int64_t last_seq;
    /* Number of the first output that will be sent */
    int64_t first_missing_output;
    /* Ordinal of the last durable frame */
    int64_t ordinal;
    /* Time of the books, ns since 1970 UTC */
    int64_t now_ns;
    /* Epoch of the engine */
    int32_t epoch;
    /* Zero */
    int32_t spare0;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_welcome;
GD_ASSERT(gd_welcome_bytes, sizeof(gd_welcome) == GD_FRAME_BYTES);
GD_ASSERT(gd_welcome_seq, offsetof(gd_welcome, seq) == 8);
GD_ASSERT(gd_welcome_last_seq, offsetof(gd_welcome, last_seq) == 16);
GD_ASSERT(gd_welcome_first_missing_output, offsetof(gd_welcome, first_missing_output) == 24);
GD_ASSERT(gd_welcome_ordinal, offsetof(gd_welcome, ordinal) == 32);
GD_ASSERT(gd_welcome_now_ns, offsetof(gd_welcome, now_ns) == 40);
GD_ASSERT(gd_welcome_epoch, offsetof(gd_welcome, epoch) == 48);
GD_ASSERT(gd_welcome_spare0, offsetof(gd_welcome, spare0) == 52);
GD_ASSERT(gd_welcome_source, offsetof(gd_welcome, source) == 56);
GD_ASSERT(gd_welcome_flags, offsetof(gd_welcome, flags) == 57);
GD_ASSERT(gd_welcome_market, offsetof(gd_welcome, market) == 58);
GD_ASSERT(gd_welcome_crc, offsetof(gd_welcome, crc) == 60);

/* Session: all frames of this source up to durable_seq are on disk */
typedef struct gd_ack {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1. Session frames: 0 */
    int64_t seq;
    /* Last durable seq of this source */
    int64_t durable_seq;
    /* Ordinal of the last durable frame */
    int64_t ordinal;
    /* Zero */
    int64_t spare0;
    /* Zero */
    int64_t spare1;
    /* Epoch of the engine */
    int32_t epoch;
    /* Zero */
    int32_t spare2;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_ack;
GD_ASSERT(gd_ack_bytes, sizeof(gd_ack) == GD_FRAME_BYTES);
GD_ASSERT(gd_ack_seq, offsetof(gd_ack, seq) == 8);
GD_ASSERT(gd_ack_durable_seq, offsetof(gd_ack, durable_seq) == 16);
GD_ASSERT(gd_ack_ordinal, offsetof(gd_ack, ordinal) == 24);
GD_ASSERT(gd_ack_spare0, offsetof(gd_ack, spare0) == 32);
GD_ASSERT(gd_ack_spare1, offsetof(gd_ack, spare1) == 40);
GD_ASSERT(gd_ack_epoch, offsetof(gd_ack, epoch) == 48);
GD_ASSERT(gd_ack_spare2, offsetof(gd_ack, spare2) == 52);
GD_ASSERT(gd_ack_source, offsetof(gd_ack, source) == 56);
GD_ASSERT(gd_ack_flags, offsetof(gd_ack, flags) == 57);
GD_ASSERT(gd_ack_market, offsetof(gd_ack, market) == 58);
GD_ASSERT(gd_ack_crc, offsetof(gd_ack, crc) == 60);

/* Session: a frame was not taken, nothing was journaled */
typedef struct gd_fault {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1. Session frames: 0 */
    int64_t seq;
    /* seq of the frame at fault */
    int64_t fault_seq;
    /* seq that the engine expects next */
    int64_t expected_seq;
    /* Why. One of GD_FAULT_* */
    int32_t code;
    /* Zero */
    int32_t spare0;
    /* Zero */
    int64_t spare1;
    /* Zero */
    int64_t spare2;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_fault;
GD_ASSERT(gd_fault_bytes, sizeof(gd_fault) == GD_FRAME_BYTES);
GD_ASSERT(gd_fault_seq, offsetof(gd_fault, seq) == 8);
GD_ASSERT(gd_fault_fault_seq, offsetof(gd_fault, fault_seq) == 16);
GD_ASSERT(gd_fault_expected_seq, offsetof(gd_fault, expected_seq) == 24);
GD_ASSERT(gd_fault_code, offsetof(gd_fault, code) == 32);
GD_ASSERT(gd_fault_spare0, offsetof(gd_fault, spare0) == 36);
GD_ASSERT(gd_fault_spare1, offsetof(gd_fault, spare1) == 40);
GD_ASSERT(gd_fault_spare2, offsetof(gd_fault, spare2) == 48);
GD_ASSERT(gd_fault_source, offsetof(gd_fault, source) == 56);
GD_ASSERT(gd_fault_flags, offsetof(gd_fault, flags) == 57);
GD_ASSERT(gd_fault_market, offsetof(gd_fault, market) == 58);
GD_ASSERT(gd_fault_crc, offsetof(gd_fault, crc) == 60);

/* Session: asks for a status */
typedef struct gd_status_request {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1. Session frames: 0 */
    int64_t seq;
    /* What is asked for. One of GD_STATUS_KIND_* */
    int32_t kind;
    /* Zero */
    int32_t spare0;
    /* Zero */
    int64_t spare1;
    /* Zero */
    int64_t spare2;
    /* Zero */
    int64_t spare3;
    /* Zero */
    int64_t spare4;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_status_request;
GD_ASSERT(gd_status_request_bytes, sizeof(gd_status_request) == GD_FRAME_BYTES);
GD_ASSERT(gd_status_request_seq, offsetof(gd_status_request, seq) == 8);
GD_ASSERT(gd_status_request_kind, offsetof(gd_status_request, kind) == 16);
GD_ASSERT(gd_status_request_spare0, offsetof(gd_status_request, spare0) == 20);
GD_ASSERT(gd_status_request_spare1, offsetof(gd_status_request, spare1) == 24);
GD_ASSERT(gd_status_request_spare2, offsetof(gd_status_request, spare2) == 32);
GD_ASSERT(gd_status_request_spare3, offsetof(gd_status_request, spare3) == 40);
GD_ASSERT(gd_status_request_spare4, offsetof(gd_status_request, spare4) == 48);
GD_ASSERT(gd_status_request_source, offsetof(gd_status_request, source) == 56);
GD_ASSERT(gd_status_request_flags, offsetof(gd_status_request, flags) == 57);
GD_ASSERT(gd_status_request_market, offsetof(gd_status_request, market) == 58);
GD_ASSERT(gd_status_request_crc, offsetof(gd_status_request, crc) == 60);

/* Session: digest of the state */
typedef struct gd_status {
    uint16_t block_length, template_id, schema, version;
    /* Contiguous per source, from 1. Session frames: 0 */
    int64_t seq;
    /* Ordinal of the last applied frame */
    int64_t ordinal;
    /* SHA-256 of the state: word 0 of 4, little endian */
    int64_t digest0;
    /* SHA-256 of the state: word 1 of 4, little endian */
    int64_t digest1;
    /* SHA-256 of the state: word 2 of 4, little endian */
    int64_t digest2;
    /* SHA-256 of the state: word 3 of 4, little endian */
    int64_t digest3;
    /* Who numbers this frame */
    uint8_t source;
    /* Zero */
    uint8_t flags;
    /* Market number, or -1 where none is meant */
    int16_t market;
    /* CRC-32C over bytes 0..59 of the frame, header included */
    uint32_t crc;
} gd_status;
GD_ASSERT(gd_status_bytes, sizeof(gd_status) == GD_FRAME_BYTES);
GD_ASSERT(gd_status_seq, offsetof(gd_status, seq) == 8);
GD_ASSERT(gd_status_ordinal, offsetof(gd_status, ordinal) == 16);
GD_ASSERT(gd_status_digest0, offsetof(gd_status, digest0) == 24);
GD_ASSERT(gd_status_digest1, offsetof(gd_status, digest1) == 32);
GD_ASSERT(gd_status_digest2, offsetof(gd_status, digest2) == 40);
GD_ASSERT(gd_status_digest3, offsetof(gd_status, digest3) == 48);
GD_ASSERT(gd_status_source, offsetof(gd_status, source) == 56);
GD_ASSERT(gd_status_flags, offsetof(gd_status, flags) == 57);
GD_ASSERT(gd_status_market, offsetof(gd_status, market) == 58);
GD_ASSERT(gd_status_crc, offsetof(gd_status, crc) == 60);

/* A frame of any template; template_id of any member says which one it is. */
typedef union gd_frame {
    gd_fill fill;
    gd_account account;
    gd_transfer transfer;
    gd_setting setting;
    gd_observation observation;
    gd_tick tick;
    gd_param param;
    gd_candidate candidate;
    gd_outcome outcome;
    gd_correction correction;
    gd_part part;
    gd_upgrade upgrade;
    gd_group group;
    gd_refusal refusal;
    gd_account_assigned account_assigned;
    gd_liquidation_order liquidation_order;
    gd_free_collateral free_collateral;
    gd_market_state market_state;
    gd_account_state account_state;
    gd_hello hello;
    gd_welcome welcome;
    gd_ack ack;
    gd_fault fault;
    gd_status_request status_request;
    gd_status status;
    uint8_t bytes[GD_FRAME_BYTES];
    uint64_t words[8];
} gd_frame;
GD_ASSERT(gd_frame_bytes, sizeof(gd_frame) == GD_FRAME_BYTES);

#ifdef __cplusplus
}
#endif
#endif
