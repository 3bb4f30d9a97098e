"""Rows of features from a stack of tables: the twin of sample_features.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.levels import outcome
from tallydraw._numba.parallel import kernel, parallel_blocks
from tallydraw._numba.philox import CELLS, counter_tag, philox_block

_ROWS = 1024
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)


@kernel
def fill_columns(key, tag, start, n, block, words):
    """words[w, i] = word w of row start + i and feature block `block`."""
    for i in range(n):
        row = start + np.uint64(i)
        w0, w1, w2, w3 = philox_block(row & _LOW, row >> _32, np.uint64(block), tag, key)
        words[0, i] = w0
        words[1, i] = w1
        words[2, i] = w2
        words[3, i] = w3


@kernel
def _rows_of_features(
    n_categories,
    offsets,
    context_begin,
    context,
    order,
    level,
    high,
    guide,
    guide_offsets,
    guide_bits,
    y,
    tag,
    key,
    start,
    out,
):
    words = np.empty((4, _ROWS), np.uint32)
    for begin in range(0, out.shape[0], _ROWS):
        m = min(_ROWS, out.shape[0] - begin)
        first = start + np.uint64(begin)
        filled = np.int64(-1)
        for p in range(order.shape[0]):
            j = order[p]
            if j // 4 != filled:
                filled = j // 4
                fill_columns(key, tag, first, m, filled, words)
            n, bits = n_categories[j], guide_bits[j]
            size = np.int64(1) << max(bits, np.int64(0))
            w = j % 4
            feature = np.uint64(j)
            cell, entry = offsets[j], guide_offsets[j]
            for i in range(m):
                b = y[begin + i] if y.shape[0] > 0 else np.int64(0)
                for q in range(context_begin[j], context_begin[j + 1]):
                    a = context[q]
                    b = b * n_categories[a] + np.int64(out[begin + i, a])
                out[begin + i, j] = outcome(
                    level, high, guide, cell + b * n, entry + b * size, n, bits, np.uint64(words[w, i]),
                    key, tag, first + np.uint64(i), feature,
                )  # fmt: skip


def sample_features(
    structure: Any, levels: Any, y: NDArray[np.int64] | None, key: int, start: int, out: NDArray[Any], threads: int
) -> None:
    classes = np.empty(0, np.int64) if y is None else y

    def draw(begin: int, end: int, _: int) -> None:
        _rows_of_features(
            structure.n_categories, structure.offsets, structure.context_begin, structure.context, structure.order,
            levels.level, levels.high, levels.guide, levels.guide_offsets, levels.guide_bits,
            classes[begin:end] if len(classes) else classes, counter_tag(CELLS, 0), np.uint64(key),
            np.uint64((start + begin) % 2**64), out[begin:end],
        )  # fmt: skip

    parallel_blocks(len(out), max(64, -(-len(out) // threads)), threads, draw)
