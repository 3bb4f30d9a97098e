"""The arithmetic of a joint table: exact for any number of combinations, of which only those seen are there."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _rows
from tallydraw._special import log_rising
from tallydraw.models._row_counts import RowCounts
from tallydraw.models._sums import log, running_sum
from tallydraw.tables import Tables

_MOST_CELLS = 1 << 25
_LN2 = 0.6931471805599453
_FLOAT_BITS = (
    1000  # numbers of fewer bits are taken to float64 as they are; beyond, logs take mantissa and exponent apart
)


class Estimate:
    """Probabilities of the combinations, from the rows that were seen and alpha; exact, or built on demand."""

    def __init__(self, seen: RowCounts, sizes: NDArray[np.int64], alpha: Fraction) -> None:
        self.rows = seen.rows
        self.counts: NDArray[Any] = seen.counts[:, None] if seen.counts.ndim == 1 else seen.counts
        self.given = self.counts if seen.given is None else seen.given  # weights of rows in each class, to draw from
        self.sizes = sizes
        self.combinations = int(prod(sizes.tolist()))
        k = self.counts.shape[1]
        sums = np.cumsum(self.counts, axis=0)[-1].tolist() if len(self.counts) else [0] * k
        self.class_totals = [Fraction(s) for s in sums]
        if alpha == 0 and sum(self.class_totals) == 0:
            alpha = Fraction(1)  # no data: uniform
        self.alpha = alpha
        self.total = sum(self.class_totals) + alpha * self.combinations * k
        self._full: Pattern | None = None
        self._draws: Draws | None = None

    @property
    def full(self) -> Pattern:
        """The pattern without a missing cell."""
        if self._full is None:
            self._full = Pattern(self, None)
        return self._full

    @property
    def log_unseen(self) -> float:
        """Log-probability of a combination that was never seen (in each class)."""
        return float(self.full.logs[-1, 0])

    def theta(self) -> NDArray[np.float64]:
        """(D, K) probabilities of the rows seen, with each class."""
        if max(self.alpha.numerator.bit_length(), self.total.numerator.bit_length()) < _FLOAT_BITS:
            return (self.counts + float(self.alpha)) / float(self.total)
        exact = [float((Fraction(c) + self.alpha) / self.total) for c in self.counts.reshape(-1).tolist()]
        return np.array(exact).reshape(self.counts.shape)

    def unseen_mass(self, n: int) -> float:
        """Probability of n combinations that were never seen."""
        return float(self.alpha * n / self.total)

    def log_evidence(self) -> float:
        """Log marginal likelihood of the counts under Dirichlet(alpha) over all combinations and classes, alpha > 0."""
        counts = self.counts.reshape(-1)
        cells = running_sum(log_rising(float(self.alpha), counts[counts > 0]))
        n, everything = sum(self.class_totals), self.alpha * self.combinations * self.counts.shape[1]
        if everything < 2**200:
            return cells - float(log_rising(float(everything), float(n)))
        return cells - float(n) * _big_log(everything)  # beside which n is nothing

    def logs_without_one(self) -> NDArray[np.float64]:
        """(D + 1, K) logs of each row seen, estimated without one of its counts; NaN where it has none."""
        total = self.total - 1
        if total > 0:
            logs = _log_ratio(np.maximum(self.counts - 1, 0), self.alpha, total)
        else:
            logs = np.full(self.counts.shape, -_big_log(Fraction(self.combinations * self.counts.shape[1])))
        logs[self.counts == 0] = np.nan
        return np.concatenate([logs, np.full((1, logs.shape[1]), np.nan)])

    def marginal(self) -> Estimate:
        """The same with the class summed out."""
        k = self.counts.shape[1]
        if k == 1:
            return self
        summed = np.cumsum(self.counts, axis=1)[:, -1]
        return Estimate(RowCounts(self.rows, summed), self.sizes, self.alpha * k)

    def prior(self) -> Tables:
        """p(y), the combinations summed out."""
        weights = [t + self.alpha * self.combinations for t in self.class_totals]
        return _weights_table([weights])

    def draws(self) -> Draws:
        """What draws need, built once."""
        if self._draws is None:
            self._draws = Draws(self)
        return self._draws


class Pattern:
    """Distinct rows over the observed columns, and the log-probability of each, everything else summed out."""

    def __init__(self, estimate: Estimate, columns: NDArray[np.int64] | None) -> None:
        sizes = estimate.sizes.tolist()
        self.columns = columns
        if columns is None:
            self.sizes, rows, counts, completions = sizes, estimate.rows, estimate.counts, 1
            self.group = np.arange(len(rows))  # the place of every stored row among the distinct ones
        else:
            self.sizes = [sizes[j] for j in columns]
            completions = estimate.combinations // int(prod(self.sizes))
            rows, _, self.group = _rows.distinct(estimate.rows[:, columns])
            counts = np.zeros((len(rows), estimate.counts.shape[1]), estimate.counts.dtype)
            np.add.at(counts, self.group, estimate.counts)  # in row order
        self.completions = completions
        self.keys = _rows.pack(rows, self.sizes)
        self.direct = self._direct()
        unseen = np.zeros((1, counts.shape[1]), counts.dtype)
        self.logs = _log_ratio(np.concatenate([counts, unseen]), estimate.alpha * completions, estimate.total)

    def best_logs(self, estimate: Estimate) -> NDArray[np.float64]:
        """As `logs`, of the most probable completion of each instead of all."""
        most = np.zeros((len(self.keys) + 1, estimate.counts.shape[1]), estimate.counts.dtype)
        np.maximum.at(most, self.group, estimate.counts)
        return _log_ratio(most, estimate.alpha, estimate.total)

    def _direct(self) -> NDArray[np.int32] | None:
        """The place of every combination, -1 for an unseen one, where they are not many more than the rows."""
        combinations = prod(self.sizes)
        if combinations > max(1 << 16, 16 * len(self.keys)) or len(self.keys) >= 2**31:
            return None
        table = np.full(combinations, -1, np.int32)
        table[self.keys.astype(np.int64)] = np.arange(len(self.keys), dtype=np.int32)
        return table

    def places(self, codes: NDArray[Any]) -> NDArray[np.int64]:
        """The place of each row among the distinct rows, or -1: that of the last of `logs`, an unseen row's."""
        if len(self.keys) == 0:
            return np.full(len(codes), -1, np.int64)
        keys = _rows.pack(codes if self.columns is None else codes[:, self.columns], self.sizes)
        if self.direct is not None:
            return self.direct[keys.astype(np.int64)].astype(np.int64)
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, place, -1).astype(np.int64)


