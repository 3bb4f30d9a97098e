"""The tables of a tree from those of all pairs of features: the twin of tree_tables.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.pair_codes import pair_places, place_of
from tallydraw._numba.parallel import inline, kernel
from tallydraw._structure import Structure


@inline
def _order_features(parents, order, first, following):
    """The order of a structure, by the rule that Structure states."""
    d = len(parents)
    in_order = True
    for j in range(d):
        order[j] = j
        in_order = in_order and parents[j] < j
    if in_order:
        return
    n = 0
    for j in range(d):
        first[j] = -1  # child; the next sibling is following[j]
        if parents[j] < 0:
            order[n] = j
            n += 1
    for j in range(d - 1, -1, -1):
        if parents[j] >= 0:
            following[j] = first[parents[j]]
            first[parents[j]] = j
    at = 0
    while at < n:
        j = first[order[at]]
        while j >= 0:
            order[n] = j
            n += 1
            j = following[j]
        at += 1


@kernel
def _tree_tables(
    n_classes, n_categories, single_offsets, places, pairs, marginals, parents, lent, n_contexts, order, offsets,
    context_begin, context, tables,
):  # fmt: skip
    d = len(parents)
    _order_features(parents, order, lent[:d], lent[d:])
    contexts = at = 0
    for j in range(d):
        parent, c = parents[j], n_categories[j]
        rows = 1 if parent < 0 else n_categories[parent]
        context_begin[j], n_contexts[j], offsets[j] = contexts, rows, at
        if parent < 0:
            for i in range(n_classes * c):
                tables[at + i] = marginals[single_offsets[j] + i]
        else:
            context[contexts] = parent
            contexts += 1
            begin = place_of(places, n_categories, min(j, parent), max(j, parent))
            for k in range(n_classes):
                to, start = at + k * rows * c, begin + k * rows * c
                for a in range(rows):
                    for b in range(c):
                        tables[to + a * c + b] = pairs[start + (a * c + b if parent < j else b * rows + a)]
        at += n_classes * rows * c
    context_begin[d], offsets[d] = contexts, at


def tree_tables(
    structure: Structure,
    pair_begins: NDArray[np.int64] | None,
    pairs: NDArray[Any],
    marginals: NDArray[Any],
    parents: NDArray[np.int64],
    layout: NDArray[np.int64],
    tables: NDArray[Any],
) -> None:
    s, d = structure, len(parents)
    n_contexts, order, offsets, begin, context = np.split(layout, [d, 2 * d, 3 * d + 1, 4 * d + 2])
    lent = np.empty(2 * d, np.int64)
    cells = (s.n_classes, s.n_categories, s.offsets, pair_places(pair_begins, s), pairs, marginals)
    _tree_tables(*cells, parents, lent, n_contexts, order, offsets, begin, context, tables)
