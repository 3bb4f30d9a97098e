"""Kind: what a kind of model says of itself, from which :class:`Model` makes all that users call."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, _distributions
from tallydraw._structure import Structure, root_structure
from tallydraw.count import count_cells, count_soft_cells, infer_categories
from tallydraw.dirichlet import log_evidence
from tallydraw.log_prob import require_probabilities
from tallydraw.models._evidence import missing_cells
from tallydraw.models._kept import Kept
from tallydraw.models._leave_one_out import stray_row, without_one
from tallydraw.models._names import check_names, feature_names
from tallydraw.models._state import Coverage, Data, Draw, Fitted, Prepared
from tallydraw.models._sums import log, weighted_sum
from tallydraw.sample.categories import LABELS
from tallydraw.tables import Tables

OWN_TREES = (
    "a stack for each class: that is a ChowLiuTree with shared=False and class_prior=, or a Mixture with "
    "model=ChowLiuTree(shared=False)"
)


class Kind(Kept):
    """The steps that kinds of models differ in. What is here is right for tables on a structure known beforehand.

    Every step is given what is checked already: data as `_read` makes it, classes as codes, a fit that is there. None
    changes the model.
    """

    _data_name: ClassVar[str] = "X"
    _dimensions: ClassVar[int] = 2
    _class_purpose: ClassVar[int] = LABELS  # of the stream that classes are drawn from
    missing_fit: str = "available"
    alpha: Any
    n_categories: Any
    missing: int | None
    unseen: str

    # Data -------------------------------------------------------------------------------------------------------------

    def _read(self, X: Any) -> Any:
        """Checked data with a length, not yet compared with a fit."""
        return Data(_check.codes(self._data_name, X, ndim=self._dimensions), feature_names(X))

    def _read_again(self, X: Any, fitted: Fitted) -> Any:
        """Data to score: it must be like that of the fit."""
        data = self._read(X)
        self._check_features(data, fitted)
        check_names(fitted.names, data.names)
        return data

    def _check_features(self, data: Any, fitted: Fitted) -> None:
        if data.n_features != len(fitted.sizes):
            raise ValueError(
                f"{self._data_name} has {data.n_features} features, but this {type(self).__name__} has "
                f"{len(fitted.sizes)}"
            )

    def _sizes(self, data: Any) -> NDArray[np.int64]:
        """The numbers of categories: those of the fit, those asked for, or those that are in the data."""
        if self._fitted is not None:
            sizes = self._fitted.sizes
            self._check_features(data, self._fitted)
        elif self.n_categories is not None:
            sizes = self._asked_sizes(data.n_features)
        else:
            sizes = self._infer_sizes(data)
        self._check_parameters(sizes)
        return sizes

    def _asked_sizes(self, d: int) -> NDArray[np.int64]:
        """Those that `n_categories` asks for, of d features."""
        return _check.category_counts(self.n_categories, d)

    def _infer_sizes(self, data: Any) -> NDArray[np.int64]:
        """The numbers of categories that are in the data."""
        if len(data) == 0:
            raise ValueError(f"{self._data_name} has no rows: pass n_categories= to {type(self).__name__}")
        return infer_categories(self._data_name, data.codes, missing=self.missing)

    def _check_parameters(self, sizes: NDArray[np.int64]) -> None:
        """Raise where the parameters do not fit the categories, before anything is counted."""
        _check.alpha_value(self.alpha, sizes)

    def _refuse_sparse(self, data: Any, sizes: NDArray[np.int64], k: int | None) -> None:
        """Raise where tables of sizes found in checked data would be large and all but empty."""
        return

    def _missing_cells(self, prepared: Prepared, data: Any) -> Any:
        """(n, d) which cells of checked data are missing."""
        codes = data.codes.reshape(len(data), len(prepared.fitted.sizes))
        return missing_cells(codes, prepared.fitted.sizes, self.missing, _check.unseen_rule(self.unseen))

    def _n_cells(self, data: Any) -> int:
        """How many cells checked data has, missing ones included."""
        return int(data.codes.size)

    # From data to counts ----------------------------------------------------------------------------------------------

    def _structure(self, sizes: NDArray[np.int64], n_classes: int | None) -> Structure:
        """The shape of the tables."""
        return root_structure(sizes, n_classes)

    def _parents(self, d: int) -> NDArray[np.int64] | None:
        """What features depend on, where all fits agree in that."""
        return None

    def _order(self) -> int:
        """How many of its ancestors a feature depends on."""
        return 1

    def _tables(self, flat: NDArray[Any], sizes: NDArray[np.int64], k: int | None, structure: Structure) -> Tables:
        return Tables(
            flat,
            sizes,
            parents=self._parents(len(sizes)),
            n_classes=k,
            order=self._order(),
            structure=structure,
        )

    def _count(
        self, data: Any, y: NDArray[np.int64] | None, k: int | None, sizes: Any, weights: Any, n_threads: int | None
    ) -> Any:
        """The counts of checked data."""
        structure = self._structure(sizes, k)
        flat = count_cells(
            data.codes,
            y,
            structure,
            sample_weight=weights,
            missing=self.missing,
            unseen=self.unseen,
            n_threads=n_threads,
            name=self._data_name,
        )
        return self._tables(flat, sizes, k, structure)

    @staticmethod
    def _combine(mine: Fitted, theirs: Fitted, combine: Callable[[Any, Any], Any]) -> Fitted:
        """The sum or the difference of two fits to the same features and classes."""
        counts = combine(mine.counts, theirs.counts)
        class_counts = mine.class_counts
        if class_counts is not None:
            class_counts = combine(class_counts, theirs.class_counts)
        return mine._replace(counts=counts, class_counts=class_counts, n_threads=theirs.n_threads)

    def _by_em(
        self,
        fitted: Fitted,
        data: Any,
        y: NDArray[np.int64] | None,
        weights: NDArray[np.float64] | None,
        n_threads: int | None,
    ) -> Fitted:
        """The fit with what its missing cells are expected to be, where `missing_fit` asks for it."""
        return fitted

    def _with_likelihood(
        self,
        fitted: Fitted,
        data: Any,
        y: NDArray[np.int64] | None,
        weights: NDArray[np.float64] | None,
        n_threads: int | None,
    ) -> Fitted:
        """A fit by EM and the log-likelihood of what it saw, which its expected counts do not tell."""
        scores = self._score(Prepared(fitted, (), *self._estimate(fitted)), data, n_threads)
        own = scores[:, 0] if y is None else scores[np.arange(len(y)), y]
        return fitted._replace(log_likelihood=weighted_sum(1.0 if weights is None else weights, own))

    def _expected_counts(
        self,
        data: Any,
        sizes: NDArray[np.int64],
        weights: NDArray[np.float64],
        prepared: Prepared | None,
        n_threads: int | None,
    ) -> Any:
        """The counts of checked data whose row r is of every class k with weights[r, k].

        `prepared` is what the missing cells are expected under, where something depends on them; None: anything.
        """
        k = weights.shape[1]
        structure = self._structure(sizes, k)
        flat = count_soft_cells(
            data.codes, structure, weights, missing=self.missing, unseen=self.unseen, n_threads=n_threads
        )
        return self._tables(flat, sizes, k, structure)

    def _soft_fit(
        self,
        fitted: Fitted,
        data: Any,
        weights: NDArray[np.float64],
        prepared: Prepared | None,
        n_threads: int | None,
    ) -> Fitted:
        """`fitted` with the counts of a step of EM, under which the likelihood is not below that of `prepared`."""
        counts = self._expected_counts(data, fitted.sizes, weights, prepared, n_threads)
        return fitted._replace(counts=counts)

    def _structure_price(self, prepared: Prepared) -> float:
        """What the structure costs in log-likelihood."""
        return 0.0

    # From counts to probabilities -------------------------------------------------------------------------------------

    def _derived(self, fitted: Fitted) -> tuple[Any, Tables | None]:
        self._check_parameters(fitted.sizes)  # some may have been set since the fit
        return self._given(fitted) if fitted.counts is None else self._estimate(fitted)

    def _estimate(self, fitted: Fitted) -> tuple[Any, Tables | None]:
        """Probabilities and class prior from counts."""
        return fitted.counts.normalize(self.alpha), self._prior(fitted)

    def _prior(self, fitted: Fitted) -> Tables | None:
        """p(y), smoothed by an alpha that is one number."""
        if fitted.class_counts is None:
            return None
        return fitted.class_counts.normalize(self.alpha if _check.is_number(self.alpha) else 0)

    def _given(self, fitted: Fitted) -> tuple[Any, Tables | None]:
        """Probabilities and class prior of a stated truth."""
        return fitted.probabilities, fitted.class_prior

    def _stated(self, tables: Any, prior: Tables | None) -> tuple[Any, NDArray[np.int64]]:
        """Checked probabilities of a stated truth, and the numbers of categories."""
        k = None if prior is None else int(prior.n_categories[0])
        if isinstance(tables, Tables):
            require_probabilities(tables)
            stated = tables
        else:
            _check.refuse_model("tables", tables, stack=OWN_TREES)
            parts = [_distributions.distributions(f"tables[{j}]", part, (-1,)) for j, part in enumerate(tables)]
            parents, order = self._parents(len(parts)), self._order()
            if prior is None and parts and parts[0].ndim == 2:
                raise ValueError(f"tables[0] has shape {parts[0].shape}: for tables with classes pass class_prior=")
            stated = Tables.from_arrays(parts, parents=parents, n_classes=k, order=order)
        sizes = stated.n_categories
        structure = self._structure(sizes, k)
        wanted = self._tables(np.zeros(int(structure.offsets[-1])), sizes, k, structure)
        if not np.array_equal(stated.offsets, wanted.offsets) or stated._difference(wanted) is not None:
            raise ValueError(
                f"tables do not fit a {type(self).__name__}: "
                f"{stated._difference(wanted) or 'their shapes differ'} (given, wanted)"
            )
        return stated, sizes

    def _free_parameters(self, fitted: Fitted) -> int:
        """How many numbers are free in one class."""
        s = self._structure(fitted.sizes, None)
        return sum(int(rows) * (int(c) - 1) for rows, c in zip(s.n_contexts, s.n_categories, strict=True))

    def _all_free_parameters(self, fitted: Fitted) -> int:
        """How many numbers are free in all classes."""
        return (fitted.n_classes or 1) * self._free_parameters(fitted)

    # Scores, draws, and what follows from observed cells --------------------------------------------------------------

    @abstractmethod
    def _score(self, prepared: Prepared, data: Any, n_threads: int | None) -> NDArray[np.float64]:
        """(n, K) log p(x, y), or (n, 1) log p(x)."""

    def _shape(self, prepared: Prepared, n: int, length: int | None) -> tuple[int, ...]:
        """The shape of n drawn rows; of `length` steps, where rows have no length of their own."""
        return n, len(prepared.fitted.sizes)

    def _ready(self, prepared: Prepared) -> None:
        """Prepare what draws need, or raise."""
        prepared.probabilities.levels()

    @abstractmethod
    def _draw(self, prepared: Prepared, draw: Draw) -> None:
        """Write the rows that are asked for."""

    def _require_evidence(self) -> None:
        """Raise where rows have no features whose missing cells could be completed."""
        return

    @abstractmethod
    def _best_scores(self, prepared: Prepared, data: Any, n_threads: int | None) -> NDArray[np.float64]:
        """(n, K) log p(x, y) of the most probable completion of each row with each class."""

    @abstractmethod
    def _fill(self, prepared: Prepared, data: Any, maximize: bool, draw: Draw) -> None:
        """Write checked, possible rows, their missing cells completed."""

    @abstractmethod
    def _marginals(
        self, prepared: Prepared, data: Any, posterior: NDArray[np.float64], n_threads: int | None
    ) -> list[NDArray[np.float64]]:
        """p(x_j | what is seen) of checked, possible rows; `posterior` (n, K)."""

    # Information ------------------------------------------------------------------------------------------------------

    def _require_features(self, what: str) -> None:
        """Raise where rows have no features of which p(x) could be summed."""
        return

    def _entropy(self, prepared: Prepared) -> float | None:
        """The entropy in closed form, or None."""
        return None

    def _kl_divergence(self, prepared: Prepared, other: Any, theirs: Prepared) -> float | None:
        """The divergence in closed form, or None; the categories agree."""
        return None

    # What the counts say of a model -----------------------------------------------------------------------------------

    def _count_stacks(self, prepared: Prepared) -> tuple[Tables, ...]:
        """The counts in stacks like those of the probabilities: one for every class, or one for each."""
        return (prepared.fitted.counts,)

    def _improper(self, fitted: Fitted) -> str | None:
        """Why the evidence is not defined, with the remedy, or None."""
        if fitted.log_likelihood is not None:
            return "EM expected what was not seen; bic() is defined"
        if all(a.all() for a in _check.alpha_value(self.alpha, fitted.sizes)):
            return None
        return "alpha is 0 somewhere, an improper prior; pass alpha=1, or what td.estimate_alpha finds"

    def _log_evidence(self, prepared: Prepared) -> float:
        """The evidence, all alpha being positive."""
        stacks = self._count_stacks(prepared)
        return sum(log_evidence(counts, self.alpha) for counts in stacks) + self._class_evidence(prepared.fitted)

    def _class_evidence(self, fitted: Fitted) -> float:
        if fitted.class_counts is None or not _check.is_number(self.alpha):
            return 0.0
        return log_evidence(fitted.class_counts, self.alpha)

    def _log_likelihood(self, prepared: Prepared) -> float:
        """Of the counts, under the probabilities; or what EM found."""
        if prepared.fitted.log_likelihood is not None:
            return prepared.fitted.log_likelihood
        theta = prepared.probabilities if isinstance(prepared.probabilities, tuple) else (prepared.probabilities,)
        parts = list(zip(self._count_stacks(prepared), theta, strict=True))
        if prepared.prior is not None:
            parts.append((cast(Tables, prepared.fitted.class_counts), prepared.prior))
        return sum(weighted_sum(counts.values, log(p.values)) for counts, p in parts)

    def _n_rows(self, prepared: Prepared) -> float:
        """The number of rows, or their weight."""
        if prepared.fitted.class_counts is not None:
            return float(np.cumsum(prepared.fitted.class_counts[0])[-1])
        return max(float(np.cumsum(table)[-1]) for table in self._count_stacks(prepared)[0])

    def _coverage(self, prepared: Prepared) -> Coverage:
        """What the log-likelihood of the counts is of."""
        rows = self._n_rows(prepared)
        if prepared.fitted.log_likelihood is not None:
            return Coverage(rows)
        stacks = self._count_stacks(prepared)
        counted = np.add.reduce([np.add.reduceat(t.values, t.offsets[:-1]) for t in stacks])
        if np.allclose(counted, rows):
            return Coverage(rows, cells=counted)
        if any(len(t.structure.context) for t in stacks):
            return Coverage(None, counted)
        # Where nothing depends on another cell, every cell that was seen is counted.
        return Coverage(None, cells=counted)

    def _is_weighted(self, prepared: Prepared) -> bool:
        return any(counts.values.dtype.kind == "f" for counts in self._count_stacks(prepared))

    def _without_one(self, counts: Tables) -> NDArray[np.float64]:
        """Flat estimates of each cell without one row that is in it; NaN for a cell that none is in."""
        return without_one(counts, self.alpha)

    def _leave_one_out(
        self, prepared: Prepared, data: Any, y: NDArray[np.int64] | None, n_threads: int | None
    ) -> NDArray[np.float64]:
        """(n,) log-probabilities of checked rows, and classes, each without its own counts."""
        counts = self._count_stacks(prepared)
        theta = prepared.probabilities
        if isinstance(theta, tuple):
            theta = tuple(t.seen_as(self._without_one(c)) for t, c in zip(theta, counts, strict=True))
        else:
            theta = theta.seen_as(self._without_one(counts[0]))
        own = prepared._replace(probabilities=theta, prior=self._prior_without_one(prepared))
        scores = self._score(own, data, n_threads)
        out: NDArray[np.float64] = scores[:, 0] if y is None else scores[np.arange(len(y)), y]
        strays = np.flatnonzero(np.isnan(out))
        if strays.size:
            lenient = _check.unseen_rule(self.unseen)
            raise stray_row(self._data_name, data.codes, int(strays[0]), y, counts, self.missing, lenient)
        return np.minimum(out, 0.0)

    def _prior_without_one(self, prepared: Prepared) -> Tables | None:
        """The class prior, each class without one row of its own."""
        if prepared.prior is None:
            return None
        class_counts = cast(Tables, prepared.fitted.class_counts)
        return class_counts._like(without_one(class_counts, self.alpha if _check.is_number(self.alpha) else 0))
