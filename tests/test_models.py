"""Models: what all of them share, from fit to draws, on both backends."""

from __future__ import annotations

import pickle
import threading
from typing import Any

import numpy as np
import pytest
import tallydraw as td

RNG = np.random.default_rng(20)
SIZES = [2, 3, 4]
N = 60
X = np.stack([RNG.integers(0, c, N) for c in SIZES], axis=1).astype(np.uint8)
Y = np.array(["no", "yes", "maybe"])[RNG.integers(0, 3, N)]


class Case:
    """A kind of model with data for it, and draws of the right shape."""

    def __init__(self, kind: type[td.Model], sizes: Any, data: np.ndarray, every: np.ndarray, **params: Any) -> None:
        self.kind, self.sizes, self.data, self.every, self.params = kind, sizes, data, every, params

    def make(self, **params: Any) -> Any:
        return self.kind(**{"n_categories": self.sizes, **self.params, **params})

    def sample(self, model: Any, n: int, **options: Any) -> np.ndarray:
        return model.sample(n, **self._length(), **options)

    def sample_joint(self, model: Any, n: int, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        return model.sample_joint(n, **self._length(), **options)

    def _length(self) -> dict[str, int]:
        return {"length": 3} if self.params.get("homogeneous") else {}


def combinations(*sizes: int) -> np.ndarray:
    return np.indices(sizes).reshape(len(sizes), -1).T


CASES = {
    "categorical": Case(td.Categorical, 4, X[:, 2], np.arange(4)),
    "tied": Case(td.Categorical, None, X[:, 2], np.arange(4), tied=[[0, 3], [1, 2]]),
    "joint": Case(td.JointTable, SIZES, X, combinations(*SIZES)),
    "bayes": Case(td.NaiveBayes, SIZES, X, combinations(*SIZES)),
    "chain": Case(td.MarkovChain, SIZES, X, combinations(*SIZES)),
    "chain rule": Case(td.MarkovChain, SIZES, X, combinations(*SIZES), order=2),
    "tree": Case(td.ChowLiuTree, SIZES, X, combinations(*SIZES)),
    "trees": Case(td.ChowLiuTree, SIZES, X, combinations(*SIZES), shared=False),
    "homogeneous": Case(td.MarkovChain, 4, X, combinations(4, 4, 4), homogeneous=True),
    "homogeneous, order 2": Case(td.MarkovChain, 4, X, combinations(4, 4, 4), homogeneous=True, order=2),
}
LABELS = {"no class": None, "class": Y}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(params=LABELS)
def y(request: pytest.FixtureRequest) -> np.ndarray | None:
    return LABELS[request.param]


def state(model: Any) -> Any:
    """Everything that a fit leaves, as bytes."""
    return pickle.dumps(model)


def counts_of(model: Any) -> list[Any]:
    """The arrays that hold a model's counts."""
    if isinstance(model, td.JointTable):
        return [model.rows_, model.row_counts_]
    return [tables.values for tables in (model.counts_ if isinstance(model.counts_, tuple) else [model.counts_])]


def counted(model: Any) -> list[Any]:
    return [c.tolist() for c in counts_of(model)] + [
        None if model.class_counts_ is None else model.class_counts_.tolist()
    ]


def part(labels: np.ndarray | None, rows: slice) -> np.ndarray | None:
    return None if labels is None else labels[rows]


# Fit ---------------------------------------------------------------------------------------------------------------


def test_fit_returns_the_model_and_forgets_earlier_counts(case: Case, y: Any, backend: str) -> None:
    model = case.make()
    assert model.fit(case.data[:20], part(y, slice(0, 20))) is model
    again = counted(model.fit(case.data, y))
    assert again == counted(case.make().fit(case.data, y))


def test_partial_fits_add_up_to_one_fit(case: Case, y: Any, backend: str) -> None:
    classes = None if y is None else ["maybe", "no", "yes"]
    model = case.make()
    for a in range(0, N, 17):
        model.partial_fit(case.data[a : a + 17], part(y, slice(a, a + 17)), classes=classes)
    assert counted(model) == counted(case.make().fit(case.data, y))


def test_models_add_and_subtract(case: Case, y: Any, backend: str) -> None:
    first, rest = slice(0, 40), slice(40, N)
    a = case.make().fit(case.data[first], part(y, first))
    b = case.make().fit(case.data[rest], part(y, rest))
    both = a + b
    assert counted(both) == counted(case.make().fit(case.data, y))
    assert counted(both - b) == counted(a)
    assert counted(a) == counted(case.make().fit(case.data[first], part(y, first)))
    with pytest.raises(ValueError, match="negative"):
        b - both


def test_models_that_differ_do_not_add(case: Case, y: Any) -> None:
    model = case.make().fit(case.data, y)
    with pytest.raises(ValueError, match="alpha"):
        model + case.make(alpha=1).fit(case.data, y)
    with pytest.raises(ValueError, match="missing"):
        model - case.make(missing=9).fit(case.data, y)
    with pytest.raises(ValueError, match="class"):
        model + case.make().fit(case.data, Y if y is None else None)
    if y is not None:
        with pytest.raises(ValueError, match="classes differ"):
            model + case.make().fit(case.data, np.where(y == "no", "never", y))
    if case.sizes is not None:
        bigger = (np.asarray(case.sizes) + 1).tolist()
        with pytest.raises(ValueError, match="n_categories"):
            model + case.make(n_categories=bigger).fit(case.data, y)
    with pytest.raises(TypeError):
        model + 1
    other = td.NaiveBayes if case.kind is not td.NaiveBayes else td.JointTable
    with pytest.raises(TypeError):
        model + other(n_categories=4).fit(X)


def test_weighted_models_do_not_subtract(case: Case, y: Any) -> None:
    model = case.make().fit(case.data, y, sample_weight=np.ones(N))
    with pytest.raises(TypeError, match="integer counts"):
        model - model
    twice = model + model
    assert counted(twice) == counted(case.make().fit(case.data, y, sample_weight=np.full(N, 2.0)))


def test_whole_weights_repeat_rows(case: Case, y: Any, backend: str) -> None:
    times = np.arange(N) % 4
    repeated = case.make().fit(np.repeat(case.data, times, axis=0), None if y is None else np.repeat(y, times))
    weighted = case.make().fit(case.data, y, sample_weight=times)
    if isinstance(weighted, td.JointTable):
        kept = weighted.row_counts_.reshape(len(weighted.rows_), -1).any(axis=1)
        assert weighted.rows_[kept].tolist() == repeated.rows_.tolist()
        assert weighted.row_counts_[kept].tolist() == repeated.row_counts_.tolist()
        assert weighted.row_counts_.dtype == np.float64
    else:
        assert [c.tolist() for c in counts_of(weighted)] == [c.tolist() for c in counts_of(repeated)]
        assert all(c.dtype == np.float64 for c in counts_of(weighted))
    assert weighted.log_prob(case.every).tolist() == repeated.log_prob(case.every).tolist()


def test_a_failed_fit_changes_nothing(case: Case, y: Any, backend: str) -> None:
    model = case.make().fit(case.data, y)
    before = state(model)
    bad = case.data.astype(np.int64)
    bad[7, ...] = 99
    labels = None if y is None else y
    for call in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=r"\[7.* is 99, but"):
            call(bad, labels)
        with pytest.raises(TypeError, match="integer codes"):
            call(case.data.astype(float), labels)
        with pytest.raises(ValueError, match="one weight a row"):
            call(case.data, labels, sample_weight=[1, 2])
        with pytest.raises(ValueError, match=r"sample_weight\[3\] is nan"):
            call(case.data, labels, sample_weight=np.where(np.arange(N) == 3, np.nan, 1))
        with pytest.raises(ValueError, match=r"one label a row|without a class"):
            call(case.data, Y[:-1])
        assert state(model) == before


