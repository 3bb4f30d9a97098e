"""Rows of features from a stack of tables: the twin of sample_features.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.levels import outcomes_from_row, outcomes_from_rows, settle
from tallydraw._numba.parallel import inline, kernel, parallel_blocks, worth
from tallydraw._numba.philox import CELLS, counter_tag, fill_columns
from tallydraw._numba.tile import PADDING, write_rows

# A chunk: at most so many rows and, where there are more than the least, outcomes.
_MOST_ROWS, _LEAST_ROWS, _OUTCOMES = 4096, 64, 1 << 20
# Rows of a class are brought together where a chunk has many of them.
_GROUPED_CLASSES, _GROUPED_ROWS = 32, 64


@inline
def group_rows(y, n_classes, place, group):
    """place[group[k]] … place[group[k + 1] - 1] are the rows of class k, in order."""
    n = y.shape[0]
    for k in range(n_classes + 1):
        group[k] = 0
    for i in range(n):
        group[y[i]] += 1
    total = np.int64(0)
    for k in range(n_classes + 1):
        total += group[k]
        group[k] = total
    for i in range(n - 1, -1, -1):
        group[y[i]] -= 1
        place[group[y[i]]] = i


@kernel
def _rows_of_features(
    n_classes, n_categories, offsets, context_begin, context, order,
    level, high, guide, guide_offsets, guide_bits, y, only, tag, key, start, out,
    words, tile, all_places, all_classes, all_rows, all_numbers, group,
):  # fmt: skip
    n, d, size = len(out), out.shape[1], len(all_places)
    for begin in range(0, n, size):
        m = np.int64(min(size, n - begin))
        if only >= 0:
            chunk, m = m, np.int64(0)
            for i in range(chunk):
                if y[begin + i] == only:
                    all_places[m] = i
                    m += 1
        place, of_class, table_row, numbers = all_places[:m], all_classes[:m], all_rows[:m], all_numbers[:m]
        grouped = y.shape[0] == 0 or only >= 0 or (n_classes <= _GROUPED_CLASSES and n_classes * _GROUPED_ROWS <= m)
        classes = n_classes if y.shape[0] > 0 and grouped else 1
        group[classes] = m
        if only < 0:
            for i in range(m):
                place[i] = i
        if classes > 1:
            group_rows(y[begin : begin + m], classes, place, group)
        for i in range(m):
            of_class[i] = y[begin + place[i]] if y.shape[0] > 0 and only < 0 else 0
            numbers[i] = start + np.uint64(begin + place[i])

        filled = np.int64(-1)
        for p in range(d):
            j = order[p]
            if j // 4 != filled:
                filled = j // 4
                fill_columns(key, tag, numbers, np.uint64(filled), words)
            c, bits = n_categories[j], guide_bits[j]
            cell, entry = offsets[j], guide_offsets[j]
            word, drawn = words[j % 4, :m], tile[j, :m]
            rows = of_class
            if grouped and context_begin[j] == context_begin[j + 1]:
                close = False
                for k in range(classes):
                    a, b = group[k], group[k + 1]
                    first = np.int64(k) << max(bits, np.int64(0))
                    close |= outcomes_from_row(high, guide, cell + k * c, entry + first, c, bits, word[a:b], drawn[a:b])
            else:
                for q in range(context_begin[j], context_begin[j + 1]):
                    parent, categories = tile[context[q], :m], n_categories[context[q]]
                    for i in range(m):
                        table_row[i] = rows[i] * categories + np.int64(parent[i])
                    rows = table_row
                close = outcomes_from_rows(high, guide, cell, entry, c, bits, rows, word, drawn)
            if close:
                for i in range(m):
                    drawn[i] = settle(
                        level,
                        high,
                        cell + rows[i] * c,
                        c,
                        word[i],
                        np.int64(drawn[i]),
                        key,
                        tag,
                        numbers[i],
                        np.uint64(j),
                    )
        write_rows(tile, place, d, out[begin:], 0)


def sample_features(
    structure: Any, levels: Any, y: NDArray[np.int64] | None, only: int, key: int, start: int, out: NDArray[Any],
    threads: int,
) -> None:  # fmt: skip
    classes = np.empty(0, np.int64) if y is None else y

    def draw(begin: int, end: int, _: int) -> None:
        d = out.shape[1]
        size = min(end - begin, _MOST_ROWS, max(_LEAST_ROWS, _OUTCOMES // d))
        _rows_of_features(
            structure.n_classes, structure.n_categories, structure.offsets, structure.context_begin, structure.context,
            structure.order, levels.level, levels.high, levels.guide, levels.guide_offsets, levels.guide_bits,
            classes[begin:end] if len(classes) else classes, np.int64(only), counter_tag(CELLS, 0), np.uint64(key),
            np.uint64((start + begin) % 2**64), out[begin:end],
            np.empty((4, size), np.uint32), np.empty((d, size + PADDING), out.dtype), np.empty(size, np.int64),
            np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.uint64),
            np.zeros(_GROUPED_CLASSES + 1, np.int64),
        )  # fmt: skip

    threads = worth(threads, out.size)
    parallel_blocks(len(out), max(_LEAST_ROWS, -(-len(out) // (2 * threads))), threads, draw)
