"""ChowLiuTree: the best of all trees, by brute force; ties, penalties, classes, missing cells, drawings."""

from __future__ import annotations

import itertools
import math
import pickle
import sys
from typing import Any

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tallydraw.models import chow_liu
from tallydraw.models._spanning import spanning_forest

RNG = np.random.default_rng(31)


def dependent(n: int, sizes: list[int], seed: int = 0) -> NDArray[np.int64]:
    """Rows whose features depend on those before them, some more and some less."""
    g = np.random.default_rng(seed)
    X = np.stack([g.integers(0, c, n) for c in sizes], axis=1)
    for j in range(1, len(sizes)):
        copied = g.random(n) < g.random()
        X[copied, j] = X[copied, g.integers(0, j)] % sizes[j]
    return X


def forests(d: int) -> list[list[tuple[int, int]]]:
    """The arcs of every forest of d features."""
    found = []
    for m in range(d):
        for arcs in itertools.combinations(itertools.combinations(range(d), 2), m):
            group = list(range(d))
            for i, j in arcs:
                if group[i] == group[j]:
                    break
                group = [group[i] if g == group[j] else g for g in group]
            else:
                found.append(list(arcs))
    return found


def oriented(arcs: list[tuple[int, int]], d: int) -> list[int]:
    """Parents of a forest rooted at the lowest feature of each tree."""
    parents = [-2] * d
    for root in range(d):
        if parents[root] == -2:
            parents[root] = -1
            stack = [root]
            while stack:
                i = stack.pop()
                for a, b in arcs:
                    for here, there in ((a, b), (b, a)):
                        if here == i and parents[there] == -2:
                            parents[there] = i
                            stack.append(there)
    return parents


def arcs_of(parents: NDArray[np.int64]) -> set[tuple[int, int]]:
    return {(min(i, j), max(i, j)) for j, i in enumerate(parents.tolist()) if i >= 0}


def total(X: NDArray[Any], tables: td.Tables, y: NDArray[Any] | None = None) -> float:
    """Log-likelihood of the features (given the class)."""
    logs = td.log_prob_features(X, tables)
    return math.fsum(logs if y is None else logs[np.arange(len(y)), y])


def test_no_tree_makes_the_data_more_likely(backend: str) -> None:
    X = dependent(200, [2, 3, 2, 4], seed=1)
    model = td.ChowLiuTree().fit(X)
    mine = math.fsum(model.log_prob(X))
    everyone = [total(X, td.count_features(X, parents=oriented(arcs, 4)).normalize()) for arcs in forests(4)]
    assert len(everyone) == 38
    assert mine == pytest.approx(max(everyone), rel=1e-13)
    assert model.counts_ == td.count_features(X, parents=model.parents_)


