"""Levels: both rules against exact fractions, searches at the exact edges of u, weights that are none."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from places import PLACES, at
from tallydraw import _levels
from tallydraw._structure import make_structure
from tallydraw.sample.categories import write_flat

TOP = 2**64 - 1
SIZES = [1, 2, 3, 8, 15, 16, 17, 40, 64, 65, 300]


def structure(c, rows=1):
    return make_structure(np.array([c]), None, rows)


# The rules ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**53) | st.integers(0, 3), min_size=1, max_size=40).filter(any))
def test_integer_rule_is_exact(row):
    total, running, expected = sum(row), 0, []
    for w in row:
        running += w
        exact = Fraction(running, total) * 2**64
        expected.append(TOP if exact == 2**64 else exact.numerator // exact.denominator)
    assert expected == reference.integer_levels(row)
    for place in PLACES:
        with at(place):
            assert _levels.row_levels(np.array([row], np.int64))[0].tolist() == expected


@pytest.mark.parametrize("place", PLACES, ids="-".join)
@pytest.mark.parametrize(
    "total",
    [1, 2, 2**31 - 1, 2**31, 2**31 + 1, 2**32, 2**32 + 1, 2**48, 2**48 + 1, 2**56 + 1, 2**60 + 1, 2**62 + 1, 2**63 - 1],
)
def test_integer_rule_with_large_sums(total, place):
    rng = np.random.default_rng(total % 1000)
    cuts = sorted(int(c) for c in rng.integers(0, total, 5))
    row = [b - a for a, b in zip([0, *cuts], [*cuts, total], strict=True)]
    with at(place):
        assert _levels.row_levels(np.array([row], np.int64))[0].tolist() == reference.integer_levels(row)


@pytest.mark.parametrize("place", PLACES, ids="-".join)
def test_integer_rule_next_to_whole_quotients(place):
    """Sums S_c of which 2**64 S_c / S, or some first bits of it, are just at a whole number, or beside one."""
    rows = []
    for total in [1, 3, 2**16 - 1, 2**16, 2**16 + 1, 2**20 * 3, 2**31 - 1, 2**31 - 2**16, 2**31, 2**31 + 1, 2**36 - 5]:
        cuts = {0, 1, 2, total - 1, total}
        for bits in (16, 32, 48, 63):
            for part in (1, 2, 3, 2**bits // 3, 2**bits - 1):
                cuts |= {min(total, max(0, total * part // 2**bits + step)) for step in (-1, 0, 1)}
        ends = sorted(cuts)
        rows.append([b - a for a, b in itertools.pairwise(ends)])
    with at(place):
        for row in rows:
            assert _levels.row_levels(np.array([row]))[0].tolist() == reference.integer_levels(row)


@settings(deadline=None)
@given(
    st.lists(
        st.just(0.0) | st.floats(0, 1) | st.floats(0, 1.7976931348623157e308) | st.floats(0, 1e-300),
        min_size=1,
        max_size=40,
    ).filter(any)
)
def test_float_rule(row):
    expected = reference.float_levels(row)
    for place in PLACES:
        with at(place):
            assert _levels.row_levels(np.array([row]))[0].tolist() == expected
    assert expected[-1] == TOP
    assert expected == sorted(expected)


@pytest.mark.parametrize("place", PLACES, ids="-".join)
@pytest.mark.parametrize("c", [1, 2, 7, 8, 9, 33, 1000])
def test_float_rule_in_rows(place, c):
    """Rows of all lengths beside each other, one of which overflows, from views too: what vectors take at once."""
    rng = np.random.default_rng(c)
    rows = rng.random((6, 2 * c)) * 10.0 ** rng.integers(-5, 5, (6, 2 * c)) * (rng.random((6, 2 * c)) < 0.8)
    rows[2] = 1.7e308
    rows[:, -2] = rng.random(6) + 1e-3
    rows[:, -4:-3] = 0.0
    expected = [reference.float_levels(row) for row in rows[:, ::2].tolist()]
    with at(place):
        assert _levels.row_levels(rows[:, ::2]).tolist() == expected


@pytest.mark.parametrize("place", PLACES, ids="-".join)
def test_float_rule_is_a_running_sum(place):
    """Left to right, never pairwise: 2**-53 added to 1 a thousand times is lost each time."""
    row = np.full(1001, 2.0**-53)
    row[0] = 1.0
    with at(place):
        assert _levels.row_levels(row[None])[0].tolist() == [TOP] * 1001


@pytest.mark.parametrize("place", PLACES, ids="-".join)
def test_float_sum_that_overflows(place):
    row = np.array([[1e308, 1e308, 0.0, 1e308]])
    with at(place):
        levels = _levels.row_levels(row)[0].tolist()
    third = 1e308 * 2.0**-64
    sums = [third, third + third, third + third, third + third + third]
    assert levels == [*(int(Fraction(s / sums[3]) * 2**64) for s in sums[:3]), TOP]


def test_every_scaled_down_u():
    """With 8-bit levels, all weights in 0..3 of three categories and every u: zero weight is never drawn."""
    for a in range(4):
        for b in range(4):
            for c in range(4):
                row = [a, b, c]
                if not any(row):
                    continue
                full = reference.integer_levels(row)
                levels = [255 if level == TOP else level >> 56 for level in full]
                drawn = [reference.outcome(levels, min(u, 254)) for u in range(256)]
                assert all(row[outcome] > 0 for outcome in drawn)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3) | st.floats(0, 1), min_size=1, max_size=20).filter(lambda row: any(row)))
def test_zero_weight_cannot_be_drawn(row):
    """At the edges themselves: u = 0, next to every level, and the largest u."""
    levels = _levels.row_levels(np.array([row]))[0].tolist()
    edges = {0, 1, TOP - 1} | {level + step for level in levels for step in (-1, 0, 1)}
    for u in edges:
        if 0 <= u < TOP:
            assert row[reference.outcome(levels, u)] > 0


# The searches -------------------------------------------------------------------------------------------------------


def draw(levels, rows, key, start, n):
    """Flat draws, one of the kernels' ways for few, more, and (without a guide) very many categories."""
    c = levels.shape[-1]
    prepared = _levels.with_guides(levels.reshape(-1), structure(c, len(levels)))
    out = np.empty(n, np.uint32)
    write_flat(out, prepared, c, rows, 1, key, start, None)
    if c > 4:
        bisect = prepared._replace(
            guide=np.empty(0, prepared.guide.dtype), guide_offsets=np.zeros(2, np.int64), guide_bits=np.array([-1])
        )
        again = np.empty(n, np.uint32)
        write_flat(again, bisect, c, rows, 1, key, start, None)
        assert again.tolist() == out.tolist()
    return out.tolist()


