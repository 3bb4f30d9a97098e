"""What follows from the observed cells of a row under a joint table, exact for any number of completions.

A completion of an observed part has the weight n + alpha: that of the stored rows that agree with it, by their counts,
and alpha for each of all the completions there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _levels, backend
from tallydraw.models._combinations import Estimate, Pattern
from tallydraw.models._state import Draw
from tallydraw.sample.categories import FLAT
from tallydraw.sample.features import write_rows

# What JointTable._matches gives: rows of X, their places among the pattern's distinct rows or -1, the pattern.
Matches = Iterable[tuple[Any, NDArray[np.int64], Pattern]]
_LARGE = 2**900


def fill_modes(estimate: Estimate, codes: NDArray[Any], matches: Matches, draw: Draw) -> None:
    """The completion of the largest weight, of equal ones the first in order of codes."""
    y = np.zeros(len(codes), np.int64) if draw.y is None else draw.y
    for which, place, pattern in matches:
        rows = np.arange(len(codes))[which]
        draw.out[rows] = _observed(codes[rows], pattern, np.zeros((1, codes.shape[1]), draw.out.dtype))
        for k in np.unique(y[rows]).tolist():
            weights = estimate.given[:, k]
            # The first row of the largest weight of every group; where that is zero, any completion is as good.
            order = np.lexsort((np.arange(len(weights)), -weights, pattern.group))
            first = order[np.searchsorted(pattern.group[order], np.arange(len(pattern.keys)))]
            ours = np.flatnonzero((y[rows] == k) & (place >= 0))
            ours = ours[weights[first[place[ours]]] > 0]
            draw.out[rows[ours]] = estimate.rows[first[place[ours]]]


def fill_draws(estimate: Estimate, codes: NDArray[Any], matches: Matches, draw: Draw) -> None:
    """A stored row, or any completion, by flat draw start + r; the cells of the latter are of purpose 0."""
    out, y, stream = draw
    n = len(codes)
    classes = np.zeros(n, np.int64) if y is None else y
    u = _flat_uniforms(stream.key, stream.start, n)
    uniform = estimate.draws().uniform
    anything = np.empty((n if uniform is not None else 0, codes.shape[1]), out.dtype)
    if uniform is not None:
        write_rows(anything, [uniform], None, *stream)
    for which, place, pattern in matches:
        rows = np.arange(n)[which]
        if len(rows) == 0:
            continue
        blank = np.zeros((1, codes.shape[1]), out.dtype) if uniform is None else anything[rows]
        out[rows] = _observed(codes[rows], pattern, blank)
        rest = estimate.alpha * pattern.completions
        order = np.argsort(pattern.group, kind="stable")
        edges = np.searchsorted(pattern.group[order], np.arange(len(pattern.keys) + 1))
        kinds, whose = np.unique(np.stack([place, classes[rows]]), axis=1, return_inverse=True)
        for i, (p, k) in enumerate(kinds.T.tolist()):
            if p < 0:
                continue
            stored = order[edges[p] : edges[p + 1]]
            level = _levels.row_levels(_weights(estimate.given[stored, k], rest)[None])[0]
            ours = rows[np.flatnonzero(whose.reshape(-1) == i)]
            chosen = np.searchsorted(level, u[ours], side="right")
            kept = chosen < len(stored)
            out[ours[kept]] = estimate.rows[stored[chosen[kept]]]


def marginals(estimate: Estimate, codes: NDArray[Any], matches: Matches) -> list[NDArray[np.float64]]:
    """For each feature (n, C_j): p(x_j | what is seen), classes summed."""
    n, d = codes.shape
    out = [np.zeros((n, int(c))) for c in estimate.sizes]
    counts = np.cumsum(estimate.counts, axis=1)[:, -1]
    for which, place, pattern in matches:
        rows = np.arange(n)[which]
        rest = estimate.alpha * pattern.completions * estimate.counts.shape[1]
        weights = _weights(counts, rest)
        seen = set(range(d)) if pattern.columns is None else set(pattern.columns.tolist())
        for j in range(d):
            if j in seen:
                out[j][rows, codes[rows, j].astype(np.int64)] = 1.0
                continue
            table = np.zeros((len(pattern.keys) + 1, out[j].shape[1]))  # the last: nothing stored agrees
            np.add.at(table, (pattern.group, estimate.rows[:, j].astype(np.int64)), weights[:-1])  # in row order
            table += float(weights[-1]) / table.shape[1]
            total = np.cumsum(table, axis=1)[:, -1:]
            out[j][rows] = np.divide(table, total, out=table, where=total > 0)[place]
    return out


def _observed(codes: NDArray[Any], pattern: Pattern, fill: NDArray[Any]) -> NDArray[Any]:
    """Rows of `fill` (one, or as many as codes) with the observed cells of the codes."""
    if pattern.columns is None:
        return codes.astype(fill.dtype)
    rows = np.repeat(fill, len(codes), axis=0) if len(fill) == 1 else fill.copy()
    rows[:, pattern.columns] = codes[:, pattern.columns].astype(fill.dtype)
    return rows


def _weights(counts: NDArray[Any], rest: Fraction) -> NDArray[Any]:
    """Counts and, last, the weight of all completions: whole numbers where they are, and no larger than float64."""
    if rest.denominator == 1 and counts.dtype.kind == "i" and sum(counts.tolist()) + rest < 2**63:
        return np.append(counts, np.int64(int(rest)))
    unit = Fraction(1) if rest < _LARGE else rest
    return np.append(counts * float(1 / unit), float(rest / unit))


def _flat_uniforms(key: int, start: int, n: int) -> NDArray[np.uint64]:
    """The uniforms of flat draws start, start + 1, …, clamped as levels need it."""
    t = np.arange(n, dtype=np.uint64) + np.uint64(start % 2**64)
    counters = np.zeros((n, 4), np.uint32)
    row = t >> np.uint64(2)
    counters[:, 0], counters[:, 1] = row & np.uint64(0xFFFFFFFF), row >> np.uint64(32)
    halves = []
    for part in (0, 1):
        counters[:, 3] = 2 * FLAT + part
        words = backend.kernels().philox(counters, key)
        halves.append(words[np.arange(n), (t & np.uint64(3)).astype(np.int64)].astype(np.uint64))
    u: NDArray[np.uint64] = np.minimum((halves[0] << np.uint64(32)) | halves[1], np.uint64(2**64 - 2))
    return u
