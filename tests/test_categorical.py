"""Categorical: one variable, Bernoulli, tied and bounded parameters, very many categories."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("alpha", [0, 1, 2.0])
@pytest.mark.parametrize("n_categories", [2, 7, 300])
def test_draws_equal_sample_categories(alpha: float, n_categories: int, backend: str) -> None:
    x = np.random.default_rng(0).integers(0, n_categories, 100)
    model = td.Categorical(alpha=alpha, n_categories=n_categories).fit(x)
    weights = td.count_categories(x, n_categories=n_categories) + int(alpha)
    for start in (0, 17):
        expected = td.sample_categories(weights, 1000, rng=1, start=start)
        drawn = model.sample(1000, rng=1, start=start)
        assert drawn.dtype == expected.dtype
        assert drawn.tolist() == expected.tolist()


def test_draws_given_a_class_are_flat_draws_from_its_row(backend: str) -> None:
    model = td.Categorical(n_categories=3).fit([0, 1, 2, 2], ["a", "a", "b", "b"])
    y = np.array(["b", "a"] * 50)
    first = td.sample_categories([1, 1, 0], 100, rng=4)
    drawn = model.sample(100, y=y, rng=4)
    assert drawn.tolist() == np.where(y == "a", first, 2).tolist()


def test_bernoulli(backend: str) -> None:
    model = td.Categorical().fit([0, 1, 1, 0, 1])
    assert model.n_parameters == 1
    assert model.probabilities_[0].tolist() == [2 / 5, 3 / 5]
    assert model.counts_[0].tolist() == [2, 3]
    assert model.n_features_in_ == 1


def test_tied_faces_share_their_groups_mean(backend: str) -> None:
    rolls = [0, 0, 0, 1, 2, 2, 3, 5, 5, 5]
    die = td.Categorical(tied=[[0, 1, 2], [3, 4, 5]]).fit(rolls)
    assert die.n_parameters == 1
    assert die.probabilities_[0].tolist() == [6 / 30] * 3 + [4 / 30] * 3
    by_label = td.Categorical(tied=["low"] * 3 + ["high"] * 3).fit(rolls)
    assert by_label.probabilities_ == die.probabilities_
    assert die.sample(50, rng=1).tolist() == td.sample_categories([6, 6, 6, 4, 4, 4], 50, rng=1).tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.lists(st.integers(0, 7), max_size=20), st.integers(0, 2))
def test_tied_estimates_equal_plain_loops(labels: list[int], x: list[int], alpha: int) -> None:
    c = len(labels)
    x = [v % c for v in x]
    model = td.Categorical(tied=labels, alpha=alpha).fit(np.array(x, np.int64))
    total = len(x) + alpha * c
    for v, label in enumerate(labels):
        group = [w for w in range(c) if labels[w] == label]
        weight = Fraction(sum(x.count(w) + alpha for w in group), len(group))
        assert model.probabilities_[0][v] == float(weight / total if total else Fraction(1, c))
    assert model.n_parameters == len(set(labels)) - 1


def test_tying_maximises_the_likelihood_under_the_tie() -> None:
    x = np.array([0, 0, 0, 1, 2, 2, 3, 5, 5, 5])
    best = td.Categorical(tied=[[0, 1, 2], [3, 4, 5]]).fit(x).log_prob(x).sum()
    for low in np.linspace(0.01, 0.99, 99):
        other = td.Categorical.from_probabilities([[low / 3] * 3 + [(1 - low) / 3] * 3])
        assert other.log_prob(x).sum() <= best + 1e-12


def test_tied_weights_and_classes(backend: str) -> None:
    model = td.Categorical(tied=[[0, 1], [2]]).fit([0, 1, 2, 2], ["a", "a", "a", "b"], sample_weight=[0.5, 1.5, 2, 1])
    assert model.probabilities_[0].tolist() == [[0.25, 0.25, 0.5], [0, 0, 1]]
    assert model.n_parameters == 1 + 2 * 1


@pytest.mark.parametrize(
    "tied", [[[0, 1], [1, 2]], [[0], [2]], [[0], []], [], [[0.5], [1]], [[-1, 0]], np.zeros((2, 2))]
)
def test_groups_that_are_no_partition(tied: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="tied"):
        td.Categorical(tied=tied)


def test_groups_of_another_number_of_categories() -> None:
    with pytest.raises(ValueError, match="tied is about 2 categories, but there are 3"):
        td.Categorical(tied=[[0], [1]], n_categories=3).fit([0])
    with pytest.raises(ValueError, match="exclude"):
        td.Categorical(tied=[[0], [1]], bounds=(0, 1))


@pytest.mark.parametrize(
    ("ones", "theta"), [(0, 0.2), (1, 0.2), (2, 0.2), (3, 0.3), (4, 0.4), (7, 0.7), (8, 0.75), (10, 0.75)]
)
def test_a_bounded_estimate_is_clipped(ones: int, theta: float, backend: str) -> None:
    x = np.repeat([1, 0], [ones, 10 - ones])
    model = td.Categorical(bounds=(0.2, 0.75)).fit(x)
    assert model.probabilities_[0].tolist() == [1 - theta if theta in (0.2, 0.75) else (10 - ones) / 10, theta]
    assert model.n_parameters == 1


def test_clipping_maximises_the_likelihood_within_the_bounds() -> None:
    x = np.array([1] * 9 + [0])
    best = td.Categorical(bounds=(0.2, 0.75)).fit(x).log_prob(x).sum()
    for theta in np.linspace(0.2, 0.75, 56):
        assert td.Categorical.from_probabilities([[1 - theta, theta]]).log_prob(x).sum() <= best + 1e-12


def test_bounds_of_each_class(backend: str) -> None:
    model = td.Categorical(bounds=(0.25, 1)).fit([0, 0, 1, 1], [0, 0, 1, 1])
    assert model.probabilities_[0].tolist() == [[0.75, 0.25], [0, 1]]
    assert model.sample(1000, y=1, rng=0).tolist() == [1] * 1000
    assert abs(model.sample(10000, y=0, rng=0).mean() - 0.25) < 0.03
    with pytest.raises(ValueError, match="two categories"):
        td.Categorical(bounds=(0.2, 0.3), n_categories=3).fit([0])


@pytest.mark.parametrize("bounds", [(0.5, 0.2), (-0.1, 1), (0, 1.1), (0.5,), 3, (np.nan, 1)])
def test_bounds_that_are_no_interval(bounds: Any) -> None:
    with pytest.raises(ValueError, match="bounds"):
        td.Categorical(bounds=bounds)


def test_a_stated_table_needs_no_list(backend: str) -> None:
    model = td.Categorical.from_probabilities([0.25, 0.75])
    assert model.probabilities_[0].tolist() == [0.25, 0.75]
    assert td.Categorical.from_probabilities([[0.25, 0.75]]).probabilities_ == model.probabilities_
    with pytest.raises(ValueError, match="one table"):
        td.Categorical.from_probabilities([[0.25, 0.75], [0.5, 0.25, 0.25]])
    with_class = td.Categorical.from_probabilities([[0.25, 0.75], [1, 0]], class_prior=[0.5, 0.5])
    np.testing.assert_allclose(np.exp(with_class.log_prob([0, 1])), [0.625, 0.375], rtol=1e-15)


def test_missing_codes(backend: str) -> None:
    model = td.Categorical(missing=3, n_categories=3).fit([0, -1, 3, 2])
    assert model.counts_[0].tolist() == [1, 0, 1]
    assert model.log_prob([-1, 3]).tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"x\[1\] is 4, but there are 3 categories"):
        model.log_prob([0, 4])
    with pytest.raises(ValueError, match="1 dimension"):
        model.fit([[0, 1]])


def test_an_rgb_pixel(backend: str) -> None:
    colours = 256**3
    x = np.random.default_rng(0).integers(0, colours, 10_000).astype(np.uint32)
    x[:2500] = 0xFF8800
    model = td.Categorical(n_categories=colours).fit(x)
    assert model.n_parameters == 16_777_215
    assert model.counts_[0][0xFF8800] >= 2500
    drawn = model.sample(10_000, rng=1)
    assert drawn.dtype == np.uint32
    assert np.isin(drawn, x).all()
    assert abs((drawn == 0xFF8800).mean() - 0.25) < 0.03
    assert model.log_prob([0xFF8800])[0] == pytest.approx(np.log(model.counts_[0][0xFF8800] / 10_000))
