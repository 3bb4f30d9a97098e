"""Every workload that is measured: its shape, its inputs (fixed seed, made when first asked for) and our call.

`TALLYDRAW_BENCH` sets the size: ``quick`` (seconds for all, a smoke test), ``medium`` (the default) or ``full`` (the
sizes that published figures are for). Shapes never change with it, only the number of rows or draws.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import tallydraw as td

SEED = 20110607
THREADS = 2
SIZES = ("quick", "medium", "full")
SIZE = os.environ.get("TALLYDRAW_BENCH", "medium")
if SIZE not in SIZES:
    raise SystemExit(f"TALLYDRAW_BENCH must be one of {SIZES}, got {SIZE!r}")


PLAIN = "row-major uint8"
OTHER_LAYOUTS = ("column-major uint8", "row-major int64", "strided uint8")
ITERATIONS = 10  # of EM, its beginning included
MISSING = 0.1  # of the cells of rows with missing cells
ALPHA = 0.1  # of fits to them


@dataclass(frozen=True)
class Workload:
    """One call of one verb. `items` counts what `unit` says: times are stated for each of them."""

    verb: str  # the function of tallydraw, and the key of its peers
    name: str
    unit: str
    n: int  # rows, draws or paths
    C: int
    d: int = 1  # features, or steps of a path
    K: int = 1
    layout: str = PLAIN
    small: bool = False  # measured against the other backend only

    @property
    def items(self) -> int:
        pairs = self.d * (self.d - 1) // 2
        if self.unit == "cell and iteration":  # as many as the rows need
            return self.n * self.d * int(self.data().iterations)
        per_row = {
            "pair": pairs,
            "weight": self.C,
            "cell": self.d,
            "count": self.C,
            "step": self.d,
            "cell and class": self.d * self.K,
            "cell, component and iteration": self.d * self.K * ITERATIONS,
        }
        return self.n * per_row.get(self.unit, 1)

    def data(self) -> SimpleNamespace:
        """The inputs. Only the last few workloads' are kept, so that memory does not add up."""
        return _data(self)

    def ours(self, threads: int = THREADS) -> Callable[[], Any]:
        """The call that is timed."""
        return _OURS[self.verb](self, self.data(), threads)


@functools.lru_cache(maxsize=2)
def _data(w: Workload) -> SimpleNamespace:
    return _MAKE[w.verb](w, np.random.default_rng(SEED))


# Inputs ---------------------------------------------------------------------------------------------------------------


def _distribution(w: Workload, rng: np.random.Generator) -> SimpleNamespace:
    return SimpleNamespace(p=rng.dirichlet(np.ones(w.C)))


def _weight_rows(w: Workload, rng: np.random.Generator) -> SimpleNamespace:
    return SimpleNamespace(weights=rng.standard_exponential((w.n, w.C)))


def _labelled_rows(w: Workload, rng: np.random.Generator) -> SimpleNamespace:
    """Codes that lean towards a few values, which ones depending on the class, as pixels do; and truth tables."""
    y = rng.integers(0, w.K, w.n)
    X = np.empty((w.n, w.d), np.uint8)
    for a in range(0, w.n, 4096):
        u = rng.random((len(y[a : a + 4096]), w.d), dtype=np.float32)
        X[a : a + 4096] = (u * u * w.C + 3 * y[a : a + 4096, None]).astype(np.int64) % w.C
    if w.layout == "column-major uint8":
        X = np.asfortranarray(X)
    elif w.layout == "row-major int64":
        X = X.astype(np.int64)
    elif w.layout == "strided uint8":
        wide = np.zeros((w.n, 2 * w.d), np.uint8)
        wide[:, ::2] = X
        X = wide[:, ::2]
    theta = rng.dirichlet(np.ones(w.C), (w.d, w.K))
    return SimpleNamespace(X=X, y=y, theta=theta)


def _dependent_rows(w: Workload, rng: np.random.Generator) -> SimpleNamespace:
    """Codes of features each of which often has the code of one before it."""
    X = rng.integers(0, w.C, (w.n, w.d)).astype(np.uint8)
    for j in range(1, w.d):
        copied = rng.random(w.n) < rng.uniform(0.1, 0.9)
        X[copied, j] = X[copied, rng.integers(0, j)]
    return SimpleNamespace(X=X, y=rng.integers(0, w.K, w.n), weight=rng.random(w.n))


