"""log p of rows, gathered and added: the twin of log_prob_features.hpp, which says how logs lie."""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.class_lanes import parts_at_once
from tallydraw._numba.codes import MET_BAD, MET_MISSING, Encoder
from tallydraw._numba.lanes import load, load_some, prefetch, store_some
from tallydraw._numba.parallel import allocating_kernel, first_index, inline, parallel_blocks, worth
from tallydraw._structure import Structure

# Lanes that are near together; bytes of codes encoded at once; features encoded at once where not all tables are
# near and no feature has a context.
_TABLE = np.uint64(1 << 14)
_CODE_BYTES = 1 << 18
_WIDTH = 64
_0, _1, _2, _3, _4, _8 = (np.uint64(i) for i in (0, 1, 2, 3, 4, 8))


@functools.cache
def row_folder(width, rest, fold=operator.add):
    """run(codes, f0, c, lanes, lane_offsets, lane_rows, first, out): out[i, k] and the numbers of cells (i, f0 + j) are
    added, or multiplied, from left to right over the features j of codes, for the classes k of the parts of these
    widths from class c on; from first[k] on where f0 is 0.
    """

    @allocating_kernel
    def run(codes, f0, c, lanes, lane_offsets, lane_rows, first, out):
        rows, n_features = np.uint64(codes.shape[0]), codes.shape[1]
        k, stride, at = np.uint64(out.shape[1]), np.uint64(n_features), np.uint64(c)
        n = min(k - at, np.uint64(width))
        if rest > 0:
            m = min(k - at - n, np.uint64(rest))
        flat, to = codes.reshape(-1), out.reshape(-1)
        place, other = np.empty(n_features, np.uint64), np.empty(n_features, np.uint64)
        for j in range(n_features):
            place[j] = lane_offsets[f0 + j] + c * lane_rows[f0 + j]
            other[j] = lane_offsets[f0 + j] + (c + 8) * lane_rows[f0 + j]
        begin = 0
        while begin < n_features:
            end = _tile_end(lane_offsets, f0 + begin, f0 + n_features) - f0
            j0, j1 = np.uint64(begin), np.uint64(end)
            soon = np.uint64(lane_offsets[f0 + end] if f0 + end < lane_rows.size else 0)
            near = min(soon + _TABLE, np.uint64(lanes.size)) if lanes.size > _TABLE and c == 0 else soon
            step = (near - soon) // (rows + _1) * _4 + _8
            sums, apart = (first, _0) if f0 + begin == 0 else (to, k)
            for r in range(_0, rows, _4):
                for line in range(soon, min(soon + step, near), _8):
                    prefetch(lanes, line)
                soon += step
                # Four rows side by side, which hides the latency of sums; the last one again where there are fewer.
                r1, r2, r3 = min(r + _1, rows - _1), min(r + _2, rows - _1), min(r + _3, rows - _1)
                z0, z1, z2, z3 = r * stride, r1 * stride, r2 * stride, r3 * stride
                a0, a1 = load_some(width, sums, r * apart + at, n), load_some(width, sums, r1 * apart + at, n)
                a2, a3 = load_some(width, sums, r2 * apart + at, n), load_some(width, sums, r3 * apart + at, n)
                if rest > 0:
                    b0, b1 = (
                        load_some(rest, sums, r * apart + at + _8, m),
                        load_some(rest, sums, r1 * apart + at + _8, m),
                    )
                    b2, b3 = (
                        load_some(rest, sums, r2 * apart + at + _8, m),
                        load_some(rest, sums, r3 * apart + at + _8, m),
                    )
                for j in range(j0, j1):
                    y0, y1 = np.uint64(flat[z0 + j]), np.uint64(flat[z1 + j])
                    y2, y3 = np.uint64(flat[z2 + j]), np.uint64(flat[z3 + j])
                    table = place[j]
                    a0 = fold(a0, load(width, lanes, table + y0 * np.uint64(width)))
                    a1 = fold(a1, load(width, lanes, table + y1 * np.uint64(width)))
                    a2 = fold(a2, load(width, lanes, table + y2 * np.uint64(width)))
                    a3 = fold(a3, load(width, lanes, table + y3 * np.uint64(width)))
                    if rest > 0:
                        table = other[j]
                        b0 = fold(b0, load(rest, lanes, table + y0 * np.uint64(rest)))
                        b1 = fold(b1, load(rest, lanes, table + y1 * np.uint64(rest)))
                        b2 = fold(b2, load(rest, lanes, table + y2 * np.uint64(rest)))
                        b3 = fold(b3, load(rest, lanes, table + y3 * np.uint64(rest)))
                store_some(to, r * k + at, a0, n)
                store_some(to, r1 * k + at, a1, n)
                store_some(to, r2 * k + at, a2, n)
                store_some(to, r3 * k + at, a3, n)
                if rest > 0:
                    store_some(to, r * k + at + _8, b0, m)
                    store_some(to, r1 * k + at + _8, b1, m)
                    store_some(to, r2 * k + at + _8, b2, m)
                    store_some(to, r3 * k + at + _8, b3, m)
            begin = end

    return run


@inline
def _tile_end(lane_offsets, begin, most):
    """Tiles are ended by the features whose tables exceed _TABLE lanes together."""
    end = begin + 1
    while end < most and lane_offsets[end + 1] <= lane_offsets[begin] + np.int64(_TABLE):
        end += 1
    return end


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
    adders = [(c, row_folder(part, rest)) for c, part, rest in parts_at_once(structure.n_classes)]
    near = lane_offsets[-1] <= int(_TABLE)
    width = d if encoder.contexts or near else min(d, _WIDTH)
    lane_rows = structure.n_contexts * structure.n_categories + 1
    incomplete[:] = 0

    def score(a: int, b: int, _: int) -> int:
        for f0 in range(0, d, width):
            plain, met = encoder.plain(a, b, f0, f0 + width)
            if met & MET_BAD:
                return encoder.first_bad(a, b)
            if met & MET_MISSING:
                encoder.mark_incomplete(plain, f0, incomplete[a:b])
            codes = encoder.combine(plain)
            for c, add in adders:
                add(codes, f0, c, lanes, lane_offsets, lane_rows, first, out[a:b])
        return -1

    threads = worth(threads, n * d)
    rows = max(16, min(8192, _CODE_BYTES // (width * encoder.type.itemsize), -(-n // threads)))
    return first_index(parallel_blocks(n, rows, threads, score))
