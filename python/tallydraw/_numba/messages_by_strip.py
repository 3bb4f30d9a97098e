"""The passes of messages.py and beliefs.py for the missing cells of several rows, feature by feature: the twin of
messages_by_strip.hpp, which says what is gained. Where every context is at most one feature and numbers are plain.

Of a strip of 64 rows, each under its own class, missing cells go one by one. Of ROWS rows under one class all cells go
side by side, a lane each: what takes no part in a row is multiplied by one, or added as a zero, so each row has the
numbers that it has alone, by the same operations. Words have a bit a row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.bits import bits_below, lowest_bit, popcount
from tallydraw._numba.lanes import WORD, bits, fill, load, select, store, truth
from tallydraw._numba.messages import LEAST_PLAIN, Messages, parents_of
from tallydraw._numba.parallel import inline
from tallydraw._structure import Structure

LEAST_ROWS = 16  # of a call that are worth it
_MOST_NUMBERS = 1 << 22  # of the messages of a strip: 32 MiB
ROWS = 16  # side by side
_MOST_CELLS = 1 << 10  # of a feature's table: the beliefs of more leave the nearer caches
_0, _1, _ROWS = np.uint64(0), np.uint64(1), np.uint64(ROWS)


# Cells one by one -----------------------------------------------------------------------------------------------------


class Strip(NamedTuple):
    """What one thread needs. b_j of the i-th row in which feature j is missing begins at number first[j] + i C_j."""

    parent: NDArray[np.int64]  # of each feature, -1 of a root
    slot: NDArray[Any]  # the codes of missing cells
    gone: NDArray[np.uint64]  # rows in which a feature is missing
    loud: NDArray[np.uint64]  # rows in which a message has come to a missing cell
    first: NDArray[np.uint64]
    below: NDArray[np.float64]


def sent_by_strip(s: Structure, n: int, codes: NDArray[Any]) -> bool:
    """Whether n rows of such codes go in strips, if numbers are plain."""
    one_parent = int(np.diff(s.context_begin).max(initial=0)) <= 1
    fits = WORD * int(s.n_categories.sum()) <= _MOST_NUMBERS
    return n >= LEAST_ROWS and one_parent and fits and codes.dtype.itemsize <= 2


def make_strip(s: Structure, codes: NDArray[Any]) -> Strip:
    d = s.n_features
    words = np.empty((3, d + 1), np.uint64)
    below = np.empty(WORD * int(s.n_categories.sum()))
    return Strip(parents_of(s), s.n_categories.astype(codes.dtype), words[0], words[1], words[2], below)


@inline
def see_strip(s, t, columns, apart, row, n, counted):
    """Where cells are missing in n <= 64 rows from `row` on, of columns that lie `apart`: in rows whose bit is set in
    `counted`.
    """
    t.first[0] = _0
    for j in range(np.uint64(len(s.n_categories))):
        at, slot = j * apart + row, t.slot[j]
        gone = _0
        if n == np.uint64(WORD):
            gone = bits(load(64, columns, at) == fill(64, slot))
        else:
            for r in range(n):
                gone |= np.uint64(columns[at + r] == slot) << r
        t.gone[j] = gone & counted
        t.first[j + _1] = t.first[j] + np.uint64(popcount(t.gone[j])) * np.uint64(s.n_categories[j])


@inline
def _outside(x):
    return (x != 0.0) & (x < LEAST_PLAIN)


@inline
def send_strip(maximize, s, t, columns, apart, row, probabilities, classes):
    """The upward pass; below: ones where no message came. The rows for which plain numbers do not suffice: of theirs
    some was not done.
    """
    d, outside = np.uint64(len(s.n_categories)), _0
    for i in range(t.first[d]):
        t.below[i] = 1.0
    for j in range(d):
        t.loud[j] = _0
    for i in range(d):
        j = s.order[d - _1 - i]
        parent = t.parent[j]
        if parent < 0:
            continue
        under, gone = t.gone[parent], t.gone[j]
        seen, unseen = under & ~gone, under & gone
        if not maximize:
            unseen &= t.loud[j]
        n, rows = np.uint64(s.n_categories[j]), np.uint64(s.n_contexts[j])
        table, cells, above = np.uint64(s.offsets[j]), n * rows, t.first[parent]
        own, b = np.uint64(j) * apart + row, t.first[j]
        word = seen
        while word != _0:
            r = lowest_bit(word)
            word &= word - _1
            at, theta = above + bits_below(under, r) * rows, table + classes[row + r] * cells
            theta += np.uint64(columns[own + r])
            bad = False
            for a in range(rows):
                message = probabilities[theta + a * n] * t.below[at + a]
                t.below[at + a] = message
                bad |= _outside(message)
            outside |= np.uint64(bad) << r
        word = unseen
        while word != _0:
            r = lowest_bit(word)
            word &= word - _1
            at, theta = above + bits_below(under, r) * rows, table + classes[row + r] * cells
            place = b + bits_below(gone, r) * n
            bad = False
            for a in range(rows):
                total = 0.0
                for v in range(n):  # left to right
                    term = probabilities[theta + v] * t.below[place + v]
                    total = max(total, term) if maximize else total + term
                theta += n
                message = total * t.below[at + a]
                t.below[at + a] = message
                bad |= _outside(total) | _outside(message)
            outside |= np.uint64(bad) << r
        t.loud[parent] |= seen | unseen
    return outside


# Rows side by side ---------------------------------------------------------------------------------------------------


class RowMessages(NamedTuple):
    """The same for ROWS rows side by side. Entries and cells have ROWS numbers each."""

    useful: bool  # whether rows can be sent at once
    parent: NDArray[np.int64]  # of each feature, -1 of a root
    begin: NDArray[np.int64]  # b_j has the entries [begin[j], begin[j + 1])
    values: NDArray[Any]  # codes 0, 1, … in their type
    x: NDArray[Any]  # plain codes, feature by feature
    gone: NDArray[np.uint64]  # rows in which a feature is missing
    seen: NDArray[np.uint64]  # [j * most + v]: rows in which it may be v
    loud: NDArray[np.uint64]  # rows in which a message has come to it
    below: NDArray[np.float64]
    down: NDArray[np.float64]  # beliefs, as b_j
    terms: NDArray[np.float64]  # of each category of a feature
    beliefs: NDArray[np.float64]  # of each cell of a feature's table
    most: int


def make_row_messages(s: Structure, m: Messages, codes: NDArray[Any], plain: bool) -> RowMessages:
    """With room where rows can be sent at once."""
    d, most, degree = s.n_features, int(s.n_categories.max()), np.diff(s.context_begin)
    cells = int((s.n_contexts * s.n_categories).max())
    useful = plain and int(degree.max()) == 1 and cells <= _MOST_CELLS
    parent, rows = parents_of(s) if useful else np.full(d, -1), ROWS if useful else 0
    words, entries = np.empty((2, d), np.uint64), np.empty((2, len(m.below_m) * rows))
    return RowMessages(
        useful, parent, m.begin, np.arange(most + 1).astype(codes.dtype), np.zeros(d * rows, codes.dtype), words[0],
        np.empty(d * most, np.uint64), words[1], entries[0], entries[1], np.empty(most * rows),
        np.empty(cells * rows), most,
    )  # fmt: skip


@inline
def see_rows(s, t, plain_codes, rows, n):
    """Looks at the plain codes of n <= ROWS rows; lanes past them have any codes."""
    for i in range(n):
        r = rows[i]
        for j in range(len(s.n_categories)):
            t.x[j * ROWS + i] = plain_codes[r, j]
    for j in range(len(s.n_categories)):
        x, c = load(16, t.x, np.uint64(j) * _ROWS), s.n_categories[j]
        gone = bits(x == fill(16, t.values[c]))
        t.gone[j] = gone
        for v in range(c):
            t.seen[j * t.most + v] = gone | bits(x == fill(16, t.values[v]))


@inline
def send_rows(s, t, probabilities, c):
    """The upward pass under a class. The rows for which plain numbers do not suffice."""
    none, one, least, outside = fill(16, 0.0), fill(16, 1.0), fill(16, LEAST_PLAIN), fill(16, False)
    for i in range(len(t.below)):
        t.below[i] = 1.0
    for j in range(len(t.loud)):
        t.loud[j] = _0
    for i in range(len(s.order) - 1, -1, -1):
        j = s.order[i]
        parent = t.parent[j]
        if parent < 0:
            continue
        sent = t.gone[parent] & (t.loud[j] | ~t.gone[j])
        if sent == _0:
            continue
        n, rows = np.uint64(s.n_categories[j]), np.uint64(s.n_contexts[j])
        theta = np.uint64(s.offsets[j] + c * s.n_contexts[j] * s.n_categories[j])
        b, above = np.uint64(t.begin[j]) * _ROWS, np.uint64(t.begin[parent]) * _ROWS
        leaf = t.begin[j] == t.begin[j + 1]
        for v in range(n):
            below = one if leaf else load(16, t.below, b + v * _ROWS)
            store(t.terms, v * _ROWS, select(truth(16, t.seen[np.uint64(j * t.most) + v]), below, none))
        here = truth(16, sent)
        for a in range(rows):
            total = none
            for v in range(n):  # left to right
                total = total + load(16, t.terms, v * _ROWS) * fill(16, probabilities[theta + v])
            theta += n
            message = select(here, total, one) * load(16, t.below, above + a * _ROWS)
            store(t.below, above + a * _ROWS, message)
            outside = outside | ((least > message) & (message > none))
        t.loud[parent] |= sent
    return bits(outside)


@inline
def context_may_be(t, j, a, rows):
    """Those of some rows in which the context of j may be a."""
    parent = t.parent[j]
    return rows if parent < 0 else rows & t.seen[parent * t.most + np.int64(a)]


@inline
def spread_rows(s, t, probabilities, c, j, told):
    """The downward pass after send_rows, at feature j: t.beliefs of those rows that are told, all touched there; 0 of
    all others. Nothing where the context is a row of the table in none of them.
    """
    none, one = fill(16, 0.0), fill(16, 1.0)
    n, rows, parent, gone = np.uint64(s.n_categories[j]), np.uint64(s.n_contexts[j]), t.parent[j], t.gone[j]
    under = _0 if parent < 0 else t.gone[parent]
    theta = np.uint64(s.offsets[j] + c * s.n_contexts[j] * s.n_categories[j])
    b, source = np.uint64(t.begin[j]) * _ROWS, np.uint64(t.begin[max(parent, 0)]) * _ROWS
    inner = t.begin[j] < t.begin[j + 1]
    if inner:
        for v in range(n):
            store(t.down, b + v * _ROWS, none)
    for a in range(rows):
        may_be = context_may_be(t, j, a, told)
        if may_be == _0:
            continue
        p, at = one, theta + a * n
        if under != _0:
            p = select(truth(16, under), load(16, t.down, source + a * _ROWS), one)
        p = select(truth(16, may_be), p, none)
        divided, observed = t.loud[j] & gone & may_be, may_be & ~gone
        total = none
        if divided != _0:
            for v in range(n):  # left to right
                term = load(16, t.below, b + v * _ROWS) * fill(16, probabilities[at + v])
                store(t.terms, v * _ROWS, term)
                total = total + term
        for v in range(n):
            belief = p * fill(16, probabilities[at + v])
            if divided != _0:
                shared = p * (load(16, t.terms, v * _ROWS) / total)
                shared = select(total > none, shared, none)  # 0 of an impossible row
                belief = select(truth(16, divided), shared, belief)
            if observed != _0:
                known = select(truth(16, t.seen[np.uint64(j * t.most) + v]), p, none)
                belief = select(truth(16, observed), known, belief)
            store(t.beliefs, (a * n + v) * _ROWS, belief)
            if inner:
                store(t.down, b + v * _ROWS, load(16, t.down, b + v * _ROWS) + belief)


@inline
def are_many(s, t):
    """Whether so many cells are missing that it is worth it to send their rows at once (measured)."""
    missing, products = 0, 0
    for j in range(len(s.n_categories)):
        missing += popcount(t.gone[j])
        products += s.n_contexts[j] * s.n_categories[j]
    return 800 * missing > products
