"""Rows of features drawn from a stack of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tallydraw import _check, backend
from tallydraw.sample import _blocks
from tallydraw.tables import Tables

__all__ = ["sample_features"]


def sample_features(
    tables: Any,
    n: int,
    *,
    y: Any = None,
    rng: Any = None,
    start: int = 0,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
    n_threads: int | None = None,
) -> NDArray[Any]:
    """Draw rows of features, in the smallest unsigned dtype that holds every category: unsigned arithmetic wraps.

    Parameters
    ----------
    tables : Tables, or sequence of array_like
        Weights of each feature's categories, given its parent and class where it has them: counts or probabilities,
        every table row of any positive sum. A sequence of arrays of shape (C_j,) is a product of categoricals.
    n : int
        Number of rows.
    y : array_like of int, shape (n,), optional
        The class of each row; needed where, and only where, the tables have classes.
    rng : None, int, SeedSequence, BitGenerator, Generator or RandomState, optional
    start : int, default 0
        Number of the first row: rows [a, b) of a seed can be drawn alone with ``start=a``.
    dtype : dtype, optional
        Any numeric dtype that holds every category.
    out : ndarray, shape (n, d), optional
        Where to write, of any layout.
    n_threads : int, optional
        The result does not depend on it.

    Returns
    -------
    ndarray, shape (n, d)

    Raises
    ------
    ValueError
        A table row that is no distribution, naming its place; a class that is missing or too large.

    Notes
    -----
    O(n d) expected, whatever the numbers of categories; levels are prepared once and kept in a `Tables`.

    Examples
    --------
    >>> import tallydraw as td
    >>> td.sample_features([[1, 1], [0, 2, 1]], 3, rng=1)
    array([[0, 2],
           [1, 1],
           [0, 1]], dtype=uint8)
    """
    stack = tables if isinstance(tables, Tables) else Tables.from_arrays(tables)
    n = _check.natural("n", n)
    classes = classes_of_rows(stack, y, n)
    start = _check.first_number(start, n)
    n_threads = _check.thread_count(n_threads)
    stack.levels()
    shape = (n, len(stack))
    result = _check.output(shape, int(stack.n_categories.max()) - 1, dtype, out)
    write_rows(result, [stack], classes, _check.key(rng), start, n_threads)
    return result


def classes_of_rows(tables: Tables, y: Any, n: int, name: str = "y") -> NDArray[np.int64] | None:
    """(n,) checked classes, or None where the tables have none."""
    if tables.n_classes is None:
        if y is not None:
            raise ValueError(f"{name} is given, but the tables have no classes")
        return None
    if y is None:
        raise ValueError(f"the tables have {tables.n_classes} classes: pass {name}=, the class of each row")
    return _check.class_codes(y, n, tables.n_classes, name)[0]


def write_rows(
    out: NDArray[Any],
    stacks: Sequence[Tables],
    y: NDArray[np.int64] | None,
    key: int,
    start: int,
    n_threads: int | None,
) -> None:
    """Rows start, start + 1, … of the stream into `out` (n, d), checked already.

    One stack has the tables of every class; several are those of class 0, 1, … each.
    """
    kernels = backend.kernels()
    threads = backend.threads(n_threads, out.size)

    def draw(a: int, b: int, block: NDArray[Any]) -> None:
        part = None if y is None else y[a:b]
        for k, tables in enumerate(stacks):
            only = -1 if len(stacks) == 1 else k
            kernels.sample_features(tables.structure, tables.levels(), part, only, key, start + a, block, threads)

    _blocks.write(out, int(stacks[0].n_categories.max()) - 1, len(stacks[0]), draw)
