"""MarkovChain: position by position or homogeneous, of any order, with missing states, against plain loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st

# Position by position ----------------------------------------------------------------------------------------------


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[int], list[list[int]], list[int], int, int]:
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    n = draw(st.integers(1, 12))
    X = [[draw(st.integers(-1, c - 1)) for c in sizes] for _ in range(n)]
    return sizes, X, [draw(st.integers(0, 1)) for _ in range(n)], draw(st.integers(1, 4)), draw(st.integers(0, 2))


@settings(max_examples=60, deadline=None)
@given(rows())
def test_estimates_equal_plain_loops(problem: Any) -> None:
    sizes, X, y, order, alpha = problem
    classes = sorted(set(y))
    for name in td.backend.available():
        td.backend.use(name)
        model = td.MarkovChain(order=order, alpha=alpha, n_categories=sizes).fit(np.array(X), y)
        for j, size in enumerate(sizes):
            before = range(max(0, j - order), j)
            table = np.zeros((len(classes), *(sizes[i] for i in before), size), np.int64)
            for row, label in zip(X, y, strict=True):
                places = [row[i] for i in before] + [row[j]]
                if min(places) >= 0:
                    table[(classes.index(label), *places)] += 1
            assert model.counts_[j].tolist() == table.tolist()
            total = (table + alpha).sum(axis=-1, keepdims=True)
            theta = np.where(total > 0, (table + alpha) / np.maximum(total, 1), 1 / size)
            assert model.probabilities_[j].tolist() == theta.tolist()
    td.backend.use(td.backend.available()[0])


def test_parameters_of_binary_chains() -> None:
    for n in range(1, 9):
        X = np.zeros((1, n), np.uint8)
        assert td.MarkovChain(n_categories=2).fit(X).n_parameters == 2 * n - 1
        for order in (n - 1, n, n + 3):
            assert td.MarkovChain(n_categories=2, order=max(1, order)).fit(X).n_parameters == 2**n - 1
    assert td.MarkovChain(n_categories=3).fit(np.zeros((2, 2), np.uint8), [0, 1]).n_parameters == 1 + 2 * (2 + 6)


@pytest.mark.parametrize("order", [3, 5])
def test_the_chain_rule_is_the_joint_table(order: int, backend: str) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 3, (300, 4)), rng.integers(0, 2, 300)
    every = np.indices((3,) * 4).reshape(4, -1).T
    for labels in (None, y):
        chain, table = td.MarkovChain(order=order).fit(X, labels), td.JointTable().fit(X, labels)
        a, b = chain.log_prob(every), table.log_prob(every)
        assert (a == -np.inf).tolist() == (b == -np.inf).tolist()
        np.testing.assert_allclose(a, b, rtol=1e-13)
    assert chain.n_parameters == table.n_parameters


def test_scores_and_draws_are_those_of_the_tables(backend: str) -> None:
    X = np.random.default_rng(1).integers(0, 4, (200, 6))
    for order in (1, 2):
        model = td.MarkovChain(order=order, alpha=0.5).fit(X)
        assert model.log_prob(X).tolist() == td.log_prob_features(X, model.probabilities_).tolist()
        assert model.sample(50, rng=1).tolist() == td.sample_features(model.probabilities_, 50, rng=1).tolist()
    assert td.MarkovChain().fit(X).counts_ == td.count_features(X, parents=np.arange(-1, 5))


def test_missing_cells_are_summed_out(backend: str) -> None:
    rng = np.random.default_rng(2)
    X, y = rng.integers(0, 3, (100, 4)), rng.integers(0, 2, 100)
    model = td.MarkovChain(alpha=0.5).fit(X, y)
    every = np.indices((3,) * 4).reshape(4, -1).T
    joint = np.exp(model.log_joint(every))
    for pattern in np.indices((2,) * 4).reshape(4, -1).T.astype(bool):
        row = np.where(pattern, [2, 0, 1, 2], -1)
        agree = np.all((every == row) | ~pattern, axis=1)
        np.testing.assert_allclose(np.exp(model.log_joint([row]))[0], joint[agree].sum(axis=0), rtol=1e-12)


def test_missing_cells_at_a_higher_order_are_summed_out(backend: str) -> None:
    X = np.random.default_rng(3).integers(0, 2, (50, 4))
    model = td.MarkovChain(order=2).fit(X)
    both = np.exp(model.log_prob([[0, 0, 0, 1], [0, 1, 0, 1]])).sum()
    assert np.exp(model.log_prob([[0, -1, 0, 1]]))[0] == pytest.approx(both, rel=1e-12)
    assert td.MarkovChain(order=2, n_categories=2).fit([[0, -1, 1, 1]]).counts_.values.sum() == 1


def test_positions_take_no_sequences() -> None:
    model = td.MarkovChain().fit([[0, 1]])
    with pytest.raises(ValueError, match="homogeneous=True"):
        model.log_prob([0, 1], offsets=[0, 2])
    with pytest.raises(ValueError, match="homogeneous"):
        model.sample(2, length=3)
    for order, error in ((0, ValueError), (1.5, TypeError), (-1, ValueError)):
        with pytest.raises(error, match="order"):
            td.MarkovChain(order=order)  # type: ignore[arg-type]


def test_a_context_too_large_to_address() -> None:
    with pytest.raises(ValueError, match="too many to address"):
        td.MarkovChain(order=40, n_categories=4).fit(np.zeros((1, 60), np.uint8))


# Homogeneous -------------------------------------------------------------------------------------------------------


def plain_counts(sequences: list[list[int]], c: int, order: int, weights: Any = None) -> list[np.ndarray]:
    """Start tables of the first `order` states, then transitions."""
    tables = [np.zeros((c,) * (t + 1)) for t in range(order + 1)]
    for i, s in enumerate(sequences):
        w = 1 if weights is None else weights[i]
        for t in range(len(s)):
            places = s[max(0, t - order) : t + 1]
            if min(places) >= 0:
                tables[min(t, order)][tuple(places)] += w
    return tables


@st.composite
def sequences(draw: st.DrawFn) -> tuple[list[list[int]], int, int]:
    c = draw(st.integers(1, 3))
    found = draw(st.lists(st.lists(st.integers(-1, c - 1), max_size=8), min_size=1, max_size=6))
    return found, c, draw(st.integers(1, 3))


@settings(max_examples=60, deadline=None)
@given(sequences())
def test_counts_of_sequences_equal_plain_loops(problem: Any) -> None:
    found, c, order = problem
    flat, offsets = [s for part in found for s in part], np.cumsum([0, *map(len, found)])
    labels = [i % 2 for i in range(len(found))]
    arrays = [np.array(s, np.int64) for s in found]
    weights = [0.5 * (i + 1) for i in range(len(found))]
    for name in td.backend.available():
        td.backend.use(name)
        model = td.MarkovChain(homogeneous=True, order=order, n_categories=c)
        expected = plain_counts(found, c, order)
        assert [t.tolist() for t in model.fit(arrays).counts_] == [t.tolist() for t in expected]
        by_offsets = model.fit(np.array(flat, np.int64), offsets=offsets)
        assert [t.tolist() for t in by_offsets.counts_] == [t.tolist() for t in expected]
        weighted = model.fit(arrays, sample_weight=weights)
        expected = plain_counts(found, c, order, weights)
        assert [t.tolist() for t in weighted.counts_] == [t.tolist() for t in expected]
        classes = sorted(set(labels))
        labelled = td.MarkovChain(homogeneous=True, order=order, n_categories=c)
        for data in (arrays, arrays):
            labelled.partial_fit(data, labels)
        for i, k in enumerate(classes):
            mine = plain_counts([s for s, label in zip(found, labels, strict=True) if label == k], c, order)
            assert [t[i].tolist() for t in labelled.counts_] == [(2 * t).tolist() for t in mine]
        whole = td.MarkovChain(homogeneous=True, order=order, n_categories=c)
        by_class = whole.fit(arrays, labels, sample_weight=weights)
        for i, k in enumerate(classes):
            mine = plain_counts(
                [s if label == k else [] for s, label in zip(found, labels, strict=True)], c, order, weights
            )
            assert [t[i].tolist() for t in by_class.counts_] == [t.tolist() for t in mine]
    td.backend.use(td.backend.available()[0])


def test_sequences_in_all_three_forms(backend: str) -> None:
    S = np.random.default_rng(4).integers(0, 3, (40, 9)).astype(np.int16)
    y = np.arange(40) % 2
    for labels in (None, y):
        model = td.MarkovChain(homogeneous=True, alpha=1).fit(S, labels)
        offsets = np.arange(41) * 9
        for other in (
            td.MarkovChain(homogeneous=True, alpha=1).fit(list(S), labels),
            td.MarkovChain(homogeneous=True, alpha=1).fit(S.ravel(), labels, offsets=offsets),
        ):
            assert other.counts_ == model.counts_
        expected = model.log_prob(S).tolist()
        assert model.log_prob(list(S)).tolist() == expected
        assert model.log_prob(S.ravel(), offsets=offsets).tolist() == expected
    for name in ("log_joint", "predict", "predict_proba", "predict_log_proba"):
        call = getattr(model, name)
        assert call(S.ravel(), offsets=offsets).tolist() == call(S).tolist()


def test_scores_of_sequences(backend: str) -> None:
    start, step = np.array([0.5, 0.25, 0.25]), np.array([[0.5, 0.5, 0], [0.25, 0.5, 0.25], [0, 0, 1]])
    model = td.MarkovChain.from_probabilities([start, step], homogeneous=True)
    found = model.log_prob([[0, 1, 1, 2], [2], [], [0, 2]])
    np.testing.assert_allclose(found[:2], np.log([0.5 * 0.5 * 0.5 * 0.25, 0.25]), rtol=1e-14)
    assert found[2:].tolist() == [0, -np.inf]
    S = model.sample(30, length=12, rng=1)
    assert model.log_prob(S).tolist() == td.log_prob_paths(S, step, initial_weights=start).tolist()
    assert S.tolist() == td.sample_paths(step, 30, 12, initial_weights=start, rng=1).tolist()


def test_paths_of_any_length_share_their_beginning(backend: str) -> None:
    S = np.random.default_rng(5).integers(0, 4, (30, 20))
    model = td.MarkovChain(homogeneous=True, order=2, alpha=1).fit(S)
    long = model.sample(20, length=30, rng=3)
    for length in (0, 1, 2, 3, 17):
        assert model.sample(20, length=length, rng=3).tolist() == long[:, :length].tolist()
    with pytest.raises(TypeError, match="length="):
        model.sample(3)
    with pytest.raises(ValueError, match="length"):
        model.sample(3, length=-1)


def test_a_state_never_left_and_a_state_never_seen(backend: str) -> None:
    model = td.MarkovChain(homogeneous=True, n_categories=4).fit([[0, 1, 2], [0, 2]])
    assert model.counts_[1][2].tolist() == [0, 0, 0, 0]
    assert model.probabilities_[1][2].tolist() == [0.25] * 4
    assert model.probabilities_[1][3].tolist() == [0.25] * 4
    assert model.n_parameters == 3 + 4 * 3
    assert set(model.sample(100, length=3, rng=1)[:, 2].tolist()) == {0, 1, 2, 3}
    with pytest.raises(ValueError, match=r"X\[1\]\[2\] is 4, but there are 4 states .* n_categories .* or set unseen="):
        model.fit([[0], [0, 1, 4]])
    assert model.counts_[1].sum() == 3


def test_missing_states(backend: str) -> None:
    model = td.MarkovChain(homogeneous=True, missing=7, unseen="missing", n_categories=2)
    model.fit([[0, 7, 1, 1], [1, 9, 0], [-1, 0, 1]])
    assert [t.tolist() for t in model.counts_] == [[1, 1], [[0, 1], [0, 1]]]
    inferred = td.MarkovChain(homogeneous=True, missing=7).fit([[0, 7, 1, 1], [1, 2, 0]])
    assert inferred.counts_[0].tolist() == [1, 1, 0]
    chain = td.MarkovChain.from_probabilities([[0.5, 0.5], [[0.25, 0.75], [1, 0]]], homogeneous=True)
    np.testing.assert_allclose(np.exp(chain.log_prob([[0, -1, 0]])), [0.5 * (0.0625 + 0.75)], rtol=1e-14)
    second = td.MarkovChain(homogeneous=True, order=2, alpha=1).fit([[0, 1, 1, 0]])
    with pytest.raises(ValueError, match="missing state"):
        second.log_prob([[0, 1, -1]])


def test_homogeneous_chains_have_no_features() -> None:
    model = td.MarkovChain(homogeneous=True).fit([[0, 1]])
    assert not hasattr(model, "n_features_in_")
    with pytest.raises(ValueError, match="no state"):
        td.MarkovChain(homogeneous=True).fit([[-1]])
    with pytest.raises(TypeError, match="n_categories"):
        td.MarkovChain(homogeneous=True, n_categories=[2, 2]).fit([[0, 1]])
    with pytest.raises(ValueError, match="order 2 has 3 tables"):
        td.MarkovChain.from_probabilities([[0.5, 0.5], [[0.5, 0.5], [1, 0]]], homogeneous=True, order=2)
    with pytest.raises(ValueError, match="one label a row"):
        model.fit([[0, 1], [1]], [0])


def test_a_sequence_longer_than_a_block(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    S = np.random.default_rng(6).integers(-1, 3, (5, 400))
    y, w = [0, 1, 0, 1, 1], [0.5, 1, 2, 4, 8]
    expected = td.MarkovChain(homogeneous=True, order=2).fit(S, y)
    weighted = td.MarkovChain(homogeneous=True, order=2).fit(S, y, sample_weight=w)
    monkeypatch.setattr(td.backend, "BLOCK_WORK", 64)
    assert td.MarkovChain(homogeneous=True, order=2).fit(S, y).counts_ == expected.counts_
    again = td.MarkovChain(homogeneous=True, order=2).fit(list(S), y, sample_weight=w)
    assert again.counts_ == weighted.counts_


def test_a_large_unsigned_state_is_not_missing(backend):
    S = np.array([[3, 2**64 - 5, 1, 0, 1]], np.uint64)
    chain = td.MarkovChain(homogeneous=True, missing=3, n_categories=2)
    with pytest.raises(ValueError, match=r"X\[0, 1\] is 18446744073709551611"):
        chain.fit(S)
