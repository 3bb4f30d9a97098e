"""log p of sequences under a homogeneous Markov chain: the twin of log_prob_paths.hpp, which says what is summed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.codes import canonical
from tallydraw._numba.elementary import log_scaled_of
from tallydraw._numba.parallel import first_index, kernel, parallel_blocks
from tallydraw._numba.scaled import make_scaled, sum_of_products
from tallydraw._structure import Structure

_NONE, _SKIPPED, _FORWARD = range(3)


@kernel
def _check(x, begin, end, n_states, gaps):
    """The first index of a state >= n_states, or, where gaps are not allowed, of a missing one; or -1."""
    for i in range(begin, end):
        v = np.int64(x[i])
        if v >= n_states or (v < 0 and not gaps):
            return i
    return np.int64(-1)


@kernel
def _paths(
    x, offsets, a, b, order, n_states, table_offsets, probabilities, logs, log_offsets, use_start, first, out,
):  # fmt: skip
    """Paths a … b - 1. Order 1 alone has missing states."""
    k = out.shape[1]
    m = n_states
    now_m = np.empty(m, np.float64)
    now_e = np.empty(m, np.int64)
    next_m = np.empty(m, np.float64)
    next_e = np.empty(m, np.int64)
    start, transition = table_offsets[0], table_offsets[order]
    for i in range(a, b):
        origin, end = offsets[i], offsets[i + 1]
        for c in range(k):
            total = first[c]
            state = _NONE
            for t in range(origin, end):
                step = t - origin
                v = np.int64(x[t])
                if v >= 0:
                    if state == _NONE:
                        if step >= order or use_start:
                            feature = min(step, order)
                            z = np.int64(0)
                            for u in range(t - feature, t + 1):
                                z = z * m + np.int64(x[u])
                            total += logs[log_offsets[feature] + z * k + c]
                    elif state == _FORWARD:
                        column = transition + c * m * m + v
                        sm, se = sum_of_products(probabilities, column, m, now_m, now_e, 0, m)
                        total += log_scaled_of(sm, se)
                    state = _NONE
                    continue
                if state == _SKIPPED or (step == 0 and not use_start):
                    state = _SKIPPED
                    continue
                if state == _FORWARD:
                    for w in range(m):
                        next_m[w], next_e[w] = sum_of_products(
                            probabilities, transition + c * m * m + w, m, now_m, now_e, 0, m
                        )
                    for w in range(m):
                        now_m[w] = next_m[w]
                        now_e[w] = next_e[w]
                else:
                    row = start + c * m if step == 0 else transition + c * m * m + np.int64(x[t - 1]) * m
                    for w in range(m):
                        now_m[w], now_e[w] = make_scaled(probabilities[row + w], np.int64(0))
                state = _FORWARD
            out[i, c] = total


def log_prob_paths(
    x: NDArray[Any],
    offsets: NDArray[np.int64],
    structure: Structure,
    probabilities: NDArray[np.float64],
    logs: NDArray[np.float64],
    log_offsets: NDArray[np.int64],
    use_start: bool,
    first: NDArray[np.float64],
    out: NDArray[np.float64],
    threads: int,
) -> int:
    n, order = len(offsets) - 1, structure.n_features - 1
    m = int(structure.n_categories[order])
    states = canonical(x)[:, 0] if len(x) else np.empty(0, np.int64)

    def score(a: int, b: int, piece: int) -> int:
        bad = int(_check(states, offsets[a], offsets[b], m, order == 1))
        if bad < 0:
            _paths(
                states, offsets, a, b, order, m, structure.offsets, probabilities,
                logs, log_offsets, use_start, first, out,
            )  # fmt: skip
        return bad

    return first_index(parallel_blocks(n, max(1, min(4096, -(-n // max(1, threads)))), threads, score))
