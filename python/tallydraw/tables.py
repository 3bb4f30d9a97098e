"""Tables: an immutable ragged stack of count or probability tables, the value that everything shares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, _levels, _totals, backend
from tallydraw._levels import Levels
from tallydraw._row_sums import row_sums
from tallydraw._structure import Structure, aligned_empty, make_structure, parent_array
from tallydraw._totals import Totals

__all__ = ["Tables"]

_CELL_DTYPES = (np.dtype(np.int64), np.dtype(np.float64))


class Logs(NamedTuple):
    """Logs of probabilities with classes innermost, ready to gather.

    Feature j has, from ``offsets[j]`` on, a row of K logs for each of its ``n_contexts[j] * C_j`` combined codes and
    one more row of zeros: the combined code of a missing cell, which therefore adds nothing. `plain` says that every
    positive probability is at least 2**-500: products of two of them lose nothing.
    """

    values: NDArray[np.float64]
    offsets: NDArray[np.int64]
    plain: bool


class Lanes(NamedTuple):
    """Logs of probabilities as class lanes (:meth:`Structure.lane_offsets`), the form that scores gather from."""

    values: NDArray[np.float64]
    offsets: NDArray[np.int64]


class Tables(Sequence[NDArray[Any]]):
    """Immutable ragged stack of count or probability tables over one flat buffer.

    Made by :func:`tallydraw.count_features`, :meth:`from_arrays`, :meth:`normalize`, or ``+`` and ``-``. It alone owns
    what is prepared from it (logs, levels, guide tables): built lazily, once, and published by one assignment, so that
    threads may share it.

    Attributes
    ----------
    values : ndarray
        All cells, flat and read-only: int64 counts, or float64 weighted counts or probabilities.
    offsets : ndarray of int64, shape (d + 1,)
        Table j is ``values[offsets[j]:offsets[j + 1]]``.
    n_categories : ndarray of int64, shape (d,)
    parents : ndarray of int64, shape (d,), or None
        The parent of each feature, -1 for a root; None where no feature has a parent.
    n_classes : int or None
    order : int
        How many of the nearest ancestors a table depends on; 1 but for Markov chains of a higher order.

    Examples
    --------
    >>> import tallydraw as td
    >>> t = td.Tables.from_arrays([[2, 2], [1, 0, 3]])
    >>> t[1]
    array([1, 0, 3])
    >>> t.normalize(alpha=1)[0]
    array([0.5, 0.5])
    """

    __slots__ = (
        "_cells", "_exact", "_lanes", "_levels", "_logs", "_n_wanted", "_structure", "_sums_to_one", "_totals",
        "n_classes", "order", "parents", "values",
    )  # fmt: skip

    values: NDArray[Any]
    parents: NDArray[np.int64] | None
    n_classes: int | None
    order: int
    _structure: Structure
    _exact: NDArray[np.int64] | None
    _levels: Levels | None
    _logs: Logs | None
    _lanes: Lanes | None
    _cells: NDArray[np.float64] | None
    _totals: Totals | None
    _n_wanted: float
    _sums_to_one: bool

    __array_ufunc__ = None  # an array and tables do not add up to anything

    def __init__(
        self,
        values: NDArray[Any],
        n_categories: NDArray[np.int64],
        *,
        parents: NDArray[np.int64] | None = None,
        n_classes: int | None = None,
        order: int = 1,
        exact_weights: NDArray[np.int64] | None = None,
        structure: Structure | None = None,
    ) -> None:
        """Wrap a flat buffer of cells; users call :meth:`from_arrays`.

        Kernels address cells as the structure says. So everything is checked here but a `structure`, which the library
        hands on with a buffer of its own, of checked cells; without one the buffer is copied, and is nobody else's.
        """
        ready = structure is not None
        if structure is None:
            values = np.array(_check.unmasked("values", values))
            sizes = np.asarray(n_categories)
            if sizes.shape == (0,):
                raise ValueError("n_categories is empty: Tables have at least one feature, pass its number")
            if sizes.ndim != 1:
                raise ValueError(f"n_categories must have one number a feature, got shape {sizes.shape}")
            sizes = _check.category_counts(sizes, len(sizes))
            parents = None if parents is None else parent_array(parents, len(sizes))
            n_classes = None if n_classes is None else _check.natural("n_classes", n_classes, least=1)
            order = _check.natural("order", order, least=1)
            structure = make_structure(sizes, parents, n_classes, order)
        cells = int(structure.offsets[-1])
        values = flat_cells("values", values, cells)
        if exact_weights is not None:
            exact_weights = flat_cells("exact_weights", exact_weights, cells)
        for name, given in (("values", values), ("exact_weights", exact_weights)):
            if not ready and given is not None:
                require_cells(name, given)
        values.flags.writeable = False  # the buffer itself: a view could be made writable again
        put = object.__setattr__  # what nobody has yet
        put(self, "_structure", structure)
        put(self, "values", values.view())
        put(self, "parents", parents)
        put(self, "n_classes", n_classes)
        put(self, "order", order)
        # Integer weights that the probabilities stand for: draws then follow the exact rule.
        put(self, "_exact", exact_weights)
        for prepared in ("_levels", "_logs", "_lanes", "_cells", "_totals"):
            put(self, prepared, None)
        put(self, "_n_wanted", 0.0)
        put(self, "_sums_to_one", False)  # what require_probabilities found

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and hasattr(self, name):
            raise AttributeError("Tables cannot be changed: make others")
        object.__setattr__(self, name, value)

    @classmethod
    def from_arrays(
        cls, tables: Iterable[Any], *, parents: Any = None, n_classes: int | None = None, order: int = 1
    ) -> Tables:
        """Make a stack from one array a feature.

        Parameters
        ----------
        tables : iterable of array_like
            Table j has shape ``([K,] [C_parent,] C_j)``: K where `n_classes` is given, ``C_parent`` where feature j has
            a parent (one axis for each of the nearest `order` ancestors, outermost first). Integers are counts, or
            weights; floats are weighted counts, weights or probabilities. Finite and non-negative.
        parents : array_like of int, shape (d,), optional
            The parent of each feature, -1 for a root.
        n_classes : int, optional
        order : int, default 1

        Raises
        ------
        ValueError
            A shape that does not fit, or a cell that is negative, infinite or NaN, naming table and place.
        TypeError
            A table that is not numeric.

        Examples
        --------
        >>> import tallydraw as td
        >>> td.Tables.from_arrays([[1, 3], [[2, 0], [1, 2]]], parents=[-1, 0])
        Tables(d=2, n_categories=[2, 2], parents=[-1, 0], int64)
        """
        if isinstance(tables, Tables):
            return tables
        _check.refuse_model("tables", tables)
        arrays = [_check.weights(f"tables[{j}]", t) for j, t in enumerate(tables)]
        if not arrays:
            raise ValueError("tables must hold at least one table")
        n_categories = np.array([a.shape[-1] for a in arrays], np.int64)
        k = None if n_classes is None else _check.natural("n_classes", n_classes, least=1)
        order = _check.natural("order", order, least=1)
        checked = None if parents is None else parent_array(parents, len(arrays))
        structure = make_structure(n_categories, checked, k, order)
        dtype = np.int64 if all(a.dtype.kind == "i" for a in arrays) else np.float64
        values = np.empty(int(structure.offsets[-1]), dtype)
        for j, array in enumerate(arrays):
            shape = _shape(structure, j, k is not None)
            if array.shape != shape:
                more = "; n_classes= and parents= add axes" if array.ndim > len(shape) else ""
                raise ValueError(f"tables[{j}] must have shape {shape}, got {array.shape}{more}")
            require_cells(f"tables[{j}]", array)
            values[structure.offsets[j] : structure.offsets[j + 1]] = array.reshape(-1)
        return cls(values, n_categories, parents=checked, n_classes=k, order=order, structure=structure)

    # The stack as a sequence of arrays -------------------------------------------------------------------------------

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each table begins in `values`, and where the last ends."""
        return self._structure.offsets

    @property
    def n_categories(self) -> NDArray[np.int64]:
        """How many categories each feature has."""
        return self._structure.n_categories

    def __len__(self) -> int:
        return self._structure.n_features

    @overload
    def __getitem__(self, j: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, j: slice) -> list[NDArray[Any]]: ...
    def __getitem__(self, j: int | slice) -> NDArray[Any] | list[NDArray[Any]]:
        """Read-only view of table j, of shape ``([K,] [C_parent,] C_j)``."""
        if isinstance(j, slice):
            return [self[i] for i in range(*j.indices(len(self)))]
        i = j + len(self) if j < 0 else j
        if not 0 <= i < len(self):
            raise IndexError(f"there are {len(self)} tables, got index {j}")
        flat = self.values[self.offsets[i] : self.offsets[i + 1]]
        return flat.reshape(_shape(self._structure, i, self.n_classes is not None))

    def __repr__(self) -> str:
        sizes = self.n_categories.tolist()
        shown = f"[{', '.join(map(str, sizes[:6]))}, …]" if len(sizes) > 7 else str(sizes)
        parts = [f"d={len(self)}", f"n_categories={shown}"]
        if self.parents is not None:
            parents = self.parents.tolist()
            parts.append(
                "parents=" + (f"[{', '.join(map(str, parents[:6]))}, …]" if len(parents) > 7 else str(parents))
            )
        if self.order != 1:
            parts.append(f"order={self.order}")
        if self.n_classes is not None:
            parts.append(f"n_classes={self.n_classes}")
        return f"Tables({', '.join(parts)}, {self.values.dtype})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tables):
            return NotImplemented
        return self._difference(other) is None and np.array_equal(self.values, other.values)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.values, self.n_categories, self.parents, self.n_classes, self.order, self._exact)

    def of_class(self, k: int) -> Tables:
        """The tables of one class, without classes.

        Raises
        ------
        ValueError
            There are no classes, or not so many.

        Examples
        --------
        >>> import tallydraw as td
        >>> t = td.count_features([[0, 1], [1, 1], [1, 0]], y=[0, 1, 1])
        >>> t.of_class(1) == td.count_features([[1, 1], [1, 0]])
        True
        """
        if self.n_classes is None:
            raise ValueError("these Tables have no classes")
        k = _check.natural("k", k, most=self.n_classes - 1)
        structure = make_structure(self.n_categories, self.parents, None, self.order)
        exact = None if self._exact is None else class_cells(self._exact, self.offsets, structure.offsets, k)
        return Tables(
            class_cells(self.values, self.offsets, structure.offsets, k),
            self.n_categories,
            parents=self.parents,
            order=self.order,
            exact_weights=exact,
            structure=structure,
        )

    # Arithmetic ------------------------------------------------------------------------------------------------------

    def __add__(self, other: Tables) -> Tables:
        """Exact sum of two stacks of the same shape.

        Raises
        ------
        ValueError
            The stacks differ in shape, parents or classes.
        OverflowError
            A count would pass 2**63 - 1.
        """
        if not isinstance(other, Tables):
            return NotImplemented
        self._require_same(other, "+")
        with np.errstate(over="ignore"):
            total = self.values + other.values
        if total.dtype.kind == "f" and not np.isfinite(total).all():
            cell = int(np.flatnonzero(~np.isfinite(total))[0])
            raise OverflowError(f"the sum of table {self._structure.locate(cell)[0]} passes the largest float64")
        if total.dtype.kind == "i" and np.any(total < 0):
            cell = int(np.flatnonzero(total < 0)[0])
            raise OverflowError(f"the sum of table {self._structure.locate(cell)[0]} passes 2**63 - 1")
        return self._like(total)

    def __sub__(self, other: Tables) -> Tables:
        """Exact difference of two stacks of integer counts.

        Raises
        ------
        ValueError
            The stacks differ in shape, parents or classes, or a count would be negative.
        TypeError
            One of them is not of integer counts.
        """
        if not isinstance(other, Tables):
            return NotImplemented
        self._require_same(other, "-")
        if self.values.dtype.kind != "i" or other.values.dtype.kind != "i":
            raise TypeError("- needs integer counts: weighted counts do not subtract exactly")
        if np.any(self.values < other.values):
            cell = int(np.flatnonzero(self.values < other.values)[0])
            j, place = self._structure.locate(cell)
            raise ValueError(
                f"table {j} at (class, context, category) {place} would turn negative: "
                f"{self.values[cell]} - {other.values[cell]}"
            )
        return self._like(self.values - other.values)

    def normalize(self, alpha: Any = 0.0) -> Tables:
        """Estimate theta_c = (n_c + alpha_c) / (N + sum alpha) in every table row.

        Parameters
        ----------
        alpha : float, one a category, one a feature, or array (d, C), default 0.0
            Pseudocounts. 0.0 is the maximum-likelihood estimate n / N. One a category, and an array, want as many
            categories everywhere; a list of one number or array a feature gives both. Where d = C, d numbers are one a
            feature.

        Returns
        -------
        Tables
            float64. A table row without data (and without alpha) is uniform. Draws from it follow the integer rule
            where counts and alpha are whole numbers.

        Raises
        ------
        OverflowError
            A row of integer counts, and integer alpha, sums to 2**63 or more: pass a smaller alpha, or a float.

        Examples
        --------
        >>> import tallydraw as td
        >>> td.Tables.from_arrays([[2, 0, 0]]).normalize(alpha=[1, 0, 1])[0]
        array([0.75, 0.  , 0.25])
        """
        theta = self._normalized(alpha) if len(self) and _check.is_number(alpha) else None
        if theta is not None:
            return theta
        plain = _check.is_number(alpha) and alpha == 0
        return self._like_probabilities(self.smoothed(alpha), "counts" if plain else "counts + alpha")

    def smoothed(self, alpha: Any) -> NDArray[Any]:
        """Flat n_c + alpha_c, rows of zeros replaced by ones: what :meth:`normalize` divides by row sums."""
        alphas = _check.alpha_value(alpha, self.n_categories)
        one = len(alphas) > 0 and _check.is_number(alpha)
        if one:
            alphas = alphas[:1]
        if len(self.values) and all(part.dtype.kind == "i" for part in (self.values, *alphas)):
            most = max(int(a.max()) for a in alphas)
            if int(self.values.max()) + most > 2**63 - 1:
                raise OverflowError(f"a count and its alpha, at most {most}, pass 2**63 - 1: pass alpha as a float")
        dtype = np.result_type(self.values.dtype, *{a.dtype for a in alphas})
        weights = self.values.astype(dtype)
        if one:
            weights += alphas[0]
            alphas = []
        for j, a in enumerate(alphas):
            if a.any():
                part = weights[self.offsets[j] : self.offsets[j + 1]].reshape(-1, int(self.n_categories[j]))
                part += a
        for begin, end, c in self._structure.runs():
            rows = weights[begin:end].reshape(-1, c)
            empty = _along_rows(np.maximum, rows) == 0
            if empty.any():
                rows[empty] = 1
        return weights

    def _normalized(self, alpha: Any) -> Tables | None:
        """The estimate under one alpha for all, in one pass; None where the sums of rows want more care."""
        more = _check.alpha_value(alpha, self.n_categories)[0]
        whole = self.values.dtype.kind == more.dtype.kind == "i"
        weights: NDArray[Any] = self.values.astype(np.int64 if whole else np.float64)
        theta = estimate(self._structure, weights, more)
        return None if theta is None else self._like(theta, weights if whole else None)

    def _like_probabilities(self, weights: NDArray[Any], name: str) -> Tables:
        theta = np.empty(len(weights), np.float64)
        for begin, end, c in self._structure.runs():
            rows = weights[begin:end].reshape(-1, c)
            whole = rows.dtype.kind == "i"  # summed exactly, floats from left to right
            with np.errstate(over="ignore"):
                total = _along_rows(np.add, rows) if whole else row_sums(rows)[0]
            most = 2**62 // c if whole else np.finfo(np.float64).max
            if not (rows.min() >= 0 and rows.max() <= most and total.min() > 0):  # nor where one is NaN
                _levels.check_rows(rows, name, self._structure, begin)
            if not whole and not np.isfinite(total).all():  # as levels do: a power of two changes no ratio
                rows = np.where(np.isfinite(total)[:, None], rows, np.ldexp(rows, -64))
                total = row_sums(rows)[0]
            np.divide(rows, total[:, None], out=theta[begin:end].reshape(-1, c))
        return self._like(theta, weights if weights.dtype.kind == "i" else None)

    def _like(self, values: NDArray[Any], exact_weights: NDArray[np.int64] | None = None) -> Tables:
        return Tables(
            values,
            self.n_categories,
            parents=self.parents,
            n_classes=self.n_classes,
            order=self.order,
            exact_weights=exact_weights,
            structure=self._structure,
        )

    def _difference(self, other: Tables) -> str | None:
        """In what the shapes differ, in words, or None."""
        if not np.array_equal(self.n_categories, other.n_categories):
            return f"n_categories {self.n_categories.tolist()} and {other.n_categories.tolist()}"
        if self.n_classes != other.n_classes:
            return f"n_classes {self.n_classes} and {other.n_classes}"
        a, b = self._structure, other._structure
        # Contexts are all that parents and order say: parents of -1 alone are none, of whatever order.
        if np.array_equal(a.context_begin, b.context_begin) and np.array_equal(a.context, b.context):
            return None
        mine, theirs = (t.parents.tolist() if t.parents is not None else None for t in (self, other))
        if mine != theirs:
            return f"parents {mine} and {theirs}"
        return f"order {self.order} and {other.order}"

    def _require_same(self, other: Tables, sign: str) -> None:
        difference = self._difference(other)
        if difference is not None:
            raise ValueError(f"tables differ in {difference}: {sign} needs the same shape")

    # What is prepared from the tables --------------------------------------------------------------------------------

    @property
    def structure(self) -> Structure:
        """The shape as kernels are told it."""
        return self._structure

    def levels(self, name: str = "tables") -> Levels:
        """Cumulative levels and guide tables, built once; ValueError naming a row that is no distribution."""
        if self._levels is None:
            weights = self._exact if self._exact is not None else self.values
            self._levels = _levels.prepare(weights, self._structure, name)
        return self._levels

    def logs(self) -> Logs:
        """Logs of the probabilities with classes innermost, built once."""
        if self._logs is None:
            self._logs = self._logs_of(self.values)
        return self._logs

    def lanes(self, threads: int = 1) -> Lanes:
        """Logs of the probabilities as class lanes, built once."""
        if self._lanes is None:
            self._lanes = self._lanes_of(self.values, threads)
        return self._lanes

    def seen_as(self, observed: NDArray[np.float64]) -> Tables:
        """The same probabilities, but cells that are observed are scored by the logs of `observed`, flat like these.

        Missing cells are summed out under the probabilities themselves.
        """
        tables = self._like(self.values)
        tables._logs = tables._logs_of(observed)
        tables._lanes = tables._lanes_of(observed, 1)
        tables._cells = self._cells
        if self._totals is not None:
            tables._totals = self._totals.seen_as(self._structure, tables._logs.values)
        return tables

    def cells(self) -> NDArray[np.float64]:
        """The probabilities with table rows and then classes innermost, features where their logs are; built once."""
        if self._cells is None:
            s, offsets = self._structure, self._structure.cell_offsets()
            values = aligned_empty(int(offsets[-1]))
            for j in range(s.n_features):
                table = self.values[s.offsets[j] : s.offsets[j + 1]].reshape(s.n_classes, -1, int(s.n_categories[j]))
                slot = offsets[j + 1] - s.n_classes
                values[offsets[j] : slot].reshape(table.shape[::-1])[...] = table.T
                values[slot : offsets[j + 1]] = 0.0
            self._cells = values
        return self._cells

    def totals(self, n_wanted: float) -> Totals | None:
        """Logs of the totals of missing cells, built once; None until all `n_wanted` so far would have paid for it."""
        if self._totals is None and len(self._structure.context):
            self._n_wanted += n_wanted
            if self._n_wanted >= _totals.cost(self._structure) and self.logs().plain:
                self._totals = _totals.tabulate(self._structure, self.cells(), self.logs().values)
        return self._totals

    def _logs_of(self, observed: NDArray[Any]) -> Logs:
        logs = np.empty(len(observed), np.float64)
        backend.kernels().log(np.ascontiguousarray(observed, dtype=np.float64), logs)
        plain = bool(np.min(self.values, where=self.values > 0, initial=1.0) >= 2.0**-500)
        return Logs(self._classes_innermost(logs), self._structure.cell_offsets(), plain)

    def _lanes_of(self, observed: NDArray[Any], threads: int) -> Lanes:
        offsets = self._structure.lane_offsets()
        values = aligned_empty(int(offsets[-1]))
        cells = np.ascontiguousarray(observed, dtype=np.float64)
        backend.kernels().lay_out_logs(self._structure, cells, offsets, values, threads)
        return Lanes(values, offsets)

    def _classes_innermost(self, flat: NDArray[np.float64]) -> NDArray[np.float64]:
        s, offsets = self._structure, self._structure.cell_offsets()
        values = aligned_empty(int(offsets[-1]))
        for j in range(s.n_features):
            table = flat[s.offsets[j] : s.offsets[j + 1]].reshape(s.n_classes, -1)
            rows = values[offsets[j] : offsets[j + 1]].reshape(-1, s.n_classes)
            rows[:-1] = table.T
            rows[-1] = 0.0
        return values


