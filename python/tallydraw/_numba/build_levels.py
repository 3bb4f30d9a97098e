"""Levels and guide tables made of weights: the twin of build_levels.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.parallel import inline, kernel
from tallydraw._structure import Structure

_0, _1, _32, _63, _64 = (np.uint64(i) for i in (0, 1, 32, 63, 64))
_TOP = np.uint64(2**64 - 1)
_MOST_MULTIPLIED = np.uint64(1 << 31)


@kernel
def _float_levels(weights, sums, level):
    n, good = weights.shape[1], True
    for row in range(weights.shape[0]):
        for scale in (1.0, 2.0**-64):
            total = 0.0
            for c in range(n):
                good = good and weights[row, c] >= 0.0  # NaN is not
                total += weights[row, c] * scale
                sums[c] = total
            if np.isfinite(total):
                break
        if not (good and 0.0 < total < np.inf):
            return False
        for c in range(n):
            level[row, c] = _TOP if sums[c] == total else np.uint64(sums[c] / total * 2.0**64)
    return True


@inline
def _divide(rest, total):
    step = _32
    while total > _1 << _64 - step:
        step >>= _1
    level = bits = _0
    while bits < _64:
        rest <<= step
        digit = rest // total
        rest -= digit * total
        level = level << step | digit
        bits += step
    return level


@kernel
def _integer_levels(weights, level):
    n = weights.shape[1]
    for row in range(weights.shape[0]):
        total = bits = _0
        for c in range(n):
            total += np.uint64(weights[row, c])
            bits |= total | np.uint64(weights[row, c])
            level[row, c] = total
        if bits == _0 or bits >> _63:
            return False
        if total > _MOST_MULTIPLIED:
            for c in range(n):
                level[row, c] = _TOP if level[row, c] == total else _divide(level[row, c], total)
            continue
        whole = _TOP // total
        last, rest = np.int64(total), np.int64(_0 - whole * total)
        inverse = 1.0 / last
        for c in range(n):
            product = np.int64(level[row, c]) * rest
            quotient = np.int64(product * inverse)
            left = product - quotient * last
            quotient += np.int64(left >= last) - np.int64(left < 0)
            below = level[row, c] * whole + np.uint64(quotient)
            level[row, c] = _TOP if level[row, c] == total else below
    return True


def row_levels(weights: NDArray[Any], level: NDArray[np.uint64]) -> bool:
    if weights.dtype.kind == "i":
        return bool(_integer_levels(weights, level))
    return bool(_float_levels(weights, np.empty(weights.shape[1]), level))


@kernel
def _build_high(level, high):
    for i in range(len(level)):
        high[i] = level[i] >> _32


@kernel
def _build_guide(level, n, bits, guide):
    size, shift = np.int64(1) << bits, np.uint64(64 - bits)
    for row in range(level.shape[0] // n):
        first, at = np.uint64(row * n), np.uint64(row * size)
        end = np.uint64(0)
        for c in range(np.uint64(n)):
            # Entries below the level: those that begin with less than it.
            below = (level[first + c] - _1 >> shift) + _1 if level[first + c] > _0 else _0
            while end < below:
                guide[at + end] = c
                end += _1


def build_guides(
    structure: Structure,
    level: NDArray[np.uint64],
    guide_offsets: NDArray[np.int64],
    guide_bits: NDArray[np.int64],
    high: NDArray[np.uint32],
    guide: NDArray[Any],
) -> None:
    _build_high(level, high)
    for j, bits in enumerate(guide_bits):
        if bits >= 0:
            rows = level[structure.offsets[j] : structure.offsets[j + 1]]
            _build_guide(rows, structure.n_categories[j], bits, guide[guide_offsets[j] : guide_offsets[j + 1]])
