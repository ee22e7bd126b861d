"""Telling the CPU which row comes next: without it a fill in large books waits for five cache misses in turn."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from kernels.jit import primitive


def _plain_prefetch(rows: Any, row: int) -> int:
    return 0


@primitive(_plain_prefetch)
def prefetch(typingctx, rows, row):  # type: ignore[no-untyped-def]
    """Ask for the cache line where `rows[row]` starts, to be written. Changes nothing; answers 0.

    rows: a contiguous one-dimensional array. Any `row` is allowed: the CPU ignores an address it may not read.
    """

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        i32, i64 = ir.IntType(32), ir.IntType(64)
        array = context.make_array(signature.args[0])(context, builder, args[0])
        stride = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        offset = builder.mul(args[1], ir.Constant(i64, stride))
        pointer_type = ir.IntType(8).as_pointer()
        pointer = builder.inttoptr(builder.add(builder.ptrtoint(array.data, i64), offset), pointer_type)
        kind = ir.FunctionType(ir.VoidType(), [pointer_type, i32, i32, i32])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer_type], kind)
        to_write, keep_close, data = 1, 3, 1
        builder.call(fetch, [pointer, *(ir.Constant(i32, k) for k in (to_write, keep_close, data))])
        return ir.Constant(i64, 0)

    return types.int64(rows, types.int64), codegen
