"""Draws from one categorical distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tallydraw import _check, _levels, backend
from tallydraw._structure import make_structure
from tallydraw.sample import _blocks

__all__ = ["sample_categories"]

FLAT, LABELS, COMPONENT = 1, 2, 3
# Draws times categories up to which preparing a table costs more than it saves.
_FEW_CELLS = 1 << 16


def sample_categories(
    weights: Any,
    size: int | tuple[int, ...] | None,
    *,
    rng: Any = None,
    start: int = 0,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
    n_threads: int | None = None,
) -> Any:
    """Draw categories 0 … C - 1, in the smallest unsigned dtype that holds them: unsigned arithmetic wraps.

    Parameters
    ----------
    weights : array_like, shape (C,)
        Non-negative and finite, of any positive sum: they need not sum to one. Integers are taken exactly. A category
        of weight zero is never drawn.
    size : int, tuple of int, or None
        Shape of the result; None is one draw, a NumPy scalar, or, with `out`, the shape of `out`.
    rng : None, int, SeedSequence, BitGenerator, Generator or RandomState, optional
        None takes fresh entropy. A generator advances by two words.
    start : int, default 0
        Number of the first draw: draws [a, b) of a seed can be made alone with ``start=a``.
    dtype : dtype, optional
        Any numeric dtype that holds C - 1.
    out : ndarray, optional
        Where to write, of any layout.
    n_threads : int, optional
        The result does not depend on it.

    Returns
    -------
    ndarray or scalar

    Raises
    ------
    ValueError
        A weight that is negative, infinite or NaN; no positive weight; a dtype that does not hold C - 1.
    OverflowError
        Integer weights that sum to 2**63 or more.

    Notes
    -----
    O(C) to prepare, then O(1) expected a draw, by the guide table of Chen & Asau (1974). Random numbers are
    Philox4x32-10 (Salmon et al. 2011). To draw often from the same weights, keep a :class:`tallydraw.Sampler`.

    Examples
    --------
    >>> import tallydraw as td
    >>> td.sample_categories([2, 0, 1, 1], 8, rng=1)
    array([0, 0, 0, 3, 2, 3, 0, 0], dtype=uint8)
    """
    array = _check.weights("weights", weights)
    if array.ndim != 1:
        raise ValueError(
            f"weights must have shape (C,), got {array.shape}; sample_rows draws from one distribution a row"
        )
    shape = out.shape if size is None and isinstance(out, np.ndarray) else _check.size_of(size)
    start = _check.first_number(start, math.prod(shape))
    n_threads = _check.thread_count(n_threads)
    result = _check.output(shape, len(array) - 1, dtype, out)
    if 0 < result.size * len(array) <= _FEW_CELLS:
        _write_few(result, array, rng, start)
    else:
        levels = _levels.prepare(array, make_structure(np.array([len(array)])))
        write_flat(result, levels, len(array), None, FLAT, _check.key(rng), start, n_threads)
    return result[()] if size is None and out is None else result


def _write_few(out: NDArray[Any], weights: NDArray[Any], rng: Any, start: int) -> None:
    """The same draws without levels and guide: for few draws, adding the weights up for each costs less."""
    table = np.ascontiguousarray(weights).reshape(1, -1)
    drawn = np.empty(out.size, _check.smallest_unsigned(table.shape[1] - 1))
    restore = _check.saved_state(rng)
    key = _check.key(rng)
    if backend.kernels().sample_rows(table, np.zeros(out.size, np.int64), key, start, drawn, 1) >= 0:
        restore()
        _levels.check_rows(table, "weights")
    out[...] = drawn.reshape(out.shape)


def write_flat(
    out: NDArray[Any],
    levels: _levels.Levels,
    n_categories: int,
    rows: NDArray[np.int64] | None,
    purpose: int,
    key: int,
    start: int,
    n_threads: int | None,
) -> None:
    kernels = backend.kernels()
    threads = backend.threads(n_threads, out.size)

    def draw(a: int, b: int, block: NDArray[Any]) -> None:
        part = None if rows is None else rows[a:b]
        kernels.sample_categories(levels, n_categories, part, purpose, key, start + a, block, threads)

    _blocks.write(out, n_categories - 1, 1, draw, flat=True)
