"""Tables of the maximum likelihood under missing at random, by expectation-maximisation."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check
from tallydraw.count import count_cells, count_soft_cells
from tallydraw.log_prob import score_features
from tallydraw.models._evidence import expected_counts, missing_cells
from tallydraw.models._kept import Kept
from tallydraw.models._state import History
from tallydraw.models._sums import log, weighted_sum
from tallydraw.tables import Tables

MISSING_FITS = ("available", "em")

# EM of missing cells ends when the penalised log-likelihood gains less than this a row, in nats, or after so many
# iterations.
TOLERANCE, MOST_ITERATIONS = 1e-9, 1000


class FittedByEM(Kept):
    """What models that EM fits say of how it went."""

    @property
    def objective_(self) -> NDArray[np.float64]:
        """The penalised log-likelihood before each iteration."""
        return self._require_history().objective

    @property
    def n_iter_(self) -> int:
        """The iteration that was kept."""
        return self._require_history().kept

    @property
    def converged_(self) -> bool:
        """Whether EM ended because nothing was left to gain, not because of a limit of iterations."""
        return self._require_history().converged

    def _require_history(self) -> History:
        history = self._require_fitted().history
        if history is None:
            raise AttributeError(f"this {type(self).__name__} was not fitted by EM: it has no iterations")
        return history


def make_history(objective: Sequence[float], validation: Sequence[float], kept: int, settled: bool) -> History:
    """How EM went that `settled`, or came to its limit; at an objective of -inf it has not converged."""
    history = History(np.array(objective), np.array(validation), kept, settled)
    for past in history[:2]:
        past.flags.writeable = False
    return history._replace(converged=settled and bool(np.all(np.isfinite(objective[-1:]))))


def warn_of_missing_cells(history: History) -> None:
    """Tell the user that EM of missing cells did not converge within its limit."""
    remedy = "objective_ tells how much it still gained; an alpha above 0 ends sooner"
    warn_unless_converged(history, str(MOST_ITERATIONS), TOLERANCE, remedy)


def warn_unless_converged(history: History, limit: str, tol: float, remedy: str) -> None:
    """Tell the user who called a model, from the line of the call, that EM did not converge within its limit."""
    if history.converged:
        return
    if np.isfinite(history.objective[-1]):
        if tol == 0:  # which says that the limit is meant
            return
        what = f"after {limit} iterations without having converged to tol={tol:g}: {remedy}"
    else:
        what = (
            "at an objective of -inf: a row, or a category with pseudocounts, is impossible (its numbers are too "
            "small for float64): pass a larger alpha=, or scale sample_weight="
        )
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("tallydraw."):
        level, frame = level + 1, frame.f_back
    warnings.warn(f"EM ended {what}", RuntimeWarning, stacklevel=level)


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
) -> tuple[Tables, History]:
    """Expected counts of all cells at the maximum of the likelihood of what is observed, times theta**alpha.

    EM (Dempster, Laird & Rubin, 1977): counts expected under theta, theta from the counts and alpha, and again. The
    objective, the penalised log-likelihood before each iteration, never falls but by rounding. Without a missing cell:
    the counts as they are.
    """
    lenient = _check.unseen_rule(unseen)
    gone = missing_cells(codes, available.n_categories, missing, lenient).any(axis=1)
    if not gone.any() or not len(available.structure.context):
        return available, make_history([], [], 0, True)
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

    def expect(theta: Tables) -> tuple[NDArray[np.float64], float]:
        counts = expected_counts(some, theta, by_class, missing=missing, lenient=lenient, n_threads=n_threads)
        scores = score_features(some, theta, np.zeros(k), missing=missing, unseen=unseen, n_threads=n_threads)
        return counts, weighted_sum(row_weights, scores[np.arange(len(rows)), classes])

    return climb(available, known, expect, alpha, total, len(codes))


def climb(
    available: Tables,
    known: NDArray[Any],
    expect: Callable[[Tables], tuple[NDArray[np.float64], float]],
    alpha: Any,
    total: float,
    n: int,
    leaning: float | NDArray[np.float64] = 0.0,
) -> tuple[Tables, History]:
    """EM of n rows that weigh `total`: the expected counts where it ends, and how it went.

    It begins at the `available` counts plus one row's weight, so that no cell begins at zero, and that times `leaning`.
    `expect` has, under the tables of a moment, the expected counts that come to those `known` for certain, and the
    log-likelihood that comes to theirs. Rows that weigh nothing are not expected: the available counts, as they are.
    """
    if not total:
        return available, make_history([], [], 0, True)
    alphas = flat_alpha(alpha, available)
    theta = available._like(available.values + one_row(total, n) * (1.0 + leaning)).normalize()
    objective: list[float] = []
    settled = False
    for _ in range(MOST_ITERATIONS):
        more, now = expect(theta)
        counts = known + more
        now += weighted_sum(known + alphas, log(theta.values))
        objective.append(now)
        # Two objectives of -inf differ by NaN: that ends it as well.
        settled = len(objective) > 1 and not now - objective[-2] >= TOLERANCE * total
        if settled:
            break
        theta = available._like(counts).normalize(alpha)
    return available._like(counts), make_history(objective, [], len(objective), settled)


def together(histories: Sequence[History]) -> History:
    """That of trees fitted one by one: the sums of their objectives, the last of a tree that ended before others."""
    n = max(len(h.objective) for h in histories)
    padded = [np.pad(h.objective, (0, n - len(h.objective)), "edge") for h in histories if len(h.objective)]
    objective = np.add.accumulate(padded)[-1] if padded else []
    return make_history(objective, [], max(h.kept for h in histories), all(h.converged for h in histories))


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


def one_row(total: float, n: int) -> float:
    """A power of two near the weight of one of n rows, which weigh `total`: what EM adds to cells where it begins."""
    fraction, exponent = math.frexp(total / max(n, 1))
    return math.ldexp(1.0, exponent if fraction >= 0.75 else exponent - 1)


def flat_alpha(alpha: Any, tables: Tables) -> NDArray[np.float64]:
    """The pseudocount of every cell."""
    flat = np.empty(len(tables.values))
    for j, a in enumerate(_check.alpha_value(alpha, tables.n_categories)):
        flat[tables.offsets[j] : tables.offsets[j + 1]].reshape(-1, int(tables.n_categories[j]))[...] = a
    return flat
