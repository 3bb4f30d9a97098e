"""count_pairs and PairTables: exact contingency tables for every dtype, layout, class, weight and thread count."""

from __future__ import annotations

import copy
import functools
import pickle
import tracemalloc

import numpy as np
import places
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from tallydraw._count_pairs import count_pair_cells

DTYPES = [np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16, np.int32, np.int64]


@st.composite
def tasks(draw):
    d = draw(st.integers(1, 7) | st.sampled_from([20, 66]))
    n = draw(st.integers(0, 40) | st.sampled_from([64, 130, 300]))
    most = draw(st.sampled_from([2, 3, 9, 40])) if d < 20 else draw(st.sampled_from([2, 3, 20]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_categories = rng.integers(1 if draw(st.booleans()) else most, most + 1, d).tolist()
    n_classes = draw(st.none() | st.integers(1, 12))
    missing = draw(st.none() | st.integers(0, 5))
    lenient = draw(st.booleans())
    bad = draw(st.integers(0, 3)) == 0
    dtype = draw(st.sampled_from(DTYPES))
    gaps = np.dtype(dtype).kind == "i" and draw(st.booleans())
    columns = []
    for c in n_categories:
        low = -1 if gaps and rng.random() < 0.5 else 0
        columns.append(rng.integers(low, c + (bad and rng.random() < 0.1), n))
    X = np.stack(columns, axis=1).astype(dtype)
    layout = draw(st.sampled_from(["C", "F", "strided", "reversed", "read-only"]))
    if layout == "F":
        X = np.asfortranarray(X)
    elif layout == "strided":
        X = np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    elif layout == "reversed":
        X = np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]
    elif layout == "read-only":
        X.flags.writeable = False
    soft = draw(st.integers(0, 2))
    y = None if n_classes is None or soft == 2 else rng.integers(0, n_classes, n)
    weights = None
    if soft or (n_classes is not None and y is None):
        columns = 1 if y is not None else n_classes or 1
        weights = rng.exponential(size=(n, columns)) * 10.0 ** rng.integers(-8, 8, (n, columns))
    return X, y, n_categories, n_classes, weights, missing, lenient, draw(st.sampled_from([1, 2, 7]))


@given(task=tasks())
@settings(max_examples=80, deadline=None)
def check_against_reference(task):
    X, y, n_categories, n_classes, weights, missing, lenient, threads = task
    expected = reference.count_pairs(X.tolist(), y, n_categories, n_classes, weights, missing, lenient)

    def counted():
        return count_pair_cells(
            X, y, np.array(n_categories), n_classes, weights=weights, missing=missing,
            unseen="missing" if lenient else "error", n_threads=threads,
        )  # fmt: skip

    if isinstance(expected, tuple):
        i, j = expected
        with pytest.raises(ValueError, match=rf"X\[{i}, {j}\] is {X[i, j]}, but feature {j} has {n_categories[j]} "):
            counted()
        return
    pairs = counted()
    for (i, j), table in expected.items():
        assert pairs[i, j].tolist() == (table if n_classes is not None else table[0])
        assert np.array_equal(pairs[j, i], pairs[i, j].swapaxes(-1, -2))


def test_pairs_equal_the_reference(backend):
    check_against_reference()


def test_pairs_equal_the_reference_on_every_instruction_set(backend):
    for isa in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=isa)
        check_against_reference()


def one_hot_product(X, c, w=None):
    """(C d, C d) counts of all pairs by a matrix product; exact for integers below 2**53."""
    one_hot = (X[:, :, None] == np.arange(c)).reshape(len(X), -1).astype(np.float64)
    return one_hot.T @ (one_hot if w is None else one_hot * w[:, None])