@pytest.mark.parametrize("penalty", ["aic", "bic"])
@pytest.mark.parametrize("shared", [True, False])
def test_a_penalised_forest_is_the_best_of_all(penalty: str, shared: bool, backend: str) -> None:
    for seed in range(6):
        X = dependent(60, [2, 3, 2, 3], seed)
        y = np.random.default_rng(seed).integers(0, 2, 60)
        model = td.ChowLiuTree(penalty=penalty, shared=shared, n_categories=[2, 3, 2, 3]).fit(X, y)
        groups = [(X, y)] if shared else [(X[y == k], None) for k in (0, 1)]
        for (rows, labels), parents in zip(groups, np.atleast_2d(model.parents_), strict=True):
            price = 1.0 if penalty == "aic" else math.log(len(rows)) / 2
            scores = {}
            for arcs in forests(4):
                tables = td.count_features(rows, y=labels, n_categories=[2, 3, 2, 3], parents=oriented(arcs, 4))
                free = sum(([2, 3, 2, 3][i] - 1) * ([2, 3, 2, 3][j] - 1) for i, j in arcs) * (2 if shared else 1)
                scores[frozenset(arcs)] = total(rows, tables.normalize(), labels) - price * free
            assert scores[frozenset(arcs_of(parents))] == pytest.approx(max(scores.values()), rel=1e-13)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_the_forest_is_that_of_kruskal_with_ties_broken_by_the_lowest_pair(d: int, seed: int, root: int) -> None:
    gain = np.random.default_rng(seed).integers(-1, 4, (d, d)).astype(float)
    gain = np.triu(gain, 1) + np.triu(gain, 1).T
    gain[gain < 0] = -np.inf
    found = []
    for name in td.backend.available():
        td.backend.use(name)
        found.append(spanning_forest(gain[np.triu_indices(d, 1)], d, root % d))
    td.backend.use(td.backend.available()[0])
    parents = found[0]
    assert all(np.array_equal(parents, other) for other in found)
    assert parents.tolist() == reference.spanning_forest(gain.tolist(), root % d)
    group, kept = list(range(d)), set()
    for i, j in sorted(itertools.combinations(range(d), 2), key=lambda pair: (-gain[pair], pair)):
        if gain[i, j] > -np.inf and group[i] != group[j]:
            kept.add((i, j))
            group = [group[i] if g == group[j] else g for g in group]
    assert arcs_of(parents) == kept
    assert parents[root % d] == -1
    for tree in set(group):
        members = [v for v in range(d) if group[v] == tree]
        roots = [v for v in members if parents[v] < 0]
        assert roots == [root % d] if root % d in members else roots == [min(members)]


def test_equal_features_are_joined_in_order(backend: str) -> None:
    x = np.arange(40) % 2
    assert td.ChowLiuTree().fit(np.stack([x] * 4, axis=1)).parents_.tolist() == [-1, 0, 0, 0]
    assert td.ChowLiuTree(root=2).fit(np.stack([x] * 4, axis=1)).parents_.tolist() == [2, 0, -1, 0]


def test_a_root_elsewhere_is_the_same_distribution(backend: str) -> None:
    X = dependent(100, [2, 3, 2, 4], seed=3)
    first = td.ChowLiuTree().fit(X)
    for root in range(1, 4):
        other = td.ChowLiuTree(root=root).fit(X)
        assert other.parents_[root] == -1
        assert arcs_of(other.parents_) == arcs_of(first.parents_)
        assert other.log_prob(X) == pytest.approx(first.log_prob(X), rel=1e-12)


def test_the_tree_is_chosen_by_smoothed_counts_of_pairs(backend: str) -> None:
    X = np.random.default_rng(0).integers(0, [2, 9, 2, 9], (25, 4))
    pairs = td.count_pairs(X, n_categories=[2, 9, 2, 9])
    smooth = td.PairTables(pairs.values + 1, pairs.marginals)
    above = np.triu_indices(4, 1)
    expected = [spanning_forest(td.mutual_information(t)[above], 4).tolist() for t in (pairs, smooth)]
    assert expected[0] != expected[1]  # many categories look dependent by chance
    for alpha, parents in ((0.0, expected[0]), (1.0, expected[1]), ([2.0, 1.0, 1.0, 1.0], expected[1])):
        model = td.ChowLiuTree(alpha=alpha, n_categories=[2, 9, 2, 9]).fit(X)
        assert model.parents_.tolist() == parents
        assert model.probabilities_ == model.counts_.normalize(alpha)


def test_pseudocounts_one_a_category_do_not_choose_the_tree(backend: str) -> None:
    X = dependent(30, [3, 3, 3], seed=4)
    assert td.ChowLiuTree(alpha=[[9, 0, 0]] * 3).fit(X).parents_.tolist() == td.ChowLiuTree().fit(X).parents_.tolist()


