"""sample_categories: equal to the reference for any weights, slice, thread count, output and instruction set."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from places import PLACES, at
from scipy import stats
from tallydraw import _check, _levels
from tallydraw._structure import make_structure
from tallydraw.sample.categories import write_flat

# Numbers of first draws: the stream has 2**64, and no test takes more than 1000.
STARTS = st.integers(0, 2**64 - 1000)

SIZES = [1, 2, 3, 4, 7, 8, 15, 16, 17, 33, 64, 65, 256, 257, 700]


def expected(weights, n, seed, start=0):
    levels = reference.levels(np.asarray(weights).tolist())
    return reference.sample_categories([levels], [0] * n, 1, _check.key(seed), start)


@st.composite
def distributions(draw):
    c = draw(st.sampled_from(SIZES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["counts", "large", "uniform", "wide", "huge", "subnormal", "dust"]))
    w = {
        "counts": lambda: rng.integers(0, 4, c),
        "large": lambda: rng.integers(0, (2**63 - 1) // c, c),
        "uniform": lambda: rng.random(c),
        "wide": lambda: np.exp(rng.uniform(-700, 700, c)),
        "huge": lambda: rng.random(c) * 1.7976931348623157e308,
        "subnormal": lambda: rng.integers(0, 50, c) * 5e-324,
        "dust": lambda: np.where(rng.random(c) < 0.1, 1.0, 2.0**-54),
    }[kind]()
    w[rng.random(c) < draw(st.sampled_from([0.0, 0.5, 0.95]))] = 0
    if not w.any():
        w[rng.integers(0, c)] = 1
    return w


@settings(deadline=None, max_examples=60)
@given(distributions(), st.integers(0, 150), STARTS, st.integers(0, 2**64))
def test_equals_the_reference(w, n, start, seed):
    answer = expected(w, n, seed, start)
    for place in PLACES:
        with at(place):
            got = td.sample_categories(w, n, rng=seed, start=start)
            assert got.dtype == np.min_scalar_type(len(w) - 1)
            assert got.tolist() == answer


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 6),
    st.sampled_from(SIZES),
    st.lists(st.integers(0, 5), max_size=90),
    STARTS,
    st.sampled_from([1, 2, 3]),
)
def test_a_table_row_for_each_draw(b, c, which, start, purpose):
    weights = np.random.default_rng(b * 1000 + c).integers(0, 3, (b, c)) + np.eye(b, c, dtype=int)
    weights[~weights.any(axis=1)] = 1
    which = [i % b for i in which]
    answer = reference.sample_categories([reference.levels(w) for w in weights.tolist()], which, purpose, 77, start)
    for place in PLACES:
        with at(place):
            levels = _levels.prepare(weights.reshape(-1), make_structure(np.array([c]), None, b))
            got = np.empty(len(which), np.uint64)
            write_flat(got, levels, c, np.array(which, np.int64), purpose, 77, start, None)
            assert got.tolist() == answer


@pytest.mark.parametrize("c", [2, 9, 16, 17, 256, 300, 512, 513, 70000])
def test_slices_and_threads(c, backend, monkeypatch):
    w = np.random.default_rng(c).random(c)
    whole = td.sample_categories(w, 100_003, rng=1, n_threads=1)
    for threads in (2, 7):
        assert np.array_equal(td.sample_categories(w, 100_003, rng=1, n_threads=threads), whole)
    for a, b in ((0, 1), (1, 2), (3, 70_000), (16383, 16385), (50_001, 100_003)):
        assert np.array_equal(td.sample_categories(w, b - a, rng=1, start=a), whole[a:b])
    monkeypatch.setattr(td.backend, "BLOCK_WORK", 997)  # so few draws at a time are prepared for in another way
    assert np.array_equal(td.sample_categories(w, 100_003, rng=1), whole)


def test_the_end_of_the_stream(backend):
    w = [3, 1, 1]
    assert td.sample_categories(w, 17, rng=1, start=2**64 - 17).tolist() == expected(w, 17, 1, 2**64 - 17)
    for draw in (td.sample_categories, lambda w, n, **more: td.Sampler(w).sample(n, **more)):
        with pytest.raises(ValueError, match="start must be at most"):
            draw(w, 18, rng=1, start=2**64 - 17)


@pytest.mark.parametrize("c", [2, 200, 300])
def test_dtypes_and_outputs(c, backend):
    w = np.arange(1, c + 1)
    answer = td.sample_categories(w, (6, 7), rng=4)
    for dtype in ("u1", "i2", "u2", ">u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i8"):
        if dtype == "u1" and c > 256:
            continue
        got = td.sample_categories(w, (6, 7), rng=4, dtype=dtype)
        assert got.dtype == np.dtype(dtype)
        assert np.array_equal(got, answer)
        outs = [
            np.empty((6, 7), dtype),
            np.empty((6, 7), dtype, order="F"),
            np.empty((12, 21), dtype)[::-2, ::3],
            np.empty((7, 6), dtype).T,
        ]
        for out in outs:
            out[...] = 0
            assert td.sample_categories(w, (6, 7), rng=4, out=out) is out
            assert np.array_equal(out, answer)
    if c == 2:
        assert np.array_equal(td.sample_categories(w, (6, 7), rng=4, dtype=bool), answer.astype(bool))
    unaligned = np.empty(42 * 8 + 1, np.uint8)[1:].view(np.uint64).reshape(6, 7)
    assert np.array_equal(td.sample_categories(w, (6, 7), rng=4, out=unaligned), answer)


def test_sizes(backend):
    assert td.sample_categories([1, 1], 0, rng=1).shape == (0,)
    assert td.sample_categories([1, 1], (), rng=1).shape == ()
    assert td.sample_categories([1, 1], (3, 0, 2), rng=1).shape == (3, 0, 2)
    one = td.sample_categories([0, 1], None, rng=1)
    assert isinstance(one, np.uint8)
    assert one == 1
    out = np.empty((2, 3), np.int64)
    assert td.sample_categories([1, 1], None, rng=1, out=out) is out


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.sample_categories([[1, 1]], 3), ValueError, "sample_rows"),
        (lambda: td.sample_categories([], 3), ValueError, "at least one category"),
        (lambda: td.sample_categories(3.0, 3), ValueError, "at least one dimension"),
        (lambda: td.sample_categories([1, 1], -1), ValueError, "size must be at least 0"),
        (lambda: td.sample_categories([1, 1], 1.5), TypeError, "size must be an integer"),
        (lambda: td.sample_categories([1, 1], (2, -1)), ValueError, r"size\[1\]"),
        (lambda: td.sample_categories([1, 1], 3, start=-1), ValueError, "start"),
        (lambda: td.sample_categories([1, 1], 3, start=2**64), ValueError, "start"),
        (lambda: td.sample_categories([1, 1], 3, start=1.0), TypeError, "start"),
        (lambda: td.sample_categories([1, 1], 3, n_threads=0), ValueError, "n_threads"),
        (lambda: td.sample_categories([1] * 300, 3, dtype=np.uint8), ValueError, "cannot hold the outcome 299"),
        (lambda: td.sample_categories([1, 1], 3, dtype="U1"), TypeError, "dtype must be numeric"),
        (lambda: td.sample_categories([1, 1], 3, out=[0, 0, 0]), TypeError, "NumPy array"),
        (lambda: td.sample_categories([1, 1], 3, out=np.empty(4, np.uint8)), ValueError, r"shape \(3,\)"),
        (lambda: td.sample_categories([1, 1], 3, out=np.empty(3, np.uint8), dtype=np.int8), TypeError, "pass one"),
    ],
)
def test_bad_arguments(call, error, message, backend):
    with pytest.raises(error, match=message):
        call()


def test_read_only_output(backend):
    out = np.zeros(3, np.uint8)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        td.sample_categories([1, 1], 3, out=out)


def test_sizes_past_two_to_the_31():
    """By arithmetic: blocks of a size that cannot be allocated are drawn from the right place of the stream."""
    spans = list(td.backend.blocks(2**33 + 5))
    assert spans[0][0] == 0
    assert spans[-1][1] == 2**33 + 5
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans))
    w = [1] * 7
    a = 2**33 + 1
    assert td.sample_categories(w, 9, rng=1, start=a).tolist() == expected(w, 9, 1, a)
    with pytest.raises((MemoryError, ValueError)):
        td.sample_categories(w, 2**62, rng=1)


# What bites users of other libraries -------------------------------------------------------------------------------


def test_weights_need_not_sum_to_one(backend):
    assert td.sample_categories([0.1, 0.1, 0.1], 999, rng=1).tolist() == expected([0.1] * 3, 999, 1)
    counts = np.bincount(td.sample_categories([0.1, 0.1, 0.1], 100_000, rng=2))
    assert stats.chisquare(counts).pvalue > 1e-6


def test_float32_softmax_rows(backend):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(300, 50)).astype(np.float32)
    rows = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True, dtype=np.float32)
    drawn = td.Sampler(rows).sample(rng=1)
    assert drawn.shape == (300,)
    for row in rows[:20]:
        assert td.sample_categories(row, 3, rng=1).tolist() == expected(row.astype(float), 3, 1)


def test_two_to_the_24_float32_weights(backend):
    """Half the categories weigh 2, half 1: the second half gets a third, where a 24-bit uniform gives it nothing."""
    w = np.ones(2**24, np.float32)
    w[: 2**23] = 2
    drawn = td.sample_categories(w, 60_000, rng=1)
    assert drawn.dtype == np.uint32
    share = np.mean(drawn >= 2**23)
    assert abs(share - 1 / 3) < 5 * np.sqrt(2 / 9 / 60_000)  # false alarm below 1e-6


@pytest.mark.parametrize("c", [2, 8, 16, 17, 256, 1000])
def test_goodness_of_fit(c, backend):
    """Chi-square at a fixed seed; a right sampler fails one seed in 10**6."""
    w = np.random.default_rng(c).random(c) + 0.1
    n = 400 * c + 50_000
    counts = np.bincount(td.sample_categories(w, n, rng=c), minlength=c)
    assert stats.chisquare(counts, w / w.sum() * n).pvalue > 1e-6


def test_neighbours_are_independent(backend):
    """Chi-square of successive pairs, and of words of one block and of the next."""
    x = td.sample_categories([1] * 8, 400_000, rng=7).astype(int)
    for lag in (1, 2, 4):
        pairs = np.bincount(8 * x[:-lag:9] + x[lag::9][: len(x[:-lag:9])], minlength=64)
        assert stats.chisquare(pairs).pvalue > 1e-6


SHAPES = {
    "equal": np.ones,
    "random": lambda c: np.random.default_rng(c).random(c),
    "falling": lambda c: 0.5 ** np.arange(c),
    "rising": lambda c: 0.5 ** np.arange(c)[::-1],
    "many zeros": lambda c: np.where(np.arange(c) % 3 == 1, 1.0, 0.0),
    "on edges": lambda c: np.r_[np.ones(c - 1), 64 - (c - 1)],
    "just past edges": lambda c: np.r_[np.full(c - 1, 1 + 2.0**-20), 64 - (c - 1)],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("c", [4, 5, 8, 16, 17, 31, 32, 33, 63, 64, 65])
def test_many_draws_equal_few(c, shape):
    """However many at once, and wherever: searches in registers, tables made for many, comparisons, guides."""
    w = SHAPES[shape](c)
    few = np.concatenate([td.sample_categories(w, 1000, rng=6, start=a) for a in range(0, 150_000, 1000)])
    for place in PLACES:
        with at(place):
            assert np.array_equal(td.sample_categories(w, len(few), rng=6), few)
