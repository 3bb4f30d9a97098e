"""MarkovChain: each feature given the ones just before it; or one shared table for sequences of any length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tallydraw import _check
from tallydraw._sequences import Block, Sequences
from tallydraw._structure import Structure, make_structure
from tallydraw.count import count_cells, count_soft_cells, count_steps, infer_states, refuse_sparse_states
from tallydraw.log_prob import score_paths
from tallydraw.models._em import FittedByEM, check_missing_fit, climb, expected_tables, make_history, one_row
from tallydraw.models._hidden_steps import HiddenSteps
from tallydraw.models._leave_one_out import NOT_OF_THE_FIT, log_prob_without_own
from tallydraw.models._state import Coverage, Draw, Fitted, Prepared
from tallydraw.models._sums import log, running_sum, weighted_sum
from tallydraw.models._tree_model import TreeModel
from tallydraw.sample.paths import write_paths
from tallydraw.tables import Tables

__all__ = ["MarkovChain"]


class MarkovChain(FittedByEM, TreeModel):
    """A Markov chain of order k over features in their order, or over sequences of any length; with a class or without.

    Parameters
    ----------
    alpha : float, or as in :meth:`Tables.normalize`, default 0.0
        Pseudocounts. 0.0 is the maximum-likelihood estimate n / N. One number smooths the class prior too.
    n_categories : int or array_like of int, shape (d,), optional
        Default: the largest code + 1 at the first fit, of each feature, or of all states where `homogeneous`.
    missing : int, optional
        A code that means missing, besides the negative ones.
    unseen : {"error", "missing"}, default "error"
    order : int, default 1
        How many of the preceding features, or states, the next one depends on. A position-wise chain of order d - 1 is
        the chain rule itself: every joint table.
    homogeneous : bool, default False
        False: rows of d features and a table for each position. True: sequences of states, one table for the first
        state, the second, …, the k-th, and one for every later step.
    missing_fit : {"available", "em"}, default "available"
        What a fit to rows with missing cells, or to sequences with missing states, is: "available" counts the cells
        whose predecessors are observed; "em" is the maximum of the likelihood of all that is observed (with `alpha`,
        penalised), right where cells are missing at random: ``counts_`` are then expected counts, float64. Of
        sequences at order 1 alone.

    Attributes
    ----------
    objective_ : ndarray of float64
        Of ``missing_fit="em"``: the penalised log-likelihood before each iteration; it never falls but by rounding.
        Without the class prior; empty where nothing is expected, as no cell is missing.
    n_iter_ : int
        How many iterations EM took.
    converged_ : bool
        Whether EM ended because an iteration gained less than 1e-9 nats a row, not after 1000 of them: then a
        RuntimeWarning says so.

    Notes
    -----
    A feature depends on the C**k combinations of the k before it: 2 n - 1 parameters for n binary features at order 1,
    2**n - 1 at order n - 1. A table row of a state that was never left is uniform.

    Scores, completions and marginals sum missing cells out exactly at every order. With ``missing_fit="em"`` (Dempster,
    Laird & Rubin, 1977), which finds a local maximum, from the available cases on, an iteration costs about three
    scores of the rows with missing cells. A feature that is never seen stays uniform, and those beside it independent
    of each other. Where the chain is not the truth, complete held-out rows may fit worse than with "available": whole
    rows are most probable under the tables of neighbours, which available cases are, while EM bends them so that cells
    further apart agree across the gaps.

    Sequences (`homogeneous`) are a 2-D array, a list of 1-D arrays, or one flat array with ``offsets=``: sequence i is
    ``X[offsets[i]:offsets[i + 1]]``. A missing state breaks its sequence: no transition touches it, and what follows
    it is not a start; scores sum it out at order 1. With ``missing_fit="em"`` it is expected (Baum et al., 1970), but
    for those after the last known state, which say nothing: an iteration costs O(C**2) for each step of the longest gap
    and each state that follows a gap, or less, however many sequences there are. EM finds a local maximum. It begins at
    the transitions that are seen, a row more in each cell, and up to another one for the gaps between the two states,
    as if each were one step. Where only every second state is seen, chains that go back and forth and others may fit
    equally well: one that stays is found.

    Examples
    --------
    >>> import tallydraw as td
    >>> chain = td.MarkovChain().fit([[0, 0, 1], [0, 1, 1], [1, 1, 0]])
    >>> chain.n_parameters
    5
    >>> words = td.MarkovChain(homogeneous=True).fit([[0, 1, 1, 2], [0, 2]])
    >>> words.counts_[1].tolist()
    [[0, 1, 1], [0, 1, 1], [0, 0, 0]]
    >>> words.sample(2, length=5, rng=0).shape
    (2, 5)
    """

    _parameters = ("alpha", "n_categories", "missing", "unseen", "order", "homogeneous", "missing_fit")
    _frozen = ("n_categories", "order", "homogeneous", "missing_fit")

    def __init__(
        self,
        *,
        alpha: Any = 0.0,
        n_categories: Any = None,
        missing: int | None = None,
        unseen: str = "error",
        order: int = 1,
        homogeneous: bool = False,
        missing_fit: str = "available",
    ) -> None:
        super().__init__(alpha=alpha, n_categories=n_categories, missing=missing, unseen=unseen)
        self.order = order
        self.homogeneous = homogeneous
        self.missing_fit = missing_fit

    def _checked(self, name: str, value: Any) -> Any:
        if name == "order":
            return _check.natural("order", value, least=1, most=62)
        if name == "missing_fit":
            check_missing_fit(value)
        return bool(value) if name == "homogeneous" else super()._checked(name, value)

    # Sequences come in three forms: all methods that take them take offsets= ------------------------------------------

    def fit(
        self, X: Any, y: Any = None, *, offsets: Any = None, sample_weight: Any = None, n_threads: int | None = None
    ) -> MarkovChain:
        """Count `X`, rows or (with ``homogeneous``) sequences, and `y`, a label for each. See :meth:`Model.fit`.

        Examples
        --------
        >>> import tallydraw as td
        >>> words = td.MarkovChain(homogeneous=True).fit([0, 1, 1, 0, 1], offsets=[0, 3, 5])
        >>> words.counts_[0].tolist(), words.counts_[1].tolist()
        ([2, 0], [[0, 2], [0, 1]])
        """
        return super().fit(self._with_offsets(X, offsets), y, sample_weight=sample_weight, n_threads=n_threads)

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        *,
        classes: Any = None,
        offsets: Any = None,
        sample_weight: Any = None,
        n_threads: int | None = None,
    ) -> MarkovChain:
        """Add the counts of `X`. See :meth:`Model.partial_fit`.

        Examples
        --------
        >>> import tallydraw as td
        >>> words = td.MarkovChain(n_categories=2, homogeneous=True).partial_fit([[0, 1, 1]]).partial_fit([[0, 1]])
        >>> words.counts_[1].tolist()
        [[0, 2], [0, 1]]
        """
        data = self._with_offsets(X, offsets)
        return super().partial_fit(data, y, classes=classes, sample_weight=sample_weight, n_threads=n_threads)

    def log_prob(self, X: Any, *, offsets: Any = None, n_threads: int | None = None) -> NDArray[np.float64]:
        """Log-probability of each row or sequence, the first states included. See :meth:`Model.log_prob`.

        Examples
        --------
        >>> import tallydraw as td
        >>> words = td.MarkovChain(homogeneous=True).fit([[0, 1, 1], [0, 0, 1]])
        >>> words.log_prob([[0, 1], [0, 1, 1, 1], [1]]).round(6)
        array([-0.405465, -0.405465,      -inf])
        """
        return super().log_prob(self._with_offsets(X, offsets), n_threads=n_threads)

    def log_joint(self, X: Any, *, offsets: Any = None, n_threads: int | None = None) -> NDArray[np.float64]:
        """Log-probability of each row or sequence with each class, (n, K). See :meth:`Model.log_joint`.

        Examples
        --------
        >>> import tallydraw as td
        >>> words = td.MarkovChain(homogeneous=True).fit([[0, 1], [0, 0]], ["up", "flat"])
        >>> words.log_joint([[0, 1, 1]]).round(6)  # of the classes flat and up
        array([[     -inf, -1.386294]])
        """
        return super().log_joint(self._with_offsets(X, offsets), n_threads=n_threads)

    def predict_log_proba(self, X: Any, *, offsets: Any = None, n_threads: int | None = None) -> NDArray[np.float64]:
        """Logs of :meth:`predict_proba`, (n, K).

        Examples
        --------
        >>> import tallydraw as td
        >>> words = td.MarkovChain(homogeneous=True).fit([[0, 1], [0, 0]], ["up", "flat"])
        >>> words.predict_log_proba([[0, 1], [0]]).round(6)
        array([[     -inf,  0.      ],
               [-0.693147, -0.693147]])
        """
        return super().predict_log_proba(self._with_offsets(X, offsets), n_threads=n_threads)

    def predict_proba(self, X: Any, *, offsets: Any = None, n_threads: int | None = None) -> NDArray[np.float64]:
        """Posterior of each class, (n, K). See :meth:`Model.predict_proba`.

        Examples
        --------
        >>> import tallydraw as td
        >>> words = td.MarkovChain(homogeneous=True).fit([[0, 1], [0, 0]], ["up", "flat"])
        >>> words.predict_proba([[0, 1], [0]])
        array([[0. , 1. ],
               [0.5, 0.5]])
        """
        return super().predict_proba(self._with_offsets(X, offsets), n_threads=n_threads)

    def predict(self, X: Any, *, offsets: Any = None, n_threads: int | None = None) -> NDArray[Any]:
        """The most probable class of each row or sequence, (n,). See :meth:`Model.predict`.

        Examples
        --------
        >>> import tallydraw as td
        >>> words = td.MarkovChain(homogeneous=True).fit([[0, 1], [0, 0]], ["up", "flat"])
        >>> words.predict([[0, 1], [0, 0, 0]]).tolist()
        ['up', 'flat']
        """
        return super().predict(self._with_offsets(X, offsets), n_threads=n_threads)

    def loo_log_prob(
        self, X: Any, y: Any = None, *, offsets: Any = None, n_threads: int | None = None
    ) -> NDArray[np.float64]:
        """Log-probability of each row or sequence of the fit without its own counts. See :meth:`Model.loo_log_prob`.

        Of a sequence all counts are left out, however often it makes a transition: O(1) a step where there are few
        states, else a sort of the steps. The table is made again for each sequence that has missing states.

        Examples
        --------
        >>> import tallydraw as td
        >>> words = td.MarkovChain(alpha=1, homogeneous=True).fit([[0, 1, 1], [0, 0]])
        >>> others = td.MarkovChain(alpha=1, n_categories=2, homogeneous=True).fit([[0, 1, 1]])
        >>> bool((words.loo_log_prob([[0, 0]]) == others.log_prob([[0, 0]])).all())
        True
        """
        return super().loo_log_prob(self._with_offsets(X, offsets), y, n_threads=n_threads)

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
        """Draw (n, d) rows, or (n, length) sequences, in the smallest unsigned dtype (unsigned arithmetic wraps).

        Parameters
        ----------
        n : int
        length : int
            Required where ``homogeneous``, not taken otherwise.
        y, rng, start, dtype, out, n_threads
            As in :meth:`Model.sample`.

        Examples
        --------
        >>> import tallydraw as td
        >>> words = td.MarkovChain(homogeneous=True).fit([[0, 1, 2, 0]])
        >>> words.sample(2, length=5, rng=0)
        array([[0, 1, 2, 0, 1],
               [0, 1, 2, 0, 1]], dtype=uint8)
        """
        steps = self._check_length(length)
        return self._sample(n, y, rng, start, dtype, out, n_threads, steps)[0]

    def sample_joint(
        self, n: int, *, length: int | None = None, rng: Any = None, start: int = 0, n_threads: int | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Draw rows or sequences and their classes: the `X` that :meth:`sample` draws, and (n,) labels.

        Examples
        --------
        >>> import tallydraw as td
        >>> words = td.MarkovChain(homogeneous=True).fit([[0, 1], [1, 0]], ["up", "down"])
        >>> X, y = words.sample_joint(3, length=2, rng=4)
        >>> X.tolist(), y.tolist()
        ([[0, 1], [1, 0], [0, 1]], ['up', 'down', 'up'])
        """
        return self._sample_joint(n, rng, start, n_threads, self._check_length(length))

    @property
    def n_features_in_(self) -> int:
        """How many features the data has; sequences have no fixed number."""
        if self.homogeneous:
            raise AttributeError("a homogeneous MarkovChain takes sequences of any length")
        return super().n_features_in_

    def _with_offsets(self, X: Any, offsets: Any) -> Any:
        if not self.homogeneous:
            if offsets is not None:
                raise ValueError("offsets= is for sequences: make the MarkovChain with homogeneous=True")
            return X
        return SequenceData(X, offsets, self.missing, self._data_name)

    def _check_length(self, length: Any) -> int | None:
        if self.homogeneous:
            if length is None:
                raise TypeError("a homogeneous MarkovChain draws sequences of any length: pass length=")
            return _check.natural("length", length, most=2**34 - 1)
        if length is not None:
            raise ValueError("length is for a homogeneous MarkovChain; this one draws a state for each of its features")
        return None

    # What the model is ------------------------------------------------------------------------------------------------

    def _parents(self, d: int) -> NDArray[np.int64] | None:
        return np.arange(-1, d - 1)

    def _order(self) -> int:
        return self.order

    def _structure(self, sizes: NDArray[np.int64], n_classes: int | None) -> Structure:
        return make_structure(sizes, self._parents(len(sizes)), n_classes, self.order)

    def _read(self, X: Any) -> Any:
        if isinstance(X, SequenceData):
            return X
        return self._with_offsets(X, None) if self.homogeneous else super()._read(X)

    def _infer_sizes(self, data: Any) -> NDArray[np.int64]:
        if not self.homogeneous:
            return super()._infer_sizes(data)
        return np.full(self.order + 1, infer_states(data, "n_categories= to MarkovChain"))

    def _refuse_sparse(self, data: Any, sizes: NDArray[np.int64], k: int | None) -> None:
        if not self.homogeneous:
            super()._refuse_sparse(data, sizes, k)
        elif self._finds_sizes():
            refuse_sparse_states(data, int(sizes[0]), self._n_table_cells(sizes, k), "n_categories=")

    def _hidden_steps(self, sequences: Any, sizes: NDArray[np.int64]) -> HiddenSteps | None:
        """What missing states hide of checked sequences, if anything; ValueError for one where the order is not 1."""
        data = sequences.within(int(sizes[0]), self.unseen)
        for block in data.blocks() if self.order > 1 else ():
            gone = np.flatnonzero(block.states < 0)
            if gone.size:
                remedy = f"EM of sequences expects it at order 1, not {self.order}; split the sequence there"
                raise data.missing_state(block, int(gone[0]), remedy)
        hidden: HiddenSteps | None = data.hidden_steps(int(sizes[0])) if self.order == 1 else None
        return hidden

    def _asked_sizes(self, d: int) -> NDArray[np.int64]:
        if not self.homogeneous:
            return super()._asked_sizes(d)
        return np.full(self.order + 1, _check.natural("n_categories", self.n_categories, least=1))

    def _check_features(self, data: Any, fitted: Fitted) -> None:
        if not self.homogeneous:
            super()._check_features(data, fitted)

    def _check_parameters(self, sizes: NDArray[np.int64]) -> None:
        super()._check_parameters(sizes)
        if self.homogeneous and (len(sizes) != self.order + 1 or np.any(sizes != sizes[0])):
            raise ValueError(
                f"a homogeneous MarkovChain of order {self.order} has {self.order + 1} tables over the same states, "
                f"got n_categories {sizes.tolist()}"
            )

    def _stated(self, tables: Any, prior: Tables | None) -> tuple[Any, NDArray[np.int64]]:
        stated, sizes = super()._stated(tables, prior)
        self._check_parameters(sizes)
        return stated, sizes

    def _count(
        self, data: Any, y: NDArray[np.int64] | None, k: int | None, sizes: Any, weights: Any, n_threads: int | None
    ) -> Any:
        if not self.homogeneous:
            return super()._count(data, y, k, sizes, weights, n_threads)
        structure = self._structure(sizes, k)
        data = data.within(int(sizes[0]), self.unseen)
        steps: NDArray[Any] = count_steps(data, y, int(sizes[0]), k or 1, self.order, n_threads=n_threads)
        if weights is not None:
            steps = _weighted_steps(data, y, structure, weights, n_threads)
        starts = _first_states(data, self.order)
        first = make_structure(sizes[:-1], self._parents(self.order), k, self.order)
        flat = count_cells(starts, y, first, sample_weight=weights, n_threads=n_threads)
        return self._tables(np.concatenate([flat, steps]), sizes, k, structure)

    def _by_em(
        self,
        fitted: Fitted,
        data: Any,
        y: NDArray[np.int64] | None,
        weights: NDArray[np.float64] | None,
        n_threads: int | None,
    ) -> Fitted:
        if self.missing_fit == "available":
            return fitted
        if self.homogeneous:
            return self._sequences_by_em(fitted, data, y, weights, n_threads)
        rules: dict[str, Any] = {"missing": self.missing, "unseen": self.unseen, "n_threads": n_threads}
        expected, history = expected_tables(data.codes, y, fitted.counts, alpha=self.alpha, weights=weights, **rules)
        fitted = fitted._replace(history=history)
        if expected is fitted.counts:
            return fitted
        return self._with_likelihood(fitted._replace(counts=expected), data, y, weights, n_threads)

    def _sequences_by_em(
        self,
        fitted: Fitted,
        data: Any,
        y: NDArray[np.int64] | None,
        weights: NDArray[np.float64] | None,
        n_threads: int | None,
    ) -> Fitted:
        hidden = self._hidden_steps(data, fitted.sizes)
        if hidden is None:
            return fitted._replace(history=make_history([], [], 0, True))
        each = np.ones(len(data)) if weights is None else weights
        by_class = np.zeros((len(data), fitted.n_classes or 1))
        by_class[np.arange(len(data)), 0 if y is None else y] = each
        gaps = hidden.weights(by_class)
        available = fitted.counts
        expected, history = climb(
            available,
            available.values,
            lambda theta: hidden.expected(theta, *gaps, n_threads),
            self.alpha,
            weighted_sum(each, 1.0),
            len(data),
            hidden.leaning(gaps[0]),
        )
        fitted = fitted._replace(counts=expected, history=history)
        return self._with_likelihood(fitted, data, y, weights, n_threads)

    def _expected_counts(
        self,
        data: Any,
        sizes: NDArray[np.int64],
        weights: NDArray[np.float64],
        prepared: Prepared | None,
        n_threads: int | None,
    ) -> Any:
        if not self.homogeneous:
            return super()._expected_counts(data, sizes, weights, prepared, n_threads)
        k = weights.shape[1]
        structure = self._structure(sizes, k)
        data = data.within(int(sizes[0]), self.unseen)
        one = self._structure(sizes, None)
        steps = [_weighted_steps(data, None, one, np.ascontiguousarray(w), n_threads) for w in weights.T]
        first = make_structure(sizes[:-1], self._parents(self.order), k, self.order)
        starts = count_soft_cells(_first_states(data, self.order), first, weights, n_threads=n_threads)
        counts = np.concatenate([starts, *steps])
        hidden = self._hidden_steps(data, sizes)
        if hidden is not None and prepared is None:  # as EM of one chain begins
            more = one_row(running_sum(weights.reshape(-1)), len(weights))
            counts += more * (1.0 + hidden.leaning(hidden.weights(weights)[0]))
        elif hidden is not None and prepared is not None:
            counts += hidden.expected(prepared.probabilities, *hidden.weights(weights), n_threads)[0]
        return self._tables(counts, sizes, k, structure)

    def _score(self, prepared: Prepared, data: Any, n_threads: int | None) -> NDArray[np.float64]:
        if not self.homogeneous:
            return super()._score(prepared, data, n_threads)
        data = data.within(int(prepared.fitted.sizes[0]), self.unseen)
        return score_paths(data, prepared.probabilities, prepared.log_prior, n_threads=n_threads)

    def _n_cells(self, data: Any) -> int:
        return int(data.lengths.sum()) if self.homogeneous else super()._n_cells(data)

    def _n_rows(self, prepared: Prepared) -> float:
        return float(np.cumsum(prepared.fitted.counts.values)[-1]) if self.homogeneous else super()._n_rows(prepared)

    def _coverage(self, prepared: Prepared) -> Coverage:
        return Coverage(None, states=self._n_rows(prepared)) if self.homogeneous else super()._coverage(prepared)

    def _leave_one_out(
        self, prepared: Prepared, data: Any, y: NDArray[np.int64] | None, n_threads: int | None
    ) -> NDArray[np.float64]:
        if not self.homogeneous:
            return super()._leave_one_out(prepared, data, y, n_threads)
        self._score(prepared, data, n_threads)  # or the error for what cannot be scored
        fitted, n = prepared.fitted, len(data)
        labels = np.zeros(n, np.int64) if y is None else y
        prior = self._prior_without_one(prepared)
        first = np.zeros(n) if prior is None else log(prior[0])[labels]
        out: NDArray[np.float64] = np.full(n, np.nan)
        stray = log_prob_without_own(data, fitted.counts, self.alpha, labels, first, out)
        for block in data.blocks() if stray < 0 else ():
            for i in np.flatnonzero(np.isnan(out[block.begin : block.end])).tolist():
                # Missing states are summed out under all the probabilities: the model is made again.
                piece = SequenceData([block.states[block.offsets[i] : block.offsets[i + 1]]], None, None)
                i += block.begin
                label = None if y is None else y[i : i + 1]
                own = self._count(piece, label, fitted.n_classes, fitted.sizes, None, n_threads)
                if np.any(own.values > fitted.counts.values):
                    stray = i
                    break
                theta = (fitted.counts - own).normalize(self.alpha)
                start = np.full(fitted.n_classes or 1, first[i])
                out[i] = score_paths(piece, theta, start, n_threads=n_threads)[0, labels[i]]
        if stray < 0 and np.isnan(out).any():  # of a class without rows
            stray = int(np.argmax(np.isnan(out)))
        if stray >= 0:
            raise ValueError(f"X[{stray}] is a sequence of which some step {NOT_OF_THE_FIT}")
        return np.minimum(out, 0.0, out=out)

    def _require_evidence(self) -> None:
        if self.homogeneous:
            raise ValueError(
                "complete and marginals are for rows of features, not for sequences; for sequences of one length use "
                "a position-wise chain, homogeneous=False; MarkovChain.from_probabilities([start, A, A, ...]) makes it "
                "of the start and the transition A of order 1"
            )

    def _shape(self, prepared: Prepared, n: int, length: int | None) -> tuple[int, ...]:
        return super()._shape(prepared, n, length) if length is None else (n, length)

    def _draw(self, prepared: Prepared, draw: Draw) -> None:
        if not self.homogeneous:
            return super()._draw(prepared, draw)
        theta = prepared.probabilities
        write_paths(draw.out, theta.structure, theta.levels(), draw.y, None, *draw.stream)

    def _require_features(self, what: str) -> None:
        if self.homogeneous:
            raise ValueError(f"{what} of a homogeneous MarkovChain depends on the length: use a position-wise one")


