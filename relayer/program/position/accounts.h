/* What the position-management program keeps on chain, and what its instructions carry. */
#ifndef GODARK_ACCOUNTS_H
#define GODARK_ACCOUNTS_H

#include "checks.h"
#include "types.h"

/* Discriminators by Anchor's rule: the first eight bytes, as a little-endian number, of
 * SHA-256("global:…"), SHA-256("account:…") and SHA-256("event:…").
 */
#define INITIALISE 0x7619f7d7eb76c6a2ULL
#define COMMIT_BATCH 0x8ea81f86e064ea1bULL
#define VERIFY_FILL 0xf98467a6ce1dd2c0ULL
#define EXCHANGE 0x32683d0395dcc81eULL
#define COMMIT 0x82a6413376669edeULL
#define INITIALISED 0x509ac57d4202bb15ULL
#define BATCH_COMMITTED 0xf7861382c01ba219ULL
#define FILL_VERIFIED 0x87a2543ed90144cdULL

#define LAYOUT_VERSION 1
#define LEAF_BYTES 112
#define SHARD_LEAVES (1ULL << 26)

/* Where the Merkle log stands. The log is cut into shards of SHARD_LEAVES, a tree of its own each: `size`
 * counts over all of them (relayer/core/shards.py), `root` is that of the shard in which it ends.
 */
typedef struct {
    u64 size;
    Key root;
} Checkpoint;

/* The leaves of the shard in which a log of this size ends. */
INLINE u64 leaves_of_shard(u64 size) {
    return size == 0 ? 0 : ((size - 1) & (SHARD_LEAVES - 1)) + 1;
}

/* ["exchange"]: one per program. The checkpoint is that of the last batch, at first that of the empty log. */
typedef struct {
    Head head;
    Key relayer;
    u64 last_batch;
    Checkpoint log;
} Exchange;

/* ["commit", batch]: written once, never changed. */
typedef struct {
    Head head;
    u64 batch;
    Checkpoint previous;
    Checkpoint log;
} Commit;

_Static_assert(sizeof(Exchange) == 96, "an exchange has 96 bytes");
_Static_assert(sizeof(Commit) == 104, "a commit has 104 bytes");

/* The instructions, their discriminator first. All numbers are aligned, as the input is. */
typedef struct {
    u64 discriminator;
    Key relayer;
} InitialiseData;

typedef struct {
    u64 discriminator;
    u64 batch;
    Checkpoint previous;
    Checkpoint log;
    u64 bump;
} CommitData;

typedef struct {
    u64 discriminator;
    u64 index;
    u8 leaf[LEAF_BYTES];
    Key proof[];
} VerifyData;

_Static_assert(sizeof(CommitData) == 104, "the data of a commit has 104 bytes");
_Static_assert(sizeof(VerifyData) == 128, "the data of a proof has 128 bytes before its hashes");

/* The events. */
typedef struct {
    u64 discriminator;
    Key relayer;
} InitialisedEvent;

typedef struct {
    u64 discriminator;
    u64 batch;
    Checkpoint log;
} CommittedEvent;

typedef struct {
    u64 discriminator;
    u64 batch;
    u64 index;
} VerifiedEvent;

/* SHA-256 of nothing: the root of the empty log. */
static const Key EMPTY_ROOT = {
    {0x141cfc9842c4b0e3ULL, 0x24b96f99c8f4fb9aULL,
     0x4c939b64e441ae27ULL, 0x55b852781b9995a4ULL}};

static const u8 EXCHANGE_SEED[8] = {'e', 'x', 'c', 'h', 'a', 'n', 'g', 'e'};
static const u8 COMMIT_SEED[6] = {'c', 'o', 'm', 'm', 'i', 't'};

#endif
