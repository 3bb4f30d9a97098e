"""Bits of words and of bytes side by side, as the processor has them: what bit_columns.hpp has from the compiler."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from tallydraw._numba.lanes import WORD, Lanes, _pointer, _splat

_WORDS = 8  # words of bits side by side
_BYTE, _I64 = ir.IntType(8), ir.IntType(64)


@intrinsic
def popcount(typingctx, u):
    """How many bits of a uint64 are set, as int64."""

    def codegen(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


@intrinsic
def bytes_equal(typingctx, array, index, value, bit):
    """`bit` in the lanes of 64 bytes from an index on that equal a value, 0 in the others."""
    lanes = Lanes(types.uint8, WORD)

    def codegen(context, builder, signature, args):
        vector = context.get_value_type(lanes)
        x = builder.load(_pointer(context, builder, array, args[0], args[1], vector), align=1)
        met = builder.icmp_unsigned("==", x, _splat(builder, args[2], WORD))
        return builder.select(met, _splat(builder, args[3], WORD), ir.Constant(vector, [0] * WORD))

    return lanes(array, types.uint64, types.uint8, types.uint8), codegen


@intrinsic
def bytes_above(typingctx, array, index, most, at):
    """Bit t of a word says whether byte index + t of 64 is above item at + t of `most`."""

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(_BYTE, WORD)
        x = builder.load(_pointer(context, builder, array, args[0], args[1], vector), align=1)
        limit = builder.load(_pointer(context, builder, most, args[2], args[3], vector), align=1)
        return builder.bitcast(builder.icmp_unsigned(">", x, limit), _I64)

    return types.uint64(array, types.uint64, most, types.uint64), codegen


@intrinsic
def either(typingctx, a, b):
    """The bits of two lanes of integers together."""

    def codegen(context, builder, signature, args):
        return builder.or_(*args)

    return a(a, b), codegen


@intrinsic
def add_shared(typingctx, sums, array, index, word):
    """sums[l] + how many bits a word has in common with word index + l of eight."""

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(_I64, _WORDS)
        x = builder.load(_pointer(context, builder, array, args[1], args[2], vector), align=8)
        count = get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]), f"llvm.ctpop.v{_WORDS}i64")
        both = builder.and_(x, _splat(builder, args[3], _WORDS))
        return builder.add(args[0], builder.call(count, [both]))

    return sums(sums, array, types.uint64, types.uint64), codegen
