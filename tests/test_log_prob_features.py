"""log_prob_features: equal to the reference for every structure, class count, layout and thread count; clear errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import laid_out, random_tables


@st.composite
def tasks(draw):
    d = draw(st.integers(1, 6) | st.just(30))
    n = draw(st.integers(0, 30) | st.just(150))
    top = draw(st.sampled_from([2, 5, 20]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_categories = rng.integers(1, top + 1, d).tolist()
    order = draw(st.integers(1, 2))
    parents = draw(st.none() | st.just([int(rng.integers(-1, j)) for j in range(d)]))
    n_classes = draw(st.none() | st.integers(1, 18) | st.just(37))
    tables, theta = random_tables(rng, n_categories, parents, n_classes, order, draw(st.sampled_from([0.0, 0.3])))
    X = np.stack([rng.integers(0, c, n) for c in n_categories], axis=1)
    if parents is None and draw(st.booleans()):
        X[rng.random(X.shape) < 0.2] = -1
    X = laid_out(X.astype(draw(st.sampled_from([np.int8, np.int64]))), draw(st.sampled_from(["C", "F", "strided"])))
    return X, n_categories, parents, order, tables, theta, draw(st.sampled_from([1, 2, 7]))


@given(task=tasks())
@settings(max_examples=40, deadline=None)
def check_against_reference(task):
    X, n_categories, parents, order, tables, theta, threads = task
    _, codes = reference.combined_codes(X.tolist(), n_categories, parents, order, None, False)
    expected = reference.log_prob_features(codes, theta, [0.0] * len(theta))
    got = td.log_prob_features(X, tables, n_threads=threads)
    if tables.n_classes is None:
        expected = [row[0] for row in expected]
    assert got.shape == ((len(X),) if tables.n_classes is None else (len(X), tables.n_classes))
    assert got.tolist() == expected


def test_equals_the_reference_on_every_instruction_set(backend):
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        check_against_reference()


@pytest.mark.parametrize("parents", ["none", "chain"])
@pytest.mark.parametrize("k", [None, 1, 2, 7, 8, 11])
@pytest.mark.parametrize("c", [2, 3, 7, 8])
def test_few_codes_equal_the_reference_on_every_instruction_set(c, k, parents, backend):
    """Tables of at most eight codes, the one of missing cells included or not, in rows enough for every strategy."""
    rng = np.random.default_rng(c)
    d, n = 11, 150
    tree = None if parents == "none" else list(range(-1, d - 1))
    n_categories = rng.integers(2, c + 1, d).tolist()
    tables, theta = random_tables(rng, n_categories, tree, k, zeros=0.2)
    for missing in (0.0, 0.1) if tree is None else (0.0,):
        X = np.stack([rng.integers(0, m, n) for m in n_categories], axis=1).astype(np.int8)
        X[rng.random(X.shape) < missing] = -1
        _, codes = reference.combined_codes(X.tolist(), n_categories, tree, 1, None, False)
        expected = reference.log_prob_features(codes, theta, [0.0] * len(theta))
        for name in td.backend.instruction_sets():
            td.backend.use(backend, instruction_set=name if backend == "cpp" else None)
            for data in (X, X.astype(np.uint8)) if missing == 0 else (X,):
                got = td.log_prob_features(data, tables)
                assert got.reshape(n, -1).tolist() == expected


@pytest.mark.parametrize(("d", "c", "k", "parents"), [
    (7, 3, 2, "tree"), (8, 3, 1, "tree"), (65, 2, 4, "tree"), (65, 2, 1, "none"), (13, 20, 2, "tree"),
])  # fmt: skip
def test_rows_turned_into_columns_equal_the_reference_on_every_instruction_set(d, c, k, parents, backend):
    """Whole tiles of codes and parts of them: blocks of 256 rows, and of what is left."""
    rng = np.random.default_rng(d)
    tree = None if parents == "none" else [-1, *(int(rng.integers(j)) for j in range(1, d))]
    tables, theta = random_tables(rng, [c] * d, tree, k)
    X = rng.integers(0, c, (300, d)).astype(np.uint8)
    _, codes = reference.combined_codes(X.tolist(), [c] * d, tree, 1, None, False)
    expected = reference.log_prob_features(codes, theta, [0.0] * k)
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name if backend == "cpp" else None)
        assert td.log_prob_features(X, tables, n_threads=1).tolist() == expected


@pytest.mark.parametrize(("d", "c", "k", "parents"), [
    (410, 8, 3, "none"), (448, 8, 4, "none"), (470, 7, 3, "none"), (496, 8, 4, "none"),
    (700, 2, 1, "tree"), (1041, 2, 2, "chain"), (2049, 2, 3, "chain"), (2049, 2, 1, "tree"),
])  # fmt: skip
def test_whole_calls_equal_the_same_rows_in_small_blocks(d, c, k, parents, backend):
    """Shapes whose blocks of rows just fit into what kernels are lent."""
    rng = np.random.default_rng(d)
    tree = {"none": None, "chain": list(range(-1, d - 1)), "tree": [-1, *(int(rng.integers(j)) for j in range(1, d))]}
    tables, _ = random_tables(rng, [c] * d, tree[parents], k)
    X = rng.integers(0, c, (2_000, d)).astype(np.uint8)
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name if backend == "cpp" else None)
        parts = np.concatenate([td.log_prob_features(X[a : a + 60], tables) for a in range(0, len(X), 60)])
        for threads in (1, 2):
            assert (td.log_prob_features(X, tables, n_threads=threads) == parts).all()


def test_bad_codes_far_past_the_last_category(backend):
    tables = td.Tables.from_arrays([np.full(70_000, 1 / 70_000)])
    X = np.full((50, 1), 4_000_000_000, np.uint32)
    with pytest.raises(ValueError, match=r"X\[0, 0\] is 4000000000"):
        td.log_prob_features(X, tables)
    with pytest.raises(ValueError, match="65535"):
        td.log_prob_paths(np.full((20, 50), 65535, np.uint16), np.full((300, 300), 1 / 300))


@pytest.mark.parametrize("parents", ["none", "chain"])
def test_many_features_of_few_codes_in_large_blocks(parents, backend):
    """784 binary features in more rows than a block has: every instruction set equals the first, and one row alone."""
    rng = np.random.default_rng(3)
    d, n = 784, 11_000
    tables, _ = random_tables(rng, [2] * d, None if parents == "none" else list(range(-1, d - 1)), 10)
    X = rng.integers(0, 2, (n, d), dtype=np.uint8)
    first = None
    for name in td.backend.instruction_sets() if backend == "cpp" else [None]:
        td.backend.use(backend, instruction_set=name)
        for threads in (1, 2):
            got = td.log_prob_features(X, tables, n_threads=threads)
            first = got if first is None else first
            assert np.array_equal(got, first)
    some = rng.integers(0, n, 40)
    assert np.array_equal(first[some], np.concatenate([td.log_prob_features(X[i : i + 1], tables) for i in some]))


def test_many_tables_in_tiles_equal_one_thread_and_the_reference(backend):
    rng = np.random.default_rng(0)
    d, k = 40, 10
    tables, theta = random_tables(rng, [256] * d, None, k)
    X = rng.integers(0, 256, (5000, d)).astype(np.uint8)
    whole = td.log_prob_features(X, tables, n_threads=1)
    for threads in (2, 7):
        assert np.array_equal(td.log_prob_features(X, tables, n_threads=threads), whole)
    _, codes = reference.combined_codes(X[:40].tolist(), [256] * d, None, 1, None, False)
    assert whole[:40].tolist() == reference.log_prob_features(codes, theta, [0.0] * k)


def test_rows_alone_equal_rows_together(backend):
    rng = np.random.default_rng(1)
    tables, _ = random_tables(rng, [3] * 9, None, 2)
    X = rng.integers(0, 3, (101, 9))
    assert np.array_equal(
        np.concatenate([td.log_prob_features(X[i : i + 1], tables) for i in range(101)]),
        td.log_prob_features(X, tables),
    )


def test_the_sum_begins_at_first(backend):
    tables, theta = random_tables(np.random.default_rng(2), [2, 2], None, 3)
    first = np.array([-0.25, -math.inf, 0.0])
    X = np.array([[0, 1], [1, -1]])
    _, codes = reference.combined_codes(X.tolist(), [2, 2], None, 1, None, False)
    got = td.log_prob.score_features(X, tables, first)
    assert got.tolist() == reference.log_prob_features(codes, theta, first.tolist())


def test_an_impossible_row_is_minus_infinity(backend):
    tables = td.Tables.from_arrays([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [1.0, 0.0]]], n_classes=2)
    got = td.log_prob_features([[1, 0], [1, 1], [0, 0], [-1, -1]], tables)
    assert got.tolist() == [
        [-math.inf, math.log(0.5)],
        [-math.inf, -math.inf],
        [-math.inf, math.log(0.5)],
        [0.0, 0.0],
    ]


def test_close_to_exact_logs(backend):
    rng = np.random.default_rng(3)
    tables, theta = random_tables(rng, [5] * 50, None, None)
    X = rng.integers(0, 5, (20, 50))
    exact = [math.fsum(math.log(theta[0][j][c]) for j, c in enumerate(row)) for row in X.tolist()]
    assert td.log_prob_features(X, tables) == pytest.approx(exact, rel=1e-13)


def test_unseen_codes_are_errors_or_missing(backend):
    tables = td.Tables.from_arrays([[0.5, 0.5], [0.25, 0.75]])
    with pytest.raises(ValueError, match=r"X\[1, 1\] is 2, but feature 1 has 2 categories"):
        td.log_prob_features([[0, 1], [0, 2]], tables)
    assert td.log_prob_features([[0, 2]], tables, unseen="missing").tolist() == [reference.log(0.5)]
    assert td.log_prob_features([[0, 9]], tables, missing=9).tolist() == [reference.log(0.5)]


def test_counts_and_weights_are_no_probabilities(backend):
    counts = td.count_features([[0, 1], [1, 1]])
    with pytest.raises(ValueError, match=r"counts .* pass Tables\.from_arrays\(tables\)\.normalize\(\)"):
        td.log_prob_features([[0, 1]], counts)
    td.log_prob_features([[0, 1]], counts.normalize())
    weights = td.Tables.from_arrays([[0.5, 0.5], [[0.5, 0.5], [0.3, 0.3]]], parents=[-1, 0])
    with pytest.raises(ValueError, match=r"tables\[1\], row 1 sums to 0\.6, not to one"):
        td.log_prob_features([[0, 1]], weights)
    td.log_prob_features([[0]], td.Tables.from_arrays([[0.5, 0.5 + 1e-10]]))


def test_bad_arguments(backend):
    tables = td.Tables.from_arrays([[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(TypeError, match="integer codes"):
        td.log_prob_features([[0.0, 1.0]], tables)
    with pytest.raises(ValueError, match="one column a table"):
        td.log_prob_features([[0]], tables)
    with pytest.raises(ValueError, match="2 dimensions"):
        td.log_prob_features([0, 1], tables)
    with pytest.raises(ValueError, match="unseen"):
        td.log_prob_features([[0, 1]], tables, unseen="ignore")
    with pytest.raises(ValueError, match="n_threads"):
        td.log_prob_features([[0, 1]], tables, n_threads=0)
    assert td.log_prob_features(np.empty((0, 2), int), tables).shape == (0,)


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 27), tree=st.booleans(), threads=st.sampled_from([1, 2, 7]))
@settings(max_examples=40, deadline=None)
def check_lanes(seed, k, tree, threads):
    rng = np.random.default_rng(seed)
    n_categories = rng.integers(1, 90, 5).tolist() if not tree else rng.integers(1, 9, 5).tolist()
    tables, theta = random_tables(rng, n_categories, [-1, 0, 0, 2, -1] if tree else None, k, zeros=0.2)
    rows = [[[reference.log(theta[c][j][z]) for c in range(k)] for z in range(len(theta[0][j]))] for j in range(5)]
    offsets, wanted = reference.class_lanes([[*table, [0.0] * k] for table in rows])
    assert tables.structure.lane_offsets().tolist() == offsets
    lanes = np.full(offsets[-1], np.nan)
    td.backend.kernels().lay_out_logs(tables.structure, tables.values, np.array(offsets), lanes, threads)
    padded = np.array(wanted)
    parts = tables.structure.lane_parts()
    for j, table in enumerate(rows):  # where lane_parts says that the numbers of classes are
        for first, n, width in parts:
            begin = offsets[j] + first * (len(table) + 1)
            part = lanes[begin : begin + (len(table) + 1) * width].reshape(-1, width)
            assert part[:-1, :n].tolist() == [row[first : first + n] for row in table]
    assert [c for first, n, _ in parts for c in range(first, first + n)] == list(range(k))
    ends = np.array(offsets[1:])
    used = np.ones(len(lanes), bool)
    for j, (begin, end) in enumerate(zip(offsets[:-1], ends, strict=True)):
        width = k - k % 8 + next(w for w in (0, 1, 2, 4, 8) if w >= k % 8)
        used[begin + (len(rows[j]) + 1) * width : end] = False
    assert lanes[used].tolist() == padded[used].tolist()


def test_lanes_of_logs_equal_the_reference_on_every_instruction_set(backend):
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        check_lanes()
