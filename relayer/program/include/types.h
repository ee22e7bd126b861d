/* Fixed-width types of a freestanding program, and the two attributes it needs. */
#ifndef GODARK_TYPES_H
#define GODARK_TYPES_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

/* The target passes at most five arguments by register and has no others: helpers with more are inlined. */
#define INLINE static inline __attribute__((always_inline))
/* A function with a frame of its own: one frame holds 4,096 bytes. */
#define OUTLINE static __attribute__((noinline))
#define KEY_BYTES 32
#define HASH_BYTES 32

/* A public key or a hash, as four words: compared and copied without a loop over bytes. */
typedef struct {
    u64 word[4];
} Key;

_Static_assert(sizeof(u8) == 1 && sizeof(u32) == 4 && sizeof(u64) == 8, "widths");
_Static_assert(sizeof(Key) == KEY_BYTES, "a key is 32 bytes");

INLINE int key_equal(const Key *a, const Key *b) {
    return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] &&
           a->word[3] == b->word[3];
}

INLINE void key_copy(Key *to, const Key *from) {
    to->word[0] = from->word[0];
    to->word[1] = from->word[1];
    to->word[2] = from->word[2];
    to->word[3] = from->word[3];
}

#endif
