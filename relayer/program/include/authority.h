/* Who may set a program up: the key that the loader lets upgrade it. */
#ifndef GODARK_AUTHORITY_H
#define GODARK_AUTHORITY_H

#include "checks.h"
#include "entry.h"
#include "errors.h"
#include "types.h"

/* What the upgradeable loader keeps of a deployed program: u32 tag 3, u64 slot, u8 whether there is an
 * authority, its key. Nothing of it is aligned.
 */
#define PROGRAM_DATA_TAG 3
#define AUTHORITY_FLAG_AT 12
#define AUTHORITY_AT 13

/* BPFLoaderUpgradeab1e11111111111111111111111 */
static const Key UPGRADEABLE_LOADER = {
    {0xb0a1884e91f6a802ULL, 0x2bae63f73e1510e2ULL, 0xd224c1163db9c200ULL, 0x00008004107a53c0ULL}};

/* `signer` signed and is the upgrade authority of `program`, whose data account is `program_data`. */
INLINE u64 check_authority(const Account *signer, const Account *program_data, const Key *program) {
    u8 bump = 0;
    const Piece seed = {program, KEY_BYTES};
    TRY(check_signer(signer));
    TRY(check_owner(program_data, &UPGRADEABLE_LOADER));
    TRY(check_first_address(program_data, &seed, 1, &UPGRADEABLE_LOADER, &bump));
    if (program_data->data_bytes < AUTHORITY_AT + KEY_BYTES) {
        return WRONG_ACCOUNT_LENGTH;
    }
    const u8 *data = program_data->data;
    const u8 *key = (const u8 *)&signer->key;
    if (data[0] != PROGRAM_DATA_TAG || data[AUTHORITY_FLAG_AT] != 1) {
        return NOT_AUTHORITY;
    }
    for (u64 k = 0; k < KEY_BYTES; k++) {
        if (data[AUTHORITY_AT + k] != key[k]) {
            return NOT_AUTHORITY;
        }
    }
    return OK;
}

#endif
