"""Entropy, divergence, mutual information and novelty: the laws they obey, each test named after its claim."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

mpmath.mp.prec = 180
LOG2 = math.log(2)

quick = settings(deadline=None, max_examples=80)


def normalized(weights: list[int]) -> NDArray[np.float64]:
    return np.array(weights) / sum(weights)


def distributions(least: int = 1, most: int = 9) -> st.SearchStrategy[NDArray[np.float64]]:
    """Distributions with zeros among their cells."""
    weights = st.lists(st.integers(0, 1000) | st.just(0), min_size=least, max_size=most)
    return weights.filter(any).map(normalized)


def pairs(most: int = 9) -> st.SearchStrategy[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Two distributions over the same categories."""
    return st.integers(1, most).flatmap(lambda c: st.tuples(distributions(c, c), distributions(c, c)))


def joints(most: int = 5) -> st.SearchStrategy[NDArray[np.float64]]:
    """Joint distributions (A, B)."""
    sizes = st.tuples(st.integers(1, most), st.integers(1, most))
    return sizes.flatmap(lambda s: distributions(s[0] * s[1], s[0] * s[1]).map(lambda p: p.reshape(s)))


def exact_kl(p: NDArray, q: NDArray) -> mpmath.mpf:
    """KL of two distributions normalised in multiple precision."""
    p, q = ([mpmath.mpf(v) / mpmath.fsum(map(mpmath.mpf, x.tolist())) for v in x.tolist()] for x in (p, q))
    return mpmath.fsum(a * mpmath.log(a / b) if b else mpmath.inf for a, b in zip(p, q, strict=True) if a)


# Entropy -------------------------------------------------------------------------------------------------------------


def test_entropy_of_a_bernoulli(backend: str) -> None:
    for theta in (0.0, 1e-300, 0.1, 0.25, 0.5, 0.9, 1.0):
        exact = -sum(v * mpmath.log(v) for v in (mpmath.mpf(theta), 1 - mpmath.mpf(theta)) if v)
        assert td.entropy([theta, 1 - theta]) == pytest.approx(float(exact), rel=1e-14, abs=1e-300)
    assert td.entropy([0.5, 0.5]) == pytest.approx(LOG2, rel=1e-15)
    assert td.entropy([1.0, 0.0]) == 0.0
    thetas = np.linspace(0, 1, 101)
    h = td.entropy(np.stack([thetas, 1 - thetas], axis=1))
    assert h.argmax() == 50
    assert np.all(np.diff(h[:51]) > 0)


@quick
@given(distributions(most=30))
def test_entropy_lies_between_zero_and_that_of_the_uniform(p: NDArray) -> None:
    h = td.entropy(p)
    assert 0.0 <= h <= math.log(len(p)) * (1 + 1e-14)
    assert math.copysign(1, h) == 1
    assert (h == 0.0) == (p.max() == 1.0)


@quick
@given(pairs())
def test_cross_entropy_is_entropy_plus_divergence(pq: tuple[NDArray, NDArray]) -> None:
    p, q = pq
    assert td.cross_entropy(p, q) == pytest.approx(td.entropy(p) + td.kl_divergence(p, q), rel=1e-12, abs=1e-14)


# Divergence ----------------------------------------------------------------------------------------------------------


@quick
@given(pairs())
def test_kl_is_never_negative_and_zero_only_where_equal(pq: tuple[NDArray, NDArray]) -> None:
    p, q = pq
    assert td.kl_divergence(p, p.copy()) == 0.0
    kl = td.kl_divergence(p, q)
    assert kl >= 0.0
    assert (kl == 0.0) == np.array_equal(p, q)


@quick
@given(pairs())
def test_kl_equals_its_definition(pq: tuple[NDArray, NDArray]) -> None:
    p, q = pq
    exact = exact_kl(p, q)
    kl = td.kl_divergence(p, q)
    assert kl == (math.inf if exact == mpmath.inf else pytest.approx(float(exact), rel=1e-12, abs=1e-30))


