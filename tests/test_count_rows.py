"""count_rows: distinct rows in sorted order, at any number of features."""

from __future__ import annotations

import numpy as np
import pytest
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from tallydraw import _rows


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 60), st.sampled_from([1, 2, 3, 12, 70, 300])),
    dtype=st.sampled_from([np.uint8, np.int8, np.int64, np.uint64]),
    spread=st.sampled_from([1, 2, 100]),
)
@settings(max_examples=150, deadline=None)
def test_rows_equal_numpy_unique(seed, shape, dtype, spread):
    rng = np.random.default_rng(seed)
    low = -spread if np.dtype(dtype).kind == "i" else 0
    X = rng.integers(low, spread, shape, endpoint=True).astype(dtype)[rng.integers(0, shape[0], shape[0])]
    rows, counts = td.count_rows(X)
    expected_rows, expected_counts = np.unique(X, axis=0, return_counts=True)
    assert np.array_equal(rows, expected_rows) and rows.dtype == X.dtype
    assert np.array_equal(counts, expected_counts) and counts.dtype == np.int64


def test_extreme_codes_keep_their_order():
    X = np.array([[2**63 - 1, -(2**63)], [-(2**63), 2**63 - 1], [0, 0], [0, 0]])
    rows, counts = td.count_rows(X)
    assert rows.tolist() == [[-(2**63), 2**63 - 1], [0, 0], [2**63 - 1, -(2**63)]]
    assert counts.tolist() == [1, 2, 1]
    rows, _ = td.count_rows(np.array([[2**64 - 1], [0]], np.uint64))
    assert rows.tolist() == [[0], [2**64 - 1]]


def test_weighted_rows_add_in_row_order():
    X = np.array([[1], [0], [1]])
    rows, counts = td.count_rows(X, sample_weight=[0.1, 0.2, 0.3])
    assert rows.tolist() == [[0], [1]] and counts.tolist() == [0.2, 0.1 + 0.3]


def test_no_rows():
    rows, counts = td.count_rows(np.zeros((0, 3), np.uint8))
    assert rows.shape == (0, 3) and counts.shape == (0,)


def test_floats_are_refused():
    with pytest.raises(TypeError, match="X must hold integer codes"):
        td.count_rows([[0.5]])


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_the_whole_range_of_a_dtype_after_a_constant(dtype):
    info = np.iinfo(dtype)
    rows, counts = td.count_rows(np.array([[0, info.min], [0, info.max], [0, info.max]], dtype))
    assert rows.tolist() == [[0, info.min], [0, info.max]]
    assert counts.tolist() == [1, 2]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 4096), (2, 5000), (1000, 1), (4099, 3), (1365, 3), (9, 0)])
def test_extremes_of_columns_are_those_of_numpy(dtype: type, shape: tuple[int, int]) -> None:
    x = np.random.default_rng(5).integers(0, 100, shape).astype(dtype)
    for data in (x, np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x[::-1]):
        for combine in (np.minimum, np.maximum):
            assert np.array_equal(_rows.along_columns(combine, data), combine.reduce(data, axis=0))
