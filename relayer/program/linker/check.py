"""What the virtual machine would misread or refuse is refused here, instruction by instruction.

sBPF v3 is close to eBPF and not the same: it sign-extends 32-bit sums, has no atomics, and knows a syscall by
number only. So an opcode passes only if it is listed and means the same in both.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from engine.common.errors import LinkError
from relayer.program.linker.elf import refuse
from relayer.program.linker.layout import Function, Image
from relayer.program.linker.syscalls import SYSCALLS

FRAME_BYTES: Final = 4096
CALL_DEPTH_MAX: Final = 60
"""Functions on the stack at once; the machine stops at 64, and its own are not counted here."""

_FRAME_POINTER: Final = 10
_LOAD_CONSTANT: Final = 0x18
_CALL: Final = 0x85
_CALL_BY_REGISTER: Final = 0x8D
_EXIT: Final = 0x95
_JUMP: Final = 0x05
_SYSCALL_BY_NUMBER: Final = 0
_RELATIVE: Final = 1
_ADD_IMMEDIATE: Final = 0x07
_MOVE: Final = 0xBF

_SIZES: Final = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
_LOADS: Final = frozenset({0x61, 0x69, 0x71, 0x79})
_STORES: Final = frozenset({0x62, 0x6A, 0x72, 0x7A, 0x63, 0x6B, 0x73, 0x7B})
_ENDIAN: Final = frozenset({0xD4, 0xDC})
_SHIFTS: Final = frozenset({0x67, 0x77, 0xC7})
_DIVISIONS: Final = frozenset({0x37, 0x97})
_ARITHMETIC: Final = frozenset(
    {op | source for op in range(0x07, 0xC8, 0x10) for source in (0, 8) if op != 0x87} | {0x87}
)
_BRANCHES: Final = frozenset(
    {op | source for op in (*range(0x15, 0x76, 0x10), *range(0xA5, 0xD6, 0x10)) for source in (0, 8)}
)
_ATOMICS: Final = frozenset({0xC3, 0xCB, 0xD3, 0xDB})


class Instruction(NamedTuple):
    """One instruction at byte `at` of the code; `wide` of the one that takes two places."""

    at: int
    opcode: int
    dst: int
    src: int
    off: int
    imm: int

    @property
    def wide(self) -> bool:
        """Whether it takes the next place too."""
        return self.opcode == _LOAD_CONSTANT


def instructions(image: Image) -> Iterator[Instruction]:
    """The instructions of a program. Raises LinkError where a wide one is cut."""
    at = 0
    while at < len(image.text):
        opcode, registers, off, imm = struct.unpack_from("<BBhi", image.text, at)
        found = Instruction(at, opcode, registers & 15, registers >> 4, off, imm)
        if found.wide:
            if at + 16 > len(image.text) or image.text[at + 8 : at + 12] != bytes(4):
                raise _refused(image, "instruction", found, "the second half of a constant is missing")
        yield found
        at += 16 if found.wide else 8


def check_program(image: Image) -> None:
    """Raises LinkError at the first instruction that may not be; reasons: alu32, jmp32, atomic,
    function_pointer, instruction, register, jump, call, syscall, stack, recursion, depth.
    """
    code = list(instructions(image))
    by_offset = {one.at: one for one in code}
    calls: dict[int, set[int]] = {function.start: set() for function in image.functions}
    for function in image.functions:
        body = [by_offset[at] for at in range(function.start, function.end, 8) if at in by_offset]
        if body[-1].wide and body[-1].at + 16 > function.end:
            raise _refused(image, "function", body[-1], "a constant that two functions share")
        if body[-1].opcode not in (_EXIT, _JUMP):
            raise _refused(image, "function", body[-1], "a function that runs into the next one")
        _check_frame_addresses(image, body)
        for one in body:
            _check_opcode(image, one)
            _check_operands(image, one)
            _check_jump(image, one, function, by_offset)
            _check_call(image, one, calls[function.start], calls)
    _check_depth(image, calls)


def _check_opcode(image: Image, one: Instruction) -> None:
    if one.opcode in _ATOMICS:
        raise _refused(image, "atomic", one, "an atomic operation")
    if one.opcode == _CALL_BY_REGISTER:
        raise _refused(image, "function_pointer", one, "a call of what a register points at")
    if one.opcode & 7 == 4 and one.opcode not in _ENDIAN:
        raise _refused(image, "alu32", one, "32-bit arithmetic, which sBPF extends with the sign")
    if one.opcode & 7 == 6:
        raise _refused(image, "jmp32", one, "a jump on 32 bits")
    known = one.opcode in _LOADS | _STORES | _ENDIAN | _ARITHMETIC | _BRANCHES
    if not known and one.opcode not in (_LOAD_CONSTANT, _CALL, _EXIT, _JUMP):
        raise _refused(image, "instruction", one, "not known")


def _check_operands(image: Image, one: Instruction) -> None:
    """Registers and immediate values that the machine's own verifier refuses, or reads otherwise."""
    stores = one.opcode in _STORES
    writes = one.opcode in _LOADS | _ENDIAN | _ARITHMETIC or one.wide
    if one.src > _FRAME_POINTER or one.dst > _FRAME_POINTER or (writes and one.dst == _FRAME_POINTER):
        raise _refused(image, "register", one, "a register that is not there or may not be written")
    if one.wide and one.src:
        raise _refused(image, "instruction", one, "a constant of another kind than a number")
    if one.opcode in _ARITHMETIC | _ENDIAN and one.off:
        raise _refused(image, "instruction", one, "arithmetic of a later eBPF")
    if one.opcode in _SHIFTS and not 0 <= one.imm < 64:
        raise _refused(image, "instruction", one, f"a shift by {one.imm}")
    if one.opcode in _DIVISIONS and not one.imm:
        raise _refused(image, "instruction", one, "a division by 0")
    if one.opcode in _ENDIAN and one.imm not in (16, 32, 64):
        raise _refused(image, "instruction", one, f"a turn of {one.imm} bits")
    base = one.src if one.opcode in _LOADS else one.dst
    if (one.opcode in _LOADS or stores) and base == _FRAME_POINTER:
        if not -FRAME_BYTES <= one.off <= -_SIZES[one.opcode & 0x18]:
            raise _refused(image, "stack", one, f"{one.off} from the frame pointer")


