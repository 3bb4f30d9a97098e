"""Multinomial counts as conditional binomials: the twin of sample_counts.hpp."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.binomial import TAG, binomial, unit
from tallydraw._numba.parallel import kernel, parallel_blocks
from tallydraw._numba.philox import fill_columns

_0, _TOP = np.uint64(0), np.uint64(2**64 - 1)
_2_64 = 2.0**64
_ROWS = 256  # whose first attempts have their words made side by side


@kernel
def _counts(level, rows, totals, key, start, begin, end, out):
    columns = level.shape[1]
    words = np.empty((4, _ROWS), np.uint32)
    numbers, previous, left = np.empty(_ROWS, np.uint64), np.empty(_ROWS, np.uint64), np.empty(_ROWS, np.int64)
    for first in range(begin, end, _ROWS):
        m = min(_ROWS, end - first)
        for i in range(m):
            numbers[i] = start + np.uint64(first + i)
            previous[i] = _0
            left[i] = totals[first + i]
        for c in range(columns - 1):
            if left[:m].any():
                fill_columns(key, TAG, numbers[:m], np.uint64(c), words)
            for i in range(m):
                here = level[rows[first + i], c]
                width = here - previous[i]
                count = np.int64(0)
                if left[i] > 0 and width > _0:
                    if here == _TOP:
                        count = left[i]
                    else:
                        u = unit(np.uint64(words[0, i]), np.uint64(words[1, i]))
                        v = unit(np.uint64(words[2, i]), np.uint64(words[3, i]))
                        beyond = _0 - here
                        whole = _2_64 if previous[i] == _0 else np.float64(_0 - previous[i])
                        p = np.float64(width) / whole
                        q = np.float64(beyond) / whole
                        if width <= beyond:
                            count = binomial(left[i], p, q, u, v, key, numbers[i], np.uint64(c))
                        else:
                            count = left[i] - binomial(left[i], q, p, u, v, key, numbers[i], np.uint64(c))
                out[first + i, c] = count
                left[i] -= count
                previous[i] = here
        for i in range(m):
            out[first + i, columns - 1] = left[i]


def sample_counts(
    level: NDArray[np.uint64],
    rows: NDArray[np.int64],
    totals: NDArray[np.int64],
    key: int,
    start: int,
    out: NDArray[np.int64],
    threads: int,
) -> None:
    def piece(begin: int, end: int, _: int) -> None:
        _counts(level, rows, totals, np.uint64(key), np.uint64(start), begin, end, out)

    parallel_blocks(len(out), max(16, (1 << 13) // level.shape[1]), threads, piece)
