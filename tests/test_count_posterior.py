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
from tallydraw._structure import make_structure
from tallydraw.models._products import _grid

UNIT = 2.0**-30  # of logs: their sums are exact
GRID = 1.5 * 2.0 ** (52 - 38)


class Problem(NamedTuple):
    X: Any  # -1 is missing
    logs: Any  # [j] (K, C_j)
    first: Any
    prior: Any
    shares: Any
    weights: Any


def problem(rng: np.random.Generator, n: int, sizes: list[int], k: int, impossible: float, missing: float) -> Problem:
    X = np.stack([rng.integers(0, c, n) for c in sizes], axis=1)
    X[rng.random(X.shape) < missing] = -1
    logs = [np.round(rng.normal(-3, 4, (k, c)) / UNIT) * UNIT for c in sizes]
    for table in logs:
        table[rng.random(table.shape) < impossible] = -math.inf
    first = np.round(rng.normal(-2, 1, k) / UNIT) * UNIT
    return Problem(X, logs, first, rng.dirichlet(np.ones(k)), rng.dirichlet(np.ones(k), n), rng.exponential(size=n))


def groups_of(n_codes: Any, most: int) -> Any:
    begins, product = [0], int(n_codes[0])
    for j in range(1, len(n_codes)):
        product *= int(n_codes[j])
        if product > most:
            begins.append(j)
            product = int(n_codes[j])
    return np.array([*begins, len(n_codes)], np.int64)


def kernel(p: Problem, most: int, shared: bool, weighted: bool, threads: int) -> tuple[Any, Any]:
    """(n,) log evidence and [j] (K, C_j) counts, which the kernel adds to a one in every lane."""
    k, kernels = len(p.first), td.backend.kernels()
    sizes = np.array([table.shape[1] for table in p.logs])
    n_codes = sizes + (p.X < 0).any(axis=0)
    groups, structure = groups_of(n_codes, most), make_structure(sizes, None, k)
    codes = np.empty((len(p.X), len(groups) - 1), np.uint8)
    kernels.group_codes(p.X, None, False, structure, groups, n_codes, codes, threads)
    offsets = structure.lane_offsets()
    lanes, sums = np.zeros(offsets[-1]), np.ones(offsets[-1])
    for j, table in enumerate(p.logs):
        rows = table.shape[1] + 1
        for c in range(0, k, 8):
            part = table[c : c + 8].T
            width = 8 if part.shape[1] > 4 else 4 if part.shape[1] > 2 else part.shape[1]
            place = lanes[offsets[j] + c * rows :][: len(part) * width].reshape(len(part), width)
            place[:, : part.shape[1]] = part
    evidence, flat = np.full(len(p.X), 7.0), np.empty(structure.offsets[-1])
    kernels.count_posterior(
        codes, structure, groups, n_codes, lanes, offsets, p.first, p.prior, p.shares if shared else None,
        p.weights if weighted else None, GRID, evidence, sums, threads,
    )  # fmt: skip
    kernels.collect_lanes(structure, sums, offsets, flat)
    o = structure.offsets
    return evidence, [flat[o[j] : o[j + 1]].reshape(k, -1) - 1.0 for j in range(len(sizes))]


@given(
    n=st.integers(0, 40) | st.just(300),
    sizes=st.lists(st.integers(1, 5) | st.sampled_from([16, 64, 255]), min_size=1, max_size=6),
    k=st.integers(1, 18) | st.sampled_from([20, 23, 24, 31, 37, 1020, 1030]),
    impossible=st.sampled_from([0.0, 0.3, 0.9]),
    missing=st.sampled_from([0.0, 0.2]),
    most=st.sampled_from([1, 30, 256]),
    shared=st.booleans(),
    weighted=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=30, deadline=None)
def check_against_reference(
    n: int, sizes: list[int], k: int, impossible: float, missing: float, most: int, shared: bool, weighted: bool,
    seed: int,
) -> None:  # fmt: skip
    p = problem(np.random.default_rng(seed), min(n, 40) if k > 40 else n, sizes, k, impossible, missing)
    logs, weights = [t.tolist() for t in p.logs], p.weights.tolist() if weighted else [1.0] * len(p.X)
    evidence, counts = reference.count_posterior(
        p.X.tolist(), logs, p.first.tolist(), p.prior.tolist(), p.shares.tolist() if shared else None, weights, GRID
    )
    for threads in (1, 2, 7):
        got, sums = kernel(p, most, shared, weighted, threads)
        assert shared or got.tolist() == evidence
        assert [c.tolist() for c in sums] == [[list(map(float, own)) for own in table] for table in counts]


def test_equals_the_reference_on_every_instruction_set(backend: str) -> None:
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        check_against_reference()


def test_the_exps_are_near_those_of_the_library() -> None:
    for x in np.random.default_rng(0).uniform(-44, 0, 20_000).tolist():
        assert abs(reference.exp_below(x) / reference.exp(x) - 1.0) < 2.0**-47
    assert reference.exp_below(0.0) == 1.0
    assert reference.exp_below(-math.inf) == reference.exp_below(-44.0) < 2.0**-63


@pytest.mark.parametrize("k", [1, 3, 20])
def test_is_near_posteriors_that_are_not_rounded(k: int, backend: str) -> None:
    p = problem(np.random.default_rng(k), 500, [4, 7, 2], k, 0.0, 0.0)
    evidence, counts = kernel(p, 64, False, False, 2)
    scores = p.first + sum(table.T[p.X[:, j]] for j, table in enumerate(p.logs))
    whole = np.logaddexp.reduce(scores, axis=1)
    assert evidence == pytest.approx(whole, abs=1e-12)
    for j, table in enumerate(counts):
        sums = [np.bincount(p.X[:, j], share, table.shape[1]) for share in np.exp(scores - whole[:, None]).T]
        assert table == pytest.approx(np.array(sums), abs=500 * 2.0**-38)


def test_impossible_rows_have_the_prior(backend: str) -> None:
    logs = [np.array([[0.0, -math.inf], [-math.inf, -math.inf]])]
    X, prior = np.array([[1], [0], [1]]), np.array([0.25, 0.75])
    p = Problem(X, logs, np.array([-0.5, 0.0]), prior, None, np.array([1.0, 2.0, 3.0]))
    evidence, counts = kernel(p, 64, False, True, 1)
    assert evidence.tolist() == [-math.inf, -0.5, -math.inf]
    assert counts[0].tolist() == [[2.0, 1.0], [0.0, 3.0]]


@given(st.floats(2.0**-900, 2.0**900), st.floats(-1.0, 1.0))
def test_units_are_small_and_no_sum_has_too_many_of_them(most: float, share: float) -> None:
    grid = _grid(most)
    unit = math.ulp(grid)
    assert most < 2.0**51 * unit <= 2.0 * most
    rounded = (share * most + grid) - grid
    assert Fraction(rounded) % Fraction(unit) == 0
    assert abs(Fraction(rounded) - Fraction(share * most)) <= Fraction(unit) / 2
