"""complete_features: missing cells drawn given the others, or chosen; equal to the reference, right in distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import completions, many_rows, random_forest, random_tables, tasks
from tallydraw.models._evidence import write_completions

KEY = 0x0123456789ABCDEF


def complete(X, tables, y=None, *, maximize=False, start=0, threads=1, dtype=np.uint8):
    out = np.empty(X.shape, dtype)
    write_completions(
        out, X, y, [tables], maximize=maximize, missing=None, lenient=False, key=KEY, start=start, n_threads=threads
    )
    return out


def row_levels(theta, n_categories):
    def of(table, c):
        return [reference.float_levels(table[i : i + c]) for i in range(0, len(table), c)]

    return [[of(table, c) for table, c in zip(tables, n_categories, strict=True)] for tables in theta]


def check(X, n_categories, parents, order, tables, theta, threads, maximize, start):
    """Each row under its most probable class; False where no row is possible."""
    plain, codes = reference.combined_codes(X.tolist(), n_categories, parents, order, None, False)
    scores = reference.log_prob_messages(plain, codes, theta, n_categories, parents, [0.0] * len(theta), order)
    y = np.array([np.argmax(row) for row in scores], np.int64)
    possible = np.array([row[k] > -math.inf for row, k in zip(scores, y, strict=True)])
    if not possible.any():
        return False
    X, y, plain = X[possible], y[possible], [x for x, p in zip(plain, possible, strict=True) if p]
    levels = row_levels(theta, n_categories)
    expected = reference.complete_features(
        plain, theta, levels, n_categories, parents, order, y.tolist(), KEY, start, maximize
    )
    classes = None if tables.n_classes is None else y
    for dtype in (np.uint8, np.uint32):
        got = complete(X, tables, classes, maximize=maximize, start=start, threads=threads, dtype=dtype)
        assert got.tolist() == expected
    return True


@given(task=tasks(), maximize=st.booleans(), start=st.sampled_from([0, 5, 2**63]))
@settings(max_examples=60, deadline=None)
def check_against_reference(task, maximize, start):
    assume(check(*task, maximize, start))


def test_equals_the_reference_on_every_instruction_set(backend):
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        check_against_reference()


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("tiny", [0.0, 0.2])
@pytest.mark.parametrize("n_classes", [None, 9])
@pytest.mark.parametrize("n_categories", [2, 3, 4, 5, 6, 7, 8, 12, (2, 5, 1, 3), (17, 16)])
def test_many_rows_equal_the_reference(backend, n_categories, n_classes, tiny, maximize):
    X, sizes, parents, tables, theta = many_rows(n_categories, n_classes, tiny)
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        assert check(X, sizes, parents, 1, tables, theta, 2, maximize, 2**40)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_draws_have_the_conditional_distribution(backend, order):
    # 20,000 completions of each of four patterns; a false alarm of the chi-square test in 10**6 cases.
    rng = np.random.default_rng(order)
    n_categories, parents = [2, 3, 2, 3, 2], random_forest(rng, 5)
    tables, theta = random_tables(rng, n_categories, parents, None, order)
    for row in ([-1, 1, -1, 2, -1], [0, -1, -1, -1, 1], [-1, -1, 1, -1, -1], [1, 2, 0, 1, -1]):
        n = 20_000
        got = complete(np.tile(row, (n, 1)), tables)
        found, counts = np.unique(got, axis=0, return_counts=True)
        exact = {x: p for x, p in completions(row, theta[0], n_categories, parents, order) if p > 0}
        total = sum(exact.values())
        assert {tuple(x) for x in found.tolist()} <= set(exact)
        times = dict(zip(map(tuple, found.tolist()), counts.tolist(), strict=True))
        expected = {x: n * p / total for x, p in exact.items()}
        kept = [x for x, e in expected.items() if e > 5]
        statistic = sum((times.get(x, 0) - expected[x]) ** 2 / expected[x] for x in kept)
        freedom = len(kept)
        assert statistic < freedom + 5 * math.sqrt(2 * freedom) + 15


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_mode_is_the_most_probable_completion(backend, order, seed):
    rng = np.random.default_rng(seed)
    d = 6
    n_categories, parents = rng.integers(1, 4, d).tolist(), random_forest(rng, d)
    tables, theta = random_tables(rng, n_categories, parents, None, order, zeros=0.2)
    X = complete(np.full((40, d), -1), tables)  # possible rows
    holes = np.where(rng.random(X.shape) < 0.5, -1, X.astype(np.int64))
    got = complete(holes, tables, maximize=True)
    for row, filled in zip(holes.tolist(), got.tolist(), strict=True):
        exact = dict(completions(row, theta[0], n_categories, parents, order))
        assert exact[tuple(filled)] == pytest.approx(max(exact.values()), rel=1e-12)


def test_ties_take_the_lowest_code(backend):
    tables = td.Tables.from_arrays([[0.5, 0.5], [[0.25] * 4, [0.25] * 4]], parents=[-1, 0])
    assert complete(np.array([[-1, -1], [-1, 3], [1, -1]]), tables, maximize=True).tolist() == [[0, 0], [0, 3], [1, 0]]


def test_rows_of_nothing_but_missing_cells_are_samples(backend):
    rng = np.random.default_rng(3)
    X = rng.integers(0, 3, (50, 5))
    for parents, order in ((None, 1), ([-1, 0, 0, 1, 1], 1), ([-1, 0, 1, 2, 3], 2)):
        y = rng.integers(0, 2, 50)
        counts = td.count_features(X, y=y, parents=parents) if order == 1 else None
        tables = random_tables(rng, [3] * 5, parents, 2, order)[0] if counts is None else counts.normalize(alpha=1)
        classes = rng.integers(0, 2, 200)
        wanted = np.empty((200, 5), np.uint8)
        td.sample_features(tables, 200, y=classes, rng=np.random.default_rng(1), start=7, out=wanted)
        out = np.empty((200, 5), np.uint8)
        key = td._check.key(np.random.default_rng(1))
        write_completions(
            out, np.full((200, 5), -1), classes, [tables], maximize=False, missing=None, lenient=False, key=key, start=7
        )
        assert np.array_equal(out, wanted)


def test_a_star_of_a_thousand_leaves_is_completed(backend):
    # Every leaf favours state 0 by e^3; the posterior odds of the root are far past float64.
    d = 1001
    leaf = [[0.6, 0.4], [0.03, 0.97]]
    tables = td.Tables.from_arrays([[1e-3, 0.999], *[leaf] * (d - 1)], parents=[-1] + [0] * (d - 1))
    rows = np.zeros((2, d), np.int64)
    rows[:, 0] = -1
    rows[1, 1:] = 1
    for maximize in (False, True):
        assert complete(rows, tables, maximize=maximize)[:, 0].tolist() == [0, 1]


def test_wider_outcomes(backend):
    rng = np.random.default_rng(5)
    tables, _ = random_tables(rng, [300, 2], [-1, 0], None)
    X = np.array([[299, -1], [-1, 1], [-1, -1]])
    got = complete(X, tables, dtype=np.uint16)
    assert got[0, 0] == 299
    assert got.max() < 300
