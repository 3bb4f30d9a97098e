"""Checks of probabilities that must sum to one: nothing is normalised in silence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._check.scalars import natural


def axis_of(axis: Any, ndim: int) -> int:
    """An axis counted from the end, -ndim to -1."""
    number = natural("axis", axis, least=-ndim, most=ndim - 1)
    return number if number < 0 else number - ndim


def distributions(name: str, p: Any, axes: tuple[int, ...]) -> NDArray[np.float64]:
    """Float64 probabilities that sum to one over `axes`: one axis counted from the end, or (-2, -1).

    A sum over C cells may miss one by 1e-9 + C * eps, eps being that of the dtype given (a float32 softmax passes) and
    C * eps at most 0.01.
    """
    array = np.asarray(p)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be numeric, got dtype {array.dtype}")
    if array.ndim < len(axes):
        raise ValueError(f"{name} must have {len(axes)} or more dimensions, got shape {array.shape}")
    cells = math.prod(array.shape[axis] for axis in axes)
    if cells == 0:
        raise ValueError(f"{name} must have at least one category, got shape {array.shape}")
    eps = max(float(np.finfo(array.dtype).eps), 2.0**-52) if array.dtype.kind == "f" else 0.0
    array = array.astype(np.float64, copy=False)
    wrong = not_one(array, axes, 1e-9 + min(cells * eps, 0.01))
    if wrong.any() or not array.min(initial=0.0) >= 0.0:
        good = np.isfinite(array) & (array >= 0)
        if not good.all():
            place = np.argwhere(~good)[0]
            at = f"[{', '.join(str(i) for i in place)}]"
            raise ValueError(f"{name}{at} is {array[tuple(place)]}: probabilities are finite and non-negative")
        row = np.argwhere(wrong)[0]
        sums = _running_sums(array, axes)
        at = f"[{', '.join(str(i) for i in row)}]" if len(row) else ""
        over = "" if array.ndim == len(axes) else f"axis={axes[0] if len(axes) == 1 else axes}, keepdims=True"
        where = f" over axis {axes[0]}" if at and axes != (-1,) and len(axes) == 1 else ""
        raise ValueError(
            f"{name}{at} sums to {sums[tuple(row)]}{where}, not to one: nothing is normalised in silence; "
            f"pass {name} / {name}.sum({over})"
        )
    return array


def not_one(array: NDArray[np.float64], axes: tuple[int, ...], tolerance: float) -> NDArray[np.bool_]:
    """Where sums over `axes`, from left to right so that all machines agree, are further from one than `tolerance`.

    A sum in any order, which is faster, decides where it is near enough: it differs by far less than half of it.
    """
    cells = math.prod(array.shape[axis] for axis in axes)
    if cells < 1 << 20:
        with np.errstate(over="ignore", invalid="ignore"):
            wrong = np.asarray(~(np.abs(array.sum(axis=axes) - 1.0) <= tolerance / 2))
        if not wrong.any():
            return wrong
    return np.asarray(~(np.abs(_running_sums(array, axes) - 1.0) <= tolerance))


def _running_sums(array: NDArray[np.float64], axes: tuple[int, ...]) -> Any:
    sums: Any = array
    with np.errstate(over="ignore", invalid="ignore"):
        for axis in axes if len(axes) == 1 else (-1,) * len(axes):
            sums = np.take(np.cumsum(sums, axis=axis), -1, axis=axis)
    return sums
