"""Steps that missing states of sequences hide, expected: what EM of homogeneous chains of order 1 counts of them."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tallydraw import _check, backend
from tallydraw._sequences import Block, Sequences
from tallydraw.models._sums import log, weighted_sum
from tallydraw.tables import Tables

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

# Cells of a block, between which Python hears Ctrl-C: few, but as many as the table that they are added to.
_LEAST_CELLS, _MOST_CELLS = 1 << 18, 1 << 21


class _Kind(NamedTuple):
    """Gaps of so many steps: the place of each in a table of (ends), and where it stands among all kinds."""

    steps: int
    place: Whole
    begin: int


class _Found(NamedTuple):
    """Gaps of all sequences in order: whose each is, and the number of its kind."""

    row: Whole
    kind: Whole
    kinds: list[_Kind]
    n_kinds: int

    def weights(self, rows: Floats) -> Floats:
        """(K, kinds) sums, in order, of (n, K) weights of the sequences."""
        sums = [np.bincount(self.kind, w[self.row], self.n_kinds) for w in rows.T]
        return np.array(sums, np.float64)


class HiddenSteps:
    """What missing states hide: gaps, from a state that is seen to the next one, or from the first, unseen state.

    A gap of n steps from a to b is a shorter one from a to m and another one from m to b, with p(m | a, b): weights of
    gaps are handed down, the longest first, until all are of single steps, which are the expected counts (Baum et al.,
    1970). Gaps of the same length and ends are one. All in logs, sums from left to right. States after the last one
    that is seen say nothing and are not expected.

    Gaps lose a step at a time, or half of them where that is less work. An iteration costs O(C**2) for each step of the
    longest gap and each state that gaps end in, or O(C**3 log(steps)) for each length of a gap, whatever the number of
    sequences; and O(1) for each gap.
    """

    def __init__(self, sequences: Sequences, n_states: int) -> None:
        """Of checked sequences, whose missing states are negative."""
        self.n_states = n_states
        parts = [np.empty((4, 0), np.int64)]
        parts += [_gaps(block) for block in sequences.blocks() if block.states.size and block.states.min() < 0]
        row, steps, before, after = np.concatenate(parts, axis=1)
        inner = before >= 0
        self.between = _kinds(row[inner], steps[inner], before[inner] * n_states + after[inner], n_states**2)
        self.leading = _kinds(row[~inner], steps[~inner], after[~inner], n_states)
        own = {kind.steps for kind in self.between.kinds}
        first = {kind.steps for kind in self.leading.kinds}
        longest, ends = max(own | first, default=1), np.unique(after)
        # Lengths that gaps come to, and those whose powers are needed: of what is left of others, and of leading gaps.
        self._powers = first | _halves(own | first)
        self._by_halves = _are_halved(len(self._powers) * n_states, longest * len(ends))
        if not self._by_halves:
            self._powers = set(range(1, longest + 1 if longest in first else longest))
        self._lengths = own | self._powers
        # The columns of powers that are needed.
        self._ends = np.arange(n_states) if self._by_halves else ends
        self._column = np.searchsorted(self._ends, np.arange(n_states))

    def _first(self, n: int) -> int:
        """How many of n steps a gap is split after."""
        return n // 2 if self._by_halves else 1

    def __len__(self) -> int:
        return len(self.between.row) + len(self.leading.row)

    def weights(self, rows: Floats) -> tuple[Floats, Floats]:
        """(K, kinds) sums of (n, K) weights of the sequences: of gaps between states, and of leading ones."""
        return self.between.weights(rows), self.leading.weights(rows)

    def leaning(self, between: Floats) -> Floats:
        """Flat weights of gaps between states as if each were one step, of each class the largest being 1.

        From equal steps EM does not leave, where all that is seen is every second state: it wants to be told a way.
        """
        c, k = self.n_states, len(between)
        steps = np.zeros((k, c * c))
        for kind in self.between.kinds:
            steps[:, kind.place] += between[:, kind.begin : kind.begin + len(kind.place)]
        most = steps.max(axis=1, keepdims=True)
        np.divide(steps, most, out=steps, where=most > 0)
        return np.concatenate([np.zeros(k * c), steps.reshape(-1)])

    def expected(self, theta: Tables, between: Floats, leading: Floats, n_threads: int | None) -> tuple[Floats, float]:
        """Flat expected counts of gaps of such weights, under a chain, and their log-likelihood.

        That is the one of the state after each gap, given the state before it.
        """
        c, k = self.n_states, theta.structure.n_classes
        start, step = np.split(log(theta.values), [k * c])
        start, step = start.reshape(k, c), step.reshape(k, c, c)
        powers = self._logs_of_powers(step, n_threads)
        passed = collections.defaultdict[int, Floats](lambda: np.zeros(k * c * c))
        starts = np.zeros((k, c))
        likelihood = 0.0
        own = {kind.steps: kind for kind in self.between.kinds}
        first = {kind.steps: kind for kind in self.leading.kinds}
        for n in sorted(self._lengths, reverse=True):
            if n in first:
                kind = first[n]
                weight = leading[:, kind.begin : kind.begin + len(kind.place)]
                scores = start[:, None, :] + powers[n].transpose(0, 2, 1)[:, self._column[kind.place]]
                logs, shares = _posterior(scores.reshape(-1, c), n_threads)
                likelihood += weighted_sum(weight, logs.reshape(weight.shape))
                shares = shares.reshape(scores.shape) * weight[:, :, None]
                starts += np.add.accumulate(shares, axis=1)[:, -1]
                passed[n].reshape(k, c, c)[:, :, kind.place] += shares.transpose(0, 2, 1)
            if n == 1:
                continue
            if n in own:
                kind = own[n]
                weight = between[:, kind.begin : kind.begin + len(kind.place)].reshape(-1)
                place = (np.arange(k)[:, None] * c * c + kind.place).reshape(-1)
                likelihood += self._split(n, place, weight, step, powers, passed, n_threads)
            if n in passed:
                place = np.flatnonzero(passed[n] > 0)
                self._split(n, place, passed.pop(n)[place], step, powers, passed, n_threads)
        return np.concatenate([starts.reshape(-1), passed[1]]), likelihood

    def _logs_of_powers(self, step: Floats, n_threads: int | None) -> dict[int, Floats]:
        """Logs of the columns of the n-th powers that are needed, (K, C, ends), for each length n that is."""
        powers = {1: step[:, :, self._ends]}
        place = (np.arange(step.size // self.n_states)[:, None] * self.n_states + self._ends).reshape(-1)
        for n in sorted(self._powers - {1}):
            product = np.empty(len(place))
            for a, b in self._blocks(len(place), len(step)):
                scores = self._halfway(n, place[a:b], step, powers)
                team = backend.threads(_check.thread_count(n_threads), scores.size)
                backend.kernels().log_sum_exp(scores, product[a:b], team)
            powers[n] = product.reshape(powers[1].shape)
        return powers

    def _split(
        self,
        n: int,
        place: Whole,
        weight: Floats,
        step: Floats,
        powers: dict[int, Floats],
        passed: dict[int, Floats],
        n_threads: int | None,
    ) -> float:
        """Hand the weights of gaps of n steps at flat places (class, from, to) down; their weighted log-likelihood."""
        c, likelihood = self.n_states, 0.0
        for a, b in self._blocks(len(place), len(step)):
            at = place[a:b]
            logs, shares = _posterior(self._halfway(n, at, step, powers), n_threads)
            likelihood += weighted_sum(weight[a:b], logs)
            given = (shares * weight[a:b, None]).reshape(-1)
            middle = np.arange(c)
            into = (at // c * c)[:, None] + middle
            out = ((at // (c * c) * c)[:, None] + middle) * c + (at % c)[:, None]
            for part, cells in ((self._first(n), into), (n - self._first(n), out)):
                passed[part] += np.bincount(cells.reshape(-1), given, step.size)
        return likelihood

    def _halfway(self, n: int, place: Whole, step: Floats, powers: dict[int, Floats]) -> Floats:
        """Logs of going from a to m and on to b: a row for each flat place (class, a, b), a column for each m."""
        c, first = self.n_states, self._first(n)
        there = step if first == 1 else powers[first]
        back = powers[n - first].transpose(0, 2, 1).reshape(-1, c)  # [class, b][m]
        scores: Floats = there.reshape(-1, c)[place // c]
        scores += back[place // (c * c) * len(self._ends) + self._column[place % c]]
        return scores

    def _blocks(self, n: int, n_classes: int) -> Iterator[tuple[int, int]]:
        """Of n places, each with a cell for each state."""
        cells = min(max(_LEAST_CELLS, n_classes * self.n_states**2), _MOST_CELLS)
        step = max(1, cells // self.n_states)
        return ((a, min(a + step, n)) for a in range(0, n, step))


def _are_halved(by_halves: int, by_steps: int) -> bool:
    """Whether gaps are halved, which is so much work, or lose steps one by one."""
    return by_halves < by_steps


def _halves(lengths: set[int]) -> set[int]:
    """The lengths that gaps of these lengths come to by halving."""
    found, todo = set[int](), [n for n in lengths if n > 1]
    while todo:
        n = todo.pop()
        new = {n // 2, n - n // 2} - found
        found |= new
        todo += [half for half in new if half > 1]
    return found


def _gaps(block: Block) -> Whole:
    """(4, gaps) of a block, in order: whose each is, its steps, and the states before (-1 for none) and after it."""
    states, offsets = block.states, block.offsets
    seen = np.flatnonzero(states >= 0)
    whose = np.searchsorted(offsets, seen, side="right") - 1
    leads = np.diff(whose, prepend=-1) > 0
    last = np.where(leads, offsets[whose], np.roll(seen, 1))
    steps = seen - last
    gap = np.flatnonzero(steps > np.where(leads, 0, 1))
    before = np.where(leads[gap], -1, states[last[gap]])
    return np.stack([block.begin + whose[gap], steps[gap], before, states[seen[gap]]]).astype(np.int64)


def _kinds(row: Whole, steps: Whole, place: Whole, n_places: int) -> _Found:
    """Gaps of the same steps and place are of one kind."""
    key, kind = np.unique(steps * n_places + place, return_inverse=True)
    length, at = np.divmod(key, n_places)
    edges = [*np.flatnonzero(np.diff(length, prepend=-1)).tolist(), len(key)]
    kinds = [_Kind(int(length[a]), at[a:b], a) for a, b in itertools.pairwise(edges)]
    return _Found(row, kind.reshape(-1), kinds, len(key))


def _posterior(scores: Floats, n_threads: int | None) -> tuple[Floats, Floats]:
    """Logs of the sums of rows, and their shares; none where all is impossible."""
    logs, shares = np.empty(len(scores)), np.empty_like(scores)
    team = backend.threads(_check.thread_count(n_threads), scores.size)
    backend.kernels().posterior(scores, np.zeros(scores.shape[1]), logs, shares, team)
    return logs, shares