def _check_frame_addresses(image: Image, body: list[Instruction]) -> None:
    """An address of the frame is made by a move and a sum: clang never does otherwise."""
    for before, one in pairwise(body):
        if before.opcode != _MOVE or before.src != _FRAME_POINTER or one.dst != before.dst:
            continue
        if one.opcode == _ADD_IMMEDIATE and not -FRAME_BYTES <= one.imm <= 0:
            raise _refused(image, "stack", one, f"{one.imm} from the frame pointer")


def _check_jump(
    image: Image, one: Instruction, function: Function, by_offset: dict[int, Instruction]
) -> None:
    if one.opcode != _JUMP and one.opcode not in _BRANCHES:
        return
    target = one.at + 8 + one.off * 8
    if not function.start <= target < function.end or target not in by_offset:
        raise _refused(image, "jump", one, "leads out of its function or into an instruction")


def _check_call(image: Image, one: Instruction, called: set[int], starts: dict[int, set[int]]) -> None:
    if one.opcode != _CALL:
        return
    if one.src == _SYSCALL_BY_NUMBER:
        if one.imm & 0xFFFFFFFF not in SYSCALLS.values():
            raise _refused(image, "syscall", one, "no syscall that we know")
        return
    target = one.at + 8 + one.imm * 8
    if one.src != _RELATIVE or target not in starts:
        raise _refused(image, "call", one, "leads to no function")
    called.add(target)


def _check_depth(image: Image, calls: dict[int, set[int]]) -> None:
    """No recursion, and never more functions on the stack than the machine has frames for."""
    depths: dict[int, int] = {}

    def depth(start: int, above: tuple[int, ...]) -> int:
        if start in above:
            raise refuse("recursion", image.place(start), "a function that calls itself")
        if len(above) >= CALL_DEPTH_MAX:
            raise refuse("depth", image.place(start), f"more than {CALL_DEPTH_MAX} calls in each other")
        if start not in depths:
            below = (depth(target, (*above, start)) for target in sorted(calls[start]))
            depths[start] = 1 + max(below, default=0)
        if len(above) + depths[start] > CALL_DEPTH_MAX:
            raise refuse("depth", image.place(start), f"more than {CALL_DEPTH_MAX} calls in each other")
        return depths[start]

    for start in calls:
        depth(start, ())


def _refused(image: Image, reason: str, one: Instruction, message: str) -> LinkError:
    return refuse(reason, image.place(one.at), f"{message} (opcode 0x{one.opcode:02x})")
