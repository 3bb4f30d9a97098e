"""Mutual information of all pairs of features: the twin of pair_information.hpp.

Tables of one shape are taken side by side: a cell of all of them in one loop, which LLVM makes vectors of. Every sum
runs over the cells from left to right. Only tables of which some cell needs a logarithm get them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.elementary import divergence_term, is_near_one, log_probability_of, near_divergence
from tallydraw._numba.pair_codes import pair_of, pair_places, place_of
from tallydraw._numba.parallel import allocating, allocating_kernel, inline, parallel_blocks
from tallydraw._structure import Structure

# Tables side by side, in whole groups: LLVM's vectors take so many at a time, and what is left one by one. Their cells,
# which stay in the nearest cache; tables of more cells are taken one by one.
_GROUP, _MOST, _CELLS, _TABLE_CELLS = 32, 256, 1 << 12, 1 << 16
_FEW = 8  # tables that are no slower one by one than as a whole group
# Cells that are worth a thread.
_THREAD_CELLS = 1 << 16
# Rows of a room beside the cells and their sums: of one number a table.
_SEEN, _TOTAL, _SHARED, _FAR, _LOG_Q, _MORE = range(6)
_SINGLE = 6


@inline
def _whole(n):
    """As many tables, or more that make whole groups."""
    return n if n <= _FEW else (n + (_GROUP - 1)) // _GROUP * _GROUP


@inline
def _side_by_side(cells, pairs):
    if cells > _TABLE_CELLS:
        return 1
    return min(min(_MOST, max(_CELLS // cells // _GROUP * _GROUP, _GROUP)), _whole(pairs))


@inline
def rows_of(cells, sides):
    """Rows of a room: single ones, then p and q of every cell, its sums and their logs."""
    return _SINGLE + 2 * (cells + sides)


@inline
def add_table(room, lanes, t, counts, at, cells, more):
    """Puts the t-th table, which begins at a cell, and its pseudocount into a room."""
    for c in range(cells):
        room[(_SINGLE + c) * lanes + t] = counts[at + c]
    room[_MORE * lanes + t] = more


# Rows are named by where they begin, in numbers without a sign: so LLVM sees which ones they are, and makes vectors.


@inline
def _clear(room, out, n):
    for t in range(n):
        room[out + t] = 0.0


@inline
def _add(room, x, n, out):
    for t in range(n):
        room[out + t] += room[x + t]


@inline
def _normalize(room, p, cells, n, width):
    """Counts of all cells to their shares, with pseudocounts; their sums without."""
    seen, total, more = np.uint64(_SEEN) * width, np.uint64(_TOTAL) * width, np.uint64(_MORE) * width
    _clear(room, seen, n)
    _clear(room, total, n)
    for c in range(cells):
        at = p + c * width
        for t in range(n):
            x = room[at + t]
            room[seen + t] += x
            x += room[more + t]
            room[total + t] += x
            room[at + t] = x
    for t in range(n):
        x = room[total + t]
        room[total + t] = x if x > 0.0 else 1.0
    for c in range(cells):
        at = p + c * width
        for t in range(n):
            room[at + t] /= room[total + t]


@inline
def _add_up(room, x, count, step, n, out):
    """A row is the sum of `count` others, `step` apart, from 0.0 on."""
    _clear(room, out, n)
    for i in range(np.uint64(count)):
        _add(room, x + i * step, n, out)


@inline
def _multiply(room, x, y, n, out):
    for t in range(n):
        room[out + t] = room[x + t] * room[y + t]


@inline
def _divide_where_positive(room, x, n, out):
    for t in range(n):
        room[out + t] /= room[x + t] if room[x + t] > 0.0 else 1.0


@inline
def _add_near(room, p, q, n, shared, far):
    """Adds terms, right where no logarithm is needed; far[t] != 0: one is."""
    for t in range(n):
        x, e = room[p + t], room[q + t]
        s = (x - e) / e
        near = is_near_one(s)  # not where e = 0
        series = near_divergence(s if near else 0.0)
        room[shared + t] += e * series if near else e  # where x = 0, e is left
        room[far + t] += 0.0 if near else x


@inline
def _some_near(room, far, n):
    near = False
    for t in range(n):
        near |= room[far + t] == 0.0
    return near


@inline
def _logs(room, x, n, out):
    for t in range(n):
        room[out + t] = log_probability_of(room[x + t])


@inline
def _log_products(room, x, y, n, out):
    for t in range(n):
        room[out + t] = room[x + t] + room[y + t]


@inline
def _subtract_where_positive(room, log_x, x, n, out):
    for t in range(n):
        room[out + t] -= room[log_x + t] if room[x + t] > 0.0 else 0.0


@inline
def _add_terms(room, p, q, log_q, n, shared):
    for t in range(n):
        room[shared + t] += divergence_term(room[p + t], room[q + t], room[log_q + t])


@allocating
def inform_alike(room, lanes, k, ci, cj, n, pair, information, wants_seen, all_seen):
    """n tables of k x ci x cj counts, those of pair[t]: the first rows of a room after single ones. Where they make no
    whole group, whatever lies behind them is computed too, and not looked at.
    """
    told, n = n, np.uint64(_whole(np.int64(n)))
    cells, sides = k * ci * cj, k * (ci + cj + 1)
    width = np.uint64(lanes)
    p, q = np.uint64(_SINGLE * lanes), np.uint64((_SINGLE + cells) * lanes)
    first_a = _SINGLE + 2 * cells
    first_b, first_y = first_a + k * ci, first_a + k * (ci + cj)
    seen, shared = np.uint64(_SEEN * lanes), np.uint64(_SHARED * lanes)
    far, log_q = np.uint64(_FAR * lanes), np.uint64(_LOG_Q * lanes)
    kept = np.empty(lanes, np.uint64)
    near = True
    _normalize(room, p, np.uint64(cells), n, width)
    _clear(room, shared, n)
    _clear(room, far, n)
    for y in range(k):
        for u in range(ci):
            a = np.uint64((first_a + y * ci + u) * lanes)
            _add_up(room, np.uint64((_SINGLE + (y * ci + u) * cj) * lanes), cj, width, n, a)
        for v in range(cj):
            b = np.uint64((first_b + y * cj + v) * lanes)
            _add_up(room, np.uint64((_SINGLE + y * ci * cj + v) * lanes), ci, np.uint64(cj * lanes), n, b)
        of_class = np.uint64((first_y + y) * lanes)
        _add_up(room, np.uint64((first_a + y * ci) * lanes), ci, width, n, of_class)
        for u in range(ci):
            for v in range(cj):
                cell = np.uint64(((y * ci + u) * cj + v) * lanes)
                a, b = np.uint64((first_a + y * ci + u) * lanes), np.uint64((first_b + y * cj + v) * lanes)
                _multiply(room, a, b, n, q + cell)
                if k > 1:
                    _divide_where_positive(room, of_class, n, q + cell)
                if near:
                    _add_near(room, p + cell, q + cell, n, shared, far)
            near = near and _some_near(room, far, told)
    m = np.uint64(0)
    for t in range(told):
        information[pair[t]] = room[shared + t] if room[seen + t] > 0.0 else -np.inf
        if wants_seen:
            all_seen[pair[t]] = room[seen + t]
        if room[far + t] != 0.0 and room[seen + t] > 0.0:
            kept[m] = t
            m += np.uint64(1)
    if m == 0:
        return
    kept_n, m = m, np.uint64(_whole(np.int64(m)))
    if kept_n < told:
        for row in range(np.uint64(_SINGLE), np.uint64(first_a + sides)):  # of these tables alone
            for t in range(kept_n):
                room[row * width + t] = room[row * width + kept[t]]
    for row in range(first_a, first_a + (sides if k > 1 else sides - 1)):
        _logs(room, np.uint64(row * lanes), m, np.uint64((row + sides) * lanes))
    _clear(room, shared, m)
    for y in range(k):
        of_class, log_y = np.uint64((first_y + y) * lanes), np.uint64((first_y + sides + y) * lanes)
        for u in range(ci):
            log_a = np.uint64((first_a + sides + y * ci + u) * lanes)
            for v in range(cj):
                log_b = np.uint64((first_b + sides + y * cj + v) * lanes)
                cell = np.uint64(((y * ci + u) * cj + v) * lanes)
                _log_products(room, log_a, log_b, m, log_q)
                if k > 1:
                    _subtract_where_positive(room, log_y, of_class, m, log_q)
                _add_terms(room, p + cell, q + cell, log_q, m, shared)
    for t in range(kept_n):
        information[pair[kept[t]]] = room[shared + t]


@inline
def _end(by_size, n_categories, begin):
    """Where the features of as many categories as by_size[begin] end."""
    end = begin + 1
    while end < len(by_size) and n_categories[by_size[end]] == n_categories[by_size[begin]]:
        end += 1
    return end


@allocating_kernel
def _inform(
    counts, places, n_categories, k, by_size, pseudocounts, first, last, information, wants_seen, seen
):  # fmt: skip
    """The pairs of features i in [first, last) and j > i."""
    d = len(n_categories)
    pair = np.empty(_MOST, np.int64)
    i_end = 0
    while i_end < d:
        i_begin, i_end = i_end, _end(by_size, n_categories, i_end)
        j_end = 0
        while j_end < d:
            j_begin, j_end = j_end, _end(by_size, n_categories, j_end)
            ci, cj = n_categories[by_size[i_begin]], n_categories[by_size[j_begin]]
            cells = k * ci * cj
            lanes = _side_by_side(cells, (i_end - i_begin) * (j_end - j_begin))
            room = np.empty(rows_of(cells, k * (ci + cj + 1)) * lanes)
            n = 0
            for i in by_size[i_begin:i_end]:
                if i < first or i >= last:
                    continue
                for j in by_size[j_begin:j_end]:
                    if j <= i:
                        continue
                    pair[n] = pair_of(i, j, d)
                    at = place_of(places, n_categories, i, j)
                    add_table(room, lanes, n, counts, at, cells, min(pseudocounts[i], pseudocounts[j]))
                    n += 1
                    if n == lanes:
                        inform_alike(room, lanes, k, ci, cj, np.uint64(n), pair, information, wants_seen, seen)
                        n = 0
            if n > 0:
                inform_alike(room, lanes, k, ci, cj, np.uint64(n), pair, information, wants_seen, seen)


def pair_information(
    structure: Structure,
    pair_begins: NDArray[np.int64] | None,
    counts: NDArray[Any],
    by_size: NDArray[np.int64],
    pseudocounts: NDArray[np.float64],
    first: int,
    last: int,
    information: NDArray[np.float64],
    seen: NDArray[np.float64] | None,
    threads: int,
) -> None:
    s, places = structure, pair_places(pair_begins, structure)
    before = (counts, places, s.n_categories, s.n_classes, by_size, pseudocounts)
    after = (information, seen is not None, information if seen is None else seen)
    threads = min(threads, 1 + counts.size // _THREAD_CELLS)
    grain = -(-(last - first) // (4 * threads)) if threads > 1 else max(1, last - first)
    parallel_blocks(last - first, grain, threads, lambda a, b, _: _inform(*before, first + a, first + b, *after))
