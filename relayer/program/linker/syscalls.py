"""The syscalls a program may make, and the numbers that the machine knows them by.

Only what `include/syscalls.h` declares: each is active on mainnet. A number is the 32-bit Murmur3 hash of the name;
the machine takes a program with an unknown one, which would fail at the first call, so the linker looks.
"""

from __future__ import annotations

from typing import Final

_MASK: Final = 0xFFFFFFFF


def murmur3(data: bytes) -> int:
    """The 32-bit Murmur3 hash (x86 form) of a byte string, seed 0."""
    h = 0
    whole = len(data) - len(data) % 4
    for at in range(0, whole, 4):
        h ^= _mixed(int.from_bytes(data[at : at + 4], "little"))
        h = (_turned(h, 13) * 5 + 0xE6546B64) & _MASK
    if whole < len(data):
        h ^= _mixed(int.from_bytes(data[whole:], "little"))
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & _MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & _MASK
    return h ^ h >> 16


def _mixed(word: int) -> int:
    return _turned(word * 0xCC9E2D51 & _MASK, 15) * 0x1B873593 & _MASK


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> 32 - bits) & _MASK


NAMES: Final = (
    "sol_create_program_address",
    "sol_get_rent_sysvar",
    "sol_invoke_signed_c",
    "sol_log_data",
    "sol_sha256",
    "sol_try_find_program_address",
)
SYSCALLS: Final = {name: murmur3(name.encode()) for name in NAMES}