def test_partial_fits_and_sums_have_the_tree_of_all_rows(backend: str) -> None:
    X, y = dependent(120, [2, 3, 2, 4], seed=5), RNG.integers(0, 3, 120)
    for shared in (True, False):
        options: dict[str, Any] = {"n_categories": [2, 3, 2, 4], "shared": shared, "alpha": 0.5}
        whole = td.ChowLiuTree(**options).fit(X, y)
        parts = td.ChowLiuTree(**options).partial_fit(X[:7], y[:7], classes=[0, 1, 2])
        first = pickle.loads(pickle.dumps(parts))
        parts.partial_fit(X[7:], y[7:])
        rest = td.ChowLiuTree(**options).partial_fit(X[7:], y[7:], classes=[0, 1, 2])
        for model in (parts, first + rest, whole - rest + rest):
            assert model.pair_counts_ == whole.pair_counts_
            assert model.parents_.tolist() == whole.parents_.tolist()
            assert model.log_joint(X).tobytes() == whole.log_joint(X).tobytes()
    with pytest.raises(ValueError, match="would turn negative"):
        rest - whole


def test_one_tree_a_class_is_a_tree_fitted_to_each_class(backend: str) -> None:
    X, y = dependent(150, [2, 3, 2, 4], seed=6), RNG.integers(0, 2, 150)
    model = td.ChowLiuTree(alpha=1, shared=False, n_categories=[2, 3, 2, 4]).fit(X, y)
    own = [td.ChowLiuTree(alpha=1, n_categories=[2, 3, 2, 4]).fit(X[y == k]) for k in (0, 1)]
    assert model.parents_.shape == (2, 4)
    prior = np.log(model.class_prior_)
    for k, one in enumerate(own):
        assert model.parents_[k].tolist() == one.parents_.tolist()
        assert model.counts_[k] == one.counts_
        assert model.probabilities_[k] == one.probabilities_
        assert model.log_joint(X)[:, k] == pytest.approx(one.log_prob(X) + prior[k], rel=1e-13)
    assert model.n_parameters == 1 + sum(one.n_parameters for one in own)
    drawn, labels = model.sample_joint(2000, rng=1)
    assert np.array_equal(model.sample(2000, y=labels, rng=1), drawn)


def test_parameters_of_trees_and_forests() -> None:
    X = np.stack([np.arange(24) % 2, np.arange(24) % 3, np.arange(24) % 2], axis=1)
    tree = td.ChowLiuTree().fit(X)
    assert tree.parents_.tolist() == [-1, 0, 0]
    assert tree.n_parameters == 1 + 2 * 2 + 2 * 1
    forest = td.ChowLiuTree(penalty="bic").fit(X)
    assert forest.parents_.tolist() == [-1, -1, 0]
    assert forest.n_parameters == 1 + 2 + 2
    y = np.arange(24) // 12
    assert td.ChowLiuTree(penalty="bic").fit(X, y).n_parameters == 1 + 2 * 5
    assert td.ChowLiuTree(penalty="bic", shared=False).fit(X, y).n_parameters == 1 + 2 * 5


def test_missing_cells_are_left_out_pairwise_and_summed_out(backend: str) -> None:
    X = dependent(200, [2, 3, 2], seed=7)
    X[RNG.random(X.shape) < 0.2] = -1
    model = td.ChowLiuTree(alpha=0.5, root=1, n_categories=[2, 3, 2]).fit(X)
    assert model.pair_counts_ == td.count_pairs(X, n_categories=[2, 3, 2])
    whole = np.indices((2, 3, 2)).reshape(3, -1).T
    p = np.exp(model.log_prob(whole))
    for row in ([-1, 2, -1], [0, -1, -1], [-1, -1, -1], [1, -1, 0], [0, 1, -1]):
        agree = np.all((whole == row) | (np.array(row) < 0), axis=1)
        assert np.exp(model.log_prob([row])[0]) == pytest.approx(p[agree].sum(), rel=1e-12)


def test_pairs_never_seen_together_are_no_arc(backend: str) -> None:
    X = [[0, -1], [1, -1], [-1, 0], [-1, 0], [-1, 1]]
    model = td.ChowLiuTree().fit(X)
    assert model.parents_.tolist() == [-1, -1]
    assert np.exp(model.log_prob([[0, 0]])) == pytest.approx(1 / 3)
    one = td.ChowLiuTree(shared=False, n_categories=2).partial_fit([[0, 0], [1, 1]], [0, 0], classes=[0, 1])
    assert one.parents_.tolist() == [[-1, 0], [-1, -1]]


