"""What models pass around: a fit, what is prepared from it, checked data, and what is asked of a draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw.models._sums import log
from tallydraw.tables import Tables


class History(NamedTuple):
    """How EM went: objectives, and mean held-out log-likelihoods, before each iteration; the iteration kept."""

    objective: NDArray[np.float64]
    validation: NDArray[np.float64]
    kept: int
    converged: bool


class Fitted(NamedTuple):
    """What a fit leaves. Never changed, only replaced as a whole, so that threads may share a model."""

    sizes: NDArray[np.int64]  # numbers of categories, frozen at the first fit
    counts: Any  # a value with + and -: Tables, or RowCounts; None where probabilities are given
    probabilities: Any  # given instead of counts, else None
    names: NDArray[np.object_] | None = None
    classes: NDArray[Any] | None = None  # sorted labels
    class_counts: Tables | None = None  # one feature: the class
    class_prior: Tables | None = None  # given instead of class_counts
    parents: Any = None  # (trees, d) of what is kept instead of learned from the counts
    log_likelihood: float | None = None  # of the rows, where EM expected what it did not count
    history: History | None = None  # of a fit by EM
    expected: Any = None  # tables of expected counts, where counts alone do not make the probabilities
    n_threads: int | None = None  # of the last fit, for what is learned from its counts when it is asked for

    @property
    def n_classes(self) -> int | None:
        return None if self.classes is None else len(self.classes)


class Prepared(NamedTuple):
    """What is derived from a fit under the model's parameters; built on demand, never pickled."""

    fitted: Fitted
    parameters: tuple[Any, ...]
    probabilities: Any
    prior: Tables | None

    @property
    def log_prior(self) -> NDArray[np.float64]:
        """(K,) log p(y), or one zero without a class: what the sums of a row begin at."""
        return np.zeros(1) if self.prior is None else log(self.prior[0])

    @property
    def classes(self) -> NDArray[Any] | None:
        return self.fitted.classes


class Coverage(NamedTuple):
    """Which cells of the data of a fit its log-likelihood is of."""

    rows: float | None  # of so many rows; None where the counts do not tell
    counted: NDArray[Any] | None = None  # how often each table was counted, where that is not every cell seen
    states: float | None = None  # of sequences: how many, expected ones included
    cells: NDArray[Any] | None = None  # how many of each feature, where the counts tell

    def same(self, other: Coverage) -> bool:
        """Whether both can be of the same cells."""
        if self.states is not None and other.states is not None:
            return bool(np.isclose(self.states, other.states))
        mine, theirs = self.counted, other.counted
        if mine is not None or theirs is not None:
            return mine is not None and theirs is not None and mine.shape == theirs.shape and np.allclose(mine, theirs)
        if self.cells is not None and other.cells is not None:
            return self.cells.shape == other.cells.shape and np.allclose(self.cells, other.cells)
        return self.rows is None or other.rows is None or bool(np.isclose(self.rows, other.rows))


@dataclass(frozen=True)
class Data:
    """Checked codes, (n, d) or (n,), and the names of their columns."""

    codes: NDArray[Any]
    names: NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def n_features(self) -> int:
        return 1 if self.codes.ndim == 1 else self.codes.shape[1]


class Stream(NamedTuple):
    """Rows start, start + 1, … of the stream of `key`, by `n_threads`: the last arguments of what writes draws."""

    key: int
    start: int
    n_threads: int | None


class Draw(NamedTuple):
    """What is asked of a draw: rows of a stream, of classes `y`, written to `out`."""

    out: NDArray[Any]
    y: NDArray[np.int64] | None
    stream: Stream
