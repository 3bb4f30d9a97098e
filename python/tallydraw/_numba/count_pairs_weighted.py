"""Contingency tables of all pairs of features with weights: the twin of count_pairs_weighted.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.codes import encode
from tallydraw._numba.pair_codes import pair_of
from tallydraw._numba.parallel import kernel, parallel_blocks
from tallydraw._structure import Structure

# Rows of a chunk; features of a tile, each against a tile of others; cells of their private sums, at most.
_ROWS, _BLOCK, _TILE, _CELLS = 2048, 8, 64, 1 << 16
# Up to so many categories the cells that add zero cost less than one scattered addition.
_FEW = 12


@kernel
def _add_marginals(plain, y, has_y, weights, n_categories, offsets, f0, f1, marginals):
    for j in range(f0, f1):
        c = n_categories[j]
        for r in range(plain.shape[0]):
            a = np.int64(plain[r, j])
            if a < c:
                for w in range(weights.shape[1]):
                    k = y[r] if has_y else w
                    marginals[offsets[j] + k * c + a] += weights[r, w]


@kernel
def _move(sums, inward, first, last, j0, j1, blocks, begin, n_categories, pair_offsets, counts):
    """The cells of pairs i < j between `counts` and private sums."""
    d = len(n_categories)
    for k in range(blocks):
        for i in range(first, last):
            for j in range(max(i + 1, j0), j1):
                ci, cj = n_categories[i], n_categories[j]
                at = pair_offsets[pair_of(i, j, d)] + (begin + k) * ci * cj
                for a in range(ci):
                    for b in range(cj):
                        if inward:
                            sums[k, i - first, a, b, j - j0] = counts[at + a * cj + b]
                        else:
                            counts[at + a * cj + b] = sums[k, i - first, a, b, j - j0]


@kernel
def _add_side_by_side(plain, y, has_y, weights, w, first, last, j0, j1, n_categories, sums):
    """Adds to all cells of a row of features a weight or zero, which changes nothing."""
    most_b = sums.shape[3]
    met = np.zeros((most_b, _TILE))
    for r in range(plain.shape[0]):
        weight = weights[r, w]
        for b in range(most_b):
            for j in range(j0, j1):
                met[b, j - j0] = weight if plain[r, j] == b else 0.0
        k = y[r] if has_y else 0
        for i in range(first, last):
            a = np.int64(plain[r, i])
            if a < n_categories[i]:
                own = sums[k, i - first, a]
                for b in range(most_b):
                    for j in range(_TILE):
                        own[b, j] += met[b, j]


@kernel
def _add_scattered(plain, y, has_y, weights, first, last, j0, j1, n_categories, pair_offsets, counts):
    """Features first to last - 1 against j0 to j1 - 1, cell by cell."""
    d = len(n_categories)
    for i in range(first, last):
        ci = n_categories[i]
        for r in range(plain.shape[0]):
            a = np.int64(plain[r, i])
            if a >= ci:
                continue
            for j in range(max(i + 1, j0), j1):
                cj = n_categories[j]
                b = np.int64(plain[r, j])
                if b < cj:
                    at = pair_offsets[pair_of(i, j, d)] + a * cj + b
                    for w in range(weights.shape[1]):
                        k = y[r] if has_y else w
                        counts[at + k * ci * cj] += weights[r, w]


def count_pairs_weighted(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    pair_offsets: NDArray[np.int64],
    weights: NDArray[np.float64],
    marginals: NDArray[np.float64],
    counts: NDArray[np.float64],
    threads: int,
) -> int:
    s = structure
    n, d = len(X), s.n_features
    c, has_y = s.n_categories, y is not None
    tiles, blocks = -(-d // _TILE), -(-d // _BLOCK)
    for begin in range(0, n, _ROWS):
        part = encode(X[begin : begin + _ROWS], missing, unseen_is_missing, s)
        if part.bad >= 0:
            return begin * d + part.bad
        plain, w = part.plain, weights[begin : begin + _ROWS]
        classes = c if y is None else y[begin : begin + _ROWS]
        rows = (plain, classes, has_y, w)

        def single(a: int, b: int, _: int) -> None:
            _add_marginals(*rows, c, s.offsets, a, b, marginals)  # noqa: B023 - called at once

        def pairs(task: int, _: int, __: int) -> None:
            first, j0 = task // tiles * _BLOCK, task % tiles * _TILE
            last, j1 = min(d, first + _BLOCK), min(d, j0 + _TILE)
            if j1 <= first + 1:
                return
            shape = (s.n_classes if has_y else 1, last - first, int(c[first:last].max()), int(c[j0:j1].max()), _TILE)
            if j1 - j0 < 16 or shape[3] > _FEW or np.prod(shape) > _CELLS:
                _add_scattered(*rows, first, last, j0, j1, c, pair_offsets, counts)  # noqa: B023
                return
            for k in range(w.shape[1]):  # noqa: B023
                sums = np.zeros(shape)
                _move(sums, True, first, last, j0, j1, shape[0], k, c, pair_offsets, counts)
                _add_side_by_side(*rows, k, first, last, j0, j1, c, sums)  # noqa: B023
                _move(sums, False, first, last, j0, j1, shape[0], k, c, pair_offsets, counts)

        parallel_blocks(d, -(-d // threads), threads, single)
        parallel_blocks(blocks * tiles, 1, threads, pairs)
    return -1
