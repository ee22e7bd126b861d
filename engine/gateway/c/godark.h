/*
 * godark.h: speak to the GoDark gateway from C99: CRC-32C, encoders, decoding. No allocation, no I/O.
 *
 * A frame is a gd_frame of 64 bytes. Encode it, seal it (that writes the CRC; it comes last), send it as it
 * lies in memory, back to back with the next. Cut what you receive every 64 bytes, gd_check() it and look at
 * template_id. example.c shows a whole session: hello, resume, batches, acks, faults, outputs, reconnect.
 */
#ifndef GODARK_H
#define GODARK_H

#include <string.h>

#include "godark_frames.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define GD_CRC_BY_CPU 1
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- CRC-32C (Castagnoli), polynomial 0x1EDC6F41 reflected ---- */

/* 256 entries, computed at the first use. Two threads that both compute it write the same values. */
static inline const uint32_t *gd_crc_table(void) {
    static uint32_t table[256];
    static volatile int made = 0;
    if (!made) {
        uint32_t byte, crc;
        int bit;
        for (byte = 0; byte < 256; byte++) {
            crc = byte;
            for (bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0);
            table[byte] = crc;
        }
        made = 1;
    }
    return table;
}

/* `crc` continued over `length` bytes, by table: works everywhere, some nanoseconds a byte. */
static inline uint32_t gd_crc32c_by_table(uint32_t crc, const void *data, size_t length) {
    const uint8_t *at = (const uint8_t *)data;
    const uint32_t *table = gd_crc_table();
    crc = ~crc;
    while (length--) crc = table[(crc ^ *at++) & 0xFF] ^ (crc >> 8);
    return ~crc;
}

#ifdef GD_CRC_BY_CPU
/* The same by the instruction of SSE 4.2. */
__attribute__((target("sse4.2"))) static inline uint32_t gd_crc32c_by_cpu(uint32_t crc, const void *data,
                                                                          size_t length) {
    const uint8_t *at = (const uint8_t *)data;
    unsigned long long state = (uint32_t)~crc, word;
    for (; length >= 8; length -= 8, at += 8) {
        memcpy(&word, at, 8);
        state = __builtin_ia32_crc32di(state, word);
    }
    while (length--) state = __builtin_ia32_crc32qi((uint32_t)state, *at++);
    return ~(uint32_t)state;
}
#endif

/* CRC-32C of `length` bytes continued from `crc` (0 to begin): by the CPU where it can. */
static inline uint32_t gd_crc32c(uint32_t crc, const void *data, size_t length) {
#ifdef GD_CRC_BY_CPU
    if (__builtin_cpu_supports("sse4.2")) return gd_crc32c_by_cpu(crc, data, length);
#endif
    return gd_crc32c_by_table(crc, data, length);
}

/* ---- frames ---- */

/* Zero a frame and write its header, source and seq; market is -1 until it is set. */
static inline void gd_begin(gd_frame *out, int template_id, int source, int64_t seq) {
    memset(out, 0, sizeof *out);
    out->fill.block_length = GD_BLOCK_LENGTH;
    out->fill.template_id = (uint16_t)template_id;
    out->fill.schema = GD_SCHEMA_ID;
    out->fill.version = GD_SCHEMA_VERSION;
    out->fill.seq = seq;
    out->fill.source = (uint8_t)source;
    out->fill.market = -1;
}

/* Write the CRC over bytes 0..59. Whatever is changed afterwards breaks it. */
static inline void gd_seal(gd_frame *frame) {
    frame->fill.crc = gd_crc32c(0, frame->bytes, GD_FRAME_BYTES - sizeof(uint32_t));
}

