"""Columns of bits, one a category of a feature: the twin of bit_columns.hpp, which says how they lie.

Word w of column q is bits[((q // 8) * n_words + w) * 8 + q % 8].
"""

from __future__ import annotations

import numpy as np

from tallydraw._numba.bits import add_shared, bytes_equal, either, zeros_to_words
from tallydraw._numba.lanes import WORD, load, store
from tallydraw._numba.parallel import allocating, inline

LANES = 8  # columns side by side
BLOCK = 4  # columns counted against eight others at once
_0, _1, _8, _64 = np.uint64(0), np.uint64(1), np.uint64(LANES), np.uint64(WORD)


@inline
def words_equal(codes, place, code, parts, words):
    """words[j]: bit t says whether byte place[t] + j of the codes equals `code`, up to an order of the bits."""
    one = np.uint8(1)
    for part in range(np.uint64(8)):
        first = part * _8
        met = bytes_equal(codes, place[first], code, one)
        for i in range(1, 8):
            met = either(met, bytes_equal(codes, place[first + np.uint64(i)], code, np.uint8(one << np.uint8(i))))
        store(parts, part * _64, met)
    for j in range(_64):
        word = np.uint64(parts[j])
        for part in range(1, 8):
            word |= np.uint64(parts[np.uint64(part) * _64 + j]) << np.uint64(8 * part)
        words[j] = word


@inline
def _pack_some(codes, d, r, m, j0, width, copies, words):
    """zeros_to_words of m rows from r on and `width` columns from j0 on; no bits of others are set."""
    for t in range(len(copies)):
        copies[t] = 1
    for t in range(m):
        for j in range(width):
            copies[t * WORD + j] = codes[(r + t) * d + j0 + j]
    return zeros_to_words(copies, _0, _64, words)


@allocating
def pack_binary(codes, d, r0, r1, w0, n_words, bits):
    """Words w0 on of the columns of rows [r0, r1) of d codes 0 and 1: a bit is set where the code is 0. Columns beside
    the last one get anything. Returns whether a code is above 1, and then there may be no words.
    """
    words, copies = np.empty(WORD, np.uint64), np.empty(WORD * WORD, np.uint8)
    w, step = np.uint64(w0), np.uint64(n_words) * _8
    for r in range(r0, r1, WORD):
        m = min(WORD, r1 - r)
        for j0 in range(0, d, WORD):
            width = min(WORD, d - j0)
            if m == WORD and (r + WORD - 1) * d + j0 + WORD <= codes.size:
                above = zeros_to_words(codes, np.uint64(r * d + j0), np.uint64(d), words)
            else:
                above = _pack_some(codes, d, r, m, j0, width, copies, words)
            if above << np.uint64(WORD - width) != _0:  # of these columns alone
                return True
            to = np.uint64(j0 // LANES) * step + w * _8
            for q in range(_0, np.uint64(width), _8):
                store(bits, to, load(8, words, q))
                to += step
        w += _1
    return False


@inline
def shared_bits(bits, a0, a1, a2, a3, b, n, shared, at, stride):
    """Adds to shared[at + p * stride + l] how many bits the column from word a_p on and lane l of the group from b on
    have in common, in n words of which each is eight away from the one before.
    """
    s0, s1 = load(8, shared, at), load(8, shared, at + stride)
    s2, s3 = load(8, shared, at + stride + stride), load(8, shared, at + stride + stride + stride)
    for w in range(_0, n * _8, _8):
        s0 = add_shared(s0, bits, b + w, bits[a0 + w])
        s1 = add_shared(s1, bits, b + w, bits[a1 + w])
        s2 = add_shared(s2, bits, b + w, bits[a2 + w])
        s3 = add_shared(s3, bits, b + w, bits[a3 + w])
    store(shared, at, s0)
    store(shared, at + stride, s1)
    store(shared, at + stride + stride, s2)
    store(shared, at + stride + stride + stride, s3)
