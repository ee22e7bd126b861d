"""What C may say and the chain's machine may not do: refused with the reason and the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.common.errors import LinkError
from relayer.program.linker import link
from tests.relayer.program.objects import ENTRY, needs_clang, object_of, program_of

pytestmark = needs_clang

NOINLINE = "static __attribute__((noinline)) "
CHAIN = NOINLINE + "u64 f0(u64 x) { return x * 3; }\n"


def _refusal(folder: Path, text: str, *flags: str) -> LinkError:
    with pytest.raises(LinkError) as caught:
        program_of(folder, text, *flags)
    return caught.value


def _chain(length: int) -> str:
    """Functions f0 … f(length-2) and the entry, each calling the one before: `length` of them on the stack."""
    rows = [f"{NOINLINE}u64 f{k}(u64 x) {{ return f{k - 1}(x + {k}) ^ x; }}" for k in range(1, length - 1)]
    return CHAIN + "\n".join(rows) + f"\nu64 entrypoint(u8 *in) {{ return f{length - 2}(*(u64 *)in) + 1; }}\n"


TEXTS = {
    "a mutable global": (
        "u64 counter = 5; u64 entrypoint(u8 *in) { counter += *in; return counter; }",
        (),
        ("mutable_global", "counter"),
    ),
    "a global of zeros": (
        "u64 zeros[4]; u64 entrypoint(u8 *in) { zeros[*in & 3]++; return zeros[0]; }",
        (),
        ("mutable_global", "zeros"),
    ),
    "a common symbol": (
        "u64 shared; u64 entrypoint(u8 *in) { shared += *in; return shared; }",
        ("-fcommon",),
        ("mutable_global", "shared"),
    ),
    "a static variable of a function": (
        "u64 entrypoint(u8 *in) { static u64 seen = 1; seen += *in; return seen; }",
        (),
        ("mutable_global", "entrypoint.seen"),
    ),
    "a table of functions": (
        NOINLINE + "u64 a(u64 x) { return x * 3; }" + NOINLINE + "u64 b(u64 x) { return x + 9; }"
        "typedef u64 (*F)(u64); static const F both[2] = {a, b};"
        "u64 entrypoint(u8 *in) { return both[*in & 1](*in); }",
        (),
        ("function_pointer", ".rodata+0x0"),
    ),
    "a function's address in a register": (
        NOINLINE + "u64 a(u64 x) { return x * 3; }"
        "u64 entrypoint(u8 *in) { *(u64 (**)(u64))in = a; return a(2); }",
        (),
        ("function_pointer", "entrypoint+"),
    ),
    "a call of what the input points at": (
        "u64 entrypoint(u8 *in) { return (*(u64 (**)(u64))in)(1) + 1; }",
        (),
        ("function_pointer", "entrypoint+"),
    ),
    "an atomic sum": (
        "u64 entrypoint(u8 *in) { __sync_fetch_and_add((u64 *)in, 1); return 0; }",
        (),
        ("atomic", "entrypoint+"),
    ),
    "a syscall that nobody knows": (
        "u64 sol_teleport(u64 x); u64 entrypoint(u8 *in) { return sol_teleport(*in); }",
        (),
        ("syscall", "entrypoint+"),
    ),
    "a constant that is defined nowhere": (
        "extern const u64 elsewhere[2]; u64 entrypoint(u8 *in) { return elsewhere[*in & 1]; }",
        (),
        ("undefined", "entrypoint+"),
    ),
    "32-bit arithmetic": (
        NOINLINE + "u32 f(u32 x) { return x * 7 + 5; }" + ENTRY,
        ("-mcpu=v3",),
        ("alu32", "entrypoint+"),
    ),
    "a jump on 32 bits": (
        "u64 entrypoint(u8 *in) { u64 r = *(u64 *)in; u32 *y = (u32 *)in; if (y[2] > y[3]) { r = 3; } return r; }",
        ("-mcpu=v3",),
        ("jmp32", "entrypoint+"),
    ),
    "a frame that is too deep": (
        NOINLINE + "u64 f(u64 x) { volatile u64 room[600]; room[x % 600] = x; return room[x % 7]; }" + ENTRY,
        ("-mllvm", "-bpf-stack-size=8192"),
        ("stack", "f+"),
    ),
    "a function that calls itself": (
        NOINLINE + "u64 f(u64 x) { return x < 2 ? 1 : f(x - 1) * f(x / 2); }" + ENTRY,
        (),
        ("recursion", "f+0x0"),
    ),
    "functions that call each other": (
        "u64 g(u64 x);" + NOINLINE + "u64 f(u64 x) { return x < 2 ? 1 : g(x - 1) + 1; }"
        "__attribute__((noinline)) u64 g(u64 x) { return x < 3 ? 2 : f(x / 2) * 3; }" + ENTRY,
        (),
        ("recursion", ""),
    ),
    "calls too deep in each other": (_chain(61), (), ("depth", "")),
    "code in two sections": (
        NOINLINE + "u64 f(u64 x) { return x * x; }" + ENTRY,
        ("-ffunction-sections",),
        ("section", ".text"),
    ),
    "data in a section of its own": (
        '__attribute__((section("maps"))) const u64 map[2] = {1, 2}; u64 entrypoint(u8 *in) { return map[*in & 1]; }',
        (),
        ("section", "maps"),
    ),
    "another name to begin with": ("u64 begin(u8 *in) { return *in; }", (), ("entry", "entrypoint")),
}


@pytest.mark.parametrize("what", TEXTS)
def test_refused_with_reason_and_place(tmp_path: Path, what: str) -> None:
    text, flags, (reason, place) = TEXTS[what]
    refusal = _refusal(tmp_path, text, *flags)
    assert refusal.context["reason"] == reason
    assert str(refusal.context["place"]).startswith(place)
    assert str(refusal.context["place"]) in refusal.line()


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a frame beyond 4,096 bytes", "u64 f(u64 x) { volatile u64 r[600]; r[x % 600] = x; return r[3]; }"),
        ("128-bit division", "u64 f(u64 x) { return (u64)((unsigned __int128)x * x / (x | 1)); }"),
        ("signed division", "u64 f(u64 x) { return (u64)((i64)x / (i64)(x >> 7)); }"),
        ("more than five arguments", "u64 f(u64 x) { return g(x, x + 1, x * 3, x ^ 5, x >> 2, x << 1); }"),
    ],
)
def test_what_clang_refuses_is_a_link_error_too(tmp_path: Path, what: str, text: str) -> None:
    six = "u64 a, u64 b, u64 c, u64 d, u64 e, u64 f"
    head = NOINLINE + f"u64 g({six}) {{ return a ^ b * c + d - e / (f | 1); }}\n" if "five" in what else ""
    refusal = _refusal(tmp_path, head + NOINLINE + text + ENTRY)
    assert refusal.context["reason"] == "compile"


def test_sixty_functions_on_the_stack_are_fine(tmp_path: Path) -> None:
    assert program_of(tmp_path, _chain(60))


def test_an_object_that_is_cut_or_changed_links_or_is_refused(tmp_path: Path) -> None:
    """Whatever a byte of an object is changed to, or where it ends: a program or a LinkError, nothing else."""
    whole = object_of(
        tmp_path,
        'static const char *const names[3] = {"a", "bb", "ccc"}; u64 sol_log_data(const void *, u64);'
        + NOINLINE
        + "u64 f(u64 x) { return sol_log_data(names[x % 3], x) + 1; }"
        + ENTRY,
    )
    assert link(whole)
    for length in range(len(whole)):
        with pytest.raises(LinkError):
            link(whole[:length])
    for at in range(len(whole)):
        for value in (0, 0xFF, whole[at] ^ 1, whole[at] ^ 0x80):
            changed = whole[:at] + bytes([value]) + whole[at + 1 :]
            try:
                link(changed)
            except LinkError as refusal:
                assert refusal.context["reason"]
