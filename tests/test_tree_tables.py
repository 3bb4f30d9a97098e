"""tree_tables: the structure and the tables of a tree, from the counts of pairs, are those of the slow reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference
import tallydraw as td
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import random_forest
from tallydraw._structure import make_structure, pair_begins, tree_structure


@st.composite
def trees(draw):
    d = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = rng.integers(1, 5, d).tolist() if draw(st.booleans()) else [int(rng.integers(1, 4))] * d
    parents = random_forest(rng, d) if draw(st.booleans()) else [int(rng.integers(-1, j)) for j in range(d)]
    return sizes, parents, draw(st.integers(1, 3)), rng


def written(structure, begins, pairs, marginals, parents):
    """What the kernel makes of flat counts: the structure, and the tables."""
    sizes = structure.n_categories
    rows = np.where(parents >= 0, sizes[parents], 1)
    layout = np.full(4 * len(sizes) + 2 + int((parents >= 0).sum()), -7)
    tables = np.empty(structure.n_classes * int((rows * sizes).sum()), pairs.dtype)
    td.backend.kernels().tree_tables(structure, begins, pairs, marginals, parents, layout, tables)
    return tree_structure(structure, layout), tables


@given(tree=trees(), floats=st.booleans())
@settings(max_examples=60, deadline=None)
def check_against_reference(tree, floats):
    sizes, parents, k, rng = tree
    d, dtype = len(sizes), np.float64 if floats else np.int64
    pairs = {ij: rng.integers(-9, 9, (k, sizes[ij[0]], sizes[ij[1]])) for ij in itertools.combinations(range(d), 2)}
    single = [rng.integers(-9, 9, (k, c)) for c in sizes]
    wanted = reference.tree_tables(
        {ij: table.tolist() for ij, table in pairs.items()}, [table.tolist() for table in single], parents
    )
    flat = np.array([v for table in pairs.values() for v in table.flat], dtype)
    marginals = np.array([v for table in single for v in table.flat], dtype)
    roots, array = make_structure(np.array(sizes), None, k), np.array(parents)
    begins = pair_begins(roots)
    places = np.cumsum([0, *(table.size for table in pairs.values())]).tolist()
    for (i, j), place in zip(pairs, places[:-1], strict=True):
        assert begins[i] + sizes[i] * roots.offsets[j] == place
    for told in [begins] if len(set(sizes)) > 1 else [begins, None]:  # None: all features are alike
        structure, tables = written(roots, told, flat, marginals, array)
        assert tables.tolist() == wanted
        # The rule of the order is written three times: in the kernels, and where Python makes a structure.
        made = make_structure(np.array(sizes), array, k)
        assert structure.order.tolist() == made.order.tolist() == reference.parents_first(parents)
        for field, ours, theirs in zip(structure._fields, structure, made, strict=True):
            assert np.array_equal(ours, theirs), field


def test_tables_and_structure_equal_the_reference(backend):
    for name in td.backend.instruction_sets():
        td.backend.use(backend, instruction_set=name)
        check_against_reference()


@pytest.mark.parametrize("parents", [[-1, 0, 1, 2], [1, 2, 3, -1], [3, 3, -1, -1], [2, 2, -1, 2], [-1, 3, 1, 0]])
def test_the_tables_of_rows_are_those_that_are_counted(backend, parents):
    X = np.random.default_rng(4).integers(-1, 3, (200, 4))
    assert td.count_pairs(X, n_categories=3).tables(parents) == td.count_features(X, parents=parents, n_categories=3)
