"""The outcome of a uniform among cumulative levels: the twin of levels.hpp, which has the reasons and the sources."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.parallel import inline, kernel
from tallydraw._numba.philox import one_word

FEW = 16
_1, _32 = np.uint64(1), np.uint64(32)
_MOST = np.uint64(2**64 - 2)


@inline
def uniform_of(word, key, tag, row, feature):
    """The uniform whose high word, of counter tag `tag`, is known."""
    return min((word << _32) | one_word(key, tag + _1, row, feature), _MOST)


@inline
def outcome(level, high, guide, cell, entry, n, bits, word, key, tag, row, feature):
    """First c with u < level[cell + c], of a table row with n cells from `cell` and guide entries from `entry` on.

    `word` is the high word of the draw (key, tag, row, feature); all of these are uint64.
    """
    c = np.int64(0)
    if bits >= 0:
        c = np.int64(guide[entry + np.int64(word >> np.uint64(32 - bits))])
        while word > high[cell + c]:
            c += 1
        if word == high[cell + c]:
            u = uniform_of(word, key, tag, row, feature)
            while u >= level[cell + c]:
                c += 1
        return c
    if n <= FEW:
        tie = False
        for k in range(n - 1):
            h = high[cell + k]
            c += np.int64(word >= h)
            tie |= word == h
        if tie:
            u = uniform_of(word, key, tag, row, feature)
            c = np.int64(0)
            while u >= level[cell + c]:
                c += 1
        return c
    u = uniform_of(word, key, tag, row, feature)
    most = n - 1
    while c < most:
        middle = c + (most - c) // 2
        if u < level[cell + middle]:
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
