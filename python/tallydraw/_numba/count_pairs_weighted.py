"""Contingency tables of all pairs of features with weights: the twin of count_pairs_weighted.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.bit_columns import words_equal
from tallydraw._numba.lanes import WORD, bits_equal, load, store
from tallydraw._numba.masked_lanes import MASKS, add_masked_lanes
from tallydraw._numba.pair_codes import encode_pairs, pair_places, place_of, set_places
from tallydraw._numba.parallel import allocating, allocating_kernel, inline, parallel_blocks
from tallydraw._structure import Structure

# Bytes of a chunk of rows; features of a task, each against a tile of others; cells of its private sums, at most.
_BYTES, _BLOCK, _TILE, _CELLS = 1 << 19, 8, 64, 1 << 16
# Up to so many categories, and categories times columns of weights, and groups of rows by class and category, additions
# under masks cost less than scattered ones, or than those of zeros, which cost less up to _FEW; rows whose masks stay
# in cache.
_MASKED, _APART = {"wide": (32, 64), "narrow": (6, 0), "none": (0, 0)}[MASKS]
_GROUPS, _ROWS = 256, 2048
_FEW = 12
# Columns of weights that are added at once, at least; cells of the sums that they are added to: half of L1.
_LEAST_COLUMNS, _COLUMN_CELLS = 4, 1 << 11
_0, _8 = np.uint64(0), np.uint64(8)


def _width_of(n_columns):
    """Columns that a row of weights is given: a multiple of eight where so many are added at once."""
    return (n_columns + 7) // 8 * 8 if n_columns >= _LEAST_COLUMNS else n_columns


_width = inline(_width_of)


@inline
def _most(n_categories, first, last):
    most = np.int64(1)
    for j in range(first, last):
        most = max(most, n_categories[j])
    return most


@inline
def _add_lanes(x, at, n, out, to):
    """out[to + i] += x[at + i] for i < n, a multiple of eight."""
    for i in range(_0, n, _8):
        store(out, to + i, load(8, out, to + i) + load(8, x, at + i))


@allocating
def _add_marginals(codes, d, y, has_y, weights, n_columns, n_categories, offsets, f0, f1, marginals):
    """The counts of features f0 to f1 - 1."""
    width = _width(n_columns)
    n, step = codes.size // d, np.uint64(width)
    for j in range(f0, f1):
        c = n_categories[j]
        if n_columns < _LEAST_COLUMNS:
            for r in range(n):
                a = np.int64(codes[r * d + j])
                if a < c:
                    for w in range(n_columns):
                        k = y[r] if has_y else w
                        marginals[offsets[j] + k * c + a] += weights[r * width + w]
            continue
        sums = np.zeros(c * width)
        for w in range(n_columns):
            for a in range(c):
                sums[a * width + w] = marginals[offsets[j] + w * c + a]
        for r in range(n):
            a = np.int64(codes[r * d + j])
            if a < c:
                _add_lanes(weights, np.uint64(r) * step, step, sums, np.uint64(a) * step)
        for w in range(n_columns):
            for a in range(c):
                marginals[offsets[j] + w * c + a] = sums[a * width + w]


@allocating_kernel
def _set_bits(codes, d, n_categories, w0, w1, n_words, bits):
    """Words w0 to w1 - 1 of the bits of rows that have a category, n_words of each of _MASKED of each feature. Codes
    are bytes, with _TILE others behind them.
    """
    place, parts, words = np.empty(WORD, np.uint64), np.empty(8 * WORD, np.uint8), np.empty(WORD, np.uint64)
    n = (codes.size - _TILE) // d
    for w in range(w0, w1):
        m = min(WORD, n - WORD * w)
        here = np.uint64(2**64 - 1) >> np.uint64(WORD - m)
        for j0 in range(0, d, _TILE):
            for t in range(WORD):
                place[t] = (WORD * w + min(t, m - 1)) * d + j0
            j1 = min(d, j0 + _TILE)
            for c in range(min(_MASKED, _most(n_categories, j0, j1))):
                words_equal(codes, place, np.uint8(c), parts, words)
                for j in range(j0, j1):
                    bits[(j * _MASKED + c) * n_words + w] = words[j - j0] & here


@inline
def _move_cells(sums, inward, begin, end, j0, cells, place, categories):
    """The cells of features begin to end - 1 between `cells`, from place[j] on, and sums: features innermost."""
    for j in range(begin, end):
        for b in range(categories[j]):
            if inward:
                sums[b * _TILE + j - j0] = cells[place[j] + b]
            else:
                cells[place[j] + b] = sums[b * _TILE + j - j0]


@inline
def _add_chosen(
    rows, row_at, also, also_at, words, masks, most, weights, begin, end, j0, cells, place, categories, sums
):
    """Adds the weights of the rows whose bits are set in both to their cells of features begin to end - 1."""
    for z in range(most * _TILE):
        sums[z] = 0.0
    _move_cells(sums, True, begin, end, j0, cells, place, categories)
    first = (begin - j0) // 8 * 8
    for b in range(0, most, 2):
        at, to = np.uint64(b), np.uint64(b * _TILE)
        add_masked_lanes(
            first, end - j0, rows, row_at, also, also_at, words, masks, at, np.uint64(most), weights, sums, to
        )  # fmt: skip
    _move_cells(sums, False, begin, end, j0, cells, place, categories)


@inline
def _add_masked(
    codes, d, bits, classes, blocks, n_words, weights, n_columns, column, first, last, tile, n_categories, offsets,
    places, masks, own, place, sums, marginals, counts,
):  # fmt: skip
    """Features first to last - 1 against the tile's, side by side, and where they are the first ones of all the tile's
    counts.
    """
    n, width, j1 = (codes.size - _TILE) // d, _width(n_columns), min(d, tile + _TILE)
    most = (_most(n_categories, tile, j1) + 1) // 2 * 2
    for r0 in range(0, n, _ROWS):
        m, w0 = min(_ROWS, n - r0), np.uint64(r0 // WORD)
        words = np.uint64((m + WORD - 1) // WORD)
        for r in range(m):
            own[r] = weights[(r0 + r) * width + column]
            at = np.uint64((r0 + r) * d + tile)
            for b in range(most):
                masks[r * most + b] = bits_equal(codes, at, np.uint8(b))
        for k in range(blocks):
            block, also_at = max(k, column), np.uint64(k * n_words) + w0
            for i in range(first, last):
                begin = max(i + 1, tile)
                for a in range(n_categories[i] if begin < j1 else 0):
                    for j in range(begin, j1):
                        cells = n_categories[i] * block + a
                        place[j] = place_of(places, n_categories, i, j) + cells * n_categories[j]
                    row_at = np.uint64((i * _MASKED + a) * n_words) + w0
                    _add_chosen(
                        bits, row_at, classes, also_at, words, masks, most, own, begin, j1, tile, counts, place,
                        n_categories, sums,
                    )  # fmt: skip
            if first == 0:
                for j in range(tile, j1):
                    place[j] = offsets[j] + block * n_categories[j]
                _add_chosen(
                    classes, also_at, classes, also_at, words, masks, most, own, tile, j1, tile, marginals, place,
                    n_categories, sums,
                )  # fmt: skip


@inline
def _move_rows(sums, inward, first, last, j0, j1, side, most_a, most_b, blocks, w, n_categories, places, counts):
    """The cells of pairs i < j between `counts`, from block w on, and private sums: features j innermost."""
    for i in range(first, last):
        for j in range(max(i + 1, j0), j1):
            ci, cj = n_categories[i], n_categories[j]
            pair = place_of(places, n_categories, i, j)
            for k in range(blocks):
                for a in range(ci):
                    for b in range(cj):
                        own = (((k * (last - first) + i - first) * most_a + a) * most_b + b) * side + j - j0
                        cell = pair + ((w + k) * ci + a) * cj + b
                        if inward:
                            sums[own] = counts[cell]
                        else:
                            counts[cell] = sums[own]


@inline
def _move_columns(sums, inward, first, last, j0, j1, most_a, most_b, n_columns, n_categories, places, counts):
    """The same where columns of weights are innermost."""
    width = _width(n_columns)
    for i in range(first, last):
        for j in range(max(i + 1, j0), j1):
            ci, cj = n_categories[i], n_categories[j]
            pair = place_of(places, n_categories, i, j)
            for a in range(ci):
                for b in range(cj):
                    own = ((((i - first) * (j1 - j0) + j - j0) * most_a + a) * most_b + b) * width
                    for w in range(n_columns):
                        cell = pair + (w * ci + a) * cj + b
                        if inward:
                            sums[own + w] = counts[cell]
                        else:
                            counts[cell] = sums[own + w]


@inline
def _add_rows(
    codes, d, y, has_y, weights, width, w, first, last, j0, j1, side, most_a, most_b, n_categories, met, sums
):
    """Adds to all cells of a row of features a weight or zero, which changes nothing."""
    block = np.uint64(most_b * side)
    for r in range(codes.size // d):
        weight, at = weights[r * width + w], np.uint64(r * d + j0)
        for b in range(most_b):
            to, code = np.uint64(b * side), codes.dtype.type(b)
            for j in range(np.uint64(j1 - j0)):
                met[to + j] = weight if codes[at + j] == code else 0.0
        own = y[r] * (last - first) if has_y else 0
        for i in range(first, last):
            a = np.int64(codes[r * d + i])
            if a < n_categories[i]:
                _add_lanes(met, _0, block, sums, np.uint64((own + i - first) * most_a + a) * block)


@inline
def _add_columns(codes, d, weights, width, first, last, j0, j1, most_a, most_b, n_categories, sums):
    """Adds a row's weights to the cell that it has of each pair."""
    size = np.uint64(width)
    for r in range(codes.size // d):
        row, weight = np.uint64(r * d), np.uint64(r * width)
        for i in range(first, last):
            a = np.int64(codes[row + np.uint64(i)])
            if a >= n_categories[i]:
                continue
            for j in range(max(i + 1, j0), j1):
                b = np.int64(codes[row + np.uint64(j)])
                if b < n_categories[j]:
                    own = (((i - first) * (j1 - j0) + j - j0) * most_a + a) * most_b + b
                    _add_lanes(weights, weight, size, sums, np.uint64(own) * size)


@inline
def _add_scattered(codes, d, y, has_y, weights, n_columns, first, last, j0, j1, n_categories, places, begin, counts):
    """Features first to last - 1 against j0 to j1 - 1, cell by cell."""
    width = _width(n_columns)
    for i in range(first, last):
        ci = n_categories[i]
        set_places(places, n_categories, i, max(i + 1, j0), j1, begin)
        for r in range(codes.size // d):
            a = np.int64(codes[r * d + i])
            if a >= ci:
                continue
            for j in range(max(i + 1, j0), j1):
                cj = n_categories[j]
                b = np.int64(codes[r * d + j])
                if b < cj:
                    at = begin[j] + a * cj + b
                    for w in range(n_columns):
                        k = y[r] if has_y else w
                        counts[at + k * ci * cj] += weights[r * width + w]


@allocating_kernel
def _add_tasks(
    codes, small, d, y, has_y, bits, classes, weights, n_columns, n_classes, n_categories, offsets, places,
    t0, t1, marginals, counts,
):  # fmt: skip
    """Tasks t0 to t1 - 1: of a block of features against a tile of others."""
    tiles, width = -(-d // _TILE), _width(n_columns)
    sums, masks, own, place = (
        np.zeros(_CELLS),
        np.empty(_MASKED * _ROWS, np.uint64),
        np.empty(_ROWS),
        np.empty(d, np.int64),
    )
    met, blocks = np.zeros(_FEW * _TILE), n_classes if has_y else 1
    for task in range(t0, t1):
        first, tile = task // tiles * _BLOCK, task % tiles * _TILE
        last, j1 = min(d, first + _BLOCK), min(d, tile + _TILE)
        j0 = max(first, tile)
        if first > 0 and j1 <= first + 1:
            continue
        most_a, most_b = _most(n_categories, first, last), _most(n_categories, tile, j1)
        apart = n_columns < _LEAST_COLUMNS or n_columns * most_b <= _APART
        if max(most_a, most_b) <= _MASKED and blocks * most_a <= _GROUPS and apart:
            for w in range(n_columns):
                _add_masked(
                    small, d, bits, classes, blocks, classes.size // blocks, weights, n_columns, w, first, last, tile,
                    n_categories, offsets, places, masks, own, place, sums, marginals, counts,
                )  # fmt: skip
            continue
        small_cells = max(most_a, most_b, n_columns) <= _CELLS  # to multiply
        cells = (last - first) * most_a * most_b if small_cells else _CELLS
        together = n_columns >= _LEAST_COLUMNS and small_cells and cells * width <= _CELLS
        if first == 0:
            _add_marginals(codes, d, y, has_y, weights, n_columns, n_categories, offsets, tile, j1, marginals)
        side = (j1 - j0 + 7) // 8 * 8
        if not together and (most_b > _FEW or blocks * cells * side > _CELLS):
            _add_scattered(
                codes, d, y, has_y, weights, n_columns, first, last, j0, j1, n_categories, places, place, counts
            )  # fmt: skip
            continue
        if not together:
            for z in range(len(met)):
                met[z] = 0.0
            for w in range(n_columns):
                moved = (first, last, j0, j1, side, most_a, most_b, blocks, w, n_categories, places, counts)
                shape = (first, last, j0, j1, side, most_a, most_b, n_categories)
                _move_rows(sums, True, *moved)
                _add_rows(codes, d, y, has_y, weights, width, w, *shape, met, sums)
                _move_rows(sums, False, *moved)
            continue
        some = max(1, _COLUMN_CELLS // (cells * width))
        for j in range(j0, j1, some):
            end = min(j1, j + some)
            move = (first, last, j, end, most_a, most_b, n_columns, n_categories, places, counts)
            _move_columns(sums, True, *move)
            _add_columns(codes, d, weights, width, first, last, j, end, most_a, most_b, n_categories, sums)
            _move_columns(sums, False, *move)


def _class_bits(y: NDArray[np.int64] | None, n: int, n_classes: int, words: int) -> NDArray[np.uint64]:
    """Bits of the rows of each class, or of all; of none where classes are too many to need them."""
    if y is not None and n_classes > _GROUPS:
        return np.zeros(n_classes, np.uint64)
    chosen = np.ones((1, n), bool) if y is None else y == np.arange(n_classes)[:, None]
    padded = np.zeros((len(chosen), WORD * words), bool)
    padded[:, :n] = chosen
    return np.packbits(padded, bitorder="little").view(np.uint64)


def count_pairs_weighted(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    pair_begins: NDArray[np.int64] | None,
    weights: NDArray[np.float64],
    marginals: NDArray[np.float64],
    counts: NDArray[np.float64],
    threads: int,
) -> int:
    s = structure
    n, d, columns = len(X), s.n_features, weights.shape[1]
    c, has_y = s.n_categories, y is not None
    places = pair_places(pair_begins, s)
    tasks = -(-d // _TILE) * -(-d // _BLOCK)
    grain = -(-tasks // (4 * threads)) if threads > 1 else tasks
    width = _width_of(columns)
    chunk = max(1024, _BYTES // (8 * width + d))
    padded = np.zeros((chunk, width))
    small, bits = np.zeros(chunk * d + _TILE, np.uint8), np.empty(d * _MASKED * -(-chunk // WORD), np.uint64)
    for begin in range(0, n, chunk):
        codes, _, bad = encode_pairs(X[begin : begin + chunk], missing, unseen_is_missing, s, 1)
        if bad >= 0:
            return begin * d + bad
        m = len(codes)
        words = -(-m // WORD)
        padded[:m, :columns] = weights[begin : begin + chunk]
        classes = None if y is None else y[begin : begin + chunk]
        if classes is not None and 1 < s.n_classes <= _GROUPS:
            # A cell is of one class, whose rows stay in order: so their bits fill words.
            order = np.argsort(classes.astype(np.uint16), kind="stable")
            codes, classes, padded[:m] = codes[order], classes[order], padded[order]
        small[: m * d] = codes.reshape(-1) if codes.dtype == np.uint8 else np.minimum(codes.reshape(-1), 255)
        bytes_ = small[: m * d + _TILE]

        def set_bits(a: int, b: int, _: int) -> None:
            _set_bits(bytes_, d, c, a, b, words, bits)  # noqa: B023 - called at once

        parallel_blocks(words, -(-words // threads), threads, set_bits)
        rows = (codes.reshape(-1), bytes_, d, c if classes is None else classes, has_y)
        columns_of = (bits, _class_bits(classes, m, s.n_classes, words), padded.reshape(-1), columns, s.n_classes)

        def tables(a: int, b: int, _: int) -> None:
            _add_tasks(*rows, *columns_of, c, s.offsets, places, a, b, marginals, counts)  # noqa: B023 - the same

        parallel_blocks(tasks, grain, threads, tables)
    return -1
