"""A step of EM of a mixture of products: the twin of count_posterior.hpp, which says why threads may count apart."""

from __future__ import annotations

import itertools
import math
import operator

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.class_lanes import part_width, parts_at_once
from tallydraw._numba.count_features import soft_adder
from tallydraw._numba.elementary import log_scaled_of
from tallydraw._numba.log_prob_features import row_folder
from tallydraw._numba.parallel import inline, kernel, parallel_blocks, worth
from tallydraw._structure import Structure

_CELLS = 1 << 15  # of products that are made at once: in the second-level cache
_BEGIN, _SMALLEST_SUM, _SMALLEST = 800, 1.0, 2.0**-100
_MOST_HALVINGS = 900  # of a stretch: products of positive numbers stay normal
_FARTHEST = 1000  # halvings below the largest product at which others are nothing
_part_width = inline(part_width)


@kernel
def _multiply_up(groups, n_codes, sizes, k, theta, offsets, table_offsets, table_rows, table):
    """Tables of groups from the probabilities of features: every row so far times the row of each further code."""
    for g in range(groups.size - 1):
        for c in range(0, k, 8):
            width, begin = _part_width(k - c), table_offsets[g] + c * table_rows[g]
            for lane in range(width):
                table[begin + lane] = 1.0 if c + lane < k else 0.0
            words = width
            for j in range(groups[g], groups[g + 1]):
                for z in range(n_codes[j] - 1, -1, -1):
                    for lane in range(min(width, k - c)):
                        known = z < sizes[j]
                        factor = theta[offsets[j] + (c + lane) * sizes[j] + z] if known else 1.0
                        for i in range(begin + lane, begin + words, width):
                            table[i + z * words] = table[i] * factor
                words *= n_codes[j]


def _stretches(groups: NDArray[np.int64], halvings: int) -> list[int]:
    """Where stretches of groups begin in which no product can underflow, and where the last one ends."""
    begins, features = [0], 1
    for g, more in enumerate(np.diff(groups).tolist()):
        if g and (features + more) * halvings > _MOST_HALVINGS:
            begins.append(g)
            features = 0
        features += more
    return [*begins, len(groups) - 1]


@kernel
def _drop_smallest(x):
    for i in range(x.size):
        x[i] = x[i] if x[i] > _SMALLEST else 0.0


@inline
def _multiply_apart(codes, stretches, table, table_offsets, table_rows, prior, x, exponent):
    """Products of one row: x[c] 2^e, e being what is returned, the largest exponent of all classes."""
    k = prior.size
    most = -(2**62)
    for c in range(k):
        part = c // 8 * 8
        width = _part_width(k - part)
        product, exponent[c] = prior[c], 0
        for s in range(stretches.size - 1):
            for g in range(stretches[s], stretches[s + 1]):
                product *= table[table_offsets[g] + part * table_rows[g] + codes[g] * width + c - part]
            product, step = math.frexp(product)
            exponent[c] += step
        x[c] = product
        if x[c] > 0.0:
            most = max(most, exponent[c])
    for c in range(k):
        below = most - exponent[c]
        x[c] = math.ldexp(x[c], -below) if x[c] > 0.0 and below < _FARTHEST else 0.0
    return most if most > -(2**62) else 0


@kernel
def _weigh(
    x, codes, stretches, table, table_offsets, table_rows, prior, has_weights, weights, grid, evidence
):  # fmt: skip
    """Products x[n, k] become posteriors times weights, rounded; prior: what products begin at."""
    k = np.uint64(x.shape[1])
    exponent = np.empty(x.shape[1], np.int64)
    for i in range(x.shape[0]):
        row, weight, apart = x[i], weights[i] if has_weights else 1.0, -_BEGIN
        total = 0.0
        for j in range(k):
            total += row[j]
        if not total >= _SMALLEST_SUM:
            apart += _multiply_apart(codes[i], stretches, table, table_offsets, table_rows, prior, row, exponent)
            total = 0.0
            for j in range(k):
                total += row[j]
        evidence[i] = log_scaled_of(total, apart)
        if total > 0.0:
            factor = weight / total
            for j in range(k):
                row[j] = (row[j] * factor + grid) - grid
        else:
            factor = weight * 2.0**-_BEGIN
            for j in range(k):
                row[j] = (prior[j] * factor + grid) - grid


