"""What both counts of pairs begin with, a block of rows as plain codes: the twin of pair_codes.hpp."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.bits import bytes_above
from tallydraw._numba.codes import encode
from tallydraw._numba.lanes import WORD, bits_equal
from tallydraw._numba.parallel import first_index, inline, kernel, parallel_blocks
from tallydraw._structure import Structure
from tallydraw._structure import pair_begins as pair_begins_of

_ROWS = 256  # whose codes stay in the nearest cache
_0, _1 = np.uint64(0), np.uint64(1)


@inline
def pair_of(i, j, d):
    """Where pair i < j stands among all pairs in lexicographic order."""
    return i * (2 * d - i - 1) // 2 + (j - i - 1)


def pair_places(pair_begins: NDArray[np.int64] | None, s: Structure) -> NDArray[np.int64]:
    """(2, d): the table of pair i < j begins at [0, i] + C_i * [1, j]."""
    places = np.empty((2, s.n_features), np.int64)
    places[0] = pair_begins_of(s) if pair_begins is None else pair_begins
    places[1] = s.offsets[:-1]
    return places


@inline
def place_of(places, n_categories, i, j):
    """Where the table of pair i < j begins."""
    return places[0, i] + n_categories[i] * places[1, j]


@inline
def set_places(places, n_categories, i, j0, j1, begin):
    """The same of all j in [j0, j1), for inner loops: LLVM would do the arithmetic again in each of their rounds."""
    for j in range(j0, j1):
        begin[j] = place_of(places, n_categories, i, j)


class PairCodes(NamedTuple):
    """`codes` (n, d): x_j, or one above the last category where it is missing; C-contiguous, of uint8 where they fit.
    `complete`: it is known that none is missing. `bad` is row * d + column of the first code that is no category and
    not missing, or -1.
    """

    codes: NDArray[Any]
    complete: bool
    bad: int


def has_plain_bytes(X: NDArray[Any], missing: int | None, most: int) -> bool:
    """Whether codes below `most` are bytes that mean what they are."""
    return X.dtype.itemsize == 1 and X.dtype.kind in "ub" and (missing is None or not 0 <= missing < most)


def encode_pairs(
    X: NDArray[Any], missing: int | None, unseen_is_missing: bool, s: Structure, threads: int
) -> PairCodes:
    """Plain codes of some rows; bytes as they are, unless a category is named missing."""
    n, d = X.shape
    most = int(s.n_categories.max())
    rows = -(-n // threads)
    if has_plain_bytes(X, missing, most):
        x = np.ascontiguousarray(X).view(np.uint8)
        if unseen_is_missing:
            return PairCodes(x, False, -1)
        gone = np.uint8(missing if missing is not None and 0 <= missing < 256 else 0)  # 0 is a category
        last = _last(s)
        pieces = parallel_blocks(n, rows, threads, lambda a, b, _: _is_strange(x[a:b].reshape(-1), d, last, gone))
        bad = int(((x >= s.n_categories) & (x != gone)).argmax()) if any(pieces) else -1
        return PairCodes(x, gone == 0, bad)
    codes = np.empty((n, d), np.uint8 if most < 256 else np.uint16 if most < 2**16 else np.int64)

    def piece(a: int, b: int, _: int) -> int:
        encoded = encode(X[a:b], missing, unseen_is_missing, s)
        codes[a:b] = encoded.plain
        return a * d + encoded.bad if encoded.bad >= 0 else -1

    return PairCodes(codes, False, first_index(parallel_blocks(n, rows, threads, piece)))


def _last(s: Structure) -> NDArray[np.uint8]:
    """The last category of each feature, up to a multiple of WORD."""
    last = np.full(-(-s.n_features // WORD) * WORD, 255, np.uint8)
    last[: s.n_features] = np.minimum(s.n_categories - 1, 255)
    return last


@inline
def _above(codes, d, last, r0, r1, j0, named):
    """Bit t: of some row in [r0, r1), the code of feature j0 + t is above its last category, and not `named`."""
    first, step, size = np.uint64(j0), np.uint64(d), np.uint64(codes.size)
    found = _0
    at = np.uint64(r0) * step + first
    end = np.uint64(r1) * step + first
    while at < end and at + np.uint64(WORD) <= size:
        found |= bytes_above(codes, at, last, first) & ~bits_equal(codes, at, named)
        at += step
    while at < end:  # near the end of the codes
        for t in range(min(WORD, d - j0)):
            z = codes[at + np.uint64(t)]
            found |= np.uint64(z > last[j0 + t] and z != named) << np.uint64(t)
        at += step
    return found if d - j0 >= WORD else found & ((_1 << np.uint64(d - j0)) - _1)


@kernel
def _is_strange(codes, d, last, named):
    """Whether any code is above the last category of its feature, and not `named`."""
    n = codes.size // d
    for r in range(0, n, _ROWS):
        for j0 in range(0, d, WORD):
            if _above(codes, d, last, r, min(n, r + _ROWS), j0, named) != _0:
                return True
    return False


@kernel
def _incomplete(codes, d, last, words):
    """Bits of the features of which some code is above the last category."""
    n = codes.size // d
    for r in range(0, n, _ROWS):
        for t in range(len(words)):
            words[t] |= _above(codes, d, last, r, min(n, r + _ROWS), t * WORD, np.uint8(0))


def incomplete_features(codes: NDArray[np.uint8], s: Structure, threads: int) -> NDArray[np.bool_]:
    """(d,) whether a cell is missing, of features of less than 256 categories."""
    n, d = codes.shape
    last = _last(s)

    def piece(a: int, b: int, _: int) -> NDArray[np.uint64]:
        words = np.zeros(len(last) // WORD, np.uint64)
        _incomplete(codes[a:b].reshape(-1), d, last, words)
        return words

    words = np.bitwise_or.reduce(parallel_blocks(n, -(-n // threads), threads, piece))
    return np.unpackbits(words.view(np.uint8), bitorder="little")[:d].astype(bool)
