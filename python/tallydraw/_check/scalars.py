"""Checks of numbers and of short lists of numbers."""

from __future__ import annotations

import operator
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray


def shown(number: int) -> str:
    """A whole number in words: one that is too long to read as a power of two, or rounded to three digits."""
    if abs(number) < 10**18:
        return str(number)
    if number > 0 and number & (number - 1) == 0:
        return f"2**{number.bit_length() - 1}"
    return f"{Decimal(number):.2e}"


def natural(name: str, value: Any, *, least: int = 0, most: int = 2**63 - 1) -> int:
    """A whole number in [least, most]; a float or a bool is a TypeError."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {shown(number)}")
    if number > most:
        raise ValueError(f"{name} must be at most {most}, got {shown(number)}")
    return number


def first_number(start: Any, n: int) -> int:
    """The number of the first of n draws of a stream, which has 2**64 of them."""
    return natural("start", start, most=max(0, 2**64 - max(1, n)))


def thread_count(n_threads: Any) -> int | None:
    """None, or a positive number of threads."""
    return None if n_threads is None else natural("n_threads", n_threads, least=1, most=4096)


def size_of(size: Any) -> tuple[int, ...]:
    """A shape: an int or a tuple of ints, as NumPy's ``size=``; () for None."""
    if size is None:
        return ()
    if isinstance(size, (tuple, list)):
        return tuple(natural(f"size[{i}]", s) for i, s in enumerate(size))
    return (natural("size", size),)


def unseen_rule(unseen: Any) -> bool:
    """Whether a code outside the known categories counts as missing."""
    if unseen not in ("error", "missing"):
        raise ValueError(f"unseen must be 'error' or 'missing', got {unseen!r}")
    return bool(unseen == "missing")


def category_counts(n_categories: Any, d: int, name: str = "n_categories") -> NDArray[np.int64]:
    """(d,) numbers of categories from one number or one a feature."""
    if type(n_categories) is int and 1 <= n_categories < 2**63:
        return np.full(d, n_categories, np.int64)
    array = np.asarray(n_categories)
    if array.dtype.kind == "O" and all(type(c) is int for c in array.flat):
        raise ValueError(f"{name} must be at most 2**63 - 1, got {shown(max(array.flat))}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be an integer or one integer a feature, got dtype {array.dtype}")
    if array.ndim > 1 or (array.ndim == 1 and array.size != d):
        raise ValueError(f"{name} must be one number or {d} of them, got shape {array.shape}")
    array = np.broadcast_to(array, (d,))
    bad = np.flatnonzero((array < 1) | (array > np.uint64(2**63 - 1)))
    if bad.size:
        bound = "at least 1" if array[bad[0]] < 1 else "at most 2**63 - 1"
        raise ValueError(f"{name} of feature {bad[0]} must be {bound}, got {array[bad[0]]}")
    return np.ascontiguousarray(array, dtype=np.int64)


def alpha_value(alpha: Any, n_categories: NDArray[np.int64]) -> list[NDArray[Any]]:
    """The pseudocounts of each feature: a list of d arrays, each () or (C_j,), integer or float64.

    `alpha` is one number, one a feature (d of them), or, where all features have C categories, one a category (C of
    them); with d = C a flat sequence means one a feature. A list of d arrays, or an array (d, C), gives both.
    """
    d = len(n_categories)
    parts: list[Any]
    if type(alpha) in (int, float):
        return [_pseudocounts(0, alpha, int(n_categories[0]))] * d if d else []
    if any(np.ndim(a) for a in alpha) if isinstance(alpha, (list, tuple)) else np.ndim(alpha) == 2:
        if len(alpha) != d:
            raise ValueError(f"alpha must have one entry a feature ({d}), got {len(alpha)}")
        parts = list(alpha)
    elif np.ndim(alpha) == 0:
        return [_pseudocounts(0, alpha, int(n_categories[0]))] * d if d else []
    elif np.ndim(alpha) == 1 and np.size(alpha) == d:
        parts = list(np.asarray(alpha))
    elif np.ndim(alpha) == 1 and bool(np.all(n_categories == np.size(alpha))):
        parts = [alpha] * d
    else:
        raise ValueError(
            f"alpha must be one number, one a feature ({d}), or one a category, got shape {np.shape(alpha)}"
        )
    return [_pseudocounts(j, part, int(c)) for j, (part, c) in enumerate(zip(parts, n_categories, strict=True))]


def _pseudocounts(j: int, part: Any, c: int) -> NDArray[Any]:
    """Those of feature j, () or (c,)."""
    if type(part) in (int, float) and 0 <= part < 2**53:
        return np.array(int(part) if part == int(part) else part)
    array = np.asarray(part)
    if array.dtype.kind == "O" and all(type(a) is int for a in array.flat):  # past 2**64
        array = np.array([float(a) if abs(a) < 2**1023 else np.inf for a in array.flat]).reshape(array.shape)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"alpha of feature {j} must be numeric, got dtype {array.dtype}")
    if array.ndim > 1 or (array.ndim == 1 and array.size != c):
        raise ValueError(f"alpha of feature {j} must be one number or {c} of them, got shape {array.shape}")
    if not np.all(np.isfinite(array)) or np.any(array < 0):
        worst = array[~(np.isfinite(array) & (array >= 0))] if array.ndim else array
        raise ValueError(f"alpha of feature {j} must be finite and non-negative, got {np.ravel(worst)[0]}")
    if array.dtype.kind == "f" and np.all(array == np.floor(array)) and np.all(array < 2**53):
        array = array.astype(np.int64)  # 1.0 and 1 are the same pseudocount, and the exact rule of levels holds
    elif array.dtype.kind in "iu" and np.any(array >= 2**62):
        array = array.astype(np.float64)
    return array.astype(np.int64 if array.dtype.kind in "iu" else np.float64)


def is_number(alpha: Any) -> bool:
    """Whether it is one number for everything, not a list of them."""
    return not isinstance(alpha, (list, tuple)) and np.ndim(alpha) == 0
