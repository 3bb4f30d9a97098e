"""Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011): the twin of philox.hpp, which says what the counter holds.

NumPy's uint64 and int64 mix to float64: every number here is kept unsigned on purpose.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.parallel import inline, kernel, unrolled

# What a draw is for; part of the counter, so that no two uses share a word.
CELLS, FLAT, LABELS, COMPONENT, COUNTS, NORMALS, START = range(7)

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)
_0, _1, _2, _3, _4, _5, _6, _7, _8, _9 = (np.uint64(i) for i in range(10))


def counter_tag(purpose: int, part: int) -> np.uint64:
    """The last counter word of a first attempt."""
    return np.uint64(2 * purpose + part)


@unrolled
def _round(c0, c1, c2, c3, k0, k1):
    a = _M0 * c0
    b = _M1 * c2
    return (b >> _32) ^ c1 ^ (k0 & _LOW), b & _LOW, (a >> _32) ^ c3 ^ (k1 & _LOW), a & _LOW


@unrolled
def philox_rounds(c0, c1, c2, c3, key):
    """Ten rounds on one counter of four 32-bit words held in uint64; spelled out, so that loops of it have lanes."""
    k0 = key & _LOW
    k1 = key >> _32
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0, k1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _1 * _W0, k1 + _1 * _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _2 * _W0, k1 + _2 * _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _3 * _W0, k1 + _3 * _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _4 * _W0, k1 + _4 * _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _5 * _W0, k1 + _5 * _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _6 * _W0, k1 + _6 * _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _7 * _W0, k1 + _7 * _W1)
    c0, c1, c2, c3 = _round(c0, c1, c2, c3, k0 + _8 * _W0, k1 + _8 * _W1)
    return _round(c0, c1, c2, c3, k0 + _9 * _W0, k1 + _9 * _W1)


@inline
def philox_block(c0, c1, c2, c3, key):
    """The same on its own."""
    return philox_rounds(c0, c1, c2, c3, key)


@kernel
def fill_flat(key, tag, row0, n, words):
    """words[4 i + w] = word w of row row0 + i, i < n, and feature block 0; uint32."""
    for i in range(n):
        row = row0 + np.uint64(i)
        w0, w1, w2, w3 = philox_rounds(row & _LOW, row >> _32, _0, tag, key)
        words[4 * i] = w0
        words[4 * i + 1] = w1
        words[4 * i + 2] = w2
        words[4 * i + 3] = w3


@kernel
def fill_columns(key, tag, rows, block, words):
    """words[w, i] = word w of row rows[i] and feature block `block`; uint32."""
    for i in range(rows.shape[0]):
        row = rows[i]
        w0, w1, w2, w3 = philox_rounds(row & _LOW, row >> _32, block, tag, key)
        words[0, i] = w0
        words[1, i] = w1
        words[2, i] = w2
        words[3, i] = w3


@inline
def one_word(key, tag, row, feature):
    """One word, for the rare exact tie: word `feature mod 4` of counter (row, feature div 4, tag); all uint64."""
    w0, w1, w2, w3 = philox_block(row & _LOW, row >> _32, feature >> np.uint64(2), tag, key)
    w = feature & np.uint64(3)
    return w0 if w == 0 else w1 if w == 1 else w2 if w == 2 else w3


@kernel
def _philox(counters, key, words):
    for i in range(counters.shape[0]):
        w0, w1, w2, w3 = philox_block(
            np.uint64(counters[i, 0]),
            np.uint64(counters[i, 1]),
            np.uint64(counters[i, 2]),
            np.uint64(counters[i, 3]),
            key,
        )
        words[i, 0] = w0
        words[i, 1] = w1
        words[i, 2] = w2
        words[i, 3] = w3


def philox(counters: NDArray[Any], key: int) -> NDArray[np.uint32]:
    words = np.empty((len(counters), 4), np.uint32)
    _philox(counters, np.uint64(key), words)
    return words
