"""Parity: good and hostile calls of every public function end alike on both backends, in value or in exception."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tallydraw as td

INF, NAN = np.inf, np.nan
R = np.random.default_rng(20240229)

X = R.integers(0, 4, (500, 5)).astype(np.int8)
HOLES = np.where(R.random(X.shape) < 0.2, -1, X).astype(np.int8)
Y = R.integers(0, 3, 500)
W = R.random(500)
WIDE = np.stack([R.integers(0, c, 3000) for c in (2, 3, 17, 255, 1000)], axis=1)
ONE_BAD = X.copy()
ONE_BAD[123, 3] = 9
TWO_BAD = ONE_BAD.copy()
TWO_BAD[77, 4] = 100
CHAIN = [-1, 0, 1, 2, 3]
TREE = [2, 2, -1, 2, 0]
S = R.integers(0, 5, (60, 40))
GAPS = np.where(R.random(S.shape) < 0.05, -1, S)
RAGGED = [S[0, :7], S[1, :1], S[2, :0], S[3]]
P = R.random((5, 5)) + 0.01
HARD = P * (R.random((5, 5)) < 0.5) + np.eye(5)
ROWS = R.random((40, 7)) * (R.random((40, 7)) < 0.7) + np.eye(40, 7)
INTEGERS = R.integers(0, 10**12, (6, 9))
ORDER_2 = R.integers(1, 9, (3, 3, 3))
KEY = 0xC0FFEE
LONG = np.random.default_rng(5).integers(0, [5, 2, 8, 9, 16], (9000, 5)).astype(np.uint8)


def tables(**options: Any) -> td.Tables:
    return td.count_features(X, n_categories=4, **options).normalize(alpha=0.5)


def bad_rows(value: float) -> np.ndarray:
    rows = ROWS.copy()
    rows[11, 3] = value
    rows[30, 2] = value
    return rows


# What an error says that nobody wrote for the user.
OURS = "module 'tallydraw'|unexpected keyword|positional argument|NoneType|incompatible function|could not be broadcast"

Call = Callable[[], Any]

CALLS: dict[str, list[Call]] = {
    "count_categories": [
        lambda: td.count_categories(X[:, 0]),
        lambda: td.count_categories(X[::-3, 2], n_categories=9, n_threads=7),
        lambda: td.count_categories(WIDE[:, 4].astype(np.uint16)),
        lambda: td.count_categories(X[:, 0], sample_weight=W),
        lambda: td.count_categories(np.array([True, False, True])),
        lambda: td.count_categories([], n_categories=3),
        lambda: td.count_categories([]),
        lambda: td.count_categories([0.0, 1.0]),
        lambda: td.count_categories([[0, 1]]),
        lambda: td.count_categories([0, 5], n_categories=5),
        lambda: td.count_categories([0, 1], n_categories=0),
        lambda: td.count_categories([0, 1], sample_weight=[1.0]),
        lambda: td.count_categories([0, 1], sample_weight=[1.0, NAN]),
        lambda: td.count_categories([0, 1], sample_weight=[1.0, -1.0]),
        lambda: td.count_categories([0, 1], n_threads=0),
        lambda: td.count_categories([0, 1], n_threads=1.5),
        lambda: td.count_categories([2**63 - 1]),
        lambda: td.count_categories(np.array([2**64 - 1], np.uint64), n_categories=3),
    ],
    "count_features": [
        lambda: td.count_features(X),
        lambda: td.count_features(X.T.copy().T, y=Y, n_threads=2),
        lambda: td.count_features(HOLES, y=Y, n_categories=4, n_threads=7),
        lambda: td.count_features(HOLES, y=Y, n_categories=4, sample_weight=W, n_threads=7),
        lambda: td.count_features(HOLES, parents=CHAIN, n_categories=4),
        lambda: td.count_features(HOLES, y=Y, parents=TREE, n_categories=4, sample_weight=W),
        lambda: td.count_features(X, missing=2, y=Y),
        lambda: td.count_features(WIDE, y=np.arange(3000) % 2),
        lambda: td.count_features(LONG, y=LONG[:, 0]),  # past every block
        lambda: td.count_features(LONG.astype(np.int16) - 1, y=LONG[:, 0], n_categories=16, n_threads=2),
        lambda: td.count_features(WIDE[::2, ::-1]),
        lambda: td.count_features(ONE_BAD, n_categories=4, unseen="missing"),
        lambda: td.count_features(ONE_BAD, n_categories=4),
        lambda: td.count_features(TWO_BAD, n_categories=4, n_threads=7),
        lambda: td.count_features(TWO_BAD, n_categories=4, y=Y, sample_weight=W, parents=CHAIN, n_threads=2),
        lambda: td.count_features(X.astype(float)),
        lambda: td.count_features(X[0]),
        lambda: td.count_features(X[:0]),
        lambda: td.count_features(X[:0], n_categories=4),
        lambda: td.count_features(X[:, :0]),
        lambda: td.count_features(X, y=Y[:-1]),
        lambda: td.count_features(X, y=np.where(Y == 2, -1, Y)),
        lambda: td.count_features(X, y=Y.astype(float)),
        lambda: td.count_features(X, y=Y, n_classes=2),
        lambda: td.count_features(X, n_classes=2),
        lambda: td.count_features(X, n_categories=[4, 4]),
        lambda: td.count_features(X, n_categories=4.0),
        lambda: td.count_features(X, parents=[1, 0, 0, 0, 0]),
        lambda: td.count_features(X, parents=[-1, 0]),
        lambda: td.count_features(X, parents=[-1, 9, 0, 0, 0]),
        lambda: td.count_features(X, unseen="ignore"),
        lambda: td.count_features(X, sample_weight=W * INF),
        lambda: td.count_features(X, n_categories=2**40, parents=CHAIN),
        lambda: td.count_features("text"),
        lambda: td.count_features(None),
    ],
    "count_pairs": [
        lambda: td.count_pairs(X),
        lambda: td.count_pairs(X.T.copy().T, y=Y, n_threads=2),
        lambda: td.count_pairs(HOLES, y=Y, n_categories=4, n_threads=7),
        lambda: td.count_pairs(HOLES, y=Y, n_categories=4, sample_weight=W, n_threads=7),
        lambda: td.count_pairs(X, missing=2, y=Y),
        lambda: td.count_pairs(WIDE[:, :4]),
        lambda: td.count_pairs(WIDE[::2, 3::-1], sample_weight=np.arange(1500.0), n_threads=2),
        lambda: td.count_pairs(LONG, y=LONG[:, 0]),
        lambda: td.count_pairs(LONG.astype(np.int16) - 1, y=LONG[:, 0], n_categories=16, n_threads=2),
        lambda: td.count_pairs(np.tile(HOLES, 20), n_categories=4, sample_weight=W),
        lambda: td.count_pairs(ONE_BAD, n_categories=4, unseen="missing"),
        lambda: td.count_pairs(ONE_BAD, n_categories=4),
        lambda: td.count_pairs(TWO_BAD, n_categories=4, n_threads=7),
        lambda: td.count_pairs(TWO_BAD, n_categories=4, y=Y, sample_weight=W, n_threads=2),
        lambda: td.count_pairs(X.astype(float)),
        lambda: td.count_pairs(X[:0]),
        lambda: td.count_pairs(X[:, :0]),
        lambda: td.count_pairs(X, y=Y[:-1]),
        lambda: td.count_pairs(X, n_classes=2),
        lambda: td.count_pairs(X, n_categories=[4, 4]),
        lambda: td.count_pairs(X, n_categories=2**31),
        lambda: td.count_pairs(X, sample_weight=W * INF),
        lambda: td.count_pairs(X, unseen="ignore"),
        lambda: td.count_pairs(None),
    ],
    "PairTables": [
        lambda: td.count_pairs(X).tables(TREE),
        lambda: td.count_pairs(X, y=Y).of_class(2).tables(TREE),
        lambda: td.count_pairs(X)[4, 0],
        lambda: td.count_pairs(X)[2, 2],
        lambda: td.count_pairs(X)[0],
        lambda: td.count_pairs(X)[0, 1.5],
        lambda: td.count_pairs(X[:250], n_categories=4) + td.count_pairs(X[250:], n_categories=4),
        lambda: td.count_pairs(X, n_categories=4) - td.count_pairs(X[250:], n_categories=4),
        lambda: td.count_pairs(X[:250], n_categories=4) - td.count_pairs(X, n_categories=4),
        lambda: td.count_pairs(X) + td.count_pairs(X, y=Y),
        lambda: td.count_pairs(X).tables([1, 0, 0, 0, 0]),
        lambda: td.count_pairs(X).of_class(0),
    ],
    "count_transitions": [
        lambda: td.count_transitions(S),
        lambda: td.count_transitions(GAPS, n_threads=7),
        lambda: td.count_transitions(RAGGED, n_states=5),
        lambda: td.count_transitions(S.ravel(), offsets=[0, 7, 7, 100, 2400], order=2),
        lambda: td.count_transitions(GAPS, order=3, n_states=6),
        lambda: td.count_transitions(S, n_states=4),
        lambda: td.count_transitions([S[0], S[1, :0], S[2] + 3], n_states=5, n_threads=2),
        lambda: td.count_transitions(S.astype(float)),
        lambda: td.count_transitions(S.ravel(), offsets=[0, 9, 5, 2400]),
        lambda: td.count_transitions(S.ravel(), offsets=[0, 9]),
        lambda: td.count_transitions([]),
        lambda: td.count_transitions([], n_states=3),
        lambda: td.count_transitions(S, order=0),
        lambda: td.count_transitions(S, order=60),
    ],
    "count_rows": [
        lambda: td.count_rows(X),
        lambda: td.count_rows(HOLES),
        lambda: td.count_rows(WIDE, sample_weight=np.arange(3000.0)),
        lambda: td.count_rows(X[:0]),
        lambda: td.count_rows(X.astype(float)),
        lambda: td.count_rows(X, sample_weight=W[:3]),
    ],
    "estimate_alpha": [
        lambda: td.estimate_alpha(td.count_features(WIDE, y=np.arange(3000) % 2)),
        lambda: td.estimate_alpha(td.count_features(HOLES, parents=TREE, n_categories=4, sample_weight=W)),
        lambda: td.estimate_alpha(td.count_features(HOLES, y=Y, n_categories=4), per_feature=True, n_threads=7),
        lambda: td.estimate_alpha([[5, 0], [0, 7, 0]], per_feature=True),
        lambda: td.estimate_alpha([[5, 5], [7, 7]]),
        lambda: td.estimate_alpha([[0, 0], [0, 1]]),
        lambda: td.estimate_alpha([[1e300, 1e-300], [0.5, 0.0]]),
        lambda: td.estimate_alpha([[9]]),
        lambda: td.estimate_alpha([]),
        lambda: td.estimate_alpha([[1, -1]]),
        lambda: td.estimate_alpha([[1.0, NAN]]),
        lambda: td.estimate_alpha(["text"]),
        lambda: td.estimate_alpha([[1, 2]], per_feature=1),
        lambda: td.estimate_alpha([[1, 2]], n_threads=0),
    ],
    "compare": [
        lambda: td.compare(
            {"a": td.NaiveBayes(alpha=1).fit(X, Y), "b": td.MarkovChain().fit(X)}, HOLES, Y, n_threads=2
        ),
        lambda: td.compare({"a": td.NaiveBayes(n_categories=4).fit(X[:9])}, X),
        lambda: td.compare({"a": td.NaiveBayes().fit(X)}, TWO_BAD),
        lambda: td.compare({"a": td.NaiveBayes().fit(X)}, X.astype(float)),
        lambda: td.compare({"a": td.NaiveBayes().fit(X, Y)}, X, Y[1:]),
        lambda: td.compare({}, X),
        lambda: td.compare([1], X),
    ],
    "Model.loo_log_prob": [
        lambda: td.NaiveBayes(alpha=0.3).fit(HOLES, Y).loo_log_prob(HOLES, Y, n_threads=7),
        lambda: td.MarkovChain(n_categories=4).fit(HOLES).loo_log_prob(HOLES),
        lambda: td.MarkovChain(homogeneous=True, alpha=1).fit(GAPS).loo_log_prob(GAPS),
        lambda: td.JointTable(alpha=0.1).fit(X, Y).loo_log_prob(X, Y),
        lambda: td.NaiveBayes(n_categories=4).fit(X[:, :1] * 0).loo_log_prob(X[:, :1]),
        lambda: td.NaiveBayes().fit(X, sample_weight=W).loo_log_prob(X),
        lambda: td.NaiveBayes().fit(X).loo_log_prob(X, Y),
        lambda: td.NaiveBayes().fit(X).loo_log_prob(X, n_threads=0),
    ],
    "Model.log_evidence, aic, bic": [
        lambda: td.MarkovChain(alpha=0.3).fit(HOLES, Y).log_evidence(),
        lambda: td.NaiveBayes(alpha=[1, 2, 3, 4, 5]).fit(HOLES, Y, sample_weight=W).log_evidence(n_threads=2),
        lambda: td.NaiveBayes().fit(X).log_evidence(),
        lambda: td.NaiveBayes().fit(HOLES, Y, sample_weight=W).aic(),
        lambda: td.MarkovChain(homogeneous=True).fit(GAPS).bic(),
        lambda: td.NaiveBayes().aic(),
    ],
    "sample_categories": [
        lambda: td.sample_categories([1, 1], 1000, rng=KEY),
        lambda: td.sample_categories([0, 3, 0, 1, 0], 1001, rng=KEY, start=2**40 + 3, n_threads=7),
        lambda: td.sample_categories(W, (7, 11), rng=np.random.default_rng(3)),
        lambda: td.sample_categories(np.arange(100_000), 5000, rng=KEY, dtype=np.int64),
        lambda: td.sample_categories([2.0**-1074, 0.0], 10, rng=KEY),
        lambda: td.sample_categories([1e308, 1e308, 1e308], 100, rng=KEY),
        lambda: td.sample_categories(np.float32([0.1, 0.2, 0.7]), 100, rng=np.random.SeedSequence(5)),
        lambda: td.sample_categories([True, False], 10, rng=KEY),
        lambda: td.sample_categories([5], 10, rng=KEY),
        lambda: td.sample_categories([1, 2], 0, rng=KEY),
        lambda: td.sample_categories([1, 2], None, rng=KEY),
        lambda: td.sample_categories([1, NAN], 10, rng=KEY),
        lambda: td.sample_categories([1, INF], 10, rng=KEY),
        lambda: td.sample_categories([1, -1], 10, rng=KEY),
        lambda: td.sample_categories([1, -0.5], 10, rng=KEY),
        lambda: td.sample_categories([0, 0], 10, rng=KEY),
        lambda: td.sample_categories([], 10, rng=KEY),
        lambda: td.sample_categories([2**62, 2**62], 10, rng=KEY),
        lambda: td.sample_categories(["a", "b"], 10, rng=KEY),
        lambda: td.sample_categories([1, 2], -1, rng=KEY),
        lambda: td.sample_categories([1, 2], 2.5, rng=KEY),
        lambda: td.sample_categories([1, 2], 10, rng=1.5),
        lambda: td.sample_categories([1, 2], 10, rng=-1),
        lambda: td.sample_categories([1, 2], 10, rng=KEY, start=-1),
        lambda: td.sample_categories(np.ones(300), 10, rng=KEY, dtype=np.uint8),
        lambda: td.sample_categories([1, 2], 10, rng=KEY, out=np.empty(9, np.uint8)),
        lambda: td.sample_categories([1, 2], 10, rng=KEY, out=[0] * 10),
        lambda: td.sample_categories([1, 2], 10, rng=KEY, out=np.empty(20, np.int16)[::2]),
        lambda: td.sample_categories([1, 2], 10, rng=KEY, dtype=complex),
    ],
    "sample_rows": [
        lambda: td.sample_rows(ROWS, rng=KEY),
        lambda: td.sample_rows(ROWS, rng=KEY, start=17, n_threads=7),
        lambda: td.sample_rows(ROWS.astype(np.float32), rng=KEY, rows=np.arange(30)),
        lambda: td.sample_rows(INTEGERS, rng=KEY, rows=[5, 0, 0, 3]),
        lambda: td.sample_rows(ROWS[:, ::2], rng=KEY),
        lambda: td.sample_rows(ROWS[:0], rng=KEY),
        lambda: td.sample_rows(bad_rows(NAN), rng=KEY),
        lambda: td.sample_rows(bad_rows(INF), rng=KEY, n_threads=2),
        lambda: td.sample_rows(bad_rows(-1.0), rng=KEY),
        lambda: td.sample_rows(ROWS * 0, rng=KEY),
        lambda: td.sample_rows(np.full((3, 4), 1e308), rng=KEY),
        lambda: td.sample_rows(np.full((2, 4), 2**62), rng=KEY),
        lambda: td.sample_rows(ROWS, rng=KEY, rows=[0, 40]),
        lambda: td.sample_rows(ROWS, rng=KEY, rows=[0, -1]),
        lambda: td.sample_rows(ROWS, rng=KEY, rows=[0.0]),
        lambda: td.sample_rows(ROWS[0], rng=KEY),
        lambda: td.sample_rows(ROWS[:, :0], rng=KEY),
    ],
    "sample_counts": [
        lambda: td.sample_counts([1, 2, 3], 10, rng=KEY),
        lambda: td.sample_counts(ROWS, 10**6, rng=KEY, n_threads=7),
        lambda: td.sample_counts(ROWS[0], [[0, 1], [2**53, 10**9]], rng=KEY, start=5),
        lambda: td.sample_counts(INTEGERS, [1, 10, 100, 1000, 10**4, 10**15], rng=KEY),
        lambda: td.sample_counts([0, 1, 0], 50, rng=KEY),
        lambda: td.sample_counts([1, 2], 2**53 + 1, rng=KEY),
        lambda: td.sample_counts([1, 2], -1, rng=KEY),
        lambda: td.sample_counts([1, 2], 1.0, rng=KEY),
        lambda: td.sample_counts([0.0, 0.0], 1, rng=KEY),
        lambda: td.sample_counts(ROWS, [1, 2], rng=KEY),
        lambda: td.sample_counts([1, NAN], 1, rng=KEY),
        lambda: td.sample_counts([1, 2], 3, rng=KEY, out=np.empty(2, np.int32)),
    ],
    "sample_features": [
        lambda: td.sample_features(tables(), 300, rng=KEY),
        lambda: td.sample_features(tables(y=Y), 300, y=np.full(300, 2), rng=KEY, start=9, n_threads=7),
        lambda: td.sample_features(tables(parents=TREE), 300, rng=KEY, n_threads=2),
        lambda: td.sample_features(tables(y=Y, parents=CHAIN), 500, y=Y, rng=KEY),
        lambda: td.sample_features(td.count_features(WIDE), 100, rng=KEY),
        lambda: td.sample_features(td.count_features(LONG, y=LONG[:, 0]), 9000, y=LONG[:, 0], rng=KEY),
        lambda: td.sample_features([[1, 2], [0.5, 0.5]], 5, rng=KEY),
        lambda: td.sample_features(tables(), 0, rng=KEY),
        lambda: td.sample_features(tables(), -1, rng=KEY),
        lambda: td.sample_features(tables(y=Y), 5, rng=KEY),
        lambda: td.sample_features(tables(y=Y), 5, y=[0, 1, 2, 3, 0], rng=KEY),
        lambda: td.sample_features(tables(), 5, y=[0, 0, 0, 0, 0], rng=KEY),
        lambda: td.sample_features([[1, 2], [0, 0]], 5, rng=KEY),
        lambda: td.sample_features([[1, 2], [NAN, 0]], 5, rng=KEY),
        lambda: td.sample_features([], 5, rng=KEY),
        lambda: td.sample_features(tables(), 5, rng=KEY, out=np.empty((5, 4), np.uint8)),
    ],
    "sample_paths": [
        lambda: td.sample_paths(P, 30, 50, rng=KEY),
        lambda: td.sample_paths(HARD, 30, 50, rng=KEY, initial_state=2, start=4, n_threads=7),
        lambda: td.sample_paths(P, 5, 50, rng=KEY, initial_state=[0, 1, 2, 3, 4]),
        lambda: td.sample_paths(P, 30, 50, rng=KEY, initial_weights=[0, 0, 1, 2, 0], n_threads=2),
        lambda: td.sample_paths(INTEGERS[:3, :3], 3, 1, rng=KEY),
        lambda: td.sample_paths(P, 0, 5, rng=KEY),
        lambda: td.sample_paths(P, 3, 0, rng=KEY),
        lambda: td.sample_paths(ORDER_2, 4, 9, rng=KEY),
        lambda: td.sample_paths(ORDER_2, 300, 150, rng=KEY),
        lambda: td.sample_paths(P, 300, 150, rng=KEY),
        lambda: td.sample_paths(P[:4], 3, 5, rng=KEY),
        lambda: td.sample_paths(P * 0, 3, 5, rng=KEY),
        lambda: td.sample_paths(P * NAN, 3, 5, rng=KEY),
        lambda: td.sample_paths(P, 3, 5, rng=KEY, initial_state=5),
        lambda: td.sample_paths(P, 3, 5, rng=KEY, initial_state=-1),
        lambda: td.sample_paths(P, 3, 5, rng=KEY, initial_state=[0, 1]),
        lambda: td.sample_paths(P, 3, 5, rng=KEY, initial_state=0, initial_weights=[1] * 5),
        lambda: td.sample_paths(P, 3, 5, rng=KEY, initial_weights=[1] * 4),
        lambda: td.sample_paths(P, 3, -5, rng=KEY),
    ],
    "Sampler": [
        lambda: td.Sampler(W).sample(100, rng=KEY),
        lambda: td.Sampler(W).sample(rng=KEY),
        lambda: td.Sampler(ROWS).sample(rng=KEY),
        lambda: td.Sampler(ROWS).sample(rows=[3, 3, 0, 39], rng=KEY, start=1, n_threads=2),
        lambda: td.Sampler(tables()).sample(50, rng=KEY),
        lambda: td.Sampler(ROWS).sample(rows=[40], rng=KEY),
        lambda: td.Sampler([0, 0]),
        lambda: td.Sampler([NAN, 1]),
        lambda: td.Sampler(3),
    ],
    "log_prob_features": [
        lambda: td.log_prob_features(X, tables()),
        lambda: td.log_prob_features(X, tables(y=Y), n_threads=7),
        lambda: td.log_prob_features(HOLES, tables(y=Y), n_threads=2),
        lambda: td.log_prob_features(HOLES, tables(y=Y, parents=TREE)),
        lambda: td.log_prob_features(HOLES, tables(parents=CHAIN), n_threads=7),
        lambda: td.log_prob_features(X, td.count_features(X[:20], n_categories=4, parents=TREE).normalize()),
        lambda: td.log_prob_features(X, tables(), missing=2),
        lambda: td.log_prob_features(WIDE, td.count_features(WIDE).normalize(alpha=1)),
        lambda: td.log_prob_features(ONE_BAD, tables(), unseen="missing"),
        lambda: td.log_prob_features(ONE_BAD, tables()),
        lambda: td.log_prob_features(TWO_BAD, tables(y=Y, parents=CHAIN), n_threads=7),
        lambda: td.log_prob_features(X[:0], tables()),
        lambda: td.log_prob_features(X.astype(float), tables()),
        lambda: td.log_prob_features(X[:, :3], tables()),
        lambda: td.log_prob_features(X[0], tables()),
        lambda: td.log_prob_features(X, [[0.5, NAN]] * 5),
        lambda: td.log_prob_features(X, "tables"),
    ],
    "log_prob_paths": [
        lambda: td.log_prob_paths(S, P / P.sum(1, keepdims=True)),
        lambda: td.log_prob_paths(GAPS, P / P.sum(1, keepdims=True), n_threads=7),
        lambda: td.log_prob_paths(S, HARD / HARD.sum(1, keepdims=True), initial_weights=[1, 1, 1, 1, 1]),
        lambda: td.log_prob_paths(RAGGED, P / P.sum(1, keepdims=True)),
        lambda: td.log_prob_paths(S.ravel(), P / P.sum(1, keepdims=True), offsets=[0, 7, 7, 100, 2400]),
        lambda: td.log_prob_paths(S, P[:4, :4] / P[:4, :4].sum(1, keepdims=True)),
        lambda: td.log_prob_paths(S.astype(float), P),
        lambda: td.log_prob_paths(S, P[:3]),
        lambda: td.log_prob_paths(S, P * NAN),
        lambda: td.log_prob_paths(S, P / P.sum(1, keepdims=True), initial_weights=[1, 1]),
    ],
    "entropy": [
        lambda: td.entropy(ROWS / ROWS.sum(1, keepdims=True)),
        lambda: td.entropy(ROWS[0] / ROWS[0].sum(), axis=0),
        lambda: td.entropy([1.0, 0.0]),
        lambda: td.entropy([0.3, 0.3]),
        lambda: td.entropy([1.5, -0.5]),
        lambda: td.entropy([NAN, 1.0]),
    ],
    "cross_entropy": [
        lambda: td.cross_entropy([0.2, 0.8], [[0.5, 0.5], [0.0, 1.0]]),
        lambda: td.cross_entropy([0.2, 0.8], [0.2, 0.7]),
        lambda: td.cross_entropy([0.2, 0.8], [0.2, 0.4, 0.4]),
    ],
    "kl_divergence": [
        lambda: td.kl_divergence([0.2, 0.8], [[0.5, 0.5], [0.0, 1.0], [1.0, 0.0]]),
        lambda: td.kl_divergence([0.0, 1.0], [0.0, 1.0]),
        lambda: td.kl_divergence([0.5, 0.5], [0.3, 0.3]),
    ],
    "kl_divergence_estimate": [
        lambda: td.kl_divergence_estimate(np.log(W), np.log(W[::-1])),
        lambda: td.kl_divergence_estimate([0.0, 0.0], [-INF, 0.0]),
        lambda: td.kl_divergence_estimate([0.0], [0.0, 1.0]),
        lambda: td.kl_divergence_estimate([], []),
    ],
    "conditional_entropy": [
        lambda: td.conditional_entropy(P / P.sum()),
        lambda: td.conditional_entropy([[0.5, 0.0], [0.0, 0.5]]),
        lambda: td.conditional_entropy(P),
        lambda: td.conditional_entropy([1.0]),
    ],
    "mutual_information": [
        lambda: td.mutual_information(P / P.sum()),
        lambda: td.mutual_information([[0.25, 0.25], [0.25, 0.25]]),
        lambda: td.mutual_information([[0.5, NAN], [0.0, 0.5]]),
    ],
    "novelty": [
        lambda: td.novelty(X, X[:250]),
        lambda: td.novelty(WIDE, WIDE[:10]),
        lambda: td.novelty(X, WIDE[:, :3]),
        lambda: td.novelty(X[:0], X),
        lambda: td.novelty(X.astype(float), X),
    ],
    "Mixture": [
        lambda: mixed(td.Mixture(td.NaiveBayes(alpha=0.5), 3).fit(X, rng=KEY)),
        lambda: mixed(td.Mixture(td.NaiveBayes(alpha=0.5), 9, start="random").fit(X, sample_weight=W, rng=KEY)),
        lambda: mixed(td.Mixture(td.NaiveBayes(), 2, n_init=3).fit(HOLES[:300], validation=HOLES[300:], rng=KEY)),
        lambda: mixed(td.Mixture(td.MarkovChain(alpha=1), 4, max_iter=5, tol=0).fit(X, rng=KEY)),
        lambda: mixed(td.Mixture(td.MarkovChain(homogeneous=True), 2, start="random").fit(S, rng=KEY), length=7),
        lambda: mixed(td.Mixture(td.MarkovChain(homogeneous=True), 2, max_iter=9, tol=0).fit(GAPS, rng=KEY), length=7),
        lambda: td.Mixture(td.NaiveBayes(), 3).fit(X, Y),
        lambda: td.Mixture(td.NaiveBayes(n_categories=4), 3).fit(ONE_BAD),
        lambda: td.Mixture(td.NaiveBayes(), 3).fit(X, rng=KEY).log_joint(X),
        lambda: td.Mixture(td.JointTable(), 3),
    ],
    "Tables": [
        lambda: tables(y=Y).logs(),
        lambda: td.Tables.from_arrays([W, [1, 2]]).levels(),
        lambda: td.Tables.from_arrays([[1, 2], [0, 0]]).levels(),
        lambda: td.Tables.from_arrays([[1, -2]]),
    ],
}

MODELS: dict[str, list[Call]] = {
    name: [
        lambda make=make: everything(make().fit(X)),
        lambda make=make: everything(make().fit(X, Y)),
        lambda make=make: everything(make(alpha=1, n_categories=4).fit(HOLES if missing_is_fine(make) else X, Y)),
        lambda make=make: make().fit(X, Y, sample_weight=W).log_joint(X),
        lambda make=make: make(n_categories=4).fit(X).log_prob(ONE_BAD),
        lambda make=make: make(n_categories=4, unseen="missing").fit(X).log_prob(ONE_BAD),
        lambda make=make: make().fit(X.astype(float)),
        lambda make=make: make().fit(X, Y[:-1]),
        lambda make=make: make().fit(X[:0]),
        lambda make=make: make(alpha=-1).fit(X),
        lambda make=make: make().fit(X).log_joint(X),
        lambda make=make: make().log_prob(X),
        lambda make=make: make().fit(X).sample(-1),
        lambda make=make: evidence(make(alpha=1, n_categories=4).fit(X)),
        lambda make=make: evidence(make(alpha=0.5, n_categories=4).fit(X, Y)),
        lambda make=make: make(n_categories=4).fit(X).complete(HOLES, how="best"),
        lambda make=make: make(n_categories=4).fit(X).complete(ONE_BAD),
        lambda make=make: make(n_categories=4).fit(X[:3]).complete(HOLES),
        lambda make=make: make(n_categories=4).fit(X[:3]).marginals(HOLES),
        lambda make=make: make().fit(X) + make().fit(X[:, :3]),
        lambda make=make: make(n_categories=4).fit(X[:9]) - make(n_categories=4).fit(X),
    ]
    for name, make in {
        "JointTable": lambda **options: td.JointTable(**options),
        "NaiveBayes": lambda **options: td.NaiveBayes(**options),
        "ChowLiuTree": lambda **options: td.ChowLiuTree(**options),
        "ChowLiuTree, one a class": lambda **options: td.ChowLiuTree(shared=False, penalty="aic", **options),
        "MarkovChain": lambda **options: td.MarkovChain(**options),
        "MarkovChain of order 2": lambda **options: td.MarkovChain(order=2, **options),
        "MarkovChain by EM": lambda **options: td.MarkovChain(order=2, missing_fit="em", **options),
        "MarkovChain, homogeneous, by EM": lambda **options: td.MarkovChain(
            homogeneous=True, missing_fit="em", **options
        ),
        "MarkovChain, homogeneous": lambda **options: td.MarkovChain(homogeneous=True, **options),
        "Categorical": lambda **options: OneColumn(**options),
    }.items()
}


class OneColumn:
    """Categorical on one column, so that it can share the calls above."""

    def __init__(self, **options: Any) -> None:
        self.model = td.Categorical(**options)

    def fit(self, x: Any, *args: Any, **options: Any) -> Any:
        return Wrapped(self.model.fit(x[:, :4][:, -1], *args, **options))

    def log_prob(self, x: Any) -> Any:
        return self.model.log_prob(x[:, :4][:, -1])


class Wrapped:
    def __init__(self, model: Any) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.model, name)
        taken = ("log_prob", "log_joint", "predict", "predict_proba", "predict_log_proba", "complete", "marginals")
        if name not in taken:
            return method
        return lambda x, **options: method(x[:, :4][:, -1], **options)

    def __add__(self, other: Any) -> Any:
        return self.model + other.model

    def __sub__(self, other: Any) -> Any:
        return self.model - other.model


def missing_is_fine(make: Any) -> bool:
    """Whether the model sums missing cells out; a homogeneous chain of a higher order may refuse."""
    return not (isinstance(make(), td.MarkovChain) and make().homogeneous)


def mixed(model: td.Mixture, **length: int) -> list[Any]:
    """All that a fitted mixture knows."""
    data = S if length else X
    found = [model.weights_, model.probabilities_.values, model.objective_, model.validation_, model.log_prob(data)]
    return [*found, model.responsibilities(data), *model.sample_joint(50, rng=KEY, **length)]


def everything(model: Any) -> list[Any]:
    """All that a fitted model computes."""
    kind = getattr(model, "model", model)
    length = {"length": 6} if isinstance(kind, td.MarkovChain) and kind.homogeneous else {}
    found = [model.log_prob(X), model.sample(50, rng=KEY, **length), model.n_parameters]
    if model.classes_ is not None:
        found += [model.log_joint(X), model.predict_proba(X), model.predict_log_proba(X), model.predict(X)]
        found += list(model.sample_joint(50, rng=KEY, start=3, **length))
    return found


def evidence(model: Any) -> list[Any]:
    """All that follows from rows with missing cells."""
    found = [model.complete(HOLES), *model.marginals(HOLES)]
    return [*found, model.complete(HOLES, how="sample", rng=KEY, start=9, n_threads=2)]


def outcome(call: Call) -> Any:
    """What a call returns, or the type and message of what it raises: a clear error, not one of our own mistakes."""
    try:
        return call()
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        assert len(str(error)) > 10, error
        assert not re.search(OURS, str(error)), error
        return type(error), str(error)


def flat(value: Any) -> list[Any]:
    """Arrays and scalars of a result, in order."""
    if isinstance(value, td.PairTables):
        return [value.values, value.offsets, *flat(value.marginals)]
    if isinstance(value, td.Tables):
        return [value.values, value.offsets, value.n_categories]
    if isinstance(value, (tuple, list)):
        return [part for item in value for part in flat(item)]
    return [value]


def assert_same(a: Any, b: Any) -> None:
    left, right = flat(a), flat(b)
    assert len(left) == len(right), (a, b)
    for x, y in zip(left, right, strict=True):
        assert type(x) is type(y), (a, b)
        if isinstance(x, np.ndarray):
            assert (x.dtype, x.shape) == (y.dtype, y.shape)
            assert x.tobytes() == y.tobytes(), f"first differing cells: {np.argwhere(x != y)[:5].tolist()}"
        elif isinstance(x, (float, np.floating)):
            assert np.float64(x).tobytes() == np.float64(y).tobytes(), (x, y)
        elif not hasattr(x, "fit"):
            assert x == y, (a, b)


def cases() -> list[Any]:
    return [
        pytest.param(call, id=f"{name}-{i}") for name, calls in (CALLS | MODELS).items() for i, call in enumerate(calls)
    ]


@pytest.mark.filterwarnings("ignore:alpha .*is at its largest")
@pytest.mark.skipif(len(td.backend.available()) < 2, reason="one backend is not installed")
@pytest.mark.parametrize("call", cases())
def test_both_backends_end_alike(call: Call) -> None:
    before, isa = td.backend.active(), td.backend.instruction_set()
    try:
        ends = []
        for name in ("cpp", "numba"):
            td.backend.use(name)
            ends.append(outcome(call))
    finally:
        td.backend.use(before, instruction_set=isa)
    assert_same(*ends)


@pytest.mark.filterwarnings("ignore:alpha .*is at its largest")
@pytest.mark.skipif("cpp" not in td.backend.available(), reason="the compiled backend is not installed")
@pytest.mark.parametrize("call", cases())
def test_every_instruction_set_ends_alike(call: Call) -> None:
    before, isa = td.backend.active(), td.backend.instruction_set()
    try:
        td.backend.use("cpp")
        ends = []
        for name in td.backend.instruction_sets():
            td.backend.use("cpp", instruction_set=name)
            ends.append(outcome(call))
    finally:
        td.backend.use(before, instruction_set=isa)
    for end in ends[1:]:
        assert_same(ends[0], end)


def test_every_public_function_and_model_is_called() -> None:
    called = set(CALLS) | {name.split(" ")[0].rstrip(",") for name in MODELS}
    functions = {name for name in td.__all__ if callable(getattr(td, name))}
    assert functions - {"Model", "load"} <= called