def _chain(w: Workload, rng: np.random.Generator) -> SimpleNamespace:
    """A transition matrix and n paths drawn from it, by a method that shares nothing with what is measured."""
    P = rng.dirichlet(np.ones(w.C), w.C)
    return SimpleNamespace(P=P, S=_paths(P, w.n, w.d, rng).astype(np.uint8))


def _paths(P: np.ndarray, n: int, length: int, rng: np.random.Generator) -> np.ndarray:
    C = len(P)
    cumulative = P.cumsum(axis=1)
    cumulative[:, -1] = 1.0
    flat = (cumulative + np.arange(C)[:, None]).ravel()
    S = np.empty((length, n), np.int64)
    S[0] = rng.integers(0, C, n)
    for t in range(1, length):
        drawn = flat.searchsorted(rng.random(n) + S[t - 1], side="right") - S[t - 1] * C
        S[t] = np.minimum(drawn, C - 1)
    return np.ascontiguousarray(S.T)


def _rows_with_missing_cells(w: Workload, rng: np.random.Generator) -> SimpleNamespace:
    """A tree, or a chain, of tables; rows drawn from it, feature by feature, of which some cells are then missing."""
    tree = w.layout != "chain"
    parents = [-1, *(int(rng.integers(0, j)) if tree else j - 1 for j in range(1, w.d))]
    theta = [rng.dirichlet(np.ones(w.C), (w.K, w.C if parent >= 0 else 1)) for parent in parents]
    y = rng.integers(0, w.K, w.n)
    X = np.empty((w.n, w.d), np.int8)
    for j, parent in enumerate(parents):
        levels = theta[j].cumsum(axis=2)[y, X[:, parent] if parent >= 0 else 0]
        X[:, j] = (rng.random(w.n)[:, None] >= levels[:, :-1]).sum(axis=1)
    X[rng.random(X.shape) < MISSING] = -1
    data = SimpleNamespace(X=X, y=y, parents=parents, theta=theta, prior=np.full(w.K, 1.0 / w.K))
    if w.verb == "fit_missing":
        labels = y if w.K > 1 else None
        data.available = _chain_with_gaps(w).fit(X, labels).counts_
        data.iterations = len(_chain_with_gaps(w, "em").fit(X, labels).objective_)
    return data


def _contingency_tables(w: Workload, rng: np.random.Generator) -> SimpleNamespace:
    """Of all pairs of features of rows that depend on each other."""
    rows = _dependent_rows(replace(w, n=20_000), rng)
    return SimpleNamespace(pairs=td.count_pairs(rows.X, n_categories=w.C))


_MAKE: dict[str, Callable[[Workload, np.random.Generator], SimpleNamespace]] = {
    "sample_categories": _distribution,
    "Sampler": _distribution,
    "sample_rows": _weight_rows,
    "sample_counts": _distribution,
    "sample_features": _labelled_rows,
    "sample_paths": _chain,
    "count_features": _labelled_rows,
    "count_pairs": _dependent_rows,
    "ChowLiuTree": _dependent_rows,
    "Mixture": _dependent_rows,
    "count_transitions": _chain,
    "log_prob_features": _labelled_rows,
    "log_prob_paths": _chain,
    "log_prob_missing": _rows_with_missing_cells,
    "complete": _rows_with_missing_cells,
    "marginals": _rows_with_missing_cells,
    "fit_missing": _rows_with_missing_cells,
    "mutual_information": _contingency_tables,
}

# Our calls ------------------------------------------------------------------------------------------------------------
# The default rng=None would ask the operating system at each call; a seed is what a user who measures would give.

TOTAL = 10**6  # what each row of multinomial counts sums to


def _tables(w: Workload, data: SimpleNamespace) -> td.Tables:
    return td.Tables.from_arrays(list(data.theta), n_classes=w.K)


def _one_draw(w: Workload, data: SimpleNamespace, threads: int) -> Callable[[], Any]:
    sampler, rng = td.Sampler(data.p), np.random.default_rng(SEED)
    return lambda: sampler.sample(rng=rng)


