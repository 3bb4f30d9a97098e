"""The Dirichlet-multinomial: how likely counts are when probabilities are unknown, and which alpha makes them so."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check
from tallydraw._special import digamma_difference, log_rising
from tallydraw.tables import Tables

__all__ = ["estimate_alpha"]

Floats = NDArray[np.float64]

_LEAST, _MOST = -30, 20  # alpha is sought between these powers of two
_HALVINGS = 40


def estimate_alpha(tables: Any, *, per_feature: bool = False, n_threads: int | None = None) -> float | Floats:
    """Pseudocount of every cell that makes the counts most likely: empirical Bayes instead of a guess.

    Each table row is a multinomial sample whose probabilities are drawn from the symmetric Dirichlet(alpha); alpha
    maximises the marginal likelihood, the product over table rows of
    ``Γ(C alpha) / Γ(C alpha + N) * prod_c Γ(alpha + n_c) / Γ(alpha)``.

    Parameters
    ----------
    tables : Tables, or sequence of array_like
        Counts, int64 or weighted: of :func:`count_features`, ``counts_`` of a model (of a tree for each class, too), or
        one array a feature as in :meth:`Tables.from_arrays`.
    per_feature : bool, default False
        One alpha for each table instead of one for all.
    n_threads : int, optional
        The result does not depend on it.

    Returns
    -------
    float, or ndarray of float64, shape (d,)
        To be passed on as ``alpha=``. A maximum between 2**-30 and 2**20 is found to a relative 2**-40 (less where the
        likelihood is too flat for float64). 0.0: it is below, as where every table row has a single category. 2.0**20,
        with a warning: it is above, as where the rows are no less even than the uniform distribution would make them.
        1.0: all alpha are equally likely, because no table row has two counts.

    Raises
    ------
    ValueError
        A cell that is negative, infinite or NaN.
    TypeError
        A table that is not numeric, or `per_feature` that is no bool.
    OverflowError
        Weights that sum to infinity.

    Warns
    -----
    RuntimeWarning
        An alpha of 2.0**20: the counts are that even, or rows of data were taken for counts.

    Notes
    -----
    Only how often each count occurs matters: O(distinct counts) for each of some 90 evaluations, whatever the number of
    rows of data. The derivative (Minka, 2000, Estimating a Dirichlet distribution, equation 55) is positive before a
    maximum and negative after it; its sign is taken at each power of two, and the octave where it changes is halved.
    That always ends, as Minka's fixed point and Newton's method need not. One table row has one maximum (Levin and
    Reeds, 1977), several may have more: the one is taken that is highest at an end of its octave.

    Examples
    --------
    >>> import tallydraw as td
    >>> counts = td.Tables.from_arrays([[[8, 1], [0, 9], [5, 5]]], n_classes=3)
    >>> round(td.estimate_alpha(counts), 3)
    0.544
    >>> td.estimate_alpha([[5, 0], [0, 7]]), round(td.estimate_alpha([[5, 5], [2, 9]]), 3)
    (0.0, 3.61)
    """
    if not isinstance(per_feature, (bool, np.bool_)):
        raise TypeError(f"per_feature must be a bool, got {per_feature!r}")
    _check.thread_count(n_threads)
    counts = _one_stack(tables)
    best = _maximise(_histogram(counts, bool(per_feature)), len(counts) if per_feature else 1)
    even = np.flatnonzero(best == 2.0**_MOST)
    if even.size:
        whose = f" of table {even[0]}" if per_feature else ""
        warnings.warn(
            f"alpha{whose} is at its largest, 2**{_MOST}: the counts are at least as even as draws from the uniform "
            "distribution, and the likelihood grows with alpha without end; take any large alpha, or, where these are "
            "rows of data or probabilities and no counts, pass td.count_features(X)",
            RuntimeWarning,
            stacklevel=2,
        )
    return best if per_feature else float(best[0])


def _one_stack(tables: Any) -> Tables:
    """The rows of all tables of each feature; several stacks are those of classes, whose structures may differ."""
    if isinstance(tables, Tables):
        return tables
    if not (isinstance(tables, (list, tuple)) and all(isinstance(part, Tables) for part in tables)):
        _check.refuse_model("tables", tables, "not its counts: pass its counts_")
    if not hasattr(tables, "__iter__"):
        raise TypeError(f"tables must be Tables of counts, as counts_ of a model, got {type(tables).__name__}")
    parts = list(tables)
    if not parts or not all(isinstance(part, Tables) for part in parts):
        return Tables.from_arrays(parts)
    rows = [np.concatenate([stack[j].reshape(-1, stack[j].shape[-1]) for stack in parts]) for j in range(len(parts[0]))]
    widest = max(len(row) for row in rows)
    padded = [np.concatenate([row, np.zeros((widest - len(row), row.shape[1]), row.dtype)]) for row in rows]
    return Tables.from_arrays(padded, n_classes=widest)  # rows without data weigh nothing


def log_evidence(counts: Tables, alpha: Any) -> float:
    """Log marginal likelihood of the counts, in the order they came, under Dirichlet(alpha) rows; alpha > 0.

    The sum over the cells, left to right, less the sum over the table rows.
    """
    of_cells, of_rows, totals = [], [], []
    for j, part in enumerate(_check.alpha_value(alpha, counts.n_categories)):
        c = int(counts.n_categories[j])
        table = counts[j].reshape(-1, c)
        alphas = np.broadcast_to(part.astype(np.float64), (c,))
        of_cells.append(np.broadcast_to(alphas, table.shape).reshape(-1)[table.reshape(-1) > 0])
        of_rows.append(np.full(len(table), float(alpha_total(alphas, c))))
        totals.append(row_totals(table))
    cells = log_rising(np.concatenate(of_cells), counts.values[counts.values > 0])
    return _running_sum(cells) - _running_sum(log_rising(np.concatenate(of_rows), np.concatenate(totals)))


def alpha_total(alphas: NDArray[Any], c: int) -> Any:
    """The sum of the pseudocounts of C categories, left to right; OverflowError where it is infinite."""
    with np.errstate(over="ignore"):
        total = np.cumsum(np.broadcast_to(alphas, (c,)))[-1]
    if not np.isfinite(total):
        raise OverflowError(f"alpha of {c} categories sums to infinity: pass a smaller alpha")
    return total


def row_totals(table: NDArray[Any]) -> Floats:
    """(R,) sums of the rows of (R, C) counts, left to right; OverflowError where one is infinite."""
    with np.errstate(over="ignore"):
        totals: Floats = np.cumsum(table, axis=1, dtype=np.float64)[:, -1]
    if not np.isfinite(totals).all():
        raise OverflowError("the weights of a table row sum to infinity: scale sample_weight down")
    return totals


def _running_sum(terms: Floats) -> float:
    """The sum from left to right, as all machines take it."""
    return float(np.cumsum(terms)[-1]) if len(terms) else 0.0


class _Histogram(NamedTuple):
    """How often counts occur: the log-likelihood of group g is the sum of times * log_rising(scale * alpha, n)."""

    group: NDArray[np.int64]
    scale: Floats  # 1 for a cell, C for a table row
    n: Floats
    times: Floats  # negative for table rows

    def slope(self, alpha: Floats) -> Floats:
        """(G,) derivatives at (G,) alpha, each summed from left to right."""
        terms = self.times * self.scale * digamma_difference(self.scale * alpha[self.group], self.n)
        return _sums(self.group, terms, len(alpha))

    def height(self, alpha: Floats) -> Floats:
        """(G,) log-likelihoods at (G,) alpha."""
        terms = self.times * log_rising(self.scale * alpha[self.group], self.n)
        return _sums(self.group, terms, len(alpha))


def _sums(group: NDArray[np.int64], terms: Floats, n_groups: int) -> Floats:
    sums: NDArray[Any] = np.bincount(group, terms, minlength=n_groups)
    return sums


def _histogram(counts: Tables, per_feature: bool) -> _Histogram:
    s = counts.structure
    if per_feature:
        pieces = [(j, int(s.offsets[j]), int(s.offsets[j + 1]), int(c)) for j, c in enumerate(s.n_categories)]
    else:
        pieces = [(0, *run) for run in s.runs()]
    group, scale, n, times = [np.empty(0, np.int64)], [np.empty(0)], [np.empty(0)], [np.empty(0)]
    for g, begin, end, c in pieces:
        if c == 1:
            continue
        table = counts.values[begin:end].reshape(-1, c)
        totals = row_totals(table)
        # A row of one count says nothing: its likelihood is 1 / C.
        telling = (totals > 0) & ~((totals == 1) & (table.max(axis=1) == 1))
        table = table[telling]
        for size, sign, values in ((1, 1, table[table > 0]), (c, -1, totals[telling])):
            distinct, often = np.unique(values, return_counts=True)
            group.append(np.full(len(distinct), g, np.int64))
            scale.append(np.full(len(distinct), float(size)))
            n.append(distinct.astype(np.float64))
            times.append(sign * often.astype(np.float64))
    return _Histogram(np.concatenate(group), np.concatenate(scale), np.concatenate(n), np.concatenate(times))


def _maximise(histogram: _Histogram, n_groups: int) -> Floats:
    """(G,) alpha of the highest likelihood."""
    grid = np.ldexp(1.0, np.arange(_LEAST, _MOST + 1))
    rises = np.stack([histogram.slope(np.full(n_groups, alpha)) > 0 for alpha in grid])
    # Maximum i lies between grid[i - 1] and grid[i]; the first below the grid, the last above it.
    maximum = np.concatenate([~rises[:1], rises[:-1] & ~rises[1:], rises[-1:]])
    chosen = maximum.argmax(axis=0)
    if np.any(maximum.sum(axis=0) > 1):
        heights = np.stack([histogram.height(np.full(n_groups, alpha)) for alpha in grid])
        nearby = np.maximum(np.concatenate([heights[:1], heights]), np.concatenate([heights, heights[-1:]]))
        chosen = np.where(maximum, nearby, -np.inf).argmax(axis=0)
    low, high = grid[np.maximum(chosen - 1, 0)], grid[np.minimum(chosen, len(grid) - 1)]
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        rising = histogram.slope(middle) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    best = np.where(chosen == 0, 0.0, np.where(chosen == len(grid), grid[-1], 0.5 * (low + high)))
    flat = np.bincount(histogram.group, minlength=n_groups) == 0
    return np.where(flat, 1.0, best)
