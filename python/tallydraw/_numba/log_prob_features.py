"""log p of rows, gathered and added: the twin of log_prob_features.hpp, which says how logs lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.class_lanes import part_width
from tallydraw._numba.codes import encode
from tallydraw._numba.parallel import first_index, kernel, parallel_blocks
from tallydraw._structure import Structure

_TABLE_BYTES = 1 << 17
_CODES = 1 << 21


@kernel
def _add(codes, j0, j1, lanes, offsets, rows, out):
    """out[i, k] += log of cell (i, j), j0 <= j < j1 from left to right: two rows and two classes side by side, the last
    one twice where they are odd. Tables have rows[j] rows.
    """
    n, k = out.shape
    begin, end = np.uint64(j0), np.uint64(j1)
    place = np.empty(j1, np.uint64)
    for c in range(0, k, 2):
        part = c & ~7
        width = np.uint64(part_width(k - part))
        c0, c1 = c, min(c + 1, k - 1)
        for j in range(j0, j1):
            place[j] = offsets[j] + part * rows[j] + c0 - part
        other = np.uint64(c1 - c0)
        for i in range(0, n, 2):
            h = min(i + 1, n - 1)
            i0, i1, h0, h1 = out[i, c0], out[i, c1], out[h, c0], out[h, c1]
            for j in range(begin, end):
                at = place[j] + np.uint64(codes[i, j]) * width
                i0 += lanes[at]
                i1 += lanes[at + other]
                at = place[j] + np.uint64(codes[h, j]) * width
                h0 += lanes[at]
                h1 += lanes[at + other]
            out[i, c0], out[i, c1], out[h, c0], out[h, c1] = i0, i1, h0, h1


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
    table_rows = structure.n_contexts * structure.n_categories + 1
    tiles, j0 = [], 0
    while j0 < d:
        fit = int(np.searchsorted(lane_offsets, lane_offsets[j0] + _TABLE_BYTES // 8, side="right")) - 1
        tiles.append((j0, max(j0 + 1, min(d, fit))))
        j0 = tiles[-1][1]

    def score(a: int, b: int, piece: int) -> int:
        encoded = encode(X[a:b], missing, unseen_is_missing, structure)
        incomplete[a:b] = encoded.incomplete
        if encoded.bad >= 0:
            return a * d + encoded.bad
        out[a:b] = first
        for begin, end in tiles:
            _add(encoded.codes, begin, end, lanes, lane_offsets, table_rows, out[a:b])
        return -1

    rows = max(16, min(8192, _CODES // d, -(-n // threads)))
    return first_index(parallel_blocks(n, rows, threads, score))
