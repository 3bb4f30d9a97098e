"""EM of mixtures of products: groups of features are scored, by products of probabilities, and counted as one.

Posteriors times the weights of rows are rounded to multiples of a unit, at most 2**-50 of the total weight, of which no
sum reaches 2**53: every count is then exact, whatever the order of its sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, backend
from tallydraw._structure import make_structure
from tallydraw.models._sums import running_sum

# Most codes of a group of several features (measured: more cost as much as they save; others change the last digits of
# results), and of a byte.
_MOST_CODES, _BYTE = 64, 256
# Most halvings of a positive probability of which those of a group and a weight can be multiplied.
MOST_HALVINGS = 128
# Rows lighter than this share of all would lose too much by rounding.
_LEAST_SHARE = 2.0**-31


class Counts(NamedTuple):
    """(k,) counts of the components, and flat ones of their cells."""

    mass: NDArray[np.float64]
    flat: NDArray[np.float64]


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

    def counts(self, responsibilities: NDArray[np.float64]) -> Counts:
        """Counts of rows that belong to components with these (n, k) shares."""
        counts = self._no_counts()
        for a, b, weights, team in self._blocks():
            backend.kernels().count_shares(
                self.codes[a:b], self.structure, self.groups, self.n_codes, responsibilities[a:b], weights, self.grid,
                counts.mass, counts.flat, team,
            )  # fmt: skip
        return counts

    def expected_counts(
        self, theta: NDArray[np.float64], prior: NDArray[np.float64], halvings: int, counted: bool
    ) -> tuple[NDArray[np.float64], Counts]:
        """(n,) log p(x) under flat probabilities and (k,) weights of components, and the counts expected then.

        These stay zeros where they are not `counted`.
        """
        evidence, counts = np.empty(len(self.codes)), self._no_counts()
        for a, b, weights, team in self._blocks():
            backend.kernels().count_posterior(
                self.codes[a:b], self.structure, self.groups, self.n_codes, theta, prior, halvings, weights, self.grid,
                evidence[a:b], counts.mass, counts.flat if counted else None, team,
            )  # fmt: skip
        return evidence, counts

    def _no_counts(self) -> Counts:
        return Counts(np.zeros(self.k), np.zeros(int(self.structure.offsets[-1])))

    def _blocks(self) -> Iterator[tuple[int, int, NDArray[np.float64] | None, int]]:
        """Rows [a, b) of a block, their weights, and how many threads they are worth."""
        work = (self.codes.shape[1] + 4) * self.k
        for a, b in backend.blocks(len(self.codes), work):
            # A thread has tables of its own, which must be worth it.
            team = max(1, min(backend.threads(self.n_threads, (b - a) * work), (b - a) * work // (8 * self.cells)))
            yield a, b, None if self.weights is None else self.weights[a:b], team


def halvings_of(*probabilities: NDArray[np.float64]) -> int:
    """How many halvings of one the smallest positive probability is at most."""
    return 1 - math.frexp(min(map(_least, probabilities)))[1]


def _least(probabilities: NDArray[np.float64]) -> float:
    least = float(probabilities.min())
    return least if least > 0.0 else float(np.min(probabilities, where=probabilities > 0.0, initial=1.0))


def are_exact(codes: NDArray[Any], sizes: NDArray[np.int64], weights: NDArray[np.float64]) -> bool:
    """Whether codes fit into bytes and the weights of rows are near enough to each other for exact sums."""
    total = running_sum(weights)
    if codes.ndim != 2 or int(sizes.max()) >= _BYTE or not 2.0**-100 < total < 2.0**100:
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
