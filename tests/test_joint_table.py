"""JointTable: every combination has a parameter, those seen are stored, any number of them is exact."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from tallydraw.models._row_counts import row_counts


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, ...]], list[int], Any]:
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    n = draw(st.integers(0, 12))
    rows = [tuple(draw(st.integers(-1, c - 1)) for c in sizes) for _ in range(n)]
    return sizes, rows, [draw(st.integers(0, 1)) for _ in range(n)], draw(st.sampled_from([0, 1, 3, 0.5, 0.1]))


@settings(max_examples=100, deadline=None)
@given(problems())
def test_everything_equals_plain_loops(problem: Any) -> None:
    sizes, rows, y, alpha = problem
    X = np.array(rows, np.int64).reshape(len(rows), len(sizes))
    every = list(product(*(range(c) for c in sizes)))
    whole = [i for i, row in enumerate(rows) if min(row) >= 0]
    for name in td.backend.available():
        td.backend.use(name)
        for k in (1, 2):
            model = td.JointTable(alpha=alpha, n_categories=sizes)
            model.partial_fit(X, *([] if k == 1 else [y]), classes=None if k == 1 else [0, 1])
            seen = sorted({rows[i] for i in whole})
            assert [tuple(r) for r in model.rows_.tolist()] == seen
            n = {(r, c): sum(rows[i] == r and (k == 1 or y[i] == c) for i in whole) for r in every for c in range(k)}
            counts = [[n[r, c] for c in range(k)] for r in seen]
            assert model.row_counts_.reshape(len(seen), k).tolist() == counts
            a = Fraction(alpha) if whole or alpha else Fraction(1)
            total = len(whole) + a * len(every) * k
            theta = {key: (count + a) / total for key, count in n.items()}
            dense = model.dense().reshape(k, -1)
            joint = (model.log_prob(every)[:, None] if k == 1 else model.log_joint(every)).T
            for c in range(k):
                for i, r in enumerate(every):
                    exact = float(theta[r, c])
                    assert dense[c, i] == pytest.approx(exact, rel=4e-16)
                    expected = math.log(exact) if exact else -math.inf
                    assert joint[c, i] == pytest.approx(expected, rel=1e-13, abs=1e-15)
            # Missing cells: every completion, for every pattern.
            for i, row in enumerate(rows):
                agree = [r for r in every if all(a == b or a < 0 for a, b in zip(row, r, strict=True))]
                exact = float(sum(theta[r, c] for r in agree for c in range(k)))
                expected = math.log(exact) if exact else -math.inf
                assert model.log_prob(X[i : i + 1])[0] == pytest.approx(expected, rel=1e-13, abs=1e-14)
                assert bool(model.seen(X[i : i + 1])[0]) == any(r in seen for r in agree)
    td.backend.use(td.backend.available()[0])


def test_whole_numbers_divide_once(backend: str) -> None:
    X = np.random.default_rng(0).integers(0, 3, (50, 3))
    model = td.JointTable(alpha=1, n_categories=3).fit(X)
    counts = np.zeros((3, 3, 3), np.int64)
    np.add.at(counts, tuple(X.T), 1)
    assert model.dense().tolist() == ((counts + 1) / (50 + 27)).tolist()
    assert td.JointTable(n_categories=3).fit(X).dense().tolist() == (counts / 50).tolist()


def test_the_posterior_is_tabular(backend: str) -> None:
    rng = np.random.default_rng(1)
    X, y = rng.integers(0, 2, (200, 3)), rng.integers(0, 3, 200)
    model = td.JointTable().fit(X, y)
    posterior = model.predict_proba(model.rows_)
    shares = model.row_counts_ / model.row_counts_.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(posterior, shares, rtol=1e-14)
    assert model.class_prior_ is not None
    assert model.class_prior_.tolist() == (np.bincount(y) / 200).tolist()


def test_parameters() -> None:
    X = [[0, 0, 0]]
    assert td.JointTable(n_categories=[2, 3, 4]).fit(X).n_parameters == 23
    assert td.JointTable(n_categories=[2, 3, 4]).fit(X * 2, [0, 1]).n_parameters == 47
    assert td.JointTable(n_categories=2).fit(np.zeros((1, 784), np.uint8)).n_parameters == 2**784 - 1


@pytest.mark.parametrize(("sizes", "alpha"), [(2, 0), (2, 1), (2, 1e-9), (256, 0), (256, 1), (256, 0.1)])
def test_784_pixels(sizes: int, alpha: float, backend: str) -> None:
    rng = np.random.default_rng(3)
    X = rng.integers(0, sizes, (300, 784)).astype(np.uint8)
    X[0] = X[1]
    model = td.JointTable(alpha=alpha, n_categories=sizes).fit(X)
    total = 300 + Fraction(alpha) * sizes**784
    new = X[:3].copy()
    new[:, 7] ^= 1
    for rows, n in ((X[:2], 2), (X[2:5], 1), (new, 0)):
        exact = Fraction(n) + Fraction(alpha)
        if exact:
            expected = big_log(exact) - big_log(total)
            np.testing.assert_allclose(model.log_prob(rows), expected, rtol=1e-14)
        else:
            assert model.log_prob(rows).tolist() == [-np.inf] * 3
    assert model.seen(np.concatenate([X[:2], new])).tolist() == [True] * 2 + [False] * 3
    drawn = model.sample(200, rng=1)
    assert model.seen(drawn).all() == (alpha == 0)
    assert td.JointTable(alpha=alpha, n_categories=sizes).fit(X, X[:, 0] % 2).predict(X[:50]).shape == (50,)
    incomplete = X[2:3].astype(np.int64)
    incomplete[0, 5:700] = -1
    exact = 1 + Fraction(alpha) * sizes**695
    np.testing.assert_allclose(model.log_prob(incomplete), big_log(exact) - big_log(total), rtol=1e-14)
    p = model.entropy()
    assert p == pytest.approx(784 * math.log(sizes) if alpha else math.log(300) - 2 * math.log(2) / 300, rel=1e-9)


def big_log(value: Fraction) -> float:
    return math.log(value.numerator) - math.log(value.denominator)


def test_a_full_table_beyond_the_limit_is_refused() -> None:
    model = td.JointTable(n_categories=2).fit(np.zeros((1, 40), np.uint8))
    with pytest.raises(MemoryError, match=f"needs {8 * 2**40} bytes, more than max_bytes = {2**30}"):
        model.dense()
    small = td.JointTable(n_categories=[2, 3]).fit([[0, 1], [1, 2]], ["a", "b"])
    assert small.dense(max_bytes=96).shape == (2, 2, 3)
    assert small.dense().sum() == pytest.approx(1)
    with pytest.raises(MemoryError, match="needs 96 bytes, more than max_bytes = 95"):
        small.dense(max_bytes=95)
    with pytest.raises(MemoryError, match="axes"):
        td.JointTable().fit(np.zeros((1, 100), np.uint8)).dense()
    with pytest.raises(TypeError, match="max_bytes"):
        small.dense(max_bytes=1e9)  # type: ignore[arg-type]


def test_mle_draws_stored_rows_alone(backend: str) -> None:
    X = np.random.default_rng(0).integers(0, 9, (100, 12))
    model = td.JointTable().fit(X)
    rows, counts = td.count_rows(X)
    drawn = model.sample(5000, rng=7)
    assert model.seen(drawn).all()
    assert drawn.tolist() == rows[td.sample_categories(counts, 5000, rng=7)].tolist()


def test_smoothed_draws_are_a_mixture(backend: str) -> None:
    X = np.zeros((60, 2), np.uint8)
    model = td.JointTable(alpha=1, n_categories=[4, 10]).fit(X)
    drawn = model.sample(40_000, rng=2)
    shares = np.bincount(drawn[:, 0] * 10 + drawn[:, 1], minlength=40) / 40_000
    np.testing.assert_allclose(shares, model.dense().ravel(), atol=6 * 0.5 / 200)
    # A class that was never seen is uniform.
    labelled = td.JointTable(n_categories=[4, 10]).partial_fit(X, np.zeros(60, int), classes=[0, 1])
    assert not labelled.sample(100, y=0, rng=1).any()
    assert len(np.unique(labelled.sample(4000, y=1, rng=1), axis=0)) == 40
    assert labelled.sample_joint(100, rng=1)[1].tolist() == [0] * 100


def test_weights_of_the_mixture_of_each_class(backend: str) -> None:
    X, y = np.zeros((100, 1), np.uint8), np.repeat([0, 1], [90, 10])
    model = td.JointTable(alpha=5, n_categories=4).fit(X, y)
    assert model.class_prior_ is not None
    assert model.class_prior_.tolist() == [110 / 140, 30 / 140]
    for k, zero in ((0, 95 / 110), (1, 15 / 30)):
        assert abs((model.sample(20_000, y=k, rng=3) == 0).mean() - zero) < 0.02


def test_rows_with_a_missing_cell_are_not_counted() -> None:
    model = td.JointTable(n_categories=2, missing=5, unseen="missing").fit(
        [[0, 1], [-1, 1], [5, 0], [9, 0]], [0, 0, 1, 1]
    )
    assert model.rows_.tolist() == [[0, 1]]
    assert model.row_counts_.tolist() == [[1, 0]]
    assert model.class_counts_ is not None
    assert model.class_counts_.tolist() == [1, 0]


def test_rows_leave_when_their_count_does() -> None:
    a, b = td.JointTable(n_categories=3).fit([[0], [2], [2]]), td.JointTable(n_categories=3).fit([[2], [2]])
    assert (a - b).rows_.tolist() == [[0]]
    with pytest.raises(ValueError, match=r"row \[0\] would turn negative"):
        b - a - a


def test_no_tables_here() -> None:
    model = td.JointTable().fit([[0], [1]])
    with pytest.raises(AttributeError, match="row_counts_"):
        model.counts_  # noqa: B018
    with pytest.raises(AttributeError, match="dense"):
        model.probabilities_  # noqa: B018
    with pytest.raises(ValueError, match="alpha of a JointTable is one number"):
        td.JointTable(alpha=[1, 2]).fit([[0], [1]])


def test_a_stated_table(backend: str) -> None:
    truth = td.JointTable.from_probabilities([[0.5, 0.25], [0, 0.25]])
    assert truth.rows_.tolist() == [[0, 0], [0, 1], [1, 1]]
    assert truth.dense().tolist() == [[0.5, 0.25], [0, 0.25]]
    assert truth.seen(truth.sample(1000, rng=1)).all()
    with pytest.raises(AttributeError, match="made from probabilities"):
        truth.row_counts_  # noqa: B018
    with pytest.raises(ValueError, match="sums to"):
        td.JointTable.from_probabilities([[0.5, 0.25], [0, 0.2]])
    with pytest.raises(ValueError, match="classes"):
        td.JointTable.from_probabilities([[0.5, 0.5]], class_prior=[0.5, 0.5])
    labelled = td.JointTable.from_probabilities([[[0.5, 0.5]], [[1, 0]]], class_prior=[0.25, 0.75])
    assert labelled.dense().tolist() == [[[0.125, 0.125]], [[0.75, 0]]]
    assert labelled.predict_proba([[0, 1]]).tolist() == [[1, 0]]


def test_divergence_from_the_data_to_any_model(backend: str) -> None:
    X = np.random.default_rng(5).integers(0, 3, (80, 5))
    data = td.JointTable(n_categories=3).fit(X)
    for model in (
        td.NaiveBayes(n_categories=3),
        td.MarkovChain(n_categories=3),
        td.JointTable(n_categories=3, alpha=1),
    ):
        model.fit(X)
        assert data.kl_divergence(model) == pytest.approx(-data.entropy() - model.log_prob(X).mean(), rel=1e-12)


def test_smoothed_divergence_counts_all_combinations(backend: str) -> None:
    rng = np.random.default_rng(6)
    p = td.JointTable(n_categories=3, alpha=0.5).fit(rng.integers(0, 3, (20, 4)))
    q = td.JointTable(n_categories=3, alpha=2).fit(rng.integers(0, 3, (30, 4)))
    a, b = p.dense().ravel(), q.dense().ravel()
    assert p.kl_divergence(q) == pytest.approx((a * np.log(a / b)).sum(), rel=1e-12)
    assert p.kl_divergence(td.JointTable(n_categories=3).fit([[0, 0, 0, 0]])) == np.inf
    wide = td.JointTable(n_categories=2, alpha=1).fit(rng.integers(0, 2, (20, 400)))
    assert wide.kl_divergence(wide) == pytest.approx(0, abs=1e-12)


def test_wide_keys_agree_with_narrow_ones(backend: str) -> None:
    rng = np.random.default_rng(7)
    X = rng.integers(0, 4, (500, 40))
    X[:, 4:] = 0
    wide, narrow = td.JointTable(n_categories=4).fit(X), td.JointTable(n_categories=4).fit(X[:, :4])
    query = rng.integers(0, 4, (300, 40))
    query[:, 4:] = 0
    assert wide.log_prob(query).tolist() == narrow.log_prob(query[:, :4]).tolist()
    assert wide.sample(50, rng=1)[:, :4].tolist() == narrow.sample(50, rng=1).tolist()


def test_rows_of_no_weight(backend: str) -> None:
    model = td.JointTable(n_categories=2).fit([[0], [1]], sample_weight=[0, 2])
    assert model.log_prob([[0], [1]]).tolist() == [-np.inf, 0]
    assert model.sample(100, rng=1).ravel().tolist() == [1] * 100
    assert model.kl_divergence(td.JointTable(n_categories=2).fit([[1]])) == 0
    assert model.partial_fit([[0]]).row_counts_.tolist() == [1.0, 2.0]
    nothing = td.JointTable(n_categories=2).fit([[0], [1]], sample_weight=[0, 0])
    np.testing.assert_allclose(np.exp(nothing.log_prob([[0], [1]])), 0.5, rtol=1e-15)
    assert set(nothing.sample(100, rng=1).ravel().tolist()) == {0, 1}
    assert nothing.row_counts_.tolist() == [0, 0]


def test_very_large_alpha(backend: str) -> None:
    table = td.JointTable(alpha=1e308, n_categories=2).fit([[0, 1], [1, 1]])
    assert table.dense().tolist() == [[0.25, 0.25], [0.25, 0.25]]
    assert table.log_prob([[0, 0]]).tolist() == pytest.approx([np.log(0.25)])
    assert sorted(np.unique(table.sample(200, rng=1), axis=0).tolist()) == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_more_categories_than_can_be_drawn_uniformly(backend: str) -> None:
    X = [[0, 5], [2**39, 1]]
    assert td.JointTable(n_categories=2**40).fit(X).sample(50, rng=1).max() == 2**39
    smoothed = td.JointTable(n_categories=2**40, alpha=1).fit(X)
    assert smoothed.log_prob(X).tolist() == pytest.approx([np.log(2) - 80 * np.log(2)] * 2)
    with pytest.raises(MemoryError, match=f"table of {2**41} categories"):
        smoothed.sample(3)


def test_a_class_of_no_prior_still_has_its_rows(backend: str) -> None:
    table = td.JointTable.from_probabilities([[0.5, 0.5], [0.0, 1.0]], class_prior=[1, 0])
    assert table.sample(500, y=1, rng=1).tolist() == [[1]] * 500
    assert np.exp(table.log_prob([[0], [1]])).tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("alpha", [1e-200, 1e-300, 5e-324])
def test_tiny_alpha(alpha: float, backend: str) -> None:
    table = td.JointTable(alpha=alpha).fit([[0, 0], [0, 0], [0, 1], [1, 0]])
    assert table.log_prob([[0, 0], [0, 1]]).tolist() == pytest.approx([np.log(0.5), np.log(0.25)], rel=1e-15)
    assert td.JointTable(alpha=alpha, n_categories=2).fit([[0, 0]] * 5).log_prob([[0, 0]]).tolist() == [0.0]


def test_weights_that_add_up_to_infinity() -> None:
    heavy = row_counts(np.array([[0]]), np.array([1.5e308]))
    with pytest.raises(OverflowError, match="scale sample_weight down"):
        heavy + row_counts(np.array([[1]]), np.array([1.5e308]))


def test_a_draw_that_needs_too_much_leaves_the_generator_alone() -> None:
    rng = np.random.default_rng(3)
    before = rng.bit_generator.state
    with pytest.raises(MemoryError):
        td.JointTable(alpha=1, n_categories=2**40).fit([[0]]).sample(1, rng=rng)
    assert rng.bit_generator.state == before
