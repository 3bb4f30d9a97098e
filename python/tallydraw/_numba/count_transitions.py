"""Transition counts of order k: the twin of count_transitions.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.codes import unsigned
from tallydraw._numba.lanes import WORD, bits, fill, load
from tallydraw._numba.parallel import first_index, inline, kernel, parallel_blocks, worth

# Cells up to which a thread counts into a table of its own, and into four of them; positions checked at once.
_PRIVATE_CELLS, _FOUR_CELLS, _CHUNK = 1 << 17, 1 << 10, 4096
_0, _1, _2, _3, _4 = (np.uint64(i) for i in range(5))


@inline
def all_states(x, a, b, last):
    """Whether all of x[a … b) are at most `last`, of the type of x; negative numbers lie above all others."""
    above = fill(64, False)
    whole = a + (b - a) // WORD * WORD
    for t in range(a, whole, WORD):
        above = above | (load(64, x, np.uint64(t)) > fill(64, last))
    some = bits(above) != _0
    for t in range(whole, b):
        some |= x[t] > last
    return not some


@kernel
def _count_steps(x, offsets, y, has_y, a, b, n_states, top, order, n_contexts, table):
    """Adds the steps that end in [a, b); returns the first position there whose state is no state, or -1. States are
    unsigned, those above `top` negative.
    """
    block = n_contexts * n_states
    keep = n_contexts // n_states
    i = np.searchsorted(offsets, a, side="right") - 1
    while i < len(offsets) - 1 and offsets[i] < b:
        begin = offsets[i]
        shift = y[i] * block if has_y else 0
        context = 0
        known = 0
        for t in range(max(begin, a - order), min(offsets[i + 1], b)):
            if np.uint64(x[t]) >= np.uint64(n_states):
                if x[t] <= top and t >= a:
                    return t
                known = 0
                context = 0
                continue
            state = np.int64(x[t])
            if known == order:
                if t >= a:
                    table[shift + context * n_states + state] += 1
                context = state if keep == 1 else context % keep * n_states + state
            else:
                context = context * n_states + state
                known += 1
        i += 1
    return -1


@kernel
def _count_single_steps(x, offsets, y, has_y, a, b, n_states, last, top, apart, table):
    """The same for order 1, which needs no division; four tables `apart` take turns so that a step repeated at once
    does not wait for the store of the one before it. last: the last state, of the type of x.
    """
    c, one = np.uint64(n_states), np.uint64(apart)
    i = np.searchsorted(offsets, a, side="right") - 1
    while i < len(offsets) - 1 and offsets[i] < b:
        shift = np.uint64(y[i] * n_states * n_states if has_y else 0)
        t0, t1, t2, t3 = shift, shift + one, shift + _2 * one, shift + _3 * one
        begin, end = max(a, offsets[i]), min(offsets[i + 1], b)
        if begin == offsets[i] and begin < end:
            if last < x[begin] <= top:
                return begin
            begin += 1
        for t in range(begin, end, _CHUNK):
            stop = min(t + _CHUNK, end)
            at, to = np.uint64(t), np.uint64(stop)
            if all_states(x, t - 1, stop, last):
                before = np.uint64(x[at - _1])
                while at + _4 <= to:
                    s0, s1 = np.uint64(x[at]), np.uint64(x[at + _1])
                    s2, s3 = np.uint64(x[at + _2]), np.uint64(x[at + _3])
                    table[t0 + before * c + s0] += 1
                    table[t1 + s0 * c + s1] += 1
                    table[t2 + s1 * c + s2] += 1
                    table[t3 + s2 * c + s3] += 1
                    before = s3
                    at += _4
            while at < to:
                if last < x[at] <= top:
                    return np.int64(at)
                if x[at - _1] <= last and x[at] <= last:
                    table[t0 + np.uint64(x[at - _1]) * c + np.uint64(x[at])] += 1
                at += _1
        i += 1
    return -1


def count_transitions(
    x: NDArray[Any],
    offsets: NDArray[np.int64],
    y: NDArray[np.int64] | None,
    n_states: int,
    order: int,
    counts: NDArray[np.int64],
    threads: int,
) -> int:
    states, table = np.ascontiguousarray(unsigned(x)).reshape(-1), counts.reshape(-1)
    top = 1 if x.dtype == np.bool_ else int(np.iinfo(x.dtype).max)
    last, top = states.dtype.type(min(n_states - 1, top)), states.dtype.type(top)
    first, n, cells = int(offsets[0]), int(offsets[-1] - offsets[0]), counts.size
    threads = worth(threads, n)
    # Private tables are cleared and added once: a few steps are better counted straight into the result, by one thread.
    shared = cells > _PRIVATE_CELLS or cells > n or n >= 2**32
    apart = cells if cells <= _FOUR_CELLS and not shared else 0
    grain = n + 1 if shared else max(1, -(-n // threads))
    pieces = (states, offsets, offsets if y is None else y, y is not None)

    def piece(a: int, b: int, _: int) -> tuple[int, NDArray[Any]]:
        own = table if shared else np.zeros(cells + 3 * apart, np.uint32)
        if order == 1:
            return _count_single_steps(*pieces, first + a, first + b, n_states, last, top, apart, own), own
        return _count_steps(*pieces, first + a, first + b, n_states, top, order, n_states**order, own), own

    found = parallel_blocks(n, grain, threads, piece)
    for _, own in [] if shared else found:
        for part in own.reshape(-1, cells):
            table += part
    return first_index([bad for bad, _ in found])
