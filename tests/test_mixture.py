"""Mixture: EM that climbs, ends where plain loops end, and gives the same bits on every backend, for any threads."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tallydraw as td
from scipy import stats
from tallydraw.models import _products, _steps

R = np.random.default_rng(11)
HIDDEN = R.integers(0, 2, 400)
TRUTH = np.array([[[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.7, 0.3]], [[0.2, 0.8], [0.1, 0.9], [0.7, 0.3], [0.2, 0.8]]])
X = np.stack([(R.random(400) < TRUTH[HIDDEN, j, 1]).astype(np.uint8) for j in range(4)], axis=1)
WIDE = np.stack([R.integers(0, c, 300) for c in (2, 3, 5, 4, 2)], axis=1).astype(np.int8)
HOLES = np.where(R.random(WIDE.shape) < 0.2, -1, WIDE).astype(np.int8)
SEQUENCES = R.integers(0, 3, (60, 12))
GAPS = np.where(R.random(SEQUENCES.shape) < 0.3, -1, SEQUENCES)

MODELS: dict[str, Any] = {
    "products": (lambda **p: td.NaiveBayes(**p), WIDE),
    "products, missing cells": (lambda **p: td.NaiveBayes(**p), HOLES),
    "chains": (lambda **p: td.MarkovChain(**p), WIDE),
    "chains, missing cells": (lambda **p: td.MarkovChain(**p), HOLES),
    "one tree": (lambda **p: td.ChowLiuTree(**p), WIDE),
    "trees": (lambda **p: td.ChowLiuTree(shared=False, **p), WIDE),
    "trees, missing cells": (lambda **p: td.ChowLiuTree(shared=False, **p), HOLES),
    "one tree, missing cells": (lambda **p: td.ChowLiuTree(**p), HOLES),
    "categoricals": (lambda **p: td.Categorical(**p), WIDE[:, 2]),
    "sequences": (lambda **p: td.MarkovChain(homogeneous=True, **p), SEQUENCES),
    "sequences, gaps": (lambda **p: td.MarkovChain(homogeneous=True, **p), GAPS),
}


@pytest.fixture(params=MODELS)
def kind(request: pytest.FixtureRequest) -> Any:
    return MODELS[request.param]


def mixture(kind: Any, n: int = 3, *, alpha: Any = 0.5, **params: Any) -> td.Mixture:
    return td.Mixture(kind[0](alpha=alpha), n, **{"start": "random", "max_iter": 40, "tol": 0, **params})


def everything(model: td.Mixture) -> list[Any]:
    theta = model.probabilities_
    flat = [t.values.tolist() for t in (theta if isinstance(theta, tuple) else (theta,))]
    return [model.weights_.tolist(), flat, model.objective_.tolist(), model.n_iter_]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2])
def test_the_objective_never_falls(kind: Any, alpha: float, backend: str) -> None:
    gains = np.diff(mixture(kind, alpha=alpha, max_iter=100, tol=0).fit(kind[1], rng=0).objective_)
    assert gains.min() >= -1e-9


def test_bits_do_not_depend_on_threads_or_backend(kind: Any, backend: str) -> None:
    first = everything(mixture(kind).fit(kind[1], rng=7, n_threads=1))
    assert everything(mixture(kind).fit(kind[1], rng=7, n_threads=3)) == first
    td.backend.use("cpp" if backend == "numba" else "numba")
    assert everything(mixture(kind).fit(kind[1], rng=7)) == first


def test_equal_to_em_by_plain_loops() -> None:
    """Latent class analysis, step by step from the same first responsibilities."""
    alpha, steps = 0.5, 6
    model = td.Mixture(td.NaiveBayes(alpha=alpha), 2, max_iter=1, tol=0).fit(X, rng=3)
    prior, theta = model.weights_.tolist(), [t.tolist() for t in model.probabilities_]
    for _ in range(steps):
        mass = [alpha, alpha]
        counts = [[[alpha, alpha] for _ in range(2)] for _ in range(4)]
        for row in X.tolist():
            joint = [prior[k] * math.prod(theta[j][k][x] for j, x in enumerate(row)) for k in range(2)]
            for k in range(2):
                r = joint[k] / sum(joint)
                mass[k] += r
                for j, x in enumerate(row):
                    counts[j][k][x] += r
        prior = [m / sum(mass) for m in mass]
        theta = [[[c / sum(row) for c in row] for row in table] for table in counts]
    later = td.Mixture(td.NaiveBayes(alpha=alpha), 2, max_iter=1 + steps, tol=0).fit(X, rng=3)
    assert later.weights_ == pytest.approx(prior, abs=1e-12)
    assert later.probabilities_.values == pytest.approx(np.ravel(theta), abs=1e-12)


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the groups of features in each exact step of EM."""
    seen: list[int] = []
    whole = _products.Products._no_counts
    monkeypatch.setattr(
        _products.Products, "_no_counts", lambda self, *args: seen.append(len(self.groups) - 1) or whole(self, *args)
    )
    return seen


