"""Expected counts, the E-step of EM: the twin of count_expected.hpp, which says in which order they are added."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.beliefs import pass_both_ways
from tallydraw._numba.codes import encode
from tallydraw._numba.lanes import load, store
from tallydraw._numba.messages import find_touched, make_messages
from tallydraw._numba.parallel import inline, kernel, parallel_blocks
from tallydraw._structure import Structure

_8 = np.uint64(8)


@inline
def _add_weights(weights, at, k, sums, to):
    """sums[to + c] += weights[at + c] of all classes."""
    c = np.uint64(0)
    while c + _8 <= k:
        store(sums, to + c, load(8, sums, to + c) + load(8, weights, at + c))
        c += _8
    while c < k:
        sums[to + c] += weights[at + c]
        c += np.uint64(1)


@kernel
def _expect(s, plain_codes, codes, probabilities, plain, weights, k, m, most, sums):
    """`sums` have classes innermost."""
    d = len(s.n_categories)
    total_m, total_e = np.empty(d), np.empty(d, np.int64)
    beliefs = np.empty(len(m.below_m))
    feature, code, belief = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most)
    for r in range(len(codes)):
        for j in range(d):
            z = np.int64(codes[r, j])
            if z < s.n_contexts[j] * s.n_categories[j]:
                _add_weights(weights, np.uint64(r * k), np.uint64(k), sums, np.uint64(s.offsets[j] + z * k))
        n_touched = find_touched(s, codes[r], m)
        if n_touched == 0:
            continue
        for c in range(k):
            weight = weights[r * k + c]
            if weight == 0.0:
                continue
            told = pass_both_ways(
                plain, s, plain_codes[r], probabilities, c, m, n_touched, total_m, total_e, beliefs, feature, code,
                belief,
            )  # fmt: skip
            for t in range(told):
                sums[s.offsets[feature[t]] + code[t] * k + c] += weight * belief[t]


@kernel
def _collect(s, k, sums, counts):
    """Adds sums to counts, laid out as the tables."""
    for j in range(len(s.n_categories)):
        cells = s.n_contexts[j] * s.n_categories[j]
        for c in range(k):
            for z in range(cells):
                counts[s.offsets[j] + c * cells + z] += sums[s.offsets[j] + z * k + c]


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
    most, k = int((structure.n_contexts * structure.n_categories).sum()), structure.n_classes

    def expect(a: int, b: int, piece: int) -> NDArray[np.float64]:
        sums = np.zeros(len(counts))
        encoded = encode(X[a:b], missing, unseen_is_missing, structure)
        _expect(
            structure, encoded.plain, encoded.codes, probabilities, plain, weights[a:b].reshape(-1), k,
            make_messages(structure), most, sums,
        )  # fmt: skip
        return sums

    for sums in parallel_blocks(len(X), block_rows, threads, expect):
        _collect(structure, k, sums, counts)
