"""One draw from each row of a matrix of weights, without making a level: the twin of sample_rows.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.lanes import bits, convert, fill, load, store
from tallydraw._numba.parallel import first_index, inline, kernel, parallel_blocks
from tallydraw._numba.philox import FLAT, counter_tag, fill_flat

_LOW, _32, _0, _1, _2, _3, _8 = (np.uint64(i) for i in (0xFFFFFFFF, 32, 0, 1, 2, 3, 8))
_MOST = np.uint64(2**64 - 2)
_TOP_BIT = np.uint64(63)
_LARGEST = float(np.finfo(np.float64).max)
_SMALL = 2.0**-900
_LOWERED = (1.0 - 2.0**-50) * 2.0**-63
_STRETCH, _MARKS, _NARROW = 16, 256, 64


@kernel
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
def _find(w, negative, mark, lane, stretch, u):
    """(outcome, whether bad) of the row w from its marks."""
    last = mark.shape[0] - 1
    total = mark[last, lane]
    if negative or not (total > _SMALL and total <= _LARGEST):
        return _careful_row(w, u)
    threshold = float(np.int64(u >> _1)) * _LOWERED * total
    k = 0
    while k < last and mark[k, lane] < threshold:
        k += 1
    before = mark[k - 1, lane] if k > 0 else 0.0
    c = k * stretch
    running = before + w[c]
    while running < threshold:
        c += 1
        running += w[c]
    while not _below_level(u, running, total):
        c += 1
        running += w[c]
    return c, False


@kernel
def _draw_narrow(weights, rows, first, u, drawn):
    """As _draw_floats, of rows of few columns: eight of them turned into columns, a row a lane."""
    columns = weights.shape[1]
    n = drawn.shape[0]
    flat = weights.reshape(-1)
    sums, table = np.empty(8 * columns), np.empty(8, np.int64)
    signs, total, threshold, passed = sums.view(np.int64), np.empty(8), np.empty(8), np.empty(8, np.int64)
    bad = np.int64(-1)
    for i in range(0, n, 8):
        for lane in range(8):
            j = first + min(i + lane, n - 1)
            table[lane] = rows[j] if rows.shape[0] > 0 else j
            at = np.uint64(table[lane] * columns)
            for c in range(np.uint64(columns)):
                sums[c * _8 + np.uint64(lane)] = flat[at + c]
        running, seen = fill(8, 0.0), fill(8, np.int64(0))
        for c in range(np.uint64(columns)):
            seen = seen | load(8, signs, c * _8)
            running = running + load(8, sums, c * _8)
            store(sums, c * _8, running)
        store(total, _0, running)
        for lane in range(8):
            threshold[lane] = float(np.int64(u[min(i + lane, n - 1)] >> _1)) * _LOWERED * total[lane]
        least, below = load(8, threshold, _0), fill(8, np.int64(0))
        for c in range(np.uint64(columns)):
            below = below + convert(least > load(8, sums, c * _8), passed.dtype)
        store(passed, _0, below)
        negative = bits(seen > fill(8, np.int64(2**63 - 1)))
        for lane in range(min(8, n - i)):
            b, c = table[lane], passed[lane]
            whole = total[lane]
            if (negative >> np.uint64(lane)) & _1 != _0 or not (whole > _SMALL and whole <= _LARGEST):
                c, is_bad = _careful_row(weights[b], u[i + lane])
                place = b * columns + c
                bad = min(bad, place) if is_bad and bad >= 0 else place if is_bad else bad
            else:
                while not _below_level(u[i + lane], sums[8 * c + lane], whole):
                    c += 1
            drawn[i + lane] = c
    return bad


@kernel
def _draw_floats(weights, bits, rows, first, u, mark, stretch, drawn):
    """drawn[i] from row rows[first + i], or first + i where rows is empty; the least bad place, or -1."""
    columns = weights.shape[1]
    n = drawn.shape[0]
    bad = np.int64(-1)
    for i in range(0, n, 4):
        j1, j2, j3 = min(i + 1, n - 1), min(i + 2, n - 1), min(i + 3, n - 1)
        if rows.shape[0] > 0:
            b0, b1, b2, b3 = rows[first + i], rows[first + j1], rows[first + j2], rows[first + j3]
        else:
            b0, b1, b2, b3 = first + i, first + j1, first + j2, first + j3
        r0, r1, r2, r3 = weights[b0], weights[b1], weights[b2], weights[b3]
        s0 = s1 = s2 = s3 = 0.0
        for k in range(mark.shape[0]):
            for c in range(k * stretch, min(k * stretch + stretch, columns)):
                s0 += r0[c]
                s1 += r1[c]
                s2 += r2[c]
                s3 += r3[c]
            mark[k, 0] = s0
            mark[k, 1] = s1
            mark[k, 2] = s2
            mark[k, 3] = s3
        for lane in range(min(4, n - i)):
            b = b0 if lane == 0 else b1 if lane == 1 else b2 if lane == 2 else b3
            signs = np.int64(0)
            for c in range(columns):
                signs |= bits[b, c]
            outcome, is_bad = _find(weights[b], signs < 0, mark, lane, stretch, u[i + lane])
            drawn[i + lane] = outcome
            if is_bad:
                place = b * columns + outcome
                bad = place if bad < 0 else min(bad, place)
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
            mark = np.empty((-(-columns // stretch), 4))
            bad = _draw_floats(weights, weights.view(np.int64), chosen, begin, u, mark, stretch, drawn)
        out[begin:end] = drawn
        return int(bad)

    return first_index(parallel_blocks(len(out), max(64, (1 << 18) // columns), threads, piece))
