"""PairTables: an immutable stack of the contingency tables of all pairs of features."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, backend
from tallydraw._structure import make_structure, pair_begins, parent_array, tree_structure
from tallydraw.tables import Tables, class_cells, flat_cells, require_cells

__all__ = ["PairTables"]


class PairTables:
    """Immutable contingency tables of all pairs of features, and the counts of the single ones.

    Made by :func:`tallydraw.count_pairs`, or by ``+`` and ``-``. ``t[i, j]`` is the read-only table of features i and
    j, of shape ``([K,] C_i, C_j)``; ``t[j, i]`` its transpose; ``t[i, i]`` has the counts of feature i on its diagonal.

    Attributes
    ----------
    values : ndarray
        All cells of the pairs i < j in lexicographic order, flat and read-only: int64, or float64 weighted counts.
    offsets : ndarray of int64, shape (d * (d - 1) / 2 + 1,)
        Pair p is ``values[offsets[p]:offsets[p + 1]]``.
    marginals : Tables
        The counts of each feature, of every row where it is seen.
    n_categories : ndarray of int64, shape (d,)
    n_classes : int or None

    Notes
    -----
    Memory: 8 bytes for each of K * sum_{i < j} C_i C_j cells; and, once `offsets` are asked for, for each pair.

    Examples
    --------
    >>> import tallydraw as td
    >>> t = td.count_pairs([[0, 1, 1], [1, 1, 0], [1, 0, -1]])
    >>> t[0, 1]
    array([[0, 1],
           [1, 1]])
    >>> t[2, 0]
    array([[0, 1],
           [1, 0]])
    >>> len(t), t.marginals[2]
    (3, array([1, 1]))
    """

    __slots__ = ("_alike", "_begins", "_offsets", "marginals", "values")

    values: NDArray[Any]
    marginals: Tables
    _alike: int | None  # how many categories each feature has
    _begins: NDArray[np.int64] | None  # as kernels are told
    _offsets: NDArray[np.int64] | None

    def __init__(self, values: NDArray[Any], marginals: Tables, *, checked: bool = False) -> None:
        """Wrap a flat buffer of cells; users call :func:`tallydraw.count_pairs`.

        The library hands a buffer of its own on, of `checked` cells; another one is checked, and copied.
        """
        if not checked:
            values = np.array(_check.unmasked("values", values))
        if not isinstance(marginals, Tables) or marginals.parents is not None:
            raise TypeError(f"marginals must be Tables of features without parents, got {marginals!r}")
        one = alike(marginals.n_categories)
        values = flat_cells("values", values, pair_cells(marginals.n_categories, marginals.n_classes, one))
        if values.dtype != marginals.values.dtype:
            raise TypeError(
                f"values have dtype {values.dtype}, but the marginals {marginals.values.dtype}: counts of pairs and of "
                "features are both int64, or both float64"
            )
        if not checked:
            require_cells("values", values)
        values.flags.writeable = False  # the buffer itself: a view could be made writable again
        put = object.__setattr__  # what nobody has yet
        put(self, "values", values.view())
        put(self, "marginals", marginals)
        put(self, "_alike", one)
        put(self, "_begins", None)
        put(self, "_offsets", None)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(self, name):
            raise AttributeError("PairTables cannot be changed: make others")
        object.__setattr__(self, name, value)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where the table of each pair begins in `values`, and where the last ends; made when they are asked for."""
        if self._offsets is None:
            object.__setattr__(self, "_offsets", pair_offsets(self.n_categories, self.n_classes))
        return self._offsets  # type: ignore[return-value]

    @property
    def _binary(self) -> bool:
        """Whether all features have two categories."""
        return self._alike == 2

    @property
    def _told_begins(self) -> NDArray[np.int64] | None:
        """What kernels are told: None where all features have as many categories."""
        if self._alike is None and self._begins is None:
            object.__setattr__(self, "_begins", pair_begins(self.marginals.structure))
        return self._begins

    @property
    def n_categories(self) -> NDArray[np.int64]:
        """How many categories each feature has."""
        return self.marginals.n_categories

    @property
    def n_classes(self) -> int | None:
        """How many classes there are, or None."""
        return self.marginals.n_classes

    def __len__(self) -> int:
        return len(self.marginals)

    def __getitem__(self, pair: tuple[int, int]) -> NDArray[Any]:
        """Read-only table of two features, of shape ``([K,] C_i, C_j)``."""
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(f"a table is that of a pair: t[i, j], got t[{pair!r}]")
        return self._table(self._feature(pair[0]), self._feature(pair[1]))

    def _table(self, i: int, j: int) -> NDArray[Any]:
        if i == j:
            single = self.marginals[i]
            table = np.zeros((*single.shape, single.shape[-1]), single.dtype)
            np.einsum("...ii->...i", table)[...] = single
            table.flags.writeable = False
            return table
        a, b = min(i, j), max(i, j)
        sizes = (int(self.n_categories[a]), int(self.n_categories[b]))
        cells, begins = (self.n_classes or 1) * sizes[0] * sizes[1], self._told_begins
        if begins is None:
            begin = pair_number(a, b, len(self)) * cells
        else:
            begin = int(begins[a]) + sizes[0] * int(self.marginals.offsets[b])
        flat = self.values[begin : begin + cells]
        table = flat.reshape(sizes if self.n_classes is None else (self.n_classes, *sizes))
        return table if i < j else table.swapaxes(-1, -2)

    def _feature(self, index: Any) -> int:
        d = len(self)
        i = _check.natural("a feature", index, least=-(2**63))
        if not -d <= i < d:
            raise IndexError(f"there are {d} features, got index {i}")
        return i % d

    def __iter__(self) -> Any:
        raise TypeError("PairTables are asked for a pair: t[i, j]")

    def __repr__(self) -> str:
        single = repr(self.marginals).partition("(")[2].rpartition(", ")[0]
        return f"PairTables({single}, {self.values.dtype})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PairTables):
            return NotImplemented
        return self.marginals == other.marginals and np.array_equal(self.values, other.values)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.values, self.marginals)

    def tables(self, parents: Any) -> Tables:
        """Extract the tables of a tree: those that ``count_features(parents=parents)`` counts.

        Parameters
        ----------
        parents : array_like of int, shape (d,)
            The parent of each feature, -1 for a root.

        Returns
        -------
        Tables
            A root has its counts, a feature with a parent the table of the two. Cost: what is copied.

        Raises
        ------
        ValueError
            Parents that are out of range or have a cycle.

        Examples
        --------
        >>> import tallydraw as td
        >>> X = [[0, 1, 1], [1, 1, 0], [1, 0, 0]]
        >>> td.count_pairs(X).tables([1, -1, 0]) == td.count_features(X, parents=[1, -1, 0])
        True
        """
        return self._tree_tables(parent_array(parents, len(self)))

    def _tree_tables(self, parents: NDArray[np.int64]) -> Tables:
        """As :meth:`tables`, of read-only parents that are checked already."""
        roots, one, d = self.marginals.structure, self._alike, len(self)
        child = parents >= 0
        arcs = int(np.count_nonzero(child))
        if one is None:
            rows = np.where(child, self.n_categories[parents], 1)
            cells = int(np.dot(rows, self.n_categories))
        else:
            cells = arcs * one**2 + (d - arcs) * one
        layout, values = np.empty(4 * d + 2 + arcs, np.int64), np.empty(cells * roots.n_classes, self.values.dtype)
        backend.kernels().tree_tables(
            roots, self._told_begins, self.values, self.marginals.values, parents, layout, values
        )
        structure = tree_structure(roots, layout)
        return Tables(values, roots.n_categories, parents=parents, n_classes=self.n_classes, structure=structure)

    def of_class(self, k: int) -> PairTables:
        """The counts of one class, without classes.

        Examples
        --------
        >>> import tallydraw as td
        >>> t = td.count_pairs([[0, 1], [1, 1], [1, 0]], y=[0, 1, 1])
        >>> t.of_class(1) == td.count_pairs([[1, 1], [1, 0]])
        True
        """
        if self.n_classes is None:
            raise ValueError("these PairTables have no classes")
        k = _check.natural("k", k, most=self.n_classes - 1)
        return self._of_classes([k])[0]

    def by_class(self) -> list[PairTables]:
        """Those of each class, or these where there are no classes.

        Examples
        --------
        >>> import tallydraw as td
        >>> pairs = td.count_pairs([[0, 1], [1, 1], [1, 0]], y=[0, 1, 1])
        >>> [part[0, 1].tolist() for part in pairs.by_class()]
        [[[0, 1], [0, 0]], [[0, 0], [1, 1]]]
        """
        return [self] if self.n_classes is None else self._of_classes(range(self.n_classes))

    def _of_classes(self, chosen: Iterable[int]) -> list[PairTables]:
        offsets, single = pair_offsets(self.n_categories, None), make_structure(self.n_categories)
        tables = []
        for k in chosen:
            marginals = class_cells(self.marginals.values, self.marginals.offsets, single.offsets, k)
            values = class_cells(self.values, self.offsets, offsets, k)
            tables.append(PairTables(values, Tables(marginals, self.n_categories, structure=single), checked=True))
        return tables

    # Arithmetic ------------------------------------------------------------------------------------------------------

    def __add__(self, other: PairTables) -> PairTables:
        """Exact sum of the tables of the same features.

        Raises
        ------
        ValueError
            They differ in categories or classes.
        OverflowError
            A count would pass 2**63 - 1.
        """
        if not isinstance(other, PairTables):
            return NotImplemented
        marginals = self.marginals + other.marginals
        with np.errstate(over="ignore"):
            total = self.values + other.values
        if total.dtype.kind == "f":
            self._refuse(~np.isfinite(total), lambda cell, pair: f"the sum of pair {pair} passes the largest float64")
        else:
            self._refuse(total < 0, lambda cell, pair: f"the sum of pair {pair} passes 2**63 - 1")
        return PairTables(total, marginals, checked=True)

    def __sub__(self, other: PairTables) -> PairTables:
        """Exact difference of tables of integer counts.

        Raises
        ------
        ValueError
            They differ in categories or classes, or a count would be negative.
        TypeError
            One of them is not of integer counts.
        """
        if not isinstance(other, PairTables):
            return NotImplemented
        marginals = self.marginals - other.marginals
        negative = self.values < other.values
        if negative.any():
            cell = int(np.flatnonzero(negative)[0])
            raise ValueError(
                f"the table of pair {self._pair_at(cell)} would turn negative: "
                f"{self.values[cell]} - {other.values[cell]}"
            )
        return PairTables(self.values - other.values, marginals, checked=True)

    def _refuse(self, bad: NDArray[np.bool_], message: Callable[[int, tuple[int, int]], str]) -> None:
        if bad.any():
            cell = int(np.flatnonzero(bad)[0])
            raise OverflowError(message(cell, self._pair_at(cell)))

    def _pair_at(self, cell: int) -> tuple[int, int]:
        """The pair that has a cell of the flat buffer."""
        p = int(np.searchsorted(self.offsets, cell, side="right")) - 1
        i = 0
        while p >= len(self) - i - 1:
            p -= len(self) - i - 1
            i += 1
        return i, i + 1 + p


