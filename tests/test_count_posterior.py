"""count_posterior: a step of EM equal to exact sums, on every instruction set, for any groups and threads."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import random_rows
from tallydraw._structure import make_structure
from tallydraw.models._products import MOST_HALVINGS, _grid, halvings_of

GRID = 1.5 * 2.0 ** (52 - 38)


class Problem(NamedTuple):
    X: Any  # -1 is missing
    theta: Any  # [j] (K, C_j)
    prior: Any
    shares: Any
    weights: Any


def problem(
    rng: np.random.Generator, n: int, sizes: list[int], k: int, impossible: float, missing: float, spread: float = 4.0
) -> Problem:
    """Probabilities are about e^-spread of each other, none below 2^-128, the least that products are made of."""
    X = random_rows(rng, sizes, n, missing)
    theta = [np.maximum(np.exp(-spread * rng.exponential(size=(k, c))), 2.0**-MOST_HALVINGS) for c in sizes]
    for table in theta:
        table[rng.random(table.shape) < impossible] = 0.0
    return Problem(X, theta, rng.dirichlet(np.ones(k)), rng.dirichlet(np.ones(k), n), rng.exponential(size=n))


def groups_of(n_codes: Any, most: int) -> Any:
    begins, product = [0], int(n_codes[0])
    for j in range(1, len(n_codes)):
        product *= int(n_codes[j])
        if product > most:
            begins.append(j)
            product = int(n_codes[j])
    return np.array([*begins, len(n_codes)], np.int64)


def groups_and_codes(p: Problem, most: int) -> tuple[Any, Any, Any]:
    sizes = np.array([table.shape[1] for table in p.theta])
    n_codes = sizes + (p.X < 0).any(axis=0)
    return sizes, n_codes, groups_of(n_codes, most)


def kernel(
    p: Problem, most: int, shared: bool, weighted: bool, threads: int, counted: bool = True
) -> tuple[Any, Any, Any]:
    """(n,) log evidence, (K,) mass and [j] (K, C_j) counts, which the kernel adds to ones."""
    k, kernels = len(p.prior), td.backend.kernels()
    sizes, n_codes, groups = groups_and_codes(p, most)
    structure = make_structure(sizes, None, k)
    codes = np.empty((len(p.X), len(groups) - 1), np.uint8)
    kernels.group_codes(p.X, None, False, structure, groups, n_codes, codes, threads)
    theta = np.concatenate([table.reshape(-1) for table in p.theta])
    evidence, mass, flat = np.full(len(p.X), 7.0), np.ones(k), np.ones(len(theta))
    weights = p.weights if weighted else None
    if shared:
        kernels.count_shares(codes, structure, groups, n_codes, p.shares, weights, GRID, mass, flat, threads)
    else:
        halvings = halvings_of(theta, p.prior)
        assert halvings <= MOST_HALVINGS
        kernels.count_posterior(
            codes, structure, groups, n_codes, theta, p.prior, halvings, weights, GRID, evidence, mass,
            flat if counted else None, threads,
        )  # fmt: skip
    o = structure.offsets
    return evidence, mass - 1.0, [flat[o[j] : o[j + 1]].reshape(k, -1) - 1.0 for j in range(len(sizes))]


@given(
    n=st.integers(0, 40) | st.just(300),
    sizes=st.lists(st.integers(1, 5) | st.sampled_from([16, 64, 255]), min_size=1, max_size=6)
    | st.integers(1, 300).map(lambda d: [2] * d),
    k=st.integers(1, 18) | st.sampled_from([20, 23, 24, 31, 37, 1020, 1030]),
    impossible=st.sampled_from([0.0, 0.3, 0.9]),
    missing=st.sampled_from([0.0, 0.2]),
    spread=st.sampled_from([1.0, 10.0, 50.0]),
    most=st.sampled_from([1, 30, 64]),
    shared=st.booleans(),
    weighted=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=30, deadline=None)
def check_against_reference(
    n: int, sizes: list[int], k: int, impossible: float, missing: float, spread: float, most: int, shared: bool,
    weighted: bool, seed: int,
) -> None:  # fmt: skip
    few = n * k * len(sizes) > 50_000
    p = problem(np.random.default_rng(seed), min(n, 3) if few else n, sizes, k, impossible, missing, spread)
    theta, weights = [t.tolist() for t in p.theta], p.weights.tolist() if weighted else [1.0] * len(p.X)
    begins, shares = groups_and_codes(p, most)[2].tolist(), p.shares.tolist() if shared else None
    evidence, mass, counts = reference.count_posterior(
        p.X.tolist(), theta, p.prior.tolist(), begins, shares, weights, GRID
    )
    for threads in (1, 2, 7):
        got, sums, tables = kernel(p, most, shared, weighted, threads)
        assert shared or got.tolist() == evidence
        assert sums.tolist() == list(map(float, mass))
        assert [c.tolist() for c in tables] == [[list(map(float, own)) for own in table] for table in counts]


def test_equals_the_reference_on_every_instruction_set(backend: str) -> None:
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        check_against_reference()


def test_evidence_alone_counts_nothing(backend: str) -> None:
    p = problem(np.random.default_rng(0), 300, [3, 2, 5], 20, 0.1, 0.1)
    alone, mass, counts = kernel(p, 64, False, True, 2, counted=False)
    assert alone.tolist() == kernel(p, 64, False, True, 2)[0].tolist()
    assert not mass.any()
    assert not any(table.any() for table in counts)


@pytest.mark.parametrize(("d", "spread"), [(3, 1.0), (40, 5.0), (400, 5.0), (3000, 1.0), (60, 90.0)])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_is_near_posteriors_from_logs(k: int, d: int, spread: float, backend: str) -> None:
    p = problem(np.random.default_rng(k), 50, [4, 2, 7][: min(d, 3)] + [2] * (d - 3), k, 0.0, 0.1, spread)
    evidence, _, counts = kernel(p, 64, False, False, 2)
    seen = [np.where(p.X[:, j, None] >= 0, np.log(table).T[p.X[:, j]], 0.0) for j, table in enumerate(p.theta)]
    terms = np.stack([np.broadcast_to(np.log(p.prior), (50, k)), *seen])
    scores = np.apply_along_axis(math.fsum, 0, terms)
    whole = np.logaddexp.reduce(scores, axis=1)
    assert evidence == pytest.approx(whole, rel=1e-14, abs=1e-12)
    for j, table in enumerate(counts):
        at = p.X[:, j] >= 0
        shares = np.exp(scores - whole[:, None])[at]
        sums = [np.bincount(p.X[at, j], share, table.shape[1]) for share in shares.T]
        assert table == pytest.approx(np.array(sums), abs=50 * 2.0**-38)


def test_a_class_that_is_behind_may_win_in_the_end(backend: str) -> None:
    """What would underflow on the way is kept, where every class underflows."""
    low = 2.0**-100
    ahead, behind = [[1.0, low]], [[low, 1.0]]
    theta = [np.array([ahead[0], behind[0]]).T] * 30 + [np.array([behind[0], ahead[0]]).T] * 30
    p = Problem(np.zeros((1, 60), np.int64), theta, np.array([0.25, 0.75]), None, np.ones(1))
    evidence, mass, _ = kernel(p, 64, False, False, 1)
    assert mass.tolist() == [0.25, 0.75]
    assert evidence == pytest.approx([-3000 * math.log(2)], rel=1e-15)


def test_impossible_rows_have_the_prior(backend: str) -> None:
    theta = [np.array([[1.0, 0.0], [0.0, 0.0]])]
    X, prior = np.array([[1], [0], [1]]), np.array([0.25, 0.75])
    p = Problem(X, theta, prior, None, np.array([1.0, 2.0, 3.0]))
    evidence, mass, counts = kernel(p, 64, False, True, 1)
    assert evidence.tolist() == [-math.inf, reference.log(0.25), -math.inf]
    assert mass.tolist() == [3.0, 3.0]
    assert counts[0].tolist() == [[2.0, 1.0], [0.0, 3.0]]


@given(st.floats(2.0**-900, 2.0**900), st.floats(-1.0, 1.0))
def test_units_are_small_and_no_sum_has_too_many_of_them(most: float, share: float) -> None:
    grid = _grid(most)
    unit = math.ulp(grid)
    assert most < 2.0**51 * unit <= 2.0 * most
    rounded = (share * most + grid) - grid
    assert Fraction(rounded) % Fraction(unit) == 0
    assert abs(Fraction(rounded) - Fraction(share * most)) <= Fraction(unit) / 2
