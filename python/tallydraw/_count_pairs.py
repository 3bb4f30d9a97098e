"""What count_pairs and the models on pair counts call: checked codes to PairTables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, backend
from tallydraw._structure import pair_begins, root_structure
from tallydraw.pairs import PairTables, alike, pair_cells
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
    structure = root_structure(sizes, n_classes)
    one = alike(sizes)
    pairs, cells = d * (d - 1) // 2, pair_cells(sizes, n_classes, one)
    # Kernels write the first counts where there are none yet; sums of weights begin at zero.
    new = np.zeros if weights is not None or n == 0 else np.empty
    dtype = np.int64 if weights is None else np.float64
    counts, marginals = _new_tables(new, cells, dtype, d, name), new(int(structure.offsets[-1]), dtype)
    each = cells // (n_classes or 1)
    # Bits of few categories, or increments; with weights additions.
    work = d + (min(pairs, each // 256) // 8 if weights is None else pairs * weights.shape[1] // 4)
    work = min(work, backend.BLOCK_WORK // 4096)  # tables are written anew for each block of rows
    kernels = backend.kernels()
    begins = pair_begins(structure) if one is None else None
    for a, b in backend.blocks(n, work):
        rows = (codes[a:b], None if classes is None else classes[a:b], missing, lenient, structure, begins)
        team = backend.threads(wanted, (b - a) * max(d, pairs // 64))
        if weights is None:
            bad = kernels.count_pairs(*rows, marginals, counts, a == 0, team)
        else:
            bad = kernels.count_pairs_weighted(*rows, weights[a:b], marginals, counts, team)
        if bad >= 0:
            raise _check.code_error(name, codes, a * d + bad, sizes)
    if weights is not None and not np.isfinite(max(counts.max(initial=0.0), marginals.max(initial=0.0))):
        raise OverflowError("sample_weight: the weights of a cell sum to infinity; scale them down")
    single = Tables(marginals, sizes, n_classes=n_classes, structure=structure)
    return PairTables(counts, single, checked=True)


def _new_tables(new: Callable[..., NDArray[Any]], cells: int, dtype: type, d: int, name: str) -> NDArray[Any]:
    """Memory for the tables of all pairs."""
    try:
        if cells < 2**60:
            return new(cells, dtype)
    except MemoryError:
        pass
    needed = _check.shown(8 * cells)
    what = f"the tables of the {d * (d - 1) // 2} pairs of the {d} features of {name} need {needed} bytes"
    remedy = "encode the values that occur as 0, 1, 2, …, or leave features out"
    if cells >= 2**60:
        raise ValueError(f"{what}: too many to address; {remedy}")
    raise MemoryError(f"{what}: {remedy}")