def _restore(values: NDArray[Any], marginals: Tables) -> PairTables:
    return PairTables(values, marginals, checked=True)


def pair_number(i: Any, j: Any, d: int) -> Any:
    """Where pair i < j of d features stands among all in lexicographic order."""
    return i * (2 * d - i - 1) // 2 + (j - i - 1)


def alike(n_categories: NDArray[np.int64]) -> int | None:
    """How many categories each feature has, or None where they differ."""
    if not len(n_categories):
        return None
    first = int(n_categories[0])
    return first if n_categories.tobytes() == n_categories[:1].tobytes() * len(n_categories) else None


def pair_cells(n_categories: NDArray[np.int64], n_classes: int | None, one: int | None) -> int:
    """How many cells the tables of all pairs have; `one` is what `alike` says."""
    d, k = len(n_categories), n_classes or 1
    if one is not None:
        return k * one**2 * (d * (d - 1) // 2)
    whole = n_categories
    if float(whole.sum(dtype=np.float64)) >= 2.0**31:  # whose square int64 does not hold
        whole = whole.astype(object)
    return k * (int(whole.sum()) ** 2 - int(np.dot(whole, whole))) // 2


def pair_offsets(n_categories: NDArray[np.int64], n_classes: int | None) -> NDArray[np.int64]:
    """Where the table of each pair begins, and where the last ends; the cells can be addressed."""
    c, k = n_categories, n_classes or 1
    n_pairs = len(c) * (len(c) - 1) // 2
    one = alike(c)
    if n_pairs and one is not None:
        step = k * one**2
        offsets = np.arange(0, n_pairs * step + 1, step, dtype=np.int64)
    else:
        offsets = np.zeros(n_pairs + 1, np.int64)
        begin = 1
        for i in range(len(c) - 1):
            end = begin + len(c) - i - 1
            np.multiply(c[i + 1 :], k * int(c[i]), out=offsets[begin:end])
            begin = end
        np.cumsum(offsets, out=offsets)
    offsets.flags.writeable = False
    view: NDArray[np.int64] = offsets.view()  # which nobody can make writable again
    return view
