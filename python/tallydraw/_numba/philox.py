"""Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011): the twin of philox.hpp, which says what the counter holds.

NumPy's uint64 and int64 mix to float64: every number here is kept unsigned on purpose.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.parallel import inline, kernel

# What a draw is for; part of the counter, so that no two uses share a word.
CELLS, FLAT, LABELS, COMPONENT, COUNTS, NORMALS, START = range(7)

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)


def counter_tag(purpose: int, part: int) -> np.uint64:
    """The last counter word of a first attempt."""
    return np.uint64(2 * purpose + part)


@inline
def philox_block(c0, c1, c2, c3, key):
    """Ten rounds on one counter of four 32-bit words held in uint64."""
    k0 = key & _LOW
    k1 = key >> _32
    for _ in range(10):
        a = _M0 * c0
        b = _M1 * c2
        c0 = (b >> _32) ^ c1 ^ k0
        c1 = b & _LOW
        c2 = (a >> _32) ^ c3 ^ k1
        c3 = a & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@kernel
def fill_cells(key, tag, row0, n_rows, block0, n_blocks, words):
    """words[4 i + w] for row-major (row, block) pairs i: rows row0 …, blocks block0 …; uint32."""
    i = 0
    for r in range(n_rows):
        row = row0 + np.uint64(r)
        for b in range(n_blocks):
            w0, w1, w2, w3 = philox_block(row & _LOW, row >> _32, np.uint64(block0 + b), tag, key)
            words[i] = w0
            words[i + 1] = w1
            words[i + 2] = w2
            words[i + 3] = w3
            i += 4


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