def test_kl_is_infinite_where_q_is_zero_and_p_is_not() -> None:
    assert td.kl_divergence([0.5, 0.5], [1.0, 0.0]) == math.inf
    assert td.cross_entropy([0.5, 0.5], [1.0, 0.0]) == math.inf
    assert td.kl_divergence([1.0, 0.0], [0.5, 0.5]) == pytest.approx(LOG2, rel=1e-15)
    assert td.kl_divergence([1.0, 0.0], [1.0, 0.0]) == 0.0


def test_kl_of_a_row_given_as_a_vector_or_as_a_matrix() -> None:
    p, q = [0.5, 0.5], [0.9, 0.1]
    one = td.kl_divergence(p, q)
    for row in (td.kl_divergence(p, [q]), td.kl_divergence([p], q), td.kl_divergence([p], [q])):
        assert row.tolist() == [one]
    # Numba looks at this flag when it meets a type for the first time: no view may warn.
    assert not any(view.flags.writeable for view in td.information._pair(p, [q], -1))


def test_kl_is_not_symmetric() -> None:
    p, q = [0.5, 0.5], [0.9, 0.1]
    assert td.kl_divergence(p, q) == pytest.approx(0.5108256237659907)
    assert td.kl_divergence(q, p) == pytest.approx(0.3680642071684971)


def test_kl_breaks_the_triangle_inequality() -> None:
    p, q, r = [0.5, 0.5], [0.25, 0.75], [0.05, 0.95]
    assert td.kl_divergence(p, r) > td.kl_divergence(p, q) + td.kl_divergence(q, r) + 0.3


def test_kl_is_accurate_where_the_distributions_almost_agree() -> None:
    """The sum of p log(p / q) loses every digit here; see also scipy.stats.entropy."""
    p = np.array([0.5, 0.25, 0.25])
    for step in (1e-3, 2.0**-20, 2.0**-30, 2.0**-45, 2.0**-52):
        q = p + np.array([step, -step / 2, -step / 2])
        exact = mpmath.fsum(
            mpmath.mpf(a) * mpmath.log(mpmath.mpf(a) / mpmath.mpf(b)) for a, b in zip(p, q, strict=True)
        )
        exact -= mpmath.fsum(p.tolist()) - mpmath.fsum(q.tolist())
        assert td.kl_divergence(p, q) == pytest.approx(float(exact), rel=1e-12)
        assert td.kl_divergence(p, q) > 0.0


@pytest.mark.parametrize("t", [-1 / 16, 1 / 16])
def test_kl_has_no_step_where_its_series_ends(t: float) -> None:
    p = np.array([0.5 * (1 + t), 0.5 * (1 - t)])
    for q in (0.5, np.nextafter(0.5, 0), np.nextafter(0.5, 1), 0.5 + 1e-9, 0.5 - 1e-9):
        both = np.array([q, 1 - q])
        assert td.kl_divergence(p, both) == pytest.approx(float(exact_kl(p, both)), rel=1e-13)


def test_extreme_ratios_neither_overflow_nor_vanish() -> None:
    p, q = [0.5, 0.5], [1e-320, 1.0]
    assert td.kl_divergence(p, q) == pytest.approx(float(exact_kl(np.array(p), np.array(q))), rel=1e-13)
    assert td.kl_divergence(q, p) == pytest.approx(LOG2, rel=1e-13)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(2, 6))
def test_the_estimate_of_kl_converges_to_the_exact_one(seed: int, c: int) -> None:
    """Law of large numbers: within 6 standard errors, which shrink as 1 / sqrt(n)."""
    g = np.random.default_rng(seed)
    p, q = g.dirichlet(np.full(c, 5.0)), g.dirichlet(np.full(c, 5.0))
    exact = td.kl_divergence(p, q)
    sd = math.sqrt(max(float(np.sum(p * (np.log(p / q) - exact) ** 2)), 0.0))
    for n in (1_000, 100_000):
        x = g.choice(c, size=n, p=p)
        mean, error = td.kl_divergence_estimate(np.log(p)[x], np.log(q)[x])
        assert abs(mean - exact) < 6 * sd / math.sqrt(n)
        if n == 100_000:
            assert error == pytest.approx(sd / math.sqrt(n), rel=0.1)