def _sample_features(w: Workload, data: SimpleNamespace, threads: int) -> Callable[[], Any]:
    tables = _tables(w, data)
    return lambda: td.sample_features(tables, w.n, y=data.y, rng=SEED, n_threads=threads)


def _log_prob_features(w: Workload, data: SimpleNamespace, threads: int) -> Callable[[], Any]:
    tables = _tables(w, data)
    return lambda: td.log_prob_features(data.X, tables, n_threads=threads)


def _log_prob_paths(w: Workload, data: SimpleNamespace, threads: int) -> Callable[[], Any]:
    tables = td.Tables.from_arrays([np.full(w.C, 1.0 / w.C), data.P], parents=[-1, 0])
    return lambda: td.log_prob_paths(data.S, tables, n_threads=threads)


def _count_pairs(w: Workload, data: SimpleNamespace, threads: int) -> Callable[[], Any]:
    y, classes = (data.y, w.K) if w.K > 1 else (None, None)
    weight = data.weight if w.layout == "weighted" else None
    return lambda: td.count_pairs(
        data.X, y=y, n_categories=w.C, n_classes=classes, sample_weight=weight, n_threads=threads
    )


def _chow_liu_tree(w: Workload, data: SimpleNamespace, threads: int) -> Callable[[], Any]:
    """The tree and its tables."""

    def fit() -> td.ChowLiuTree:
        model = td.ChowLiuTree(n_categories=w.C).fit(data.X, n_threads=threads)
        _ = model.probabilities_
        return model

    return fit


def _mixture(w: Workload, data: SimpleNamespace, threads: int) -> Callable[[], Any]:
    kinds = {
        "trees": lambda: td.ChowLiuTree(alpha=0.1, n_categories=w.C, shared=False),
        "chains": lambda: td.MarkovChain(alpha=0.1, n_categories=w.C, homogeneous=False),
        PLAIN: lambda: td.NaiveBayes(alpha=0.1, n_categories=w.C),
    }
    mixture = td.Mixture(kinds[w.layout](), w.K, start="random", max_iter=ITERATIONS, tol=0)
    return lambda: mixture.fit(data.X, rng=SEED, n_threads=threads).objective_[-1] / w.n


def _log_prob_missing(w: Workload, data: SimpleNamespace, threads: int) -> Callable[[], Any]:
    tables = _tree_tables(w, data)
    return lambda: td.log_prob_features(data.X, tables, n_threads=threads)


def _tree_tables(w: Workload, data: SimpleNamespace) -> td.Tables:
    arrays = [t if parent >= 0 else t[:, 0] for t, parent in zip(data.theta, data.parents, strict=True)]
    if w.K == 1:
        return td.Tables.from_arrays([t[0] for t in arrays], parents=data.parents)
    return td.Tables.from_arrays(arrays, parents=data.parents, n_classes=w.K)


def _tree(w: Workload, data: SimpleNamespace) -> td.ChowLiuTree:
    prior = None if w.K == 1 else data.prior
    return td.ChowLiuTree.from_probabilities(_tree_tables(w, data), class_prior=prior)


def _complete(w: Workload, data: SimpleNamespace, threads: int) -> Callable[[], Any]:
    model = _tree(w, data)
    return lambda: model.complete(data.X, how=w.layout, rng=SEED, n_threads=threads)


def _marginals(w: Workload, data: SimpleNamespace, threads: int) -> Callable[[], Any]:
    model = _tree(w, data)
    return lambda: model.marginals(data.X, n_threads=threads)


def _chain_with_gaps(w: Workload, missing_fit: str = "available") -> td.MarkovChain:
    return td.MarkovChain(alpha=ALPHA, n_categories=w.C, homogeneous=False, missing_fit=missing_fit)


def _fit_missing(w: Workload, data: SimpleNamespace, threads: int) -> Callable[[], Any]:
    y = data.y if w.K > 1 else None
    return lambda: _chain_with_gaps(w, "em").fit(data.X, y, n_threads=threads).probabilities_


