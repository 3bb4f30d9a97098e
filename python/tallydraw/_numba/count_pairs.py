"""Contingency tables of all pairs of features: the twin of count_pairs.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.bits import popcount
from tallydraw._numba.codes import encode
from tallydraw._numba.parallel import first_index, inline, kernel, parallel_blocks
from tallydraw._structure import Structure

# Up to so many categories a feature is columns of bits; eight columns lie side by side.
_FEW, _LANES = 16, 8
# Rows of a class from which on bits are worth a table that is scattered; bytes of all columns of a chunk of rows.
_CLASS_ROWS, _BIT_BYTES = 32, 1 << 20
_ONE = np.uint64(1)


@inline
def pair_of(i, j, d):
    """Where pair i < j stands among all pairs in lexicographic order."""
    return i * (2 * d - i - 1) // 2 + (j - i - 1)


@kernel
def _group(y, n_classes):
    """Rows in order of their class, where each class begins, and the first of its words of 64 rows."""
    group = np.zeros(n_classes + 1, np.int64)
    for k in y:
        group[k + 1] += 1
    word = np.zeros(n_classes + 1, np.int64)
    for k in range(n_classes):
        word[k + 1] = word[k] + (group[k + 1] + 63) // 64
        group[k + 1] += group[k]
    place = group.copy()
    rows = np.empty(len(y), np.int64)
    for r in range(len(y)):
        rows[place[y[r]]] = r
        place[y[r]] += 1
    return rows, group, word


@kernel
def _seen_columns(plain, n_categories, few, kept, first):
    """Columns of bits of each feature: none for the last category where no cell is missing."""
    n, d = plain.shape
    for j in range(d):
        kept[j] = n_categories[j] - 1 if n_categories[j] <= few else 0
    for r in range(n):
        for j in range(d):
            if plain[r, j] == n_categories[j] and n_categories[j] <= few:
                kept[j] = n_categories[j]
    first[0] = 0
    for j in range(d):
        first[j + 1] = first[j] + kept[j]


@kernel
def _pack(plain, rows, group, word, first, kept, w0, w1, bits):
    """Words w0 to w1 - 1 of every column."""
    d = plain.shape[1]
    k = 0
    for w in range(w0, w1):
        while word[k + 1] <= w:
            k += 1
        begin = group[k] + 64 * (w - word[k])
        end = min(group[k + 1], begin + 64)
        bits[:, w, :] = 0
        for t in range(begin, end):
            r = rows[t]
            bit = _ONE << np.uint64(t - begin)
            for j in range(d):
                z = np.int64(plain[r, j])
                if z < kept[j]:
                    q = first[j] + z
                    bits[q >> 3, w, q & 7] |= bit


@kernel
def _total(bits, group, word, n_categories, offsets, few, first, kept, f0, f1, totals, marginals):
    """Bits set in each column and class, and so the counts of features f0 to f1 - 1."""
    for j in range(f0, f1):
        c = n_categories[j]
        if c > few:
            continue
        for k in range(totals.shape[0]):
            rest = group[k + 1] - group[k]
            for b in range(kept[j]):
                q = first[j] + b
                total = 0
                for w in range(word[k], word[k + 1]):
                    total += popcount(bits[q >> 3, w, q & 7])
                totals[k, q] = total
                marginals[offsets[j] + k * c + b] += total
                rest -= total
            if kept[j] < c:
                marginals[offsets[j] + k * c + c - 1] += rest


@inline
def _share(bits, q, g0, begin, end, shared):
    """shared[g] = bits that column q has in common with the columns from group g0 on, in words begin to end - 1."""
    group, lane = q >> 3, q & 7
    for g in range(g0, bits.shape[0]):
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.int64(0)
        for w in range(begin, end):
            v = bits[group, w, lane]
            s0 += popcount(v & bits[g, w, 0])
            s1 += popcount(v & bits[g, w, 1])
            s2 += popcount(v & bits[g, w, 2])
            s3 += popcount(v & bits[g, w, 3])
            s4 += popcount(v & bits[g, w, 4])
            s5 += popcount(v & bits[g, w, 5])
            s6 += popcount(v & bits[g, w, 6])
            s7 += popcount(v & bits[g, w, 7])
        shared[g, 0], shared[g, 1], shared[g, 2], shared[g, 3] = s0, s1, s2, s3
        shared[g, 4], shared[g, 5], shared[g, 6], shared[g, 7] = s4, s5, s6, s7


@inline
def _add_table(ci, cj, ki, kj, shared, q, totals, p, n, at, counts):
    """Adds a table from what its columns share, the last category of a complete feature from what is left."""
    last = np.int64(n)
    for a in range(ki):
        left = totals[p + a]
        last -= left
        for b in range(kj):
            both = shared[a, q + b]
            counts[at + a * cj + b] += both
            left -= both
        if kj < cj:
            counts[at + a * cj + kj] += left
    if ki == ci:
        return
    for b in range(kj):
        rest = totals[q + b]
        for a in range(ki):
            rest -= shared[a, q + b]
        counts[at + ki * cj + b] += rest
        last -= rest
    if kj < cj:
        counts[at + ki * cj + kj] += last


@kernel
def _count_shared(bits, group, word, n_categories, few, first, kept, totals, i, pair_offsets, counts):
    """The pairs of feature i with features j > i, both of few categories."""
    d, n_groups = len(n_categories), bits.shape[0]
    ci = n_categories[i]
    if ci > few:
        return
    shared = np.empty((max(1, kept[i]), n_groups, _LANES), np.int64)
    flat = shared.reshape(shared.shape[0], n_groups * _LANES)
    for k in range(totals.shape[0]):
        n = group[k + 1] - group[k]
        if n == 0:
            continue
        for a in range(kept[i]):
            _share(bits, first[i] + a, first[i + 1] >> 3, word[k], word[k + 1], shared[a])
        for j in range(i + 1, d):
            cj = n_categories[j]
            if cj <= few:
                at = pair_offsets[pair_of(i, j, d)] + k * ci * cj
                _add_table(ci, cj, kept[i], kept[j], flat, first[j], totals[k], first[i], n, at, counts)


@kernel
def _count_direct(plain, y, n_categories, offsets, few, i, pair_offsets, marginals, counts):
    """The pairs of feature i and those j > i where one of the two has many categories, and i's counts if it has."""
    n, d = plain.shape
    ci = np.int64(n_categories[i])
    if ci > few:
        for r in range(n):
            a = np.int64(plain[r, i])
            if a < ci:
                marginals[offsets[i] + y[r] * ci + a] += 1
    for j in range(i + 1, d):
        cj = np.int64(n_categories[j])
        if ci <= few and cj <= few:
            continue
        at = pair_offsets[pair_of(i, j, d)]
        for r in range(n):
            a, b = np.int64(plain[r, i]), np.int64(plain[r, j])
            if a < ci and b < cj:
                counts[at + (y[r] * ci + a) * cj + b] += 1


