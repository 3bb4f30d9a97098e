"""Contract: both backends have exactly the functions of _core.pyi, and the public face has its names and parameters."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import tallydraw as td

STUB = Path(td.__file__).with_name("_core.pyi")


def stub_functions() -> dict[str, list[str]]:
    """Function names and parameter names of _core.pyi."""
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    return {f.name: [a.arg for a in f.args.args] for f in tree.body if isinstance(f, ast.FunctionDef)}


def public_functions(module: Any) -> dict[str, Any]:
    """What a caller of a backend sees: the public functions of the module, helpers imported from elsewhere left out."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and not inspect.isclass(value)
    }


def parameters(function: Any) -> list[str]:
    """Parameter names; pybind11 states its own in the first line of the docstring, Numba keeps the Python function."""
    try:
        return list(inspect.signature(getattr(function, "py_func", function)).parameters)
    except ValueError:
        first = function.__doc__.splitlines()[0]
        arguments = re.sub(r"\[[^\[\]]*\]", "", re.sub(r"\[[^\[\]]*\]", "", first[first.index("(") + 1 :]))
        return re.findall(r"(?:^|, )(\w+):", arguments.split(") ->")[0])


MODULES = [{"cpp": "_core", "numba": "_numba"}[name] for name in td.backend.available()]


@pytest.mark.parametrize("name", MODULES)
def test_backend_has_exactly_the_functions_of_the_stub(name: str) -> None:
    module = importlib.import_module(f"tallydraw.{name}")
    assert sorted(public_functions(module)) == sorted(stub_functions())


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("function", sorted(stub_functions()))
def test_backend_has_the_parameter_names_of_the_stub(name: str, function: str) -> None:
    module = importlib.import_module(f"tallydraw.{name}")
    assert parameters(getattr(module, function)) == stub_functions()[function]


# The public face ---------------------------------------------------------------------------------------------------
# One line a callable: positional parameters, then after * the keyword-only ones, n_threads where it computes.

FUNCTIONS = """
count_categories(x, *, n_categories, sample_weight, n_threads)
count_features(X, *, y, n_categories, n_classes, parents, sample_weight, missing, unseen, n_threads)
count_pairs(X, *, y, n_categories, n_classes, sample_weight, missing, unseen, n_threads)
count_transitions(S, *, offsets, n_states, order, n_threads)
count_rows(X, *, sample_weight, n_threads)
estimate_alpha(tables, *, per_feature, n_threads)
sample_categories(weights, size, *, rng, start, dtype, out, n_threads)
sample_rows(weights, *, rows, rng, start, dtype, out, n_threads)
sample_counts(weights, totals, *, rng, start, out, n_threads)
sample_features(tables, n, *, y, rng, start, dtype, out, n_threads)
sample_paths(transition, n, length, *, initial_state, initial_weights, rng, start, dtype, out, n_threads)
log_prob_features(X, tables, *, missing, unseen, n_threads)
log_prob_paths(S, transition, *, offsets, initial_weights, n_threads)
entropy(p, *, axis, n_threads)
cross_entropy(p, q, *, axis, n_threads)
kl_divergence(p, q, *, axis, n_threads)
kl_divergence_estimate(log_p, log_q, *, n_threads)
conditional_entropy(joint, *, n_threads)
mutual_information(joint, *, n_threads)
novelty(samples, data, *, n_threads)
compare(models, X, y, *, n_threads)
"""

# Of every model; `self` left out.
METHODS = """
fit(X, y, *, sample_weight, n_threads)
partial_fit(X, y, *, classes, sample_weight, n_threads)
log_prob(X, *, n_threads)
log_joint(X, *, n_threads)
predict_log_proba(X, *, n_threads)
predict_proba(X, *, n_threads)
predict(X, *, n_threads)
sample(n, *, y, rng, start, dtype, out, n_threads)
sample_joint(n, *, rng, start, n_threads)
complete(X, y, *, how, rng, start, n_threads)
marginals(X, *, n_threads)
entropy(*, n_threads)
kl_divergence(other, *, n_threads)
log_evidence(*, n_threads)
aic(*, n_threads)
bic(*, n_threads)
loo_log_prob(X, y, *, n_threads)
"""
MODELS = {
    "Categorical": ["alpha", "n_categories", "missing", "unseen", "tied", "bounds"],
    "ChowLiuTree": ["alpha", "n_categories", "missing", "unseen", "shared", "penalty", "root", "missing_fit"],
    "JointTable": ["alpha", "n_categories", "missing", "unseen"],
    "NaiveBayes": ["alpha", "n_categories", "missing", "unseen"],
    "MarkovChain": ["alpha", "n_categories", "missing", "unseen", "order", "homogeneous", "missing_fit"],
}
ATTRIBUTES = ["counts_", "class_counts_", "classes_", "n_parameters", "probabilities_", "class_prior_"]


