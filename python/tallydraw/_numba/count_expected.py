"""Expected counts, the E-step of EM: the twin of count_expected.hpp, which says in which order they are added."""

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
def _expect(s, plain_codes, codes, probabilities, plain, weights, m, most, sums):
    d, k = len(s.n_categories), weights.shape[1]
    total_m, total_e = np.empty(d), np.empty(d, np.int64)
    beliefs = np.empty(len(m.below_m))
    feature, code, belief = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most)
    for r in range(len(codes)):
        for j in range(d):
            cells = s.n_contexts[j] * s.n_categories[j]
            z = np.int64(codes[r, j])
            if z < cells:
                for c in range(k):
                    sums[s.offsets[j] + c * cells + z] += weights[r, c]
        n_touched = find_touched(s, codes[r], m)
        if n_touched == 0:
            continue
        for c in range(k):
            weight = weights[r, c]
            if weight == 0.0:
                continue
            told = pass_both_ways(
                plain, s, plain_codes[r], probabilities, c, m, n_touched, total_m, total_e, beliefs, feature, code,
                belief,
            )  # fmt: skip
            for t in range(told):
                j = feature[t]
                sums[s.offsets[j] + c * s.n_contexts[j] * s.n_categories[j] + code[t]] += weight * belief[t]


def count_expected(
    X: NDArray[Any],
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    probabilities: NDArray[np.float64],
    plain: bool,
    weights: NDArray[np.float64],
    block_rows: int,
    counts: NDArray[np.float64],
    threads: int,
) -> None:
    most = int((structure.n_contexts * structure.n_categories).sum())

    def expect(a: int, b: int, piece: int) -> NDArray[np.float64]:
        sums = np.zeros(len(counts))
        encoded = encode(X[a:b], missing, unseen_is_missing, structure)
        _expect(
            structure, encoded.plain, encoded.codes, probabilities, plain, weights[a:b], make_messages(structure), most,
            sums,
        )  # fmt: skip
        return sums

    for sums in parallel_blocks(len(X), block_rows, threads, expect):
        counts += sums