/* GD_FAULT_NONE, GD_FAULT_BAD_CRC or GD_FAULT_WRONG_SCHEMA of a frame that was received. */
static inline int gd_check(const gd_frame *frame) {
    if (frame->fill.crc != gd_crc32c(0, frame->bytes, GD_FRAME_BYTES - sizeof(uint32_t))) {
        return GD_FAULT_BAD_CRC;
    }
    if (frame->fill.block_length != GD_BLOCK_LENGTH || frame->fill.schema != GD_SCHEMA_ID ||
        frame->fill.version != GD_SCHEMA_VERSION) {
        return GD_FAULT_WRONG_SCHEMA;
    }
    return GD_FAULT_NONE;
}

/* Whether a frame is an output: numbered by the engine in seq, to be remembered for the next hello. */
static inline int gd_is_output(const gd_frame *frame) {
    return frame->fill.template_id >= 32 && frame->fill.template_id < 64;
}

/*
 * First frame of a session, one for each source it carries. acked_seq: the highest seq you were told is
 * durable, 0 if none. last_output: number of the last output you received, 0 for all that are still held,
 * GD_NO_OUTPUTS for none. Sealed.
 */
static inline void gd_hello_encode(gd_frame *out, int source, int64_t acked_seq, int64_t last_output) {
    gd_begin(out, GD_TEMPLATE_HELLO, source, 0);
    out->hello.market = 0;
    out->hello.acked_seq = acked_seq;
    out->hello.last_output = last_output;
    gd_seal(out);
}

/* A fill. price in 10^-e USD per lot of the market, size in lots, positive where the taker buys. Sealed. */
static inline void gd_fill_encode(gd_frame *out, int64_t seq, int market, int64_t time_ns, int64_t trade_id,
                                  int64_t price, int64_t size, int32_t maker, int32_t taker) {
    gd_begin(out, GD_TEMPLATE_FILL, GD_SOURCE_MATCHING, seq);
    out->fill.market = (int16_t)market;
    out->fill.time_ns = time_ns;
    out->fill.trade_id = trade_id;
    out->fill.price = price;
    out->fill.size = size;
    out->fill.maker = maker;
    out->fill.taker = taker;
    gd_seal(out);
}

/* A public key of 32 bytes; its number comes back as an ACCOUNT_ASSIGNED output. Sealed. */
static inline void gd_account_encode(gd_frame *out, int source, int64_t seq, const uint8_t key[32],
                                     int32_t tier) {
    gd_begin(out, GD_TEMPLATE_ACCOUNT, source, seq);
    memcpy(&out->account.key0, key, 32);
    out->account.tier = tier;
    gd_seal(out);
}

/*
 * A transfer of 1e-6 USDC, kind one of GD_TRANSFER_KIND_*. number: for a deposit the vault program's event
 * number of the account, else the account's nonce; only the next is accepted. market -1 where no position is
 * meant. A deposit then also carries chain_slot, tx_prefix and index: set them and seal again.
 */
static inline void gd_transfer_encode(gd_frame *out, int source, int64_t seq, int kind, int32_t account,
                                      int market, int64_t quote_e6, int64_t number) {
    gd_begin(out, GD_TEMPLATE_TRANSFER, source, seq);
    out->transfer.flags = (uint8_t)kind;
    out->transfer.market = (int16_t)market;
    out->transfer.account = account;
    out->transfer.quote_e6 = quote_e6;
    out->transfer.event_no = number;
    gd_seal(out);
}

/* A price, value = price * 10^expo USD; kind one of GD_OBSERVATION_KIND_*; feed: the provider, of ORACLE. Sealed. */
static inline void gd_observation_encode(gd_frame *out, int source, int64_t seq, int market, int kind,
                                         int32_t feed, int64_t publish_ns, int64_t price, int64_t conf,
                                         int expo) {
    gd_begin(out, GD_TEMPLATE_OBSERVATION, source, seq);
    out->observation.market = (int16_t)market;
    out->observation.kind = (int16_t)kind;
    out->observation.feed = feed;
    out->observation.publish_ns = publish_ns;
    out->observation.price = price;
    out->observation.conf = conf;
    out->observation.expo = (int16_t)expo;
    gd_seal(out);
}

#ifdef __cplusplus
}
#endif
#endif