@pytest.mark.parametrize("data", [WIDE, HOLES], ids=["whole", "missing cells"])
def test_groups_of_features_change_no_more_than_roundings(
    data: Any, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = np.random.default_rng(3).random(len(data))
    seen, found = count_calls(monkeypatch), []
    for most in (64, 1, 256):
        monkeypatch.setattr(_products, "_MOST_CODES", most)
        found.append(mixture(MODELS["products"], tol=0, max_iter=20).fit(data, sample_weight=weight, rng=4))
    assert len(set(seen)) == 3
    for other in found[1:]:
        assert found[0].objective_ == pytest.approx(other.objective_, rel=1e-13)
        assert found[0].probabilities_.values == pytest.approx(other.probabilities_.values, abs=1e-12)


def test_exact_sums_are_near_those_in_order(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for data, start in ((WIDE, "random"), (HOLES, "kmeans++"), (X, "random")):
        params: dict[str, Any] = {"start": start, "max_iter": 12, "tol": 0}
        exact = mixture(MODELS["products"], **params).fit(data, rng=6)
        with monkeypatch.context() as patched:
            patched.setattr(_steps, "are_exact", lambda *_: False)
            seen = count_calls(patched)
            other = mixture(MODELS["products"], **params).fit(data, rng=6)
            assert not seen
        assert exact.objective_ == pytest.approx(other.objective_, rel=1e-11)
        assert exact.weights_ == pytest.approx(other.weights_, abs=1e-9)
        assert exact.probabilities_.values == pytest.approx(other.probabilities_.values, abs=1e-9)


def test_an_objective_of_minus_infinity_is_no_convergence(backend: str) -> None:
    rows = [[0, 0], [0, 1], [1, 1], [1, 0], [1, 1]] * 10
    with pytest.warns(RuntimeWarning, match="ended at an objective of -inf"):
        model = td.Mixture(td.NaiveBayes(alpha=5e-324), 3).fit(rows, rng=0)
    assert model.objective_[-1] == -math.inf
    assert not model.converged_


def test_the_scale_of_weights_changes_no_start(backend: str) -> None:
    rows = np.random.default_rng(0).integers(3, size=(50, 1000))
    found = []
    for scale in (2.0**-300, 1.0, 2.0**990):
        model = td.Mixture(td.NaiveBayes(), 3, max_iter=1, tol=0)
        found.append(model.fit(rows, sample_weight=np.full(50, scale), rng=0).weights_.tolist())
    assert found[0] == found[1] == found[2]


@pytest.mark.filterwarnings("error")
def test_the_objective_does_not_fall_where_tables_are_huge(backend: str) -> None:
    rows = np.random.default_rng(11).integers(256, size=(1, 64))
    model = td.NaiveBayes(alpha=10, n_categories=256)
    past = td.Mixture(model, 40, start="random", tol=0, max_iter=60).fit(rows, rng=11).objective_
    assert (np.diff(past) >= -1e-13 * np.abs(past[-1])).all()


def test_products_that_could_underflow_are_scored_by_logs(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probabilities near alpha / n: no product of a group of them is a normal number."""
    rows = [[0] * 12, [1] * 12, [0] * 6 + [1] * 6] * 5
    small = mixture(MODELS["products"], alpha=1e-100, max_iter=12).fit(rows, rng=1)
    monkeypatch.setattr(_steps, "are_exact", lambda *_: False)
    other = mixture(MODELS["products"], alpha=1e-100, max_iter=12).fit(rows, rng=1)
    assert small.probabilities_.values.min() < 2.0**-300
    assert small.objective_ == pytest.approx(other.objective_, rel=1e-11)
    assert small.log_prob(rows) == pytest.approx(other.log_prob(rows), rel=1e-9)


@pytest.mark.parametrize("most", [1e6, 1e200, 1e300])
def test_rows_far_lighter_than_all_others_count_as_they_are(most: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rounding could lose a row, sums are not the exact ones."""
    rows, weight = [[0, 0], [0, 1], [1, 0], [2, 1]] * 3, np.array([most, 1.0, most, 1.0] * 3)
    seen = count_calls(monkeypatch)
    model = td.Mixture(td.NaiveBayes(), 2, max_iter=20).fit(rows, sample_weight=weight, rng=0)
    assert bool(seen) == (most == 1e6)
    assert np.isfinite(model.log_prob(rows)).all()


def test_more_categories_than_a_byte_has(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.stack([R.integers(0, 300, 400), R.integers(0, 2, 400)], axis=1)
    seen = count_calls(monkeypatch)
    model = td.Mixture(td.NaiveBayes(alpha=1, n_categories=300), 2, max_iter=5, tol=0).fit(rows, rng=0)
    assert not seen
    assert np.diff(model.objective_).min() >= -1e-9


def test_objective_is_the_penalised_log_likelihood() -> None:
    model = mixture(MODELS["chains"], max_iter=5, tol=0).fit(WIDE, rng=1)
    penalty = 0.5 * (np.log(model.probabilities_.values).sum() + np.log(model.weights_).sum())
    assert model.objective_[-1] == pytest.approx(model.log_prob(WIDE).sum() + penalty, rel=1e-12)


def test_finds_the_truth() -> None:
    model = td.Mixture(td.NaiveBayes(alpha=0.1), 2, n_init=3).fit(X, rng=0)
    found = model.responsibilities(X).argmax(axis=1)
    agree = np.mean(found == HIDDEN)
    assert max(agree, 1 - agree) > 0.85


def test_log_prob_is_the_sum_over_components(kind: Any, backend: str) -> None:
    model = mixture(kind).fit(kind[1], rng=5)
    parts = []
    for k in range(3):
        stated = {"homogeneous": True} if model.model.__dict__.get("homogeneous") else {}
        theta = model.probabilities_
        tables = theta[k] if isinstance(theta, tuple) else [t[k] for t in theta]
        if isinstance(model.model, td.ChowLiuTree) and not isinstance(theta, tuple):
            tables = td.Tables.from_arrays(tables, parents=theta.parents)
        parts.append(type(model.model).from_probabilities(tables, **stated).log_prob(kind[1]))
    joint = np.log(model.weights_) + np.stack(parts, axis=1)
    whole = np.logaddexp.reduce(joint, axis=1)
    assert model.log_prob(kind[1]) == pytest.approx(whole, rel=1e-12)
    assert model.responsibilities(kind[1]) == pytest.approx(np.exp(joint - whole[:, None]), abs=1e-12)


def test_components_are_models_of_their_own(kind: Any, backend: str) -> None:
    model = mixture(kind).fit(kind[1], rng=5)
    parts = model.components_
    joint = np.log(model.weights_) + np.stack([part.log_prob(kind[1]) for part in parts], axis=1)
    assert model.log_prob(kind[1]) == pytest.approx(np.logaddexp.reduce(joint, axis=1), rel=1e-12)
    length = {"length": 6} if kind[1] is SEQUENCES or kind[1] is GAPS else {}
    theta = model.probabilities_
    for k, part in enumerate(parts):
        assert repr(part) == repr(model.model) and part.classes_ is None
        of_class = theta[k] if isinstance(theta, tuple) else theta.of_class(k)
        assert part.probabilities_ == of_class
        mine = [t.tolist() for t in part.probabilities_]
        assert mine == ([t.tolist() for t in theta[k]] if isinstance(theta, tuple) else [t[k].tolist() for t in theta])
        assert np.array_equal(part.sample(40, rng=3, **length), model.sample(40, y=k, rng=3, **length))
        again = pickle.loads(pickle.dumps(part))
        assert np.array_equal(again.log_prob(kind[1]), part.log_prob(kind[1]))
        with pytest.raises(AttributeError, match="made from probabilities"):
            _ = part.counts_
    parts[0].fit(kind[1])
    assert model.components_[0].probabilities_ == (theta[0] if isinstance(theta, tuple) else theta.of_class(0))


def test_components_draw_by_the_rule_of_whole_weights() -> None:
    tables = td.Tables.from_arrays([[[1, 2], [3, 1]]], n_classes=2).normalize()
    model = td.Mixture.from_probabilities(tables, class_prior=[0.5, 0.5])
    for k, part in enumerate(model.components_):
        assert np.array_equal(part.probabilities_.levels().level, tables.levels().level[2 * k : 2 * k + 2])


@pytest.mark.parametrize("shared", [True, False])
def test_trees_of_a_mixture_can_be_seen(shared: bool) -> None:
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = td.Mixture(td.ChowLiuTree(alpha=1, shared=shared), 2).fit(frame, rng=0)
    for k, tree in enumerate(model.components_):
        theta = model.probabilities_ if shared else model.probabilities_[k]
        assert tree.parents_.tolist() == theta.parents.tolist()
        assert tree.to_text().startswith("a\n")
        assert tree.feature_names_in_.tolist() == list("abcd")
        single = tree.marginals([[-1, -1, -1, -1]])
        joint = [single[p][0][:, None] * t for p, t in zip(tree.parents_, tree.probabilities_, strict=True)]
        shown = [float(line.split()[-1]) for line in tree.to_text().splitlines()[1:]]
        wanted = [td.mutual_information(joint[j]) for j in range(4) if tree.parents_[j] >= 0]
        assert sorted(shown) == pytest.approx(sorted(wanted), abs=1e-6)


def test_weights_and_repeated_rows_are_the_same() -> None:
    weight = R.integers(0, 4, len(WIDE))
    a = mixture(MODELS["products"], start="kmeans++").fit(WIDE[:, :3], sample_weight=weight, rng=2)
    b = mixture(MODELS["products"], start="kmeans++").fit(np.repeat(WIDE[:, :3], weight, axis=0), rng=2)
    assert a.objective_ == pytest.approx(b.objective_, rel=1e-12)


def test_draws_are_of_the_mixture(backend: str) -> None:
    model = td.Mixture(td.NaiveBayes(alpha=1), 2).fit(X, rng=0)
    rows, components = model.sample_joint(20_000, rng=4)
    assert np.array_equal(rows, model.sample(20_000, rng=4))
    assert np.array_equal(rows[15_000:], model.sample(5_000, rng=4, start=15_000))
    every = np.indices((2,) * 4).reshape(4, -1).T
    counts = np.bincount(rows @ [8, 4, 2, 1], minlength=16)
    assert stats.chisquare(counts, 20_000 * np.exp(model.log_prob(every))).pvalue > 1e-4
    assert stats.chisquare(np.bincount(components), 20_000 * model.weights_).pvalue > 1e-4


def test_validation_stops_early_and_keeps_the_best() -> None:
    train, held_out = WIDE[:80], WIDE[80:]
    model = td.Mixture(td.NaiveBayes(alpha=0.01), 12, patience=5, tol=0).fit(train, validation=held_out, rng=0)
    best = int(model.validation_.argmax())
    assert model.n_iter_ == best + 1
    assert model.converged_
    assert len(model.validation_) == best + 6
    assert model.log_prob(held_out).mean() == pytest.approx(model.validation_[best], rel=1e-12)


@pytest.mark.parametrize("penalty", ["aic", "bic"])
@pytest.mark.parametrize("shared", [True, False])
def test_arcs_that_must_pay_are_part_of_the_objective(penalty: str, shared: bool) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        data = (rng.random((200, 5)) < np.array([0.15, 0.5, 0.85])[rng.integers(0, 3, 200)][:, None]).astype(int)
        tree = td.ChowLiuTree(alpha=0.1, shared=shared, penalty=penalty)
        model = td.Mixture(tree, 3, max_iter=60, tol=0).fit(data, rng=0)
        assert np.diff(model.objective_).min() >= -1e-9


def test_an_impossible_held_out_row_does_not_stop_em() -> None:
    held_out = np.vstack([X[:50], [[2, 0, 0, 0]]])
    options: dict[str, Any] = {"n_init": 2, "max_iter": 60}
    stopped = td.Mixture(td.NaiveBayes(n_categories=3), 2, **options).fit(X, validation=held_out, rng=0)
    free = td.Mixture(td.NaiveBayes(n_categories=3), 2, **options).fit(X, rng=0)
    assert everything(stopped) == everything(free)


def test_validation_is_named_and_must_have_the_same_columns() -> None:
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = td.Mixture(td.NaiveBayes(alpha=1), 2)
    with pytest.raises(ValueError, match="names"):
        model.fit(frame, validation=frame[list("bacd")], rng=0)
    with pytest.raises(ValueError, match=r"validation\[0, 2\] is 7"):
        model.fit(X, validation=[[0, 1, 7, 0]], rng=0)
    with pytest.raises(ValueError, match="validation has 2 features"):
        model.fit(X, validation=[[0, 1]], rng=0)


def test_restarts_keep_the_best() -> None:
    several = [td.Mixture(td.NaiveBayes(alpha=0.1), 4, n_init=n).fit(WIDE, rng=9).objective_[-1] for n in (1, 5)]
    assert several[1] >= several[0]


def test_more_components_than_distinct_rows() -> None:
    model = td.Mixture(td.NaiveBayes(alpha=0.1), 5).fit([[0, 1], [1, 0], [0, 1]], rng=0)
    assert model.weights_.sum() == pytest.approx(1)
    assert np.isfinite(model.log_prob([[0, 0], [0, 1]])).all()


def test_pickles_and_parameters() -> None:
    model = td.Mixture(td.NaiveBayes(alpha=0.5, n_categories=2), 2, n_init=2).fit(X, rng=0)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.log_prob(X), model.log_prob(X))
    assert repr(model) == "Mixture(NaiveBayes(alpha=0.5, n_categories=2), 2, n_init=2)"
    assert model.n_parameters == 1 + 2 * 4
    assert model.classes_ is None
    with pytest.raises(AttributeError, match="settled"):
        model.n_components = 3


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: td.Mixture(td.JointTable(), 2), TypeError, "model must be"),
        (lambda: td.Mixture(td.NaiveBayes, 2), TypeError, "got NaiveBayes"),
        (lambda: td.Mixture(td.NaiveBayes(), 0), ValueError, "n_components"),
        (lambda: td.Mixture(td.NaiveBayes(), 10**6).fit(X), ValueError, "n_components is 1000000, but X has 400 rows"),
        (lambda: td.Mixture(td.NaiveBayes(), 2, start="best"), ValueError, "start must be"),
        (lambda: td.Mixture(td.NaiveBayes(), 2, tol=float("nan")), ValueError, "tol"),
        (lambda: td.Mixture(td.NaiveBayes(), 2).fit(X, HIDDEN), ValueError, "hidden"),
        (lambda: td.Mixture(td.NaiveBayes(), 2).fit(X[:0]), ValueError, "no rows"),
        (lambda: td.Mixture(td.NaiveBayes(), 2).fit(X, validation=X[:, :3]), ValueError, "features"),
        (lambda: td.Mixture(td.NaiveBayes(n_categories=2), 2).fit(X + 1), ValueError, r"X\[\d+, \d\]"),
        (lambda: td.Mixture(td.NaiveBayes(), 2).fit(X, sample_weight=np.zeros(400)), ValueError, "zero for every row"),
        (
            lambda: td.Mixture(td.MarkovChain(homogeneous=True), 2, start="kmeans++").fit(SEQUENCES),
            ValueError,
            "for sequences leave start= out",
        ),
        (lambda: td.Mixture(td.NaiveBayes(), 2).fit(X).predict(X), AttributeError, "responsibilities"),
        (lambda: td.Mixture(td.NaiveBayes(), 2).log_prob(X), AttributeError, "not fitted"),
        (lambda: td.Mixture(td.NaiveBayes(), 2).partial_fit(X), AttributeError, "all rows at once"),
    ],
)
def test_errors_say_what_to_do(call: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


def test_sequences_begin_by_chance(backend: str) -> None:
    model = td.Mixture(td.MarkovChain(homogeneous=True, alpha=1), 2).fit(SEQUENCES, rng=1)
    other = td.Mixture(td.MarkovChain(homogeneous=True, alpha=1), 2, start="random").fit(SEQUENCES, rng=1)
    assert everything(model) == everything(other)
    rows = td.Mixture(td.NaiveBayes(alpha=1), 2, start="kmeans++").fit(WIDE, rng=1)
    assert everything(rows) == everything(td.Mixture(td.NaiveBayes(alpha=1), 2).fit(WIDE, rng=1))


def test_a_failed_fit_changes_nothing() -> None:
    model = td.Mixture(td.NaiveBayes(), 2).fit(X, rng=0)
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match=r"n_categories|below"):
        model.fit(X + 1, rng=1)
    assert pickle.dumps(model) == before


