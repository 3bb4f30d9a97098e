"""Slow, obvious reference of every kernel, in plain Python loops: both backends must equal it with ==.

Written from the contracts, not from the kernels; imports nothing of tallydraw.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

MASK = 2**64 - 1

# Philox -----------------------------------------------------------------------------------------------------------


def philox(counter: tuple[int, int, int, int], key: int) -> tuple[int, int, int, int]:
    """Philox4x32-10 of one counter of 32-bit words, least significant first."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & 0xFFFFFFFF, (a >> 32) ^ c3 ^ k1, a & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniform(key: int, row: int, feature: int, purpose: int) -> int:
    """The 64-bit uniform of a draw, clamped to 2**64 - 2."""
    words = [
        philox((row & 0xFFFFFFFF, row >> 32, feature // 4, 2 * purpose + part), key)[feature % 4] for part in (0, 1)
    ]
    return min(words[0] << 32 | words[1], MASK - 1)


def flat_uniform(key: int, t: int, purpose: int) -> int:
    """The uniform of flat draw t: word t mod 4 of row t div 4."""
    return uniform(key, t // 4, t % 4, purpose)


# Elementary functions ---------------------------------------------------------------------------------------------

LOG2_HIGH, LOG2_LOW = float.fromhex("0x1.62e43p-1"), float.fromhex("-0x1.05c610ca86c39p-29")
ROOT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
# (2 artanh(s) - 2 s) / s^3 in s^2, and (exp(r) - 1 - r) / r^2 in r, constant term first.
LOG_COEFFICIENTS = [
    float.fromhex(h)
    for h in (
        "0x1.5555555555555p-1",
        "0x1.9999999999a38p-2",
        "0x1.2492492476b9cp-2",
        "0x1.c71c720177545p-3",
        "0x1.745cf8f913e58p-3",
        "0x1.3b1c3796d992ap-3",
        "0x1.0fbe5e91f30d8p-3",
        "0x1.0c05b50f790bfp-3",
    )
]
EXP_COEFFICIENTS = [
    float.fromhex(h)
    for h in (
        "0x1p-1",
        "0x1.5555555555557p-3",
        "0x1.555555555554ep-5",
        "0x1.11111111100eep-7",
        "0x1.6c16c16c1a074p-10",
        "0x1.a01a01abdf052p-13",
        "0x1.a01a0190621d2p-16",
        "0x1.71de024b3455ap-19",
        "0x1.27e510dabd6b3p-22",
        "0x1.af4db8c3be709p-26",
        "0x1.1f19f3ef24508p-29",
    )
]


def polynomial(coefficients: list[float], x: float) -> float:
    """Horner's rule, from the highest term."""
    value = coefficients[-1]
    for c in coefficients[-2::-1]:
        value = c + x * value
    return value


def fast_sum(a: float, b: float) -> tuple[float, float]:
    """a + b and what rounding took away, |a| >= |b| or a = 0."""
    total = a + b
    return total, (a - total) + b


def log_scaled(x: float, exponent: int) -> float:
    """log(x * 2**exponent)."""
    if not x > 0.0:
        return -math.inf if x == 0.0 else math.nan
    if x == math.inf:
        return math.inf
    m, k = math.frexp(x)
    if m < ROOT_HALF:
        m, k = 2 * m, k - 1
    f = m - 1.0
    s = f / (2.0 + f)
    r = s * s * polynomial(LOG_COEFFICIENTS, s * s)
    # f^2/2 in two parts, the first exact: from the 26 leading bits of f.
    f_mantissa, f_exponent = math.frexp(f)
    f_high = math.ldexp(math.trunc(f_mantissa * 2**26), f_exponent - 26)
    half_high, half_low = 0.5 * (f_high * f_high), 0.5 * ((f - f_high) * (f + f_high))
    tail = s * ((half_high + half_low) + r) - half_low
    # k log 2 + f - f^2/2, unrounded but for k * LOG2_LOW.
    scale = float(k + exponent)
    k1 = (scale + 1.5 * 2.0**84) - 1.5 * 2.0**84
    product, low1 = fast_sum(k1 * LOG2_HIGH, (scale - k1) * LOG2_HIGH)
    total, low2 = fast_sum(product, f)
    total, low3 = fast_sum(total, -half_high)
    return total + (((low3 + (low2 + low1)) + scale * LOG2_LOW) + tail)


def log(x: float) -> float:
    """Natural logarithm."""
    return log_scaled(x, 0)


def exp(x: float) -> float:
    """Exponential."""
    if math.isnan(x):
        return math.nan
    x = min(max(x, -746.0), 710.0)
    n = round(x * float.fromhex("0x1.71547652b82fep+0"))
    a, b = x - n * LOG2_HIGH, n * LOG2_LOW
    r = a - b
    r_rest = (a - r) - b
    total, rest = fast_sum(1.0, r)
    m = total + (rest + (r_rest + (r * r) * polynomial(EXP_COEFFICIENTS, r)))
    half = (n + 2046) // 2
    return (m * 2.0 ** (half - 1023)) * 2.0 ** (n + 1023 - half)


def divergence_term(p: float, q: float, log_q: float) -> float:
    """p log(p / q) - p + q."""
    t = (p - q) / q if q != 0.0 else math.inf
    if abs(t) < 1 / 16:
        series = polynomial([(-1.0) ** n / ((n + 1) * (n + 2)) for n in range(14)], t)
        return q * (t * t * series)
    return p * (min(log(p), 0.0) - log_q if p > 0.0 else 0.0) - p + q


# Information of pairs of features -----------------------------------------------------------------------------------


def pair_information(table, more):
    """(sum of the counts, I(i; j | y) of the counts and `more` in each cell) of nested lists [class][a][b].

    The second is -inf where the first is zero. Every sum runs from left to right.
    """
    classes, rows, columns = range(len(table)), range(len(table[0])), range(len(table[0][0]))
    cells = [(y, a, b) for y in classes for a in rows for b in columns]
    seen = total = 0.0
    for y, a, b in cells:
        seen += float(table[y][a][b])
        total += float(table[y][a][b]) + more
    if seen == 0.0:
        return seen, -math.inf
    p = {(y, a, b): (float(table[y][a][b]) + more) / total for y, a, b in cells}
    of_row, of_column, of_class = {}, {}, {}
    for y in classes:
        for a in rows:
            of_row[y, a] = running_sums([p[y, a, b] for b in columns])[-1]
        for b in columns:
            of_column[y, b] = running_sums([p[y, a, b] for a in rows])[-1]
        of_class[y] = running_sums([of_row[y, a] for a in rows])[-1]
    terms = []
    for y, a, b in cells:
        q = of_row[y, a] * of_column[y, b]
        log_q = min(log(of_row[y, a]), 0.0) + min(log(of_column[y, b]), 0.0)
        if len(table) > 1 and of_class[y] > 0.0:
            q, log_q = q / of_class[y], log_q - min(log(of_class[y]), 0.0)
        terms.append(divergence_term(p[y, a, b], q, log_q))
    return seen, running_sums(terms)[-1]


def spanning_forest(gain, root):
    """Parents of the maximum spanning forest of a symmetric matrix: Kruskal, of equal gains the first pair i < j."""
    d = len(gain)
    group, neighbours = list(range(d)), [[] for _ in range(d)]
    for i, j in sorted(itertools.combinations(range(d), 2), key=lambda pair: (-gain[pair[0]][pair[1]], pair)):
        if gain[i][j] > -math.inf and group[i] != group[j]:
            group = [group[i] if g == group[j] else g for g in group]
            neighbours[i].append(j)
            neighbours[j].append(i)
    parents = [None] * d
    for start in [root, *range(d)]:
        if parents[start] is None:
            parents[start] = -1
            stack = [start]
            while stack:
                i = stack.pop()
                for j in neighbours[i]:
                    if parents[j] is None:
                        parents[j] = i
                        stack.append(j)
    return parents


def simplex_row(key: int, row: int, k: int, tag: int) -> list[float]:
    """-log u of k words of a row's cells, divided by their sum from left to right; u = (word + 1/2) / 2**32."""
    words = [philox((row & 0xFFFFFFFF, row >> 32, j // 4, tag), key)[j % 4] for j in range(k)]
    logs = [-log((word + 0.5) * 2.0**-32) for word in words]
    total = logs[0]
    for x in logs[1:]:
        total += x
    return [x / total for x in logs]


# Posteriors ---------------------------------------------------------------------------------------------------------


def shifted_exps(row: list[float]) -> tuple[float, list[float], float]:
    """(max, exp(x - max), their sum from left to right) of a row that is not all -inf."""
    most = max(row)
    exps = [exp(x - most) for x in row]
    total = 0.0
    for e in exps:
        total += e
    return most, exps, total


def log_sum_exp(row: list[float]) -> float:
    if all(x == -math.inf for x in row):
        return -math.inf
    most, _, total = shifted_exps(row)
    return most + log(total)


def posterior(row: list[float], prior: list[float]) -> list[float]:
    if all(x == -math.inf for x in row):
        return list(prior)
    _, exps, total = shifted_exps(row)
    return [e / total for e in exps]


def log_posterior(row: list[float], log_prior: list[float]) -> list[float]:
    if all(x == -math.inf for x in row):
        return list(log_prior)
    most, _, total = shifted_exps(row)
    return [(x - most) - log(total) for x in row]


Pair = tuple[float, int]


def products(row: list[int], theta: list[list[list[float]]], prior: list[float], begins: list[int]) -> list[Pair]:
    """[k] (x, e): prior[k] times the row's theta[j][k][code] is x 2^e; multiplied by groups. -1 is missing."""
    out = []
    for k, begin in enumerate(prior):
        x, e = math.frexp(begin)
        for a, b in itertools.pairwise(begins):
            factor = 1.0
            for j in range(a, b):
                factor *= theta[j][k][row[j]] if row[j] >= 0 else 1.0
            x, step = math.frexp(x * factor)
            e += step
        out.append((x, e))
    return out


def weighed_posterior(pairs: list[Pair], prior: list[float], weight: float, grid: float) -> tuple[float, list[float]]:
    """(log evidence, posterior times weight as a multiple of a unit) of the products of a row."""
    total, exponent = 0.0, 0
    plain = [math.ldexp(x, e) for x, e in pairs]
    for x in plain:
        total += x
    if total < 2.0**-800:  # far from subnormal numbers
        exponent = max((e for x, e in pairs if x > 0.0), default=0)
        plain = [math.ldexp(x, e - exponent) if x > 0.0 and exponent - e < 1000 else 0.0 for x, e in pairs]
        total = 0.0
        for x in plain:
            total += x
    if total == 0.0:
        return -math.inf, [(p * weight + grid) - grid for p in prior]
    return log_scaled(total, exponent), [(x * (weight / total) + grid) - grid for x in plain]


def group_codes(row: list[int], sizes: list[int], n_codes: list[int], begins: list[int]) -> list[int]:
    """One number for each group of features of a row, that of a missing cell being C_j; the first changes fastest."""
    numbers = []
    for a, b in itertools.pairwise(begins):
        z, factor = 0, 1
        for j in range(a, b):
            z += factor * (sizes[j] if row[j] < 0 else row[j])
            factor *= n_codes[j]
        numbers.append(z)
    return numbers


def count_posterior(
    codes: list[list[int]],
    theta: list[list[list[float]]],
    prior: list[float],
    begins: list[int],
    shares: list[list[float]] | None,
    weights: list[float],
    grid: float,
) -> tuple[list[float], list[Fraction], list[list[list[Fraction]]]]:
    """Log evidence of rows, and exact sums of their posteriors, or of `shares`: [k], and [j][k][code] of what is seen.

    theta[j][k][code]; groups of features begin at `begins`; a missing cell is -1.
    """
    mass = [Fraction(0)] * len(prior)
    counts = [[[Fraction(0)] * len(own) for own in table] for table in theta]
    evidence = []
    for r, (row, weight) in enumerate(zip(codes, weights, strict=True)):
        log_p, added = weighed_posterior(products(row, theta, prior, begins), prior, weight, grid)
        if shares is not None:
            added = [(share * weight + grid) - grid for share in shares[r]]
        evidence.append(log_p)
        for k, share in enumerate(added):
            mass[k] += Fraction(share)
            for j, z in enumerate(row):
                if z >= 0:
                    counts[j][k][z] += Fraction(share)
    return evidence, mass, counts


# Levels -----------------------------------------------------------------------------------------------------------

TOP = MASK  # 2**64, as it is stored


def integer_levels(row: Sequence[int]) -> list[int]:
    """floor(2**64 * (n_0 + ... + n_c) / N)."""
    total = sum(row)
    return [TOP if s == total else 2**64 * s // total for s in itertools.accumulate(row)]


def float_levels(row: Sequence[float]) -> list[int]:
    """2**64 where the running sum is the last one, else floor(2**64 * fl(S_c / S)); sums left to right in float64."""
    sums = running_sums(row)
    if math.isinf(sums[-1]):
        sums = running_sums([w * 2.0**-64 for w in row])
    return [TOP if s == sums[-1] else int(Fraction(s / sums[-1]) * 2**64) for s in sums]


def row_probabilities(row: Sequence[float], more: float) -> list[float]:
    """(n_c + more) / (N + C more); uniform where there is nothing."""
    weights = [w + more for w in row]
    if not any(weights):
        weights = [1.0] * len(row)
    total = running_sums(weights)[-1]
    return [w / total for w in weights]


def running_sums(row: Sequence[float]) -> list[float]:
    sums, total = [], 0.0
    for w in row:
        total += float(w)
        sums.append(total)
    return sums


def levels(row: Sequence[int] | Sequence[float]) -> list[int]:
    return integer_levels(row) if all(isinstance(w, int) for w in row) else float_levels(row)


def outcome(row_levels: Sequence[int], u: int) -> int:
    """The first c with u < L_c."""
    return next(c for c, level in enumerate(row_levels) if u < level)


# Count ------------------------------------------------------------------------------------------------------------


def context_of(parents: list[int] | None, j: int, order: int = 1) -> list[int]:
    """The nearest `order` ancestors of feature j, outermost first."""
    context: list[int] = []
    while parents is not None and parents[j] >= 0 and len(context) < order:
        j = parents[j]
        context.insert(0, j)
    return context


def count_features(X, y, n_categories, n_classes, parents, order, weights, missing, unseen_is_missing):
    """Nested dictionaries would do; a flat list in the layout of Tables.values is as plain. Or the first bad cell."""
    d = len(n_categories)
    contexts = [context_of(parents, j, order) for j in range(d)]
    offsets = [0]
    for j in range(d):
        cells = (n_classes or 1) * n_categories[j]
        for f in contexts[j]:
            cells *= n_categories[f]
        offsets.append(offsets[-1] + cells)
    counts = [0 if weights is None else 0.0] * offsets[-1]
    for i, row in enumerate(X):
        for j, value in enumerate(row):
            if value >= n_categories[j] and value != missing and not unseen_is_missing:
                return i, j
        for j in range(d):
            known = [f for f in [*contexts[j], j] if 0 <= row[f] < n_categories[f] and row[f] != missing]
            if len(known) < len(contexts[j]) + 1:
                continue
            cell = 0 if y is None else y[i]
            for f in known:
                cell = cell * n_categories[f] + row[f]
            counts[offsets[j] + cell] += 1 if weights is None else weights[i]
    return counts


def count_pairs(X, y, n_categories, n_classes, weights, missing, unseen_is_missing):
    """{(i, j): nested lists [class][a][b]} for i <= j, of all rows where both are known; or the first bad cell.

    weights[r] is what row r adds: one number to its class, or, where y is None, one to each of n_classes.
    """
    d, k = len(n_categories), n_classes or 1
    zero = 0 if weights is None else 0.0
    tables = {
        (i, j): [[[zero] * n_categories[j] for _ in range(n_categories[i])] for _ in range(k)]
        for i in range(d)
        for j in range(i, d)
    }
    for r, row in enumerate(X):
        for j, value in enumerate(row):
            if value >= n_categories[j] and value != missing and not unseen_is_missing:
                return r, j
        known = [j for j in range(d) if 0 <= row[j] < n_categories[j] and row[j] != missing]
        for i in known:
            for j in known:
                if i > j:
                    continue
                for c in range(k):
                    if y is not None and y[r] != c:
                        continue
                    weight = 1 if weights is None else weights[r][0 if y is not None else c]
                    tables[i, j][c][row[i]][row[j]] += weight
    return tables


def tree_tables(pairs, single, parents):
    """Flat tables of a tree from nested pairs[i, j][class][a][b], i < j, and single[j][class][b]."""
    flat = []
    for j, parent in enumerate(parents):
        for k, alone in enumerate(single[j]):
            if parent < 0:
                flat += alone
            elif parent < j:
                flat += [n for row in pairs[parent, j][k] for n in row]
            else:
                flat += [n for row in zip(*pairs[j, parent][k], strict=True) for n in row]
    return flat


def count_transitions(sequences, n_states, order):
    """A flat list in the layout (C,) * (order + 1)."""
    counts = [0] * n_states ** (order + 1)
    for sequence in sequences:
        for t in range(order, len(sequence)):
            window = sequence[t - order : t + 1]
            if all(state >= 0 for state in window):
                cell = 0
                for state in window:
                    cell = cell * n_states + state
                counts[cell] += 1
    return counts


# Sample: categories, features, paths --------------------------------------------------------------------------------


def sample_categories(
    rows: Sequence[Sequence[int]], which: Sequence[int], purpose: int, key: int, start: int
) -> list[int]:
    """Flat draws start, start + 1, ...; draw i from the levels rows[which[i]]."""
    return [outcome(rows[b], flat_uniform(key, start + i, purpose)) for i, b in enumerate(which)]


def sample_features(
    tables: Sequence[Sequence[Sequence[Sequence[int]]]],
    contexts: Sequence[Sequence[int]],
    sizes: Sequence[int],
    y: Sequence[int],
    key: int,
    start: int,
) -> list[list[int]]:
    """tables[j][class][context] is a row of levels; the context: the mixed-radix number of the codes of contexts[j]."""
    result = []
    for i, k in enumerate(y):
        row: dict[int, int] = {}
        while len(row) < len(tables):
            for j, context in enumerate(contexts):
                if j not in row and all(a in row for a in context):
                    code = 0
                    for a in context:
                        code = code * sizes[a] + row[a]
                    row[j] = outcome(tables[j][k][code], uniform(key, start + i, j, 0))
        result.append([row[j] for j in range(len(tables))])
    return result


def sample_paths(
    start_rows: Sequence[Sequence[Sequence[Sequence[int]]]],
    transition: Sequence[Sequence[Sequence[int]]],
    n_states: int,
    length: int,
    y: Sequence[int],
    initial: Sequence[Sequence[int]] | None,
    key: int,
    start: int,
) -> list[list[int]]:
    """start_rows[t][class][context of the steps before t] and transition[class][context of `order` states]: levels."""
    order = len(start_rows)
    result = []
    for i, k in enumerate(y):
        path: list[int] = []
        for t in range(length):
            u = uniform(key, start + i, t, 0)
            code = 0
            for state in path[max(0, t - order) :]:
                code = code * n_states + state
            if t >= order:
                path.append(outcome(transition[k][code], u))
            elif initial is not None:
                path.append(initial[i][t])
            else:
                path.append(outcome(start_rows[t][k][code], u))
        result.append(path)
    return result


# Sample: rows, counts -----------------------------------------------------------------------------------------------


def sample_rows(
    weights: Sequence[Sequence[int] | Sequence[float]], which: Sequence[int], key: int, start: int
) -> list[int]:
    """Flat draw start + i from the levels of row which[i]."""
    return [outcome(levels(weights[b]), flat_uniform(key, start + i, 1)) for i, b in enumerate(which)]


def count_uniforms(key: int, row: int, c: int, attempt: int) -> tuple[float, float]:
    """Two of 2**52 uniforms, midpoints of equal steps, from the one block of an attempt."""
    w = philox((row & 0xFFFFFFFF, row >> 32, c, attempt * 256 + 2 * 4), key)
    u, v = (((high << 32 | low) >> 12) + 0.5 for high, low in (w[:2], w[2:]))
    return u / 2**52, v / 2**52


def log_complement(p: float) -> float:
    """log(1 - p), the error of 1 - p undone."""
    y = 1.0 - p
    return -p if y == 1.0 else log(y) * (p / (1.0 - y))


# What Stirling's formula lacks for log (z - 1)!, z = 1 ... 10.
STIRLING = [
    0.08106146679532726,
    0.0413406959554093,
    0.02767792568499834,
    0.020790672103765093,
    0.016644691189821193,
    0.013876128823070748,
    0.01189670994589177,
    0.010411265261972096,
    0.009255462182712733,
    0.00833056343336287,
]


def stirling(z: float) -> float:
    if z <= 10.0:
        return STIRLING[int(z) - 1]
    y = 1.0 / z
    y2 = y * y
    return (1.0 / 12 - (1.0 / 360 - (1.0 / 1260 - (1.0 / 1680 - 1.0 / 1188 * y2) * y2) * y2) * y2) * y


def deviance(z: float, mean: float, d: float) -> float:
    """z log(z / mean) + mean - z, given d = z - mean."""
    v = d / (z + mean)
    v2 = v * v
    if v2 >= 0.01:
        return z * log(z / mean) - d
    return d * v + 2.0 * z * v * (v2 * polynomial([1.0 / k for k in range(3, 19, 2)], v2))


def stirling_sum(k: float, n: float, p: float, q: float) -> float:
    """Minus the log of the probability of k, but for a term half log and what does not depend on k."""
    mean, rest = (n + 2.0) * p, (n + 2.0) * q
    z, z_rest = k + 1.0, n - k + 1.0
    return deviance(z, mean, z - mean) + deviance(z_rest, rest, mean - z) + (stirling(z) + stirling(z_rest))


def binomial(trials: int, p: float, q: float, key: int, row: int, c: int) -> int:
    """Inversion below a mean of 10, else BTRS (Hoermann 1993); p <= 1/2."""
    n = float(trials)
    mean = n * p
    attempt = 0
    while mean < 10.0:
        u, _ = count_uniforms(key, row, c, attempt)
        attempt += 1
        probability, x = exp(n * log_complement(p)), 0
        odds = p / q
        while u > probability and x < min(110, n):
            u -= probability
            x += 1
            probability *= (n + 1.0) * odds * (1.0 / x) - odds
        if u <= probability:
            return x
    deviation = math.sqrt(mean * q)
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    mode = float(math.floor((n + 1.0) * p))
    while True:
        u, v = count_uniforms(key, row, c, attempt)
        attempt += 1
        us = 0.5 - abs(u - 0.5)
        k = math.floor((2.0 * a / us + b) * (u - 0.5) + (mean + 0.5))
        if not 0 <= k < n + 1.0:
            continue
        if us >= 0.07 and v * b <= 0.92 * b - 4.2:
            return k
        x = v * ((2.83 + 5.1 / b) * deviation) / (a / (us * us) + b)
        z_ratio = (mode + 1.0) / (k + 1.0) * ((n - mode + 1.0) / (n - k + 1.0))
        if x * x * z_ratio <= exp(2.0 * (stirling_sum(mode, n, p, q) - stirling_sum(float(k), n, p, q))):
            return k


def sample_counts(row_levels: Sequence[int], total: int, key: int, row: int) -> list[int]:
    """Conditional binomials from left to right."""
    counts, before, left = [], 0, total
    for c, level in enumerate(row_levels):
        level = 2**64 if level == TOP else level
        count = 0
        if level == 2**64:
            count = left
        elif left and level > before:
            whole = float(2**64 - before)
            p, q = float(level - before) / whole, float(2**64 - level) / whole
            if level - before <= 2**64 - level:
                count = binomial(left, p, q, key, row, c)
            else:
                count = left - binomial(left, q, p, key, row, c)
        counts.append(count)
        before, left = level, left - count
    return counts


# Log-probabilities --------------------------------------------------------------------------------------------------


def combined_codes(X, n_categories, parents, order, missing, unseen_is_missing):
    """(plain, combined) codes of every cell, None where missing; or the first bad cell."""
    d = len(n_categories)
    plain, combined = [], []
    for i, row in enumerate(X):
        known = []
        for j, value in enumerate(row):
            if 0 <= value < n_categories[j] and value != missing:
                known.append(value)
            elif value < 0 or value == missing or unseen_is_missing:
                known.append(None)
            else:
                return i, j
        plain.append(known)
        combined.append([])
        for j in range(d):
            cells = [*context_of(parents, j, order), j]
            z = 0
            for f in cells:
                z = None if z is None or known[f] is None else z * n_categories[f] + known[f]
            combined[-1].append(z)
    return plain, combined


def class_lanes(tables):
    """tables[j][z][k], the slot among the z, as class lanes: offsets and numbers."""
    offsets, flat = [0], []
    for table in tables:
        k = len(table[0])
        for c in range(0, k, 8):
            n = min(8, k - c)
            width = next(w for w in (1, 2, 4, 8) if w >= n)
            for row in table:
                flat += row[c : c + n] + [0.0] * (width - n)
        flat += [0.0] * (-len(flat) % 8)
        offsets.append(len(flat))
    return offsets, flat


def log_prob_features(combined, theta, first):
    """theta[k][j] flat probabilities of the combined codes of feature j. A missing cell adds nothing."""
    result = []
    for row in combined:
        sums = list(first)
        for k in range(len(first)):
            for j, z in enumerate(row):
                sums[k] += 0.0 if z is None else log(theta[k][j][z])
        result.append(sums)
    return result


def scaled(x: float, e: int = 0) -> tuple[float, int]:
    """x * 2**e as (m, e) with m in [1, 2), or (0, 0)."""
    if x == 0.0:
        return 0.0, 0
    m, k = math.frexp(x)
    return 2 * m, k - 1 + e


def scaled_product(a: tuple[float, int], b: tuple[float, int]) -> tuple[float, int]:
    return scaled(a[0] * b[0], a[1] + b[1])


def sum_of_products(p: Sequence[float], v: Sequence[tuple[float, int]]) -> tuple[float, int]:
    """Left to right, at the exponent of the largest product; products below 2**-1022 of it are 0."""
    terms = [t for t in (scaled_product(scaled(a), b) for a, b in zip(p, v, strict=True)) if t[0] > 0]
    if not terms:
        return 0.0, 0
    most = max(e for _, e in terms)
    total = 0.0
    for m, e in terms:
        if e - most >= -1022:
            total += math.ldexp(m, e - most)
    return scaled(total, most)


def parents_first(parents: list[int]) -> list[int]:
    """0, 1, … where every parent comes before its child; else level by level."""
    d = len(parents)
    if all(parents[j] < j for j in range(d)):
        return list(range(d))
    visit = [j for j in range(d) if parents[j] < 0]
    for j in visit:
        visit.extend(i for i in range(d) if parents[i] == j)
    return visit


def agreeing(x, features, n_categories):
    """Every combination of codes of `features` that agrees with the row x (None: missing), ascending."""
    return itertools.product(*(range(n_categories[f]) if x[f] is None else [x[f]] for f in features))


def number(codes, sizes):
    """Mixed radix, the last digit lowest."""
    z = 0
    for v, c in zip(codes, sizes, strict=True):
        z = z * c + v
    return z


class Messages:
    """The upward pass of one row x under one class: theta[j] flat, below[j][codes of the children's context]."""

    def __init__(self, x, theta, n_categories, parents, order, maximize=False):
        self.x, self.theta, self.n_categories, self.maximize = x, theta, n_categories, maximize
        d = len(x)
        self.visit = parents_first(parents)
        self.context = [context_of(parents, j, order) for j in range(d)]
        self.handed = [0] * d  # how many of the last codes of (context of j, j) the children of j depend on
        self.below: list[dict | None] = [None] * d  # None: no message
        self.total = [None] * d
        for j in range(d):
            if self.context[j]:
                self.handed[parents[j]] = len(self.context[j])
        for j in reversed(self.visit):
            if not self.touched(j) or (x[j] is None and self.below[j] is None and not maximize):
                continue
            if self.known(j):
                self.total[j] = self.sum_out(j, tuple(x[f] for f in self.context[j]))
                continue
            messages = {}
            for a in agreeing(x, self.context[j], n_categories):
                messages[a] = self.sum_out(j, a) if x[j] is None else self.entry(j, a, x[j])
            up = parents[j]
            if self.below[up] is not None:
                messages = {a: scaled_product(self.below[up][a], m) for a, m in messages.items()}
            self.below[up] = messages

    def known(self, j):
        return all(self.x[f] is not None for f in self.context[j])

    def touched(self, j):
        return self.x[j] is None or not self.known(j)

    def row(self, j, a):
        c = self.n_categories[j]
        begin = number(a, [self.n_categories[f] for f in self.context[j]]) * c
        return self.theta[j][begin : begin + c]

    def behind(self, j, a, v):
        """The message from below for context a and category v of j."""
        return self.below[j][(*a, v)[len(a) + 1 - self.handed[j] :]]

    def entry(self, j, a, v):
        p = scaled(self.row(j, a)[v])
        return p if self.below[j] is None else scaled_product(p, self.behind(j, a, v))

    def sum_out(self, j, a):
        c = self.n_categories[j]
        if not self.maximize:
            return sum_of_products(self.row(j, a), [self.behind(j, a, v) for v in range(c)])
        best = (0.0, 0)
        for v in range(c):
            m, e = self.entry(j, a, v)
            if m > 0 and (best[0] == 0 or (e, m) > (best[1], best[0])):
                best = m, e
        return best

    def weights(self, j, a):
        """theta(x | a) b_j(a, x), at the exponent of the largest."""
        terms = [self.entry(j, a, v) for v in range(self.n_categories[j])]
        most = max((e for m, e in terms if m > 0), default=0)
        return [math.ldexp(m, e - most) if m > 0 and e - most >= -1022 else 0.0 for m, e in terms]

    def beliefs(self):
        """(j, context, category, belief) of every touched feature, contexts first."""
        d = len(self.x)
        down: list[dict] = [{} for _ in range(d)]
        for j in self.visit:
            if not self.touched(j):
                continue
            for a in agreeing(self.x, self.context[j], self.n_categories):
                p = 1.0 if self.known(j) else down[self.context[j][-1]].get(a, 0.0)
                if p == 0.0:
                    continue
                if self.x[j] is not None:
                    told = [(self.x[j], p)]
                elif self.below[j] is None:
                    told = [(v, p * q) for v, q in enumerate(self.row(j, a))]
                else:
                    terms = self.weights(j, a)
                    total = running_sums(terms)[-1]
                    told = [(v, p * (t / total)) for v, t in enumerate(terms)] if total > 0 else []
                for v, q in told:
                    if self.handed[j]:
                        key = (*a, v)[len(a) + 1 - self.handed[j] :]
                        down[j][key] = down[j].get(key, 0.0) + q
                    yield j, a, v, q


def log_prob_messages(plain, combined, theta, n_categories, parents, first, order=1, maximize=False):
    """Sum-product, or max-product, on a tree. theta as for log_prob_features."""
    result = []
    for x, z in zip(plain, combined, strict=True):
        sums = list(first)
        for k in range(len(first)):
            m = Messages(x, theta[k], n_categories, parents, order, maximize)
            for j in range(len(n_categories)):
                added = 0.0 if m.total[j] is None else log_scaled(*m.total[j])
                sums[k] += added if m.touched(j) else log(theta[k][j][z[j]])
        result.append(sums)
    return result


def complete_features(plain, theta, levels, n_categories, parents, order, y, key, start, maximize=False):
    """levels[k][j][context number] is a row of levels."""
    result = []
    for r, x in enumerate(plain):
        m = Messages(x, theta[y[r]], n_categories, parents, order, maximize)
        row = list(x)
        for j in m.visit:
            if x[j] is not None:
                continue
            a = tuple(row[f] for f in m.context[j])
            u = uniform(key, start + r, j, 0)
            if maximize:
                weights = m.weights(j, a) if m.below[j] is not None else list(m.row(j, a))
                row[j] = weights.index(max(weights))
            elif m.below[j] is None:
                row[j] = outcome(levels[y[r]][j][number(a, [n_categories[f] for f in m.context[j]])], u)
            else:
                row[j] = outcome(float_levels(m.weights(j, a)), u)
        result.append(row)
    return result


def marginals_features(plain, theta, n_categories, parents, order, weights):
    result = []
    for r, x in enumerate(plain):
        out = [[1.0 if v == x[j] else 0.0 for v in range(c)] for j, c in enumerate(n_categories)]
        for k, w in enumerate(weights[r]):
            if w > 0:
                for j, _, v, q in Messages(x, theta[k], n_categories, parents, order).beliefs():
                    if x[j] is None:
                        out[j][v] += w * q
        result.append(out)
    return result


def count_expected(plain, combined, theta, n_categories, parents, order, weights, block_rows):
    """[k][j][cell] sums; each block's rows in order, then the blocks."""
    zeros = [[[0.0] * len(table) for table in tables] for tables in theta]
    counts = zeros
    for begin in range(0, len(plain), block_rows):
        sums = [[[0.0] * len(table) for table in tables] for tables in theta]
        for r in range(begin, min(len(plain), begin + block_rows)):
            for k, w in enumerate(weights[r]):
                m = Messages(plain[r], theta[k], n_categories, parents, order)
                for j, z in enumerate(combined[r]):
                    if z is not None:
                        sums[k][j][z] += w
                if w > 0:
                    for j, a, v, q in m.beliefs():
                        cell = number((*a, v), [n_categories[f] for f in [*m.context[j], j]])
                        sums[k][j][cell] += w * q
        counts = [
            [[a + b for a, b in zip(s, t, strict=True)] for s, t in zip(old, new, strict=True)]
            for old, new in zip(counts, sums, strict=True)
        ]
    return counts


def log_prob_paths(sequences, start, transition, use_start, first):
    """Order k: start[k][t] flat probabilities of states 0 … t, transition[k] flat; None = missing (order 1 only)."""
    result = []
    for x in sequences:
        sums = list(first)
        for k in range(len(first)):
            order = len(start[k])
            tables = [*start[k], transition[k]]
            c = len(start[k][0]) if order else len(transition[k])
            forward: list[tuple[float, int]] | None = None
            skipped = False
            for t, state in enumerate(x):
                if state is None:
                    if skipped or (t == 0 and not use_start):
                        skipped = True
                    elif forward is not None:
                        forward = [sum_of_products(transition[k][b::c], forward) for b in range(c)]
                    elif t == 0:
                        forward = [scaled(p) for p in start[k][0]]
                    else:
                        forward = [scaled(p) for p in transition[k][x[t - 1] * c : x[t - 1] * c + c]]
                    continue
                if forward is not None:
                    sums[k] += log_scaled(*sum_of_products(transition[k][state::c], forward))
                elif not skipped and (t >= order or use_start):
                    z = 0
                    for v in x[t - min(t, order) : t + 1]:
                        z = z * c + v
                    sums[k] += log(tables[min(t, order)][z])
                forward, skipped = None, False
        result.append(sums)
    return result
