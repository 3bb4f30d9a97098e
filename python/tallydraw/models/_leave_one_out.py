"""The probability of each row of the fit under the same model fitted without that row, in one pass.

A row is in one cell of each table that it was counted in, so without it that cell is (n - 1 + a) / (N - 1 + A): a table
like that of the probabilities, and the same kernel. A missing cell was not counted, nor one that depends on a missing
one: there the probabilities stay as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check
from tallydraw._sequences import Sequences
from tallydraw.dirichlet import alpha_total
from tallydraw.models._row_counts import present_cells
from tallydraw.models._sums import log
from tallydraw.tables import Tables

_STEPS = 1 << 18  # of sequences at a time: a few arrays of so many numbers


def without_one(counts: Tables, alpha: Any) -> NDArray[np.float64]:
    """Flat estimates of each cell from all rows of the data but one that is in it; NaN for a cell that none is in."""
    theta = np.empty(len(counts.values), np.float64)
    for j, alphas in enumerate(_check.alpha_value(alpha, counts.n_categories)):
        begin, end, c = int(counts.offsets[j]), int(counts.offsets[j + 1]), int(counts.n_categories[j])
        rows = counts.values[begin:end].reshape(-1, c)
        rest = rows.sum(axis=1) - 1 + alpha_total(alphas, c)
        out = theta[begin:end].reshape(-1, c)
        out[:] = 1.0 / c  # where nothing is left
        np.divide(rows - 1 + alphas, rest[:, None], out=out, where=rest[:, None] > 0)
        out[rows == 0] = np.nan
    return theta


def log_prob_without_own(
    sequences: Sequences,
    counts: Tables,
    alpha: Any,
    y: NDArray[np.int64],
    first: NDArray[np.float64],
    out: NDArray[np.float64],
) -> int:
    """Score complete sequences under the tables of a homogeneous chain, each less all the counts that are its own.

    out[i] is the sum from first[i] on, step by step. Sequences with a missing state are left alone. The number of a
    sequence that has more counts than there are is returned, or -1.
    """
    order, c = len(counts) - 1, int(counts.n_categories[0])
    alphas = np.stack([np.broadcast_to(a, (c,)) for a in _check.alpha_value(alpha, counts.n_categories)])
    totals = np.array([alpha_total(a, c) for a in alphas])
    rows = counts.values.reshape(-1, c).sum(axis=1)
    for block in sequences.blocks(_STEPS):
        states, lengths = block.states.astype(np.int64), np.diff(block.offsets)
        whose = np.repeat(np.arange(len(lengths)), lengths)
        complete = np.bincount(whose, states < 0, minlength=len(lengths)) == 0
        step = np.arange(len(states)) - block.offsets[whose]
        table = np.minimum(step, order)
        context = np.zeros(len(states), np.int64)
        for lag in range(order, 0, -1):
            context[lag:] = np.where(step[lag:] >= lag, context[lag:] * c + states[:-lag], 0)
        n_contexts = counts.structure.n_contexts[table]
        row = counts.offsets[table] // c + y[block.begin + whose] * n_contexts + context
        cell = row * c + states
        kept = complete[whose]
        whose, table, states, row, cell = (part[kept] for part in (whose, table, states, row, cell))
        left = counts.values[cell] - _own(whose, cell, len(counts.values))
        rest = rows[row] - _own(whose, row, len(rows))
        if np.any(left < 0):
            return block.begin + int(whose[np.argmax(left < 0)])
        rest = rest + totals[table]
        theta = np.full(len(rest), 1.0 / c)  # where nothing is left
        np.divide(left + alphas[table, states], rest, out=theta, where=rest > 0)
        here = np.flatnonzero(complete)
        terms = np.concatenate([first[block.begin + here], log(theta)])
        sums = np.bincount(np.concatenate([here, whose]), terms, minlength=len(lengths))  # in this order
        out[block.begin + here] = sums[here]
    return -1


def _own(whose: NDArray[np.int64], place: NDArray[np.int64], n_places: int) -> NDArray[np.int64]:
    """How often each step's sequence, of ascending numbers, is at this one of the places."""
    if len(place) == 0:
        return place
    pairs = (int(whose[-1]) + 1) * n_places
    if pairs <= 16 * len(place):
        key = whose * n_places + place
        own: NDArray[np.int64] = np.bincount(key)[key]
        return own
    distinct, known = np.unique(place, return_inverse=True)
    _, pair, often = np.unique(whose * len(distinct) + known, return_inverse=True, return_counts=True)
    own = often[pair]
    return own


def stray_row(
    name: str,
    codes: NDArray[Any],
    row: int,
    y: NDArray[np.int64] | None,
    stacks: tuple[Tables, ...],
    missing: int | None,
    lenient: bool,
) -> ValueError:
    """The error for a row that was counted nowhere in some table: it names the first such column, or the class."""
    k = 0 if y is None else int(y[row])
    counts = stacks[0 if len(stacks) == 1 else k]
    s = counts.structure
    own = codes.reshape(len(codes), -1)
    seen = present_cells(own, row, row + 1, s.n_categories, missing, lenient)
    for j in range(s.n_features):
        cell = [*s.contexts(j), j]
        if seen is not None and not seen[0, cell].all():
            continue
        table = counts[j] if counts.n_classes is None else counts[j][k]
        if table[tuple(int(own[row, f]) for f in cell)] == 0:
            place = f"{name}[{row}]" if codes.ndim == 1 else f"{name}[{row}, {j}]"
            return ValueError(f"{place} is {own[row, j]}, which {NOT_OF_THE_FIT}")
    return ValueError(f"y[{row}] is a class that {NOT_OF_THE_FIT}")


NOT_OF_THE_FIT = "the fit did not count: loo_log_prob takes rows that the model was fitted to, log_prob any"
