"""Many arrays handed to compiled code as one: a call then costs what one array costs, not 0.1 µs for each.

A `Parcel` holds named tuples of arrays and, of each array, its address and length as words. A kernel that is given
the words turns them into the same named tuples with what `unpacker` makes, which costs a few loads. The parcel keeps
the arrays alive; a tuple is looked at again only when another one is put in its place. All dimensions of an array but
the first are constants of the compiled code, so that finding a row costs a shift.

With the JIT off the words are the named tuples themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numba
import numpy as np
from llvmlite import ir
from numba import types
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
        self._starts = np.cumsum([0, *(2 * len(arrays) for arrays in like)]).tolist()
        self.words: Any = self._held if JIT_DISABLED else np.zeros(self._starts[-1], np.int64)

    def put(self, number: int, arrays: Arrays) -> None:
        """Take `arrays` as the tuple of that number. ValueError: an array is not of its type."""
        if self._held[number] is arrays:
            return
        words: list[int] = []
        for array, (dtype, row) in zip(arrays, self._like[number], strict=True):
            if (array.dtype, array.shape[1:]) != (dtype, row) or not array.flags.carray:
                raise ValueError(
                    f"tuple {number}: an array is not {dtype} in rows of {row}, C order, writable"
                )
            words += (array.__array_interface__["data"][0], len(array))
        self._held[number] = arrays
        if not JIT_DISABLED:
            self.words[self._starts[number] : self._starts[number + 1]] = words


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


def unpacker(like: Callable[[], tuple[Arrays, ...]]) -> Callable[[Words], tuple[Any, ...]]:
    """A primitive that a kernel calls with a parcel's words: the named tuples of the parcel.

    like: gives tuples like those put into the parcel; asked for when a kernel is compiled.
    """

    def plain(words: Any) -> tuple[Any, ...]:
        return tuple(words)

    @primitive(plain)
    def unpack(typingctx, words):  # type: ignore[no-untyped-def]
        samples = like()
        kinds = [numba.typeof(arrays) for arrays in samples]
        rows = [[array.shape[1:] for array in arrays] for arrays in samples]

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            source = arrayobj.make_array(signature.args[0])(context, builder, args[0]).data

            def word(k: int) -> Any:
                return builder.load(builder.gep(source, [ir.Constant(ir.IntType(64), k)]))

            at, tuples = 0, []
            for kind, shapes in zip(kinds, rows, strict=True):
                arrays = []
                for each, row in zip(kind.types, shapes, strict=True):
                    arrays.append(_emit_array(context, builder, each, row, word(at), word(at + 1)))
                    at += 2
                tuples.append(context.make_tuple(builder, kind, arrays))
            return context.make_tuple(builder, signature.return_type, tuples)

        return types.Tuple(kinds)(words), codegen

    return unpack
