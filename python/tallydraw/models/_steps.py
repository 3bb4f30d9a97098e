"""The two steps of EM on the rows of a mixture: of products by exact sums, of anything else as it scores and counts."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, backend
from tallydraw._structure import make_structure
from tallydraw.count import count_soft_cells
from tallydraw.models._products import Products, are_exact
from tallydraw.models._state import Fitted, Prepared
from tallydraw.models._sums import log, running_sum, weighted_sum
from tallydraw.models._tree_model import stacks_of
from tallydraw.models.base import Model
from tallydraw.models.naive_bayes import NaiveBayes
from tallydraw.tables import Tables


def make_steps(
    component: Model,
    data: Any,
    sizes: NDArray[np.int64],
    weights: NDArray[np.float64],
    k: int,
    n_threads: int | None,
) -> Steps:
    """EM of checked rows with weights; negative codes are missing."""
    exact = type(component) is NaiveBayes and are_exact(data.codes, sizes, weights)
    return (ProductSteps if exact else Steps)(component, data, sizes, weights, k, n_threads)


def posterior_of(
    scores: NDArray[np.float64], prepared: Prepared, n_threads: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, K) p(component | x) and (n,) log p(x)."""
    out, evidence = np.empty_like(scores), np.empty(len(scores))
    team = backend.threads(_check.thread_count(n_threads), scores.size)
    backend.kernels().posterior(scores, _weights_of(prepared), evidence, out, team)
    return out, evidence


class Steps:
    """Any component: scores of all rows, then soft counts of these."""

    def __init__(
        self,
        component: Model,
        data: Any,
        sizes: NDArray[np.int64],
        weights: NDArray[np.float64],
        k: int,
        n_threads: int | None,
    ) -> None:
        self.component, self.data, self.n_threads = component, data, n_threads
        self.weights = None if (weights == 1.0).all() else weights
        self.alphas = _check.alpha_value(component.alpha, sizes)
        self.class_alpha = float(component.alpha) if _check.is_number(component.alpha) else 0.0
        classes = np.arange(k)
        classes.flags.writeable = False
        self.classes = make_structure(np.array([k]))
        self.empty = Fitted(sizes, None, None, data.names, classes)
        self.one_cell = make_structure(np.array([1]), None, k)  # whose counts are those of the classes
        self.responsibilities = np.empty((0, k))
        self.before: Prepared | None = None

    def begin(self, responsibilities: NDArray[np.float64]) -> None:
        """EM begins anew, at these (n, k) shares of the components."""
        self.responsibilities, self.before = responsibilities, None

    def maximize(self) -> Fitted:
        """The fit to what was expected last."""
        soft = self.responsibilities
        if self.weights is not None:
            soft = np.ascontiguousarray(soft * self.weights[:, None])
        same = np.zeros((len(soft), 1), np.uint8)
        mass = count_soft_cells(same, self.one_cell, soft, n_threads=self.n_threads)
        now = self._of_classes(mass)
        return self.component._soft_fit(now, self.data, soft, self.before, self.n_threads)

    def expect(self, prepared: Prepared) -> NDArray[np.float64]:
        """(n,) log p(x) of the rows; the next fit is to what they are expected to be."""
        scores = self.component._score(prepared, self.data, self.n_threads)
        self.responsibilities, evidence = posterior_of(scores, prepared, self.n_threads)
        self.before = prepared
        return evidence

    def likelihood(self, logs: NDArray[np.float64]) -> float:
        """The log-likelihood of the rows, from their (n,) log p(x)."""
        return _sum(self.weights, logs)

    def penalty(self, prepared: Prepared) -> float:
        """Sum of alpha * log theta over all parameters, the weights of the components included."""
        total = sum(self._feature_penalty(tables) for tables in stacks_of(prepared))
        if self.class_alpha:
            total += weighted_sum(self.class_alpha, log(_weights_of(prepared)))
        return total

    def _feature_penalty(self, tables: Tables) -> float:
        return weighted_sum(tables.structure.spread(self.alphas), log(tables.values))

    def _of_classes(self, mass: NDArray[np.float64]) -> Fitted:
        counts = Tables(mass, self.classes.n_categories, structure=self.classes)
        return self.empty._replace(class_counts=counts)


class ProductSteps(Steps):
    """Products: both steps in one pass over the rows."""

    def __init__(
        self,
        component: Model,
        data: Any,
        sizes: NDArray[np.int64],
        weights: NDArray[np.float64],
        k: int,
        n_threads: int | None,
    ) -> None:
        super().__init__(component, data, sizes, weights, k, n_threads)
        self.rows = Products(data.codes, sizes, weights, k, n_threads)
        self.flat_alphas = self.rows.structure.spread(self.alphas)
        self.logs = np.empty(0)
        self.counts = self.logs, self.logs

    def begin(self, responsibilities: NDArray[np.float64]) -> None:
        self.counts = self.rows.counts(responsibilities)

    def maximize(self) -> Fitted:
        mass, flat = self.counts
        counts = self.component._tables(flat, self.empty.sizes, self.rows.k, self.rows.structure)
        return self._of_classes(mass)._replace(counts=counts)

    def expect(self, prepared: Prepared) -> NDArray[np.float64]:
        theta = prepared.probabilities
        self.logs = log(theta.values)
        evidence, self.counts = self.rows.expected_counts(theta, _weights_of(prepared), self.logs)
        return evidence

    def _feature_penalty(self, tables: Tables) -> float:
        """Of what was scored last."""
        return _sum(self.flat_alphas, self.logs) if self.flat_alphas.any() else 0.0


def _weights_of(prepared: Prepared) -> NDArray[np.float64]:
    """(K,) p(component)."""
    return np.ascontiguousarray(cast(Tables, prepared.prior)[0])


def _sum(weights: NDArray[np.float64] | None, values: NDArray[np.float64]) -> float:
    """As weighted_sum; None: ones."""
    if weights is None:
        return running_sum(values)
    return running_sum(weights * values) if weights.min() > 0 else weighted_sum(weights, values)
