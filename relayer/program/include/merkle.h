/* Inclusion in a Merkle log, as RFC 9162 (2.1.3.2) says it, over SHA-256. */
#ifndef GODARK_MERKLE_H
#define GODARK_MERKLE_H

#include "errors.h"
#include "syscalls.h"
#include "types.h"

#define LEAF_PREFIX 0x00
#define NODE_PREFIX 0x01

/* The hash reached so far, right behind the prefix of a node: a left child is hashed in one piece with it. */
typedef struct {
    u8 unused[7];
    u8 prefix;
    Key own;
} MerkleNode;

_Static_assert(sizeof(MerkleNode) == 8 + HASH_BYTES, "prefix and hash lie side by side");

/* What is claimed: `leaf` is number `index` (from 0) of the log of `size` leaves with this root.
 * proof: `count` hashes, bottom up, aligned to 8.
 */
typedef struct {
    const u8 *leaf;
    u64 leaf_bytes;
    u64 index;
    u64 size;
    const Key *proof;
    u64 count;
    const Key *root;
} Inclusion;

/* Check a claim: one hash per level, siblings read where they lie.
 *
 * `apart` is where the paths of this leaf and of the last one differ. Until they meet, the bit of the place
 * says which child a node is. From there on the node is the last of its level: it is a right child where the
 * bit is set, and has no sibling where it is not. Errors: INDEX_OUTSIDE, PROOF_LENGTH (one missing, one to
 * spare), WRONG_ROOT.
 */
OUTLINE u64 merkle_check(const Inclusion *claim) {
    if (claim->index >= claim->size) {
        return INDEX_OUTSIDE;
    }
    u64 at = claim->index;
    u64 apart = at ^ (claim->size - 1);
    const Key *sibling = claim->proof;
    const Key *end = sibling + claim->count;
    const u8 leaf_prefix = LEAF_PREFIX;
    const Piece leaf[2] = {{&leaf_prefix, 1}, {claim->leaf, claim->leaf_bytes}};
    MerkleNode node;
    node.prefix = NODE_PREFIX;
    Piece as_left[2] = {{&node.prefix, 1 + HASH_BYTES}, {sibling, HASH_BYTES}};
    Piece as_right[3] = {{&node.prefix, 1}, {sibling, HASH_BYTES}, {&node.own, HASH_BYTES}};
    sol_sha256(leaf, 2, (u8 *)&node.own);
    for (; apart != 0 || at != 0; at >>= 1, apart >>= 1) {
        if ((at & 1) == 0 && apart == 0) {
            continue;
        }
        if (sibling == end) {
            return PROOF_LENGTH;
        }
        if ((at & 1) == 0) {
            as_left[1].start = sibling;
            sol_sha256(as_left, 2, (u8 *)&node.own);
        } else {
            as_right[1].start = sibling;
            sol_sha256(as_right, 3, (u8 *)&node.own);
        }
        sibling++;
    }
    if (sibling != end) {
        return PROOF_LENGTH;
    }
    return key_equal(&node.own, claim->root) ? OK : WRONG_ROOT;
}

#endif
