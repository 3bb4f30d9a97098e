"""The upward pass of messages.py for the missing cells of 64 rows, feature by feature: the twin of
messages_by_strip.hpp, which says what is gained. Words have a bit a row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.bits import popcount
from tallydraw._numba.lanes import WORD, bits, fill, load
from tallydraw._numba.messages import LEAST_PLAIN, parents_of
from tallydraw._numba.parallel import inline
from tallydraw._structure import Structure

LEAST_ROWS = 16  # of a call that are worth it
_MOST_NUMBERS = 1 << 22  # of the messages of a strip: 32 MiB
_0, _1 = np.uint64(0), np.uint64(1)


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
def lowest_bit(word):
    """Its number; of a word that has one."""
    return np.uint64(popcount(~word & (word - _1)))


@inline
def bits_below(word, r):
    """How many of the bits of a word are below bit r."""
    return np.uint64(popcount(word & ((_1 << r) - _1)))


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
