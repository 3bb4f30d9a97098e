"""Columns of bits, one a category of a feature: the twin of bit_columns.hpp, which says how they lie.

Word w of column q is bits[((q // 8) * n_words + w) * 8 + q % 8].
"""

from __future__ import annotations

import numpy as np

from tallydraw._numba.bits import add_shared, bytes_equal, either
from tallydraw._numba.lanes import WORD, load, store
from tallydraw._numba.parallel import inline

LANES = 8  # columns side by side
BLOCK = 4  # columns counted against eight others at once
_8, _64 = np.uint64(LANES), np.uint64(WORD)


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
def shared_bits(bits, a0, a1, a2, a3, b, n, zeros, shared, at, stride):
    """shared[at + p * stride + l] = how many bits the column from word a_p on and lane l of the group from b on have in
    common, in n words of which each is eight away from the one before.
    """
    s0 = s1 = s2 = s3 = load(8, zeros, np.uint64(0))
    for w in range(np.uint64(0), n * _8, _8):
        s0 = add_shared(s0, bits, b + w, bits[a0 + w])
        s1 = add_shared(s1, bits, b + w, bits[a1 + w])
        s2 = add_shared(s2, bits, b + w, bits[a2 + w])
        s3 = add_shared(s3, bits, b + w, bits[a3 + w])
    store(shared, at, s0)
    store(shared, at + stride, s1)
    store(shared, at + stride + stride, s2)
    store(shared, at + stride + stride + stride, s3)
