"""sample_paths: equal to the reference for every order, class, start, slice, thread count and instruction set."""

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
from tallydraw.sample.paths import write_paths

# Numbers of first draws: the stream has 2**64, and no test takes more than 1000.
STARTS = st.integers(0, 2**64 - 1000)


def rows_of_levels(weights, c):
    return [reference.levels(row) for row in weights.reshape(-1, c).tolist()]


def expected(transition, n, length, seed, *, initial=None, joint=None, start=0):
    c, order = transition.shape[-1], transition.ndim - 1
    joint = np.ones((c,) * order, np.int64) if joint is None else joint
    starts = []
    for t in range(order):
        rows = []
        for row in joint.reshape(c**t, c, -1).tolist():
            weights = [sum(cells) if joint.dtype.kind == "i" else reference.running_sums(cells)[-1] for cells in row]
            rows.append(reference.levels(weights if any(weights) else [1] * c))
        starts.append([rows])
    if initial is not None:
        initial = np.broadcast_to(initial, (n, order)).tolist()
    return reference.sample_paths(
        starts, [rows_of_levels(transition, c)], c, length, [0] * n, initial, _check.key(seed), start
    )


def random_rows(rng, shape, integers):
    w = rng.integers(0, 4, shape) if integers else rng.random(shape) * (rng.random(shape) < 0.7)
    rows = w.reshape(-1, shape[-1])
    empty = ~rows.any(axis=1)
    rows[empty, rng.integers(0, shape[-1], empty.sum())] = 1
    return w


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([(1, 1), (2, 1), (5, 1), (17, 1), (60, 1), (300, 1), (2, 2), (4, 2), (20, 2), (3, 3), (2, 5)]),
    st.sampled_from([0, 1, 2, 9, 33, 70]),
    st.sampled_from([0, 1, 2, 5, 31, 70]),
    st.sampled_from(["uniform", "weights", "float weights", "states"]),
    STARTS,
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_equals_the_reference(shape, n, length, kind, start, seed, integers):
    c, order = shape
    rng = np.random.default_rng(seed)
    transition = random_rows(rng, (c,) * (order + 1), integers)
    options, known = {}, {}
    if kind.endswith("weights"):
        joint = random_rows(rng, (c**order,), kind == "weights").reshape((c,) * order)
        options["initial_weights"] = known["joint"] = joint
    elif kind == "states":
        options["initial_state"] = known["initial"] = rng.integers(0, c, (n, order))
    answer = expected(transition, n, length, seed, start=start, **known)
    for i, place in enumerate(PLACES):
        with at(place):
            got = td.sample_paths(transition, n, length, rng=seed, start=start, n_threads=i % 3 + 1, **options)
            assert got.dtype == np.min_scalar_type(c - 1)
            assert got.shape == (n, length)
            assert got.tolist() == answer


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from([(2, 1), (5, 1), (20, 1), (3, 2)]),
    st.integers(1, 5),
    st.booleans(),
    STARTS,
    st.integers(0, 2**32 - 1),
)
def test_classes(shape, n_classes, given_states, start, seed):
    """From the tables of a homogeneous chain with a class, as models use it."""
    (c, order), rng, n, length = shape, np.random.default_rng(seed), 70, 23
    arrays = [random_rows(rng, (n_classes, *(c,) * (j + 1)), True) for j in range(order + 1)]
    tables = td.Tables.from_arrays(arrays, parents=np.arange(order + 1) - 1, n_classes=n_classes, order=order)
    y = rng.integers(0, n_classes, n)
    initial = rng.integers(0, c, (n, order)) if given_states else None
    levels = [[rows_of_levels(block, c) for block in a] for a in arrays]
    answer = reference.sample_paths(
        levels[:-1], levels[-1], c, length, y.tolist(), None if initial is None else initial.tolist(), seed, start
    )
    for place in PLACES:
        with at(place):
            out = np.empty((n, length), np.int16)
            write_paths(out, tables.structure, tables.levels(), y, initial, seed, start, 2)
            assert out.tolist() == answer


