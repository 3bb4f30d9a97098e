"""Log joint probabilities to log evidence, posteriors and their logs: the twin of posterior.hpp.

In every row: the maximum, then exp(x - max) summed left to right. A row of -inf has the prior as its posterior.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.elementary import exp_of, log_of
from tallydraw._numba.parallel import inline, kernel, parallel_blocks

_GRAIN = 65536  # cells a thread takes at once


@inline
def _shift(row):
    """The maximum of a row, but 0 where all entries are -inf: then x - max stays -inf."""
    most = row[0]
    for j in range(1, row.shape[0]):
        most = row[j] if row[j] > most else most
    return most if most > -np.inf else 0.0


@kernel
def _log_sum_exp(x, out):
    for i in range(x.shape[0]):
        shift = _shift(x[i])
        total = 0.0
        for j in range(x.shape[1]):
            total += exp_of(x[i, j] - shift)
        out[i] = shift + log_of(total)


@kernel
def _posterior(x, prior, evidence, out):
    for i in range(x.shape[0]):
        shift = _shift(x[i])
        for j in range(x.shape[1]):
            out[i, j] = exp_of(x[i, j] - shift)
        total = 0.0
        for j in range(x.shape[1]):
            total += out[i, j]
        if evidence.shape[0] > 0:
            evidence[i] = shift + log_of(total)
        if total > 0.0:
            for j in range(x.shape[1]):
                out[i, j] = out[i, j] / total
        else:
            for j in range(x.shape[1]):
                out[i, j] = prior[j]


@kernel
def _log_posterior(x, log_prior, out):
    for i in range(x.shape[0]):
        shift = _shift(x[i])
        total = 0.0
        for j in range(x.shape[1]):
            total += exp_of(x[i, j] - shift)
        log_total = log_of(total)
        if log_total >= 0.0:
            for j in range(x.shape[1]):
                out[i, j] = (x[i, j] - shift) - log_total
        else:
            for j in range(x.shape[1]):
                out[i, j] = log_prior[j]


def log_sum_exp(x: NDArray[np.float64], out: NDArray[np.float64], threads: int) -> None:
    parallel_blocks(len(x), _rows(x), threads, lambda a, b, _: _log_sum_exp(x[a:b], out[a:b]))


def posterior(
    x: NDArray[np.float64],
    prior: NDArray[np.float64],
    evidence: NDArray[np.float64] | None,
    out: NDArray[np.float64],
    threads: int,
) -> None:
    logs = np.empty(0) if evidence is None else evidence
    parallel_blocks(len(x), _rows(x), threads, lambda a, b, _: _posterior(x[a:b], prior, logs[a:b], out[a:b]))


def log_posterior(
    x: NDArray[np.float64], log_prior: NDArray[np.float64], out: NDArray[np.float64], threads: int
) -> None:
    parallel_blocks(len(x), _rows(x), threads, lambda a, b, _: _log_posterior(x[a:b], log_prior, out[a:b]))


def _rows(x: NDArray[np.float64]) -> int:
    return max(1, _GRAIN // max(1, x.shape[1]))
