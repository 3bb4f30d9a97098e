"""Codes of any dtype and layout as rows of combined codes: the twin of codes.hpp, which says what they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.parallel import kernel
from tallydraw._structure import Structure

_I64_MAX = 2**63 - 1


class Encoded(NamedTuple):
    """`plain` (n, d): x_j, or C_j where missing; `codes` (n, d): combined codes, or Z_j; int32 or int64, C-contiguous.

    The same array where no feature has a context. `incomplete` (n,) is 1 where a cell of the row is missing;
    `bad` is row * d + column of the first code that is no category and not missing, or -1.
    """

    codes: NDArray[Any]
    plain: NDArray[Any]
    incomplete: NDArray[np.uint8]
    bad: int


def encode(X: NDArray[Any], missing: int | None, unseen_is_missing: bool, structure: Structure) -> Encoded:
    """Combined codes of some rows of codes."""
    x = canonical(X)
    n, d = x.shape
    most = int((structure.n_contexts * structure.n_categories).max(initial=0))
    plain = np.empty((n, d), np.int32 if most < 2**31 else np.int64)
    incomplete = np.empty(n, np.uint8)
    named = -1 if missing is None else missing
    bad = int(_plain(x, named, unseen_is_missing, structure.n_categories, plain, incomplete))
    if not len(structure.context):
        return Encoded(plain, plain, incomplete, bad)
    codes = np.empty_like(plain)
    _combine(plain, structure.n_categories, structure.n_contexts, structure.context_begin, structure.context, codes)
    return Encoded(codes, plain, incomplete, bad)


def canonical(X: NDArray[Any]) -> NDArray[Any]:
    """(n, d) C-contiguous codes in one of three dtypes, so that kernels are compiled for few; uint8 is not copied."""
    x = X.reshape(len(X), -1) if X.ndim == 1 else X
    if x.dtype == np.bool_:
        x = x.view(np.uint8)
    if x.dtype.kind == "u" and x.dtype.itemsize == 8:
        x = np.where(x > np.uint64(_I64_MAX), np.uint64(_I64_MAX - 1), x)  # no category either way
    wide = x.dtype.itemsize == 8 or x.dtype == np.uint32
    dtype = np.uint8 if x.dtype == np.uint8 else np.int64 if wide else np.int32
    return np.ascontiguousarray(x, dtype=dtype)


@kernel
def _plain(x, missing, unseen_is_missing, n_categories, plain, incomplete):
    """Plain codes and incomplete rows; the first bad cell."""
    n, d = x.shape
    bad = -1
    for i in range(n):
        some = 0
        for j in range(d):
            v = np.int64(x[i, j])
            c = n_categories[j]
            over = v >= c
            gone = v < 0 or (missing >= 0 and v == missing)
            if over and not gone and not unseen_is_missing and bad < 0:
                bad = i * d + j
            slotted = over or gone
            some |= slotted
            plain[i, j] = c if slotted else v
        incomplete[i] = some
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
