"""Log evidence, posteriors and log posteriors of rows of log joint probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

INF = math.inf
LOGS = st.one_of(st.floats(-800, 10), st.just(-INF), st.floats(-5, 0), st.floats(-1e300, 1e3))
ROWS = st.integers(1, 12).flatmap(lambda k: st.lists(st.lists(LOGS, min_size=k, max_size=k), min_size=0, max_size=9))


@pytest.fixture
def every_set(backend: str) -> Iterator[list[str]]:
    yield td.backend.instruction_sets()
    td.backend.use(backend)


def run(x: NDArray, prior: NDArray, threads: int) -> tuple[NDArray, NDArray, NDArray]:
    """(log evidence, posterior, log posterior) of one call each."""
    kernels = td.backend.kernels()
    evidence, p, log_p = np.full(len(x), 7.0), np.full(x.shape, 7.0), np.full(x.shape, 7.0)
    kernels.log_sum_exp(x, evidence, threads)
    both, logs = np.empty(x.shape), np.full(len(x), 7.0)
    kernels.posterior(x, prior, None, p, threads)
    kernels.posterior(x, prior, logs, both, threads)
    assert (both == p).all()
    assert (logs == evidence).all()
    log_prior = np.array([reference.log(v) for v in prior.tolist()])
    kernels.log_posterior(x, log_prior, log_p, threads)
    return evidence, p, log_p


def expected(x: NDArray, prior: NDArray) -> tuple[list, list, list]:
    log_prior = [reference.log(v) for v in prior.tolist()]
    rows = x.tolist()
    return (
        [reference.log_sum_exp(row) for row in rows],
        [reference.posterior(row, prior.tolist()) for row in rows],
        [reference.log_posterior(row, log_prior) for row in rows],
    )


def uneven_prior(k: int) -> NDArray:
    weights = np.arange(k, dtype=float)  # the first class is impossible where there are more
    return weights / weights.sum() if k > 1 else np.ones(1)


def log_joint(n: int, k: int) -> NDArray:
    g = np.random.default_rng(n * 1000 + k)
    x = g.normal(-50, 30, (n, k))
    x[g.random((n, k)) < 0.2] = -INF
    x[::17] = -INF
    return x


@settings(deadline=None, max_examples=60)
@given(ROWS)
def test_equal_the_reference(rows: list[list[float]]) -> None:
    k = len(rows[0]) if rows else 3
    x = np.array(rows, dtype=float).reshape(-1, k)
    prior = uneven_prior(k)
    wanted = expected(x, prior)
    for backend in td.backend.available():
        td.backend.use(backend)
        for got, want in zip(run(x, prior, 1), wanted, strict=True):
            assert got.tolist() == want
    td.backend.use(td.backend.available()[0])


@pytest.mark.parametrize(
    ("n", "k"), [(1, 1), (700, 1), (513, 2), (205, 10), (3, 1023), (3, 1024), (3, 1025), (2, 3000)]
)
def test_every_width_equals_the_reference_on_every_instruction_set(
    every_set: list[str], backend: str, n: int, k: int
) -> None:
    x, prior = log_joint(n, k), uneven_prior(k)
    wanted = expected(x, prior)
    for isa in every_set:
        td.backend.use(backend, instruction_set=isa)
        for got, want in zip(run(x, prior, 1), wanted, strict=True):
            assert got.tolist() == want


@pytest.mark.parametrize(("n", "k"), [(200_000, 1), (40_000, 5), (50, 5000)])
def test_the_same_bits_for_every_number_of_threads(backend: str, n: int, k: int) -> None:
    x, prior = log_joint(n, k), uneven_prior(k)
    first = run(x, prior, 1)
    for threads in (2, 7):
        for got, want in zip(run(x, prior, threads), first, strict=True):
            assert np.array_equal(got, want)


def test_an_impossible_row_has_the_prior_as_its_posterior(backend: str) -> None:
    prior = np.array([0.25, 0.75, 0.0])
    evidence, p, log_p = run(np.full((2, 3), -INF), prior, 1)
    assert evidence.tolist() == [-INF, -INF]
    assert p.tolist() == [prior.tolist()] * 2
    assert log_p.tolist() == [[reference.log(v) for v in prior.tolist()]] * 2


def test_one_possible_class_is_certain(backend: str) -> None:
    evidence, p, log_p = run(np.array([[-INF, -1234.5, -INF]]), np.full(3, 1 / 3), 1)
    assert evidence.tolist() == [-1234.5]
    assert p.tolist() == [[0.0, 1.0, 0.0]]
    assert log_p.tolist() == [[-INF, 0.0, -INF]]


def test_no_row_is_too_unlikely(backend: str) -> None:
    x = np.array([[-1e5, -1e5 - math.log(3)], [-1e300, -1e300]])
    evidence, p, log_p = run(x, np.full(2, 0.5), 1)
    np.testing.assert_allclose(p, [[0.75, 0.25], [0.5, 0.5]], rtol=1e-10)
    np.testing.assert_allclose(log_p, np.log([[0.75, 0.25], [0.5, 0.5]]), rtol=1e-10)
    np.testing.assert_allclose(evidence, [-1e5 + math.log(4 / 3), -1e300], rtol=1e-15)


def test_posteriors_sum_to_one_and_are_never_nan(backend: str) -> None:
    for k in (1, 2, 10, 100):
        x = log_joint(500, k)
        evidence, p, log_p = run(x, uneven_prior(k), 2)
        np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-13)
        assert not any(np.isnan(a).any() for a in (evidence, p, log_p))
        assert np.all(log_p <= 0)


def test_no_rows(backend: str) -> None:
    assert [a.shape for a in run(np.empty((0, 4)), np.full(4, 0.25), 2)] == [(0,), (0, 4), (0, 4)]
