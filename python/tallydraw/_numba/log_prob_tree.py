"""log_prob_messages.py where every context is at most one feature: the twin of log_prob_tree.hpp.

Blocks of rows go feature by feature, 64 rows in a word. What an observed cell adds is looked up among the logs; what a
missing one adds, its total, among the logs of totals wherever what is observed behind it has a number there, as
tree_columns.hpp says. Totals without a number are made of messages, one after the other, of eight classes at once: what
tree_totals.hpp does, and in other ways messages_packed.hpp and totals_by_feature.hpp.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.bits import lowest_bit
from tallydraw._numba.codes import turned
from tallydraw._numba.elementary import log_of
from tallydraw._numba.lanes import WORD, bits, convert, fill, load, load_some, select, store, store_some, truth
from tallydraw._numba.messages import LEAST_PLAIN, entries_of, parents_of
from tallydraw._numba.parallel import inline, kernel
from tallydraw._numba.wide_lookup import WIDE_LOOKUP, look_up, look_up_in_four
from tallydraw._structure import Structure
from tallydraw._totals import Totals

# Rows of a block, and cells; a column has room for a strip more, and does not lie a power of two apart from the next
# one, with which it would share places of the cache.
_LEAST_ROWS, _MOST_ROWS, _CELLS, _PADDING = 16, 256, 1 << 15, WORD + 8
_0, _1, _8, _16, _24, _32, _WORD = (np.uint64(i) for i in (0, 1, 8, 16, 24, 32, WORD))
_MOST_STRIPS = _MOST_ROWS // WORD
_STRIPS = np.uint64(_MOST_STRIPS)


class Tree(NamedTuple):
    """The parent of each feature, itself of a root; its children, in structure.order: child[begin[j]:begin[j + 1]];
    logs, from offsets[j] on; and totals, `each` for each code of its parent, the first that has a number at
    total_begin[j], none where `each` is 0. Codes have the type of the rest: C_j; C_j, or 0 of a root; Z_j; C_j + 1,
    which is the first code of a missing cell something is observed behind; `radix` of Totals; and what stands for a
    code without number.
    """

    order: NDArray[np.int64]
    n_contexts: NDArray[np.int64]
    parent: NDArray[np.int64]
    begin: NDArray[np.int64]
    child: NDArray[np.int64]
    logs: NDArray[np.float64]
    offsets: NDArray[np.int64]
    totals: NDArray[np.float64]
    total_begin: NDArray[np.int64]
    each: NDArray[np.int64]
    slot: NDArray[Any]
    factor: NDArray[Any]
    whole: NDArray[Any]
    behind: NDArray[Any]
    radix: NDArray[Any]
    no_number: Any


def make_tree(
    s: Structure, logs: NDArray[np.float64], offsets: NDArray[np.int64], totals: Totals | None
) -> Tree | None:
    """None where a context has several features."""
    d, k, degree, whole = s.n_features, s.n_classes, np.diff(s.context_begin), s.n_contexts * s.n_categories
    if degree.max() > 1:
        return None
    parent = parents_of(s)
    child = s.order[np.argsort(parent[s.order], kind="stable")]
    begin = np.searchsorted(np.sort(parent), np.arange(d + 1))
    behind = s.n_categories + 1
    values, places, width, radix = totals or (logs, np.zeros(d + 1, np.int64), behind, np.zeros(d, np.int64))
    each = np.where(width > behind, width * k, 0)
    most = 1 + int(max(whole.max(), width.max()))
    if most >= 2**32 - 1:
        return None
    code = np.dtype(np.uint16 if most < 2**16 - 1 else np.uint32)
    no_number = np.iinfo(code).max
    factor, radix = np.where(parent >= 0, s.n_categories, 0), np.minimum(radix, no_number)
    begins = places[:-1] + behind * k
    slot, factor, whole, behind, radix = np.array([s.n_categories, factor, whole, behind, radix], code)
    return Tree(
        s.order, s.n_contexts, np.where(parent >= 0, parent, np.arange(d)), begin, child, logs, offsets, values, begins,
        each, slot, factor, whole, behind, radix, code.type(no_number),
    )  # fmt: skip


@inline
def _see(slot, x, x_apart, row, n, z, apart, gone):
    """The codes of n rows as columns that lie `apart`, and in words of rows where they are missing."""
    whole, rest = n // _WORD * _WORD, n % _WORD
    for j in range(np.uint64(slot.size)):
        at, to, missing = j * x_apart + row, j * apart, fill(64, slot[j])
        for r in range(_0, whole, _WORD):
            codes = convert(load(64, x, at + r), z.dtype)
            store(z, to + r, codes)
            gone[j * _STRIPS + r // _WORD] = bits(codes == missing)
        if rest > _0:
            for r in range(whole, n):
                z[to + r] = x[at + r]
            gone[j * _STRIPS + whole // _WORD] = bits(load(64, z, to + whole) == missing) & ((_1 << rest) - _1)


@inline
def _number(tree, strips, z, apart, gone, known, unknown):
    """The codes of missing cells that have something observed behind them: C_j + 1 and a number, or none. The rows in
    which a total has a number, and in which it has none.
    """
    d = np.uint64(tree.order.size)
    for i_order in range(d):
        j = np.uint64(tree.order[d - _1 - i_order])
        first, end, parent = tree.begin[j], tree.begin[j + _1], np.uint64(tree.parent[j])
        if first == end:
            continue
        tabulated, is_root, above = tree.each[j] > 0, parent == j, parent * _STRIPS
        for i in range(strips):
            f, word, here = np.uint64(tree.child[first]), j * _STRIPS + i, i * _WORD
            number = load(64, z, f * apart + here)
            over, noisy = ~(fill(64, tree.radix[f]) > number), ~(number == fill(64, tree.slot[f]))
            for t in range(first + 1, end):
                f = np.uint64(tree.child[t])
                code, radix = load(64, z, f * apart + here), fill(64, tree.radix[f])
                number = number * radix + code
                over = over | ~(radix > code)
                noisy = noisy | ~(code == fill(64, tree.slot[f]))
            loud = gone[word] & bits(noisy)
            lacking = loud & bits(over) if tabulated else loud
            numbered, under = loud & ~lacking, _0 if is_root else gone[above + i]
            codes = select(truth(64, lacking), fill(64, tree.no_number), load(64, z, j * apart + here))
            codes = select(truth(64, numbered), number + fill(64, tree.behind[j]), codes)
            store(z, j * apart + here, codes)
            known[word], unknown[word] = numbered & ~under, lacking & ~under


@inline
def _make_totals(tree, begin, cells, codes, k, made_of, made_end, touched, loud, below, made, lost):
    """The totals that have no number, of rows made_of[made_end[j - 1]:made_end[j]] of a block for feature j: `made` of
    all classes. In lost, the rows where plain numbers do not suffice. `codes` are those of the block, row after row.
    """
    none, least, d = fill(8, 0.0), fill(8, LEAST_PLAIN), np.uint64(tree.slot.size)
    i_made = _0
    for top in range(d):
        while i_made < made_end[top]:
            row = made_of[i_made]
            x = row * d
            touched[0] = top
            n_touched, i = _1, _0
            while i < n_touched:
                j = touched[i]
                if codes[x + j] == tree.slot[j]:
                    for at in range(tree.begin[j], tree.begin[j + _1]):
                        touched[n_touched] = tree.child[at]
                        n_touched += _1
                i += _1
            for c in range(_0, k, _8):
                width, outside = min(_8, k - c), fill(8, False)
                for i in range(n_touched):
                    loud[touched[i]] = False
                for back in range(_1, n_touched):
                    j = touched[n_touched - back]
                    p = np.uint64(tree.parent[j])
                    n, rows = np.uint64(tree.slot[j]), np.uint64(tree.n_contexts[j])
                    z, cell, above = np.uint64(codes[x + j]), np.uint64(tree.offsets[j]) + c, np.uint64(begin[p]) * _8
                    missing = z == n
                    if missing and not loud[j]:
                        continue  # silent
                    own, heard = np.uint64(begin[j]) * _8, loud[p]
                    for a in range(rows):
                        if missing:
                            value = none
                            for v in range(n):  # left to right
                                theta = load_some(8, cells, cell + (v * rows + a) * k, width)
                                value = value + theta * load(8, below, own + v * _8)
                            outside = outside | ((least > value) & (value > none))
                        else:
                            value = load_some(8, cells, cell + (z * rows + a) * k, width)
                        if heard:
                            value = value * load(8, below, above + a * _8)
                            outside = outside | ((least > value) & (value > none))
                        store(below, above + a * _8, value)
                    loud[p] = True
                n, rows = np.uint64(tree.slot[top]), np.uint64(tree.n_contexts[top])
                own, cell, value = np.uint64(begin[top]) * _8, np.uint64(tree.offsets[top]) + c, none
                if tree.parent[top] != top:
                    cell += np.uint64(codes[x + np.uint64(tree.parent[top])]) * k
                for v in range(n):  # left to right
                    value = value + load_some(8, cells, cell + v * rows * k, width) * load(8, below, own + v * _8)
                store_some(made, i_made * k + c, value, width)
                lost[row] |= bits(outside) != _0
            i_made += _1


@inline
def _combine(z, own, above, gone, gone_own, gone_above, factor, whole, strips, combined):
    """The combined codes of a feature, Z_j where it or its parent is missing."""
    for i in range(strips):
        here, missing = i * _WORD, gone[gone_own + i] | gone[gone_above + i]
        codes = load(64, z, above + here) * fill(64, factor) + load(64, z, own + here)
        store(combined, here, select(truth(64, missing), fill(64, whole), codes))


@inline
def _add_observed(logs, at, entries, n, combined, gone, sums):
    """What observed cells of a feature add to the sums of one class."""
    if WIDE_LOOKUP and entries <= _8:
        table = load_some(8, logs, at, entries)
        for r in range(_0, n, _8):
            found = look_up(convert(load(8, combined, r), gone.dtype), table)
            store(sums, r, load(8, sums, r) + found)
    elif WIDE_LOOKUP and entries <= _32:
        a, b = load_some(8, logs, at, _8), load_some(8, logs, at + _8, min(entries - _8, _8))
        c, e = (
            load_some(8, logs, at + _16, max(entries, _16) - _16),
            load_some(8, logs, at + _24, max(entries, _24) - _24),
        )
        for r in range(_0, n, _8):
            found = look_up_in_four(convert(load(8, combined, r), gone.dtype), a, b, c, e)
            store(sums, r, load(8, sums, r) + found)
    else:
        for r in range(n):
            sums[r] += logs[at + np.uint64(combined[r])]


@inline
def _add_observed_lanes(logs, at, k, width, n, combined, sums, to):
    """The same under `width` of k classes."""
    for r in range(n):
        log = load_some(8, logs, at + np.uint64(combined[r]) * k, width)
        store_some(sums, to + r * k, load_some(8, sums, to + r * k, width) + log, width)


@inline
def _add_lanes(logs, at, k, sums, to):
    for c in range(_0, k, _8):
        width = min(_8, k - c)
        store_some(sums, to + c, load_some(8, sums, to + c, width) + load_some(8, logs, at + c, width), width)


@kernel
def _score(
    tree, begin, x, x_apart, codes, rows, plain, cells, k, first, block, out, left,
    z, gone, known, unknown, combined, sums, made_of, made_end, made, lost, touched, loud, below,
):  # fmt: skip
    """out of these rows; how many are left over: those of left."""
    d, apart, k, n_left = np.uint64(tree.slot.size), np.uint64(combined.size), np.uint64(k), 0
    for row0 in range(_0, np.uint64(rows.size), np.uint64(block)):
        n, n_made = min(np.uint64(block), np.uint64(rows.size) - row0), _0
        strips = (n + _WORD - _1) // _WORD
        _see(tree.slot, x, np.uint64(x_apart), row0, n, z, apart, gone)
        _number(tree, strips, z, apart, gone, known, unknown)
        for j in range(d):
            if tree.begin[j] < tree.begin[j + _1]:
                for i in range(strips):
                    word = unknown[j * _STRIPS + i]
                    while word != _0:
                        made_of[n_made] = i * _WORD + lowest_bit(word)
                        word &= word - _1
                        n_made += _1
            made_end[j] = n_made
        if n_made > _0:
            for r in range(n):
                lost[r] = False
            if plain:
                _make_totals(
                    tree, begin, cells, codes[row0 * d : (row0 + n) * d], k, made_of, made_end, touched, loud, below,
                    made, lost,
                )  # fmt: skip
                for i in range(n_made * k):
                    made[i] = log_of(made[i])
            else:
                for i in range(n_made):
                    lost[made_of[i]] = True
            for r in range(n):
                if lost[r]:
                    left[n_left] = row0 + r
                    n_left += 1

        for r in range(n):
            for c in range(k):
                sums[r * k + c] = first[c]
        i_made = _0
        for j in range(d):  # left to right
            parent, at, whole = np.uint64(tree.parent[j]), np.uint64(tree.offsets[j]), tree.whole[j]
            own, above = j * apart, parent * apart
            _combine(
                z, own, above, gone, j * _STRIPS, parent * _STRIPS, tree.factor[j], whole, strips, combined
            )  # fmt: skip
            if k == _1:
                _add_observed(tree.logs, at, np.uint64(whole) + _1, n, combined, gone, sums)
            else:
                for c in range(_0, k, _8):
                    _add_observed_lanes(tree.logs, at + c, k, min(_8, k - c), n, combined, sums, c)
            if tree.begin[j] == tree.begin[j + _1]:
                continue
            total, behind = np.uint64(tree.total_begin[j]), np.uint64(tree.behind[j])
            each = _0 if parent == j else np.uint64(tree.each[j])
            for i in range(strips):
                word = known[j * _STRIPS + i]
                while word != _0:
                    r = i * _WORD + lowest_bit(word)
                    word &= word - _1
                    at = total + np.uint64(z[above + r]) * each + (np.uint64(z[own + r]) - behind) * k
                    if k == _1:
                        sums[r] += tree.totals[at]
                    else:
                        _add_lanes(tree.totals, at, k, sums, r * k)
            while i_made < made_end[j]:
                _add_lanes(made, i_made * k, k, sums, made_of[i_made] * k)
                i_made += _1
        for r in range(n):
            for c in range(k):
                out[rows[row0 + r] * k + c] = sums[r * k + c]
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
    d, k, n, left = structure.n_features, len(first), len(rows), np.empty(len(rows), np.int64)
    block = max(_LEAST_ROWS, min(_MOST_ROWS, _CELLS // d, -(-n // _LEAST_ROWS) * _LEAST_ROWS))
    begin, apart = entries_of(structure), block + _PADDING
    gone, known, unknown = np.empty((3, d * _MOST_STRIPS), np.uint64)
    n_left = _score(
        tree, begin, turned(codes).reshape(-1), n, codes.reshape(-1), rows.astype(np.uint64), plain, cells, k, first,
        block, out.reshape(-1), left,
        np.empty(d * apart, tree.slot.dtype), gone, known, unknown, np.empty(apart, tree.slot.dtype),
        np.empty(apart * k), np.empty(d * block, np.uint64), np.empty(d, np.uint64), np.empty(d * block * k),
        np.empty(block, np.bool_), np.empty(d, np.uint64), np.empty(d, np.bool_), np.empty(int(begin[-1]) * 8),
    )  # fmt: skip
    return left[:n_left]
