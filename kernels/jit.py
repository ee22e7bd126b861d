"""The one place that decides how kernels are compiled.

Every kernel is decorated with `kernel`; every machine-level primitive is paired with a plain body by
`primitive`, so that the same kernels run with `NUMBA_DISABLE_JIT=1`. No `parallel`, no `fastmath`: the
same input gives the same bytes on every machine.

Compiled code is cached under a directory named by everything that may change it (numba's own cache
misses an edited callee), so a stale result cannot be loaded. Processes may compile at the same time: one finds
what the other has done, and they save one after the other.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import llvmlite
import llvmlite.binding
import numba
from numba import njit
from numba.extending import intrinsic

config: Any = numba.config
F = TypeVar("F", bound=Callable[..., Any])

JIT_DISABLED = bool(config.DISABLE_JIT)

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_COMPILED_ROOMS = ("kernels", "engine/core")


def cpu_target() -> tuple[str, str]:
    """Name and features of the CPU that code is compiled for, settings of numba included."""
    name = config.CPU_NAME or llvmlite.binding.get_host_cpu_name()
    features = config.CPU_FEATURES
    if features is None:
        features = llvmlite.binding.get_host_cpu_features().flatten()
    return name, features


def has_cpu_feature(feature: str) -> bool:
    """True if compiled code may use `feature` (an LLVM name such as "sse4.2")."""
    return not JIT_DISABLED and f"+{feature}" in cpu_target()[1].split(",")


@functools.cache
def cache_key() -> str:
    """Hash of kernel sources, compiler versions, CPU and optimisation: the name of the compiled set."""
    digest = hashlib.sha256()
    digest.update(repr((numba.__version__, llvmlite.__version__, *cpu_target(), str(config.OPT))).encode())
    for room in _COMPILED_ROOMS:
        for path in sorted((_ROOT / room).rglob("*.py")):
            digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


def cache_dir() -> pathlib.Path:
    """Where compiled kernels are kept: inside the checkout, one directory per `cache_key`."""
    return _ROOT / ".cache" / "jit" / cache_key()


if not config.CACHE_DIR:
    config.CACHE_DIR = str(cache_dir())

_OPTIONS: dict[str, Any] = {
    "cache": True,
    "error_model": "python",
    "nogil": True,
    "forceinline": True,
    "_nrt": False,
    "no_cfunc_wrapper": True,  # nobody takes a kernel's address
}
_policy = njit(**_OPTIONS)
_called = njit(**{**_OPTIONS, "forceinline": False})
_spliced = njit(**{**_OPTIONS, "forceinline": False, "inline": "always"})


def _compile(policy: Callable[..., Any], function: Callable[..., Any]) -> Any:
    """The function under a policy of numba's, with two of its habits changed."""
    if JIT_DISABLED:
        return function
    dispatcher = policy(function)
    _save_one_by_one(dispatcher._cache)
    _see_numbers(dispatcher)
    return dispatcher


def _save_one_by_one(cache: Any) -> None:
    """Let one process at a time save what it has compiled.

    numba reads the list of a function's compiled forms, adds one and writes it back: two that do so at once lose
    a form, or give two forms the same file, and the wrong one would be called.
    """
    save = cache._cache_file.save

    def alone(key: Any, data: Any) -> None:
        with pathlib.Path(cache.cache_path, "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            save(key, data)

    cache._cache_file.save = alone


def _see_numbers(dispatcher: Any) -> None:
    """Let a kernel that is called with constants be the same form as with any numbers.

    numba compiles one for each constant: a third of all there was to compile. Inlined, constants show anyway.
    """
    template_of = dispatcher.get_call_template

    def of_numbers(args: Any, kws: Any) -> Any:
        plain = {name: numba.types.unliteral(kind) for name, kind in kws.items()}
        return template_of(tuple(map(numba.types.unliteral, args)), plain)

    dispatcher.get_call_template = of_numbers


def kernel(function: F) -> F:
    """Compile a pure function over arrays and integers. Division by zero raises.

    Kernels inline into each other and do not count references: passing many arrays through many small
    functions then costs nothing (4 to 6 times the fills a second), and no kernel can allocate an array.
    """
    return cast(F, _compile(_policy, function))


def routine(function: F) -> F:
    """A kernel that is called and not inlined: for what is large and rare, or called from many places.

    It is compiled once. A call with the books costs a tenth of a microsecond.
    """
    return cast(F, _compile(_called, function))


def passage(function: F) -> F:
    """A passage of one kernel under a name of its own: never compiled by itself, but as if it stood there.

    For what is called from one place and calls much: a kernel would be compiled twice, by itself and in its caller.
    """
    return cast(F, _compile(_spliced, function))


def prepare(function: Callable[..., Any], *like: Any) -> None:
    """Compile a kernel for arguments of the types of `like`, or load it from the cache, without running it.

    What counts is the type: array dimensions, dtype, whether it may be written. What is a type of numba's stands
    for itself. Nothing with the JIT off.
    """
    if not JIT_DISABLED:
        kinds = (value if isinstance(value, numba.types.Type) else numba.typeof(value) for value in like)
        cast(Any, function).compile(tuple(kinds))


def need_runtime_library() -> None:
    """For primitives that divide 128-bit integers: LLVM lowers that to a function of the compiler's runtime
    library, and calling it unloaded ends the process."""
    if not JIT_DISABLED:
        llvmlite.binding.load_library_permanently("libgcc_s.so.1")


def primitive(plain: F) -> Callable[[Callable[..., Any]], F]:
    """Pair a machine-level intrinsic with its plain body, which runs when the JIT is off.

    Used as `@primitive(plain_body)` over a numba typing function `(typingctx, ...) -> (signature, codegen)`.
    """

    def pair(typing_function: Callable[..., Any]) -> F:
        return plain if JIT_DISABLED else intrinsic(typing_function)  # type: ignore[return-value]

    return pair
