"""Log joint probabilities to log evidence, posteriors and their logs: the twin of posterior.hpp.

In every row: the maximum, then exp(x - max) summed left to right. A row of -inf has the prior as its posterior.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.elementary import exp_of, log_of
from tallydraw._numba.parallel import allocating_kernel, inline, parallel_blocks

# Cells a thread takes at once, and those of a tile that stays in the first cache.
_GRAIN, _CELLS = 65536, 1024


@inline
def _shift(x, at, k):
    """The maximum of a row, but 0 where all entries are -inf: then x - max stays -inf."""
    most = x[at]
    for j in range(k):
        most = x[at + j] if x[at + j] > most else most
    return most if most > -np.inf else 0.0


@inline
def _exps(x, at, rows, k, out, to, shifts, sums):
    """out = exp(x - shift) of rows of k, from x[at] and out[to] on, their shifts and their sums from left to right."""
    for i in range(rows):
        begin = i * k
        shift = _shift(x, at + begin, k)
        shifts[i] = shift
        for j in range(k):
            out[to + begin + j] = x[at + begin + j] - shift
    for i in range(rows * k):  # flat, so that LLVM makes vectors of it
        out[to + i] = exp_of(out[to + i])
    for i in range(rows):
        total = 0.0
        for j in range(k):
            total += out[to + i * k + j]
        sums[i] = total


@inline
def _logs(x, n):
    for i in range(n):
        x[i] = log_of(x[i])


@inline
def _tile(k):
    """Rows of a tile."""
    return max(1, _CELLS // k)


@allocating_kernel
def _log_sum_exp(x, k, out):
    tile, shifts, sums = np.empty(k * _tile(k)), np.empty(_tile(k)), np.empty(_tile(k))
    for a in range(0, len(out), _tile(k)):
        rows = min(_tile(k), len(out) - a)
        _exps(x, np.uint64(a * k), np.uint64(rows), np.uint64(k), tile, np.uint64(0), shifts, sums)
        _logs(sums, rows)
        for i in range(rows):
            out[a + i] = shifts[i] + sums[i]


@allocating_kernel
def _posterior(x, k, prior, wants_evidence, evidence, out):
    shifts, sums = np.empty(_tile(k)), np.empty(_tile(k))
    width, n = np.uint64(k), len(x) // k
    for a in range(0, n, _tile(k)):
        rows, at = min(_tile(k), n - a), np.uint64(a * k)
        _exps(x, at, np.uint64(rows), width, out, at, shifts, sums)
        for i in range(rows):
            begin, total = at + np.uint64(i) * width, sums[i]
            for j in range(width):
                out[begin + j] = out[begin + j] / total if total > 0.0 else prior[j]
        if wants_evidence:
            _logs(sums, rows)
            for i in range(rows):
                evidence[a + i] = shifts[i] + sums[i]


@allocating_kernel
def _log_posterior(x, k, log_prior, out):
    tile, shifts, sums = np.empty(k * _tile(k)), np.empty(_tile(k)), np.empty(_tile(k))
    width, n = np.uint64(k), len(x) // k
    for a in range(0, n, _tile(k)):
        rows, at = min(_tile(k), n - a), np.uint64(a * k)
        _exps(x, at, np.uint64(rows), width, tile, np.uint64(0), shifts, sums)
        _logs(sums, rows)
        for i in range(rows):
            begin, shift, total = at + np.uint64(i) * width, shifts[i], sums[i]
            for j in range(width):
                out[begin + j] = (x[begin + j] - shift) - total if total >= 0.0 else log_prior[j]


def log_sum_exp(x: NDArray[np.float64], out: NDArray[np.float64], threads: int) -> None:
    k = x.shape[1]
    parallel_blocks(len(x), _rows(x), threads, lambda a, b, _: _log_sum_exp(x[a:b].reshape(-1), k, out[a:b]))


def posterior(
    x: NDArray[np.float64],
    prior: NDArray[np.float64],
    evidence: NDArray[np.float64] | None,
    out: NDArray[np.float64],
    threads: int,
) -> None:
    k, wanted = x.shape[1], evidence is not None
    logs = np.empty(0) if evidence is None else evidence

    def piece(a: int, b: int, _: int) -> None:
        _posterior(x[a:b].reshape(-1), k, prior, wanted, logs[a:b], out[a:b].reshape(-1))

    parallel_blocks(len(x), _rows(x), threads, piece)


def log_posterior(
    x: NDArray[np.float64], log_prior: NDArray[np.float64], out: NDArray[np.float64], threads: int
) -> None:
    k = x.shape[1]

    def piece(a: int, b: int, _: int) -> None:
        _log_posterior(x[a:b].reshape(-1), k, log_prior, out[a:b].reshape(-1))

    parallel_blocks(len(x), _rows(x), threads, piece)


def _rows(x: NDArray[np.float64]) -> int:
    return max(1, _GRAIN // max(1, x.shape[1]))