class Draws:
    """A mixture of the stored rows, drawn by their counts, and of all combinations, each of weight alpha."""

    def __init__(self, estimate: Estimate) -> None:
        rest = estimate.alpha * estimate.combinations
        stated = estimate.given is not estimate.counts
        totals = [Fraction(1)] * len(estimate.class_totals) if stated else estimate.class_totals
        has_class = len(totals) > 1
        weights = [[t, rest if t + rest > 0 else Fraction(1)] for t in totals]
        self.component = _weights_table(weights, n_classes=len(totals) if has_class else None)
        self.uniform: Tables | None = None
        if any(w[1] > 0 for w in weights):
            cells = sum(estimate.sizes.tolist())
            if cells > _MOST_CELLS:
                raise MemoryError(
                    f"with alpha > 0 all combinations are drawn, from a table of {cells} categories in all, more than "
                    f"{_MOST_CELLS}: encode the values that occur as 0, 1, 2, … or set alpha=0"
                )
            ones = np.ones(cells, np.int64)
            self.uniform = Tables(ones, estimate.sizes)
        counts = np.array(estimate.given.T, order="C")
        if len(estimate.rows) == 0:
            counts = np.ones((len(totals), 1), np.int64)  # never taken
        counts[~counts.any(axis=1)] = 1  # nor these
        size = np.array([counts.shape[1]], np.int64)
        self.stored = Tables(counts.reshape(-1), size, n_classes=len(totals) if has_class else None)


def _weights_table(weights: list[list[Fraction]], n_classes: int | None = None) -> Tables:
    """A table of weights, exact where they are whole and small enough; else each row divided by its sum."""
    size = np.array([len(weights[0])], np.int64)
    if all(w.denominator == 1 for row in weights for w in row) and all(sum(row) < 2**63 for row in weights):
        exact = np.array([[int(w) for w in row] for row in weights], np.int64)
        return Tables(exact.reshape(-1), size, n_classes=n_classes).normalize()
    shares = [[float(w / sum(row)) for w in row] for row in weights]
    return Tables(np.array(shares).reshape(-1), size, n_classes=n_classes)


def _log_ratio(counts: NDArray[Any], extra: Fraction, total: Fraction) -> NDArray[np.float64]:
    """Logs of (counts + extra) / total, for numbers of any size."""
    if max(extra.numerator.bit_length(), total.numerator.bit_length()) < _FLOAT_BITS:
        return log((counts + float(extra)) / float(total))
    distinct, which = np.unique(counts, return_inverse=True)
    logs = np.array([_log_fraction((Fraction(c) + extra) / total) for c in distinct.tolist()])
    return logs[which.reshape(counts.shape)]


def _log_fraction(value: Fraction) -> float:
    """The log of one ratio, as exact as its float64; of one too small for that, from mantissas and exponents."""
    if value == 0:
        return -np.inf
    near = float(value)
    return float(log([near])[0]) if near > 2.0**-1000 else _big_log(value)


def _big_log(value: Fraction) -> float:
    def of(number: int) -> float:
        exponent = number.bit_length()
        mantissa = number / (1 << exponent)  # true division of ints rounds once
        return float(log([mantissa])[0]) + exponent * _LN2

    return of(value.numerator) - (of(value.denominator) if value.denominator > 1 else 0.0)
