"""count_features and count_categories: exact counts for every dtype, layout, class, parent, weight and thread count."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import places
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from tallydraw import count as internal
from tallydraw._structure import make_structure

DTYPES = [np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16, np.int32, np.int64]


@pytest.fixture(autouse=True)
def threads_for_any_work(request, monkeypatch):
    """Whatever asks for threads has them: the Numba backend would count little serially."""
    if "backend" in request.fixturenames and request.getfixturevalue("backend") == "numba":
        monkeypatch.setattr("tallydraw._numba.parallel._SERIAL_WORK", 0)


@st.composite
def tasks(draw):
    d = draw(st.integers(1, 6))
    n = draw(st.integers(1, 40))
    n_categories = [draw(st.integers(1, 5)) for _ in range(d)]
    parents = draw(st.none() | st.just([draw(st.integers(-1, j - 1)) for j in range(d)]))
    order = draw(st.integers(1, 3))
    n_classes = draw(st.none() | st.integers(1, 4))
    missing = draw(st.none() | st.integers(0, 5))
    lenient = draw(st.booleans())
    top = [c + (1 if draw(st.integers(0, 9)) == 0 else 0) for c in n_categories]
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    dtype = draw(st.sampled_from(DTYPES))
    low = -1 if np.dtype(dtype).kind == "i" and draw(st.booleans()) else 0
    X = np.stack([rng.integers(low, t, n) for t in top], axis=1).astype(dtype)
    layout = draw(st.sampled_from(["C", "F", "strided", "reversed", "read-only"]))
    if layout == "F":
        X = np.asfortranarray(X)
    elif layout == "strided":
        X = np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    elif layout == "reversed":
        X = np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]
    elif layout == "read-only":
        X.flags.writeable = False
    y = None if n_classes is None else rng.integers(0, n_classes, n)
    weights = rng.exponential(size=n) if draw(st.booleans()) else None
    threads = draw(st.sampled_from([1, 2, 7]))
    return X, y, n_categories, n_classes, parents, order, weights, missing, lenient, threads


@given(task=tasks())
@settings(max_examples=150, deadline=None)
def check_against_reference(task):
    X, y, n_categories, n_classes, parents, order, weights, missing, lenient, threads = task
    expected = reference.count_features(
        X.tolist(), y, n_categories, n_classes, parents, order, weights, missing, lenient
    )
    structure = make_structure(np.array(n_categories), None if parents is None else np.array(parents), n_classes, order)

    def counted():
        return internal.count_cells(
            X, y, structure, sample_weight=weights, missing=missing,
            unseen="missing" if lenient else "error", n_threads=threads,
        )  # fmt: skip

    if isinstance(expected, tuple):
        i, j = expected
        with pytest.raises(ValueError, match=rf"X\[{i}, {j}\] is {X[i, j]}, but feature {j} has {n_categories[j]} "):
            counted()
    else:
        assert counted().tolist() == expected


def test_counts_equal_the_reference(backend):
    check_against_reference()


def test_counts_equal_the_reference_on_every_instruction_set(backend):
    for isa in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=isa)
        check_against_reference()


@pytest.mark.parametrize("c", [2, 3, 16, 17, 255, 256, 257, 70_000])
@pytest.mark.parametrize("k", [None, 10])
@pytest.mark.parametrize("d", [1, 65])
def test_counts_equal_bincount_at_real_sizes(backend, c, k, d):
    rng = np.random.default_rng(c * 1000 + d)
    n = 5_000 if c < 70_000 or d < 10 else 300
    X = rng.integers(0, c, (n, d)).astype(np.min_scalar_type(c - 1))
    y = None if k is None else rng.integers(0, k, n)
    expected = [
        np.bincount((0 if y is None else y * c) + X[:, j].astype(np.int64), minlength=c * (k or 1)) for j in range(d)
    ]
    layouts = [X, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2], np.repeat(X, 9, axis=1)[:, ::9]]
    for threads in (1, 2, 7):
        for data in [*layouts, np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]]:
            t = td.count_features(data, y=y, n_categories=c, n_classes=k, n_threads=threads)
            assert np.array_equal(t.values, np.concatenate(expected))


@pytest.mark.parametrize("place", places.PLACES, ids="-".join)
@pytest.mark.parametrize("c", [2, 3, 9, 17, 33, 49, 256])
def test_every_way_to_count_on_every_instruction_set(place, c):
    rng = np.random.default_rng(c)
    n, d = 5_000, 70
    X = rng.integers(0, c, (n, d)).astype(np.uint8)
    for k in (1, 3, 10):
        y = rng.integers(0, k, n)
        expected = np.concatenate([np.bincount(y * c + x, minlength=k * c) for x in X.T.astype(np.int64)])
        for data in (X, np.repeat(X, 2, axis=1)[:, ::2], np.asfortranarray(X), X.astype(np.int16)):
            with places.at(place):
                t = td.count_features(data, y=y, n_categories=c, n_classes=k, n_threads=2)
            assert np.array_equal(t.values, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("missing", [None, 0, 20, 100])
@pytest.mark.parametrize("k", [None, 3])
def test_bytes_whatever_they_mean(backend, dtype, missing, k):
    rng = np.random.default_rng(7)
    n, sizes = 3_000, [20, 90, 17]
    X = np.stack([rng.integers(0, c, n) for c in sizes], axis=1).astype(dtype)
    gone = -1 if missing is None else missing
    if missing is not None or dtype == np.int8:
        X[rng.random((n, 3)) < 0.1] = gone
    y = None if k is None else rng.integers(0, k, n)
    labels = np.zeros(n, np.int64) if y is None else y

    def expected(data):
        tables = []
        for j, c in enumerate(sizes):
            x = data[:, j].astype(np.int64)
            seen = (x >= 0) & (x < c) & (x != gone)
            tables.append(np.bincount(labels[seen] * c + x[seen], minlength=c * (k or 1)))
        return np.concatenate(tables)

    rules = {"y": y, "n_categories": sizes, "n_classes": k, "missing": missing}
    strange = X.copy()
    strange[[2_000, 2_500, 2_900], [1, 2, 0]] = 99, 17, 40
    for threads in (1, 2):
        for layout in (lambda A: A, lambda A: np.repeat(A, 5, axis=1)[:, ::5], np.asfortranarray):
            counted = td.count_features(layout(X), n_threads=threads, **rules)
            assert np.array_equal(counted.values, expected(X))
            lenient = td.count_features(layout(strange), n_threads=threads, unseen="missing", **rules)
            assert np.array_equal(lenient.values, expected(strange))
            with pytest.raises(ValueError, match=r"X\[2000, 1\] is 99, but feature 1 has 90 categories"):
                td.count_features(layout(strange), n_threads=threads, **rules)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64])
@pytest.mark.parametrize(("c", "k"), [(3, 2), (16, 70), (17, 3), (100, 10)])
@pytest.mark.parametrize("named", [None, 1, 120])
def test_layouts_and_missing_codes_at_real_sizes(backend, dtype, c, k, named):
    rng = np.random.default_rng(c)
    n, d = 3_000, 66
    wide = rng.integers(0, c, (n + 3, 2 * d)).astype(dtype)
    wide[rng.random(wide.shape) < 0.05] = -1 if wide.dtype.kind == "i" else 120 if named == 120 else 0
    y = rng.integers(0, k, n)
    for X in (wide[2:-1, :d], wide[2:-1, ::2], np.asfortranarray(wide)[2:-1, 5 : 5 + d], wide[2:-1, d - 1 :: -1]):
        seen = (X >= 0) & np.isin(X, [-1 if named is None else named], invert=True)
        expected = [
            np.bincount(y[s] * c + x[s].astype(np.int64), minlength=k * c) for x, s in zip(X.T, seen.T, strict=True)
        ]
        for threads in (1, 3):
            t = td.count_features(X, y=y, n_categories=c, n_classes=k, missing=named, n_threads=threads)
            assert np.array_equal(t.values, np.concatenate(expected))
    bad = np.asfortranarray(wide[:n, :d])
    bad[2_900, 3], bad[2_901, 0] = 101, 102
    for X in (bad, np.ascontiguousarray(bad)):
        with pytest.raises(ValueError, match=r"X\[2900, 3\] is 101"):
            td.count_features(X, y=y, n_categories=c, n_classes=k, missing=named, n_threads=2)


def test_negative_bytes_are_missing_however_many_categories_there_are(backend):
    for n, d in ((300, 1), (3_000, 1), (3_000, 66)):
        X = np.full((n, d), -100, np.int8)  # 156 as an unsigned number
        X[::3] = 5
        for data in (X, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
            for c in (100, 128, 156, 157, 256):
                t = td.count_features(data, n_categories=c)
                assert all(table.sum() == table[5] == len(X[::3]) for table in t)


@pytest.mark.parametrize("c", [2, 5, 40, 100])
@pytest.mark.parametrize("n", [300, 5_000, 70_000])
def test_the_first_of_several_bad_codes_is_named(backend, c, n):
    X = np.zeros((n, 20), np.uint8)
    X[[n // 3, n - 50, n - 1], [3, 2, 19]] = c
    for data in (X, np.asfortranarray(X), X.astype(np.int8), X.astype(np.int64)):
        for threads in (1, 2):
            with pytest.raises(ValueError, match=rf"X\[{n // 3}, 3\] is {c}, but feature 3 has {c} categories"):
                td.count_features(data, n_categories=c, n_threads=threads)


@pytest.mark.parametrize("c", [2, 200])
def test_more_rows_than_small_counts_hold(backend, c):
    X = np.zeros((140_000, 9), np.uint8)
    X[::7] = c - 1
    expected = np.tile(np.bincount(X[:, 0], minlength=c), 9)
    for data in (X, np.asfortranarray(X), X.astype(np.int16)):
        assert np.array_equal(td.count_features(data, n_categories=c, n_threads=2).values, expected)


def test_weighted_counts_have_the_bits_of_bincount(backend):
    rng = np.random.default_rng(5)
    n, d, c, k = 20_000, 7, 6, 3
    X, y = rng.integers(-1, c, (n, d)), rng.integers(0, k, n)
    w = rng.exponential(size=n) * 10.0 ** rng.integers(-8, 8, n)
    for threads in (1, 2, 7):
        t = td.count_features(X, y=y, sample_weight=w, n_categories=c, n_threads=threads)
        for j in range(d):
            seen = X[:, j] >= 0
            expected = np.bincount((y * c + X[:, j])[seen], w[seen], minlength=k * c).reshape(k, c)
            assert np.array_equal(t[j], expected)


def test_blocks_and_the_place_of_a_bad_code(backend, monkeypatch):
    monkeypatch.setattr(td.backend, "BLOCK_WORK", 100)
    X = np.random.default_rng(0).integers(0, 4, (1000, 3))
    y = np.arange(1000) % 2
    expected = [[np.bincount(X[y == k, j], minlength=4) for k in (0, 1)] for j in range(3)]
    assert np.array_equal(td.count_features(X, y=y).values, np.ravel(expected))
    X[777, 1] = 9
    X[800, 0] = 9
    with pytest.raises(ValueError, match=r"X\[777, 1\] is 9, but feature 1 has 4 categories"):
        td.count_features(X, y=y, n_categories=4, n_threads=2)


def test_ragged_categories_and_inference():
    t = td.count_features([[0, 3], [1, -1]])
    assert t.n_categories.tolist() == [2, 4]
    assert t[0].tolist() == [1, 1] and t[1].tolist() == [0, 0, 0, 1]
    assert td.count_features([[7, 0], [0, 1]], missing=7).n_categories.tolist() == [1, 2]
    assert td.count_features(np.full((2, 1), -1)).n_categories.tolist() == [1]


def test_count_categories(backend):
    x = np.random.default_rng(1).integers(-1, 300, 50_000).astype(np.int16)
    assert np.array_equal(td.count_categories(x, n_threads=2), np.bincount(x[x >= 0]))
    assert np.array_equal(td.count_categories(x[::-3]), np.bincount(x[::-3][x[::-3] >= 0]))
    assert td.count_categories(np.zeros(0, np.int64), n_categories=3).tolist() == [0, 0, 0]
    assert td.count_categories(np.array([True, False, True])).tolist() == [1, 2]
    weights = np.linspace(0, 1, len(x))
    assert np.array_equal(td.count_categories(x, sample_weight=weights), np.bincount(x[x >= 0], weights[x >= 0]))


def test_many_categories_are_counted(backend):
    c = 256**3
    x = np.random.default_rng(2).integers(0, c, 100_000).astype(np.int32)
    assert np.array_equal(td.count_categories(x, n_categories=c, n_threads=2), np.bincount(x, minlength=c))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.count_categories([0.5, 1.0]), TypeError, "x must hold integer codes, got dtype float64"),
        (lambda: td.count_features([[0.0]]), TypeError, "X must hold integer codes"),
        (lambda: td.count_features([[0, 1]], n_categories=[2, 1]), ValueError, r"X\[0, 1\] is 1, but feature 1 has 1"),
        (lambda: td.count_features([[0], [1, 2]]), ValueError, r"X has rows of different lengths.*homogeneous=True"),
        (lambda: td.count_features([[0]], n_categories=2**45 + 1), MemoryError, rf"feature 0 of X {2**48 + 8},"),
        (lambda: td.count_features([["a"]]), TypeError, r"astype\('category'\).cat.codes"),
        (lambda: td.count_features([[0.5]]), TypeError, r"np.where\(np.isnan\(X\), -1, X\)"),
        (lambda: td.count_features([0, 1]), ValueError, r"X must have 2 dimensions, got shape \(2,\)"),
        (lambda: td.count_features(np.zeros((0, 2), int)), ValueError, "X has no rows: pass n_categories="),
        (lambda: td.count_features(np.zeros((2, 0), int)), ValueError, "at least one feature"),
        (lambda: td.count_features([[0]], y=[0, 1]), ValueError, r"y must have one class a row \(1\), got 2"),
        (lambda: td.count_features([[0]], y=[-1]), ValueError, r"y\[0\] is -1: a class may not be missing"),
        (lambda: td.count_features([[0]], y=[3], n_classes=2), ValueError, r"y\[0\] is 3, but there are 2 classes"),
        (lambda: td.count_features([[0]], y=[0.0]), TypeError, r"y must hold integer codes.*y.astype\(np.int64\)"),
        (lambda: td.count_features([[0]], y=["a"]), TypeError, r"<U1; .* y = np.unique\(y, return_inverse=True\)"),
        (lambda: td.count_features([[0]], y=[None]), TypeError, r"y\[0\] is None; a class may not be missing"),
        (lambda: td.count_features(sparse.csr_matrix([[0]])), TypeError, r"X is a sparse csr_matrix.*X.toarray\(\)"),
        (lambda: td.count_features({"a": [0]}), TypeError, "X must hold integer codes, got dict; pass an array"),
        (lambda: td.count_features(np.array([[0, 1]], object)), TypeError, r"X\[0, 0\] is 0; pass X.astype\('int64'\)"),
        (lambda: td.count_features([[0, None]]), TypeError, r"X\[0, 1\] is None; -1 is missing"),
        (lambda: td.count_features([[0, 2**70]]), TypeError, r"X\[0, 1\] is 1180\d+; codes must be below 2\*\*63 - 1"),
        (lambda: td.count_features(np.array([[0, "a"]], object)), TypeError, r"X\[0, 1\] is 'a'; give the values"),
        (lambda: td.count_features(np.empty((0, 1), object)), TypeError, "got dtype object; give the values"),
        (lambda: td.count_features([[0]], n_classes=2), ValueError, "n_classes is given without y"),
        (lambda: td.count_features([[0, 0]], parents=[1, 0]), ValueError, "parents has a cycle"),
        (lambda: td.count_features([[0, 0]], parents=[-1, 2]), ValueError, r"parents\[1\] must be at most 1"),
        (lambda: td.count_features([[0]], sample_weight=[np.nan]), ValueError, r"sample_weight\[0\] is nan"),
        (lambda: td.count_features([[0]], sample_weight=[1, 2]), ValueError, "must have one weight a row"),
        (lambda: td.count_features([[0]], n_categories=0), ValueError, "n_categories of feature 0 must be at least 1"),
        (lambda: td.count_features([[0]], n_categories=2**64), ValueError, r"n_categories must be at most 2\*\*63 - 1"),
        (lambda: td.count_features([[0]], n_categories=2**63), ValueError, r"feature 0 must be at most 2\*\*63 - 1"),
        (lambda: td.count_features([[0]], n_categories=2.0), TypeError, "n_categories must be an integer"),
        (lambda: td.count_features([[0]], unseen="ignore"), ValueError, "unseen must be 'error' or 'missing'"),
        (lambda: td.count_features([[0]], n_threads=0), ValueError, "n_threads must be at least 1"),
        (lambda: td.count_features([[0, 0]], n_categories=2**40, parents=[-1, 0]), ValueError, "too many to address"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error(backend, call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_zero_rows_count_nothing(backend):
    t = td.count_features(np.zeros((0, 2), np.uint8), n_categories=3, y=np.zeros(0, int), n_classes=2)
    assert t.values.tolist() == [0] * 12


def test_counts_add_and_subtract(backend):
    X = np.random.default_rng(3).integers(0, 3, (100, 4))
    whole = td.count_features(X, n_categories=3)
    first, rest = (td.count_features(part, n_categories=3) for part in (X[:30], X[30:]))
    assert first + rest == whole
    assert whole - first == rest
    with pytest.raises(ValueError, match="would turn negative"):
        first - whole
    with pytest.raises(ValueError, match="tables differ in n_categories"):
        first + td.count_features(X, n_categories=4)
    with pytest.raises(TypeError, match="needs integer counts"):
        whole - td.count_features(X, n_categories=3, sample_weight=np.ones(100))
    big = td.Tables.from_arrays([[2**62, 1]])
    with pytest.raises(OverflowError, match="passes"):
        big + big


@pytest.mark.parametrize("d", [3, 9])
@pytest.mark.parametrize("c", [3, 40, 300])
def test_more_rows_than_a_small_count_holds(c, d, backend):
    """Kernels may count in 16 bits and empty their tables in time: one code in 150,000 rows, then another."""
    X = np.full((200_000, d), c - 1, np.uint16 if c > 256 else np.uint8)
    X[150_000:] = 1
    for threads in (1, 2):
        counts = td.count_features(X, n_categories=c, n_threads=threads)
        for table in counts:
            assert (table[c - 1], table[1], table.sum()) == (150_000, 50_000, 200_000)


@given(task=tasks(), k=st.integers(1, 11))
@settings(max_examples=60, deadline=None)
def check_soft_counts(task, k):
    X, _, n_categories, _, parents, order, _, missing, lenient, threads = task
    weights = np.random.default_rng(k).exponential(size=(len(X), k))
    part = [np.array(n_categories), None if parents is None else np.array(parents)]
    options = {"missing": missing, "unseen": "missing" if lenient else "error"}

    def soft():
        return internal.count_soft_cells(X, make_structure(*part, k, order), weights, n_threads=threads, **options)

    def of_class(c):
        one = make_structure(*part, None, order)
        return internal.count_cells(X, None, one, sample_weight=weights[:, c], **options)

    try:
        alone = [of_class(c) for c in range(k)]
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            soft()
        return
    structure, one = make_structure(*part, k, order), make_structure(*part, None, order)
    found = soft()
    for j in range(len(n_categories)):
        block = found[structure.offsets[j] : structure.offsets[j + 1]].reshape(k, -1)
        assert np.array_equal(block, [a[one.offsets[j] : one.offsets[j + 1]] for a in alone])


def test_a_row_of_every_class_counts_its_weight_in_each(backend):
    check_soft_counts()


@pytest.mark.parametrize("k", [1, 5, 8, 10, 20, 33])
@pytest.mark.parametrize(("d", "most"), [(3, 2), (4, 2), (13, 3), (64, 4), (69, 2), (70, 5), (9, 1)])
def test_soft_counts_of_many_rows_of_few_codes(d, most, k, backend):
    rng = np.random.default_rng(d + k)
    n, n_categories = 2200 + 3 * k, rng.integers(1, most + 1, d)
    X = np.stack([rng.integers(-1, c, n) for c in n_categories], axis=1).astype(np.int8)
    weights = rng.exponential(size=(n, k))
    structure, one = make_structure(n_categories, None, k), make_structure(n_categories)
    alone = [internal.count_cells(X, None, one, sample_weight=weights[:, c]) for c in range(k)]
    isa = td.backend.instruction_set()
    for isa_name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=isa_name)
        for rows in (n, 63, 64, 100):
            counted = alone if rows == n else [
                internal.count_cells(X[:rows], None, one, sample_weight=weights[:rows, c]) for c in range(k)
            ]  # fmt: skip
            found = internal.count_soft_cells(X[:rows], structure, weights[:rows], n_threads=2)
            for j in range(d):
                block = found[structure.offsets[j] : structure.offsets[j + 1]].reshape(k, -1)
                assert np.array_equal(block, [a[one.offsets[j] : one.offsets[j + 1]] for a in counted])
    td.backend.use(backend, instruction_set=isa)


@pytest.mark.parametrize("alpha", [0, 0.0, 1, 1.0, 0.1, 2**60, 2.0**70, 1e308, [1, 0, 2], [0.5, 1, 2]])
def test_one_alpha_for_all_is_as_one_for_each(alpha: Any, backend: str) -> None:
    g = np.random.default_rng(8)
    counts = [[3, 0, 0], [[0, 0, 0], [1, 2, 0], [0, 0, 7]], [[5, 1, 1], [0, 0, 0], [2, 2, 2]]]
    integers = td.Tables.from_arrays([np.array(t) for t in counts], parents=[-1, 0, 1])
    weighted = td.Tables.from_arrays([np.array(t) * g.random() * 1e300 for t in counts], parents=[-1, 0, 1])
    largest = td.Tables.from_arrays([np.full(3, 2**61), *(np.array(t) for t in counts[1:])], parents=[-1, 0, 1])
    for tables in (integers, weighted, largest):
        before = tables.values.copy()
        try:
            expected = tables._like_probabilities(tables.smoothed(alpha), "counts + alpha")
        except OverflowError as error:
            with pytest.raises(OverflowError, match=re.escape(str(error))):
                tables.normalize(alpha)
            continue
        found = tables.normalize(alpha)
        assert found == expected and found.parents is tables.parents
        assert np.array_equal(tables.values, before)
        assert all(np.array_equal(a, b) for a, b in zip(found.levels(), expected.levels(), strict=True))


def test_the_remedy_of_nullable_columns_works() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": pd.array([0, 1, pd.NA], "Int8"), "b": pd.array([0, 1, 1], "Int8")})
    with pytest.raises(TypeError, match=r"X\[2, 0\] is <NA>; -1 is missing.*X.fillna\(-1\).astype\('int64'\)"):
        td.count_features(frame)
    assert td.count_features(frame.fillna(-1).astype("int64"))[0].tolist() == [1, 1]
    with pytest.raises(TypeError, match=r"got dtype float64.*x.fillna\(-1\).astype\('int64'\)"):
        td.count_categories(frame["a"])
    assert td.count_categories(frame["a"].fillna(-1).astype("int64")).tolist() == [1, 1]


SPARSE = "give the values that occur the codes 0, 1, 2, …"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: td.count_categories([0, 2**33]), r"x\[1\] is 8589934592: there would be 8589934593 categories"),
        (lambda: td.count_categories([3, 2**63 - 1]), r"x\[1\] is 9223372036854775807: codes must be below 2\*\*63"),
        (lambda: td.count_features([[0, 1], [1, 2**63 - 1]]), r"X\[1, 1\] is 9223372036854775807: codes must be below"),
        (lambda: td.count_features([[0, 1], [1, 2**31]]), r"X\[1, 1\] is 2147483648: feature 1 would have 2147483649"),
        (lambda: td.count_features([[0, 2**62]]), r"3\.69e\+19 bytes of tables for 1 rows: " + SPARSE),
        (lambda: td.count_features([[2**14, 2**14]], parents=[-1, 0]), r"X\[0, 0\] is 16384: .* pass n_categories="),
        (lambda: td.count_features([[0], [1]], y=[0, 2**50]), r"y\[1\] is 1125899906842624: .* pass n_classes="),
        (
            lambda: td.count_features([[0]], y=np.array([2**64 - 1], np.uint64)),
            r"y\[0\] is 18446744073709551615: class",
        ),
        (
            lambda: td.count_features([[0]], y=[0], n_classes=2**60),
            "too many to address; lower n_classes or the numbers",
        ),
        (lambda: td.count_features([[2**40], [2**31], [2**30]], missing=2**40), r"X\[1, 0\] is 2147483648: feature 0"),
        (lambda: td.count_pairs([[0, 1], [2**14, 2**14]]), r"X\[1, 0\] is 16384: feature 0 would have 16385"),
        (
            lambda: td.count_pairs([[0, 1], [1, 0]], y=[0, 2**50]),
            r"y\[1\] is 1125899906842624: there would be 1125899906842625 classes",
        ),
        (lambda: td.count_transitions([[0, 2**33]]), r"S\[0\]\[1\] is 8589934592: .* for 2 steps: .* pass n_states="),
        (lambda: td.count_transitions(np.array([[0, 2**63 - 1]])), r"S\[0, 1\] is 9223372036854775807: states must be"),
        (
            lambda: td.NaiveBayes().fit([[0], [2**31]]),
            r"X\[1, 0\] is 2147483648: .* np.unique\(values, return_inverse=True",
        ),
        (lambda: td.NaiveBayes().fit([[0], [2**26]], ["a", "b"]), r"X\[1, 0\] is 67108864: .* 1073741840 bytes"),
        (lambda: td.NaiveBayes().partial_fit([[0], [2**31]]), r"X\[1, 0\] is 2147483648"),
        (lambda: td.Categorical().fit([0, 2**31]), r"x\[1\] is 2147483648: there would be 2147483649 categories"),
        (lambda: td.MarkovChain().fit([[0, 1], [0, 2**14], [2**14, 0]]), r"X\[2, 0\] is 16384"),
        (
            lambda: td.MarkovChain(homogeneous=True).fit([[0, 2**14]]),
            r"X\[0\]\[1\] is 16384: there would be 16385 states",
        ),
        (lambda: td.ChowLiuTree().fit([[0, 2**14], [2**14, 0]]), r"X\[1, 0\] is 16384: feature 0"),
        (lambda: td.Mixture(td.NaiveBayes(), 60).fit([[0, 2**22], [1, 0]]), r"X\[0, 1\] is 4194304: feature 1"),
    ],
)
def test_sizes_found_in_identifiers_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_sizes_that_are_asked_for_or_filled_are_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internal, "_MOST_CELLS", 1000)
    identifiers = [[0, 1000], [0, 3]]
    with pytest.raises(ValueError, match=SPARSE):
        td.count_features(identifiers)
    assert td.count_features(identifiers, n_categories=1001)[1][1000] == 1
    assert td.count_features([*identifiers] * 8)[1][1000] == 8  # 64 categories a row
    model = td.NaiveBayes(n_categories=1001).fit(identifiers)
    assert model.partial_fit(identifiers[1:]).counts_[1][3] == 2
    assert td.NaiveBayes().fit([*identifiers] * 8).fit(identifiers).counts_[1].sum() == 2
    assert td.JointTable().fit([[0, 2**40]]).log_prob([[0, 2**40]]) == 0
    rows = np.arange(40)[:, None] * 25
    mixture = td.Mixture(td.NaiveBayes(alpha=1), 2, max_iter=2, tol=0)
    assert mixture.fit(rows, validation=rows[-1:], rng=0).log_prob(rows).shape == (40,)
    often = np.tile(np.arange(0, 1000, 100)[:, None], (100, 2))  # EM sees ten rows, which are distinct
    mixture = td.Mixture(td.ChowLiuTree(alpha=1), 2, max_iter=2, tol=0)
    assert mixture.fit(often, rng=0).log_prob(often).shape == (1000,)


def test_a_fit_looks_for_identifiers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    for home in ("_tree_model.refuse_sparse", "markov.refuse_sparse_states"):
        monkeypatch.setattr(f"tallydraw.models.{home}", lambda *args: looked.append(args))
    for model in (td.NaiveBayes(), td.ChowLiuTree(), td.MarkovChain(), td.MarkovChain(homogeneous=True)):
        for fitted in (model, td.Mixture(model, 2, start="random", max_iter=2, tol=0)):
            looked.clear()
            fitted.fit([[0, 1], [1, 0], [1, 1]], **({"rng": 0} if fitted is not model else {}))
            assert len(looked) == 1
