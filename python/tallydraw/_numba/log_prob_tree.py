"""log_prob_messages.py where every context is at most one feature: the twin of log_prob_tree.hpp.

Blocks of rows go feature by feature. What an observed cell adds is looked up among the logs; what a missing one adds,
its total, among the logs of totals wherever what is observed behind it has a number there (tree_columns.hpp). Totals
without a number are made of messages, row after row, of eight classes at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.codes import turned
from tallydraw._numba.elementary import log_of
from tallydraw._numba.lanes import bits, fill, load, load_some, store, store_some
from tallydraw._numba.messages import LEAST_PLAIN, entries_of, parents_of
from tallydraw._numba.parallel import inline, kernel
from tallydraw._structure import Structure
from tallydraw._totals import Totals

# The code of a missing cell what is observed behind which has no number.
_NO_NUMBER = 2**30
# Rows of a block, and cells; columns lie further apart than a power of two, which would share places of the cache.
_LEAST_ROWS, _MOST_ROWS, _CELLS, _PADDING = 16, 256, 1 << 15, 8
_WORTH = 4  # logs that are copied for a cell of the rows (measured)
_0, _1, _8 = np.uint64(0), np.uint64(1), np.uint64(8)


class Tree(NamedTuple):
    """The parent of each feature, -1 of a root; its children, in structure.order: child[begin[j]:begin[j + 1]]; and
    logs, from offsets[j] on, then those of totals: `each` for each code of its parent, from total_begin[j] on, none
    where that is 0. At `zero`, and from there on for all classes, is nothing to add.
    """

    parent: NDArray[np.int64]
    begin: NDArray[np.int64]
    child: NDArray[np.int64]
    inner: NDArray[np.int64]  # features that have children
    logs: NDArray[np.float64]
    offsets: NDArray[np.int64]
    total_begin: NDArray[np.int64]
    each: NDArray[np.int64]
    radix: NDArray[np.int64]
    zero: int


def make_tree(
    s: Structure, logs: NDArray[np.float64], offsets: NDArray[np.int64], totals: Totals | None, n_rows: int
) -> Tree | None:
    """None where a context has several features. Totals are left out where it costs more to copy than to make them."""
    d = s.n_features
    degree = np.diff(s.context_begin)
    if degree.max() > 1 or int((s.n_contexts * s.n_categories).max()) >= _NO_NUMBER:
        return None
    parent = parents_of(s)
    child = s.order[np.argsort(parent[s.order], kind="stable")]
    begin = np.searchsorted(np.sort(parent), np.arange(d + 1))
    inner = np.flatnonzero(np.diff(begin))
    zero = int(offsets[0] + s.n_contexts[0] * s.n_categories[0] * s.n_classes)  # as a missing cell adds
    if totals is None or len(logs) + len(totals.values) > _WORTH * n_rows * d:
        none = np.zeros(d, np.int64)
        return Tree(parent, begin, child, inner, logs, offsets, none, none, none, zero)
    both = np.concatenate([logs, totals.values])
    each = np.diff(totals.offsets) // s.n_contexts
    return Tree(parent, begin, child, inner, both, offsets, len(logs) + totals.offsets[:-1], each, totals.radix, zero)


@inline
def _number(tree, n_categories, j, x, n, apart, code, at_j, over, noisy):
    """code: that of an observed cell; C_j where nothing is observed behind a missing one, else C_j + 1 and a number."""
    c = n_categories[j]
    first, end = tree.begin[j], tree.begin[j + 1]
    if first == end:
        for r in range(n):
            code[at_j + r] = np.int32(x[r])
        return
    for r in range(n):
        code[at_j + r] = np.int32(0)
        over[r] = tree.each[j] == 0
        noisy[r] = False
    for i in range(first, end):
        f = tree.child[i]
        at, radix, silent = np.uint64(f) * apart, np.int32(tree.radix[f]), np.int32(n_categories[f])
        for r in range(n):
            v = code[at + r]
            code[at_j + r] = np.int32(code[at_j + r] * radix + v)
            over[r] |= v >= radix
            noisy[r] |= v != silent
    for r in range(n):
        z = np.int32(x[r])
        number = np.int32(_NO_NUMBER) if over[r] else np.int32(code[at_j + r] + np.int32(c + 1))
        missing = number if noisy[r] else np.int32(c)
        code[at_j + r] = missing if z == np.int32(c) else z


@inline
def _place(tree, n_categories, j, k, n, apart, code, place, needs):
    """Where what feature j adds lies among the logs; needs[r]: it is a total without a number."""
    c, parent, at = n_categories[j], tree.parent[j], np.uint64(j) * apart
    above, rows = np.uint64(max(parent, 0)) * apart, n_categories[max(parent, 0)]
    logs, totals, zero, each = tree.offsets[j], tree.total_begin[j] - (c + 1) * k, tree.zero, tree.each[j]
    for r in range(n):
        z = np.int64(code[at + r])
        a = np.int64(0) if parent < 0 else np.int64(code[above + r])
        seen, known = z < c, a < rows or parent < 0
        to = (logs if seen else totals) + a * (c * k if seen else each) + z * k
        place[at + r] = to if known and z != c and z != _NO_NUMBER else zero
        needs[r] |= known and z == _NO_NUMBER


@inline
def _touch_behind(s, tree, x, j, touched):
    """Lists a missing cell under an observed one and what is touched behind it, parents first; how many."""
    n, i = 1, 0
    touched[0] = j
    while i < n:
        f = touched[i]
        if x[f] == s.n_categories[f]:
            for t in range(tree.begin[f], tree.begin[f + 1]):
                touched[n] = tree.child[t]
                n += 1
        i += 1
    return n


@inline
def _make_total(s, tree, begin, cells, x, k, c, width, touched, n_touched, loud, below, made, to):
    """The total of touched[0] under classes [c, c + width), to made[to:]; whether plain numbers suffice."""
    none, least, outside, kk = fill(8, 0.0), fill(8, LEAST_PLAIN), fill(8, False), np.uint64(k)
    for i in range(n_touched):
        loud[touched[i]] = False
    for i in range(n_touched - 1, -1, -1):
        j = touched[i]
        missing = x[j] == s.n_categories[j]
        if missing and not loud[j]:
            continue  # silent
        p = max(tree.parent[j], np.int64(0))
        n, rows = np.uint64(s.n_categories[j]), np.uint64(s.n_contexts[j])
        own, above, cell = np.uint64(begin[j]) * _8, np.uint64(begin[p]) * _8, np.uint64(tree.offsets[j]) + c
        first, end = _0, rows
        if i == 0 and tree.parent[j] >= 0:
            first = np.uint64(x[p])
            end = first + _1
        for a in range(first, end):
            if missing:
                value = none
                for v in range(n):  # left to right
                    value = value + load_some(8, cells, cell + (v * rows + a) * kk, width) * load(
                        8, below, own + v * _8
                    )
            else:
                value = load_some(8, cells, cell + (np.uint64(x[j]) * rows + a) * kk, width)
            if i == 0:
                store_some(made, to, value, width)
                continue
            outside = outside | ((least > value) & (value > none))
            if loud[p]:
                value = value * load(8, below, above + a * _8)
                outside = outside | ((least > value) & (value > none))
            store(below, above + a * _8, value)
        if i > 0:
            loud[p] = True
    return bits(outside) == _0


@inline
def _make_row(
    s, tree, begin, cells, x, k, r, apart, touched, loud, below, code, place, made, n_made, made_at
):  # fmt: skip
    """The totals of row r of a block that have no number, from made[n_made * k] on. How many there are then, or -1
    where plain numbers do not suffice.
    """
    for j in tree.inner:
        p, at = tree.parent[j], np.uint64(j) * apart + r
        if code[at] != _NO_NUMBER or (p >= 0 and x[p] == s.n_categories[p]):
            continue
        n_touched = _touch_behind(s, tree, x, j, touched)
        for c in range(_0, np.uint64(k), _8):
            width, to = min(_8, np.uint64(k) - c), np.uint64(n_made * k) + c
            if not _make_total(s, tree, begin, cells, x, k, c, width, touched, n_touched, loud, below, made, to):
                return -1
        place[at] = made_at + n_made * k
        n_made += 1
    return n_made


@inline
def _add_columns(logs, first, d, n, apart, place, sums):
    """The sums of one class, from left to right."""
    for r in range(n):
        sums[r] = first
    for j in range(np.uint64(d)):
        for r in range(n):
            sums[r] += logs[place[j * apart + r]]


@inline
def _add_row(logs, made, made_at, first, d, k, r, apart, place, out, to):
    """The sums of one row under all classes, from left to right."""
    for c in range(_0, k, _8):
        width = min(_8, k - c)
        total = load_some(8, first, c, width)
        for j in range(np.uint64(d)):
            at = place[j * apart + r]
            if at < made_at:
                total = total + load_some(8, logs, np.uint64(at) + c, width)
            else:
                total = total + load_some(8, made, np.uint64(at - made_at) + c, width)
        store_some(out, to + c, total, width)


@kernel
def _score(s, tree, begin, columns, plain_codes, rows, plain, cells, k, first, block, out, left):
    """out of these rows; how many are left over: those of left."""
    d, apart, made_at, n_left = len(s.n_categories), np.uint64(block + _PADDING), len(tree.logs), 0
    code, place = np.empty(d * (block + _PADDING), np.int32), np.empty(d * (block + _PADDING), np.int64)
    over, noisy, needs = np.empty(block, np.bool_), np.empty(block, np.bool_), np.empty(block, np.bool_)
    made, sums, below = np.empty(d * block * k), np.empty(block), np.empty(begin[-1] * 8)
    touched, loud = np.empty(d, np.int64), np.empty(d, np.bool_)
    for r0 in range(0, len(rows), block):
        m = min(block, len(rows) - r0)
        n = np.uint64(m)
        for i in range(d - 1, -1, -1):
            j = s.order[i]
            _number(
                tree, s.n_categories, j, columns[j, r0 : r0 + m], n, apart, code, np.uint64(j) * apart, over, noisy
            )  # fmt: skip
        for r in range(n):
            needs[r] = False
        for j in range(d):
            _place(tree, s.n_categories, j, k, n, apart, code, place, needs)
        n_made = 0
        for r in range(n):
            if not needs[r]:
                continue
            found = -1
            if plain:
                found = _make_row(
                    s, tree, begin, cells, plain_codes[r0 + r], k, r, apart, touched, loud, below, code, place,
                    made, n_made, made_at,
                )  # fmt: skip
            if found >= 0:
                n_made = found
                continue
            left[n_left] = r0 + r
            n_left += 1
        for i in range(np.uint64(n_made * k)):
            made[i] = log_of(made[i])
        if k == 1:
            _add_columns(tree.logs, first[0], d, n, apart, place, sums)
            for r in range(m):
                out[rows[r0 + r]] = sums[r]
        for r in range(m):
            if k > 1 or needs[r]:
                to = np.uint64(rows[r0 + r] * k)
                _add_row(tree.logs, made, made_at, first, d, np.uint64(k), np.uint64(r), apart, place, out, to)
    return n_left


def score_tree(
    structure: Structure,
    tree: Tree,
    codes: NDArray[Any],
    rows: NDArray[np.int64],
    plain: bool,
    cells: NDArray[np.float64],
    first: NDArray[np.float64],
    out: NDArray[np.float64],
) -> NDArray[np.int64]:
    """out[rows] from their plain codes, but for those that are returned: numbers in `rows`, ascending."""
    left, n = np.empty(len(rows), np.int64), len(rows)
    block = max(_LEAST_ROWS, min(_MOST_ROWS, _CELLS // structure.n_features, -(-n // _LEAST_ROWS) * _LEAST_ROWS))
    n_left = _score(
        structure, tree, entries_of(structure), turned(codes), codes, rows, plain, cells, len(first), first, block,
        out.reshape(-1), left,
    )  # fmt: skip
    return left[:n_left]
