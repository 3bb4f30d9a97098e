"""Totals of missing cells, tabulated: what `cpp/include/tallydraw/log_prob_tree.hpp` looks up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw import backend
from tallydraw._structure import Structure, aligned_empty

__all__ = ["Totals", "cost", "tabulate"]

# A feature has totals where all its probabilities are no more than that many times fewer, or for so many cells anyway.
_TIMES, _CELLS = 4, 1 << 13
# Numbers of a child that its parent's totals know: its categories and silence, or at most so many times as many. Up to
# so many cells, totals may be as many times more: runs of missing cells that have no number cost most.
_MOST_TIMES, _MORE_CELLS = 8, 1 << 15
# What tabulating costs, in messages of missing cells: so many a feature, and so many a cell of the tables (measured).
_COST_FEATURE, _COST_CELL = 600, 3
# Numbers at least this large keep every bit in products and sums: messages.hpp.
_LEAST_PLAIN = 2.0**-500


class Totals(NamedTuple):
    """Logs of observed cells and of the totals of missing ones, of tables whose contexts are at most one feature.

    Cells are numbered. The number of an observed one is its category; C_j is that of a missing cell behind which
    nothing is observed; C_j + 1 + m that of any other, where m numbers the numbers of its children, in
    ``structure.order``, the last one fastest. ``radix[j]`` numbers of feature j count there, the first ones; a number
    that needs others does not exist. Feature j has, from ``offsets[j]`` on, K logs for each code of its parent and each
    of ``width[j]`` numbers, these fastest; and at last K zeros. There are none of totals where it has no children,
    where they would be too many, or where plain float64 does not suffice.
    """

    values: NDArray[np.float64]
    offsets: NDArray[np.int64]
    width: NDArray[np.int64]
    radix: NDArray[np.int64]

    def seen_as(self, structure: Structure, logs: NDArray[np.float64]) -> Totals:
        """The same totals beside other logs of observed cells."""
        values = aligned_empty(len(self.values))
        values[:] = self.values
        _put_observed(structure, logs, self.offsets, values)
        return self._replace(values=values)


def tabulate(structure: Structure, cells: NDArray[np.float64], logs: NDArray[np.float64]) -> Totals:
    """`logs` of observed cells and the totals of `cells`, by the operations of messages.hpp in their order: children in
    the reverse of ``structure.order``, sums over the categories left to right, from 0.0.
    """
    s, places = structure, structure.cell_offsets()
    d, k = s.n_features, s.n_classes
    children: list[list[int]] = [[] for _ in range(d)]
    for j in s.order.tolist():
        for parent in s.contexts(j).tolist():
            children[parent].append(j)
    most_entries = _most_entries(s)
    radix = s.n_categories + 1
    width = s.n_categories + 1
    parts: dict[int, NDArray[np.float64]] = {}
    messages: list[NDArray[np.float64]] = [np.empty(0)] * d  # [code of the parent][class][code]
    for j in reversed(s.order.tolist()):
        c, rows, own = int(s.n_categories[j]), int(s.n_contexts[j]), children[j]
        theta = cells[places[j] : places[j + 1] - k].reshape(c, rows, k)
        known = [theta.transpose(1, 2, 0), np.ones((rows, k, 1))]
        times = _times(s, j, own, [messages[f].shape[-1] for f in own], most_entries)
        if times:
            for f in own:
                radix[f] = min(messages[f].shape[-1], times * (int(s.n_categories[f]) + 1))
            below = messages[own[-1]][..., : radix[own[-1]]]
            for f in reversed(own[:-1]):
                below = (below[:, :, None] * messages[f][..., : radix[f], None]).reshape(c, k, -1)
            below = np.ascontiguousarray(below)
            if not np.any((below > 0) & (below < _LEAST_PLAIN)):
                totals = np.zeros((rows, k, below.shape[-1]))
                term = np.empty_like(totals)
                for x in range(c):
                    totals += np.multiply(theta[x, :, :, None], below[x], out=term)
                silent = 0
                for f in own:
                    silent = silent * int(radix[f]) + int(s.n_categories[f])
                totals[..., silent] = 1.0
                known.append(totals)
                width[j] += below.shape[-1]
                parts[j] = np.empty(totals.size)
                backend.kernels().log(totals.transpose(0, 2, 1).reshape(-1), parts[j])
        messages[j] = np.concatenate(known, axis=-1)
        for f in own:
            messages[f] = np.empty(0)
    offsets = np.zeros(d + 1, np.int64)
    np.cumsum((s.n_contexts * width + 1) * k, out=offsets[1:])
    values = aligned_empty(int(offsets[-1]))
    values[:] = 0.0
    for j, part in parts.items():
        rows, c = int(s.n_contexts[j]), int(s.n_categories[j])
        all_of_it = values[offsets[j] : offsets[j + 1] - k].reshape(rows, -1, k)
        all_of_it[:, c + 1 :] = part.reshape(rows, -1, k)
    _put_observed(s, logs, offsets, values)
    return Totals(values, offsets, width, radix)


def cost(structure: Structure) -> float:
    """How many missing cells pay for their totals; never where a context has several features."""
    if int(np.diff(structure.context_begin).max(initial=0)) != 1:
        return float("inf")
    cells = _COST_CELL * int(structure.offsets[-1]) / (1 + structure.n_classes / 4)
    return _COST_FEATURE * structure.n_features + cells


def _put_observed(
    structure: Structure, logs: NDArray[np.float64], offsets: NDArray[np.int64], values: NDArray[np.float64]
) -> None:
    """Sets the logs of observed cells: `logs` with classes innermost, and a slot after each feature."""
    s, k, places = structure, structure.n_classes, structure.cell_offsets()
    for j in range(s.n_features):
        shape = int(s.n_contexts[j]), -1, k
        own, given = values[offsets[j] : offsets[j + 1] - k], logs[places[j] : places[j + 1] - k]
        own.reshape(shape)[:, : int(s.n_categories[j])] = given.reshape(shape)


def _most_entries(structure: Structure) -> int:
    """Numbers under the codes of a parent must fit combined_code of tree_columns.hpp: two bytes where plain codes,
    the slot of missing ones among them, fit one.
    """
    most = int(structure.n_categories.max(initial=0))
    return 2**16 - 1 if most < 2**8 else 2**32 - 1 if most < 2**16 else 2**60 - 1


def _times(structure: Structure, j: int, children: list[int], numbers: list[int], most_entries: int) -> int:
    """How many times the categories of its children, and silence, the totals of feature j can afford; 0: none."""
    rows, c, k = int(structure.n_contexts[j]), int(structure.n_categories[j]), structure.n_classes
    more = min(_MOST_TIMES * rows * c, _MORE_CELLS // k)
    limit = min(max(_TIMES * rows * c, _CELLS // k, more), most_entries - rows * (c + 1))
    for times in range(_MOST_TIMES, 0, -1) if children else ():
        entries = rows
        for f, n in zip(children, numbers, strict=True):
            entries *= min(n, times * (int(structure.n_categories[f]) + 1))
            if entries > limit:
                break
        if entries <= limit:
            return times
    return 0
