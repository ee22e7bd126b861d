/* Inclusion in a Merkle log, as RFC 9162 (2.1.3.2) says it, over SHA-256. */
#ifndef GODARK_MERKLE_H
#define GODARK_MERKLE_H

#include "errors.h"
#include "syscalls.h"
#include "types.h"

#define LEAF_PREFIX 0x00
#define NODE_PREFIX 0x01

/* A node about to be hashed: the prefix stands right before two aligned hashes. */
typedef struct {
    u8 unused[7];
    u8 prefix;
    Key left;
    Key right;
} MerkleNode;

_Static_assert(sizeof(MerkleNode) == 72, "prefix and hashes lie side by side");

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

/* Where a node's own hash goes: it is the right child, or the last node and so rises until it is one. */
INLINE Key *own_side(MerkleNode *node, u64 at, u64 last) {
    return (at & 1) != 0 || at == last ? &node->right : &node->left;
}

/* Check a claim. One hash per level, written straight to where the next level wants it.
 *
 * Errors: INDEX_OUTSIDE, PROOF_LENGTH (one missing, one to spare), WRONG_ROOT.
 */
static __attribute__((noinline)) u64 merkle_check(const Inclusion *claim) {
    if (claim->index >= claim->size) {
        return INDEX_OUTSIDE;
    }
    u64 at = claim->index;
    u64 last = claim->size - 1;
    MerkleNode node;
    node.prefix = NODE_PREFIX;
    Key *own = own_side(&node, at, last);
    const u8 leaf_prefix = LEAF_PREFIX;
    const Piece leaf[2] = {{&leaf_prefix, 1}, {claim->leaf, claim->leaf_bytes}};
    sol_sha256(leaf, 2, (u8 *)own);
    const Piece whole = {&node.prefix, 1 + 2 * HASH_BYTES};
    const Key *end = claim->proof + claim->count;
    for (const Key *sibling = claim->proof; sibling != end; sibling++) {
        if (last == 0) {
            return PROOF_LENGTH;
        }
        if (own == &node.right) {
            key_copy(&node.left, sibling);
            while ((at & 1) == 0) {
                at >>= 1;
                last >>= 1;
            }
        } else {
            key_copy(&node.right, sibling);
        }
        at >>= 1;
        last >>= 1;
        own = own_side(&node, at, last);
        sol_sha256(&whole, 1, (u8 *)own);
    }
    if (last != 0) {
        return PROOF_LENGTH;
    }
    return key_equal(own, claim->root) ? OK : WRONG_ROOT;
}

#endif
