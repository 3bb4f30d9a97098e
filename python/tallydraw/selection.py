"""Comparing models on the same rows: a small table, the best first."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check
from tallydraw.models._labels import class_codes, label_array
from tallydraw.models._sums import exp, running_sum
from tallydraw.models.base import Model

__all__ = ["ComparedModel", "Comparison", "compare"]

_TEXT = ("name",)
_CRITERIA = "* aic, bic and log_evidence"


class ComparedModel(NamedTuple):
    """One model of a :class:`Comparison`; None where a figure is not defined."""

    name: str
    n_parameters: int
    log_prob: float  # mean over the rows
    log_prob_error: float  # standard error of the mean
    difference: float  # of the mean to that of the best
    difference_error: float  # standard error of the paired difference
    perplexity: float  # exp(-log p per cell)
    impossible: int  # rows of probability zero
    accuracy: float | None
    aic: float | None
    bic: float | None
    log_evidence: float | None


class Comparison(tuple[ComparedModel, ...]):
    """Compared models, best first: an immutable sequence of :class:`ComparedModel` that shows itself as a table.

    ``pandas.DataFrame(comparison)`` makes a data frame of it. Below the table stands which criteria are not to be
    compared with each other.
    """

    _notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, list[Any]]:
        """A list for each column."""
        return {field: [getattr(row, field) for row in self] for field in ComparedModel._fields}

    def __repr__(self) -> str:
        columns = []
        for field, values in self.to_dict().items():
            if any(v is not None for v in values):
                cells = [field, *map(_shown, values)]
                width = max(map(len, cells))
                columns.append([c.ljust(width) if field in _TEXT else c.rjust(width) for c in cells])
        table = ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
        return "\n".join([*table, *self._notes])


def compare(models: Mapping[str, Model], X: Any, y: Any = None, *, n_threads: int | None = None) -> Comparison:
    """Compare fitted models by what they say of the same rows, best held out of every fit.

    Parameters
    ----------
    models : mapping of str to Model
        Fitted, each to score `X`.
    X : array_like of int, shape (n, d), or what the models score
        Rows, missing cells summed out.
    y : array_like, shape (n,), optional
        Their labels, for the accuracy of the models that have a class.
    n_threads : int, optional
        The result does not depend on it.

    Returns
    -------
    Comparison
        A sequence of named tuples, the largest mean ``log_prob`` first (among models that find some row impossible, the
        fewest ``impossible`` rows first):

        - ``name``, ``n_parameters``.
        - ``log_prob``: mean of log p(x) in nats, the class summed out; ``log_prob_error``: its standard error.
        - ``difference``: mean difference to the best, row by row, at most 0; ``difference_error``: its standard error,
          which is the one to judge by, because what makes a row hard for all models cancels. Beside a ``log_prob`` of
          -inf, and of a single row, errors are inf.
        - ``perplexity``: exp(-log p) per cell, missing cells included: the number of equally likely categories.
        - ``impossible``: how many rows have probability zero.
        - ``accuracy``: share of labels predicted, where `y` is given and the model has a class.
        - ``aic``, ``bic``, ``log_evidence``: of the data of the fit, see :meth:`Model.aic`; None where the model has no
          counts, or the evidence is not defined. With a class they are of rows and classes: not to be compared with
          those of a model without; nor, where cells of the fit were missing, those of models that count only available
          cases with those of others.

    Raises
    ------
    TypeError
        `models` is no mapping of names to models.
    ValueError
        No models, no rows, or what a model, which the message names, says of `X` or `y`.
    AttributeError
        A model is not fitted, naming it.

    Examples
    --------
    >>> import tallydraw as td
    >>> X = [[0, 0], [0, 0], [1, 1], [1, 1], [0, 1]] * 20
    >>> models = {"independent": td.NaiveBayes(alpha=1).fit(X[:50]), "chain": td.MarkovChain(alpha=1).fit(X[:50])}
    >>> table = td.compare(models, X[50:])
    >>> [row.name for row in table], round(table[1].difference, 4)
    (['chain', 'independent'], -0.2724)
    """
    if not isinstance(models, Mapping):
        raise TypeError(
            f"models must be a mapping of names to models, got {type(models).__name__}: pass {{name: model}}"
        )
    if not models:
        raise ValueError("models is empty: name at least one")
    for name, model in models.items():
        if not isinstance(name, str):
            raise TypeError(f"the names of models must be strings, got {name!r}")
        if not isinstance(model, Model):
            raise TypeError(f"models[{name!r}] must be a Model, got {type(model).__name__}")
    wanted = _check.thread_count(n_threads)
    scores = {}
    for name, model in models.items():
        with _named(name):
            scores[name] = model.log_prob(X, n_threads=wanted)
    n = len(next(iter(scores.values())))
    if n == 0:
        raise ValueError("X has no rows to compare the models on")
    labels = None if y is None else label_array(y, n)
    impossible = {name: int(np.count_nonzero(np.isneginf(s))) for name, s in scores.items()}
    order = sorted(models, key=lambda name: (impossible[name], -_mean_and_error(scores[name])[0]))
    best = scores[order[0]]
    rows = []
    for name in order:
        model, log_p = models[name], scores[name]
        mean, error = _mean_and_error(log_p)
        difference, difference_error = (0.0, 0.0) if log_p is best else _mean_difference(log_p, best)
        cells = model._n_cells(model._read(X))
        per_cell = -running_sum(log_p) / cells if cells else 0.0
        with _named(name):
            accuracy, criteria = _accuracy(model, X, labels, wanted), _criteria(model)
        rows.append(
            ComparedModel(
                name,
                model.n_parameters,
                mean,
                error,
                difference,
                difference_error,
                float(exp([per_cell])[0]) if per_cell < 700 else math.inf,
                impossible[name],
                accuracy,
                *criteria,
            )
        )
    comparison = Comparison(rows)
    comparison._notes = _notes({name: models[name] for name in order})
    return comparison


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors name the model that raised them."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        error.args = (f"model {name!r}: {error}",)
        raise


def _notes(models: Mapping[str, Model]) -> tuple[str, ...]:
    """Which criteria are of different things, as far as the counts tell."""
    counted = {name: model for name, model in models.items() if model._fitted and model._fitted.counts is not None}
    labelled = [name for name, model in counted.items() if model.classes_ is not None]
    covered = {name: model._coverage(model._prepared()) for name, model in counted.items()}
    notes = []
    if 0 < len(labelled) < len(counted):
        notes.append(f"{_CRITERIA} of {', '.join(labelled)} are of rows and classes, those of the others of rows alone")
    if any(not a.same(b) for a, b in itertools.combinations(covered.values(), 2)):
        some = [name for name, cells in covered.items() if cells.counted is not None]
        reason = "the fits were to different rows, or left out rows with missing cells"
        if some:
            reason = f"{', '.join(some)} left out observed cells beside missing ones"
        elif any(cells.states is not None for cells in covered.values()):
            reason = "the fits counted different numbers of states, by missing ones or of other sequences"
        notes.append(f"{_CRITERIA} are not comparable: {reason}")
    return tuple(notes)


def _mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """The mean, summed in row order, and its standard error."""
    n = len(values)
    mean = running_sum(values) / n
    if n == 1 or not math.isfinite(mean):
        return mean, math.inf
    deviation = values - mean
    return mean, math.sqrt(running_sum(deviation * deviation) / (n - 1) / n)


def _mean_difference(log_p: NDArray[np.float64], best: NDArray[np.float64]) -> tuple[float, float]:
    """Mean of log_p - best, and its standard error; where both find rows impossible, 0 with an error of inf."""
    if np.isneginf(best).any():
        return 0.0, math.inf
    return _mean_and_error(log_p - best)


def _accuracy(model: Model, X: Any, labels: NDArray[Any] | None, n_threads: int | None) -> float | None:
    classes = model.classes_
    if labels is None or classes is None:
        return None
    right = class_codes(model.predict(X, n_threads=n_threads), classes) == class_codes(labels, classes)
    return int(np.count_nonzero(right)) / len(labels)


def _criteria(model: Model) -> tuple[float | None, float | None, float | None]:
    """Information criteria and evidence, each None where it is not defined."""
    try:
        prepared = model._counted()
    except AttributeError:  # no counts
        return None, None, None
    bic = model.bic() if model._n_rows(prepared) > 0 else None
    evidence = model.log_evidence() if model._improper(prepared.fitted) is None else None
    return model.aic(), bic, evidence


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value) if value < 10**12 else f"{Decimal(value):.4e}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