_OURS: dict[str, Callable[[Workload, SimpleNamespace, int], Callable[[], Any]]] = {
    "sample_categories": lambda w, x, t: lambda: td.sample_categories(x.p, w.n, rng=SEED, n_threads=t),
    "Sampler": _one_draw,
    "sample_rows": lambda w, x, t: lambda: td.sample_rows(x.weights, rng=SEED, n_threads=t),
    "sample_counts": lambda w, x, t: lambda: td.sample_counts(x.p, np.full(w.n, TOTAL), rng=SEED, n_threads=t),
    "sample_features": _sample_features,
    "sample_paths": lambda w, x, t: lambda: td.sample_paths(x.P, w.n, w.d, rng=SEED, n_threads=t),
    "count_features": lambda w, x, t: (
        lambda: td.count_features(x.X, y=x.y, n_categories=w.C, n_classes=w.K, n_threads=t)
    ),
    "count_pairs": _count_pairs,
    "ChowLiuTree": _chow_liu_tree,
    "Mixture": _mixture,
    "count_transitions": lambda w, x, t: lambda: td.count_transitions(x.S, n_states=w.C, n_threads=t),
    "log_prob_features": _log_prob_features,
    "log_prob_paths": _log_prob_paths,
    "log_prob_missing": _log_prob_missing,
    "complete": _complete,
    "marginals": _marginals,
    "fit_missing": _fit_missing,
    "mutual_information": lambda w, x, t: lambda: td.mutual_information(x.pairs, n_threads=t),
}

# The list -------------------------------------------------------------------------------------------------------------


def _of_size(quick: int, medium: int, full: int) -> int:
    return {"quick": quick, "medium": medium, "full": full}[SIZE]


