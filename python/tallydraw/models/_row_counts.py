"""Counts of the distinct rows that were seen: what a joint table stores instead of all combinations."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, _rows


class RowCounts(NamedTuple):
    """(D, d) distinct rows in sorted order and their counts, (D,) or (D, K); int64, or float64 of weighted rows.

    Of a stated truth `counts` are p(x, y), and `given` (D, K) are p(x | y), known for classes of no prior too.
    """

    rows: NDArray[Any]
    counts: NDArray[Any]
    given: NDArray[np.float64] | None = None

    def __add__(self, other: RowCounts) -> RowCounts:  # type: ignore[override]
        """Exact sum; OverflowError where a count, or all of them together, would pass 2**63 - 1."""
        rows, _, group = _rows.distinct(np.concatenate([self.rows, other.rows]))
        counts = np.zeros((len(rows), *self.counts.shape[1:]), np.result_type(self.counts, other.counts))
        counts[group[: len(self.rows)]] = self.counts
        theirs = group[len(self.rows) :]
        if counts.dtype.kind == "i":
            total = sum(int(c) for part in (self.counts, other.counts) for c in part.sum(axis=0, keepdims=True).flat)
            if total > 2**63 - 1:
                raise OverflowError("the counts would pass 2**63 - 1")
        with np.errstate(over="ignore"):
            counts[theirs] += other.counts  # each row is there once
            if not np.isfinite(counts.sum()):
                raise OverflowError("the weights of all rows sum to infinity: scale sample_weight down")
        return row_counts(rows, counts)

    def __sub__(self, other: RowCounts) -> RowCounts:
        """Exact difference of integer counts; a row that is no longer there is dropped."""
        if self.counts.dtype.kind != "i" or other.counts.dtype.kind != "i":
            raise TypeError("- needs integer counts: weighted counts do not subtract exactly")
        rows, _, group = _rows.distinct(np.concatenate([self.rows, other.rows]))
        counts = np.zeros((len(rows), *self.counts.shape[1:]), np.int64)
        counts[group[: len(self.rows)]] = self.counts
        counts[group[len(self.rows) :]] -= other.counts
        if np.any(counts < 0):
            row = int(np.argwhere(counts < 0)[0][0])
            raise ValueError(f"the count of row {rows[row].tolist()} would turn negative")
        kept = counts.reshape(len(rows), -1).any(axis=1)
        return row_counts(rows[kept], counts[kept])


def row_counts(rows: NDArray[Any], counts: NDArray[Any]) -> RowCounts:
    """The value of two arrays of its own; they become read-only."""
    rows.flags.writeable = counts.flags.writeable = False
    return RowCounts(rows, counts)


def count_labelled_rows(
    x: NDArray[Any], y: NDArray[np.int64] | None, k: int | None, weights: NDArray[np.float64] | None, dtype: Any
) -> RowCounts:
    """Counts of the rows of (n, d) codes without missing cells."""
    if y is None and weights is None:
        rows, counts = _rows.distinct_counts(x)
        return row_counts(rows.astype(dtype, copy=False), counts)
    rows, _, group = _rows.distinct(x)
    cells = group if y is None else group * np.int64(k or 1) + y
    counts = np.bincount(cells, weights, minlength=len(rows) * (k or 1))
    counts = counts.astype(np.int64 if weights is None else np.float64, copy=False)
    return row_counts(rows.astype(dtype, copy=False), counts if y is None else counts.reshape(len(rows), k or 1))


def present_cells(
    codes: NDArray[Any], begin: int, end: int, sizes: NDArray[np.int64], missing: int | None, unseen_is_missing: bool
) -> NDArray[np.bool_] | None:
    """Which cells of rows [begin, end) are there, None where all are; ValueError for a code that is no category."""
    block = codes[begin:end]
    if missing is None and len(block) and np.all(block.min(axis=0) >= 0) and np.all(block.max(axis=0) <= sizes - 1):
        return None
    present = block >= 0
    if missing is not None:
        present &= block != missing
    beyond = present & (block > sizes - 1)
    if beyond.any():
        if not unseen_is_missing:
            bad = int(np.flatnonzero(beyond.reshape(-1))[0])
            raise _check.code_error("X", codes, begin * codes.shape[1] + bad, sizes)
        present &= ~beyond
    return None if present.all() else present
