"""Mutual information of all pairs of features: the twin of pair_information.hpp, one pair after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.elementary import divergence_term, log_probability_of
from tallydraw._numba.pair_codes import pair_of
from tallydraw._numba.parallel import kernel, parallel_blocks
from tallydraw._structure import Structure


@kernel
def _inform(counts, pair_offsets, n_categories, k, pseudocounts, i, information, wants_seen, seen):
    """The pairs of feature i with features j > i."""
    d, ci = len(n_categories), n_categories[i]
    most = np.int64(1)
    for j in range(i + 1, d):
        most = max(most, n_categories[j])
    p, a, b = np.empty((k, ci, most)), np.empty((k, ci)), np.empty((k, most))
    log_a, log_b = np.empty((k, ci)), np.empty((k, most))
    for j in range(i + 1, d):
        cj = n_categories[j]
        pair = pair_of(i, j, d)
        at, more = pair_offsets[pair], min(pseudocounts[i], pseudocounts[j])
        plain = total = 0.0
        for cell in range(k * ci * cj):
            x = np.float64(counts[at + cell])
            plain += x
            total += x + more
        if wants_seen:
            seen[pair] = plain
        if not plain > 0.0:
            information[pair] = -np.inf
            continue
        a[:], b[:] = 0.0, 0.0
        for y in range(k):
            for u in range(ci):
                for v in range(cj):
                    share = (np.float64(counts[at]) + more) / total
                    at += 1
                    p[y, u, v] = share
                    a[y, u] += share
                    b[y, v] += share
        for y in range(k):
            for u in range(ci):
                log_a[y, u] = log_probability_of(a[y, u])
            for v in range(cj):
                log_b[y, v] = log_probability_of(b[y, v])
        shared = 0.0
        for y in range(k):
            of_class = 0.0
            for u in range(ci):
                of_class += a[y, u]
            given = k > 1 and of_class > 0.0
            log_class = log_probability_of(of_class) if given else 0.0
            for u in range(ci):
                for v in range(cj):
                    q, log_q = a[y, u] * b[y, v], log_a[y, u] + log_b[y, v]
                    if given:
                        q, log_q = q / of_class, log_q - log_class
                    shared += divergence_term(p[y, u, v], q, log_q)
        information[pair] = shared


def pair_information(
    structure: Structure,
    pair_offsets: NDArray[np.int64],
    counts: NDArray[Any],
    by_size: NDArray[np.int64],
    pseudocounts: NDArray[np.float64],
    first: int,
    last: int,
    information: NDArray[np.float64],
    seen: NDArray[np.float64] | None,
    threads: int,
) -> None:
    before = (counts, pair_offsets, structure.n_categories, structure.n_classes, pseudocounts)
    after = (information, seen is not None, information if seen is None else seen)
    parallel_blocks(last - first, 1, threads, lambda i, _, __: _inform(*before, first + i, *after))
