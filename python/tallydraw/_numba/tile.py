"""A tile of draws, computed feature by feature in columns, turned into rows: the twin of tile.hpp."""

from __future__ import annotations

import numpy as np

from tallydraw._numba.lanes import load, store
from tallydraw._numba.parallel import allocating
from tallydraw._numba.transpose import BUFFER, COLUMNS, ROWS, turn_some

# Rows of a tile lie further apart than a power of two: else columns of a tile would share a few places of the cache.
PADDING = 64


@allocating
def write_rows(tile, place, columns, out, column):
    """out[place[i], column + j] = tile[j, i] for j < columns."""
    if columns < COLUMNS:
        for i in range(place.shape[0]):
            row = place[i]
            for j in range(columns):
                out[row, column + j] = tile[j, i]
        return
    n, d, apart = place.shape[0], out.shape[1], tile.shape[1]
    drawn, rows = tile.reshape(-1), out.reshape(-1)
    a, b = np.empty(BUFFER, out.dtype), np.empty(BUFFER, out.dtype)
    for i0 in range(0, n, ROWS):
        m = min(ROWS, n - i0)
        for first in range(0, columns, COLUMNS):
            j0 = min(first, columns - COLUMNS)  # some columns again
            turn_some(drawn, j0 * apart + i0, apart, m, a, b)
            for i in range(m):
                store(rows, np.uint64(place[i0 + i] * d + column + j0), load(16, a, np.uint64(i * COLUMNS)))
