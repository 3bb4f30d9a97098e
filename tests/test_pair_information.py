"""Pair information and the forests made of it: kernels of both backends, equal to the reference in every bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tallydraw._pair_information import pair_information
from tallydraw.models._spanning import information_forest, spanning_forest


@st.composite
def tasks(draw):
    """Pair counts, integer or weighted, and pseudocounts: few rows and many, dependent and not, cells missing."""
    d = draw(st.integers(1, 6) | st.just(21))
    n = draw(st.integers(0, 40) | st.sampled_from([500, 100_000]))
    most = draw(st.sampled_from([1, 2, 2, 3, 9]))
    g = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_categories = g.integers(1 if draw(st.booleans()) else most, most + 1, d)
    X = np.stack([g.integers(0, c, n) for c in n_categories], axis=1)
    for j in range(1, d):
        copied = g.random(n) < draw(st.sampled_from([0.0, 0.01, 0.9, 1.0]))
        X[copied, j] = X[copied, g.integers(0, j)] % n_categories[j]
    if draw(st.booleans()):
        X[g.random(X.shape) < draw(st.sampled_from([0.1, 0.9]))] = -1
    n_classes = draw(st.none() | st.integers(1, 4))
    y = None if n_classes is None else g.integers(0, draw(st.integers(1, n_classes)), n)
    weights = g.exponential(size=n) * 10.0 ** g.integers(-8, 8, n) if draw(st.booleans()) else None
    pairs = td.count_pairs(X, y=y, n_categories=n_categories, n_classes=n_classes, sample_weight=weights)
    more = draw(st.sampled_from([np.zeros(d), np.ones(d), g.random(d)]))
    return pairs, more, draw(st.sampled_from([1, 2, 7]))


def nested(pairs: td.PairTables, i: int, j: int) -> list:
    table = pairs[i, j]
    return (table if pairs.n_classes is not None else table[None]).tolist()


@given(task=tasks())
@settings(max_examples=60, deadline=None)
def check_against_reference(task):
    pairs, more, threads = task
    seen = np.empty(len(pairs.offsets) - 1)
    found = pair_information(pairs, pseudocounts=more, seen=seen, n_threads=threads)
    expected = [
        reference.pair_information(nested(pairs, i, j), min(more[i], more[j]))
        for i, j in itertools.combinations(range(len(pairs)), 2)
    ]
    assert list(zip(seen.tolist(), found.tolist(), strict=True)) == expected


def test_information_of_pairs_equals_the_reference(backend: str) -> None:
    check_against_reference()


@pytest.fixture
def wide_pairs() -> td.PairTables:
    """Of many categories, some more than fit side by side, between features of few."""
    g = np.random.default_rng(8)
    X = np.stack([g.integers(0, c, 3000) for c in (2, 90, 3, 70, 2, 60, 3, 2)], axis=1)
    X[:, 3] = X[:, 1] % 70
    return td.count_pairs(X)


def test_large_tables_beside_small_ones(wide_pairs: td.PairTables, backend: str) -> None:
    found = pair_information(wide_pairs)
    for value, (i, j) in zip(found, itertools.combinations(range(8), 2), strict=True):
        assert value == reference.pair_information(nested(wide_pairs, i, j), 0.0)[1]


def test_every_instruction_set_has_the_same_bits(wide_pairs: td.PairTables) -> None:
    before, isa = td.backend.active(), td.backend.instruction_set()
    found = []
    for name in td.backend.available():
        td.backend.use(name)
        for isa_name in td.backend.instruction_sets():
            td.backend.use(name, instruction_set=isa_name)
            found += [pair_information(wide_pairs, n_threads=threads).tobytes() for threads in (1, 2, 7)]
    td.backend.use(before, instruction_set=isa)
    assert len(set(found)) == 1


@given(d=st.integers(1, 30), seed=st.integers(0, 2**32 - 1), levels=st.sampled_from([1, 3, 1000]))
@settings(max_examples=60, deadline=None)
def check_forest(d: int, seed: int, levels: int) -> None:
    g = np.random.default_rng(seed)
    gain: NDArray[np.float64] = g.integers(-1, levels, (d, d)).astype(float)
    gain = np.triu(gain, 1) + np.triu(gain, 1).T
    gain[gain < 0] = -np.inf
    root = int(g.integers(d))
    found = spanning_forest(gain[np.triu_indices(d, 1)], d, root)
    assert found.tolist() == reference.spanning_forest(gain.tolist(), root)


def test_the_forest_equals_the_reference(backend: str) -> None:
    check_forest()


@st.composite
def binary_tasks(draw):
    """Pair counts of binary features, integer or weighted: ties, copies, margins of zeros, pairs never seen."""
    d = draw(st.integers(1, 40))
    n = draw(st.sampled_from([0, 1, 3, 10, 50, 3000]))
    g = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = (g.random((n, d)) < g.choice([0.01, 0.3, 0.5], d)).astype(np.int8)
    for j in range(1, d):
        copied = g.random(n) < draw(st.sampled_from([0.0, 0.1, 0.7, 0.99, 1.0]))
        X[copied, j] = X[copied, g.integers(0, j)] ^ g.integers(0, 2)
    X[:, g.random(d) < draw(st.sampled_from([0.0, 0.2]))] = g.integers(0, 2)
    X[g.random(X.shape) < draw(st.sampled_from([0.0, 0.1, 0.9]))] = -1
    weights = g.exponential(size=n) * 10.0 ** g.integers(-200, 200, n) if draw(st.booleans()) else None
    pairs = td.count_pairs(X, n_categories=2, sample_weight=weights)
    more = draw(st.sampled_from([None, np.ones(d), np.full(d, 1e-9), g.random(d)]))
    return pairs, more, draw(st.integers(0, d - 1)), draw(st.sampled_from([1, 2, 7]))


@given(task=binary_tasks())
@settings(max_examples=150, deadline=None)
def check_information_forest(task):
    pairs, more, root, threads = task
    found = information_forest(pairs, root, pseudocounts=more, n_threads=threads)
    information = pair_information(pairs, pseudocounts=more, n_threads=threads)
    assert found.tolist() == spanning_forest(information, len(pairs), root).tolist()


def test_the_forest_of_information_is_that_of_all_of_it(backend: str) -> None:
    check_information_forest()


def test_the_forest_of_many_features_asks_for_many_pairs_at_once(backend: str) -> None:
    X = np.random.default_rng(4).integers(0, 2, (40, 333), dtype=np.uint8)
    X[:, 200:] = X[:, :133]
    pairs = td.count_pairs(X, n_categories=2)
    expected = spanning_forest(pair_information(pairs), 333, 300).tolist()
    for threads in (1, 2):
        assert information_forest(pairs, 300, n_threads=threads).tolist() == expected


def test_the_forest_of_information_on_every_instruction_set() -> None:
    before, isa = td.backend.active(), td.backend.instruction_set()
    for isa_name in td.backend.instruction_sets():
        td.backend.use(before, instruction_set=isa_name)
        check_information_forest()
    td.backend.use(before, instruction_set=isa)
