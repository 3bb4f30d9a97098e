"""Rows with their missing cells filled in: the twin of complete_features.hpp, which says how each is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.bits import lowest_bit
from tallydraw._numba.codes import encode, turned
from tallydraw._numba.lanes import WORD
from tallydraw._numba.messages import find_touched, make_messages, products, send_messages
from tallydraw._numba.messages_by_strip import make_strip, see_strip, send_strip, sent_by_strip
from tallydraw._numba.parallel import allocating_kernel, inline, parallel_blocks
from tallydraw._numba.philox import CELLS, counter_tag, fill_columns, one_word
from tallydraw._structure import Structure, make_structure

_TAG, _LOW_TAG = counter_tag(CELLS, 0), counter_tag(CELLS, 1)
_0, _1, _32, _WORD, _MOST = (np.uint64(i) for i in (0, 1, 32, WORD, 2**64 - 2))


@inline
def _uniform(key, row, feature):
    high = np.uint64(one_word(key, _TAG, row, feature))
    return min(high << _32 | np.uint64(one_word(key, _LOW_TAG, row, feature)), _MOST)


@inline
def _draw_by_weight(weights, n, u):
    """The first category whose level, made of these weights, is above u; some weight is positive."""
    total = 0.0
    for x in range(n):
        total += weights[x]
    running = 0.0
    for x in range(n):
        running += weights[x]
        if running == total or u < np.uint64(running / total * 18446744073709551616.0):
            return x
    return n - 1


@inline
def _is_below(word, level, key, row, feature):
    """Whether a uniform with this upper word is below a level; all uint64."""
    upper = level >> _32
    if word != upper:
        return word < upper
    return min(word << _32 | np.uint64(one_word(key, _LOW_TAG, row, feature)), _MOST) < level


@inline
def _fill_strip(s, t, columns, apart, row, probabilities, classes, level, maximize, key, number, uniforms, out):
    """The missing cells of 64 rows whose messages are sent, among their codes and in `out`. The uniform of cell (r, j)
    of the rows, from `number` on in the stream, has the upper word uniforms[64 j + r].
    """
    d = np.uint64(len(s.n_categories))
    for i in range(d):
        j = np.uint64(s.order[i])
        missing, parent = t.gone[j], t.parent[j]
        n = np.uint64(s.n_categories[j])
        table, cells, b = np.uint64(s.offsets[j]), n * np.uint64(s.n_contexts[j]), t.first[j]
        own, above = j * apart + row, np.uint64(max(parent, 0)) * apart + row
        word = missing
        while word != _0:
            r = lowest_bit(word)
            word &= word - _1
            theta = table + classes[row + r] * cells
            if parent >= 0:
                theta += np.uint64(columns[above + r]) * n
            chosen = _0
            upper = np.uint64(uniforms[j * _WORD + r])
            if maximize:
                most = probabilities[theta] * t.below[b]
                for v in range(_1, n):
                    weight = probabilities[theta + v] * t.below[b + v]
                    if weight > most:
                        chosen, most = v, weight
            elif t.loud[j] >> r & _1 != _0:
                total = 0.0
                for v in range(n):
                    total += probabilities[theta + v] * t.below[b + v]
                running = 0.0
                while chosen + _1 < n:
                    running += probabilities[theta + chosen] * t.below[b + chosen]
                    if running == total:
                        break
                    bound = np.uint64(running / total * 18446744073709551616.0)
                    if _is_below(upper, bound, key, number + r, j):
                        break
                    chosen += _1
            else:
                while chosen + _1 < n and not _is_below(upper, level[theta + chosen], key, number + r, j):
                    chosen += _1
            b += n
            columns[own + r] = chosen
            out[(row + r) * d + j] = chosen


@allocating_kernel
def _complete_strips(s, t, columns, probabilities, classes, level, counted, maximize, key, start, out, left):
    """The missing cells of the rows of `counted`, where that is not empty; `out` has the others. How many rows are left
    over: those of left.
    """
    d, n, n_left = np.uint64(len(s.n_categories)), np.uint64(len(classes)), 0
    uniforms, numbers = np.zeros((len(s.n_categories) + 3) // 4 * 4 * WORD, np.uint32), np.empty(WORD, np.uint64)
    words, flat = uniforms.reshape(-1, 4, WORD), out.reshape(-1)
    for row in range(_0, n, _WORD):
        rows = min(_WORD, n - row)
        some = ~_0
        if len(counted):
            for r in range(rows):
                some ^= np.uint64(not counted[row + r]) << r
        see_strip(s, t, columns, n, row, rows, some)
        if t.first[d] == _0:
            continue
        if not maximize:
            for r in range(_WORD):
                numbers[r] = start + row + r
            for j in range(len(words)):
                fill_columns(key, _TAG, numbers, np.uint64(j), words[j])
        outside = send_strip(maximize, s, t, columns, n, row, probabilities, classes)
        _fill_strip(
            s, t, columns, n, row, probabilities, classes, level, maximize, key, start + row, uniforms, flat
        )  # fmt: skip
        while outside != _0:
            left[n_left] = row + lowest_bit(outside)
            n_left += 1
            outside &= outside - _1
    return n_left


@allocating_kernel
def _complete(s, plain_codes, codes, rows, classes, probabilities, plain, level, maximize, key, start, m, out):
    """The missing cells of some rows, whose codes these are; `out` has the others."""
    d = len(s.n_categories)
    total_m, total_e = np.empty(d), np.empty(d, np.int64)
    for r in range(len(rows)):
        x, row, c = plain_codes[r], out[rows[r]], np.int64(classes[rows[r]])
        n_touched = find_touched(s, codes[r], m)
        if n_touched == 0:
            continue
        done = plain  # a variable: constants would compile the pass twice
        if plain:
            done = send_messages(done, maximize, s, x, probabilities, c, m, n_touched, total_m, total_e)
        if not done:
            send_messages(done, maximize, s, x, probabilities, c, m, n_touched, total_m, total_e)
        for i in range(n_touched):
            j = m.touched[i]
            n = s.n_categories[j]
            if x[j] != n:
                continue
            a = np.int64(0)
            for t in range(s.context_begin[j], s.context_begin[j + 1]):
                a = a * s.n_categories[s.context[t]] + np.int64(row[s.context[t]])
            at = s.offsets[j] + (c * s.n_contexts[j] + a) * n
            place = np.int64(-1)
            if m.loud[j]:
                place = m.begin[j] + a * n % (m.begin[j + 1] - m.begin[j])
            chosen = np.int64(0)
            if maximize:
                products(done, probabilities, at, m.below_m, m.below_e, place, n, m.terms)
                for v in range(1, n):
                    if m.terms[v] > m.terms[chosen]:
                        chosen = v
            else:
                u = _uniform(key, start + np.uint64(rows[r]), np.uint64(j))
                if m.loud[j]:
                    products(done, probabilities, at, m.below_m, m.below_e, place, n, m.terms)
                    chosen = _draw_by_weight(m.terms, n, u)
                else:
                    while u >= level[at + chosen]:
                        chosen += 1
            row[j] = chosen


def complete_features(
    X: NDArray[Any],
    y: NDArray[np.int64] | None,
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    probabilities: NDArray[np.float64],
    plain: bool,
    level: NDArray[np.uint64],
    only: int,
    maximize: bool,
    key: int,
    start: int,
    out: NDArray[Any],
    threads: int,
) -> None:
    n = len(X)
    classes = np.zeros(n, np.uint64) if y is None or only >= 0 else y.astype(np.uint64)
    counted = np.empty(0, np.bool_) if y is None or only < 0 else y == only
    alone = make_structure(structure.n_categories)  # of plain codes

    def complete(a: int, b: int, piece: int) -> None:
        x, block, own, some_classes = X[a:b], out[a:b], counted[a:b], classes[a:b]
        codes, _, some_missing, _ = encode(x, missing, unseen_is_missing, alone)
        left = np.flatnonzero(own) if only >= 0 else np.arange(b - a)
        if only < 0:
            block[:] = codes
        else:
            block[left] = codes[left]
        if not some_missing:
            return
        stream = (np.uint64(key), np.uint64((start + a) % 2**64))
        if plain and sent_by_strip(structure, n, codes):
            strip, columns = make_strip(structure, codes), turned(codes).reshape(-1)
            n_left = _complete_strips(
                structure, strip, columns, probabilities, some_classes, level, own, maximize, *stream, block, left
            )
            left = left[:n_left]
        if len(left):
            codes, plain_codes, _, _ = encode(x[left], missing, unseen_is_missing, structure)
            _complete(
                structure, plain_codes, codes, left, some_classes, probabilities, plain, level, maximize, *stream,
                make_messages(structure), block,
            )  # fmt: skip

    parallel_blocks(n, max(16, min(4096, -(-n // threads))), threads, complete)
