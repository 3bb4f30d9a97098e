"""The forest of the greatest information: the twin of information_forest.hpp, which says what the bounds are.

Bounds are floats here. A vertex inside the forest finds no bound above its infinity.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.bits import popcount
from tallydraw._numba.lanes import bits, fill, load, select, store
from tallydraw._numba.pair_codes import pair_of
from tallydraw._numba.pair_information import add_table, inform_alike, rows_of
from tallydraw._numba.parallel import allocating, allocating_kernel, inline, kernel, parallel_blocks
from tallydraw._structure import Structure

_LANES, _TABLES = 16, 64  # bounds side by side; tables whose information is taken together
_LEAST_PAIRS = 1 << 17  # worth another thread
_INFINITY = np.float32(np.inf)


@inline
def _bound(m00, m01, m10, m11):
    """At least the information of a table, whatever rounding took from either."""
    a0, a1, b0, b1 = m00 + m01, m10 + m11, m00 + m10, m01 + m11
    n, u, v, delta = a0 + a1, a0 * a1, b0 * b1, m00 * m11 - m01 * m10
    margins = u * v
    w = 1.0 / (margins if (margins >= 1e-200) & (margins <= 1e200) else np.nan)
    y = delta * w
    x = delta * y
    third = y * ((a1 - a0) * (b1 - b0))
    fourth = x * w * ((n * n - 3.0 * u) * (n * n - 3.0 * v))
    series = 0.5 - third * (1.0 / 6) + fourth * (1.0 / 3)
    some = np.float32(x * (series if (series >= 0.0) & (series < 1.0) else 1.0) * (1.0 + 1e-6) + 1e-13)
    return some if some < _INFINITY else _INFINITY


@kernel
def _bound_rows(counts, pseudocounts, i0, i1, bounds):
    """Rows i0 to i1 - 1 from the diagonal on, and what they say of the rows below; i0 is a multiple of _LANES."""
    d, stride = len(pseudocounts), bounds.shape[1]
    flat = bounds.reshape(-1)
    for begin in range(i0, i1, _LANES):
        end = min(i1, begin + _LANES)
        for i in range(begin, end):
            bounds[i, i] = -_INFINITY
            bounds[i, d:] = -_INFINITY
            mine, n = pseudocounts[i], np.uint64(d - 1 - i)
            tables, others = counts[4 * pair_of(i, i + 1, d) :], pseudocounts[i + 1 :]
            to = np.uint64(i * stride + i + 1)
            for t in range(n):
                at, more = t * np.uint64(4), min(mine, others[t])
                m00, m01 = tables[at] + more, tables[at + np.uint64(1)] + more
                m10, m11 = tables[at + np.uint64(2)] + more, tables[at + np.uint64(3)] + more
                flat[to + t] = _bound(m00, m01, m10, m11)
        for j in range(begin + 1, d):
            for i in range(begin, min(end, j)):
                bounds[j, i] = bounds[i, j]


@inline
def _candidates(row, useful, found):
    """Numbers of the vertices with a bound of use; how many."""
    n = 0
    for u in range(np.uint64(0), np.uint64(len(row)), np.uint64(_LANES)):
        met = bits(load(16, row, u) > load(16, useful, u))
        while met != np.uint64(0):
            low = met & (~met + np.uint64(1))
            found[n] = np.int64(u) + popcount(low - np.uint64(1))
            n += 1
            met ^= low
    return n


@inline
def _best(best, arc, useful, d):
    """The vertex outside with the best arc: of equal ones the first arc, or the first vertex where none has any."""
    none = -np.inf
    lanes = fill(8, none)
    for u in range(np.uint64(0), np.uint64(len(best)), np.uint64(8)):
        x = load(8, best, u)
        lanes = select(x > lanes, x, lanes)
    most, found = _greatest(lanes), np.int64(-1)
    least = fill(8, most)
    for u in range(np.uint64(0), np.uint64(len(best)), np.uint64(8)):
        met = bits(~(least > load(8, best, u)))
        while met != np.uint64(0):
            low = met & (~met + np.uint64(1))
            v = np.int64(u) + popcount(low - np.uint64(1))
            met ^= low
            if v < d and useful[v] < _INFINITY and (found < 0 or (arc[v] >= 0 and arc[v] < arc[found])):
                found = v
    return found


@allocating
def _greatest(lanes):
    some = np.empty(8)
    store(some, np.uint64(0), lanes)
    most = some[0]
    for x in some:
        most = max(most, x)
    return most


@allocating_kernel
def _forest(counts, pseudocounts, bounds, root, parents):
    d, stride = bounds.shape
    best, arc = np.full(stride, -np.inf), np.full(stride, -1, np.int64)
    # No bound up to this is of use to a vertex outside.
    useful = np.full(stride, _INFINITY)
    useful[:d] = -1.0
    found, pair = np.empty(stride, np.int64), np.arange(_TABLES)
    room = np.empty(rows_of(4, 5) * _TABLES)
    information = np.empty(_TABLES)
    parents[:] = -1
    v = root
    for _ in range(d - 1):
        best[v], useful[v] = -np.inf, _INFINITY
        n = _candidates(bounds[v], useful, found)
        for begin in range(0, n, _TABLES):
            m = min(_TABLES, n - begin)
            for t in range(m):
                u = found[begin + t]
                at = 4 * pair_of(min(u, v), max(u, v), d)
                add_table(room, _TABLES, t, counts, at, 4, min(pseudocounts[u], pseudocounts[v]))
            inform_alike(room, _TABLES, 1, 2, 2, np.uint64(m), pair, information, False, information)
            for t in range(m):
                u, gain = found[begin + t], information[t]
                p = pair_of(min(u, v), max(u, v), d)
                if gain > best[u] or (gain == best[u] and gain > -np.inf and p < arc[u]):
                    best[u], arc[u], parents[u] = gain, p, v
                    if gain > 0.0:
                        useful[u] = gain * (1.0 - 2e-6)
        v = _best(best, arc, useful, d)


def information_forest(
    structure: Structure,
    counts: NDArray[Any],
    pseudocounts: NDArray[np.float64],
    root: int,
    parents: NDArray[np.int64],
    threads: int,
) -> None:
    d = len(parents)
    bounds = np.empty((d, -(-d // _LANES) * _LANES), np.float32)
    threads = min(threads, 1 + d * d // 2 // _LEAST_PAIRS)
    grain = -(-d // (4 * threads) // _LANES) * _LANES if threads > 1 else d
    parallel_blocks(d, grain, threads, lambda a, b, _: _bound_rows(counts, pseudocounts, a, b, bounds))
    _forest(counts, pseudocounts, bounds, root, parents)
