"""The upward pass on the tree that a row's missing cells need: the twin of messages.hpp, which says what is sent.

Numbers are pairs (m, e); where `plain`, m alone is the number.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.elementary import double_of
from tallydraw._numba.parallel import inline
from tallydraw._numba.scaled import make_scaled, sum_of_products
from tallydraw._structure import Structure

_NONE = -(2**63)
_52 = np.uint64(52)
LEAST_PLAIN = 2.0**-500  # products of two such numbers are normal ones


class Messages(NamedTuple):
    """What one thread needs for one row: b_j lies at [begin[j], begin[j + 1])."""

    begin: NDArray[np.int64]
    below_m: NDArray[np.float64]
    below_e: NDArray[np.int64]
    terms: NDArray[np.float64]
    rows: NDArray[np.int64]
    touched: NDArray[np.int64]
    loud: NDArray[np.bool_]


def parents_of(s: Structure) -> NDArray[np.int64]:
    """(d,) the one feature in each context, -1 of features without."""
    parent = np.full(s.n_features, -1)
    parent[np.diff(s.context_begin) == 1] = s.context
    return parent


def entries_of(s: Structure) -> NDArray[np.int64]:
    """(d + 1,) where b_j begins."""
    begin = np.zeros(s.n_features + 1, np.int64)
    inner = np.flatnonzero(np.diff(s.context_begin))
    begin[s.context[s.context_begin[1:][inner] - 1] + 1] = s.n_contexts[inner]
    return np.cumsum(begin, out=begin)


def make_messages(structure: Structure) -> Messages:
    s, begin = structure, entries_of(structure)
    entries = int(begin[-1])
    return Messages(
        begin,
        np.empty(entries),
        np.empty(entries, np.int64),
        np.empty(int(s.n_categories.max(initial=1))),
        np.empty(int(s.n_contexts.max(initial=1)), np.int64),
        np.empty(s.n_features, np.int64),
        np.empty(s.n_features, np.bool_),
    )


@inline
def find_touched(s, codes, m):
    """How many features of the row are touched; they are listed in m.touched."""
    n = 0
    for j in s.order:
        m.touched[n] = j
        n += np.int64(codes[j] == s.n_contexts[j] * s.n_categories[j])
    return n


@inline
def known_context(s, x, j):
    """The table row of j where every cell of its context is observed, else -1."""
    a = np.int64(0)
    for i in range(s.context_begin[j], s.context_begin[j + 1]):
        f = s.context[i]
        if x[f] == s.n_categories[f]:
            return np.int64(-1)
        a = a * s.n_categories[f] + np.int64(x[f])
    return a


@inline
def context_rows(s, x, j, rows):
    """The table rows of j that agree with what is observed of its context, ascending; how many."""
    n = np.int64(1)
    rows[0] = 0
    for i in range(s.context_begin[j], s.context_begin[j + 1]):
        f = s.context[i]
        c = s.n_categories[f]
        if x[f] != c:
            for r in range(n):
                rows[r] = rows[r] * c + np.int64(x[f])
            continue
        for r in range(n - 1, -1, -1):
            first = rows[r] * c
            for v in range(c - 1, -1, -1):
                rows[r * c + v] = first + v
        n *= c
    return n


@inline
def _total(plain, maximize, p, at, below_m, below_e, place, n):
    """Sum (left to right) or maximum over x < n of p[at + x] b[place + x]; of p alone where place < 0."""
    if plain:
        total = 0.0
        for x in range(n):
            t = p[at + x] * below_m[place + x] if place >= 0 else p[at + x]
            if not maximize:
                total += t
            elif t > total:
                total = t
        return total, np.int64(0)
    if not maximize:
        return sum_of_products(p, at, 1, below_m, below_e, place, n)
    most_m, most_e = 0.0, np.int64(0)
    for x in range(n):
        tm, te = make_scaled(p[at + x], np.int64(0))
        if place >= 0:
            tm, te = make_scaled(tm * below_m[place + x], te + below_e[place + x])
        if tm != 0.0 and (most_m == 0.0 or te > most_e or (te == most_e and tm > most_m)):
            most_m, most_e = tm, te
    return most_m, most_e


@inline
def _outside(x):
    return x != 0.0 and x < LEAST_PLAIN


@inline
def send_messages(plain, maximize, s, x, probabilities, c, m, n_touched, total_m, total_e):
    """The messages of a row's touched features under class c; total_m[j], total_e[j]: the total of j, 1 where it has
    none. False where plain numbers do not suffice: then some of it was not done.
    """
    for i in range(n_touched):
        m.loud[m.touched[i]] = False
    for i in range(n_touched - 1, -1, -1):
        j = m.touched[i]
        n = s.n_categories[j]
        missing = x[j] == n
        loud = m.loud[j]
        total_m[j], total_e[j] = 1.0, 0
        if missing and not loud and not maximize:
            continue
        theta = s.offsets[j] + c * s.n_contexts[j] * n
        b, width = m.begin[j], m.begin[j + 1] - m.begin[j]
        a = known_context(s, x, j)
        if a >= 0:
            place = b + a * n % width if loud else np.int64(-1)
            total_m[j], total_e[j] = _total(
                plain, maximize, probabilities, theta + a * n, m.below_m, m.below_e, place, n
            )
            continue
        parent = s.context[s.context_begin[j + 1] - 1]
        above = m.begin[parent]
        for r in range(context_rows(s, x, j, m.rows)):
            a = m.rows[r]
            place = b + a * n % width if loud else np.int64(-1)
            if missing:
                v, e = _total(plain, maximize, probabilities, theta + a * n, m.below_m, m.below_e, place, n)
            else:
                v, e = probabilities[theta + a * n + np.int64(x[j])], np.int64(0)
                if not plain:
                    v, e = make_scaled(v, e)
                if loud:
                    v, e = v * m.below_m[place + np.int64(x[j])], e + m.below_e[place + np.int64(x[j])]
                    if not plain:
                        v, e = make_scaled(v, e)
            if plain and _outside(v):
                return False
            if m.loud[parent]:
                v, e = m.below_m[above + a] * v, m.below_e[above + a] + e
                if not plain:
                    v, e = make_scaled(v, e)
                elif _outside(v):
                    return False
            m.below_m[above + a] = v
            m.below_e[above + a] = e
        m.loud[parent] = True
    return True


@inline
def products(plain, p, at, below_m, below_e, place, n, terms):
    """terms[x] = p[at + x] b[place + x], up to one power of two for all; p alone where place < 0."""
    if place < 0 or plain:
        for x in range(n):
            terms[x] = p[at + x] * below_m[place + x] if place >= 0 else p[at + x]
        return
    most = np.int64(_NONE)
    for x in range(n):
        pm, pe = make_scaled(p[at + x], np.int64(0))
        tm, te = make_scaled(pm * below_m[place + x], pe + below_e[place + x])
        if tm != 0.0 and te > most:
            most = te
    for x in range(n):
        pm, pe = make_scaled(p[at + x], np.int64(0))
        tm, te = make_scaled(pm * below_m[place + x], pe + below_e[place + x])
        terms[x] = 0.0
        if tm != 0.0 and te - most >= -1022:
            terms[x] = tm * double_of(np.uint64(te - most + 1023) << _52)
