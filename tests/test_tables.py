"""Tables and PairTables made by their constructors: kernels are never handed what they would read past the end of."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import tallydraw as td


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f8", np.uint8, np.int32, ">i8", bool])
def test_cells_of_any_dtype_are_converted(backend, dtype):
    given = np.array([1, 0, 1, 1, 0, 1]).astype(dtype)
    whole = np.array([1, 0, 1, 1, 0, 1], np.float64 if np.dtype(dtype).kind == "f" else np.int64)
    tables, same = td.Tables(given, [2, 2], parents=[-1, 0]), td.Tables(whole, [2, 2], parents=[-1, 0])
    for made in (tables, td.Tables(given, [2, 2], structure=tables.structure), pickle.loads(pickle.dumps(tables))):
        assert made.values.dtype == whole.dtype
        assert np.array_equal(made.values, same.values)
    theta = tables.normalize(0.5)
    assert theta == same.normalize(0.5)
    X = [[0, 1], [-1, 0], [1, -1]]
    assert np.array_equal(td.log_prob_features(X, theta), td.log_prob_features(X, same.normalize(0.5)))
    assert np.array_equal(td.sample_features(theta, 50, rng=1), td.sample_features(same.normalize(0.5), 50, rng=1))


def test_cells_of_any_layout_are_copied_and_left_as_they_are(backend):
    strided, read_only = np.arange(8.0)[::2], np.array([0.0, 2.0, 4.0, 6.0])
    read_only.flags.writeable = False
    moved = np.frombuffer(b"\0" + read_only.tobytes(), np.uint8)[1:].view(np.float64)
    for given in (strided, read_only, moved, [0.0, 2.0, 4.0, 6.0]):
        tables = td.Tables(given, [2, 2])
        assert tables[1].tolist() == [4.0, 6.0]
        assert tables.normalize()[1].tolist() == [0.4, 0.6]
        assert not tables.values.flags.writeable
    strided[:] = 1.0
    assert td.Tables(strided, [2, 2]) == td.Tables(np.ones(4), [2, 2])
    assert strided.flags.writeable


@pytest.mark.parametrize(
    ("values", "n_categories", "more", "error", "match"),
    [
        ([1, 2], [3], {}, ValueError, "values must have 3 cells"),
        ([[1, 2]], [2], {}, ValueError, r"got shape \(1, 2\)"),
        (["a"], [1], {}, TypeError, "values must be numeric, got dtype <U1"),
        ([1j], [1], {}, TypeError, "values must be numeric"),
        (np.ma.array([1, 2]), [2], {}, TypeError, "values is a masked array"),
        ([1, 2], 2, {}, ValueError, "one number a feature"),
        ([1, 2], [-2], {}, ValueError, "must be at least 1, got -2"),
        ([1, 2], [2.0], {}, TypeError, "n_categories must be an integer"),
        ([1, 2], [2], {"parents": [5]}, ValueError, r"parents\[0\] must be at most 0, got 5"),
        ([1, 2], [2], {"parents": [0]}, ValueError, "cycle"),
        ([1, 2], [2], {"n_classes": 0}, ValueError, "n_classes must be at least 1"),
        ([1, 2], [2], {"order": 0}, ValueError, "order must be at least 1"),
        ([1, 2], [2], {"exact_weights": [1]}, ValueError, "exact_weights must have 2 cells"),
        ([1, 2], [2], {"exact_weights": [1, -2]}, ValueError, r"exact_weights\[1\] is -2"),
        ([1, 2, 3, -4], [2, 2], {}, ValueError, r"values\[3\] is -4: counts and probabilities are finite"),
        ([1, np.nan], [2], {}, ValueError, r"values\[1\] is nan"),
        ([np.inf, 1.0], [2], {}, ValueError, r"values\[0\] is inf"),
        (np.array([1, np.longdouble("1e400")]), [2], {}, ValueError, r"values\[1\] is inf"),
        ([], [], {}, ValueError, "n_categories is empty: Tables have at least one feature"),
    ],
)
def test_what_is_no_tables_is_refused(values, n_categories, more, error, match):
    with pytest.raises(error, match=match):
        td.Tables(values, n_categories, **more)


def test_one_feature_is_a_chain_with_or_without_parents(backend):
    alone, chain = td.Tables.from_arrays([[0.25, 0.75]]), td.Tables.from_arrays([[0.25, 0.75]], parents=[-1])
    assert alone == chain
    assert alone != td.Tables.from_arrays([[0.75, 0.25]], parents=[-1])
    counts = td.Tables.from_arrays([[1, 2]])
    assert (counts + td.Tables.from_arrays([[3, 4]], parents=[-1]))[0].tolist() == [4, 6]
    kinds = [(td.MarkovChain, {}), (td.MarkovChain, {"order": 3}), (td.NaiveBayes, {}), (td.ChowLiuTree, {})]
    for (kind, params), tables in itertools.product(kinds, (alone, chain)):
        model = kind.from_probabilities(tables, **params)
        assert np.exp(model.log_prob([[1], [0], [-1]])) == pytest.approx([0.75, 0.25, 1.0])
    with pytest.raises(ValueError, match=r"parents None and \[-1, 0\] \(given, wanted\)"):
        td.MarkovChain.from_probabilities(td.Tables.from_arrays([[0.5, 0.5]] * 2))


def test_pairs_of_any_dtype_and_layout(backend):
    counted = td.count_pairs([[0, 1, 1], [1, 1, 0], [1, 0, 0]])
    for given in (counted.values.astype(np.int32), np.repeat(counted.values, 2)[::2], counted.values.tolist()):
        pairs = td.PairTables(given, counted.marginals)
        assert pairs == counted
        assert pairs.tables([-1, 0, 0]) == counted.tables([-1, 0, 0])
        assert np.array_equal(td.mutual_information(pairs), td.mutual_information(counted))
    with pytest.raises(TypeError, match="values have dtype float64, but the marginals int64"):
        td.PairTables(counted.values.astype(np.float32), counted.marginals)
    with pytest.raises(ValueError, match="values must have 12 cells"):
        td.PairTables(counted.values[:-1], counted.marginals)
    for marginals in ([[1, 2]] * 3, counted.tables([-1, 0, 0])):
        with pytest.raises(TypeError, match="marginals must be Tables of features without parents"):
            td.PairTables(counted.values, marginals)
    for bad in (-1, -(2**63)):
        cells = counted.values.copy()
        cells[5] = bad
        with pytest.raises(ValueError, match=rf"values\[5\] is {bad}: counts and probabilities are finite"):
            td.PairTables(cells, counted.marginals)
    with pytest.raises(TypeError, match="values is a masked array"):
        td.PairTables(np.ma.array(counted.values), counted.marginals)


def test_pairs_are_a_copy(backend):
    counted = td.count_pairs([[0, 1, 1], [1, 1, 0], [1, 0, 0]])
    given = counted.values.copy()
    pairs = td.PairTables(given, counted.marginals)
    given[:] = 7
    assert pairs == counted == pickle.loads(pickle.dumps(pairs))
    assert not pairs.values.flags.writeable
