/* The input of a program: accounts, instruction data, program id, as the loader lays them out.
 *
 * Layout (upgradeable loader, everything little-endian and aligned to 8): u64 count; per account either a
 * full record or, where it was named before, one byte with that place and 7 of padding; u64 length and data
 * of the instruction; the program id. A full record: 0xff, is_signer, is_writable, executable, 4 bytes,
 * key, owner, u64 lamports, u64 length, data, 10,240 bytes to grow into, padding to 8, u64 rent epoch.
 */
#ifndef GODARK_ENTRY_H
#define GODARK_ENTRY_H

#include "errors.h"
#include "types.h"

#define ACCOUNTS_MAX 8
#define GROWTH_BYTES 10240
#define NOT_NAMED_BEFORE 0xff

/* One account of the input, in place: what is written here is written to the chain. */
typedef struct {
    u8 named_before;
    u8 is_signer;
    u8 is_writable;
    u8 is_executable;
    u8 padding[4];
    Key key;
    Key owner;
    u64 lamports;
    u64 data_bytes;
    u8 data[];
} Account;

_Static_assert(sizeof(Account) == 88, "the head of an account is 88 bytes");

typedef struct {
    Account *account[ACCOUNTS_MAX];
    u64 count;
    const u8 *data;
    u64 data_bytes;
    const Key *program;
} Input;

/* Find everything in the input. An account named twice is one account with two places. */
INLINE u64 input_parse(u8 *at, Input *input) {
    input->count = *(u64 *)at;
    if (input->count > ACCOUNTS_MAX) {
        return ACCOUNT_COUNT;
    }
    at += 8;
    for (u64 k = 0; k < input->count; k++) {
        if (*at != NOT_NAMED_BEFORE) {
            input->account[k] = input->account[*at];
            at += 8;
            continue;
        }
        Account *account = (Account *)at;
        input->account[k] = account;
        at += sizeof(Account) + ((account->data_bytes + 7) & ~7ULL) + GROWTH_BYTES + 8;
    }
    input->data_bytes = *(u64 *)at;
    input->data = at + 8;
    input->program = (const Key *)(input->data + input->data_bytes);
    return OK;
}

#endif
