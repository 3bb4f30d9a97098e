"""The outcomes of uniforms among cumulative levels: the twin of levels.hpp, which has the reasons and the sources.

A block of draws is compared at once: upper words alone name the first level that is not below, and say whether some
word equals one; then, once in millions of draws, `settle` goes over the block with the lower words too.
"""

from __future__ import annotations

import numpy as np

from tallydraw._numba.lanes import bits as bits_of
from tallydraw._numba.lanes import convert, fill, load, prefetch, select, store
from tallydraw._numba.parallel import inline
from tallydraw._numba.philox import one_word

# Tables of at most so many categories have no guide; draws from one table row of at most so many are compared.
FEW, MOST_COMPARED = 4, 16
# Guides of more bytes are far; draws of a group wait for them together.
_NEAR_BYTES, _GROUP = 1 << 19, np.uint64(256)
_0, _1, _2, _3, _16, _32 = (np.uint64(i) for i in (0, 1, 2, 3, 16, 32))
_MOST = np.uint64(2**64 - 2)


@inline
def outcomes_from_row(high, guide, cell, entry, n, bits, words, out):
    """out[i] = the first c with words[i] <= high[cell + c], of the one table row with n cells from `cell` and guide
    entries from `entry` on. Whether some of them have to be settled.
    """
    m = out.shape[0]
    close = False
    if n <= MOST_COMPARED:
        out[:] = 0
        for c in range(n - 1):
            level = high[cell + c]
            for i in range(m):
                out[i] += words[i] > level
                close |= words[i] == level
        return close
    if bits < 0:
        out[:] = 0
        return True
    shift, first, row = np.uint64(32 - bits), np.uint64(entry), np.uint64(cell)
    far = guide.itemsize << bits > _NEAR_BYTES
    for begin in range(_0, np.uint64(m), _GROUP):
        end = min(begin + _GROUP, np.uint64(m))
        if far:  # lines are asked for a group ahead of the draws that wait for them
            for i in range(begin, end):
                prefetch(guide, first + (np.uint64(words[i]) >> shift))
            for i in range(begin, end):
                prefetch(high, row + np.uint64(guide[first + (np.uint64(words[i]) >> shift)]))
        for i in range(begin, end):
            word = words[i]
            c = np.uint64(guide[first + (np.uint64(word) >> shift)])
            c += np.uint64(word > high[row + c])  # nearly always enough
            while word > high[row + c]:
                c += _1
            close |= word == high[row + c]
            out[i] = c
    return close


@inline
def outcomes_from_rows(high, guide, cell, entry, n, bits, rows, words, out):
    """The same from table row rows[i] of those that begin at `cell` and `entry`."""
    m = np.uint64(out.shape[0])
    close = False
    first, size = np.uint64(cell), np.uint64(n)
    if bits >= 0:
        shift, width, guides = np.uint64(32 - bits), np.uint64(bits), np.uint64(entry)
        for i in range(m):
            word = words[i]
            row = np.uint64(rows[i])
            at = first + row * size
            c = np.uint64(guide[guides + (row << width) + (np.uint64(word) >> shift)])
            c += np.uint64(word > high[at + c])
            while word > high[at + c]:
                c += _1
            close |= word == high[at + c]
            out[i] = c
        return close
    if n > FEW:
        out[:] = 0
        return True
    last = size - _1  # not below any word: it may stand in for levels past it
    for i in range(m):
        word = words[i]
        at = first + np.uint64(rows[i]) * size
        c = _0
        for k in range(_0, last, _3):
            c += np.uint64(word > high[at + k])
            c += np.uint64(word > high[at + min(k + _1, last)])
            c += np.uint64(word > high[at + min(k + _2, last)])
        close |= word == high[at + c]
        out[i] = c
    return close


@inline
def levels_of_few(high, cell, n, levels):
    """The first three levels of n <= FEW table rows of n categories each: of row r at levels[FEW c + r]."""
    levels[:] = 0xFFFFFFFF  # no word is above
    for r in range(n):
        for c in range(n - 1):
            levels[FEW * c + r] = high[cell + r * n + c]


@inline
def _level_of(levels, c, odd, upper):
    """Level c of 16 table rows: which of FEW each is, its two bits say."""
    first = select(odd, fill(16, levels[FEW * c + 1]), fill(16, levels[FEW * c]))
    return select(upper, select(odd, fill(16, levels[FEW * c + 3]), fill(16, levels[FEW * c + 2])), first)


@inline
def outcomes_of_few(levels, rows, row, words, word, m, out, at):
    """The same of m draws from levels_of_few, of table row rows[row + i] for words[word + i], to out[at + i]: up to 15
    more are looked at, and written.
    """
    one, none, close = fill(16, np.uint32(1)), fill(16, np.uint32(0)), fill(16, False)
    for i in range(_0, m, _16):
        w, r = load(16, words, word + i), convert(load(16, rows, row + i), words.dtype)
        odd, upper = (r & one) == one, r > one
        a, b, c = _level_of(levels, 0, odd, upper), _level_of(levels, 1, odd, upper), _level_of(levels, 2, odd, upper)
        close = close | (w == a) | (w == b) | (w == c)
        drawn = select(w > a, one, none) + select(w > b, one, none) + select(w > c, one, none)
        store(out, at + i, convert(drawn, out.dtype))
    return bits_of(close) != _0


@inline
def settle(level, high, at, n, word, c, key, tag, row, feature):
    """The outcome of the draw (key, tag, row, feature) whose upper word names c in the table row from cell `at` on."""
    if np.uint64(word) < np.uint64(high[at + c]):
        return c
    u = min((np.uint64(word) << _32) | one_word(key, tag + _1, row, feature), _MOST)
    most = n - 1
    while c < most:
        middle = c + (most - c) // 2
        if u < level[at + middle]:
            most = middle
        else:
            c = middle + 1
    return c
