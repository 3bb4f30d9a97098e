"""The worked examples of the field's first chapter: each number and claim is a test named after it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st

# Ten rows: x1 in {A, B}, x2 in {€, $}, y in {0, 1}.
ROWS = ["A€1", "A€1", "B€1", "B$0", "B$0", "A€0", "A$0", "B€0", "B€1", "B$1"]
X = np.array([["AB".index(r[0]), "€$".index(r[1])] for r in ROWS])
Y = np.array([int(r[2]) for r in ROWS])
A, DOLLAR = 0, 1

# An avatar: five features of 7, 6, 3, 4 and 8 values; 50 of them were seen.
SIZES = [7, 6, 3, 4, 8]
FREQUENT = [23, 8, 22, 19, 22]  # how often value 0 of each feature was seen
BERNOULLI = st.floats(0.01, 0.99)


def avatars() -> np.ndarray:
    """(50, 5): value 0 of feature j occurs FREQUENT[j] times, one combination twice and no combination more often."""
    rng = np.random.default_rng(12)
    columns = [
        np.concatenate([np.zeros(m, int), 1 + np.arange(50 - m) % (c - 1)])
        for m, c in zip(FREQUENT, SIZES, strict=True)
    ]
    while True:
        found = np.stack([rng.permutation(c) for c in columns], axis=1)
        counts = np.sort(td.count_rows(found)[1])
        if counts[-1] == 2 and counts[-2] == 1:
            return found


AVATARS = avatars()
EVERY = np.indices(SIZES).reshape(5, -1).T


def categorical(p: Any) -> td.Categorical:
    return td.Categorical.from_probabilities([p])


def distributions(c: int) -> st.SearchStrategy[np.ndarray]:
    weights = st.lists(st.integers(1, 1000), min_size=c, max_size=c)
    return weights.map(lambda w: np.array(w) / sum(w))


# Ten rows ----------------------------------------------------------------------------------------------------------


def test_class_conditional_probabilities_of_the_ten_rows(backend: str) -> None:
    model = td.NaiveBayes().fit(X, Y)
    assert model.probabilities_[0][1, A] == 0.4
    assert model.probabilities_[1][1, DOLLAR] == 0.2
    assert model.probabilities_[0][0, A] == 0.4
    assert model.probabilities_[1][0, DOLLAR] == 0.6
    assert model.class_prior_ is not None
    assert model.class_prior_.tolist() == [0.5, 0.5]


def test_a_dollar_has_probability_008_in_class_1_and_024_in_class_0(backend: str) -> None:
    model = td.NaiveBayes().fit(X, Y)
    given_class = np.exp(td.log_prob_features([[A, DOLLAR]], model.probabilities_))[0]
    np.testing.assert_allclose(given_class, [0.24, 0.08], rtol=1e-14)


def test_naive_bayes_says_25_to_75(backend: str) -> None:
    posterior = td.NaiveBayes().fit(X, Y).predict_proba([[A, DOLLAR]])[0]
    np.testing.assert_allclose(posterior[[1, 0]], [0.25, 0.75], rtol=1e-14)


def test_the_tabular_posterior_says_0_to_1(backend: str) -> None:
    assert td.JointTable().fit(X, Y).predict_proba([[A, DOLLAR]])[0][[1, 0]].tolist() == [0, 1]


# Fifty avatars of 4,032 combinations -------------------------------------------------------------------------------


def test_there_are_4032_combinations() -> None:
    assert math.prod(SIZES) == len(EVERY) == 4032
    assert td.JointTable(n_categories=SIZES).fit(AVATARS).n_parameters == 4031
    assert td.NaiveBayes(n_categories=SIZES).fit(AVATARS).n_parameters == 6 + 5 + 2 + 3 + 7


def test_a_combination_seen_twice_in_50_has_theta_004(backend: str) -> None:
    table = td.JointTable(n_categories=SIZES).fit(AVATARS)
    twice = table.rows_[table.row_counts_ == 2]
    assert table.dense()[tuple(twice[0])] == 2 / 50 == 0.04
    assert table.log_prob(twice)[0] == pytest.approx(math.log(0.04), rel=1e-15)


def test_with_a_pseudocount_it_has_3_of_4082_and_the_unseen_are_equally_likely(backend: str) -> None:
    table = td.JointTable(n_categories=SIZES, alpha=1).fit(AVATARS)
    twice = table.rows_[table.row_counts_ == 2]
    dense = table.dense()
    assert dense[tuple(twice[0])] == (2 + 1) / (50 + 4032)
    unseen = EVERY[~table.seen(EVERY)]
    assert len(unseen) == 4032 - 49
    assert np.unique(table.log_prob(unseen)).tolist() == [table.log_prob(unseen[:1])[0]]
    assert {float(dense[tuple(row)]) for row in unseen} == {1 / 4082}


def test_the_factorised_estimate_is_the_product_of_five_shares(backend: str) -> None:
    model = td.NaiveBayes(n_categories=SIZES).fit(AVATARS)
    shares = [model.probabilities_[j][0] for j in range(5)]
    assert shares == [0.46, 0.16, 0.44, 0.38, 0.44]
    p = float(np.exp(model.log_prob([[0, 0, 0, 0, 0]]))[0])
    assert p == pytest.approx(0.46 * 0.16 * 0.44 * 0.38 * 0.44, rel=1e-14)
    assert round(p, 4) == 0.0054


def test_the_joint_mle_never_draws_an_unseen_combination(backend: str) -> None:
    table = td.JointTable(n_categories=SIZES).fit(AVATARS)
    drawn = table.sample(200_000, rng=1)
    assert table.seen(drawn).all()
    assert td.novelty(drawn, AVATARS) == 0


def test_the_factorised_model_draws_unseen_combinations(backend: str) -> None:
    assert td.novelty(td.NaiveBayes(n_categories=SIZES).fit(AVATARS).sample(10_000, rng=1), AVATARS) > 0.5


def test_the_factorised_model_prefers_the_combination_with_the_more_frequent_value(backend: str) -> None:
    table, product = (kind(n_categories=SIZES).fit(AVATARS) for kind in (td.JointTable, td.NaiveBayes))
    often, rare = np.array([[0, 1, 1, 1, 1], [5, 1, 1, 1, 1]])
    assert product.counts_[0][0] > product.counts_[0][5]
    assert not table.seen([often, rare]).any()
    assert product.log_prob([often])[0] > product.log_prob([rare])[0]
    assert table.log_prob([often, rare]).tolist() == [-np.inf, -np.inf]


# Parameters --------------------------------------------------------------------------------------------------------


def test_a_coin_has_1_parameter_a_die_5_and_a_pixel_16777215() -> None:
    for categories, parameters in ((2, 1), (6, 5), (256**3, 16_777_215)):
        assert td.Categorical(n_categories=categories).fit([0]).n_parameters == parameters


@pytest.mark.parametrize("n", [1, 2, 5, 10, 16])
def test_parameters_of_n_binary_variables(n: int) -> None:
    data = np.zeros((1, n), np.uint8)
    chain_rule = td.MarkovChain(order=max(1, n - 1), n_categories=2).fit(data)
    joint = td.JointTable(n_categories=2).fit(data)
    assert chain_rule.n_parameters == joint.n_parameters == 2**n - 1 == sum(2**i for i in range(n))
    assert [t.size // 2 for t in chain_rule.counts_] == [2**i for i in range(n)]
    assert td.NaiveBayes(n_categories=2).fit(data).n_parameters == n
    assert td.MarkovChain(n_categories=2).fit(data).n_parameters == 2 * n - 1


def test_a_die_with_two_tied_halves_has_1_parameter() -> None:
    die = td.Categorical(tied=[[0, 1, 2], [3, 4, 5]]).fit([0, 0, 1, 5])
    assert die.n_parameters == 1
    assert die.probabilities_[0].tolist() == [1 / 4] * 3 + [1 / 12] * 3


def test_the_chain_fits_data_of_a_chain_better_than_the_product_does(backend: str) -> None:
    step = [[0.9, 0.1], [0.2, 0.8]]
    train, test = (td.sample_paths(step, 2000, 12, rng=seed) for seed in (1, 2))
    chain, product = td.MarkovChain().fit(train), td.NaiveBayes().fit(train)
    for data in (train, test):
        assert chain.log_prob(data).mean() > product.log_prob(data).mean() + 1


def test_the_chain_fits_its_own_training_data_at_least_as_well_as_the_product_does(backend: str) -> None:
    for seed in range(20):
        data = np.random.default_rng(seed).integers(0, 2, (30, 4))
        fits = [m.fit(data).log_prob(data).sum() for m in (td.NaiveBayes(), td.MarkovChain(), td.MarkovChain(order=3))]
        assert fits[0] <= fits[1] + 1e-9
        assert fits[1] <= fits[2] + 1e-9


# Maximum likelihood and the divergence -----------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), distributions(3))
def test_moving_theta_off_n_over_n_lowers_the_log_likelihood(x: list[int], theta: np.ndarray) -> None:
    best = td.Categorical(n_categories=3).fit(x)
    moved = categorical(theta)
    loss = best.log_prob(x).sum() - moved.log_prob(x).sum()
    # The loss is N times the divergence of the moved model from the best one.
    divergence = best.kl_divergence(moved)
    assert loss == pytest.approx(len(x) * divergence, rel=1e-9, abs=1e-12)
    assert divergence > 0 or np.allclose(theta, best.probabilities_[0], rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=20),
    distributions(2),
    distributions(3),
)
def test_the_empirical_divergence_is_least_at_the_mle(
    rows: list[tuple[int, int]], p: np.ndarray, q: np.ndarray
) -> None:
    data = td.JointTable(n_categories=[2, 3]).fit(rows)
    best = td.NaiveBayes(n_categories=[2, 3]).fit(rows)
    assert data.kl_divergence(best) <= data.kl_divergence(td.NaiveBayes.from_probabilities([p, q])) + 1e-12


def test_at_the_optimum_the_mean_log_likelihood_is_minus_the_empirical_entropy(backend: str) -> None:
    truth = categorical([0.5, 0.2, 0.2, 0.1])
    x = truth.sample(1000, rng=3)
    best = td.Categorical().fit(x)
    assert best.log_prob(x).mean() == pytest.approx(-td.entropy(td.count_categories(x) / 1000), rel=1e-12)
    assert best.log_prob(x).mean() == pytest.approx(-best.entropy(), rel=1e-12)


def test_the_estimated_divergence_from_the_truth_is_not_zero_at_the_optimum(backend: str) -> None:
    truth = categorical([0.5, 0.2, 0.2, 0.1])
    x = truth.sample(1000, rng=3)
    best = td.Categorical().fit(x)
    estimate, _ = td.kl_divergence_estimate(truth.log_prob(x), best.log_prob(x))
    assert estimate == pytest.approx(truth.log_prob(x).mean() + best.entropy(), rel=1e-9)
    assert estimate < 0
    for other in ([0.5, 0.2, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.25] * 4):
        assert estimate < td.kl_divergence_estimate(truth.log_prob(x), categorical(other).log_prob(x))[0]


def test_the_estimate_of_the_divergence_converges_at_the_rate_one_over_root_n(backend: str) -> None:
    p, q = [0.5, 0.3, 0.2], [0.2, 0.3, 0.5]
    exact = td.kl_divergence(p, q)
    ratios = np.log(np.array(p) / np.array(q))
    spread = math.sqrt(np.dot(p, ratios**2) - exact**2)
    for n in (10**2, 10**3, 10**4, 10**5, 10**6):
        x = categorical(p).sample(n, rng=8)
        estimate, error = td.kl_divergence_estimate(categorical(p).log_prob(x), categorical(q).log_prob(x))
        assert abs(estimate - exact) < 4 * spread / math.sqrt(n)  # fixed seeds; 6e-5 of them would fail
        assert error == pytest.approx(spread / math.sqrt(n), rel=0.25)


@settings(max_examples=100, deadline=None)
@given(distributions(4), distributions(4))
def test_the_divergence_is_zero_only_if_equal_and_never_negative(p: np.ndarray, q: np.ndarray) -> None:
    assert td.kl_divergence(p, p) == 0
    assert categorical(p).kl_divergence(categorical(p)) == 0
    assert td.kl_divergence(p, q) >= -1e-15
    if not np.allclose(p, q, rtol=1e-6):
        assert td.kl_divergence(p, q) > 0


def test_the_divergence_is_not_symmetric() -> None:
    p, q = [0.5, 0.5], [0.9, 0.1]
    assert td.kl_divergence(p, q) == pytest.approx(0.5 * math.log(25 / 9))
    assert td.kl_divergence(q, p) == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2))
    assert td.kl_divergence(p, q) > td.kl_divergence(q, p) + 0.1


def test_the_divergence_breaks_the_triangle_inequality() -> None:
    p, q, r = [0.5, 0.5], [0.25, 0.75], [0.1, 0.9]
    assert td.kl_divergence(p, r) > td.kl_divergence(p, q) + td.kl_divergence(q, r)


@settings(max_examples=50, deadline=None)
@given(BERNOULLI)
def test_the_entropy_of_a_bernoulli(theta: float) -> None:
    expected = -theta * math.log(theta) - (1 - theta) * math.log(1 - theta)
    assert td.entropy([1 - theta, theta]) == pytest.approx(expected, rel=1e-12)
    assert categorical([1 - theta, theta]).entropy() == pytest.approx(expected, rel=1e-12)
    assert expected <= td.entropy([0.5, 0.5]) + 1e-15
    assert td.entropy([0.5, 0.5]) == pytest.approx(math.log(2))


@settings(max_examples=50, deadline=None)
@given(distributions(12))
def test_mutual_information_is_the_entropy_that_knowing_removes(p: np.ndarray) -> None:
    joint = p.reshape(3, 4)
    information = td.mutual_information(joint)
    h_x, h_y = td.entropy(joint.sum(axis=1)), td.entropy(joint.sum(axis=0))
    assert information == pytest.approx(h_x - td.conditional_entropy(joint), abs=1e-12)
    assert information == pytest.approx(h_y - td.conditional_entropy(joint.T), abs=1e-12)
    assert information == pytest.approx(
        td.kl_divergence(p, np.outer(joint.sum(axis=1), joint.sum(axis=0)).ravel()), abs=1e-12
    )


# Rules of probability ----------------------------------------------------------------------------------------------


def test_the_product_rule_and_bayes_rule(backend: str) -> None:
    every = np.indices((2, 2)).reshape(2, -1).T
    for model in (td.NaiveBayes().fit(X, Y), td.JointTable(alpha=1).fit(X, Y), td.MarkovChain().fit(X, Y)):
        joint, posterior, evidence = (
            np.exp(model.log_joint(every)),
            model.predict_proba(every),
            np.exp(model.log_prob(every)),
        )
        np.testing.assert_allclose(joint, posterior * evidence[:, None], rtol=1e-14)
        np.testing.assert_allclose(posterior, joint / joint.sum(axis=1, keepdims=True), rtol=1e-14)


def test_marginals_sum_the_class_out(backend: str) -> None:
    every = np.indices((2, 2)).reshape(2, -1).T
    for kind in (td.NaiveBayes, td.JointTable, td.MarkovChain):
        model = kind().fit(X, Y)
        np.testing.assert_allclose(
            np.exp(model.log_prob(every)), np.exp(model.log_joint(every)).sum(axis=1), rtol=1e-14
        )
    # What the table says of x does not depend on whether y was looked at.
    with_class, without = td.JointTable().fit(X, Y), td.JointTable().fit(X)
    np.testing.assert_allclose(with_class.log_prob(every), without.log_prob(every), rtol=1e-14)


@settings(max_examples=50, deadline=None)
@given(distributions(2), distributions(3), distributions(6))
def test_independent_if_and_only_if_the_joint_is_the_product(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> None:
    independent = np.outer(p, q)
    assert td.mutual_information(independent) == pytest.approx(0, abs=1e-12)
    product = td.NaiveBayes.from_probabilities([p, q])
    table = td.JointTable.from_probabilities(independent)
    every = np.indices((2, 3)).reshape(2, -1).T
    np.testing.assert_allclose(product.log_prob(every), table.log_prob(every), rtol=1e-9, atol=1e-12)
    joint = r.reshape(2, 3)
    gap = td.JointTable.from_probabilities(joint).kl_divergence(
        td.NaiveBayes.from_probabilities([joint.sum(axis=1), joint.sum(axis=0)])
    )
    assert gap == pytest.approx(td.mutual_information(joint), abs=1e-12)
    assert (gap > 1e-9) == (
        not np.allclose(joint, np.outer(joint.sum(axis=1), joint.sum(axis=0)), rtol=1e-4, atol=1e-6)
    )


def test_labels_drawn_from_a_posterior_have_its_frequencies(backend: str) -> None:
    # A share of n draws is within six standard deviations, at most 0.5 / sqrt(n) each, for a fixed seed.
    model = td.NaiveBayes().fit(X, Y)
    n = 40_000
    rows = np.tile([[A, DOLLAR]], (n, 1))
    labels = td.sample_rows(model.predict_proba(rows), rng=5)
    assert abs((labels == 1).mean() - 0.25) < 6 * 0.5 / math.sqrt(n)
    certain = td.sample_rows(td.JointTable().fit(X, Y).predict_proba(rows), rng=5)
    assert not certain.any()
