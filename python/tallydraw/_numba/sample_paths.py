"""Paths of a homogeneous Markov chain: the twin of sample_paths.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.levels import outcome
from tallydraw._numba.parallel import kernel, parallel_blocks
from tallydraw._numba.philox import CELLS, counter_tag
from tallydraw._numba.sample_features import fill_columns

_PATHS = 64


@kernel
def _paths(
    n_categories,
    n_contexts,
    offsets,
    level,
    high,
    guide,
    guide_offsets,
    guide_bits,
    y,
    initial,
    tag,
    key,
    start,
    step,
    out,
):
    k = n_categories.shape[0] - 1
    states = n_categories[k]
    oldest = max(n_contexts[k] // states, np.int64(1))
    words = np.empty((4, _PATHS), np.uint32)
    context = np.empty(_PATHS, np.int64)
    for begin in range(0, out.shape[0], _PATHS):
        m = min(_PATHS, out.shape[0] - begin)
        first = start + np.uint64(begin)
        context[:] = 0
        if step > 0:
            for i in range(m):
                for t in range(k):
                    context[i] = context[i] * states + initial[begin + i, t]
        filled = np.int64(-1)
        for p in range(out.shape[1]):
            t = step + p
            if t // 4 != filled:
                filled = t // 4
                fill_columns(key, tag, first, m, filled, words)
            j = min(t, k)
            bits = guide_bits[j]
            size = np.int64(1) << max(bits, np.int64(0))
            w = t % 4
            feature = np.uint64(t)
            for i in range(m):
                if t < k and initial.shape[0] > 0:
                    c = initial[begin + i, t]
                else:
                    b = context[i] + (y[begin + i] * n_contexts[j] if y.shape[0] > 0 else np.int64(0))
                    c = outcome(
                        level, high, guide, offsets[j] + b * states, guide_offsets[j] + b * size, states, bits,
                        np.uint64(words[w, i]), key, tag, first + np.uint64(i), feature,
                    )  # fmt: skip
                out[begin + i, p] = c
                if t >= k:
                    context[i] %= oldest
                context[i] = context[i] * states + c if k > 0 else np.int64(0)


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
        )  # fmt: skip

    parallel_blocks(len(out), max(1, -(-len(out) // threads)), threads, draw)