@pytest.mark.parametrize("shape", [(4, 1), (16, 1), (27, 1), (256, 1), (3, 3)])
def test_slices_chunks_and_threads(shape, backend, monkeypatch):
    c, order = shape
    transition = np.random.default_rng(1).random((c,) * (order + 1))
    whole = td.sample_paths(transition, 301, 203, rng=1, n_threads=1)
    for threads in (2, 7):
        assert np.array_equal(td.sample_paths(transition, 301, 203, rng=1, n_threads=threads), whole)
    for a, b in ((0, 1), (1, 3), (5, 200), (299, 301)):
        assert np.array_equal(td.sample_paths(transition, b - a, 203, rng=1, start=a), whole[a:b])
    # Shorter paths are the beginnings of longer ones.
    assert np.array_equal(td.sample_paths(transition, 301, 50, rng=1), whole[:, :50])
    # Blocks of paths, then blocks of the steps of one path.
    for work in (997, 101, 37):
        monkeypatch.setattr(td.backend, "BLOCK_WORK", work)
        assert np.array_equal(
            td.sample_paths(transition, 301 if work > 500 else 5, 203, rng=1), whole[: 5 if work < 500 else None]
        )
    states = whole[:, :order].astype(np.int64)
    again = td.sample_paths(transition, 9, 203, rng=1, initial_state=states[:9])
    assert np.array_equal(again, whole[:9])


def test_many_table_rows(backend):
    """More than 2**16: what is left of a context is no longer found by a multiplication."""
    t = np.random.default_rng(1).integers(1, 9, (2,) * 18)
    states = np.zeros(17, np.int64)
    assert td.sample_paths(t, 3, 40, rng=1, initial_state=states).tolist() == expected(t, 3, 40, 1, initial=states)


def test_the_end_of_the_stream(backend):
    t = np.array([[1, 2], [3, 1]])
    last = td.sample_paths(t, 30, 9, rng=1, start=2**64 - 30)
    assert last.tolist() == expected(t, 30, 9, 1, start=2**64 - 30)
    with pytest.raises(ValueError, match="start must be at most"):
        td.sample_paths(t, 31, 9, rng=1, start=2**64 - 30)


def test_start_states(backend):
    t1, t2 = np.ones((4, 4)), np.ones((4, 4, 4))
    assert np.all(td.sample_paths(t1, 3, 5, initial_state=2)[:, 0] == 2)
    assert td.sample_paths(t1, 3, 5, initial_state=[2])[:, 0].tolist() == [2, 2, 2]
    assert td.sample_paths(t1, 3, 5, initial_state=[0, 1, 3])[:, 0].tolist() == [0, 1, 3]
    assert td.sample_paths(t1, 3, 5, initial_state=[[0], [1], [3]])[:, 0].tolist() == [0, 1, 3]
    assert np.all(td.sample_paths(t2, 3, 5, initial_state=2)[:, :2] == 2)
    assert td.sample_paths(t2, 3, 5, initial_state=[1, 3])[:, :2].tolist() == [[1, 3]] * 3
    assert td.sample_paths(t2, 2, 5, initial_state=[[1, 3], [0, 2]])[:, :2].tolist() == [[1, 3], [0, 2]]
    # A path shorter than its order has the first of its start states.
    assert td.sample_paths(t2, 2, 1, initial_state=[1, 3]).tolist() == [[1], [1]]
    # Given states are numbered steps all the same: what follows does not move.
    drawn = td.sample_paths(t1, 50, 9, rng=1)
    assert np.array_equal(td.sample_paths(t1, 50, 9, rng=1, initial_state=drawn[:, 0].astype(int)), drawn)


@pytest.mark.parametrize("order", [1, 2])
def test_tables_of_a_chain(order, backend):
    X = np.random.default_rng(order).integers(0, 5, (40, 20))
    model = td.MarkovChain(alpha=1, homogeneous=True, order=order).fit(X)
    tables = model.probabilities_
    drawn = model.sample(9, length=30, rng=3)
    for _ in range(2):  # the second call finds what the first has prepared
        assert np.array_equal(td.sample_paths(tables, 9, 30, rng=3), drawn)
    begun = {"rng": 3, "initial_state": drawn[:, :order].astype(int)}
    assert np.array_equal(td.sample_paths(tables, 9, 30, **begun), drawn)
    floats = td.Tables.from_arrays(list(tables), parents=tables.parents, order=order)
    assert np.array_equal(td.sample_paths(floats, 9, 30, **begun), td.sample_paths(floats[order], 9, 30, **begun))
    if order == 1:
        drawn = td.sample_paths(floats[1], 9, 30, rng=3, initial_weights=floats[0])
        assert np.array_equal(td.sample_paths(floats, 9, 30, rng=3), drawn)


