"""Loads and stores of vectors of other widths and in part."""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from bnn.machine.vectors import SHORTS, pointer


@intrinsic
def load_bytes_as_shorts(typing_context: Any, array: Any, index: Any) -> Any:
    """32 unsigned bytes, widened."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        narrow = ir.VectorType(ir.IntType(8), SHORTS.lanes)
        source = pointer(context, builder, array, arguments, narrow)
        return builder.zext(builder.load(source, align=1), SHORTS.ir)

    return SHORTS(array, numba.types.intp), generate


@intrinsic
def load_like(typing_context: Any, like: Any, array: Any, index: Any) -> Any:
    """Load a vector of the type of `like`, so that one function serves several widths."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = pointer(context, builder, array, arguments[1:], like.ir)
        return builder.load(source, align=1)

    return like(like, array, numba.types.intp), generate


@intrinsic
def store_like(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Store a vector of any type."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = pointer(context, builder, array, arguments, value.ir)
        builder.store(arguments[2], target, align=1)
        return context.get_dummy_value()

    return numba.types.void(array, numba.types.intp, value), generate


@intrinsic
def store_cut(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Store signed lanes as bytes, cut to their range."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        cut = arguments[2]
        kind = ir.FunctionType(value.ir, [value.ir, value.ir])
        for name, end in (("smin", 127), ("smax", -128)):
            function = f"llvm.{name}.v{value.lanes}i{value.bits}"
            limit = ir.Constant(value.ir, [end] * value.lanes)
            called = cgutils.get_or_insert_function(builder.module, kind, function)
            cut = builder.call(called, [cut, limit])
        narrow = ir.VectorType(ir.IntType(8), value.lanes)
        target = pointer(context, builder, array, arguments, narrow)
        builder.store(builder.trunc(cut, narrow), target, align=1)
        return context.get_dummy_value()

    return numba.types.void(array, numba.types.intp, value), generate


@intrinsic
def store_narrowed(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Store lanes as the narrower integers of an array, their upper bits dropped."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        narrow = ir.VectorType(ir.IntType(array.dtype.bitwidth), value.lanes)
        target = pointer(context, builder, array, arguments, narrow)
        builder.store(builder.trunc(arguments[2], narrow), target, align=1)
        return context.get_dummy_value()

    return numba.types.void(array, numba.types.intp, value), generate
