"""log_prob_messages.py where every context is at most one feature: the twin of log_prob_tree.hpp, row after row.

What an observed cell adds is looked up among the logs; what a missing one adds, its total, among the logs of totals
wherever what is observed behind it has a number there (tree_columns.hpp). Totals without a number are made of the
messages behind each (tree_totals.hpp).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.elementary import log_of, log_scaled_of
from tallydraw._numba.lanes import load, store
from tallydraw._numba.messages import LEAST_PLAIN, Messages, send_messages
from tallydraw._numba.parallel import inline, kernel, unrolled
from tallydraw._structure import Structure
from tallydraw._totals import Totals

# The code of a missing cell what is observed behind which has no number.
_NO_NUMBER = 2**62
_LOGS, _TOTALS, _MADE = 0, 1, 2


class Tree(NamedTuple):
    """The parent of each feature, -1 of a root; its children, in structure.order: child[begin[j]:begin[j + 1]]; and the
    logs of totals: `each` for each code of its parent, none where that is 0.
    """

    parent: NDArray[np.int64]
    begin: NDArray[np.int64]
    child: NDArray[np.int64]
    totals: NDArray[np.float64]
    offsets: NDArray[np.int64]
    each: NDArray[np.int64]
    radix: NDArray[np.int64]


def make_tree(s: Structure, totals: Totals | None) -> Tree | None:
    """None where a context has several features."""
    d = s.n_features
    degree = np.diff(s.context_begin)
    if degree.max() > 1:
        return None
    parent = np.full(d, -1)
    parent[degree == 1] = s.context
    child = s.order[np.argsort(parent[s.order], kind="stable")]
    begin = np.searchsorted(np.sort(parent), np.arange(d + 1))
    if totals is None:
        none = np.zeros(d + 1, np.int64)
        return Tree(parent, begin, child, np.empty(0), none, none[:-1], none[:-1])
    return Tree(
        parent, begin, child, totals.values, totals.offsets, np.diff(totals.offsets) // s.n_contexts, totals.radix
    )


@unrolled
def _look(n_categories, begin, child, each, radix, code, j):
    """Whether nothing is observed behind a missing cell, and its number, or -1."""
    silent, fits, place = True, each[j] > 0, np.int64(0)
    for i in range(begin[j], begin[j + 1]):
        f = child[i]
        v = code[f]
        silent &= v == n_categories[f]
        fits &= v < radix[f]
        place = place * radix[f] + v if fits else np.int64(-1)
    return silent, place if fits else np.int64(-1)


@unrolled
def _touch_behind(n_categories, begin, child, x, j, touched):
    """Lists a missing cell under an observed one and what is touched behind it; how many."""
    n = i = np.int64(0)
    touched[0] = j
    n += 1
    while i < n:
        f = touched[i]
        if x[f] == n_categories[f]:
            for t in range(begin[f], begin[f + 1]):
                touched[n] = child[t]
                n += 1
        i += 1
    return n


@unrolled
def _make_total(parent, n_categories, x, cells, offsets, k, touched, n_touched, loud, entry, below, made, at):
    """The total of touched[0], from plain numbers, class by class innermost; whether they suffice."""
    fits = True
    for i in range(n_touched):
        loud[touched[i]] = False
    for i in range(n_touched - 1, -1, -1):
        j = touched[i]
        n, p, own = n_categories[j], parent[j], entry[j]
        missing = x[j] == n
        if missing and not loud[j]:
            continue  # silent
        if i == 0:
            rows = n_categories[p] if p >= 0 else np.int64(1)
            a = np.int64(x[p]) if p >= 0 else np.int64(0)
            for c in range(k):
                total = 0.0
                for v in range(n):
                    total += cells[offsets[j] + (v * rows + a) * k + c] * below[(own + v) * k + c]
                made[at + c] = total
            continue
        rows = n_categories[p]
        for a in range(rows):
            for c in range(k):
                if missing:
                    sent = 0.0
                    for v in range(n):
                        sent += cells[offsets[j] + (v * rows + a) * k + c] * below[(own + v) * k + c]
                else:
                    sent = cells[offsets[j] + (np.int64(x[j]) * rows + a) * k + c]
                to = (entry[p] + a) * k + c
                product = below[to] * sent if loud[p] else sent
                fits &= not (0.0 < sent < LEAST_PLAIN or 0.0 < product < LEAST_PLAIN)
                below[to] = product
        loud[p] = True
    return fits


@inline
def _make_scaled_total(s, x, probabilities, plain, maximize, k, m, n_touched, total_m, total_e, made, at):
    """The log of the total or maximum of m.touched[0]."""
    for c in range(k):
        if not (plain and send_messages(True, maximize, s, x, probabilities, c, m, n_touched, total_m, total_e)):
            send_messages(False, maximize, s, x, probabilities, c, m, n_touched, total_m, total_e)
        made[at + c] = log_scaled_of(total_m[m.touched[0]], total_e[m.touched[0]])


@unrolled
def _add_8(first, place, source, n, logs, totals, made, c, out, at):
    """out[at + c:] = first[c:] + what each feature adds, from left to right, of eight classes."""
    c = np.uint64(c)
    total = load(8, first, c)
    for t in range(n):
        if source[t] == _LOGS:
            total = total + load(8, logs, place[t] + c)
        elif source[t] == _TOTALS:
            total = total + load(8, totals, place[t] + c)
        else:
            total = total + load(8, made, place[t] + c)
    store(out, np.uint64(at) + c, total)


@unrolled
def _add_1(first, place, source, n, logs, totals, made, c, out, at):
    """The same of one class."""
    c = np.uint64(c)
    total = first[c]
    for t in range(n):
        if source[t] == _LOGS:
            total += logs[place[t] + c]
        elif source[t] == _TOTALS:
            total += totals[place[t] + c]
        else:
            total += made[place[t] + c]
    out[np.uint64(at) + c] = total


@kernel
def _score(s, tree, codes, rows, probabilities, plain, cells, logs, offsets, first, maximize, m, out):
    d, k = len(s.n_categories), len(first)
    code, gone = np.empty(d, np.int64), np.empty(d, np.int64)
    place, source = np.empty(d, np.uint64), np.empty(d, np.uint8)
    made, below = np.empty(d * k), np.empty(len(m.below_m) * k)
    total_m, total_e = np.empty(d), np.empty(d, np.int64)
    # Fields of tuples are counted in and out wherever they are asked for.
    n_categories, order, parent, begin, child = s.n_categories, s.order, tree.parent, tree.begin, tree.child
    totals, total_begin, each, radix = tree.totals, tree.offsets, tree.each, tree.radix
    touched, loud, entry = m.touched, m.loud, m.begin
    for i in range(len(rows)):
        n = 0
        for t in range(d):
            j = order[t]
            z = np.int64(codes[i, j])
            code[j] = z
            gone[n] = j
            n += np.int64(z == n_categories[j])
        for t in range(n - 1, -1, -1):  # missing cells under missing ones are told what is behind them
            j = gone[t]
            p = parent[j]
            if maximize or p < 0 or code[p] != n_categories[p] or begin[j] == begin[j + 1]:
                continue
            silent, number = _look(n_categories, begin, child, each, radix, code, j)
            if not silent:
                code[j] = n_categories[j] + 1 + number if number >= 0 else _NO_NUMBER
        n = n_made = 0
        for j in range(d):  # left to right
            p, z, c = parent[j], code[j], n_categories[j]
            a = np.int64(0)
            if p >= 0:
                a = code[p]
                if a >= n_categories[p]:
                    continue
            if z < c:
                place[n] = offsets[j] + (a * c + z) * k
                source[n] = _LOGS
                n += 1
                continue
            if not maximize:
                if begin[j] == begin[j + 1]:
                    continue
                silent, number = _look(n_categories, begin, child, each, radix, code, j)
                if silent:
                    continue
                if number >= 0:
                    place[n] = total_begin[j] + a * each[j] + number * k
                    source[n] = _TOTALS
                    n += 1
                    continue
            at, x = n_made * k, codes[i]
            n_touched = _touch_behind(n_categories, begin, child, x, j, touched)
            if (
                plain
                and not maximize
                and _make_total(
                    parent, n_categories, x, cells, offsets, k, touched, n_touched, loud, entry, below, made, at
                )
            ):  # fmt: skip
                for c in range(k):
                    made[at + c] = log_of(made[at + c])
            else:
                _make_scaled_total(
                    s, x, probabilities, plain, maximize, k, m, n_touched, total_m, total_e, made, at
                )  # fmt: skip
            place[n] = at
            source[n] = _MADE
            n += 1
            n_made += 1
        c = 0
        while c + 8 <= k:
            _add_8(first, place, source, n, logs, totals, made, c, out, rows[i] * k)
            c += 8
        while c < k:
            _add_1(first, place, source, n, logs, totals, made, c, out, rows[i] * k)
            c += 1


def score_tree(
    structure: Structure,
    tree: Tree,
    codes: NDArray[Any],
    rows: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    plain: bool,
    cells: NDArray[np.float64],
    logs: NDArray[np.float64],
    offsets: NDArray[np.int64],
    first: NDArray[np.float64],
    maximize: bool,
    m: Messages,
    out: NDArray[np.float64],
) -> None:
    """out[rows] from their plain codes."""
    _score(
        structure, tree, codes, rows, probabilities, plain, cells, logs, offsets, first, maximize, m, out.reshape(-1)
    )  # fmt: skip
