"""Rows uniform on the simplex: the twin of sample_shares.hpp."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.elementary import log_of
from tallydraw._numba.parallel import kernel, parallel_blocks
from tallydraw._numba.philox import START, counter_tag, fill_columns

_CELLS = 1 << 15  # made at once
_ATTEMPTS = np.uint64(256)  # how far apart their counters' last words are


@kernel
def _to_uniforms(words, at, out):
    """Columns of `out` from `at` on: the uniforms of so many words a row."""
    for j in range(min(4, out.shape[1] - at)):
        for i in range(out.shape[0]):
            out[i, at + j] = (words[j, i] + 0.5) * 2.0**-32


@kernel
def _to_shares(out):
    """Logs of uniforms, divided by their sum from left to right; of negative logs: their sum is negative too."""
    n, k = out.shape
    flat = out.reshape(-1)
    for i in range(flat.size):
        flat[i] = log_of(flat[i])
    for i in range(n):
        total = out[i, 0]
        for j in range(1, k):
            total += out[i, j]
        for j in range(k):
            out[i, j] = out[i, j] / total


def sample_shares(key: int, attempt: int, start: int, out: NDArray[np.float64], threads: int) -> None:
    k, tag = out.shape[1], np.uint64(attempt) * _ATTEMPTS + counter_tag(START, 0)

    def piece(a: int, b: int, _: int) -> None:
        words, rows = np.empty((4, b - a), np.uint32), np.arange(start + a, start + b, dtype=np.uint64)
        for at in range(0, k, 4):
            fill_columns(np.uint64(key), tag, rows, np.uint64(at // 4), words)
            _to_uniforms(words, at, out[a:b])
        _to_shares(out[a:b])

    parallel_blocks(len(out), max(1, _CELLS // k), threads, piece)
