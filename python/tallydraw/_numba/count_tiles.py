"""How tiles of codes are counted: the twin of count_tiles.hpp. Strategies with the same result.

Small counts, table[k * class_apart + j * apart + code] for class k and feature j of a tile, are emptied into the result
before they can overflow. Rows are named class by class in blocks: those of class k in block i are
rows[i * BLOCK + group[i, k]] … rows[i * BLOCK + group[i, k + 1] - 1], from the block's first one on.
"""

from __future__ import annotations

import numpy as np

from tallydraw._numba.bits import popcount
from tallydraw._numba.lanes import WORD, bits_equal, convert, fill, load, load_some, prefetch, store
from tallydraw._numba.parallel import allocating_kernel, inline, kernel

BLOCK = 2048
# Rows until a small count could overflow, in whole blocks; categories that byte lanes and bits count.
MOST_ROWS, FEW = (2**16 - 1) // BLOCK * BLOCK, 16
_BYTE = 255
_AHEAD, _LINE = 16, 64  # rows; bytes that come together
_0, _1, _2, _3, _4, _8, _63, _WORD = (np.uint64(i) for i in (0, 1, 2, 3, 4, 8, 63, WORD))


@kernel
def group_rows(y, rows, group):
    """Names the rows of whole blocks."""
    for i in range(group.shape[0]):
        begin, end = i * BLOCK, min(y.size, (i + 1) * BLOCK)
        group[i] = 0
        for r in range(begin, end):
            group[i, y[r]] += 1
        total = np.int64(0)
        for k in range(group.shape[1]):
            total += group[i, k]
            group[i, k] = total
        for r in range(end - 1, begin - 1, -1):
            group[i, y[r]] -= 1
            rows[begin + group[i, y[r]]] = r - begin


@inline
def _add_bytes(counted, width, table, at, apart):
    for j in range(width):
        table[at + j * apart] += counted[j]


@inline
def _bring_near(codes, at, width):
    """A row to come: rows of a class lie too irregularly for the processor to see the next one coming."""
    prefetch(codes, np.uint64(at))
    prefetch(codes, np.uint64(at + width - 1))


@allocating_kernel
def count_lanes(codes, begin, stride, width, rows, group, table, class_apart, apart, most):
    """Bytes of few categories: up to 64 features are compared with four categories, and the bytes that are equal added.
    Row r begins at codes[begin + r * stride].
    """
    counted = np.empty(WORD, np.uint8)
    last = np.int64(codes.size) - WORD  # where 64 bytes can be read from
    for i in range(group.shape[0]):
        for k in range(group.shape[1] - 1):
            for g0 in range(i * BLOCK + group[i, k], i * BLOCK + group[i, k + 1], _BYTE):
                g1 = min(g0 + _BYTE, i * BLOCK + group[i, k + 1])
                for c in range(0, most, 4):
                    a0 = a1 = a2 = a3 = fill(64, np.uint8(0))
                    c0, c1 = fill(64, np.uint8(c)), fill(64, np.uint8(c + 1))
                    c2, c3 = fill(64, np.uint8(c + 2)), fill(64, np.uint8(c + 3))
                    for g in range(g0, g1):
                        if c == 0:
                            _bring_near(codes, begin + (g + BLOCK) * stride, width)
                        at = begin + (i * BLOCK + np.int64(rows[g])) * stride
                        if at <= last:
                            z = load(64, codes, np.uint64(at))
                        else:
                            z = load_some(64, codes, np.uint64(at), np.uint64(codes.size - at))
                        a0 = a0 + convert(z == c0, codes.dtype)
                        a1 = a1 + convert(z == c1, codes.dtype)
                        a2 = a2 + convert(z == c2, codes.dtype)
                        a3 = a3 + convert(z == c3, codes.dtype)
                    to = k * class_apart + c
                    store(counted, _0, a0)
                    _add_bytes(counted, width, table, to, apart)
                    store(counted, _0, a1)
                    _add_bytes(counted, width, table, to + 1, apart)
                    store(counted, _0, a2)
                    _add_bytes(counted, width, table, to + 2, apart)
                    store(counted, _0, a3)
                    _add_bytes(counted, width, table, to + 3, apart)