@pytest.mark.parametrize("place", PLACES, ids="-".join)
@pytest.mark.parametrize("c", SIZES)
def test_levels_that_equal_u(place, c):
    """Levels are put on, just below and just above uniforms that are drawn, so that the low word decides."""
    key, n = 99, 200
    us = [reference.flat_uniform(key, t, 1) for t in range(n)]
    rng = np.random.default_rng(c)
    with at(place):
        for step in (-1, 0, 1):
            chosen = sorted(us[i] + step for i in rng.choice(n, c - 1, replace=c > n))
            levels = np.array([[*chosen, TOP]], np.uint64)
            expected = [reference.outcome(levels[0].tolist(), u) for u in us]
            assert draw(levels, None, key, 0, n) == expected
            # The same with a table row for each draw: its own uniform is a level of it, several times over.
            if c > 1:
                rows = np.tile(np.array(chosen + [TOP], np.uint64), (n, 1))
                for i, u in enumerate(us):
                    rows[i, rng.integers(0, c - 1, 3)] = u + step
                rows.sort(axis=1)
                which = rng.permutation(n)
                rows = rows[np.argsort(which)]
                expected = [reference.outcome(rows[b].tolist(), u) for b, u in zip(which, us, strict=True)]
                assert draw(rows, which, key, 0, n) == expected


