"""Columns into rows by interleaving halves, whole vectors: the twin of transpose.hpp."""

from __future__ import annotations

import numpy as np

from tallydraw._numba.lanes import WORD, interleave, load, store
from tallydraw._numba.parallel import inline, kernel

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


@kernel
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
