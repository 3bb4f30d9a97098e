"""What several tests draw from: tables, forests, layouts, and rows with missing cells."""

from __future__ import annotations

import itertools

import numpy as np
import reference
import tallydraw as td
from hypothesis import strategies as st


def laid_out(X, layout):
    """The same matrix, otherwise in memory."""
    if layout == "F":
        return np.asfortranarray(X)
    if layout == "strided":
        return np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    if layout == "reversed":
        return np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]
    if layout == "columns":
        return np.concatenate([X, X], axis=1)[:, : X.shape[1]]
    if layout == "unaligned":
        raw = np.empty(X.nbytes + 1, np.uint8)
        view = raw[1:].view(X.dtype).reshape(X.shape)
        view[...] = X
        return view
    if layout == "read-only":
        X.flags.writeable = False
    return X


def random_tables(rng, n_categories, parents, n_classes, order=1, zeros=0.0, tiny=0.0):
    """Tables of probabilities, and the same as theta[k][j] flat lists.

    A share of their cells may be zeros, or so `tiny` that products of three leave the range of plain numbers.
    """
    arrays = []
    for j, c in enumerate(n_categories):
        context = reference.context_of(parents, j, order)
        shape = (n_classes or 1, *(n_categories[f] for f in context), c)
        p = rng.exponential(size=shape) * (rng.random(shape) >= zeros)
        p[~p.any(axis=-1)] = 1
        p /= p.sum(axis=-1, keepdims=True)
        if tiny:
            p[rng.random(shape) < tiny] = 2.0**-200
            p /= p.sum(axis=-1, keepdims=True)
        arrays.append(p if n_classes else p[0])
    tables = td.Tables.from_arrays(arrays, parents=parents, n_classes=n_classes, order=order)
    theta = [[(t[k] if n_classes else t).reshape(-1).tolist() for t in arrays] for k in range(n_classes or 1)]
    return tables, theta


def random_forest(rng, d):
    """Parents in any order of features."""
    labels = rng.permutation(d)
    parents = [-1] * d
    for a in range(1, d):
        if rng.random() < 0.9:
            parents[labels[a]] = int(labels[rng.integers(0, a)])
    return parents


def random_rows(rng, n_categories, n, missing):
    """(n, d) codes of which a share is `missing`; of several shares each row has one."""
    X = np.stack([rng.integers(0, c, n) for c in n_categories], axis=1)
    X[rng.random(X.shape) < (rng.choice(missing, (n, 1)) if np.ndim(missing) else missing)] = -1
    return X


def random_task(rng, n_categories, d, n_classes, tiny, n, missing):
    """(sizes, parents, tables, theta, X) of a forest of d features, which have `n_categories` in turn."""
    sizes, parents = np.resize(n_categories, d).tolist(), random_forest(rng, d)
    tables, theta = random_tables(rng, sizes, parents, n_classes, zeros=0.1, tiny=tiny)
    return sizes, parents, tables, theta, random_rows(rng, sizes, n, missing)


def many_rows(n_categories, n_classes, tiny):
    """85 rows of a forest of 20 features, with no, few or many missing cells: X, sizes, parents, tables, theta."""
    rng = np.random.default_rng(3)
    sizes, parents, tables, theta, X = random_task(rng, n_categories, 20, n_classes, tiny, 85, [0.0, 0.1, 0.6])
    return X, sizes, parents, tables, theta


def completions(row, theta, n_categories, parents, order=1):
    """(x, p(x)) of every completion of a row whose missing cells are negative."""
    for x in itertools.product(*(range(c) if v < 0 else [v] for v, c in zip(row, n_categories, strict=True))):
        p = 1.0
        for j in range(len(n_categories)):
            cells = [*reference.context_of(parents, j, order), j]
            p *= theta[j][reference.number([x[f] for f in cells], [n_categories[f] for f in cells])]
        yield x, p


def with_tiny_entries(rng, tables, theta):
    """The same with some probabilities next to one another's smallest powers: rows still sum to one."""
    values = np.array(tables.values)
    for begin, end, c in tables.structure.runs():
        rows = values[begin:end].reshape(-1, c)
        for row in rows[rng.random(len(rows)) < 0.5]:
            most = int(row.argmax())
            tiny = np.array([0.0, 5e-324, 1e-310, 1e-200, 1e-150, 1e-100])[rng.integers(0, 6, c)]
            row[:] = np.where(np.arange(c) == most, 1.0, tiny)
    k, d = len(theta), len(theta[0])
    offsets = tables.offsets.tolist()
    flat = [values[offsets[j] : offsets[j + 1]].reshape(k, -1) for j in range(d)]
    return tables._like(values), [[flat[j][c].tolist() for j in range(d)] for c in range(k)]


@st.composite
def tasks(draw):
    """Rows with missing cells, (X, n_categories, parents, order, tables, theta, threads), of a chain or a forest."""
    d = draw(st.integers(1, 8) | st.just(40))
    n = draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_categories = rng.integers(1, 5, d).tolist()
    parents = list(range(-1, d - 1)) if draw(st.booleans()) else random_forest(rng, d)
    n_classes = draw(st.none() | st.integers(1, 4) | st.just(9))
    order = draw(st.integers(1, 3))
    tables, theta = random_tables(rng, n_categories, parents, n_classes, order, draw(st.sampled_from([0.0, 0.4])))
    if draw(st.booleans()):  # numbers that need exponents of their own
        tables, theta = with_tiny_entries(rng, tables, theta)
    X = random_rows(rng, n_categories, n, draw(st.sampled_from([0.1, 0.5, 0.9])))
    X = laid_out(X.astype(np.int16), draw(st.sampled_from(["C", "F", "strided"])))
    return X, n_categories, parents, order, tables, theta, draw(st.sampled_from([1, 2, 7]))
