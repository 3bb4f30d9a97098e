"""Entropy and divergence on trees: exact for any two structures, and infinite exactly where they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from tallydraw.models._divergence import tree_entropy, tree_kl_divergence


def random_tables(rng: np.random.Generator, sizes: list[int], parents: list[int] | None, zeros: float) -> td.Tables:
    tables = []
    for j, c in enumerate(sizes):
        shape = (c,) if parents is None or parents[j] < 0 else (sizes[parents[j]], c)
        weights = rng.random(shape) * (rng.random(shape) >= zeros)
        weights[..., rng.integers(c)] += 0.25
        tables.append(weights / weights.sum(axis=-1, keepdims=True))
    return td.Tables.from_arrays(tables, parents=parents)


def random_parents(rng: np.random.Generator, d: int) -> list[int]:
    """A forest whose parents stand anywhere."""
    order, parents = rng.permutation(d), [-1] * d
    for place in range(1, d):
        if rng.random() < 0.8:
            parents[order[place]] = int(order[rng.integers(place)])
    return parents


def enumerated(tables: td.Tables) -> np.ndarray:
    """p of every combination, by plain loops."""
    sizes, p = tables.n_categories.tolist(), []
    for row in np.ndindex(*sizes):
        factor = 1.0
        for j, c in enumerate(row):
            parent = -1 if tables.parents is None else int(tables.parents[j])
            factor *= tables[j][c] if parent < 0 else tables[j][row[parent], c]
        p.append(factor)
    return np.array(p)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    kinds=st.tuples(st.booleans(), st.booleans()),
    zeros=st.sampled_from([0.0, 0.0, 0.2]),
)
def test_any_two_trees(seed: int, sizes: list[int], kinds: tuple[bool, bool], zeros: float) -> None:
    rng = np.random.default_rng(seed)
    p, q = (random_tables(rng, sizes, random_parents(rng, len(sizes)) if tree else None, zeros) for tree in kinds)
    exact_p, exact_q = enumerated(p), enumerated(q)
    there = exact_p > 0
    assert tree_entropy(p) == pytest.approx(-(exact_p[there] * np.log(exact_p[there])).sum(), rel=1e-12, abs=1e-12)
    found = tree_kl_divergence(p, q)
    assert found is not None
    if np.any(there & (exact_q == 0)):
        assert found == math.inf
    else:
        expected = (exact_p[there] * np.log(exact_p[there] / exact_q[there])).sum()
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert tree_kl_divergence(p, p) == 0


def test_models_of_different_structure(backend: str) -> None:
    rng = np.random.default_rng(6)
    X = rng.integers(0, [2, 3, 4], (50, 3))
    every = np.indices([2, 3, 4]).reshape(3, -1).T
    models = [
        td.NaiveBayes(alpha=1).fit(X),
        td.MarkovChain(alpha=1).fit(X),
        td.MarkovChain(alpha=1, order=2).fit(X),
        td.JointTable(alpha=1).fit(X),
        td.ChowLiuTree(alpha=1, root=2).fit(X),
        td.NaiveBayes(alpha=1).fit(X, X[:, 0]),
        td.ChowLiuTree(alpha=1, shared=False).fit(X, X[:, 0]),
    ]
    for p in models:
        for q in models:
            log_p, log_q = p.log_prob(every), q.log_prob(every)
            expected = (np.exp(log_p) * (log_p - log_q)).sum()
            assert p.kl_divergence(q) == pytest.approx(expected, rel=1e-10, abs=1e-14)


def test_many_features_need_no_enumeration(backend: str) -> None:
    rng = np.random.default_rng(2)
    X = rng.integers(0, 3, (200, 300))
    models = [kind(alpha=1).fit(X) for kind in (td.NaiveBayes, td.MarkovChain, td.ChowLiuTree)]
    for p in models:
        for q in models:
            if p is not q:
                assert p.kl_divergence(q) == pytest.approx(_mean_difference(p, q), rel=0.02)


def _mean_difference(p: Any, q: Any) -> float:
    rows = p.sample(20_000, rng=9)
    return td.kl_divergence_estimate(p.log_prob(rows), q.log_prob(rows))[0]


def test_infinite_however_small_the_probability(backend: str) -> None:
    step = np.array([[1 - 1e-200, 1e-200, 0], [0, 1 - 1e-200, 1e-200], [0, 0, 1]])
    # Only 1e-200 ** 2, no float64, leads to the last state.
    start = np.array([1.0, 0.0, 0.0])
    p = td.MarkovChain.from_probabilities([start, step, step])
    uniform = [np.full(3, 1 / 3)] * 2
    assert p.kl_divergence(td.NaiveBayes.from_probabilities([*uniform, [0.5, 0.5, 0]])) == math.inf
    assert p.kl_divergence(td.NaiveBayes.from_probabilities([*uniform, [0.25, 0.25, 0.5]])) < math.inf
    two = td.MarkovChain.from_probabilities([start, step, np.broadcast_to(step, (3, 3, 3))], order=2)
    none = np.where(np.arange(3) == 2, 0.0, 0.5)
    other = td.MarkovChain.from_probabilities(
        [uniform[0], np.tile(uniform[0], (3, 1)), np.tile(none, (3, 3, 1))], order=2
    )
    assert two.kl_divergence(other) == math.inf
    # What p never reaches q may forbid.
    stay = td.MarkovChain.from_probabilities([start, np.eye(3), np.eye(3)])
    assert stay.kl_divergence(td.NaiveBayes.from_probabilities([[1, 0, 0]] * 3)) == 0


def test_the_same_bits_on_both_backends() -> None:
    rng = np.random.default_rng(3)
    p, q = (random_tables(rng, [3, 4, 2, 5, 3], random_parents(rng, 5), 0.0) for _ in range(2))
    before, found = td.backend.active(), set()
    for name in td.backend.available():
        td.backend.use(name)
        found.add((tree_entropy(p), tree_kl_divergence(p, q)))
    td.backend.use(before)
    assert len(found) == 1


def test_sequences_have_neither() -> None:
    """p of a sequence depends on its length, under a mixture of chains as well; whichever of the two is asked."""
    pairs, places = [[0, 1], [1, 1], [1, 0]], td.NaiveBayes(alpha=1)
    chain = td.MarkovChain(homogeneous=True, alpha=1).fit(pairs)
    for model in (chain, td.Mixture(td.MarkovChain(homogeneous=True, alpha=1), 2).fit(pairs, rng=1)):
        with pytest.raises(ValueError, match="entropy of a homogeneous MarkovChain depends on the length"):
            model.entropy()
        for first, second in ((model, chain), (chain, model), (model, places.fit(pairs)), (places, model)):
            with pytest.raises(ValueError, match="kl_divergence of a homogeneous MarkovChain depends on the length"):
                first.kl_divergence(second)