def test_partial_fit_keeps_to_the_class(case: Case) -> None:
    plain, labelled = case.make().fit(case.data), case.make().fit(case.data, Y)
    with pytest.raises(ValueError, match="without a class"):
        plain.partial_fit(case.data, Y)
    with pytest.raises(ValueError, match="pass y"):
        labelled.partial_fit(case.data)
    with pytest.raises(ValueError, match="without y"):
        case.make().partial_fit(case.data, classes=[1, 2])
    with pytest.raises(ValueError, match="since the first call"):
        labelled.partial_fit(case.data, Y, classes=["no", "yes"])
    assert labelled.fit(case.data).classes_ is None


def test_the_numbers_of_categories_are_frozen_at_the_first_fit() -> None:
    model = td.NaiveBayes().fit([[0, 1], [1, 0]])
    with pytest.raises(ValueError, match=r"X\[0, 1\] is 2, but feature 1 has 2 categories"):
        model.fit([[0, 2]])
    with pytest.raises(ValueError, match="3 features"):
        model.fit([[0, 1, 1]])
    with pytest.raises(ValueError, match="3 features"):
        model.log_prob([[0, 1, 1]])
    assert model.fit([[0, 0]]).counts_.n_categories.tolist() == [2, 2]
    assert td.NaiveBayes().fit([[-1, 3]]).counts_.n_categories.tolist() == [1, 4]


def test_no_rows(case: Case, backend: str) -> None:
    empty = case.data[:0]
    model = case.make().fit(empty)
    assert model.log_prob(empty).shape == (0,)
    every = np.exp(model.log_prob(case.every))
    np.testing.assert_allclose(every, 1 / len(every), rtol=1e-12)
    assert case.sample(model, 0).shape[0] == 0
    assert case.sample(model, 50, rng=1).max() > 0
    if case.sizes is not None:
        with pytest.raises(ValueError, match="n_categories"):
            case.make(n_categories=None).fit(empty)
    with pytest.raises(ValueError, match="y is empty"):
        case.make().fit(empty, [])
    known = case.make().partial_fit(empty, [], classes=[3, 1])
    assert known.classes_.tolist() == [1, 3]
    assert known.class_prior_.tolist() == [0.5, 0.5]
    np.testing.assert_allclose(np.exp(known.log_prob(case.every)), 1 / len(every), rtol=1e-12)


def test_before_a_fit() -> None:
    for model in (td.Categorical(), td.JointTable(), td.NaiveBayes(), td.MarkovChain()):
        assert not hasattr(model, "classes_")
        for name in ("n_parameters", "classes_", "class_prior_", "n_features_in_"):
            with pytest.raises(AttributeError, match="not fitted"):
                getattr(model, name)
        with pytest.raises(AttributeError, match="not fitted"):
            model.log_prob([[0]] if model._dimensions == 2 else [0])
        with pytest.raises(AttributeError, match="not fitted"):
            model.sample(1)


def test_parameters_are_checked_when_a_model_is_made() -> None:
    with pytest.raises(ValueError, match="unseen"):
        td.NaiveBayes(unseen="ignore")
    with pytest.raises(TypeError, match="missing"):
        td.NaiveBayes(missing=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="alpha"):
        td.NaiveBayes(alpha=-1).fit(X)
    with pytest.raises(ValueError, match="alpha"):
        td.NaiveBayes(alpha=np.nan).fit(X)
    with pytest.raises(ValueError, match="n_categories"):
        td.NaiveBayes(n_categories=[2, 3]).fit(X)
    with pytest.raises(TypeError):
        td.NaiveBayes(1)  # type: ignore[misc]


def test_a_parameter_may_be_changed_after_the_fit(case: Case, y: Any) -> None:
    model = case.make().fit(case.data, y)
    model.log_prob(case.every)
    model.alpha = 1
    assert model.log_prob(case.every).tolist() == case.make(alpha=1).fit(case.data, y).log_prob(case.every).tolist()


def test_a_parameter_belongs_to_the_model() -> None:
    """Changing an array or list that was passed changes no model; what the fit settled is not set again."""
    alpha, tied = np.array([1.0, 2.0]), [[0, 1], [2]]
    model = td.Categorical(alpha=alpha).fit([0, 1])
    before = model.probabilities_[0].tolist()
    alpha[0] = 50.0
    assert model.probabilities_[0].tolist() == before
    assert td.Categorical(alpha=alpha).fit([0, 1]).probabilities_[0].tolist() != before
    with pytest.raises(ValueError, match="read-only"):
        model.alpha[0] = 3.0
    die = td.Categorical(tied=tied)
    tied[0].append(3)
    assert die.fit([0, 2, 2]).probabilities_[0].tolist() == pytest.approx([1 / 6, 1 / 6, 2 / 3])
    for name, value in (("n_categories", 3), ("order", 2), ("homogeneous", True)):
        chain = td.MarkovChain()
        setattr(chain, name, value)  # before the fit
        with pytest.raises(AttributeError, match=f"{name} is settled by the first fit"):
            setattr(td.MarkovChain().fit([[0, 1]]), name, value)


