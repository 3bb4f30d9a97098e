"""Transition counts of order k: the twin of count_transitions.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.codes import canonical
from tallydraw._numba.parallel import first_index, kernel, parallel_blocks

_PRIVATE_CELLS = 1 << 17
_1, _2 = np.uint64(1), np.uint64(2)


@kernel
def _count_steps(x, offsets, y, has_y, a, b, n_states, order, n_contexts, table):
    """Adds the steps that end in [a, b); returns the first position there whose state is no state, or -1. As unsigned
    numbers negative states lie above all others.
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
            state = np.int64(x[t])
            if state < 0 or state >= n_states:
                if state >= 0 and t >= a:
                    return t
                known = 0
                context = 0
            elif known == order:
                if t >= a:
                    table[shift + context * n_states + state] += 1
                context = state if keep == 1 else context % keep * n_states + state
            else:
                context = context * n_states + state
                known += 1
        i += 1
    return -1


@kernel
def _count_single_steps(x, offsets, y, has_y, a, b, n_states, even, odd):
    """The same for order 1, which needs no division; the two tables take turns so that a step repeated at once does not
    wait for the store of the one before it.
    """
    c = np.uint64(n_states)
    i = np.searchsorted(offsets, a, side="right") - 1
    while i < len(offsets) - 1 and offsets[i] < b:
        begin, end = max(a, offsets[i]), min(offsets[i + 1], b)
        shift = np.uint64(y[i] * n_states * n_states if has_y else 0)
        before = np.uint64(x[begin - 1]) if begin > offsets[i] else c
        for t in range(np.uint64(begin), np.uint64(end - (end - begin) % 2), _2):
            first, second = np.uint64(x[t]), np.uint64(x[t + _1])
            if before < c and first < c and second < c:
                even[shift + before * c + first] += 1
                odd[shift + first * c + second] += 1
            else:
                if first >= c and np.int64(first) >= 0:
                    return np.int64(t)
                if second >= c and np.int64(second) >= 0:
                    return np.int64(t) + 1
                if before < c and first < c:
                    even[shift + before * c + first] += 1
                if first < c and second < c:
                    odd[shift + first * c + second] += 1
            before = second
        if (end - begin) % 2 == 1:
            last = np.uint64(x[end - 1])
            if last >= c and np.int64(last) >= 0:
                return end - 1
            if before < c and last < c:
                even[shift + before * c + last] += 1
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
    states, table = canonical(x).reshape(-1), counts.reshape(-1)
    first, last = int(offsets[0]), int(offsets[-1])
    # Private tables are cleared and added once: a few steps are better counted straight into the result, by one thread.
    shared = counts.size > _PRIVATE_CELLS or counts.size > last - first
    grain = last - first + 1 if shared else max(1, -(-(last - first) // threads))
    pieces = (states, offsets, offsets if y is None else y, y is not None)

    def piece(a: int, b: int, _: int) -> tuple[int, list[NDArray[np.int64]]]:
        if order == 1:
            own = [table, table] if shared else [np.zeros(counts.size, np.int64), np.zeros(counts.size, np.int64)]
            return _count_single_steps(*pieces, first + a, first + b, n_states, *own), own
        own = [table] if shared else [np.zeros(counts.size, np.int64)]
        return _count_steps(*pieces, first + a, first + b, n_states, order, n_states**order, *own), own

    found = parallel_blocks(last - first, grain, threads, piece)
    for _, own in found:
        for part in own:
            if part is not table:
                table += part
    return first_index([bad for bad, _ in found])
