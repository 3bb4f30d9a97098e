"""Multinomial counts as conditional binomials: the twin of sample_counts.hpp."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.binomial import binomial
from tallydraw._numba.parallel import kernel, parallel_blocks

_0, _TOP = np.uint64(0), np.uint64(2**64 - 1)
_2_64 = 2.0**64


@kernel
def _counts(level, rows, totals, key, start, begin, end, out):
    columns = level.shape[1]
    for t in range(begin, end):
        left = totals[t]
        previous = _0
        row = start + np.uint64(t)
        for c in range(columns - 1):
            here = level[rows[t], c]
            width = here - previous
            count = np.int64(0)
            if left > 0 and width > _0:
                if here == _TOP:
                    count = left
                else:
                    beyond = _0 - here
                    whole = _2_64 if previous == _0 else np.float64(_0 - previous)
                    p = np.float64(width) / whole
                    q = np.float64(beyond) / whole
                    if width <= beyond:
                        count = binomial(left, p, q, key, row, np.uint64(c))
                    else:
                        count = left - binomial(left, q, p, key, row, np.uint64(c))
            out[t, c] = count
            left -= count
            previous = here
        out[t, columns - 1] = left


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

    parallel_blocks(len(out), max(1, (1 << 13) // level.shape[1]), threads, piece)