@kernel
def _weigh_shares(x, has_weights, weights, grid, out):
    for i in range(x.shape[0]):
        weight = weights[i] if has_weights else 1.0
        for j in range(x.shape[1]):
            out[i, j] = (x[i, j] * weight + grid) - grid


@kernel
def _sum_out(groups, n_codes, sizes, k, table, table_offsets, table_rows, offsets, mass, counts):
    """Adds the counts of groups to those of their features, all of the first group to `mass`."""
    for g in range(groups.size - 1):
        for c in range(0, k, 8):
            width, begin = _part_width(k - c), table_offsets[g] + c * table_rows[g]
            words = (table_rows[g] - 1) * width
            for j in range(groups[g + 1] - 1, groups[g] - 1, -1):
                words //= n_codes[j]
                for z in range(n_codes[j]):
                    if z < sizes[j]:
                        for lane in range(min(width, k - c)):
                            total = 0.0
                            for i in range(begin + z * words + lane, begin + (z + 1) * words, width):
                                total += table[i]
                            counts[offsets[j] + (c + lane) * sizes[j] + z] += total
                    if z > 0:
                        for i in range(begin, begin + words):
                            table[i] += table[i + z * words]
            if g == 0:
                for lane in range(min(width, k - c)):
                    mass[c + lane] += table[begin + lane]


def count_posterior(
    codes: NDArray[np.uint8],
    structure: Structure,
    groups: NDArray[np.int64],
    n_codes: NDArray[np.int64],
    theta: NDArray[np.float64],
    prior: NDArray[np.float64],
    halvings: int,
    shares: NDArray[np.float64] | None,
    weights: NDArray[np.float64] | None,
    grid: float,
    evidence: NDArray[np.float64],
    mass: NDArray[np.float64],
    counts: NDArray[np.float64] | None,
    threads: int,
) -> None:
    n, k, sizes = len(codes), structure.n_classes, structure.n_categories
    rows = np.multiply.reduceat(n_codes, groups[:-1])
    tables = structure._replace(n_categories=rows, n_contexts=np.ones_like(rows))
    offsets, table_rows = tables.lane_offsets(), rows + 1
    table = np.empty(offsets[-1])
    if shares is None:
        _multiply_up(groups, n_codes, sizes, k, theta, structure.offsets, offsets, table_rows, table)
    stretches = np.array(_stretches(groups, halvings))
    first = prior * 2.0**_BEGIN
    parts = [(c, row_folder(w, rest, operator.mul), soft_adder(w, rest)) for c, w, rest in parts_at_once(k)]
    step = max(1, _CELLS // k)
    weight, weighted = np.ones(1) if weights is None else weights, weights is not None

    def piece(a: int, b: int, _: int) -> NDArray[np.float64]:
        added, products = np.zeros(len(table)), np.empty((min(step, b - a), k))
        for p in range(a, b, step):
            q = min(b, p + step)
            some, z = products[: q - p], codes[p:q]
            own = weight[p:q] if weighted else weight
            if shares is not None:
                _weigh_shares(shares[p:q], weighted, own, grid, some)
            else:
                for g, h in itertools.pairwise(stretches.tolist()):
                    for c, multiply, _ in parts:
                        multiply(np.ascontiguousarray(z[:, g:h]), g, c, table, offsets, table_rows, first, some)
                    if h < z.shape[1]:
                        _drop_smallest(some.reshape(-1))
                _weigh(some, z, stretches, table, offsets, table_rows, first, weighted, own, grid, evidence[p:q])
            if counts is not None:
                for c, _, add_weights in parts:
                    add_weights(z, 0, z.shape[1], c, offsets, table_rows, some, added)
        return added

    threads = worth(threads, n * k)
    for added in parallel_blocks(n, max(1, -(-n // threads)), threads, piece):
        if counts is not None:
            _sum_out(groups, n_codes, sizes, k, added, offsets, table_rows, structure.offsets, mass, counts)
