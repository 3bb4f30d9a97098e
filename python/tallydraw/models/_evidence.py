"""What follows from the observed cells of a row: its missing cells completed, their marginals, expected counts.

One stack of tables has every class; several are those of class 0, 1, … each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, _levels, backend
from tallydraw._structure import make_structure
from tallydraw.log_prob import missing_share, pass_work
from tallydraw.models._state import Stream
from tallydraw.sample import _blocks
from tallydraw.sample.categories import write_flat
from tallydraw.tables import Tables

# Rows of a block of expected counts: at least so many, and enough that adding its sums costs little.
_LEAST_BLOCK_ROWS = 1 << 12


def missing_cells(codes: NDArray[Any], sizes: NDArray[np.int64], missing: int | None, lenient: bool) -> Any:
    """(n, d) which cells of checked codes are missing; `lenient`: codes that are no category are."""
    gone = codes < 0
    if missing is not None:
        gone |= codes == missing
    if lenient:
        gone |= codes >= sizes
    return gone


def write_completions(
    out: NDArray[Any],
    codes: NDArray[Any],
    y: NDArray[np.int64] | None,
    stacks: Sequence[Tables],
    *,
    maximize: bool,
    missing: int | None,
    lenient: bool,
    key: int = 0,
    start: int = 0,
    n_threads: int | None = None,
) -> None:
    """Checked codes into `out` (n, d), missing cells filled in; every row is possible under its class `y`."""
    kernels = backend.kernels()
    share = missing_share(codes, stacks[0].structure, missing, lenient)
    work = max(4 * pass_work(t.structure, share) // t.structure.n_classes for t in stacks)

    def fill(a: int, b: int, block: NDArray[Any]) -> None:
        part = None if y is None else y[a:b]
        threads = backend.threads(n_threads, (b - a) * work)
        for k, tables in enumerate(stacks):
            theta = _values(tables)
            level = np.empty(0, np.uint64) if maximize else tables.levels().level
            only = -1 if len(stacks) == 1 else k
            kernels.complete_features(
                codes[a:b], part, missing, lenient, tables.structure, theta, tables.logs().plain, level, only, maximize,
                key, start + a, block, threads,
            )  # fmt: skip

    _blocks.write(out, int(stacks[0].n_categories.max()) - 1, work, fill)


def marginals_of(
    codes: NDArray[Any],
    stacks: Sequence[Tables],
    weights: NDArray[np.float64],
    *,
    missing: int | None,
    lenient: bool,
    n_threads: int | None = None,
) -> list[NDArray[np.float64]]:
    """(n, C_j) for each feature: p(x_j | what is seen) of checked codes, classes weighted by `weights` (n, K)."""
    sizes = stacks[0].n_categories
    ends = np.cumsum(sizes)
    whole = np.empty(len(codes) * int(ends[-1]))
    out = [part.reshape(-1, c) for part, c in zip(np.split(whole, ends[:-1] * len(codes)), sizes, strict=True)]
    for k, tables in enumerate(stacks):
        ours = weights if len(stacks) == 1 else weights[:, k : k + 1]
        work = 4 * pass_work(tables.structure, missing_share(codes, tables.structure, missing, lenient))
        for a, b in backend.blocks(len(codes), work):
            part = whole if k == 0 and b - a == len(codes) else np.empty((b - a) * int(ends[-1]))
            backend.kernels().marginals_features(
                codes[a:b], missing, lenient, tables.structure, _values(tables), tables.logs().plain,
                np.ascontiguousarray(ours[a:b]), part, backend.threads(n_threads, (b - a) * work),
            )  # fmt: skip
            if part is whole:
                continue
            for to, found in zip(out, np.split(part, ends[:-1] * (b - a)), strict=True):
                if k == 0:
                    to[a:b] = found.reshape(b - a, -1)
                else:
                    to[a:b] += found.reshape(b - a, -1)
    np.minimum(whole, 1.0, out=whole)  # observed cells are one a stack; rounding may pass one
    return out


def expected_counts(
    codes: NDArray[Any],
    tables: Tables,
    weights: NDArray[np.float64],
    *,
    missing: int | None,
    lenient: bool,
    n_threads: int | None = None,
) -> NDArray[np.float64]:
    """Flat sums over rows of checked codes of weights (n, K) times p(context, x_j | what is seen, class)."""
    structure = tables.structure
    work = 4 * pass_work(structure, missing_share(codes, structure, missing, lenient))
    counts = np.zeros(len(tables.values))
    # Blocks are the order of the sums: they depend on the structure, never on a backend or a number of threads.
    block_rows = max(_LEAST_BLOCK_ROWS, 4 * int(structure.offsets[-1]) // structure.n_features)
    step = max(1, backend.BLOCK_WORK // (work * block_rows)) * block_rows
    for a in range(0, len(codes), step):
        part = codes[a : a + step]
        threads = backend.threads(n_threads, len(part) * work)
        backend.kernels().count_expected(
            part, missing, lenient, structure, _values(tables), tables.logs().plain, weights[a : a + step], block_rows,
            counts, threads,
        )  # fmt: skip
    return counts


def class_posterior(scores: NDArray[np.float64], prior: Tables | None, n_threads: int | None) -> NDArray[np.float64]:
    """(n, K) p(y | x) from log p(x, y); ones without a class."""
    if prior is None:
        return np.ones_like(scores)
    out = np.empty_like(scores)
    team = backend.threads(n_threads, scores.size)
    backend.kernels().posterior(scores, np.ascontiguousarray(prior[0]), None, out, team)
    return out


def sample_classes(prior: Tables, n: int, purpose: int, stream: Stream) -> NDArray[np.int64]:
    """(n,) classes drawn from the prior."""
    k = len(prior[0])
    out = np.empty(n, _check.smallest_unsigned(k - 1))
    write_flat(out, prior.levels("class_prior_"), k, None, purpose, *stream)
    return out.astype(np.int64)


def draw_classes(
    posterior: NDArray[np.float64],
    prior: Tables,
    nothing_seen: NDArray[np.bool_],
    purpose: int,
    key: int,
    start: int,
    n_threads: int | None,
) -> NDArray[np.int64]:
    """(n,) classes: draw start + r of `purpose` from row r of the posterior, or from the prior where nothing is seen.

    The levels of the prior are its own, so that rows of nothing but missing cells have the classes that are sampled.
    """
    n, k = posterior.shape
    out = np.empty(n, _check.smallest_unsigned(k - 1))
    before = prior.levels("class_prior_").level
    for a, b in backend.blocks(n, 8 * k):
        rows = _levels.row_levels(np.ascontiguousarray(posterior[a:b]), "posterior")
        rows[nothing_seen[a:b]] = before
        levels = _levels.with_guides(rows.reshape(-1), make_structure(np.array([k]), None, b - a))
        write_flat(out[a:b], levels, k, np.arange(b - a), purpose, key, start + a, n_threads)
    return out.astype(np.int64)


def _values(tables: Tables) -> NDArray[np.float64]:
    return np.ascontiguousarray(tables.values, dtype=np.float64)
