"""Rows with their missing cells filled in: the twin of complete_features.hpp, which says how each is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.codes import encode
from tallydraw._numba.messages import find_touched, make_messages, products, send_messages
from tallydraw._numba.parallel import inline, kernel, parallel_blocks
from tallydraw._numba.philox import CELLS, counter_tag, one_word
from tallydraw._structure import Structure

_TAG, _LOW_TAG = counter_tag(CELLS, 0), counter_tag(CELLS, 1)
_32, _MOST = np.uint64(32), np.uint64(2**64 - 2)


@inline
def _uniform(key, row, feature):
    high = np.uint64(one_word(key, _TAG, row, feature))
    return min(high << _32 | np.uint64(one_word(key, _LOW_TAG, row, feature)), _MOST)


@inline
def _draw_by_weight(weights, n, u):
    """The first category whose level, made of these weights, is above u; some weight is positive."""
    total = 0.0
    for x in range(n):
        total += weights[x]
    running = 0.0
    for x in range(n):
        running += weights[x]
        if running == total or u < np.uint64(running / total * 18446744073709551616.0):
            return x
    return n - 1


@kernel
def _complete(s, plain_codes, codes, y, probabilities, plain, level, only, maximize, key, start, m, out):
    d = len(s.n_categories)
    total_m, total_e = np.empty(d), np.empty(d, np.int64)
    for r in range(len(codes)):
        if only >= 0 and y[r] != only:
            continue
        x, row = plain_codes[r], out[r]
        for j in range(d):
            row[j] = x[j]
        n_touched = find_touched(s, codes[r], m)
        if n_touched == 0:
            continue
        c = y[r] if len(y) and only < 0 else np.int64(0)
        done = plain  # a variable: constants would compile the pass twice
        if plain:
            done = send_messages(done, maximize, s, x, probabilities, c, m, n_touched, total_m, total_e)
        if not done:
            send_messages(done, maximize, s, x, probabilities, c, m, n_touched, total_m, total_e)
        for i in range(n_touched):
            j = m.touched[i]
            n = s.n_categories[j]
            if x[j] != n:
                continue
            a = np.int64(0)
            for t in range(s.context_begin[j], s.context_begin[j + 1]):
                a = a * s.n_categories[s.context[t]] + np.int64(row[s.context[t]])
            at = s.offsets[j] + (c * s.n_contexts[j] + a) * n
            place = np.int64(-1)
            if m.loud[j]:
                place = m.begin[j] + a * n % (m.begin[j + 1] - m.begin[j])
            chosen = np.int64(0)
            if maximize:
                products(done, probabilities, at, m.below_m, m.below_e, place, n, m.terms)
                for v in range(1, n):
                    if m.terms[v] > m.terms[chosen]:
                        chosen = v
            else:
                u = _uniform(key, start + np.uint64(r), np.uint64(j))
                if m.loud[j]:
                    products(done, probabilities, at, m.below_m, m.below_e, place, n, m.terms)
                    chosen = _draw_by_weight(m.terms, n, u)
                else:
                    while u >= level[at + chosen]:
                        chosen += 1
            row[j] = chosen


def complete_features(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    probabilities: NDArray[np.float64],
    plain: bool,
    level: NDArray[np.uint64],
    only: int,
    maximize: bool,
    key: int,
    start: int,
    out: NDArray[Any],
    threads: int,
) -> None:
    classes = np.empty(0, np.int64) if y is None else y

    def complete(a: int, b: int, piece: int) -> None:
        encoded = encode(X[a:b], missing, unseen_is_missing, structure)
        _complete(
            structure, encoded.plain, encoded.codes, classes[a:b], probabilities, plain, level, only, maximize,
            np.uint64(key), np.uint64((start + a) % 2**64), make_messages(structure), out[a:b],
        )  # fmt: skip

    parallel_blocks(len(X), max(16, min(4096, -(-len(X) // threads))), threads, complete)