def _workloads() -> list[Workload]:
    size = _of_size
    everything = [
        *(
            Workload("sample_categories", f"draws C={C}", "draw", size(10**5, 10**7, 10**8), C)
            for C in (2, 8, 16, 256, 4096, 10**6)
        ),
        *(
            Workload("sample_rows", f"one draw a row C={C}", "weight", size(2**18, 2**23, 2**25) // C, C)
            for C in (16, 256, 4096)
        ),
        *(
            Workload("sample_counts", f"multinomial counts C={C}", "count", size(2**12, 2**19, 2**21) // C, C)
            for C in (8, 256)
        ),
        Workload("Sampler", "one draw from a Sampler C=256", "draw", 1, 256),
    ]
    digits, fewer, survey = size(500, 25_000, 100_000), size(500, 20_000, 50_000), size(5_000, 250_000, 1_000_000)
    shapes = [(digits, 784, 256, 10), (survey, 50, 8, 10), (survey, 50, 2, 2), (fewer, 1024, 256, 10)]
    for verb, what, unit in (
        ("count_features", "class counts", "cell"),
        ("log_prob_features", "naive Bayes log-likelihood", "cell and class"),
        ("sample_features", "naive Bayes rows", "cell"),
    ):
        for rows, d, C, K in shapes:
            n_rows = fewer if verb == "log_prob_features" and d == 784 else rows
            w = Workload(verb, f"{what} {n_rows:,}x{d} C={C} K={K}", unit, n_rows, C, d, K)
            everything.append(w)
            if (verb, d) in (("count_features", 784), ("count_features", 50), ("log_prob_features", 784)):
                everything += [replace(w, name=f"{w.name} {layout}", layout=layout) for layout in OTHER_LAYOUTS]
    for C in (4, 27, 256):
        n_paths, length = size(100, 2_000, 2_000), size(200, 1_000, 1_000)
        for verb, what in (
            ("count_transitions", "transition counts"),
            ("sample_paths", "Markov paths"),
            ("log_prob_paths", "path log-likelihood"),
        ):
            everything.append(Workload(verb, f"{what} {n_paths:,}x{length:,} C={C}", "step", n_paths, C, length))
    rows = size(2_000, 180_092, 180_092)
    for n_rows, d, C, K in (
        (2_461, 1_556, 2, 1),
        (rows, 64, 2, 1),
        (rows, 64, 2, 10),
        (rows, 64, 4, 1),
        (rows, 64, 17, 1),
    ):
        w = Workload("count_pairs", f"pair counts {n_rows:,}x{d} C={C} K={K}", "pair", n_rows, C, d, K)
        everything.append(w)
        if K == 1 and d == 64:
            everything.append(replace(w, name=f"{w.name} weighted", layout="weighted"))
    for n_rows, d, C in ((17_412, 69, 2), (1_600, 180, 2), (2_461, 1_556, 2), (rows, 64, 2), (rows // 9, 64, 4)):
        everything.append(Workload("ChowLiuTree", f"fit of a tree {n_rows:,}x{d} C={C}", "row", n_rows, C, d))
    for n_rows, d, C, K in ((17_412, 69, 2, 20), (16_181, 16, 2, 20), (size(2_000, 20_000, 20_000), 50, 8, 10)):
        shape = f"{n_rows:,}x{d} C={C} K={K}"
        em = "cell, component and iteration"
        everything.append(Workload("Mixture", f"{ITERATIONS} iterations of EM, products {shape}", em, n_rows, C, d, K))
        for kind in ("trees", "chains") if C == 2 else ():
            name = f"{ITERATIONS} iterations of EM, {kind} {shape}"
            everything.append(Workload("Mixture", name, em, n_rows, C, d, K, layout=kind))
    for scored, filled, fitted, d, C, K in (
        (size(2_000, 300_000, 1_000_000), size(500, 50_000, 200_000), size(500, 10_000, 50_000), 64, 2, 1),
        (size(4_000, 600_000, 2_000_000), size(1_000, 60_000, 250_000), size(500, 4_000, 20_000), 16, 5, 8),
    ):
        shape = f"{d} features C={C} K={K}, {MISSING:.0%} missing"
        for layout in ("tree", "chain"):
            name = f"scores of {scored:,} rows, {layout} of {shape}"
            everything.append(Workload("log_prob_missing", name, "cell and class", scored, C, d, K, layout=layout))
        for how in ("sample", "mode"):
            name = f"completed {filled:,} rows ({how}), tree of {shape}"
            everything.append(Workload("complete", name, "cell", filled, C, d, K, layout=how))
        name = f"marginals of {filled // 2:,} rows, tree of {shape}"
        everything.append(Workload("marginals", name, "cell", filled // 2, C, d, K, layout="tree"))
        name, unit = f"fit with expected counts of {fitted:,} rows, chain of {shape}", "cell and iteration"
        everything.append(Workload("fit_missing", name, unit, fitted, C, d, K, layout="chain"))
    for d, C in ((1_000, 2), (300, 5), (64, 17)):
        name = f"mutual information of all pairs of {d} features C={C}"
        everything.append(Workload("mutual_information", name, "pair", 1, C, d))
    return everything + _small()


def _small() -> list[Workload]:
    """Few rows: what a call costs beside its work. Measured against the other backend."""
    few = []
    for n in (10, 100, 10_000):
        few += [
            Workload("sample_categories", f"draws C=256 n={n}", "draw", n, 256, small=True),
            Workload("sample_rows", f"one draw a row C=256 n={n}", "weight", n, 256, small=True),
            Workload("sample_counts", f"multinomial counts C=8 n={n}", "count", n, 8, small=True),
        ]
        for verb in ("count_features", "log_prob_features", "sample_features"):
            unit = "cell and class" if verb == "log_prob_features" else "cell"
            for C, d, K in ((256, 64, 10), (8, 50, 10), (2, 50, 2)):
                few.append(Workload(verb, f"{verb} {n}x{d} C={C} K={K}", unit, n, C, d, K, small=True))
        few.append(Workload("count_pairs", f"count_pairs {n}x50 C=2 K=1", "pair", n, 2, 50, small=True))
        for verb in ("count_transitions", "sample_paths", "log_prob_paths"):
            few.append(Workload(verb, f"{verb} {n}x100 C=27", "step", n, 27, 100, small=True))
    return few


WORKLOADS = _workloads()


def select(pattern: str = "", *, small: bool | None = False) -> list[Workload]:
    """Workloads whose verb or name contains `pattern`; small=None takes small ones too."""
    return [w for w in WORKLOADS if (small is None or w.small == small) and pattern in f"{w.verb} {w.name}"]
