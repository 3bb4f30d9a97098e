"""What missing states of sequences hide: expected counts against all completions, and EM that climbs to a maximum."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tallydraw as td
from strategies import random_rows
from tallydraw.models import _hidden_steps
from tallydraw.models._hidden_steps import HiddenSteps
from tallydraw.models.markov import SequenceData


def by_completion(sequences, weights, start, step):
    """Expected starts and steps of all sequences up to their last known state, and their log-likelihood."""
    starts, steps, total = np.zeros_like(start), np.zeros_like(step), 0.0
    for sequence, row in zip(sequences, weights, strict=True):
        known = np.flatnonzero(np.asarray(sequence) >= 0)
        if not len(known):
            continue
        states = np.array(sequence[: known[-1] + 1])
        gone = np.flatnonzero(states < 0)
        for k, weight in enumerate(row):
            found = []
            for fill in itertools.product(range(start.shape[1]), repeat=len(gone)):
                states[gone] = fill
                found.append((states.copy(), start[k, states[0]] * np.prod(step[k, states[:-1], states[1:]])))
            evidence = sum(p for _, p in found)
            total += weight * np.log(evidence)
            for path, p in found:
                starts[k, path[0]] += weight * p / evidence
                np.add.at(steps[k], (path[:-1], path[1:]), weight * p / evidence)
    return starts, steps, total


@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_equal_to_sums_over_completions(backend, seed, halved, monkeypatch):
    monkeypatch.setattr(_hidden_steps, "_are_halved", lambda *sizes: halved)
    rng = np.random.default_rng(seed)
    c, k = 2 + seed % 2, 1 + seed % 3
    sequences = [rng.integers(-1, c, n) for n in (1, 2, 5, 7, 8, 8)]
    sequences += [np.array(s, np.int64) for s in ([], [-1], [-1, -1, -1, 1, -1, -1, -1, -1, 0, -1], [0, -1, -1])]
    start, step = rng.dirichlet(np.ones(c), k), rng.dirichlet(np.ones(c), (k, c))
    theta, weights = td.Tables.from_arrays([start, step], parents=[-1, 0], n_classes=k), rng.random((len(sequences), k))
    hidden = HiddenSteps(SequenceData(sequences, None, None), c)
    counts, likelihood = hidden.expected(theta, *hidden.weights(weights), None)
    # What is seen of a sequence is counted apart.
    seen = [td.MarkovChain(homogeneous=True, n_categories=c).fit(sequences, sample_weight=w).counts_ for w in weights.T]
    known = np.stack([t[0] for t in seen]), np.stack([t[1] for t in seen])
    starts, steps, total = by_completion(sequences, weights, start, step)
    assert counts == pytest.approx(np.concatenate([(starts - known[0]).ravel(), (steps - known[1]).ravel()]), abs=1e-12)
    likelihood += (known[0] * np.log(start)).sum() + (known[1] * np.log(step)).sum()
    assert likelihood == pytest.approx(total, rel=1e-12)
    for threads in (1, 5):
        assert np.array_equal(hidden.expected(theta, *hidden.weights(weights), threads)[0], counts)


def test_what_is_impossible_is_not_expected(backend):
    theta = td.Tables.from_arrays([[1.0, 0.0], [[0.5, 0.5], [0.0, 1.0]]], parents=[-1, 0])
    hidden = HiddenSteps(SequenceData([[1, -1, 0], [-1, -1, 1]], None, None), 2)
    counts, likelihood = hidden.expected(theta, *hidden.weights(np.ones((2, 1))), None)
    assert counts == pytest.approx([1, 0, 1 / 3, 1, 0, 2 / 3])
    assert likelihood == -np.inf


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_the_objective_never_falls_and_ends_at_a_maximum(backend, alpha):
    rng = np.random.default_rng(3)
    S, y = random_rows(rng, [3] * 9, 80, 0.3), rng.integers(0, 2, 80)
    model = td.MarkovChain(homogeneous=True, missing_fit="em", alpha=alpha).fit(S, y)
    assert model.converged_ and len(model.objective_) == model.n_iter_ > 3
    assert np.diff(model.objective_).min() >= -1e-9

    def objective(chain):
        own = chain.log_joint(S)[np.arange(len(S)), y].sum()
        return own + (alpha * sum(np.log(table).sum() for table in chain.probabilities_) if alpha else 0.0)

    best = objective(model)
    given = sum(n * np.log(p) for n, p in zip(model.class_counts_, model.class_prior_, strict=True))
    assert model.objective_[-1] == pytest.approx(best - given, rel=1e-8)
    available = td.MarkovChain(homogeneous=True, alpha=alpha).fit(S, y)
    assert best > objective(available) + 1
    for j in (0, 1):
        for place in np.ndindex(model.probabilities_[j].shape[:-1]):
            for more in (-1e-3, 1e-3):
                tables = [table.copy() for table in model.probabilities_]
                tables[j][place] += [more, -more, 0]
                if tables[j].min() >= 0:
                    other = td.MarkovChain.from_probabilities(tables, class_prior=model.class_prior_, homogeneous=True)
                    assert objective(other) < best + 1e-7


LAZY, THREE = [[0.9, 0.1], [0.2, 0.8]], [[0.8, 0.15, 0.05], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6]]
ROUND = [[0.05, 0.8, 0.15], [0.15, 0.05, 0.8], [0.8, 0.15, 0.05]]


@pytest.mark.parametrize(
    ("step", "n_whole"), [(LAZY, 0), (THREE, 0), (THREE, 1), ([[0.1, 0.9], [0.8, 0.2]], 1), (ROUND, 1), (ROUND, 5)]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_second_state_tells_the_steps(backend, step, n_whole, seed):
    # Few sequences that are seen as a whole say of which root the square is seen: gaps do not outvote them.
    S = td.sample_paths(step, 200, 101, rng=seed).astype(int)
    S[n_whole:, 1::2] = -1
    model = td.MarkovChain(homogeneous=True, missing_fit="em").fit(S)
    truth = td.MarkovChain.from_probabilities([model.probabilities_[0], step], homogeneous=True)
    assert model.converged_ and model.objective_[-1] > truth.log_prob(S).sum()
    mixed = td.Mixture(td.MarkovChain(homogeneous=True), 1).fit(S, rng=0)
    assert mixed.objective_[-1] == pytest.approx(model.objective_[-1], abs=0.01)


def test_a_gap_between_equal_states_is_filled_with_them(backend):
    model = td.MarkovChain(homogeneous=True, missing_fit="em", n_categories=3).fit([[1, -1, 1]])
    assert model.objective_[-1] == pytest.approx(0, abs=1e-8)


def test_bits_do_not_depend_on_threads_or_backend(backend):
    S = random_rows(np.random.default_rng(4), [5] * 30, 400, 0.3)
    first = td.MarkovChain(homogeneous=True, missing_fit="em").fit(S, n_threads=1)
    for name in td.backend.available():
        td.backend.use(name)
        again = td.MarkovChain(homogeneous=True, missing_fit="em").fit(list(S), n_threads=3)
        assert again.counts_ == first.counts_
        assert np.array_equal(again.objective_, first.objective_)


def test_missing_at_random_is_unbiased_where_available_cases_are_not(backend):
    # A state is missing mostly where the next one is 1.
    truth = td.MarkovChain.from_probabilities([[0.5, 0.5], [[0.9, 0.1], [0.3, 0.7]]], homogeneous=True)
    S = truth.sample(4000, length=21, rng=1).astype(np.int64)
    S[:, :-1:2][S[:, 1::2] == 1] = -1
    step = truth.probabilities_[1]
    assert np.abs(td.MarkovChain(homogeneous=True).fit(S).probabilities_[1] - step).max() > 0.1
    assert np.abs(td.MarkovChain(homogeneous=True, missing_fit="em").fit(S).probabilities_[1] - step).max() < 0.02


def test_what_ends_a_sequence_says_nothing(backend):
    rng = np.random.default_rng(5)
    pieces = [s[: np.flatnonzero(s >= 0)[-1] + 1] for s in random_rows(rng, [3] * 8, 50, 0.3) if (s >= 0).any()]
    padded = np.full((len(pieces), 12), -1)
    for row, piece in zip(padded, pieces, strict=True):
        row[: len(piece)] = piece
    one, two = (td.MarkovChain(homogeneous=True, missing_fit="em", alpha=1).fit(S) for S in (pieces, padded))
    assert one.counts_ == two.counts_
    one, two = (td.Mixture(td.MarkovChain(homogeneous=True, alpha=1), 2).fit(S, rng=1) for S in (pieces, padded))
    assert one.probabilities_ == two.probabilities_


def test_weights_are_repetitions_and_without_gaps_it_is_counting(backend):
    rng = np.random.default_rng(6)
    S, weights = random_rows(rng, [3] * 8, 60, 0.3), rng.integers(0, 3, 60)
    one = td.MarkovChain(homogeneous=True, missing_fit="em", alpha=0.5).fit(S, sample_weight=weights)
    two = td.MarkovChain(homogeneous=True, missing_fit="em", alpha=0.5).fit(np.repeat(S, weights, axis=0))
    assert one.probabilities_.values == pytest.approx(two.probabilities_.values, abs=1e-9)
    whole = np.abs(S)
    em, plain = (td.MarkovChain(homogeneous=True, missing_fit=how).fit(whole) for how in ("em", "available"))
    assert em.counts_ == plain.counts_
    assert em.counts_.values.dtype == np.int64
    assert (em.n_iter_, em.converged_) == (0, True)
    empty = td.MarkovChain(homogeneous=True, missing_fit="em", n_categories=2).fit([])
    assert empty.counts_.values.sum() == 0


@pytest.mark.filterwarnings("ignore:EM ended after 1000 iterations")
def test_a_long_gap(backend):
    S = [[0, *[-1] * 5000, 1, 0, 1, 1, -1, 0], [-1] * 3001 + [1, 0, 0, 1]]
    model = td.MarkovChain(homogeneous=True, missing_fit="em", alpha=1).fit(S)
    assert model.counts_.values.sum() == pytest.approx(2 + 5006 + 3004, rel=1e-9)
    assert np.diff(model.objective_).min() >= -1e-9


def test_other_codes_that_are_missing_and_what_is_refused(backend):
    S = [[0, 1, -1, 1, 1, 0], [1, -1, -1, 0, 1, 1]]
    one = td.MarkovChain(homogeneous=True, missing_fit="em").fit(S)
    named = td.MarkovChain(homogeneous=True, missing_fit="em", missing=7, n_categories=2, unseen="missing")
    assert named.fit(np.array([[0, 1, 7, 1, 1, 0], [1, 9, 7, 0, 1, 1]], np.uint8)).counts_ == one.counts_
    with pytest.raises(
        ValueError, match=r"X\[0\]\[2\] is -1, a missing state: EM of sequences expects it at order 1, not 2"
    ):
        td.MarkovChain(homogeneous=True, missing_fit="em", order=2).fit(S)
    with pytest.raises(ValueError, match="needs all rows at once"):
        one.partial_fit(S)
    with pytest.raises(ValueError, match="held out"):
        one.loo_log_prob(S)
    assert np.isfinite(one.bic())