def test_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(td.NaiveBayes()) == "NaiveBayes()"
    assert repr(td.MarkovChain(alpha=1, order=2)) == "MarkovChain(alpha=1, order=2)"


# Labels and names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["b", "a", "c"]),
        np.array([7, -3, 10**15]),
        np.array([2, 0, 1], np.uint8),
        np.array([2**64 - 1, 5, 0], np.uint64),
        np.array([0.5, -1.25, 1e300]),
        np.array([True, False, True]),
        np.array(["x", "yy", "z"], object),
        np.array(["2020-01-01", "1999-05-05", "2001-01-01"], "datetime64[D]"),
    ],
)
def test_labels_of_any_dtype(labels: np.ndarray, backend: str) -> None:
    y = labels[RNG.integers(0, 3, N)]
    model = td.NaiveBayes(alpha=1).fit(X, y)
    known = np.unique(labels)
    assert model.classes_ is not None
    assert model.classes_.tolist() == known.tolist()
    assert model.classes_.dtype == labels.dtype
    assert model.class_counts_ is not None
    assert model.class_counts_.tolist() == [int((y == k).sum()) for k in known]
    assert set(model.predict(X).tolist()) <= set(known.tolist())
    drawn, y_drawn = model.sample_joint(20, rng=1)
    assert y_drawn.dtype == labels.dtype
    assert model.sample(20, y=y_drawn, rng=1).tolist() == drawn.tolist()
    assert model.sample(20, y=labels[0], rng=1).tolist() == model.sample(20, y=[labels[0]] * 20, rng=1).tolist()


def test_unknown_labels_are_named() -> None:
    model = td.NaiveBayes().fit([[0], [1]], ["a", "b"])
    with pytest.raises(ValueError, match=r"y\[1\] is 'c', which is none of the 2 classes: 'a', 'b'"):
        model.partial_fit([[0], [1]], ["a", "c"])
    with pytest.raises(ValueError, match=r"y\[0\] is 0, which is none"):
        model.partial_fit([[0], [1]], [0, 1])
    with pytest.raises(ValueError, match=r"y\[0\] is 'z'"):
        model.sample(3, y="z")
    with pytest.raises(ValueError, match="one label or one for each"):
        model.sample(3, y=["a", "b"])
    with pytest.raises(ValueError, match="none of the 2 classes"):
        td.NaiveBayes().fit([[0], [1]], ["0", "1"]).partial_fit([[0]], [0])
    with pytest.raises(ValueError, match=r"y\[1\] is 3"):
        td.NaiveBayes().partial_fit([[0], [1]], [0, 3], classes=[0, 1])


@pytest.mark.parametrize(
    ("y", "row"),
    [
        ([0.0, np.nan], 1),
        (np.array(["a", None], object), 1),
        (np.array([np.datetime64("NaT"), np.datetime64("2020")]), 0),
    ],
)
def test_missing_labels_are_errors(y: Any, row: int) -> None:
    with pytest.raises(ValueError, match=rf"y\[{row}\] is .*: a class may not be missing"):
        td.NaiveBayes().fit([[0], [1]], y)


def test_labels_that_cannot_be_sorted() -> None:
    with pytest.raises(TypeError, match="sorted"):
        td.NaiveBayes().fit([[0], [1]], np.array(["a", 1], object))
    with pytest.raises(ValueError, match="one label a row"):
        td.NaiveBayes().fit([[0], [1]], [[0], [1]])


class Frame:
    """What a data frame looks like to NumPy."""

    def __init__(self, values: Any, columns: list[Any]) -> None:
        self.values, self.columns = np.asarray(values), columns

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values


def test_names_of_features() -> None:
    model = td.NaiveBayes().fit(Frame([[0, 1], [1, 0]], ["a", "b"]))
    assert model.feature_names_in_.tolist() == ["a", "b"]
    assert model.n_features_in_ == 2
    model.log_prob([[0, 1]])
    with pytest.raises(ValueError, match="column 0 of X is named 'b', but the model was fitted with 'a'"):
        model.log_prob(Frame([[0, 1]], ["b", "a"]))
    with pytest.raises(ValueError, match="column 1"):
        model.partial_fit(Frame([[0, 1]], ["a", "c"]))
    assert model.fit(Frame([[0, 1]], ["x", "y"])).feature_names_in_.tolist() == ["x", "y"]
    with pytest.raises(ValueError, match="names"):
        model + td.NaiveBayes(n_categories=2).fit([[0, 1]])
    with pytest.raises(ValueError, match="column 0"):
        model + td.NaiveBayes(n_categories=2).fit(Frame([[0, 1]], ["a", "b"]))
    with pytest.raises(AttributeError, match="names"):
        td.NaiveBayes().fit([[0, 1]]).feature_names_in_  # noqa: B018
    assert not hasattr(td.NaiveBayes().fit(Frame([[0, 1]], [0, 1])), "feature_names_in_")
    with pytest.raises(TypeError, match="strings"):
        td.NaiveBayes().fit(Frame([[0, 1]], ["a", 1]))


# Scores ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0, 1, 0.3])
def test_probabilities_of_all_rows_sum_to_one(case: Case, y: Any, alpha: float, backend: str) -> None:
    model = case.make(alpha=alpha).fit(case.data, y)
    assert abs(np.exp(model.log_prob(case.every)).sum() - 1) < 1e-12
    if y is not None:
        joint = model.log_joint(case.every)
        assert abs(np.exp(joint).sum() - 1) < 1e-12
        np.testing.assert_allclose(np.exp(joint).sum(axis=0), model.class_prior_, rtol=1e-12)
        np.testing.assert_allclose(
            np.exp(joint).sum(axis=1), np.exp(model.log_prob(case.every)), rtol=1e-12, atol=1e-300
        )


def test_posteriors_are_by_bayes_rule(case: Case, backend: str) -> None:
    model = case.make(alpha=0.5).fit(case.data, Y)
    joint = np.exp(model.log_joint(case.every))
    posterior = model.predict_proba(case.every)
    np.testing.assert_allclose(posterior, joint / joint.sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(case.every)), posterior, rtol=1e-12)
    assert model.predict(case.every).tolist() == model.classes_[joint.argmax(axis=1)].tolist()
    assert model.predict(case.every[:0]).shape == (0,)


def test_a_row_impossible_under_every_class_has_the_prior(backend: str) -> None:
    model = td.NaiveBayes(n_categories=3).fit([[0], [1], [1]], ["a", "b", "b"])
    assert model.log_prob([[2]]).tolist() == [-np.inf]
    assert model.predict_proba([[2]]).tolist() == [[1 / 3, 2 / 3]]
    np.testing.assert_allclose(model.predict_log_proba([[2]]), np.log([[1 / 3, 2 / 3]]), rtol=1e-15)
    assert model.predict([[2], [0]]).tolist() == ["b", "a"]


