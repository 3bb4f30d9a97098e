"""log p of sequences under a homogeneous Markov chain: the twin of log_prob_paths.hpp, which says what is summed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.codes import canonical
from tallydraw._numba.elementary import log_scaled_of
from tallydraw._numba.parallel import first_index, inline, kernel, parallel_blocks
from tallydraw._numba.scaled import make_scaled, sum_of_products
from tallydraw._structure import Structure

_NONE, _SKIPPED, _FORWARD = range(3)
_1 = np.uint64(1)


@kernel
def _check(x, begin, end, n_states, gaps):
    """The first index of a state >= n_states, or, where gaps are not allowed, of a missing one; or -1. Whether some
    state is missing.
    """
    if begin == end:
        return np.int64(-1), False
    most = x[begin]
    for i in range(begin, end):
        most = max(most, x[i])  # as unsigned numbers negative states lie above all others
    if np.uint64(most) < np.uint64(n_states):
        return np.int64(-1), False
    for i in range(begin, end):
        v = np.int64(x[i])
        if v >= n_states or (v < 0 and not gaps):
            return i, True
    return np.int64(-1), True


@inline
def _add_four(x, p0, p1, p2, p3, n, n_states, logs, at, k, s0, s1, s2, s3):
    """Steps [1, n) of four paths of order 1 side by side, which hides the latency of the sums; all uint64 but these."""
    v0, v1, v2, v3 = np.uint64(x[p0]), np.uint64(x[p1]), np.uint64(x[p2]), np.uint64(x[p3])
    for t in range(_1, n):
        w0, w1, w2, w3 = np.uint64(x[p0 + t]), np.uint64(x[p1 + t]), np.uint64(x[p2 + t]), np.uint64(x[p3 + t])
        s0 += logs[at + (v0 * n_states + w0) * k]
        s1 += logs[at + (v1 * n_states + w1) * k]
        s2 += logs[at + (v2 * n_states + w2) * k]
        s3 += logs[at + (v3 * n_states + w3) * k]
        v0, v1, v2, v3 = w0, w1, w2, w3
    return s0, s1, s2, s3


@kernel
def _known_paths(x, offsets, a, b, n_states, logs, log_offsets, use_start, first, out):
    """Paths a … b - 1 of order 1, no state missing; where fewer than four are left, the last one several times."""
    k, m, transition = np.uint64(out.shape[1]), np.uint64(n_states), np.uint64(log_offsets[1])
    for i in range(a, b):
        for c in range(out.shape[1]):
            out[i, c] = first[c]
            if use_start and offsets[i] < offsets[i + 1]:
                out[i, c] += logs[log_offsets[0] + np.int64(x[offsets[i]]) * out.shape[1] + c]
    for i in range(a, b, 4):
        i1, i2, i3 = min(i + 1, b - 1), min(i + 2, b - 1), min(i + 3, b - 1)
        p0, p1, p2, p3 = offsets[i], offsets[i1], offsets[i2], offsets[i3]
        common = min(offsets[i + 1] - p0, offsets[i1 + 1] - p1, offsets[i2 + 1] - p2, offsets[i3 + 1] - p3)
        for c in range(out.shape[1]):
            at = transition + np.uint64(c)
            if common > 1:
                out[i, c], out[i1, c], out[i2, c], out[i3, c] = _add_four(
                    x, np.uint64(p0), np.uint64(p1), np.uint64(p2), np.uint64(p3), np.uint64(common), m, logs, at, k,
                    out[i, c], out[i1, c], out[i2, c], out[i3, c],
                )  # fmt: skip
            for j in range(i, i3 + 1):
                total = out[j, c]
                for t in range(offsets[j] + max(common, 1), offsets[j + 1]):
                    total += logs[at + (np.uint64(x[t - 1]) * m + np.uint64(x[t])) * k]
                out[j, c] = total


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
    states = canonical(x).reshape(-1)

    def score(a: int, b: int, piece: int) -> int:
        bad, some_missing = _check(states, offsets[a], offsets[b], m, order == 1)
        if bad < 0 and order == 1 and not some_missing:
            _known_paths(states, offsets, a, b, m, logs, log_offsets, use_start, first, out)
        elif bad < 0:
            _paths(
                states, offsets, a, b, order, m, structure.offsets, probabilities,
                logs, log_offsets, use_start, first, out,
            )  # fmt: skip
        return int(bad)

    return first_index(parallel_blocks(n, max(1, min(4096, -(-n // max(1, threads)))), threads, score))
