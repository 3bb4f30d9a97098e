"""What else computes the same: the best idiom of each tool, checked against ours wherever the result is certain.

A peer prepares its inputs outside the timing, in the dtype it likes best, and returns the call to time. One whose
tool is not installed, or whose idiom does not suit the workload, is left out and says why.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import tallydraw as td
from workloads import ALPHA, ITERATIONS, PLAIN, SEED, THREADS, TOTAL, Workload

Call = Callable[[], Any]


class NotSuited(Exception):
    """The idiom does not apply to this workload; not worth a line in the report."""


class Missing(Exception):
    """The tool is not installed; the report says so."""


@dataclass(frozen=True)
class Peer:
    tool: str
    idiom: str
    prepare: Callable[[Workload, SimpleNamespace], Call | tuple[Call, int]]

    @property
    def name(self) -> str:
        return f"{self.tool} {self.idiom}"

    def ready(self, w: Workload) -> tuple[Call, int]:
        """The call, and how many of the workload's items it does (a slow peer is given fewer)."""
        prepared = self.prepare(w, w.data())
        return prepared if isinstance(prepared, tuple) else (prepared, w.items)


PEERS: dict[str, list[Peer]] = {}


def _peer(verb: str, tool: str, idiom: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(prepare: Callable[..., Any]) -> Callable[..., Any]:
        PEERS.setdefault(verb, []).append(Peer(tool, idiom, prepare))
        return prepare

    return register


def of(w: Workload) -> list[Peer]:
    return [] if w.small else PEERS.get(w.verb, [])


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Missing(f"{module.split('.')[0]} is not installed") from error


def _torch() -> Any:
    torch = _import("torch")
    torch.set_num_threads(THREADS)
    return torch


def versions() -> dict[str, str]:
    """Of the tools that are installed."""
    found = {}
    for name in (
        "numpy",
        "numba",
        "scipy",
        "scikit-learn",
        "torch",
        "quantecon",
        "deeptime",
        "pomegranate",
        "pgmpy",
        "pyagrum",
        "deeprob-kit",
        "stepmix",
    ):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def agrees(w: Workload, ours: Any, theirs: Any) -> None:
    """Raise unless a peer computed what we did: counts equal, logs to 1e-9, draws alike in shape and range."""
    if w.verb == "count_features":
        _same(np.array_equal(np.stack(list(ours)), np.stack(list(theirs))), w)
    elif w.verb == "count_pairs":
        _same(_same_pairs(w, ours, theirs), w)
    elif w.verb == "ChowLiuTree":
        _same(bool(np.isclose(*(_shared(ours, arcs) for arcs in (_arcs(ours), _arcs(theirs))), rtol=1e-9)), w)
    elif w.verb == "Mixture":  # each begins by chances of its own
        _same(abs(ours - theirs) < 0.03 * abs(ours), w)
    elif w.verb == "count_transitions":
        _same(np.array_equal(ours, theirs), w)
    elif w.verb in ("log_prob_features", "log_prob_paths"):
        theirs = np.asarray(theirs)
        _same(np.allclose(np.asarray(ours)[: len(theirs)], theirs, rtol=1e-9, atol=0.0), w)
    elif w.verb in _AGREE:
        _same(_AGREE[w.verb](w, w.data(), ours, theirs), w)
    elif w.verb == "sample_counts":
        theirs = np.asarray(theirs)
        _same(ours.shape == theirs.shape and bool((theirs.sum(axis=1) == TOTAL).all()), w)
    elif w.verb != "Sampler":
        theirs = np.asarray(theirs)
        _same(ours.shape[1:] == theirs.shape[1:] and int(theirs.min()) >= 0 and int(theirs.max()) < w.C, w)


def _same(condition: bool, w: Workload) -> None:
    if not condition:
        raise AssertionError(f"the peer's result is not ours on {w.name!r}")


def _blocks(n: int, rows: int) -> list[tuple[int, int]]:
    return [(a, min(n, a + rows)) for a in range(0, n, rows)]


# sample_categories ----------------------------------------------------------------------------------------------------

IN_CACHE = 1 << 14  # draws a block: NumPy's intermediates then stay in the cache


@_peer("sample_categories", "numpy", "Generator.choice")
def _(w: Workload, x: SimpleNamespace) -> Call:
    rng = np.random.default_rng(SEED)
    return lambda: rng.choice(w.C, w.n, p=x.p)


@_peer("sample_categories", "numpy", "searchsorted in blocks")
def _(w: Workload, x: SimpleNamespace) -> Call:
    rng = np.random.default_rng(SEED)

    def run() -> Any:
        cumulative = _cumulative(x.p)
        out = np.empty(w.n, np.min_scalar_type(w.C - 1))
        for a, b in _blocks(w.n, IN_CACHE):
            out[a:b] = cumulative.searchsorted(rng.random(b - a), side="right")
        return out

    return run


@_peer("sample_categories", "numpy", "comparisons in blocks")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.C > 16:
        raise NotSuited
    rng = np.random.default_rng(SEED)

    def run() -> Any:
        cumulative = _cumulative(x.p)
        out = np.zeros(w.n, np.uint8)
        for a, b in _blocks(w.n, IN_CACHE):
            u, block = rng.random(b - a), out[a:b]
            for level in cumulative[:-1]:
                block += u >= level
        return out

    return run


@_peer("sample_categories", "numpy", "alias table in blocks")
def _(w: Workload, x: SimpleNamespace) -> Call:
    keep, alias = alias_table(x.p)  # built outside the timing: a Python loop
    rng = np.random.default_rng(SEED)
    return lambda: draw_alias(keep, alias, w.n, rng)


@_peer("sample_categories", "scipy", "DiscreteAliasUrn")
def _(w: Workload, x: SimpleNamespace) -> Call:
    urn = _import("scipy.stats.sampling").DiscreteAliasUrn(x.p, random_state=np.random.default_rng(SEED))
    return lambda: urn.rvs(w.n)


@_peer("sample_categories", "scipy", "DiscreteGuideTable")
def _(w: Workload, x: SimpleNamespace) -> Call:
    guide = _import("scipy.stats.sampling").DiscreteGuideTable(x.p, random_state=np.random.default_rng(SEED))
    return lambda: guide.rvs(w.n)


@_peer("sample_categories", "torch", "multinomial")
def _(w: Workload, x: SimpleNamespace) -> Call:
    torch = _torch()
    p = torch.from_numpy(x.p)
    return lambda: torch.multinomial(p, w.n, replacement=True)


def _cumulative(p: np.ndarray) -> np.ndarray:
    cumulative = np.cumsum(p)
    cumulative /= cumulative[-1]
    return cumulative


def alias_table(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vose (1991): the chance to keep cell i, and what is drawn otherwise."""
    C = len(p)
    scaled = (p * C / p.sum()).tolist()
    keep, alias = [1.0] * C, list(range(C))
    small = [i for i in range(C) if scaled[i] < 1]
    large = [i for i in range(C) if scaled[i] >= 1]
    while small and large:
        i, j = small.pop(), large[-1]
        keep[i], alias[i] = scaled[i], j
        scaled[j] -= 1 - scaled[i]
        if scaled[j] < 1:
            small.append(large.pop())
    return np.array(keep), np.array(alias)


def draw_alias(keep: np.ndarray, alias: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    C = len(keep)
    out = np.empty(n, np.min_scalar_type(C - 1))
    for a, b in _blocks(n, IN_CACHE):
        u = rng.random(b - a)
        u *= C
        i = u.astype(np.intp)
        u -= i
        out[a:b] = np.where(u < keep.take(i), i, alias.take(i))
    return out


# Sampler: one draw ----------------------------------------------------------------------------------------------------


@_peer("Sampler", "numpy", "Generator.choice")
def _(w: Workload, x: SimpleNamespace) -> Call:
    rng = np.random.default_rng(SEED)
    return lambda: rng.choice(w.C, p=x.p)


@_peer("Sampler", "numpy", "searchsorted, cumulative sum kept")
def _(w: Workload, x: SimpleNamespace) -> Call:
    rng, cumulative = np.random.default_rng(SEED), _cumulative(x.p)
    return lambda: cumulative.searchsorted(rng.random(), side="right")


# sample_rows ----------------------------------------------------------------------------------------------------------


@_peer("sample_rows", "numpy", "cumsum and compare")
def _(w: Workload, x: SimpleNamespace) -> Call:
    rng = np.random.default_rng(SEED)

    def run() -> Any:
        cumulative = x.weights.cumsum(axis=1)
        u = rng.random(w.n) * cumulative[:, -1]
        return (cumulative <= u[:, None]).sum(axis=1)

    return run


@_peer("sample_rows", "numpy", "cumsum and compare in blocks")
def _(w: Workload, x: SimpleNamespace) -> Call:
    rng = np.random.default_rng(SEED)

    def run() -> Any:
        out = np.empty(w.n, np.intp)
        for a, b in _blocks(w.n, max(1, IN_CACHE // w.C)):
            cumulative = x.weights[a:b].cumsum(axis=1)
            u = rng.random(b - a) * cumulative[:, -1]
            out[a:b] = (cumulative <= u[:, None]).sum(axis=1)
        return out

    return run


@_peer("sample_rows", "numpy", "two levels of sums")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.C < 64:
        raise NotSuited
    rng, group = np.random.default_rng(SEED), int(w.C**0.5)

    def run() -> Any:
        parts = x.weights.reshape(w.n, -1, group)
        coarse = parts.sum(axis=2).cumsum(axis=1)
        u = rng.random(w.n) * coarse[:, -1]
        g = (coarse <= u[:, None]).sum(axis=1)
        row = np.arange(w.n)
        u -= np.where(g > 0, coarse[row, g - 1], 0.0)
        return g * group + (parts[row, g].cumsum(axis=1) <= u[:, None]).sum(axis=1).clip(max=group - 1)

    return run


@_peer("sample_rows", "torch", "multinomial")
def _(w: Workload, x: SimpleNamespace) -> Call:
    torch = _torch()
    weights = torch.from_numpy(x.weights)
    return lambda: torch.multinomial(weights, 1)[:, 0]


# sample_counts --------------------------------------------------------------------------------------------------------


@_peer("sample_counts", "numpy", "Generator.multinomial")
def _(w: Workload, x: SimpleNamespace) -> Call:
    rng = np.random.default_rng(SEED)
    return lambda: rng.multinomial(TOTAL, x.p, size=w.n)


# sample_features ------------------------------------------------------------------------------------------------------


def _per_class_and_column(w: Workload, x: SimpleNamespace, draw: Callable[[int, int, int], np.ndarray]) -> Call:
    """One call of `draw(feature, class, how many)` for each class and column."""
    rows = [np.flatnonzero(x.y == k) for k in range(w.K)]

    def run() -> Any:
        out = np.empty((w.d, w.n), np.uint8)
        for j in range(w.d):
            for k in range(w.K):
                out[j, rows[k]] = draw(j, k, len(rows[k]))
        return out.T

    return run


@_peer("sample_features", "numpy", "Generator.choice per class and column")
def _(w: Workload, x: SimpleNamespace) -> Call:
    rng = np.random.default_rng(SEED)
    return _per_class_and_column(w, x, lambda j, k, m: rng.choice(w.C, m, p=x.theta[j, k]))


@_peer("sample_features", "numpy", "alias tables per class and column")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.C <= 16:
        raise NotSuited
    rng = np.random.default_rng(SEED)
    tables = [[alias_table(p) for p in of_feature] for of_feature in x.theta]
    return _per_class_and_column(w, x, lambda j, k, m: draw_alias(*tables[j][k], m, rng))


@_peer("sample_features", "numpy", "comparisons by column in blocks")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.C > 16:
        raise NotSuited
    rng = np.random.default_rng(SEED)

    def run() -> Any:
        levels = np.ascontiguousarray(x.theta.cumsum(axis=2)[:, :, :-1].transpose(2, 1, 0))  # category, class, feature
        out = np.zeros((w.n, w.d), np.uint8)
        for a, b in _blocks(w.n, max(1, IN_CACHE // w.d)):
            u, block, y = rng.random((b - a, w.d)), out[a:b], x.y[a:b]
            for level in levels:
                block += u >= level.take(y, axis=0)
        return out

    return run


# sample_paths ---------------------------------------------------------------------------------------------------------


@_peer("sample_paths", "numpy", "one searchsorted a step")
def _(w: Workload, x: SimpleNamespace) -> Call:
    rng = np.random.default_rng(SEED)

    def run() -> Any:
        flat = (np.minimum(x.P.cumsum(axis=1), 1.0) + np.arange(w.C)[:, None]).ravel()
        S = np.empty((w.d, w.n), np.min_scalar_type(w.C - 1))
        S[0] = state = rng.integers(0, w.C, w.n)
        for t in range(1, w.d):
            state = np.minimum(flat.searchsorted(rng.random(w.n) + state, side="right") - state * w.C, w.C - 1)
            S[t] = state
        return S.T

    return run


@_peer("sample_paths", "numpy", "comparisons a step")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.C > 64:
        raise NotSuited
    rng = np.random.default_rng(SEED)

    def run() -> Any:
        levels = np.ascontiguousarray(x.P.cumsum(axis=1).T[:-1])
        S = np.empty((w.d, w.n), np.uint8)
        S[0] = rng.integers(0, w.C, w.n)
        for t in range(1, w.d):
            u, before = rng.random(w.n), S[t - 1].astype(np.intp)
            S[t] = 0
            for level in levels:
                S[t] += u >= level.take(before)
        return S.T

    return run


@_peer("sample_paths", "numpy", "alias table a step")
def _(w: Workload, x: SimpleNamespace) -> Call:
    rng = np.random.default_rng(SEED)
    tables = [alias_table(p) for p in x.P]
    keep, alias = (np.concatenate(part) for part in zip(*tables, strict=True))

    def run() -> Any:
        S = np.empty((w.d, w.n), np.min_scalar_type(w.C - 1))
        S[0] = state = rng.integers(0, w.C, w.n)
        for t in range(1, w.d):
            u = rng.random(w.n)
            u *= w.C
            i = u.astype(np.intp)
            u -= i
            cell = state * w.C + i
            state = np.where(u < keep.take(cell), i, alias.take(cell))
            S[t] = state
        return S.T

    return run


@_peer("sample_paths", "quantecon", "MarkovChain.simulate")
def _(w: Workload, x: SimpleNamespace) -> Call:
    chain = _import("quantecon").MarkovChain(x.P)
    return lambda: chain.simulate(w.d, num_reps=w.n, random_state=SEED)


@_peer("sample_paths", "deeptime", "MarkovStateModel.simulate")
def _(w: Workload, x: SimpleNamespace) -> tuple[Call, int]:
    model = _import("deeptime.markov.msm").MarkovStateModel(x.P)
    paths = min(w.n, 50)
    return lambda: np.stack([model.simulate(w.d, start=0, seed=i) for i in range(paths)]), paths * w.d


# count_features -------------------------------------------------------------------------------------------------------


@_peer("count_features", "numpy", "bincount a column")
def _(w: Workload, x: SimpleNamespace) -> Call:
    def run() -> Any:
        base, code = x.y * w.C, np.empty(w.n, np.intp)
        counts = np.empty((w.d, w.K * w.C), np.int64)
        for j in range(w.d):
            counts[j] = np.bincount(np.add(base, x.X[:, j], out=code), minlength=w.K * w.C)
        return counts.reshape(w.d, w.K, w.C)

    return run


@_peer("count_features", "numpy", "bincount a column of transposed blocks")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.layout.startswith("column-major"):
        raise NotSuited

    def run() -> Any:
        base, code = x.y * w.C, np.empty(1 << 15, np.intp)
        counts = np.zeros((w.d, w.K * w.C), np.int64)
        for a, b in _blocks(w.n, len(code)):
            columns = np.ascontiguousarray(x.X[a:b].T)
            for j in range(w.d):
                counts[j] += np.bincount(np.add(base[a:b], columns[j], out=code[: b - a]), minlength=w.K * w.C)
        return counts.reshape(w.d, w.K, w.C)

    return run


@_peer("count_features", "numpy", "matrix product with one-hot classes")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.C != 2:
        raise NotSuited

    def run() -> Any:
        ones = np.zeros((w.K, w.d))
        for a, b in _blocks(w.n, 1 << 13):
            classes = (x.y[a:b] == np.arange(w.K)[:, None]).astype(np.float32)
            ones += classes @ x.X[a:b].astype(np.float32)
        of_class = np.bincount(x.y, minlength=w.K)[:, None]
        return np.stack([of_class - ones, ones], axis=2).transpose(1, 0, 2).astype(np.int64)

    return run


@_peer("count_features", "scikit-learn", "CategoricalNB.fit")
def _(w: Workload, x: SimpleNamespace) -> Call:
    bayes = _import("sklearn.naive_bayes")
    return lambda: bayes.CategoricalNB(min_categories=w.C).fit(x.X, x.y).category_count_


# count_pairs ----------------------------------------------------------------------------------------------------------


def _same_pairs(w: Workload, ours: Any, theirs: Any) -> bool:
    """Theirs: PairTables, the (K, d C, d C) products of one-hot rows, or the flat cells of the first pairs."""
    if hasattr(theirs, "marginals"):
        return bool(ours == theirs)
    if theirs.ndim == 1:
        return np.array_equal(ours.values[: len(theirs)], theirs)
    cells = np.asarray(theirs).reshape(-1, w.d, w.C, w.d, w.C).transpose(1, 3, 0, 2, 4)
    first, second = np.triu_indices(w.d, 1)
    same = np.allclose if w.layout == "weighted" else np.array_equal
    return bool(same(ours.values.reshape(len(first), -1), cells[first, second].reshape(len(first), -1)))


def _one_hot_product(w: Workload, x: SimpleNamespace, dtype: type, block: int) -> Call:
    """The rows of a class go one after the other; a weight multiplies one of the two factors."""

    def run() -> Any:
        out = np.zeros((w.K, w.d * w.C, w.d * w.C))
        for k in range(w.K):
            chosen = np.flatnonzero(x.y == k) if w.K > 1 else np.arange(w.n)
            for a, b in _blocks(len(chosen), block):
                rows = x.X[chosen[a:b]]
                one_hot = (rows[:, :, None] == np.arange(w.C, dtype=np.uint8)).reshape(b - a, -1).astype(dtype)
                left = one_hot * x.weight[chosen[a:b], None] if w.layout == "weighted" else one_hot
                out[k] += left.T @ one_hot
        return out

    return run


@_peer("count_pairs", "numpy", "matrix product of one-hot rows, float64")
def _(w: Workload, x: SimpleNamespace) -> Call:
    return _one_hot_product(w, x, np.float64, max(1, (1 << 26) // (w.C * w.d)))


@_peer("count_pairs", "numpy", "matrix product of one-hot rows, float32 in blocks")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.layout == "weighted":
        raise NotSuited
    return _one_hot_product(w, x, np.float32, max(1, (1 << 22) // (w.C * w.d)))  # exact below 2^24 rows


@_peer("count_pairs", "numpy", "bincount a pair")
def _(w: Workload, x: SimpleNamespace) -> tuple[Call, int]:
    few = min(50, w.d * (w.d - 1) // 2)
    pairs = [(int(i), int(j)) for i, j in zip(*np.triu_indices(w.d, 1), strict=True)][:few]
    columns = np.ascontiguousarray(x.X.T)
    weights = x.weight if w.layout == "weighted" else None

    def run() -> Any:
        base = x.y * (w.C * w.C) if w.K > 1 else 0
        out = [
            np.bincount(base + columns[i] * np.intp(w.C) + columns[j], weights, minlength=w.K * w.C * w.C)
            for i, j in pairs
        ]
        return np.concatenate(out)

    return run, w.n * few


@_peer("count_pairs", "scipy", "product of sparse one-hot rows")
def _(w: Workload, x: SimpleNamespace) -> Call:
    sparse = _import("scipy.sparse")
    if w.K > 1 or w.layout == "weighted":
        raise NotSuited

    def run() -> Any:
        column = (x.X + np.arange(w.d, dtype=np.int32) * w.C).reshape(-1)
        begin = np.arange(0, w.n * w.d + 1, w.d)
        one_hot = sparse.csr_matrix((np.ones(len(column), np.int64), column, begin), shape=(w.n, w.d * w.C))
        return (one_hot.T @ one_hot).toarray()

    return run


# ChowLiuTree ----------------------------------------------------------------------------------------------------------


def _arcs(model: Any) -> list[tuple[int, int]]:
    if isinstance(model, list):
        return model
    return [(int(i), j) for j, i in enumerate(model.parents_) if i >= 0]


def _shared(model: Any, arcs: list[tuple[int, int]]) -> float:
    """The mutual information on the arcs: of equal trees, and of trees equally likely, it is equal."""
    tables = (model.pair_counts_[i, j] for i, j in arcs)
    return float(sum(td.mutual_information(table / table.sum()) for table in tables))


@_peer("ChowLiuTree", "numpy", "matrix product, scipy minimum_spanning_tree")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.C > 2:
        raise NotSuited
    spanning = _import("scipy.sparse.csgraph").minimum_spanning_tree
    ones = x.X.astype(np.float32)

    def run() -> Any:
        both = (ones.T @ ones).astype(np.float64)
        one, n = both.diagonal(), float(w.n)
        shared = np.zeros((w.d, w.d))
        for cells, a, b in (
            (both, one[:, None], one),
            (one[:, None] - both, one[:, None], n - one),
            (one - both, n - one[:, None], one),
            (n - one[:, None] - one + both, n - one[:, None], n - one),
        ):
            with np.errstate(divide="ignore", invalid="ignore"):
                shared += np.where(cells > 0, cells * np.log(cells * n / (a * b)), 0.0)
        shared /= n
        tree = spanning(np.triu(shared.max() + 1.0 - shared, 1)).tocoo()
        return list(zip(tree.row.tolist(), tree.col.tolist(), strict=True))

    return run


@_peer("ChowLiuTree", "numpy", "matrix product of one-hot rows, scipy minimum_spanning_tree")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.C == 2:
        raise NotSuited
    spanning = _import("scipy.sparse.csgraph").minimum_spanning_tree
    one_hot = (x.X[:, :, None] == np.arange(w.C)).reshape(w.n, -1).astype(np.float32)

    def run() -> Any:
        both = (one_hot.T @ one_hot).astype(np.float64)
        one = both.diagonal()
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(both > 0, both * np.log(both * w.n / (one[:, None] * one)), 0.0) / w.n
        shared = terms.reshape(w.d, w.C, w.d, w.C).sum(axis=(1, 3))
        tree = spanning(np.triu(shared.max() + 1.0 - shared, 1)).tocoo()
        return list(zip(tree.row.tolist(), tree.col.tolist(), strict=True))

    return run


@_peer("ChowLiuTree", "pgmpy", "TreeSearch")
def _(w: Workload, x: SimpleNamespace) -> tuple[Call, int]:
    if w.d > 200:
        raise NotSuited  # minutes
    estimators, pandas = _import("pgmpy.estimators"), _import("pandas")
    frame = pandas.DataFrame(x.X)

    def run() -> Any:
        search = estimators.TreeSearch(frame, root_node=0, n_jobs=1)
        return list(search.estimate(estimator_type="chow-liu", show_progress=False).edges())

    return run, w.items


@_peer("ChowLiuTree", "pyAgrum", "BNLearner.mutualInformation of pairs")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.d > 200:
        raise NotSuited  # minutes
    agrum, pandas = _import("pyagrum"), _import("pandas")
    spanning = _import("scipy.sparse.csgraph").minimum_spanning_tree
    names = [f"x{j}" for j in range(w.d)]
    frame = pandas.DataFrame(x.X, columns=names)

    def run() -> Any:
        learner = agrum.BNLearner(frame)
        learner.useNoPrior()
        learner.setNumberOfThreads(THREADS)
        shared = np.zeros((w.d, w.d))
        for i in range(w.d):
            for j in range(i + 1, w.d):
                shared[i, j] = learner.mutualInformation(names[i], names[j])
        tree = spanning(np.triu(shared.max() + 1.0 - shared, 1)).tocoo()
        return list(zip(tree.row.tolist(), tree.col.tolist(), strict=True))

    return run


@_peer("ChowLiuTree", "deeprob-kit", "BinaryCLT.fit")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.C > 2:
        raise NotSuited
    tree = _import("deeprob.spn.structure.cltree")
    data, domains = x.X.astype(np.float32), [[0, 1]] * w.d

    def run() -> Any:
        model = tree.BinaryCLT(list(range(w.d)), root=0)
        model.fit(data, domains, alpha=1e-9)  # it divides by zero without
        return [(int(i), j) for j, i in enumerate(model.tree) if i >= 0]

    return run


# Mixture: each gives the mean log-likelihood of a row -----------------------------------------------------------------


@_peer("Mixture", "numpy", "matrix products with one-hot rows, float64")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.layout != PLAIN:
        raise NotSuited
    one_hot = (x.X[:, :, None] == np.arange(w.C)).reshape(w.n, -1).astype(np.float64)

    def run() -> Any:
        shares = np.random.default_rng(SEED).dirichlet(np.ones(w.K), w.n)
        mean = 0.0
        for _ in range(ITERATIONS):
            counts = (shares.T @ one_hot).reshape(w.K, w.d, w.C) + 0.1
            logs = np.log(counts / counts.sum(axis=2, keepdims=True)).reshape(w.K, -1)
            joint = one_hot @ logs.T + np.log(shares.sum(axis=0) / w.n)
            most = joint.max(axis=1, keepdims=True)
            np.exp(joint - most, out=joint)
            total = joint.sum(axis=1, keepdims=True)
            mean = float((np.log(total) + most).mean())
            shares = joint / total
        return mean

    return run


@_peer("Mixture", "StepMix", "StepMix.fit")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.layout != PLAIN:
        raise NotSuited
    stepmix = _import("stepmix.stepmix")
    data = x.X.astype(np.float64)
    kind = "binary" if w.C == 2 else "categorical"

    def run() -> Any:
        model = stepmix.StepMix(
            n_components=w.K, measurement=kind, max_iter=ITERATIONS, abs_tol=0.0, rel_tol=0.0, random_state=SEED,
            progress_bar=0,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not converge
            model.fit(data)
        return float(model.lower_bound_)

    return run


@_peer("Mixture", "pomegranate", "GeneralMixtureModel.fit")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.layout != PLAIN:
        raise NotSuited
    torch, models = _torch(), _import("pomegranate.gmm")
    kinds = _import("pomegranate.distributions")
    data = torch.from_numpy(x.X.astype(np.int64))
    begin = np.random.default_rng(SEED).dirichlet(np.ones(w.C), (w.K, w.d))

    def run() -> Any:
        parts = [kinds.Categorical(torch.from_numpy(p).float()) for p in begin]
        model = models.GeneralMixtureModel(parts, max_iter=ITERATIONS, tol=0.0)
        model.fit(data)
        return float(model.log_probability(data).mean())

    return run


# count_transitions ----------------------------------------------------------------------------------------------------


@_peer("count_transitions", "numpy", "bincount of pairs")
def _(w: Workload, x: SimpleNamespace) -> Call:
    S, C = x.S, w.C

    def run() -> Any:
        pairs = S[:, :-1].astype(np.intp)
        pairs *= C
        pairs += S[:, 1:]
        return np.bincount(pairs.ravel(), minlength=C * C).reshape(C, C)

    return run


@_peer("count_transitions", "numpy", "bincount of 16-bit pairs in blocks")
def _(w: Workload, x: SimpleNamespace) -> Call:
    C = w.C

    def run() -> Any:
        counts = np.zeros(C * C, np.int64)
        for a, b in _blocks(w.n, 64):
            S = x.S[a:b].astype(np.uint16)
            counts += np.bincount((S[:, :-1] * np.uint16(C) + S[:, 1:]).ravel(), minlength=C * C)
        return counts.reshape(C, C)

    return run


@_peer("count_transitions", "deeptime", "TransitionCountEstimator")
def _(w: Workload, x: SimpleNamespace) -> Call:
    estimator = _import("deeptime.markov").TransitionCountEstimator(1, "sliding", n_states=w.C)
    paths = list(x.S.astype(np.int32))
    return lambda: estimator.fit(paths).fetch_model().count_matrix


# log_prob_features ----------------------------------------------------------------------------------------------------


def _log_tables(x: SimpleNamespace) -> np.ndarray:
    return np.ascontiguousarray(np.log(x.theta).transpose(0, 2, 1))  # (d, C, K): one row to gather a cell


@_peer("log_prob_features", "numpy", "gather a column of transposed blocks")
def _(w: Workload, x: SimpleNamespace) -> Call:
    logs = _log_tables(x)

    def run() -> Any:
        out, gathered = np.zeros((w.n, w.K)), np.empty((4096, w.K))
        for a, b in _blocks(w.n, 4096):
            columns, block, row = np.ascontiguousarray(x.X[a:b].T), out[a:b], gathered[: b - a]
            for j in range(w.d):
                block += np.take(logs[j], columns[j], axis=0, out=row, mode="clip")
        return out

    return run


@_peer("log_prob_features", "numpy", "matrix product")
def _(w: Workload, x: SimpleNamespace) -> Call:
    if w.C != 2:
        raise NotSuited
    logs = _log_tables(x)

    def run() -> Any:
        base, weights, out = logs[:, 0].sum(axis=0), logs[:, 1] - logs[:, 0], np.empty((w.n, w.K))
        for a, b in _blocks(w.n, 4096):
            np.matmul(x.X[a:b].astype(np.float64), weights, out=out[a:b])
            out[a:b] += base
        return out

    return run


@_peer("log_prob_features", "scikit-learn", "CategoricalNB joint log-likelihood")
def _(w: Workload, x: SimpleNamespace) -> Call:
    model = _import("sklearn.naive_bayes").CategoricalNB(min_categories=w.C)
    model.fit(x.X[:2000], x.y[:2000] if w.n >= 2000 else x.y)
    model.feature_log_prob_ = list(np.log(x.theta))
    model.class_log_prior_ = np.zeros(w.K)
    X = x.X.astype(np.int64)  # what it indexes with: a conversion less to time
    return lambda: model._joint_log_likelihood(X)


@_peer("log_prob_features", "torch", "embedding_bag")
def _(w: Workload, x: SimpleNamespace) -> Call:
    torch = _torch()
    logs = torch.from_numpy(_log_tables(x).reshape(w.d * w.C, w.K))
    X, first = torch.from_numpy(np.ascontiguousarray(x.X)), torch.arange(w.d) * w.C
    bag = torch.nn.functional.embedding_bag
    return lambda: torch.cat([bag(X[a:b] + first, logs, mode="sum") for a, b in _blocks(w.n, 4096)])


# log_prob_paths -------------------------------------------------------------------------------------------------------


def _log_first(w: Workload) -> float:
    """Of the first state of a path, whichever it is: the others' sums begin with it."""
    return float(np.log(1.0 / w.C))


@_peer("log_prob_paths", "numpy", "gather and sum in blocks")
def _(w: Workload, x: SimpleNamespace) -> Call:
    logs, first = np.log(x.P).ravel(), _log_first(w)

    def run() -> Any:
        out = np.empty(w.n)
        for a, b in _blocks(w.n, 16):
            pairs = x.S[a:b, :-1].astype(np.intp)
            pairs *= w.C
            pairs += x.S[a:b, 1:]
            out[a:b] = logs.take(pairs).sum(axis=1, initial=first)
        return out

    return run


@_peer("log_prob_paths", "torch", "gather and sum")
def _(w: Workload, x: SimpleNamespace) -> Call:
    torch = _torch()
    logs, S = torch.from_numpy(np.log(x.P).ravel()), torch.from_numpy(x.S.astype(np.int64))
    first = _log_first(w)
    return lambda: logs[S[:, :-1] * w.C + S[:, 1:]].sum(dim=1).add_(first)


@_peer("log_prob_paths", "pomegranate", "MarkovChain.log_probability")
def _(w: Workload, x: SimpleNamespace) -> tuple[Call, int]:
    torch = _torch()
    distributions = _import("pomegranate.distributions")
    chain = _import("pomegranate.markov_chain").MarkovChain(
        [
            distributions.Categorical(torch.full((1, w.C), 1.0 / w.C, dtype=torch.float64)),
            distributions.ConditionalCategorical([torch.from_numpy(x.P)]),
        ]
    )
    paths = 2
    S = torch.from_numpy(x.S[:paths, :, None].astype(np.int64))
    return lambda: chain.log_probability(S), paths * w.d


# Rows with missing cells: sum-product (Pearl 1982) and max-product, vectorised over the rows of a block ---------------

IN_SECOND_CACHE = 1 << 11  # rows a block: the messages of a few features then stay in the cache


def _messages(x: SimpleNamespace, a: int, b: int, most: bool = False) -> tuple[list[Any], list[Any], list[Any], Any]:
    """Of rows [a, b), classes first: what is below each feature, what it sends, children of each, p(x, class)."""
    rows, K, d = b - a, len(x.prior), len(x.parents)
    columns = np.ascontiguousarray(x.X[a:b].T)
    below = []
    for j in range(d):
        C = x.theta[j].shape[-1]
        seen = (columns[j][:, None] == np.arange(C, dtype=np.int8)) | (columns[j] < 0)[:, None]
        below.append(np.broadcast_to(seen.astype(np.float64), (K, rows, C)))
    sent: list[Any] = [None] * d
    total = np.broadcast_to(x.prior[:, None], (K, rows))
    for j in range(d - 1, -1, -1):  # contexts come before their children
        if most:
            sent[j] = (x.theta[j][:, None] * below[j][:, :, None]).max(axis=-1)
        else:
            sent[j] = below[j] @ x.theta[j].transpose(0, 2, 1)
        if x.parents[j] >= 0:
            below[x.parents[j]] = below[x.parents[j]] * sent[j]
        else:
            total = total * sent[j][..., 0]
    return below, sent, columns, total


@_peer("log_prob_missing", "numpy", "sum-product in blocks")
def _(w: Workload, x: SimpleNamespace) -> Call:
    x = SimpleNamespace(**{**vars(x), "prior": np.ones(w.K)})

    def run() -> Any:
        out = np.empty((w.n, w.K))
        for a, b in _blocks(w.n, IN_SECOND_CACHE):
            np.log(_messages(x, a, b)[3].T, out=out[a:b])
        return out

    return run


@_peer("marginals", "numpy", "sum-product both ways in blocks")
def _(w: Workload, x: SimpleNamespace) -> Call:
    return lambda: _numpy_marginals(w, x)


def _numpy_marginals(w: Workload, x: SimpleNamespace) -> list[np.ndarray]:
    out = [np.empty((w.n, w.C)) for _ in range(w.d)]
    for a, b in _blocks(w.n, IN_SECOND_CACHE):
        below, sent, _, total = _messages(x, a, b)
        weight = total / total.sum(axis=0)
        belief: list[Any] = [None] * w.d
        for j, parent in enumerate(x.parents):
            above = weight[..., None] / sent[j] if parent < 0 else belief[parent] / sent[j]
            belief[j] = (above @ x.theta[j]) * below[j]
            belief[j].sum(axis=0, out=out[j][a:b])
    return out


@_peer("complete", "numpy", "messages, then draws or maxima from the root, in blocks")
def _(w: Workload, x: SimpleNamespace) -> Call:
    rng = np.random.default_rng(SEED)
    most = w.layout == "mode"

    def choose(weights: np.ndarray) -> np.ndarray:
        if most:
            return weights.argmax(axis=-1)
        levels = weights.cumsum(axis=-1)
        return (rng.random(len(levels))[:, None] * levels[:, -1:] >= levels[:, :-1]).sum(axis=-1)

    def run() -> Any:
        out = x.X.astype(np.uint8)
        for a, b in _blocks(w.n, IN_SECOND_CACHE):
            below, _, columns, total = _messages(x, a, b, most)
            y, filled = choose(total.T), columns.astype(np.intp)
            for j, parent in enumerate(x.parents):
                gone = np.flatnonzero(columns[j] < 0)
                of_class = y[gone]
                context = filled[parent, gone] if parent >= 0 else 0
                filled[j, gone] = choose(x.theta[j][of_class, context] * below[j][of_class, gone])
            out[a:b] = filled.T
        return out

    return run


@_peer("fit_missing", "numpy", "EM by sum-product in blocks")
def _(w: Workload, x: SimpleNamespace) -> Call:
    def run() -> Any:
        counts = [x.available[j].reshape(w.K, -1, w.C) + 1.0 for j in range(w.d)]
        whole = (x.X >= 0).all(axis=1)
        classes = x.y if w.K > 1 else np.zeros(w.n, np.intp)
        rows = [x.X[~whole & (classes == k)] for k in range(w.K)]
        known = [np.zeros((w.K, 1 if parent < 0 else w.C, w.C)) for parent in x.parents]
        for j, parent in enumerate(x.parents):
            context = x.X[whole, parent] if parent >= 0 else 0
            np.add.at(known[j], (classes[whole], context, x.X[whole, j]), 1.0)
        theta = [c / c.sum(axis=-1, keepdims=True) for c in counts]
        for _ in range(x.iterations):
            counts = [c.copy() for c in known]
            for k in range(w.K):
                one = SimpleNamespace(
                    X=rows[k], prior=np.ones(1), parents=x.parents, theta=[t[k : k + 1] for t in theta]
                )
                for a, b in _blocks(len(rows[k]), IN_SECOND_CACHE):
                    below, sent, *_ = _messages(one, a, b)
                    belief: list[Any] = [None] * w.d
                    for j, parent in enumerate(x.parents):
                        above = 1.0 / sent[j][0] if parent < 0 else belief[parent] / sent[j][0]
                        belief[j] = (above @ one.theta[j][0]) * below[j][0]
                        counts[j][k] += (above.T @ below[j][0]) * one.theta[j][0]
            theta = [(c + ALPHA) / (c + ALPHA).sum(axis=-1, keepdims=True) for c in counts]
        return theta

    return run


def _agrum_tree(w: Workload, x: SimpleNamespace) -> tuple[Any, Any, list[str]]:
    agrum = _import("pyagrum")
    net, names = agrum.BayesNet(), [f"x{j}" for j in range(w.d)]
    for name, size in [*((name, w.C) for name in names), ("y", w.K)]:
        net.add(agrum.LabelizedVariable(name, name, size))
    net.cpt("y").fillWith(x.prior.tolist())
    for j, parent in enumerate(x.parents):
        net.addArc("y", names[j])
        if parent >= 0:
            net.addArc(names[parent], names[j])
        cpt = net.cpt(names[j])
        for y in range(w.K):
            for context in range(w.C if parent >= 0 else 1):
                cpt[{"y": y} | ({names[parent]: context} if parent >= 0 else {})] = x.theta[j][y, context].tolist()
    return agrum, net, names


FEW_ROWS = 20  # that a tool which takes one at a time is given


def _evidence(x: SimpleNamespace, names: list[str]) -> list[dict[str, int]]:
    return [{names[j]: int(c) for j, c in enumerate(row) if c >= 0} for row in x.X[:FEW_ROWS]]


@_peer("marginals", "pyAgrum", "LazyPropagation, row by row")
def _(w: Workload, x: SimpleNamespace) -> tuple[Call, int]:
    agrum, net, names = _agrum_tree(w, x)
    inference, evidence = agrum.LazyPropagation(net), _evidence(x, names)

    def run() -> Any:
        out = np.empty((len(evidence), w.d, w.C))
        for row, seen in zip(out, evidence, strict=True):
            inference.setEvidence(seen)
            inference.makeInference()
            for j, name in enumerate(names):
                row[j] = inference.posterior(name).toarray()
        return list(out.transpose(1, 0, 2))

    return run, len(evidence) * w.d


@_peer("log_prob_missing", "pyAgrum", "LazyPropagation.evidenceProbability, row by row")
def _(w: Workload, x: SimpleNamespace) -> tuple[Call, int]:
    agrum, net, names = _agrum_tree(w, x)
    inference, evidence = agrum.LazyPropagation(net), _evidence(x, names)

    def run() -> Any:
        out = np.empty((len(evidence), w.K))
        for row, seen in zip(out, evidence, strict=True):
            for k in range(w.K):
                inference.setEvidence(seen | {"y": k})
                row[k] = np.log(inference.evidenceProbability() / x.prior[k])
        return out

    return run, len(evidence) * w.d * w.K


@_peer("marginals", "pgmpy", "VariableElimination.query, row by row")
def _(w: Workload, x: SimpleNamespace) -> tuple[Call, int]:
    factors, inference = _import("pgmpy.factors.discrete"), _import("pgmpy.inference")
    models = _import("pgmpy.models")
    names = [f"x{j}" for j in range(w.d)]
    arcs = [(names[parent], names[j]) for j, parent in enumerate(x.parents) if parent >= 0]
    net = models.DiscreteBayesianNetwork([*arcs, *(("y", name) for name in names)])
    net.add_cpds(factors.TabularCPD("y", w.K, x.prior[:, None].tolist()))
    for j, parent in enumerate(x.parents):
        given, sizes = (["y"], [w.K]) if parent < 0 else (["y", names[parent]], [w.K, w.C])
        net.add_cpds(factors.TabularCPD(names[j], w.C, x.theta[j].reshape(-1, w.C).T.tolist(), given, sizes))
    elimination, evidence = inference.VariableElimination(net), _evidence(x, names)[:2]

    def run() -> Any:
        out = np.zeros((len(evidence), w.d, w.C))
        for row, seen in zip(out, evidence, strict=True):
            for j, name in enumerate(names):
                if name in seen:
                    row[j, seen[name]] = 1.0
                else:
                    row[j] = elimination.query([name], seen, show_progress=False).values
        return list(out.transpose(1, 0, 2))

    return run, len(evidence) * w.d


# mutual_information of all pairs --------------------------------------------------------------------------------------


def _of_pairs_in_blocks(w: Workload, x: SimpleNamespace, terms: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Call:
    """The sums of the terms of p and q, that of independent features, over the cells of every pair."""
    counts = x.pairs.values.reshape(-1, w.C, w.C)

    def run() -> Any:
        out = np.empty(len(counts))
        for a, b in _blocks(len(counts), max(1, IN_CACHE // w.C**2)):
            p = counts[a:b] / counts[a:b].sum(axis=(1, 2), keepdims=True)
            q = p.sum(axis=2, keepdims=True) * p.sum(axis=1, keepdims=True)
            out[a:b] = terms(p, q).sum(axis=(1, 2))
        return out

    return run


@_peer("mutual_information", "numpy", "logarithms of all cells in blocks of pairs")
def _(w: Workload, x: SimpleNamespace) -> Call:
    return _of_pairs_in_blocks(w, x, lambda p, q: p * np.log(np.divide(p, q, out=np.ones_like(p), where=p > 0)))


@_peer("mutual_information", "scipy", "rel_entr in blocks of pairs")
def _(w: Workload, x: SimpleNamespace) -> Call:
    return _of_pairs_in_blocks(w, x, _import("scipy.special").rel_entr)


@_peer("mutual_information", "scikit-learn", "mutual_info_score, pair by pair")
def _(w: Workload, x: SimpleNamespace) -> tuple[Call, int]:
    score = _import("sklearn.metrics").mutual_info_score
    counts = x.pairs.values.reshape(-1, w.C, w.C)[:20]
    return lambda: np.array([score(None, None, contingency=table) for table in counts]), len(counts)


# Whether these agree --------------------------------------------------------------------------------------------------


def _close(a: Any, b: Any) -> bool:
    """Of as much as the second, whose tool may have been given fewer rows."""
    return all(np.allclose(np.asarray(p)[: len(q)], q, rtol=1e-9, atol=1e-12) for p, q in zip(a, b, strict=True))


def _same_scores(w: Workload, x: SimpleNamespace, ours: Any, theirs: Any) -> bool:
    scores = np.asarray(ours).reshape(w.n, w.K)[: len(theirs)]
    return bool(np.allclose(scores, np.asarray(theirs).reshape(len(scores), w.K), rtol=1e-9, atol=0.0))


def _same_information(w: Workload, x: SimpleNamespace, ours: Any, theirs: Any) -> bool:
    theirs = theirs[np.triu_indices(w.d, 1)] if theirs.ndim == 2 else theirs
    return bool(np.allclose(ours[np.triu_indices(w.d, 1)][: len(theirs)], theirs, rtol=1e-9, atol=1e-12))


def _same_tables(w: Workload, x: SimpleNamespace, ours: Any, theirs: Any) -> bool:
    return all(np.allclose(np.ravel(a), np.ravel(b), rtol=1e-9, atol=1e-9) for a, b in zip(ours, theirs, strict=True))


def _both_complete(w: Workload, x: SimpleNamespace, ours: Any, theirs: Any) -> bool:
    """Observed cells are kept, codes in range; modes are equally likely, draws as frequent as the marginals say."""
    for filled in (ours, theirs):
        if filled.max() >= w.C or not np.array_equal(filled[x.X >= 0], x.X[x.X >= 0]):
            return False
    if w.layout == "mode":
        best = [_best_log_prob(x, filled) for filled in (ours, theirs)]
        return bool(np.allclose(*best, rtol=1e-9, atol=0.0))
    gone = x.X < 0
    for j, p in enumerate(_numpy_marginals(w, x)):
        p = p[gone[:, j]]
        spread = np.sqrt((p * (1 - p)).sum(axis=0))
        for filled in (ours, theirs):
            met = np.bincount(filled[gone[:, j], j], minlength=w.C)
            if (np.abs(met - p.sum(axis=0)) > 6 * spread + 6).any():  # of a fair draw once in millions of runs
                return False
    return True


def _best_log_prob(x: SimpleNamespace, filled: np.ndarray) -> np.ndarray:
    """log p(row, class) of the most probable class of complete rows."""
    total = np.repeat(np.log(x.prior)[:, None], len(filled), axis=1)
    for j, parent in enumerate(x.parents):
        total += np.log(x.theta[j])[:, filled[:, parent] if parent >= 0 else 0, filled[:, j]]
    return total.max(axis=0)


_AGREE: dict[str, Callable[[Workload, SimpleNamespace, Any, Any], bool]] = {
    "log_prob_missing": _same_scores,
    "marginals": lambda w, x, ours, theirs: _close(ours, theirs),
    "complete": _both_complete,
    "fit_missing": _same_tables,
    "mutual_information": _same_information,
}