def test_weights_count_as_rows(backend: str) -> None:
    X, w = dependent(50, [2, 3, 2, 4], seed=8), RNG.integers(0, 4, 50)
    weighted, repeated = td.ChowLiuTree().fit(X, sample_weight=w), td.ChowLiuTree().fit(np.repeat(X, w, axis=0))
    assert weighted.parents_.tolist() == repeated.parents_.tolist()
    assert weighted.counts_.values.tolist() == repeated.counts_.values.tolist()


@pytest.mark.parametrize("shared", [True, False])
def test_a_mixture_of_trees_gains_with_each_iteration(shared: bool, backend: str) -> None:
    X = np.concatenate([dependent(150, [2, 3, 2, 2], seed=s) for s in (9, 10)])
    mixture = td.Mixture(td.ChowLiuTree(shared=shared), 2, start="random", max_iter=30, tol=0).fit(X, rng=1)
    assert mixture.n_iter_ > 2
    assert np.all(np.diff(mixture.objective_) > -1e-8)
    assert np.exp(mixture.log_prob(np.indices((2, 3, 2, 2)).reshape(4, -1).T)).sum() == pytest.approx(1.0)
    component = td.ChowLiuTree(shared=shared, n_categories=[2, 3, 2, 2]).fit(X, np.arange(300) // 150)
    assert mixture.n_parameters == component.n_parameters


def test_the_tree_is_learned_by_the_threads_of_the_last_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int | None] = []
    whole = chow_liu.information_forest

    def watched(*args: Any, n_threads: int | None, **params: Any) -> Any:
        seen.append(n_threads)
        return whole(*args, n_threads=n_threads, **params)

    monkeypatch.setattr(chow_liu, "information_forest", watched)
    X = dependent(60, [2, 3, 2, 2], seed=3)
    tree = td.ChowLiuTree().fit(X, n_threads=2)
    parents = tree.parents_.tolist()
    assert tree.partial_fit(X, n_threads=3).parents_.tolist() == parents
    assert (tree + td.ChowLiuTree().fit(X, n_threads=1)).parents_.tolist() == parents
    gaps = np.where(np.random.default_rng(1).random(X.shape) < 0.1, -1, X)
    td.ChowLiuTree(alpha=1, missing_fit="em").fit(gaps, n_threads=4).parents_  # noqa: B018
    assert seen == [2, 3, 1, *[4] * (len(seen) - 3)] and len(seen) > 3


# A stated truth ------------------------------------------------------------------------------------------------------