@pytest.mark.parametrize(("n", "d", "c"), [(70_000, 5, 2), (9_000, 130, 2), (5_000, 70, 5), (3_000, 20, 17)])
@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("gaps", [False, True])
def test_pairs_equal_a_matrix_product_at_real_sizes(backend, n, d, c, k, gaps):
    rng = np.random.default_rng(n + d)
    X = rng.integers(0, c, (n, d)).astype(np.int8)
    if gaps:
        X[rng.random(n) < 0.1, d // 2] = -1
    y = None if k is None else rng.integers(0, k, n)
    products = [one_hot_product(X if k is None else X[y == i], c) for i in range(k or 1)]
    pairs = td.count_pairs(X, y=y, n_categories=c, n_classes=k, n_threads=2)
    for threads in (1, 7):
        bytes_ = td.count_pairs(X.astype(np.uint8), y=y, n_categories=c, n_classes=k, missing=255, n_threads=threads)
        assert bytes_ == pairs
    for i, product in enumerate(products):
        blocks = product.reshape(d, c, d, c).swapaxes(1, 2)
        expected = np.concatenate([blocks[a, a + 1 :].reshape(-1) for a in range(d)])
        found = pairs.values.reshape(-1, k or 1, c * c)[:, i]
        assert np.array_equal(found.reshape(-1), expected)


def laid_out(X, layout):
    """The same codes in other memory."""
    if layout == "strided":  # between the rows is what would be no code
        wide = np.full((len(X), X.shape[1] + 9), 99, X.dtype)
        wide[:, : X.shape[1]] = X
        return wide[:, : X.shape[1]]
    return {"C": X, "F": np.asfortranarray(X), "reversed": X[::-1].copy()[::-1]}[layout]


@functools.lru_cache
def two_categories(n, d):
    """Codes, the cells of their pairs, and their counts, by a matrix product."""
    X = np.random.default_rng(n + d).integers(0, 2, (n, d)).astype(np.uint8)
    product = one_hot_product(X, 2).reshape(d, 2, d, 2).swapaxes(1, 2)
    cells = np.concatenate([product[a, a + 1 :].reshape(-1) for a in range(d)])
    return X, cells, product[range(d), range(d)].diagonal(0, 1, 2).reshape(-1)


@pytest.mark.parametrize("place", places.PLACES, ids="-".join)
@pytest.mark.parametrize(
    ("n", "widths"),
    [(1, [1, 9]), (64, [1, 8, 65]), (130, [5, 17, 33, 64, 140]), (9_001, [1, 2, 66, 140]), (20_000, [66])],
)
@pytest.mark.parametrize("layout", ["C", "F", "strided", "reversed"])
def test_two_categories_of_every_width_on_every_instruction_set(place, n, widths, layout):
    with places.at(place):
        for d in widths:
            X, cells, single = two_categories(n, d)
            for threads in (1, 2, 5):
                pairs = td.count_pairs(laid_out(X, layout), n_categories=2, n_threads=threads)
                assert np.array_equal(pairs.values, cells)
                assert np.array_equal(pairs.marginals.values, single)
            bad = X.copy()
            bad[n // 2 :, d // 2] = 2
            bad[-1, -1] = 255
            row, column = n // 2, d // 2
            wrong = 255 if (row, column) == (n - 1, d - 1) else 2
            with pytest.raises(ValueError, match=rf"X\[{row}, {column}\] is {wrong}, but feature {column} has 2 "):
                td.count_pairs(laid_out(bad, layout), n_categories=2, n_threads=2)


@pytest.mark.parametrize("place", places.PLACES, ids="-".join)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
@pytest.mark.parametrize("sizes", [[2] * 70, [4] * 20, [1, 2, 2, 3, 6, 5] * 3])
def test_many_rows_dealt_to_threads_on_every_instruction_set(place, dtype, sizes):
    rng = np.random.default_rng(len(sizes))
    n, d, c = 18_001, len(sizes), max(sizes)
    X = (rng.random((n, d)) * sizes).astype(dtype)
    gone = X.copy()
    gone[-1, d // 2] = 200 if dtype is np.uint8 else -1
    with places.at(place):
        for data in (X, gone):
            product = one_hot_product(data, c).reshape(d, c, d, c).swapaxes(1, 2)
            for threads in (1, 2):
                pairs = td.count_pairs(data, n_categories=sizes, unseen="missing", n_threads=threads)
                parts = [
                    td.count_pairs(part, n_categories=sizes, unseen="missing", n_threads=threads)
                    for part in (data[:1], data[1:])
                ]
                assert parts[0] + parts[1] == pairs
                for i in range(0, d, 3):
                    for j in range(i + 1, d, 4):
                        assert np.array_equal(pairs[i, j], product[i, j, : sizes[i], : sizes[j]])


@pytest.mark.parametrize("place", places.PLACES, ids="-".join)
def test_missing_cells_here_and_there_and_the_first_bad_code_of_many_rows(place):
    rng = np.random.default_rng(6)
    n, d = 40_000, 40
    X = rng.integers(0, 2, (n, d))
    with places.at(place):
        for rows in ([0], [n - 1], [7_000, 7_001, 30_000], [3_000, 20_000, n - 1]):
            gone = X.copy()
            gone[rows, 3] = -1
            whole, product = np.delete(X, rows, axis=0), one_hot_product(gone[rows], 2)
            for threads in (1, 2, 5):
                pairs = td.count_pairs(gone, n_categories=2, n_threads=threads)
                rest = pairs - td.count_pairs(whole, n_categories=2, n_threads=threads)
                blocks = product.reshape(d, 2, d, 2).swapaxes(1, 2)
                assert np.array_equal(rest.values, np.concatenate([blocks[a, a + 1 :].reshape(-1) for a in range(d)]))
            gone[[rows[-1], n - 1], [5, 6]] = 2
            with pytest.raises(ValueError, match=rf"X\[{rows[-1]}, 5\] is 2, but feature 5 has 2 "):
                td.count_pairs(gone, n_categories=2, n_threads=2)


@pytest.mark.parametrize("place", places.PLACES, ids="-".join)
@pytest.mark.parametrize(("n", "d"), [(50, 3), (30_000, 40), (30_011, 300)])
def test_bytes_some_of_which_are_missing_count_as_wider_codes_do(place, n, d):
    X = np.random.default_rng(d).integers(0, 2, (n, d)).astype(np.uint8)
    with places.at(place):
        for rows in ([], [0], [n - 1], [n // 2, n // 2 + 1]):
            gone = X.copy()
            gone[rows, d // 2] = 9
            counts = [
                td.count_pairs(codes, n_categories=2, missing=9, n_threads=threads)
                for codes, threads in ((gone.astype(np.int64), 1), (gone, 1), (gone, 3))
            ]
            assert counts[0] == counts[1] == counts[2]
            gone[n - 1, d - 1] = 2
            with pytest.raises(ValueError, match=rf"X\[{n - 1}, {d - 1}\] is 2, but feature {d - 1} has 2 "):
                td.count_pairs(gone, n_categories=2, missing=9, n_threads=2)


def test_blocks_of_two_categories_add_up(backend, monkeypatch):
    X = np.random.default_rng(4).integers(0, 2, (30_000, 12)).astype(np.uint8)
    whole = td.count_pairs(X, n_threads=2)
    monkeypatch.setattr(td.backend, "BLOCK_WORK", 1 << 17)
    assert len(list(td.backend.blocks(len(X), 12))) > 1
    assert td.count_pairs(X, n_threads=2) == whole
    empty = td.count_pairs(X[:0], n_categories=2)
    assert not empty.values.any() and not empty.marginals.values.any()


@pytest.mark.parametrize("place", places.PLACES, ids="-".join)
@pytest.mark.parametrize("c", [2, 4, 7, 13])
@pytest.mark.parametrize("columns", [1, 2, 5])
def test_weights_of_several_chunks_on_every_instruction_set(place, c, columns):
    rng = np.random.default_rng(c)
    n, d = 5_000, 21
    X, w = rng.integers(0, c, (n, d)).astype(np.uint8), rng.exponential(size=(n, columns))
    with places.at(place):
        pairs = count_pair_cells(X, None, np.full(d, c), columns, weights=w, n_threads=2)
    at = 0
    for i in range(d):
        for j in range(i + 1, d):
            cell = X[:, i].astype(np.int64) * c + X[:, j]
            expected = np.concatenate([np.bincount(cell, column, minlength=c * c) for column in w.T])
            assert np.array_equal(pairs.values[at : at + columns * c * c], expected)
            at += columns * c * c


@pytest.mark.parametrize("place", places.PLACES, ids="-".join)
@pytest.mark.parametrize(("most", "classes"), [(3, 1), (5, 3), (5, 60), (33, 1), (33, 4)])
def test_weighted_features_of_all_sizes_with_gaps_on_every_instruction_set(place, most, classes):
    rng = np.random.default_rng(most)
    n, d = 4_200, 75
    sizes = np.concatenate([rng.integers(1, 4, 30), rng.integers(1, most + 1, d - 30)])
    X = rng.integers(-1, sizes, (n, d)).astype(np.int16)
    y, w = rng.integers(0, classes, n), rng.exponential(size=(n, 1))
    with places.at(place):
        pairs = count_pair_cells(X, y, sizes, classes, weights=w, n_threads=2)
    for i, j in zip(*np.triu_indices(d, 1), strict=True):
        seen = (X[:, i] >= 0) & (X[:, j] >= 0)
        cell = ((y * sizes[i] + X[:, i]) * sizes[j] + X[:, j])[seen]
        expected = np.bincount(cell, w[seen, 0], minlength=classes * sizes[i] * sizes[j])
        assert np.array_equal(pairs[i, j].reshape(-1), expected)
    for j in range(d):
        cell = (y * sizes[j] + X[:, j])[X[:, j] >= 0]
        expected = np.bincount(cell, w[X[:, j] >= 0, 0], minlength=classes * sizes[j])
        assert np.array_equal(pairs.marginals[j].reshape(-1), expected)


@pytest.mark.parametrize("place", places.PLACES, ids="-".join)
@pytest.mark.parametrize("classes", [1, 3])
def test_weights_of_two_categories_of_which_few_are_missing_on_every_instruction_set(place, classes):
    rng = np.random.default_rng(classes)
    n, d = 5_000, 140
    sizes = np.full(d, 2)
    sizes[[3, 70, 129]] = 1
    X = rng.integers(0, sizes, (n, d)).astype(np.int8)
    X[2_500, [9, 66]] = X[4_999, 139] = -1
    X[:2_000, 40] = -1
    w = rng.exponential(size=(n, 1)) * 10.0 ** rng.integers(-8, 8, (n, 1))
    w[::7], w[::11] = 0.0, -0.0
    y = rng.integers(0, classes, n) if classes > 1 else None
    with places.at(place):
        pairs = count_pair_cells(X, y, sizes, classes, weights=w, n_threads=2)
    of = np.zeros(n, np.int64) if y is None else y
    for i, j in zip(*np.triu_indices(d, 1), strict=True):
        seen = (X[:, i] >= 0) & (X[:, j] >= 0)
        cell = ((of * sizes[i] + X[:, i]) * sizes[j] + X[:, j])[seen]
        expected = np.bincount(cell, w[seen, 0], minlength=classes * sizes[i] * sizes[j])
        assert pairs[i, j].tobytes() == expected.tobytes()
    for j in range(d):
        seen = X[:, j] >= 0
        expected = np.bincount((of * sizes[j] + X[:, j])[seen], w[seen, 0], minlength=classes * sizes[j])
        assert pairs.marginals[j].tobytes() == expected.tobytes()


def test_weighted_pairs_have_the_bits_of_bincount(backend):
    rng = np.random.default_rng(5)
    n, d, c, k = 10_000, 18, 3, 2
    X, y = rng.integers(-1, c, (n, d)), rng.integers(0, k, n)
    w = rng.exponential(size=n) * 10.0 ** rng.integers(-8, 8, n)
    for threads in (1, 2):
        pairs = td.count_pairs(X, y=y, sample_weight=w, n_categories=c, n_threads=threads)
        for i, j in [(0, 1), (0, 17), (5, 11), (16, 17)]:
            seen = (X[:, i] >= 0) & (X[:, j] >= 0)
            cell = ((y * c + X[:, i]) * c + X[:, j])[seen]
            assert np.array_equal(pairs[i, j].reshape(-1), np.bincount(cell, w[seen], minlength=k * c * c))


def test_blocks_and_the_place_of_a_bad_code(backend, monkeypatch):
    monkeypatch.setattr(td.backend, "BLOCK_WORK", 4096)
    X = np.random.default_rng(0).integers(0, 4, (20_000, 3))
    w = np.random.default_rng(1).random(20_000)
    small, weighted = td.count_pairs(X), td.count_pairs(X, sample_weight=w)
    monkeypatch.undo()
    assert small == td.count_pairs(X)
    assert weighted == td.count_pairs(X, sample_weight=w)
    X[7777, 1] = 9
    X[18_000, 0] = 9
    for weights in (None, w):
        with pytest.raises(ValueError, match=r"X\[7777, 1\] is 9, but feature 1 has 4 categories"):
            td.count_pairs(X, n_categories=4, sample_weight=weights, n_threads=2)


def test_the_tables_of_a_tree_are_those_of_count_features(backend):
    rng = np.random.default_rng(2)
    X = np.stack([rng.integers(-1, c, 400) for c in (2, 3, 1, 5, 20)], axis=1)
    y = rng.integers(0, 3, 400)
    sizes = [2, 3, 1, 5, 20]
    for parents in ([-1, 0, 1, 2, 3], [4, 3, -1, 2, 3], [-1, -1, 0, -1, 0]):
        for labels in (None, y):
            pairs = td.count_pairs(X, y=labels, n_categories=sizes)
            expected = td.count_features(X, y=labels, n_categories=sizes, parents=parents)
            assert pairs.tables(parents) == expected
            for found, part in zip(pairs.tables(parents).structure, expected.structure, strict=True):
                assert np.array_equal(found, part)
        assert pairs.of_class(1) == td.count_pairs(X[y == 1], n_categories=sizes)
        one = td.count_features(X[y == 1], n_categories=sizes, parents=parents)
        assert pairs.of_class(1).tables(parents) == one
    assert pairs.marginals == td.count_features(X, y=y, n_categories=sizes)
    with pytest.raises(ValueError, match="parents has a cycle"):
        pairs.tables([1, 0, -1, -1, -1])
    with pytest.raises(ValueError, match="k must be at most 2, got 3"):
        pairs.of_class(3)
    with pytest.raises(ValueError, match="these PairTables have no classes"):
        td.count_pairs(X).of_class(0)


def test_pair_tables_are_a_value():
    X = np.random.default_rng(3).integers(0, 3, (100, 4))
    pairs = td.count_pairs(X)
    assert len(pairs) == 4
    assert repr(pairs) == "PairTables(d=4, n_categories=[3, 3, 3, 3], int64)"
    assert repr(td.count_pairs(X, y=X[:, 0], sample_weight=X[:, 0])).endswith("n_classes=3, float64)")
    for copied in (pickle.loads(pickle.dumps(pairs)), copy.deepcopy(pairs)):
        assert copied == pairs
        assert not copied.values.flags.writeable
    assert pairs != td.count_pairs(X[1:], n_categories=3)
    assert pairs != "pairs"
    assert np.array_equal(pairs[-1, 0], pairs[3, 0])
    assert pairs[1, 1].tolist() == np.diag(np.bincount(X[:, 1])).tolist()
    for table in (pairs[0, 1], pairs[1, 0], pairs[1, 1], pairs.values):
        assert not table.flags.writeable
    with pytest.raises(AttributeError, match="cannot be changed"):
        pairs.values = pairs.values
    with pytest.raises(IndexError, match="there are 4 features, got index 4"):
        pairs[0, 4]
    with pytest.raises(TypeError, match=r"a table is that of a pair: t\[i, j\], got t\[0\]"):
        pairs[0]
    with pytest.raises(TypeError, match="asked for a pair"):
        list(pairs)


def test_pairs_add_and_subtract(backend):
    X = np.random.default_rng(3).integers(0, 3, (100, 4))
    whole = td.count_pairs(X, n_categories=3)
    first, rest = (td.count_pairs(part, n_categories=3) for part in (X[:30], X[30:]))
    assert first + rest == whole
    assert whole - first == rest
    with pytest.raises(ValueError, match="would turn negative"):
        first - whole
    with pytest.raises(ValueError, match="tables differ in n_categories"):
        first + td.count_pairs(X, n_categories=4)
    with pytest.raises(ValueError, match="tables differ in n_classes"):
        first + td.count_pairs(X, y=X[:, 0], n_categories=3)
    weighted = td.count_pairs(X, n_categories=3, sample_weight=np.full(100, 0.5))
    assert (weighted + weighted).values.tolist() == whole.values.tolist()
    with pytest.raises(TypeError, match="needs integer counts"):
        whole - weighted
    swapped = td.count_pairs([[0, 1], [1, 0]]), td.count_pairs([[0, 0], [1, 1]])
    with pytest.raises(ValueError, match=r"pair \(0, 1\) would turn negative: 0 - 1"):
        swapped[0] - swapped[1]
    single = td.Tables.from_arrays([[1, 1], [1, 1], [1, 1]])
    big = td.PairTables(np.array([0] * 8 + [2**62] * 4), single)
    with pytest.raises(OverflowError, match=r"the sum of pair \(1, 2\) passes 2\*\*63 - 1"):
        big + big
    with pytest.raises(ValueError, match="values must have 12 cells, got shape"):
        td.PairTables(np.zeros(3, np.int64), single)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.count_pairs([[0.5, 1.0]]), TypeError, "X must hold integer codes, got dtype float64"),
        (lambda: td.count_pairs([0, 1]), ValueError, r"X must have 2 dimensions, got shape \(2,\)"),
        (lambda: td.count_pairs([[0, 1]], n_categories=[2, 1]), ValueError, r"X\[0, 1\] is 1, but feature 1 has 1"),
        (lambda: td.count_pairs(np.zeros((0, 2), int)), ValueError, "X has no rows: pass n_categories="),
        (lambda: td.count_pairs(np.zeros((2, 0), int)), ValueError, "at least one feature"),
        (lambda: td.count_pairs([[0, 0]], y=[-1]), ValueError, r"y\[0\] is -1: a class may not be missing"),
        (lambda: td.count_pairs([[0, 0]], n_classes=2), ValueError, "n_classes is given without y"),
        (lambda: td.count_pairs([[0, 0]], sample_weight=[np.nan]), ValueError, r"sample_weight\[0\] is nan"),
        (lambda: td.count_pairs([[0, 0]], n_threads=0), ValueError, "n_threads must be at least 1"),
        (lambda: td.count_pairs([[0, 0]], unseen="no"), ValueError, "unseen must be 'error' or 'missing'"),
        (
            lambda: td.count_pairs([[0, 0]], n_categories=2**23),
            MemoryError,
            rf"the 1 pairs of the 2 features of X need {8 * 2**46} bytes: encode the values",
        ),
        (
            lambda: td.count_pairs([[0, 0]], n_categories=2**31),
            ValueError,
            r"need 2\*\*65 bytes: too many to address; encode the values",
        ),
    ],
)
def test_bad_input_is_one_clear_error(backend, call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_no_rows_and_one_feature(backend):
    empty = td.count_pairs(np.zeros((0, 3), np.uint8), n_categories=2, y=np.zeros(0, int), n_classes=2)
    assert empty.values.tolist() == [0] * 24
    one = td.count_pairs([[1], [0], [1]])
    assert one.values.tolist() == [] and one.marginals[0].tolist() == [1, 2]
    assert one[0, 0].tolist() == [[1, 0], [0, 2]]


@pytest.mark.parametrize("weighted", [False, True])
def test_pairs_take_no_more_memory_than_their_tables(backend, weighted):
    X = np.random.default_rng(9).integers(0, 2, (3, 1500), dtype=np.uint8)  # of one category or two
    weights = [0.5, 1.0, 2.0] if weighted else None
    scratch = 2**24 if weighted and backend == "numba" else 0

    def both():
        return td.mutual_information(td.count_pairs(X[:, :70], sample_weight=weights))

    both()  # what is compiled, or imported, once
    tracemalloc.start()
    try:
        pairs = td.count_pairs(X, sample_weight=weights)
        assert tracemalloc.get_traced_memory()[1] < 1.1 * pairs.values.nbytes + scratch
        tracemalloc.reset_peak()
        information = td.mutual_information(pairs)
        assert tracemalloc.get_traced_memory()[1] < 1.1 * (pairs.values.nbytes + information.nbytes)
        assert np.array_equal(information, information.T)
    finally:
        tracemalloc.stop()
