"""Special functions: gamma ratios are those of mpmath, small and large, and have the same bits on both backends."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from tallydraw._special import digamma_difference, log_rising

POSITIVE = st.floats(-9, 12).map(lambda e: 10.0**e)
COUNTS = st.one_of(st.integers(1, 50).map(float), st.integers(1, 10**15).map(float), st.floats(1e-6, 1e12))


@settings(max_examples=50, deadline=None)
@given(a=POSITIVE, n=COUNTS)
def test_log_rising(a: float, n: float) -> None:
    with mpmath.workdps(80):
        exact = float(mpmath.loggamma(mpmath.mpf(a) + mpmath.mpf(n)) - mpmath.loggamma(a))
    assert float(log_rising(a, n)) == pytest.approx(exact, rel=1e-14, abs=1e-14 * max(n, 1))


@settings(max_examples=50, deadline=None)
@given(a=POSITIVE, n=COUNTS)
def test_digamma_difference(a: float, n: float) -> None:
    with mpmath.workdps(80):
        exact = float(mpmath.digamma(mpmath.mpf(a) + mpmath.mpf(n)) - mpmath.digamma(a))
    assert float(digamma_difference(a, n)) == pytest.approx(exact, rel=1e-14, abs=1e-18)


def test_no_counts_add_nothing(backend: str) -> None:
    a = np.array([1e-300, 1e-9, 1.0, 1e15, 1e300])
    assert log_rising(a, 0).tolist() == digamma_difference(a, 0).tolist() == [0.0] * 5


def test_broadcasting_and_no_elements(backend: str) -> None:
    assert log_rising(np.ones((2, 1)), np.arange(3)).shape == (2, 3)
    assert log_rising(np.empty(0), np.empty(0)).shape == (0,)


@pytest.mark.skipif(len(td.backend.available()) < 2, reason="one backend")
def test_backends_do_not_change_a_bit() -> None:
    rng = np.random.default_rng(4)
    a, n = 10 ** rng.uniform(-9, 12, 2000), np.concatenate([rng.integers(0, 100, 1000), 10 ** rng.uniform(-3, 9, 1000)])
    before, found = td.backend.active(), []
    for name in td.backend.available():
        td.backend.use(name)
        found.append(log_rising(a, n).tobytes() + digamma_difference(a, n).tobytes())
    td.backend.use(before)
    assert found[0] == found[1]