class SequenceData(Sequences):
    """Checked sequences, some of whose states may mean missing."""

    names = None
    _skip = "set unseen='missing'"

    def __init__(self, X: Any, offsets: Any, missing: int | None, name: str = "X") -> None:
        super().__init__(X, offsets, name, "pass a larger n_categories (a model keeps that of its first fit)")
        self._missing = missing
        self._n_states: int | None = None
        self._hidden: HiddenSteps | None = None

    @property
    def n_features(self) -> int:
        return 0  # any number

    def within(self, n_states: int, unseen: str) -> SequenceData:
        """The same with states that are none of `n_states` missing, where `unseen` says so."""
        limit = n_states if _check.unseen_rule(unseen) else None
        if limit != self._n_states:
            self._n_states, self._hidden = limit, None
        return self

    def hidden_steps(self, n_states: int) -> HiddenSteps | None:
        """What missing states hide, if anything, found once."""
        if self._hidden is None or self._hidden.n_states != n_states:
            self._hidden = HiddenSteps(self, n_states)
        return self._hidden if len(self._hidden) else None

    def largest(self) -> int:
        """The largest state, or -1 where there is none."""
        if self._missing is None:
            return super().largest()
        return max((int(b.states.max()) for b in self.blocks() if b.states.size), default=-1)

    def blocks(self, most: int | None = None) -> Iterator[Block]:
        """Blocks whose missing states are negative."""
        for block in super().blocks(most):
            states = block.states
            drop = None if self._missing is None or self._missing < 0 else states == self._missing
            if self._n_states is not None:
                beyond = states >= self._n_states
                drop = beyond if drop is None else drop | beyond
            if drop is not None and drop.any():
                known = np.minimum(states, 2**63 - 1) if states.dtype == np.uint64 else states  # no state either way
                states = np.where(drop, np.int64(-1), known.astype(np.int64))
            yield Block(block.begin, block.end, states, block.offsets)


