"""codes: combined codes of every dtype, layout, rule, structure and thread count; the first bad cell."""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from strategies import laid_out
from tallydraw._structure import make_structure

DTYPES = [np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16, np.int32, np.int64]
LAYOUTS = ["C", "F", "strided", "reversed", "columns", "unaligned", "read-only"]


def combined(X, n_categories, parents, order, missing, lenient, threads):
    """Combined codes, the slot included, and incomplete rows, as the kernel log_prob_features sees them; or a bad cell.

    As many classes as features; class j reads the code of feature j and nothing else.
    """
    d = len(n_categories)
    s = make_structure(np.array(n_categories), None if parents is None else np.array(parents), d, order)
    rows = (s.n_contexts * s.n_categories + 1).tolist()
    offsets, lanes = reference.class_lanes(
        [[[float(z * (k == j)) for k in range(d)] for z in range(rows[j])] for j in range(d)]
    )
    out, incomplete = np.zeros((len(X), d)), np.empty(len(X), np.uint8)
    bad = td.backend.kernels().log_prob_features(
        X, missing, lenient, s, np.array(lanes), np.array(offsets), np.zeros(d), incomplete, out, threads
    )
    return bad, out.astype(int).tolist(), incomplete.tolist(), (s.n_contexts * s.n_categories).tolist()


