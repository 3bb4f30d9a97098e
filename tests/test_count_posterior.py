"""count_posterior: a step of EM equal to exact sums, on every instruction set, for any threads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from tallydraw._structure import make_structure

UNIT = 2.0**-30  # of logs: their sums are exact


def kernel(codes: Any, logs: Any, first: Any, prior: Any, weights: Any, grid: float, threads: int) -> tuple[Any, Any]:
    """(n,) log evidence and [j] (K, C_j) counts, which the kernel adds to a one in every lane."""
    k = len(first)
    structure = make_structure(np.array([table.shape[1] for table in logs]), None, k)
    offsets = structure.lane_offsets()
    lanes, sums = np.zeros(offsets[-1]), np.ones(offsets[-1])
    evidence, flat = np.full(len(codes), 7.0), np.empty(structure.offsets[-1])
    for j, table in enumerate(logs):
        rows = table.shape[1] + 1
        for c in range(0, k, 8):
            part = table[c : c + 8].T
            width = 8 if part.shape[1] > 4 else 4 if part.shape[1] > 2 else part.shape[1]
            place = lanes[offsets[j] + c * rows :][: len(part) * width].reshape(len(part), width)
            place[:, : part.shape[1]] = part
    kernels = td.backend.kernels()
    kernels.count_posterior(
        codes, structure, lanes, offsets, first, prior, weights, grid, evidence, sums, threads
    )  # fmt: skip
    kernels.collect_lanes(structure, sums, offsets, flat)
    parts = [flat[a:b].reshape(k, -1) - 1.0 for a, b in zip(structure.offsets, structure.offsets[1:], strict=False)]
    return evidence, parts


def problem(rng: np.random.Generator, n: int, sizes: list[int], k: int, impossible: float) -> tuple[Any, ...]:
    codes = np.stack([rng.integers(0, c, n) for c in sizes], axis=1).astype(np.uint8)
    logs = [np.round(rng.normal(-3, 4, (k, c)) / UNIT) * UNIT for c in sizes]
    for table in logs:
        table[rng.random(table.shape) < impossible] = -math.inf
    return codes, logs, np.round(rng.normal(-2, 1, k) / UNIT) * UNIT, rng.dirichlet(np.ones(k))


@given(
    n=st.integers(0, 40) | st.just(2100),
    sizes=st.lists(st.integers(1, 5) | st.sampled_from([16, 64, 255]), min_size=1, max_size=5),
    k=st.integers(1, 18) | st.sampled_from([20, 23, 24, 31, 37, 1030]),
    impossible=st.sampled_from([0.0, 0.3, 0.9]),
    weighted=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def check_against_reference(n: int, sizes: list[int], k: int, impossible: float, weighted: bool, seed: int) -> None:
    n = min(n, 40) if k > 40 else n
    rng = np.random.default_rng(seed)
    codes, logs, first, prior = problem(rng, n, sizes, k, impossible)
    weights = rng.exponential(size=n) if weighted else None
    grid = 1.5 * 2.0 ** (52 - 38)
    expected = reference.count_posterior(
        codes.tolist(), [t.tolist() for t in logs], first.tolist(), prior.tolist(),
        [1.0] * n if weights is None else weights.tolist(), grid,
    )  # fmt: skip
    for threads in (1, 2, 7):
        evidence, counts = kernel(codes, logs, first, prior, weights, grid, threads)
        assert evidence.tolist() == expected[0]
        assert [c.tolist() for c in counts] == [[list(map(float, own)) for own in table] for table in expected[1]]


def test_equals_the_reference_on_every_instruction_set(backend: str) -> None:
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        check_against_reference()


@pytest.mark.parametrize("k", [1, 3, 20])
def test_is_near_posteriors_that_are_not_rounded(k: int, backend: str) -> None:
    codes, logs, first, prior = problem(np.random.default_rng(k), 500, [4, 7, 2], k, 0.0)
    evidence, counts = kernel(codes, logs, first, prior, None, 1.5 * 2.0**14, 2)
    scores = first + sum(table.T[codes[:, j]] for j, table in enumerate(logs))
    whole = np.logaddexp.reduce(scores, axis=1)
    assert evidence == pytest.approx(whole, abs=1e-12)
    for j, table in enumerate(counts):
        sums = [np.bincount(codes[:, j], share, table.shape[1]) for share in np.exp(scores - whole[:, None]).T]
        assert table == pytest.approx(np.array(sums), abs=500 * 2.0**-38)


def test_impossible_rows_have_the_prior(backend: str) -> None:
    logs = [np.array([[0.0, -math.inf], [-math.inf, -math.inf]])]
    prior = np.array([0.25, 0.75])
    codes = np.array([[1], [0], [1]], np.uint8)
    evidence, counts = kernel(codes, logs, np.array([-0.5, 0.0]), prior, np.array([1.0, 2.0, 3.0]), 1.5 * 2.0**14, 1)
    assert evidence.tolist() == [-math.inf, -0.5, -math.inf]
    assert counts[0].tolist() == [[2.0, 1.0], [0.0, 3.0]]
