"""Counts of features, with class, context and weights: the twin of count_features.hpp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.class_lanes import part_width
from tallydraw._numba.codes import Encoded, canonical, code_type, encode, named
from tallydraw._numba.parallel import first_index, inline, kernel, parallel_blocks
from tallydraw._structure import Structure

# Cells up to which a thread that owns rows has tables of its own.
_PRIVATE_CELLS = 1 << 17
# Bytes of codes that are encoded at once: many rows, since tables come to the cache anew for each block of them; and
# cells of the tables that are counted into at a time.
_CODE_BYTES, _TILE_CELLS = 1 << 24, 5 << 12
# Up to so many categories eight are counted in the bytes of one word; at most so many words.
_FEW, _WORDS = 16, 1 << 20
_0, _3, _7, _8, _63, _255 = (np.uint64(i) for i in (0, 3, 7, 8, 63, 255))


@kernel
def _count(codes, y, has_y, f0, f1, n_classes, cells, offsets, weights, tables):
    """Adds weights[r] for features f0 to f1 - 1 of every row r of combined codes, each cell in row order."""
    begin = np.empty((n_classes, f1 - f0), np.uint64)  # of the tables of a class
    for k in range(n_classes):
        for j in range(f0, f1):
            begin[k, j - f0] = offsets[j] + k * cells[j]
    slot = cells.astype(np.uint64)
    first, width = np.uint64(f0), np.uint64(f1 - f0)
    for r in range(codes.shape[0]):
        k = y[r] if has_y else np.int64(0)
        weight = weights[r]
        for i in range(width):
            z = np.uint64(codes[r, first + i])  # never a view of a row: it would be counted in and out for every cell
            if z < slot[first + i]:
                tables[begin[k, i] + z] += weight


@kernel
def _count_soft(codes, f0, f1, lane_offsets, rows, weights, lanes):
    """Adds weights[r, k] for features f0 to f1 - 1 of every row r of combined codes and every class k, in row order."""
    n_classes = weights.shape[1]
    begin = lane_offsets.astype(np.uint64)
    size = rows.astype(np.uint64)
    for c in range(0, n_classes, 8):
        n = min(n_classes - c, 8)
        width = np.uint64(part_width(n))
        for r in range(codes.shape[0]):
            for j in range(f0, f1):
                at = begin[j] + np.uint64(c) * size[j] + np.uint64(codes[r, j]) * width
                for k in range(n):
                    lanes[at + np.uint64(k)] += weights[r, c + k]


@inline
def _flush(words, k, n_categories, offsets, counts):
    """Adds what the words of class k have counted, and clears them."""
    for j in range(n_categories.shape[0]):
        for c in range(n_categories[j]):
            word = words[k, c >> 3, j] >> np.uint64((c & 7) << 3)
            counts[offsets[j] + k * n_categories[j] + c] += np.int64(word & _255)
    words[k] = 0


@kernel
def _count_few(x, y, has_y, missing, lenient, n_classes, n_categories, offsets, last, counts):
    """Counts codes without contexts of features of few categories; last[j] is the last one, in the type of x.
    Eight categories of a feature are counted in the bytes of a word, until one could overflow. Returns the first cell
    that is no category, or -1.
    """
    n, d = x.shape
    parts = (np.int64(last.max()) >> 3) + 1
    words = np.zeros((n_classes, parts, d), np.uint64)
    rows = np.zeros(n_classes, np.int64)
    for r in range(n):
        k = y[r] if has_y else np.int64(0)
        strange = _0
        for part in range(parts):
            first = np.uint64(part) << _3
            for j in range(d):
                z = np.uint64(x[r, j])
                over = np.uint64(x[r, j] > last[j])
                gone = np.uint64(z == missing)
                strange |= over & ~gone & ~(z >> _63)  # negative codes are missing
                one = ~over & ~gone & np.uint64(z - first < _8)
                words[k, part, j] += one << ((z & _7) << _3)
        if strange != _0 and not lenient:
            for j in range(d):
                if x[r, j] > last[j] and np.uint64(x[r, j]) != missing and np.int64(x[r, j]) >= 0:
                    return r * d + j
        rows[k] += 1
        if rows[k] == 255:
            _flush(words, k, n_categories, offsets, counts)
            rows[k] = 0
    for k in range(n_classes):
        if rows[k] > 0:
            _flush(words, k, n_categories, offsets, counts)
    return -1


def count_features(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    counts: NDArray[np.int64],
    threads: int,
) -> int:
    s = structure
    n, d = len(X), s.n_features
    rules = (missing, unseen_is_missing)
    ones = np.broadcast_to(np.int64(1), n)
    most = int(s.n_categories.max())
    words = s.n_classes * d * -(-most // 8)
    few = most <= _FEW and not len(s.context) and s.n_classes * most <= n and words <= _WORDS
    if not few and (threads == 1 or counts.size > _PRIVATE_CELLS):
        return _add(X, y, *rules, s, ones, counts, threads)

    def rows(a: int, b: int, _: int) -> tuple[int, NDArray[np.int64]]:
        own = np.zeros(counts.size, np.int64) if threads > 1 else counts
        part = (X[a:b], None if y is None else y[a:b], *rules, s)
        bad = _add_few(*part, own) if few else _add(*part, ones[a:b], own, 1)
        return (bad + a * d if bad >= 0 else -1), own

    found = parallel_blocks(n, max(1, -(-n // threads)), threads, rows)
    for _, own in found:
        if own is not counts:
            counts += own
    return first_index([bad for bad, _ in found])


def count_features_weighted(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    weights: NDArray[np.float64],
    counts: NDArray[np.float64],
    threads: int,
) -> int:
    return _add(X, y, missing, unseen_is_missing, structure, weights, counts, threads)


def count_features_soft(
    X: NDArray[Any],
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    lane_offsets: NDArray[np.int64],
    weights: NDArray[np.float64],
    lanes: NDArray[np.float64],
    threads: int,
) -> int:
    rows = structure.n_contexts * structure.n_categories + 1

    def add(part: Encoded, a: int, b: int, f0: int, f1: int) -> None:
        _count_soft(part.codes, f0, f1, lane_offsets, rows, weights[a:b], lanes)

    return _add_features(X, missing, unseen_is_missing, structure, lanes.size, add, threads)


def _add_few(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    s: Structure,
    counts: NDArray[np.int64],
) -> int:
    x = canonical(X, missing)
    last = (s.n_categories - 1).astype(x.dtype)
    rows = (x, s.n_categories if y is None else y, y is not None)
    rules = (named(missing), unseen_is_missing)
    return int(_count_few(*rows, *rules, s.n_classes, s.n_categories, s.offsets, last, counts))


def _add(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    s: Structure,
    weights: NDArray[Any],
    tables: NDArray[Any],
    threads: int,
) -> int:
    """Adds weights[r] for every row r."""
    cells = s.n_contexts * s.n_categories

    def add(part: Encoded, a: int, b: int, f0: int, f1: int) -> None:
        classes = cells if y is None else y[a:b]
        _count(part.codes, classes, y is not None, f0, f1, s.n_classes, cells, s.offsets, weights[a:b], tables)

    return _add_features(X, missing, unseen_is_missing, s, tables.size, add, threads)


def _add_features(
    X: NDArray[Any],
    missing: int | None,
    unseen_is_missing: bool,
    s: Structure,
    size: int,
    add: Callable[[Encoded, int, int, int, int], None],
    threads: int,
) -> int:
    """Threads encode rows, then own features, so that each cell adds in row order: add(rows a to b, a, b, f0, f1)."""
    n, d = len(X), s.n_features
    width = min(max(1, d * _TILE_CELLS // max(1, size)), -(-d // threads))

    def encoded(a: int, b: int) -> list[tuple[int, int, Encoded]]:
        def piece(p: int, q: int, _: int) -> tuple[int, int, Encoded]:
            return a + p, a + q, encode(X[a + p : a + q], missing, unseen_is_missing, s)

        return parallel_blocks(b - a, -(-(b - a) // threads), threads, piece)

    def count(parts: list[tuple[int, int, Encoded]]) -> None:
        def piece(f0: int, f1: int, _: int) -> None:
            for a, b, part in parts:
                add(part, a, b, f0, f1)

        parallel_blocks(d, width, threads, piece)

    step = max(16, _CODE_BYTES // (d * code_type(s).itemsize))
    for begin in range(0, n, step):
        parts = encoded(begin, min(n, begin + step))
        bad = first_index([a * d + part.bad if part.bad >= 0 else -1 for a, _, part in parts])
        if bad >= 0:
            return bad
        count(parts)
    return -1
