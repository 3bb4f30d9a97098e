"""Rows of codes as sortable keys: equal rows have equal keys, and keys sort as rows do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 14
# Bytes that NumPy takes at once where it goes along columns.
_ROW_BYTES = 4096


def groups(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Stretches [a, b) of features whose combinations fit into 64 bits; each becomes one word of a key."""
    parts: list[tuple[int, int]] = []
    begin, product = 0, 1
    for j, size in enumerate(sizes):
        if product * size > 2**64:
            parts.append((begin, j))
            begin, product = j, 1
        product *= size
    return [*parts, (begin, len(sizes))]


def pack(x: NDArray[Any], sizes: Sequence[int], least: Sequence[int] | None = None) -> NDArray[Any]:
    """(n,) keys of (n, d) codes with ``least[j] <= x[:, j] < least[j] + sizes[j]``; `least` defaults to zeros.

    uint64, the mixed-radix number of the row, where all combinations fit into 64 bits; otherwise opaque bytes (void),
    one big-endian word a group. Both compare, sort and search as the rows do, first feature first.
    """
    parts = groups(sizes)
    words = [np.min_scalar_type(max(1, math.prod(sizes[a:b])) - 1) for a, b in parts]  # narrow ones are faster
    keys = np.zeros((len(x), len(parts)), np.uint64)
    for a in range(0, len(x), _BLOCK):
        block = np.ascontiguousarray(x[a : a + _BLOCK].T)
        for word, (begin, end) in enumerate(parts):
            number, most = words[word].type, 2 ** (8 * words[word].itemsize)
            key = np.zeros(block.shape[1], number)
            for j in range(begin, end):
                if j > begin:
                    key *= number(sizes[j] % most)  # `most` follows ranges of one alone: the key is 0
                digit = block[j].astype(number)  # negative codes wrap, and wrap back
                if least is not None and least[j]:
                    digit -= number(least[j] % most)
                key += digit
            keys[a : a + _BLOCK, word] = key
    if len(parts) == 1:
        return keys[:, 0]
    return np.ascontiguousarray(keys.astype(">u8")).view(f"V{8 * len(parts)}")[:, 0]


def unpack(keys: NDArray[np.uint64], sizes: Sequence[int], least: Sequence[int], dtype: Any) -> NDArray[Any]:
    """(n, d) codes of uint64 keys: the inverse of :func:`pack`."""
    rows = np.empty((len(keys), len(sizes)), dtype)
    rest = keys
    for j in range(len(sizes) - 1, -1, -1):
        digit, size = rest, sizes[j]
        if j and size < 2**64 and size & (size - 1) == 0:  # a tenth of the time of a division
            rest, digit = rest >> np.uint64(size.bit_length() - 1), rest & np.uint64(size - 1)
        elif j and size < 2**64:
            rest, digit = np.divmod(rest, np.uint64(size))
        elif j:
            rest = np.zeros_like(rest)
        rows[:, j] = (digit + np.uint64(least[j] % 2**64)).astype(dtype)
    return rows


def distinct(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """Distinct rows of (n, d) codes in sorted order, the first place of each, and the number of each row's group."""
    low, high = _ranges(x)
    keys = pack(x, [h - a + 1 for a, h in zip(low, high, strict=True)], low)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    return x[first], first.astype(np.int64), group.reshape(-1).astype(np.int64)


def distinct_counts(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Distinct rows of (n, d) codes in sorted order, and how often each occurs."""
    low, high = _ranges(x)
    sizes = [h - a + 1 for a, h in zip(low, high, strict=True)]
    if len(groups(sizes)) == 1:
        keys, counts = np.unique(pack(x, sizes, low), return_counts=True)
        return unpack(keys, sizes, low, x.dtype), counts.astype(np.int64)
    rows, _, group = distinct(x)
    return rows, np.bincount(group, minlength=len(rows)).astype(np.int64)


def _ranges(x: NDArray[Any]) -> tuple[list[int], list[int]]:
    if len(x) == 0:
        return [0] * x.shape[1], [0] * x.shape[1]
    return [int(v) for v in along_columns(np.minimum, x)], [int(v) for v in along_columns(np.maximum, x)]


def along_columns(combine: np.ufunc, x: NDArray[Any]) -> NDArray[Any]:
    """combine.reduce(x, axis=0) of (n, d), n > 0: short rows some together, as NumPy takes its time over each."""
    n, d = x.shape
    together = _ROW_BYTES // max(1, d * x.itemsize)
    some = n // together if together > 1 and x.flags.c_contiguous else 0
    if some == 0:
        whole: NDArray[Any] = combine.reduce(x, axis=0)
        return whole
    rows = combine.reduce(x[: some * together].reshape(some, together * d), axis=0).reshape(together, d)
    out: NDArray[Any] = combine.reduce(np.concatenate([rows, x[some * together :]]), axis=0)
    return out
