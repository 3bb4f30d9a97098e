"""Codes of groups of features as one byte: the twin of group_codes.hpp."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw._numba.codes import Encoder
from tallydraw._numba.parallel import kernel, parallel_blocks, worth
from tallydraw._structure import Structure

_TILE_BYTES = 1 << 16


@kernel
def _group(codes, groups, n_codes, out):
    for r in range(codes.shape[0]):
        for g in range(out.shape[1]):
            z = np.int64(0)
            for j in range(groups[g + 1] - 1, groups[g] - 1, -1):
                z = z * n_codes[j] + np.int64(codes[r, j])
            out[r, g] = z


def group_codes(
    X: NDArray[Any],
    missing: int | None,
    unseen_is_missing: bool,
    structure: Structure,
    groups: NDArray[np.int64],
    n_codes: NDArray[np.int64],
    out: NDArray[np.uint8],
    threads: int,
) -> None:
    encoder, d = Encoder(X, missing, unseen_is_missing, structure), structure.n_features

    def piece(a: int, b: int, _: int) -> None:
        _group(encoder.plain(a, b, 0, d)[0], groups, n_codes, out[a:b])

    parallel_blocks(len(X), max(16, _TILE_BYTES // d), worth(threads, len(X) * d), piece)