def test_a_fit_says_whether_it_converged(backend: str) -> None:
    model = td.Mixture(td.NaiveBayes(alpha=1), 2, max_iter=2, tol=0.0)  # which says that it is meant
    assert not model.fit(WIDE, rng=1).converged_
    assert not model.fit(WIDE, validation=WIDE, rng=1).converged_
    assert td.Mixture(td.NaiveBayes(alpha=1), 2, tol=1e-3).fit(WIDE, rng=1).converged_
    model.tol = 1e-6
    for held_out in (None, WIDE):
        message = "EM ended after max_iter=2 iterations without having converged to tol=1e-06: raise max_iter= or tol="
        with pytest.warns(RuntimeWarning, match=message) as caught:
            assert not model.fit(WIDE, validation=held_out, rng=1).converged_
        assert caught[0].filename == __file__


@pytest.mark.parametrize("shared", [True, False])
def test_trees_with_missing_cells_begin_where_every_row_is_possible(backend: str, shared: bool) -> None:
    rows = [[-1, 1], [2, 2]]
    model = td.Mixture(td.ChowLiuTree(shared=shared), 1).fit(rows, rng=0)
    assert model.converged_ and model.log_prob(rows) == pytest.approx(np.log([0.5, 0.5]), rel=1e-3)
    g = np.random.default_rng(3)
    same = g.integers(0, 4, (80, 1))
    X = np.where(g.random((80, 6)) < 0.5, same, g.integers(0, 4, (80, 6)))
    X[g.random(X.shape) < 0.3] = -1
    for seed in range(3):
        model = td.Mixture(td.ChowLiuTree(n_categories=4, shared=shared), 3, max_iter=50, tol=0).fit(X, rng=seed)
        assert np.isfinite(model.objective_).all() and np.isfinite(model.log_prob(X)).all()
        assert (np.diff(model.objective_) >= -1e-9 * np.abs(model.objective_[1:])).all()


