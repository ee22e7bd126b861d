"""Many arrays handed to compiled code as one: a call then costs what one array costs, not 0.1 µs for each.

A `Parcel` holds named tuples of arrays and, of each array, its address and length as words. A kernel that is given
the words turns them into handles with what `unpacker` makes. A handle is read as the named tuple it stands for, but
is one pointer: handing it on costs nothing, in the code or to who compiles it, and an array's address and length are
loaded where they are used. The parcel keeps the arrays alive; a tuple is looked at again only when another one is put
in its place. All dimensions of an array but the first are constants of the compiled code, so that finding a row costs
a shift.

With the JIT off the words are the named tuples themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, models, register_model
from numba.np import arrayobj

from kernels.jit import JIT_DISABLED, primitive
from kernels.types import Words

Arrays: TypeAlias = tuple[Any, ...]
"""A named tuple of C-contiguous, aligned, writable arrays; which dtypes and rows is its class's own."""


class Parcel:
    """Arrays for one kernel. like: named tuples of arrays of the same types, in the order that the kernel unpacks.

    words: what the kernel is given. It changes in place when arrays are put, so that no call need look at it.
    """

    def __init__(self, *like: Arrays) -> None:
        self._like = [[(array.dtype, array.shape[1:]) for array in arrays] for arrays in like]
        self._held: list[Arrays | None] = [None] * len(like)
        self._before: list[tuple[Arrays, Any] | None] = [None] * len(like)
        self._starts = np.cumsum([0, *(2 * len(arrays) for arrays in like)]).tolist()
        self.words: Any = self._held if JIT_DISABLED else np.zeros(self._starts[-1], np.int64)

    def put(self, number: int, arrays: Arrays, *, in_turns: bool = False) -> None:
        """Take `arrays` as the tuple of that number. ValueError: an array is not of its type.

        To look at a new tuple takes microseconds. in_turns: the one held before will come back, as of two buffers,
        and is kept until then.
        """
        held, before = self._held[number], self._before[number]
        if held is arrays:
            return
        span = slice(self._starts[number], self._starts[number + 1])
        words = before[1] if before and before[0] is arrays else self._words_of(number, arrays)
        if not JIT_DISABLED:
            self._before[number] = (held, self.words[span].copy()) if in_turns and held is not None else None
            self.words[span] = words
        self._held[number] = arrays

    def _words_of(self, number: int, arrays: Arrays) -> list[int]:
        words: list[int] = []
        for array, (dtype, row) in zip(arrays, self._like[number], strict=True):
            if array.dtype != dtype or array.shape[1:] != row or not array.flags.carray:
                raise ValueError(
                    f"tuple {number}: an array is not {dtype} in rows of {row}, C order, writable"
                )
            words += (array.ctypes.data, len(array))
        return words


class Handle(types.Type):
    """A named tuple of arrays, of which compiled code holds the address of its words in a parcel.

    kind: the tuple's own type; rows: of each array all dimensions but the first. Its name is short, being part
    of the name of every function that takes one.
    """

    def __init__(self, kind: Any, rows: tuple[tuple[int, ...], ...]) -> None:
        self.kind, self.rows = kind, rows
        layout = hashlib.sha256(repr((str(kind), rows)).encode()).hexdigest()[:12]
        super().__init__(name=f"{kind.instance_class.__name__}@{layout}")

    def place(self, attribute: str) -> int:
        """Which array of the tuple it is; -1 if none."""
        fields = self.kind.fields
        return fields.index(attribute) if attribute in fields else -1


@register_model(Handle)
class _Pointer(models.PrimitiveModel):
    """A handle in compiled code: the address of its first word."""

    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, ir.IntType(64).as_pointer())


@infer_getattr
class _ArrayOf(AttributeTemplate):
    """The type of `handle.name`."""

    key = Handle

    def generic_resolve(self, handle: Any, attribute: str) -> Any:  # type: ignore[override]
        place = handle.place(attribute)
        return handle.kind.types[place] if place >= 0 else None


@lower_getattr_generic(Handle)
def _load_array(context: Any, builder: Any, handle: Any, pointer: Any, attribute: str) -> Any:
    """The array of `handle.name`, from its two words."""
    place = handle.place(attribute)
    words = []
    for k in (2 * place, 2 * place + 1):
        load = builder.load(builder.gep(pointer, [ir.Constant(ir.IntType(64), k)]))
        # Nothing that compiled code writes is a word of a parcel: what was loaded once need not be again.
        load.set_metadata("invariant.load", builder.module.add_metadata([]))
        words.append(load)
    return _emit_array(context, builder, handle.kind.types[place], handle.rows[place], *words)


def _same(arrays: Any) -> Any:
    return arrays


@primitive(_same)
def spread(typingctx, handle):  # type: ignore[no-untyped-def]
    """The named tuple of arrays that a handle stands for, loaded at once: for a loop in which every load counts."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        arrays = [_load_array(context, builder, handle, args[0], name) for name in handle.kind.fields]
        return context.make_tuple(builder, handle.kind, arrays)

    return handle.kind(handle), codegen


def _emit_array(
    context: Any, builder: Any, kind: Any, row: tuple[int, ...], address: Any, length: Any
) -> Any:
    """An array of the type `kind` with that address and length, owned by nobody."""
    array = arrayobj.make_array(kind)(context, builder)
    itemsize = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    strides = [itemsize]
    for count in reversed(row):
        strides.insert(0, strides[0] * count)
    arrayobj.populate_array(
        array,
        data=builder.inttoptr(address, array.data.type),
        shape=[length, *(context.get_constant(types.intp, count) for count in row)],
        strides=[context.get_constant(types.intp, stride) for stride in strides],
        itemsize=context.get_constant(types.intp, itemsize),
        meminfo=None,
    )
    return array._getvalue()


def handle_of(arrays: Arrays) -> Handle:
    """Type of the handle of a named tuple like this."""
    return Handle(numba.typeof(arrays), tuple(array.shape[1:] for array in arrays))


def unpacker(like: Callable[[], tuple[Arrays, ...]]) -> Callable[[Words], tuple[Any, ...]]:
    """A primitive that a kernel calls with a parcel's words: the named tuples of the parcel.

    like: gives tuples like those put into the parcel; asked for when a kernel is compiled.
    """

    def plain(words: Any) -> tuple[Any, ...]:
        return tuple(words)

    @primitive(plain)
    def unpack(typingctx, words):  # type: ignore[no-untyped-def]
        samples = like()
        firsts = np.cumsum([0, *(2 * len(arrays) for arrays in samples)])[:-1].tolist()
        handles = [handle_of(arrays) for arrays in samples]

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            source = arrayobj.make_array(signature.args[0])(context, builder, args[0]).data
            pointers = [builder.gep(source, [ir.Constant(ir.IntType(64), start)]) for start in firsts]
            return context.make_tuple(builder, signature.return_type, pointers)

        return types.Tuple(handles)(words), codegen

    return unpack
