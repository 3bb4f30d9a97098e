"""How draws reach an array: in blocks, directly where its dtype is the smallest, through a buffer otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import backend
from tallydraw._check import smallest_unsigned


def write(
    out: NDArray[Any],
    most: int,
    work_per_row: int,
    draw: Callable[[int, int, NDArray[Any]], None],
    *,
    flat: bool = False,
) -> None:
    """Call ``draw(a, b, block)`` for blocks of rows of `out` (of its cells, in C order, where `flat`).

    A block is C-contiguous, of the smallest unsigned dtype that holds `most`.
    """
    small = smallest_unsigned(most)
    direct = out.dtype == small and out.flags.carray
    rows: Any = out
    if flat:
        rows = out.reshape(-1) if out.flags.c_contiguous else out.flat
    n = out.size if flat else len(out)
    for a, b in backend.blocks(n, work_per_row if direct else 4 * work_per_row):
        if direct:
            draw(a, b, rows[a:b])
        else:
            block = np.empty((b - a,) if flat else (b - a, *out.shape[1:]), small)
            draw(a, b, block)
            rows[a:b] = block
