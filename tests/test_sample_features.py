"""sample_features: equal to the reference for every structure, class, slice, output and instruction set."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from places import PLACES, at
from scipy import stats
from tallydraw import _check
from tallydraw.sample.features import write_rows

# Numbers of first draws: the stream has 2**64, and no test takes more than 1000.
STARTS = st.integers(0, 2**64 - 1000)


def random_tables(rng, sizes, parents=None, n_classes=None, order=1, integers=True):
    contexts = [reference.context_of(parents, j, order) for j in range(len(sizes))]
    arrays = []
    for j, c in enumerate(sizes):
        shape = ([n_classes] if n_classes else []) + [sizes[a] for a in contexts[j]] + [c]
        w = rng.integers(0, 4, shape) if integers else rng.random(shape) * (rng.random(shape) < 0.7)
        rows = w.reshape(-1, c)
        empty = ~rows.any(axis=1)
        rows[empty, rng.integers(0, c, empty.sum())] = 1
        arrays.append(w)
    return td.Tables.from_arrays(arrays, parents=parents, n_classes=n_classes, order=order)


def expected(tables, n, y, seed, start=0):
    sizes = tables.n_categories.tolist()
    parents = None if tables.parents is None else tables.parents.tolist()
    contexts = [reference.context_of(parents, j, tables.order) for j in range(len(sizes))]
    levels = []
    for j, c in enumerate(sizes):
        blocks = tables[j].reshape(tables.n_classes or 1, -1, c).tolist()
        levels.append([[reference.levels(row) for row in block] for block in blocks])
    classes = [0] * n if y is None else [int(k) for k in y]
    return reference.sample_features(levels, contexts, sizes, classes, _check.key(seed), start)


@st.composite
def stacks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["product", "chain", "order 2", "tree", "backwards"]))
    d = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 9, 31, 33, 40]))
    most = draw(
        st.sampled_from([1, 2, 5, 20, 300] if kind == "product" else [2, 4, 18] if kind != "order 2" else [2, 4])
    )
    if d > 9:
        most = min(most, 20)
    sizes = rng.integers(1, most + 1, d).tolist()
    parents = None
    if kind in ("chain", "order 2"):
        parents = (np.arange(d) - 1).tolist()
    elif kind == "tree":
        parents = [int(rng.integers(-1, j)) for j in range(d)]
    elif kind == "backwards":
        place = rng.permutation(d)
        parents = [-1] * d
        for i in range(1, d):
            parents[place[i]] = int(place[rng.integers(0, i)])
    n_classes = draw(st.sampled_from([None, None, 1, 3, 40]))
    return random_tables(rng, sizes, parents, n_classes, 2 if kind == "order 2" else 1, draw(st.booleans()))


@settings(deadline=None, max_examples=60)
@given(stacks(), st.sampled_from([0, 1, 2, 7, 20, 65]), STARTS, st.integers(0, 2**32))
def test_equals_the_reference(tables, n, start, seed):
    y = None if tables.n_classes is None else np.random.default_rng(seed).integers(0, tables.n_classes, n)
    answer = expected(tables, n, y, seed, start)
    for i, place in enumerate(PLACES):
        with at(place):
            got = td.sample_features(tables, n, y=y, rng=seed, start=start, n_threads=i % 3 + 1)
            assert got.dtype == np.min_scalar_type(int(tables.n_categories.max()) - 1)
            assert got.shape == (n, len(tables))
            assert got.tolist() == answer


CASES = {
    "binary": lambda rng: random_tables(rng, [2] * 37),
    "binary by class": lambda rng: random_tables(rng, [2] * 37, None, 5),
    "many classes": lambda rng: random_tables(rng, [3] * 5, None, 200),
    "mixed": lambda rng: random_tables(rng, [2, 300, 16, 17, 5, 1] * 3, None, 3),
    "chain": lambda rng: random_tables(rng, [4] * 70, list(range(-1, 69)), 2),
    "wide": lambda rng: random_tables(rng, [70_000, 3, 2]),
    "tree": lambda rng: random_tables(rng, [5] * 9, [3, 0, 0, -1, 3, 3, 8, 4, 7]),
}


@pytest.mark.parametrize("case", CASES)
def test_slices_chunks_and_threads(case, backend, monkeypatch):
    rng = np.random.default_rng(1)
    tables = CASES[case](rng)
    n = 9001 if case in ("binary", "binary by class", "many classes") else 1200
    y = None if tables.n_classes is None else rng.integers(0, tables.n_classes, n)

    def draw(a, b, **options):
        return td.sample_features(tables, b - a, y=None if y is None else y[a:b], rng=1, start=a, **options)

    whole = draw(0, n, n_threads=1)
    for threads in (2, 7):
        assert np.array_equal(draw(0, n, n_threads=threads), whole)
    for a, b in ((0, 1), (1, 3), (5, 900), (n - 70, n)):
        assert np.array_equal(draw(a, b), whole[a:b])
    monkeypatch.setattr(td.backend, "BLOCK_WORK", 997 * len(tables))
    assert np.array_equal(draw(0, n), whole)
    few = expected(tables, 5, None if y is None else y[:5], 1)
    assert whole[:5].tolist() == few


@pytest.mark.parametrize("case", CASES)
def test_every_instruction_set(case):
    rng = np.random.default_rng(2)
    tables = CASES[case](rng)
    y = None if tables.n_classes is None else rng.integers(0, tables.n_classes, 700)
    drawn = []
    for place in PLACES:
        with at(place):
            drawn.append(td.sample_features(tables, 700, y=y, rng=3))
    for other in drawn[1:]:
        assert np.array_equal(drawn[0], other)


def test_the_end_of_the_stream(backend):
    tables = td.Tables.from_arrays([[1, 2, 3]] * 6)
    last = td.sample_features(tables, 30, rng=1, start=2**64 - 30)
    assert last.tolist() == expected(tables, 30, None, 1, 2**64 - 30)
    for draw in (td.sample_features, lambda t, n, **more: td.Sampler(t).sample(n, **more)):
        with pytest.raises(ValueError, match="start must be at most"):
            draw(tables, 31, rng=1, start=2**64 - 30)


def test_dtypes_and_outputs(backend):
    tables = [[1, 2, 3], [1] * 200, [5, 1]]
    answer = td.sample_features(tables, 50, rng=4)
    assert answer.dtype == np.uint8
    for dtype in ("u1", "i2", "u4", "i8", "f4", "f8", ">u2"):
        got = td.sample_features(tables, 50, rng=4, dtype=dtype)
        assert got.dtype == np.dtype(dtype)
        assert np.array_equal(got, answer)
        for out in (np.empty((50, 3), dtype, order="F"), np.empty((100, 9), dtype)[::-2, ::3]):
            assert td.sample_features(tables, 50, rng=4, out=out) is out
            assert np.array_equal(out, answer)


def test_bad_arguments(backend):
    product = td.Tables.from_arrays([[1, 2], [1, 1]])
    by_class = td.Tables.from_arrays([[[1, 2], [1, 1]]], n_classes=2)
    with pytest.raises(ValueError, match="tables have no classes"):
        td.sample_features(product, 2, y=[0, 1])
    with pytest.raises(ValueError, match="pass y="):
        td.sample_features(by_class, 2)
    with pytest.raises(ValueError, match="one class a row"):
        td.sample_features(by_class, 3, y=[0, 1])
    with pytest.raises(ValueError, match=r"y\[1\] is -1"):
        td.sample_features(by_class, 2, y=[0, -1])
    with pytest.raises(ValueError, match=r"y\[1\] is 2"):
        td.sample_features(by_class, 2, y=[0, 2])
    with pytest.raises(TypeError, match="integer"):
        td.sample_features(by_class, 2, y=[0.0, 1.0])
    with pytest.raises(ValueError, match="n must be at least 0"):
        td.sample_features(product, -1)
    with pytest.raises(ValueError, match="at least one table"):
        td.sample_features([], 3)
    with pytest.raises(ValueError, match="must have shape"):
        td.sample_features(product, 3, out=np.empty((3, 3), np.uint8))
    assert td.sample_features(by_class, 0, y=[]).shape == (0, 1)


def test_zero_weight_is_never_drawn(backend):
    rng = np.random.default_rng(3)
    sizes = [2, 5, 16, 40, 300]
    weights = [rng.random(c) * (rng.random(c) < 0.3) for c in sizes]
    for w in weights:
        w[len(w) // 2] = 1
    drawn = td.sample_features(weights, 50_000, rng=1)
    for j, w in enumerate(weights):
        assert set(np.unique(drawn[:, j])) <= set(np.flatnonzero(w))


@pytest.mark.parametrize("parents", [None, [-1, 0, 1], [2, 0, -1]])
def test_goodness_of_fit(parents, backend):
    """Chi-square of all combinations within each class, at a fixed seed; a right sampler fails one seed in 10**6."""
    rng = np.random.default_rng(5)
    sizes, k, n = [3, 2, 4], 2, 100_000
    contexts = [reference.context_of(parents, j) for j in range(3)]
    arrays = [rng.random([k, *(sizes[a] for a in contexts[j]), sizes[j]]) + 0.2 for j in range(3)]
    tables = td.Tables.from_arrays(arrays, parents=parents, n_classes=k)
    y = np.arange(n) % k
    x = td.sample_features(tables, n, y=y, rng=6).astype(int)
    theta = tables.normalize()
    for c in range(k):
        exact = np.ones(sizes)
        for combination in np.ndindex(*sizes):
            for j in range(3):
                exact[combination] *= theta[j][(c, *(combination[a] for a in contexts[j]), combination[j])]
        seen = np.bincount(np.ravel_multi_index(tuple(x[y == c].T), sizes), minlength=24)
        assert stats.chisquare(seen, exact.reshape(-1) * n / k).pvalue > 1e-6


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_stacks_of_their_own_draw_the_rows_of_their_class(backend, dtype):
    rng = np.random.default_rng(3)
    sizes = [3, 2, 4, 3, 5, 2]
    parents = [[-1, 0, 1, 1, 2, 4], [1, 2, -1, 2, 3, 3], None]
    stacks = [random_tables(rng, sizes, p) for p in parents]
    y = rng.integers(0, 3, 9000)
    for a, b in [(0, 9000), (8000, 9000)]:
        out = np.empty((b - a, len(sizes)), dtype)
        write_rows(out, stacks, y[a:b], 77, a, 2)
        whole = [np.empty((b - a, len(sizes)), np.uint8) for _ in stacks]
        for alone, tables in zip(whole, stacks, strict=True):
            write_rows(alone, [tables], None, 77, a, 1)
        assert np.array_equal(out, np.choose(y[a:b, None], whole))