def test_first_weights_whose_sum_is_no_float64(backend):
    w = np.array([[3.0, 0.0], [1.0, 2.0]])
    small, large = (td.sample_paths(np.ones((2, 2, 2)), 50, 4, initial_weights=w * x, rng=1) for x in (1, 2.0**1022))
    assert np.array_equal(small, large)


_CHAIN = td.Tables.from_arrays([[1, 1], [[1, 1], [0, 0]]], parents=[-1, 0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.sample_paths([1, 1], 2, 3), ValueError, "transition must have shape"),
        (lambda: td.sample_paths([[1, 1, 1], [1, 1, 1]], 2, 3), ValueError, "transition must have shape"),
        (lambda: td.sample_paths([[1, 1], [1, 1]], 2, -3), ValueError, "length must be at least 0"),
        (lambda: td.sample_paths([[1, 1], [1, 1]], 2, 2**34), ValueError, "length must be at most"),
        (lambda: td.sample_paths([[1, 1], [1, 1]], 2.0, 3), TypeError, "n must be an integer"),
        (
            lambda: td.sample_paths([[1, 1], [1, 1]], 2, 3, initial_state=0, initial_weights=[1, 1]),
            ValueError,
            "not both",
        ),
        (lambda: td.sample_paths([[1, 1], [1, 1]], 2, 3, initial_state=2), ValueError, "initial_state is 2"),
        (
            lambda: td.sample_paths([[1, 1], [1, 1]], 2, 3, initial_state=[0, -1]),
            ValueError,
            r"initial_state\[1\] is -1",
        ),
        (lambda: td.sample_paths([[1, 1], [1, 1]], 2, 3, initial_state=[0, 1, 0]), ValueError, "one of the shapes"),
        (lambda: td.sample_paths([[1, 1], [1, 1]], 2, 3, initial_state=0.0), TypeError, "integer states"),
        (
            lambda: td.sample_paths([[1, 1], [1, 1]], 2, 3, initial_weights=[1, 1, 1]),
            ValueError,
            "initial_weights must",
        ),
        (lambda: td.sample_paths(_CHAIN, 2, 3), ValueError, "transition, table 1, row 1 sums to zero"),
        (lambda: td.sample_paths(_CHAIN, 2, 3, initial_weights=[1, 1]), ValueError, "initial_weights are for"),
        (lambda: td.sample_paths(td.Tables.from_arrays([[1, 1]]), 2, 3), ValueError, "which is no chain"),
        (lambda: td.sample_paths([[1, 1], [1, 1]], 2, 3, dtype="M8[s]"), TypeError, "dtype must be numeric"),
    ],
)
def test_bad_arguments(call, error, message, backend):
    with pytest.raises(error, match=message):
        call()


def test_dtypes_and_outputs(backend):
    t = np.arange(1, 10).reshape(3, 3)
    answer = td.sample_paths(t, 40, 21, rng=4)
    for dtype in ("u1", "i2", "i8", "f8", ">u2"):
        for out in (
            np.empty((40, 21), dtype),
            np.empty((40, 21), dtype, order="F"),
            np.empty((80, 63), dtype)[::-2, ::3],
        ):
            assert td.sample_paths(t, 40, 21, rng=4, out=out) is out
            assert np.array_equal(out, answer)


def test_paths_stay_in_the_state_space(backend):
    """A ring: each state leads to its two neighbours only."""
    ring = np.roll(np.eye(100), 1, axis=1) + np.roll(np.eye(100), -1, axis=1)
    paths = td.sample_paths(ring, 500, 400, rng=1).astype(int)
    steps = np.diff(paths, axis=1) % 100
    assert set(np.unique(steps)) == {1, 99}


def test_goodness_of_fit(backend):
    """Chi-square of start states and of transitions, at a fixed seed; a right sampler fails one seed in 10**6."""
    rng = np.random.default_rng(2)
    t, first = rng.random((5, 5, 5)) + 0.1, rng.random((5, 5)) + 0.1
    paths = td.sample_paths(t, 4000, 60, initial_weights=first, rng=3).astype(int)
    starts = np.bincount(5 * paths[:, 0] + paths[:, 1], minlength=25)
    assert stats.chisquare(starts, (first / first.sum() * 4000).reshape(-1)).pvalue > 1e-6
    counts = td.count_transitions(paths, n_states=5, order=2).reshape(25, 5)
    for seen, weights in zip(counts, t.reshape(25, 5), strict=True):
        assert stats.chisquare(seen, weights / weights.sum() * seen.sum()).pvalue > 1e-6 / 25
