"""A distribution prepared once, to be drawn from often."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tallydraw import _check, _levels, backend
from tallydraw._structure import make_structure
from tallydraw.sample.categories import FLAT, write_flat
from tallydraw.sample.features import write_rows
from tallydraw.tables import Tables

__all__ = ["Sampler"]


class Sampler:
    """Draws in the smallest unsigned dtype that holds them (unsigned arithmetic wraps), from weights prepared once.

    Immutable, picklable, and safe to share between threads.

    Parameters
    ----------
    weights : array_like, shape (C,) or (B, C), or Tables
        One distribution, B of them, or a stack of tables. Weights are non-negative and finite; each row has any
        positive sum. They are copied.

    Raises
    ------
    ValueError
        A weight that is negative, infinite or NaN, or a row without a positive one, naming its place.

    Notes
    -----
    O(cells) to prepare and to keep; O(1) expected a draw.

    Examples
    --------
    >>> import tallydraw as td
    >>> coin = td.Sampler([1, 1])
    >>> coin.sample(8, rng=1)
    array([0, 0, 0, 1, 1, 1, 0, 0], dtype=uint8)
    """

    __slots__ = ("_levels", "_n_categories", "_rows", "_scalar", "_single", "weights")

    weights: NDArray[Any] | Tables

    def __init__(self, weights: Any) -> None:
        put = object.__setattr__
        if isinstance(weights, Tables):
            put(self, "weights", weights)
            put(self, "_levels", weights.levels())
            put(self, "_n_categories", int(weights.n_categories.max()))
            put(self, "_rows", None)
            put(self, "_single", None)
        else:
            array = np.array(_check.weights("weights", weights))
            if array.ndim > 2 or array.shape[0] == 0:
                raise ValueError(f"weights must have shape (C,) or (B, C), got {array.shape}")
            array.flags.writeable = False
            c = array.shape[-1]
            # Rows of a matrix are the table rows of one feature with B classes.
            structure = make_structure(np.array([c]), None, None if array.ndim == 1 else len(array))
            level = _levels.row_levels(array.reshape(-1, c), "weights").reshape(-1)
            put(self, "weights", array.view())  # of a read-only array: no view of it can be made writable
            put(self, "_levels", _levels.with_guides(level, structure))
            put(self, "_n_categories", c)
            put(self, "_rows", None if array.ndim == 1 else len(array))
            put(self, "_single", self._levels.level if array.ndim == 1 else None)
        put(self, "_scalar", _check.smallest_unsigned(self._n_categories - 1).type)

    _levels: _levels.Levels
    _n_categories: int
    _rows: int | None
    _single: NDArray[np.uint64] | None  # the levels of the one distribution
    _scalar: type[np.unsignedinteger[Any]]  # of one draw

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Sampler cannot be changed: make another")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Sampler cannot be changed: make another")

    def __reduce__(self) -> tuple[Any, ...]:
        return Sampler, (self.weights,)

    def __repr__(self) -> str:
        return (
            f"Sampler({self.weights!r})" if isinstance(self.weights, Tables) else f"Sampler(shape={self.weights.shape})"
        )

    def sample(
        self,
        size: int | tuple[int, ...] | None = None,
        *,
        rows: Any = None,
        rng: Any = None,
        start: int = 0,
        dtype: DTypeLike | None = None,
        out: NDArray[Any] | None = None,
        n_threads: int | None = None,
    ) -> Any:
        """Draw, in the smallest unsigned dtype that holds every category: unsigned arithmetic wraps.

        Parameters
        ----------
        size : int, tuple of int, or None
            With weights (C,): shape of the result; None is one draw, a NumPy scalar. With (B, C): one draw from each
            row for each of `size`, shape ``size + (B,)``; or, with `rows`, the shape that `rows` is broadcast to. With
            Tables: that many rows, shape ``size + (d,)``; None is one row, or one for each of `rows`.
        rows : array_like of int, optional
            With (B, C): the row that each draw is from. With Tables that have classes: the class of each row drawn.
        rng : None, int, SeedSequence, BitGenerator, Generator or RandomState, optional
            None takes fresh entropy. A generator advances by two words.
        start : int, default 0
            Number of the first draw (of the first row, with Tables).
        dtype : dtype, optional
        out : ndarray, optional
            Where to write, of any layout.
        n_threads : int, optional
            The result does not depend on it.

        Returns
        -------
        ndarray or scalar
            From weights (C,) equal to `sample_categories`, from Tables to `sample_features`, of the same seed.

        Examples
        --------
        >>> import tallydraw as td
        >>> td.Sampler([[1, 0], [0, 1]]).sample(rows=[0, 1, 1], rng=1)
        array([0, 1, 1], dtype=uint8)
        """
        # One draw costs little more than its key: nothing here is checked that is not given.
        if start or type(start) is not int:
            start = _check.first_number(start, 1)
        level = self._single
        if size is None and level is not None and rows is None and dtype is None and out is None and n_threads is None:
            return self._scalar(backend.kernels().sample_one(level, _check.key(rng), start))
        n_threads = _check.thread_count(n_threads)
        if isinstance(self.weights, Tables):
            return self._sample_tables(self.weights, size, rows, rng, start, dtype, out, n_threads)
        given = out.shape if isinstance(out, np.ndarray) and size is None else None
        if self._rows is None:
            if rows is not None:
                raise ValueError("rows is given, but there is one distribution only")
            shape = _check.size_of(size) if given is None else given
            flat = None
        elif rows is None:
            shape = (*_check.size_of(size), self._rows) if given is None else given
            if shape[-1:] != (self._rows,):
                raise ValueError(
                    f"out must have {self._rows} cells on its last axis, one a row of weights, got shape {shape}"
                )
            flat = np.resize(np.arange(self._rows), math.prod(shape))
        else:
            array = np.asarray(rows)
            if array.size == 0 and array.dtype.kind == "f" and not isinstance(rows, np.ndarray):
                array = array.astype(np.int64)
            if array.dtype.kind not in "iu":
                raise TypeError(f"rows must be integers, got dtype {array.dtype}")
            bad = (array < 0) | (array >= self._rows)
            if bad.any():
                place = [int(i) for i in np.argwhere(bad)[0]]
                raise ValueError(
                    f"rows{place or ''} is {array[tuple(place)]}, but there are {self._rows} rows of weights"
                )
            shape = given if given is not None else array.shape if size is None else _check.size_of(size)
            try:
                array = np.broadcast_to(array, shape)
            except ValueError:
                raise ValueError(f"rows of shape {array.shape} do not broadcast to {shape}") from None
            flat = np.ascontiguousarray(array, dtype=np.int64).reshape(-1)
        start = _check.first_number(start, math.prod(shape))
        result = _check.output(shape, self._n_categories - 1, dtype, out)
        write_flat(result, self._levels, self._n_categories, flat, FLAT, _check.key(rng), start, n_threads)
        return result[()] if shape == () and size is None and out is None else result

    def _sample_tables(
        self,
        tables: Tables,
        size: Any,
        rows: Any,
        rng: Any,
        start: int,
        dtype: DTypeLike | None,
        out: NDArray[Any] | None,
        n_threads: int | None,
    ) -> NDArray[Any]:
        d = len(tables)
        if tables.n_classes is None and rows is not None:
            raise ValueError("rows is given, but the tables have no classes")
        if tables.n_classes is not None and rows is None:
            raise ValueError(f"the tables have {tables.n_classes} classes: pass rows=, the class of each row")
        if size is not None:
            shape = _check.size_of(size)
        elif isinstance(out, np.ndarray):
            shape = out.shape[:-1]
        else:
            shape = np.shape(rows) if rows is not None else ()
        n = math.prod(shape)
        y = None
        if rows is not None:
            try:
                y = np.broadcast_to(np.asarray(rows), shape).reshape(-1)
            except ValueError:
                raise ValueError(f"rows of shape {np.shape(rows)} do not broadcast to {shape}") from None
            y = _check.class_codes(y, n, tables.n_classes, "rows")[0]
        start = _check.first_number(start, n)
        result = _check.output((*shape, d), self._n_categories - 1, dtype, out)
        matrix = (
            result.reshape(n, d) if result.flags.c_contiguous or result.ndim == 2 else np.empty((n, d), result.dtype)
        )
        write_rows(matrix, [tables], y, _check.key(rng), start, n_threads)
        if not np.may_share_memory(matrix, result):
            result[...] = matrix.reshape(result.shape)
        return result
