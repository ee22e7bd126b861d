/* The position-management program, its first instructions: set up, commit a batch, verify a fill. */

#include "accounts.h"
#include "authority.h"
#include "checks.h"
#include "create.h"
#include "entry.h"
#include "errors.h"
#include "event.h"
#include "merkle.h"
#include "syscalls.h"
#include "types.h"

/* Make the one exchange and name its relayer. Only the program's upgrade authority may, and only once.
 *
 * Accounts: authority (signs, pays), exchange (written), program data of this program, system program.
 */
OUTLINE u64 initialise(const Input *input) {
    TRY(check_count(input, 4));
    TRY(check_length(input, sizeof(InitialiseData)));
    const InitialiseData *data = (const InitialiseData *)input->data;
    Account *authority = input->account[0];
    Account *exchange = input->account[1];
    TRY(check_authority(authority, input->account[2], input->program));
    TRY(check_writable(authority));
    TRY(check_writable(exchange));
    u8 bump = 0;
    Piece seeds[2] = {{EXCHANGE_SEED, sizeof(EXCHANGE_SEED)}, {&bump, 1}};
    TRY(check_first_address(exchange, seeds, 1, input->program, &bump));
    const Seeds signer = {seeds, 2};
    const Creation creation = {authority, exchange, input->account[3], input->program, &signer};
    TRY(create_account(&creation, sizeof(Exchange)));
    Exchange *made = (Exchange *)exchange->data;
    made->head.discriminator = EXCHANGE;
    made->head.version = LAYOUT_VERSION;
    made->head.bump = bump;
    key_copy(&made->relayer, &data->relayer);
    key_copy(&made->log.root, &EMPTY_ROOT);
    InitialisedEvent event = {.discriminator = INITIALISED};
    key_copy(&event.relayer, &data->relayer);
    event_log(&event, sizeof(event));
    return OK;
}

/* The account is the relayer's that `initialise` named. */
INLINE u64 check_relayer(const Account *account, const Exchange *exchange) {
    return key_equal(&account->key, &exchange->relayer) ? OK : NOT_RELAYER;
}

/* The batch follows the last one, and its log extends the one in force. */
INLINE u64 check_follows(const Exchange *exchange, const CommitData *data) {
    if (data->batch == 0 || data->batch - 1 != exchange->last_batch) {
        return WRONG_BATCH;
    }
    const Checkpoint *last = &exchange->log;
    if (data->previous.size != last->size || !key_equal(&data->previous.root, &last->root)) {
        return WRONG_CHECKPOINT;
    }
    if (data->log.size < last->size) {
        return LOG_SHRINKS;
    }
    if (data->log.size == last->size && !key_equal(&data->log.root, &last->root)) {
        return LOG_SHRINKS;
    }
    return OK;
}

INLINE void checkpoint_copy(Checkpoint *to, const Checkpoint *from) {
    to->size = from->size;
    key_copy(&to->root, &from->root);
}

/* Write down where the log stands after a batch. Signed by the relayer that `initialise` named.
 *
 * Accounts: relayer (signs, pays), exchange (written), commit (written), system program.
 */
OUTLINE u64 commit_batch(const Input *input) {
    TRY(check_count(input, 4));
    TRY(check_length(input, sizeof(CommitData)));
    const CommitData *data = (const CommitData *)input->data;
    Account *relayer = input->account[0];
    Account *commit = input->account[2];
    TRY(check_ours(input->account[1], input->program, EXCHANGE, sizeof(Exchange), LAYOUT_VERSION));
    Exchange *exchange = (Exchange *)input->account[1]->data;
    TRY(check_signer(relayer));
    TRY(check_relayer(relayer, exchange));
    TRY(check_writable(relayer));
    TRY(check_writable(input->account[1]));
    TRY(check_writable(commit));
    TRY(check_follows(exchange, data));
    const Piece seeds[3] = {
        {COMMIT_SEED, sizeof(COMMIT_SEED)}, {&data->batch, sizeof(data->batch)}, {&data->bump, 1}};
    if (data->bump > 0xff) {
        return WRONG_ADDRESS;
    }
    TRY(check_address(commit, seeds, 3, input->program));
    const Seeds signer = {seeds, 3};
    const Creation creation = {relayer, commit, input->account[3], input->program, &signer};
    TRY(create_account(&creation, sizeof(Commit)));
    Commit *made = (Commit *)commit->data;
    made->head.discriminator = COMMIT;
    made->head.version = LAYOUT_VERSION;
    made->head.bump = (u32)data->bump;
    made->batch = data->batch;
    checkpoint_copy(&made->previous, &data->previous);
    checkpoint_copy(&made->log, &data->log);
    exchange->last_batch = data->batch;
    checkpoint_copy(&exchange->log, &data->log);
    CommittedEvent event = {.discriminator = BATCH_COMMITTED, .batch = data->batch};
    checkpoint_copy(&event.log, &data->log);
    event_log(&event, sizeof(event));
    return OK;
}

/* Whether a leaf is in the log as a commit of ours left it, in the shard it ended in. Open to anyone.
 *
 * `index` counts in the shard; size and root are the commit's, never the caller's.
 * Accounts: commit.
 */
OUTLINE u64 verify_fill(const Input *input) {
    TRY(check_count(input, 1));
    const u64 hashes = input->data_bytes - sizeof(VerifyData);
    if (input->data_bytes < sizeof(VerifyData) || hashes % HASH_BYTES != 0) {
        return INSTRUCTION_LENGTH;
    }
    const VerifyData *data = (const VerifyData *)input->data;
    TRY(check_ours(input->account[0], input->program, COMMIT, sizeof(Commit), LAYOUT_VERSION));
    const Commit *commit = (const Commit *)input->account[0]->data;
    const u64 count = hashes / HASH_BYTES;
    const u64 size = leaves_of_shard(commit->log.size);
    const Key *root = &commit->log.root;
    const Inclusion claim = {data->leaf, LEAF_BYTES, data->index, size, data->proof, count, root};
    TRY(merkle_check(&claim));
    const VerifiedEvent event = {FILL_VERIFIED, commit->batch, data->index};
    event_log(&event, sizeof(event));
    return OK;
}

/* The first eight bytes of the data say which instruction it is. */
u64 entrypoint(u8 *start) {
    Input input;
    TRY(input_parse(start, &input));
    if (input.data_bytes < sizeof(u64)) {
        return UNKNOWN_INSTRUCTION;
    }
    switch (*(const u64 *)input.data) {
        case VERIFY_FILL:
            return verify_fill(&input);
        case COMMIT_BATCH:
            return commit_batch(&input);
        case INITIALISE:
            return initialise(&input);
        default:
            return UNKNOWN_INSTRUCTION;
    }
}