def test_of_equal_classes_the_first_is_predicted(backend: str) -> None:
    model = td.NaiveBayes().fit([[0], [1], [0], [1]], [5, 5, 2, 2])
    assert model.predict([[0], [1]]).tolist() == [2, 2]


def test_without_a_class_there_is_nothing_to_predict(case: Case) -> None:
    model = case.make().fit(case.data)
    for name in ("log_joint", "predict", "predict_proba", "predict_log_proba"):
        with pytest.raises(AttributeError, match=f"{name} needs a class"):
            getattr(model, name)(case.data)
    with pytest.raises(AttributeError, match="sample_joint needs a class"):
        case.sample_joint(model, 3)
    with pytest.raises(ValueError, match="no class"):
        case.sample(model, 3, y=0)
    assert model.classes_ is None
    assert model.class_prior_ is None
    assert model.class_counts_ is None


def test_codes_out_of_range(case: Case, y: Any, backend: str) -> None:
    bad = case.every.copy()
    bad[1, ...] = 50
    model = case.make(alpha=1).fit(case.data, y)
    with pytest.raises(ValueError, match=r"\[1.* is 50, but"):
        model.log_prob(bad)
    lenient = case.make(alpha=1, unseen="missing", missing=77).fit(case.data, y)
    if case.params.get("order", 1) == 1:
        odd = case.every.astype(np.int64)
        odd[1, ...], odd[2, ...], odd[0, ...] = 50, 77, -4
        np.testing.assert_allclose(lenient.log_prob(odd)[:3], 0, atol=1e-12)
    assert lenient.log_prob(case.every).tolist() == model.log_prob(case.every).tolist()


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint64, ">i4"])
def test_any_dtype_and_layout_scores_alike(case: Case, y: Any, dtype: Any, backend: str) -> None:
    model = case.make(alpha=1).fit(case.data, y)
    expected = model.log_prob(case.every).tolist()
    every = case.every.astype(dtype)
    assert model.log_prob(every).tolist() == expected
    assert model.log_prob(np.asfortranarray(every)).tolist() == expected
    strided = np.repeat(every, 2, axis=0)[::2]
    strided.flags.writeable = False
    assert model.log_prob(strided).tolist() == expected
    assert counted(case.make().fit(case.data.astype(dtype), y)) == counted(case.make().fit(case.data, y))


# Draws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0, 1, 0.3])
def test_draws_have_the_models_frequencies(case: Case, y: Any, alpha: float, backend: str) -> None:
    # A fixed seed: six standard deviations of a share, at most 0.5 / sqrt(n).
    n = 20000
    model = case.make(alpha=alpha).fit(case.data, y)
    p = np.exp(model.log_prob(case.every))
    drawn = case.sample(model, n, rng=5).reshape(n, -1)
    base = np.asarray(case.every.reshape(len(case.every), -1).max(axis=0) + 1)
    shares = np.bincount(np.ravel_multi_index(tuple(drawn.T), tuple(base)), minlength=len(p)) / n
    assert np.all(shares[p == 0] == 0)
    assert np.abs(shares - p).max() < 6 * 0.5 / np.sqrt(n)


def test_slices_of_a_stream_can_be_drawn_alone(case: Case, y: Any, backend: str) -> None:
    model = case.make(alpha=0.5).fit(case.data, y)
    whole = case.sample(model, 50, rng=9)
    assert case.sample(model, 21, rng=9, start=19).tolist() == whole[19:40].tolist()
    if y is not None:
        rows, labels = case.sample_joint(model, 50, rng=9)
        assert rows.tolist() == whole.tolist()
        part_rows, part_labels = case.sample_joint(model, 21, rng=9, start=19)
        assert part_rows.tolist() == whole[19:40].tolist()
        assert part_labels.tolist() == labels[19:40].tolist()
        assert set(labels.tolist()) <= set(model.classes_.tolist())
        assert case.sample(model, 50, y=labels, rng=9).tolist() == whole.tolist()


def test_draws_into_any_array(case: Case, y: Any, backend: str) -> None:
    model = case.make(alpha=0.5).fit(case.data, y)
    whole = case.sample(model, 30, rng=2)
    assert whole.dtype == np.uint8
    assert case.sample(model, 30, rng=2, dtype=np.int64).dtype == np.int64
    out = np.zeros(whole.shape, np.int16, order="F")
    assert case.sample(model, 30, rng=2, out=out) is out
    assert out.tolist() == whole.tolist()
    with pytest.raises(ValueError, match="shape"):
        case.sample(model, 30, out=np.zeros((31, 7), np.uint8))
    with pytest.raises(ValueError, match="n must be at least 0"):
        case.sample(model, -1)
    with pytest.raises(TypeError, match="rng"):
        case.sample(model, 3, rng=0.5)


def test_every_kind_of_rng(case: Case) -> None:
    model = case.make(alpha=1).fit(case.data, Y)
    assert case.sample(model, 20, rng=3).tolist() == case.sample(model, 20, rng=np.random.SeedSequence(3)).tolist()
    a, b = np.random.default_rng(1), np.random.default_rng(1)
    first = case.sample(model, 40, rng=a)
    assert first.tolist() == case.sample_joint(model, 40, rng=b)[0].tolist()
    assert case.sample(model, 40, rng=a).tolist() != first.tolist()
    assert case.sample(model, 40).tolist() != case.sample(model, 40).tolist()


# Bits --------------------------------------------------------------------------------------------------------------


def outputs(case: Case, y: Any, n_threads: int | None) -> list[Any]:
    data, labels = np.repeat(case.data, 40, axis=0), None if y is None else np.repeat(y, 40)
    model = case.make(alpha=0.3).fit(data, labels, n_threads=n_threads)
    found = [model.log_prob(data, n_threads=n_threads), case.sample(model, 2000, rng=4, n_threads=n_threads)]
    if y is not None:
        found += [
            model.predict_proba(data, n_threads=n_threads),
            model.predict_log_proba(data, n_threads=n_threads),
            model.predict(data, n_threads=n_threads),
            *case.sample_joint(model, 500, rng=4, n_threads=n_threads),
        ]
    return [counted(model), *(f.tobytes() for f in found)]