@kernel
def count_rows(codes, begin, stride, width, rows, group, table, class_apart, apart, step):
    """Any codes, `step` from each other in a row: an increment a cell. Neighbouring cells of a row are in different
    tables, so an increment seldom waits for the store of the one before it.
    """
    table_step, code_step, w = np.uint64(apart), np.uint64(step), np.uint64(width)
    for i in range(group.shape[0]):
        first = np.uint64(begin + i * BLOCK * stride)
        for k in range(group.shape[1] - 1):
            own = np.uint64(k * class_apart)
            g1 = i * BLOCK + group[i, k + 1]
            for g in range(i * BLOCK + group[i, k], g1):
                to_come = begin + (i * BLOCK + np.int64(rows[min(g + _AHEAD, g1 - 1)])) * stride
                at = first + np.uint64(rows[g]) * np.uint64(stride)
                if step == 1:  # known, an increment is an instruction less
                    _bring_near(codes, to_come, width)
                    for j in range(w):
                        table[own + j * table_step + np.uint64(codes[at + j])] += 1
                else:
                    for near in range(to_come, to_come + width * step, _LINE):
                        prefetch(codes, np.uint64(near))
                    for j in range(w):
                        table[own + j * table_step + np.uint64(codes[at + j * code_step])] += 1


@kernel
def class_bits(y, bits):
    """bits[k, i]: which of rows 64 i … 64 i + 63 are of class k."""
    bits[:] = 0
    for r in range(y.size):
        bits[y[r], r >> 6] |= _1 << (np.uint64(r) & _63)


@allocating_kernel
def count_bits(codes, begin, column, n, width, bits, first_word, table, class_apart, feature_apart, most):
    """Columns of bytes of few categories: 64 rows at once. Column j begins at codes[begin + j * column]."""
    chunk = 64
    equal = np.empty(chunk, np.uint64)
    words = n >> 6
    for j in range(width):
        first = begin + j * column
        for w0 in range(0, words, chunk):
            m = min(chunk, words - w0)
            for c in range(most):
                for w in range(m):
                    equal[w] = bits_equal(codes, np.uint64(first + ((w0 + w) << 6)), np.uint8(c))
                for k in range(bits.shape[0]):
                    own = bits[k, first_word + w0 : first_word + w0 + m]
                    total = _0
                    for w in range(m):
                        total += np.uint64(popcount(equal[w] & own[w]))
                    table[k * class_apart + j * feature_apart + c] += total
        for r in range(words << 6, n):
            code = np.int64(codes[first + r])
            for k in range(bits.shape[0]):
                if code < most and (bits[k, first_word + (r >> 6)] >> (np.uint64(r) & _63)) & _1 != _0:
                    table[k * class_apart + j * feature_apart + code] += 1


@kernel
def count_columns(codes, begin, column, n, width, has_shift, shift, table, feature_apart):
    """Columns of any codes: an increment a cell, of table[shift[r] + code] of its feature, where has_shift. Four
    columns take turns, so that an increment seldom waits for the store of the one before it.
    """
    apart, next_ = np.uint64(feature_apart), np.uint64(column)
    for r0 in range(0, n, BLOCK):
        r1 = min(n, r0 + BLOCK)
        for j in range(0, width - 3, 4):
            t0 = np.uint64(j) * apart
            t1, t2, t3 = t0 + apart, t0 + _2 * apart, t0 + _3 * apart
            at = np.uint64(begin + j * column)
            for r in range(np.uint64(r0), np.uint64(r1)):
                row = np.uint64(shift[r]) if has_shift else _0
                z = at + r
                table[t0 + row + np.uint64(codes[z])] += 1
                table[t1 + row + np.uint64(codes[z + next_])] += 1
                table[t2 + row + np.uint64(codes[z + _2 * next_])] += 1
                table[t3 + row + np.uint64(codes[z + _3 * next_])] += 1
        for j in range(width - width % 4, width):
            own, at = np.uint64(j) * apart, np.uint64(begin + j * column)
            for r in range(np.uint64(r0), np.uint64(r1)):
                row = np.uint64(shift[r]) if has_shift else _0
                table[own + row + np.uint64(codes[at + r])] += 1


@kernel
def empty(table, class_apart, feature_apart, rows, n_categories, offsets, missing, counts):
    """Adds the counts of features, but those of the missing code, and clears them; whether all of `rows` codes of each
    feature were categories.
    """
    n_classes = (offsets[1] - offsets[0]) // n_categories[0]
    whole = True
    for j in range(n_categories.size):
        total = np.int64(0)
        c = n_categories[j]
        for k in range(n_classes):
            at, to = k * class_apart + j * feature_apart, offsets[j] + k * c
            for code in range(c):
                small = np.int64(table[at + code])
                total += small
                counts[to + code] += small
            if missing < c:
                counts[to + missing] -= np.int64(table[at + missing])
        whole &= total == rows
    table[:] = 0
    return whole
