"""Vectors of integers as values of compiled code.

The compiler does not turn loops over bits and bytes into the instructions that processors have for
them, such as a population count of eight words or a sum of 64 bytes. With these values kernels say
what they mean; on a processor with narrower registers the compiler splits them.
"""

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba
from llvmlite import ir
from numba.core import cgutils, config
from numba.extending import intrinsic, models, register_model


class Vector(numba.types.Type):
    """Type of a vector of `lanes` integers of `bits` bits."""

    def __init__(self, bits: int, lanes: int) -> None:
        self.bits, self.lanes = bits, lanes
        super().__init__(name=f"Vector({bits} x {lanes})")

    @property
    def ir(self) -> ir.VectorType:
        """The type in the terms of the compiler."""
        return ir.VectorType(ir.IntType(self.bits), self.lanes)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.ir)


WORDS = Vector(64, 8)
"""Eight words of 64 bits."""

QUADS = Vector(64, 4)
"""Four words of 64 bits."""

INTS = Vector(32, 16)
"""16 integers of 32 bits."""

SHORTS = Vector(16, 32)
"""32 integers of 16 bits."""

BYTES = Vector(8, 64)
"""64 integers of 8 bits."""


def _host_has(feature: str) -> bool:
    """Whether the processor that numba compiles for has a feature."""
    if config.CPU_NAME not in (None, "host"):
        # compiled for another processor, say to share it between machines: features are spelled out
        return f"+{feature}" in str(config.CPU_FEATURES or "").split(",")
    return bool(llvmlite.binding.get_host_cpu_features().get(feature, False))


LOOKUPS = _host_has("avx512bw")
"""Whether :func:`lookup` can be compiled: tables of 64 numbers within registers."""

_THREE_WAY = _host_has("avx512f")


def pointer(context: Any, builder: Any, array: Any, arguments: Any, to: Any) -> Any:
    """Address of an element; `arguments` start with the array and the index, not checked."""
    data = context.make_array(array)(context, builder, arguments[0]).data
    return builder.bitcast(builder.gep(data, [arguments[1]]), to.as_pointer())


