"""Counts of features, with class, context and weights: the twin of count_features.hpp."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.class_lanes import parts_at_once
from tallydraw._numba.codes import MET_BAD, Encoded, Encoder, encode, span
from tallydraw._numba.count_tiles import (
    BLOCK,
    FEW,
    MOST_ROWS,
    class_bits,
    count_bits,
    count_columns,
    count_lanes,
    count_rows,
    empty,
    group_rows,
)  # fmt: skip
from tallydraw._numba.lanes import load, load_some, store
from tallydraw._numba.parallel import allocating_kernel, first_index, merge_lock, parallel_blocks, worth
from tallydraw._structure import Structure

# Bytes of codes that are encoded at once: many rows, since tables come to the cache anew for each block of them; and
# cells of the tables that are counted into at a time.
_CODE_BYTES, _TILE_CELLS = 1 << 24, 5 << 12
# Features of a tile; small counts of a tile, and of a feature; classes whose rows are brought together for byte lanes;
# pairs of class and category that are counted as bits.
_WIDTH, _SMALL_CELLS, _MOST_CELLS, _LANE_CLASSES, _BIT_CELLS = 64, 1 << 20, 1 << 15, 64, 512
# Bytes of a row are counted where they are up to so far apart, those further apart brought together first.
_MOST_APART = 8
# So many cells are taken for one cell, draw or step elsewhere, in lanes or bits and one by one: below some hundreds of
# microseconds (an estimate) a second thread of Python costs more than it takes over.
_CELLS_TOGETHER, _CELLS_APART = 64, 16


@allocating_kernel
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


@functools.cache
def soft_adder(width, rest):
    """add(codes, f0, f1, c, lane_offsets, lane_rows, weights, lanes): adds weights[r, k] for features f0 to f1 - 1 of
    every row r of combined codes, in row order, and the classes k of the parts of these widths from class c on.
    """

    @allocating_kernel
    def add(codes, f0, f1, c, lane_offsets, lane_rows, weights, lanes):
        stride, k, at = np.uint64(codes.shape[1]), np.uint64(weights.shape[1]), np.uint64(c)
        n = min(k - at, np.uint64(width))
        if rest > 0:
            m = min(k - at - n, np.uint64(rest))
        flat, weight = codes.reshape(-1), weights.reshape(-1)
        place, other = np.empty(f1, np.uint64), np.empty(f1, np.uint64)
        for j in range(f0, f1):
            place[j] = lane_offsets[j] + c * lane_rows[j]
            other[j] = lane_offsets[j] + (c + 8) * lane_rows[j]
        j0, j1 = np.uint64(f0), np.uint64(f1)
        for r in range(np.uint64(codes.shape[0])):
            a = load_some(width, weight, r * k + at, n)
            if rest > 0:
                b = load_some(rest, weight, r * k + at + np.uint64(width), m)
            for j in range(j0, j1):
                z = np.uint64(flat[r * stride + j])
                lane = place[j] + z * np.uint64(width)
                store(lanes, lane, load(width, lanes, lane) + a)
                if rest > 0:
                    lane = other[j] + z * np.uint64(rest)
                    store(lanes, lane, load(rest, lanes, lane) + b)

    return add


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
    n, k, most = len(X), s.n_classes, int(s.n_categories.max())
    # Small counts are cleared and added once: a few rows are better counted straight into the result.
    if len(s.context) or k > 512 or k * most > _MOST_CELLS or n < k * most // 2:
        threads = worth(threads, n * s.n_features)
        return _add(X, y, missing, unseen_is_missing, s, np.broadcast_to(np.int64(1), n), counts, threads)
    return _count_tiles(X, y, missing, unseen_is_missing, s, counts, threads)


def _count_tiles(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    s: Structure,
    counts: NDArray[np.int64],
    threads: int,
) -> int:
    """A task counts some rows of some features. Bytes are counted as they are: that some are no categories shows in the
    counts. Other codes are encoded first.
    """
    n, d, k, most = len(X), s.n_features, s.n_classes, int(s.n_categories.max())
    encoder = Encoder(X, missing, unseen_is_missing, s)
    row, column = encoder.x.strides
    bytes_fit = encoder.x.itemsize == 1 and most <= encoder.top + 1
    columns = bytes_fit and row == 1 and (d == 1 or column >= n)
    by_column = d == 1 or columns
    few = most <= FEW and (k * most <= _BIT_CELLS if by_column else k <= _LANE_CLASSES)
    threads = worth(threads, n * d // (_CELLS_TOGETHER if few else _CELLS_APART))
    near = 1 if few else _MOST_APART
    raw = columns or (bytes_fit and d > 1 and 1 <= column <= near and row >= d * column)
    apart = FEW if few else 256 if raw else most + 1
    width = min(_WIDTH, max(8, _SMALL_CELLS // (k * apart)), d)
    place = (apart, k * apart) if by_column else (width * apart, apart)
    if by_column:
        count = _bit_counter(n, y, k, most, place, threads) if few else _column_counter(y, place)
    else:
        count = _row_counter(n, y, k, most if few else 0, column if raw else 1, place, threads)
    bytes_ = span(encoder.x) if raw else None
    skipped = int(encoder.missing) if raw and encoder.named else 2**62
    tiles = -(-d // width)
    parts = threads if tiles < 2 * threads else 1
    share = -(-n // (parts * BLOCK)) * BLOCK
    step = min(MOST_ROWS, 4 * BLOCK * (_WIDTH // width))
    lock = merge_lock()

    def task(i: int, _: int, __: int) -> int:
        j0, begin = i // parts * width, i % parts * share
        j1, end = min(d, j0 + width), min(n, begin + share)
        features = (s.n_categories[j0:j1], s.offsets[j0 : j1 + 1], skipped)
        table = np.zeros(k * width * apart, np.uint16)
        for a in range(begin, end, MOST_ROWS):
            b, met = min(end, a + MOST_ROWS), 0
            if bytes_ is not None:
                count(bytes_, a * row + j0 * column, column if by_column else row, a, b, j1 - j0, table)
            for p in range(a, b, step) if bytes_ is None else ():
                codes, met_here = encoder.plain(p, min(b, p + step), j0, j1)
                met |= met_here
                if not met & MET_BAD:
                    count(codes.reshape(-1), 0, j1 - j0, p, p + len(codes), j1 - j0, table)
            with lock:
                whole = empty(table, *place, b - a, *features, counts)
            for p in range(a, b, step) if raw and not whole else ():  # missing codes, or bad ones
                met |= encoder.plain(p, min(b, p + step), j0, j1)[1]
            if met & MET_BAD:
                return encoder.first_bad(a, b)
        return -1

    return first_index(parallel_blocks(tiles * parts, 1, threads, task))


# count(codes, begin, apart, a, b, width, table): counts rows [a, b) of so many features into small counts; the rows, or
# the columns where these are counted one by one, begin at codes[begin], codes[begin + apart], …
Counter = Callable[[NDArray[Any], int, int, int, int, int, NDArray[np.uint16]], None]


def _row_counter(
    n: int, y: NDArray[np.int64] | None, k: int, few: int, step: int, place: tuple[int, int], threads: int
) -> Counter:
    """few: the number of categories where byte lanes count them, else 0; codes of a row lie `step` apart."""
    rows, group = np.empty(n, np.int32), np.empty((-(-n // BLOCK), k + 1), np.int64)
    classes = np.zeros(n, np.int64) if y is None else y

    def name(a: int, b: int, _: int) -> None:
        group_rows(classes[a:b], rows[a:b], group[a // BLOCK : -(-b // BLOCK)])

    parallel_blocks(n, 8 * BLOCK, threads, name)

    def count(codes: Any, begin: int, apart: int, a: int, b: int, width: int, table: Any) -> None:
        tile = (codes, begin, apart, width, rows[a:b], group[a // BLOCK : -(-b // BLOCK)], table, *place)
        if few:
            count_lanes(*tile, few)
        else:
            count_rows(*tile, step)

    return count


def _bit_counter(
    n: int, y: NDArray[np.int64] | None, k: int, most: int, place: tuple[int, int], threads: int
) -> Counter:
    bits = np.full((k, -(-n // 64)), 2**64 - 1, np.uint64)
    if y is not None:
        parallel_blocks(n, 8 * BLOCK, threads, lambda a, b, _: class_bits(y[a:b], bits[:, a // 64 : -(-b // 64)]))

    def count(codes: Any, begin: int, apart: int, a: int, b: int, width: int, table: Any) -> None:
        count_bits(codes, begin, apart, b - a, width, bits, a // 64, table, *place, most)

    return count


def _column_counter(y: NDArray[np.int64] | None, place: tuple[int, int]) -> Counter:
    shift = np.empty(0, np.int32) if y is None else (y * place[0]).astype(np.int32)

    def count(codes: Any, begin: int, apart: int, a: int, b: int, width: int, table: Any) -> None:
        count_columns(codes, begin, apart, b - a, width, y is not None, shift[a:b], table, place[1])

    return count


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
    adders = [(c, soft_adder(width, rest)) for c, width, rest in parts_at_once(structure.n_classes)]

    def add(part: Encoded, a: int, b: int, f0: int, f1: int) -> None:
        for c, adder in adders:
            adder(part.codes, f0, f1, c, lane_offsets, rows, weights[a:b], lanes)

    return _add_features(X, missing, unseen_is_missing, structure, lanes.size, add, threads)


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

    step = max(16, _CODE_BYTES // d)
    for begin in range(0, n, step):
        parts = encoded(begin, min(n, begin + step))
        bad = first_index([a * d + part.bad if part.bad >= 0 else -1 for a, _, part in parts])
        if bad >= 0:
            return bad
        count(parts)
    return -1
