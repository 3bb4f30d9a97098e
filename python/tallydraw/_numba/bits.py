"""Bits of words and of bytes side by side, as the processor has them: what bit_columns.hpp has from the compiler."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from tallydraw._numba.lanes import WORD, Lanes, _pointer, _splat
from tallydraw._numba.parallel import inline

_WORDS = 8  # words of bits side by side
_1 = np.uint64(1)
_BYTE, _I16, _I32, _I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)


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


def unpack(builder, a, b, width, high):
    """Items of `width` bits of a and of b in turn, of either half of every 128 bits: one instruction of x86-64."""
    vector = ir.VectorType(ir.IntType(width), 512 // width)
    each = 128 // width
    begins = range(high * each // 2, vector.count, each)
    order = [i + of for begin in begins for i in range(begin, begin + each // 2) for of in (0, vector.count)]
    mask = ir.Constant(ir.VectorType(_I32, vector.count), order)
    return builder.shuffle_vector(builder.bitcast(a, vector), builder.bitcast(b, vector), mask)


@intrinsic
def zeros_to_words(typingctx, codes, index, stride, words):
    """Bit t of words[j], up to an order of the bits that is one for all j: byte index + t * stride + j is 0, or else 1,
    of 64 rows of 64 bytes. Bit j of the result: one of the bytes of word j is above 1.
    """

    def codegen(context, builder, signature, args):
        rows, wide = ir.VectorType(_BYTE, WORD), ir.VectorType(_I64, _WORDS)
        at, seen = args[1], ir.Constant(wide, [0] * _WORDS)
        # Lane l of 128 bits gets columns 8 m + 2 l and 8 m + 2 l + 1, m < 8: interleaving leaves eight side by side.
        dealt = ir.Constant(ir.VectorType(_I32, 32), [4 * m + lane for lane in range(4) for m in range(8)])
        a = []
        for _ in range(8):  # a byte of each column from eight rows
            met = seen_here = None
            for i in range(8):
                x = builder.load(_pointer(context, builder, signature.args[0], args[0], at, rows), align=1)
                x = builder.bitcast(x, wide)
                at = builder.add(at, args[2])
                met = x if met is None else builder.or_(met, builder.shl(x, ir.Constant(wide, [i] * _WORDS)))
                seen_here = x if seen_here is None else builder.or_(seen_here, x)
            seen = builder.or_(seen, seen_here)
            pieces = builder.bitcast(builder.not_(met), ir.VectorType(_I16, 32))
            a.append(builder.shuffle_vector(pieces, pieces, dealt))
        b = [unpack(builder, a[i], a[i + 1], 8, high) for i in range(0, 8, 2) for high in (0, 1)]
        a = [unpack(builder, b[i + k], b[i + k + 2], 16, high) for i in (0, 4) for k in (0, 1) for high in (0, 1)]
        for i in range(4):
            for high in (0, 1):
                to = ir.Constant(_I64, _WORDS * (2 * i + high))
                pointer = _pointer(context, builder, signature.args[3], args[3], to, wide)
                builder.store(builder.bitcast(unpack(builder, a[i], a[i + 4], 32, high), wide), pointer, align=8)
        above = builder.icmp_unsigned(">", builder.bitcast(seen, rows), ir.Constant(rows, [1] * WORD))
        return builder.bitcast(above, _I64)

    return types.uint64(codes, types.uint64, types.uint64, words), codegen


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


@inline
def lowest_bit(word):
    """Its number; of a word that has one."""
    return np.uint64(popcount(~word & (word - _1)))


@inline
def bits_below(word, r):
    """How many of the bits of a word are below bit r."""
    return np.uint64(popcount(word & ((_1 << r) - _1)))
