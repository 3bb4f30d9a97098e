"""Sums of rows from left to right: the twin of row_sums.hpp."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.parallel import inline, kernel

# Rows that are summed side by side, which hides the latency of sums.
_TOGETHER = 8


@inline
def sum_rows(x, n, c, out):
    """out[i] = the sum of row i of n rows of c numbers."""
    c, whole = np.uint64(c), n - n % _TOGETHER
    for i in range(0, whole, _TOGETHER):
        a = np.uint64(i) * c
        s0, s1, s2, s3, s4, s5, s6, s7 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(a, a + c):
            s0 += x[j]
            s1 += x[j + c]
            s2 += x[j + np.uint64(2) * c]
            s3 += x[j + np.uint64(3) * c]
            s4 += x[j + np.uint64(4) * c]
            s5 += x[j + np.uint64(5) * c]
            s6 += x[j + np.uint64(6) * c]
            s7 += x[j + np.uint64(7) * c]
        out[i], out[i + 1], out[i + 2], out[i + 3] = s0, s1, s2, s3
        out[i + 4], out[i + 5], out[i + 6], out[i + 7] = s4, s5, s6, s7
    for i in range(whole, n):
        a, total = np.uint64(i) * c, 0.0
        for j in range(a, a + c):
            total += x[j]
        out[i] = total


@kernel
def _row_sums(x, n, c, out):
    sum_rows(x, n, c, out)
    negative = False
    for j in range(np.uint64(n) * np.uint64(c)):
        negative |= not x[j] >= 0.0
    return not negative


def row_sums(x: NDArray[np.float64], out: NDArray[np.float64]) -> bool:
    n, c = x.shape
    return bool(_row_sums(x.reshape(-1), n, c, out))
