"""Paths of a homogeneous Markov chain: the twin of sample_paths.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.levels import FEW, levels_of_few, outcomes_from_rows, outcomes_of_few, settle
from tallydraw._numba.parallel import kernel, parallel_blocks, worth
from tallydraw._numba.philox import CELLS, counter_tag, fill_columns
from tallydraw._numba.tile import PADDING, write_rows

# A tile: paths side by side, whose steps interleave and so hide each other's latency, and some of their steps.
_PATHS, _STEPS = 256, 64


@kernel
def _paths(
    n_categories, n_contexts, offsets, level, high, guide, guide_offsets, guide_bits,
    y, initial, tag, key, start, step, out, words, tile, levels, all_places, all_contexts, all_rows, all_numbers,
):  # fmt: skip
    n, length = out.shape
    k = n_categories.shape[0] - 1
    states = n_categories[k]
    oldest = max(n_contexts[k] // states, np.int64(1))
    every_word, every_state, apart = words.reshape(-1), tile.reshape(-1), np.uint64(_PATHS + PADDING)
    # Every later step is drawn from the same few table rows, that of the state before.
    few = k == 1 and states <= FEW and y.shape[0] == 0
    if few:
        levels_of_few(high, offsets[k], states, levels)
    for begin in range(0, n, _PATHS):
        m = min(_PATHS, n - begin)
        place, context, rows = all_places[:m], all_contexts[:m], all_rows[:m]
        numbers = all_numbers[: (m + 15) // 16 * 16]
        for i in range(len(all_numbers)):
            all_numbers[i] = start + np.uint64(begin + i)
        context[:] = 0
        if step > 0:
            for i in range(m):
                for t in range(k):
                    context[i] = context[i] * states + initial[begin + i, t]
        filled = np.int64(-1)
        for p in range(length):
            t = step + p
            if t // 4 != filled:
                filled = t // 4
                fill_columns(key, tag, numbers, np.uint64(filled), words)
            j = min(t, k)
            bits, cell, entry = guide_bits[j], offsets[j], guide_offsets[j]
            word, drawn = words[t % 4, :m], tile[p % _STEPS, :m]
            close, table_row = False, context
            if t < k and initial.shape[0] > 0:
                for i in range(m):
                    drawn[i] = initial[begin + i, t]
            elif few and p > 0:
                before, here = np.uint64((p - 1) % _STEPS), np.uint64(p % _STEPS)
                close = outcomes_of_few(
                    levels, every_state, before * apart, every_word, np.uint64(t % 4 * _PATHS), np.uint64(m),
                    every_state, here * apart,
                )  # fmt: skip
                if close:
                    for i in range(m):
                        context[i] = tile[before, i]
            else:
                if y.shape[0] > 0:
                    table_row = rows
                    for i in range(m):
                        rows[i] = y[begin + i] * n_contexts[j] + context[i]
                close = outcomes_from_rows(high, guide, cell, entry, states, bits, table_row, word, drawn)
            if close:
                for i in range(m):
                    at = cell + table_row[i] * states
                    drawn[i] = settle(
                        level, high, at, states, word[i], np.int64(drawn[i]), key, tag, numbers[i], np.uint64(t)
                    )
            if k == 1:
                for i in range(m if not few else 0):
                    context[i] = drawn[i]
            elif t < k:
                for i in range(m):
                    context[i] = context[i] * states + np.int64(drawn[i])
            elif k > 0:
                for i in range(m):
                    context[i] = context[i] % oldest * states + np.int64(drawn[i])
            if p % _STEPS == _STEPS - 1 or p == length - 1:
                write_rows(tile, place, p % _STEPS + 1, out[begin : begin + m], p // _STEPS * _STEPS)


def sample_paths(
    structure: Any,
    levels: Any,
    y: NDArray[np.int64] | None,
    initial: NDArray[np.int64] | None,
    key: int,
    start: int,
    step: int,
    out: NDArray[Any],
    threads: int,
) -> None:
    classes = np.empty(0, np.int64) if y is None else y
    given = np.empty((0, 0), np.int64) if initial is None else initial

    def draw(begin: int, end: int, _: int) -> None:
        _paths(
            structure.n_categories, structure.n_contexts, structure.offsets,
            levels.level, levels.high, levels.guide, levels.guide_offsets, levels.guide_bits,
            classes[begin:end] if len(classes) else classes, given[begin:end] if len(given) else given,
            counter_tag(CELLS, 0), np.uint64(key), np.uint64((start + begin) % 2**64), np.int64(step), out[begin:end],
            np.empty((4, _PATHS), np.uint32), np.empty((_STEPS, _PATHS + PADDING), out.dtype),
            np.empty(3 * FEW, np.uint32), np.arange(_PATHS), np.empty(_PATHS, np.int64), np.empty(_PATHS, np.int64),
            np.empty(_PATHS, np.uint64),
        )  # fmt: skip

    threads = worth(threads, out.size)
    parallel_blocks(len(out), -(-len(out) // (4 * threads * _PATHS)) * _PATHS, threads, draw)
