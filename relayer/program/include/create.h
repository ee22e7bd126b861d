/* Creating an account at an address of the program, also where somebody sent lamports there before. */
#ifndef GODARK_CREATE_H
#define GODARK_CREATE_H

#include "checks.h"
#include "entry.h"
#include "errors.h"
#include "syscalls.h"
#include "types.h"

#define ACCOUNT_OVERHEAD_BYTES 128
#define THRESHOLD_TWO_YEARS 0x4000000000000000ULL /* 2.0 as the bits of a double */
#define THRESHOLD_ONE_YEAR 0x3ff0000000000000ULL  /* 1.0 */

enum SystemInstruction { SYSTEM_CREATE = 0, SYSTEM_ASSIGN = 1, SYSTEM_TRANSFER = 2, SYSTEM_ALLOCATE = 8 };

/* Rent as the sysvar hands it out. The threshold is a double: compared by its bits, as we have no floats. */
typedef struct {
    u64 lamports_per_byte;
    u64 threshold_bits;
    u64 burn_percent;
} Rent;

/* An instruction of the system program. It reads from the tag on: the words behind that are aligned. */
typedef struct {
    u32 skipped;
    u32 tag;
    union {
        u64 number;
        Key owner;
        struct {
            u64 lamports;
            u64 bytes;
            Key owner;
        } create;
    };
} SystemData;

#define TAG_BYTES 4

typedef struct {
    Account *payer;
    Account *created;
    Account *system;
    const Key *program;
    const Seeds *seeds;
} Creation;

static const Key SYSTEM_PROGRAM = {{0, 0, 0, 0}};

/* Lamports that keep an account of `bytes` alive for good. */
INLINE u64 rent_lamports(u64 bytes, u64 *lamports) {
    Rent rent = {0, 0, 0};
    if (sol_get_rent_sysvar(&rent) != 0) {
        return RENT_UNKNOWN;
    }
    u64 one_year = (ACCOUNT_OVERHEAD_BYTES + bytes) * rent.lamports_per_byte;
    if (rent.lamports_per_byte >> 32) {
        return RENT_UNKNOWN;
    }
    if (rent.threshold_bits == THRESHOLD_ONE_YEAR) {
        *lamports = one_year;
        return OK;
    }
    if (rent.threshold_bits == THRESHOLD_TWO_YEARS) {
        *lamports = 2 * one_year;
        return OK;
    }
    return RENT_UNKNOWN;
}

INLINE void call_account(CallAccount *to, Account *from) {
    to->key = &from->key;
    to->lamports = &from->lamports;
    to->data_bytes = from->data_bytes;
    to->data = from->data;
    to->owner = &from->owner;
    to->rent_epoch = 0;
    to->is_signer = from->is_signer;
    to->is_writable = from->is_writable;
    to->is_executable = from->is_executable;
}

/* One call of the system program on the created account; `data_bytes` counts from the tag. */
OUTLINE u64 system_call(const Creation *creation, const SystemData *data, u64 data_bytes, u64 with_payer) {
    CallMeta metas[2];
    CallAccount accounts[2];
    u64 count = 0;
    if (with_payer) {
        metas[0].key = &creation->payer->key;
        metas[0].is_writable = 1;
        metas[0].is_signer = 1;
        call_account(&accounts[0], creation->payer);
        count = 1;
    }
    metas[count].key = &creation->created->key;
    metas[count].is_writable = 1;
    metas[count].is_signer = data->tag != SYSTEM_TRANSFER;
    call_account(&accounts[count], creation->created);
    count++;
    Call call = {&SYSTEM_PROGRAM, metas, count, (const u8 *)&data->tag, data_bytes};
    return sol_invoke_signed_c(&call, accounts, count, creation->seeds, 1);
}

/* Create `created`, owned by `program`, of `bytes` zeros, paid by `payer`. Check its address before.
 *
 * Lamports already there count towards the rent; an account that has data or another owner is ALREADY_EXISTS.
 */
OUTLINE u64 create_account(const Creation *creation, u64 bytes) {
    Account *created = creation->created;
    TRY(check_program(creation->system, &SYSTEM_PROGRAM));
    if (created->data_bytes != 0 || !key_equal(&created->owner, &SYSTEM_PROGRAM)) {
        return ALREADY_EXISTS;
    }
    u64 lamports = 0;
    TRY(rent_lamports(bytes, &lamports));
    SystemData data;
    data.skipped = 0;
    if (created->lamports == 0) {
        data.tag = SYSTEM_CREATE;
        data.create.lamports = lamports;
        data.create.bytes = bytes;
        key_copy(&data.create.owner, creation->program);
        return system_call(creation, &data, TAG_BYTES + sizeof(data.create), 1);
    }
    if (created->lamports < lamports) {
        data.tag = SYSTEM_TRANSFER;
        data.number = lamports - created->lamports;
        TRY(system_call(creation, &data, TAG_BYTES + sizeof(data.number), 1));
    }
    data.tag = SYSTEM_ALLOCATE;
    data.number = bytes;
    TRY(system_call(creation, &data, TAG_BYTES + sizeof(data.number), 0));
    data.tag = SYSTEM_ASSIGN;
    key_copy(&data.owner, creation->program);
    return system_call(creation, &data, TAG_BYTES + sizeof(data.owner), 0);
}

#endif
