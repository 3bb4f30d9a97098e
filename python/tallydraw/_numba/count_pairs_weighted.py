"""Contingency tables of all pairs of features with weights: the twin of count_pairs_weighted.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.lanes import load, store
from tallydraw._numba.pair_codes import encode_pairs, pair_of
from tallydraw._numba.parallel import inline, kernel, parallel_blocks
from tallydraw._structure import Structure

# Bytes of a chunk of rows; features of a task, each against a tile of others; cells of its private sums, at most.
_BYTES, _BLOCK, _TILE, _CELLS = 1 << 19, 8, 64, 1 << 16
# Up to so many categories the cells that add zero cost less than one scattered addition.
_FEW = 12
# Columns of weights that are added at once, at least; cells of the sums that they are added to: half of L1.
_LEAST_COLUMNS, _COLUMN_CELLS = 4, 1 << 11
_0, _8 = np.uint64(0), np.uint64(8)


def _width_of(n_columns):
    """Columns that a row of weights is given: a multiple of eight where so many are added at once."""
    return (n_columns + 7) // 8 * 8 if n_columns >= _LEAST_COLUMNS else n_columns


_width = inline(_width_of)


@inline
def _most(n_categories, first, last):
    most = np.int64(1)
    for j in range(first, last):
        most = max(most, n_categories[j])
    return most


@inline
def _add_lanes(x, at, n, out, to):
    """out[to + i] += x[at + i] for i < n, a multiple of eight."""
    for i in range(_0, n, _8):
        store(out, to + i, load(8, out, to + i) + load(8, x, at + i))


@inline
def _add_marginals(codes, d, y, has_y, weights, n_columns, n_categories, offsets, f0, f1, marginals):
    """The counts of features f0 to f1 - 1."""
    width = _width(n_columns)
    n, step = codes.size // d, np.uint64(width)
    for j in range(f0, f1):
        c = n_categories[j]
        if n_columns < _LEAST_COLUMNS:
            for r in range(n):
                a = np.int64(codes[r * d + j])
                if a < c:
                    for w in range(n_columns):
                        k = y[r] if has_y else w
                        marginals[offsets[j] + k * c + a] += weights[r * width + w]
            continue
        sums = np.zeros(c * width)
        for w in range(n_columns):
            for a in range(c):
                sums[a * width + w] = marginals[offsets[j] + w * c + a]
        for r in range(n):
            a = np.int64(codes[r * d + j])
            if a < c:
                _add_lanes(weights, np.uint64(r) * step, step, sums, np.uint64(a) * step)
        for w in range(n_columns):
            for a in range(c):
                marginals[offsets[j] + w * c + a] = sums[a * width + w]


@inline
def _move_rows(sums, inward, first, last, j0, j1, side, most_a, most_b, blocks, w, n_categories, pair_offsets, counts):
    """The cells of pairs i < j between `counts`, from block w on, and private sums: features j innermost."""
    d = len(n_categories)
    for i in range(first, last):
        for j in range(max(i + 1, j0), j1):
            ci, cj = n_categories[i], n_categories[j]
            pair = pair_offsets[pair_of(i, j, d)]
            for k in range(blocks):
                for a in range(ci):
                    for b in range(cj):
                        own = (((k * (last - first) + i - first) * most_a + a) * most_b + b) * side + j - j0
                        cell = pair + ((w + k) * ci + a) * cj + b
                        if inward:
                            sums[own] = counts[cell]
                        else:
                            counts[cell] = sums[own]


@inline
def _move_columns(sums, inward, first, last, j0, j1, most_a, most_b, n_columns, n_categories, pair_offsets, counts):
    """The same where columns of weights are innermost."""
    d, width = len(n_categories), _width(n_columns)
    for i in range(first, last):
        for j in range(max(i + 1, j0), j1):
            ci, cj = n_categories[i], n_categories[j]
            pair = pair_offsets[pair_of(i, j, d)]
            for a in range(ci):
                for b in range(cj):
                    own = ((((i - first) * (j1 - j0) + j - j0) * most_a + a) * most_b + b) * width
                    for w in range(n_columns):
                        cell = pair + (w * ci + a) * cj + b
                        if inward:
                            sums[own + w] = counts[cell]
                        else:
                            counts[cell] = sums[own + w]


@inline
def _add_rows(
    codes, d, y, has_y, weights, width, w, first, last, j0, j1, side, most_a, most_b, n_categories, met, sums
):
    """Adds to all cells of a row of features a weight or zero, which changes nothing."""
    block = np.uint64(most_b * side)
    for r in range(codes.size // d):
        weight, at = weights[r * width + w], np.uint64(r * d + j0)
        for b in range(most_b):
            to, code = np.uint64(b * side), codes.dtype.type(b)
            for j in range(np.uint64(j1 - j0)):
                met[to + j] = weight if codes[at + j] == code else 0.0
        own = y[r] * (last - first) if has_y else 0
        for i in range(first, last):
            a = np.int64(codes[r * d + i])
            if a < n_categories[i]:
                _add_lanes(met, _0, block, sums, np.uint64((own + i - first) * most_a + a) * block)


@inline
def _add_columns(codes, d, weights, width, first, last, j0, j1, most_a, most_b, n_categories, sums):
    """Adds a row's weights to the cell that it has of each pair."""
    size = np.uint64(width)
    for r in range(codes.size // d):
        row, weight = np.uint64(r * d), np.uint64(r * width)
        for i in range(first, last):
            a = np.int64(codes[row + np.uint64(i)])
            if a >= n_categories[i]:
                continue
            for j in range(max(i + 1, j0), j1):
                b = np.int64(codes[row + np.uint64(j)])
                if b < n_categories[j]:
                    own = (((i - first) * (j1 - j0) + j - j0) * most_a + a) * most_b + b
                    _add_lanes(weights, weight, size, sums, np.uint64(own) * size)


@inline
def _add_scattered(codes, d, y, has_y, weights, n_columns, first, last, j0, j1, n_categories, pair_offsets, counts):
    """Features first to last - 1 against j0 to j1 - 1, cell by cell."""
    width = _width(n_columns)
    for i in range(first, last):
        ci = n_categories[i]
        for r in range(codes.size // d):
            a = np.int64(codes[r * d + i])
            if a >= ci:
                continue
            for j in range(max(i + 1, j0), j1):
                cj = n_categories[j]
                b = np.int64(codes[r * d + j])
                if b < cj:
                    at = pair_offsets[pair_of(i, j, d)] + a * cj + b
                    for w in range(n_columns):
                        k = y[r] if has_y else w
                        counts[at + k * ci * cj] += weights[r * width + w]


@kernel
def _add_tasks(
    codes, d, y, has_y, weights, n_columns, n_classes, n_categories, offsets, pair_offsets, t0, t1, marginals, counts
):  # fmt: skip
    """Tasks t0 to t1 - 1: of a block of features against a tile of others, and their own counts."""
    tiles, width = -(-d // _TILE), _width(n_columns)
    met, sums = np.zeros(_FEW * _TILE), np.zeros(_CELLS)
    for task in range(t0, t1):
        first = task // tiles * _BLOCK
        last = min(d, first + _BLOCK)
        j0, j1 = max(first, task % tiles * _TILE), min(d, task % tiles * _TILE + _TILE)
        if task % tiles == first // _TILE:
            _add_marginals(codes, d, y, has_y, weights, n_columns, n_categories, offsets, first, last, marginals)
        if j1 <= first + 1:
            continue
        most_a, most_b = _most(n_categories, first, last), _most(n_categories, j0, j1)
        small = max(most_a, most_b, n_columns) <= _CELLS  # to multiply
        cells = (last - first) * most_a * most_b if small else _CELLS
        if n_columns >= _LEAST_COLUMNS and small and cells * width <= _CELLS:
            some = max(1, _COLUMN_CELLS // (cells * width))
            for j in range(j0, j1, some):
                end = min(j1, j + some)
                move = (first, last, j, end, most_a, most_b, n_columns, n_categories, pair_offsets, counts)
                _move_columns(sums, True, *move)
                _add_columns(codes, d, weights, width, first, last, j, end, most_a, most_b, n_categories, sums)
                _move_columns(sums, False, *move)
            continue
        side, blocks = (j1 - j0 + 7) // 8 * 8, n_classes if has_y else 1
        if most_b > _FEW or blocks * cells * side > _CELLS:
            _add_scattered(
                codes, d, y, has_y, weights, n_columns, first, last, j0, j1, n_categories, pair_offsets, counts
            )  # fmt: skip
            continue
        for z in range(len(met)):
            met[z] = 0.0
        for w in range(n_columns):
            moved = (first, last, j0, j1, side, most_a, most_b, blocks, w, n_categories, pair_offsets, counts)
            shape = (first, last, j0, j1, side, most_a, most_b, n_categories)
            _move_rows(sums, True, *moved)
            _add_rows(codes, d, y, has_y, weights, width, w, *shape, met, sums)
            _move_rows(sums, False, *moved)


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
    n, d, columns = len(X), s.n_features, weights.shape[1]
    c, has_y = s.n_categories, y is not None
    tasks = -(-d // _TILE) * -(-d // _BLOCK)
    grain = -(-tasks // (4 * threads)) if threads > 1 else tasks
    width = _width_of(columns)
    chunk = max(1024, _BYTES // (8 * width + d))
    padded = np.zeros((chunk, width))
    for begin in range(0, n, chunk):
        codes, _, bad = encode_pairs(X[begin : begin + chunk], missing, unseen_is_missing, s, 1)
        if bad >= 0:
            return begin * d + bad
        padded[: len(codes), :columns] = weights[begin : begin + chunk]
        classes = c if y is None else y[begin : begin + chunk]
        rows = (codes.reshape(-1), d, classes, has_y, padded.reshape(-1), columns, s.n_classes)

        def tables(a: int, b: int, _: int) -> None:
            _add_tasks(*rows, c, s.offsets, pair_offsets, a, b, marginals, counts)  # noqa: B023 - called at once

        parallel_blocks(tasks, grain, threads, tables)
    return -1
