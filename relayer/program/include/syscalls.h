/* The syscalls we make. The linker knows the same list (linker/syscalls.py) and refuses every other. */
#ifndef GODARK_SYSCALLS_H
#define GODARK_SYSCALLS_H

#include "types.h"

/* A piece of memory: what to hash, to log, or one seed of an address. */
typedef struct {
    const void *start;
    u64 bytes;
} Piece;

/* The seeds of one address that is to sign. */
typedef struct {
    const Piece *seeds;
    u64 count;
} Seeds;

typedef struct {
    const Key *key;
    u8 is_writable;
    u8 is_signer;
} CallMeta;

typedef struct {
    const Key *program;
    const CallMeta *metas;
    u64 meta_count;
    const u8 *data;
    u64 data_bytes;
} Call;

/* An account as a call hands it on: every pointer leads into the program's own input. */
typedef struct {
    const Key *key;
    u64 *lamports;
    u64 data_bytes;
    u8 *data;
    const Key *owner;
    u64 rent_epoch;
    u8 is_signer;
    u8 is_writable;
    u8 is_executable;
} CallAccount;

u64 sol_sha256(const Piece *pieces, u64 count, u8 *hash);
u64 sol_log_data(const Piece *pieces, u64 count);
u64 sol_create_program_address(const Piece *seeds, u64 count, const Key *program, Key *address);
u64 sol_try_find_program_address(const Piece *seeds, u64 count, const Key *program, Key *address, u8 *bump);
u64 sol_invoke_signed_c(const Call *call, const CallAccount *accounts, u64 count, const Seeds *signers,
                        u64 signer_count);
u64 sol_get_rent_sysvar(void *rent);

#endif