def described(lines: str) -> list[tuple[str, list[str], list[str]]]:
    """(name, positional parameters, keyword-only parameters) of each line."""
    found = []
    for line in lines.strip().splitlines():
        name, rest = line.rstrip(")").split("(")
        before, star, after = rest.partition("*")
        found.append((name, re.findall(r"\w+", before), re.findall(r"\w+", after) if star else []))
    return found


def kinds(function: Any) -> tuple[list[str], list[str]]:
    """Positional and keyword-only parameter names, `self` left out; anything else is refused."""
    found = [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "params")]
    assert all(p.kind in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY, p.KEYWORD_ONLY) for p in found)
    assert all(p.default is not p.empty for p in found if p.kind == p.KEYWORD_ONLY)
    return (
        [p.name for p in found if p.kind != p.KEYWORD_ONLY],
        [p.name for p in found if p.kind == p.KEYWORD_ONLY],
    )


@pytest.mark.parametrize(
    ("name", "positional", "keyword"), described(FUNCTIONS), ids=lambda v: v if isinstance(v, str) else ""
)
def test_public_function(name: str, positional: list[str], keyword: list[str]) -> None:
    assert name in td.__all__
    found = kinds(getattr(td, name))
    assert found[0] == positional
    assert found[1] == keyword


def test_sampler() -> None:
    assert kinds(td.Sampler.__init__) == (["weights"], [])
    assert kinds(td.Sampler.sample) == (["size"], ["rows", "rng", "start", "dtype", "out", "n_threads"])


def test_tables() -> None:
    for name in ["values", "offsets", "n_categories", "parents", "n_classes"]:
        assert hasattr(td.Tables.from_arrays([[1, 2]]), name)
    assert kinds(td.Tables.from_arrays)[0] == ["tables"]
    assert {"parents", "n_classes"} <= set(kinds(td.Tables.from_arrays)[1])
    assert kinds(td.Tables.normalize)[0] == ["alpha"]
    assert kinds(td.Tables.of_class) == (["k"], [])


def test_pair_tables() -> None:
    for name in ["values", "offsets", "n_categories", "n_classes", "marginals"]:
        assert hasattr(td.count_pairs([[0, 1]]), name)
    assert kinds(td.PairTables.tables) == (["parents"], [])
    assert kinds(td.PairTables.of_class) == (["k"], [])


@pytest.mark.parametrize("model", MODELS)
def test_model_is_public_and_its_parameters_are_keywords(model: str) -> None:
    assert model in td.__all__
    assert kinds(getattr(td, model).__init__) == ([], MODELS[model])
    assert kinds(getattr(td, model).from_probabilities) == (["tables"], ["class_prior"])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("name", "positional", "keyword"), described(METHODS), ids=lambda v: v if isinstance(v, str) else ""
)
def test_model_method(model: str, name: str, positional: list[str], keyword: list[str]) -> None:
    found = kinds(getattr(getattr(td, model), name))
    assert found[0] == positional
    # A chain also takes the length of its paths, and flat sequences with offsets.
    extra = {"length", "offsets"} if model == "MarkovChain" else set()
    assert [k for k in found[1] if k not in extra] == keyword
    assert ("length" in found[1]) == (model == "MarkovChain" and name in ("sample", "sample_joint"))


def test_mixture() -> None:
    options = ["start", "n_init", "max_iter", "tol", "patience"]
    assert kinds(td.Mixture.__init__) == (["model", "n_components"], options)
    fit = ["sample_weight", "validation", "rng", "progress", "n_threads"]
    assert kinds(td.Mixture.fit) == (["X", "y"], fit)
    assert isinstance(td.Mixture.components_, property)
    for name in ("log_prob", "responsibilities"):
        assert kinds(getattr(td.Mixture, name)) == (["X"], ["n_threads"])
    assert kinds(td.Mixture.sample) == (["n"], ["length", "y", "rng", "start", "dtype", "out", "n_threads"])


@pytest.mark.parametrize("model", MODELS)
def test_fitted_model_has_its_attributes(model: str) -> None:
    import numpy as np

    x = np.array([0, 1, 1]) if model == "Categorical" else np.array([[0, 1], [1, 1], [1, 0]])
    fitted = getattr(td, model)().fit(x, y=[0, 1, 1])
    for name in ATTRIBUTES:
        if not (model == "JointTable" and name in ("counts_", "probabilities_")):
            assert hasattr(fitted, name), name
    if model == "JointTable":
        assert hasattr(fitted, "rows_")
        assert hasattr(fitted, "row_counts_")


def test_backend_module() -> None:
    for name in ["available", "active", "use", "instruction_sets"]:
        assert name in td.backend.__all__


def test_every_public_callable_has_a_docstring_with_an_example() -> None:
    for name in td.__all__:
        value = getattr(td, name)
        if callable(value):
            assert value.__doc__, name
            assert ">>>" in value.__doc__ or name == "Model", name  # of Model, its subclasses show the use
