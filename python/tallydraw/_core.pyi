"""The contract of both backends: `_core` (C++) and `_numba` have exactly these functions.

Arguments arrive checked: lengths fit, dtypes are as written, `threads` is at least 1. Arrays are C-contiguous but for
`X` (codes of any integer dtype and strides). A returned int is the first bad cell in row-major order (row * d + column),
or -1; outputs are then unspecified. Outputs are written, never allocated, by a kernel.
"""

import numpy as np
from numpy.typing import NDArray

from tallydraw._levels import Levels
from tallydraw._structure import Structure
from tallydraw._totals import Totals

Codes = NDArray[np.integer]
Counts = NDArray[np.int64]
Floats = NDArray[np.float64]
Outcomes = NDArray[np.unsignedinteger]  # the smallest unsigned dtype that holds every outcome
Guide = NDArray[np.uint8] | NDArray[np.uint32]

# backend
def instruction_sets() -> list[str]: ...
def instruction_set() -> str: ...
def use_instruction_set(name: str) -> None: ...
def max_threads() -> int: ...
def philox(counters: NDArray[np.uint32], key: int) -> NDArray[np.uint32]: ...

# elementary: our own logs and exps, under 1 ulp, the same bits everywhere
def log(x: Floats, out: Floats) -> None: ...  # flat; log 0 = -inf
def exp(x: Floats, out: Floats) -> None: ...
def divergence_terms(p: Floats, q: Floats, log_q: Floats, out: Floats) -> None: ...  # flat: p log(p / q) - p + q
def log_scaled(x: Floats, exponent: Counts, out: Floats) -> None: ...  # log(x * 2**exponent), |exponent| < 2**53
def row_sums(x: Floats, out: Floats) -> bool: ...  # (n, C) -> (n,), left to right; if no cell is negative or NaN
def log_sum_exp(x: Floats, out: Floats, threads: int) -> None: ...  # (n, K) -> (n,), left to right; -inf if all are
def posterior(
    x: Floats, prior: Floats, evidence: Floats | None, out: Floats, threads: int
) -> None: ...  # (n, K), (K,) -> (n, K); all -inf: prior; evidence (n,): what log_sum_exp gives
def log_posterior(x: Floats, log_prior: Floats, out: Floats, threads: int) -> None: ...  # (n, K), (K,) -> (n, K)

# information of pairs of features: structure of roots, pair_begins and counts as count_pairs leaves them
def pair_information(
    structure: Structure, pair_begins: Counts | None, counts: Counts | Floats, by_size: Counts, pseudocounts: Floats,
    first: int, last: int, information: Floats, seen: Floats | None, threads: int,
) -> None: ...  # of the pairs i < j with first <= i < last: seen[p] the sum of the counts, information[p] -inf where it
                # is zero, else I(i; j), with several classes I(i; j | y), of the counts with the lesser of
                # pseudocounts[i], pseudocounts[j] in each cell; every sum from left to right over the cells; by_size:
                # the features sorted by n_categories, stably
def spanning_forest(gain: Floats, root: int, parents: Counts) -> None: ...  # gain of every pair as above, -inf: no arc;
                # the maximum spanning forest, of equal gains the first pair; the tree with root is rooted there, the
                # others at their least vertex; parents (d,), -1 for a root
def information_forest(
    structure: Structure, counts: Counts | Floats, pseudocounts: Floats, root: int, parents: Counts, threads: int
) -> None: ...  # the forest of what pair_information says, of features of two categories without a class
def row_probabilities(structure: Structure, weights: Counts | Floats, more: float, theta: Floats) -> bool: ...
                # theta: rows of weights + more, ones where all are zero, divided by their sums; weights become the
                # numerators; False, and no theta, where a row is negative, not finite, or integers of 2**62 and more

