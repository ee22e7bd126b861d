"""The check of instructions, on code made by hand: it runs where no compiler is."""

from __future__ import annotations

import struct

import pytest
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey

from engine.common.errors import LinkError
from relayer.program.linker.check import check_program
from relayer.program.linker.layout import Function, Image
from relayer.program.linker.syscalls import SYSCALLS, murmur3
from relayer.program.linker.write import write_program

EXIT = (0x95, 0, 0, 0, 0)
ZERO = (0xB7, 0, 0, 0, 0)
LOAD = [(0x18, 1, 0, 0, 7), (0, 0, 0, 0, 0)]


def _image(*rows: tuple[int, int, int, int, int], cut: int = 0) -> Image:
    """opcode, dst, src, off, imm of each; from instruction `cut` on a second function."""
    text = b"".join(
        struct.pack("<BBhI", op, dst | src << 4, off, imm & 0xFFFFFFFF) for op, dst, src, off, imm in rows
    )
    ends = [cut * 8, len(text)] if cut else [len(text)]
    starts = [0, *ends[:-1]]
    functions = tuple(Function(f"f{k}", *pair) for k, pair in enumerate(zip(starts, ends, strict=True)))
    return Image(bytes(16), text, functions, 0)


def _reason(image: Image) -> str:
    with pytest.raises(LinkError) as caught:
        check_program(image)
    return str(caught.value.context["reason"])


@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("alu32", (0x04, 1, 0, 0, 5)),
        ("alu32", (0xBC, 1, 2, 0, 0)),
        ("jmp32", (0x16, 1, 0, 0, 5)),
        ("jmp32", (0x06, 0, 0, 0, 0)),
        ("atomic", (0xDB, 1, 2, 0, 0)),
        ("atomic", (0xC3, 1, 2, 0, 0)),
        ("function_pointer", (0x8D, 1, 0, 0, 0)),
        ("instruction", (0x81, 1, 2, 0, 0)),
        ("instruction", (0x20, 0, 0, 0, 5)),
        ("instruction", (0xD7, 1, 0, 0, 16)),
        ("instruction", (0xE5, 1, 0, 0, 0)),
        ("instruction", (0x3F, 1, 2, 1, 0)),
        ("instruction", (0xBF, 1, 2, 8, 0)),
        ("instruction", (0x67, 1, 0, 0, 64)),
        ("instruction", (0x77, 1, 0, 0, -1)),
        ("instruction", (0x37, 1, 0, 0, 0)),
        ("instruction", (0x97, 1, 0, 0, 0)),
        ("instruction", (0xDC, 1, 0, 0, 8)),
        ("register", (0xBF, 11, 1, 0, 0)),
        ("register", (0xBF, 1, 12, 0, 0)),
        ("register", (0x07, 10, 0, 0, -8)),
        ("register", (0x79, 10, 1, 0, 0)),
        ("jump", (0x05, 0, 0, 2, 0)),
        ("jump", (0x05, 0, 0, -3, 0)),
        ("jump", (0x15, 1, 0, 100, 0)),
        ("call", (0x85, 0, 1, 0, 5)),
        ("call", (0x85, 0, 1, 0, -1)),
        ("call", (0x85, 0, 2, 0, 0)),
        ("syscall", (0x85, 0, 0, 0, -1)),
        ("stack", (0x79, 1, 10, 0, 0)),
        ("stack", (0x79, 1, 10, -4, 0)),
        ("stack", (0x7B, 10, 1, -4097, 0)),
        ("stack", (0x62, 10, 0, 8, 0)),
    ],
)
def test_one_instruction_that_may_not_be(reason: str, row: tuple[int, int, int, int, int]) -> None:
    assert _reason(_image(ZERO, row, EXIT)) == reason


@pytest.mark.parametrize(
    "row", [(0x7B, 10, 1, -4096, 0), (0x71, 1, 10, -1, 0), (0x85, 0, 0, 0, SYSCALLS["sol_sha256"])]
)
def test_the_outermost_that_may(row: tuple[int, int, int, int, int]) -> None:
    check_program(_image(ZERO, row, EXIT))


