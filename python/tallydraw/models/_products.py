"""EM of mixtures of products, by sums that are exact: so groups of features are counted and scored as one.

Posteriors times the weights of rows are rounded to multiples of a unit of which no sum reaches 2**53, and so are logs:
every sum is then exact, whatever its order. The unit of counts is at most 2**-50 of the total weight, that of logs
2**-50 of the largest sum that a row can have: about 1e-12 nats.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, backend
from tallydraw._structure import aligned_empty, make_structure
from tallydraw.models._sums import log, running_sum

# Most codes of a group, and of a byte.
_FEW_CODES, _MANY_CODES, _BYTE = 16, 64, 256
# Rows lighter than this share of all would lose too much by rounding.
_LEAST_SHARE = 2.0**-31


class Products:
    """Rows of checked codes (n, d), negative ones missing, with weights, prepared for EM of k products."""

    def __init__(
        self,
        codes: NDArray[Any],
        sizes: NDArray[np.int64],
        weights: NDArray[np.float64],
        k: int,
        n_threads: int | None,
    ) -> None:
        self.sizes, self.k, self.n_threads = sizes, k, _check.thread_count(n_threads)
        self.structure = make_structure(sizes, None, k)
        self.weights = None if (weights == 1.0).all() else weights
        # Weights below 2**exponent in all; added to 1.5 * 2**52 units, a number loses what is no multiple of a unit.
        self.grid = 1.5 * math.ldexp(2.0, math.frexp(running_sum(weights))[1])
        gone = codes.min(axis=0) < 0 if codes.dtype.kind == "i" else np.zeros(len(sizes), bool)
        codes_of = sizes + gone  # a missing cell is a code of its own
        begins, products = _groups(codes_of.tolist())
        self.groups = make_structure(np.array(products, np.int64), None, k)
        self.lane_offsets = self.groups.lane_offsets()
        radix = np.concatenate([np.cumprod([1, *codes_of[a : b - 1].tolist()]) for a, b in itertools.pairwise(begins)])
        self.codes = np.empty((len(codes), len(products)), np.uint8)
        starts = np.array(begins, np.int64)
        for a, b in backend.blocks(len(codes), len(sizes)):
            team = backend.threads(self.n_threads, (b - a) * len(sizes))
            backend.kernels().group_codes(
                codes[a:b], None, False, self.structure, starts, radix.astype(np.uint8), self.codes[a:b], team
            )
        self.cells = self._cells(starts, radix, codes_of)

    def _cells(
        self, starts: NDArray[np.int64], radix: NDArray[np.int64], codes_of: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """(most features of a group, lanes) which flat cell of a feature each lane of a group belongs to.

        One past the last cell where it belongs to none: lanes of no class, missing cells, groups of fewer features.
        """
        s, k = self.structure, self.k
        group, z, label = _lanes(self.groups.n_categories + 1, self.lane_offsets, k)
        used = (z < self.groups.n_categories[group]) & (label < k)
        cells = np.full((int(np.diff(starts).max()), len(z)), int(s.offsets[-1]))
        for i, of_member in enumerate(cells):
            j = starts[group] + i
            has_one = used & (j < starts[group + 1])
            j[~has_one] = 0
            digit = z // radix[j] % codes_of[j]
            cell = s.offsets[j] + label * s.n_categories[j] + digit
            np.copyto(of_member, cell, where=has_one & (digit < s.n_categories[j]))
        return cells

    def soft_counts(self, responsibilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Class lanes of the groups: the counts of rows that belong to components with these (n, k) shares."""
        soft = responsibilities if self.weights is None else responsibilities * self.weights[:, None]
        soft = (soft + self.grid) - self.grid
        counts = self._no_counts()
        for a, b in backend.blocks(len(self.codes), self._work()):
            team = backend.threads(self.n_threads, (b - a) * self._work())
            backend.kernels().count_features_soft(
                self.codes[a:b], None, False, self.groups, self.lane_offsets, soft[a:b], counts, team
            )
        return counts

    def step(
        self, logs: NDArray[np.float64], prior: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n,) log p(x) under tables of these flat logs, and class lanes: the counts expected under them."""
        first = log(prior)
        most = _largest(first) + len(self.sizes) * _largest(logs)
        unit = 1.5 * math.ldexp(2.0, math.frexp(most)[1])
        rounded = np.zeros(len(logs) + 1)
        np.add(logs, unit, out=rounded[:-1])
        rounded[:-1] -= unit
        lanes = aligned_empty(int(self.lane_offsets[-1]))
        np.take(rounded, self.cells[0], out=lanes)
        for cells in self.cells[1:]:
            lanes += rounded[cells]
        first = (first + unit) - unit
        evidence, counts = np.empty(len(self.codes)), self._no_counts()
        for a, b in backend.blocks(len(self.codes), self._work()):
            team = backend.threads(self.n_threads, (b - a) * self._work())
            weights = None if self.weights is None else self.weights[a:b]
            backend.kernels().count_posterior(
                self.codes[a:b], self.groups, lanes, self.lane_offsets, first, prior, weights, self.grid,
                evidence[a:b], counts, team,
            )  # fmt: skip
        return evidence, counts

    def tables(self, counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(k,) weight of each component, and flat counts of the features, from class lanes of the groups."""
        n_cells = int(self.structure.offsets[-1])
        sums = np.bincount(self.cells.reshape(-1), np.tile(counts, len(self.cells)), minlength=n_cells + 1)
        of_group = np.empty(int(self.groups.offsets[-1]))
        backend.kernels().collect_lanes(self.groups, counts, self.lane_offsets, of_group)
        mass: NDArray[np.float64] = of_group[: int(self.groups.offsets[1])].reshape(self.k, -1).sum(axis=1)
        return mass, sums[:-1].astype(np.float64)

    def _no_counts(self) -> NDArray[np.float64]:
        counts = aligned_empty(int(self.lane_offsets[-1]))
        counts.fill(0.0)
        return counts

    def _work(self) -> int:
        """Of a row, for blocks and threads."""
        return (self.codes.shape[1] + 4) * self.k


