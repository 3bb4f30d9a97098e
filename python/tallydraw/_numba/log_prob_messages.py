"""Missing cells summed out, or at their most probable values: the twin of log_prob_messages.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.codes import MET_BAD, Encoder
from tallydraw._numba.elementary import log_scaled_of
from tallydraw._numba.log_prob_tree import make_tree, score_tree
from tallydraw._numba.messages import find_touched, known_context, make_messages, send_messages
from tallydraw._numba.parallel import allocating_kernel, first_index, parallel_blocks
from tallydraw._structure import Structure, make_structure
from tallydraw._totals import Totals

# Rows of a piece, and cells where there are more than the least: so many that what Python does between two kernels,
# which other threads wait for, is little.
_MOST_ROWS, _LEAST_ROWS, _CELLS = 1 << 13, 1 << 10, 1 << 19


@allocating_kernel
def _score(s, plain_codes, codes, rows, probabilities, plain, logs, log_offsets, first, maximize, m, out):
    d, k = len(s.n_categories), out.shape[1]
    added = np.empty(d)
    total_m, total_e = np.empty(d), np.empty(d, np.int64)
    for i in range(len(rows)):
        x = plain_codes[i]
        n_touched = find_touched(s, codes[i], m)
        for c in range(k):
            for j in range(d):
                added[j] = logs[log_offsets[j] + np.int64(codes[i, j]) * k + c]
            done = plain  # a variable: constants would compile the pass twice
            if plain:
                done = send_messages(done, maximize, s, x, probabilities, c, m, n_touched, total_m, total_e)
            if not done:
                send_messages(done, maximize, s, x, probabilities, c, m, n_touched, total_m, total_e)
            for t in range(n_touched):
                j = m.touched[t]
                if (m.loud[j] or maximize) and known_context(s, x, j) >= 0:
                    added[j] = log_scaled_of(total_m[j], total_e[j])
            total = first[c]
            for j in range(d):  # left to right
                total += added[j]
            out[rows[i], c] = total


def log_prob_messages(
    X: NDArray[Any],
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    probabilities: NDArray[np.float64],
    plain: bool,
    cells: NDArray[np.float64],
    logs: NDArray[np.float64],
    log_offsets: NDArray[np.int64],
    totals: Totals | None,
    first: NDArray[np.float64],
    maximize: bool,
    rows: NDArray[np.int64],
    out: NDArray[np.float64],
    threads: int,
) -> int:
    tree = None if maximize else make_tree(structure, logs, log_offsets, totals)
    # With trees plain codes alone are looked at: those of features without contexts.
    alone, d = structure if tree is None else make_structure(structure.n_categories), structure.n_features
    encoder = Encoder(X, missing, unseen_is_missing, alone)

    def score(a: int, b: int, piece: int) -> int:
        some = rows[a:b]
        begin, n = int(some[0]), len(some)
        together = int(some[-1]) - begin == n - 1
        own = encoder if together else Encoder(X[some], missing, unseen_is_missing, alone)
        begin = begin if together else 0
        plain_codes, met = own.plain(begin, begin + n)
        bad = own.first_bad(begin, begin + n) if met & MET_BAD else -1
        if tree is not None:
            some = some[score_tree(structure, tree, plain_codes, some, plain, cells, first, out)]
            own = Encoder(X[some], missing, unseen_is_missing, structure) if len(some) else own
            plain_codes, _ = own.plain(0, len(some))
        if len(some):
            _score(
                structure, plain_codes, own.combine(plain_codes), some, probabilities, plain, logs, log_offsets, first,
                maximize, make_messages(structure), out,
            )  # fmt: skip
        return bad if together or bad < 0 else int(rows[a + bad // d]) * d + bad % d

    most = min(_MOST_ROWS, max(_LEAST_ROWS, _CELLS // d))
    return first_index(parallel_blocks(len(rows), max(16, min(most, -(-len(rows) // threads))), threads, score))
