"""Contingency tables of all pairs of features: the twin of count_pairs.hpp."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.bit_columns import BLOCK, LANES, pack_binary, shared_bits, words_equal
from tallydraw._numba.bits import add_shared
from tallydraw._numba.lanes import WORD, load, store
from tallydraw._numba.pair_codes import (
    encode_pairs,
    has_plain_bytes,
    incomplete_features,
    pair_of,
    pair_places,
    place_of,
    set_places,
)
from tallydraw._numba.parallel import allocating_kernel, first_index, inline, kernel, parallel_blocks
from tallydraw._structure import Structure

# Up to so many categories a feature is columns of bits; columns of features that are taken together, at least.
_FEW, _TOGETHER = 16, 2 * BLOCK
# Rows of a class from which on bits are worth a table that is scattered; bytes of all columns of a chunk of rows;
# rows whose codes stay in cache where cells are counted one by one.
_CLASS_ROWS, _BIT_BYTES, _ROWS = 32, 1 << 20, 1 << 11
# Cells up to which a thread that owns rows has tables of its own; cells, of rows together, that are worth a thread.
_PRIVATE_CELLS, _THREAD_CELLS = 1 << 17, 1 << 26
# Of codes 0 and 1 without a class: words that are packed and counted while they are in cache, columns for which that
# is worth it, words of the least data; rows of a task of a thread, and its worth in words of columns against eight.
_PIECE_WORDS, _PIECE_COLUMNS, _LEAST_WORDS, _PIECE_ROWS, _THREAD_WORK = 64, 256, 128, 1 << 14, 1 << 18
_NOWHERE = np.uint64(2**64 - 1)
_0, _1, _2, _3, _8 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(LANES)
_ALL = np.uint64(2**64 - 1)


@allocating_kernel
def _group(y, rows, group, word):
    """Rows in order of their class, where each class begins, and the first of its words of 64 rows: the latter two of
    n_classes + 1 zeros.
    """
    n_classes = group.size - 1
    for k in y:
        group[k + 1] += 1
    for k in range(n_classes):
        word[k + 1] = word[k] + (group[k + 1] + 63) // 64
        group[k + 1] += group[k]
    place = group.copy()
    for r in range(len(y)):
        rows[place[y[r]]] = r
        place[y[r]] += 1


@inline
def _set_words(codes, place, most, where, j0, width, w, parts, words, bits):
    """Word w of every column of features j0 to j0 + width - 1, of the rows whose codes begin at `place`."""
    for c in range(most):
        words_equal(codes, place, np.uint8(c), parts, words)
        for j in range(width):
            at = where[c, j0 + j]
            if at != _NOWHERE:
                bits[at + w] = words[j]


@allocating_kernel
def _pack(codes, d, rows, group, word, kept, where, w0, w1, bits):
    """Words w0 to w1 - 1 of every column; word 0 of that of category c of feature j stands at where[c, j]."""
    place, words = np.empty(WORD, np.uint64), np.empty(WORD, np.uint64)
    parts, copies = np.empty(8 * WORD, np.uint8), np.empty(WORD * WORD, np.uint8)
    k = 0
    for w in range(w0, w1):
        while word[k + 1] <= w:
            k += 1
        begin = group[k] + WORD * (w - word[k])
        m = min(WORD, group[k + 1] - begin)
        for j0 in range(0, d, WORD):
            width = min(WORD, d - j0)
            most = np.int64(0)
            for j in range(j0, j0 + width):
                most = max(most, kept[j])
            at = np.uint64(w) * _8
            if m == WORD and rows[begin + WORD - 1] * d + j0 + WORD <= codes.size:
                for t in range(WORD):
                    place[t] = rows[begin + t] * d + j0
                _set_words(codes, place, most, where, j0, width, at, parts, words, bits)
                continue
            for t in range(len(copies)):
                copies[t] = 255  # no row has this code
            for t in range(m):
                for j in range(width):
                    copies[t * WORD + j] = codes[rows[begin + t] * d + j0 + j]
            for t in range(WORD):
                place[t] = t * WORD
            _set_words(copies, place, most, where, j0, width, at, parts, words, bits)


@kernel
def _total(bits, n_words, group, word, n_categories, offsets, few, first, kept, zeros, totals, marginals):
    """Bits set in each column and class, and so the counts of the features of few categories."""
    for k in range(totals.shape[0]):
        for q in range(0, totals.shape[1], LANES):
            begin = np.uint64(q * n_words + LANES * word[k])
            end = np.uint64(q * n_words + LANES * word[k + 1])
            sums = load(8, zeros, _0)
            for at in range(begin, end, _8):
                sums = add_shared(sums, bits, at, _ALL)
            store(totals[k], np.uint64(q), sums)
        for j in range(len(n_categories)):
            c = n_categories[j]
            if c > few:
                continue
            rest = group[k + 1] - group[k]
            for b in range(kept[j]):
                marginals[offsets[j] + k * c + b] += totals[k, first[j] + b]
                rest -= totals[k, first[j] + b]
            if kept[j] < c:
                marginals[offsets[j] + k * c + c - 1] += rest


@inline
def _add_table(ci, cj, ki, kj, shared, stride, ni, nj, n, at, counts):
    """Adds a table from what its columns share, the last category of a complete feature from what is left."""
    last = np.int64(n)
    for a in range(ki):
        left = ni[a]
        last -= left
        for b in range(kj):
            both = shared[a * stride + b]
            counts[at + a * cj + b] += both
            left -= both
        if kj < cj:
            counts[at + a * cj + kj] += left
    if ki == ci:
        return
    for b in range(kj):
        rest = nj[b]
        for a in range(ki):
            rest -= shared[a * stride + b]
        counts[at + ki * cj + b] += rest
        last -= rest
    if kj < cj:
        counts[at + ki * cj + kj] += last


@inline
def _add_twos(shared, ni, nj, m, n, at, step, fresh, counts):
    """The same of a complete feature of two categories and m others after each other; or writes them."""
    place, further = np.uint64(at), np.uint64(step)
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    if fresh:
        for x in range(m):
            both, other = shared[x], nj[x]
            counts[place] = both
            counts[place + one] = ni - both
            counts[place + two] = other - both
            counts[place + three] = n - ni - other + both
            place += further
        return
    for x in range(m):
        both, other = shared[x], nj[x]
        counts[place] += both
        counts[place + one] += ni - both
        counts[place + two] += other - both
        counts[place + three] += n - ni - other + both
        place += further


@allocating_kernel
def _count_shared(
    bits, n_words, group, word, n_categories, few, twos, first, kept, totals, f0, f1, places, fresh, counts
):  # fmt: skip
    """The pairs (i, j > i) of features of few categories, f0 <= i < f1; features from `twos` on are complete and have
    two. Tables that are `fresh`, all of two categories, are written.
    """
    d, stride, n_classes = len(n_categories), totals.shape[1], totals.shape[0]
    shared = np.empty((_TOGETHER + _FEW + BLOCK) * stride, np.int64)
    apart = np.uint64(stride)
    i1 = f0
    while i1 < f1:
        i0 = i1
        i1 += 1
        while i1 < f1 and first[i1] - first[i0] < _TOGETHER:
            i1 += 1
        p0, p1 = first[i0], first[i1]
        for k in range(n_classes):
            n = group[k + 1] - group[k]
            if n == 0:
                continue
            begin, size = LANES * word[k], np.uint64(word[k + 1] - word[k])
            for p in range(p0, p1, BLOCK):
                q = p
                a0 = np.uint64((q >> 3) * n_words * LANES + (q & 7) + begin)
                q = min(p + 1, p1 - 1)
                a1 = np.uint64((q >> 3) * n_words * LANES + (q & 7) + begin)
                q = min(p + 2, p1 - 1)
                a2 = np.uint64((q >> 3) * n_words * LANES + (q & 7) + begin)
                q = min(p + 3, p1 - 1)
                a3 = np.uint64((q >> 3) * n_words * LANES + (q & 7) + begin)
                shared[(p - p0) * stride : (p - p0 + BLOCK) * stride] = 0
                for g in range(first[i0 + 1] & -LANES, stride, LANES):
                    at = np.uint64((p - p0) * stride + g)
                    shared_bits(bits, a0, a1, a2, a3, np.uint64(g * n_words + begin), size, shared, at, apart)
            for i in range(i0, i1):
                ci = n_categories[i]
                if ci > few:
                    continue
                row, ni, j = shared[(first[i] - p0) * stride :], totals[k, first[i] :], i + 1
                while j < d:
                    cj, q = n_categories[j], first[j]
                    at = place_of(places, n_categories, i, j) + k * ci * cj
                    if i >= twos:
                        _add_twos(row[q:], ni[0], totals[k, q:], d - j, n, at, 4 * n_classes, fresh, counts)
                        break
                    if cj <= few:
                        _add_table(ci, cj, kept[i], kept[j], row[q:], stride, ni, totals[k, q:], n, at, counts)
                    j += 1


@inline
def _add_four(plain, y, r0, r1, i, j0, j1, j2, j3, n_categories, begin, counts):
    """The pairs of feature i and four others, cell by cell: increments seldom meet the one before."""
    ci, c0, c1 = n_categories[i], n_categories[j0], n_categories[j1]
    c2, c3 = n_categories[j2], n_categories[j3]
    at0, at1, at2, at3 = begin[j0], begin[j1], begin[j2], begin[j3]
    for r in range(r0, r1):
        a = np.int64(plain[r, i])
        if a >= ci:
            continue
        row = y[r] * ci + a
        b0, b1 = np.int64(plain[r, j0]), np.int64(plain[r, j1])
        b2, b3 = np.int64(plain[r, j2]), np.int64(plain[r, j3])
        if b0 < c0:
            counts[np.uint64(at0 + row * c0 + b0)] += 1
        if b1 < c1:
            counts[np.uint64(at1 + row * c1 + b1)] += 1
        if b2 < c2:
            counts[np.uint64(at2 + row * c2 + b2)] += 1
        if b3 < c3:
            counts[np.uint64(at3 + row * c3 + b3)] += 1


@allocating_kernel
def _count_direct(plain, y, n_categories, offsets, few, f0, f1, places, marginals, counts):
    """The pairs (i, j > i) of which one has many categories, f0 <= i < f1, and the counts of such i."""
    n, d = plain.shape
    begin = np.empty(d, np.int64)
    for r0 in range(0, n, _ROWS):
        r1 = min(n, r0 + _ROWS)
        for i in range(f0, f1):
            ci = n_categories[i]
            set_places(places, n_categories, i, i + 1, d, begin)
            if ci > few:
                for r in range(r0, r1):
                    a = np.int64(plain[r, i])
                    if a < ci:
                        marginals[offsets[i] + y[r] * ci + a] += 1
            j = i + 1
            while j < d:
                if j + 3 < d and (
                    ci > few
                    or min(n_categories[j], n_categories[j + 1], n_categories[j + 2], n_categories[j + 3]) > few
                ):
                    _add_four(plain, y, r0, r1, i, j, j + 1, j + 2, j + 3, n_categories, begin, counts)
                    j += 4
                    continue
                cj = n_categories[j]
                if ci > few or cj > few:
                    at = begin[j]
                    for r in range(r0, r1):
                        a, b = np.int64(plain[r, i]), np.int64(plain[r, j])
                        if a < ci and b < cj:
                            counts[at + (y[r] * ci + a) * cj + b] += 1
                j += 1


@kernel
def _pack_binary(codes, d, w0, w1, n_words, bits):
    """Words w0 to w1 - 1 of all columns, of codes 0 and 1; whether one is above 1."""
    n = codes.size // d
    return pack_binary(codes, d, w0 * WORD, min(n, w1 * WORD), w0, n_words, bits)


@allocating_kernel
def _count_pieces(codes, d, r0, r1, n_columns, shared):
    """What the columns of rows [r0, r1), all codes of which are 0 or 1, have in common: row p + 1 of `shared` is column
    p's, after a row of totals. Pieces are packed, and counted while they are in cache. Whether a code is above 1.
    """
    apart = np.uint64(n_columns)
    bits = np.empty(n_columns * _PIECE_WORDS, np.uint64)
    shared[:] = 0
    for begin in range(r0, r1, WORD * _PIECE_WORDS):
        end = min(r1, begin + WORD * _PIECE_WORDS)
        n_words = (end - begin + WORD - 1) // WORD
        if pack_binary(codes, d, begin, end, 0, n_words, bits):
            return True
        size = np.uint64(n_words)
        for g in range(0, n_columns, LANES):
            sums = load(8, shared, np.uint64(g))
            for at in range(np.uint64(g * n_words), np.uint64((g + LANES) * n_words), _8):
                sums = add_shared(sums, bits, at, _ALL)
            store(shared, np.uint64(g), sums)
        for p in range(0, d, BLOCK):  # padding too
            a = np.uint64((p & -LANES) * n_words + p % LANES)
            for g in range(p & -LANES, n_columns, LANES):
                at, b = np.uint64((p + 1) * n_columns + g), np.uint64(g * n_words)
                shared_bits(bits, a, a + _1, a + _2, a + _3, b, size, shared, at, apart)
    return False


@kernel
def _add_shared_tables(shared, d, n_columns, n, fresh, marginals, counts):
    """Adds the tables of n rows, or writes them."""
    for i in range(d):
        marginals[2 * i] += shared[i]
        marginals[2 * i + 1] += n - shared[i]
        at = 4 * pair_of(i, i + 1, d)
        row = shared[(i + 1) * n_columns + i + 1 :]
        _add_twos(row, shared[i], shared[i + 1 :], d - 1 - i, n, at, 4, fresh, counts)


def _count_binary(
    x: NDArray[np.uint8], d: int, marginals: NDArray[np.int64], counts: NDArray[np.int64], fresh: bool, threads: int
) -> bool:
    """Many rows of few features of codes 0 and 1, dealt to threads. False, and nothing is added, if one is above."""
    n, n_columns = len(x), -(-d // LANES) * LANES
    size = (n_columns + 1) * n_columns
    codes = x.reshape(-1)
    if threads == 1:
        shared = np.empty(size, np.int64)
        if _count_pieces(codes, d, 0, n, n_columns, shared):
            return False
    else:

        def piece(a: int, b: int, _: int) -> NDArray[np.int64] | None:
            own = np.empty(size, np.int64)
            return None if _count_pieces(codes, d, a, b, n_columns, own) else own

        grain = max(_PIECE_ROWS, -(-n // (4 * threads)))
        found = [own for own in parallel_blocks(n, grain, threads, piece) if own is not None]
        if len(found) < -(-n // grain):
            return False
        shared = found[0]
        for own in found[1:]:
            shared += own
    _add_shared_tables(shared, d, n_columns, n, fresh, marginals, counts)
    return True


def count_pairs(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    pair_begins: NDArray[np.int64] | None,
    marginals: NDArray[np.int64],
    counts: NDArray[np.int64],
    fresh: bool,
    threads: int,
) -> int:
    s = structure
    n, d, k = len(X), s.n_features, s.n_classes
    if fresh:
        marginals.fill(0)
    if k == 1 and pair_begins is None and s.n_categories[0] == 2 and has_plain_bytes(X, missing, 2):
        words = -(-n // WORD)
        team = min(threads, 1 + words * (d + d * d // 16) // _THREAD_WORK)
        if d <= _PIECE_COLUMNS and words >= _LEAST_WORDS:
            if _count_binary(np.ascontiguousarray(X).view(np.uint8), d, marginals, counts, fresh, team):
                return -1
        elif team == 1:
            threads = 1
    few = _FEW if n >= _CLASS_ROWS * k else 0
    rules = (missing, unseen_is_missing, s, few, pair_places(pair_begins, s))
    if counts.size <= _PRIVATE_CELLS:
        threads = min(threads, 1 + n * counts.size // _THREAD_CELLS)
    if threads == 1 or counts.size > _PRIVATE_CELLS:
        return _count_rows(X, y, *rules, marginals, counts, fresh, threads)
    if fresh:
        counts.fill(0)

    def rows(a: int, b: int, _: int) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
        own = np.zeros(marginals.size, np.int64), np.zeros(counts.size, np.int64)
        bad = _count_rows(X[a:b], None if y is None else y[a:b], *rules, *own, False, 1)
        return a * d + bad if bad >= 0 else -1, *own

    found = parallel_blocks(n, -(-n // threads), threads, rows)
    for _, single, pairs in found:
        marginals += single
        counts += pairs
    return first_index([bad for bad, _, _ in found])


def _count_rows(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    s: Structure,
    few: int,
    places: NDArray[np.int64],
    marginals: NDArray[np.int64],
    counts: NDArray[np.int64],
    fresh: bool,
    threads: int,
) -> int:
    """Threads own tables, which are written first where that is all of each."""
    n, d, k = len(X), s.n_features, s.n_classes
    c = s.n_categories
    is_few = c <= few
    width = int(c[is_few].sum())
    chunk = min(max(4096, 8 * _BIT_BYTES // (width + 64) // 64 * 64), 1 << 16)
    grain = -(-d // (4 * threads)) if threads > 1 else d
    zeros = np.zeros(LANES, np.int64)
    if fresh and not (k == 1 and (c == 2).all() and few > 1):
        counts.fill(0)
        fresh = False
    binary = k == 1 and is_few.all() and (c == 2).all() and has_plain_bytes(X, missing, 2)
    for begin in range(0, n, chunk):
        rows = X[begin : begin + chunk]
        packed = _pack_zeros(rows, threads) if binary else None
        if packed is None:
            plain, complete, bad = encode_pairs(rows, missing, unseen_is_missing, s, threads)
            if bad >= 0:
                return begin * d + bad
            classes = np.zeros(len(plain), np.int64) if y is None else y[begin : begin + chunk]
            if not is_few.all():
                direct = (plain, classes, c, s.offsets, few)
                _ranges(d, grain, threads, _count_direct, direct, (places, marginals, counts))
            if width == 0:
                continue
            codes = plain if plain.dtype == np.uint8 else np.minimum(plain, 255).astype(np.uint8)
            kept = np.where(is_few, c - 1, 0)
            if not complete:
                kept += is_few & incomplete_features(codes, s, threads)
            packed = _pack_columns(codes, classes, k, kept, threads)
        bits, n_words, group, word, kept, first = packed
        totals = np.empty((k, bits.size // max(n_words, 1)), np.int64)
        shape = (bits, n_words, group, word, c)
        _total(*shape, s.offsets, few, first, kept, zeros, totals, marginals)
        others = np.flatnonzero((kept != 1) | (c != 2))
        if fresh and len(others):
            counts.fill(0)
            fresh = False
        shared = (*shape, few, int(others[-1]) + 1 if len(others) else 0, first, kept, totals)
        _ranges(d, grain, threads, _count_shared, shared, (places, fresh, counts))
        fresh = False
    return -1


class _Columns(NamedTuple):
    """Columns of bits of some rows: those of class k are group[k] to group[k + 1] - 1 in order, and begin at word[k] of
    each column; feature j has kept[j] columns from first[j] on.
    """

    bits: NDArray[np.uint64]
    n_words: int
    group: NDArray[np.int64]
    word: NDArray[np.int64]
    kept: NDArray[np.int64]
    first: NDArray[np.int64]


def _pack_columns(
    codes: NDArray[np.uint8], classes: NDArray[np.int64], k: int, kept: NDArray[np.int64], threads: int
) -> _Columns:
    d = codes.shape[1]
    first = np.concatenate([[0], np.cumsum(kept)])
    rows, group, word = np.empty(len(classes), np.int64), np.zeros(k + 1, np.int64), np.zeros(k + 1, np.int64)
    _group(classes, rows, group, word)
    n_words, n_columns = int(word[k]), -(-int(first[d]) // LANES) * LANES
    bits = np.empty(n_columns * n_words, np.uint64)
    columns = (codes.reshape(-1), d, rows, group, word, kept, _places(first, kept, n_words))
    _ranges(n_words, max(8, -(-n_words // threads)), threads, _pack, columns, (bits,))
    return _Columns(bits, n_words, group, word, kept, first)


def _pack_zeros(X: NDArray[Any], threads: int) -> _Columns | None:
    """The same of bytes 0 and 1 without a class; None where one is above."""
    x = np.ascontiguousarray(X).view(np.uint8)
    n, d = x.shape
    n_words = -(-n // WORD)
    bits, codes = np.empty(-(-d // LANES) * LANES * n_words, np.uint64), x.reshape(-1)
    grain = max(8, -(-n_words // threads))
    if any(parallel_blocks(n_words, grain, threads, lambda a, b, _: _pack_binary(codes, d, a, b, n_words, bits))):
        return None
    group, word = np.array([0, n], np.int64), np.array([0, n_words], np.int64)
    return _Columns(bits, n_words, group, word, np.ones(d, np.int64), np.arange(d + 1, dtype=np.int64))


def _places(first: NDArray[np.int64], kept: NDArray[np.int64], n_words: int) -> NDArray[np.uint64]:
    """(C, d) where the column of category c of feature j begins, or _NOWHERE."""
    category = np.arange(int(kept.max(initial=0)))[:, None]
    q = first[:-1] + category
    return np.where(category < kept, (q // LANES * n_words * LANES + q % LANES).astype(np.uint64), _NOWHERE)


def _ranges(n: int, grain: int, threads: int, run: Any, before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
    """run(*before, begin, end, *after) for pieces of [0, n)."""
    parallel_blocks(n, grain, threads, lambda a, b, _: run(*before, a, b, *after))
