"""Mixture: any of the other models with a class that nobody has seen, by expectation-maximisation."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tallydraw import _check, _rows, backend
from tallydraw.models._em import FittedByEM, make_history, warn_unless_converged
from tallydraw.models._names import check_names
from tallydraw.models._parameters import stated_prior
from tallydraw.models._progress import progress_bar
from tallydraw.models._starts import nearest_start, random_start
from tallydraw.models._state import Coverage, Data, Draw, Fitted, History, Prepared
from tallydraw.models._steps import Steps, make_steps, posterior_of
from tallydraw.models._sums import running_sum
from tallydraw.models._tree_model import TreeModel
from tallydraw.models.base import Model
from tallydraw.models.markov import MarkovChain
from tallydraw.models.naive_bayes import NaiveBayes
from tallydraw.sample.categories import COMPONENT
from tallydraw.tables import Tables

__all__ = ["Mixture"]

_STARTS = (None, "kmeans++", "random")
# The share of distinct rows below which equal ones are brought together; the rows, and first their columns, that are
# looked at where combinations are more than so many a row, or in all.
_FEW_DISTINCT, _LOOKED_AT, _FIRST_COLUMNS = 0.7, 4096, 32
_COMBINATIONS, _MOST_COMBINATIONS = 16, 1 << 22
# Components a row: so many are a slip.
_MOST_A_ROW = 64


class Mixture(FittedByEM, Model):
    """A model with a hidden class: p(x) = sum_k w_k p_k(x), every component a model of the same kind.

    Parameters
    ----------
    model : Model
        What a component is: its kind and parameters (`alpha`, `n_categories`, `missing`, …); whether it is fitted does
        not matter. A mixture of :class:`NaiveBayes` is latent class analysis, of ``ChowLiuTree(shared=False)`` a
        mixture of trees.
    n_components : int
    start : {None, "kmeans++", "random"}, default None
        Where EM begins: rows given to the nearest of `n_components` rows that are far from each other, or to all
        components by chance. None is "kmeans++" for rows, and "random" for sequences, which know no other.
    n_init : int, default 1
        EM begins so often anew; the best fit is kept: of the largest held-out log-likelihood where there is
        `validation`, else of the largest penalised log-likelihood.
    max_iter : int, default 1000
        EM ends after so many iterations: it has then not converged, and a RuntimeWarning says so unless `tol` is 0.
    tol : float, default 1e-6
        EM ends when the penalised log-likelihood gains less than this a row, in nats; of 0, when it falls, by rounding.
    patience : int, default 10
        With `validation`, EM ends when so many iterations have not improved the held-out log-likelihood, and keeps the
        parameters of the best one.

    Attributes
    ----------
    weights_ : ndarray of float64, shape (n_components,)
    probabilities_ : Tables, or tuple of Tables
        Table j has shape ``(n_components, [C_parent,] C_j)``; where each component has a tree of its own, one Tables a
        component, without the first axis.
    components_ : tuple of Model
        Each component as a model of its own, of the kind of `model` and without a class: with ``log_prob``, ``sample``,
        ``complete``, …, of a :class:`ChowLiuTree` ``parents_``, ``to_text()`` and ``plot()`` too.
    objective_ : ndarray of float64
        The penalised log-likelihood before each iteration: the sum of log p(x) over the rows, plus alpha * log theta
        over all parameters, less what arcs cost where trees have a `penalty`. Divided by nothing; it never falls but by
        rounding.
    validation_ : ndarray of float64
        The mean held-out log-likelihood before each iteration; empty without `validation`.
    n_iter_ : int
        The iteration that was kept.
    converged_ : bool
        Whether EM ended by `tol` or `patience`, not because of `max_iter` or at an objective of -inf.

    Notes
    -----
    EM (Dempster, Laird & Rubin, 1977; for trees Meila & Jordan, 2000) with pseudocounts: the maximum of the penalised
    likelihood. All sums run in row order, or are exact, and all logs are our own: the same seed gives the same bits on
    every backend, for any threads. An iteration costs a score and a weighted count of each distinct row under each
    component. For :class:`NaiveBayes` groups of features are taken as one: while EM runs, the shares of rows are
    rounded to multiples of at most 2**-50 of the total weight. Less than half of that counts as nothing: with
    ``alpha=0`` a category that is all but unseen in a component becomes impossible there, and a feature of which
    nothing else is left uniform.

    Examples
    --------
    >>> import tallydraw as td
    >>> X = [[0, 0, 0], [0, 0, 1], [1, 1, 1], [1, 1, 0]] * 5
    >>> model = td.Mixture(td.NaiveBayes(alpha=0.1), 2).fit(X, rng=0)
    >>> model.weights_.round(3), model.responsibilities([[0, 0, 1]]).max(axis=1).round(2)
    (array([0.5, 0.5]), array([1.]))
    """

    _parameters = ("model", "n_components", "start", "n_init", "max_iter", "tol", "patience")
    _frozen = ("model", "n_components")
    _fits = ("fit", "from_probabilities")
    _class_purpose = COMPONENT

    def __init__(
        self,
        model: Model,
        n_components: int,
        *,
        start: str | None = None,
        n_init: int = 1,
        max_iter: int = 1000,
        tol: float = 1e-6,
        patience: int = 10,
    ) -> None:
        self.model = model
        self.n_components = n_components
        self.start = start
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.patience = patience
        self._component: TreeModel | None = None  # a fitted model whose class is the component; replaced as a whole
        self._cache: Prepared | None = None

    def _checked(self, name: str, value: Any) -> Any:
        if name == "model":
            if not isinstance(value, TreeModel):
                kind = value.__name__ if isinstance(value, type) else type(value).__name__
                raise TypeError(
                    f"model must be a model such as NaiveBayes() (not a mixture or a joint table), got {kind}"
                )
            return _unfitted(value)
        if name == "start" and not (value is None or (isinstance(value, str) and value in _STARTS)):
            raise ValueError(f"start must be one of {_STARTS}, got {value!r}")
        if name in ("n_components", "n_init", "max_iter", "patience"):  # attempts are numbered in 24 bits
            return _check.natural(name, value, least=1, most=2**24)
        if name == "tol":
            if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
                raise TypeError(f"tol must be a number, got {value!r}")
            if not 0 <= value < np.inf:
                raise ValueError(f"tol must be finite and non-negative, got {value!r}")
            return float(value)
        return value

    # Fit -------------------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        validation: Any = None,
        rng: Any = None,
        progress: bool = False,
        n_threads: int | None = None,
    ) -> Mixture:
        """Fit weights and components to `X` by EM; earlier fits are forgotten, the numbers of categories are not.

        Parameters
        ----------
        X : array_like of int, shape (n, d), or what `model` takes
        y : None
            The class is hidden.
        sample_weight : array_like, shape (n,), optional
        validation : array_like of int, shape (m, d), optional
            Held-out rows that say when to stop. While one of them is impossible, they say nothing.
        rng : None, int, SeedSequence, BitGenerator, Generator or RandomState
            For the starts; None takes fresh entropy.
        progress : bool, default False
            Show a progress bar (needs rich).
        n_threads : int, optional
            The result does not depend on it.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As ``model.fit``; no rows; a `y`. The mixture is then as it was.

        Warns
        -----
        RuntimeWarning
            EM ended after `max_iter` iterations, and `tol` is not 0; or at an objective of -inf.

        Examples
        --------
        >>> import tallydraw as td
        >>> X = [[0, 0, 1], [0, 0, 0], [1, 1, 0], [1, 1, 1]] * 10
        >>> model = td.Mixture(td.NaiveBayes(alpha=0.1), 2, n_init=3).fit(X, validation=[[0, 0, 0], [1, 1, 1]], rng=0)
        >>> model.converged_, len(model.objective_) >= model.n_iter_
        (True, True)
        """
        if y is not None:
            raise ValueError("y is given, but the class of a Mixture is hidden: fit the model itself to known classes")
        component = _unfitted(self.model)
        component._fitted = self._fitted  # whose numbers of categories hold
        data = component._read(X)
        if len(data) == 0:
            raise ValueError("X has no rows: EM needs some")
        sizes = component._sizes(data)
        weights = np.ones(len(data)) if sample_weight is None else _check.sample_weight(sample_weight, len(data))
        if not weights.any():
            raise ValueError("sample_weight is zero for every row: EM needs some weight")
        if self.n_components > _MOST_A_ROW * len(data):
            raise ValueError(
                f"n_components is {self.n_components}, but X has {len(data)} rows: more components than rows change "
                "nothing, pass fewer"
            )
        component._refuse_sparse(data, sizes, self.n_components)
        component._count(data, None, None, sizes, None, n_threads)  # a bad code raises before anything is drawn
        if isinstance(component, MarkovChain) and component.homogeneous:
            component._hidden_steps(data, sizes)
        component._fitted = None
        held_out = None
        if validation is not None:
            held_out = _held_out(_unfitted(self.model), validation, sizes, data.names, n_threads)
        by_distance = self.start == "kmeans++" or (self.start is None and isinstance(data, Data))
        if isinstance(data, Data):
            data, weights = _distinct(_canonical(data, sizes, component), sizes, weights)
        elif by_distance:
            raise ValueError('start="kmeans++" needs rows of features: for sequences leave start= out')
        _require_memory(len(data), self.n_components)
        key = _check.key(rng)
        steps = make_steps(component, data, sizes, weights, self.n_components, n_threads)
        best: _Run | None = None
        with progress_bar(progress, self.n_init, self.max_iter) as tick:
            for attempt in range(self.n_init):
                if by_distance:
                    codes = data.codes.reshape(len(data), -1)
                    first = nearest_start(codes, weights, self.n_components, key, attempt)
                else:
                    first = random_start(len(data), self.n_components, key, attempt, n_threads)
                run = self._run(steps, weights, first, held_out, attempt, tick, n_threads)
                if best is None or (run.score, run.objective) > (best.score, best.objective):
                    best = run
        kept = cast(_Run, best)
        component._fitted = kept.fitted
        component._cache = None
        self._component = component
        remedy = "raise max_iter= or tol=, or pass tol=0 to do with so many iterations"
        warn_unless_converged(kept.history, f"max_iter={self.max_iter}", self.tol, remedy)
        return self

    def partial_fit(self, X: Any, y: Any = None, **options: Any) -> Mixture:
        """Not here: EM needs all rows at once."""
        raise AttributeError("a Mixture has no partial_fit: EM needs all rows at once, call fit")

    def __add__(self, other: Any) -> Any:
        raise TypeError("mixtures do not add: fit one to all rows")

    def __sub__(self, other: Any) -> Any:
        raise TypeError("mixtures do not subtract: fit one to the rows that are left")

    @classmethod
    def from_probabilities(cls, tables: Any, *, class_prior: Any = None, model: Any = None, **params: Any) -> Mixture:
        """Make a mixture of stated components.

        Parameters
        ----------
        tables : Tables, or list of array_like
            Probabilities of each feature, of shape ``(K, [C_parent,] C_j)``.
        class_prior : array_like, shape (K,)
            The weights of the components.
        model : Model, optional
            What a component is; default ``NaiveBayes()``.
        **params
            The mixture's parameters.

        Examples
        --------
        >>> import tallydraw as td
        >>> model = td.Mixture.from_probabilities([[[1, 0], [0.5, 0.5]]], class_prior=[0.5, 0.5])
        >>> model.weights_, model.log_prob([[1]]).round(4)
        (array([0.5, 0.5]), array([-1.3863]))
        """
        if class_prior is None:
            raise ValueError("class_prior is missing: the weights of the components, which sum to one")
        if model is None:
            model = NaiveBayes()
        mixture = cls(model, int(stated_prior(class_prior).n_categories[0]), **params)
        stated = {p: getattr(mixture.model, p) for p in mixture.model._parameters}
        component = type(mixture.model).from_probabilities(tables, class_prior=class_prior, **stated)
        component._fitted = cast(Fitted, component._fitted)._replace(history=make_history([], [], 0, True))
        mixture._component = cast(TreeModel, component)
        return mixture

    # What was fitted -------------------------------------------------------------------------------------------------

    @property
    def weights_(self) -> NDArray[np.float64]:
        """(n_components,) the weights of the components."""
        return cast(Tables, self._prepared().prior)[0]

    @property
    def counts_(self) -> Any:
        """The expected counts, in the form of ``probabilities_``."""
        return self._fitted_component().counts_

    @property
    def components_(self) -> tuple[Model, ...]:
        """(n_components,) the components, each a model of its own: a stated truth, as from ``from_probabilities``.

        It has the parameters and probabilities that the component has here, and no counts: what is done to it does not
        change the mixture. Made anew at each access.

        Examples
        --------
        >>> import tallydraw as td
        >>> X = [[0, 0, 0, 1], [0, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1], [0, 1, 0, 1], [1, 0, 1, 0]] * 5
        >>> trees = td.Mixture(td.ChowLiuTree(alpha=1, shared=False), 2).fit(X, rng=0).components_
        >>> print(trees[1].to_text())
        x0
        └─ x1  0.075382
           ├─ x2  0.118015
           └─ x3  0.118015
        """
        prepared, kind = self._prepared(), self._fitted_component()
        theta = prepared.probabilities
        stacks = theta if isinstance(theta, tuple) else [theta.of_class(k) for k in range(self.n_components)]
        models = tuple(_unfitted(kind) for _ in stacks)
        for model, tables in zip(models, stacks, strict=True):
            model._fitted = Fitted(prepared.fitted.sizes, None, tables, prepared.fitted.names)
        return models

    @property
    def validation_(self) -> NDArray[np.float64]:
        """The mean held-out log-likelihood before each iteration."""
        return self._require_history().validation

    @property
    def classes_(self) -> None:
        """None: the class is hidden."""
        self._require_fitted()

    @property
    def class_counts_(self) -> None:
        """None: the class is hidden; see ``weights_``."""
        self._require_fitted()

    @property
    def class_prior_(self) -> None:
        """None: the class is hidden; see ``weights_``."""
        self._require_fitted()

    def responsibilities(self, X: Any, *, n_threads: int | None = None) -> NDArray[np.float64]:
        """Posterior p(component | x) of each row, (n, n_components).

        Examples
        --------
        >>> import tallydraw as td
        >>> model = td.Mixture.from_probabilities([[[1, 0], [0.5, 0.5]]], class_prior=[0.5, 0.5])
        >>> model.responsibilities([[0], [1]]).round(6)
        array([[0.666667, 0.333333],
               [0.      , 1.      ]])
        """
        prepared = self._prepared()
        scores = self._score(prepared, self._read_again(X, prepared.fitted), n_threads)
        return posterior_of(scores, prepared, n_threads)[0]

    def sample(
        self,
        n: int,
        *,
        length: int | None = None,
        y: Any = None,
        rng: Any = None,
        start: int = 0,
        dtype: DTypeLike | None = None,
        out: NDArray[Any] | None = None,
        n_threads: int | None = None,
    ) -> NDArray[Any]:
        """Draw rows in the smallest unsigned dtype that holds every code (unsigned arithmetic wraps).

        Parameters
        ----------
        n : int
        length : int
            For mixtures of homogeneous chains, and only for these: the length of the sequences.
        y : int, or array_like of int, shape (n,), optional
            Draw from these components.
        rng, start, dtype, out, n_threads
            As in :meth:`Model.sample`.

        Examples
        --------
        >>> import tallydraw as td
        >>> model = td.Mixture.from_probabilities([[[1, 0], [0, 1]], [[1, 0], [0, 1]]], class_prior=[0.5, 0.5])
        >>> model.sample(2, y=[1, 0], rng=0)
        array([[1, 1],
               [0, 0]], dtype=uint8)
        """
        return self._sample(n, y, rng, start, dtype, out, n_threads, self._length(length))[0]

    def sample_joint(
        self, n: int, *, length: int | None = None, rng: Any = None, start: int = 0, n_threads: int | None = None
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Draw rows and their components: the `X` that :meth:`sample` draws, and (n,) numbers of components.

        Examples
        --------
        >>> import tallydraw as td
        >>> model = td.Mixture.from_probabilities([[[1, 0], [0, 1]], [[1, 0], [0, 1]]], class_prior=[0.5, 0.5])
        >>> X, component = model.sample_joint(1000, rng=0)
        >>> bool((X == component[:, None]).all())
        True
        """
        return self._sample(n, None, rng, start, None, None, n_threads, self._length(length))

    # What the model is: its component, with the hidden class as a class ----------------------------------------------

    @property
    def _dimensions(self) -> int:  # type: ignore[override]
        return self._kind._dimensions

    @property
    def _fitted(self) -> Fitted | None:  # type: ignore[override]
        return None if self._component is None else self._component._fitted

    @property
    def _kind(self) -> Model:
        """What knows how data is read: the component, as it was fitted."""
        return self.model if self._component is None else self._component

    def _fitted_component(self) -> Model:
        self._require_fitted()
        return cast(TreeModel, self._component)

    def _prepared(self) -> Prepared:
        return self._fitted_component()._prepared()

    def _read(self, X: Any) -> Any:
        return self._kind._read(X)

    def _check_features(self, data: Any, fitted: Fitted) -> None:
        self._kind._check_features(data, fitted)

    def _length(self, length: Any) -> int | None:
        check = getattr(self._kind, "_check_length", None)
        if check is not None:
            return cast("int | None", check(length))
        if length is not None:
            raise ValueError("length is for mixtures of homogeneous chains")
        return None

    def _all_free_parameters(self, fitted: Fitted) -> int:
        return self._fitted_component()._all_free_parameters(fitted)

    def _score(self, prepared: Prepared, data: Any, n_threads: int | None) -> NDArray[np.float64]:
        return self._fitted_component()._score(prepared, data, n_threads)

    def _shape(self, prepared: Prepared, n: int, length: int | None) -> tuple[int, ...]:
        return self._fitted_component()._shape(prepared, n, length)

    def _ready(self, prepared: Prepared) -> None:
        self._fitted_component()._ready(prepared)

    def _draw(self, prepared: Prepared, draw: Draw) -> None:
        self._fitted_component()._draw(prepared, draw)

    def _require_evidence(self) -> None:
        self._kind._require_evidence()

    def _require_features(self, what: str) -> None:
        self._kind._require_features(what)

    def _best_scores(self, prepared: Prepared, data: Any, n_threads: int | None) -> NDArray[np.float64]:
        return self._fitted_component()._best_scores(prepared, data, n_threads)

    def _fill(self, prepared: Prepared, data: Any, maximize: bool, draw: Draw) -> None:
        self._fitted_component()._fill(prepared, data, maximize, draw)

    def _marginals(
        self, prepared: Prepared, data: Any, posterior: NDArray[np.float64], n_threads: int | None
    ) -> list[NDArray[np.float64]]:
        return self._fitted_component()._marginals(prepared, data, posterior, n_threads)

    def _missing_cells(self, prepared: Prepared, data: Any) -> Any:
        return self._fitted_component()._missing_cells(prepared, data)

    def _with_class(self, method: str) -> Prepared:
        raise AttributeError(
            f"{method} needs a class that was seen, and that of a Mixture is hidden: responsibilities(X) has "
            "p(component | x)"
        )

    def _n_cells(self, data: Any) -> int:
        return self._kind._n_cells(data)

    def _n_rows(self, prepared: Prepared) -> float:
        return self._fitted_component()._n_rows(prepared)

    def _coverage(self, prepared: Prepared) -> Coverage:
        return self._fitted_component()._coverage(prepared)

    def __repr__(self) -> str:
        plain = Mixture(self._kind, self.n_components)
        shown = [f"{p}={getattr(self, p)!r}" for p in self._parameters[2:] if getattr(self, p) != getattr(plain, p)]
        return f"Mixture({', '.join([repr(self._kind), str(self.n_components), *shown])})"

    # EM --------------------------------------------------------------------------------------------------------------

    def _run(
        self,
        steps: Steps,
        weights: NDArray[np.float64],
        responsibilities: NDArray[np.float64],
        held_out: Any,
        attempt: int,
        tick: Any,
        n_threads: int | None,
    ) -> _Run:
        """EM from these responsibilities on."""
        steps.begin(responsibilities)
        row_weight = running_sum(weights)
        objective: list[float] = []
        likelihoods: list[float] = []
        validation: list[float] = []
        best = kept = -1
        settled = False
        fitted: Fitted | None = None
        for iteration in range(self.max_iter):
            steps.maximize()
            logs = steps.expect(last=iteration + 1 == self.max_iter)
            likelihoods.append(steps.likelihood(logs))
            objective.append(likelihoods[-1] + steps.penalty())
            if held_out is not None:
                others = _log_sums(steps.component._score(steps.prepared(), held_out, n_threads), n_threads)
                validation.append(running_sum(others) / len(others))
                if best < 0 or validation[-1] > validation[best] or validation[best] == -np.inf:
                    best, fitted, kept = iteration, steps.fitted(), iteration
            else:
                kept = iteration
            tick(attempt, iteration, objective[-1] / row_weight)
            # Two objectives of -inf differ by NaN: that ends it as well.
            settled = iteration > 0 and not objective[-1] - objective[-2] >= self.tol * row_weight
            if held_out is not None and np.isfinite(validation[best]):
                settled |= iteration - best >= self.patience
            if settled:
                break
        history = make_history(objective, validation, kept + 1, settled)
        found = (fitted or steps.fitted())._replace(log_likelihood=likelihoods[kept], history=history)
        return _Run(found, history, validation[kept] if validation else objective[kept], objective[kept])


