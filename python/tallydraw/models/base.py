"""Model: what all models share, from counts to draws, scores, posteriors and distances."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tallydraw import _check, backend
from tallydraw._structure import root_structure
from tallydraw.count import count_cells
from tallydraw.models._em import all_at_once, warn_of_missing_cells
from tallydraw.models._evidence import class_posterior, draw_classes, sample_classes
from tallydraw.models._fits import require_same_categories, require_same_labels
from tallydraw.models._kind import Kind
from tallydraw.models._labels import class_codes, classes_and_codes, codes_of_rows, label_array
from tallydraw.models._names import check_names
from tallydraw.models._parameters import explain_parameters, same_parameter, stated_prior
from tallydraw.models._state import Draw, Fitted, Prepared, Stream
from tallydraw.models._sums import difference, exp, log, weighted_sum
from tallydraw.tables import Tables

__all__ = ["Model"]

M = TypeVar("M", bound="Model")

# Where no closed form is known, an entropy or a divergence sums over all combinations: at most this many.
_MOST_COMBINATIONS = 1 << 20

_STATED = (
    "not its tables: pass its probabilities_ (of a list those of each model), and as class_prior= its class_prior_, "
    "of a Mixture its weights_"
)


class Model(Kind):
    """A joint distribution of discrete features, and of a class where one is given.

    Subclasses: :class:`Categorical`, :class:`JointTable`, :class:`NaiveBayes`, :class:`MarkovChain`,
    :class:`ChowLiuTree`, :class:`Mixture`.

    Parameters
    ----------
    alpha : float, or as in :meth:`Tables.normalize`, default 0.0
        Pseudocounts added to every count. 0.0 is the maximum-likelihood estimate n / N. One number also smooths the
        class prior; one a category or one a feature leaves it at its maximum-likelihood estimate.
    n_categories : int or array_like of int, shape (d,), optional
        Default: the largest code + 1 of each feature at the first fit. Frozen from then on.
    missing : int, optional
        A code that means missing, besides the negative ones.
    unseen : {"error", "missing"}, default "error"
        What a code not below its feature's number of categories is.

    Notes
    -----
    A model holds counts and one table of probabilities made from them. Counts add: :meth:`partial_fit`, ``+`` and ``-``
    replace them as a whole, so a failed call changes nothing and threads may read while one thread fits. Threads that
    fit at once fit models of their own and add them. A pickle holds counts (or stated probabilities) and parameters,
    nothing derived.

    Examples
    --------
    >>> import tallydraw as td
    >>> X, y = [[0, 1], [1, 1], [1, 0]], ["a", "b", "b"]
    >>> models = [td.NaiveBayes(alpha=1), td.MarkovChain(alpha=1), td.ChowLiuTree(alpha=1), td.JointTable(alpha=1)]
    >>> [model.fit(X, y).predict([[0, 1]]).tolist() for model in models]
    [['a'], ['a'], ['a'], ['a']]
    """

    _parameters: ClassVar[tuple[str, ...]] = ("alpha", "n_categories", "missing", "unseen")

    def __init__(
        self, *, alpha: Any = 0.0, n_categories: Any = None, missing: int | None = None, unseen: str = "error"
    ) -> None:
        self.alpha = alpha
        self.n_categories = n_categories
        self.missing = missing
        self.unseen = unseen
        self._fitted = None
        self._cache = None

    def __init_subclass__(cls) -> None:
        explain_parameters(cls)

    # From data to counts ---------------------------------------------------------------------------------------------

    def fit(self: M, X: Any, y: Any = None, *, sample_weight: Any = None, n_threads: int | None = None) -> M:
        """Count `X`, and `y` where given; earlier counts are forgotten, the numbers of categories are not.

        Parameters
        ----------
        X : array_like of int, shape (n, d), or (n,) for a Categorical
            Codes; negative ones and `missing` are missing and not counted. A data frame's column names are kept.
        y : array_like, shape (n,), optional
            A label a row, of any dtype that sorts; -1 is a label like any other, None, NaN and NaT are missing ones.
            None: the model has no class.
        sample_weight : array_like, shape (n,), optional
            Finite and non-negative, of a sum of at most 2**1000; counts are then float64.
        n_threads : int, optional

        Returns
        -------
        self

        Raises
        ------
        TypeError
            Codes that are not integers.
        ValueError
            A code out of range, a missing label, lengths that do not fit, no rows and no `n_categories`. The model is
            then as it was.

        Examples
        --------
        >>> import tallydraw as td
        >>> model = td.NaiveBayes().fit([[0, 1], [1, 1], [1, 0]], ["no", "yes", "yes"])
        >>> model.classes_.tolist(), model.counts_[0].tolist()
        (['no', 'yes'], [[1, 0], [0, 2]])
        """
        fitted = self._fitted = self._count_data(self._read(X), y, None, None, sample_weight, n_threads)
        if fitted.history is not None:
            warn_of_missing_cells(fitted.history)
        return self

    def partial_fit(
        self: M, X: Any, y: Any = None, *, classes: Any = None, sample_weight: Any = None, n_threads: int | None = None
    ) -> M:
        """Add the counts of `X`, and `y` where given, to those there are.

        Parameters
        ----------
        X, y, sample_weight, n_threads
            As in :meth:`fit`.
        classes : array_like, shape (K,), optional
            All labels there will ever be, at the first call. Default: those of the first `y`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As :meth:`fit`; or a label that is none of the classes, naming its row. The model is then as it was.

        Examples
        --------
        >>> import tallydraw as td
        >>> model = td.NaiveBayes(n_categories=2).partial_fit([[0], [1]]).partial_fit([[1]])
        >>> model.counts_[0].tolist()
        [1, 2]
        """
        if self.missing_fit == "em":
            raise all_at_once("partial_fit")
        before = self._fitted
        if before is not None and before.counts is None:
            raise ValueError(f"{self._has_no_counts()} to add to")
        fresh = self._count_data(self._read(X), y, classes, before, sample_weight, n_threads)
        self._fitted = fresh if before is None else self._combine(before, fresh, operator.add)
        return self

    def __add__(self: M, other: M) -> M:
        """The model of both data sets; ValueError where parameters, categories, classes or names differ."""
        return self._merged(other, operator.add, "+")

    def __sub__(self: M, other: M) -> M:
        """The model without the other's data; ValueError where a count would turn negative. Integer counts only."""
        return self._merged(other, operator.sub, "-")

    @classmethod
    def from_probabilities(cls: type[M], tables: Any, *, class_prior: Any = None, **params: Any) -> M:
        """Make a model from a stated truth instead of a fit.

        Parameters
        ----------
        tables : Tables, or list of array_like
            Probabilities of each feature, of shape ``([K,] [C_parent,] C_j)``. Each row sums to one.
        class_prior : array_like, shape (K,), optional
            Probabilities of the classes 0 … K - 1. None: no class.
        **params
            The model's parameters.

        Returns
        -------
        Model
            It scores, draws and predicts; it has no counts.

        Raises
        ------
        ValueError
            A row that does not sum to one, or shapes that do not fit.

        Examples
        --------
        >>> import tallydraw as td
        >>> coins = td.NaiveBayes.from_probabilities([[0.5, 0.5], [0.25, 0.75]])
        >>> coins.sample(3, rng=0).shape
        (3, 2)
        """
        _check.refuse_model("tables", tables, _STATED, None)
        model = cls(**params)
        prior = None if class_prior is None else stated_prior(class_prior)
        k = None if prior is None else int(prior.n_categories[0])
        if k is None and isinstance(tables, Tables) and tables.n_classes is not None:
            raise ValueError(f"tables have {tables.n_classes} classes: pass class_prior=")
        probabilities, sizes = model._stated(tables, prior)
        if params.get("n_categories") is not None:
            asked = model._asked_sizes(len(sizes))
            if not np.array_equal(asked, sizes):
                raise ValueError(f"n_categories is {asked.tolist()}, but the tables have {sizes.tolist()}")
        classes = None if k is None else np.arange(k)
        if classes is not None:
            classes.flags.writeable = False
        model._fitted = Fitted(sizes, None, probabilities, classes=classes, class_prior=prior)
        return model

    # What was fitted -------------------------------------------------------------------------------------------------

    @property
    def counts_(self) -> Tables:
        """The counts; int64, or float64 where rows had weights."""
        return cast(Tables, self._require_counts().counts)

    @property
    def probabilities_(self) -> Tables:
        """The estimates theta, from the counts and alpha."""
        return cast(Tables, self._prepared().probabilities)

    @property
    def classes_(self) -> NDArray[Any] | None:
        """(K,) labels in order, or None."""
        return self._require_fitted().classes

    @property
    def class_counts_(self) -> NDArray[Any] | None:
        """(K,) rows (or weight) of each class, or None."""
        class_counts = self._require_counts().class_counts
        return None if class_counts is None else class_counts[0]

    @property
    def class_prior_(self) -> NDArray[np.float64] | None:
        """(K,) p(y), or None."""
        prior = self._prepared().prior
        return None if prior is None else prior[0]

    @property
    def n_features_in_(self) -> int:
        """How many features the data has."""
        return len(self._require_fitted().sizes)

    @property
    def feature_names_in_(self) -> NDArray[np.object_]:
        """(d,) column names, where the model was fitted to a data frame."""
        names = self._require_fitted().names
        if names is None:
            raise AttributeError(f"this {type(self).__name__} has no names of features: they are those of a data frame")
        return names

    @property
    def n_parameters(self) -> int:
        """How many numbers are free in the model."""
        fitted = self._require_fitted()
        return (fitted.n_classes or 1) - 1 + self._all_free_parameters(fitted)

    # Scores ----------------------------------------------------------------------------------------------------------

    def log_prob(self, X: Any, *, n_threads: int | None = None) -> NDArray[np.float64]:
        """Log-probability of each row, the class summed out.

        Parameters
        ----------
        X : array_like of int, shape (n, d), or (n,) for a Categorical
            Missing cells are summed out exactly.
        n_threads : int, optional

        Returns
        -------
        ndarray of float64, shape (n,)
            In nats; -inf for a row that is impossible.

        Examples
        --------
        >>> import tallydraw as td
        >>> td.Categorical().fit([0, 0, 0, 1]).log_prob([0, 1]).round(6)
        array([-0.287682, -1.386294])
        """
        prepared = self._prepared()
        scores = self._score(prepared, self._read_again(X, prepared.fitted), n_threads)
        if prepared.classes is None:
            out = scores[:, 0]
        else:
            out = np.empty(len(scores), np.float64)
            backend.kernels().log_sum_exp(scores, out, backend.threads(_check.thread_count(n_threads), scores.size))
        return np.minimum(out, 0.0, out=out)  # probabilities that sum to one may round past it

    def log_joint(self, X: Any, *, n_threads: int | None = None) -> NDArray[np.float64]:
        """Log-probability of each row with each class, log p(x, y), prior included.

        Parameters
        ----------
        X : array_like of int, shape (n, d)
        n_threads : int, optional

        Returns
        -------
        ndarray of float64, shape (n, K)

        Raises
        ------
        AttributeError
            The model has no class.

        Examples
        --------
        >>> import tallydraw as td
        >>> model = td.NaiveBayes().fit([[0], [1], [1]], ["a", "a", "b"])
        >>> model.log_joint([[1]]).round(6)
        array([[-1.098612, -1.098612]])
        """
        prepared = self._with_class("log_joint")
        return self._score(prepared, self._read_again(X, prepared.fitted), n_threads)

    def predict_log_proba(self, X: Any, *, n_threads: int | None = None) -> NDArray[np.float64]:
        """Logs of :meth:`predict_proba`, (n, K).

        Examples
        --------
        >>> import tallydraw as td
        >>> model = td.NaiveBayes().fit([[0], [1], [1]], ["a", "a", "b"])
        >>> model.predict_log_proba([[0], [1]]).round(6)
        array([[ 0.      ,      -inf],
               [-0.693147, -0.693147]])
        """
        prepared = self._with_class("predict_log_proba")
        scores = self._score(prepared, self._read_again(X, prepared.fitted), n_threads)
        out = np.empty_like(scores)
        team = backend.threads(_check.thread_count(n_threads), scores.size)
        backend.kernels().log_posterior(scores, prepared.log_prior, out, team)
        return out

    def predict_proba(self, X: Any, *, n_threads: int | None = None) -> NDArray[np.float64]:
        """Posterior p(y | x) of each class, (n, K); a row that is impossible under every class has the prior.

        Examples
        --------
        >>> import tallydraw as td
        >>> model = td.NaiveBayes(n_categories=3).fit([[0], [1], [1], [1]], ["a", "a", "b", "b"])
        >>> model.predict_proba([[0], [2]])
        array([[1. , 0. ],
               [0.5, 0.5]])
        """
        prepared = self._with_class("predict_proba")
        scores = self._score(prepared, self._read_again(X, prepared.fitted), n_threads)
        return class_posterior(scores, prepared.prior, _check.thread_count(n_threads))

    def predict(self, X: Any, *, n_threads: int | None = None) -> NDArray[Any]:
        """The most probable class of each row, (n,), members of ``classes_``; of equal ones the first.

        Examples
        --------
        >>> import tallydraw as td
        >>> td.NaiveBayes().fit([[0], [1], [1]], ["b", "a", "a"]).predict([[0], [1]]).tolist()
        ['b', 'a']
        """
        prepared = self._with_class("predict")
        scores = self._score(prepared, self._read_again(X, prepared.fitted), n_threads)
        best = scores.argmax(axis=1)
        # A row impossible under every class: its posterior is the prior.
        first = np.flatnonzero(np.isneginf(scores[:, 0]) & (best == 0))
        best[first] = int(prepared.log_prior.argmax())
        return cast(NDArray[Any], cast(NDArray[Any], prepared.classes)[best])

    # Draws -----------------------------------------------------------------------------------------------------------

    def sample(
        self,
        n: int,
        *,
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
        y : label, or array_like of labels, shape (n,), optional
            Draw from p(x | y). Default: with a class, p(y) is drawn first.
        rng : None, int, SeedSequence, BitGenerator, Generator or RandomState
            None takes fresh entropy.
        start : int, default 0
            The number of the first row: rows [a, b) are equal to ``sample(b, ...)[a:]`` with the same `rng`.
        dtype : dtype, optional
        out : ndarray, optional
            Written to and returned.
        n_threads : int, optional

        Returns
        -------
        ndarray, shape (n, d)

        Raises
        ------
        ValueError
            A label that is none of the classes, or an `out` or `dtype` that does not fit.

        Examples
        --------
        >>> import tallydraw as td
        >>> model = td.NaiveBayes().fit([[0, 1], [1, 0]], ["a", "b"])
        >>> model.sample(2, y=["b", "a"], rng=1)
        array([[1, 0],
               [0, 1]], dtype=uint8)
        """
        return self._sample(n, y, rng, start, dtype, out, n_threads)[0]

    def sample_joint(
        self, n: int, *, rng: Any = None, start: int = 0, n_threads: int | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Draw rows and their classes: the `X` that :meth:`sample` draws, and (n,) labels.

        Examples
        --------
        >>> import tallydraw as td
        >>> model = td.NaiveBayes().fit([[0, 1], [1, 0]], ["a", "b"])
        >>> X, y = model.sample_joint(5, rng=1)
        >>> bool((model.predict(X) == y).all())
        True
        """
        return self._sample_joint(n, rng, start, n_threads)

    # What follows from observed cells --------------------------------------------------------------------------------

    def complete(
        self,
        X: Any,
        y: Any = None,
        *,
        how: str = "mode",
        rng: Any = None,
        start: int = 0,
        n_threads: int | None = None,
    ) -> NDArray[Any]:
        """Fill the missing cells of each row, in the smallest unsigned dtype (unsigned arithmetic wraps).

        Parameters
        ----------
        X : array_like of int, shape (n, d), or (n,) for a Categorical
            Observed cells are returned as they are.
        y : label, or array_like of labels, shape (n,), optional
            The class of each row. Default: with a class, "sample" draws it from its posterior first, and "mode" takes
            the most probable pair of class and completion.
        how : {"mode", "sample"}, default "mode"
            The most probable completion, with a class and no `y` together with its class, with a mixture together
            with its component (:meth:`marginals` has the most probable values of single cells); of equal ones the
            lowest class, then at each cell, contexts before the cells that depend on them, the lowest code. Or a draw
            from p(x_missing | x_observed).
        rng : None, int, SeedSequence, BitGenerator, Generator or RandomState
            For "sample"; None takes fresh entropy.
        start : int, default 0
            The number of the first row: rows [a, b) can be completed alone, as with :meth:`sample`.
        n_threads : int, optional
            The result does not depend on it.

        Returns
        -------
        ndarray, shape (n, d), or (n,)

        Raises
        ------
        ValueError
            A row whose observed cells are impossible (with its class, where given), naming it; a code out of range; a
            label that is none of the classes.

        Notes
        -----
        Messages to the root, then completion from the root: sum-product (Pearl, 1982) with draws, or max-product
        (Viterbi, 1967; Dawid, 1992). The cost of a row is that of its score, and one draw a missing cell. A row with
        nothing but missing cells is completed to the row that :meth:`sample` draws (not of a Categorical or a
        JointTable, whose samples are flat draws).

        Examples
        --------
        >>> import tallydraw as td
        >>> chain = td.MarkovChain().fit([[0, 0, 0], [0, 0, 1], [1, 1, 1]])
        >>> chain.complete([[-1, 1, -1], [0, -1, -1]])
        array([[1, 1, 1],
               [0, 0, 0]], dtype=uint8)
        """
        if how not in ("mode", "sample"):
            raise ValueError(f'how must be "mode" or "sample", got {how!r}')
        self._require_evidence()
        prepared = self._prepared()
        data = self._read_again(X, prepared.fitted)
        n, team = len(data), _check.thread_count(n_threads)
        start = _check.first_number(start, n)
        codes = self._class_codes(y, n, prepared)
        maximize = how == "mode"
        best = maximize and codes is None and prepared.prior is not None
        scores = self._best_scores(prepared, data, n_threads) if best else self._score(prepared, data, n_threads)
        self._require_possible(scores if codes is None else scores[np.arange(n), codes][:, None])
        if not maximize:
            self._ready(prepared)
        key = 0 if maximize else _check.key(rng)
        if best:
            codes = scores.argmax(axis=1)
        elif prepared.prior is not None and codes is None:
            nothing = np.all(self._missing_cells(prepared, data), axis=1)
            posterior = class_posterior(scores, prepared.prior, team)
            codes = draw_classes(posterior, prepared.prior, nothing, self._class_purpose, key, start, team)
        out = _check.output(self._shape(prepared, n, None), int(prepared.fitted.sizes.max()) - 1, None, None)
        self._fill(prepared, data, maximize, Draw(out, codes, Stream(key, start, team)))
        return out

    def marginals(self, X: Any, *, n_threads: int | None = None) -> list[NDArray[np.float64]]:
        """Probabilities p(x_j | what is seen of the row) of every feature, the class summed out by its posterior.

        Parameters
        ----------
        X : array_like of int, shape (n, d), or (n,) for a Categorical
        n_threads : int, optional
            The result does not depend on it.

        Returns
        -------
        list of d ndarrays of float64, shapes (n, C_j)
            Exactly 1 at the code of an observed cell, 0 beside it.

        Raises
        ------
        ValueError
            A row whose observed cells are impossible, naming it; a code out of range.

        Notes
        -----
        Messages to the root and back (Pearl, 1982): the cost of a row is about twice that of its score.

        Examples
        --------
        >>> import tallydraw as td
        >>> chain = td.MarkovChain().fit([[0, 0], [0, 1], [1, 1]])
        >>> [p.round(6).tolist() for p in chain.marginals([[-1, 1], [0, -1]])]
        [[[0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [0.5, 0.5]]]
        """
        self._require_evidence()
        prepared = self._prepared()
        data = self._read_again(X, prepared.fitted)
        team = _check.thread_count(n_threads)
        scores = self._score(prepared, data, n_threads)
        self._require_possible(scores)
        return self._marginals(prepared, data, class_posterior(scores, prepared.prior, team), team)

    # Information -----------------------------------------------------------------------------------------------------

    def entropy(self, *, n_threads: int | None = None) -> float:
        """Entropy of p(x) in nats, exact: in closed form, or over all combinations where they are at most 2**20.

        Raises
        ------
        ValueError
            There is no closed form and there are too many combinations.

        Examples
        --------
        >>> import tallydraw as td
        >>> round(td.Categorical().fit([0, 1]).entropy(), 6)
        0.693147
        """
        _check.thread_count(n_threads)
        prepared = self._prepared()
        self._require_features("entropy")
        known = self._entropy(prepared)
        if known is None:
            logs = self.log_prob(self._every_row(prepared, "entropy"), n_threads=n_threads)
            known = weighted_sum(exp(logs), -logs)
        return max(known, 0.0) + 0.0  # rounding may pass zero; no -0.0

    def kl_divergence(self, other: Model, *, n_threads: int | None = None) -> float:
        """Kullback-Leibler divergence of `other` from this model in nats, exact as :meth:`entropy`; may be inf.

        Raises
        ------
        ValueError
            The models are not over the same categories, or no exact value can be computed.

        Notes
        -----
        In closed form between any two models without a class that are trees (products, chains of order 1, Chow-Liu
        trees), whatever their arcs: O(C**3) for each arc of this tree on the path between the ends of an arc of the
        other, O(C**2) for arcs that both have. So too between chains of the same order, and from a joint table.

        Examples
        --------
        >>> import tallydraw as td
        >>> X = [[0, 0], [1, 1]]
        >>> round(td.JointTable().fit(X).kl_divergence(td.NaiveBayes().fit(X)), 6)
        0.693147
        """
        if not isinstance(other, Model):
            raise TypeError(f"other must be a Model, got {type(other).__name__}")
        _check.thread_count(n_threads)
        prepared, theirs = self._prepared(), other._prepared()
        for model in (self, other):
            model._require_features("kl_divergence")
        if self._dimensions != other._dimensions or not np.array_equal(prepared.fitted.sizes, theirs.fitted.sizes):
            raise ValueError(
                f"the models differ in their categories: {prepared.fitted.sizes.tolist()} and "
                f"{theirs.fitted.sizes.tolist()}"
            )
        known = self._kl_divergence(prepared, other, theirs)
        if known is None:
            rows = self._every_row(prepared, "kl_divergence")
            logs, others = self.log_prob(rows, n_threads=n_threads), other.log_prob(rows, n_threads=n_threads)
            if np.any(np.isneginf(others) & (logs > -np.inf)):
                return float(np.inf)  # however small the probability there
            known = weighted_sum(exp(logs), difference(logs, others))
        return max(known, 0.0) + 0.0

    # Choosing a model ------------------------------------------------------------------------------------------------

    def log_evidence(self, *, n_threads: int | None = None) -> float:
        """Log marginal likelihood of the counts: every probability integrated out under its Dirichlet(alpha) prior.

        Each table row has a prior of its own; with `tied`, over groups, whose alpha is the sum of their categories'; a
        joint table has one over all combinations and classes. Where alpha is one number, so has the class prior, and
        this is the evidence of rows and classes; otherwise it is that of the rows given their classes.

        Returns
        -------
        float
            In nats, of the data in the order it came (without a multinomial coefficient): the difference of two models
            of the same complete data is a log Bayes factor (:meth:`aic` says what missing cells do to that).
            :func:`estimate_alpha` maximises it over alpha, but for the class.

        Raises
        ------
        ValueError
            An alpha of 0, whose prior is improper: the evidence is then 0 or undefined. Or `bounds`.
        AttributeError
            The model has no counts.

        Notes
        -----
        O(counts). Source: Cooper and Herskovits (1992), A Bayesian method for the induction of probabilistic networks.

        Examples
        --------
        >>> import tallydraw as td
        >>> round(td.Categorical(alpha=1).fit([0, 1, 1]).log_evidence(), 6)  # 1/2 * 1/3 * 2/4
        -2.484907
        """
        _check.thread_count(n_threads)
        prepared = self._counted()
        problem = self._improper(prepared.fitted)
        if problem is not None:
            raise ValueError(f"log_evidence of this {type(self).__name__} is not defined: {problem}")
        return self._log_evidence(prepared)

    def aic(self, *, n_threads: int | None = None) -> float:
        """Akaike's information criterion, -2 L + 2 p: smaller is better (Akaike, 1974).

        L is the log-likelihood of the counts under ``probabilities_``, and ``class_prior_`` where there is a class: the
        sum of ``count * log(probability)``. Where no cell is missing, that is the sum of log p(x), or with a class of
        log p(x, y), over the rows of the fit; where some are, that of the available cases. Of a fit by EM it is the
        log-likelihood of what was seen, under the `alpha` of the fit. p is ``n_parameters``.

        Where cells were missing, models that leave out different cells are not comparable by it: a tree or a chain
        counts no pair, a joint table no row, with a missing cell. Fit by EM, or compare held-out rows by ``log_prob``.

        Raises
        ------
        AttributeError
            The model has no counts.

        Examples
        --------
        >>> import tallydraw as td
        >>> round(td.Categorical().fit([0, 0, 0, 1]).aic(), 6)
        6.498681
        """
        _check.thread_count(n_threads)
        prepared = self._counted()
        return -2.0 * self._log_likelihood(prepared) + 2.0 * _float(self.n_parameters)

    def bic(self, *, n_threads: int | None = None) -> float:
        """Bayesian information criterion, -2 L + p log N: smaller is better (Schwarz, 1978).

        L and p are those of :meth:`aic`. N is the number of rows, or the sum of their weights: with a class that of
        ``class_counts_``, otherwise the largest that any feature has counted (a row whose cells are all missing is not
        there). Of sequences it is the number of states counted.

        Raises
        ------
        AttributeError
            The model has no counts.
        ValueError
            It has counted nothing.

        Examples
        --------
        >>> import tallydraw as td
        >>> round(td.Categorical().fit([0, 0, 0, 1]).bic(), 6)
        5.884976
        """
        _check.thread_count(n_threads)
        prepared = self._counted()
        n = self._n_rows(prepared)
        if n <= 0:
            raise ValueError(f"bic needs data: this {type(self).__name__} has counted no row")
        return -2.0 * self._log_likelihood(prepared) + _float(self.n_parameters) * float(log([n])[0])

    def loo_log_prob(self, X: Any, y: Any = None, *, n_threads: int | None = None) -> NDArray[np.float64]:
        """Log-probability of each row of the fit under the model fitted without it: exact leave-one-out, in one pass.

        Parameters
        ----------
        X : array_like of int, shape (n, d), or (n,) for a Categorical
            Rows of the fit: all of them, or some.
        y : array_like, shape (n,), optional
            Their labels, where the model has a class.
        n_threads : int, optional
            The result does not depend on it.

        Returns
        -------
        ndarray of float64, shape (n,)
            log p(x), or with a class log p(x, y), each from the counts without the row's own. -inf where the other rows
            make it impossible. The mean estimates what a new row scores.

        Raises
        ------
        ValueError
            A row that is none of the fit, as far as a count of zero tells, naming row and column; counts that are
            weighted; `y` missing, or not asked for.
        AttributeError
            The model has no counts.

        Notes
        -----
        One pass of the kernels that score rows. Everything else stays as it is: alpha, the categories, the classes, the
        structure. A row with missing cells is left out as it was counted.

        The model keeps counts, not rows: another row whose every cell was counted, with its context, is taken for one
        of the fit, and its number means nothing. :meth:`log_prob` scores rows that are not of the fit.

        Examples
        --------
        >>> import tallydraw as td
        >>> model = td.Categorical(alpha=1).fit([0, 0, 1])
        >>> bool((model.loo_log_prob([1]) == td.Categorical(alpha=1, n_categories=2).fit([0, 0]).log_prob([1])).all())
        True
        """
        _check.thread_count(n_threads)
        prepared = self._counted()
        if prepared.fitted.log_likelihood is not None:
            raise ValueError("loo_log_prob is not defined for a fit by EM: score rows that were held out")
        if self._is_weighted(prepared):
            raise ValueError("loo_log_prob needs integer counts: weighted rows cannot be taken out of them one by one")
        data = self._read_again(X, prepared.fitted)
        codes = None
        if prepared.classes is not None:
            if y is None:
                raise ValueError("the model was fitted with a class: pass y")
            codes = class_codes(label_array(y, len(data)), prepared.classes)
        elif y is not None:
            raise ValueError("y is given, but the model was fitted without a class")
        return self._leave_one_out(prepared, data, codes, n_threads)

    # What several of these share -------------------------------------------------------------------------------------

    def _count_data(
        self, data: Any, y: Any, classes: Any, before: Fitted | None, weights: Any, n_threads: int | None
    ) -> Fitted:
        """Counts of this data alone; under the classes and names of `before`, the categories of any earlier fit."""
        _check.thread_count(n_threads)
        sizes = self._sizes(data)
        names = data.names
        if before is not None:
            check_names(before.names, names)
            names = before.names
            if (before.classes is None) != (y is None):
                raise ValueError(
                    "y is given, but the model was fitted without a class"
                    if before.classes is None
                    else "the model was fitted with a class: pass y"
                )
        if weights is not None:
            weights = _check.sample_weight(weights, len(data))
        known = codes = k = None
        if y is not None:
            known, codes = classes_and_codes(y, len(data), classes, None if before is None else before.classes)
            k = len(known)
        elif classes is not None:
            raise ValueError("classes is given without y")
        self._refuse_sparse(data, sizes, k)
        fitted = Fitted(sizes, self._count(data, codes, k, sizes, weights, n_threads), None, names, known)
        if codes is not None:
            one = np.array([k], np.int64)
            flat = count_cells(codes, None, root_structure(one), sample_weight=weights, n_threads=n_threads, name="y")
            fitted = fitted._replace(class_counts=Tables(flat, one))
        return self._by_em(fitted, data, codes, weights, n_threads)

    def _merged(self: M, other: M, combine: Callable[[Any, Any], Any], sign: str) -> M:
        if type(other) is not type(self):
            return cast(M, NotImplemented)
        if self.missing_fit == "em":
            raise all_at_once(sign)
        mine, theirs = self._require_counts(), other._require_counts()
        require_same_categories(mine, theirs, sign)
        for name in self._parameters:
            a, b = getattr(self, name), getattr(other, name)
            if name != "n_categories" and not same_parameter(a, b):
                raise ValueError(f"{sign}: {name} differs, {a!r} and {b!r}")
        require_same_labels(mine, theirs, sign)
        model = type(self)(**{name: getattr(self, name) for name in self._parameters})
        model._fitted = self._combine(mine, theirs, combine)
        return model

    def _sample(
        self,
        n: int,
        y: Any,
        rng: Any,
        start: int,
        dtype: Any,
        out: Any,
        n_threads: int | None,
        length: int | None = None,
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Drawn rows, and the codes of their classes."""
        prepared = self._prepared()
        n = _check.natural("n", n)
        start = _check.first_number(start, n)
        team = _check.thread_count(n_threads)
        codes = self._class_codes(y, n, prepared)
        rows = _check.output(self._shape(prepared, n, length), int(prepared.fitted.sizes.max()) - 1, dtype, out)
        self._ready(prepared)
        stream = Stream(_check.key(rng), start, team)  # last: a call that fails leaves the caller's generator as it was
        if prepared.prior is not None and codes is None:
            codes = sample_classes(prepared.prior, n, self._class_purpose, stream)
        self._draw(prepared, Draw(rows, codes, stream))
        return rows, cast(NDArray[np.int64], codes)

    def _sample_joint(
        self, n: int, rng: Any, start: int, n_threads: int | None, length: int | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        classes = self._with_class("sample_joint").classes
        X, y = self._sample(n, None, rng, start, None, None, n_threads, length)
        return X, cast(NDArray[Any], classes)[y]

    def _class_codes(self, y: Any, n: int, prepared: Prepared) -> NDArray[np.int64] | None:
        """(n,) codes of one label, or of a label a row; None where no label is given."""
        if y is None:
            return None
        if prepared.classes is None:
            raise ValueError(f"y is given, but this {type(self).__name__} has no class")
        return codes_of_rows(y, n, prepared.classes)

    def _require_possible(self, scores: NDArray[np.float64]) -> None:
        bad = np.flatnonzero(np.isneginf(scores).all(axis=1))
        if bad.size:
            raise ValueError(
                f"{self._data_name}[{bad[0]}] is impossible under this {type(self).__name__}: nothing follows from it; "
                "leave the row out, or smooth the model with alpha"
            )

    def _every_row(self, prepared: Prepared, what: str) -> NDArray[np.int64]:
        """Every combination of categories, (prod C, d), or (C,) for one variable, to sum over them."""
        sizes = prepared.fitted.sizes.tolist()
        total = math.prod(sizes)
        if total > _MOST_COMBINATIONS:
            raise ValueError(
                f"the exact {what} of this {type(self).__name__} is a sum over {_check.shown(total)} combinations, "
                f"more than {_MOST_COMBINATIONS}: estimate it from draws X = sample(n), by -log_prob(X).mean(), or by "
                "td.kl_divergence_estimate"
            )
        rows: NDArray[np.int64] = np.indices(sizes).reshape(len(sizes), -1).T
        return rows if self._dimensions == 2 else rows[:, 0]


def _float(number: int) -> float:
    """A whole number, however large, as a float64; inf past the largest."""
    return float(number) if number.bit_length() < 1024 else float(np.inf)
