"""Lanes of the Numba backend equal NumPy's arrays, item by item; its pieces of work keep their order."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from tallydraw._numba import lanes, wide_lookup
from tallydraw._numba.parallel import parallel_blocks

DTYPES = [np.uint8, np.uint16, np.uint32, np.uint64]


@numba.njit
def _arithmetic(a, b, out):
    x, y = lanes.load(64, a, np.uint64(0)), lanes.load(64, b, np.uint64(0))
    lanes.store(out, np.uint64(0), x + y)
    lanes.store(out, np.uint64(64), x - y)
    lanes.store(out, np.uint64(128), x * y)
    lanes.store(out, np.uint64(192), lanes.select((x > y) & ~(x == y), x, lanes.fill(64, b[0])))
    return lanes.bits(x > y), lanes.bits((x == y) | (y > x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_and_comparisons(dtype):
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 200, (2, 64)).astype(dtype)
    b[:9] = a[:9]
    out = np.empty(256, dtype)
    above, others = _arithmetic(a, b, out)
    assert np.array_equal(out, np.concatenate([a + b, a - b, a * b, np.where(a > b, a, b[0])]))
    assert above == sum(1 << i for i in range(64) if a[i] > b[i]) and others == 2**64 - 1 - above


@numba.njit
def _divide(a, b, word, out):
    quotient = lanes.load(8, a, np.uint64(0)) / lanes.load(8, b, np.uint64(0))
    chosen = lanes.truth(8, word)
    lanes.store(out, np.uint64(0), lanes.select(chosen, quotient, lanes.fill(8, -1.0)))
    return lanes.bits(chosen)


@pytest.mark.parametrize("word", [0, 1, 0xA5, 0xFF])
def test_quotients_where_bits_of_a_word_are_set(word):
    a, b = np.random.default_rng(4).random((2, 8))
    out = np.empty(8)
    assert _divide(a, b, np.uint64(word), out) == word
    assert out.tolist() == [x / y if word >> i & 1 else -1.0 for i, (x, y) in enumerate(zip(a, b, strict=True))]


@numba.njit
def _some(a, out, n):
    x = lanes.load_some(8, a, np.uint64(1), n)
    lanes.store(out, np.uint64(0), x)
    lanes.store_some(out, np.uint64(8), x + x, n)


@pytest.mark.parametrize("n", [0, 1, 5, 8])
def test_lanes_left_out_are_zeros_and_not_written(n):
    a, out = np.arange(9.0), np.full(16, -1.0)
    _some(a[: 1 + n], out, np.uint64(n))
    assert out.tolist() == [*a[1 : 1 + n], *[0.0] * (8 - n), *2 * a[1 : 1 + n], *[-1.0] * (8 - n)]


@numba.njit
def _move(a, out, wide):
    x = lanes.load(64, a, np.uint64(0))
    lanes.store(out, np.uint64(0), lanes.interleave(x, lanes.load(64, a, np.uint64(64))))
    lanes.store(wide, np.uint64(0), lanes.convert(x, wide.dtype))
    lanes.prefetch(a, np.uint64(3))


@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_interleaving_and_conversion(dtype, to):
    a = np.random.default_rng(2).integers(0, np.iinfo(dtype).max, 128, dtype)
    out, wide = np.empty(128, dtype), np.empty(64, to)
    _move(a, out, wide)
    assert np.array_equal(out, a.reshape(2, 64).T.ravel()) and np.array_equal(wide, a[:64].astype(to))


@numba.njit
def _look_up(table, places, out):
    at = lanes.load(8, places, np.uint64(0))
    a, b = lanes.load(8, table, np.uint64(0)), lanes.load(8, table, np.uint64(8))
    c, d = lanes.load(8, table, np.uint64(16)), lanes.load(8, table, np.uint64(24))
    lanes.store(out, np.uint64(0), wide_lookup.look_up(at, a))
    lanes.store(out, np.uint64(8), wide_lookup.look_up_in_four(at, a, b, c, d))


@pytest.mark.skipif(not wide_lookup.WIDE_LOOKUP, reason="no such instruction")
def test_tables_in_registers():
    rng = np.random.default_rng(4)
    table, out = rng.random(32), np.empty(16)
    for places in rng.permutation(32).reshape(4, 8).astype(np.uint64):
        _look_up(table, places, out)
        assert np.array_equal(out, np.concatenate([table[places % 8], table[places]]))


def test_pieces_keep_their_order_and_raise():
    assert parallel_blocks(10, 4, 3, lambda a, b, i: (a, b, i)) == [(0, 4, 0), (4, 8, 1), (8, 10, 2)]
    inside = parallel_blocks(4, 1, 2, lambda a, _, __: parallel_blocks(3, 1, 2, lambda b, _, __: (a, b)))
    assert inside == [[(a, b) for b in range(3)] for a in range(4)]
    with pytest.raises(ZeroDivisionError):
        parallel_blocks(4, 1, 2, lambda a, _, __: 1 // (a - 2))