def test_threads_do_not_change_a_bit(case: Case, y: Any, backend: str) -> None:
    expected = outputs(case, y, 1)
    for n_threads in (2, 7, None):
        assert outputs(case, y, n_threads) == expected


def test_backends_do_not_change_a_bit(case: Case, y: Any) -> None:
    before, isa = td.backend.active(), td.backend.instruction_set()
    found = []
    for name in td.backend.available():
        td.backend.use(name)
        found.append(outputs(case, y, None))
    td.backend.use(before, instruction_set=isa)
    assert all(f == found[0] for f in found)


def test_threads_are_checked(case: Case) -> None:
    model = case.make().fit(case.data, Y)
    for call in (model.fit, model.partial_fit, lambda *a, **k: model.log_prob(a[0], **k)):
        with pytest.raises(ValueError, match="n_threads"):
            call(case.data, Y, n_threads=0)


def test_threads_may_read_while_one_fits(case: Case, backend: str) -> None:
    model = case.make(alpha=1).fit(case.data, Y)
    possible, stop, bad = set(), threading.Event(), []
    for times in range(1, 12):
        weight = np.full(N, times)
        possible.add(case.make(alpha=1).fit(case.data, Y, sample_weight=weight).log_prob(case.every).tobytes())

    def read() -> None:
        while not stop.is_set():
            found = model.log_prob(case.every, n_threads=1).tobytes()
            if found not in possible:
                bad.append(found)
            case.sample(model, 3, rng=1, n_threads=1)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(10):
        model.partial_fit(case.data, Y, n_threads=1)
    stop.set()
    for reader in readers:
        reader.join()
    assert not bad


def test_what_a_model_shows_is_read_only(case: Case) -> None:
    model = case.make().fit(case.data, Y)
    shown = [model.classes_, model.class_prior_]
    shown += counts_of(model)
    for array in shown:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


# Pickles, stated truths, information ------------------------------------------------------------------------------


def test_a_pickle_holds_nothing_derived(case: Case, y: Any, backend: str) -> None:
    model = case.make(alpha=1).fit(case.data, y)
    fresh = len(state(model))
    scores, drawn = model.log_prob(case.every), case.sample(model, 20, rng=1)
    assert len(state(model)) == fresh
    copy = pickle.loads(state(model))
    assert copy.log_prob(case.every).tolist() == scores.tolist()
    assert case.sample(copy, 20, rng=1).tolist() == drawn.tolist()
    assert counted(copy) == counted(model)
    assert repr(copy) == repr(model)


def test_a_pickle_is_the_same_whatever_the_number_of_threads(case: Case, y: Any) -> None:
    one, two = (case.make(alpha=1).fit(case.data, y, n_threads=n) for n in (1, 2))
    assert state(one) == state(two)
    assert pickle.loads(state(two))._fitted.n_threads is None


def test_a_stated_truth_scores_and_draws_but_has_no_counts(backend: str) -> None:
    truth = td.NaiveBayes.from_probabilities([[[0.5, 0.5], [0.25, 0.75]]], class_prior=[0.5, 0.5])
    assert truth.classes_ is not None
    assert truth.classes_.tolist() == [0, 1]
    np.testing.assert_allclose(truth.predict_proba([[0]]), [[2 / 3, 1 / 3]], rtol=1e-15)
    assert truth.n_parameters == 3
    for name in ("counts_", "class_counts_"):
        with pytest.raises(AttributeError, match="made from probabilities"):
            getattr(truth, name)
    with pytest.raises(ValueError, match="made from probabilities"):
        truth.partial_fit([[0]], [0])
    with pytest.raises(AttributeError, match="made from probabilities"):
        truth + truth
    copy = pickle.loads(pickle.dumps(truth))
    assert copy.sample(9, rng=1).tolist() == truth.sample(9, rng=1).tolist()
    assert truth.fit([[0], [1]]).counts_[0].tolist() == [1, 1]


def test_a_stated_truth_is_checked() -> None:
    for bad, message in [
        ([[0.5, 0.6]], "sums to 1.1"),
        ([[0.5, -0.5, 1.0]], "non-negative"),
        ([[0.5, np.nan]], "finite"),
        ([[[0.5, 0.5]]], "shape"),
        ([], "at least one table"),
    ]:
        with pytest.raises(ValueError, match=message):
            td.NaiveBayes.from_probabilities(bad)
    with pytest.raises(ValueError, match="class_prior sums to"):
        td.NaiveBayes.from_probabilities([[[0.5, 0.5], [1, 0]]], class_prior=[0.5, 0.6])
    with pytest.raises(ValueError, match="class_prior="):
        td.NaiveBayes.from_probabilities(td.Tables.from_arrays([[[0.5, 0.5], [1, 0]]], n_classes=2))
    with pytest.raises(ValueError, match="n_categories"):
        td.NaiveBayes.from_probabilities([[0.5, 0.5]], n_categories=3)
    with pytest.raises(ValueError, match="parents"):
        td.NaiveBayes.from_probabilities(td.Tables.from_arrays([[0.5, 0.5], [[0.5, 0.5], [1, 0]]], parents=[-1, 0]))
    float32 = np.full(3, 1 / 3, np.float32)
    assert td.NaiveBayes.from_probabilities([float32]).probabilities_[0].tolist() == float32.tolist()


def test_stated_probabilities_are_those_of_the_fit(case: Case, y: Any, backend: str) -> None:
    model = case.make(alpha=0.5).fit(case.data, y)
    if isinstance(model, td.JointTable):
        dense = model.dense()
        table = dense if y is None else dense / model.class_prior_.reshape(-1, 1, 1, 1)
        truth = td.JointTable.from_probabilities(table, class_prior=model.class_prior_)
    else:
        params = {k: v for k, v in case.params.items() if k != "tied"}
        truth = case.kind.from_probabilities(model.probabilities_, class_prior=model.class_prior_, **params)
        assert truth.probabilities_ == model.probabilities_
    np.testing.assert_allclose(truth.log_prob(case.every), model.log_prob(case.every), rtol=1e-12)


