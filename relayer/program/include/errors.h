/* Every error of our programs, once: relayer/program/errors.py says the same, and a test compares.
 *
 * A number stays what it is for good. 0 is success; the chain reports the others as Custom(number).
 */
#ifndef GODARK_ERRORS_H
#define GODARK_ERRORS_H

enum ProgramError {
    OK = 0,
    UNKNOWN_INSTRUCTION = 6000,    /* no instruction begins with these eight bytes */
    INSTRUCTION_LENGTH = 6001,     /* the instruction is shorter or longer than it says */
    ACCOUNT_COUNT = 6002,          /* too few or too many accounts */
    NOT_SIGNER = 6003,             /* an account that must sign did not */
    NOT_WRITABLE = 6004,           /* an account that is written was handed in for reading */
    WRONG_OWNER = 6005,            /* an account belongs to another program */
    WRONG_ADDRESS = 6006,          /* an account is not at the address that seeds and bump give */
    WRONG_DISCRIMINATOR = 6007,    /* an account of ours, but of another type */
    WRONG_ACCOUNT_LENGTH = 6008,   /* an account of ours is shorter or longer than its type */
    WRONG_VERSION = 6009,          /* an account of ours from another version of the program */
    ALREADY_EXISTS = 6010,         /* the account to be created is there */
    NOT_AUTHORITY = 6011,          /* signed by another key than the program's upgrade authority */
    NOT_RELAYER = 6012,            /* signed by another key than the relayer's */
    WRONG_BATCH = 6013,            /* not the batch after the last one */
    WRONG_CHECKPOINT = 6014,       /* the previous checkpoint is not the one in force */
    LOG_SHRINKS = 6015,            /* the log got shorter, or another root at the same size */
    INDEX_OUTSIDE = 6016,          /* no such leaf in the log */
    PROOF_LENGTH = 6017,           /* the proof has too few or too many hashes */
    WRONG_ROOT = 6018,             /* the proof leads to another root */
    RENT_UNKNOWN = 6019,           /* the chain's rent is none that we can compute in integers */
    WRONG_PROGRAM = 6020           /* another program than the one that is to be called */
};

#endif
