"""Multinomial counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, _levels, backend
from tallydraw.sample.rows import check_rows, converted, matrix

__all__ = ["sample_counts"]

_MOST_TOTAL = 2**53
# A count costs about as much as this many cells of a pass over memory.
_WORK = 16
_PREPARED_CELLS = 1 << 22


def sample_counts(
    weights: Any,
    totals: Any,
    *,
    rng: Any = None,
    start: int = 0,
    out: NDArray[Any] | None = None,
    n_threads: int | None = None,
) -> NDArray[np.int64]:
    """Draw how `totals` independent draws fall into the categories, multinomial counts, as int64.

    Parameters
    ----------
    weights : array_like, shape (..., C)
        Non-negative and finite, of any positive sum along the last axis: they need not sum to one. Integers are
        taken exactly, floats as float64. A category of weight zero gets no count.
    totals : int or array_like of int
        Numbers of draws, at most 2**53; broadcasts against ``weights.shape[:-1]``, so that each distribution, each
        total, or both may have a row of their own.
    rng : None, int, SeedSequence, BitGenerator, Generator or RandomState, optional
        None takes fresh entropy. A generator advances by two words.
    start : int, default 0
        Number of the first row of counts, in row-major order of the result: for one distribution,
        ``sample_counts(weights, totals[a:b], start=a)`` is the slice [a, b) of the whole.
    out : ndarray, optional
        Where to write, of any layout and any numeric dtype that holds the totals; unchanged where an error is raised.
    n_threads : int, optional
        The result does not depend on it.

    Returns
    -------
    ndarray of int64, shape ``broadcast(weights.shape[:-1], totals.shape) + (C,)``
        Along the last axis the counts sum to the totals, exactly.

    Raises
    ------
    ValueError
        A weight is negative, infinite or NaN, or a row of them sums to zero; a total is negative or more than 2**53;
        shapes that do not broadcast.
    OverflowError
        A row of integer weights sums to 2**63 or more.
    TypeError
        `totals` are not integers.

    Notes
    -----
    O(C) a row, whatever the totals: conditional binomials from left to right, by algorithm BTRS (Hörmann 1993, "The
    generation of binomial random variates") and by inversion where the mean is below 10. Random numbers are
    Philox4x32-10 (Salmon et al. 2011).

    Examples
    --------
    >>> import tallydraw as td
    >>> int(td.sample_counts([0.1, 0.1, 0.1], 100_000, rng=1).sum())
    100000
    >>> td.sample_counts([[1, 1], [0, 1]], [10, 20], rng=1)[1]
    array([ 0, 20])
    """
    w = matrix("weights", weights)
    t = _totals(totals)
    try:
        shape = np.broadcast_shapes(w.shape[:-1], t.shape)
    except ValueError:
        raise ValueError(
            f"totals of shape {t.shape} do not broadcast against weights of shape {w.shape} without its last axis"
        ) from None
    n, c = math.prod(shape), w.shape[-1]
    start = _check.first_number(start, n)
    n_threads = _check.thread_count(n_threads)
    most = int(t.max()) if t.size else 0
    result = _check.output((*shape, c), most, np.int64 if out is None else None, out)

    table = w.reshape(math.prod(w.shape[:-1]), c)
    check_rows("weights", table, None, n_threads, w.shape[:-1])
    ready = result.dtype == np.int64 and result.flags.c_contiguous and result.flags.aligned and result.dtype.isnative
    drawn = result.reshape(n, c) if ready else np.empty((n, c), np.int64)
    flat_totals = np.broadcast_to(t, shape).reshape(-1)
    flat_rows = np.broadcast_to(np.arange(len(table)).reshape(w.shape[:-1]), shape).reshape(-1)
    level = _levels.row_levels(converted(table)) if 0 < table.size <= _PREPARED_CELLS else None
    key = _check.key(rng)
    for a, b in backend.blocks(n, _WORK * c):
        rows, some = flat_rows[a:b], level
        if some is None:
            used, rows = np.unique(rows, return_inverse=True)
            some = _levels.row_levels(converted(table[used]))
        threads = backend.threads(n_threads, _WORK * (b - a) * c)
        backend.kernels().sample_counts(
            some,
            np.ascontiguousarray(rows, dtype=np.int64),
            np.ascontiguousarray(flat_totals[a:b]),
            key,
            start + a,
            drawn[a:b],
            threads,
        )
    if not ready:
        result[...] = drawn.reshape(result.shape)
    return result


def _totals(totals: Any) -> NDArray[np.int64]:
    array = _check.unmasked("totals", totals)
    if array.size == 0 and array.dtype == np.float64 and not isinstance(totals, np.ndarray):
        array = array.astype(np.int64)  # [] has no dtype of its own
    if array.dtype.kind == "O" and all(type(v) is int for v in array.flat):
        pass  # Python integers past 2**64
    elif array.dtype.kind not in "iu":
        raise TypeError(f"totals must be integers, got dtype {array.dtype}")
    bad = np.argwhere((array < 0) | (array > _MOST_TOTAL))
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        name = f"totals[{', '.join(map(str, place))}]" if place else "totals"
        if array[place] < 0:
            raise ValueError(f"{name} is {array[place]}: totals must not be negative")
        raise ValueError(f"{name} is {array[place]}: totals must be at most 2**53 = {_MOST_TOTAL}")
    return array.astype(np.int64)