# count: adds to `counts`
def count_features(
    X: Codes, y: Counts | None, missing: int | None, unseen_is_missing: bool, structure: Structure, counts: Counts, threads: int
) -> int: ...
def count_features_weighted(
    X: Codes, y: Counts | None, missing: int | None, unseen_is_missing: bool, structure: Structure,
    weights: Floats, counts: Floats, threads: int,
) -> int: ...  # fmt: skip
def count_features_soft(
    X: Codes, missing: int | None, unseen_is_missing: bool, structure: Structure, lane_offsets: Counts, weights: Floats,
    lanes: Floats, threads: int,
) -> int: ...  # weights (n, K): row r adds weights[r, k] to class k of every cell; lanes: sums (Structure.lane_offsets)
def collect_lanes(structure: Structure, lanes: Floats, lane_offsets: Counts, tables: Floats) -> None: ...  # to flat tables
def count_pairs(
    X: Codes, y: Counts | None, missing: int | None, unseen_is_missing: bool, structure: Structure,
    pair_begins: Counts | None, marginals: Counts, counts: Counts, fresh: bool, threads: int,
) -> int: ...  # structure of roots; pairs i < j in lexicographic order: ([K,] C_i, C_j) from pair_begins[i] +
               # C_i * structure.offsets[j] on, None: all C are equal; fresh: marginals and counts hold nothing yet and are written
def count_pairs_weighted(
    X: Codes, y: Counts | None, missing: int | None, unseen_is_missing: bool, structure: Structure, pair_begins: Counts | None,
    weights: Floats, marginals: Floats, counts: Floats, threads: int,
) -> int: ...  # weights (n, W): with y W is 1; without y n_classes is W, and column w is added to block w of every table
def tree_tables(
    structure: Structure, pair_begins: Counts | None, pairs: Counts | Floats, marginals: Counts | Floats,
    parents: Counts, layout: Counts, tables: Counts | Floats,
) -> None: ...  # writes the tables of a tree from what count_pairs leaves, and its n_contexts, order, offsets,
                # context_begin and context, one after the other, to layout
def group_codes(
    X: Codes, missing: int | None, unseen_is_missing: bool, structure: Structure, groups: Counts, n_codes: Counts,
    out: NDArray[np.uint8], threads: int,
) -> None: ...  # valid X; out (n, G): group g, features groups[g] to groups[g + 1] - 1, as one mixed-radix number, the first
                # feature's code changing fastest; n_codes (d,): C_j, or C_j + 1 where some are missing, whose code is C_j
def count_posterior(
    codes: NDArray[np.uint8], structure: Structure, groups: Counts, n_codes: Counts, theta: Floats, prior: Floats,
    halvings: int, weights: Floats | None, grid: float, evidence: Floats, mass: Floats, counts: Floats | None,
    threads: int,
) -> None: ...  # what group_codes gives; flat theta and prior (K,), positive ones at least 2**-halvings (128 at most);
                # posteriors times weights, + grid - grid, are added to mass (K,) and flat counts (None: to neither);
                # evidence (n,). Only where these sums are exact
def count_shares(
    codes: NDArray[np.uint8], structure: Structure, groups: Counts, n_codes: Counts, shares: Floats,
    weights: Floats | None, grid: float, mass: Floats, counts: Floats, threads: int,
) -> None: ...  # the same of posteriors that are given: shares (n, K)
def count_expected(
    X: Codes, missing: int | None, unseen_is_missing: bool, structure: Structure, probabilities: Floats, plain: bool,
    weights: Floats, block_rows: int, counts: Floats, threads: int,
) -> None: ...  # adds weights[r, k] * p(context, x_j | what is seen of row r, class k), weights (n, K); each block of
                # block_rows rows is summed in order of the rows, the blocks in theirs; codes are checked already
def count_transitions(
    x: Codes, offsets: Counts, y: Counts | None, n_states: int, order: int, counts: Counts, threads: int
) -> int: ...  # x flat; pieces x[offsets[i]:offsets[i + 1]] of class y[i]; a negative state breaks a piece;
                # counts ([K,] C, …, C); bad: index into x of a state >= n_states

