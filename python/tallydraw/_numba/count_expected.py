"""Expected counts, the E-step of EM: the twin of count_expected.hpp, which says in which order they are added."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.beliefs import pass_both_ways
from tallydraw._numba.codes import encode
from tallydraw._numba.lanes import load, store
from tallydraw._numba.messages import find_touched, make_messages
from tallydraw._numba.messages_by_strip import ROWS, are_many, make_row_messages, see_rows, send_rows, spread_rows
from tallydraw._numba.parallel import allocating_kernel, inline, kernel, parallel_blocks
from tallydraw._structure import Structure

_0, _1, _8 = np.uint64(0), np.uint64(1), np.uint64(8)


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


@inline
def _expect_row(s, x, codes, probabilities, plain, weights, r, k, c0, c1, m, scratch, sums):
    """One row under classes [c0, c1)."""
    total_m, total_e, beliefs, feature, code, belief = scratch
    for j in range(len(s.n_categories)):
        z = np.int64(codes[j])
        if z < s.n_contexts[j] * s.n_categories[j]:
            to, n = s.offsets[j] + z * k + c0, c1 - c0
            _add_weights(weights, np.uint64(r * k + c0), np.uint64(n), sums, np.uint64(to))
    n_touched = find_touched(s, codes, m)
    for c in range(c0, c1):
        weight = weights[r * k + c]
        if weight == 0.0 or n_touched == 0:
            continue
        told = pass_both_ways(
            plain, s, x, probabilities, c, m, n_touched, total_m, total_e, beliefs, feature, code, belief
        )
        for i in range(told):
            sums[s.offsets[feature[i]] + code[i] * k + c] += weight * belief[i]


@inline
def _expect_rows(s, t, probabilities, weights, rows, n, k, c, sums):
    """n rows at once, which have some weight under a class; False, and nothing done, where plain numbers do not suffice
    for one of them.
    """
    if send_rows(s, t, probabilities, c) & ((_1 << np.uint64(n)) - _1) != _0:
        return False
    for i in range(len(s.order)):
        j = s.order[i]
        categories, parent, cells = s.n_categories[j], t.parent[j], s.offsets[j] + c
        under = _0 if parent < 0 else t.gone[parent]
        gone = t.gone[j]
        if gone | under != _0:
            spread_rows(s, t, probabilities, c, j, gone | under)
        for lane in range(n):  # rows in their order
            weight, bit = weights[rows[lane] * k + c], _1 << np.uint64(lane)
            a0, a1 = np.int64(0), np.int64(1)
            if under & bit != _0:
                a1 = s.n_contexts[j]
            elif parent >= 0:
                a0 = np.int64(t.x[parent * ROWS + lane])
                a1 = a0 + 1
            v0, v1 = np.int64(0), categories
            if gone & bit == _0:
                v0 = np.int64(t.x[j * ROWS + lane])
                v1 = v0 + 1
            if (gone | under) & bit == _0:
                sums[cells + (a0 * categories + v0) * k] += weight
                continue
            for a in range(a0, a1):
                for v in range(v0, v1):
                    z = a * categories + v
                    sums[cells + z * k] += weight * t.beliefs[z * ROWS + lane]
    return True


@allocating_kernel
def _expect(s, plain_codes, codes, probabilities, plain, weights, k, m, t, most, sums):
    """`sums` have classes innermost."""
    d = len(s.n_categories)
    scratch = (
        np.empty(d), np.empty(d, np.int64), np.empty(len(m.below_m)),
        np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most),
    )  # fmt: skip
    rows = np.empty(ROWS, np.int64)
    if not t.useful:
        for r in range(len(codes)):
            _expect_row(s, plain_codes[r], codes[r], probabilities, plain, weights, r, k, 0, k, m, scratch, sums)
        return
    for c in range(k):  # the cells of a class are its own
        n = 0
        for r in range(len(codes)):
            if weights[r * k + c] != 0.0:
                rows[n] = r
                n += 1
            if n < ROWS and r + 1 < len(codes):
                continue
            see_rows(s, t, plain_codes, rows, n)
            if not are_many(s, t) or not _expect_rows(s, t, probabilities, weights, rows, n, k, c, sums):
                for i in range(n):
                    x, z = plain_codes[rows[i]], codes[rows[i]]
                    _expect_row(s, x, z, probabilities, plain, weights, rows[i], k, c, c + 1, m, scratch, sums)
            n = 0


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
        encoded, m = encode(X[a:b], missing, unseen_is_missing, structure), make_messages(structure)
        t = make_row_messages(structure, m, encoded.plain, plain)
        _expect(
            structure, encoded.plain, encoded.codes, probabilities, plain, weights[a:b].reshape(-1), k, m, t, most,
            sums,
        )  # fmt: skip
        return sums

    for sums in parallel_blocks(len(X), block_rows, threads, expect):
        _collect(structure, k, sums, counts)
