"""Missing cells summed out, or at their most probable values: the twin of log_prob_messages.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.codes import encode
from tallydraw._numba.elementary import log_scaled_of
from tallydraw._numba.log_prob_tree import make_tree, score_tree
from tallydraw._numba.messages import find_touched, known_context, make_messages, send_messages
from tallydraw._numba.parallel import first_index, kernel, parallel_blocks
from tallydraw._structure import Structure, make_structure
from tallydraw._totals import Totals


@kernel
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
    alone = structure if tree is None else make_structure(structure.n_categories)

    def score(a: int, b: int, piece: int) -> int:
        some = rows[a:b]
        together = int(some[-1]) - int(some[0]) == len(some) - 1
        x = X[some[0] : some[-1] + 1] if together else X[some]
        encoded = encode(x, missing, unseen_is_missing, alone)
        bad = encoded.bad
        if tree is not None:
            left = score_tree(structure, tree, encoded.plain, some, plain, cells, first, out)
            some, x = some[left], x[left]
            if len(left):
                encoded = encode(x, missing, unseen_is_missing, structure)
        if len(some):
            _score(
                structure, encoded.plain, encoded.codes, some, probabilities, plain, logs, log_offsets, first, maximize,
                make_messages(structure), out,
            )  # fmt: skip
        i, j = divmod(bad, structure.n_features)
        return -1 if bad < 0 else int(rows[a + i]) * structure.n_features + j

    return first_index(parallel_blocks(len(rows), max(16, min(4096, -(-len(rows) // threads))), threads, score))
