"""count_expected: the sums of an E-step, equal to the reference and to brute force, whatever the number of threads."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import completions, many_rows, random_forest, random_rows, random_tables, tasks
from tallydraw.models._evidence import expected_counts


def flat(counts):
    """[k][j][cell] in the layout of Tables."""
    return [v for j in range(len(counts[0])) for tables in counts for v in tables[j]]


def kernel(X, tables, weights, block_rows, threads):
    counts = np.zeros(len(tables.values))
    td.backend.kernels().count_expected(
        X, None, False, tables.structure, tables.values, tables.logs().plain, weights, block_rows, counts, threads
    )
    return counts


@given(task=tasks(), block_rows=st.sampled_from([1, 3, 1000]), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def check_against_reference(task, block_rows, seed):
    X, n_categories, parents, order, tables, theta, threads = task
    rng = np.random.default_rng(seed)
    weights = rng.exponential(size=(len(X), len(theta))) * (rng.random((len(X), len(theta))) < 0.8)
    plain, codes = reference.combined_codes(X.tolist(), n_categories, parents, order, None, False)
    expected = reference.count_expected(plain, codes, theta, n_categories, parents, order, weights.tolist(), block_rows)
    assert kernel(X, tables, weights, block_rows, threads).tolist() == flat(expected)


def test_equals_the_reference_on_every_instruction_set(backend):
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        check_against_reference()


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("tiny", [0.0, 0.2])
@pytest.mark.parametrize("n_classes", [None, 7, 9])
@pytest.mark.parametrize("n_categories", [2, 3, 4, 5, 6, 7, 8, 12, (2, 5, 1, 3), (17, 16)])
def test_many_rows_equal_the_reference(backend, n_categories, n_classes, tiny, several):
    X, sizes, parents, tables, theta = many_rows(n_categories, n_classes, tiny)
    rng, n, k = np.random.default_rng(4), len(X), n_classes or 1
    weights = rng.exponential(size=(n, k)) * (rng.random((n, k)) < 0.8)
    if not several:  # one a row
        weights *= np.arange(k) == rng.integers(0, k, n)[:, None]
    plain, codes = reference.combined_codes(X.tolist(), sizes, parents, 1, None, False)
    expected = flat(reference.count_expected(plain, codes, theta, sizes, parents, 1, weights.tolist(), 75))
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        for threads in (1, 2):
            assert kernel(X, tables, weights, 75, threads).tolist() == expected


@pytest.mark.parametrize("order", [1, 2, 3])
def test_equals_brute_force(backend, order):
    rng = np.random.default_rng(order)
    n_categories, parents = [2, 3, 1, 3, 2], random_forest(rng, 5)
    tables, theta = random_tables(rng, n_categories, parents, None, order)
    X = random_rows(rng, n_categories, 30, 0.5)
    exact = [np.zeros(len(t)) for t in theta[0]]
    for row in X.tolist():
        filled = list(completions(row, theta[0], n_categories, parents, order))
        total = sum(p for _, p in filled)
        for x, p in filled:
            for j in range(5):
                cells = [*reference.context_of(parents, j, order), j]
                exact[j][reference.number([x[f] for f in cells], [n_categories[f] for f in cells])] += p / total
    got = expected_counts(X, tables, np.ones((30, 1)), missing=None, lenient=False)
    assert got == pytest.approx(np.concatenate(exact), rel=1e-12, abs=1e-12)


def test_whole_rows_are_counted(backend):
    rng = np.random.default_rng(4)
    X, y = rng.integers(0, 4, (10_000, 5)), rng.integers(0, 3, 10_000)
    tables = td.count_features(X, y=y, parents=[-1, 0, 0, 1, 1])
    weights = np.zeros((10_000, 3))
    weights[np.arange(10_000), y] = 1.0
    for threads in (1, 2, 7):
        got = expected_counts(X, tables.normalize(), weights, missing=None, lenient=False, n_threads=threads)
        assert np.array_equal(got, tables.values)


def test_sums_do_not_depend_on_threads(backend):
    rng = np.random.default_rng(5)
    tables, _ = random_tables(rng, [3] * 6, [-1, 0, 1, 2, 3, 4], 2)
    X = rng.integers(-1, 3, (20_000, 6))
    weights = rng.random((20_000, 2))
    one = expected_counts(X, tables, weights, missing=None, lenient=False, n_threads=1)
    for threads in (2, 7):
        assert np.array_equal(expected_counts(X, tables, weights, missing=None, lenient=False, n_threads=threads), one)
