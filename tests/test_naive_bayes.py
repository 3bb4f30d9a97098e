"""NaiveBayes: counts, estimates and scores against plain loops; missing cells."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[int], list[list[int]], list[int], int]:
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    k = draw(st.integers(1, 3))
    n = draw(st.integers(1, 12))
    rows = [[draw(st.integers(-1, c - 1)) for c in sizes] for _ in range(n)]
    return sizes, rows, [draw(st.integers(0, k - 1)) for _ in range(n)], draw(st.integers(0, 2))


@settings(max_examples=60, deadline=None)
@given(problems())
def test_estimates_equal_plain_loops(problem: Any) -> None:
    sizes, rows, y, alpha = problem
    classes = sorted(set(y))
    for name in td.backend.available():
        td.backend.use(name)
        model = td.NaiveBayes(alpha=alpha, n_categories=sizes).fit(np.array(rows), y)
        assert model.class_prior_ is not None
        prior = [float(Fraction(y.count(c) + alpha, len(y) + alpha * len(classes))) for c in classes]
        assert model.class_prior_.tolist() == prior
        for j, size in enumerate(sizes):
            for i, c in enumerate(classes):
                seen = [row[j] for row, label in zip(rows, y, strict=True) if label == c and row[j] >= 0]
                assert model.counts_[j][i].tolist() == [seen.count(v) for v in range(size)]
                total = len(seen) + alpha * size
                theta = [(seen.count(v) + alpha) / total if total else 1 / size for v in range(size)]
                assert model.probabilities_[j][i].tolist() == theta
    td.backend.use(td.backend.available()[0])


def test_scores_are_those_of_the_tables(backend: str) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.integers(-1, 5, (300, 7)), rng.integers(0, 4, 300)
    plain, labelled = td.NaiveBayes(alpha=0.5).fit(X), td.NaiveBayes(alpha=0.5).fit(X, y)
    assert plain.log_prob(X).tolist() == td.log_prob_features(X, plain.probabilities_).tolist()
    given_class = td.log_prob_features(X, labelled.probabilities_)
    np.testing.assert_allclose(labelled.log_joint(X), given_class + np.log(labelled.class_prior_), rtol=1e-13)
    assert labelled.counts_ == td.count_features(X, y=y, n_categories=5)


def test_draws_are_those_of_the_tables(backend: str) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 5, (300, 7)), rng.integers(0, 4, 300)
    plain = td.NaiveBayes(alpha=1).fit(X)
    assert plain.sample(99, rng=1).tolist() == td.sample_features(plain.probabilities_, 99, rng=1).tolist()
    labelled = td.NaiveBayes(alpha=1).fit(X, y)
    rows, labels = labelled.sample_joint(99, rng=1)
    assert rows.tolist() == td.sample_features(labelled.probabilities_, 99, y=labels, rng=1).tolist()


def test_parameters() -> None:
    X = np.array([[1, 2, 3]])
    assert td.NaiveBayes().fit(X).n_parameters == 1 + 2 + 3
    assert td.NaiveBayes().fit(np.tile(X, (3, 1)), [0, 1, 2]).n_parameters == 2 + 3 * (1 + 2 + 3)


def test_missing_cells_are_summed_out(backend: str) -> None:
    rng = np.random.default_rng(1)
    X, y = rng.integers(0, 3, (200, 3)), rng.integers(0, 2, 200)
    model = td.NaiveBayes(alpha=1).fit(X, y)
    for row in ([1, -1, 2], [-1, -1, 0], [-1, -1, -1], [2, 1, 0]):
        completions = np.array(
            [
                r
                for r in np.indices((3, 3, 3)).reshape(3, -1).T
                if all(a in (b, -1) for a, b in zip(row, r, strict=True))
            ]
        )
        expected = np.exp(model.log_joint(completions)).sum(axis=0)
        np.testing.assert_allclose(np.exp(model.log_joint([row]))[0], expected, rtol=1e-12)


def test_missing_cells_are_not_counted(backend: str) -> None:
    model = td.NaiveBayes(n_categories=3, missing=2).fit([[0, 2], [-1, 1], [1, -7]])
    assert [t.tolist() for t in model.counts_] == [[1, 1, 0], [0, 1, 0]]


def test_alpha_of_each_feature_and_category(backend: str) -> None:
    X, y = [[0, 0], [1, 2]], [0, 0]
    model = td.NaiveBayes(alpha=[[1, 0], [0, 2, 0]]).fit(X, y)
    assert model.probabilities_[0].tolist() == [[2 / 3, 1 / 3]]
    assert model.probabilities_[1].tolist() == [[0.25, 0.5, 0.25]]
    labelled = td.NaiveBayes(alpha=[1, 3], n_categories=[2, 3]).fit([[0, 0], [1, 2], [1, 1]], [0, 0, 1])
    assert labelled.class_prior_ is not None
    assert labelled.class_prior_.tolist() == [2 / 3, 1 / 3]
    assert td.NaiveBayes(alpha=1).fit([[0], [1], [1]], [0, 0, 1]).class_prior_.tolist() == [3 / 5, 2 / 5]  # type: ignore[union-attr]


def test_weights_follow_bincount(backend: str) -> None:
    rng = np.random.default_rng(2)
    X, y, w = rng.integers(0, 4, (500, 3)), rng.integers(0, 2, 500), rng.random(500)
    model = td.NaiveBayes().fit(X, y, sample_weight=w)
    for j in range(3):
        assert model.counts_[j].ravel().tolist() == np.bincount(y * 4 + X[:, j], w, minlength=8).tolist()
    assert model.class_counts_ is not None
    assert model.class_counts_.tolist() == np.bincount(y, w).tolist()


def test_a_column_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 dimensions"):
        td.NaiveBayes().fit([0, 1])
    with pytest.raises(ValueError, match="one label a row"):
        td.NaiveBayes().fit([[0], [1]], [0])


def test_alpha_as_an_array_of_all_categories(backend: str) -> None:
    """One row a feature, where all features have as many categories: as a list of these rows."""
    alpha, X = np.array([[1.0, 0.5, 2.0], [0.0, 3.0, 1.0]]), [[0, 1], [2, 2], [1, 0]]
    for model in (td.NaiveBayes, td.MarkovChain, td.ChowLiuTree):
        assert model(alpha=alpha).fit(X).probabilities_ == model(alpha=list(alpha)).fit(X).probabilities_
    counts = td.count_features(X)
    assert counts.normalize(alpha) == counts.normalize(alpha.tolist())
    with pytest.raises(ValueError, match=r"alpha of feature 0 must be one number or 3 of them, got shape \(2,\)"):
        td.NaiveBayes(alpha=np.ones((2, 2))).fit(X)
    with pytest.raises(ValueError, match=r"alpha must have one entry a feature \(2\), got 3"):
        td.NaiveBayes(alpha=np.ones((3, 3))).fit(X)
    with pytest.raises(ValueError, match=r"alpha must be one number, .* got shape \(1, 2, 3\)"):
        td.NaiveBayes(alpha=alpha[None]).fit(X)


@pytest.mark.parametrize("alpha", [10**400, [1, 10**400], -(10**400), np.inf, np.nan, -1])
def test_alpha_is_finite_and_non_negative(alpha: Any) -> None:
    with pytest.raises(ValueError, match=r"alpha of feature [01] must be finite and non-negative, got (inf|nan|-1)"):
        td.NaiveBayes(alpha=alpha).fit([[0, 1], [1, 0]])