def test_the_standard_error_of_the_estimate_covers() -> None:
    """A 95 % interval covers the exact value in 95 % of 2,000 experiments, give or take 4 sigma."""
    g = np.random.default_rng(11)
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.4, 0.2])
    exact = td.kl_divergence(p, q)
    covered = 0
    for _ in range(2_000):
        x = g.choice(3, size=200, p=p)
        mean, error = td.kl_divergence_estimate(np.log(p)[x], np.log(q)[x])
        covered += abs(mean - exact) < 1.96 * error
    assert abs(covered / 2_000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2_000)


def test_the_estimate_of_kl_at_its_edges() -> None:
    assert td.kl_divergence_estimate([-1.0], [-3.0]) == (2.0, math.inf)
    assert td.kl_divergence_estimate([-1.0, -1.0], [-3.0, -math.inf]) == (math.inf, 0.0)
    assert td.kl_divergence_estimate([-1.0, -2.0], [-1.0, -2.0]) == (0.0, 0.0)
    with pytest.raises(ValueError, match=r"log_p\[1\] is -inf: P cannot have made this draw"):
        td.kl_divergence_estimate([-1.0, -math.inf], [-1.0, -1.0])
    for bad in (math.nan, math.inf):
        with pytest.raises(ValueError, match=r"log_q\[1\] is (nan|inf)"):
            td.kl_divergence_estimate([-1.0, -1.0], [-1.0, bad])
    with pytest.raises(ValueError, match="same draws, got 2 and 3"):
        td.kl_divergence_estimate([-1.0] * 2, [-1.0] * 3)
    with pytest.raises(ValueError, match="log_p is empty"):
        td.kl_divergence_estimate([], [])
    with pytest.raises(ValueError, match="one number a draw"):
        td.kl_divergence_estimate([[-1.0]], [[-1.0]])


# Two variables -------------------------------------------------------------------------------------------------------


@quick
@given(joints())
def test_mutual_information_is_the_entropy_that_the_other_takes_away(joint: NDArray) -> None:
    px, py = joint.sum(axis=1), joint.sum(axis=0)
    information = td.mutual_information(joint)
    assert information >= 0.0
    assert information == pytest.approx(td.entropy(px) - td.conditional_entropy(joint), abs=1e-13)
    assert information == pytest.approx(td.entropy(py) - td.conditional_entropy(joint.T), abs=1e-13)
    assert information == pytest.approx(td.kl_divergence(joint.ravel(), np.outer(px, py).ravel()), abs=1e-13)
    assert information <= min(td.entropy(px), td.entropy(py)) + 1e-13


@quick
@given(joints())
def test_the_chain_rule_of_entropy(joint: NDArray) -> None:
    h = td.conditional_entropy(joint)
    assert h >= 0.0
    assert td.entropy(joint.ravel()) == pytest.approx(td.entropy(joint.sum(axis=0)) + h, abs=1e-13)


@quick
@given(joints())
def test_product_rule_and_bayes_rule(joint: NDArray) -> None:
    joint = joint[:, joint.any(axis=0)][joint.any(axis=1)]
    px, py = joint.sum(axis=1), joint.sum(axis=0)
    x_given_y, y_given_x = joint / py, joint / px[:, None]
    np.testing.assert_allclose(x_given_y * py, joint, rtol=1e-14)  # p(x, y) = p(x | y) p(y)
    np.testing.assert_allclose(y_given_x * px[:, None] / py, x_given_y, rtol=1e-13)  # p(x | y) = p(y | x) p(x) / p(y)
    # H(X | Y) is the mean of the entropies of p(x | y), and I(X; Y) the mean divergence of p(x | y) from p(x).
    assert td.conditional_entropy(joint) == pytest.approx(float(py @ td.entropy(x_given_y, axis=0)), abs=1e-13)
    divergence = td.kl_divergence(x_given_y, px[:, None], axis=0)
    assert td.mutual_information(joint) == pytest.approx(float(py @ divergence), abs=1e-13)


