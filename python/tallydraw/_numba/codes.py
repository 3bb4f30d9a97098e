"""Codes of any dtype and layout as rows of combined codes: the twin of codes.hpp, which says what they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from tallydraw._numba.lanes import WORD, bits, convert, fill, load, select, store
from tallydraw._numba.parallel import kernel
from tallydraw._numba.transpose import COLUMNS, turn, turn_bytes
from tallydraw._structure import Structure

# What was met: some missing cell; a code that is no category and not missing.
MET_MISSING, MET_BAD = 1, 2
_0, _WORD = np.uint64(0), np.uint64(WORD)


class Encoded(NamedTuple):
    """`plain` (n, d): x_j, or C_j where missing; `codes` (n, d): combined codes, or Z_j. Both are C-contiguous, of the
    smallest of uint8, uint16, int64 that holds them, and the same array where no feature has a context; it may be the
    caller's X. `some_missing`: whether a cell is missing; `bad` is row * d + column of the first code that is no
    category and not missing, or -1.
    """

    codes: NDArray[Any]
    plain: NDArray[Any]
    some_missing: bool
    bad: int


def encode(X: NDArray[Any], missing: int | None, unseen_is_missing: bool, structure: Structure) -> Encoded:
    """Combined codes of some rows of codes."""
    encoder = Encoder(X, missing, unseen_is_missing, structure)
    plain, met = encoder.plain(0, len(X))
    bad = encoder.first_bad(0, len(X)) if met & MET_BAD else -1
    return Encoded(encoder.combine(plain), plain, bool(met & MET_MISSING), bad)


class Encoder:
    """What is worked out once a call."""

    def __init__(self, X: NDArray[Any], missing: int | None, unseen_is_missing: bool, structure: Structure) -> None:
        s = self.structure = structure
        self.x = unsigned(X)
        self.unseen_is_missing = unseen_is_missing
        self.top = 1 if X.dtype == np.bool_ else int(np.iinfo(X.dtype).max)
        self.named = missing is not None and 0 <= missing <= self.top
        self.missing = self.x.dtype.type(missing if self.named else 0)
        least, most = int(s.n_categories.min()), int((s.n_contexts * s.n_categories).max())
        self.contexts = len(s.context) > 0
        self.slots = X.dtype.kind == "i" or self.named or self.contexts or (unseen_is_missing and least <= self.top)
        self.type = _smallest(most if self.slots else most - 1)
        self.last = np.minimum(s.n_categories - 1, min(self.top, 2**63 - 1)).astype(self.x.dtype)
        self.slot = s.n_categories.astype(self.type)
        self._limits: dict[tuple[int, int], tuple[NDArray[Any], NDArray[Any]]] = {}

    def plain(self, a: int, b: int, f0: int = 0, f1: int | None = None) -> tuple[NDArray[Any], int]:
        """(b - a, f1 - f0) plain codes of rows [a, b) and features [f0, f1), and what was met."""
        x = _in_rows(self.x[a:b, f0:f1])
        last, slot = self._repeated(f0, f0 + x.shape[1])
        if not self.slots and x.dtype == self.type:
            return x, MET_BAD * _any_above(x.reshape(-1), last, x.shape[1])
        codes = np.empty(x.shape, self.type)
        rules = (self.missing, self.named, x.dtype.type(self.top))
        met = _encode(x.reshape(-1), last, slot, x.shape[1], *rules, codes.reshape(-1))
        return codes, met & ~MET_BAD if self.unseen_is_missing else met

    def _repeated(self, f0: int, f1: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """The last category and the slot of features [f0, f1), over again for WORD cells more; made once."""
        found = self._limits.get((f0, f1))
        if found is None:
            features = f0 + np.arange(f1 - f0 + WORD) % (f1 - f0)
            found = self._limits[f0, f1] = self.last[features], self.slot[features]
        return found

    def combine(self, plain: NDArray[Any]) -> NDArray[Any]:
        """Combined codes from the plain codes of all features."""
        if not self.contexts:
            return plain
        s, degree, codes = self.structure, np.diff(self.structure.context_begin), np.empty_like(plain)
        if degree.max() > 1 or len(plain) < WORD:
            _combine(plain, s.n_categories, s.n_contexts, s.context_begin, s.context, codes)
            return codes
        parent = np.full(len(degree), -1)
        parent[degree > 0] = s.context
        columns = turned(plain)
        whole = (s.n_contexts * s.n_categories).astype(self.type)
        _combine_columns(columns, parent, self.slot, whole, codes.reshape(columns.shape))
        return turned(codes.reshape(columns.shape))

    def mark_incomplete(self, plain: NDArray[Any], f0: int, incomplete: NDArray[np.uint8]) -> None:
        """incomplete[r] = 1 where row r of the plain codes of features f0 … has a missing cell."""
        _mark(plain, self.slot[f0:], incomplete)

    def first_bad(self, a: int, b: int) -> int:
        """row * d + column of the first code of rows [a, b) that is no category and not missing, or -1."""
        if self.unseen_is_missing:
            return -1
        x = _in_rows(self.x[a:b])
        i = int(_first_bad(x.reshape(-1), self.last, self.missing, self.named, x.dtype.type(self.top)))
        return a * x.shape[1] + i if i >= 0 else -1


def unsigned(X: NDArray[Any]) -> NDArray[Any]:
    """(n, d) codes as unsigned numbers of their width, where negative ones lie above all others."""
    x = X[:, None] if X.ndim == 1 else X
    x = x if x.flags.aligned else x.copy()
    return x.view(np.dtype(f"u{x.dtype.itemsize}"))


def _smallest(most: int) -> np.dtype[Any]:
    return np.dtype(np.uint8 if most < 2**8 else np.uint16 if most < 2**16 else np.int64)


def _in_rows(x: NDArray[Any]) -> NDArray[Any]:
    """The same C-contiguous."""
    n, d = x.shape
    if d < COLUMNS or x.strides[0] != x.itemsize or x.strides[1] < n * x.itemsize:
        return np.ascontiguousarray(x)
    rows = np.empty(x.shape, x.dtype)
    by_bytes = x.itemsize == 1 and n >= COLUMNS and d >= WORD
    (turn_bytes if by_bytes else turn)(span(x), x.strides[1] // x.itemsize, rows)
    return rows


def turned(x: NDArray[Any]) -> NDArray[Any]:
    """Its transpose, C-contiguous."""
    return _in_rows(x.T)


def span(x: NDArray[Any]) -> NDArray[Any]:
    """Flat from the first item to the last one, of rows or columns without gaps inside."""
    n = sum((size - 1) * stride for size, stride in zip(x.shape, x.strides, strict=True)) // x.itemsize + 1
    return as_strided(x, (n,), (x.itemsize,), writeable=False)


@kernel
def _any_above(x, last, width):
    """Whether a code is past its last category; x: rows of `width` codes, last: as many and WORD more, repeated."""
    above = fill(64, False)
    step = WORD % width
    phase = 0
    whole = x.size // WORD * WORD
    for i in range(0, whole, WORD):
        above = above | (load(64, x, np.uint64(i)) > load(64, last, np.uint64(phase)))
        phase += step
        phase -= width if phase >= width else 0
    for i in range(whole, x.size):
        if x[i] > last[i % width]:
            return True
    return bits(above) != _0


@kernel
def _encode(x, last, slot, width, missing, named, top, codes):
    """Plain codes, and what was met; last and slot as above."""
    slotted = strange = fill(64, False)
    is_named, is_missing, most = fill(64, named), fill(64, missing), fill(64, top)
    step = WORD % width
    phase = 0
    whole = x.size // WORD * WORD
    for i in range(0, whole, WORD):
        z = load(64, x, np.uint64(i))
        over = z > load(64, last, np.uint64(phase))
        gone = (z == is_missing) & is_named
        slotted = slotted | over | gone
        strange = strange | (over & ~gone & ~(z > most))
        plain = select(over | gone, load(64, slot, np.uint64(phase)), convert(z, codes.dtype))
        store(codes, np.uint64(i), plain)
        phase += step
        phase -= width if phase >= width else 0
    some, bad = bits(slotted) != _0, bits(strange) != _0
    for i in range(whole, x.size):
        over = x[i] > last[i % width]
        gone = named and x[i] == missing
        some |= over or gone
        bad |= over and not gone and x[i] <= top
        if over or gone:
            codes[i] = slot[i % width]
        else:
            codes[i] = x[i]
    return MET_MISSING * some + MET_BAD * bad


@kernel
def _first_bad(x, last, missing, named, top):
    for i in range(x.size):
        if x[i] > last[i % last.size] and x[i] <= top and not (named and x[i] == missing):
            return i
    return -1


@kernel
def _mark(plain, slot, incomplete):
    n, d = plain.shape
    for i in range(n):
        for j in range(d):
            if plain[i, j] == slot[j]:
                incomplete[i] = 1


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


@kernel
def _combine_columns(columns, parent, slot, whole, codes):
    """The same of features that have one parent, or -1, as columns; whole[j] = Z_j. Arithmetic modulo the type is exact
    where no cell is missing, and otherwise not used.
    """
    d, n = columns.shape
    x, z = columns.reshape(-1), codes.reshape(-1)
    for j in range(d):
        if parent[j] < 0:
            for i in range(n):
                codes[j, i] = columns[j, i]
            continue
        c, c_parent, gone = slot[j], slot[parent[j]], whole[j]
        own, above, last = np.uint64(j * n), np.uint64(parent[j] * n), np.uint64(n) // _WORD * _WORD
        for i in range(_0, last, _WORD):
            v, p = load(64, x, own + i), load(64, x, above + i)
            missing = (v == fill(64, c)) | (p == fill(64, c_parent))
            store(z, own + i, select(missing, fill(64, gone), p * fill(64, c) + v))
        for i in range(last, np.uint64(n)):
            v, p = x[own + i], x[above + i]
            if v == c or p == c_parent:
                z[own + i] = gone
            else:
                z[own + i] = p * c + v