def _loader(vector: Vector) -> Callable[..., Any]:
    @intrinsic
    def load(typing_context: Any, array: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source = pointer(context, builder, array, arguments, vector.ir)
            return builder.load(source, align=1)

        return vector(array, numba.types.intp), generate

    return load


def _storer(vector: Vector) -> Callable[..., Any]:
    @intrinsic
    def store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            target = pointer(context, builder, array, arguments, vector.ir)
            builder.store(arguments[2], target, align=1)
            return context.get_dummy_value()

        return numba.types.void(array, numba.types.intp, vector), generate

    return store


def _filler(vector: Vector) -> Callable[..., Any]:
    @intrinsic
    def fill(typing_context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _filled(builder, vector, value, arguments[0])

        return vector(value), generate

    return fill


def _filled(builder: Any, vector: Vector, value: Any, one: Any) -> Any:
    """Vector with one number in all lanes, cut or widened to them."""
    lane = ir.IntType(vector.bits)
    if one.type.width > vector.bits:
        one = builder.trunc(one, lane)
    elif one.type.width < vector.bits:
        one = builder.sext(one, lane) if value.signed else builder.zext(one, lane)
    empty = ir.Constant(vector.ir, ir.Undefined)
    first = builder.insert_element(empty, one, ir.Constant(ir.IntType(32), 0))
    places = ir.Constant(ir.VectorType(ir.IntType(32), vector.lanes), [0] * vector.lanes)
    return builder.shuffle_vector(first, empty, places)


@intrinsic
def fill_like(typing_context: Any, like: Any, value: Any) -> Any:
    """Vector of the type of `like` with one number in all lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _filled(builder, like, value, arguments[1])

    return like(like, value), generate


def _operator(build: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    """Operation of two vectors of one type."""

    @intrinsic
    def operate(typing_context: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return build(builder, *arguments)

        return left(left, right), generate

    return operate


def _comparison(operator: str, signed: bool) -> Callable[..., Any]:
    """Bit mask of the lanes in which a comparison holds, lowest lane in the lowest bit."""

    @intrinsic
    def compare(typing_context: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            of = builder.icmp_signed if signed else builder.icmp_unsigned
            mask = builder.bitcast(of(operator, *arguments), ir.IntType(left.lanes))
            return builder.zext(mask, ir.IntType(64)) if left.lanes < 64 else mask

        return numba.types.uint64(left, right), generate

    return compare


def _interleaving(first: int) -> Callable[..., Any]:
    """Lanes of two vectors in turn, from lane `first` on."""

    @intrinsic
    def interleave(typing_context: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = left.lanes
            places = [first + i // 2 + lanes * (i % 2) for i in range(lanes)]
            chosen = ir.Constant(ir.VectorType(ir.IntType(32), lanes), places)
            return builder.shuffle_vector(*arguments, chosen)

        return left(left, right), generate

    return interleave


@intrinsic
def popcount(typing_context: Any, value: Any) -> Any:
    """Set bits of a word, or of each lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (word,) = arguments
        name = f"llvm.ctpop.v{value.lanes}i{value.bits}" if isinstance(value, Vector) else ""
        if not name:
            return builder.ctpop(word)
        kind = ir.FunctionType(word.type, [word.type])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [word])

    return value(value), generate


@intrinsic
def add_where(typing_context: Any, value: Any, mask: Any, other: Any) -> Any:
    """`value`, plus `other` in the lanes whose bit is set in a word."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, bits, more = arguments
        if value.lanes < 64:
            bits = builder.trunc(bits, ir.IntType(value.lanes))
        lanes = builder.bitcast(bits, ir.VectorType(ir.IntType(1), value.lanes))
        return builder.select(lanes, builder.add(start, more), start)

    return value(value, numba.types.uint64, value), generate


@intrinsic
def word_at(typing_context: Any, array: Any, index: Any) -> Any:
    """Element of a flat array of words, without a test for a negative index."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(pointer(context, builder, array, arguments, ir.IntType(64)))

    return numba.types.uint64(array, numba.types.intp), generate


@intrinsic
def prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Start to bring an element of an array into the cache; any index will do."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = ir.IntType(32)
        byte = ir.IntType(8)
        source = pointer(context, builder, array, arguments, byte)
        kind = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # to read, to keep near, data
        builder.call(function, [source, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return numba.types.void(array, numba.types.intp), generate


@intrinsic
def lookup(typing_context: Any, low: Any, index: Any, high: Any) -> Any:
    """Entries of a table of 64 shorts, its halves in two vectors, at 32 places 0 to 63.

    Only where `LOOKUPS` is true.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name = "llvm.x86.avx512.vpermi2var.hi.512"
        kind = ir.FunctionType(SHORTS.ir, [SHORTS.ir] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    return SHORTS(low, index, high), generate


def _of_three(table: int, build: Callable[[Any, Any, Any, Any], Any]) -> Callable[..., Any]:
    """Bitwise function of three vectors of words, by its truth table where that is one step."""

    @intrinsic
    def combine(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            if not _THREE_WAY:
                return build(builder, *arguments)
            number = ir.IntType(32)
            kind = ir.FunctionType(a.ir, [a.ir, a.ir, a.ir, number])
            name = "llvm.x86.avx512.pternlog.q.512"
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            return builder.call(function, [*arguments, ir.Constant(number, table)])

        return WORDS(a, b, c), generate

    return combine


parity = _of_three(0x96, lambda build, a, b, c: build.xor(build.xor(a, b), c))
"""Bits that are set in one or in three of three vectors of words."""

majority = _of_three(
    0xE8, lambda build, a, b, c: build.or_(build.and_(a, b), build.and_(c, build.or_(a, b)))
)
"""Bits that are set in two or three of three vectors of words."""


@intrinsic
def add_where_at(typing_context: Any, value: Any, masks: Any, index: Any, other: Any) -> Any:
    """`value`, plus `other` in the lanes whose bit is set in ``masks[index]``, not checked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start, array, at, more = arguments
        word = builder.load(pointer(context, builder, masks, (array, at), ir.IntType(64)))
        lanes = builder.bitcast(word, ir.VectorType(ir.IntType(1), value.lanes))
        return builder.select(lanes, builder.add(start, more), start)

    return value(value, masks, numba.types.intp, value), generate


@intrinsic
def choose(typing_context: Any, mask: Any, chosen: Any, other: Any) -> Any:
    """`chosen` in the lanes whose bit is set in a word, `other` in the rest."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits, one, two = arguments
        lanes = builder.bitcast(bits, ir.VectorType(ir.IntType(1), chosen.lanes))
        return builder.select(lanes, one, two)

    return chosen(numba.types.uint64, chosen, chosen), generate


@intrinsic
def add_saturated(typing_context: Any, left: Any, right: Any) -> Any:
    """Sum of signed lanes, cut to their range."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(left.ir, [left.ir, left.ir])
        name = f"llvm.sadd.sat.v{left.lanes}i{left.bits}"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)

    return left(left, right), generate


@intrinsic
def lowest_bit(typing_context: Any, value: Any) -> Any:
    """Place of the lowest set bit of a word that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(cgutils.bool_t, 1))

    return numba.types.int64(numba.types.uint64), generate


@intrinsic
def lowest_bit_or_64(typing_context: Any, value: Any) -> Any:
    """Place of the lowest set bit of a word, 64 if there is none."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(cgutils.bool_t, 0))

    return numba.types.uint64(numba.types.uint64), generate


load_words, store_words, fill_words = _loader(WORDS), _storer(WORDS), _filler(WORDS)
fill_quads = _filler(QUADS)
load_ints, store_ints, fill_ints = _loader(INTS), _storer(INTS), _filler(INTS)
load_shorts, store_shorts, fill_shorts = _loader(SHORTS), _storer(SHORTS), _filler(SHORTS)
load_bytes, store_bytes, fill_bytes = _loader(BYTES), _storer(BYTES), _filler(BYTES)

add = _operator(lambda builder, a, b: builder.add(a, b))
subtract = _operator(lambda builder, a, b: builder.sub(a, b))
exclusive_or = _operator(lambda builder, a, b: builder.xor(a, b))

larger = _operator(lambda builder, a, b: builder.select(builder.icmp_signed(">", a, b), a, b))
"""The larger of signed lanes."""

both = _operator(lambda builder, a, b: builder.and_(a, b))
either = _operator(lambda builder, a, b: builder.or_(a, b))
interleave_low, interleave_high = _interleaving(0), _interleaving(BYTES.lanes // 2)
"""Bytes of two vectors in turn: of their lower halves, of their upper halves."""

shift_left = _operator(lambda builder, a, b: builder.shl(a, b))
shift_right = _operator(lambda builder, a, b: builder.lshr(a, b))

greater = _comparison(">", signed=True)
at_most = _comparison("<=", signed=True)
