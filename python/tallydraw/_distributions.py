"""Checks of probabilities that must sum to one: nothing is normalised in silence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check
from tallydraw._row_sums import row_sums


def axis_of(axis: Any, ndim: int) -> int:
    """An axis counted from the end, -ndim to -1."""
    number = _check.natural("axis", axis, least=-ndim, most=ndim - 1)
    return number if number < 0 else number - ndim


def distributions(name: str, p: Any, axes: tuple[int, ...]) -> NDArray[np.float64]:
    """Float64 probabilities that sum to one over `axes`: one axis counted from the end, or (-2, -1).

    A sum over C cells may miss one by 1e-9 + C * eps, eps being that of the dtype given (a float32 softmax passes) and
    C * eps at most 0.01.
    """
    array = _check.unmasked(name, p)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numeric, got dtype {array.dtype}")
    if array.ndim < len(axes):
        raise ValueError(f"{name} must have {len(axes)} or more dimensions, got shape {array.shape}")
    cells = math.prod(array.shape[axis] for axis in axes)
    if cells == 0:
        raise ValueError(f"{name} must have at least one category, got shape {array.shape}")
    eps = max(float(np.finfo(array.dtype).eps), 2.0**-52) if array.dtype.kind == "f" else 0.0
    array = array.astype(np.float64, copy=False)
    sums, no_negative = array, True
    for axis in axes if len(axes) == 1 else (-1,) * len(axes):
        sums, positive = row_sums(sums, axis)
        no_negative &= positive
    wrong = not_one(sums, 1e-9 + min(cells * eps, 0.01))
    if wrong.any() or not no_negative:
        good = np.isfinite(array) & (array >= 0)
        if not good.all():
            place = np.argwhere(~good)[0]
            at = f"[{', '.join(str(i) for i in place)}]"
            raise ValueError(f"{name}{at} is {array[tuple(place)]}: probabilities are finite and non-negative")
        row = np.argwhere(wrong)[0]
        at = f"[{', '.join(str(i) for i in row)}]" if len(row) else ""
        over = "" if array.ndim == len(axes) else f"axis={axes[0] if len(axes) == 1 else axes}, keepdims=True"
        where = f" over axis {axes[0]}" if at and axes != (-1,) and len(axes) == 1 else ""
        raise ValueError(
            f"{name}{at} sums to {sums[tuple(row)]}{where}, not to one: nothing is normalised in silence; "
            f"pass {name} / {name}.sum({over})"
        )
    return array


def not_one(sums: NDArray[np.float64], tolerance: float) -> NDArray[np.bool_]:
    """Which sums are further from one than `tolerance`, or NaN."""
    return np.asarray(~(np.abs(sums - 1.0) <= tolerance))
