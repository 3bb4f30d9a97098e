"""complete and marginals of every model: brute force over all completions, every pattern of missing cells; errors."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tallydraw as td

D, C = 4, 3
RNG = np.random.default_rng(20)
X = RNG.integers(0, C, (60, D))
Y = RNG.integers(0, 3, 60)
MODELS: dict[str, Any] = {
    "naive Bayes": lambda: td.NaiveBayes(alpha=0.5, n_categories=C),
    "order 1": lambda: td.MarkovChain(alpha=0.5, n_categories=C),
    "order 2": lambda: td.MarkovChain(alpha=0.5, n_categories=C, order=2),
    "order 3": lambda: td.MarkovChain(alpha=0.5, n_categories=C, order=3),
    "tree": lambda: td.ChowLiuTree(alpha=0.5, n_categories=C),
    "tree of each class": lambda: td.ChowLiuTree(alpha=0.5, n_categories=C, shared=False, root=2),
    "joint table": lambda: td.JointTable(alpha=0.5, n_categories=C),
    "joint table of what was seen": lambda: td.JointTable(n_categories=C),
}


def fitted(name: str, with_class: bool) -> Any:
    return MODELS[name]().fit(X, Y if with_class else None)


def patterns() -> np.ndarray:
    """A seen row with every subset of its cells missing."""
    gone = np.array(list(itertools.product((False, True), repeat=D)))
    return np.where(gone, -1, X[7])


def completions(row: np.ndarray) -> np.ndarray:
    return np.array(list(itertools.product(*(range(C) if v < 0 else [v] for v in row))))


@pytest.mark.parametrize("with_class", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_marginals_equal_brute_force(backend, name, with_class):
    model = fitted(name, with_class)
    rows = patterns()
    got = model.marginals(rows)
    assert [part.shape for part in got] == [(len(rows), C)] * D
    for r, row in enumerate(rows):
        all_rows = completions(row)
        p = np.exp(model.log_prob(all_rows))
        for j in range(D):
            exact = np.bincount(all_rows[:, j], p, minlength=C) / p.sum()
            assert got[j][r] == pytest.approx(exact, rel=1e-12, abs=1e-12)
            if row[j] >= 0:
                assert got[j][r].tolist() == [float(v == row[j]) for v in range(C)]


@pytest.mark.parametrize("with_class", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_the_mode_is_the_best_completion(backend, name, with_class):
    model = fitted(name, with_class)
    rows = patterns()
    got = model.complete(rows)
    assert got.dtype == np.uint8
    for row, filled in zip(rows, got, strict=True):
        assert np.array_equal(filled[row >= 0], row[row >= 0])
        all_rows = completions(row)
        if not with_class:
            best = model.log_prob(all_rows)
            assert model.log_prob(filled[None])[0] == pytest.approx(best.max(), abs=1e-12)
        else:  # the most probable pair of class and completion
            best = model.log_joint(all_rows)
            assert model.log_joint(filled[None]).max() == pytest.approx(best.max(), abs=1e-12)
    if with_class:
        for label in model.classes_:
            k = int(np.flatnonzero(model.classes_ == label)[0])
            if name == "joint table of what was seen":
                continue
            given = model.complete(rows, label)
            for row, filled in zip(rows, given, strict=True):
                best = model.log_joint(completions(row))[:, k].max()
                assert model.log_joint(filled[None])[0, k] == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("with_class", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_draws_have_the_conditional_distribution(backend, name, with_class):
    # 16,000 draws a pattern; 10 standard errors of every completion's frequency.
    model = fitted(name, with_class)
    n = 16_000
    for row in patterns()[[5, 10, 13]]:
        got = model.complete(np.tile(row, (n, 1)), how="sample", rng=3)
        all_rows = completions(row)
        p = np.exp(model.log_prob(all_rows))
        p /= p.sum()
        weights = C ** np.arange(D)
        found = np.bincount(got @ weights, minlength=C**D)[all_rows @ weights]
        assert found.sum() == n
        assert np.all(np.abs(found - n * p) <= 10 * np.sqrt(n * p) + 1e-9)
        if with_class and name != "joint table of what was seen":
            label = model.classes_[1]
            given = model.complete(np.tile(row, (n, 1)), label, how="sample", rng=3)
            p = np.exp(model.log_joint(all_rows)[:, 1])
            p /= p.sum()
            found = np.bincount(given @ weights, minlength=C**D)[all_rows @ weights]
            assert np.all(np.abs(found - n * p) <= 10 * np.sqrt(n * p) + 1e-9)


@pytest.mark.parametrize("with_class", [False, True])
@pytest.mark.parametrize("name", [name for name in MODELS if "joint" not in name])
def test_rows_of_nothing_but_missing_cells_are_the_sample(backend, name, with_class):
    model = fitted(name, with_class)
    nothing = np.full((500, D), -1)
    assert np.array_equal(model.complete(nothing, how="sample", rng=8), model.sample(500, rng=8))
    drawn = model.complete(nothing, how="sample", rng=np.random.default_rng(8), start=17)
    assert np.array_equal(drawn, model.sample(500, rng=np.random.default_rng(8), start=17))


@pytest.mark.parametrize("name", MODELS)
def test_rows_can_be_completed_alone_and_threads_change_nothing(backend, name):
    model = fitted(name, True)
    rows = np.where(RNG.random((300, D)) < 0.5, -1, X[RNG.integers(0, 60, 300)])
    all_of_them = model.complete(rows, how="sample", rng=1, n_threads=7)
    assert np.array_equal(model.complete(rows[100:], how="sample", rng=1, start=100, n_threads=2), all_of_them[100:])
    assert np.array_equal(model.complete(rows, n_threads=7), model.complete(rows, n_threads=1))
    for a, b in zip(model.marginals(rows, n_threads=7), model.marginals(rows, n_threads=1), strict=True):
        assert np.array_equal(a, b)


def test_a_mixture_completes_under_its_components(backend):
    parts = np.random.default_rng(2).dirichlet(np.ones(C), (D, 2))
    model = td.Mixture.from_probabilities(list(parts), class_prior=[0.3, 0.7])
    rows = patterns()
    got = model.marginals(rows)
    for r, row in enumerate(rows):
        all_rows = completions(row)
        p = np.exp(model.log_prob(all_rows))
        for j in range(D):
            assert got[j][r] == pytest.approx(np.bincount(all_rows[:, j], p, minlength=C) / p.sum(), rel=1e-12)
    nothing = np.full((500, D), -1)
    assert np.array_equal(model.complete(nothing, how="sample", rng=8), model.sample(500, rng=8))
    assert np.array_equal(model.complete(rows)[0], rows[0])


def test_one_variable(backend):
    x = td.Categorical().fit([0, 1, 1, 2, 1])
    assert x.complete([0, -1, 2]).tolist() == [0, 1, 2]
    assert np.array_equal(x.marginals([-1, 0])[0], [[0.2, 0.6, 0.2], [1.0, 0.0, 0.0]])
    drawn = x.complete(np.full(9000, -1), how="sample", rng=1)
    assert np.abs(np.bincount(drawn) / 9000 - [0.2, 0.6, 0.2]).max() < 0.03


def test_a_joint_table_of_any_number_of_combinations(backend):
    d = 400
    rows = RNG.integers(0, 9, (20, d))
    for alpha in (0, 1):
        table = td.JointTable(alpha=alpha, n_categories=9).fit(rows)
        holes = rows.copy()
        holes[:, 5:] = -1 if alpha == 0 else rows[:, 5:]
        holes[:, 3] = -1
        assert np.array_equal(table.complete(holes), rows)
        drawn = table.complete(holes, how="sample", rng=1)
        assert np.array_equal(drawn[:, 4], rows[:, 4])
        total = [part.sum(axis=1) for part in table.marginals(holes)]
        assert np.allclose(total, 1.0, rtol=1e-12)


def test_clear_errors(backend):
    model = td.MarkovChain(n_categories=2).fit([[0, 0, 1], [0, 1, 1]], ["a", "b"])
    with pytest.raises(ValueError, match=r"X\[1\] is impossible under this MarkovChain"):
        model.complete([[0, -1, 1], [1, -1, -1]])
    with pytest.raises(ValueError, match=r"X\[0\] is impossible"):
        model.marginals([[1, -1, -1]])
    with pytest.raises(ValueError, match=r"X\[0\] is impossible"):
        model.complete([[0, 1, -1]], "a")
    with pytest.raises(ValueError, match="how must be"):
        model.complete([[0, 0, 0]], how="best")
    with pytest.raises(ValueError, match=r"X\[0, 2\]"):
        model.complete([[0, 0, 7]])
    with pytest.raises(ValueError, match="none of the 2 classes"):
        model.complete([[0, 0, -1]], "c")
    with pytest.raises(TypeError):
        model.complete([[0.0, 0.0, 1.0]])
    with pytest.raises(ValueError, match="not for sequences"):
        td.MarkovChain(homogeneous=True).fit([[0, 1, 1]]).complete([[0, -1]])


@pytest.mark.parametrize("y", [None, [0, 1, 1]])
def test_no_rows_are_completed_to_none(y, backend: str) -> None:
    X = np.array([[0, 1], [1, 0], [1, 1]])
    models = [td.NaiveBayes(alpha=1), td.MarkovChain(alpha=1), td.ChowLiuTree(alpha=1), td.JointTable(alpha=1)]
    fitted = [model.fit(X, y) for model in models]
    if y is None:
        fitted.append(td.Mixture(td.NaiveBayes(alpha=1), 2).fit(X, rng=0))
    for model in fitted:
        for how in ("mode", "sample"):
            assert model.complete(X[:0], how=how, rng=0).shape == (0, 2)
        assert [p.shape for p in model.marginals(X[:0])] == [(0, 2), (0, 2)]
    one = td.Categorical(alpha=1).fit(X[:, 0], y)
    assert one.complete(X[:0, 0], how="sample", rng=0).shape == (0,)
    assert one.marginals(X[:0, 0])[0].shape == (0, 2)
