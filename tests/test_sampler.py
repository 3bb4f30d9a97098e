"""Sampler: equal to the functions of the same seed, immutable, picklable, shared by threads."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from places import PLACES, at
from tallydraw import _check

# Numbers of first draws: the stream has 2**64, and no test takes more than 1000.
STARTS = st.integers(0, 2**64 - 1000)

WEIGHTS = [3, 0, 1, 2, 0.5]
MATRIX = np.array([[1, 0, 2], [0, 5, 0], [1, 1, 1], [7, 0, 0]])


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 5),
    st.sampled_from([1, 2, 9, 17, 300]),
    st.sampled_from([None, 0, 1, 7, (2, 3)]),
    STARTS,
    st.integers(0, 2**32),
)
def test_matrix_equals_the_reference(b, c, size, start, seed):
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 3, (b, c)) + np.eye(b, c, dtype=int)
    weights[~weights.any(axis=1)] = 1
    levels = [reference.levels(row) for row in weights.tolist()]
    shape = () if size is None else (size,) if isinstance(size, int) else size
    n = int(np.prod(shape))
    key = _check.key(seed)
    each = reference.sample_categories(levels, list(range(b)) * n, 1, key, start)
    which = rng.integers(0, b, shape)
    some = reference.sample_categories(levels, which.reshape(-1).tolist(), 1, key, start)
    for place in PLACES:
        with at(place):
            sampler = td.Sampler(weights)
            got = sampler.sample(size, rng=seed, start=start)
            assert got.shape == (*shape, b)
            assert got.dtype == np.min_scalar_type(c - 1)
            assert got.reshape(-1).tolist() == each
            assert np.asarray(sampler.sample(rows=which, rng=seed, start=start)).reshape(-1).tolist() == some


def test_equals_the_functions(backend):
    s = td.Sampler(WEIGHTS)
    for size in (0, 1, 10, (3, 4)):
        assert np.array_equal(s.sample(size, rng=1, start=5), td.sample_categories(WEIGHTS, size, rng=1, start=5))
    tables = td.Tables.from_arrays([[1, 2], [1, 1, 3], [2, 0]])
    assert np.array_equal(td.Sampler(tables).sample(9, rng=1, start=5), td.sample_features(tables, 9, rng=1, start=5))
    by_class = td.Tables.from_arrays([[[1, 2], [5, 1]], [[1, 1, 3], [0, 1, 0]]], n_classes=2)
    y = [0, 1, 1, 0, 1]
    drawn = td.Sampler(by_class).sample(rows=y, rng=1)
    assert np.array_equal(drawn, td.sample_features(by_class, 5, y=y, rng=1))
    assert np.array_equal(drawn, td.Sampler(by_class).sample(5, rows=y, rng=1))


def test_one_draw(backend):
    s = td.Sampler(WEIGHTS)
    one = s.sample(rng=7)
    assert isinstance(one, np.uint8)
    assert one == td.sample_categories(WEIGHTS, 1, rng=7)[0]
    assert s.sample(rng=7, start=3) == td.sample_categories(WEIGHTS, 4, rng=7)[3]
    wide = s.sample(rng=7, dtype=np.int64)
    assert isinstance(wide, np.int64)
    assert wide == one
    assert td.Sampler(np.ones(300)).sample(rng=1).dtype == np.uint16
    matrix = td.Sampler(MATRIX)
    assert matrix.sample(rows=1, rng=1) == 1
    assert isinstance(matrix.sample(rows=1, rng=1), np.uint8)
    assert matrix.sample(6, rows=3, rng=1).tolist() == [0] * 6
    assert matrix.sample(rng=1).tolist() == matrix.sample(rows=[0, 1, 2, 3], rng=1).tolist()
    tables = td.Tables.from_arrays([[[1, 0], [0, 1]]] * 3, n_classes=2)
    assert td.Sampler(tables).sample(rows=1, rng=1).tolist() == [1, 1, 1]
    assert td.Sampler(tables).sample((2, 2), rows=1, rng=1).shape == (2, 2, 3)
    assert td.Sampler(tables).sample(rows=[[0, 1], [1, 0]], rng=1)[..., 0].tolist() == [[0, 1], [1, 0]]
    assert td.Sampler([[1, 1]]).sample(0, rows=0).shape == (0,)


def test_outputs(backend):
    s, m = td.Sampler(WEIGHTS), td.Sampler(MATRIX)
    t = td.Sampler(td.Tables.from_arrays([[1, 2], [1, 1, 3]]))
    for out in (np.zeros((4, 6)), np.zeros((8, 18), np.int16)[::2, ::-3], np.zeros((4, 6), np.uint8, order="F")):
        assert s.sample(rng=1, out=out) is out
        assert np.array_equal(out, s.sample((4, 6), rng=1))
        assert s.sample((4, 6), rng=2, out=out, n_threads=2) is out
        assert np.array_equal(out, s.sample((4, 6), rng=2))
        flipped = out.T
        assert m.sample(rng=1, out=flipped) is flipped
        assert np.array_equal(flipped, m.sample(6, rng=1))
        pairs = out[:, :2]
        assert t.sample(rng=1, out=pairs) is pairs
        assert np.array_equal(pairs, t.sample(4, rng=1))
    cube = np.zeros((3, 4, 6), np.int8)[:, :, ::3]
    assert t.sample(rng=1, out=cube) is cube
    assert np.array_equal(cube, t.sample((3, 4), rng=1))


def test_threads_give_the_same(backend):
    s = td.Sampler(np.arange(1, 40))
    whole = s.sample(100_000, rng=1, n_threads=1)
    for threads in (2, 7):
        assert np.array_equal(s.sample(100_000, rng=1, n_threads=threads), whole)
    with ThreadPoolExecutor(7) as pool:
        parts = list(pool.map(lambda a: s.sample(10_000, rng=1, start=a), range(0, 100_000, 10_000)))
    assert np.array_equal(np.concatenate(parts), whole)


def test_frozen_and_picklable(backend):
    mine = np.array(WEIGHTS)
    s = td.Sampler(mine)
    before = s.sample(50, rng=1)
    mine[:] = [0, 0, 0, 0, 1]
    assert np.array_equal(s.sample(50, rng=1), before)
    with pytest.raises(AttributeError, match="cannot be changed"):
        s.weights = mine
    with pytest.raises(AttributeError, match="cannot be changed"):
        del s.weights
    with pytest.raises(ValueError, match="read-only"):
        s.weights[0] = 1
    tables = td.count_features(np.array([[0, 1], [1, 2], [1, 1]])).normalize(alpha=1)
    for sampler in (s, td.Sampler(MATRIX), td.Sampler(tables)):
        for twin in (pickle.loads(pickle.dumps(sampler)), copy.deepcopy(sampler), copy.copy(sampler)):
            assert np.array_equal(twin.sample(50, rng=1), sampler.sample(50, rng=1))
    assert len(pickle.dumps(td.Sampler(np.ones(100)))) < 2000  # what is derived is not in it


def test_estimates_keep_the_exact_rule(backend):
    """Draws from n / N are those from n: the probabilities remember the counts they are made of."""
    counts = td.count_features(np.array([[0], [1], [1], [2], [2], [2], [2]]))
    theta = counts.normalize()
    assert np.array_equal(td.Sampler(theta).sample(5000, rng=1), td.sample_features([[1, 2, 4]], 5000, rng=1))
    assert td.Sampler(theta).sample(0).shape == (0, 1)
    assert theta.levels().level.tolist() == reference.integer_levels([1, 2, 4])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.Sampler(np.ones((2, 2, 2))), ValueError, r"shape \(C,\) or \(B, C\)"),
        (lambda: td.Sampler(np.ones((0, 3))), ValueError, r"shape \(C,\) or \(B, C\)"),
        (lambda: td.Sampler([]), ValueError, "at least one category"),
        (lambda: td.Sampler("a"), TypeError, "numeric"),
        (lambda: td.Sampler([1, 1]).sample(3, rows=[0, 0, 0]), ValueError, "one distribution only"),
        (lambda: td.Sampler(MATRIX).sample(rows=[0, 4]), ValueError, r"rows\[1\] is 4"),
        (lambda: td.Sampler(MATRIX).sample(rows=-1), ValueError, "rows is -1"),
        (lambda: td.Sampler(MATRIX).sample(rows=[0.0]), TypeError, "rows must be integers"),
        (lambda: td.Sampler(MATRIX).sample(3, rows=[0, 1]), ValueError, "do not broadcast"),
        (lambda: td.Sampler(MATRIX).sample(out=np.zeros(3)), ValueError, "4 cells on its last axis"),
        (lambda: td.Sampler([1, 1]).sample(-1), ValueError, "size"),
        (lambda: td.Sampler([1, 1]).sample(start=-1), ValueError, "start"),
        (lambda: td.Sampler([1, 1]).sample(start=0.0), TypeError, "start"),
        (lambda: td.Sampler([1, 1]).sample(rng=1.5), TypeError, "rng"),
        (lambda: td.Sampler([1, 1]).sample(n_threads=0), ValueError, "n_threads"),
        (lambda: td.Sampler(td.Tables.from_arrays([[1, 1]])).sample(rows=[0]), ValueError, "no classes"),
        (lambda: td.Sampler(td.Tables.from_arrays([[[1, 1]]], n_classes=1)).sample(3), ValueError, "pass rows="),
        (
            lambda: td.Sampler(td.Tables.from_arrays([[[1, 1]]], n_classes=1)).sample(3, rows=[0, 1, 0]),
            ValueError,
            r"rows\[1\] is 1",
        ),
    ],
)
def test_bad_arguments(call, error, message, backend):
    with pytest.raises(error, match=message):
        call()
