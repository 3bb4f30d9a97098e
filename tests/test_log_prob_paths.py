"""log_prob_paths: sequences of any form and length under a Markov chain, missing states summed out; clear errors."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from tallydraw._sequences import Sequences
from tallydraw.log_prob import score_paths

DTYPES = [np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int16, np.int32, np.int64]


def random_chain(rng, c, order, n_classes, zeros=0.0):
    """Tables of a homogeneous chain, and start[k][t], transition[k] flat lists."""
    arrays = []
    for t in range(order + 1):
        shape = (n_classes or 1, *[c] * (t + 1))
        p = rng.exponential(size=shape) * (rng.random(shape) >= zeros)
        p[~p.any(axis=-1)] = 1
        arrays.append(p / p.sum(axis=-1, keepdims=True))
    tables = td.Tables.from_arrays(
        [a if n_classes else a[0] for a in arrays], parents=np.arange(order + 1) - 1, n_classes=n_classes, order=order
    )
    start = [[a[k].reshape(-1).tolist() for a in arrays[:-1]] for k in range(n_classes or 1)]
    return tables, start, [arrays[-1][k].reshape(-1).tolist() for k in range(n_classes or 1)]


@st.composite
def tasks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    c, order = draw(st.integers(1, 4) | st.just(30)), draw(st.integers(1, 3))
    if c == 30:
        order = min(order, 2)
    n_classes = draw(st.none() | st.integers(1, 6))
    chain = random_chain(rng, c, order, n_classes, draw(st.sampled_from([0.0, 0.3])))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    lengths = rng.integers(0, draw(st.sampled_from([4, 12])), draw(st.integers(0, 12)))
    if draw(st.booleans()):
        lengths[:] = 7
    sequences = [rng.integers(0, c, length).astype(dtype) for length in lengths]
    if order == 1 and dtype.kind == "i" and draw(st.booleans()):
        share = draw(st.sampled_from([0.1, 0.6]))
        for s in sequences:
            s[rng.random(len(s)) < share] = -1
    return sequences, chain, draw(st.booleans()), draw(st.sampled_from([1, 2, 7]))


@given(task=tasks())
@settings(max_examples=60, deadline=None)
def check_against_reference(task):
    sequences, (tables, start, transition), use_start, threads = task
    first = [-0.125 * k for k in range(len(transition))]
    known = [[int(v) if int(v) >= 0 else None for v in s] for s in sequences]
    expected = reference.log_prob_paths(known, start, transition, use_start, first)
    got = score_paths(Sequences(sequences), tables, np.array(first), use_start=use_start, n_threads=threads)
    assert got.tolist() == expected


def test_equals_the_reference_on_every_instruction_set(backend):
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        check_against_reference()


@pytest.mark.parametrize("order", [1, 2])
def test_long_paths_cross_chunks(backend, order):
    rng = np.random.default_rng(order)
    tables, start, transition = random_chain(rng, 3, order, 2)
    x = rng.integers(0, 3, 25_000).astype(np.int8)
    if order == 1:
        x[[0, 1, 8191, 8192, 8193, 16_383, 24_999]] = -1
    known = [[v if v >= 0 else None for v in x.tolist()]] * 2
    expected = reference.log_prob_paths(known, start, transition, True, [0.0, 0.0])
    got = score_paths(Sequences([x, x]), tables, np.zeros(2), n_threads=2)
    assert got.tolist() == expected


def test_negative_bytes_are_missing_however_many_states_there_are(backend):
    rng = np.random.default_rng(2)
    P = rng.dirichlet(np.ones(250), 250)
    x = rng.integers(0, 128, (20, 500)).astype(np.int8)
    x[3, 7], x[4, 9] = -100, -6  # 156 and 250 as unsigned numbers
    assert np.array_equal(td.log_prob_paths(x, P), td.log_prob_paths(x.astype(np.int64), P))
    assert np.array_equal(td.log_prob_paths(x[:3], P), td.log_prob_paths(x[:3].astype(np.uint8), P))


def test_missing_states_equal_brute_force(backend):
    rng = np.random.default_rng(5)
    P, w = rng.dirichlet(np.ones(3), 3), rng.dirichlet(np.ones(3))
    for pattern in itertools.product((0, 1), repeat=5):
        full = rng.integers(0, 3, 5).tolist()
        x = [-1 if gone else v for v, gone in zip(full, pattern, strict=True)]
        total = 0.0
        for z in itertools.product(*(range(3) if v < 0 else [v] for v in x)):
            total += w[z[0]] * math.prod(P[a, b] for a, b in itertools.pairwise(z))
        assert td.log_prob_paths([x], P, initial_weights=w) == pytest.approx([math.log(total)], abs=1e-12)
        # Without start weights: given the first known state.
        known = [t for t, v in enumerate(x) if v >= 0]
        if known:
            tail = x[known[0] :]
            total = 0.0
            for z in itertools.product(*(range(3) if v < 0 else [v] for v in tail)):
                total += math.prod(P[a, b] for a, b in itertools.pairwise(z))
            assert td.log_prob_paths([x], P) == pytest.approx([math.log(total)], abs=1e-12)
        else:
            assert td.log_prob_paths([x], P).tolist() == [0.0]


def test_all_forms_of_sequences_agree(backend):
    rng = np.random.default_rng(6)
    P = rng.dirichlet(np.ones(4), 4)
    S = rng.integers(0, 4, (9, 11)).astype(np.uint8)
    wanted = td.log_prob_paths(S, P)
    for form in (np.asfortranarray(S), S.astype(np.int64), list(S), S.tolist(), np.repeat(S, 2, axis=1)[:, ::2]):
        assert np.array_equal(td.log_prob_paths(form, P), wanted)
    flat = td.log_prob_paths(S.reshape(-1), P, offsets=np.arange(10) * 11)
    assert np.array_equal(flat, wanted)
    mixed = [s.astype(t) for s, t in zip(S, [np.int8, np.uint64, np.int64, np.uint8] * 3, strict=False)]
    assert np.array_equal(td.log_prob_paths(mixed, P), wanted)


def test_blocks_of_python_do_not_matter(backend, monkeypatch):
    rng = np.random.default_rng(7)
    P = rng.dirichlet(np.ones(3), 3)
    S = [rng.integers(0, 3, n) for n in rng.integers(0, 20, 50)]
    wanted = td.log_prob_paths(S, P)
    monkeypatch.setattr(td.backend, "BLOCK_WORK", 16)
    assert np.array_equal(td.log_prob_paths(S, P), wanted)
    with pytest.raises(ValueError, match=r"S\[49\]\[0\] is 3, but there are 3 states"):
        td.log_prob_paths([*S[:49], np.array([3])], P)


def test_order_two_with_and_without_start(backend):
    rng = np.random.default_rng(8)
    T, w = rng.dirichlet(np.ones(2), (2, 2)), rng.dirichlet(np.ones(4)).reshape(2, 2)
    x = [0, 1, 1, 0]
    tail = math.log(T[0, 1, 1]) + math.log(T[1, 1, 0])
    assert td.log_prob_paths([x, x[:2], x[:1], []], T) == pytest.approx([tail, 0, 0, 0])
    assert td.log_prob_paths([x, x[:2], x[:1], []], T, initial_weights=w) == pytest.approx(
        [math.log(w[0, 1]) + tail, math.log(w[0, 1]), math.log(w[0].sum()), 0]
    )


def test_impossible_paths_are_minus_infinity(backend):
    P = [[0.0, 1.0], [0.0, 1.0]]
    got = td.log_prob_paths([[0, 0], [0, 1], [0, -1, 0], [1, -1, -1, 1], [-1, 0]], P, initial_weights=[1.0, 0.0])
    assert got.tolist() == [-math.inf, 0.0, -math.inf, -math.inf, -math.inf]


def test_bad_states_name_the_sequence(backend):
    P = [[0.5, 0.5], [0.5, 0.5]]
    with pytest.raises(ValueError, match=r"S\[1, 2\] is 2, but there are 2 .* of more states, or replace it by -1"):
        td.log_prob_paths(np.array([[0, 1, 1], [0, 0, 2]]), P)
    with pytest.raises(ValueError, match=r"S\[2\]\[0\] is 5, but there are 2 states"):
        td.log_prob_paths([[0, 1], [], [5], [7]], P)
    with pytest.raises(ValueError, match=r"S\[3\] \(sequence 1, step 1\) is 9, but"):
        td.log_prob_paths([0, 1, 1, 9], P, offsets=[0, 2, 4])
    with pytest.raises(ValueError, match=rf"S\[0\]\[1\] is {2**64 - 1}, but"):
        td.log_prob_paths([np.array([0, 2**64 - 1], np.uint64), np.array([-1])], P)
    T = np.full((2, 2, 2), 0.5)
    with pytest.raises(ValueError, match=r"pass a transition of more states$"):
        td.log_prob_paths([[0, 1, 1, 2]], T)
    with pytest.raises(ValueError, match=r"S\[0\]\[3\] is -1, a missing state: only chains of order 1"):
        td.log_prob_paths([[0, 1, 1, -1]], T)


def test_bad_arguments(backend):
    P = [[0.5, 0.5], [0.5, 0.5]]
    with pytest.raises(ValueError, match=r"transition\[1\] sums to 0\.8"):
        td.log_prob_paths([[0]], [[0.5, 0.5], [0.4, 0.4]])
    with pytest.raises(ValueError, match="initial_weights sums to 2"):
        td.log_prob_paths([[0]], P, initial_weights=[1.0, 1.0])
    with pytest.raises(ValueError, match=r"initial_weights must have shape \(2,\)"):
        td.log_prob_paths([[0]], P, initial_weights=[0.5, 0.25, 0.25])
    with pytest.raises(ValueError, match="transition must have shape"):
        td.log_prob_paths([[0]], [0.5, 0.5])
    with pytest.raises(ValueError, match="transition must have shape"):
        td.log_prob_paths([[0]], [[0.5, 0.25, 0.25]])
    with pytest.raises(ValueError, match=r"write \[S\] for one sequence"):
        td.log_prob_paths([0, 1], P)
    for offsets, message in [
        ([1, 2], r"offsets\[0\]"),
        ([0, 2, 1, 2], "sequence 1"),
        ([0, 3], "past the end"),
        ([0, 1], "in no sequence"),
        ([], "one entry more"),
    ]:
        with pytest.raises(ValueError, match=message):
            td.log_prob_paths([0, 1], P, offsets=offsets)
    with pytest.raises(TypeError, match="offsets must be integers"):
        td.log_prob_paths([0, 1], P, offsets=[0.0, 2.0])
    with pytest.raises(TypeError, match=r"S\[0\] must hold integer codes"):
        td.log_prob_paths([[0.5]], P)
    with pytest.raises(ValueError, match="leave it out"):
        td.log_prob_paths([[0], [1]], P, offsets=[0, 1])
    assert td.log_prob_paths([], P).shape == (0,)
    assert td.log_prob_paths([[], []], P).tolist() == [0.0, 0.0]
    assert td.log_prob_paths(np.empty((3, 0), int), P).tolist() == [0.0] * 3


@pytest.mark.parametrize("order", [1, 2, 3])
def test_tables_of_a_chain_score_the_first_states_too(order, backend):
    rng = np.random.default_rng(order)
    tables, start, transition = random_chain(rng, 3, order, None)
    S = [rng.integers(0, 3, n) for n in (0, 1, 2, 3, 40)]
    expected = reference.log_prob_paths([s.tolist() for s in S], start, transition, True, [0.0])
    for _ in range(2):  # the second call finds what the first has prepared
        assert td.log_prob_paths(S, tables).tolist() == [e[0] for e in expected]
    if order == 1:
        S[-1][[0, 7, 8]] = -1
        wanted = td.log_prob_paths(S, tables[1], initial_weights=tables[0])
        assert td.log_prob_paths(S, tables).tolist() == wanted.tolist()
    # Without what the first states add: the same bits where nothing is added to.
    sure = td.Tables.from_arrays(
        [*np.eye(3)[None, 0], *(np.broadcast_to(np.eye(3)[0], (3,) * (t + 1)) for t in range(1, order)), tables[order]],
        parents=np.arange(order + 1) - 1,
        order=order,
    )
    S = [np.concatenate([np.zeros(order, np.int64), s]) for s in S[:-1]]
    assert td.log_prob_paths(S, sure).tolist() == td.log_prob_paths(S, tables[order]).tolist()


def test_the_probabilities_of_a_model_are_tables_of_a_chain(backend):
    X = np.random.default_rng(4).integers(0, 4, (30, 12))
    for order in (1, 2):
        model = td.MarkovChain(alpha=0.5, homogeneous=True, order=order).fit(X)
        assert np.array_equal(td.log_prob_paths(X, model.probabilities_), model.log_prob(X))


def test_tables_that_are_no_chain():
    P = np.full((2, 2), 0.5)
    chain = td.Tables.from_arrays([P[0], P], parents=[-1, 0])
    with pytest.raises(ValueError, match="initial_weights are for a transition that is an array"):
        td.log_prob_paths([[0]], chain, initial_weights=[0.5, 0.5])
    classes = td.Tables.from_arrays([P, [P, P]], parents=[-1, 0], n_classes=2)
    with pytest.raises(ValueError, match=r"n_classes=2, but a chain has no classes: pass transition.of_class\(k\)"):
        td.log_prob_paths([[0]], classes)
    assert td.log_prob_paths([[0]], classes.of_class(1)).tolist() == np.log([0.5]).tolist()
    with pytest.raises(ValueError, match=r"Tables\(d=2, n_categories=\[3, 2\], .*same states in every table"):
        td.log_prob_paths([[0]], td.Tables.from_arrays([np.full(3, 1 / 3), np.full((3, 2), 0.5)], parents=[-1, 0]))
    for arrays, parents, order in [
        ([P[0]], None, 1),
        ([P[0]] * 300, None, 1),
        ([P, P[0]], [1, -1], 1),
        ([P[0], P, P], [-1, 0, 1], 1),
        ([P[0], P, P], [-1, 0, 0], 2),
        ([P[0], P, [P, P], [P, P]], [-1, 0, 1, 2], 2),
    ]:
        with pytest.raises(ValueError, match=rf"Tables\(d={len(arrays)}, .*, which is no chain: one of order k"):
            td.log_prob_paths([[0]], td.Tables.from_arrays(arrays, parents=parents, order=order))
    with pytest.raises(ValueError, match=r"transition must hold probabilities.*Tables.from_arrays\(transition\)"):
        td.log_prob_paths([[0]], td.Tables.from_arrays([[1, 1], [[1, 1], [1, 1]]], parents=[-1, 0]))
    with pytest.raises(ValueError, match=r"transition\[1\], row 1 sums to 0\.75, not to one"):
        td.log_prob_paths([[0]], td.Tables.from_arrays([P[0], [[0.5, 0.5], [0.5, 0.25]]], parents=[-1, 0]))


def test_contiguous_arrays_are_not_copied():
    S = np.zeros((4, 5), np.uint8)
    (block,) = Sequences(S).blocks()
    assert np.shares_memory(block.states, S)
    (block,) = Sequences(S.reshape(-1), [0, 20]).blocks()
    assert np.shares_memory(block.states, S)


@pytest.mark.parametrize("kind", ["short", "long", "long known", "long order 2"])
@pytest.mark.parametrize("start", [False, True])
def test_calls_are_cut_by_the_work_that_they_are(kind, start, backend, monkeypatch):
    """Ctrl-C is heard between kernel calls: they are cut between paths, and within long ones, to the same scores."""
    rng = np.random.default_rng(5)
    order, least = (2, 0) if kind == "long order 2" else (1, 0 if "known" in kind else -1)
    transition = rng.dirichlet(np.ones(7), (7,) * order)
    weights = rng.dirichlet(np.ones(7**order)).reshape((7,) * order) if start else None
    lengths = rng.integers(0, 40, 50).tolist() if kind == "short" else [3000, 0, 2000]
    S = [rng.integers(least, 7, n).astype(np.int16) for n in lengths]
    whole = td.log_prob_paths(S, transition, initial_weights=weights)
    calls = []
    kernel = td.backend.kernels().log_prob_paths

    class Counting:
        def __getattr__(self, name):
            return getattr(kernels, name)

        def log_prob_paths(self, states, *rest):
            calls.append(len(states))
            return kernel(states, *rest)

    kernels = td.backend.kernels()
    monkeypatch.setattr(td.backend, "BLOCK_WORK", 2_000)
    monkeypatch.setattr(td.backend, "kernels", Counting)
    assert (td.log_prob_paths(S, transition, initial_weights=weights) == whole).all()
    assert len(calls) > 1
    assert max(calls) <= 2_000
    S[-1] = S[-1].copy() if lengths[-1] else np.zeros(1, np.int16)
    S[-1][-1] = 7
    with pytest.raises(ValueError, match=rf"S\[{len(S) - 1}\]\[{len(S[-1]) - 1}\] is 7"):
        td.log_prob_paths(S, transition, initial_weights=weights)


def test_what_is_nearly_the_tables_of_a_chain():
    model = td.MarkovChain(homogeneous=True).fit([[0, 1, 1, 0]])
    for call in (lambda x: td.log_prob_paths([[0, 1]], x), lambda x: td.sample_paths(x, 1, 2, rng=0)):
        with pytest.raises(ValueError, match="tables of different dimensions: pass the last of them, with initial_"):
            call(list(model.probabilities_))
        with pytest.raises(
            TypeError, match=r"transition is a MarkovChain, not its tables: pass its probabilities_ or its"
        ):
            call(model)
    with pytest.raises(TypeError, match="tables is a NaiveBayes, not its tables"):
        td.log_prob_features([[0]], td.NaiveBayes().fit([[0]]))
