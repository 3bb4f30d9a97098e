"""sample_counts: multinomial counts, one row for each total, each distribution, or both."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from places import PLACES, at
from scipy import stats
from tallydraw import _check

BACKENDS = td.backend.available()
# A goodness-of-fit test below this fails: with seeds drawn anew, each of them would once in 10**6.
FALSE_ALARM = 1e-6


def expected(weights, totals, rng, start=0):
    """Row by row from the reference; weights (n, C), totals (n,)."""
    rows = zip(np.asarray(weights).tolist(), np.asarray(totals).tolist(), strict=True)
    key = _check.key(rng)
    return [reference.sample_counts(reference.levels(w), t, key, start + i) for i, (w, t) in enumerate(rows)]


@pytest.mark.parametrize("name", BACKENDS)
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    c=st.sampled_from([1, 2, 3, 4, 8, 9, 17, 65, 70]),
    n=st.sampled_from([0, 1, 2, 5, 8, 10, 30]),
    size=st.sampled_from([0, 1, 10, 100, 10**4, 10**6, 10**9, 10**12, 2**53]),
    integers=st.booleans(),
    zeros=st.sampled_from([0.0, 0.3, 0.9]),
    spread=st.sampled_from([0, 1, 30]),
    start=st.integers(0, 2**63),
)
def test_equals_the_reference(name, seed, c, n, size, integers, zeros, spread, start):
    rng = np.random.default_rng(seed)
    w = np.exp(spread * rng.standard_normal((n, c))) * (rng.random((n, c)) >= zeros)
    if integers:
        w = np.minimum(w * 100, 2**50).astype(np.int64)
    w[~w.any(axis=1), rng.integers(0, c)] = 1
    totals = rng.integers(0, size + 1, n)
    before, isa = td.backend.active(), td.backend.instruction_set()
    td.backend.use(name)
    try:
        counts = td.sample_counts(w, totals, rng=seed, start=start)
    finally:
        td.backend.use(before, instruction_set=isa)
    assert counts.dtype == np.int64 and counts.shape == (n, c)
    assert counts.tolist() == expected(w, totals, seed, start)
    assert np.all(counts >= 0) and np.array_equal(counts.sum(axis=1), totals) and np.all(counts[w == 0] == 0)


@pytest.mark.parametrize("place", PLACES, ids="-".join)
@pytest.mark.parametrize("n", [1, 3, 70])
def test_equal_shares_of_unequal_levels(place, n):
    """Which of p and q is smaller, levels say: these may differ where p and q are the same float64."""
    rng = np.random.default_rng(n)
    x = 10.0 ** -rng.uniform(1, 12, n)
    w = np.stack([x, (1 - x) / 2, (1 - x) / 2], axis=1)
    whole = np.stack([x * 0, x * 0 + 2.0**62, x * 0 + 2.0**62], axis=1).astype(np.int64) + [0, 0, -1]
    totals = np.full(n, 100)
    with at(place):
        assert td.sample_counts(w, totals, rng=3).tolist() == expected(w, totals, 3)
        assert td.sample_counts(whole, totals, rng=3).tolist() == expected(whole, totals, 3)


@pytest.mark.parametrize("c", [1, 2, 7, 64, 65, 66, 1000])
def test_any_threads_and_instruction_set(backend, c):
    rng = np.random.default_rng(c)
    n = 1 + 30_000 // c
    w = rng.random((n, c)) ** 6
    totals = np.exp(rng.uniform(0, math.log(2.0**53), n)).astype(np.int64)
    first = td.sample_counts(w, totals, rng=5, start=2**32 - 10)
    assert first[-3:].tolist() == expected(w[-3:], totals[-3:], 5, 2**32 - 10 + n - 3)
    for isa in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=isa)
        for threads in (1, 2, 7):
            again = td.sample_counts(w, totals, rng=5, start=2**32 - 10, n_threads=threads)
            assert np.array_equal(again, first)


def test_slices_are_of_the_whole(backend):
    rng = np.random.default_rng(1)
    w, totals = rng.random(30), rng.integers(0, 10**6, 400)
    whole = td.sample_counts(w, totals, rng=2)
    for a, b in [(0, 1), (1, 400), (17, 23), (399, 400), (7, 7)]:
        assert np.array_equal(td.sample_counts(w, totals[a:b], rng=2, start=a), whole[a:b])


def test_shapes_broadcast(backend):
    """A total for each row (numpy #5023), a distribution for each row (numpy #23152), both, or one of each."""
    rng = np.random.default_rng(3)
    w = rng.random((4, 1, 6))
    totals = rng.integers(0, 1000, (5,))
    both = td.sample_counts(w, totals, rng=1)
    assert both.shape == (4, 5, 6) and np.array_equal(both.sum(axis=2), np.tile(totals, (4, 1)))
    flat = td.sample_counts(np.repeat(w[:, 0], 5, axis=0), np.tile(totals, 4), rng=1)
    assert np.array_equal(both.reshape(20, 6), flat)
    assert td.sample_counts([1, 2, 3], 10).shape == (3,)
    assert td.sample_counts([1, 2, 3], [10, 20]).shape == (2, 3)
    assert td.sample_counts(w[:, 0], 10).shape == (4, 6)
    assert td.sample_counts(w[:, 0], [[1], [2]]).shape == (2, 4, 6)
    assert td.sample_counts([1, 2, 3], []).shape == (0, 3)
    assert td.sample_counts(np.empty((0, 3)), 5).shape == (0, 3)
    with pytest.raises(ValueError, match=r"totals of shape \(3,\) do not broadcast against weights of shape \(4, 6\)"):
        td.sample_counts(w[:, 0], [1, 2, 3])


def test_certain_counts(backend):
    for total in (0, 1, 9, 10**6, 2**53):
        for w in ([1], [0, 3, 0], [0, 0, 1e-300], [5e-324, 0], np.eye(7)[3]):
            counts = td.sample_counts(w, total, rng=total)
            assert np.array_equal(counts, np.where(np.asarray(w) > 0, total, 0))
    counts = td.sample_counts([1, 1, 0, 1, 0], np.full(1000, 2**53), rng=0)
    assert np.all(counts.sum(axis=1) == 2**53) and not counts[:, [2, 4]].any() and np.all(counts[:, [0, 1, 3]] > 2**51)
    # A first outcome far rarer, and far more likely, than float64 can tell from never and always.
    assert np.array_equal(td.sample_counts([1, 2**62], np.full(100, 10), rng=1), np.tile([0, 10], (100, 1)))
    assert np.array_equal(td.sample_counts([2**62, 1], np.full(100, 10), rng=1), np.tile([10, 0], (100, 1)))


def test_any_dtype_layout_and_output(backend):
    rng = np.random.default_rng(6)
    plain = np.floor(rng.random((20, 9)) * 100) + (np.arange(9) == 0)
    totals = rng.integers(0, 100, 20)
    for dtype in (np.float64, np.float32, np.int64, np.uint8, ">i4"):
        w = plain.astype(dtype)
        counts = td.sample_counts(plain.astype(np.float64 if w.dtype.kind == "f" else np.int64), totals, rng=4)
        for same in (w, np.asfortranarray(w), np.repeat(w, 2, axis=1)[:, ::2], w.tolist()):
            assert np.array_equal(td.sample_counts(same, totals, rng=4), counts)
        for t in (totals.astype(np.uint8), totals.astype(np.uint64), totals.astype(">i2"), np.repeat(totals, 2)[::2]):
            assert np.array_equal(td.sample_counts(w, t, rng=4), counts)
    for dtype in (np.int64, np.uint8, np.float64, ">i8"):
        out = np.full((20, 9, 2), 7, dtype)
        assert td.sample_counts(w, totals, rng=4, out=out[..., 1]).base is out
        assert np.array_equal(out[..., 1], counts) and np.all(out[..., 0] == 7)
        out = np.empty((20, 9), dtype)
        assert td.sample_counts(w, totals, rng=4, out=out) is out and np.array_equal(out, counts)
    with pytest.raises(ValueError, match="uint8"):
        td.sample_counts(w, 256, out=np.empty((20, 9), np.uint8))
    with pytest.raises(ValueError, match="shape"):
        td.sample_counts(w, totals, out=np.empty((9, 20), np.int64))


def test_many_rows_are_prepared_in_pieces(backend, monkeypatch):
    """Where the levels of all rows would be large, they are made for a block at a time: the same counts."""
    rng = np.random.default_rng(7)
    w, totals = rng.random((3, 40, 5)), rng.integers(0, 1000, (40,))
    counts = td.sample_counts(w, totals, rng=1)
    monkeypatch.setattr("tallydraw.sample.counts._PREPARED_CELLS", 10)
    monkeypatch.setattr("tallydraw.backend.BLOCK_WORK", 16 * 5 * 7)
    assert np.array_equal(td.sample_counts(w, totals, rng=1), counts)
    assert np.array_equal(
        td.sample_counts(w[0, 0], totals, rng=1), td.sample_counts(np.tile(w[0, 0], (40, 1)), totals, rng=1)
    )


def test_bad_totals_are_named(backend):
    w = [1.0, 2.0]
    for totals in (True, [True], 3.0, [1.5], np.nan, "3", [None], [2**70, 1.5]):
        with pytest.raises(TypeError, match="totals must be integers"):
            td.sample_counts(w, totals)
    for totals, message in (
        (-1, r"totals is -1: totals must not be negative"),
        ([3, -2], r"totals\[1\] is -2"),
        ([[3, 4], [5, -6]], r"totals\[1, 1\] is -6"),
        (2**53 + 1, r"totals is 9007199254740993: totals must be at most 2\*\*53"),
        ([1, 2**70], r"totals\[1\] is 1180591620717411303424: totals must be at most"),
        (np.array([2**64 - 1], np.uint64), r"totals\[0\] is 18446744073709551615"),
    ):
        with pytest.raises(ValueError, match=message):
            td.sample_counts(w, totals)


def test_bad_weights_are_named_before_anything_is_written(backend):
    w = np.ones((3, 4, 5))
    for value in (np.nan, np.inf, -1.0):
        v = w.copy()
        v[2, 1, 3] = value
        for weights, place in ((v, "[2, 1, 3]"), (v[2], "[1, 3]"), (v[2, 1], "[3]")):
            out = np.full(weights.shape, 7)
            with pytest.raises(ValueError, match=rf"weights\{place[:-1]}\] is {value}"):
                td.sample_counts(weights, 10, out=out)
            assert np.all(out == 7)
    w[1, 2] = 0
    with pytest.raises(ValueError, match=r"weights\[1, 2\] sums to zero"):
        td.sample_counts(w, 10)
    with pytest.raises(ValueError, match=r"weights sums to zero"):
        td.sample_counts([0, 0], 10)
    with pytest.raises(OverflowError, match=r"weights sums to 9223372036854775808"):
        td.sample_counts([2**62, 2**62], 10)
    with pytest.raises(ValueError, match="at least one category"):
        td.sample_counts([], 10)
    with pytest.raises(TypeError, match="weights must be numeric"):
        td.sample_counts(["a"], 10)
    with pytest.raises(ValueError, match="start"):
        td.sample_counts([1, 1], 10, start=-1)


def test_valid_float32_softmax_rows_are_accepted(backend):
    """NumPy's multinomial rejects 145 of these 300: in float64 they sum to slightly more than one."""
    logits = np.random.default_rng(0).standard_normal((300, 1000)).astype(np.float32)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    counts = td.sample_counts(p, 1000, rng=1)
    assert np.all(counts.sum(axis=1) == 1000)


def test_weights_that_do_not_sum_to_one_split_evenly(backend):
    """NumPy's multinomial(100000, [.1, .1, .1]) gives the last outcome 80 % (numpy #14789)."""
    counts = td.sample_counts([0.1, 0.1, 0.1], 100_000, rng=1)
    assert counts.sum() == 100_000 and np.all(abs(counts - 100_000 / 3) < 5 * math.sqrt(100_000 * 2 / 9))


def test_no_cliff_at_2_to_the_24(backend):
    """Two thirds of the mass lie beyond outcome 2**24, of float32 weights that a float32 sum would lose."""
    w = np.ones(2**24 + 1024, np.float32)
    w[2**24 :] = 2**15
    counts = td.sample_counts(w, 90_000, rng=3)
    assert counts.sum() == 90_000
    assert abs(counts[2**24 :].sum() - 60_000) < 5 * math.sqrt(90_000 * 2 / 9)  # fails for 1 seed in a million


def chi_square(seen, probability):
    """Upper tail of Pearson's statistic, cells of mean below 5 taken together."""
    mean = probability * seen.sum()
    rare = mean < 5
    seen, mean = np.append(seen[~rare], seen[rare].sum()), np.append(mean[~rare], mean[rare].sum())
    seen, mean = seen[mean > 0.5], mean[mean > 0.5]
    return stats.chi2.sf(((seen - mean) ** 2 / mean).sum(), len(seen) - 1)


@pytest.mark.parametrize(
    ("n", "p"),
    [(1, 0.3), (2, 0.5), (12, 0.01), (19, 0.5), (20, 0.5), (21, 0.5), (24, 0.41), (30, 0.34), (30, 0.66), (100, 0.0999)]
    + [
        (100, 0.1001),
        (100, 0.9001),
        (1000, 0.00999),
        (1000, 0.5),
        (10**6, 9e-6),
        (10**6, 1.1e-5),
        (10**6, 0.3),
        (10**6, 0.9),
    ]
    + [(2**53, 9.0 / 2**53), (2**53, 12.0 / 2**53)],
)
def test_binomial_counts_have_their_law(backend, n, p):
    """Chi-square over all counts, or 200 cells of equal probability where there are more; 400,000 draws, fixed seed."""
    draws = 400_000
    counts = td.sample_counts([p, 1 - p], np.full(draws, n), rng=np.random.SeedSequence([n, int(p * 2**60)]))[:, 0]
    law = stats.poisson(n * p) if n == 2**53 else stats.binom(n, p)  # total variation below p: nothing at 1e-14
    edges = np.unique(law.ppf(np.linspace(0, 1, 201)[:-1]))
    if edges[-1] - edges[0] < 1000:
        edges = np.arange(law.ppf(1e-9), law.ppf(1 - 1e-9) + 1)
    seen = np.bincount(np.searchsorted(edges, counts, side="left"), minlength=len(edges) + 1)
    probability = np.diff(np.concatenate([[0.0], law.cdf(edges), [1.0]]))
    assert chi_square(seen, probability) > FALSE_ALARM


@pytest.mark.parametrize("n", [10**4, 10**9, 10**12, 10**15, 2**53])
@pytest.mark.parametrize("p", [0.001, 0.25, 0.5, 0.83])
def test_mean_variance_and_shape_at_large_totals(backend, n, p):
    """Standardised counts against the normal law: mean, variance, Kolmogorov-Smirnov; 200,000 draws, fixed seed."""
    draws = 200_000
    counts = td.sample_counts([p, 1 - p], np.full(draws, n), rng=n)[:, 0]
    exact = p / (p + (1 - p))
    mean = round(n * exact) if n < 2**52 else int(n * exact)
    deviation = math.sqrt(n * exact * (1 - exact))
    z = (counts - mean) / deviation + (mean - n * exact) / deviation * (n < 2**52)
    bound = stats.norm.isf(FALSE_ALARM / 2)
    assert abs(z.mean()) * math.sqrt(draws) < bound + 0.01
    assert abs(z.var() - 1) * math.sqrt(draws / 2) < bound * 1.1
    if n >= 10**9:
        assert stats.kstest(z, "norm").pvalue > FALSE_ALARM


def test_multinomial_counts_have_their_covariance(backend):
    """Every pair of outcomes: covariance -n p_i p_j, 50,000 draws, fixed seed."""
    p = np.array([0.02, 0.5, 0.0, 0.08, 0.3, 0.1])
    n, draws = 500, 50_000
    counts = td.sample_counts(p, np.full(draws, n), rng=11)
    assert np.all(abs(counts.mean(axis=0) - n * p) < 6 * np.sqrt(n * p * (1 - p) / draws) + 1e-12)
    exact = n * (np.diag(p) - np.outer(p, p))
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)) + exact**2)
    assert np.all(abs(np.cov(counts.T) - exact) < 6 * scale / math.sqrt(draws) + 1e-12)
