"""ChowLiuTree: every feature depends on at most one other, in the tree that makes the data most likely."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check
from tallydraw._count_pairs import count_pair_cells
from tallydraw._pair_information import mutual_information, pair_information
from tallydraw.log_prob import require_probabilities
from tallydraw.models._divergence import arc_information
from tallydraw.models._em import (
    FittedByEM,
    check_missing_fit,
    expected_soft_tables,
    expected_tables,
    one_row,
    penalised_fit,
    together,
)
from tallydraw.models._evidence import missing_cells
from tallydraw.models._kind import OWN_TREES
from tallydraw.models._labels import class_codes, label_array
from tallydraw.models._spanning import information_forest, spanning_forest
from tallydraw.models._state import Fitted, Prepared
from tallydraw.models._sums import log, running_sum
from tallydraw.models._tree_drawing import as_text, draw
from tallydraw.models._tree_model import TreeModel, stacks_of
from tallydraw.pairs import PairTables, alike, pair_cells
from tallydraw.tables import Tables

__all__ = ["ChowLiuTree"]

_PENALTIES = (None, "aic", "bic")


class ChowLiuTree(FittedByEM, TreeModel):
    """The tree of features that makes the data most likely: p(y) prod_j p(x_j | x_parent(j), y).

    Parameters
    ----------
    alpha : float, one a category, one a feature, or array (d, C), default 0.0
        Pseudocounts, added to every cell of a table; one a feature lets the root have others. The tree is chosen by
        counts of pairs with as many in each cell (of two features the fewer; one a category, and an array, do not
        enter). One number smooths the class prior too.
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
    missing_fit : {"available", "em"}, default "available"
        How the tables of the tree are made of rows with missing cells; the tree is that of the pairs seen together.
        "available" counts each pair where both are observed; "em" is the maximum of the likelihood of all that is
        observed (with `alpha`, penalised), right where cells are missing at random, for one call of ``fit``. Where
        the tree is not the truth, complete held-out rows may fit worse than with "available": whole rows are most
        probable under the tables of the pairs, which available cases are, while EM bends them so that pairs that are no
        arcs agree across missing cells.

    Attributes
    ----------
    parents_ : ndarray of int64, shape (d,), or (K, d) with one tree a class
        The parent of each feature, -1 for a root.
    pair_counts_ : PairTables
    objective_ : ndarray of float64
        Of ``missing_fit="em"``: the penalised log-likelihood before each iteration; it never falls but by rounding.
        Without the class prior; empty where nothing is expected, as no cell is missing, or no arc learned; with one
        tree a class the sum over the classes, each of which ends for itself.
    n_iter_ : int
        How many iterations EM took.
    converged_ : bool
        Whether EM ended because an iteration gained less than 1e-9 nats a row, not after 1000 of them: then a
        RuntimeWarning says so.

    Notes
    -----
    The maximum spanning tree of the mutual information (Chow & Liu, 1968, "Approximating discrete probability
    distributions with dependence trees"), of the maximum-likelihood estimates where `alpha` is 0; with a class and
    ``shared``, of the mutual information given the class (Friedman, Geiger & Goldszmidt, 1997, "Bayesian network
    classifiers"). Of arcs of equal gain the lowest pair of features is taken. A pair that is never seen together is no
    arc.

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

    _parameters = ("alpha", "n_categories", "missing", "unseen", "shared", "penalty", "root", "missing_fit")
    _frozen = ("n_categories", "missing_fit")

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
        missing_fit: str = "available",
    ) -> None:
        super().__init__(alpha=alpha, n_categories=n_categories, missing=missing, unseen=unseen)
        self.shared = shared
        self.penalty = penalty
        self.root = root
        self.missing_fit = missing_fit

    def _checked(self, name: str, value: Any) -> Any:
        if name == "shared":
            if not isinstance(value, (bool, np.bool_)):
                raise TypeError(f"shared must be a bool, got {value!r}")
            return bool(value)
        if name == "penalty" and not (value is None or (isinstance(value, str) and value in _PENALTIES)):
            raise ValueError(f"penalty must be one of {_PENALTIES}, got {value!r}")
        if name == "missing_fit":
            check_missing_fit(value)
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

        It is that of the counts, or of the probabilities where these were stated.

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
            notes = [f"{value:.6f}" for value in self._arc_information(prepared, k, parents)]
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

        Examples
        --------
        >>> import tallydraw as td
        >>> tree = td.ChowLiuTree().fit([[0, 0], [1, 1], [1, 0]])
        >>> ax = tree.plot()  # doctest: +SKIP
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

    def _n_table_cells(self, sizes: NDArray[np.int64], k: int | None) -> int:
        return pair_cells(sizes, k, alike(sizes))

    def _estimate(self, fitted: Fitted) -> tuple[Any, Tables | None]:
        pairs = cast(PairTables, fitted.counts)
        stacks = self._tree_tables(pairs, fitted.parents, fitted.n_threads)
        if fitted.expected is not None:
            expected = fitted.expected if isinstance(fitted.expected, tuple) else (fitted.expected,)
            if [_parents_of(t).tolist() for t in expected] != [_parents_of(t).tolist() for t in stacks]:
                raise ValueError("the parameters say another tree than that of the fit by EM: fit again")
            stacks = expected
        estimated = tuple(tables.normalize(self.alpha) for tables in stacks)
        return estimated if self._own_trees(pairs) else estimated[0], self._prior(fitted)

    def _own_trees(self, pairs: PairTables) -> bool:
        return pairs.n_classes is not None and not self.shared

    def _parts(self, pairs: PairTables) -> list[PairTables]:
        """What one tree is learned from: all counts, or those of one class."""
        return pairs.by_class() if self._own_trees(pairs) else [pairs]

    def _tree_tables(self, pairs: PairTables, kept: Any = None, n_threads: int | None = None) -> tuple[Tables, ...]:
        """The counts of the tree, one stack of tables, or one a class; of the trees that are `kept`, if any."""
        parts = self._parts(pairs)
        if kept is None:
            return tuple(part._tree_tables(self._learned(part, n_threads)) for part in parts)
        return tuple(part.tables(parents) for part, parents in zip(parts, kept, strict=True))

    def _soft_fit(
        self,
        fitted: Fitted,
        data: Any,
        weights: NDArray[np.float64],
        prepared: Prepared | None,
        n_threads: int | None,
    ) -> Fitted:
        """As for every model; with missing cells the first trees stay, with pseudocounts the better of two does."""
        if prepared is None or prepared.fitted.expected is None:
            pairs = self._count_pairs(data, None, weights.shape[1], fitted.sizes, weights, n_threads)
            fitted = fitted._replace(counts=pairs)
        price = self._price(fitted)
        incomplete = missing_cells(data.codes, fitted.sizes, self.missing, _check.unseen_rule(self.unseen)).any()
        if prepared is None:
            parents = np.stack([self._learned(part, n_threads, price) for part in self._parts(pairs)])
            fitted = fitted._replace(parents=parents)
            if not incomplete:
                return fitted
            # A row more in every cell, so that none begins at zero: pairs are not of all rows.
            more = one_row(running_sum(weights.reshape(-1)), len(weights))
            first = tuple(tables._like(tables.values + more) for tables in self._tree_tables(pairs, parents))
            return fitted._replace(expected=first if self._own_trees(pairs) else first[0])
        stacks = stacks_of(prepared)
        if incomplete:
            columns = np.split(weights, len(stacks), axis=1) if len(stacks) > 1 else [weights]
            expected = tuple(
                expected_soft_tables(
                    data.codes,
                    tables,
                    np.ascontiguousarray(part),
                    missing=self.missing,
                    unseen=self.unseen,
                    n_threads=n_threads,
                )
                for tables, part in zip(stacks, columns, strict=True)
            )
            parents = np.stack([_parents_of(tables) for tables in stacks])
            counts = prepared.fitted.counts
            expected_of_all = expected if isinstance(prepared.probabilities, tuple) else expected[0]
            return fitted._replace(counts=counts, parents=parents, expected=expected_of_all)
        trees = []
        for part, tables in zip(self._parts(pairs), stacks, strict=True):
            new, old = self._learned(part, n_threads, price), _parents_of(tables)
            if not np.array_equal(new, old):
                worth = [
                    penalised_fit(counts, self.alpha) - price * _arc_parameters(counts)
                    for counts in (part.tables(new), part.tables(old))
                ]
                new = old if worth[0] < worth[1] else new
            trees.append(new)
        return fitted._replace(parents=np.stack(trees))

    def _price(self, fitted: Fitted) -> float:
        """What a parameter of an arc costs in a mixture: BIC counts the rows of all components."""
        if self.penalty != "bic":
            return 0.0 if self.penalty is None else 1.0
        rows = np.cumsum(cast(Tables, fitted.class_counts).values)[-1]
        return 0.5 * float(log([max(rows, 1.0)])[0])

    def _structure_price(self, prepared: Prepared) -> float:
        return self._price(prepared.fitted) * sum(_arc_parameters(tables) for tables in stacks_of(prepared))

    def _count_stacks(self, prepared: Prepared) -> tuple[Tables, ...]:
        expected = prepared.fitted.expected
        if expected is not None:
            return expected if isinstance(expected, tuple) else (expected,)
        trees = [_parents_of(tables) for tables in stacks_of(prepared)]
        return self._tree_tables(cast(PairTables, prepared.fitted.counts), trees)

    def _by_em(
        self,
        fitted: Fitted,
        data: Any,
        y: NDArray[np.int64] | None,
        weights: NDArray[np.float64] | None,
        n_threads: int | None,
    ) -> Fitted:
        fitted = fitted._replace(n_threads=n_threads)
        if self.missing_fit == "available":
            return fitted
        rules: dict[str, Any] = {"missing": self.missing, "unseen": self.unseen, "n_threads": n_threads}
        pairs = cast(PairTables, fitted.counts)
        own, available = self._own_trees(pairs), self._tree_tables(pairs, n_threads=n_threads)
        expected, histories = [], []
        for k, tables in enumerate(available):
            ours = slice(None) if y is None or not own else y == k
            classes = None if y is None or own else y
            part = None if weights is None else weights[ours]
            found, history = expected_tables(data.codes[ours], classes, tables, alpha=self.alpha, weights=part, **rules)
            expected.append(found)
            histories.append(history)
        fitted = fitted._replace(history=together(histories))
        if all(after is before for after, before in zip(expected, available, strict=True)):
            return fitted
        of_all = tuple(expected) if own else expected[0]
        return self._with_likelihood(fitted._replace(expected=of_all), data, y, weights, n_threads)

    def _learned(self, pairs: PairTables, n_threads: int | None, price: float | None = None) -> NDArray[np.int64]:
        """The parents of the forest that gains most; a parameter costs `price`, if not what its own rows say."""
        d, c = len(pairs), pairs.n_categories
        more = self._pseudocounts(c)
        if self.penalty is None:
            return information_forest(pairs, self.root, pseudocounts=more, n_threads=n_threads)
        together = np.empty(d * (d - 1) // 2)
        gain = pair_information(pairs, pseudocounts=more, seen=together, n_threads=n_threads)
        first, second = np.triu_indices(d, 1)
        free = (c[first] - 1) * (c[second] - 1) * (pairs.n_classes or 1)
        own = 1.0 if self.penalty == "aic" else 0.5 * log(np.maximum(together, 1.0))
        apart = gain == -np.inf
        gain = together * np.where(apart, 0.0, gain) - (own if price is None else price) * free
        gain[apart | (gain <= 0)] = -np.inf
        return spanning_forest(gain, d, self.root)

    def _pseudocounts(self, sizes: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """What each feature has more in each cell of a pair; None where there are none, or some one a category."""
        if type(self.alpha) in (int, float) and self.alpha == 0:
            return None
        alphas = _check.alpha_value(self.alpha, sizes)
        if _check.is_number(self.alpha):
            return np.full(len(sizes), float(alphas[0]))
        return None if any(a.ndim for a in alphas) else np.array([float(a) for a in alphas])

    def _stated(self, tables: Any, prior: Tables | None) -> tuple[Any, NDArray[np.int64]]:
        k = None if prior is None else int(prior.n_categories[0])
        own = k is not None and not self.shared
        stacks = tuple(tables) if own and not isinstance(tables, Tables) else (tables,)
        if not all(isinstance(stack, Tables) for stack in stacks):
            _check.refuse_model("tables", tables, stack=OWN_TREES)
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

    def _arc_information(self, prepared: Prepared, k: int, parents: NDArray[np.int64]) -> NDArray[np.float64]:
        """(d,) mutual information of each feature with its parent, 0 of a root: of the counts, or of a stated truth."""
        pairs = prepared.fitted.counts
        if pairs is None:
            tables = stacks_of(prepared)[k]
            if tables.n_classes is None:
                return arc_information(tables)
            total = np.zeros(len(parents))
            for y, share in enumerate(cast(Tables, prepared.prior)[0]):
                total += share * arc_information(tables.of_class(y))
            return total
        if isinstance(prepared.probabilities, tuple):
            pairs = pairs.of_class(k)
        matrix = mutual_information(pairs)
        of_arc: NDArray[np.float64] = np.where(parents >= 0, matrix[np.arange(len(parents)), parents], 0.0)
        return of_arc

    def _feature_labels(self, prepared: Prepared) -> list[str]:
        names = prepared.fitted.names
        return [f"x{j}" for j in range(len(prepared.fitted.sizes))] if names is None else [str(name) for name in names]

    @staticmethod
    def _labels(prepared: Prepared) -> NDArray[Any]:
        return cast(NDArray[Any], prepared.classes)


def _arc_parameters(tables: Tables) -> int:
    """How many parameters its arcs add to those of independent features."""
    s = tables.structure
    return s.n_classes * int(((s.n_contexts - 1) * (s.n_categories - 1)).sum())


def _parents_of(tables: Tables) -> NDArray[np.int64]:
    return np.full(len(tables), -1) if tables.parents is None else tables.parents