@quick
@given(distributions(2, 5), distributions(2, 5))
def test_independence_iff_the_joint_is_the_product(p: NDArray, q: NDArray) -> None:
    joint = np.outer(p, q)
    assert td.mutual_information(joint) <= 1e-28
    i, j = int(p.argmax()), int(q.argmax())
    k, m = (i + 1) % len(p), (j + 1) % len(q)
    # Move mass around a rectangle: the marginals stay, independence goes.
    step = min(joint[i, j], joint[k, m]) / 2 or min(joint[i, m], joint[k, j], joint[i, j]) / 2
    if joint[i, j] > step > 1e-6 and joint[k, m] >= step:
        moved = joint.copy()
        moved[[i, k], [j, m]] -= step
        moved[[i, k], [m, j]] += step
        assert td.mutual_information(moved) > 1e-13


def test_a_determined_variable_has_no_entropy_left() -> None:
    joint = np.diag([0.2, 0.3, 0.5])
    assert td.conditional_entropy(joint) == 0.0
    assert td.mutual_information(joint) == pytest.approx(td.entropy([0.2, 0.3, 0.5]), rel=1e-14)


def test_mutual_information_of_vanishing_cells_is_finite() -> None:
    joint = np.array([[1e-200, 0.0], [0.0, 1.0]])  # p(a) p(b) = 1e-400 underflows
    assert td.mutual_information(joint) == pytest.approx(200 * math.log(10) * 1e-200, rel=1e-2)


# Arguments -----------------------------------------------------------------------------------------------------------

ONE: list[Callable[..., object]] = [td.entropy]
TWO: list[Callable[..., object]] = [td.cross_entropy, td.kl_divergence]
JOINT: list[Callable[..., object]] = [td.conditional_entropy, td.mutual_information]


@pytest.mark.parametrize("f", TWO)
def test_nothing_is_normalised_in_silence(f: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match=r"q sums to 0\.6, not to one: .* pass q / q\.sum\(\)"):
        f([0.5, 0.5], [0.3, 0.3])
    with pytest.raises(ValueError, match=r"p sums to 3\.0, not to one"):
        f([1, 2], [0.5, 0.5])
    with pytest.raises(ValueError, match=r"p\[1\] sums to 0\.75, not to one: .* p / p\.sum\(axis=-1, keepdims=True\)"):
        f([[0.5, 0.5], [0.5, 0.25]], [0.5, 0.5])


@pytest.mark.parametrize("f", JOINT)
def test_counts_instead_of_a_joint_raise_with_the_remedy(f: Callable[..., object]) -> None:
    """Products of marginal counts overflow elsewhere; here counts are no joint."""
    for dtype in (np.int32, np.int64, np.float64):
        with pytest.raises(ValueError, match=r"joint sums to 200000\.0, not to one: .* joint / joint\.sum\(\)"):
            f(np.full((2, 2), 50_000, dtype))
    counts = np.full((2, 2), 2**60)
    assert f(counts / counts.sum()) == pytest.approx(0.0 if f is td.mutual_information else LOG2)
    with pytest.raises(ValueError, match=r"joint\[1\] sums to 2\.0, .* joint\.sum\(axis=\(-2, -1\), keepdims=True\)"):
        f([[[0.5, 0.5]], [[1.0, 1.0]]])
    with pytest.raises(ValueError, match="joint must have 2 or more dimensions"):
        f([0.5, 0.5])


@pytest.mark.parametrize(("value", "shown"), [(math.nan, "nan"), (-0.5, "-0.5"), (math.inf, "inf")])
def test_what_is_no_probability_raises(value: float, shown: str) -> None:
    bad = [[0.5, 0.5], [1.5, value]]
    for f in ONE:
        with pytest.raises(ValueError, match=rf"p\[1, 1\] is {shown}: probabilities are finite and non-negative"):
            f(bad)
    for f in TWO:
        with pytest.raises(ValueError, match=rf"q\[1, 1\] is {shown}"):
            f([0.5, 0.5], bad)
    for f in JOINT:
        with pytest.raises(ValueError, match=rf"joint\[1, 1\] is {shown}"):
            f(bad)