def test_entropy_and_divergence_are_exact(case: Case, y: Any, backend: str) -> None:
    p, q = case.make(alpha=0.5).fit(case.data, y), case.make(alpha=2).fit(case.data[:30])
    if case.params.get("homogeneous"):
        with pytest.raises(ValueError, match="length"):
            p.entropy()
        with pytest.raises(ValueError, match="length"):
            p.kl_divergence(q)
        return
    log_p, log_q = p.log_prob(case.every), q.log_prob(case.every)
    assert p.entropy() == pytest.approx(-(np.exp(log_p) * log_p).sum(), rel=1e-12)
    assert p.kl_divergence(q) == pytest.approx((np.exp(log_p) * (log_p - log_q)).sum(), rel=1e-11)
    assert p.kl_divergence(p) == pytest.approx(0, abs=1e-14)
    for other in CASES.values():
        if other.sizes == SIZES and case.sizes == SIZES:
            r = other.make(alpha=1).fit(X, Y)
            expected = (np.exp(log_p) * (log_p - r.log_prob(case.every))).sum()
            assert p.kl_divergence(r) == pytest.approx(expected, rel=1e-11)


def test_divergence_is_infinite_where_the_other_has_no_mass(backend: str) -> None:
    for kind in (td.NaiveBayes, td.JointTable, td.MarkovChain):
        p, q = kind(n_categories=2).fit([[0, 0], [1, 1]]), kind(n_categories=2).fit([[0, 0]])
        assert p.kl_divergence(q) == np.inf
        assert q.kl_divergence(p) == pytest.approx(np.log(4 if kind is td.NaiveBayes else 2))
        assert q.entropy() == 0


def test_divergence_needs_the_same_categories() -> None:
    model = td.NaiveBayes().fit(X)
    with pytest.raises(ValueError, match="categories"):
        model.kl_divergence(td.NaiveBayes(n_categories=[2, 3, 5]).fit(X))
    with pytest.raises(TypeError, match="Model"):
        model.kl_divergence(3)  # type: ignore[arg-type]


def test_where_no_exact_value_is_known() -> None:
    wide = td.NaiveBayes(alpha=1, n_categories=2).fit(np.zeros((4, 30), np.uint8), [0, 0, 1, 1])
    with pytest.raises(ValueError, match=f"{2**30} combinations"):
        wide.entropy()
    with pytest.raises(ValueError, match=f"{2**30} combinations"):
        wide.kl_divergence(wide)


def test_no_features_is_one_clear_error(backend: str) -> None:
    for model in (td.NaiveBayes(n_categories=2), td.MarkovChain(n_categories=2), td.JointTable(), td.NaiveBayes()):
        with pytest.raises(ValueError, match="at least one feature"):
            model.fit(np.zeros((4, 0), np.int64))


MODEL = td.ChowLiuTree(alpha=1).fit([[0, 1], [1, 0], [1, 1]])
TREES = td.Mixture(td.ChowLiuTree(alpha=1, shared=False), 2).fit([[0, 1], [1, 0], [1, 1]], rng=0)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m: td.entropy(m), "p is a ChowLiuTree, not its probabilities: call its own entropy"),
        (lambda m: td.kl_divergence([0.5, 0.5], m), "q is a ChowLiuTree, not its prob"),
        (lambda m: td.mutual_information(m), "joint is a ChowLiuTree, not its counts: pass td.count_pairs"),
        (lambda m: td.conditional_entropy(m), "joint is a ChowLiuTree, not its counts"),
        (lambda m: td.kl_divergence_estimate(m, m), "log_p is a ChowLiuTree, not log-probabilities"),
        (lambda m: td.log_prob_features([[0, 1]], m), r"tables is a ChowLiuTree, not its tables: pass its probabil"),
        (lambda m: td.log_prob_features([[0, 1]], [m]), r"tables\[0\] is a ChowLiuTree, not its tables"),
        (lambda m: td.sample_features(m, 2), "tables is a ChowLiuTree, not its tables"),
        (lambda m: td.Tables.from_arrays(m), "tables is a ChowLiuTree, not its tables"),
        (lambda m: td.sample_categories(m, 2), "weights is a ChowLiuTree, not its tables"),
        (lambda m: td.Sampler(m), "weights is a ChowLiuTree, not its tables"),
        (lambda m: td.sample_paths(m, 2, 3), "transition is a ChowLiuTree, not its tables"),
        (lambda m: td.estimate_alpha(m), "tables is a ChowLiuTree, not its counts: pass its counts_"),
        (lambda m: td.count_features(m), "X is a ChowLiuTree, not codes: pass rows"),
        (lambda m: td.NaiveBayes().fit(m), "X is a ChowLiuTree, not codes"),
        (lambda m: td.NaiveBayes.from_probabilities(m), "tables is a ChowLiuTree, not its tables: pass its prob"),
        (lambda m: td.ChowLiuTree.from_probabilities(m), "tables is a ChowLiuTree, not its tables"),
        (lambda m: td.JointTable.from_probabilities(m), "tables is a ChowLiuTree, not its tables"),
        (lambda m: td.Categorical.from_probabilities(m), "tables is a ChowLiuTree, not its tables"),
        (
            lambda m: td.Mixture.from_probabilities([m, m], class_prior=[0.5, 0.5]),
            r"tables\[0\] is a ChowLiuTree, not its tables: .* of a Mixture its weights_",
        ),
        (lambda m: td.entropy(m.pair_counts_), r"p is a PairTables, .*: pass p\.marginals"),
        (lambda m: td.estimate_alpha(m.pair_counts_), r"tables is a PairTables, .*tables\.tables\(parents\)"),
        (lambda m: td.log_prob_features([[0, 1]], m.pair_counts_), "tables is a PairTables"),
        (lambda m: td.entropy([m.probabilities_] * 2), r"p\[0\] is a Tables, where an array belongs"),
        (lambda m: td.sample_features((m.counts_,) * 2, 3), r"tables\[0\] is a Tables, where an array belongs"),
    ],
)
def test_models_and_stacks_are_no_arrays(call: Any, match: str) -> None:
    with pytest.raises(TypeError, match=match):
        call(MODEL)


@pytest.mark.filterwarnings("ignore:alpha is at its largest")
def test_the_stacks_of_a_mixture_of_trees() -> None:
    stacks, prior = TREES.probabilities_, TREES.weights_
    for params in ({}, {"model": td.ChowLiuTree()}, {"model": td.MarkovChain()}):
        with pytest.raises(TypeError, match=r"tables\[0\] is a Tables, .*model=ChowLiuTree\(shared=False\)"):
            td.Mixture.from_probabilities(stacks, class_prior=prior, **params)
    same = td.Mixture.from_probabilities(stacks, class_prior=prior, model=td.ChowLiuTree(shared=False))
    assert same.log_prob([[0, 1]]) == TREES.log_prob([[0, 1]])
    counts = TREES.counts_
    assert isinstance(counts, tuple) and all(isinstance(stack, td.Tables) for stack in counts)
    assert td.estimate_alpha(counts) > 0


