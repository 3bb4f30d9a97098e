"""sample_rows: one draw from each row of a matrix, or from weights[rows]."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tallydraw import _check

BACKENDS = td.backend.available()


def expected(weights, rng, which=None, start=0):
    which = range(len(weights)) if which is None else which
    return reference.sample_rows([row.tolist() for row in np.asarray(weights)], which, _check.key(rng), start)


def kernel(weights, key, rows=None, start=0, threads=1):
    out = np.empty(len(weights) if rows is None else len(rows), np.uint16)
    bad = td.backend.kernels().sample_rows(weights, rows, key, start, out, threads)
    return out.tolist() if bad < 0 else bad


@st.composite
def matrices(draw):
    """(B, C) int64 or float64 weights, every row with a positive sum; many zeros, wide ranges, odd values."""
    n, c = draw(st.integers(1, 20)), draw(st.sampled_from([1, 2, 3, 5, 15, 16, 17, 31, 33, 70]))
    seed = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["small", "counts", "large", "uniform", "wide", "subnormal", "huge", "dust"]))
    w = {
        "small": lambda: seed.integers(0, 3, (n, c)),
        "counts": lambda: seed.integers(0, 10**6, (n, c)),
        "large": lambda: seed.integers(0, (2**63 - 1) // c, (n, c)),
        "uniform": lambda: seed.random((n, c)),
        "wide": lambda: np.exp(seed.uniform(-700, 700, (n, c))),
        "subnormal": lambda: seed.integers(0, 50, (n, c)) * 5e-324,
        "huge": lambda: seed.random((n, c)) * 1.7976931348623157e308,
        "dust": lambda: np.where(seed.random((n, c)) < 0.2, seed.random((n, c)), seed.random((n, c)) * 2.0**-54),
    }[kind]()
    w[seed.random((n, c)) < draw(st.sampled_from([0.0, 0.5, 0.9]))] = 0
    empty = ~w.any(axis=1)
    w[empty, seed.integers(0, c, empty.sum())] = 1
    if w.dtype == np.float64 and draw(st.booleans()):
        w[w == 0] = -0.0
    return w


@pytest.mark.parametrize("name", BACKENDS)
@settings(max_examples=150, deadline=None)
@given(w=matrices(), seed=st.integers(0, 2**64), start=st.integers(0, 2**63), n=st.integers(0, 60))
def test_equals_the_reference(name, w, seed, start, n):
    before, isa = td.backend.active(), td.backend.instruction_set()
    td.backend.use(name)
    try:
        assert td.sample_rows(w, rng=seed, start=start).tolist() == expected(w, seed, start=start)
        rows = np.random.default_rng(seed % 2**32).integers(0, len(w), n)
        drawn = td.sample_rows(w, rows=rows, rng=seed, start=start)
        assert drawn.tolist() == expected(w, seed, rows, start)
    finally:
        td.backend.use(before, instruction_set=isa)


@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("c", [1, 2, 16, 40, 257, 5000])
def test_any_threads_and_instruction_set(backend, c, integers):
    rng = np.random.default_rng(c)
    n = 300_000 // c if c > 1 else 5000
    w = rng.integers(0, 9, (n, c)) if integers else rng.random((n, c))
    w[:, c // 2] += 1
    some = np.sort(rng.choice(n, min(n, 4 + 2000 // c), replace=False))
    first = td.sample_rows(w, rng=5, start=7)
    assert first[some].tolist() == [
        reference.outcome(reference.levels(w[i].tolist()), reference.flat_uniform(_check.key(5), 7 + int(i), 1))
        for i in some
    ]
    for isa in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=isa)
        for threads in (1, 2, 7):
            assert np.array_equal(td.sample_rows(w, rng=5, start=7, n_threads=threads), first)


def test_levels_beside_u(backend):
    """Levels one step below, at and above the uniform itself: the outcome changes exactly where the contract says."""
    key = 99
    for t in range(50):
        u = reference.flat_uniform(key, t, 1)
        total = 2**63 - 1 - 12345 * t
        crossing = -(-(u + 1) * total // 2**64)
        for first in (crossing - 1, crossing, crossing + 1):
            w = [0, first, 0, total - first, 0]
            assert kernel(np.array([w]), key, start=t) == [1 if first >= crossing else 3]
            assert reference.outcome(reference.integer_levels(w), u) == (1 if first >= crossing else 3)
        # Floats with the sum 1: S_c = c * 2**-53 exactly, around u * 2**-64.
        near = (u >> 11) / 2**53
        for share in (near - 2**-53, near, near + 2**-53, near + 2**-52):
            if 0 < share < 1:
                w = [0.0, share, 0.0, 1.0 - share, 0.0]
                assert kernel(np.array([w]), key, start=t) == [reference.outcome(reference.float_levels(w), u)]


def test_zero_weights_are_never_drawn(backend):
    rng = np.random.default_rng(0)
    for c in (2, 8, 100):
        w = rng.random((20_000, c)) * (rng.random((20_000, c)) < 0.3)
        w[np.arange(20_000), rng.integers(0, c, 20_000)] = 1e-300
        for weights in (w, (w * 1000).astype(np.int64) + (w == 1e-300)):
            drawn = td.sample_rows(weights, rng=1)
            assert np.all(weights[np.arange(20_000), drawn] > 0)


def test_slices_are_of_the_whole(backend):
    w = np.random.default_rng(0).random((1000, 20))
    whole = td.sample_rows(w, rng=3)
    for a, b in [(0, 1), (1, 1000), (3, 6), (514, 519), (997, 1000), (400, 400)]:
        assert np.array_equal(td.sample_rows(w[a:b], rng=3, start=a), whole[a:b])


def test_rows_equal_the_gathered_matrix(backend):
    """By the direct kernel where rows are few, by prepared levels where they repeat: the same draws."""
    rng = np.random.default_rng(2)
    for c in (3, 16, 17, 300):
        for w in (
            rng.random((30, c)),
            rng.integers(0, 5, (30, c)) + np.eye(30, c, dtype=np.int64) + (np.arange(c) == 0),
        ):
            for rows in (rng.integers(0, 30, 40), rng.integers(0, 30, 4000), np.full(100, 7), np.array([], np.int64)):
                direct = td.sample_rows(w[rows], rng=1, start=9)
                assert np.array_equal(td.sample_rows(w, rows=rows, rng=1, start=9), direct)
                for threads in (1, 2, 7):
                    assert np.array_equal(td.sample_rows(w, rows=rows, rng=1, start=9, n_threads=threads), direct)


def test_any_dtype_and_layout(backend):
    rng = np.random.default_rng(4)
    for dtype in "?bBhHiIlLefdg":
        w = (rng.random((3000, 100)) * 100).astype(dtype)
        w[:, 0] = 1
        plain = w.astype(np.float64 if w.dtype.kind == "f" else np.int64)
        drawn = td.sample_rows(plain, rng=8)
        read_only = w.copy()
        read_only.flags.writeable = False
        big_endian = w.astype(w.dtype.newbyteorder())
        for same in (w, np.asfortranarray(w), np.repeat(w, 2, axis=1)[:, ::2], w[::-1][::-1], read_only, big_endian):
            assert np.array_equal(td.sample_rows(same, rng=8), drawn)
        rows = np.arange(2999, 0, -7, dtype=np.uint16)
        assert np.array_equal(td.sample_rows(w, rows=rows, rng=8), td.sample_rows(plain[rows], rng=8))
    unaligned = (
        np.frombuffer(b"x" + plain.astype(np.float64).tobytes(), np.uint8)[1:].view(np.float64).reshape(plain.shape)
    )
    assert np.array_equal(td.sample_rows(unaligned, rng=8), drawn)
    assert td.sample_rows([[1, 0], [0, 3]]).tolist() == [0, 1]


def test_results_and_outputs(backend):
    w = np.random.default_rng(0).random((100, 300))
    drawn = td.sample_rows(w, rng=0)
    assert drawn.dtype == np.uint16 and td.sample_rows(w[:, :256], rng=0).dtype == np.uint8
    for dtype in (np.uint16, np.int64, np.float32, ">u4"):
        out = np.full((100, 2), 7, dtype)
        result = td.sample_rows(w, rng=0, out=out[:, 1])
        assert result.base is out and np.array_equal(out[:, 1], drawn) and np.all(out[:, 0] == 7)
        assert np.array_equal(td.sample_rows(w, rng=0, dtype=dtype), drawn)
    with pytest.raises(ValueError, match="cannot hold the outcome 299"):
        td.sample_rows(w, dtype=np.uint8)
    with pytest.raises(ValueError, match="shape"):
        td.sample_rows(w, out=np.empty(99, np.uint16))
    assert td.sample_rows(np.empty((0, 5))).shape == (0,)
    assert td.sample_rows(w, rows=[]).shape == (0,)
    assert td.sample_rows(np.full((4, 1), 1e-3)).tolist() == [0] * 4


def test_rng(backend):
    w = np.random.default_rng(0).random((50, 9))
    assert np.array_equal(
        td.sample_rows(w, rng=np.random.default_rng(1)), td.sample_rows(w, rng=np.random.default_rng(1))
    )
    generator = np.random.default_rng(1)
    assert not np.array_equal(td.sample_rows(w, rng=generator), td.sample_rows(w, rng=generator))
    assert not np.array_equal(td.sample_rows(w), td.sample_rows(w))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8])
def test_a_bad_weight_is_named_before_anything_is_written(backend, dtype):
    bad = [-1, np.nan, np.inf, -np.inf] if np.dtype(dtype).kind == "f" else [-1]
    for n, c, row, column in [(1, 1, 0, 0), (30, 3, 0, 0), (30, 3, 17, 0), (30, 3, 29, 2), (3000, 100, 1234, 99)]:
        for value in bad:
            w = np.ones((n, c), dtype)
            w[row, column] = value
            w[row + 1 :, 0] = -1
            out = np.full(n, 77, np.uint16)
            for rows in (None, np.arange(n), np.tile(np.arange(n), 40)):
                target = out if rows is None or len(rows) == n else None
                with pytest.raises(
                    ValueError, match=rf"weights\[{row}, {column}\] is {value}.*finite and non-negative"
                ):
                    td.sample_rows(w, rows=rows, out=target)
                assert np.all(out == 77)


@pytest.mark.parametrize(("number", "problem"), [("1e-4000", "sums to zero"), ("1e4000", "is inf")])
def test_long_doubles_that_no_float64_holds(backend, number, problem):
    w = np.array([[1, 1], [np.longdouble(number), 0], [1, 1]])
    with pytest.raises(ValueError, match=rf"weights\[1.*{problem}"):
        td.sample_rows(w)
    with pytest.raises(ValueError, match=rf"weights\[1.*{problem}"):
        td.sample_rows(w[:2], rows=[0, 1] * 20)
    with pytest.raises(ValueError, match=rf"weights\[0.*{problem}"):
        td.sample_counts(w[1:2], 3)


def test_a_row_that_cannot_be_drawn_from_is_named(backend):
    for dtype in (np.float64, np.int32):
        w = np.ones((40, 5), dtype)
        w[13] = 0
        with pytest.raises(ValueError, match=r"weights\[13\] sums to zero"):
            td.sample_rows(w)
        with pytest.raises(ValueError, match=r"weights\[13\] sums to zero"):
            td.sample_rows(w, rows=[1, 13])
        w[14, 0] = -1
        with pytest.raises(ValueError, match=r"weights\[13\] sums to zero"):
            td.sample_rows(w)
        assert len(td.sample_rows(w, rows=[1, 12, 15])) == 3  # rows that are not drawn from may be anything
        assert len(td.sample_rows(w, rows=[1, 12, 15] * 50)) == 150
    with pytest.raises(ValueError, match=r"weights\[0\] sums to zero"):
        td.sample_rows([[-0.0, 0.0]])


def test_integer_sums(backend):
    most = 2**63 - 1
    assert td.sample_rows([[0, most, 0], [1, 0, most - 1], [2**62, 0, 2**62 - 1]], rng=0).shape == (3,)
    assert td.sample_rows(np.array([[most, 0]], np.uint64)).tolist() == [0]
    for row in ([most, 1], [1, most], [2**62, 2**62], [most] * 4, [most] * 3 + [3]):
        w = np.ones((20, len(row)), np.int64)
        w[6] = row
        with pytest.raises(OverflowError, match=rf"weights\[6\] sums to {sum(row)}"):
            td.sample_rows(w)
    with pytest.raises(OverflowError, match=r"weights\[0\] sums to 18446744073709551615"):
        td.sample_rows(np.array([[2**64 - 1]], np.uint64))
    # As floats the same weights are fine, and so are float sums that overflow.
    assert td.sample_rows(np.full((3, 4), most, np.float64)).shape == (3,)
    assert td.sample_rows(np.full((3, 400), 1.7e308)).shape == (3,)


def test_bad_arguments(backend):
    w = np.ones((4, 3))
    for weights in ([1, 2], np.ones((2, 2, 2)), 3.0):
        with pytest.raises(ValueError, match="weights must have"):
            td.sample_rows(weights)
    for weights in (w.astype(str), w.astype(object), w.astype(complex)):
        with pytest.raises(TypeError, match="weights must be numeric"):
            td.sample_rows(weights)
    with pytest.raises(ValueError, match="at least one category"):
        td.sample_rows(np.empty((3, 0)))
    for rows, message in (([0, 4], r"rows\[1\] is 4.*4 rows"), ([-1], r"rows\[0\] is -1"), ([2**40], r"rows\[0\] is")):
        with pytest.raises(ValueError, match=message):
            td.sample_rows(w, rows=rows)
    with pytest.raises(TypeError, match="got dtype bool"):
        td.sample_rows(np.ones((3, 2)), rows=np.array([True, False, True]))
    with pytest.raises(TypeError, match="rows must hold integer"):
        td.sample_rows(w, rows=[0.0])
    with pytest.raises(ValueError, match="start"):
        td.sample_rows(w, start=2**64 - len(w) + 1)
    assert len(td.sample_rows(w, start=2**64 - len(w))) == len(w)
    with pytest.raises(ValueError, match="n_threads"):
        td.sample_rows(w, n_threads=0)


def test_no_cliff_at_2_to_the_24(backend):
    """Two thirds of the mass lie beyond outcome 2**24, of float32 weights that float32 sums would lose."""
    w = np.ones((1, 2**24 + 1024), np.float32)
    w[0, 2**24 :] = 2**15
    drawn = td.sample_rows(w, rows=[0] * 15, rng=1)
    assert drawn.dtype == np.uint32
    assert 3 <= np.sum(drawn >= 2**24) <= 14  # a random seed fails in 1 of 400


def test_one_distribution_a_row_has_its_frequencies(backend):
    """Labels drawn from posteriors: chi-square at 1e-6 for each of 3 sizes, fixed seed."""
    rng = np.random.default_rng(0)
    for c in (2, 10, 40):
        p = rng.dirichlet(np.ones(c), 4)
        drawn = td.sample_rows(np.repeat(p, 50_000, axis=0), rng=c).reshape(4, -1)
        for row, weights in zip(drawn, p, strict=True):
            keep = weights * row.size > 5
            seen, mean = np.bincount(row, minlength=c)[keep], weights[keep] * row.size
            chi2 = ((seen - mean) ** 2 / mean).sum()
            assert stats.chi2.sf(chi2, max(1, keep.sum() - keep.all())) > 1e-6


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.MT19937, np.random.Philox])
def test_a_failed_call_leaves_the_generator_alone(bits, backend):
    for rows in (None, [0, 1] * 40):
        rng = np.random.Generator(bits(1))
        before = rng.bit_generator.state
        with pytest.raises(ValueError, match="sums to zero"):
            td.sample_rows([[1, 1], [0, 0.0]], rows=rows, rng=rng)
        assert str(rng.bit_generator.state) == str(before)
