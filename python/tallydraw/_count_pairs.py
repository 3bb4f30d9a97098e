"""What count_pairs and the models on pair counts call: checked codes to PairTables."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, backend
from tallydraw._structure import make_structure
from tallydraw.pairs import PairTables, pair_cells, pair_offsets
from tallydraw.tables import Tables


def count_pair_cells(
    codes: NDArray[Any],
    classes: NDArray[np.int64] | None,
    sizes: NDArray[np.int64],
    n_classes: int | None,
    *,
    weights: NDArray[np.float64] | None = None,
    missing: int | None = None,
    unseen: str = "error",
    n_threads: int | None = None,
    name: str = "X",
) -> PairTables:
    """Pair counts of checked codes (n, d).

    `weights` are checked ones (n, W): of one column with `classes` or no class, of one for each of `n_classes` where a
    row is of every class w with weight weights[r, w].
    """
    n, d = codes.shape
    lenient = _check.unseen_rule(unseen)
    wanted = _check.thread_count(n_threads)
    dtype = np.int64 if weights is None else np.float64
    structure = make_structure(sizes, None, n_classes)
    counts, offsets = _new_tables(sizes, n_classes, dtype, name)
    marginals = np.zeros(int(structure.offsets[-1]), dtype)
    pairs, cells = len(offsets) - 1, int(offsets[-1]) // (n_classes or 1)
    # Bits of few categories, or increments; with weights additions.
    work = d + (min(pairs, cells // 256) // 8 if weights is None else pairs * weights.shape[1] // 4)
    work = min(work, backend.BLOCK_WORK // 4096)  # tables are written anew for each block of rows
    kernels = backend.kernels()
    for a, b in backend.blocks(n, work):
        rows = (codes[a:b], None if classes is None else classes[a:b], missing, lenient, structure, offsets)
        team = backend.threads(wanted, (b - a) * max(d, pairs // 64))
        if weights is None:
            bad = kernels.count_pairs(*rows, marginals, counts, team)
        else:
            bad = kernels.count_pairs_weighted(*rows, weights[a:b], marginals, counts, team)
        if bad >= 0:
            raise _check.code_error(name, codes, a * d + bad, sizes)
    if weights is not None and not (np.isfinite(counts).all() and np.isfinite(marginals).all()):
        raise OverflowError("sample_weight: the weights of a cell sum to infinity; scale them down")
    single = Tables(marginals, sizes, n_classes=n_classes, structure=structure)
    return PairTables(counts, single, offsets=offsets)


def _new_tables(
    sizes: NDArray[np.int64], n_classes: int | None, dtype: type, name: str
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Zeros for the tables of all pairs, and where each begins."""
    d, total = len(sizes), pair_cells(sizes, n_classes)
    remedy = "encode the values that occur as 0, 1, 2, …, or leave features out"
    what = f"the tables of the {d * (d - 1) // 2} pairs of the {d} features of {name} need {8 * total} bytes"
    if total >= 2**60:
        raise ValueError(f"{what}: too many to address; {remedy}")
    try:
        return np.zeros(total, dtype), pair_offsets(sizes, n_classes)
    except MemoryError:
        raise MemoryError(f"{what}: {remedy}") from None
