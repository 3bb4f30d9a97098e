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
# Codes of a child that its parent's totals know: its categories and silence, or at most so many times as many.
_MOST_TIMES = 8
# What tabulating costs, in messages of missing cells: so many a feature, and so many a cell of the tables (measured).
_COST_FEATURE, _COST_CELL = 300, 2
# Numbers at least this large keep every bit in products and sums: messages.hpp.
_LEAST_PLAIN = 2.0**-500


class Totals(NamedTuple):
    """Logs of the totals of missing cells, of tables whose contexts are at most one feature.

    What is observed behind a missing cell is numbered: by the codes of its children, in ``structure.order``, the last
    one fastest. The code of a child is its category; C_j where it is missing and nothing is observed behind it;
    C_j + 1 and its own number where something is. ``radix[j]`` codes of feature j count, the first ones; a number that
    needs others does not exist. Feature j has, from ``offsets[j]`` on, K logs for each code of its parent, and numbers
    fastest; none where it has no children, where they would be too many, or where plain float64 does not suffice.
    """

    values: NDArray[np.float64]
    offsets: NDArray[np.int64]
    radix: NDArray[np.int64]


def tabulate(structure: Structure, cells: NDArray[np.float64]) -> Totals:
    """The totals of `cells`, by the operations of messages.hpp in their order: children in the reverse of
    ``structure.order``, sums over the categories left to right, from 0.0.
    """
    s, places = structure, structure.cell_offsets()
    d, k = s.n_features, s.n_classes
    children: list[list[int]] = [[] for _ in range(d)]
    for j in s.order.tolist():
        for parent in s.contexts(j).tolist():
            children[parent].append(j)
    most_codes = _most_codes(s)
    radix = s.n_categories + 1
    parts = [np.empty(0)] * d
    messages: list[NDArray[np.float64]] = [np.empty(0)] * d  # [code of the parent][class][code]
    for j in reversed(s.order.tolist()):
        c, rows, own = int(s.n_categories[j]), int(s.n_contexts[j]), children[j]
        theta = cells[places[j] : places[j + 1] - k].reshape(c, rows, k)
        known = [theta.transpose(1, 2, 0), np.ones((rows, k, 1))]
        times = _times(s, j, own, [messages[f].shape[-1] for f in own], most_codes)
        if times:
            for f in own:
                radix[f] = min(messages[f].shape[-1], times * (int(s.n_categories[f]) + 1), most_codes)
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
                parts[j] = totals.transpose(0, 2, 1).reshape(-1)
        messages[j] = np.concatenate(known, axis=-1)
        for f in own:
            messages[f] = np.empty(0)
    offsets = np.zeros(d + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    values = aligned_empty(int(offsets[-1]))
    np.concatenate(parts, out=values)
    backend.kernels().log(values, values)
    return Totals(values, offsets, radix)


def cost(structure: Structure) -> float:
    """How many missing cells pay for their totals; never where a context has several features."""
    if int(np.diff(structure.context_begin).max(initial=0)) != 1:
        return float("inf")
    cells = _COST_CELL * int(structure.offsets[-1]) / (1 + structure.n_classes / 4)
    return _COST_FEATURE * structure.n_features + cells


def _most_codes(structure: Structure) -> int:
    """Codes must fit the type of combined codes: the backends' smallest has a byte."""
    most = int((structure.n_contexts * structure.n_categories).max(initial=0))
    return next(size for size in (2**8, 2**16, 2**32, 2**60) if most < size) - 1


def _times(structure: Structure, j: int, children: list[int], codes: list[int], most_codes: int) -> int:
    """How many times the categories of its children, and silence, the totals of feature j can afford; 0: none."""
    rows, k = int(structure.n_contexts[j]), structure.n_classes
    limit = max(_TIMES * rows * int(structure.n_categories[j]), _CELLS // k)
    for times in range(_MOST_TIMES, 0, -1) if children else ():
        entries = rows
        for f, n in zip(children, codes, strict=True):
            entries *= min(n, times * (int(structure.n_categories[f]) + 1), most_codes)
            if entries > limit:
                break
        if entries <= limit:
            return times
    return 0