def are_exact(codes: NDArray[Any], sizes: NDArray[np.int64], weights: NDArray[np.float64]) -> bool:
    """Whether codes fit into bytes and the weights of rows are near enough to each other for exact sums."""
    total = running_sum(weights)
    if codes.ndim != 2 or int(sizes.max()) >= _BYTE or not 2.0**-900 < total < 2.0**900:
        return False
    return bool(np.min(weights, where=weights > 0, initial=np.inf) >= _LEAST_SHARE * total)


def _lanes(
    rows: NDArray[np.int64], offsets: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Feature, combined code and class of each class lane; past the last code or class where it is nobody's."""
    lanes = np.diff(offsets)
    feature = np.repeat(np.arange(len(rows)), lanes)
    of_feature = rows[feature]
    lane = np.arange(int(offsets[-1])) - offsets[feature]
    begin = np.minimum(lane // of_feature, k - 1) // 8 * 8  # of its part
    rest = k - begin
    width = np.where(rest > 4, 8, np.where(rest > 2, 4, rest))
    code, label = np.divmod(lane - begin * of_feature, width)
    return feature, code, begin + label


def _groups(codes: list[int]) -> tuple[list[int], list[int]]:
    """Where groups of features with so many codes begin, and where the last ends; and how many codes each has.

    Tables of few codes stay nearer: more where that makes about half as many groups.
    """
    few, many = (_grouped(codes, most) for most in (_FEW_CODES, _MANY_CODES))
    return many if len(many[1]) <= 0.6 * len(few[1]) else few


def _grouped(codes: list[int], most: int) -> tuple[list[int], list[int]]:
    begins, products = [0], [codes[0]]
    for j, n in enumerate(codes[1:], 1):
        if products[-1] * n <= most:
            products[-1] *= n
        else:
            begins.append(j)
            products.append(n)
    return [*begins, len(codes)], products


def _largest(logs: NDArray[np.float64]) -> float:
    """The largest absolute value, those of -inf left out."""
    return -float(np.min(logs, where=logs > -np.inf, initial=0.0))