def flat_cells(name: str, values: Any, cells: int) -> NDArray[Any]:
    """(cells,) int64 or float64 as kernels read them: the array itself where it is one, else a copy."""
    array: NDArray[Any] = values
    plain = type(values) is np.ndarray and values.dtype in _CELL_DTYPES
    if not (plain and values.flags.c_contiguous and values.flags.aligned):
        array = np.require(_check.weights(name, values), None, ["C", "A"])
    if array.shape != (cells,):
        raise ValueError(f"{name} must have {cells} cells, got shape {array.shape}")
    return array


def require_cells(name: str, cells: NDArray[Any]) -> None:
    """Raise for the first cell that is negative, infinite or NaN."""
    good = (cells >= 0) & np.isfinite(cells)
    if not good.all():
        place = [int(i) for i in np.argwhere(~good)[0]]
        raise ValueError(
            f"{name}{place} is {cells[tuple(place)]}: counts and probabilities are finite and non-negative"
        )


def class_cells(values: NDArray[Any], offsets: NDArray[np.int64], alone: NDArray[np.int64], k: int) -> NDArray[Any]:
    """Class k's cells of flat tables that begin at `offsets`, or at `alone` where there is one class."""
    size = np.diff(alone)
    if len(size) and (size == size[0]).all():
        cells: NDArray[Any] = values.reshape(len(size), -1, int(size[0]))[:, k].flatten()
        return cells
    cells = values[np.repeat(offsets[:-1] + k * size - alone[:-1], size) + np.arange(alone[-1])]
    return cells


