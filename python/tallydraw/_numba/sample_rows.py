"""One draw from each row of a matrix of weights, without making a level: the twin of sample_rows.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.lanes import convert, fill, load, prefetch, store
from tallydraw._numba.parallel import allocating_kernel, first_index, inline, kernel, parallel_blocks
from tallydraw._numba.philox import FLAT, counter_tag, fill_flat

_LOW, _32, _0, _1, _2, _3, _8 = (np.uint64(i) for i in (0xFFFFFFFF, 32, 0, 1, 2, 3, 8))
_MOST = np.uint64(2**64 - 2)
_TOP_BIT = np.uint64(63)
_LARGEST = float(np.finfo(np.float64).max)
_SMALL = 2.0**-900
_LOWERED = (1.0 - 2.0**-50) * 2.0**-63
_STRETCH, _MARKS, _NARROW = 16, 256, 64


@allocating_kernel
def _uniforms(key, start, u):
    """u[i] of flat draw start + i: word t mod 4 of row t div 4."""
    skip = start & _3
    blocks = (np.int64(skip) + u.shape[0] + 3) // 4
    high, low = np.empty(4 * blocks, np.uint32), np.empty(4 * blocks, np.uint32)
    fill_flat(key, _HIGH_TAG, start >> _2, blocks, high)
    fill_flat(key, _LOW_TAG, start >> _2, blocks, low)
    for i in range(np.uint64(u.shape[0])):
        u[i] = min(np.uint64(high[skip + i]) << _32 | np.uint64(low[skip + i]), _MOST)


_HIGH_TAG, _LOW_TAG = counter_tag(FLAT, 0), counter_tag(FLAT, 1)


@inline
def _product_high(a, b):
    """High and low half of a * b, all uint64."""
    a0, a1, b0, b1 = a & _LOW, a >> _32, b & _LOW, b >> _32
    p00, p01, p10, p11 = a0 * b0, a0 * b1, a1 * b0, a1 * b1
    middle = (p00 >> _32) + (p01 & _LOW) + (p10 & _LOW)
    return p11 + (p01 >> _32) + (p10 >> _32) + (middle >> _32), (middle << _32) | (p00 & _LOW)


@kernel
def _draw_integers(weights, rows, first, u, drawn):
    """drawn[i] from row rows[first + i], or first + i where rows is empty; the least bad place, or -1."""
    columns = weights.shape[1]
    bad = np.int64(-1)
    for i in range(drawn.shape[0]):
        b = rows[first + i] if rows.shape[0] > 0 else first + i
        total = _0
        least = np.int64(0)
        wrapped = _0
        for c in range(columns):
            w = weights[b, c]
            least |= w
            total += np.uint64(w)
            wrapped |= total
        place = np.int64(-1)
        if least < 0:
            c = 0
            while weights[b, c] >= 0:
                c += 1
            place = b * columns + c
        elif total == _0 or (wrapped >> _TOP_BIT) != _0:
            place = b * columns + columns
        if place >= 0:
            bad = place if bad < 0 else min(bad, place)
            continue
        # The first c with cum_c >= ceil((u + 1) * total / 2**64).
        high, low = _product_high(u[i] + _1, total)
        threshold = high + (_1 if low != _0 else _0)
        c = 0
        running = np.uint64(weights[b, 0])
        while running < threshold:
            c += 1
            running += np.uint64(weights[b, c])
        drawn[i] = c
    return bad


@inline
def _below_level(u, running, total):
    """Whether u < L_c."""
    return running == total or u < np.uint64((running / total) * 18446744073709551616.0)


@inline
def _careful_row(w, u):
    """The contract cell by cell: (outcome, False), or (column of the bad weight, or C for a bad sum, True)."""
    for c in range(w.shape[0]):
        if not (w[c] >= 0.0 and w[c] <= _LARGEST):
            return c, True
    scale = 1.0
    total = 0.0
    for c in range(w.shape[0]):
        total += w[c]
    if total > _LARGEST:
        scale = 2.0**-64
        total = 0.0
        for c in range(w.shape[0]):
            total += w[c] * scale
    if not total > 0.0:
        return w.shape[0], True
    c = 0
    running = w[0] * scale
    while not _below_level(u, running, total):
        c += 1
        running += w[c] * scale
    return c, False


@inline
def _locate(weights, rows, first, i, n, table, draws_ahead):
    """Table rows of draws i … i + 7, the last draw again where there are fewer, and of those `draws_ahead` later."""
    columns = weights.shape[1]
    most = rows.shape[0] if rows.shape[0] > 0 else weights.shape[0]
    for lane in range(8):
        j = first + min(i + lane, n - 1)
        after = min(j + draws_ahead, most - 1)
        table[lane] = (rows[j] if rows.shape[0] > 0 else j) * columns
        table[8 + lane] = (rows[after] if rows.shape[0] > 0 else after) * columns


@inline
def _is_plain(total, signs):
    """Finite, non-negative, a sum neither too large nor near the subnormals; false where that is not certain."""
    return signs >= 0 and total > _SMALL and total <= _LARGEST


@allocating_kernel
def _draw_floats(weights, rows, first, u, stretch, drawn):
    """drawn[i] from row rows[first + i], or first + i where rows is empty; the least bad place, or -1. Eight rows are
    summed side by side, each from left to right; mark[k] holds the sums after the first k + 1 stretches.
    """
    columns = weights.shape[1]
    n = drawn.shape[0]
    w, words = weights.reshape(-1), weights.view(np.int64).reshape(-1)
    last = -(-columns // stretch) - 1
    mark, table = np.empty(8 * (last + 1)), np.empty(16, np.int64)
    threshold, passed = np.empty(8), np.empty(8, np.int64)
    bad = np.int64(-1)
    for i in range(0, n, 8):
        _locate(weights, rows, first, i, n, table, 8)
        a0, a1, a2, a3 = np.uint64(table[0]), np.uint64(table[1]), np.uint64(table[2]), np.uint64(table[3])
        a4, a5, a6, a7 = np.uint64(table[4]), np.uint64(table[5]), np.uint64(table[6]), np.uint64(table[7])
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
        for k in range(last + 1):
            begin, end = np.uint64(k * stretch), np.uint64(min(k * stretch + stretch, columns))
            for lane in range(8, 16):
                for c in range(begin, end, _8):
                    prefetch(w, np.uint64(table[lane]) + c)
            for c in range(begin, end):
                s0 += w[a0 + c]
                s1 += w[a1 + c]
                s2 += w[a2 + c]
                s3 += w[a3 + c]
                s4 += w[a4 + c]
                s5 += w[a5 + c]
                s6 += w[a6 + c]
                s7 += w[a7 + c]
            at = 8 * k
            mark[at], mark[at + 1], mark[at + 2], mark[at + 3] = s0, s1, s2, s3
            mark[at + 4], mark[at + 5], mark[at + 6], mark[at + 7] = s4, s5, s6, s7
        for lane in range(8):
            threshold[lane] = float(np.int64(u[min(i + lane, n - 1)] >> _1)) * _LOWERED * mark[8 * last + lane]
        least, below = load(8, threshold, _0), fill(8, np.int64(0))
        for k in range(np.uint64(last)):
            below = below + convert(least > load(8, mark, k * _8), passed.dtype)
        store(passed, _0, below)
        for lane in range(min(8, n - i)):
            row, total = np.uint64(table[lane]), mark[8 * last + lane]
            signs = np.int64(0)
            for c in range(np.uint64(columns)):
                signs |= words[row + c]
            if not _is_plain(total, signs):
                c, is_bad = _careful_row(w[table[lane] : table[lane] + columns], u[i + lane])
                place = table[lane] + c
                bad = min(bad, place) if is_bad and bad >= 0 else place if is_bad else bad
            else:
                k = passed[lane]
                running = before = mark[8 * k - 8 + lane] if k > 0 else 0.0
                c = k * stretch
                for column in range(np.uint64(c), np.uint64(min(c + stretch, columns))):
                    running += w[row + column]
                    under = running < threshold[lane]
                    before = running if under else before
                    c += under
                running = before + w[row + np.uint64(c)]
                while not _below_level(u[i + lane], running, total):
                    c += 1
                    running += w[row + np.uint64(c)]
            drawn[i + lane] = c
    return bad


@allocating_kernel
def _draw_narrow(weights, rows, first, u, drawn):
    """The same of rows of few columns: eight of them turned into columns, a row a lane."""
    columns = weights.shape[1]
    n = drawn.shape[0]
    w = weights.reshape(-1)
    sums, table = np.empty(8 * columns), np.empty(16, np.int64)
    words, total, threshold = sums.view(np.int64), np.empty(8), np.empty(8)
    signs, passed = np.empty(8, np.int64), np.empty(8, np.int64)
    bad = np.int64(-1)
    for i in range(0, n, 8):
        _locate(weights, rows, first, i, n, table, 512 // columns)
        for lane in range(np.uint64(8)):
            row, later = np.uint64(table[lane]), np.uint64(table[lane + _8])
            for c in range(_0, np.uint64(columns), _8):
                prefetch(w, later + c)
            for c in range(np.uint64(columns)):
                sums[c * _8 + lane] = w[row + c]
        running, seen = fill(8, 0.0), fill(8, np.int64(0))
        for c in range(np.uint64(columns)):
            seen = seen | load(8, words, c * _8)
            running = running + load(8, sums, c * _8)
            store(sums, c * _8, running)
        store(signs, _0, seen)
        store(total, _0, running)
        for lane in range(8):
            threshold[lane] = float(np.int64(u[min(i + lane, n - 1)] >> _1)) * _LOWERED * total[lane]
        least, below = load(8, threshold, _0), fill(8, np.int64(0))
        for c in range(np.uint64(columns)):
            below = below + convert(least > load(8, sums, c * _8), passed.dtype)
        store(passed, _0, below)
        for lane in range(min(8, n - i)):
            c = passed[lane]
            if not _is_plain(total[lane], signs[lane]):
                c, is_bad = _careful_row(w[table[lane] : table[lane] + columns], u[i + lane])
                place = table[lane] + c
                bad = min(bad, place) if is_bad and bad >= 0 else place if is_bad else bad
            else:
                while not _below_level(u[i + lane], sums[8 * c + lane], total[lane]):
                    c += 1
            drawn[i + lane] = c
    return bad


def sample_rows(
    weights: NDArray[Any],
    rows: NDArray[np.int64] | None,
    key: int,
    start: int,
    out: NDArray[Any],
    threads: int,
) -> int:
    columns = weights.shape[1]
    chosen = np.empty(0, np.int64) if rows is None else rows
    stretch = max(_STRETCH, -(-columns // _MARKS))

    def piece(begin: int, end: int, _: int) -> int:
        u = np.empty(end - begin, np.uint64)
        _uniforms(np.uint64(key), np.uint64(start + begin), u)
        drawn = np.empty(end - begin, np.int64)
        if weights.dtype.kind == "i":
            bad = _draw_integers(weights, chosen, begin, u, drawn)
        elif columns <= _NARROW:
            bad = _draw_narrow(weights, chosen, begin, u, drawn)
        else:
            bad = _draw_floats(weights, chosen, begin, u, stretch, drawn)
        out[begin:end] = drawn
        return int(bad)

    return first_index(parallel_blocks(len(out), max(64, (1 << 18) // columns), threads, piece))