def test_em_ends_where_nothing_is_possible() -> None:
    model = td.Mixture(td.NaiveBayes(n_categories=3), 2, start="random")
    with pytest.warns(RuntimeWarning, match="objective of -inf"):
        model.fit([[0], [1]], sample_weight=[1e301, 1e-300], rng=0)
    assert len(model.objective_) < 10
    assert not model.converged_


@pytest.mark.parametrize("model", [td.ChowLiuTree(), td.MarkovChain(), td.ChowLiuTree(missing_fit="em")])
@pytest.mark.parametrize("scale", [2.0**-40, 2.0**30])
def test_the_scale_of_weights_does_not_matter(backend, model, scale):
    rng = np.random.default_rng(8)
    X = np.where(rng.random((300, 5)) < 0.5, rng.integers(0, 2, (300, 1)), rng.integers(0, 2, (300, 5)))
    X[rng.random(X.shape) < 0.05] = -1
    one, other = (
        (td.Mixture(model, 2, max_iter=30, tol=0).fit(X, rng=1, sample_weight=weights)).log_prob(X)
        for weights in (None, np.full(len(X), scale))
    )
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("validation", "match"),
    [
        ([[0, 1], [0, 5]], r"validation\[1\]\[1\] is 5, but there are 2 states"),
        ([0, 1], "validation must be 2-D, a list of sequences"),
        ([], "validation has no rows"),
    ],
)
def test_errors_name_held_out_sequences(validation, match):
    with pytest.raises(ValueError, match=match):
        td.Mixture(td.MarkovChain(homogeneous=True), 2).fit([[0, 1], [1, 0]], validation=validation, rng=1)


def test_gaps_are_refused_at_a_higher_order(backend):
    mixture = td.Mixture(td.MarkovChain(homogeneous=True, alpha=1, order=2), 2)
    with pytest.raises(ValueError, match=r"X\[1\]\[2\] is -1, a missing state: EM of .* order 1, not 2; split"):
        mixture.fit([[0, 1], [1, 0, -1, 1]], rng=1)
    named = td.Mixture(td.MarkovChain(homogeneous=True, alpha=1, missing=9, order=2), 2)
    with pytest.raises(ValueError, match=r"X\[0\]\[0\] is 9, a missing state"):
        named.fit([[9, 0], [1, 0]], rng=1)
