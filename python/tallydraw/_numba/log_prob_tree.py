"""log_prob_messages.py where every context is at most one feature: the twin of log_prob_tree.hpp.

Blocks of rows go feature by feature. What an observed cell adds is looked up among the logs; what a missing one adds,
its total, among the logs of totals wherever what is observed behind it has a number there (tree_columns.hpp). Totals
without a number are made of messages, one after the other, of eight classes at once.
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
_0, _1, _8 = np.uint64(0), np.uint64(1), np.uint64(8)


class Tree(NamedTuple):
    """The parent of each feature, -1 of a root; its children, in structure.order: child[begin[j]:begin[j + 1]]; and
    logs, from offsets[j] on, of `width` numbers under each code of its parent. At `zero`, and from there on for all
    classes, is nothing to add.
    """

    parent: NDArray[np.int64]
    begin: NDArray[np.int64]
    child: NDArray[np.int64]
    logs: NDArray[np.float64]
    offsets: NDArray[np.int64]
    cells: NDArray[np.int64]  # where those of each feature begin
    width: NDArray[np.int64]
    radix: NDArray[np.int64]
    zero: int


def make_tree(
    s: Structure, logs: NDArray[np.float64], offsets: NDArray[np.int64], totals: Totals | None
) -> Tree | None:
    """None where a context has several features."""
    d, k = s.n_features, s.n_classes
    degree = np.diff(s.context_begin)
    if degree.max() > 1 or int((s.n_contexts * s.n_categories).max()) >= _NO_NUMBER:
        return None
    parent = parents_of(s)
    child = s.order[np.argsort(parent[s.order], kind="stable")]
    begin = np.searchsorted(np.sort(parent), np.arange(d + 1))
    zero = int(s.n_contexts[0]) * k  # times a width: past the last number under the last code
    if totals is None:
        width = s.n_categories
        return Tree(parent, begin, child, logs, offsets, offsets, width, np.zeros(d, np.int64), zero * int(width[0]))
    values, places, width, radix = totals
    return Tree(parent, begin, child, values, places, offsets, width, radix, zero * int(width[0]))


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
        over[r] = tree.width[j] <= c + 1
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
    """Where what feature j adds lies among the logs; needs[r]: it is a total without a number; whether some is."""
    parent, at = tree.parent[j], np.uint64(j) * apart
    above, rows = np.uint64(max(parent, 0)) * apart, n_categories[max(parent, 0)]
    logs, width, zero = tree.offsets[j], tree.width[j], tree.zero
    some = False
    for r in range(n):
        z = np.int64(code[at + r])
        a = np.int64(0) if parent < 0 else np.int64(code[above + r])
        known = a < rows or parent < 0
        place[at + r] = logs + (a * width + z) * k if known and z < width else zero
        needs[r] = known and z == _NO_NUMBER
        some |= needs[r]
    return some


@inline
def _make_totals(s, tree, begin, cells, codes, k, made_of, made_end, touched, loud, below, made, lost):
    """The totals that have no number, of rows made_of[made_end[j - 1]:made_end[j]] of a block for feature j: `made` of
    all classes. In lost, the rows where plain numbers do not suffice. `codes` are those of the block, row after row.
    """
    none, least, d, kk = fill(8, 0.0), fill(8, LEAST_PLAIN), np.uint64(len(s.n_categories)), np.uint64(k)
    i_made = _0
    for top in range(d):
        while i_made < made_end[top]:
            row = made_of[i_made]
            x = row * d
            touched[0] = top
            n_touched, i = _1, _0
            while i < n_touched:
                j = touched[i]
                if np.int64(codes[x + j]) == s.n_categories[j]:
                    for t in range(tree.begin[j], tree.begin[j + _1]):
                        touched[n_touched] = tree.child[t]
                        n_touched += _1
                i += _1
            for c in range(_0, kk, _8):
                width, outside = min(_8, kk - c), fill(8, False)
                for i in range(n_touched):
                    loud[touched[i]] = False
                for back in range(_1, n_touched):
                    j = touched[n_touched - back]
                    p = np.uint64(tree.parent[j])
                    n, rows = np.uint64(s.n_categories[j]), np.uint64(s.n_contexts[j])
                    z, cell, above = np.uint64(codes[x + j]), np.uint64(tree.cells[j]) + c, np.uint64(begin[p]) * _8
                    missing = z == n
                    if missing and not loud[j]:
                        continue  # silent
                    own, heard = np.uint64(begin[j]) * _8, loud[p]
                    for a in range(rows):
                        if missing:
                            value = none
                            for v in range(n):  # left to right
                                theta = load_some(8, cells, cell + (v * rows + a) * kk, width)
                                value = value + theta * load(8, below, own + v * _8)
                            outside = outside | ((least > value) & (value > none))
                        else:
                            value = load_some(8, cells, cell + (z * rows + a) * kk, width)
                        if heard:
                            value = value * load(8, below, above + a * _8)
                            outside = outside | ((least > value) & (value > none))
                        store(below, above + a * _8, value)
                    loud[p] = True
                n, rows = np.uint64(s.n_categories[top]), np.uint64(s.n_contexts[top])
                own, cell, value = np.uint64(begin[top]) * _8, np.uint64(tree.cells[top]) + c, none
                if tree.parent[top] >= 0:
                    cell += np.uint64(codes[x + np.uint64(tree.parent[top])]) * kk
                for v in range(n):  # left to right
                    value = value + load_some(8, cells, cell + v * rows * kk, width) * load(8, below, own + v * _8)
                store_some(made, i_made * kk + c, value, width)
                lost[row] |= bits(outside) != _0
            i_made += _1


@inline
def _add_columns(logs, first, d, n, apart, place, made_of, made_end, made, sums):
    """The sums of one class, from left to right."""
    for r in range(n):
        sums[r] = first
    i = _0
    for j in range(d):
        for r in range(n):
            sums[r] += logs[place[j * apart + r]]
        while i < made_end[j]:
            sums[made_of[i]] += made[i]
            i += _1


@inline
def _add_lanes(logs, first, d, k, n, apart, place, made_of, made_end, made, rows, out):
    """out[rows[r] * k:] under all k classes, from left to right."""
    for c in range(_0, k, _8):
        width = min(_8, k - c)
        begin = load_some(8, first, c, width)
        for r in range(n):
            store_some(out, rows[r] * k + c, begin, width)
        i = _0
        for j in range(d):
            for r in range(n):
                to = rows[r] * k + c
                log = load_some(8, logs, np.uint64(place[j * apart + r]) + c, width)
                store_some(out, to, load_some(8, out, to, width) + log, width)
            while i < made_end[j]:
                to = rows[made_of[i]] * k + c
                store_some(out, to, load_some(8, out, to, width) + load_some(8, made, i * k + c, width), width)
                i += _1


@kernel
def _score(s, tree, begin, columns, codes, rows, plain, cells, k, first, block, out, left):
    """out of these rows; how many are left over: those of left."""
    d, apart, n_left = len(s.n_categories), np.uint64(block + _PADDING), 0
    code, place = np.empty(d * (block + _PADDING), np.int32), np.empty(d * (block + _PADDING), np.int64)
    over, noisy = np.empty(block, np.bool_), np.empty(block, np.bool_)
    needs, lost = np.empty(block, np.bool_), np.empty(block, np.bool_)
    made, sums, below = np.empty(d * block * k), np.empty(block), np.empty(begin[-1] * 8)
    made_of, made_end = np.empty(d * block, np.uint64), np.empty(d, np.uint64)
    touched, loud, flat = np.empty(d, np.uint64), np.empty(d, np.bool_), codes.reshape(-1)
    for r0 in range(0, len(rows), block):
        m = min(block, len(rows) - r0)
        n = np.uint64(m)
        for i in range(d - 1, -1, -1):
            j = s.order[i]
            _number(
                tree, s.n_categories, j, columns[j, r0 : r0 + m], n, apart, code, np.uint64(j) * apart, over, noisy
            )  # fmt: skip
        n_made = _0
        for j in range(d):
            if _place(tree, s.n_categories, j, k, n, apart, code, place, needs):
                for r in range(n):
                    if needs[r]:
                        made_of[n_made] = r
                        n_made += _1
            made_end[j] = n_made
        if n_made > _0:
            for r in range(n):
                lost[r] = False
            if plain:
                _make_totals(
                    s, tree, begin, cells, flat[r0 * d : (r0 + m) * d], k, made_of, made_end, touched, loud, below,
                    made, lost,
                )  # fmt: skip
                for i in range(n_made * np.uint64(k)):
                    made[i] = log_of(made[i])
            else:
                for i in range(n_made):
                    lost[made_of[i]] = True
            for r in range(m):
                if lost[r]:
                    left[n_left] = r0 + r
                    n_left += 1
        some = rows[r0 : r0 + m]
        if k == 1:
            _add_columns(tree.logs, first[0], np.uint64(d), n, apart, place, made_of, made_end, made, sums)
            for r in range(m):
                out[some[r]] = sums[r]
        else:
            _add_lanes(
                tree.logs, first, np.uint64(d), np.uint64(k), n, apart, place, made_of, made_end, made, some, out
            )  # fmt: skip
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
        structure, tree, entries_of(structure), turned(codes), codes, rows.astype(np.uint64), plain, cells, len(first),
        first, block, out.reshape(-1), left,
    )  # fmt: skip
    return left[:n_left]
