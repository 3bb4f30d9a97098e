"""Sums from left to right, so that all machines agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tallydraw import backend


def row_sums(array: NDArray[np.float64], axis: int = -1) -> tuple[NDArray[np.float64], bool]:
    """Sums over one axis, and whether no cell is negative or NaN."""
    rows = np.ascontiguousarray(np.moveaxis(array, axis, -1) if axis != -1 else array)
    sums = np.empty(rows.shape[:-1])
    return sums, backend.kernels().row_sums(rows.reshape(-1, rows.shape[-1]), sums.reshape(-1))
