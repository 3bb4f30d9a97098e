"""Where EM begins: the responsibilities of the first step, from the stream of initialisation (purpose 6)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, backend

_PURPOSE = 6
_BLOCK = 1 << 14


def random_start(n: int, k: int, key: int, attempt: int, n_threads: int | None = None) -> NDArray[np.float64]:
    """(n, k) responsibilities, each row uniform on the simplex: exponentials divided by their sum."""
    out, wanted = np.empty((n, k)), _check.thread_count(n_threads)
    for a, b in backend.blocks(n, 8 * k):
        backend.kernels().sample_shares(key, attempt, a, out[a:b], backend.threads(wanted, 8 * (b - a) * k))
    return out


def nearest_start(
    codes: NDArray[Any], weights: NDArray[np.float64], k: int, key: int, attempt: int
) -> NDArray[np.float64]:
    """(n, k) responsibilities, one for the nearest of k rows drawn as k-means++ does (Arthur & Vassilvitskii, 2007).

    The first is drawn by weight, each further one by weight times the squared Hamming distance to the nearest there is;
    of equally near ones the first. Negative codes are missing cells, at no distance.
    """
    n = len(codes)
    weights = np.ldexp(weights, -int(np.frexp(weights.max())[1]))  # so that no scale overflows, or changes a bit
    nearest = np.zeros(n, np.int64)
    least = np.full(n, np.iinfo(np.int64).max)
    chance = weights
    for i in range(k):
        if i:
            chance = weights * np.square(least.astype(np.float64))
            if not chance.any():  # fewer distinct rows than components
                chance = weights
        distance = _distances(codes, codes[_draw(chance, key, i, attempt)])
        closer = distance < least
        nearest[closer], least[closer] = i, distance[closer]
    out = np.zeros((n, k))
    out[np.arange(n), nearest] = 1.0
    return out


def _distances(codes: NDArray[Any], row: NDArray[Any]) -> NDArray[np.int64]:
    """(n,) how many cells differ, of those that are seen in both."""
    out = np.empty(len(codes), np.int64)
    for a in range(0, len(codes), _BLOCK):
        block = codes[a : a + _BLOCK]
        out[a : a + len(block)] = ((block != row) & (block >= 0) & (row >= 0)).sum(axis=1)
    return out


def _draw(chance: NDArray[np.float64], key: int, number: int, attempt: int) -> int:
    """One place, by chance: the first whose running sum passes u times the whole."""
    high, low = (int(w) for w in _words(key, np.array([number], np.uint64), 0, attempt)[0, :2])
    u = ((high << 32 | low) >> 11) * 2.0**-53
    sums = np.cumsum(chance)
    place = int(np.searchsorted(sums, u * sums[-1], side="right"))
    return min(place, int(np.flatnonzero(chance)[-1]))


def _words(key: int, rows: NDArray[np.uint64], part: int, attempt: int) -> NDArray[np.uint32]:
    """(n, 4) words of features 4 part … 4 part + 3 of these rows."""
    counters = np.empty((len(rows), 4), np.uint32)
    counters[:, 0] = rows & np.uint64(0xFFFF_FFFF)
    counters[:, 1] = rows >> np.uint64(32)
    counters[:, 2] = part
    counters[:, 3] = attempt * 256 + 2 * _PURPOSE
    words: NDArray[np.uint32] = backend.kernels().philox(counters, key)
    return words
