"""EM of mixtures of products, by sums that are exact: so groups of features are counted and scored as one.

Posteriors times the weights of rows are rounded to multiples of a unit of which no sum reaches 2**53, and so are logs:
every sum is then exact, whatever its order. The unit of counts is at most 2**-50 of the total weight, that of logs
2**-50 of the largest sum of absolute logs that a row can have.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, backend
from tallydraw._structure import aligned_empty, make_structure
from tallydraw.models._sums import log, running_sum
from tallydraw.tables import Tables

# Most codes of a group of several features (measured: more cost as much as they save), and of a byte.
_MOST_CODES, _BYTE = 64, 256
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
        self.k, self.n_threads = k, _check.thread_count(n_threads)
        self.structure = make_structure(sizes, None, k)
        self.lane_offsets = self.structure.lane_offsets()
        self.weights = None if (weights == 1.0).all() else weights
        self.grid = _grid(running_sum(weights))
        gone = codes.min(axis=0) < 0 if codes.dtype.kind == "i" else np.zeros(len(sizes), bool)
        self.n_codes = sizes + gone  # a missing cell is a code of its own
        self.groups = _groups(self.n_codes.tolist())
        self.cells = k * int(np.multiply.reduceat(self.n_codes, self.groups[:-1]).sum())
        self.codes = np.empty((len(codes), len(self.groups) - 1), np.uint8)
        for a, b in backend.blocks(len(codes), len(sizes)):
            team = backend.threads(self.n_threads, (b - a) * len(sizes))
            backend.kernels().group_codes(
                codes[a:b], None, False, self.structure, self.groups, self.n_codes, self.codes[a:b], team
            )

    def counts(self, responsibilities: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(k,) and flat counts of rows that belong to components with these (n, k) shares."""
        nothing = np.empty(0)
        return self._counts(nothing, nothing, nothing, responsibilities, nothing)

    def expected_counts(
        self, theta: Tables, prior: NDArray[np.float64], logs: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """(n,) log p(x) under these tables, of these flat logs, and the counts expected under them."""
        first = log(prior)
        grid = _grid(_largest(first) + self.structure.n_features * _largest(logs))
        lanes = theta.lanes(backend.threads(self.n_threads, len(logs))).values
        with np.errstate(all="ignore"):  # what lies between features may be any number
            rounded = (lanes + grid) - grid
        evidence = np.empty(len(self.codes))
        return evidence, self._counts(rounded, (first + grid) - grid, prior, None, evidence)

    def _counts(
        self,
        logs: NDArray[np.float64],
        first: NDArray[np.float64],
        prior: NDArray[np.float64],
        shares: NDArray[np.float64] | None,
        evidence: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        lanes = aligned_empty(int(self.lane_offsets[-1]))
        lanes.fill(0.0)
        work = (self.codes.shape[1] + 4) * self.k
        for a, b in backend.blocks(len(self.codes), work):
            # A thread has tables of its own, which must be worth it.
            team = max(1, min(backend.threads(self.n_threads, (b - a) * work), (b - a) * work // (8 * self.cells)))
            backend.kernels().count_posterior(
                self.codes[a:b], self.structure, self.groups, self.n_codes, logs, self.lane_offsets, first, prior,
                None if shares is None else shares[a:b], None if self.weights is None else self.weights[a:b], self.grid,
                evidence[a:b], lanes, team,
            )  # fmt: skip
        flat = np.empty(int(self.structure.offsets[-1]))
        backend.kernels().collect_lanes(self.structure, lanes, self.lane_offsets, flat)
        return self._of_classes(lanes), flat

    def _of_classes(self, lanes: NDArray[np.float64]) -> NDArray[np.float64]:
        """(k,) all counts of the first feature, those of missing cells too."""
        rows, mass = int(self.structure.n_categories[0]) + 1, np.empty(self.k)
        for c in range(0, self.k, 8):
            n = min(8, self.k - c)
            width = 8 if n > 4 else 4 if n > 2 else n
            part = lanes[c * rows : c * rows + rows * width].reshape(rows, width)
            mass[c : c + n] = part.sum(axis=0)[:n]
        return mass


def are_exact(codes: NDArray[Any], sizes: NDArray[np.int64], weights: NDArray[np.float64]) -> bool:
    """Whether codes fit into bytes and the weights of rows are near enough to each other for exact sums."""
    total = running_sum(weights)
    if codes.ndim != 2 or int(sizes.max()) >= _BYTE or not 2.0**-900 < total < 2.0**900:
        return False
    return bool(np.min(weights, where=weights > 0, initial=np.inf) >= _LEAST_SHARE * total)


def _grid(most: float) -> float:
    """1.5 * 2**52 units, for sums of absolute values up to `most`, which is less than 2**51 units.

    A number that is added to it, and has it taken away again, is a multiple of the unit.
    """
    return 1.5 * math.ldexp(2.0, math.frexp(most)[1])


def _groups(codes: list[int]) -> NDArray[np.int64]:
    """Where groups of features with so many codes begin, and where the last ends."""
    begins, product = [0], codes[0]
    for j, n in enumerate(codes[1:], 1):
        product *= n
        if product > _MOST_CODES:
            begins.append(j)
            product = n
    return np.array([*begins, len(codes)], np.int64)


def _largest(logs: NDArray[np.float64]) -> float:
    """The largest absolute value, those of -inf left out."""
    return -float(np.min(logs, where=logs > -np.inf, initial=0.0))
