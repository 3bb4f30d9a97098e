"""One draw from each row of a matrix of weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tallydraw import _check, _levels, backend
from tallydraw._structure import make_structure

__all__ = ["sample_rows"]

FLAT = 1
# Other dtypes and layouts than contiguous float64 and int64 are converted this many cells at a time.
_CONVERTED_CELLS = 1 << 18
# Preparing a row costs about as much as this many draws that add it up; so many cells at most are prepared.
_DRAWS_TO_PREPARE = 16
_PREPARED_CELLS = 1 << 24


def sample_rows(
    weights: Any,
    *,
    rows: Any = None,
    rng: Any = None,
    start: int = 0,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
    n_threads: int | None = None,
) -> NDArray[Any]:
    """Draw one category from each row, in the smallest unsigned dtype that holds them: unsigned arithmetic wraps.

    Parameters
    ----------
    weights : array_like, shape (B, C)
        Row b holds the weights of categories 0 … C - 1: non-negative and finite, of any positive sum; they need not
        sum to one. Integers are taken exactly, floats as float64. Any layout; nothing is copied but small blocks of
        other dtypes than contiguous float64 and int64. A category of weight zero is never drawn.
    rows : array_like of int, optional
        Draw from ``weights[rows]`` instead, without making that array; only these rows need to be valid.
    rng : None, int, SeedSequence, BitGenerator, Generator or RandomState, optional
        None takes fresh entropy. A generator advances by two words.
    start : int, default 0
        Number of the first draw: ``sample_rows(weights[a:b], start=a)`` is the slice [a, b) of the whole.
    dtype : dtype, optional
        Any numeric dtype that holds C - 1.
    out : ndarray, shape (B,) or that of `rows`, optional
        Where to write, of any layout; unchanged where an error is raised.
    n_threads : int, optional
        The result does not depend on it.

    Returns
    -------
    ndarray, shape (B,) or that of `rows`

    Raises
    ------
    ValueError
        A weight of a row that is drawn from is negative, infinite or NaN, or the row sums to zero (the message names
        the place); a row number outside [0, B); a dtype that does not hold C - 1.
    OverflowError
        A row of integer weights sums to 2**63 or more.
    TypeError
        `weights` is not numeric, or `rows` not of integers.

    Notes
    -----
    O(C) a draw, one pass over each row; with `rows=` that repeat often, O(C) a row and O(1) a draw (the same draws).
    Random numbers are Philox4x32-10 (Salmon et al. 2011). To draw often from the same rows, keep a
    :class:`tallydraw.Sampler`.

    Examples
    --------
    Labels from posteriors:

    >>> import numpy as np
    >>> import tallydraw as td
    >>> td.sample_rows([[0.25, 0.75], [0.0, 1.0], [3, 0]], rng=1)
    array([0, 1, 0], dtype=uint8)
    >>> td.sample_rows(np.eye(3), rows=[2, 2, 0, 1])
    array([2, 2, 0, 1], dtype=uint8)
    """
    w = matrix("weights", weights)
    if w.ndim != 2:
        raise ValueError(
            f"weights must have shape (B, C), got {w.shape}; sample_categories draws many from one distribution"
        )
    chosen = None if rows is None else _row_numbers(rows, len(w))
    shape, n = ((len(w),), len(w)) if chosen is None else (np.shape(rows), len(chosen))
    start = _check.first_number(start, n)
    n_threads = _check.thread_count(n_threads)
    result = _check.output(shape, w.shape[1] - 1, dtype, out)
    # Errors of weights are met while drawing: a caller's own array is written only after the last draw.
    ready = out is None and result.dtype.kind == "u" and result.dtype.isnative
    drawn = result.reshape(-1) if ready else np.empty(n, _check.smallest_unsigned(w.shape[1] - 1))
    before = _check.saved_state(rng)
    key = _check.key(rng)
    used = None if chosen is None else _worth_preparing(w, chosen)
    try:
        if chosen is None or used is None:
            draw_rows("weights", w, chosen, key, start, drawn, n_threads)
        else:
            _draw_prepared("weights", w, chosen, used, key, start, drawn, n_threads)
    except BaseException:
        before()
        raise
    if not ready:
        result[...] = drawn.reshape(shape)
    return result


def matrix(name: str, weights: Any) -> NDArray[Any]:
    """Weights of any numeric dtype and layout, categories on the last axis, not copied; values are not checked yet."""
    array = _check.unmasked(name, weights)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numeric, got dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{name} must have at least one dimension, got the number {array}")
    if array.shape[-1] == 0:
        raise ValueError(f"{name} must have at least one category, got shape {array.shape}")
    return array


def converted(block: NDArray[Any]) -> NDArray[Any]:
    """A contiguous float64 or int64 array of the same weights; an integer past 2**63 - 1 becomes negative."""
    with np.errstate(over="ignore"):  # a long double past the largest float64 becomes inf
        return np.require(block, np.float64 if block.dtype.kind == "f" else np.int64, ["C", "A"])


def draw_rows(
    name: str,
    w: NDArray[Any],
    chosen: NDArray[np.int64] | None,
    key: int,
    start: int,
    out: NDArray[Any],
    n_threads: int | None,
    shape: tuple[int, ...] | None = None,
) -> None:
    """Flat draws start … into `out` from the rows of w, (B, C), or from w[chosen]; raise for the first bad row met.

    `shape` is that of the rows as the caller knows them, (B,) by default.
    """
    c = w.shape[1]
    as_is = w.dtype in (np.float64, np.int64) and w.flags.c_contiguous and w.flags.aligned and w.dtype.isnative
    work = c if as_is else max(c, backend.BLOCK_WORK // max(1, _CONVERTED_CELLS // c))
    for a, b in backend.blocks(len(out), work):
        numbers = None if chosen is None else chosen[a:b]
        if as_is:
            block, rows = (w[a:b], None) if numbers is None else (w, numbers)
        else:
            block, rows = converted(w[a:b] if numbers is None else w[numbers]), None
        threads = backend.threads(n_threads, (b - a) * c)
        bad = backend.kernels().sample_rows(block, rows, key, start + a, out[a:b], threads)
        if bad >= 0:
            # Cell (row, 0) may also mean the sum of the row before.
            row, column = divmod(int(bad), c)
            met = range(a, len(w)) if numbers is None else range(len(w)) if as_is else numbers
            for number in met[max(0, row - (column == 0)) : row + 1]:
                place = np.unravel_index(number, (len(w),) if shape is None else shape)
                error = _row_error(name, w[number], tuple(int(i) for i in place))
                if error is not None:
                    raise error
            raise RuntimeError(_levels.changed(name))


def _row_error(name: str, row: NDArray[Any], place: tuple[int, ...]) -> Exception | None:
    """What is wrong with a row of weights that stands at `place`, or None."""
    where = ", ".join(map(str, place))
    if row.dtype.kind == "f":
        row = converted(row)  # a long double may be zero or infinite as a float64
    bad = np.flatnonzero(~(np.isfinite(row) & (row >= 0))) if row.dtype.kind == "f" else np.flatnonzero(row < 0)
    if bad.size:
        column = int(bad[0])
        cell = f"{name}[{where + ', ' if place else ''}{column}]"
        return ValueError(f"{cell} is {row[column]}: weights must be finite and non-negative")
    whole = f"{name}[{where}]" if place else name
    if not row.any():
        return ValueError(f"{whole} sums to zero: nothing can be drawn from it")
    if row.dtype.kind != "f":
        total = sum(int(v) for v in row)
        if total > 2**63 - 1:
            return OverflowError(
                f"{whole} sums to {total}: integer weights of a row must sum to less than 2**63; pass them as floats"
            )
    return None


def _row_numbers(rows: Any, n_rows: int) -> NDArray[np.int64]:
    """Flat row numbers from any shape of them."""
    if np.asarray(rows).dtype.kind == "b":
        raise TypeError("rows must be integers, got dtype bool: pass np.flatnonzero(rows) of a mask")
    numbers = _check.codes("rows", rows, ndim=np.ndim(rows))
    bad = np.argwhere((numbers < 0) | (numbers >= n_rows))
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        name = f"rows[{', '.join(map(str, place))}]" if place else "rows"
        raise ValueError(f"{name} is {numbers[place]}, but weights has {n_rows} rows (0 to {n_rows - 1})")
    return np.ascontiguousarray(numbers, dtype=np.int64).reshape(-1)


def _worth_preparing(w: NDArray[Any], chosen: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The distinct rows, if each is drawn from so often that its levels are worth making; else None."""
    if len(chosen) < _DRAWS_TO_PREPARE:
        return None
    seen = np.zeros(len(w), np.bool_)
    seen[chosen] = True
    used = np.flatnonzero(seen)
    if len(chosen) < _DRAWS_TO_PREPARE * len(used) or len(used) * w.shape[1] > _PREPARED_CELLS:
        return None
    return used


def _draw_prepared(
    name: str,
    w: NDArray[Any],
    chosen: NDArray[np.int64],
    used: NDArray[np.int64],
    key: int,
    start: int,
    out: NDArray[Any],
    n_threads: int | None,
) -> None:
    c = w.shape[1]
    check_rows(name, w, used, n_threads)
    number = np.empty(len(w), np.int64)
    number[used] = np.arange(len(used))
    table_rows = number[chosen]
    levels = _levels.prepare(converted(w[used]).reshape(-1), make_structure(np.array([c]), None, len(used)), name)
    for a, b in backend.blocks(len(out)):
        threads = backend.threads(n_threads, b - a)
        backend.kernels().sample_categories(levels, c, table_rows[a:b], FLAT, key, start + a, out[a:b], threads)


def check_rows(
    name: str,
    w: NDArray[Any],
    chosen: NDArray[np.int64] | None,
    n_threads: int | None,
    shape: tuple[int, ...] | None = None,
) -> None:
    """Raise for the first row of w, (B, C), or of w[chosen], that is no distribution."""
    n = len(w) if chosen is None else len(chosen)
    draw_rows(name, w, chosen, 0, 0, np.empty(n, _check.smallest_unsigned(w.shape[1] - 1)), n_threads, shape)