class _Run(NamedTuple):
    """One run of EM: what it found, how it went, how good it is."""

    fitted: Fitted
    history: History
    score: float
    objective: float


def _require_memory(n: int, k: int) -> None:
    """Raise where there is no memory for the shares of n rows in k components, before anything is computed."""
    try:
        np.empty((n, k))
    except MemoryError:
        raise MemoryError(
            f"n_components is {k}: the shares of {n} rows in so many components need {8 * n * k} bytes; pass fewer"
        ) from None


def _unfitted(model: Model) -> TreeModel:
    """What a component is, with the same parameters."""
    return cast(TreeModel, type(model)(**{p: getattr(model, p) for p in model._parameters}))


def _held_out(model: Model, validation: Any, sizes: NDArray[np.int64], names: Any, n_threads: int | None) -> Any:
    """Checked rows to stop by, like those of the fit."""
    model.__dict__["_data_name"] = "validation"  # what errors call it
    model._fitted = Fitted(sizes, None, None)
    data = model._read(validation)
    model._check_features(data, model._fitted)
    check_names(names, data.names, "validation")
    if len(data) == 0:
        raise ValueError("validation has no rows: leave it out to do without early stopping")
    model._count(data, None, None, sizes, None, n_threads)  # a bad code raises
    return data


def _canonical(data: Data, sizes: NDArray[np.int64], component: Model) -> Data:
    """Codes whose missing cells are all -1; unsigned where there are none."""
    codes = data.codes
    lenient = _check.unseen_rule(component.unseen)
    if codes.dtype.kind == "i" or component.missing is not None or lenient:
        gone = codes < 0
        if component.missing is not None:
            gone |= codes == component.missing
        if lenient:
            gone |= codes >= sizes
        if gone.any():
            small = codes.astype(np.min_scalar_type(-int(sizes.max())))
            small[gone] = -1
            return replace(data, codes=small)
    return replace(data, codes=codes.astype(np.min_scalar_type(int(sizes.max())), copy=False))


