"""The Dirichlet-multinomial: its likelihood is the product of predictions, and the alpha found maximises it."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tallydraw.dirichlet import log_evidence

TABLES = st.lists(
    st.integers(2, 5).flatmap(
        lambda c: hnp.arrays(np.int64, st.tuples(st.just(3), st.just(c)), elements=st.integers(0, 9))
    ),
    min_size=1,
    max_size=4,
)


def stack(tables: list[Any]) -> td.Tables:
    return td.Tables.from_arrays(tables, n_classes=len(tables[0]))


def urn(table: Any, alpha: Fraction) -> Fraction:
    """The probability of draws with replacement of each ball together with another of its colour (Pólya's urn)."""
    p = Fraction(1)
    for row in table:
        drawn = 0
        for n in row.tolist():
            for i in range(n):
                p *= (alpha + i) / (alpha * len(row) + drawn)
                drawn += 1
    return p


def log_likelihood(tables: list[Any], alpha: float) -> float:
    return log_evidence(stack(tables), alpha)


@settings(max_examples=50, deadline=None)
@given(tables=TABLES, alpha=st.fractions(Fraction(1, 64), 100, max_denominator=64))
def test_the_evidence_is_polyas_urn(tables: list[Any], alpha: Fraction) -> None:
    exact = math.prod((urn(table, alpha) for table in tables), start=Fraction(1))
    logs = math.log(exact.numerator) - math.log(exact.denominator)
    assert log_likelihood(tables, float(alpha)) == pytest.approx(logs, rel=1e-12, abs=1e-11)


@pytest.mark.filterwarnings("ignore:alpha is at its largest")
@settings(max_examples=50, deadline=None)
@given(tables=TABLES)
def test_no_other_alpha_is_more_likely(tables: list[Any]) -> None:
    best = td.estimate_alpha(stack(tables))
    assert 0.0 <= best <= 2.0**20
    found = log_likelihood(tables, best or 2.0**-40)
    for alpha in np.geomspace(2.0**-30, 2.0**20, 40):
        # Under the smallest alpha its own rounding and the limit 0 differ by no more than this.
        assert log_likelihood(tables, alpha) <= found + 1e-6


@pytest.mark.filterwarnings("ignore:alpha .*is at its largest")
@settings(max_examples=50, deadline=None)
@given(tables=TABLES)
def test_one_for_each_feature(tables: list[Any]) -> None:
    each = td.estimate_alpha(stack(tables), per_feature=True)
    assert isinstance(each, np.ndarray)
    assert each.tolist() == [td.estimate_alpha(stack([table])) for table in tables]


@pytest.mark.parametrize("alpha", [0.02, 0.3, 1.0, 7.0])
def test_the_alpha_that_drew_the_rows_is_found(alpha: float, backend: str) -> None:
    rng = np.random.default_rng(8)
    rows = np.stack([rng.multinomial(200, p) for p in rng.dirichlet([alpha] * 6, 4000)])
    assert td.estimate_alpha(stack([rows])) == pytest.approx(alpha, rel=0.05)


def test_the_slope_vanishes_at_the_maximum(backend: str) -> None:
    special = pytest.importorskip("scipy.special")
    tables = [np.array([[8, 1, 3], [0, 9, 1]]), np.array([[4, 1], [7, 9]])]
    a = td.estimate_alpha(stack(tables))
    slope = 0.0
    for t in tables:
        c, n = t.shape[1], t.sum(axis=1)
        slope += (special.digamma(t + a) - special.digamma(a)).sum()
        slope -= c * (special.digamma(n + c * a) - special.digamma(c * a)).sum()
    assert slope == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    ("tables", "alpha"),
    [
        ([[5, 0], [0, 7, 0]], 0.0),  # a single category in each row
        ([[1, 0], [0, 0, 1], [0, 0]], 1.0),  # nothing to learn from
        ([[9], [3]], 1.0),
        ([[0.0, 0.0]], 1.0),
    ],
)
def test_where_the_maximum_is_at_no_alpha(tables: Any, alpha: float, backend: str) -> None:
    assert td.estimate_alpha(tables) == alpha
    td.Tables.from_arrays(tables).normalize(alpha=td.estimate_alpha(tables))


@pytest.mark.parametrize("tables", [[[5, 5], [7, 7]], [[1, 1, 1, 1]], [[0, 1, 1], [1, 0, 1], [1, 1, 0]]])
def test_counts_more_even_than_chance_and_rows_of_data_are_told(tables: Any, backend: str) -> None:
    with pytest.warns(RuntimeWarning, match=r"alpha is at its largest, 2\*\*20: .* pass td\.count_features") as caught:
        assert td.estimate_alpha(tables) == 2.0**20
    assert caught[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="alpha of table 1 is at its largest"):
        assert td.estimate_alpha([[9, 1], tables[0]], per_feature=True)[1] == 2.0**20


def test_whole_weights_are_counts(backend: str) -> None:
    counts = np.array([[8, 1, 3], [0, 9, 1]])
    assert td.estimate_alpha(stack([counts])) == td.estimate_alpha(stack([counts.astype(float)]))


@pytest.mark.parametrize("tables", [[[48, 52], [9, 1]], [[10, 0, 0], [35, 33, 32]], [[3000, 2800], [9, 1], [2, 2]]])
def test_of_two_maxima_the_higher_is_found(tables: Any, backend: str) -> None:
    counts = td.Tables.from_arrays(tables)
    heights = [log_evidence(counts, alpha) for alpha in np.geomspace(2.0**-30, 2.0**20, 1000)]
    slopes = np.sign(np.diff(heights))
    assert np.any((slopes[:-1] < 0) & (slopes[1:] > 0))
    assert log_evidence(counts, td.estimate_alpha(counts)) >= max(heights)


def test_alpha_of_one_feature_can_be_passed_on(backend: str) -> None:
    model = td.NaiveBayes().fit([[0], [1], [1], [2], *[[1]] * 9])
    model.alpha = td.estimate_alpha(model.counts_, per_feature=True)
    assert model.probabilities_[0].sum() == pytest.approx(1)


def test_hostile_arguments() -> None:
    with pytest.raises(ValueError, match=r"tables\[1\]\[1\] is -1"):
        td.estimate_alpha([[1, 2], [3, -1]])
    with pytest.raises(TypeError, match="per_feature"):
        td.estimate_alpha([[1, 2]], per_feature="yes")  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:alpha .*is at its largest")
def test_stacks_of_trees_of_their_own_are_one(backend: str) -> None:
    X, y = np.random.default_rng(0).integers(0, 3, (50, 4)), np.arange(50) % 2
    tree = td.ChowLiuTree(shared=False, alpha=1).fit(X, y)
    rows = [np.concatenate([stack[j].reshape(-1, 3) for stack in tree.counts_]) for j in range(4)]
    each = [td.estimate_alpha(td.Tables.from_arrays([table], n_classes=len(table))) for table in rows]
    assert td.estimate_alpha(tree.counts_, per_feature=True).tolist() == each
    with pytest.raises(TypeError, match="NaiveBayes"):
        td.estimate_alpha(td.NaiveBayes().fit(X))
    with pytest.raises(TypeError, match="PairTables"):
        td.estimate_alpha(tree.pair_counts_)