def count_pairs(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    pair_offsets: NDArray[np.int64],
    marginals: NDArray[np.int64],
    counts: NDArray[np.int64],
    threads: int,
) -> int:
    s = structure
    n, d, k = len(X), s.n_features, s.n_classes
    c = s.n_categories
    few = _FEW if n >= _CLASS_ROWS * k else 0
    width = int(c[c <= few].sum())
    chunk = min(max(4096, 8 * _BIT_BYTES // (width + 64) // 64 * 64), 1 << 16)
    kept, first = np.zeros(d, np.int64), np.zeros(d + 1, np.int64)
    for begin in range(0, n, chunk):
        rows = X[begin : begin + chunk]
        m = len(rows)
        share = -(-m // threads)

        def encoded(a: int, b: int, _: int) -> Any:
            return encode(rows[a:b], missing, unseen_is_missing, s)  # noqa: B023 - called at once

        parts = parallel_blocks(m, share, threads, encoded)
        bad = first_index([(begin + i * share) * d + part.bad if part.bad >= 0 else -1 for i, part in enumerate(parts)])
        if bad >= 0:
            return bad
        plain = parts[0].plain if len(parts) == 1 else np.concatenate([part.plain for part in parts])
        classes = np.zeros(m, np.int64) if y is None else y[begin : begin + chunk]
        if width < c.sum():
            _each(d, 1, threads, _count_direct, (plain, classes, c, s.offsets, few), (pair_offsets, marginals, counts))
        if width == 0:
            continue
        grouped, group, word = _group(classes, k)
        _seen_columns(plain, c, few, kept, first)
        bits = np.empty((-(-int(first[d]) // _LANES), int(word[k]), _LANES), np.uint64)
        totals = np.zeros((k, bits.shape[0] * _LANES), np.int64)
        columns = (plain, grouped, group, word, first, kept)
        _ranges(int(word[k]), 8, threads, _pack, columns, (bits,))
        _ranges(d, 16, threads, _total, (bits, group, word, c, s.offsets, few, first, kept), (totals, marginals))
        shared = (bits, group, word, c, few, first, kept, totals)
        _each(d, 1, threads, _count_shared, shared, (pair_offsets, counts))
    return -1


def _ranges(n: int, grain: int, threads: int, run: Any, before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
    """run(*before, begin, end, *after) for pieces of [0, n)."""
    parallel_blocks(n, grain if threads > 1 else max(1, n), threads, lambda a, b, _: run(*before, a, b, *after))


def _each(n: int, grain: int, threads: int, run: Any, before: tuple[Any, ...], after: tuple[Any, ...]) -> None:
    """run(*before, i, *after) for each i < n."""
    parallel_blocks(n, grain, threads, lambda i, _, __: run(*before, i, *after))
