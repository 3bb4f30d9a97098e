"""JointTable: one parameter for every combination of categories, of which only those that were seen are stored."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import prod
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, _distributions, _rows
from tallydraw.models._combinations import Estimate, Pattern
from tallydraw.models._joint_evidence import fill_draws, fill_modes, marginals
from tallydraw.models._leave_one_out import NOT_OF_THE_FIT
from tallydraw.models._row_counts import RowCounts, count_labelled_rows, present_cells
from tallydraw.models._state import Coverage, Draw, Fitted, Prepared
from tallydraw.models._sums import difference, weighted_sum
from tallydraw.models.base import Model
from tallydraw.sample.categories import COMPONENT, FLAT, write_flat
from tallydraw.sample.features import write_rows
from tallydraw.tables import Tables

__all__ = ["JointTable"]

_BLOCK = 1 << 16


class JointTable(Model):
    """The joint distribution with one parameter for each combination of categories, and of the class where given.

    Parameters
    ----------
    alpha : float, default 0.0
        Pseudocount of every combination. 0.0 is the maximum-likelihood estimate n / N.
    n_categories : int or array_like of int, shape (d,), optional
        Default: the largest code + 1 of each feature at the first fit.
    missing : int, optional
        A code that means missing, besides the negative ones.
    unseen : {"error", "missing"}, default "error"

    Attributes
    ----------
    rows_ : ndarray, shape (D, d)
        The distinct rows that were seen, sorted.
    row_counts_ : ndarray, shape (D,) or (D, K)
        How often, with each class where there is one.

    Notes
    -----
    theta = (n + alpha) / (N + alpha * prod C), and with a class (n + alpha) / (N + alpha * K * prod C): prod(C) - 1 or
    K * prod(C) - 1 parameters. Only rows that were seen are stored, so fits, scores and draws are exact and cheap
    whatever prod C is; the number of combinations is a Python int, and its log is taken from mantissa and
    exponent.

    A row with a missing cell is not counted. Scores sum missing cells out exactly: the stored rows that agree with what
    is observed, and alpha for each of its completions.

    The posterior of the class is the tabular one, #(x, y) / #x where alpha is 0.

    Examples
    --------
    >>> import tallydraw as td
    >>> table = td.JointTable(n_categories=2).fit([[0, 1], [1, 1], [0, 1], [0, 0]])
    >>> table.rows_.tolist(), table.row_counts_.tolist()
    ([[0, 0], [0, 1], [1, 1]], [1, 2, 1])
    >>> table.log_prob([[0, 1], [1, 0]])
    array([-0.69314718,        -inf])
    """

    # What was fitted -------------------------------------------------------------------------------------------------

    @property
    def rows_(self) -> NDArray[Any]:
        """(D, d) distinct rows that were seen, sorted, in the smallest unsigned dtype."""
        return _row_counts(self._require_fitted()).rows

    @property
    def row_counts_(self) -> NDArray[Any]:
        """(D,) or (D, K) counts of ``rows_``; int64, or float64 where rows had weights."""
        return cast(NDArray[Any], self._require_counts().counts.counts)

    @property
    def counts_(self) -> Tables:
        """Not here: see ``rows_`` and ``row_counts_``."""
        raise AttributeError("a JointTable has rows_ and row_counts_ instead of counts_")

    @property
    def probabilities_(self) -> Tables:
        """Not here: see :meth:`dense`."""
        raise AttributeError("a JointTable has log_prob and dense() instead of probabilities_")

    @property
    def class_counts_(self) -> NDArray[Any] | None:
        """(K,) complete rows (or weight) of each class, or None."""
        counts = self.row_counts_
        return counts.sum(axis=0) if counts.ndim == 2 else None

    def seen(self, X: Any, *, n_threads: int | None = None) -> NDArray[np.bool_]:
        """Which rows the table knows.

        Parameters
        ----------
        X : array_like of int, shape (n, d)
        n_threads : int, optional
            Taken for uniformity; one thread searches.

        Returns
        -------
        ndarray of bool, shape (n,)
            Whether the row, or with missing cells one that agrees with it elsewhere, was seen.

        Examples
        --------
        >>> import tallydraw as td
        >>> td.JointTable().fit([[0, 1], [1, 1]]).seen([[0, 1], [0, 0], [-1, 1]])
        array([ True, False,  True])
        """
        _check.thread_count(n_threads)
        prepared = self._prepared()
        codes = self._read_again(X, prepared.fitted).codes
        out = np.empty(len(codes), np.bool_)
        for rows, place, _ in self._matches(codes, prepared.probabilities):
            out[rows] = place >= 0
        return out

    def dense(self, *, max_bytes: int = 2**30, n_threads: int | None = None) -> NDArray[np.float64]:
        """The full table of probabilities, shape (C_1, …, C_d), or (K, C_1, …, C_d) of p(x, y).

        Parameters
        ----------
        max_bytes : int, default 2**30
            A larger table is refused.
        n_threads : int, optional
            The result does not depend on it.

        Raises
        ------
        MemoryError
            The table would need more than `max_bytes`, naming the bytes.

        Examples
        --------
        >>> import tallydraw as td
        >>> td.JointTable(alpha=1).fit([[0, 1], [1, 1]]).dense()
        array([[0.16666667, 0.33333333],
               [0.16666667, 0.33333333]])
        """
        _check.thread_count(n_threads)
        limit = _check.natural("max_bytes", max_bytes)
        prepared = self._prepared()
        estimate: Estimate = prepared.probabilities
        k, sizes = prepared.fitted.n_classes, prepared.fitted.sizes.tolist()
        needed = 8 * (k or 1) * estimate.combinations
        if needed > limit:
            raise MemoryError(
                f"the full table of {_check.shown((k or 1) * estimate.combinations)} combinations needs "
                f"{_check.shown(needed)} bytes, more than "
                f"max_bytes = {limit}; log_prob and sample do without it"
            )
        if len(sizes) + (k is not None) > 32:
            raise MemoryError(f"the full table has {len(sizes)} axes: an array has at most 32")
        table = np.full((k or 1, estimate.combinations), float(estimate.alpha / estimate.total))
        places = _rows.pack(estimate.rows, sizes).astype(np.int64)
        table[:, places] = estimate.theta().T
        full: NDArray[np.float64] = table.reshape(([] if k is None else [k]) + sizes)
        return full

    # What the model is -----------------------------------------------------------------------------------------------

    def _check_parameters(self, sizes: NDArray[np.int64]) -> None:
        if not _check.is_number(self.alpha):
            raise ValueError(f"alpha of a JointTable is one number for every combination, got {self.alpha!r}")
        super()._check_parameters(sizes)

    def _free_parameters(self, fitted: Fitted) -> int:
        return int(prod(fitted.sizes.tolist())) - 1

    def _count(
        self, data: Any, y: NDArray[np.int64] | None, k: int | None, sizes: Any, weights: Any, n_threads: int | None
    ) -> Any:
        codes = data.codes
        keep = np.ones(len(codes), np.bool_)
        lenient = _check.unseen_rule(self.unseen)
        for a in range(0, len(codes), _BLOCK):
            present = present_cells(codes, a, a + _BLOCK, sizes, self.missing, lenient)
            if present is not None:
                keep[a : a + _BLOCK] = present.all(axis=1)
        if not keep.all():
            codes = codes[keep]
            y = None if y is None else y[keep]
            weights = None if weights is None else weights[keep]
        return count_labelled_rows(codes, y, k, weights, _check.smallest_unsigned(int(sizes.max()) - 1))

    def _estimate(self, fitted: Fitted) -> tuple[Any, Tables | None]:
        estimate = Estimate(fitted.counts, fitted.sizes, Fraction(np.asarray(self.alpha).item()))
        return estimate, None if fitted.classes is None else estimate.prior()

    def _given(self, fitted: Fitted) -> tuple[Any, Tables | None]:
        return Estimate(fitted.probabilities, fitted.sizes, Fraction(0)), fitted.class_prior

    def _stated(self, tables: Any, prior: Tables | None) -> tuple[Any, NDArray[np.int64]]:
        """One table of shape ``([K,] C_1, …, C_d)``: p(x), or p(x | y); it may come in a list of one."""
        if isinstance(tables, (list, tuple, Tables)) and len(tables) == 1:
            tables = tables[0]
        array = _check.unmasked("tables", tables)
        k = None if prior is None else int(prior.n_categories[0])
        if array.ndim < (1 if k is None else 2) or (k is not None and array.shape[0] != k):
            raise ValueError(
                f"tables must be one array of shape ([K,] C_1, …, C_d), got {array.shape} with {k} classes"
            )
        flat = _distributions.distributions("tables", array.reshape(-1) if k is None else array.reshape(k, -1), (-1,))
        sizes = np.array(array.shape if k is None else array.shape[1:], np.int64)
        given = flat[:, None] if prior is None else flat.T
        kept = np.flatnonzero(given.any(axis=1))
        rows = np.stack(np.unravel_index(kept, sizes.tolist()), axis=1)
        rows = rows.astype(_check.smallest_unsigned(int(sizes.max()) - 1))
        given = given[kept]
        return RowCounts(rows, given[:, 0] if prior is None else given * prior[0], given), sizes

    def _score(self, prepared: Prepared, data: Any, n_threads: int | None) -> NDArray[np.float64]:
        estimate: Estimate = prepared.probabilities
        _check.thread_count(n_threads)
        out = np.empty((len(data), estimate.counts.shape[1]), np.float64)
        for rows, place, pattern in self._matches(data.codes, estimate):
            out[rows] = pattern.logs[place]
        return out

    def _best_scores(self, prepared: Prepared, data: Any, n_threads: int | None) -> NDArray[np.float64]:
        estimate: Estimate = prepared.probabilities
        out = np.empty((len(data), estimate.counts.shape[1]), np.float64)
        for rows, place, pattern in self._matches(data.codes, estimate):
            out[rows] = pattern.best_logs(estimate)[place]
        return out

    def _fill(self, prepared: Prepared, data: Any, maximize: bool, draw: Draw) -> None:
        estimate: Estimate = prepared.probabilities
        fill = fill_modes if maximize else fill_draws
        fill(estimate, data.codes, self._matches(data.codes, estimate), draw)

    def _marginals(
        self, prepared: Prepared, data: Any, posterior: NDArray[np.float64], n_threads: int | None
    ) -> list[NDArray[np.float64]]:
        estimate: Estimate = prepared.probabilities
        return marginals(estimate, data.codes, self._matches(data.codes, estimate))

    def _matches(self, codes: NDArray[Any], estimate: Estimate) -> Iterator[tuple[Any, NDArray[np.int64], Pattern]]:
        """(rows of X, their places among a pattern's distinct rows or -1, the pattern of observed columns)."""
        lenient = _check.unseen_rule(self.unseen)
        incomplete: list[NDArray[np.int64]] = []
        masks: list[NDArray[np.bool_]] = []
        for a in range(0, len(codes), _BLOCK):
            b = min(len(codes), a + _BLOCK)
            present = present_cells(codes, a, b, estimate.sizes, self.missing, lenient)
            if present is None:
                yield slice(a, b), estimate.full.places(codes[a:b]), estimate.full
                continue
            complete = present.all(axis=1)
            rows = a + np.flatnonzero(complete)
            yield rows, estimate.full.places(codes[rows]), estimate.full
            incomplete.append(a + np.flatnonzero(~complete))
            masks.append(present[~complete])
        if incomplete:
            where = np.concatenate(incomplete)
            patterns, _, group = _rows.distinct(np.concatenate(masks).view(np.uint8))
            order = np.argsort(group, kind="stable")
            ends = np.searchsorted(group[order], np.arange(len(patterns)), side="right")
            begin = 0
            for mask, end in zip(patterns, ends.tolist(), strict=True):
                rows, begin = where[order[begin:end]], end
                pattern = Pattern(estimate, np.flatnonzero(mask))
                yield rows, pattern.places(codes[rows]), pattern

    def _log_evidence(self, prepared: Prepared) -> float:
        return prepared.probabilities.log_evidence()  # type: ignore[no-any-return]

    def _log_likelihood(self, prepared: Prepared) -> float:
        estimate: Estimate = prepared.probabilities
        return weighted_sum(estimate.counts, estimate.full.logs[:-1])

    def _n_rows(self, prepared: Prepared) -> float:
        counts = prepared.fitted.counts.counts
        return float(np.cumsum(counts)[-1]) if counts.size else 0.0

    def _coverage(self, prepared: Prepared) -> Coverage:
        rows = self._n_rows(prepared)  # with a missing cell a row is left out
        return Coverage(rows, cells=np.full(len(prepared.fitted.sizes), rows))

    def _is_weighted(self, prepared: Prepared) -> bool:
        return bool(prepared.fitted.counts.counts.dtype.kind == "f")

    def _leave_one_out(
        self, prepared: Prepared, data: Any, y: NDArray[np.int64] | None, n_threads: int | None
    ) -> NDArray[np.float64]:
        estimate: Estimate = prepared.probabilities
        logs = estimate.logs_without_one()
        out = np.empty(len(data), np.float64)
        for rows, place, pattern in self._matches(data.codes, estimate):
            own = np.zeros(len(place), np.int64) if y is None else y[rows]
            out[rows] = (logs if pattern is estimate.full else pattern.logs)[place, own]
        strays = np.flatnonzero(np.isnan(out))
        if strays.size:
            row = int(strays[0])
            label = "" if y is None else f" with its y[{row}]"
            raise ValueError(f"X[{row}] is {data.codes[row].tolist()}, which{label} {NOT_OF_THE_FIT}")
        return np.minimum(out, 0.0)

    def _ready(self, prepared: Prepared) -> None:
        prepared.probabilities.draws()

    def _draw(self, prepared: Prepared, draw: Draw) -> None:
        estimate: Estimate = prepared.probabilities
        out, y, stream = draw
        n = len(out)
        draws = estimate.draws()
        where: Any = slice(None)
        if draws.uniform is not None:
            write_rows(out, [draws.uniform], None, *stream)
            component = np.empty(n, np.uint8)
            write_flat(component, draws.component.levels(), 2, y, COMPONENT, *stream)
            where = np.flatnonzero(component == 0)
            if len(where) == 0:
                return
        stored = int(draws.stored.n_categories[0])
        place = np.empty(n, _check.smallest_unsigned(stored - 1))
        write_flat(place, draws.stored.levels(), stored, y, FLAT, *stream)
        for a in range(0, n, _BLOCK):
            if isinstance(where, slice):
                out[a : a + _BLOCK] = estimate.rows[place[a : a + _BLOCK]]
            else:
                part = where[a : a + _BLOCK]
                out[part] = estimate.rows[place[part]]

    def _entropy(self, prepared: Prepared) -> float | None:
        p: Estimate = prepared.probabilities.marginal()
        logs = p.full.logs[:-1, 0]
        known = weighted_sum(p.theta()[:, 0], -logs)
        rest = p.unseen_mass(p.combinations - len(p.rows))
        return known + (rest * -p.log_unseen if rest else 0.0)

    def _kl_divergence(self, prepared: Prepared, other: Model, theirs: Prepared) -> float | None:
        p: Estimate = prepared.probabilities.marginal()
        theta, logs = p.theta()[:, 0], p.full.logs[:-1, 0]
        rest = p.combinations - len(p.rows)
        if p.unseen_mass(rest) == 0:
            return weighted_sum(theta, difference(logs, other.log_prob(p.rows)))
        if not isinstance(other, JointTable):
            return None
        q: Estimate = theirs.probabilities.marginal()
        total = weighted_sum(theta, logs - q.full.logs[q.full.places(p.rows), 0])
        # Rows that only the other table has, then those that neither has.
        only = np.flatnonzero(p.full.places(q.rows) < 0)
        total += weighted_sum(np.full(len(only), p.unseen_mass(1)), p.log_unseen - q.full.logs[only, 0])
        rest -= len(only)
        return total + (p.unseen_mass(rest) * (p.log_unseen - q.log_unseen) if rest else 0.0)


def _row_counts(fitted: Fitted) -> RowCounts:
    return cast(RowCounts, fitted.probabilities if fitted.counts is None else fitted.counts)