def _distinct(data: Data, sizes: NDArray[np.int64], weights: NDArray[np.float64]) -> tuple[Data, NDArray[np.float64]]:
    """Distinct rows, sorted, and their weights, where rows are equal often enough; of canonical codes."""
    codes = data.codes.reshape(len(data), -1)
    n, least = len(codes), -1 if data.codes.dtype.kind == "i" else 0
    low, ranges = [least] * codes.shape[1], (sizes - least).tolist()
    if len(_rows.groups(ranges)) == 1 and prod(ranges) <= min(_COMBINATIONS * n, _MOST_COMBINATIONS):
        keys = _rows.pack(codes, ranges, low).astype(np.int64)
        seen = np.flatnonzero(np.bincount(keys) > 0)
        if len(seen) > _FEW_DISTINCT * n:
            return data, weights
        rows = _rows.unpack(seen.astype(np.uint64), ranges, low, codes.dtype)
        together = np.bincount(keys, weights)[seen].astype(np.float64)
    else:
        # Rows whose first columns differ are distinct: no more are looked at where these will do.
        looked_at = codes[:_LOOKED_AT]
        for width in (_FIRST_COLUMNS, codes.shape[1]):
            keys = _rows.pack(looked_at[:, :width], ranges[:width], low[:width])
            if _n_distinct(keys) > _FEW_DISTINCT * len(looked_at):
                return data, weights
        rows, _, group = _rows.distinct(codes)
        together = np.bincount(group, weights, minlength=len(rows)).astype(np.float64)
    return replace(data, codes=rows.reshape(len(rows), *data.codes.shape[1:])), together


def _n_distinct(keys: NDArray[Any]) -> int:
    ordered = np.sort(keys)  # of few keys much faster than what np.unique does
    return len(keys) and 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))


def _log_sums(scores: NDArray[np.float64], n_threads: int | None) -> NDArray[np.float64]:
    out = np.empty(len(scores))
    backend.kernels().log_sum_exp(scores, out, backend.threads(_check.thread_count(n_threads), scores.size))
    return out
