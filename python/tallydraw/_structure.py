"""The shape shared by counts, probabilities and everything prepared from them."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw._check.scalars import natural, shown

_MOST_KEPT = 1 << 10  # features of a structure that is kept
WIDEST_PART = 8  # classes whose lanes lie side by side


def part_width(rest: int) -> int:
    """Lanes of the part of classes that begins where `rest` of them are left."""
    return 8 if rest > 4 else 4 if rest > 2 else rest


class LanePart(NamedTuple):
    """Classes first … first + n - 1, in rows of `width` lanes."""

    first: int
    n: int
    width: int


def lane_parts(n_classes: int) -> list[LanePart]:
    """What :meth:`Structure.lane_parts` gives."""
    begins = range(0, n_classes, WIDEST_PART)
    return [LanePart(c, min(WIDEST_PART, n_classes - c), part_width(n_classes - c)) for c in begins]


class Structure(NamedTuple):
    """What a kernel is told of a stack of tables; `cpp/include/tallydraw/views.hpp` has the same fields.

    Feature j holds `n_classes` blocks of ``n_contexts[j]`` table rows of ``n_categories[j]`` cells, flat from
    ``offsets[j]`` on. Its context are the features ``context[context_begin[j]:context_begin[j + 1]]``, outermost
    first. `order` lists the features, every context before its child: as they are, where each comes after its context
    already; else the roots, then their children, then theirs, …, siblings in order. It is the order in which messages
    are passed and equally probable completions are told apart, so all that make one follow this rule: `_parents_first`
    below, and the kernel `tree_tables`.
    """

    n_classes: int
    n_categories: NDArray[np.int64]
    n_contexts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    context_begin: NDArray[np.int64]
    context: NDArray[np.int64]
    order: NDArray[np.int64]

    @property
    def n_features(self) -> int:
        return len(self.n_categories)

    def contexts(self, j: int) -> NDArray[np.int64]:
        return self.context[self.context_begin[j] : self.context_begin[j + 1]]

    def cell_offsets(self) -> NDArray[np.int64]:
        """(d + 1,) where each feature begins, classes innermost: K cells a combined code, and K for missing ones."""
        return _offsets((self.n_contexts * self.n_categories + 1) * self.n_classes)

    def lane_offsets(self) -> NDArray[np.int64]:
        """(d + 1,) where each feature begins as class lanes, `cpp/include/tallydraw/class_lanes.hpp`: a row of lanes
        for each combined code and one for missing cells, up to a multiple of eight numbers.
        """
        whole = self.n_classes // WIDEST_PART * WIDEST_PART
        cells = (self.n_contexts * self.n_categories + 1) * (whole + part_width(self.n_classes - whole))
        return _offsets((cells + 7) // 8 * 8)

    def lane_parts(self) -> list[LanePart]:
        """The parts that class lanes lie in: of a feature of R rows, one a combined code and one for missing cells,
        a part begins ``first * R`` numbers after the feature does.
        """
        return lane_parts(self.n_classes)

    def spread(self, values: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        """One value a cell of the flat buffer, from one a feature, or one a category of a feature."""
        cells = np.diff(self.offsets)
        if all(v.ndim == 0 for v in values):
            return np.repeat(np.array(values, np.float64), cells)
        each = zip(values, self.n_categories, cells // self.n_categories, strict=True)
        return np.concatenate([np.tile(np.broadcast_to(v, c), rows) for v, c, rows in each])

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """(begin, end, C): stretches of the flat buffer whose table rows all have C cells."""
        c = self.n_categories
        edges = [0, *((c[1:] != c[:-1]).nonzero()[0] + 1).tolist(), self.n_features]
        for a, b in itertools.pairwise(edges):
            if a < b:
                yield int(self.offsets[a]), int(self.offsets[b]), int(c[a])

    def locate(self, cell: int) -> tuple[int, tuple[int, ...]]:
        """Feature and place in its table ([class,] [contexts,] category) of a cell of the flat buffer."""
        j = int(np.searchsorted(self.offsets, cell, side="right")) - 1
        shape = (self.n_classes, int(self.n_contexts[j]), int(self.n_categories[j]))
        return j, tuple(int(i) for i in np.unravel_index(cell - int(self.offsets[j]), shape))


def make_structure(
    n_categories: NDArray[np.int64],
    parents: NDArray[np.int64] | None = None,
    n_classes: int | None = None,
    order: int = 1,
) -> Structure:
    """The structure of features with these parents; a context is the nearest `order` ancestors."""
    sizes, k = _frozen(n_categories), n_classes or 1
    visit, context, degree, n_contexts = _contexts(sizes, parents, order)
    # Whole numbers of any size are asked only where floats, which are near enough, say that it could matter.
    if isinstance(n_contexts, list) or k * float(np.dot(n_contexts.astype(np.float64), sizes)) >= 2.0**59:
        total = k * _row_cells(n_contexts, sizes)
        if total >= 2**60:
            lower = ["n_classes"] * (k > 1) + ["the order"] * (order > 1) + ["the numbers of categories"]
            raise ValueError(
                f"the tables would have {shown(total)} cells ({shown(8 * total)} bytes): too many to address; lower "
                + " or ".join(lower)
            )
    rows = _frozen(n_contexts)
    offsets, begin = _read_only(_offsets(k * rows * sizes)), _read_only(_offsets(degree))
    return Structure(k, sizes, rows, offsets, begin, _frozen(context), _frozen(visit))


def n_cells(
    n_categories: NDArray[np.int64],
    parents: NDArray[np.int64] | None = None,
    n_classes: int | None = None,
    order: int = 1,
) -> int:
    """How many cells the tables of :func:`make_structure` have, or would have."""
    return (n_classes or 1) * _row_cells(_contexts(n_categories, parents, order)[-1], n_categories)


def _row_cells(n_contexts: Any, n_categories: NDArray[np.int64]) -> int:
    return sum(map(operator.mul, map(int, n_contexts), n_categories.tolist()))


def root_structure(n_categories: NDArray[np.int64], n_classes: int | None = None) -> Structure:
    """The structure of features without parents; that of not many is kept, since who counts seldom counts once."""
    if len(n_categories) > _MOST_KEPT:
        return make_structure(n_categories, None, n_classes)
    return _kept_structure(n_categories.tobytes(), n_classes or 1)


@functools.lru_cache(maxsize=64)
def _kept_structure(n_categories: bytes, n_classes: int) -> Structure:
    return make_structure(np.frombuffer(n_categories, np.int64), None, n_classes)


def pair_begins(roots: Structure) -> NDArray[np.int64]:
    """(d,) where the tables of all pairs begin, one after the other: that of i < j at [i] + C_i * offsets[j]."""
    c, ends = roots.n_categories, roots.offsets[1:]
    cells = c * (ends[-1] - ends)  # of the pairs of feature i with those after it
    return np.asarray(np.cumsum(cells) - cells - c * ends)


@functools.lru_cache(maxsize=64)
def chain_structure(n_states: int, order: int) -> Structure:
    """The structure of a homogeneous Markov chain: features 0 … order - 1 start it, the last is every later step."""
    return make_structure(np.full(order + 1, n_states), np.arange(order + 1) - 1, None, order)


def tree_structure(roots: Structure, layout: NDArray[np.int64]) -> Structure:
    """The structure of a tree of the same features as the kernel `tree_tables` lays it out, in one array."""
    d = roots.n_features
    layout = _read_only(layout)
    n_contexts, order, offsets = layout[:d], layout[d : 2 * d], layout[2 * d : 3 * d + 1]
    begin, context = layout[3 * d + 1 : 4 * d + 2], layout[4 * d + 2 :]
    return Structure(roots.n_classes, roots.n_categories, n_contexts, offsets, begin, context, order)


def _contexts(sizes: NDArray[np.int64], parents: NDArray[np.int64] | None, order: int) -> tuple[Any, Any, Any, Any]:
    """Features, every context before its child; all contexts; how many features each has; and how many rows."""
    d = len(sizes)
    if parents is None:
        return np.arange(d), [], np.zeros(d, np.int64), np.ones(d, np.int64)
    visit = _parents_first(parents)
    if order == 1:
        child = parents >= 0
        return visit, parents[child], child, np.where(child, sizes[parents], 1)
    contexts: list[list[int]] = [[] for _ in range(d)]
    for j in visit:
        parent = int(parents[j])
        contexts[j] = [*contexts[parent], parent][-order:] if parent >= 0 else []
    rows = [math.prod(int(sizes[f]) for f in context) for context in contexts]
    return visit, [f for context in contexts for f in context], [len(context) for context in contexts], rows


def aligned_empty(n: int) -> NDArray[np.float64]:
    """(n,) float64 that begin where a cache line does."""
    room = np.empty(n + 7)
    skipped = -room.ctypes.data // 8 % 8
    return room[skipped : skipped + n]


def parent_array(parents: Any, d: int) -> NDArray[np.int64]:
    """(d,) int64 parents, -1 = root, checked: in range and without a cycle."""
    array = np.asarray(parents)
    if array.dtype.kind not in "iu":
        raise TypeError(f"parents must be integers, got dtype {array.dtype}")
    if array.shape != (d,):
        raise ValueError(f"parents must have one entry a feature ({d},), got shape {array.shape}")
    for j in np.flatnonzero((array < -1) | (array >= d))[:1].tolist():
        natural(f"parents[{j}]", array[j], least=-1, most=d - 1)
    array = array.astype(np.int64)
    _parents_first(array)
    return _frozen(array)


def _parents_first(parents: NDArray[np.int64]) -> Any:
    """The order of a structure with these parents; ValueError for a cycle."""
    d = len(parents)
    in_order = np.arange(d)
    if (parents < in_order).all():
        return in_order
    visit: list[int] = []
    children: list[list[int]] = [[] for _ in range(d)]
    for j, parent in enumerate(parents.tolist()):
        (visit if parent < 0 else children[parent]).append(j)
    for j in visit:
        visit += children[j]
    if len(visit) < d:
        j = min(set(range(d)) - set(visit))
        raise ValueError(f"parents has a cycle through, or above, feature {j}: every feature must lead to a root (-1)")
    return visit


def _offsets(sizes: NDArray[Any]) -> NDArray[np.int64]:
    """(d + 1,) where each of d parts begins, and where the last ends."""
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def _frozen(values: Any) -> NDArray[np.int64]:
    return _read_only(np.array(values, dtype=np.int64))


def _read_only(array: NDArray[np.int64]) -> NDArray[np.int64]:
    """An array that nobody else has."""
    array.flags.writeable = False
    view: NDArray[np.int64] = array.view()  # which nobody can make writable again
    return view
