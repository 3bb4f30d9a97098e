"""log_prob_messages: missing cells on a tree are summed out exactly, at any depth and width, without underflow."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import completions, random_forest, random_rows, random_tables, random_task, tasks
from tallydraw.log_prob import score_features


def brute_force(row, theta, n_categories, parents, order, combine=sum):
    """log p of the known cells, over all completions."""
    total = combine(p for _, p in completions(row, theta, n_categories, parents, order))
    return math.log(total) if total > 0 else -math.inf


def tabulated(tables):
    """Their totals, as if many missing cells had paid for them."""
    return tables.totals(1e18)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_every_missing_pattern_of_small_trees_equals_brute_force(backend, seed, order):
    rng = np.random.default_rng(seed)
    d = 6
    n_categories = rng.integers(1, 4, d).tolist()
    parents = random_forest(rng, d) if seed else [-1, 0, 1, 2, 3, 4]
    n_classes = [None, 1, 3][seed % 3]
    tables, theta = random_tables(rng, n_categories, parents, n_classes, order, zeros=0.2)
    full = [int(rng.integers(0, c)) for c in n_categories]
    rows = [
        [-1 if gone else v for v, gone in zip(full, pattern, strict=True)]
        for pattern in itertools.product((0, 1), repeat=d)
    ]
    got = td.log_prob_features(np.array(rows), tables).reshape(len(rows), -1)
    best = score_features(np.array(rows), tables, np.zeros(len(theta)), maximize=True)
    for row, sums, highs in zip(rows, got.tolist(), best.tolist(), strict=True):
        for k, (value, high) in enumerate(zip(sums, highs, strict=True)):
            expected = brute_force(row, theta[k], n_categories, parents, order)
            assert not math.isnan(value)
            assert value == pytest.approx(expected, rel=1e-12, abs=1e-12)
            most = brute_force(row, theta[k], n_categories, parents, order, max)
            assert high == pytest.approx(most, rel=1e-12, abs=1e-12)
    assert got[-1].tolist() == [0.0] * got.shape[1]  # nothing is known: exactly nothing


@given(task=tasks(), maximize=st.booleans(), looked_up=st.booleans())
@settings(max_examples=60, deadline=None)
def check_against_reference(task, maximize, looked_up):
    X, n_categories, parents, order, tables, theta, threads = task
    if looked_up:
        tabulated(tables)
    plain, codes = reference.combined_codes(X.tolist(), n_categories, parents, order, None, False)
    first = [-0.5 * k for k in range(len(theta))]
    expected = reference.log_prob_messages(plain, codes, theta, n_categories, parents, first, order, maximize)
    got = score_features(X, tables, np.array(first), n_threads=threads, maximize=maximize)
    assert got.tolist() == expected


def test_equals_the_reference_on_every_instruction_set(backend):
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        check_against_reference()


@pytest.mark.parametrize("n_classes", [None, *range(1, 10)])
@pytest.mark.parametrize("shape", ["chain", "forest", "star"])
def test_totals_that_are_looked_up_are_those_of_messages(backend, shape, n_classes):
    rng, d, n = np.random.default_rng(n_classes or 0), 24, 3000
    n_categories = rng.integers(1, 6, d).tolist()
    n_categories[5] = 19
    parents = {"chain": list(range(-1, d - 1)), "forest": random_forest(rng, d), "star": [-1] + [0] * (d - 1)}[shape]
    tables, _ = random_tables(rng, n_categories, parents, n_classes, zeros=0.3)
    X = random_rows(rng, n_categories, n, [0.05, 0.3, 0.7])
    few = [td.log_prob_features(X[i : i + 1], tables) for i in range(0, n, 10)]
    assert tables.totals(0) is None
    assert shape == "star" or len(tabulated(tables).values)
    many = td.log_prob_features(X, tables)
    assert many[::10].tolist() == np.concatenate(few).tolist()


@pytest.mark.parametrize("n_classes", [None, 3, 8, 12])
@pytest.mark.parametrize("tiny", [0.0, 0.3])
def test_totals_without_a_number_are_those_of_single_rows(backend, n_classes, tiny):
    # Blocks of rows make them feature by feature, where products leave the range of plain numbers too.
    rng, d, n = np.random.default_rng(n_classes or 0), 20, 200
    n_categories = rng.integers(2, 20, d).tolist()
    tables, _ = random_tables(rng, n_categories, random_forest(rng, d), n_classes, zeros=0.2, tiny=tiny)
    X = random_rows(rng, n_categories, n, [0.3, 0.5, 0.7])
    expected = np.concatenate([td.log_prob_features(X[i : i + 1], tables) for i in range(n)])
    for _ in range(2):
        assert td.log_prob_features(X, tables).tolist() == expected.tolist()


def test_totals_are_made_once_many_cells_want_them(backend):
    rng = np.random.default_rng(14)
    tables, _ = random_tables(rng, [3] * 6, range(-1, 5), 2)
    X = rng.integers(0, 3, (4000, 6))
    X[:, 2] = -1
    assert [tables.totals(0) is None for _ in range(8) if td.log_prob_features(X, tables).size] == [False] * 8
    assert tables.totals(0) is tables.totals(1)
    second_order, _ = random_tables(rng, [3] * 6, range(-1, 5), 2, order=2)
    assert tabulated(second_order) is None
    assert tabulated(random_tables(rng, [3, 3], [-1, -1], None)[0]) is None


def test_totals_of_a_few_features_only(backend):
    # Feature 1 has more children than are tabulated, and products behind feature 6 leave the range of plain numbers.
    rng = np.random.default_rng(11)
    parents = [-1, 0, 1, 1, 1, 1, 0, 6, 6, 6, 2]
    n_categories = [3, 4, 9, 9, 9, 9, 2, 2, 2, 2, 3]
    tables, _ = random_tables(rng, n_categories, parents, 2)
    tiny = [[1.0, 2.0**-200], [2.0**-200, 1.0]]
    arrays = [[tiny] * 2 if j in (7, 8, 9) else table for j, table in enumerate(tables)]
    tables = td.Tables.from_arrays(arrays, parents=parents, n_classes=2)
    totals = tabulated(tables)
    assert np.flatnonzero(totals.width > tables.n_categories + 1).tolist() == [0, 2]
    theta = [[table[k].reshape(-1).tolist() for table in tables] for k in range(2)]
    X = random_rows(rng, n_categories, 400, 0.3)
    plain, codes = reference.combined_codes(X.tolist(), n_categories, parents, 1, None, False)
    expected = reference.log_prob_messages(plain, codes, theta, n_categories, parents, [0.0, 0.0])
    assert td.log_prob_features(X, tables).tolist() == expected


@pytest.mark.parametrize("c", [3, 4, 6, 11])
@pytest.mark.parametrize("n_classes", [1, 2, 3, 5, 8, 15])
def test_messages_of_several_children_where_one_class_leaves_the_range(backend, n_classes, c):
    # Feature 0 has five leaves, and behind feature 6 another one: never tabulated, so made of products and of sums.
    rng, parents = np.random.default_rng(c), [-1, 0, 0, 0, 0, 0, 0, 6, 6]
    tiny = np.where(np.eye(c) > 0, 1.0, 2.0**-400)
    arrays = [rng.dirichlet(np.ones(c), (n_classes, c) if p >= 0 else n_classes) for p in parents]
    for table in arrays[1:]:
        table[n_classes // 2] = tiny
    tables = td.Tables.from_arrays(arrays, parents=parents, n_classes=n_classes)
    X = rng.integers(0, c, (60, len(parents)))
    X[rng.random(X.shape) < 0.1] = -1
    X[:40, 0] = -1
    X[:20, 6] = -1
    theta = [[table[k].reshape(-1).tolist() for table in tables] for k in range(n_classes)]
    plain, codes = reference.combined_codes(X.tolist(), [c] * len(parents), parents, 1, None, False)
    expected = reference.log_prob_messages(plain, codes, theta, [c] * len(parents), parents, [0.0] * n_classes)
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        assert td.log_prob_features(X, tables).tolist() == expected


@pytest.mark.parametrize("tiny", [0.0, 0.2])
@pytest.mark.parametrize("n_classes", [None, 2, 3, 4])
@pytest.mark.parametrize("n_categories", [2, 3, 4, 5, 6, 7, 8, 12, 15, 16, 17, (2, 5, 1, 3)])
def test_blocks_of_which_many_cells_are_missing_equal_the_reference(backend, n_categories, n_classes, tiny):
    if n_classes and n_categories not in (2, (2, 5, 1, 3)):
        n_categories = (n_categories, 2)
    rng, d, n = np.random.default_rng(5), 40, 165
    sizes, parents, tables, theta, X = random_task(rng, n_categories, d, n_classes, tiny, n, [0.3, 0.6, 0.9])
    plain, codes = reference.combined_codes(X.tolist(), sizes, parents, 1, None, False)
    k = n_classes or 1
    expected = reference.log_prob_messages(plain, codes, theta, sizes, parents, [0.0] * k)
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        for threads in (1, 2):
            assert td.log_prob_features(X, tables, n_threads=threads).reshape(n, k).tolist() == expected


@pytest.mark.parametrize("n_classes", [None, 2, 8, 9])
@pytest.mark.parametrize("sizes", [(2,), (5, 3, 2), (17, 4)])
def test_runs_of_missing_cells_of_any_length_on_a_chain(backend, sizes, n_classes):
    rng, d, k = np.random.default_rng(9), 15, n_classes or 1
    n_categories, parents = [sizes[j % len(sizes)] for j in range(d)], range(-1, d - 1)
    tables, theta = random_tables(rng, n_categories, parents, n_classes, zeros=0.2)
    ends = [(a, b) for a in range(d) for b in range(a, d + 1)]  # nothing missing, and the whole row, are among them
    X = np.stack([rng.integers(0, n_categories) for _ in ends])
    for row, (a, b) in zip(X, ends, strict=True):
        row[a:b] = -1
    plain, codes = reference.combined_codes(X.tolist(), n_categories, parents, 1, None, False)
    expected = np.array(reference.log_prob_messages(plain, codes, theta, n_categories, parents, [0.0] * k))
    assert np.isneginf(expected).any() and np.isfinite(expected).any()
    totals = tabulated(tables)
    if sizes[0] == 2:  # some runs are longer than those that have a number
        assert totals.width.max() < (d - 1) * 3
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        assert td.log_prob_features(X, tables).reshape(-1, k).tolist() == expected.tolist()
        some = td.log_prob_features(X[:7], tables).reshape(-1, k)
        assert some.tolist() == expected[:7].tolist()


@pytest.mark.parametrize("n_categories", [(255, 255, 3, 2), (255, 256, 3, 2), (254, 2, 255, 2), (3, 300, 2, 300)])
def test_totals_of_many_categories_are_those_of_single_rows(backend, n_categories):
    rng, parents = np.random.default_rng(10), [-1, 0, 1, 1]
    tables, _ = random_tables(rng, n_categories, parents, None)
    X = random_rows(rng, n_categories, 150, 0.4)
    expected = td.log_prob_features(X, tables)
    assert tables.totals(0) is None and tabulated(tables) is not None
    assert td.log_prob_features(X, tables).tolist() == expected.tolist()


@pytest.mark.parametrize("c", [254, 255, 256, 257, 2**15 - 2, 2**15 - 1])
def test_codes_at_the_edge_of_a_type(backend, c):
    # Feature 1 has as many combined codes as categories, feature 2 twice as many.
    rng = np.random.default_rng(c)
    tables, theta = random_tables(rng, [1, c, 2, 2], [-1, 0, 1, 2], None)
    tabulated(tables)
    X = random_rows(rng, (1, c, 2, 2), 300 if c < 300 else 16, 0.4)
    plain, codes = reference.combined_codes(X.tolist(), [1, c, 2, 2], [-1, 0, 1, 2], 1, None, False)
    expected = reference.log_prob_messages(plain, codes, theta, [1, c, 2, 2], [-1, 0, 1, 2], [0.0])
    assert td.log_prob_features(X, tables).tolist() == [row[0] for row in expected]


def test_observed_cells_keep_logs_of_their_own_beside_totals(backend):
    rng = np.random.default_rng(12)
    tables, _ = random_tables(rng, [3] * 6, range(-1, 5), None)
    other = rng.random(len(tables.values))
    seen = tables.seen_as(other)
    X = rng.integers(0, 3, (2000, 6))
    X[rng.random(X.shape) < 0.2] = -1
    few = np.concatenate([td.log_prob_features(X[i : i + 1], tables.seen_as(other)) for i in range(500)])
    assert tabulated(seen) is not None
    many = td.log_prob_features(X, seen)
    assert many[:500].tolist() == few.tolist()


@pytest.mark.parametrize("order", [1, 2])
def test_a_code_out_of_range_is_found_among_incomplete_rows(backend, order):
    rng = np.random.default_rng(13)
    tables, _ = random_tables(rng, [3] * 5, range(-1, 4), None, order)
    X = rng.integers(0, 3, (3000, 5))
    X[:, 2] = -1
    X[2000, 3], X[1234, 4], X[1234, 1] = 3, 7, 5
    with pytest.raises(ValueError, match=r"X\[1234, 1\] is 5"):
        td.log_prob_features(X, tables, n_threads=2)


def test_a_star_of_a_thousand_leaves_does_not_underflow(backend):
    # The root is missing: log sum_x p(x) prod_j p(x_j | x), with products far below the smallest float64.
    d, rng = 1001, np.random.default_rng(7)
    leaves = rng.dirichlet(np.full(40, 0.3), (d - 1, 3))
    tables = td.Tables.from_arrays([[0.2, 0.3, 0.5], *leaves], parents=[-1] + [0] * (d - 1))
    x = rng.integers(0, 40, d)
    x[0] = -1
    logs = [
        math.log(p) + math.fsum(math.log(leaves[j, a, x[j + 1]]) for j in range(d - 1))
        for a, p in enumerate((0.2, 0.3, 0.5))
    ]
    most = max(logs)
    exact = most + math.log(math.fsum(math.exp(v - most) for v in logs))
    assert exact < -1200
    got = td.log_prob_features(x[None], tables)
    assert got == pytest.approx([exact], rel=1e-12)


def test_entries_of_one_message_may_differ_by_any_factor(backend):
    # 400 children favour state 0 of the missing root by a factor of 10^6 each, and the last one forbids it.
    d = 402
    child = [[0.999, 0.001], [1.0 - 1e-9, 1e-9]]
    last = [[1.0, 0.0], [0.5, 0.5]]
    tables = td.Tables.from_arrays([[0.5, 0.5], *[child] * (d - 2), last], parents=[-1] + [0] * (d - 1))
    x = np.array([[-1, *[1] * (d - 2), 1]])
    exact = math.log(0.5) + (d - 2) * math.log(1e-9) + math.log(0.5)
    assert exact < -8000
    assert td.log_prob_features(x, tables) == pytest.approx([exact], rel=1e-12)


def test_a_chain_of_a_thousand(backend):
    d, rng = 1000, np.random.default_rng(8)
    P = rng.dirichlet(np.full(4, 0.2), 4)
    start = rng.dirichlet(np.ones(4))
    tables = td.Tables.from_arrays([start, *[P] * (d - 1)], parents=np.arange(d) - 1)
    x = np.full(d, -1)
    x[0], x[-1] = 1, 2
    exact = math.log(start[1]) + math.log(np.linalg.matrix_power(P, d - 1)[1, 2])
    got = td.log_prob_features(x[None], tables)
    assert got == pytest.approx([exact], rel=1e-10)
    # Every second state is missing.
    x = rng.integers(0, 4, d)
    x[1::2] = -1
    exact = math.log(start[x[0]]) + math.fsum(math.log((P @ P)[x[t - 2], x[t]]) for t in range(2, d, 2))
    assert td.log_prob_features(x[None], tables) == pytest.approx([exact], rel=1e-12)


def test_impossible_rows_are_minus_infinity_and_tiny_ones_are_not(backend):
    tiny = 5e-324
    tables = td.Tables.from_arrays(
        [[1.0, 0.0], [[1.0, 0.0], [tiny, 1.0]], [[1.0, tiny], [0.5, 0.5]]], parents=[-1, 0, 1]
    )
    got = td.log_prob_features([[0, -1, 1], [-1, 1, 0], [-1, 1, -1], [-1, -1, 1]], tables)
    assert got.tolist() == [reference.log(tiny), -math.inf, -math.inf, reference.log(tiny)]


def test_rows_without_missing_cells_are_unchanged_beside_others(backend):
    rng = np.random.default_rng(9)
    parents = [-1, 0, 0, 1, 1]
    tables, _ = random_tables(rng, [3] * 5, parents, 2)
    X = rng.integers(0, 3, (200, 5))
    known = td.log_prob_features(X, tables)
    X[::3, rng.integers(0, 5)] = -1
    mixed = td.log_prob_features(X, tables)
    complete = (X >= 0).all(axis=1)
    assert np.array_equal(mixed[complete], known[complete])


def test_named_and_unseen_codes_are_summed_out_too(backend):
    tables, _ = random_tables(np.random.default_rng(10), [3, 3, 3], [-1, 0, 1], None)
    wanted = td.log_prob_features([[0, -1, 2]], tables).tolist()
    assert td.log_prob_features([[0, 7, 2]], tables, missing=7).tolist() == wanted
    assert td.log_prob_features([[0, 3, 2]], tables, unseen="missing").tolist() == wanted
    assert td.log_prob_features(np.array([[0, 255, 2]], np.uint8), tables, missing=255).tolist() == wanted
