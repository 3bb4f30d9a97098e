"""A tile of draws, computed feature by feature in columns, turned into rows: the twin of tile.hpp and transpose.hpp."""

from __future__ import annotations

from tallydraw._numba.parallel import inline

# Rows of a tile lie further apart than a power of two: else columns of a tile would share a few places of the cache.
PADDING = 64
_WIDTH = 64


@inline
def write_rows(tile, place, columns, out, column):
    """out[place[i], column + j] = tile[j, i] for j < columns."""
    for begin in range(0, columns, _WIDTH):
        end = min(columns, begin + _WIDTH)
        for i in range(place.shape[0]):
            row = place[i]
            for j in range(begin, end):
                out[row, column + j] = tile[j, i]
