"""Exact entropy and divergence of models on trees, by the probabilities of single features and of pairs.

With arcs π of p and ρ of q, KL(p, q) = sum_j E_p [log p(x_j | x_π(j)) - log q(x_j | x_ρ(j))]: of p it needs the
probabilities of the pairs that are arcs of p or of q, and no others. All sums run from left to right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from tallydraw.models._sums import difference, log, weighted_sum
from tallydraw.tables import Tables

# Probabilities, or which of them are not zero: the sums of products are then "or" of "and", and nothing underflows.
Weights: TypeAlias = NDArray[Any]


def tree_entropy(theta: Tables) -> float | None:
    """The entropy of tables without classes, on any structure of known form; None where there are classes.

    O(cells).
    """
    if theta.n_classes is not None:
        return None
    if theta.order > 1:
        return sum(weighted_sum(w, -log(theta[j])) for j, w in enumerate(_chain(theta.order, theta[:])))
    tree = _Tree(theta, theta[:])
    return sum(weighted_sum(tree.arc(j), -log(theta[j])) for j in range(len(theta)))


def arc_information(theta: Tables) -> NDArray[np.float64]:
    """(d,) mutual information of each feature with its parent, 0 of a root; of tables of order 1 without classes."""
    tree = _Tree(theta, theta[:])
    of_arc = np.zeros(len(theta))
    for j, parent in enumerate(tree.parents):
        if parent >= 0:
            apart = np.broadcast_to(log(tree.single[j]), theta[j].shape)
            of_arc[j] = max(_expected(tree.arc(j), log(theta[j]), apart), 0.0)
    return of_arc


def tree_kl_divergence(p: Tables, q: Tables) -> float | None:
    """The divergence of q from p, over the same categories, both without classes; None where that is not known.

    Trees may differ in any way: O(C**3) for each arc of p on the path between the ends of an arc of q (so a product of
    categoricals, or the same tree, costs O(cells)). Chains of an order above one must be of the same.
    """
    if p.n_classes is not None or q.n_classes is not None:
        return None
    if max(p.order, q.order) > 1:
        if p._difference(q) is not None:
            return None
        if any(np.any(s & np.isneginf(log(q[j]))) for j, s in enumerate(_chain(p.order, [t > 0 for t in p]))):
            return float(np.inf)
        return sum(_expected(w, log(p[j]), log(q[j])) for j, w in enumerate(_chain(p.order, p[:])))
    tree = _Tree(p, p[:])
    support: _Tree | None = None
    total = 0.0
    for j in range(len(p)):
        theirs = -1 if q.parents is None else int(q.parents[j])
        log_q = log(q[j])
        impossible = np.isneginf(log_q)
        if impossible.any():
            support = support or _Tree(p, [t > 0 for t in p])
            if np.any(support.pair(theirs, j) & impossible):
                return float(np.inf)
        if theirs == tree.parents[j]:
            total += _expected(tree.arc(j), log(p[j]), log_q)
        else:
            total += weighted_sum(tree.arc(j), log(p[j])) - weighted_sum(tree.pair(theirs, j), log_q)
    return total


def _expected(weights: Weights, log_p: NDArray[np.float64], log_q: NDArray[np.float64]) -> float:
    """Sum of weights * (log_p - log_q)."""
    return weighted_sum(weights, np.where(weights > 0, difference(log_p, log_q), 0.0))


class _Tree:
    """What single features and pairs of them are, on the tree that the tables make: each (C_j,), or (C_parent, C_j)."""

    def __init__(self, theta: Tables, tables: list[Weights]) -> None:
        d = len(theta)
        self.tables = tables
        self.parents = [-1] * d if theta.parents is None else theta.parents.tolist()
        self.depth = [0] * d
        self.single: list[Weights] = [np.empty(0)] * d
        for j in theta.structure.order.tolist():
            parent = self.parents[j]
            if parent < 0:
                self.single[j] = tables[j]
            else:
                self.depth[j] = self.depth[parent] + 1
                self.single[j] = _product(self.single[parent][None], tables[j])[0]

    def arc(self, j: int) -> Weights:
        """(C_parent, C_j) of a feature and its parent; (C_j,) of a root."""
        parent = self.parents[j]
        table: Weights = self.tables[j]
        return table if parent < 0 else self.single[parent][:, None] * table

    def pair(self, i: int, j: int) -> Weights:
        """(C_i, C_j) of two features, or (C_j,) where i is -1: down from where their paths to the root meet."""
        if i < 0:
            return self.single[j]
        to_i: Weights | None = None  # (C_a, C_i) given the ancestor a of i that was reached, and (C_b, C_j)
        to_j: Weights | None = None
        a, b = i, j
        while a != b:
            if self.depth[a] > self.depth[b]:
                a, to_i = self._up(a, to_i)
            elif self.parents[b] >= 0:
                b, to_j = self._up(b, to_j)
            else:
                return self.single[i][:, None] * self.single[j]  # of two trees
        if to_i is None:
            return self.single[a][:, None] * cast(Weights, to_j)
        both: Weights = (self.single[a][:, None] * to_i).T
        return both if to_j is None else _product(both, to_j)

    def _up(self, v: int, below: Weights | None) -> tuple[int, Weights]:
        """The parent of a feature, and what is below given it."""
        table: Weights = self.tables[v]
        return self.parents[v], table if below is None else _product(table, below)


def _product(a: Weights, b: Weights) -> Weights:
    """(I, J) sums over m of a[i, m] * b[m, j], in the order of m; of bool, whether any is true."""
    if a.dtype == np.bool_:
        either: Weights = a @ b
        return either
    total = np.zeros((a.shape[0], b.shape[1]))
    for m in range(a.shape[1]):
        total += a[:, m, None] * b[m]
    return total


def _chain(order: int, tables: list[Weights]) -> Iterator[Weights]:
    """(C, …, C) of each position and its context, contexts propagated by the product and sum rules."""
    context: Weights = np.ones((), tables[0].dtype)
    for table in tables:
        together = context[..., None] * table
        yield together
        context = together
        if context.ndim > order:
            context = np.logical_or.reduce(context) if context.dtype == np.bool_ else np.add.accumulate(context)[-1]
