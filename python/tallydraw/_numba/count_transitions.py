"""Transition counts of order k: the twin of count_transitions.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.parallel import first_index, kernel, parallel_blocks

_PRIVATE_CELLS = 1 << 17


@kernel
def _count_steps(x, offsets, y, has_y, a, b, n_states, order, n_contexts, table):
    """Adds the steps that end in [a, b); returns the first position there whose state is no state, or -1."""
    block = n_contexts * n_states
    keep = n_contexts // n_states
    i = np.searchsorted(offsets, a, side="right") - 1
    while i < len(offsets) - 1 and offsets[i] < b:
        begin = offsets[i]
        shift = y[i] * block if has_y else 0
        context = 0
        known = 0
        for t in range(max(begin, a - order), min(offsets[i + 1], b)):
            state = x[t]
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


def count_transitions(
    x: NDArray[Any],
    offsets: NDArray[np.int64],
    y: NDArray[np.int64] | None,
    n_states: int,
    order: int,
    counts: NDArray[np.int64],
    threads: int,
) -> int:
    if x.dtype.itemsize == 8 and x.dtype.kind == "u":
        x = x.view(np.int64) if x.size == 0 or int(x.max()) < 2**63 else np.minimum(x, 2**63 - 1).astype(np.int64)
    elif x.dtype != np.uint8:
        x = x.astype(np.int64)  # at most one block: compiling for every dtype would cost more
    classes = offsets if y is None else y
    first, last = int(offsets[0]), int(offsets[-1])
    shared = counts.size > _PRIVATE_CELLS or threads == 1
    grain = last - first + 1 if shared else -(-(last - first) // threads)

    def piece(a: int, b: int, _: int) -> tuple[int, NDArray[np.int64]]:
        table = counts.reshape(-1) if shared else np.zeros(counts.size, np.int64)
        bad = _count_steps(
            x, offsets, classes, y is not None, first + a, first + b, n_states, order, n_states**order, table
        )
        return bad, table

    found = parallel_blocks(last - first, max(1, grain), threads, piece)
    if not shared:
        for _, table in found:
            counts.reshape(-1)[:] += table
    return first_index([bad for bad, _ in found])
