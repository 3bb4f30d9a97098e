"""count_transitions: steps of sequences in every form, of every order, never across a border or a break."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st


@st.composite
def tasks(draw):
    c = draw(st.integers(1, 4))
    lengths = draw(st.lists(st.integers(0, 12), min_size=1, max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([np.uint8, np.uint64, np.int8, np.int32, np.int64]))
    low = 0 if np.dtype(dtype).kind == "u" else -1
    sequences = [rng.integers(low, c, length).astype(dtype) for length in lengths]
    return sequences, c, draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 7]))


@given(task=tasks())
@settings(max_examples=120, deadline=None)
def check_against_reference(task):
    sequences, c, order, threads = task
    expected = reference.count_transitions([s.tolist() for s in sequences], c, order)
    flat = np.concatenate(sequences)
    offsets = np.cumsum([0, *map(len, sequences)])
    for counts in (
        td.count_transitions(sequences, n_states=c, order=order, n_threads=threads),
        td.count_transitions(flat, offsets=offsets, n_states=c, order=order, n_threads=threads),
    ):
        assert counts.shape == (c,) * (order + 1)
        assert counts.ravel().tolist() == expected


def test_counts_equal_the_reference(backend):
    check_against_reference()


def test_counts_equal_the_reference_on_every_instruction_set(backend):
    for isa in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=isa)
        check_against_reference()


@pytest.mark.parametrize("c", [2, 4, 27, 256, 600])
def test_counts_equal_bincount_at_real_sizes(backend, c):
    rng = np.random.default_rng(c)
    S = rng.integers(0, c, (300, 1001)).astype(np.min_scalar_type(c - 1))
    pairs = S[:, :-1].astype(np.int64) * c + S[:, 1:]
    expected = np.bincount(pairs.ravel(), minlength=c * c).reshape(c, c)
    for threads in (1, 2, 7):
        for data in (S, np.asfortranarray(S), S.astype(np.int32), list(S)):
            assert np.array_equal(td.count_transitions(data, n_states=c, n_threads=threads), expected)
    single = td.count_transitions([S.ravel()], n_states=c, n_threads=2)
    joints = np.bincount(S[:-1, -1].astype(np.int64) * c + S[1:, 0], minlength=c * c).reshape(c, c)
    assert np.array_equal(single, expected + joints)


def test_blocks_do_not_lose_a_step(backend, monkeypatch):
    monkeypatch.setattr(td.backend, "BLOCK_WORK", 64)
    rng = np.random.default_rng(0)
    sequences = [rng.integers(-1, 3, n) for n in (0, 500, 1, 2, 77, 64, 128)]
    for order in (1, 2):
        expected = reference.count_transitions([s.tolist() for s in sequences], 3, order)
        assert td.count_transitions(sequences, n_states=3, order=order).ravel().tolist() == expected


def test_minus_one_breaks_a_sequence(backend):
    assert td.count_transitions([[0, 1, -1, 1, 0]]).tolist() == [[0, 1], [1, 0]]


def test_a_state_never_left_and_states_never_seen_are_rows_of_zeros(backend):
    assert td.count_transitions([[0, 1]], n_states=3).tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.count_transitions([[0.5, 1.0]]), TypeError, "integer codes"),
        (lambda: td.count_transitions([[0, 5]], n_states=3), ValueError, "is 5"),
        (lambda: td.count_transitions([[0, 1], [1, 0, 7]], n_states=3), ValueError, r"S\[1\]\[2\] is 7"),
        (lambda: td.count_transitions([]), ValueError, "n_states"),
        (lambda: td.count_transitions([[0, 1]], order=0), ValueError, "order must be at least 1"),
        (lambda: td.count_transitions([[0, 1]], n_states=2**31), ValueError, "too many to address"),
        (lambda: td.count_transitions(np.array([0, 1, 0]), offsets=[0, 2, 1, 3]), ValueError, "offsets"),
        (lambda: td.count_transitions(np.array([0, 1, 0]), offsets=[0, 9]), ValueError, "offsets"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_error(backend, call, error, message):
    with pytest.raises(error, match=message):
        call()
