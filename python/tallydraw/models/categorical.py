"""Categorical: one variable; Bernoulli is two categories. Its parameters may be tied, or bounded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check
from tallydraw.dirichlet import alpha_total, log_evidence
from tallydraw.models._state import Draw, Fitted, Prepared
from tallydraw.models._sums import difference, log, weighted_sum
from tallydraw.models._tree_model import TreeModel
from tallydraw.models.base import Model
from tallydraw.sample.categories import FLAT, write_flat
from tallydraw.tables import Tables

__all__ = ["Categorical"]


class Categorical(TreeModel):
    """One variable of C categories, with a class or without; C = 2 is Bernoulli.

    Parameters
    ----------
    alpha : float or array_like, shape (C,), default 0.0
        Pseudocounts. 0.0 is the maximum-likelihood estimate n / N. One number smooths the class prior too.
    n_categories : int, optional
        Default: the largest code + 1 at the first fit (or what `tied` and `bounds` imply).
    missing : int, optional
        A code that means missing, besides the negative ones.
    unseen : {"error", "missing"}, default "error"
    tied : list of lists of int, or array_like, shape (C,), optional
        Groups of categories that share one parameter, or a label a category. The estimate of each is its group's mean.
    bounds : (low, high), optional
        An interval for the probability of category 1 of two; the estimate is clipped to it.

    Notes
    -----
    C - 1 parameters a class, or with `tied` the number of groups - 1. Every step is a pass over arrays, none a loop
    over categories: 256**3 of them work. Draws of an untied model without a class are those of
    ``sample_categories(counts + alpha, n)``.

    Examples
    --------
    >>> import tallydraw as td
    >>> die = td.Categorical(tied=[[0, 1, 2], [3, 4, 5]]).fit([0, 0, 1, 5])
    >>> die.probabilities_[0].tolist(), die.n_parameters
    ([0.25, 0.25, 0.25, 0.08333333333333333, 0.08333333333333333, 0.08333333333333333], 1)
    """

    _parameters = ("alpha", "n_categories", "missing", "unseen", "tied", "bounds")
    _data_name = "x"
    _dimensions = 1

    def __init__(
        self,
        *,
        alpha: Any = 0.0,
        n_categories: int | None = None,
        missing: int | None = None,
        unseen: str = "error",
        tied: Any = None,
        bounds: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(alpha=alpha, n_categories=n_categories, missing=missing, unseen=unseen)
        self.tied = tied
        self.bounds = bounds

    def _checked(self, name: str, value: Any) -> Any:
        other = {"tied": "bounds", "bounds": "tied"}.get(name)
        if other is None or value is None:
            return super()._checked(name, value)
        if getattr(self, other, None) is not None:
            raise ValueError("tied and bounds exclude each other: two tied categories have probability 1/2 each")
        if name == "tied":
            _groups(value)
        else:
            _interval(value)
        return value

    def _infer_sizes(self, data: Any) -> NDArray[np.int64]:
        if self.tied is not None:
            return np.array([len(_groups(self.tied))], np.int64)
        if self.bounds is not None:
            return np.array([2], np.int64)
        return super()._infer_sizes(data)

    def _finds_sizes(self) -> bool:
        return self.tied is None and self.bounds is None and super()._finds_sizes()

    def _check_parameters(self, sizes: NDArray[np.int64]) -> None:
        super()._check_parameters(sizes)
        c = int(sizes[0])
        if self.tied is not None and len(_groups(self.tied)) != c:
            raise ValueError(f"tied is about {len(_groups(self.tied))} categories, but there are {c}")
        if self.bounds is not None and c != 2:
            raise ValueError(f"bounds are for two categories, but there are {c}")

    def _free_parameters(self, fitted: Fitted) -> int:
        c = int(fitted.sizes[0])
        return (c if self.tied is None else int(_groups(self.tied).max()) + 1) - 1

    def _stated(self, tables: Any, prior: Tables | None) -> tuple[Any, NDArray[np.int64]]:
        """One table; it may be given without a list around it."""
        if not isinstance(tables, Tables) and len(tables) and np.ndim(tables[0]) == (0 if prior is None else 1):
            tables = [tables]
        stated, sizes = super()._stated(tables, prior)
        if len(sizes) != 1:
            raise ValueError(f"a Categorical has one table, got {len(sizes)}")
        self._check_parameters(sizes)
        return stated, sizes

    def _estimate(self, fitted: Fitted) -> tuple[Any, Tables | None]:
        free, prior = super()._estimate(fitted)
        if self.tied is not None:
            weights = _tie(fitted.counts.smoothed(self.alpha).reshape(-1, int(fitted.sizes[0])), _groups(self.tied))
            flat = Tables(weights.reshape(-1), fitted.sizes, n_classes=fitted.n_classes)
            return flat.normalize(), prior
        if self.bounds is not None:
            low, high = _interval(self.bounds)
            theta = free.values.reshape(-1, 2)
            one = np.clip(theta[:, 1], low, high)
            if not np.array_equal(one, theta[:, 1]):
                free = Tables(np.stack([1 - one, one], axis=1).reshape(-1), fitted.sizes, n_classes=fitted.n_classes)
        return free, prior

    def _improper(self, fitted: Fitted) -> str | None:
        if self.bounds is not None:
            return "bounds cut the prior off; make the model without them"
        return super()._improper(fitted)

    def _log_evidence(self, prepared: Prepared) -> float:
        if self.tied is None:
            return super()._log_evidence(prepared)
        fitted, group = prepared.fitted, _groups(self.tied)
        # One of the categories of a group of m has 1 / m of its probability.
        totals = _group_totals(fitted.counts.values.reshape(-1, len(group)), group)
        alphas = np.bincount(group, np.broadcast_to(_check.alpha_value(self.alpha, fitted.sizes)[0], group.shape))
        sizes = np.bincount(group)
        tied = Tables(totals.reshape(-1), np.array([len(sizes)], np.int64), n_classes=fitted.n_classes)
        shares = weighted_sum(totals, -log(sizes))
        return log_evidence(tied, [alphas]) + shares + self._class_evidence(fitted)

    def _without_one(self, counts: Tables) -> NDArray[np.float64]:
        if self.tied is None and self.bounds is None:
            return super()._without_one(counts)
        c = int(counts.n_categories[0])
        alphas = _check.alpha_value(self.alpha, counts.n_categories)[0]
        rows = counts.values.reshape(-1, c)
        rest = (rows.sum(axis=1) - 1 + alpha_total(alphas, c))[:, None]
        theta = np.full(rows.shape, 1.0 / c)  # where nothing is left
        if self.tied is not None:
            group = _groups(self.tied)
            weights = rows + np.broadcast_to(alphas, (c,))
            left = (_group_totals(weights, group) - 1)[:, group]
            np.divide(left, np.bincount(group)[group] * rest, out=theta, where=rest > 0)
        else:
            # Of category 1 one count less where that is the row's own; then clipped, as the estimate is.
            np.divide(rows[:, 1:] - [0, 1] + np.broadcast_to(alphas, (c,))[1], rest, out=theta, where=rest > 0)
            theta = np.clip(theta, *_interval(self.bounds))
            theta[:, 0] = 1 - theta[:, 0]
        theta[rows == 0] = np.nan
        return theta.reshape(-1)

    def _shape(self, prepared: Prepared, n: int, length: int | None) -> tuple[int, ...]:
        return (n,)

    def _draw(self, prepared: Prepared, draw: Draw) -> None:
        theta = prepared.probabilities
        write_flat(draw.out, theta.levels(), int(theta.n_categories[0]), draw.y, FLAT, *draw.stream)

    def _entropy(self, prepared: Prepared) -> float | None:
        theta = _marginal(prepared)
        return weighted_sum(theta, -log(theta))

    def _kl_divergence(self, prepared: Prepared, other: Model, theirs: Prepared) -> float | None:
        p, q = _marginal(prepared), _marginal(theirs)
        return weighted_sum(p, difference(log(p), log(q)))


def _marginal(prepared: Prepared) -> NDArray[np.float64]:
    """(C,) p(x), the class summed out."""
    theta: NDArray[np.float64] = prepared.probabilities[0]
    if prepared.prior is None:
        return theta
    total = np.zeros(theta.shape[1])
    for weight, row in zip(prepared.prior[0], theta, strict=True):
        total += weight * row
    return total


def _tie(weights: NDArray[Any], group: NDArray[np.int64]) -> NDArray[Any]:
    """(R, C) weights of categories replaced by their group's mean, up to a common factor that keeps integers whole."""
    size = np.bincount(group)
    totals = _group_totals(weights, group)
    if totals.dtype.kind == "i":
        common = math.lcm(*size.tolist())
        if common < 2**31 and int(totals.sum(axis=1, dtype=np.float64).max()) * common < 2**62:
            exact: NDArray[Any] = (totals * (common // size))[:, group]
            return exact
    return (totals / size)[:, group]


def _group_totals(weights: NDArray[Any], group: NDArray[np.int64]) -> NDArray[Any]:
    """(R, G) sums over the categories of each group, those of integers exact."""
    if weights.dtype.kind == "f":
        return np.stack([np.bincount(group, row) for row in weights])
    order = np.argsort(group, kind="stable")
    begins = np.searchsorted(group[order], np.arange(int(group.max()) + 1))
    return np.add.reduceat(weights[:, order], begins, axis=1)


def _groups(tied: Any) -> NDArray[np.int64]:
    """(C,) number of the group of each category."""
    if any(isinstance(g, (list, tuple, range, np.ndarray, set, frozenset)) for g in tied):
        groups = [[_check.natural(f"tied[{i}]", c) for c in g] for i, g in enumerate(tied)]
        members = sorted(c for g in groups for c in g)
        if members != list(range(len(members))):
            raise ValueError(f"tied must have every category 0 to C - 1 in exactly one group, got {groups}")
        if not all(groups):
            raise ValueError("tied has an empty group")
        numbers = np.empty(len(members), np.int64)
        for i, g in enumerate(groups):
            numbers[g] = i
        return numbers
    labels = np.asarray(tied)
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"tied must be a list of groups or one label a category, got {tied!r}")
    return np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _interval(bounds: Any) -> tuple[float, float]:
    try:
        low, high = (float(b) for b in bounds)
    except (TypeError, ValueError):
        raise ValueError(f"bounds must be (low, high), got {bounds!r}") from None
    if not 0 <= low <= high <= 1:
        raise ValueError(f"bounds must satisfy 0 <= low <= high <= 1, got {bounds!r}")
    return low, high
