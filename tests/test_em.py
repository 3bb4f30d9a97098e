"""missing_fit="em": the maximum of the likelihood of what is observed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tallydraw as td
from strategies import random_tables
from tallydraw.models import _em
from tallydraw.models._em import expected_tables


def holes(rng, X, share):
    return np.where(rng.random(X.shape) < share, -1, X)


def fit(codes, parents, order=1, alpha=0.0, weights=None, n_threads=None):
    """(expected counts, objective) of a tree."""
    sizes = np.full(codes.shape[1], 3)
    counts = random_tables(np.random.default_rng(0), sizes.tolist(), parents, None, order)[0]
    available = counts._like(np.ones(len(counts.values)))
    tables, history = expected_tables(
        codes, None, available, alpha=alpha, weights=weights, missing=None, unseen="error", n_threads=n_threads
    )
    return tables, history.objective


def stacks(tables):
    """The tables of all classes, or of each class that has a tree of its own."""
    return tables if isinstance(tables, tuple) else (tables,)


def penalised(model, X, y, alpha):
    """What EM maximises: log p(X, y) plus alpha for the log of every cell of the tables, alpha > 0."""
    cells = sum(np.log(part.values).sum() for part in stacks(model.probabilities_))
    return model.log_joint(X)[np.arange(len(X)), y].sum() + alpha * cells


@pytest.mark.parametrize("alpha", [0.0, 0.7])
@pytest.mark.parametrize("order", [1, 2])
def test_the_objective_never_falls(backend, order, alpha):
    rng = np.random.default_rng(order)
    X = holes(rng, rng.integers(0, 3, (300, 6)), 0.3)
    for parents in ([-1, 0, 1, 2, 3, 4], [3, 0, 0, -1, 3, 4]):
        _, objective = fit(X, parents, order, alpha)
        assert len(objective) > 3
        assert np.all(np.diff(objective) >= -1e-9 * np.abs(objective[1:]))


def test_a_stationary_point_of_the_likelihood(backend):
    """Where EM ends no step along an edge of a simplex raises the likelihood."""
    rng = np.random.default_rng(3)
    X = holes(rng, rng.integers(0, 2, (200, 4)), 0.25)
    model = td.MarkovChain(n_categories=2, missing_fit="em").fit(X)
    best = model.log_prob(X).sum()
    assert best > td.MarkovChain(n_categories=2).fit(X).log_prob(X).sum()
    for j in range(4):
        for place in np.ndindex(model.probabilities_[j].shape[:-1]):
            for step in (-1e-3, 1e-3):
                tables = [model.probabilities_[i].copy() for i in range(4)]
                tables[j][place] += [step, -step]
                other = td.MarkovChain.from_probabilities(tables)
                assert other.log_prob(X).sum() < best + 1e-7


def test_missing_at_random_is_unbiased_where_available_cases_are_not(backend):
    # x_1 is missing, mostly where x_2, which depends on it, is 1: x_0 -> x_1 -> x_2 with x_2 always seen.
    rng = np.random.default_rng(4)
    truth = td.MarkovChain.from_probabilities([[0.5, 0.5], [[0.7, 0.3], [0.3, 0.7]], [[0.9, 0.1], [0.2, 0.8]]])
    X = truth.sample(60_000, rng=5).astype(np.int64)
    X[(X[:, 2] == 1) & (rng.random(len(X)) < 0.8), 1] = -1
    available = td.MarkovChain().fit(X).probabilities_
    em = td.MarkovChain(missing_fit="em").fit(X)
    assert np.abs(available[1] - truth.probabilities_[1]).max() > 0.1
    assert np.abs(available[2] - truth.probabilities_[2]).max() > 0.1
    for j in range(3):
        assert np.abs(em.probabilities_[j] - truth.probabilities_[j]).max() < 0.02
    assert em.counts_.values.dtype == np.float64
    assert em.counts_[1].sum() == pytest.approx(60_000, rel=1e-12)


def test_without_missing_cells_it_is_counting(backend):
    rng = np.random.default_rng(6)
    X, y = rng.integers(0, 3, (100, 5)), rng.integers(0, 2, 100)
    em, plain = td.MarkovChain(missing_fit="em").fit(X, y), td.MarkovChain().fit(X, y)
    assert em.counts_ == plain.counts_
    assert em.counts_.values.dtype == np.int64


def test_classes_are_fitted_apart_and_weights_are_repetitions(backend):
    rng = np.random.default_rng(7)
    X, y = holes(rng, rng.integers(0, 3, (120, 4)), 0.3), rng.integers(0, 2, 120)
    both = td.MarkovChain(missing_fit="em", n_categories=3, alpha=0.5).fit(X, y)
    for k in (0, 1):
        alone = td.MarkovChain(missing_fit="em", n_categories=3, alpha=0.5).fit(X[y == k])
        for j in range(4):
            # Both stop where an iteration gains less than 1e-9 nats a row: within about its root of the same point.
            assert both.probabilities_[j][k] == pytest.approx(alone.probabilities_[j], abs=3e-5)
    weights = rng.integers(0, 3, 120)
    one = td.MarkovChain(missing_fit="em", n_categories=3, alpha=0.5).fit(X, sample_weight=weights)
    two = td.MarkovChain(missing_fit="em", n_categories=3, alpha=0.5).fit(np.repeat(X, weights, axis=0))
    for j in range(4):
        assert one.probabilities_[j] == pytest.approx(two.probabilities_[j], abs=1e-9)


def test_threads_change_nothing(backend):
    rng = np.random.default_rng(8)
    X = holes(rng, rng.integers(0, 3, (20_000, 4)), 0.2)
    one, _ = fit(X, [-1, 0, 1, 2], n_threads=1)
    for threads in (2, 7):
        assert fit(X, [-1, 0, 1, 2], n_threads=threads)[0] == one


def test_mixtures_expect_missing_cells_too(backend):
    rng = np.random.default_rng(9)
    X = holes(rng, np.repeat(rng.integers(0, 3, (4, 6)), 60, axis=0), 0.2)
    model = td.Mixture(td.MarkovChain(alpha=0.1, n_categories=3), 3).fit(X, rng=1)
    steps = np.diff(model.objective_)
    assert np.all(steps >= -1e-9 * np.abs(model.objective_[1:]))


@pytest.mark.parametrize("shared", [True, False])
def test_trees_are_fitted_on_the_tree_of_the_pairs(backend, shared):
    rng = np.random.default_rng(10)
    X, y = holes(rng, np.repeat(rng.integers(0, 3, (5, 6)), 40, axis=0), 0.2), rng.integers(0, 2, 200)
    em = td.ChowLiuTree(alpha=0.5, n_categories=3, shared=shared, missing_fit="em").fit(X, y)
    plain = td.ChowLiuTree(alpha=0.5, n_categories=3, shared=shared).fit(X, y)
    assert np.array_equal(em.parents_, plain.parents_)
    total = sum(part[j].sum() for part in stacks(em.counts_) for j in range(6))
    assert total == pytest.approx(6 * 200, rel=1e-9)
    assert penalised(em, X, y, 0.5) > penalised(plain, X, y, 0.5)
    whole = rng.integers(0, 3, (50, 6))
    one, two = (td.ChowLiuTree(missing_fit=how).fit(whole) for how in ("em", "available"))
    assert np.array_equal(one.log_prob(whole), two.log_prob(whole))
    with pytest.raises(ValueError, match="another tree"):
        em.root = 5
        em.log_prob(X)


@pytest.mark.parametrize("make", [td.MarkovChain, td.ChowLiuTree, lambda **p: td.ChowLiuTree(shared=False, **p)])
def test_how_em_went(backend, make, monkeypatch):
    rng = np.random.default_rng(11)
    X, y = holes(rng, rng.integers(0, 3, (90, 5)), 0.3), rng.integers(0, 2, 90)
    model = make(alpha=0.5, n_categories=3, missing_fit="em").fit(X, y)
    assert model.converged_ and model.n_iter_ == len(model.objective_) > 3
    assert np.all(np.diff(model.objective_) >= -1e-9 * np.abs(model.objective_[1:]))
    given = sum(n * np.log(p) for n, p in zip(model.class_counts_, model.class_prior_, strict=True))
    assert model.objective_[-1] == pytest.approx(penalised(model, X, y, 0.5) - given, rel=1e-6)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.objective_, model.objective_) and again.converged_
    whole = make(n_categories=3, missing_fit="em").fit(np.maximum(X, 0), y)
    assert whole.converged_ and (whole.n_iter_, len(whole.objective_)) == (0, 0)
    counted = make(n_categories=3).fit(X, y)
    for name in ("objective_", "n_iter_", "converged_"):
        with pytest.raises(AttributeError, match="was not fitted by EM"):
            getattr(counted, name)
    monkeypatch.setattr(_em, "MOST_ITERATIONS", 2)
    with pytest.warns(
        RuntimeWarning, match="EM ended after 2 iterations without having converged to tol=1e-09"
    ) as caught:
        model = make(alpha=0.5, n_categories=3, missing_fit="em").fit(X, y)
    assert caught[0].filename == __file__
    assert not model.converged_ and model.n_iter_ == 2


def test_clear_errors(backend):
    X = [[0, 1, -1], [1, -1, 0], [1, 1, 1]]
    model = td.MarkovChain(missing_fit="em").fit(X)
    with pytest.raises(ValueError, match="needs all rows at once"):
        model.partial_fit(X)
    with pytest.raises(ValueError, match=r"\+: missing_fit"):
        model + model
    with pytest.raises(ValueError, match="missing_fit must be one of"):
        td.MarkovChain(missing_fit="best")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize(
    ("kind", "params"),
    [(td.ChowLiuTree, {}), (td.MarkovChain, {}), (td.MarkovChain, {"order": 2}), (td.MarkovChain, {"homogeneous": 1})],
)
def test_rows_that_weigh_nothing_are_not_expected(backend, kind, params, alpha):
    model = kind(missing_fit="em", alpha=alpha, **params)
    model.fit([[0, -1, 1], [1, -1, 0], [-1, 1, 1]], sample_weight=[0, 0, 0])
    assert (model.n_iter_, model.converged_, len(model.objective_)) == (0, True, 0)
    assert all((table == 0.5).all() for table in model.probabilities_)