def _along_rows(combine: np.ufunc, rows: NDArray[Any]) -> NDArray[Any]:
    """combine.reduce(rows, axis=1), where the order does not matter; of many short rows column by column."""
    if rows.shape[1] > 16:
        wide: NDArray[Any] = combine.reduce(rows, axis=1)
        return wide
    out: NDArray[Any] = rows[:, 0].copy()
    for column in rows.T[1:]:
        combine(out, column, out=out)
    return out


def _shape(structure: Structure, j: int, has_class: bool) -> tuple[int, ...]:
    contexts = tuple(int(structure.n_categories[f]) for f in structure.contexts(j))
    return ((structure.n_classes,) if has_class else ()) + contexts + (int(structure.n_categories[j]),)


def _restore(
    values: NDArray[Any],
    n_categories: NDArray[np.int64],
    parents: NDArray[np.int64] | None,
    n_classes: int | None,
    order: int,
    exact_weights: NDArray[np.int64] | None,
) -> Tables:
    parents = None if parents is None else parent_array(parents, len(n_categories))
    structure = make_structure(n_categories, parents, n_classes, order)
    return Tables(
        values,
        n_categories,
        parents=parents,
        n_classes=n_classes,
        order=order,
        exact_weights=exact_weights,
        structure=structure,
    )


def estimate(structure: Structure, weights: NDArray[Any], alpha: Any) -> NDArray[np.float64] | None:
    """Flat (n + alpha) / (N + C alpha); None where counts want more care. `weights` are n, and become n + alpha."""
    theta = np.empty(len(weights))
    if abs(alpha) >= 2**53 or not backend.kernels().row_probabilities(structure, weights, float(alpha), theta):
        return None
    return theta
