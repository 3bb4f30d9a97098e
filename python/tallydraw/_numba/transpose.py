"""Columns into rows by interleaving halves, whole vectors: the twin of transpose.hpp."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tallydraw._numba.bits import unpack
from tallydraw._numba.lanes import WORD, _pointer, interleave, load, store
from tallydraw._numba.parallel import allocating_kernel, inline, kernel

# Columns turned at once, and rows of them; buffers hold BUFFER items.
COLUMNS, ROWS = 16, 512
BUFFER = COLUMNS * ROWS
_0, _WORD = np.uint64(0), np.uint64(WORD)


@inline
def _interleave_halves(a, b, size):
    """b = a's two halves, interleaved; of whole words."""
    half = np.uint64(size // 2)
    for i in range(_0, half, _WORD):
        store(b, i + i, interleave(load(64, a, i), load(64, a, i + half)))


@inline
def turn_some(columns, begin, apart, n, a, b):
    """a[r * COLUMNS + j] = columns[begin + j * apart + r], r < n <= ROWS; overwrites both buffers."""
    room = (n + 7) // 8 * 8
    for j in range(COLUMNS):
        at, to = np.uint64(begin + j * apart), np.uint64(j * room)
        for r in range(np.uint64(n)):
            a[to + r] = columns[at + r]
    _interleave_halves(a, b, COLUMNS * room)
    _interleave_halves(b, a, COLUMNS * room)
    _interleave_halves(a, b, COLUMNS * room)
    _interleave_halves(b, a, COLUMNS * room)


@allocating_kernel
def turn(columns, apart, rows):
    """rows[r, j] = columns[j * apart + r], of at least COLUMNS columns."""
    n, d = rows.shape
    flat = rows.reshape(-1)
    a, b = np.empty(BUFFER, rows.dtype), np.empty(BUFFER, rows.dtype)
    for r0 in range(0, n, ROWS):
        m = min(ROWS, n - r0)
        for first in range(0, d, COLUMNS):
            j0 = min(first, d - COLUMNS)  # some columns again
            turn_some(columns, j0 * apart + r0, apart, m, a, b)
            for r in range(m):
                store(flat, np.uint64((r0 + r) * d + j0), load(16, a, np.uint64(r * COLUMNS)))


@intrinsic
def _turn_bytes(typingctx, columns, begin, apart, rows, to, width):
    """rows[to + r * width + j] = columns[begin + j * apart + r] for r < COLUMNS and j < WORD."""

    def codegen(context, builder, signature, args):
        byte, some = ir.IntType(8), ir.VectorType(ir.IntType(8), COLUMNS)
        at, pieces = args[1], []
        for _ in range(WORD):
            pieces.append(builder.load(_pointer(context, builder, columns, args[0], at, some), align=1))
            at = builder.add(at, args[2])

        def joined(a, b):
            numbers = ir.Constant(ir.VectorType(ir.IntType(32), 2 * a.type.count), list(range(2 * a.type.count)))
            return builder.shuffle_vector(a, b, numbers)

        # A register has pieces j, j + 16, j + 32 and j + 48; each of the four is turned by itself.
        a = [joined(joined(*pieces[i::COLUMNS][:2]), joined(*pieces[i::COLUMNS][2:])) for i in range(COLUMNS)]
        for _ in range(4):
            a = [unpack(builder, a[i], a[i + 8], 8, high) for i in range(8) for high in (0, 1)]
        at = args[4]
        for vector in a:
            pointer = _pointer(context, builder, rows, args[3], at, ir.VectorType(byte, WORD))
            builder.store(vector, pointer, align=1)
            at = builder.add(at, args[5])

    return types.void(columns, types.uint64, types.uint64, rows, types.uint64, types.uint64), codegen


@kernel
def turn_bytes(columns, apart, rows):
    """The same of bytes, at least COLUMNS rows of WORD columns."""
    n, d, flat = np.uint64(rows.shape[0]), np.uint64(rows.shape[1]), rows.reshape(-1)
    for some in range(_0, d, _WORD):
        j = min(some, d - _WORD)  # some columns, and rows, again
        for first in range(_0, n, np.uint64(COLUMNS)):
            r = min(first, n - np.uint64(COLUMNS))
            _turn_bytes(columns, j * np.uint64(apart) + r, np.uint64(apart), flat, r * d + j, d)
