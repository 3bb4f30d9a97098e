"""Logs, exps and sums whose bits are the same everywhere: our own functions, terms added left to right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import backend
from tallydraw._row_sums import row_sums

_STRETCH = 256  # rounding of a sum of n terms grows with n / 256, not with n


def log(x: Any) -> NDArray[np.float64]:
    """Our log of each entry; log 0 = -inf."""
    array = np.ascontiguousarray(x, dtype=np.float64)
    out = np.empty(array.size, np.float64)
    backend.kernels().log(array.reshape(-1), out)
    return out.reshape(array.shape)


def exp(x: Any) -> NDArray[np.float64]:
    """Our exp of each entry."""
    array = np.ascontiguousarray(x, dtype=np.float64)
    out = np.empty(array.size, np.float64)
    backend.kernels().exp(array.reshape(-1), out)
    return out.reshape(array.shape)


def difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """A - b of logs, 0 where a is -inf (the weight there is zero)."""
    out = np.zeros_like(a)
    np.subtract(a, b, out=out, where=a > -np.inf)
    return out


def weighted_sum(weights: Any, values: Any) -> float:
    """Sum of weights * values, left to right, over the weights that are positive."""
    w, v = (np.asarray(a, np.float64).reshape(-1) for a in np.broadcast_arrays(weights, values))
    kept = w > 0
    if not kept.all():
        w, v = w[kept], v[kept]
    return running_sum(w * v)


def sum_of_stretches(values: NDArray[np.float64]) -> float:
    """Sum of (n,) values, however many: of stretches, left to right, and of their sums; -inf where one of them is."""
    whole = len(values) // _STRETCH * _STRETCH
    sums = row_sums(values[:whole].reshape(-1, _STRETCH))[0]
    return running_sum(np.concatenate([sums, values[whole:]]))


def running_sum(values: NDArray[np.float64]) -> float:
    """Sum of (n,) values, left to right; -inf where one of them is."""
    return float(row_sums(values.reshape(1, -1))[0][0]) if len(values) else 0.0
