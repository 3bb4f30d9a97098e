"""Entropy, divergence and mutual information of discrete distributions, in nats; novelty of drawn rows.

Distributions must sum to one: counts or weights are an error that names the sum, never normalised in silence. The logs
are the library's own and sums run from left to right, so results have the same bits on every backend and machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, _distributions, _pair_information, _rows, backend
from tallydraw._divergence_terms import divergence_terms, log_probability
from tallydraw.pairs import PairTables

__all__ = [
    "conditional_entropy",
    "cross_entropy",
    "entropy",
    "kl_divergence",
    "kl_divergence_estimate",
    "mutual_information",
    "novelty",
]

Floats = NDArray[np.float64]

_OF_PAIRS = "not its counts: pass td.count_pairs(X), which a ChowLiuTree has as pair_counts_"


def entropy(p: Any, *, axis: int = -1, n_threads: int | None = None) -> float | Floats:
    """Shannon entropy H(p) = -sum p log p, in nats; 0 log 0 = 0.

    Parameters
    ----------
    p : array_like
        Probabilities that sum to one over `axis`.
    axis : int, default -1
        The categories; every other axis is a batch.
    n_threads : int, optional
        As everywhere; these sums are short and run on one thread.

    Returns
    -------
    float or ndarray of float64
        In [0, log C]; without the axis `axis`.

    Raises
    ------
    ValueError
        A probability that is negative, infinite or NaN, or a sum that is not one: by more than 1e-9 + C * eps, eps
        being that of the dtype of `p`. The message names the row, its sum and the remedy.

    Examples
    --------
    >>> import tallydraw as td
    >>> round(td.entropy([0.5, 0.5]), 6)
    0.693147
    >>> td.entropy([[0.5, 0.5], [0.0, 1.0]]).shape
    (2,)
    """
    return cross_entropy(p, p, axis=axis, n_threads=n_threads)


def cross_entropy(p: Any, q: Any, *, axis: int = -1, n_threads: int | None = None) -> float | Floats:
    """Cross entropy -sum p log q, in nats: H(p) + KL(p, q); +inf where q = 0 < p.

    Parameters
    ----------
    p, q : array_like
        Probabilities that sum to one over `axis`, broadcast against each other.
    axis : int, default -1
    n_threads : int, optional

    Returns
    -------
    float or ndarray of float64
        Never negative.

    Raises
    ------
    ValueError
        As :func:`entropy`; or `p` and `q` have different numbers of categories.

    Examples
    --------
    >>> import tallydraw as td
    >>> td.cross_entropy([0.5, 0.5], [1.0, 0.0])
    inf
    """
    _check.thread_count(n_threads)
    return _over_rows(_cross_terms, 1, *_pair(p, q, axis))


def kl_divergence(p: Any, q: Any, *, axis: int = -1, n_threads: int | None = None) -> float | Floats:
    """Kullback-Leibler divergence KL(p, q) = sum p log(p / q), in nats; +inf where q = 0 < p.

    Computed as the sum of p log(p / q) - p + q, whose terms are all non-negative and whose additions cancel: so it is
    never slightly negative, zero only where p equals q, and accurate also where they almost do.

    Parameters
    ----------
    p, q : array_like
        Probabilities that sum to one over `axis`, broadcast against each other.
    axis : int, default -1
    n_threads : int, optional

    Returns
    -------
    float or ndarray of float64

    Raises
    ------
    ValueError
        As :func:`entropy`; or `p` and `q` have different numbers of categories.

    References
    ----------
    Kullback & Leibler (1951), "On information and sufficiency".

    Examples
    --------
    >>> import tallydraw as td
    >>> td.kl_divergence([0.25, 0.75], [0.25, 0.75])
    0.0
    >>> td.kl_divergence([0.5, 0.5], [1.0, 0.0])
    inf
    """
    _check.thread_count(n_threads)
    return _over_rows(lambda a, b: divergence_terms(a, b, log_probability(b)), 1, *_pair(p, q, axis))


def kl_divergence_estimate(log_p: Any, log_q: Any, *, n_threads: int | None = None) -> tuple[float, float]:
    """Estimate KL(P, Q) from draws x of P: the mean of log P(x) - log Q(x), and its standard error.

    The law of large numbers makes the mean converge to KL(P, Q), with a standard error that shrinks as 1 / sqrt(n).

    Parameters
    ----------
    log_p, log_q : array_like of float, shape (n,)
        Log-probabilities of the same draws under P, which made them, and under Q.
    n_threads : int, optional

    Returns
    -------
    mean, standard_error : float
        The mean may be negative by chance. A draw with log Q(x) = -inf proves KL(P, Q) = +inf: then (inf, 0.0). One
        draw tells nothing of the spread: then the standard error is inf.

    Raises
    ------
    ValueError
        Not one number a draw in both, no draws, a NaN or +inf, or log P(x) = -inf: P cannot have made such a draw.

    Examples
    --------
    >>> import tallydraw as td
    >>> td.kl_divergence_estimate([-1.0, -1.0], [-2.0, -1.0])
    (0.5, 0.5)
    """
    _check.thread_count(n_threads)
    a, b = _log_probabilities("log_p", log_p), _log_probabilities("log_q", log_q)
    if a.shape != b.shape:
        raise ValueError(f"log_p and log_q must be of the same draws, got {len(a)} and {len(b)}")
    n = len(a)
    if n == 0:
        raise ValueError("log_p is empty: at least one draw is needed")
    impossible = np.flatnonzero(a == -np.inf)
    if impossible.size:
        raise ValueError(f"log_p[{impossible[0]}] is -inf: P cannot have made this draw; draw from P, not from Q")
    if np.any(b == -np.inf):
        return float("inf"), 0.0
    ratio = a - b
    mean = _sum(ratio) / n
    if n == 1:
        return float(mean), float("inf")
    spread = _sum(np.square(ratio - mean)) / (n - 1)
    return float(mean), float(np.sqrt(spread / n))


def conditional_entropy(joint: Any, *, n_threads: int | None = None) -> float | Floats:
    """Conditional entropy H(A | B) = -sum p(a, b) log p(a | b), in nats.

    Parameters
    ----------
    joint : array_like, shape (..., A, B), or PairTables
        Joint probabilities, which sum to one over the last two axes; or the counts of all pairs of features, each
        pair's divided by their sum.
    n_threads : int, optional

    Returns
    -------
    float or ndarray of float64, shape (...)
        Never negative; zero where B determines A. Of PairTables the matrix, (d, d), of H(i | j) at [i, j], or with
        classes H(i | j, y); zero for a pair never seen together.

    Raises
    ------
    ValueError
        As :func:`entropy`. An array of counts is to be divided by its sum.

    Examples
    --------
    >>> import tallydraw as td
    >>> td.conditional_entropy([[0.5, 0.0], [0.0, 0.5]])
    0.0
    """
    _check.thread_count(n_threads)
    if isinstance(joint, PairTables):
        return _pair_information.conditional_entropy(joint)
    _check.refuse_model("joint", joint, _OF_PAIRS)
    p = _distributions.distributions("joint", joint, (-2, -1))
    return _over_rows(_conditional_terms, 2, p)


def mutual_information(joint: Any, *, n_threads: int | None = None) -> float | Floats:
    """Mutual information I(A; B) = KL(p(a, b), p(a) p(b)), in nats.

    Parameters
    ----------
    joint : array_like, shape (..., A, B), or PairTables
        Joint probabilities, which sum to one over the last two axes; or the counts of all pairs of features, each
        pair's divided by their sum.
    n_threads : int, optional

    Returns
    -------
    float or ndarray of float64, shape (...)
        Never negative; zero (to rounding in the marginals, about 1e-32) where A and B are independent. Of PairTables
        the symmetric matrix, (d, d), of I(i; j), or with classes of the conditional I(i; j | y), zero for a pair never
        seen together; the diagonal is H(i), or H(i | y).

    Raises
    ------
    ValueError
        As :func:`entropy`. An array of counts is to be divided by its sum.

    Examples
    --------
    >>> import numpy as np
    >>> import tallydraw as td
    >>> counts = np.array([[30, 10], [10, 30]])
    >>> round(td.mutual_information(counts / counts.sum()), 6)
    0.130812
    >>> td.mutual_information(td.count_pairs([[0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1]])).round(6)
    array([[0.693147, 0.693147, 0.      ],
           [0.693147, 0.693147, 0.      ],
           [0.      , 0.      , 0.693147]])
    """
    _check.thread_count(n_threads)
    if isinstance(joint, PairTables):
        return _pair_information.mutual_information(joint, n_threads)
    _check.refuse_model("joint", joint, _OF_PAIRS)
    p = _distributions.distributions("joint", joint, (-2, -1))
    return _over_rows(_mutual_terms, 2, p)


def novelty(samples: Any, data: Any, *, n_threads: int | None = None) -> float:
    """Share of the drawn rows that the data does not have.

    Parameters
    ----------
    samples, data : array_like of int, shapes (m, d) and (n, d), or (m,) and (n,)
        Codes of any integer dtypes. Rows are equal where all their numbers are; a missing code is a code like others.
    n_threads : int, optional

    Returns
    -------
    float
        In [0, 1]. Cost: a sort of the data's rows and a search for each drawn one.

    Raises
    ------
    TypeError
        Codes that are not integers.
    ValueError
        No samples, or not as many columns in both.

    Examples
    --------
    >>> import tallydraw as td
    >>> td.novelty([[0, 1], [1, 1], [0, 1], [2, 0]], [[1, 1], [2, 0]])
    0.5
    """
    _check.thread_count(n_threads)
    ndim = 1 if np.ndim(samples) == 1 else 2
    x, y = _check.codes("samples", samples, ndim=ndim), _check.codes("data", data, ndim=ndim)
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"samples has {x.shape[1]} columns, data has {y.shape[1]}")
    if len(x) == 0:
        raise ValueError("samples is empty: the share of its novel rows is not defined")
    x, y = x.reshape(len(x), -1), y.reshape(len(y), x.size // len(x))
    low, high = [int(v) for v in x.min(axis=0)], [int(v) for v in x.max(axis=0)]
    known = _rows_within(y, low, high)
    if len(known) == 0:
        return 1.0
    sizes = [b - a + 1 for a, b in zip(low, high, strict=True)]
    drawn, keys = _rows.pack(x, sizes, low), np.unique(_rows.pack(known, sizes, low))
    place = np.minimum(np.searchsorted(keys, drawn), len(keys) - 1)
    return float(np.count_nonzero(keys[place] != drawn) / len(drawn))


# Terms of the sums: (n, C) or (n, A, B) rows to terms of the same shape ----------------------------------------------


def _cross_terms(p: Floats, q: Floats) -> Floats:
    return np.where(p > 0, p, 1.0) * np.where(p > 0, 0.0 - log_probability(q), 0.0)


def _conditional_terms(p: Floats) -> Floats:
    given = np.broadcast_to(log_probability(_marginal(p, 1)), p.shape)
    surprise: Floats = np.where(p > 0, given, 0.0) - np.where(p > 0, log_probability(p), 0.0)
    np.maximum(surprise, 0.0, out=surprise)  # p(a, b) <= p(b)
    return p * surprise


def _mutual_terms(p: Floats) -> Floats:
    a, b = _marginal(p, 2), _marginal(p, 1)
    return divergence_terms(p, a * b, log_probability(a) + log_probability(b))


def _marginal(p: Floats, axis: int) -> Floats:
    """Sums over an axis, which is kept; from left to right."""
    total: Floats = np.take(np.cumsum(p, axis=axis), [-1], axis=axis)
    return total


# Rows and sums -------------------------------------------------------------------------------------------------------


def _sum(x: Floats) -> Any:
    """From left to right over the last axis."""
    return np.cumsum(x, axis=-1)[..., -1]


def _pair(p: Any, q: Any, axis: int) -> tuple[Floats, Floats]:
    """Both checked and broadcast, categories last."""
    for name, given in (("p", p), ("q", q)):
        _check.refuse_model(name, given, "not its probabilities: call its own entropy() or kl_divergence(other)")
    same = q is p
    p = _check.unmasked("p", p)
    q = p if same else _check.unmasked("q", q)
    ndim = max(p.ndim, q.ndim, 1)
    last = _distributions.axis_of(axis, ndim)
    arrays = []
    for name, given in (("p", p), ("q", q)):
        if np.ndim(given) < -last:
            raise ValueError(f"{name} must have the axis {axis} of the categories, got shape {np.shape(given)}")
        arrays.append(_distributions.distributions(name, given, (last,)))
        if q is p:
            arrays *= 2
            break
    if arrays[0].shape[last] != arrays[1].shape[last]:
        raise ValueError(f"p has {arrays[0].shape[last]} categories, q has {arrays[1].shape[last]}")
    # Read-only views: those of np.broadcast_arrays warn when Numba looks at them.
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    a, b = (np.moveaxis(np.broadcast_to(array, shape), last, -1) for array in arrays)
    return a, b


def _over_rows(terms: Callable[..., Floats], ndim: int, *arrays: Floats) -> float | Floats:
    """Sums of terms(rows of each array) over the last `ndim` axes, in blocks between which Python hears Ctrl-C."""
    batch, row = arrays[0].shape[:-ndim], arrays[0].shape[-ndim:]
    n, cells = math.prod(batch), math.prod(row)
    flat = [a.reshape((n, *row)) for a in arrays]
    out = np.empty(n)
    for a, b in backend.blocks(n, 16 * cells):  # a term costs about 16 draws
        out[a:b] = _sum(terms(*(f[a:b] for f in flat)).reshape(b - a, cells))
    return out.reshape(batch) if batch else float(out[0])


def _log_probabilities(name: str, x: Any) -> Floats:
    _check.refuse_model(name, x, "not log-probabilities: pass its log_prob of the draws, or call its kl_divergence")
    array = _check.unmasked(name, x)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numeric, got dtype {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{name} must have one number a draw, got shape {array.shape}")
    array = array.astype(np.float64, copy=False)
    bad = np.flatnonzero(np.isnan(array) | (array == np.inf))
    if bad.size:
        raise ValueError(f"{name}[{bad[0]}] is {array[bad[0]]}: log-probabilities are finite or -inf")
    return array


def _rows_within(x: NDArray[Any], low: list[int], high: list[int]) -> NDArray[Any]:
    """The rows of (n, d) codes with low <= x <= high everywhere, compared exactly whatever the dtype."""
    info = np.iinfo(x.dtype)
    if any(a > info.max or b < info.min for a, b in zip(low, high, strict=True)):
        return x[:0]
    least = np.array([max(a, info.min) for a in low], x.dtype)
    most = np.array([min(b, info.max) for b in high], x.dtype)
    inside = np.empty(len(x), bool)
    for a, b in backend.blocks(len(x), x.shape[1]):
        inside[a:b] = ((x[a:b] >= least) & (x[a:b] <= most)).all(axis=1)
    return x if inside.all() else x[inside]
