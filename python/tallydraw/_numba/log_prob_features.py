"""log p of rows, gathered and added: the twin of log_prob_features.hpp, which says how logs lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.codes import MET_BAD, MET_MISSING, Encoder
from tallydraw._numba.lanes import load, load_some, prefetch, store_some
from tallydraw._numba.parallel import first_index, inline, kernel, parallel_blocks, worth
from tallydraw._structure import Structure

# Tiles are ended by the features whose tables exceed this together.
_TABLE_BYTES = 1 << 17
# Bytes of codes that are encoded at once, and where all tables are near; features, where none has a context.
_CODE_BYTES, _NEAR_CODE_BYTES, _CONTEXT_CODE_BYTES = 1 << 18, 1 << 15, 1 << 20
_WIDTH = 64
_1, _2, _3, _8 = (np.uint64(i) for i in (1, 2, 3, 8))


def _adder(width):
    """Adds to the sums of n classes, whose lanes are of this width: four rows side by side, which hides the latency of
    sums; brings lanes [soon, end) near meanwhile.
    """

    @inline
    def add(codes, stride, j0, j1, place, lanes, rows, sums, at, apart, out, to, k, n, soon, end):
        whole = rows - rows % np.uint64(4)
        step = (end - soon) // (whole + _1) * np.uint64(4) + _8
        for r in range(np.uint64(0), whole, np.uint64(4)):
            for line in range(soon, min(soon + step, end), _8):
                prefetch(lanes, line)
            soon += step
            z0 = r * stride
            z1, z2, z3 = z0 + stride, z0 + _2 * stride, z0 + _3 * stride
            a0 = load_some(width, sums, at + r * apart, n)
            a1 = load_some(width, sums, at + (r + _1) * apart, n)
            a2 = load_some(width, sums, at + (r + _2) * apart, n)
            a3 = load_some(width, sums, at + (r + _3) * apart, n)
            for j in range(j0, j1):
                table = place[j]
                a0 = a0 + load(width, lanes, table + np.uint64(codes[z0 + j]) * np.uint64(width))
                a1 = a1 + load(width, lanes, table + np.uint64(codes[z1 + j]) * np.uint64(width))
                a2 = a2 + load(width, lanes, table + np.uint64(codes[z2 + j]) * np.uint64(width))
                a3 = a3 + load(width, lanes, table + np.uint64(codes[z3 + j]) * np.uint64(width))
            store_some(out, to + r * k, a0, n)
            store_some(out, to + (r + _1) * k, a1, n)
            store_some(out, to + (r + _2) * k, a2, n)
            store_some(out, to + (r + _3) * k, a3, n)
        for r in range(whole, rows):
            z0 = r * stride
            a0 = load_some(width, sums, at + r * apart, n)
            for j in range(j0, j1):
                a0 = a0 + load(width, lanes, place[j] + np.uint64(codes[z0 + j]) * np.uint64(width))
            store_some(out, to + r * k, a0, n)

    return add


_add8, _add4, _add2, _add1 = _adder(8), _adder(4), _adder(2), _adder(1)


@kernel
def _add_logs(codes, f0, lanes, lane_offsets, lane_rows, first, out):
    """out[i, k] += the logs of cells (i, f0 + j), from left to right over the features j of codes; from first[k] on
    where f0 is 0.
    """
    rows, n_features = np.uint64(codes.shape[0]), codes.shape[1]
    n_classes = out.shape[1]
    k, stride = np.uint64(n_classes), np.uint64(n_features)
    flat, to = codes.reshape(-1), out.reshape(-1)
    place = np.empty(n_features, np.uint64)
    begin = 0
    while begin < n_features:
        end = begin + 1
        most = lane_offsets[f0 + begin] + _TABLE_BYTES // 8
        while end < n_features and lane_offsets[f0 + end + 1] <= most:
            end += 1
        j0, j1 = np.uint64(begin), np.uint64(end)
        soon = np.uint64(lane_offsets[f0 + end] if f0 + end < lane_rows.size else 0)
        near = (
            min(soon + np.uint64(_TABLE_BYTES // 8), np.uint64(lanes.size)) if lanes.size > _TABLE_BYTES // 8 else soon
        )
        sums, apart = (first, np.uint64(0)) if f0 + begin == 0 else (to, k)
        for part in range(0, n_classes, 8):
            for j in range(begin, end):
                place[j] = lane_offsets[f0 + j] + part * lane_rows[f0 + j]
            c = np.uint64(part)
            n = k - c
            if n > 4:
                n = min(n, _8)
                _add8(flat, stride, j0, j1, place, lanes, rows, sums, c, apart, to, c, k, n, soon, near)
            elif n > 2:
                _add4(flat, stride, j0, j1, place, lanes, rows, sums, c, apart, to, c, k, n, soon, near)
            elif n == 2:
                _add2(flat, stride, j0, j1, place, lanes, rows, sums, c, apart, to, c, k, n, soon, near)
            else:
                _add1(flat, stride, j0, j1, place, lanes, rows, sums, c, apart, to, c, k, n, soon, near)
            soon = near
        begin = end


def log_prob_features(
    X: NDArray[Any],
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    lanes: NDArray[np.float64],
    lane_offsets: NDArray[np.int64],
    first: NDArray[np.float64],
    incomplete: NDArray[np.uint8],
    out: NDArray[np.float64],
    threads: int,
) -> int:
    n, d = len(X), structure.n_features
    encoder = Encoder(X, missing, unseen_is_missing, structure)
    width = d if encoder.contexts else min(d, _WIDTH)
    near = 8 * int(lane_offsets[-1]) <= _TABLE_BYTES
    room = _NEAR_CODE_BYTES if near else _CONTEXT_CODE_BYTES if encoder.contexts else _CODE_BYTES
    lane_rows = structure.n_contexts * structure.n_categories + 1
    incomplete[:] = 0

    def score(a: int, b: int, _: int) -> int:
        for f0 in range(0, d, width):
            plain, met = encoder.plain(a, b, f0, f0 + width)
            if met & MET_BAD:
                return encoder.first_bad(a, b)
            if met & MET_MISSING:
                encoder.mark_incomplete(plain, f0, incomplete[a:b])
            _add_logs(encoder.combine(plain), f0, lanes, lane_offsets, lane_rows, first, out[a:b])
        return -1

    threads = worth(threads, n * d)
    rows = max(16, min(8192, room // (width * encoder.type.itemsize), -(-n // threads)))
    return first_index(parallel_blocks(n, rows, threads, score))
