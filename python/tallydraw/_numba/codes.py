"""Codes of any dtype and layout as rows of combined codes: the twin of codes.hpp, which says what they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.parallel import kernel
from tallydraw._structure import Structure

_I64_MAX = 2**63 - 1
_0, _63 = np.uint64(0), np.uint64(63)


class Encoded(NamedTuple):
    """`plain` (n, d): x_j, or C_j where missing; `codes` (n, d): combined codes, or Z_j. Both are C-contiguous, uint16
    where they fit, else int64, and the same array where no feature has a context. `incomplete` (n,) is 1 where a cell
    of the row is missing; `bad` is row * d + column of the first code that is no category and not missing, or -1.
    """

    codes: NDArray[Any]
    plain: NDArray[Any]
    incomplete: NDArray[np.uint8]
    bad: int


def encode(X: NDArray[Any], missing: int | None, unseen_is_missing: bool, structure: Structure) -> Encoded:
    """Combined codes of some rows of codes."""
    s, x = structure, canonical(X, missing)
    n, d = x.shape
    plain = np.empty((n, d), code_type(s))
    incomplete = np.empty(n, np.uint8)
    last = np.minimum(s.n_categories - 1, min(np.iinfo(x.dtype).max, _I64_MAX)).astype(x.dtype)
    slot = s.n_categories.astype(plain.dtype)
    bad = int(_plain(x, named(missing), unseen_is_missing, last, slot, plain, incomplete))
    if not len(s.context):
        return Encoded(plain, plain, incomplete, bad)
    codes = np.empty_like(plain)
    _combine(plain, s.n_categories, s.n_contexts, s.context_begin, s.context, codes)
    return Encoded(codes, plain, incomplete, bad)


def code_type(structure: Structure) -> np.dtype[Any]:
    """The type of combined codes and their slots."""
    most = int((structure.n_contexts * structure.n_categories).max(initial=0))
    return np.dtype(np.uint16 if most < 2**16 else np.int64)


def canonical(X: NDArray[Any], missing: int | None = None) -> NDArray[Any]:
    """(n, d) C-contiguous codes as uint8 where they are, else as uint64, where negative codes lie above all others: few
    types to compile kernels for. Copies at most one block.
    """
    x = X[:, None] if X.ndim == 1 else X
    if x.dtype == np.bool_ or x.dtype == np.uint8:
        return np.ascontiguousarray(x.view(np.uint8))
    if x.dtype == np.uint64 and x.size and int(x.max()) > _I64_MAX:
        neither = np.uint64(_I64_MAX - (missing == _I64_MAX))  # no category, not missing
        x = np.where(x > np.uint64(_I64_MAX), neither, x)
    return np.ascontiguousarray(x, dtype=np.int64).view(np.uint64)


def named(missing: int | None) -> np.uint64:
    """The missing code as an unsigned number; one that is missing anyway where none is named."""
    return np.uint64((-1 if missing is None else missing) % 2**64)


@kernel
def _plain(x, missing, unseen_is_missing, last, slot, plain, incomplete):
    """Plain codes and incomplete rows; the first bad cell. last[j] is the last category of feature j, of x's type."""
    n, d = x.shape
    bad = -1
    for i in range(n):
        some = strange = _0
        for j in range(d):
            z = np.uint64(x[i, j])
            over = np.uint64(x[i, j] > last[j])
            gone = np.uint64(z == missing)
            some |= over | gone
            strange |= over & ~gone & ~(z >> _63)  # negative codes are missing
            plain[i, j] = slot[j] if over | gone else z
        incomplete[i] = some
        if strange and not unseen_is_missing and bad < 0:
            for j in range(d - 1, -1, -1):
                if x[i, j] > last[j] and np.uint64(x[i, j]) != missing and np.int64(x[i, j]) >= 0:
                    bad = i * d + j
    return bad


@kernel
def _combine(plain, n_categories, n_contexts, context_begin, context, codes):
    n, d = plain.shape
    for i in range(n):
        for j in range(d):
            c = n_categories[j]
            v = np.int64(plain[i, j])
            gone = v == c
            z = np.int64(0)
            for t in range(context_begin[j], context_begin[j + 1]):
                f = context[t]
                p = np.int64(plain[i, f])
                gone |= p == n_categories[f]
                z = z * n_categories[f] + p
            codes[i, j] = n_contexts[j] * c if gone else z * c + v
