"""The outcomes of uniforms among cumulative levels: the twin of levels.hpp, which has the reasons and the sources.

A block of draws is compared at once: upper words alone name the first level that is not below, and say whether some
word equals one; then, once in millions of draws, `settle` goes over the block with the lower words too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.parallel import inline, kernel
from tallydraw._numba.philox import one_word

# Tables of at most so many categories have no guide; draws from one table row of at most so many are compared.
FEW, MOST_COMPARED = 4, 16
_1, _32 = np.uint64(1), np.uint64(32)
_MOST = np.uint64(2**64 - 2)


@inline
def outcomes_from_row(high, guide, cell, entry, n, bits, words, out):
    """out[i] = the first c with words[i] <= high[cell + c], of the one table row with n cells from `cell` and guide
    entries from `entry` on. Whether some of them have to be settled.
    """
    m = out.shape[0]
    close = False
    if n <= MOST_COMPARED:
        out[:] = 0
        for c in range(n - 1):
            level = high[cell + c]
            for i in range(m):
                out[i] += words[i] > level
                close |= words[i] == level
        return close
    if bits < 0:
        out[:] = 0
        return True
    shift = np.uint32(32 - bits)
    for i in range(m):
        word = words[i]
        c = np.int64(guide[entry + np.int64(word >> shift)])
        c += np.int64(word > high[cell + c])  # nearly always enough
        while word > high[cell + c]:
            c += 1
        close |= word == high[cell + c]
        out[i] = c
    return close


@inline
def outcomes_from_rows(high, guide, cell, entry, n, bits, rows, words, out):
    """The same from table row rows[i] of those that begin at `cell` and `entry`."""
    m = out.shape[0]
    close = False
    if bits >= 0:
        shift = np.uint32(32 - bits)
        for i in range(m):
            word = words[i]
            at = cell + rows[i] * n
            c = np.int64(guide[entry + (rows[i] << bits) + np.int64(word >> shift)])
            c += np.int64(word > high[at + c])
            while word > high[at + c]:
                c += 1
            close |= word == high[at + c]
            out[i] = c
        return close
    if n > FEW:
        out[:] = 0
        return True
    last = n - 1  # not below any word: it may stand in for levels past it
    for i in range(m):
        word = words[i]
        at = cell + rows[i] * n
        c = np.int64(0)
        for k in range(0, last, 3):
            c += np.int64(word > high[at + k])
            c += np.int64(word > high[at + min(k + 1, last)])
            c += np.int64(word > high[at + min(k + 2, last)])
        close |= word == high[at + c]
        out[i] = c
    return close


@inline
def settle(level, high, at, n, word, c, key, tag, row, feature):
    """The outcome of the draw (key, tag, row, feature) whose upper word names c in the table row from cell `at` on."""
    if np.uint64(word) < np.uint64(high[at + c]):
        return c
    u = min((np.uint64(word) << _32) | one_word(key, tag + _1, row, feature), _MOST)
    most = n - 1
    while c < most:
        middle = c + (most - c) // 2
        if u < level[at + middle]:
            most = middle
        else:
            c = middle + 1
    return c


@kernel
def _build(level, n, bits, guide):
    size = np.int64(1) << bits
    for row in range(level.shape[0] // n):
        c = np.int64(0)
        for i in range(size):
            edge = np.uint64(i) << np.uint64(64 - bits)
            while edge >= level[row * n + c]:
                c += 1
            guide[row * size + i] = c


def build_guides(
    structure: Any,
    level: NDArray[np.uint64],
    guide_offsets: NDArray[np.int64],
    guide_bits: NDArray[np.int64],
    guide: NDArray[np.uint32],
) -> None:
    for j, bits in enumerate(guide_bits):
        if bits >= 0:
            rows = level[structure.offsets[j] : structure.offsets[j + 1]]
            _build(rows, structure.n_categories[j], bits, guide[guide_offsets[j] : guide_offsets[j + 1]])
