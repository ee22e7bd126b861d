/* What C does not check by itself: one named helper per question, each with one error. */
#ifndef GODARK_CHECKS_H
#define GODARK_CHECKS_H

#include "entry.h"
#include "errors.h"
#include "syscalls.h"
#include "types.h"

/* Hand on any error. */
#define TRY(expression)               \
    do {                              \
        u64 try_error = (expression); \
        if (try_error != OK) {        \
            return try_error;         \
        }                             \
    } while (0)

/* The head of every account of ours: what it is, which layout, the bump of its address. */
typedef struct {
    u64 discriminator;
    u32 version;
    u32 bump;
} Head;

INLINE u64 check_count(const Input *input, u64 count) {
    return input->count == count ? OK : ACCOUNT_COUNT;
}

INLINE u64 check_length(const Input *input, u64 bytes) {
    return input->data_bytes == bytes ? OK : INSTRUCTION_LENGTH;
}

INLINE u64 check_signer(const Account *account) {
    return account->is_signer ? OK : NOT_SIGNER;
}

INLINE u64 check_writable(const Account *account) {
    return account->is_writable ? OK : NOT_WRITABLE;
}

INLINE u64 check_owner(const Account *account, const Key *owner) {
    return key_equal(&account->owner, owner) ? OK : WRONG_OWNER;
}

INLINE u64 check_program(const Account *account, const Key *program) {
    return key_equal(&account->key, program) ? OK : WRONG_PROGRAM;
}

/* An account that our program made, of this type, length and version. */
INLINE u64 check_ours(const Account *account, const Key *program, u64 discriminator, u64 bytes, u32 version) {
    TRY(check_owner(account, program));
    if (account->data_bytes < sizeof(Head)) {
        return WRONG_ACCOUNT_LENGTH;
    }
    const Head *head = (const Head *)account->data;
    if (head->discriminator != discriminator) {
        return WRONG_DISCRIMINATOR;
    }
    if (account->data_bytes != bytes) {
        return WRONG_ACCOUNT_LENGTH;
    }
    return head->version == version ? OK : WRONG_VERSION;
}

/* The account is at the address that seeds give; the last seed is the bump. */
INLINE u64 check_address(const Account *account, const Piece *seeds, u64 count, const Key *program) {
    Key address;
    if (sol_create_program_address(seeds, count, program, &address) != 0) {
        return WRONG_ADDRESS;
    }
    return key_equal(&account->key, &address) ? OK : WRONG_ADDRESS;
}

/* The same with the bump that everyone finds first; `bump` is written. 1,500 units a try. */
INLINE u64 check_first_address(const Account *account, const Piece *seeds, u64 count, const Key *program,
                               u8 *bump) {
    Key address;
    if (sol_try_find_program_address(seeds, count, program, &address, bump) != 0) {
        return WRONG_ADDRESS;
    }
    return key_equal(&account->key, &address) ? OK : WRONG_ADDRESS;
}

#endif
