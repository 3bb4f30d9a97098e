"""Our own log and exp: under 1 ulp, special values, and equal bits on every backend and instruction set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import mpmath
import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tallydraw._structure import make_structure

mpmath.mp.prec = 180
LOG2 = mpmath.log(2)
MAX, TINY, LEAST = np.finfo(float).max, np.finfo(float).tiny, 5e-324


@pytest.fixture
def every_set(backend: str) -> Iterator[list[str]]:
    """The instruction sets of a backend; restores the widest."""
    yield td.backend.instruction_sets()
    td.backend.use(backend)


def apply(name: str, *arrays: NDArray) -> NDArray[np.float64]:
    out = np.empty(len(arrays[0]))
    getattr(td.backend.kernels(), name)(*arrays, out)
    return out


def around(x: NDArray[np.float64], steps: int = 2) -> NDArray[np.float64]:
    """x and its neighbours."""
    found, up, down = [x], x, x
    for _ in range(steps):
        up, down = np.nextafter(up, np.inf), np.nextafter(down, -np.inf)
        found += [up, down]
    return np.concatenate(found)


def log_arguments(n: int = 3000) -> NDArray[np.float64]:
    """Positive finite numbers: all magnitudes, subnormals, near 1, around every power of two and where m wraps."""
    g = np.random.default_rng(20240501)
    powers = np.ldexp(1.0, np.arange(-1074, 1024))
    near_one = np.concatenate([1 + np.ldexp(1.0, -np.arange(1, 53)), 1 - np.ldexp(1.0, -np.arange(1, 54))])
    x = np.concatenate(
        [
            around(powers, 1),
            around(np.array([1.0, math.sqrt(0.5), math.sqrt(2.0)]), 40),
            around(near_one),
            np.ldexp(math.sqrt(0.5), np.arange(-1020, 1020, 7)),
            around(np.array([MAX / 2, TINY]), 5),
            np.array([MAX, LEAST]),
            # The largest errors of 200 million arguments.
            np.array([float.fromhex("0x1.657c8c67d6777p-1"), float.fromhex("0x1.692e02dbf995bp-1")]),
            (g.integers(1, 0x7FF0 << 48, n, dtype=np.uint64)).view(float),
            (g.integers(1, 1 << 52, n, dtype=np.uint64) >> g.integers(0, 52, n, dtype=np.uint64)).view(float),
            g.uniform(0.5, 2.0, n),
            g.uniform(0.69, 0.71, n),
            1 + g.uniform(-1, 1, n) * np.ldexp(1.0, -g.integers(0, 53, n)),
        ]
    )
    return x[(x > 0) & (x < np.inf)]


def exp_arguments(n: int = 3000) -> NDArray[np.float64]:
    """Finite results: all magnitudes, around every multiple and half multiple of log 2, near 0, and both ends."""
    g = np.random.default_rng(20240502)
    x = np.concatenate(
        [
            around(np.array([float(LOG2 * k / 2) for k in range(-2150, 2049)]), 1),
            around(np.ldexp(1.0, np.arange(-60, 10)), 1),
            around(-np.ldexp(1.0, np.arange(-60, 10)), 1),
            around(np.array([float(mpmath.log(MAX)), float(mpmath.log(TINY)), float(mpmath.log(LEAST) - LOG2)]), 30),
            np.array([0.0, -0.0, LEAST, -LEAST, TINY, float.fromhex("-0x1.127c7d13396e7p+5")]),
            g.uniform(-0.4, 0.4, n),
            g.uniform(-746, 710, n),
            g.uniform(-745.2, -708, n),
            g.uniform(-1, 1, n) * np.ldexp(1.0, g.integers(-60, 10, n)),
        ]
    )
    return x[(x < 709.79) & (x > -746)]


def ulp_errors(values: NDArray[np.float64], exact: list[mpmath.mpf]) -> NDArray[np.float64]:
    """|value - exact| in units of the last place of the exact result, subnormals having that of 2**-1074."""
    errors = np.empty(len(values))
    for i, (value, t) in enumerate(zip(values.tolist(), exact, strict=True)):
        exponent = mpmath.frexp(t)[1] if t else -2000
        errors[i] = (
            abs(mpmath.mpf(value) - t) / mpmath.ldexp(1, max(exponent - 53, -1074)) if math.isfinite(value) else np.inf
        )
    return errors


def test_log_is_within_one_ulp(backend: str) -> None:
    x = log_arguments()
    errors = ulp_errors(apply("log", x), [mpmath.log(v) for v in x.tolist()])
    assert errors.max() < 0.75, x[errors.argmax()].hex()


def test_exp_is_within_one_ulp(backend: str) -> None:
    x = exp_arguments()
    exact = [mpmath.exp(v) for v in x.tolist()]
    values = apply("exp", x)
    # Results that round to infinity do so exactly where the correctly rounded result does.
    limit = mpmath.mpf(MAX) + mpmath.ldexp(1, 970)
    over = np.array([t >= limit for t in exact])
    assert over.any()
    assert np.array_equal(np.isinf(values), over)
    errors = ulp_errors(values[~over], [t for t in exact if t < limit])
    subnormal = np.array([t < TINY for t in exact if t < limit])
    assert errors[~subnormal].max() < 0.75, x[~over][~subnormal][errors[~subnormal].argmax()].hex()
    assert errors[subnormal].max() < 0.85


def horner(coefficients: Sequence[float], x: Any) -> Any:
    """The polynomial with these coefficients, the constant one first, in the arithmetic of x."""
    total = mpmath.mpf(0)
    for c in reversed(coefficients):
        total = total * x + mpmath.mpf(c)
    return total


def test_the_polynomials_are_closer_than_rounding_needs() -> None:
    """Their relative errors, weighted by their share of the result, stay below 1/50 ulp of it."""
    for i in range(-500, 501):
        s = (3 - mpmath.sqrt(8)) * i / 500
        f = 2 * s / (1 - s)
        if i:
            p = horner(reference.LOG_COEFFICIENTS, s * s)
            error = abs(2 * s + s**3 * p - mpmath.log1p(f))
            assert error < abs(mpmath.log1p(f)) * mpmath.ldexp(1, -53) / 50
        r = LOG2 / 2 * i / 500
        q = horner(reference.EXP_COEFFICIENTS, r)
        assert abs(1 + r + r * r * q - mpmath.exp(r)) < mpmath.exp(r) * mpmath.ldexp(1, -53) / 50


def test_special_values_of_log(every_set: list[str], backend: str) -> None:
    x = np.array([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, -np.nan, -1.0, -LEAST, -MAX])
    for isa in every_set:
        td.backend.use(backend, instruction_set=isa)
        y = apply("log", x)
        assert y[:4].tolist() == [-np.inf, -np.inf, 0.0, np.inf]
        assert not np.signbit(y[2])
        assert set(y[4:].view(np.uint64).tolist()) == {0x7FF8000000000000}  # one NaN, whatever went in


def test_special_values_of_exp(every_set: list[str], backend: str) -> None:
    x = np.array([0.0, -0.0, LEAST, -LEAST, np.inf, -np.inf, 710.0, MAX, -746.0, -MAX, np.nan, -np.nan])
    for isa in every_set:
        td.backend.use(backend, instruction_set=isa)
        y = apply("exp", x)
        assert y[:10].tolist() == [1.0, 1.0, 1.0, 1.0, np.inf, 0.0, np.inf, np.inf, 0.0, 0.0]
        assert set(y[10:].view(np.uint64).tolist()) == {0x7FF8000000000000}


@pytest.mark.parametrize("name", ["log", "exp"])
def test_every_instruction_set_equals_the_reference(every_set: list[str], backend: str, name: str) -> None:
    g = np.random.default_rng(7)
    x = np.concatenate(
        [log_arguments(300), exp_arguments(300), g.integers(0, 2**64, 3000, dtype=np.uint64).view(float)]
    )
    x = np.concatenate([x, -x, [np.nan, np.inf, -np.inf]])
    expected = np.array([getattr(reference, name)(v) for v in x.tolist()]).view(np.uint64)
    for isa in every_set:
        td.backend.use(backend, instruction_set=isa)
        assert np.array_equal(apply(name, x).view(np.uint64), expected), isa


def test_vector_remainders_and_places_do_not_matter(every_set: list[str], backend: str) -> None:
    x = np.random.default_rng(8).uniform(0, 1, 100)
    for isa in every_set:
        td.backend.use(backend, instruction_set=isa)
        for name in ("log", "exp"):
            whole = apply(name, x)
            for a, b in [(0, 0), (0, 1), (1, 9), (3, 18), (5, 40), (99, 100)]:
                assert np.array_equal(apply(name, x[a:b]), whole[a:b])
            inplace = x.copy()
            getattr(td.backend.kernels(), name)(inplace, inplace)
            assert np.array_equal(inplace, whole)


def test_log_scaled_is_log_where_the_product_exists(every_set: list[str], backend: str) -> None:
    g = np.random.default_rng(9)
    x = np.exp2(g.uniform(-300, 300, 2000))
    e = g.integers(-700, 700, 2000)
    for isa in every_set:
        td.backend.use(backend, instruction_set=isa)
        assert np.array_equal(apply("log_scaled", x, e), apply("log", np.ldexp(x, e)))


def test_log_scaled_is_within_one_ulp_far_outside_the_range_of_float64(backend: str) -> None:
    g = np.random.default_rng(10)
    m = np.concatenate([log_arguments(200), g.uniform(0.5, 2.0, 2000)])
    e = g.choice([-1, 1], len(m)) * np.exp2(g.uniform(0, 53, len(m))).astype(np.int64)
    e[:20] = 2**53 - 2000
    exact = [mpmath.log(a) + b * LOG2 for a, b in zip(m.tolist(), e.tolist(), strict=True)]
    values = apply("log_scaled", m, e)
    assert ulp_errors(values, exact).max() < 0.75
    assert values.tolist() == [reference.log_scaled(a, b) for a, b in zip(m.tolist(), e.tolist(), strict=True)]


def test_log_scaled_of_zero_is_minus_infinity(backend: str) -> None:
    assert apply("log_scaled", np.array([0.0]), np.array([2**40])).tolist() == [-np.inf]


@settings(deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=40))
def test_any_floats_equal_the_reference(values: list[float]) -> None:
    x = np.array(values)
    for name in ("log", "exp"):
        expected = np.array([getattr(reference, name)(v) for v in values])
        for backend in td.backend.available():
            td.backend.use(backend)
            assert np.array_equal(apply(name, x).view(np.uint64), expected.view(np.uint64))
    td.backend.use(td.backend.available()[0])


def test_divergence_terms_equal_the_reference(every_set: list[str]) -> None:
    g = np.random.default_rng(7)
    q = np.concatenate([g.random(2000), np.ldexp(g.random(200), -g.integers(0, 1000, 200)), [0.0, 0.0, 1.0]])
    p = q * (1 + g.normal(size=len(q)) * 10.0 ** g.integers(-16, 1, len(q))).clip(0)
    p[::17], p[-3:] = 0.0, [0.0, 0.5, 1 + 1e-9]
    log_q = np.minimum(apply("log", q), 0.0)
    expected = [reference.divergence_term(*cell) for cell in zip(p.tolist(), q.tolist(), log_q.tolist(), strict=True)]
    for isa in every_set:
        td.backend.use(td.backend.active(), instruction_set=isa)
        assert apply("divergence_terms", p, q, log_q).tolist() == expected


# Sums of rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 24, 29])
@pytest.mark.parametrize("c", [1, 2, 33])
def test_rows_are_summed_from_left_to_right(every_set: list[str], backend: str, n: int, c: int) -> None:
    x = np.random.default_rng(n * c).lognormal(0.0, 20.0, (n, c))
    expected = np.cumsum(x, axis=1)[:, -1].tolist()
    for isa in every_set:
        td.backend.use(backend, instruction_set=isa)
        out = np.full(n, -1.0)
        assert td.backend.kernels().row_sums(x, out)
        assert out.tolist() == expected


@pytest.mark.parametrize("row", [0, 6, 8, 9])
@pytest.mark.parametrize(
    ("value", "fine"), [(-0.0, True), (0.0, True), (np.inf, True), (-LEAST, False), (-np.inf, False), (np.nan, False)]
)
def test_a_negative_cell_or_a_nan_is_seen(
    every_set: list[str], backend: str, row: int, value: float, fine: bool
) -> None:
    for isa in every_set:
        td.backend.use(backend, instruction_set=isa)
        for column in range(5):
            x = np.ones((10, 5))
            x[row, column] = value
            assert td.backend.kernels().row_sums(x, np.empty(10)) is fine


# Estimates of table rows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [0, 1, 7])
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_estimates_of_table_rows(every_set: list[str], backend: str, dtype: type, more: int) -> None:
    g = np.random.default_rng(more)
    structure = make_structure(np.array([3, 1, 9, 2]), np.array([-1, 0, 1, 2]), 2)
    counts = g.integers(0, 1000, int(structure.offsets[-1])) * g.integers(0, 2, int(structure.offsets[-1]))
    weights = counts.astype(dtype) * (1 if dtype is np.int64 else dtype(0.3))
    weights[:3] = weights[-2:] = 0
    expected: list[float] = []
    for j, c in enumerate(structure.n_categories.tolist()):
        for row in weights[structure.offsets[j] : structure.offsets[j + 1]].reshape(-1, c).tolist():
            expected += reference.row_probabilities(row, more)
    for isa in every_set:
        td.backend.use(backend, instruction_set=isa)
        theta, changed = np.empty(len(weights)), weights.copy()
        assert td.backend.kernels().row_probabilities(structure, changed, float(more), theta)
        assert theta.tolist() == expected
    for bad in (-1, np.nan, np.inf) if dtype is np.float64 else (-1, 2**62):
        changed = weights.copy()
        changed[5] = bad
        assert not td.backend.kernels().row_probabilities(structure, changed, float(more), np.empty(len(weights)))