# Draws of this key whose high words are 0 and 2**32 - 1, found by going through the stream.
EDGE_KEY = 20240229
ZEROS, ONES = 4 * 446605760 + 1, 4 * 1409877139
ZEROS_CELL, ONES_CELL = (2003210869, 0), (754685005, 1)


@pytest.mark.parametrize("place", PLACES, ids="-".join)
@pytest.mark.parametrize("c", SIZES[1:])
def test_ends_of_the_stream(place, c):
    """Where u begins with 32 zeros or 32 ones, leading and trailing zero weights are still not drawn."""
    assert reference.flat_uniform(EDGE_KEY, ZEROS, 1) >> 32 == 0
    assert reference.flat_uniform(EDGE_KEY, ONES, 1) >> 32 == 2**32 - 1
    weights = np.zeros(c, np.int64)
    weights[c // 2] = 5
    with at(place):
        for w in (weights, weights * 0.1):
            levels = _levels.row_levels(w[None])
            for t in (ZEROS, ONES):
                assert draw(levels, None, EDGE_KEY, t - 70, 140) == [c // 2] * 140
                assert draw(levels, np.zeros(140, np.int64), EDGE_KEY, t - 70, 140) == [c // 2] * 140
        # A level of exactly 1, and one of exactly 2**64 - 2, are on the other side of these u.
        levels = np.array([[1] * (c - 1) + [TOP]], np.uint64)
        assert draw(levels, None, EDGE_KEY, ZEROS, 1) == [c - 1]
        levels = np.array([[TOP - 1] * (c - 1) + [TOP]], np.uint64)
        assert draw(levels, None, EDGE_KEY, ONES, 1) == [0]


@pytest.mark.parametrize("place", PLACES, ids="-".join)
@pytest.mark.parametrize("c", SIZES[1:])
def test_ends_of_the_stream_in_cells(place, c):
    weights = np.zeros(c)
    weights[c // 2] = 0.3
    tables = td.Tables.from_arrays([weights] * 2)
    chain = td.Tables.from_arrays([weights, np.tile(weights, (c, 1))], parents=[-1, 0])
    with at(place):
        for stack in (tables, chain):
            for row, j in (ZEROS_CELL, ONES_CELL):
                assert reference.uniform(EDGE_KEY, row, j, 0) >> 32 in (0, 2**32 - 1)
                for n in (1, 80):
                    out = np.empty((n, 2), np.min_scalar_type(c - 1))
                    kernels = td.backend.kernels()
                    kernels.sample_features(stack.structure, stack.levels(), None, -1, EDGE_KEY, row - n // 2, out, 1)
                    assert np.all(out == c // 2)


# Guides -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES, ids="-".join)
@pytest.mark.parametrize("c", [5, 6, 9, 50, 256, 257, 600])
def test_guides(place, c):
    """Many zeros, a few heavy cells, levels at the very ends: runs of guide entries of every length."""
    rng = np.random.default_rng(c)
    weights = rng.random((4, c)) ** 8 * (rng.random((4, c)) < 0.3)
    weights[0, -1] = weights[1, c // 2] = weights[2, 0] = 3.0
    weights[3] = 0.0
    weights[3, [0, -1]] = 1e-30, 1.0
    with at(place):
        levels = _levels.with_guides(_levels.row_levels(weights).reshape(-1), structure(c, 4))
    bits = int(levels.guide_bits[0])
    guide = levels.guide.reshape(4, 2**bits)
    assert levels.high.tolist() == [level >> 32 for level in levels.level.tolist()]
    for row in range(4):
        of_row = levels.level.reshape(4, c)[row].tolist()
        assert guide[row].tolist() == [reference.outcome(of_row, i << 64 - bits) for i in range(2**bits)]


def test_where_there_is_no_guide():
    assert [_levels.guide_bits_of(c) for c in (1, 4, 5, 256, 257, 2**32, 2**32 + 1)] == [-1, -1, 5, 10, 10, 30, -1]


# Weights that are none ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1.0, -5e-324])
def test_bad_weights_name_their_place(bad, backend):
    rng = np.random.default_rng(1)
    before = rng.bit_generator.state
    with pytest.raises(ValueError, match=r"weights\[2\] is .*finite and non-negative"):
        td.sample_categories([1.0, 2.0, bad, bad], 3, rng=rng)
    with pytest.raises(ValueError, match=r"weights\[1, 0\] is "):
        td.Sampler([[1.0, 2.0], [bad, 1.0]])
    with pytest.raises(ValueError, match=r"tables\[1\]\[2\] is "):
        td.sample_features([[1.0], [1.0, 2.0, bad]], 3, rng=rng)
    with pytest.raises(ValueError, match=r"transition\[0, 1\] is "):
        td.sample_paths([[1.0, bad], [1.0, 1.0]], 2, 3, rng=rng)
    with pytest.raises(ValueError, match=r"initial_weights\[1\] is "):
        td.sample_paths([[1.0, 1.0], [1.0, 1.0]], 2, 3, initial_weights=[1.0, bad], rng=rng)
    assert rng.bit_generator.state == before


def test_rows_of_zeros_name_their_place(backend):
    with pytest.raises(ValueError, match=r"weights sums to zero"):
        td.sample_categories([0, 0], 3)
    with pytest.raises(ValueError, match=r"weights\[1\] sums to zero"):
        td.Sampler([[1.0, 2.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match=r"table 1, class 1 sums to zero"):
        td.sample_features(td.Tables.from_arrays([[[1], [1]], [[1, 2], [0, 0]]], n_classes=2), 2, y=[0, 1])
    with pytest.raises(ValueError, match=r"table 1, row 1 sums to zero"):
        td.sample_features(td.Tables.from_arrays([[1, 1], [[1, 2], [0, 0]]], parents=[-1, 0]), 2)
    with pytest.raises(ValueError, match=r"transition\[1\] sums to zero"):
        td.sample_paths([[1, 1], [0, 0]], 2, 3)
    with pytest.raises(ValueError, match=r"transition\[0, 1\] sums to zero"):
        td.sample_paths([[[1, 1], [0, 0]], [[1, 1], [1, 1]]], 2, 3)
    with pytest.raises(ValueError, match=r"initial_weights sums to zero"):
        td.sample_paths([[1, 1], [1, 1]], 2, 3, initial_weights=[0, 0])


def test_integer_sums_past_63_bits(backend):
    large = [2**62, 2**62 - 1]
    assert td.sample_categories(large, 3).shape == (3,)
    with pytest.raises(OverflowError, match=r"weights sums to 9223372036854775808"):
        td.sample_categories([2**62, 2**62], 3)
    with pytest.raises(OverflowError, match=r"transition\[1\] sums to"):
        td.sample_paths([large, [2**62, 2**62]], 2, 3)
    with pytest.raises(OverflowError, match="initial_weights"):
        td.sample_paths([large, large], 2, 3, initial_weights=[2**62, 2**62])
    with pytest.raises(OverflowError, match="below"):
        td.sample_categories(np.array([2**63], np.uint64), 3)
    assert td.sample_categories([2.0**62, 2.0**62], 3).shape == (3,)


@pytest.mark.parametrize("weights", ["ab", [1j], [None, 1], ["1", "2"]])
def test_weights_that_are_not_numbers(weights):
    with pytest.raises(TypeError, match="weights must be numeric"):
        td.sample_categories(weights, 3)