def test_what_a_component_lacks() -> None:
    part = TREES.components_[0]
    for name in ("predict", "predict_proba", "log_joint"):
        with pytest.raises(AttributeError, match=r"has none: .*components of a Mixture have none"):
            getattr(part, name)([[0, 1]])
    for call in (part.aic, lambda: part.counts_, lambda: part.loo_log_prob([[0, 1]])):
        with pytest.raises(AttributeError, match="or is a component of a Mixture: it has no counts"):
            call()
    with pytest.raises(ValueError, match="it has no counts to add to"):
        part.partial_fit([[0, 1]])


def test_long_numbers_are_shown_short() -> None:
    wide = td.ChowLiuTree(alpha=1, n_categories=2).fit([[0] * 300, [1] * 300], [0, 1])
    for call in (wide.entropy, lambda: wide.kl_divergence(wide)):
        with pytest.raises(ValueError, match=r"a sum over 2\*\*300 combinations, more than 1048576: estimate"):
            call()
    with pytest.raises(MemoryError, match=r"of 2\*\*300 combinations needs 2\*\*303 bytes"):
        td.JointTable(n_categories=2).fit([[0] * 300]).dense()
    with pytest.raises(ValueError, match=r"size must be at most 9223372036854775807, got 1\.00e\+400"):
        td.sample_categories([1, 1], 10**400)
    with pytest.raises(ValueError, match=r"n_categories must be at most 2\*\*63 - 1, got 1\.23e\+4"):
        td.NaiveBayes(n_categories=123 * 10**40).fit([[0]])


def test_minus_one_written_into_unsigned_codes() -> None:
    drawn = td.NaiveBayes(alpha=1, n_categories=3).fit([[0, 2]]).sample(4, rng=0)
    drawn[np.array([True, False, False, False]), 1] = np.array(-1).astype(np.uint8)
    hint = "is 255, but .*; 255 is what -1 becomes in uint8"
    for fit in (td.NaiveBayes(n_categories=3).fit, lambda X: td.count_pairs(X, n_categories=3)):
        with pytest.raises(ValueError, match=r"X\[0, 1\] " + hint):
            fit(drawn)
    with pytest.raises(ValueError, match=r"X\[0, 1\] " + hint):
        td.JointTable(n_categories=3).fit(drawn)
    with pytest.raises(ValueError, match=r"S\[0, 1\] " + hint):
        td.count_transitions(drawn, n_states=3)
    with pytest.raises(ValueError, match=r"is 3, but"):
        td.NaiveBayes(n_categories=3).fit(np.array([[3]], np.uint8))


def test_weights_too_heavy_for_their_logs_are_refused() -> None:
    X = [[0, 1], [1, -1]]
    for model in (td.NaiveBayes(), td.ChowLiuTree(), td.JointTable(), td.Mixture(td.NaiveBayes(), 2)):
        with pytest.raises(
            OverflowError, match=r"sample_weight sums to 1e\+306, more than 1.07e\+301: scale the weights"
        ):
            model.fit(X, sample_weight=[5e305, 5e305])
    heavy = td.MarkovChain(alpha=1, missing_fit="em").fit(X, sample_weight=[5e300, 5e300])
    assert np.isfinite([*heavy.objective_, heavy.aic(), heavy.bic()]).all()


def test_weights_that_sum_to_infinity_are_refused() -> None:
    with pytest.raises(OverflowError, match="scale the weights down"):
        td.NaiveBayes().fit([[0], [1]], [0, 1], sample_weight=[1.7e308] * 2)
    heavy = td.Tables.from_arrays([[1.7e308, 0.0]])
    with pytest.raises(OverflowError, match="passes the largest float64"):
        heavy + heavy
    assert td.Tables.from_arrays([[1.7e308, 1.7e308]]).normalize()[0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("labels", [["a", np.nan], ["1", 1, 1.0], [b"a\0", b"a"], [2**63, 2**63 + 1, -1]])
def test_labels_are_never_changed_in_silence(labels: list[object]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"y\[\d\] is "):
        td.NaiveBayes().fit(np.zeros((len(labels), 1), np.int64), labels)


def test_masked_arrays_are_refused() -> None:
    masked = np.ma.array([1, 2], mask=[0, 1])
    with pytest.raises(TypeError, match="masked array"):
        td.count_categories(masked)
    with pytest.raises(TypeError, match="masked array"):
        td.sample_categories(masked, 3)
    with pytest.raises(TypeError, match="masked array"):
        td.NaiveBayes().fit([[0], [1]], masked)


def test_tables_cannot_be_made_writable() -> None:
    tables = td.Tables.from_arrays([[0.25, 0.75]])
    with pytest.raises(ValueError, match="WRITEABLE"):
        tables.values.setflags(write=True)


def test_alpha_set_after_the_fit_is_checked() -> None:
    model = td.JointTable(n_categories=2).fit([[0, 1], [1, 1]], [0, 1])
    model.alpha = -0.1
    with pytest.raises(ValueError, match="alpha"):
        model.log_prob([[0, 0]])


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)
def test_a_failed_draw_leaves_the_generator_alone(case: Case, y: Any) -> None:
    model = case.make().fit(case.data, y)
    rng = np.random.default_rng(7)
    before = rng.bit_generator.state
    good = case.sample(model, 3, rng=0)
    for options in (
        {"out": np.empty(good.shape[:-1] + (good.shape[-1] + 1,), np.uint8)},
        {"out": good.tolist()},
        {"dtype": "datetime64[s]"},
        {"start": 2**64 - 1},
        {"n_threads": 0},
        {"y": ["unknown"] * 3},
    ):
        with pytest.raises((TypeError, ValueError)):
            case.sample(model, 3, rng=rng, **options)
        assert rng.bit_generator.state == before


def test_no_log_probability_is_positive_and_no_entropy_negative() -> None:
    for k in (3, 7, 10, 11):
        y = np.arange(k)
        model = td.NaiveBayes(n_categories=2).fit(np.zeros((k, 2), int), y)
        assert model.log_prob([[-1, -1], [0, 0]]).max() <= 0
    one = td.Categorical().fit([0, 0])
    assert not np.signbit(one.entropy())
    table = td.JointTable(n_categories=3).fit(X[:, :2] % 3, Y)
    assert table.kl_divergence(table) >= 0


