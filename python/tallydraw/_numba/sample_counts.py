"""Multinomial counts as conditional binomials: the twin of sample_counts.hpp."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.binomial import TAG, binomial, compared_attempt, first_attempt, unit
from tallydraw._numba.parallel import allocating_kernel, inline, kernel, parallel_blocks, unrolled
from tallydraw._numba.philox import fill_columns

_0, _TOP = np.uint64(0), np.uint64(2**64 - 1)
_2_64 = 2.0**64
_ROWS = 256  # whose first attempts have their words made side by side


@unrolled
def _shares(previous, here):
    """The probabilities of the outcome and of those past it, the smaller one first, and whether that is the first."""
    width, beyond = here - previous, _0 - here
    whole = _2_64 if previous == _0 else np.float64(_0 - previous)
    p, q = np.float64(width) / whole, np.float64(beyond) / whole
    is_less = width <= beyond
    return (p if is_less else q), (q if is_less else p), is_less


@unrolled
def _uniforms(words, i):
    u = unit(np.uint64(words[0, i]), np.uint64(words[1, i]))
    return u, unit(np.uint64(words[2, i]), np.uint64(words[3, i]))


@kernel
def _attempt(n, previous, here, left, words, counts, is_open):
    """The counts of an outcome that need no more than a first attempt, of n rows side by side."""
    for i in range(np.uint64(n)):
        p, q, is_less = _shares(previous[i], here[i])
        u, v = _uniforms(words, i)
        place, is_sure = first_attempt(np.float64(left[i]), p, q, u, v)
        count = np.int64(place)
        all_left, none = here[i] == _TOP, (left[i] == 0) | (here[i] == previous[i])
        count = left[i] if all_left else count if is_less else left[i] - count
        counts[i] = 0 if none else count
        is_open[i] = not (none | all_left | is_sure)


@kernel
def _compare(n, previous, here, left, words, counts, is_open):
    """The same of attempts that are not sure."""
    for i in range(np.uint64(n)):
        p, q, is_less = _shares(previous[i], here[i])
        u, v = _uniforms(words, i)
        place, is_accepted = compared_attempt(np.float64(left[i]), p, q, u, v)
        count = np.int64(place)
        counts[i] = count if is_less else left[i] - count
        is_open[i] = not is_accepted


@inline
def _list_open(n, is_open, places):
    """places[:of how many] is where is_open is true."""
    found = 0
    for i in range(n):
        places[found] = i
        found += is_open[i]
    return found


@allocating_kernel
def _counts(level, rows, totals, key, start, begin, end, out):
    columns = level.shape[1]
    words, some_words = np.empty((4, _ROWS), np.uint32), np.empty((4, _ROWS), np.uint32)
    numbers, previous, here = np.empty(_ROWS, np.uint64), np.empty(_ROWS, np.uint64), np.empty(_ROWS, np.uint64)
    some_previous, some_here = np.empty(_ROWS, np.uint64), np.empty(_ROWS, np.uint64)
    left, counts, places = np.empty(_ROWS, np.int64), np.empty(_ROWS, np.int64), np.empty(_ROWS, np.int64)
    some_left, some_counts, some_places = (
        np.empty(_ROWS, np.int64),
        np.empty(_ROWS, np.int64),
        np.empty(_ROWS, np.int64),
    )
    is_open = np.empty(_ROWS, np.bool_)
    for first in range(begin, end, _ROWS):
        m = min(_ROWS, end - first)
        for i in range(m):
            numbers[i] = start + np.uint64(first + i)
            previous[i] = _0
            left[i] = totals[first + i]
        for c in range(columns - 1):
            if left[:m].any():
                fill_columns(key, TAG, numbers[:m], np.uint64(c), words)
            for i in range(m):
                here[i] = level[rows[first + i], c]
            _attempt(m, previous, here, left, words, counts, is_open)
            n = _list_open(m, is_open, places)
            for t in range(n):  # brought together
                i = places[t]
                some_previous[t], some_here[t], some_left[t] = previous[i], here[i], left[i]
                for w in range(4):
                    some_words[w, t] = words[w, i]
            _compare(n, some_previous, some_here, some_left, some_words, some_counts, is_open)
            for t in range(n):
                counts[places[t]] = some_counts[t]
            for t in range(_list_open(n, is_open, some_places)):
                i = places[some_places[t]]
                p, q, is_less = _shares(previous[i], here[i])
                u, v = _uniforms(words, i)
                count = binomial(left[i], p, q, u, v, key, numbers[i], np.uint64(c))
                counts[i] = count if is_less else left[i] - count
            for i in range(m):
                out[first + i, c] = counts[i]
                left[i] -= counts[i]
                previous[i] = here[i]
        for i in range(m):
            out[first + i, columns - 1] = left[i]


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

    parallel_blocks(len(out), max(16, (1 << 13) // level.shape[1]), threads, piece)