def test_an_address_below_the_frame() -> None:
    move = (0xBF, 1, 10, 0, 0)
    assert _reason(_image(move, (0x07, 1, 0, 0, -4097), EXIT)) == "stack"
    assert _reason(_image(move, (0x07, 1, 0, 0, 8), EXIT)) == "stack"
    check_program(_image(move, (0x07, 1, 0, 0, -4096), EXIT))


def test_a_wide_constant_is_whole_and_not_jumped_into() -> None:
    check_program(_image(*LOAD, EXIT))
    assert _reason(_image(ZERO, LOAD[0])) == "instruction"
    assert _reason(_image(LOAD[0], EXIT, EXIT)) == "instruction"
    assert _reason(_image((0x05, 0, 0, 1, 0), *LOAD, EXIT)) == "jump"
    assert _reason(_image((0x18, 1, 1, 0, 7), LOAD[1], EXIT)) == "instruction"


def test_functions_end_where_they_end() -> None:
    assert _reason(_image(ZERO, ZERO)) == "function"
    assert _reason(_image(ZERO, ZERO, EXIT, cut=1)) == "function"
    assert _reason(_image(*LOAD, EXIT, cut=1)) == "function"
    assert _reason(_image((0x05, 0, 0, 1, 0), EXIT, ZERO, EXIT, cut=2)) == "jump"
    check_program(_image(ZERO, EXIT, ZERO, EXIT, cut=2))


def test_a_call_leads_to_the_beginning_of_a_function() -> None:
    check_program(_image((0x85, 0, 1, 0, 1), EXIT, ZERO, EXIT, cut=2))
    assert _reason(_image((0x85, 0, 1, 0, 2), EXIT, ZERO, EXIT, cut=2)) == "call"
    assert _reason(_image((0x85, 0, 1, 0, -1), EXIT)) == "recursion"


def _chain(length: int, upwards: bool) -> Image:
    """Functions of one call and an exit, each calling the next one or the one before; the last calls nobody."""
    rows, functions = b"", []
    for k in range(length):
        last = k == (length - 1 if upwards else 0)
        first = ZERO if last else (0x85, 0, 1, 0, 1 if upwards else -3 & 0xFFFFFFFF)
        functions.append(Function(f"f{k}", len(rows), len(rows) + 16))
        rows += b"".join(
            struct.pack("<BBhI", op, dst | src << 4, off, imm) for op, dst, src, off, imm in (first, EXIT)
        )
    return Image(bytes(16), rows, tuple(functions), 0)


@pytest.mark.parametrize("upwards", [True, False])
def test_sixty_calls_in_each_other_are_the_most(upwards: bool) -> None:
    check_program(_chain(60, upwards))
    for length in (61, 200, 5_000):
        assert _reason(_chain(length, upwards)) == "depth"


def _loads(chain: LiteSVM, program: bytes) -> bool:
    try:
        chain.add_program(Pubkey.new_unique(), program)
    except Exception:
        return False
    return True


def test_whatever_opcode_passes_here_the_machine_takes() -> None:
    """All 256 in a frame of sound ones: what the check lets through, the machine's verifier lets through."""
    chain, passed = LiteSVM(), 0
    for opcode in range(256):
        for source in (0, 2):
            for imm in (0, 16, 63):
                rows = [ZERO, (opcode, 1, source, 0, imm), EXIT, EXIT]
                image = _image(*rows)
                try:
                    check_program(image)
                except LinkError:
                    continue
                passed += 1
                assert _loads(chain, write_program(image)), (hex(opcode), source, imm)
    assert passed > 300


def test_the_machine_refuses_what_is_no_program() -> None:
    assert not _loads(LiteSVM(), write_program(_image(ZERO, (0xFF, 0, 0, 0, 0), EXIT)))


def test_numbers_of_syscalls() -> None:
    """Murmur3 of texts whose hash is public, with tails of every length, and of names as the machine has them."""
    fox = b"The quick brown fox jumps over the lazy dog"
    known = {b"": 0, b"test": 0xBA6BD213, b"Hello, world!": 0xC0363E43, fox: 0x2E4FF723}
    known |= {b"abort": 0xB6FC1A11, b"sol_sha256": 0x11F49D86, b"sol_log_": 0x207559BD}
    assert {text: murmur3(text) for text in known} == known
    assert len(set(SYSCALLS.values())) == len(SYSCALLS)
