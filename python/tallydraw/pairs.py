"""PairTables: an immutable stack of the contingency tables of all pairs of features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check
from tallydraw._structure import make_structure, parent_array
from tallydraw.tables import Tables

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
    Memory: 8 bytes for each of K * sum_{i < j} C_i C_j cells, and for each pair.

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

    __slots__ = ("marginals", "offsets", "values")

    values: NDArray[Any]
    offsets: NDArray[np.int64]
    marginals: Tables

    def __init__(self, values: NDArray[Any], marginals: Tables, *, offsets: NDArray[np.int64] | None = None) -> None:
        """Wrap a flat buffer that is checked already; users call :func:`tallydraw.count_pairs`."""
        self.offsets = pair_offsets(marginals.n_categories, marginals.n_classes) if offsets is None else offsets
        if values.shape != (int(self.offsets[-1]),):
            raise ValueError(f"values must have {int(self.offsets[-1])} cells, got shape {values.shape}")
        values.flags.writeable = False  # the buffer itself: a view could be made writable again
        self.values = values.view()
        self.marginals = marginals

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(self, name):
            raise AttributeError("PairTables cannot be changed: make others")
        object.__setattr__(self, name, value)

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
        p = pair_number(a, b, len(self))
        flat = self.values[self.offsets[p] : self.offsets[p + 1]]
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
        return PairTables, (self.values, self.marginals)

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
        return self.tree_tables(parent_array(parents, len(self)))

    def tree_tables(self, parents: NDArray[np.int64]) -> Tables:
        """As :meth:`tables`, of read-only parents that are checked already."""
        structure = make_structure(self.n_categories, parents, self.n_classes)
        paired = np.repeat(parents >= 0, np.diff(structure.offsets))
        cells = self._cells(parents, structure.offsets)
        values = np.empty(len(cells), self.values.dtype)
        values[paired] = self.values[cells[paired]]
        values[~paired] = self.marginals.values[cells[~paired]]
        return Tables(values, self.n_categories, parents=parents, n_classes=self.n_classes, structure=structure)

    def _cells(self, parents: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where each cell of the tables of a tree is, in `values`, or of a root in those of `marginals`."""
        c, children = self.n_categories, np.flatnonzero(parents >= 0)
        above = parents[children]
        begin = self.marginals.offsets[:-1].copy()
        begin[children] = self.offsets[pair_number(np.minimum(above, children), np.maximum(above, children), len(self))]
        size = np.diff(offsets)
        cells: NDArray[np.int64] = np.arange(offsets[-1]) + np.repeat(begin - offsets[:-1], size)
        # The tables of parents that come after their children are stored transposed.
        turned = np.flatnonzero(parents > np.arange(len(self)))
        if len(turned):
            first, rows, columns = (np.repeat(x[turned], size[turned]) for x in (begin, c[parents], c))
            chosen = np.repeat(parents > np.arange(len(self)), size)
            row, column = np.divmod(cells[chosen] - first, columns)
            k, row = np.divmod(row, rows)
            cells[chosen] = first + (k * columns + column) * rows + row
        return cells

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
        offsets, single = pair_offsets(self.n_categories, None), make_structure(self.n_categories)
        values = _of_class(self.values, self.offsets, k, offsets)
        marginals = _of_class(self.marginals.values, self.marginals.offsets, k, single.offsets)
        return PairTables(values, Tables(marginals, self.n_categories, structure=single), offsets=offsets)

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
        return PairTables(total, marginals, offsets=self.offsets)

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
        return PairTables(self.values - other.values, marginals, offsets=self.offsets)

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


def _of_class(values: NDArray[Any], begin: NDArray[np.int64], k: int, offsets: NDArray[np.int64]) -> NDArray[Any]:
    """The cells of class k of tables that begin at `begin`, those of each at `offsets`."""
    cells = np.diff(offsets)
    chosen: NDArray[Any] = values[np.repeat(begin[:-1] + k * cells - offsets[:-1], cells) + np.arange(offsets[-1])]
    return chosen


def pair_number(i: Any, j: Any, d: int) -> Any:
    """Where pair i < j of d features stands among all in lexicographic order."""
    return i * (2 * d - i - 1) // 2 + (j - i - 1)


def pair_cells(n_categories: NDArray[np.int64], n_classes: int | None) -> int:
    """How many cells the tables of all pairs have."""
    sizes: list[int] = n_categories.tolist()
    return (n_classes or 1) * (sum(sizes) ** 2 - sum(c * c for c in sizes)) // 2


def pair_offsets(n_categories: NDArray[np.int64], n_classes: int | None) -> NDArray[np.int64]:
    """Where the table of each pair begins, and where the last ends; the cells can be addressed."""
    c, k = n_categories, n_classes or 1
    n_pairs = len(c) * (len(c) - 1) // 2
    if n_pairs and np.all(c == c[0]):
        step = k * int(c[0]) ** 2
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
