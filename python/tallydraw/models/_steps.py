"""The two steps of EM on the rows of a mixture: of products by exact sums, of anything else as it scores and counts."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, backend
from tallydraw._structure import make_structure
from tallydraw.count import count_soft_cells
from tallydraw.models._products import MOST_HALVINGS, Products, are_exact, halvings_of
from tallydraw.models._state import Fitted, Prepared
from tallydraw.models._sums import log, running_sum, sum_of_stretches, weighted_sum
from tallydraw.models._tree_model import stacks_of
from tallydraw.models.base import Model
from tallydraw.models.naive_bayes import NaiveBayes
from tallydraw.tables import Tables, estimate


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
        self._now: Fitted | None = None

    def begin(self, responsibilities: NDArray[np.float64]) -> None:
        """EM begins anew, at these (n, k) shares of the components."""
        self.responsibilities, self.before = responsibilities, None

    def maximize(self) -> None:
        """Fit to what was expected last."""
        soft = self.responsibilities
        if self.weights is not None:
            soft = np.ascontiguousarray(soft * self.weights[:, None])
        same = np.zeros((len(soft), 1), np.uint8)
        mass = count_soft_cells(same, self.one_cell, soft, n_threads=self.n_threads)
        now = self._of_classes(mass)
        self._now = self.component._soft_fit(now, self.data, soft, self.before, self.n_threads)

    def fitted(self) -> Fitted:
        """The fit that maximize made last."""
        return cast(Fitted, self._now)

    def prepared(self) -> Prepared:
        """What is derived from it, by the component, which is given it."""
        self.component._fitted = self.fitted()
        return self.component._prepared()

    def expect(self, last: bool) -> NDArray[np.float64]:
        """(n,) log p(x) of the rows under the fit; the next one, if any, is to what they are expected to be."""
        self.before = prepared = self.prepared()
        scores = self.component._score(prepared, self.data, self.n_threads)
        self.responsibilities, evidence = posterior_of(scores, prepared, self.n_threads)
        return evidence

    def likelihood(self, logs: NDArray[np.float64]) -> float:
        """The log-likelihood of the rows, from their (n,) log p(x)."""
        return _sum(self.weights, logs)

    def penalty(self) -> float:
        """Sum of alpha * log theta over all parameters, weights of components too, less what the structure costs."""
        prepared = self.prepared()
        total = sum(_penalty(t.structure.spread(self.alphas), t.values) for t in stacks_of(prepared))
        return total + self._class_penalty(_weights_of(prepared)) - self.component._structure_price(prepared)

    def _class_penalty(self, prior: NDArray[np.float64]) -> float:
        return _penalty(np.full(len(prior), self.class_alpha), prior)

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

    def begin(self, responsibilities: NDArray[np.float64]) -> None:
        self._next = self.rows.counts(responsibilities)

    def maximize(self) -> None:
        self._counts, self._now, alpha = self._next, None, self.component.alpha
        theta = prior = None
        if _check.is_number(alpha):
            theta = estimate(self.rows.structure, self._counts.flat.copy(), alpha)
            prior = estimate(self.classes, self._counts.mass.copy(), alpha)
        if theta is None or prior is None:
            prepared = self.prepared()
            theta, prior = prepared.probabilities.values, _weights_of(prepared)
        self._theta, self._prior = theta, prior

    def fitted(self) -> Fitted:
        if self._now is None:
            counts = self.component._tables(self._counts.flat, self.empty.sizes, self.rows.k, self.rows.structure)
            self._now = self._of_classes(self._counts.mass)._replace(counts=counts)
        return self._now

    def expect(self, last: bool) -> NDArray[np.float64]:
        halvings = halvings_of(self._theta, self._prior)
        if halvings > MOST_HALVINGS:  # their products may underflow
            evidence = super().expect(last)
            if not last:
                self._next = self.rows.counts(self.responsibilities)
            return evidence
        evidence, self._next = self.rows.expected_counts(self._theta, self._prior, halvings, counted=not last)
        return evidence

    def penalty(self) -> float:
        return _penalty(self.flat_alphas, self._theta) + self._class_penalty(self._prior)


def _weights_of(prepared: Prepared) -> NDArray[np.float64]:
    """(K,) p(component)."""
    return np.ascontiguousarray(cast(Tables, prepared.prior)[0])


def _penalty(alphas: NDArray[np.float64], theta: NDArray[np.float64]) -> float:
    """The sum of alpha log theta, where alpha is positive."""
    kept = alphas > 0
    if not kept.all():
        alphas, theta = alphas[kept], theta[kept]
    return sum_of_stretches(alphas * log(theta))


def _sum(weights: NDArray[np.float64] | None, values: NDArray[np.float64]) -> float:
    """As weighted_sum; None: ones."""
    if weights is None:
        return running_sum(values)
    return running_sum(weights * values) if weights.min() > 0 else weighted_sum(weights, values)
