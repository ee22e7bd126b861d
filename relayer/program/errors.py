"""The errors of our programs by number, as `include/errors.h` has them. A test holds the two against each other."""

from __future__ import annotations

from enum import IntEnum


class ProgramError(IntEnum):
    """What the chain reports as Custom(number). A number stays what it is for good."""

    UNKNOWN_INSTRUCTION = 6000
    INSTRUCTION_LENGTH = 6001
    ACCOUNT_COUNT = 6002
    NOT_SIGNER = 6003
    NOT_WRITABLE = 6004
    WRONG_OWNER = 6005
    WRONG_ADDRESS = 6006
    WRONG_DISCRIMINATOR = 6007
    WRONG_ACCOUNT_LENGTH = 6008
    WRONG_VERSION = 6009
    ALREADY_EXISTS = 6010
    NOT_AUTHORITY = 6011
    NOT_RELAYER = 6012
    WRONG_BATCH = 6013
    WRONG_CHECKPOINT = 6014
    LOG_SHRINKS = 6015
    INDEX_OUTSIDE = 6016
    PROOF_LENGTH = 6017
    WRONG_ROOT = 6018
    RENT_UNKNOWN = 6019
    WRONG_PROGRAM = 6020
