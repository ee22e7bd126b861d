"""What is linked means what the C says: constants, tables, strings, calls, and the file around them."""

from __future__ import annotations

import base64
import random
import struct
from pathlib import Path

from solders.instruction import Instruction
from solders.pubkey import Pubkey

from relayer.program.linker import link
from relayer.program.linker.layout import NULL_GUARD_BYTES, RODATA_START, TEXT_START
from relayer.program.sandbox import Chain
from tests.relayer.program.objects import needs_clang, object_of, program_of

pytestmark = needs_clang

# The instruction's data follows the number of accounts (none) and its own length.
READ = "#define DATA(in) ((const u64 *)((in) + 16))\n"
LOG = "typedef struct { const void *start; u64 bytes; } Piece; u64 sol_log_data(const Piece *, u64);\n"
SAY = "static void say(const void *start, u64 bytes) { Piece p = {start, bytes}; sol_log_data(&p, 1); }\n"
SUMS = """
static __attribute__((noinline)) u64 mix(u64 a, u64 b) { return (a ^ b << 7) * 0x9e3779b97f4a7c15ULL + (b >> 11); }
static __attribute__((noinline)) void work(const u64 *x, u64 *y) {
    u64 a = x[0], b = x[1];
    u32 c = (u32)a, d = (u32)b;
    y[0] = a + b; y[1] = a - b; y[2] = a * b; y[3] = a / (b | 1); y[4] = a % (b | 1);
    y[5] = a << (b & 63); y[6] = a >> (b & 63); y[7] = (u64)((i64)a >> (b & 63));
    y[8] = c + d; y[9] = c - d; y[10] = c * d; y[11] = c / (d | 1); y[12] = c % (d | 1);
    y[13] = (u64)(i64)(int)c; y[14] = c << (d & 31); y[15] = (u64)(i64)((int)c >> (d & 31));
    y[16] = (i64)a < (i64)b; y[17] = a < b; y[18] = c < d; y[19] = (u64)((int)c < (int)d);
    y[20] = __builtin_bswap64(a); y[21] = __builtin_bswap32(c); y[22] = mix(a, b) ^ mix(b, a);
    y[23] = (u8)a * (u8)b; y[24] = (u64)(i64)(signed char)a; y[25] = (unsigned short)(c * d);
}
"""
MASK = (1 << 64) - 1


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def _run(chain: Chain, program: Pubkey, *words: int) -> list[bytes]:
    outcome = chain.send(Instruction(program, struct.pack(f"<{len(words)}Q", *words), []))
    assert outcome.err is None, outcome.logs
    head = "Program data: "
    return [base64.b64decode(line.removeprefix(head)) for line in outcome.logs if line.startswith(head)]


def test_tables_of_numbers_and_of_strings(tmp_path: Path) -> None:
    text = (
        'static const char *const names[4] = {"", "b", "cc", "a long name, after which others lie"};'
        "static const u64 lengths[4] = {0, 1, 2, 35}; static const u8 odd[3] = {7, 8, 9};"
        "static const u64 *const tables[2] = {lengths, lengths + 2};"
        "u64 entrypoint(u8 *in) { u64 k = DATA(in)[0]; say(names[k & 3], lengths[k & 3]);"
        "say(&odd[k % 3], 1); say(tables[k & 1], 16); return 0; }"
    )
    chain = Chain()
    program = chain.deploy(program_of(tmp_path, READ + LOG + SAY + text))
    names = [b"", b"b", b"cc", b"a long name, after which others lie"]
    lengths = [0, 1, 2, 35]
    for k in range(12):
        pair = struct.pack("<2Q", *lengths[2 * (k & 1) : 2 * (k & 1) + 2])
        assert _run(chain, program, k) == [names[k & 3], bytes([7 + k % 3]), pair]


def test_arithmetic_means_what_it_means_in_c(tmp_path: Path) -> None:
    """Sums, shifts and comparisons of 64, 32 and 8 bits against plain integers, on edges and random words."""
    entry = "u64 entrypoint(u8 *in) { u64 y[26]; work(DATA(in), y); say(y, sizeof(y)); return 0; }"
    chain = Chain()
    program = chain.deploy(program_of(tmp_path, READ + LOG + SAY + SUMS + entry))
    dice = random.Random(5)
    edges = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, MASK]
    pairs = [(a, b) for a in edges for b in edges]
    pairs += [
        (dice.getrandbits(dice.randrange(1, 65)), dice.getrandbits(dice.randrange(1, 65))) for _ in range(150)
    ]
    for a, b in pairs:
        (said,) = _run(chain, program, a, b)
        assert list(struct.unpack("<26Q", said)) == [value & MASK for value in _work(a, b)], (a, b)


def _mix(a: int, b: int) -> int:
    return ((a ^ b << 7 & MASK) * 0x9E3779B97F4A7C15 + (b >> 11)) & MASK


def _work(a: int, b: int) -> list[int]:
    c, d, half = a & 0xFFFFFFFF, b & 0xFFFFFFFF, 0xFFFFFFFF
    wide = [a + b, a - b, a * b, a // (b | 1), a % (b | 1), a << (b & 63), a >> (b & 63)]
    narrow = [c + d & half, c - d & half, c * d & half, c // (d | 1), c % (d | 1), _signed(c, 32)]
    shifts = [c << (d & 31) & half, _signed(c, 32) >> (d & 31)]
    less = [_signed(a, 64) < _signed(b, 64), a < b, c < d, _signed(c, 32) < _signed(d, 32)]
    turned = [int.from_bytes(a.to_bytes(8, "little"), "big"), int.from_bytes(c.to_bytes(4, "little"), "big")]
    rest = [_mix(a, b) ^ _mix(b, a), (a & 255) * (b & 255), _signed(a, 8), c * d & 0xFFFF]
    return [*wide, _signed(a, 64) >> (b & 63), *narrow, *shifts, *map(int, less), *turned, *rest]


def test_constants_lie_behind_the_null_address_and_code_at_its_start(tmp_path: Path) -> None:
    text = "static const u64 t[3] = {11, 22, 33}; u64 entrypoint(u8 *in) { return t[*in % 3]; }"
    program = program_of(tmp_path, text)
    entry, table = struct.unpack_from("<QQ", program, 24)
    segments = [struct.unpack_from("<IIQQQQQQ", program, 64 + 56 * k) for k in range(2)]
    (_, _, rodata_at, rodata_start, _, rodata_size, _, _), (_, _, text_at, text_start, _, _, _, _) = segments
    assert (rodata_start, text_start, entry, table) == (RODATA_START, TEXT_START, TEXT_START, 64)
    assert text_at == rodata_at + rodata_size
    rodata = program[rodata_at:text_at]
    assert rodata[:NULL_GUARD_BYTES] == bytes(NULL_GUARD_BYTES)
    assert rodata[NULL_GUARD_BYTES:] == struct.pack("<3Q", 11, 22, 33)


def test_the_same_object_gives_the_same_bytes(tmp_path: Path) -> None:
    text = "u64 entrypoint(u8 *in) { return *in; }"
    (tmp_path / "elsewhere").mkdir()
    assert link(object_of(tmp_path, text)) == program_of(tmp_path / "elsewhere", text)