def test_stated_trees(backend: str) -> None:
    tables = [[[0.2, 0.8], [0.5, 0.5]], [0.25, 0.75]]
    stated = td.Tables.from_arrays(tables, parents=[1, -1])
    model = td.ChowLiuTree.from_probabilities(stated)
    assert model.parents_.tolist() == [1, -1]
    assert np.exp(model.log_prob([[0, 0], [1, 1]])) == pytest.approx([0.05, 0.375])
    assert model.n_parameters == 3
    assert model.to_text() == "x1\n└─ x0  0.036894"
    joint = [[0.05, 0.2], [0.375, 0.375]]
    assert td.mutual_information(joint) == pytest.approx(0.036894, abs=1e-6)
    one = td.Tables.from_arrays([[[[0.2, 0.8], [0.5, 0.5]]] * 2, [[0.25, 0.75], [1, 0]]], parents=[1, -1], n_classes=2)
    classed = td.ChowLiuTree.from_probabilities(one, class_prior=[0.75, 0.25])
    assert classed.to_text() == "x1\n└─ x0  0.027670"  # given the class, which says all of x1 in class 1
    with pytest.raises(AttributeError, match="it has no counts"):
        _ = model.counts_
    other = td.Tables.from_arrays([[0.1, 0.9], [0.25, 0.75]])
    pair = td.ChowLiuTree.from_probabilities([stated, other], class_prior=[0.5, 0.5], shared=False)
    assert pair.parents_.tolist() == [[1, -1], [-1, -1]]
    assert np.exp(pair.log_joint([[0, 0]])) == pytest.approx(np.array([[0.025, 0.0125]]))
    with pytest.raises(TypeError, match=r"tables must be Tables, whose parents are the tree"):
        td.ChowLiuTree.from_probabilities(tables)
    with pytest.raises(ValueError, match=r"one stack a class \(2\), got 1"):
        td.ChowLiuTree.from_probabilities([stated], class_prior=[0.5, 0.5], shared=False)
    with pytest.raises(ValueError, match=r"n_classes None \(given\), order 1, n_classes 2 \(wanted\)"):
        td.ChowLiuTree.from_probabilities(stated, class_prior=[0.5, 0.5])
    with pytest.raises(ValueError, match="differ in n_categories"):
        three = td.Tables.from_arrays([[0.1, 0.9], [0.25, 0.25, 0.5]])
        td.ChowLiuTree.from_probabilities([stated, three], class_prior=[0.5, 0.5], shared=False)
    with pytest.raises(ValueError, match="tables must hold probabilities, not counts"):
        td.ChowLiuTree.from_probabilities(td.Tables.from_arrays([[1, 2]]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: td.ChowLiuTree(penalty="mdl"),
            ValueError,
            r"penalty must be one of \(None, 'aic', 'bic'\), got 'mdl'",
        ),
        (lambda: td.ChowLiuTree(root=-1), ValueError, "root must be at least 0, got -1"),
        (lambda: td.ChowLiuTree(root=2).fit([[0, 1]]), ValueError, "root must be one of the 2 features, got 2"),
        (lambda: td.ChowLiuTree().fit([[0, 1]]).plot(y=0), ValueError, "there is one tree for all rows"),
        (
            lambda: td.ChowLiuTree(shared=False).fit([[0, 1]], [0]).plot(),
            ValueError,
            "every class has a tree of its own: pass the label of one",
        ),
        (
            lambda: td.ChowLiuTree(shared=False).fit([[0, 1]], ["a"]).plot(y="b"),
            ValueError,
            "'b', which is none of the 1 classes",
        ),
    ],
)
def test_bad_arguments_are_one_clear_error(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# Drawings ------------------------------------------------------------------------------------------------------------


def test_text_has_names_branches_and_information() -> None:
    pd = pytest.importorskip("pandas")
    x = np.arange(16)
    frame = pd.DataFrame({"a": x % 2, "b": x % 2, "c": x % 4, "d": x // 8 % 2, "e": x // 8 % 2})
    model = td.ChowLiuTree(penalty="bic").fit(frame)
    assert model.to_text().splitlines() == [
        "a",
        "├─ b  0.693147",
        "└─ c  0.693147",
        "d",
        "└─ e  0.693147",
    ]
    chain = td.Tables.from_arrays([[0.5, 0.5]] + [[[0.5, 0.5]] * 2] * 4, parents=[-1, 0, 1, 0, 3])
    text = td.ChowLiuTree.from_probabilities(chain).to_text()
    assert text.splitlines() == ["x0", "├─ x1  0.000000", "│  └─ x2  0.000000", "└─ x3  0.000000", "   └─ x4  0.000000"]


def test_plot_draws_every_feature_and_arc() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    X, y = dependent(100, [2, 3, 2, 4], seed=11), np.arange(100) % 2
    ax = td.ChowLiuTree().fit(X).plot()
    assert sorted(text.get_text() for text in ax.texts) == ["x0", "x1", "x2", "x3"]
    assert len(ax.lines) == 3
    model = td.ChowLiuTree(shared=False, penalty="bic").fit(X, y)
    again = model.plot(ax.figure.add_subplot(), y=1)
    assert again is not ax
    assert len(again.lines) == int((model.parents_[1] >= 0).sum())


def test_without_matplotlib_plot_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"plot needs matplotlib: pip install 'tallydraw\[demo\]'"):
        td.ChowLiuTree().fit([[0, 1]]).plot()