@st.composite
def tasks(draw):
    d = draw(st.integers(1, 6) | st.just(40))
    n = draw(st.integers(1, 40) | st.just(300))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    top = draw(st.sampled_from([3, 12, min(300, int(np.iinfo(dtype).max) + 1)]))
    kind = draw(st.sampled_from(["none", "chain", "tree"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind != "none":
        top = min(top, 12)
    n_categories = rng.integers(1, top + 1, d).tolist() if draw(st.booleans()) else [top] * d
    order = draw(st.integers(1, 2))
    parents = None
    if kind == "chain":
        parents = list(range(-1, d - 1))
    elif kind == "tree":
        labels = rng.permutation(d)
        parents = [-1] * d
        for a in range(1, d):
            parents[labels[a]] = int(labels[rng.integers(0, a)]) if rng.random() < 0.8 else -1
    missing = draw(st.none() | st.just(0) | st.just(2) | st.integers(0, 400) | st.just(-7))
    X = np.stack([rng.integers(0, c, n) for c in n_categories], axis=1)
    if dtype.kind == "i" and draw(st.booleans()):
        X[rng.random(X.shape) < 0.1] = -1
        X[rng.random(X.shape) < 0.05] = np.iinfo(dtype).min
    if draw(st.booleans()):
        over = rng.random(X.shape) < draw(st.sampled_from([0.1, 1 / X.size]))
        X[over] = np.minimum(np.broadcast_to(n_categories, X.shape), min(1000, np.iinfo(dtype).max))[over]
    if missing is not None and 0 <= missing <= np.iinfo(dtype).max and draw(st.booleans()):
        X[rng.random(X.shape) < 0.1] = missing
    layout = draw(st.sampled_from(LAYOUTS))
    return (
        laid_out(X.astype(dtype), layout), n_categories, parents, order, missing, draw(st.booleans()),
        draw(st.sampled_from([1, 2, 7])),
    )  # fmt: skip


@given(task=tasks())
@settings(max_examples=60, deadline=None)
def check_against_reference(task):
    X, n_categories, parents, order, missing, lenient, threads = task
    expected = reference.combined_codes(X.tolist(), n_categories, parents, order, missing, lenient)
    bad, codes, incomplete, slots = combined(X, n_categories, parents, order, missing, lenient, threads)
    if isinstance(expected[0], int):
        i, j = expected
        assert bad == i * len(n_categories) + j
        return
    plain, wanted = expected
    assert bad == -1
    assert codes == [[slots[j] if z is None else z for j, z in enumerate(row)] for row in wanted]
    assert incomplete == [int(None in row) for row in plain]


def test_codes_equal_the_reference_on_every_instruction_set(backend):
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        check_against_reference()


@pytest.mark.parametrize(("d", "c"), [(3, 5), (17, 5), (130, 3), (40, 20), (3, 300)])
def test_many_rows_of_a_chain_at_once(d, c, backend):
    """Cells of whole rows are combined side by side, across the ends of rows and of what is encoded at once."""
    rng = np.random.default_rng(d)
    n = 600
    n_categories = rng.integers(2, c + 1, d)
    X = np.stack([rng.integers(0, m, n) for m in n_categories], axis=1).astype(np.int16)
    X[rng.random(X.shape) < 0.1] = -1
    above = np.concatenate([np.zeros((n, 1), np.int64), X[:, :-1]], axis=1)
    codes = np.where((above < 0) | (X < 0), -1, above * n_categories + X)
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        bad, got, incomplete, slots = combined(X, n_categories.tolist(), list(range(-1, d - 1)), 1, None, False, 2)
        assert bad == -1 and incomplete == (X < 0).any(axis=1).tolist()
        assert np.array_equal(got, np.where(codes < 0, slots, codes))


def before_a_guard(n, dtype):
    """Memory of n numbers, after which nothing may be read."""
    size = n * np.dtype(dtype).itemsize
    room = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    pages = np.frombuffer(mmap.mmap(-1, room + mmap.PAGESIZE), np.uint8)
    closed = ctypes.CDLL(None).mprotect(ctypes.c_void_p(pages.ctypes.data + room), mmap.PAGESIZE, 0)
    assert closed == 0
    return pages[room - size : room].view(dtype)


@pytest.mark.skipif(sys.platform == "win32", reason="asks for mprotect")
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_other_cell_and_nothing_past_the_last(backend, dtype):
    """Cells are read together with their neighbours, of which the last one has none."""
    rng = np.random.default_rng(1)
    for d in (1, 3, 64, 65, 130):
        for n in (1, 5, 70):
            memory = before_a_guard(2 * d * n - 1, dtype)
            memory[1::2] = 99
            X = as_strided(memory, (n, d), (2 * d * memory.itemsize, 2 * memory.itemsize))
            X[...] = rng.integers(0, 5, (n, d))
            for Y in (X, X[::-1], X.T):
                theta = td.Tables.from_arrays(rng.dirichlet(np.ones(5), Y.shape[1]))
                plain = np.ascontiguousarray(Y)
                wanted, scores = td.count_features(plain, n_categories=5), td.log_prob_features(plain, theta)
                for name in td.backend.instruction_sets():
                    td.backend.use(backend, instruction_set=name)
                    assert td.count_features(Y, n_categories=5) == wanted
                    assert np.array_equal(td.log_prob_features(Y, theta), scores)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_extremes_of_a_dtype(backend, dtype):
    limits = np.iinfo(dtype)
    X = np.array([[limits.min], [limits.max], [0]], dtype)
    bad, codes, incomplete, _ = combined(X, [2], None, 1, None, True, 1)
    assert (bad, codes) == (-1, [[2 if limits.min else 0], [2], [0]])
    assert incomplete == [int(limits.min < 0), 1, 0]
    assert combined(X, [2], None, 1, None, False, 1)[0] == 1
    # missing= fits int64: it can name the largest code of every dtype but uint64.
    named = min(limits.max, 2**63 - 1)
    assert combined(X, [2], None, 1, int(named), False, 1)[0] == (-1 if named == limits.max else 1)


def test_uint8_with_256_categories_has_no_slot(backend):
    X = np.arange(256, dtype=np.uint8).reshape(-1, 1)
    bad, codes, incomplete, _ = combined(X, [256], None, 1, None, False, 1)
    assert (bad, codes, sum(incomplete)) == (-1, [[i] for i in range(256)], 0)
    _, codes, incomplete, _ = combined(X, [256], None, 1, 7, False, 1)
    assert codes[7] == [256] and sum(incomplete) == 1


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_first_bad_cell_in_row_order_is_reported(backend, threads):
    X = np.zeros((100_000, 3), np.int16)
    for row, column in [(99_999, 0), (70_001, 2), (70_001, 1)]:
        X[row, column] = 9
        for array in (X, np.asfortranarray(X)):
            assert combined(array, [9, 9, 9], None, 1, None, False, threads)[0] == row * 3 + column


def test_bool_is_uint8(backend):
    theta = td.Tables.from_arrays([[0.25, 0.75]])
    assert td.log_prob_features(np.array([[True], [False]]), theta).tolist() == [
        reference.log(0.75),
        reference.log(0.25),
    ]


def test_other_byte_order(backend):
    theta = td.Tables.from_arrays([[0.25, 0.75]])
    X = np.array([[1], [0]], ">i4")
    assert td.log_prob_features(X, theta).tolist() == td.log_prob_features(X.astype(int), theta).tolist()
