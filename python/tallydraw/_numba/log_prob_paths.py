"""log p of sequences under a homogeneous Markov chain: the twin of log_prob_paths.hpp, which says what is summed."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.codes import unsigned
from tallydraw._numba.count_transitions import all_states
from tallydraw._numba.elementary import log_scaled_of
from tallydraw._numba.lanes import WORD, convert, fill, load, store
from tallydraw._numba.parallel import allocating_kernel, first_index, inline, kernel, parallel_blocks, worth
from tallydraw._numba.scaled import make_scaled, sum_of_products
from tallydraw._structure import Structure

_NONE, _SKIPPED, _FORWARD = range(3)
_1, _2, _3, _4, _8 = (np.uint64(i) for i in (1, 2, 3, 4, 8))
_STEPS = np.uint64(512)  # of a path, whose logs are found before they are added


@kernel
def _check(x, begin, end, n_states, last, top, gaps):
    """The first index of a state >= n_states, or, where gaps are not allowed, of a missing one; or -1. Whether some
    state is missing.
    """
    if all_states(x, begin, end, last):
        return np.int64(-1), False
    for i in range(begin, end):
        if np.uint64(x[i]) >= np.uint64(n_states) and (x[i] <= top or not gaps):
            return i, True
    return np.int64(-1), True


@inline
def _combine(x, begin, n, order, n_states, k, z, at):
    """z[at + t] = where the logs of the step that ends at x[begin + t] begin, t < n."""
    m, classes = fill(64, np.uint32(n_states)), fill(64, np.uint32(k))
    t = 0
    while t < n and begin + t + WORD <= x.size:  # past the n-th they are not used
        code = fill(64, np.uint32(0))
        for u in range(begin + t - order, begin + t + 1):
            code = code * m + convert(load(64, x, np.uint64(u)), z.dtype)
        store(z, np.uint64(at + t), code * classes)
        t += WORD
    while t < n:
        state = np.int64(0)
        for u in range(begin + t - order, begin + t + 1):
            state = state * n_states + np.int64(x[u])
        z[at + t] = state * k
        t += 1


def _adder(width):
    """Adds n steps of eight paths side by side, which hides the latency of sums, for `width` classes from c on."""

    @inline
    def add(z, n, logs, c, place, out):
        s0, s1 = load(width, out, place[0] + c), load(width, out, place[1] + c)
        s2, s3 = load(width, out, place[2] + c), load(width, out, place[3] + c)
        s4, s5 = load(width, out, place[4] + c), load(width, out, place[5] + c)
        s6, s7 = load(width, out, place[6] + c), load(width, out, place[7] + c)
        z1, z2, z3, z4 = _STEPS, _2 * _STEPS, _3 * _STEPS, _4 * _STEPS
        z5, z6, z7 = z4 + z1, z4 + z2, z4 + z3
        for t in range(np.uint64(n)):
            s0 = s0 + load(width, logs, c + np.uint64(z[t]))
            s1 = s1 + load(width, logs, c + np.uint64(z[t + z1]))
            s2 = s2 + load(width, logs, c + np.uint64(z[t + z2]))
            s3 = s3 + load(width, logs, c + np.uint64(z[t + z3]))
            s4 = s4 + load(width, logs, c + np.uint64(z[t + z4]))
            s5 = s5 + load(width, logs, c + np.uint64(z[t + z5]))
            s6 = s6 + load(width, logs, c + np.uint64(z[t + z6]))
            s7 = s7 + load(width, logs, c + np.uint64(z[t + z7]))
        store(out, place[0] + c, s0)
        store(out, place[1] + c, s1)
        store(out, place[2] + c, s2)
        store(out, place[3] + c, s3)
        store(out, place[4] + c, s4)
        store(out, place[5] + c, s5)
        store(out, place[6] + c, s6)
        store(out, place[7] + c, s7)

    return add


_add8, _add4, _add2, _add1 = _adder(8), _adder(4), _adder(2), _adder(1)


@functools.cache
def _known_paths(eights, fours, twos, ones):
    """The kernel below for numbers of classes with or without these binary digits: it adds in lanes as wide."""

    @allocating_kernel
    def known_paths(x, offsets, a, b, order, n_states, logs, log_offsets, use_start, first, sums):
        """Paths a … b - 1, no state missing; where fewer than eight are left, the last one several times."""
        k = first.size
        steps = np.int64(_STEPS)
        z, place = np.empty(8 * steps, np.uint32), np.empty(8, np.uint64)
        transition = logs[log_offsets[order] :]
        for i in range(a, b):
            for c in range(k):
                sums[i * k + c] = first[c]
            code = np.int64(0)
            for t in range(min(order, offsets[i + 1] - offsets[i]) if use_start else 0):
                code = code * n_states + np.int64(x[offsets[i] + t])
                for c in range(k):
                    sums[i * k + c] += logs[log_offsets[t] + code * k + c]
        for i in range(a, b, 8):
            common = offsets[i + 1] - offsets[i]
            for g in range(8):
                path = min(i + g, b - 1)
                place[g] = path * k
                common = min(common, offsets[path + 1] - offsets[path])
            for t in range(order, common, steps):
                n = min(steps, common - t)
                for g in range(8):
                    _combine(x, offsets[min(i + g, b - 1)] + t, n, order, n_states, k, z, g * steps)
                c = np.uint64(0)
                if eights > 0:
                    while c + _8 <= np.uint64(k):
                        _add8(z, n, transition, c, place, sums)
                        c += _8
                if fours > 0:
                    _add4(z, n, transition, c, place, sums)
                    c += _4
                if twos > 0:
                    _add2(z, n, transition, c, place, sums)
                    c += _2
                if ones > 0:
                    _add1(z, n, transition, c, place, sums)
            for path in range(i, min(i + 8, b)):
                end = offsets[path + 1]
                for t in range(offsets[path] + max(common, order), end, steps):
                    n = min(steps, end - t)
                    _combine(x, t, n, order, n_states, k, z, 0)
                    for step in range(n):
                        for c in range(k):
                            sums[path * k + c] += transition[np.int64(z[step]) + c]

    return known_paths


@allocating_kernel
def _paths(
    x, offsets, a, b, order, n_states, top, table_offsets, probabilities, logs, log_offsets, use_start, first, out,
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
                if x[t] <= top:
                    v = np.int64(x[t])
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
    states = np.ascontiguousarray(unsigned(x)).reshape(-1)
    top = 1 if x.dtype == np.bool_ else int(np.iinfo(x.dtype).max)
    last, top = states.dtype.type(min(m - 1, top)), states.dtype.type(top)
    sums, near, k = out.reshape(-1), logs.size < 2**32, structure.n_classes
    known = _known_paths(min(k & ~7, 8), k & 4, k & 2, k & 1)

    def score(a: int, b: int, _: int) -> int:
        bad, some_missing = _check(states, offsets[a], offsets[b], m, last, top, order == 1)
        if bad < 0 and not some_missing and near:
            known(states, offsets, a, b, order, m, logs, log_offsets, use_start, first, sums)
        elif bad < 0:
            _paths(
                states, offsets, a, b, order, m, top, structure.offsets, probabilities,
                logs, log_offsets, use_start, first, out,
            )  # fmt: skip
        return int(bad)

    threads = worth(threads, int(offsets[-1] - offsets[0]) if n else 0)
    return first_index(parallel_blocks(n, max(1, min(4096, -(-n // threads))), threads, score))
