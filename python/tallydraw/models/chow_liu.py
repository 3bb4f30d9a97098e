"""ChowLiuTree: every feature depends on at most one other, in the tree that makes the data most likely."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check
from tallydraw._count_pairs import count_pair_cells
from tallydraw._pair_information import seen_together
from tallydraw.information import mutual_information
from tallydraw.log_prob import require_probabilities
from tallydraw.models._em import flat_alpha, penalised_fit
from tallydraw.models._labels import class_codes, label_array
from tallydraw.models._parameters import is_number
from tallydraw.models._spanning import spanning_forest
from tallydraw.models._state import Fitted, Prepared
from tallydraw.models._sums import log
from tallydraw.models._tree_drawing import as_text, draw
from tallydraw.models._tree_model import TreeModel, stacks_of
from tallydraw.pairs import PairTables
from tallydraw.tables import Tables

__all__ = ["ChowLiuTree"]

_PENALTIES = (None, "aic", "bic")


class ChowLiuTree(TreeModel):
    """The tree of features that makes the data most likely: p(y) prod_j p(x_j | x_parent(j), y).

    Parameters
    ----------
    alpha : float, one a category, or one a feature, default 0.0
        Pseudocounts, added to every cell of a table; one a feature lets the root have others. They do not enter the
        choice of the tree. One number smooths the class prior too.
    n_categories : int or array_like of int, shape (d,), optional
        Default: the largest code + 1 of each feature at the first fit.
    missing : int, optional
        A code that means missing, besides the negative ones.
    unseen : {"error", "missing"}, default "error"
    shared : bool, default True
        With a class: whether all classes share one tree (tree-augmented naive Bayes), or each has its own.
    penalty : {None, "aic", "bic"}, default None
        What a free parameter of an arc costs in log-likelihood: nothing, 1, or log(n) / 2. Arcs that do not pay are
        left out, so the tree may become a forest.
    root : int, default 0
        The feature that its tree is rooted at; the other trees of a forest are rooted at their lowest feature. It does
        not change the distribution but for `alpha`, and where cells are missing.

    Attributes
    ----------
    parents_ : ndarray of int64, shape (d,), or (K, d) with one tree a class
        The parent of each feature, -1 for a root.
    pair_counts_ : PairTables

    Notes
    -----
    The maximum spanning tree of the mutual information of the maximum-likelihood estimates (Chow & Liu, 1968,
    "Approximating discrete probability distributions with dependence trees"); with a class and ``shared``, of the
    mutual information given the class (Friedman, Geiger & Goldszmidt, 1997, "Bayesian network classifiers"). Of arcs of
    equal gain the lowest pair of features is taken. A pair that is never seen together is no arc.

    The counts are those of all pairs, so ``partial_fit``, ``+`` and ``-`` are exact, and the tree is that of all data
    so far. A pair with a missing cell is not counted (available cases); scores sum missing cells out exactly. To fit
    costs the counts of d (d - 1) / 2 pairs, to score a row d * K additions. Each class has sum_j C_parent(j) (C_j - 1)
    parameters, the classes K - 1.

    Examples
    --------
    >>> import tallydraw as td
    >>> X = [[0, 0, 1], [0, 0, 0], [1, 1, 1], [1, 1, 0], [1, 0, 1], [0, 0, 1]]
    >>> tree = td.ChowLiuTree(alpha=1).fit(X)
    >>> tree.parents_.tolist(), tree.counts_[1].tolist()
    ([-1, 0, 1], [[3, 0], [1, 2]])
    >>> print(tree.to_text())
    x0
    └─ x1  0.318257
       └─ x2  0.030575
    """

    _parameters = ("alpha", "n_categories", "missing", "unseen", "shared", "penalty", "root")

    def __init__(
        self,
        *,
        alpha: Any = 0.0,
        n_categories: Any = None,
        missing: int | None = None,
        unseen: str = "error",
        shared: bool = True,
        penalty: str | None = None,
        root: int = 0,
    ) -> None:
        super().__init__(alpha=alpha, n_categories=n_categories, missing=missing, unseen=unseen)
        self.shared = shared
        self.penalty = penalty
        self.root = root

    def _checked(self, name: str, value: Any) -> Any:
        if name == "shared":
            return bool(value)
        if name == "penalty" and value not in _PENALTIES:
            raise ValueError(f"penalty must be one of {_PENALTIES}, got {value!r}")
        if name == "root":
            return _check.natural("root", value)
        return super()._checked(name, value)

    # What was fitted -------------------------------------------------------------------------------------------------

    @property
    def parents_(self) -> NDArray[np.int64]:
        """(d,) the parent of each feature, -1 for a root; (K, d) with one tree a class."""
        prepared = self._prepared()
        parents = np.stack([_parents_of(tables) for tables in stacks_of(prepared)])
        parents.flags.writeable = False
        return parents if isinstance(prepared.probabilities, tuple) else parents[0]

    @property
    def pair_counts_(self) -> PairTables:
        """The counts of all pairs of features."""
        return cast(PairTables, self._require_counts().counts)

    @property
    def counts_(self) -> Any:
        """The counts of the tree: Tables, or with one tree a class a tuple of Tables."""
        prepared = self._counted()
        stacks = self._count_stacks(prepared)
        return stacks if isinstance(prepared.probabilities, tuple) else stacks[0]

    def to_text(self) -> str:
        """Draw the tree as text: a line a feature, the mutual information with its parent (given the class) in nats.

        Examples
        --------
        >>> import tallydraw as td
        >>> tree = td.ChowLiuTree(shared=False, penalty="bic").fit([[0, 0], [1, 1]] * 9 + [[0, 1]], ["a"] * 18 + ["b"])
        >>> print(tree.to_text())
        class a
        x0
        └─ x1  0.693147
        class b
        x0
        x1
        """
        prepared = self._prepared()
        texts = []
        for k, parents in enumerate(np.atleast_2d(self.parents_)):
            shared = self._arc_information(prepared, k, parents)
            notes = [""] * len(parents) if shared is None else [f"{value:.6f}" for value in shared]
            texts.append(as_text(parents, self._feature_labels(prepared), notes))
        if not isinstance(prepared.probabilities, tuple):
            return texts[0]
        return "\n".join(f"class {label}\n{text}" for label, text in zip(self._labels(prepared), texts, strict=True))

    def plot(self, ax: Any = None, *, y: Any = None) -> Any:
        """Draw the tree with matplotlib: an arc is the wider the more mutual information its features have.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Default: those of a new figure.
        y : label, optional
            Whose tree to draw, where each class has its own.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            There is no matplotlib: ``pip install 'tallydraw[demo]'``.
        ValueError
            A label that is none of the classes, or one where there is one tree.
        """
        prepared = self._prepared()
        trees = np.atleast_2d(self.parents_)
        k = 0
        if isinstance(prepared.probabilities, tuple):
            if y is None:
                raise ValueError("every class has a tree of its own: pass the label of one, y=")
            k = int(class_codes(label_array(np.asarray(y).reshape(1)), self._labels(prepared))[0])
        elif y is not None:
            raise ValueError("y is given, but there is one tree for all rows")
        parents = trees[k]
        return draw(parents, self._feature_labels(prepared), self._arc_information(prepared, k, parents), ax)

    # What the model is ------------------------------------------------------------------------------------------------

    def _count(
        self, data: Any, y: NDArray[np.int64] | None, k: int | None, sizes: Any, weights: Any, n_threads: int | None
    ) -> PairTables:
        column = None if weights is None else weights[:, None]
        return self._count_pairs(data, y, k, sizes, column, n_threads)

    def _expected_counts(
        self,
        data: Any,
        sizes: NDArray[np.int64],
        weights: NDArray[np.float64],
        prepared: Prepared | None,
        n_threads: int | None,
    ) -> PairTables:
        return self._count_pairs(data, None, weights.shape[1], sizes, weights, n_threads)

    def _count_pairs(
        self, data: Any, y: NDArray[np.int64] | None, k: int | None, sizes: Any, weights: Any, n_threads: int | None
    ) -> PairTables:
        return count_pair_cells(
            data.codes,
            y,
            sizes,
            k,
            weights=weights,
            missing=self.missing,
            unseen=self.unseen,
            n_threads=n_threads,
            name=self._data_name,
        )

    def _estimate(self, fitted: Fitted) -> tuple[Any, Tables | None]:
        pairs = cast(PairTables, fitted.counts)
        class_counts = fitted.class_counts
        prior = None if class_counts is None else class_counts.normalize(self.alpha if is_number(self.alpha) else 0)
        kept = fitted.parents
        if pairs.n_classes is None or self.shared:
            parents = self._learned(pairs) if kept is None else kept[0]
            return pairs.tables(parents).normalize(self.alpha), prior
        of_class = [pairs.of_class(k) for k in range(pairs.n_classes)]
        trees = [self._learned(one) for one in of_class] if kept is None else kept
        stacks = zip(of_class, trees, strict=True)
        return tuple(one.tables(parents).normalize(self.alpha) for one, parents in stacks), prior

    def _settled(self, fitted: Fitted, before: Prepared | None) -> Fitted:
        """The better of the tree of most mutual information and the last one: pseudocounts may prefer that."""
        if before is None or self.penalty is not None or not np.any(flat_alpha(self.alpha, stacks_of(before)[0])):
            return fitted
        pairs = cast(PairTables, fitted.counts)
        parts = [pairs] if self.shared else [pairs.of_class(k) for k in range(cast(int, pairs.n_classes))]
        parents = []
        for part, tables in zip(parts, stacks_of(before), strict=True):
            new, old = self._learned(part), _parents_of(tables)
            same = np.array_equal(new, old)
            worse = not same and (
                penalised_fit(part.tables(new), self.alpha) < penalised_fit(part.tables(old), self.alpha)
            )
            parents.append(old if worse else new)
        return fitted._replace(parents=np.stack(parents))

    def _count_stacks(self, prepared: Prepared) -> tuple[Tables, ...]:
        pairs = cast(PairTables, prepared.fitted.counts)
        trees = [_parents_of(tables) for tables in stacks_of(prepared)]
        if not isinstance(prepared.probabilities, tuple):
            return (pairs.tables(trees[0]),)
        return tuple(pairs.of_class(k).tables(tree) for k, tree in enumerate(trees))

    def _learned(self, pairs: PairTables) -> NDArray[np.int64]:
        """The parents of the forest that gains most."""
        gain = np.asarray(mutual_information(pairs))
        together = seen_together(pairs)
        if self.penalty is not None:
            free = np.multiply.outer(pairs.n_categories - 1, pairs.n_categories - 1) * (pairs.n_classes or 1)
            price = 1.0 if self.penalty == "aic" else 0.5 * log(np.maximum(together, 1.0))
            gain = together * gain - price * free
            gain[gain <= 0] = -np.inf
        gain[together == 0] = -np.inf
        return spanning_forest(gain, self.root)

    def _stated(self, tables: Any, prior: Tables | None) -> tuple[Any, NDArray[np.int64]]:
        k = None if prior is None else int(prior.n_categories[0])
        own = k is not None and not self.shared
        stacks = tuple(tables) if own and not isinstance(tables, Tables) else (tables,)
        if not all(isinstance(stack, Tables) for stack in stacks):
            raise TypeError(
                "tables must be Tables, whose parents are the tree (with shared=False and a class one stack a class): "
                "pass Tables.from_arrays(tables, parents=..., n_classes=...)"
            )
        if own and len(stacks) != k:
            raise ValueError(f"tables must hold one stack a class ({k}), got {len(stacks)}")
        for stack in stacks:
            require_probabilities(stack)
            if stack.order != 1 or stack.n_classes != (None if own else k):
                raise ValueError(
                    f"tables do not fit a ChowLiuTree: order {stack.order}, n_classes {stack.n_classes} (given), "
                    f"order 1, n_classes {None if own else k} (wanted)"
                )
            if not np.array_equal(stack.n_categories, stacks[0].n_categories):
                raise ValueError("tables of the classes differ in n_categories")
        return stacks if own else stacks[0], stacks[0].n_categories

    def _check_parameters(self, sizes: NDArray[np.int64]) -> None:
        super()._check_parameters(sizes)
        if self.root >= len(sizes):
            raise ValueError(f"root must be one of the {len(sizes)} features, got {self.root}")

    def _all_free_parameters(self, fitted: Fitted) -> int:
        prepared = self._prepared()
        total = 0
        for tables in stacks_of(prepared):
            s = tables.structure
            total += s.n_classes * int((s.n_contexts * (s.n_categories - 1)).sum())
        return total

    def _arc_information(self, prepared: Prepared, k: int, parents: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """(d,) mutual information of each feature with its parent, 0 of a root; None without counts."""
        pairs = prepared.fitted.counts
        if pairs is None:
            return None
        if isinstance(prepared.probabilities, tuple):
            pairs = pairs.of_class(k)
        matrix = np.asarray(mutual_information(pairs))
        of_arc: NDArray[np.float64] = np.where(parents >= 0, matrix[np.arange(len(parents)), parents], 0.0)
        return of_arc

    def _feature_labels(self, prepared: Prepared) -> list[str]:
        names = prepared.fitted.names
        return [f"x{j}" for j in range(len(prepared.fitted.sizes))] if names is None else [str(name) for name in names]

    @staticmethod
    def _labels(prepared: Prepared) -> NDArray[Any]:
        return cast(NDArray[Any], prepared.classes)


def _parents_of(tables: Tables) -> NDArray[np.int64]:
    return np.full(len(tables), -1) if tables.parents is None else tables.parents
