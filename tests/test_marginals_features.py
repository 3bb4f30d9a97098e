"""marginals_features: p(x_j | what is seen), equal to the reference and to brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import completions, many_rows, random_forest, random_tables, tasks
from tallydraw.models._evidence import marginals_of


def marginals(X, tables, weights, threads=1):
    return marginals_of(X, [tables], np.asarray(weights, np.float64), missing=None, lenient=False, n_threads=threads)


@given(task=tasks(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def check_against_reference(task, seed):
    X, n_categories, parents, order, tables, theta, threads = task
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(len(theta)), len(X)) * (rng.random((len(X), len(theta))) < 0.8)
    plain, _ = reference.combined_codes(X.tolist(), n_categories, parents, order, None, False)
    expected = reference.marginals_features(plain, theta, n_categories, parents, order, weights.tolist())
    got = marginals(X, tables, weights, threads)
    for r, row in enumerate(expected):
        assert [part[r].tolist() for part in got] == [
            [min(p, 1.0) for p in part] for part in row
        ]  # rounding may pass one


def test_equals_the_reference_on_every_instruction_set(backend):
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        check_against_reference()


@pytest.mark.parametrize("tiny", [0.0, 0.2])
@pytest.mark.parametrize("n_classes", [None, 2, 9])
@pytest.mark.parametrize("n_categories", [2, 3, 4, 5, 6, 7, 8, 12, (2, 5, 1, 3), (17, 16)])
def test_many_rows_equal_the_reference(backend, n_categories, n_classes, tiny):
    X, sizes, parents, tables, theta = many_rows(n_categories, n_classes, tiny)
    rng, n, k = np.random.default_rng(4), len(X), n_classes or 1
    plain, _ = reference.combined_codes(X.tolist(), sizes, parents, 1, None, False)
    weights = rng.dirichlet(np.ones(k), n) * (rng.random((n, k)) < 0.8)
    expected = reference.marginals_features(plain, theta, sizes, parents, 1, weights.tolist())
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        for threads in (1, 2):
            got = marginals(X, tables, weights, threads)
            for r, row in enumerate(expected):
                assert [part[r].tolist() for part in got] == [[min(p, 1.0) for p in part] for part in row]


@pytest.mark.parametrize("unseen", ["error", "missing"])
@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 256), (np.uint16, 1 << 16), (np.int16, 256)])
def test_codes_may_fill_their_type(backend, dtype, most, unseen):
    rng, n = np.random.default_rng(5), 40
    for c in (most - 1, most):
        model = td.NaiveBayes(n_categories=c, alpha=1.0, unseen=unseen)
        X = rng.integers(0, c, (n, 2)).astype(dtype)
        X[:3], X[3:5] = 0, c - 1
        model.fit(X, rng.integers(0, 2, n))
        for name in td.backend.instruction_sets():
            td.backend.use(backend, instruction_set=name)
            for j, part in enumerate(model.marginals(X)):
                assert np.array_equal(np.argmax(part, axis=1), X[:, j])
                assert part.max(axis=1).tolist() == part.sum(axis=1).tolist() == [1.0] * n


def test_features_of_very_many_categories(backend):
    c, n, rng = 40_000, 20, np.random.default_rng(6)  # too many for messages of 64 rows at a time
    X = rng.integers(0, c, (n, 2)).astype(np.int32)
    X[::3, 1] = -1
    model = td.NaiveBayes(n_categories=c, alpha=1.0).fit(X, rng.integers(0, 2, n))
    few = [model.marginals(X[i : i + 1])[1] for i in range(n)]
    assert np.array_equal(model.marginals(X)[1], np.concatenate(few))


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_every_missing_pattern_equals_brute_force(backend, seed, order):
    rng = np.random.default_rng(seed)
    d = 5
    n_categories = rng.integers(1, 4, d).tolist()
    parents = random_forest(rng, d) if seed else [-1, 0, 1, 2, 3]
    tables, theta = random_tables(rng, n_categories, parents, None, order)
    full = [int(rng.integers(0, c)) for c in n_categories]
    rows = [[-1 if g else v for v, g in zip(full, gone, strict=True)] for gone in itertools.product((0, 1), repeat=d)]
    got = marginals(np.array(rows), tables, np.ones((len(rows), 1)))
    for r, row in enumerate(rows):
        exact = [np.zeros(c) for c in n_categories]
        total = 0.0
        for x, p in completions(row, theta[0], n_categories, parents, order):
            total += p
            for j, v in enumerate(x):
                exact[j][v] += p
        for j in range(d):
            assert got[j][r] == pytest.approx(exact[j] / total, rel=1e-12, abs=1e-12)


def test_a_star_of_a_thousand_leaves(backend):
    d = 1001
    leaf = [[0.6, 0.4], [0.03, 0.97]]
    tables = td.Tables.from_arrays([[1e-3, 0.999], *[leaf] * (d - 1)], parents=[-1] + [0] * (d - 1))
    rows = np.zeros((2, d), np.int64)
    rows[:, 0] = -1
    rows[1, 1:] = 1
    rows[:, 5] = -1
    got = marginals(rows, tables, np.ones((2, 1)))
    assert got[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert got[5].tolist() == leaf
