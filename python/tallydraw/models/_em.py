"""Tables of the maximum likelihood under missing at random, by expectation-maximisation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check
from tallydraw.count import count_cells, count_soft_cells
from tallydraw.log_prob import score_features
from tallydraw.models._evidence import expected_counts, missing_cells
from tallydraw.models._sums import log, weighted_sum
from tallydraw.tables import Tables

MISSING_FITS = ("available", "em")

# EM ends when the penalised log-likelihood gains less than this a row, in nats, or after so many iterations.
TOLERANCE, MOST_ITERATIONS = 1e-9, 1000


def expected_tables(
    codes: NDArray[Any],
    y: NDArray[np.int64] | None,
    available: Tables,
    *,
    alpha: Any,
    weights: NDArray[np.float64] | None,
    missing: int | None,
    unseen: str,
    n_threads: int | None,
    objective: list[float] | None = None,
) -> Tables:
    """Expected counts of all cells at the maximum of the likelihood of what is observed, times theta**alpha.

    EM (Dempster, Laird & Rubin, 1977): counts expected under theta, theta from the counts and alpha, and again. It
    begins at the `available` counts plus one, so that no cell begins at zero. `objective` is given the penalised
    log-likelihood before each iteration, which never falls but by rounding. Without a missing cell: the counts as
    they are.
    """
    lenient = _check.unseen_rule(unseen)
    gone = missing_cells(codes, available.n_categories, missing, lenient).any(axis=1)
    if not gone.any() or not len(available.structure.context):
        return available
    structure, k = available.structure, available.structure.n_classes
    rows = np.flatnonzero(gone)
    some = codes[rows]
    whole = codes[~gone]
    known = count_cells(
        whole,
        None if y is None else y[~gone],
        structure,
        sample_weight=np.ones(len(whole)) if weights is None else weights[~gone],
        missing=missing,
        unseen=unseen,
        n_threads=n_threads,
    )
    row_weights = np.ones(len(rows)) if weights is None else weights[rows]
    classes = np.zeros(len(rows), np.int64) if y is None else y[rows]
    by_class = np.zeros((len(rows), k))
    by_class[np.arange(len(rows)), classes] = row_weights
    total = len(codes) if weights is None else weighted_sum(weights, 1.0)
    alphas = flat_alpha(alpha, available)

    theta = available._like(available.values + 1.0).normalize()
    before = -np.inf
    for _ in range(MOST_ITERATIONS):
        counts = known + expected_counts(some, theta, by_class, missing=missing, lenient=lenient, n_threads=n_threads)
        scores = score_features(some, theta, np.zeros(k), missing=missing, unseen=unseen, n_threads=n_threads)
        now = weighted_sum(row_weights, scores[np.arange(len(rows)), classes])
        now += weighted_sum(known + alphas, log(theta.values))
        if objective is not None:
            objective.append(now)
        if now - before < TOLERANCE * total:
            break
        before = now
        theta = available._like(counts).normalize(alpha)
    return available._like(counts)


def expected_soft_tables(
    codes: NDArray[Any],
    theta: Tables,
    weights: NDArray[np.float64],
    *,
    missing: int | None,
    unseen: str,
    n_threads: int | None,
) -> Tables:
    """Counts of all cells, missing ones expected under `theta`; row r is of every class k, with weights[r, k]."""
    lenient = _check.unseen_rule(unseen)
    gone = missing_cells(codes, theta.n_categories, missing, lenient).any(axis=1)
    rules: dict[str, Any] = {"missing": missing, "n_threads": n_threads}
    if not gone.any():
        return theta._like(count_soft_cells(codes, theta.structure, weights, unseen=unseen, **rules))
    known = count_soft_cells(codes[~gone], theta.structure, weights[~gone], unseen=unseen, **rules)
    return theta._like(known + expected_counts(codes[gone], theta, weights[gone], lenient=lenient, **rules))


def penalised_fit(counts: Tables, alpha: Any) -> float:
    """The sum of (n + alpha) log theta at its maximum: what a structure is worth to EM."""
    weights = counts.values + flat_alpha(alpha, counts)
    return weighted_sum(weights, log(counts.normalize(alpha).values))


def check_missing_fit(value: Any) -> None:
    """Raise for what is no way to fit missing cells."""
    if value not in MISSING_FITS:
        raise ValueError(f"missing_fit must be one of {MISSING_FITS}, got {value!r}")


def all_at_once(what: str) -> ValueError:
    """The error of what would add to a fit by EM."""
    return ValueError(f'{what}: missing_fit="em" needs all rows at once, call fit')


def flat_alpha(alpha: Any, tables: Tables) -> NDArray[np.float64]:
    """The pseudocount of every cell."""
    flat = np.empty(len(tables.values))
    for j, a in enumerate(_check.alpha_value(alpha, tables.n_categories)):
        flat[tables.offsets[j] : tables.offsets[j + 1]].reshape(-1, int(tables.n_categories[j]))[...] = a
    return flat
