"""TreeModel: what models of the form p(y) prod_j p(x_j | context of j, y) share, whatever their structure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check
from tallydraw._structure import n_cells
from tallydraw.count import refuse_sparse
from tallydraw.log_prob import score_features
from tallydraw.models._divergence import tree_entropy, tree_kl_divergence
from tallydraw.models._em import expected_soft_tables, one_row
from tallydraw.models._evidence import marginals_of, missing_cells, write_completions
from tallydraw.models._state import Draw, Prepared
from tallydraw.models._sums import running_sum
from tallydraw.models.base import Model
from tallydraw.sample.features import write_rows
from tallydraw.tables import Tables

__all__ = ["TreeModel", "stacks_of"]


class TreeModel(Model):
    """A model of rows whose tables are on a structure that is known once it is fitted.

    ``Prepared.probabilities`` is one stack of tables for every class, or a tuple of stacks without classes: one a
    class, each with a structure of its own.
    """

    def _refuse_sparse(self, data: Any, sizes: NDArray[np.int64], k: int | None) -> None:
        if self._finds_sizes():
            refuse_sparse(self._data_name, data.codes, sizes.tolist(), lambda: self._n_table_cells(sizes, k))

    def _finds_sizes(self) -> bool:
        """Whether the next fit takes its numbers of categories from the data."""
        return self._fitted is None and self.n_categories is None

    def _n_table_cells(self, sizes: NDArray[np.int64], k: int | None) -> int:
        """How many cells the tables of a fit would have."""
        return n_cells(sizes, self._parents(len(sizes)), k, self._order())

    def _expected_counts(
        self,
        data: Any,
        sizes: NDArray[np.int64],
        weights: NDArray[np.float64],
        prepared: Prepared | None,
        n_threads: int | None,
    ) -> Any:
        structure = self._structure(sizes, weights.shape[1])
        if not len(structure.context):
            return super()._expected_counts(data, sizes, weights, prepared, n_threads)
        lenient = _check.unseen_rule(self.unseen)
        gone = missing_cells(data.codes, sizes, self.missing, lenient).any(axis=1)
        if not np.any(gone):
            return super()._expected_counts(data, sizes, weights, prepared, n_threads)
        if prepared is None:  # a row more in every cell, so that none begins at zero
            counts = super()._expected_counts(data, sizes, weights, None, n_threads)
            more = one_row(running_sum(weights.reshape(-1)), len(weights))
            return self._tables(counts.values + more, sizes, weights.shape[1], structure)
        return expected_soft_tables(
            data.codes, prepared.probabilities, weights, missing=self.missing, unseen=self.unseen, n_threads=n_threads
        )

    def _score(self, prepared: Prepared, data: Any, n_threads: int | None) -> NDArray[np.float64]:
        return self._scores(prepared, data, n_threads, maximize=False)

    def _best_scores(self, prepared: Prepared, data: Any, n_threads: int | None) -> NDArray[np.float64]:
        return self._scores(prepared, data, n_threads, maximize=True)

    def _scores(self, prepared: Prepared, data: Any, n_threads: int | None, *, maximize: bool) -> NDArray[np.float64]:
        stacks = stacks_of(prepared)
        log_prior = prepared.log_prior

        def score(tables: Tables, first: NDArray[np.float64]) -> NDArray[np.float64]:
            return score_features(
                data.codes,
                tables,
                first,
                missing=self.missing,
                unseen=self.unseen,
                n_threads=n_threads,
                name=self._data_name,
                maximize=maximize,
            )

        if len(stacks) == 1:
            return score(stacks[0], log_prior)
        out = np.empty((len(data), len(stacks)))
        for k, tables in enumerate(stacks):
            out[:, k] = score(tables, log_prior[k : k + 1])[:, 0]
        return out

    def _ready(self, prepared: Prepared) -> None:
        for tables in stacks_of(prepared):
            tables.levels()

    def _draw(self, prepared: Prepared, draw: Draw) -> None:
        write_rows(draw.out, stacks_of(prepared), draw.y, *draw.stream)

    def _entropy(self, prepared: Prepared) -> float | None:
        theta = prepared.probabilities
        return tree_entropy(theta) if isinstance(theta, Tables) else None

    def _kl_divergence(self, prepared: Prepared, other: Model, theirs: Prepared) -> float | None:
        p, q = prepared.probabilities, theirs.probabilities
        if not (isinstance(other, TreeModel) and isinstance(p, Tables) and isinstance(q, Tables)):
            return None
        return tree_kl_divergence(p, q)

    def _fill(self, prepared: Prepared, data: Any, maximize: bool, draw: Draw) -> None:
        shape = len(data), len(prepared.fitted.sizes)
        write_completions(
            draw.out.reshape(shape),
            data.codes.reshape(shape),
            draw.y,
            stacks_of(prepared),
            maximize=maximize,
            missing=self.missing,
            lenient=_check.unseen_rule(self.unseen),
            key=draw.stream.key,
            start=draw.stream.start,
            n_threads=draw.stream.n_threads,
        )

    def _marginals(
        self, prepared: Prepared, data: Any, posterior: NDArray[np.float64], n_threads: int | None
    ) -> list[NDArray[np.float64]]:
        return marginals_of(
            data.codes.reshape(len(data), len(prepared.fitted.sizes)),
            stacks_of(prepared),
            posterior,
            missing=self.missing,
            lenient=_check.unseen_rule(self.unseen),
            n_threads=n_threads,
        )


def stacks_of(prepared: Prepared) -> tuple[Tables, ...]:
    """One stack of tables for every class, or one for each."""
    theta = prepared.probabilities
    return theta if isinstance(theta, tuple) else (theta,)
