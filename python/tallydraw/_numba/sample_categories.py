"""Flat draws: the twin of sample_categories.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.levels import outcomes_from_row, outcomes_from_rows, settle
from tallydraw._numba.parallel import allocating_kernel, kernel, parallel_blocks
from tallydraw._numba.philox import FLAT, counter_tag, fill_flat, one_word

_BLOCK = 1024
_1, _2, _3, _32 = (np.uint64(i) for i in (1, 2, 3, 32))
_MOST = np.uint64(2**64 - 2)
_TAG = counter_tag(FLAT, 0)


@allocating_kernel
def _flat(level, high, guide, n, bits, rows, tag, key, start, out):
    """Draws start, start + 1, …, which do not pass 2**64; table row 0 where `rows` is empty."""
    filled = np.empty(_BLOCK + 8, np.uint32)
    for begin in range(0, out.shape[0], _BLOCK):
        m = min(_BLOCK, out.shape[0] - begin)
        first = start + np.uint64(begin)
        skip = np.int64(first & _3)
        fill_flat(key, tag, first >> _2, (skip + m + 3) // 4, filled)
        words, drawn = filled[skip : skip + m], out[begin : begin + m]
        if rows.shape[0] > 0:
            close = outcomes_from_rows(high, guide, 0, 0, n, bits, rows[begin : begin + m], words, drawn)
        else:
            close = outcomes_from_row(high, guide, 0, 0, n, bits, words, drawn)
        if close:
            for i in range(m):
                t = first + np.uint64(i)
                at = rows[begin + i] * n if rows.shape[0] > 0 else np.int64(0)
                drawn[i] = settle(level, high, at, n, words[i], np.int64(drawn[i]), key, tag, t >> _2, t & _3)


def sample_categories(
    levels: Any,
    n_categories: int,
    rows: NDArray[np.int64] | None,
    purpose: int,
    key: int,
    start: int,
    out: NDArray[Any],
    threads: int,
) -> None:
    tag, bits = counter_tag(purpose, 0), np.int64(levels.guide_bits[0])
    picked = np.empty(0, np.int64) if rows is None else rows

    def draw(begin: int, end: int, _: int) -> None:
        part = picked[begin:end] if len(picked) else picked
        _flat(
            levels.level, levels.high, levels.guide, np.int64(n_categories), bits, part, tag, np.uint64(key),
            np.uint64(start + begin), out[begin:end],
        )  # fmt: skip

    parallel_blocks(len(out), max(1 << 14, -(-len(out) // (4 * threads))), threads, draw)


@kernel
def _one(level, key, draw):
    row, feature = draw >> _2, draw & _3
    high, low = one_word(key, _TAG, row, feature), one_word(key, _TAG + _1, row, feature)
    u = min((high << _32) | low, _MOST)
    least, most = 0, level.shape[0] - 1
    while least < most:
        middle = (least + most) // 2
        if u < level[middle]:
            most = middle
        else:
            least = middle + 1
    return least


def sample_one(level: NDArray[np.uint64], key: int, draw: int) -> int:
    return int(_one(level, np.uint64(key), np.uint64(draw)))
