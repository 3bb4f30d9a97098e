"""Choosing a model: evidence, information criteria, leave-one-out and comparison are what refits and loops say."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
import tallydraw as td
from tallydraw.dirichlet import log_evidence

RNG = np.random.default_rng(31)
SIZES = [2, 3, 4]
N = 40
X = np.stack([RNG.integers(0, c, N) for c in SIZES], axis=1).astype(np.uint8)
HOLES = np.where(RNG.random(X.shape) < 0.25, -1, X).astype(np.int8)
Y = np.array(["no", "yes", "maybe"])[RNG.integers(0, 3, N)]
LABELS = {"no class": None, "class": Y}
KINDS: dict[str, tuple[type[td.Model], dict[str, Any], np.ndarray]] = {
    "categorical": (td.Categorical, {"n_categories": 4}, X[:, 2]),
    "categorical, missing": (td.Categorical, {"n_categories": 4}, HOLES[:, 2]),
    "tied": (td.Categorical, {"tied": [[0, 3], [1], [2]]}, X[:, 2]),
    "bounded": (td.Categorical, {"bounds": (0.4, 0.45)}, X[:, 0]),
    "joint": (td.JointTable, {"n_categories": SIZES}, X),
    "joint, missing": (td.JointTable, {"n_categories": SIZES}, HOLES),
    "bayes": (td.NaiveBayes, {"n_categories": SIZES}, X),
    "bayes, missing": (td.NaiveBayes, {"n_categories": SIZES}, HOLES),
    "chain": (td.MarkovChain, {"n_categories": SIZES}, X),
    "chain, missing": (td.MarkovChain, {"n_categories": SIZES}, HOLES),
    "chain rule": (td.MarkovChain, {"n_categories": SIZES, "order": 2}, X),
    "chain rule, missing": (td.MarkovChain, {"n_categories": SIZES, "order": 2}, HOLES),
    "tree": (td.ChowLiuTree, {"n_categories": SIZES}, X),
    "tree, missing": (td.ChowLiuTree, {"n_categories": SIZES}, HOLES),
    "trees": (td.ChowLiuTree, {"n_categories": SIZES, "shared": False, "root": 1}, X),
    "trees, missing": (td.ChowLiuTree, {"n_categories": SIZES, "shared": False, "root": 1}, HOLES),
    "homogeneous": (td.MarkovChain, {"n_categories": 4, "homogeneous": True}, np.tile(X, 3)),
    "homogeneous, missing": (td.MarkovChain, {"n_categories": 4, "homogeneous": True}, np.tile(HOLES, 3)),
    "homogeneous, order 2": (td.MarkovChain, {"n_categories": 4, "homogeneous": True, "order": 2}, np.tile(X, 3)),
}


@pytest.fixture(params=LABELS)
def y(request: pytest.FixtureRequest) -> np.ndarray | None:
    return LABELS[request.param]


def make(kind: str, y: Any, data: Any = None, **params: Any) -> Any:
    """A fit under the classes of all rows, which a part of them may not have."""
    cls, own, rows = KINDS[kind]
    classes = None if y is None else sorted(set(Y))
    return cls(**{**own, **params}).partial_fit(rows if data is None else data, y, classes=classes)


def scored(model: Any, rows: Any, y: Any) -> np.ndarray:
    """log p(x), or log p(x, y)."""
    if y is None:
        return model.log_prob(rows)
    return np.minimum(model.log_joint(rows)[np.arange(len(y)), np.searchsorted(model.classes_, y)], 0)


def again(kind: str, model: Any, data: Any, y: Any, alpha: float) -> Any:
    """The fit to other data, with the structure of `model`."""
    if not isinstance(model, td.ChowLiuTree):
        return make(kind, y, data, alpha=alpha)
    counted = {"n_categories": SIZES}
    own = {**KINDS[kind][1], "alpha": alpha}
    if y is None:
        return type(model).from_probabilities(
            td.count_features(data, parents=model.parents_, **counted).normalize(alpha), **own
        )
    codes = np.searchsorted(model.classes_, y)
    prior = td.Tables.from_arrays([td.count_categories(codes, n_categories=3)]).normalize(alpha)[0]
    if model.shared:
        counts = td.count_features(data, y=codes, n_classes=3, parents=model.parents_, **counted)
        tables: Any = counts.normalize(alpha)
    else:
        tables = [
            td.count_features(data[codes == k], parents=model.parents_[k], **counted).normalize(alpha) for k in range(3)
        ]
    truth = type(model).from_probabilities(tables, class_prior=prior, **own)
    truth._fitted = truth._fitted._replace(classes=model.classes_)
    return truth


# Leave-one-out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("alpha", [0, 1, 0.3])
def test_leave_one_out_is_the_fit_without_the_row(kind: str, alpha: float, y: Any, backend: str) -> None:
    data = KINDS[kind][2]
    model = make(kind, y, alpha=alpha)
    found = model.loo_log_prob(data, y)
    for i in range(N):
        rest, one = np.arange(N) != i, slice(i, i + 1)
        refit = again(kind, model, data[rest], None if y is None else y[rest], alpha)
        expected = scored(refit, data[one], None if y is None else y[one])[0]
        if isinstance(alpha, int):
            assert found[i] == expected
        else:
            assert found[i] == pytest.approx(expected, rel=1e-13, abs=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_leave_one_out_of_some_rows_by_any_threads(kind: str, y: Any) -> None:
    model, data = make(kind, y, alpha=0.5), KINDS[kind][2]
    before, found = td.backend.active(), set()
    for name in td.backend.available():
        td.backend.use(name)
        for n_threads in (1, 2, 7):
            every = model.loo_log_prob(data, y, n_threads=n_threads)
            found.add(every.tobytes())
            some = model.loo_log_prob(data[5:9], None if y is None else y[5:9], n_threads=n_threads)
            assert some.tolist() == every[5:9].tolist()
    td.backend.use(before)
    assert len(found) == 1


def test_leave_one_out_of_the_only_row(backend: str) -> None:
    for model in (td.NaiveBayes(n_categories=[2, 3]), td.JointTable(n_categories=[2, 3])):
        assert model.fit([[0, 2]]).loo_log_prob([[0, 2]])[0] == pytest.approx(-math.log(6))
        labelled = type(model)(n_categories=[2, 3]).partial_fit([[0, 2]], ["b"], classes=["a", "b"])
        assert labelled.loo_log_prob([[0, 2]], ["b"])[0] == pytest.approx(-math.log(12))


def test_leave_one_out_with_an_alpha_for_each_category(backend: str) -> None:
    alpha = [[1, 0], [0.5, 0.25, 2]]
    data, labels = X[:, :2], Y
    found = td.NaiveBayes(alpha=alpha, n_categories=[2, 3]).fit(data, labels).loo_log_prob(data, labels)
    for i in range(N):
        rest = np.arange(N) != i
        refit = td.NaiveBayes(alpha=alpha, n_categories=[2, 3]).fit(data[rest], labels[rest])
        assert found[i] == pytest.approx(scored(refit, data[i : i + 1], labels[i : i + 1])[0], rel=1e-13)


def test_rows_that_are_not_of_the_fit(backend: str) -> None:
    data = [[0, 0], [1, 0], [1, 1]]
    with pytest.raises(ValueError, match=r"X\[1, 1\] is 2, which the fit did not count"):
        td.NaiveBayes(n_categories=3).fit(data).loo_log_prob([[0, 0], [1, 2]])
    with pytest.raises(ValueError, match=r"X\[0, 1\] is 1, which the fit did not count"):
        td.MarkovChain(alpha=1).fit(data).loo_log_prob([[0, 1]])
    with pytest.raises(ValueError, match=r"X\[0, 0\] is 1, which the fit did not count"):
        td.NaiveBayes(alpha=1).fit(data, [0, 1, 1]).loo_log_prob([[1, -1]], [0])
    with pytest.raises(ValueError, match=r"y\[0\] is a class that the fit did not count"):
        td.NaiveBayes(alpha=1).partial_fit(data, [0, 1, 1], classes=[0, 1, 2]).loo_log_prob([[-1, -1]], [2])
    with pytest.raises(ValueError, match=r"X\[1\] is \[0, 1\], which the fit did not count"):
        td.JointTable(alpha=1).fit(data).loo_log_prob([[0, 0], [0, 1]])
    with pytest.raises(ValueError, match=r"X\[0\] is \[0, 0\], which with its y\[0\] the fit did not count"):
        td.JointTable(alpha=1).fit(data, [0, 1, 1]).loo_log_prob([[0, 0]], [1])
    with pytest.raises(ValueError, match=r"x\[2\] is 3, which the fit did not count"):
        td.Categorical(alpha=1, n_categories=4).fit([0, 1, 2]).loo_log_prob([-1, 0, 3])
    chain = td.MarkovChain(homogeneous=True).fit([[0, 1, 0], [1, 1, 1]])
    for stray in ([0, 1, 0, 1, 0], [0, -1, 0, 0], [0, 0]):
        with pytest.raises(ValueError, match=r"X\[1\] is a sequence of which some step the fit did not count"):
            chain.loo_log_prob([[1, 1], stray])


def test_sequences_in_all_forms_leave_themselves_out(backend: str) -> None:
    pieces = [[0, 1, 1, 0, 1], [], [1], [0, 0, 1], [1, 0, 1, 1], [0, -1, 1, 1], [0, 1]]
    flat, offsets = np.concatenate([np.array(p, int) for p in pieces]), np.cumsum([0] + [len(p) for p in pieces])
    chain = td.MarkovChain(homogeneous=True, alpha=1).fit(pieces)
    found = chain.loo_log_prob(pieces)
    assert chain.loo_log_prob(flat, offsets=offsets).tolist() == found.tolist()
    for i in range(len(pieces)):
        rest = td.MarkovChain(homogeneous=True, alpha=1, n_categories=2).fit(pieces[:i] + pieces[i + 1 :])
        assert rest.log_prob([pieces[i]])[0] == found[i]


def test_what_leave_one_out_needs(y: Any) -> None:
    weighted = td.NaiveBayes().fit(X, y, sample_weight=np.ones(N))
    with pytest.raises(ValueError, match="integer counts"):
        weighted.loo_log_prob(X, y)
    with pytest.raises(ValueError, match="integer counts"):
        td.JointTable().fit(X, y, sample_weight=np.ones(N)).loo_log_prob(X, y)
    with pytest.raises(ValueError, match="pass y" if y is not None else "without a class"):
        td.NaiveBayes().fit(X, y).loo_log_prob(X, Y if y is None else None)
    stated = td.NaiveBayes.from_probabilities([[0.5, 0.5]])
    for call in (lambda: stated.loo_log_prob([[0]]), stated.aic, stated.bic, stated.log_evidence):
        with pytest.raises(AttributeError, match="no counts"):
            call()
    with pytest.raises(OverflowError, match="sums to infinity"):
        td.NaiveBayes(alpha=1e308, n_categories=4).fit(X).loo_log_prob(X)
    with pytest.raises(OverflowError, match="sums to infinity"):
        td.NaiveBayes(alpha=1e308, n_categories=4).fit(X).log_evidence()


@pytest.mark.parametrize("hidden", ["class", "cells", "cells of trees", "cells given a class"])
def test_what_em_expected_is_no_count(hidden: str, backend: str) -> None:
    """Criteria are those of what was seen; evidence and leave-one-out are not defined."""
    holes = np.where(np.random.default_rng(5).random(X.shape) < 0.2, -1, X.astype(np.int64)).astype(np.int8)
    y = Y if hidden == "cells given a class" else None
    model: Any
    if hidden == "class":
        model = td.Mixture(td.NaiveBayes(alpha=1), 2).fit(holes, rng=0)
    elif hidden == "cells of trees":
        model = td.ChowLiuTree(alpha=0.5, missing_fit="em").fit(holes)
    else:
        model = td.MarkovChain(alpha=0.5, missing_fit="em").fit(holes, y)
    if y is None:
        seen = model.log_prob(holes).sum()
    else:
        seen = model.log_joint(holes)[np.arange(len(y)), np.searchsorted(model.classes_, y)].sum()
    assert model.aic() == pytest.approx(-2 * seen + 2 * model.n_parameters, rel=1e-12)
    assert model.bic() == pytest.approx(-2 * seen + model.n_parameters * math.log(len(X)), rel=1e-12)
    with pytest.raises(ValueError, match="fit by EM"):
        model.loo_log_prob(holes, y)
    with pytest.raises(ValueError, match="EM expected"):
        model.log_evidence()


# Evidence ----------------------------------------------------------------------------------------------------------

COMPLETE = [k for k in KINDS if "missing" not in k and k != "bounded" and "homogeneous" not in k]


@pytest.mark.parametrize("kind", COMPLETE)
@pytest.mark.parametrize("alpha", [1, 0.3, 1e-9])
def test_the_evidence_is_the_product_of_predictions(kind: str, alpha: float, y: Any, backend: str) -> None:
    data, total, model = KINDS[kind][2], 0.0, make(kind, y, alpha=alpha)
    for i in range(N):
        one = slice(i, i + 1)
        before = again(kind, model, data[:i], None if y is None else y[:i], alpha)
        total += float(scored(before, data[one], None if y is None else y[one])[0])
    assert model.log_evidence() == pytest.approx(total, rel=1e-12)


def test_evidence_of_sequences(y: Any, backend: str) -> None:
    pairs = X[:, :2]  # of a start and one step: no two counts of a sequence are in one table
    model = td.MarkovChain(alpha=0.5, homogeneous=True, n_categories=3)
    rows = td.MarkovChain(alpha=0.5, n_categories=3).fit(pairs, y)
    assert model.fit(pairs, y).log_evidence() == rows.log_evidence()


def test_evidence_of_the_class_prior(backend: str) -> None:
    rows = td.NaiveBayes(alpha=[1, 1, 1]).fit(X, Y)
    both = td.NaiveBayes(alpha=1).fit(X, Y)
    classes = td.Categorical(alpha=1).fit(np.unique(Y, return_inverse=True)[1])
    assert both.log_evidence() == pytest.approx(rows.log_evidence() + classes.log_evidence(), rel=1e-14)


def test_evidence_of_weights(backend: str) -> None:
    gamma = pytest.importorskip("scipy.special").gammaln
    weights = RNG.random(N) * 3
    model = td.Categorical(alpha=0.7).fit(X[:, 1], sample_weight=weights)
    n = model.counts_[0]
    expected = (gamma(n + 0.7) - gamma(0.7)).sum() - gamma(n.sum() + 2.1) + gamma(2.1)
    assert model.log_evidence() == pytest.approx(expected, rel=1e-12)


def test_evidence_of_more_combinations_than_float64_holds(backend: str) -> None:
    wide = np.repeat(X[:, :1], 4000, axis=1)
    model = td.JointTable(alpha=1).fit(wide)
    # n! ways beside (2**4000)**n: the first factors alone are told apart.
    once = td.JointTable(alpha=1).fit(wide[:1]).log_evidence()
    assert once == pytest.approx(-4000 * math.log(2), rel=1e-14)
    n = np.bincount(X[:, 0])
    expected = N * once + sum(math.lgamma(c + 1) for c in n)
    assert model.log_evidence() == pytest.approx(expected, rel=1e-14)


@pytest.mark.filterwarnings("ignore:alpha is at its largest")
def test_an_estimated_alpha_maximises_the_evidence(backend: str) -> None:
    model = td.NaiveBayes(n_categories=SIZES, alpha=1).fit(X)
    model.alpha = td.estimate_alpha(model.counts_)
    best = model.log_evidence()
    for alpha in (0.01, 0.1, 1, 3, 10, 1000):
        model.alpha = alpha
        assert model.log_evidence() <= best


def test_where_there_is_no_evidence() -> None:
    with pytest.raises(ValueError, match=r"alpha is 0 somewhere.*estimate_alpha"):
        td.NaiveBayes().fit(X).log_evidence()
    with pytest.raises(ValueError, match="alpha is 0 somewhere"):
        td.JointTable().fit(X).log_evidence()
    with pytest.raises(ValueError, match="alpha is 0 somewhere"):
        td.Categorical(alpha=[1, 0]).fit(X[:, 0]).log_evidence()
    with pytest.raises(ValueError, match="bounds"):
        td.Categorical(alpha=1, bounds=(0, 0.5)).fit(X[:, 0]).log_evidence()


# Information criteria ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in KINDS if "missing" not in k])
@pytest.mark.parametrize("alpha", [0, 0.5])
def test_criteria_are_of_the_rows_of_the_fit(kind: str, alpha: float, y: Any, backend: str) -> None:
    data = KINDS[kind][2]
    model = make(kind, y, alpha=alpha)
    fit, p = float(scored(model, data, y).sum()), model.n_parameters
    n = data.size if "homogeneous" in kind else N
    assert model.aic() == pytest.approx(-2 * fit + 2 * p, rel=1e-12)
    assert model.bic() == pytest.approx(-2 * fit + p * math.log(n), rel=1e-12)


def test_criteria_of_weighted_rows_and_missing_cells(y: Any, backend: str) -> None:
    times = 1 + np.arange(N) % 3
    weighted = td.NaiveBayes().fit(X, y, sample_weight=times)
    repeated = td.NaiveBayes().fit(np.repeat(X, times, axis=0), None if y is None else np.repeat(y, times))
    assert weighted.bic() == repeated.bic()
    holes = td.NaiveBayes(n_categories=SIZES).fit(HOLES, y)
    n = N if y is not None else max(int(t.sum()) for t in holes.counts_)
    assert holes.bic() - holes.aic() == pytest.approx(holes.n_parameters * (math.log(n) - 2))


def test_criteria_of_more_parameters_than_float64_holds() -> None:
    model = td.JointTable().fit(np.repeat(X[:, :1], 4000, axis=1))
    assert model.aic() == model.bic() == math.inf


def test_criteria_without_data() -> None:
    with pytest.raises(ValueError, match="counted no row"):
        td.NaiveBayes(n_categories=[2, 2]).fit(np.empty((0, 2), int)).bic()


@pytest.mark.parametrize("kind", KINDS)
def test_choosing_has_the_same_bits_everywhere(kind: str, y: Any) -> None:
    model = make(kind, y, alpha=0.3)
    before, found = td.backend.active(), set()
    for name in td.backend.available():
        td.backend.use(name)
        again = make(kind, y, alpha=0.3)
        found.add((again.aic(), again.bic(), None if kind == "bounded" else again.log_evidence()))
    td.backend.use(before)
    assert found == {(model.aic(), model.bic(), None if kind == "bounded" else model.log_evidence())}


def test_evidence_is_that_of_the_tables(y: Any, backend: str) -> None:
    model = td.MarkovChain(alpha=[0.5, 1, 2]).fit(X, y)
    assert model.log_evidence() == log_evidence(model.counts_, [0.5, 1, 2])


# Comparison --------------------------------------------------------------------------------------------------------


def compared(**more: Any) -> tuple[dict[str, Any], td.selection.Comparison]:
    models = {
        "product": td.NaiveBayes(alpha=1, n_categories=SIZES).fit(X[:30], Y[:30]),
        "chain": td.MarkovChain(alpha=1, n_categories=SIZES).fit(X[:30]),
        "exact": td.JointTable(n_categories=SIZES).fit(X[:30]),
        "mixture": td.Mixture(td.NaiveBayes(alpha=1, n_categories=SIZES), 2).fit(X[:30], rng=1),
        "stated": td.NaiveBayes.from_probabilities([[0.5, 0.5], [0.5, 0.25, 0.25], [0.25] * 4]),
        **more,
    }
    return models, td.compare(models, X, Y)


def test_a_comparison_is_what_each_model_says(backend: str) -> None:
    models, table = compared()
    assert {row.name for row in table} == set(models)
    assert [row.log_prob for row in table] == sorted((row.log_prob for row in table), reverse=True)
    best = models[table[0].name].log_prob(X)
    for row in table:
        model, log_p = models[row.name], models[row.name].log_prob(X)
        assert row.n_parameters == model.n_parameters
        assert row.impossible == np.isneginf(log_p).sum()
        if row.impossible:
            assert (row.log_prob, row.difference) == (-math.inf, -math.inf)
            assert row.log_prob_error == row.difference_error == row.perplexity == math.inf
            continue
        assert row.log_prob == pytest.approx(log_p.mean(), rel=1e-14)
        assert row.log_prob_error == pytest.approx(log_p.std(ddof=1) / math.sqrt(N), rel=1e-12)
        assert row.difference == pytest.approx((log_p - best).mean(), rel=1e-12)
        assert row.difference_error == pytest.approx((log_p - best).std(ddof=1) / math.sqrt(N), rel=1e-12)
        assert row.perplexity == pytest.approx(math.exp(-log_p.sum() / X.size), rel=1e-12)
        assert row.accuracy == ((model.predict(X) == Y).mean() if model.classes_ is not None else None)
    rows = {row.name: row for row in table}
    assert rows["exact"].impossible > 0
    for name in ("product", "chain"):
        model = models[name]
        assert rows[name][-3:] == (model.aic(), model.bic(), model.log_evidence())
    assert rows["exact"][-3:] == (models["exact"].aic(), models["exact"].bic(), None)
    assert rows["mixture"][-3:] == (models["mixture"].aic(), models["mixture"].bic(), None)
    assert rows["stated"][-3:] == (None, None, None)


def test_a_comparison_shows_itself_as_a_table() -> None:
    table = compared()[1]
    lines = repr(table).splitlines()[:-1]
    assert [line.split()[0] for line in lines] == ["name", *(row.name for row in table)]
    assert lines[0].split()[1:] == list(td.selection.ComparedModel._fields[1:])
    assert len({len(line) for line in lines[:2]}) == 1
    assert "accuracy" not in repr(td.compare({"chain": td.MarkovChain().fit(X)}, X))
    wide = td.JointTable().fit(np.repeat(X[:, :1], 2000, axis=1))
    assert "e+602" in repr(td.compare({"wide": wide}, np.repeat(X[:, :1], 2000, axis=1)))


def test_a_comparison_says_which_criteria_are_not_to_be_compared() -> None:
    def notes(rows: Any = X, **models: Any) -> list[str]:
        table = td.compare(models, X)
        found = [line for line in repr(table).splitlines() if line.startswith("* ")]
        assert found == list(pickle.loads(pickle.dumps(table))._notes)
        return found

    def fitted(kind: Any, rows: Any = X, **params: Any) -> Any:
        return kind(alpha=1, n_categories=SIZES, **params).fit(rows)

    holes = np.where(np.random.default_rng(5).random(X.shape) < 0.2, -1, X.astype(np.int64))
    whole = {kind.__name__: fitted(kind) for kind in (td.NaiveBayes, td.MarkovChain, td.ChowLiuTree, td.JointTable)}
    mixture = td.Mixture(td.NaiveBayes(alpha=1, n_categories=SIZES), 2)
    assert notes(**whole, mixture=mixture.fit(X, rng=0)) == []
    with_class = td.NaiveBayes(alpha=1, n_categories=SIZES).fit(X, Y)
    (note,) = notes(a=with_class, b=whole["NaiveBayes"])
    assert "log_evidence of a are of rows and classes, those of the others of rows alone" in note
    seen = {"product": fitted(td.NaiveBayes, holes), "em": fitted(td.MarkovChain, holes, missing_fit="em")}
    assert notes(**seen, mixture=mixture.fit(holes, rng=0)) == []
    (note,) = notes(**seen, chain=fitted(td.MarkovChain, holes))
    assert note.endswith("are not comparable: chain left out observed cells beside missing ones")
    for other in ("em", "product"):
        (note,) = notes(other=seen[other], joint=fitted(td.JointTable, holes))
        assert note.endswith("are not comparable: the fits were to different rows, or left out rows with missing cells")
    (note,) = notes(few=fitted(td.NaiveBayes, holes[:9]), product=seen["product"])
    assert "the fits were to different rows" in note
    one, two = (td.MarkovChain(alpha=a, n_categories=SIZES).fit(holes) for a in (1, 2))
    assert notes(one=one, two=two) == []


def test_a_comparison_of_sequences_says_what_their_gaps_do() -> None:
    def notes(rows: Any, **params: Any) -> tuple[str, ...]:
        models = {
            name: td.MarkovChain(homogeneous=True, alpha=1, n_categories=4, **more).fit(rows)
            for name, more in {"first": {}, "other": params}.items()
        }
        return td.compare(models, np.tile(X, 3))._notes

    whole, gaps = np.tile(X, 3), np.tile(HOLES, 3)
    assert notes(whole, order=2) == notes(whole, missing_fit="em") == notes(gaps) == ()
    for params in ({"order": 2}, {"missing_fit": "em"}):
        (note,) = notes(gaps, **params)
        assert "are not comparable: the fits counted different numbers of states, by missing ones or" in note
    chain = td.MarkovChain(homogeneous=True, alpha=1, n_categories=4, missing_fit="em")
    mixture = td.Mixture(chain, 2, max_iter=5, tol=0).fit(gaps, rng=1)
    assert td.compare({"chain": chain.fit(gaps), "mixture": mixture}, whole)._notes == ()
    more = math.log(mixture.counts_.values.sum()) - 2
    assert mixture.bic() - mixture.aic() == pytest.approx(mixture.n_parameters * more)


def test_a_comparison_is_a_sequence_and_columns() -> None:
    table = compared()[1]
    assert isinstance(table, tuple)
    columns = table.to_dict()
    assert list(columns) == list(td.selection.ComparedModel._fields)
    assert columns["bic"] == [row.bic for row in table]
    pd = pytest.importorskip("pandas")
    assert pd.DataFrame(table)["name"].tolist() == columns["name"]


def test_where_every_model_finds_a_row_impossible(backend: str) -> None:
    models = {
        "two": td.JointTable(n_categories=2).fit([[0, 0]]),
        "one": td.JointTable(n_categories=2).fit([[0, 0], [1, 1]]),
    }
    table = td.compare(models, [[0, 1], [0, 0], [1, 1]])
    assert [(r.name, r.impossible, r.difference, r.difference_error) for r in table] == [
        ("one", 1, 0.0, 0.0),
        ("two", 2, 0.0, math.inf),
    ]


def test_a_comparison_of_sequences_and_of_one_row(backend: str) -> None:
    pieces = [[0, 1, 1], [1], [0, 1]]
    models = {str(k): td.MarkovChain(homogeneous=True, alpha=1, order=k).fit(pieces) for k in (1, 2)}
    models["mixture"] = td.Mixture(td.MarkovChain(homogeneous=True, alpha=1), 2, start="random").fit(pieces, rng=0)
    for row in td.compare(models, pieces):
        assert row.perplexity == pytest.approx(math.exp(-models[row.name].log_prob(pieces).sum() / 6))
    (row,) = td.compare({"x": td.Categorical(alpha=1).fit([0, 1, 1])}, [1])
    assert (row.log_prob_error, row.difference, row.difference_error) == (math.inf, 0.0, 0.0)
    assert row.perplexity == pytest.approx(5 / 3)


def test_hostile_comparisons() -> None:
    model = td.NaiveBayes().fit(X, Y)
    with pytest.raises(TypeError, match="mapping"):
        td.compare([model], X)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="empty"):
        td.compare({}, X)
    with pytest.raises(TypeError, match="must be strings"):
        td.compare({1: model}, X)  # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"models\['a'\] must be a Model, got int"):
        td.compare({"a": 3}, X)  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="no rows"):
        td.compare({"a": model}, X[:0])
    with pytest.raises(ValueError, match="one label a row"):
        td.compare({"a": model}, X, Y[1:])
    with pytest.raises(ValueError, match="none of the 3 classes"):
        td.compare({"a": model}, X, np.where(Y == "no", "never", Y))
    with pytest.raises(AttributeError, match="model 'b': this NaiveBayes is not fitted"):
        td.compare({"a": model, "b": td.NaiveBayes()}, X)
    with pytest.raises(ValueError, match="model 'tree': X has 3 features, but this ChowLiuTree has 2"):
        td.compare({"a": model, "tree": td.ChowLiuTree().fit(X[:, :2])}, X)
    with pytest.raises(ValueError, match=r"model 'a': y\[0\] is 7, which is none of the 3 classes"):
        td.compare({"a": td.NaiveBayes().fit(X, np.arange(N) % 3)}, X, [7] * N)
