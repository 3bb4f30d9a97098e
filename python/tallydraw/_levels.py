"""Cumulative levels of table rows: what every kernel that draws compares with.

The outcome of a uniform u in [0, 2**64) is the first c with u < L_c. Stored as uint64 with 2**64 written 2**64 - 1,
which no other level can equal, while u is clamped to 2**64 - 2: so an outcome of zero weight cannot be drawn for any
u, and no kernel guards an edge.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw import backend
from tallydraw._check.arrays import smallest_unsigned
from tallydraw._structure import Structure


class Levels(NamedTuple):
    """What a kernel draws from; `levels_view` in `cpp/include/tallydraw/views.hpp` has the same fields.

    `level` is flat as the weights were, `high` its upper halves. Feature j has, for each of its table rows,
    ``2**guide_bits[j]`` entries of `guide` from ``guide_offsets[j]`` on; none where ``guide_bits[j] < 0``.
    """

    level: NDArray[np.uint64]
    high: NDArray[np.uint32]
    guide: NDArray[Any]
    guide_offsets: NDArray[np.int64]
    guide_bits: NDArray[np.int64]


def prepare(weights: NDArray[Any], structure: Structure, name: str = "weights") -> Levels:
    """Levels and guide tables of a flat buffer of int64 or float64 weights."""
    level = np.empty(len(weights), np.uint64)
    for begin, end, c in structure.runs():
        rows = weights[begin:end].reshape(-1, c)
        row_levels(rows, name, structure, begin, out=level[begin:end].reshape(-1, c))
    return with_guides(level, structure)


def with_guides(level: NDArray[np.uint64], structure: Structure) -> Levels:
    """Levels with what is derived from them: upper halves and guide tables."""
    bits = np.array([guide_bits_of(int(c)) for c in structure.n_categories], np.int64)
    sizes = np.where(bits < 0, 0, structure.n_classes * structure.n_contexts << np.maximum(bits, 0))
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    narrow = smallest_unsigned(int(structure.n_categories.max()) - 1) == np.uint8  # as outcomes are
    guide = np.empty(int(offsets[-1]), np.uint8 if narrow else np.uint32)
    high = np.empty(len(level), np.uint32)
    backend.kernels().build_guides(structure, level, offsets, bits, high, guide)
    return Levels(level, high, guide, offsets, bits)


def guide_bits_of(c: int) -> int:
    """log2 of the guide's length, a few times the categories; -1 for a few, which are compared with all levels, and for
    more than a guide's entry can number, which are searched by halving."""
    return -1 if c <= 4 or c > 2**32 else min(30, (c - 1).bit_length() + (2 if c <= 256 else 1))


def row_levels(
    rows: NDArray[Any],
    name: str = "weights",
    structure: Structure | None = None,
    begin: int = 0,
    out: NDArray[np.uint64] | None = None,
) -> NDArray[np.uint64]:
    """(R, C) levels of (R, C) weights, int64 by the exact rule, float64 by the rule of running sums."""
    level = np.empty(rows.shape, np.uint64) if out is None else out
    if not backend.kernels().row_levels(np.ascontiguousarray(rows), level):
        check_rows(rows, name, structure, begin)
        raise RuntimeError(changed(name))
    return level


def changed(name: str) -> str:
    """What to say of weights that were bad, and are not any more."""
    return f"{name} changed while they were drawn from: pass a copy that no other thread writes"


def check_rows(rows: NDArray[Any], name: str, structure: Structure | None = None, begin: int = 0) -> None:
    """Raise for the first cell that is no weight (row-major), then for the first row of zeros, then for overflow."""
    floats = rows.dtype.kind == "f"
    if rows.size and not (rows.min() >= 0 and np.isfinite(rows.max())):  # NaN is neither
        good = (rows >= 0) & np.isfinite(rows)
        row, column = (int(i) for i in np.argwhere(~good)[0])
        place = _place(name, rows.shape, row, column, structure, begin)
        raise ValueError(f"{place} is {rows[row, column]}: weights must be finite and non-negative")
    empty = ~rows.any(axis=1)
    if empty.any():
        row = int(np.flatnonzero(empty)[0])
        raise ValueError(
            f"{_place(name, rows.shape, row, None, structure, begin)} sums to zero: nothing can be drawn from it"
        )
    if not floats:
        # float64 sums are within a relative 2**-30 of exact ones here; only near the limit is it worth exact sums.
        for row in map(int, np.flatnonzero(rows.sum(axis=1, dtype=np.float64) > 2.0**62)):
            total = sum(int(w) for w in rows[row])
            if total > 2**63 - 1:
                raise OverflowError(
                    f"{_place(name, rows.shape, row, None, structure, begin)} sums to {total}: "
                    "integer weights of a row must sum to less than 2**63; pass them as floats"
                )


def _place(
    name: str, shape: tuple[int, ...], row: int, column: int | None, structure: Structure | None, begin: int
) -> str:
    if structure is not None and (structure.n_features > 1 or int(structure.n_contexts[0]) > 1):
        j, (k, context, c) = structure.locate(begin + row * shape[1] + (column or 0))
        place = f"{name}, table {j}"
        place += f", class {k}" if structure.n_classes > 1 else ""
        place += f", row {context}" if int(structure.n_contexts[j]) > 1 else ""
        return place + (f", column {c}" if column is not None else "")
    index = ([] if shape[0] == 1 else [row]) + ([] if column is None else [column])
    return f"{name}{index}" if index else name
