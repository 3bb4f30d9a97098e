"""p(x_j | what is seen of the row): the twin of marginals_features.hpp, which says what is added."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.beliefs import pass_both_ways
from tallydraw._numba.codes import encode
from tallydraw._numba.messages import find_touched, make_messages
from tallydraw._numba.parallel import kernel, parallel_blocks
from tallydraw._structure import Structure


@kernel
def _marginals(s, plain_codes, codes, probabilities, plain, weights, place, m, most, row0, n_rows, out):
    d = len(s.n_categories)
    total_m, total_e = np.empty(d), np.empty(d, np.int64)
    beliefs = np.empty(len(m.below_m))
    feature, code, belief = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most)
    for r in range(len(codes)):
        x = plain_codes[r]
        for j in range(d):
            n = s.n_categories[j]
            begin = place[j] * n_rows + (row0 + r) * n
            out[begin : begin + n] = 0.0
            if x[j] != n:
                out[begin + np.int64(x[j])] = 1.0
        n_touched = find_touched(s, codes[r], m)
        if n_touched == 0:
            continue
        for c in range(weights.shape[1]):
            weight = weights[r, c]
            if weight == 0.0:
                continue
            told = pass_both_ways(
                plain, s, x, probabilities, c, m, n_touched, total_m, total_e, beliefs, feature, code, belief
            )
            for t in range(told):
                j = feature[t]
                n = s.n_categories[j]
                if x[j] == n:
                    out[place[j] * n_rows + (row0 + r) * n + code[t] % n] += weight * belief[t]


def marginals_features(
    X: NDArray[Any],
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    probabilities: NDArray[np.float64],
    plain: bool,
    weights: NDArray[np.float64],
    out: NDArray[np.float64],
    threads: int,
) -> None:
    place = np.cumsum(structure.n_categories) - structure.n_categories
    most = int((structure.n_contexts * structure.n_categories).sum())

    def spread(a: int, b: int, piece: int) -> None:
        encoded = encode(X[a:b], missing, unseen_is_missing, structure)
        _marginals(
            structure, encoded.plain, encoded.codes, probabilities, plain, weights[a:b], place,
            make_messages(structure), most, a, len(X), out,
        )  # fmt: skip

    parallel_blocks(len(X), max(16, min(4096, -(-len(X) // threads))), threads, spread)
