"""A step of EM of a mixture of products: the twin of count_posterior.hpp, which says why threads may count apart.

Tables of groups are class lanes of their codes, as all others of this backend; its own layout suits no register here.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.class_lanes import part, parts_at_once
from tallydraw._numba.count_features import soft_adder
from tallydraw._numba.elementary import log_scaled_of
from tallydraw._numba.lanes import fill, load_some, store_some
from tallydraw._numba.log_prob_features import row_folder
from tallydraw._numba.parallel import inline, kernel, parallel_blocks, worth
from tallydraw._numba.row_sums import sum_rows
from tallydraw._structure import WIDEST_PART, Structure

# Of products that are made at once: so many that threads rarely wait, between two kernels, for the interpreter.
_TILE_CELLS = 1 << 17
_BEGIN_EXPONENT, _SMALLEST_SUM, _SMALLEST_PRODUCT = 800, 1.0, 2.0**-100
_MOST_HALVINGS = 900  # of a stretch: products of positive numbers stay normal
_FARTHEST = 1000  # halvings below the largest product at which others are nothing
_NOTHING = -(2**62)
_0, _8 = np.uint64(0), np.uint64(8)


@kernel
def _multiply_up(groups, n_codes, sizes, k, theta, offsets, table_offsets, table_cells, table):
    """Tables of groups from the probabilities of features: every row so far times the row of each further code."""
    for g in range(groups.size - 1):
        for c in range(0, k, WIDEST_PART):
            width, n, begin, _ = part(c, k, table_cells[g])
            begin += table_offsets[g]
            for lane in range(width):
                table[begin + lane] = 1.0 if lane < n else 0.0
            words = width
            for j in range(groups[g], groups[g + 1]):
                for z in range(n_codes[j] - 1, -1, -1):
                    for lane in range(n):
                        known = z < sizes[j]
                        factor = theta[offsets[j] + (c + lane) * sizes[j] + z] if known else 1.0
                        for i in range(begin + lane, begin + words, width):
                            table[i + z * words] = table[i] * factor
                words *= n_codes[j]


def _stretches(groups: NDArray[np.int64], halvings: int) -> NDArray[np.int64]:
    """Where stretches of groups begin in which no product can underflow, and where the last one ends."""
    begins, features = [0], 1
    for g, more in enumerate(np.diff(groups).tolist()):
        if g and (features + more) * halvings > _MOST_HALVINGS:
            begins.append(g)
            features = 0
        features += more
    return np.array([*begins, len(groups) - 1])


@kernel
def _drop_smallest(x):
    for i in range(x.size):
        x[i] = x[i] if x[i] > _SMALLEST_PRODUCT else 0.0


@inline
def _multiply_apart(codes, stretches, table, table_offsets, table_cells, first, x, exponent):
    """Products of one row: x[c] 2^e, e being what is returned, the largest exponent of all classes."""
    k = first.size
    most = _NOTHING
    for c in range(k):
        lane = c % WIDEST_PART
        product, exponent[c] = first[c], 0
        for s in range(stretches.size - 1):
            for g in range(stretches[s], stretches[s + 1]):
                width, _, begin, _ = part(c - lane, k, table_cells[g])
                product *= table[table_offsets[g] + begin + codes[g] * width + lane]
            product, step = math.frexp(product)
            exponent[c] += step
        x[c] = product
        if x[c] > 0.0:
            most = max(most, exponent[c])
    for c in range(k):
        below = most - exponent[c]
        x[c] = math.ldexp(x[c], -below) if x[c] > 0.0 and below < _FARTHEST else 0.0
    return most if most > _NOTHING else 0


@inline
def _round_row(x, at, k, factor, grid, out, to):
    """out[to + j] = x[at + j] times a factor, rounded, for j < k."""
    by, shift = fill(8, factor), fill(8, grid)
    for j in range(_0, k, _8):
        n = min(_8, k - j)
        store_some(out, to + j, (load_some(8, x, at + j, n) * by + shift) - shift, n)


@kernel
def _weigh(
    x, n, codes, stretches, table, table_offsets, table_cells, first, has_weights, weights, grid, evidence, totals,
    exponent,
):  # fmt: skip
    """Products x of n rows and all classes become posteriors times weights, rounded; first: what products begin at."""
    k = np.uint64(first.size)
    sum_rows(x, n, k, totals)
    for i in range(n):
        evidence[i] = -_BEGIN_EXPONENT
        if not totals[i] >= _SMALLEST_SUM:
            row = x[i * first.size : (i + 1) * first.size]
            evidence[i] += _multiply_apart(codes[i], stretches, table, table_offsets, table_cells, first, row, exponent)
            sum_rows(row, 1, k, totals[i : i + 1])
    for i in range(n):
        total, weight, at = totals[i], weights[i] if has_weights else 1.0, np.uint64(i) * k
        if total > 0.0:
            _round_row(x, at, k, weight / total, grid, x, at)
        else:
            _round_row(first, _0, k, weight * 2.0**-_BEGIN_EXPONENT, grid, x, at)
    for i in range(n):
        evidence[i] = log_scaled_of(totals[i], np.int64(evidence[i]))


@kernel
def _weigh_shares(x, n, k, has_weights, weights, grid, out):
    for i in range(np.uint64(n)):
        at = i * np.uint64(k)
        _round_row(x, at, np.uint64(k), weights[i] if has_weights else 1.0, grid, out, at)


@kernel
def _sum_out(groups, n_codes, sizes, k, table, table_offsets, table_cells, offsets, mass, counts):
    """Adds the counts of groups to those of their features, all of the first group to `mass`."""
    for g in range(groups.size - 1):
        for c in range(0, k, WIDEST_PART):
            width, n, begin, _ = part(c, k, table_cells[g])
            begin += table_offsets[g]
            words = table_cells[g] * width
            for j in range(groups[g + 1] - 1, groups[g] - 1, -1):
                words //= n_codes[j]
                for z in range(n_codes[j]):
                    if z < sizes[j]:
                        for lane in range(n):
                            total = 0.0
                            for i in range(begin + z * words + lane, begin + (z + 1) * words, width):
                                total += table[i]
                            counts[offsets[j] + (c + lane) * sizes[j] + z] += total
                    if z > 0:
                        for i in range(begin, begin + words):
                            table[i] += table[i + z * words]
            if g == 0:
                for lane in range(n):
                    mass[c + lane] += table[begin + lane]


def _tables_of(structure: Structure, groups: NDArray[np.int64], n_codes: NDArray[np.int64]) -> Structure:
    """Where the tables of groups lie: one feature a group."""
    codes = np.multiply.reduceat(n_codes, groups[:-1])
    return structure._replace(n_categories=codes, n_contexts=np.ones_like(codes))


def _add_shares(
    codes: NDArray[np.uint8],
    structure: Structure,
    groups: NDArray[np.int64],
    n_codes: NDArray[np.int64],
    make: Callable[[int, int, NDArray[np.float64]], None],
    mass: NDArray[np.float64],
    counts: NDArray[np.float64] | None,
    threads: int,
) -> None:
    """Adds the shares of rows: make(a, b, out) writes those of rows a to b - 1."""
    n, k = len(codes), structure.n_classes
    tables = _tables_of(structure, groups, n_codes)
    offsets, cells = tables.lane_offsets(), tables.n_categories
    adders = [(c, soft_adder(w, rest)) for c, w, rest in parts_at_once(k)]
    step = max(1, _TILE_CELLS // k)

    def piece(a: int, b: int, _: int) -> NDArray[np.float64]:
        added = np.zeros(0 if counts is None else int(offsets[-1]))
        shares = np.empty((min(step, b - a), k))
        for p in range(a, b, step):
            q = min(b, p + step)
            make(p, q, shares[: q - p])
            if counts is not None:
                for c, add in adders:
                    add(codes[p:q], 0, codes.shape[1], c, offsets, cells + 1, shares[: q - p], added)
        return added

    threads = worth(threads, n * k)
    for added in parallel_blocks(n, max(1, -(-n // threads)), threads, piece):
        if counts is not None:
            sizes = structure.n_categories
            _sum_out(groups, n_codes, sizes, k, added, offsets, cells, structure.offsets, mass, counts)


def count_posterior(
    codes: NDArray[np.uint8],
    structure: Structure,
    groups: NDArray[np.int64],
    n_codes: NDArray[np.int64],
    theta: NDArray[np.float64],
    prior: NDArray[np.float64],
    halvings: int,
    weights: NDArray[np.float64] | None,
    grid: float,
    evidence: NDArray[np.float64],
    mass: NDArray[np.float64],
    counts: NDArray[np.float64] | None,
    threads: int,
) -> None:
    k, sizes = structure.n_classes, structure.n_categories
    tables = _tables_of(structure, groups, n_codes)
    offsets, cells = tables.lane_offsets(), tables.n_categories
    table = np.empty(offsets[-1])
    _multiply_up(groups, n_codes, sizes, k, theta, structure.offsets, offsets, cells, table)
    stretches = _stretches(groups, halvings)
    first = prior * 2.0**_BEGIN_EXPONENT
    folders = [(c, row_folder(w, rest, operator.mul)) for c, w, rest in parts_at_once(k)]
    some_weights = np.ones(1) if weights is None else weights

    def weigh(a: int, b: int, out: NDArray[np.float64]) -> None:
        for g, h in itertools.pairwise(stretches.tolist()):
            z = np.ascontiguousarray(codes[a:b, g:h])
            for c, multiply in folders:
                multiply(z, g, c, table, offsets, cells + 1, first, out)
            if h < codes.shape[1]:
                _drop_smallest(out.reshape(-1))
        own = some_weights if weights is None else some_weights[a:b]
        _weigh(
            out.reshape(-1), b - a, codes[a:b], stretches, table, offsets, cells, first, weights is not None, own, grid,
            evidence[a:b], np.empty(b - a), np.empty(k, np.int64),
        )  # fmt: skip

    _add_shares(codes, structure, groups, n_codes, weigh, mass, counts, threads)


def count_shares(
    codes: NDArray[np.uint8],
    structure: Structure,
    groups: NDArray[np.int64],
    n_codes: NDArray[np.int64],
    shares: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    grid: float,
    mass: NDArray[np.float64],
    counts: NDArray[np.float64],
    threads: int,
) -> None:
    some_weights = np.ones(1) if weights is None else weights

    def weigh(a: int, b: int, out: NDArray[np.float64]) -> None:
        own = some_weights if weights is None else some_weights[a:b]
        flat, to = np.ascontiguousarray(shares[a:b]).reshape(-1), out.reshape(-1)
        _weigh_shares(flat, b - a, structure.n_classes, weights is not None, own, grid, to)

    _add_shares(codes, structure, groups, n_codes, weigh, mass, counts, threads)