# sample: a draw is a pure function of (key, row, feature)
def row_levels(weights: Counts | Floats, level: NDArray[np.uint64]) -> bool: ...  # (R, C) both; False: no such weights
def build_guides(
    structure: Structure, level: NDArray[np.uint64], guide_offsets: Counts, guide_bits: Counts,
    high: NDArray[np.uint32], guide: Guide,
) -> None: ...  # uint8 or uint32; entry i of a table row: the first c with i * 2**(64 - bits) < L_c
def sample_categories(
    levels: Levels, n_categories: int, rows: Counts | None, purpose: int, key: int, start: int, out: Outcomes, threads: int
) -> None: ...  # flat draws start, start + 1, …; draw t from table row rows[t - start], or row 0
def sample_one(level: NDArray[np.uint64], key: int, draw: int) -> int: ...  # flat draw of purpose 1; level (C,)
def sample_features(
    structure: Structure, levels: Levels, y: Counts | None, only: int, key: int, start: int, out: Outcomes, threads: int
) -> None: ...  # out (n, d); only >= 0: just the rows of this class, whose tables these are; -1: all rows
def complete_features(
    X: Codes, y: Counts | None, missing: int | None, unseen_is_missing: bool, structure: Structure,
    probabilities: Floats, plain: bool, level: NDArray[np.uint64], only: int, maximize: bool, key: int, start: int,
    out: Outcomes, threads: int,
) -> None: ...  # out (n, d): missing cells drawn given the others (purpose 0), or the most probable ones; codes are
                # checked already, every row is possible under its class; only as in sample_features
def sample_paths(
    structure: Structure, levels: Levels, y: Counts | None, initial: Counts | None, key: int, start: int, step: int,
    out: Outcomes, threads: int,
) -> None: ...  # structure of a homogeneous chain: features 0 … k - 1 start, feature k is every later step; out (n, T):
                # steps step … step + T - 1; initial (n, k): the first k states, or the k before step > 0 (then step >= k)
def sample_rows(
    weights: Floats | Counts, rows: Counts | None, key: int, start: int, out: Outcomes, threads: int
) -> int: ...  # weights (B, C) float64 or int64; one draw from row t, or rows[t]; bad: b * C + c of the first bad weight
                # met, or b * C + C where row b sums to zero (int64: or past 2**63 - 1)
def sample_counts(
    level: NDArray[np.uint64], rows: Counts, totals: Counts, key: int, start: int, out: Counts, threads: int
) -> None: ...  # level (R, C): multinomial counts of totals[t] draws from row rows[t]; out (n, C)
def sample_shares(
    key: int, attempt: int, start: int, out: Floats, threads: int
) -> None: ...  # rows start, start + 1, … of the stream of starts, (n, K): uniform on the simplex

# log_prob: float64 sums, left to right over the features of a row
def lay_out_logs(
    structure: Structure, probabilities: Floats, lane_offsets: Counts, lanes: Floats, threads: int
) -> None: ...  # the logs of flat probabilities as class lanes (Structure.lane_offsets); zeros for missing cells
def log_prob_features(
    X: Codes, missing: int | None, unseen_is_missing: bool, structure: Structure, lanes: Floats, lane_offsets: Counts,
    first: Floats, incomplete: NDArray[np.uint8], out: Floats, threads: int,
) -> int: ...  # out (n, K); sums begin at first[k]; incomplete (n,): 1 where a cell is missing; lanes: logs
def log_prob_messages(
    X: Codes, missing: int | None, unseen_is_missing: bool, structure: Structure, probabilities: Floats, plain: bool,
    cells: Floats, logs: Floats, log_offsets: Counts, totals: Totals | None, first: Floats, maximize: bool, rows: Counts,
    out: Floats, threads: int,
) -> int: ...  # only out[rows], rows ascending: missing cells summed out, or at their most probable values; bad: of these
               # rows; plain: every positive probability is at least 2**-500, and totals (both are hints: the result does
               # not depend on them); cells: the probabilities, feature j from log_offsets[j] on, (C_j, n_contexts[j], K)
def marginals_features(
    X: Codes, missing: int | None, unseen_is_missing: bool, structure: Structure, probabilities: Floats, plain: bool,
    weights: Floats, out: Floats, threads: int,
) -> None: ...  # out: p(x_j | what is seen), (n, C_j) of one feature after the other, classes weighted by weights (n, K);
                # codes are checked already
def log_prob_paths(
    x: Codes, offsets: Counts, structure: Structure, probabilities: Floats, logs: Floats, log_offsets: Counts,
    use_start: bool, first: Floats, out: Floats, threads: int,
) -> int: ...  # structure as for sample_paths; out (n, K), sums begin at first[k]; without use_start the first `order`
                # states are given; bad: index into x of a state >= n_states, or, where the order is not 1, a missing one
