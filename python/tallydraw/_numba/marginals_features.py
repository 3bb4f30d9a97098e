"""p(x_j | what is seen of the row): the twin of marginals_features.hpp, which says what is added."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.beliefs import pass_both_ways
from tallydraw._numba.codes import encode
from tallydraw._numba.lanes import fill, load, select, store, truth
from tallydraw._numba.messages import find_touched, make_messages
from tallydraw._numba.messages_by_strip import (
    ROWS,
    are_many,
    context_may_be,
    make_row_messages,
    see_rows,
    send_rows,
    spread_rows,
)
from tallydraw._numba.parallel import allocating_kernel, inline, parallel_blocks
from tallydraw._structure import Structure

_0, _1, _ROWS = np.uint64(0), np.uint64(1), np.uint64(ROWS)


@inline
def _tell_row(s, codes, x, probabilities, plain, weights, r, place, m, scratch, row, n_rows, out):
    """One row, after the others."""
    total_m, total_e, beliefs, feature, code, belief = scratch
    for j in range(len(s.n_categories)):
        n = s.n_categories[j]
        begin = place[j] * n_rows + row * n
        out[begin : begin + n] = 0.0
        if x[j] != n:
            out[begin + np.int64(x[j])] = 1.0
    n_touched = find_touched(s, codes, m)
    for c in range(weights.shape[1]):
        weight = weights[r, c]
        if weight == 0.0 or n_touched == 0:
            continue
        told = pass_both_ways(
            plain, s, x, probabilities, c, m, n_touched, total_m, total_e, beliefs, feature, code, belief
        )
        for i in range(told):
            j = feature[i]
            n = s.n_categories[j]
            if x[j] == n:
                out[place[j] * n_rows + row * n + code[i] % n] += weight * belief[i]


@inline
def _tell_rows(s, t, probabilities, weights, first, n, place, by, sums, row, n_rows, out):
    """n rows at once. Those for which plain numbers do not suffice, whose marginals are not right."""
    outside, none, one = _0, fill(16, 0.0), fill(16, 1.0)
    for i in range(len(sums)):
        sums[i] = 0.0
    for c in range(weights.shape[1]):
        some = False
        for i in range(ROWS):
            by[i] = weights[first + i, c] if i < n else 0.0
            some |= by[i] != 0.0
        if not some:
            continue
        outside |= send_rows(s, t, probabilities, c)
        weight = load(16, by, _0)
        for i in range(len(s.order)):
            j = s.order[i]
            gone, categories = t.gone[j], np.uint64(s.n_categories[j])
            if gone == _0:
                continue
            spread_rows(s, t, probabilities, c, j, gone)
            to = np.uint64(place[j]) * _ROWS
            for a in range(np.uint64(s.n_contexts[j])):
                if context_may_be(t, j, a, gone) != _0:
                    for v in range(categories):
                        term = load(16, t.beliefs, (a * categories + v) * _ROWS) * weight
                        store(sums, to + v * _ROWS, load(16, sums, to + v * _ROWS) + term)
    for j in range(len(s.n_categories)):
        c, gone = s.n_categories[j], truth(16, t.gone[j])
        for v in range(c):
            at = np.uint64(place[j] + v) * _ROWS
            seen = select(truth(16, t.seen[j * t.most + v]), one, none)
            store(sums, at, select(gone, load(16, sums, at), seen))
        begin = place[j] * n_rows + row * c
        for i in range(n):
            for v in range(c):
                out[begin + i * c + v] = sums[(place[j] + v) * ROWS + i]
    return outside


@allocating_kernel
def _marginals(s, plain_codes, codes, probabilities, plain, weights, place, m, t, most, row0, n_rows, out):
    d, n_lines = len(s.n_categories), place[-1] + s.n_categories[-1]
    scratch = (
        np.empty(d), np.empty(d, np.int64), np.empty(len(m.below_m)),
        np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most),
    )  # fmt: skip
    by, sums, rows = np.empty(ROWS), np.empty(n_lines * ROWS), np.arange(len(codes))
    for first in range(0, len(codes), ROWS):
        n = min(ROWS, len(codes) - first)
        alone = ~_0
        if t.useful:
            see_rows(s, t, plain_codes, rows[first : first + n], n)
            if are_many(s, t):
                alone = _tell_rows(
                    s, t, probabilities, weights, first, n, place, by, sums, row0 + first, n_rows, out
                )  # fmt: skip
        for i in range(n):
            if alone >> np.uint64(i) & _1:
                r = first + i
                _tell_row(
                    s, codes[r], plain_codes[r], probabilities, plain, weights, r, place, m, scratch, row0 + r, n_rows,
                    out,
                )  # fmt: skip


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
        encoded, m = encode(X[a:b], missing, unseen_is_missing, structure), make_messages(structure)
        t = make_row_messages(structure, m, encoded.plain, plain)
        _marginals(
            structure, encoded.plain, encoded.codes, probabilities, plain, weights[a:b], place, m, t, most, a, len(X),
            out,
        )  # fmt: skip

    parallel_blocks(len(X), max(16, min(4096, -(-len(X) // threads))), threads, spread)