def _first_states(data: Sequences, k: int) -> NDArray[np.int64]:
    """(n, k) first states of each sequence, -1 past its end."""
    first = np.full((len(data), k), -1, np.int64)
    for block in data.blocks():
        for step in range(k):
            places = block.offsets[:-1] + step
            rows = np.flatnonzero(places < block.offsets[1:])
            first[block.begin + rows, step] = block.states[places[rows]]
    return first


def _weighted_steps(
    data: Sequences,
    y: NDArray[np.int64] | None,
    structure: Structure,
    weights: NDArray[np.float64],
    n_threads: int | None,
) -> NDArray[np.float64]:
    """Flat ([K,] C, …, C) sums of the weights of the sequences that the transitions are in, in their order."""
    k = structure.n_features - 1
    total = np.zeros(int(structure.offsets[-1]))
    for block in data.blocks():
        if len(block.states) <= k:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(block.states, k + 1)
        whose = np.repeat(np.arange(block.begin, block.end), np.diff(block.offsets))[: len(windows)]
        ends = block.offsets[1:][whose - block.begin]
        # A window across a boundary weighs nothing.
        inside = np.where(np.arange(k, k + len(windows)) < ends, weights[whose], 0.0)
        classes = None if y is None else y[whose]
        total += count_cells(windows, classes, structure, sample_weight=inside, n_threads=n_threads)
    return total[int(structure.offsets[-2]) :]