def test_an_iterator_is_refused() -> None:
    for call in (
        lambda: td.NaiveBayes().fit(row for row in X),
        lambda: td.MarkovChain(homogeneous=True).fit((row for row in X), Y),
        lambda: td.NaiveBayes().fit(X, iter(Y)),
        lambda: td.count_features(iter(X)),
    ):
        with pytest.raises(TypeError, match=r"can be read only once: pass list\("):
            call()


def test_parameters_are_checked_whenever_they_are_set() -> None:
    for model, name, value in (
        (td.MarkovChain(homogeneous=True), "order", 0),
        (td.MarkovChain(), "order", -1),
        (td.MarkovChain(), "order", 1.5),
        (td.NaiveBayes().fit(X), "missing", 1.5),
        (td.NaiveBayes(), "missing", "a"),
        (td.NaiveBayes().fit(X), "unseen", "ignore"),
        (td.Categorical(tied=[[0, 1]]), "bounds", (0, 1)),
        (td.Categorical(), "bounds", (0.5, 0.1)),
    ):
        with pytest.raises((TypeError, ValueError)):
            setattr(model, name, value)
    coin = td.Categorical(n_categories=2).fit([0, 1, 1])
    coin.tied = [[0, 1, 2]]
    with pytest.raises(ValueError, match="tied is about 3 categories, but there are 2"):
        coin.log_prob([0])


def test_parameters_of_other_types_belong_to_the_model_too() -> None:
    class Column:
        """Like a column of a data frame: an array to whoever asks."""

        def __init__(self, values: list[float]) -> None:
            self.values = np.array(values)

        def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
            return self.values

    alpha = Column([1.0, 1.0])
    model = td.Categorical(alpha=alpha).fit([0, 0, 1])
    alpha.values[0] = 100.0
    assert model.probabilities_[0].tolist() == [0.6, 0.4]
    group = {0, 1}
    die = td.Categorical(tied=[group, {2}])
    group.discard(1)
    assert die.fit([0, 1, 2]).n_parameters == 1
    assert td.Categorical(tied=(g for g in [[0, 1], [2]])).fit([0, 1, 2]).n_parameters == 1


def test_a_pickle_is_read_only_again() -> None:
    model = pickle.loads(pickle.dumps(td.Categorical(alpha=np.ones(4)).fit(X[:, 2], Y)))
    with pytest.raises(ValueError, match="read-only"):
        model.alpha[:] = 100
    with pytest.raises(ValueError, match="read-only"):
        model.classes_[:] = "z"


def test_tables_and_samplers_cannot_be_changed() -> None:
    tables = td.Tables.from_arrays([[1.0, 3.0], [[1, 2], [3, 4]]], parents=[-1, 0])
    for name in ("values", "n_classes", "parents", "order"):
        with pytest.raises(AttributeError, match="Tables cannot be changed"):
            setattr(tables, name, 10**9)
    for array in (tables.values, tables.n_categories, tables.offsets, tables.parents, td.Sampler([1, 2]).weights):
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    assert pickle.loads(pickle.dumps(tables))[1].tolist() == tables[1].tolist()


@pytest.mark.parametrize("alpha", [2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30])
def test_very_large_whole_alpha(alpha: int, backend: str) -> None:
    assert td.Categorical(alpha=alpha).fit([0, 0, 1, 1, 1]).probabilities_[0].tolist() == [0.5, 0.5]
    assert td.JointTable(alpha=alpha).fit([[0], [1], [1]]).dense().tolist() == [0.5, 0.5]


def test_counts_and_alpha_past_the_integers() -> None:
    with pytest.raises(OverflowError, match="pass alpha as a float"):
        td.Tables.from_arrays([[2**63 - 5, 1]]).normalize(alpha=5)
    with pytest.raises(OverflowError, match=r"counts \+ alpha sums to 9223372036854775809: .* pass them as floats"):
        td.Tables.from_arrays([[1, 2]]).normalize(alpha=2**62 - 1)


def test_stated_probabilities_within_the_tolerance_score_at_most_zero(backend: str) -> None:
    model = td.NaiveBayes.from_probabilities([[1 + 9e-10, 0]] * 3)
    assert model.log_prob([[0, 0, 0]]).tolist() == [0.0]


def test_divergence_is_infinite_however_small_the_probability(backend: str) -> None:
    p = td.NaiveBayes.from_probabilities([[1e-40, 1 - 1e-40]] * 10)
    q = np.full((2,) * 10, 1 / 1023)
    q[(0,) * 10] = 0
    assert p.kl_divergence(td.JointTable.from_probabilities(q)) == np.inf


def test_missing_labels_of_pandas() -> None:
    pd = pytest.importorskip("pandas")
    for first, dtype in (("a", "string"), (1, "Int64"), (True, "boolean")):
        labels = pd.array([first, None], dtype=dtype)
        with pytest.raises(ValueError, match=r"y\[1\] is <NA>: a class may not be missing"):
            td.NaiveBayes().fit([[0], [1]], labels)


@pytest.mark.parametrize("model", [td.Categorical, td.JointTable, td.NaiveBayes, td.MarkovChain, td.ChowLiuTree])
def test_unknown_parameters_are_answered_in_the_name_of_the_model(model: Any) -> None:
    names = ", ".join(model._parameters)
    message = f"{model.__name__} has no parameter 'foo': its parameters are {names}$"
    for make in (model, lambda **params: model.from_probabilities([[0.5, 0.5]], **params)):
        with pytest.raises(TypeError, match=message):
            make(alpha=1, foo=2)
    with pytest.raises(TypeError, match=f"{model.__name__} takes its parameters by name, got 1.5: write one of alpha="):
        model(1.5)


def test_unknown_parameters_of_a_mixture_and_of_a_class_of_ones_own() -> None:
    with pytest.raises(TypeError, match="Mixture has no parameter 'alpha': its parameters are model, n_components, st"):
        td.Mixture(td.NaiveBayes(), 2, alpha=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="Mixture takes its parameters by name, got 'random': write one of start="):
        td.Mixture(td.NaiveBayes(), 2, "random")  # type: ignore[misc]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'n_components'"):
        td.Mixture(td.NaiveBayes())  # type: ignore[call-arg]

    class Ours(td.NaiveBayes):
        pass

    assert Ours(alpha=1).fit([[0]]).alpha == 1
    with pytest.raises(TypeError, match="Ours has no parameter 'foo'"):
        Ours(foo=1)

    class Open(td.NaiveBayes):
        def __init__(self, **params: Any) -> None:
            super().__init__(**params)

    assert Open(alpha=2).alpha == 2
    with pytest.raises(TypeError, match="NaiveBayes has no parameter 'foo'"):
        Open(foo=1)