def test_sums_within_rounding_are_accepted_and_no_others() -> None:
    td.entropy([0.1] * 10)
    td.entropy([1 / 3, 1 / 3, 1 / 3])
    td.entropy([0.333333333, 0.333333333, 0.333333334])
    with pytest.raises(ValueError, match="not to one"):
        td.entropy([0.5, 0.5 + 2e-9])
    with pytest.raises(ValueError, match="not to one"):
        td.entropy(np.array([0.5, 0.501], np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_softmax_of_any_precision_is_a_distribution(dtype: type) -> None:
    g = np.random.default_rng(12)
    for c in (2, 10, 1000):
        logits = g.normal(size=(300, c)).astype(np.float32)
        p = np.exp(logits)
        p = (p / p.sum(axis=1, keepdims=True)).astype(dtype)
        assert np.all(td.entropy(p) >= 0)
        assert np.all(td.kl_divergence(p, p[::-1]) >= 0)
        assert np.all(td.kl_divergence(p, p) == 0)


def test_axes_and_broadcasting_are_as_in_numpy() -> None:
    g = np.random.default_rng(13)
    p, q = g.dirichlet(np.ones(4), size=(3, 5)), g.dirichlet(np.ones(4), size=5)
    kl = td.kl_divergence(p, q)
    assert kl.shape == (3, 5)
    assert kl.tolist() == [[td.kl_divergence(p[i, j], q[j]) for j in range(5)] for i in range(3)]
    assert td.kl_divergence(q[0], p).tolist() == [[td.kl_divergence(q[0], p[i, j]) for j in range(5)] for i in range(3)]
    assert np.array_equal(td.entropy(np.moveaxis(p, -1, 0), axis=0), td.entropy(p))
    assert np.array_equal(td.kl_divergence(np.moveaxis(p, -1, 1), q.T[None], axis=1), kl)
    assert td.mutual_information(np.stack([np.full((4, 5), 0.05)] * 3)).shape == (3,)
    assert td.entropy(np.empty((0, 4))).shape == (0,)
    assert td.conditional_entropy(np.empty((0, 2, 2))).shape == (0,)
    for value in (td.entropy(q[0]), td.kl_divergence(q[0], q[1]), td.mutual_information(np.full((2, 2), 0.25))):
        assert type(value) is float


def test_shapes_that_do_not_fit_raise() -> None:
    with pytest.raises(ValueError, match="p has 2 categories, q has 3"):
        td.kl_divergence([0.5, 0.5], [0.5, 0.25, 0.25])
    with pytest.raises(ValueError, match="p has 1 categories, q has 2"):
        td.kl_divergence([1.0], [0.5, 0.5])
    with pytest.raises(ValueError, match="axis must be at most 0, got 1"):
        td.entropy([0.5, 0.5], axis=1)
    with pytest.raises(ValueError, match=r"must have at least one category, got shape \(3, 0\)"):
        td.entropy(np.empty((3, 0)))
    with pytest.raises(TypeError, match="p must be numeric"):
        td.entropy(["a", "b"])
    with pytest.raises(ValueError, match="n_threads must be at least 1"):
        td.entropy([0.5, 0.5], n_threads=0)
    ragged = td.Tables.from_arrays([[0.5, 0.5], [0.2, 0.3, 0.5]])
    with pytest.raises(ValueError, match=r"p is a stack of tables of different shapes: pass one of them, p\[j\]"):
        td.entropy(ragged)
    with pytest.raises(ValueError, match="q is a stack of tables of different shapes"):
        td.kl_divergence([0.5, 0.5], ragged)
    with pytest.raises(ValueError, match="joint is a stack of tables of different shapes"):
        td.mutual_information(ragged)
    with pytest.raises(ValueError, match="q has rows of different lengths"):
        td.cross_entropy([0.5, 0.5], [[0.5, 0.5], [1.0]])
    assert td.entropy(td.Tables.from_arrays([[0.5, 0.5], [1.0, 0.0]])) == pytest.approx([LOG2, 0.0])


def test_both_backends_have_the_same_bits() -> None:
    g = np.random.default_rng(14)
    p, q = g.dirichlet(np.full(7, 0.1), size=400), g.dirichlet(np.full(7, 0.1), size=400)
    joint = g.dirichlet(np.full(12, 0.3), size=50).reshape(50, 3, 4)
    found = []
    for backend in td.backend.available():
        td.backend.use(backend)
        found.append(
            [
                td.entropy(p).tobytes(),
                td.kl_divergence(p, q).tobytes(),
                td.conditional_entropy(joint).tobytes(),
                td.mutual_information(joint).tobytes(),
            ]
        )
    td.backend.use(td.backend.available()[0])
    assert all(a == b for a, b in itertools.pairwise(found))


# Pairs of features ---------------------------------------------------------------------------------------------------


def pair_data(seed: int) -> tuple[NDArray, NDArray]:
    """Features of several sizes, some determined by others, some with missing cells; and classes."""
    g = np.random.default_rng(seed)
    X = np.stack([g.integers(-(j % 2), c, 300) for j, c in enumerate([2, 2, 3, 1, 7, 20])], axis=1)
    X[:, 0] = X[:, 2] > 0
    return X, g.integers(0, 3, 300)


@pytest.mark.parametrize("weighted", [False, True])
def test_information_of_pairs_is_that_of_each_table(weighted: bool, backend: str) -> None:
    X, _ = pair_data(1)
    pairs = td.count_pairs(X, sample_weight=np.arange(300) / 7 if weighted else None)
    shared, left = td.mutual_information(pairs), td.conditional_entropy(pairs)
    assert shared.shape == left.shape == (6, 6)
    assert np.array_equal(shared, shared.T)
    for i, j in itertools.permutations(range(6), 2):
        joint = pairs[i, j] / np.cumsum(pairs[min(i, j), max(i, j)])[-1]
        assert left[i, j] == pytest.approx(td.conditional_entropy(joint), rel=1e-14, abs=1e-15)
        assert shared[i, j] == pytest.approx(td.mutual_information(joint), rel=1e-13, abs=1e-15)
        if i < j and not weighted:
            assert shared[i, j] == td.mutual_information(joint)
            assert left[i, j] == td.conditional_entropy(joint)
    for i in range(6):
        single = pairs.marginals[i] / np.cumsum(pairs.marginals[i])[-1]
        assert shared[i, i] == pytest.approx(td.entropy(single), abs=1e-15)
        assert left[i, i] == 0.0
    assert left[0, 2] == 0.0
    assert shared.min() >= 0.0


def test_information_of_pairs_given_a_class_is_the_mean_over_classes(backend: str) -> None:
    X, y = pair_data(2)
    pairs = td.count_pairs(X, y=y)
    shared, left = td.mutual_information(pairs), td.conditional_entropy(pairs)
    for i, j in itertools.permutations(range(6), 2):
        table = pairs[i, j].astype(float)
        weights = table.sum(axis=(1, 2))
        joint = table / weights[:, None, None]
        weights /= weights.sum()
        assert shared[i, j] == pytest.approx(weights @ td.mutual_information(joint), rel=1e-12, abs=1e-15)
        assert left[i, j] == pytest.approx(weights @ td.conditional_entropy(joint), rel=1e-12, abs=1e-15)
    for i in range(6):
        table = pairs.marginals[i].astype(float)
        weights = table.sum(axis=1)
        expected = (weights / weights.sum()) @ td.entropy(table / weights[:, None])
        assert shared[i, i] == pytest.approx(expected, rel=1e-12)


def test_pairs_never_seen_together_and_empty_classes_share_nothing(backend: str) -> None:
    X = [[0, -1, 1], [1, -1, 0], [-1, 0, 1], [-1, 1, 0]]
    shared = td.mutual_information(td.count_pairs(X))
    assert shared[0, 1] == 0.0 and shared[0, 2] == pytest.approx(LOG2)
    assert td.conditional_entropy(td.count_pairs(X))[0, 1] == 0.0
    one = td.count_pairs(X, y=[1, 1, 1, 1], n_classes=3)
    assert np.array_equal(td.mutual_information(one), shared)
    empty = td.count_pairs(np.zeros((0, 2), int), n_categories=2)
    assert td.mutual_information(empty).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert td.mutual_information(td.count_pairs([[0], [1]])) == pytest.approx(LOG2)


def test_independent_pairs_share_nothing_but_rounding(backend: str) -> None:
    X = np.indices((3, 4, 5)).reshape(3, -1).T
    shared = td.mutual_information(td.count_pairs(np.repeat(X, 7, axis=0)))
    assert np.all(shared[~np.eye(3, dtype=bool)] <= 1e-30)


def test_both_backends_have_the_same_information_of_pairs() -> None:
    X, y = pair_data(3)
    found = []
    for backend in td.backend.available():
        td.backend.use(backend)
        pairs = td.count_pairs(X, y=y)
        found.append(td.mutual_information(pairs).tobytes() + td.conditional_entropy(pairs).tobytes())
    td.backend.use(td.backend.available()[0])
    assert len(set(found)) == 1


# Novelty -------------------------------------------------------------------------------------------------------------


def share_of_new(samples: NDArray, data: NDArray) -> float:
    known = {tuple(row) for row in data.tolist()}
    return sum(tuple(row) not in known for row in samples.tolist()) / len(samples)


@quick
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 40), st.integers(0, 40))
def test_novelty_is_the_share_of_rows_that_the_data_does_not_have(seed: int, d: int, m: int, n: int) -> None:
    g = np.random.default_rng(seed)
    dtypes = [np.int8, np.uint8, np.int16, np.uint32, np.int64, np.uint64]
    x = g.integers(0, 3, (m, d)).astype(dtypes[seed % 6])
    y = g.integers(0, 4, (n, d)).astype(dtypes[seed % 5])
    assert td.novelty(x, y) == share_of_new(x, y)
    assert td.novelty(np.asfortranarray(x), y[::-1]) == share_of_new(x, y)
    assert td.novelty(x[:, 0], y[:, 0]) == share_of_new(x[:, :1], y[:, :1])


def test_novelty_of_wide_rows() -> None:
    g = np.random.default_rng(15)
    data = (g.random((500, 784)) < 0.3).astype(np.uint8)
    samples = np.concatenate([data[:30], data[:10], (g.random((60, 784)) < 0.3).astype(np.uint8)])
    assert td.novelty(samples, data) == 0.6
    samples[0, 783] ^= 1
    assert td.novelty(samples, data) == 0.61
    colours = g.integers(0, 256, (300, 50)).astype(np.int64)
    assert td.novelty(colours, colours[:150]) == 0.5


def test_novelty_compares_numbers_not_bytes() -> None:
    assert td.novelty(np.array([-1], np.int8), np.array([255], np.uint8)) == 1.0
    assert td.novelty(np.array([255], np.int16), np.array([255], np.uint8)) == 0.0
    assert td.novelty(np.array([-1, 5]), np.array([2**64 - 1, 5], np.uint64)) == 0.5
    assert td.novelty(np.array([2**64 - 1, 5], np.uint64), np.array([-1, 5])) == 0.5
    assert td.novelty(np.array([-(2**63), 2**63 - 1]), np.array([2**63, 2**63 - 1], np.uint64)) == 0.5
    assert td.novelty(np.array([True, False]), [1]) == 0.5
    assert td.novelty([[2**63 - 1, -(2**63)]], [[2**63 - 1, -(2**63)]]) == 0.0


def test_novelty_at_its_edges() -> None:
    assert td.novelty([1, 2], np.empty(0, int)) == 1.0
    with pytest.raises(ValueError, match="samples is empty"):
        td.novelty(np.empty(0, int), [1])
    with pytest.raises(ValueError, match="samples has 2 columns, data has 3"):
        td.novelty([[0, 1]], [[0, 1, 2]])
    with pytest.raises(ValueError, match="data must have 1 dimension"):
        td.novelty([0, 1], [[0, 1]])
    with pytest.raises(TypeError, match="samples must hold integer codes, got dtype float64"):
        td.novelty([0.0, 1.0], [0, 1])


def test_a_mask_is_not_forgotten() -> None:
    half = np.ma.masked_array(np.full((2, 2), 0.5), mask=[[1, 0], [0, 0]])
    calls = {
        "p": lambda: td.entropy(half),
        "transition": lambda: td.log_prob_paths([[0, 1]], half),
        "weights": lambda: td.sample_rows(half),
        "totals": lambda: td.sample_counts([1.0, 1.0], np.ma.masked_array([1, 2], mask=[1, 0])),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=f"{name} is a masked array"):
            call()
    with pytest.raises(TypeError, match="weights is a masked array"):
        td.sample_counts(half, 3)
