"""The Numba backend: the kernels of `_core.pyi`, same names, arguments and bits, just-in-time compiled.

Imported only when this backend is chosen. Every twin stands in the module with the stem of its C++ header.
"""

from __future__ import annotations

from tallydraw._numba.build_levels import build_guides, row_levels
from tallydraw._numba.class_lanes import collect_lanes, lay_out_logs
from tallydraw._numba.complete_features import complete_features
from tallydraw._numba.count_expected import count_expected
from tallydraw._numba.count_features import count_features, count_features_soft, count_features_weighted
from tallydraw._numba.count_pairs import count_pairs
from tallydraw._numba.count_pairs_weighted import count_pairs_weighted
from tallydraw._numba.count_posterior import count_posterior, count_shares
from tallydraw._numba.count_transitions import count_transitions
from tallydraw._numba.elementary import divergence_terms, exp, log, log_scaled
from tallydraw._numba.group_codes import group_codes
from tallydraw._numba.information_forest import information_forest
from tallydraw._numba.log_prob_features import log_prob_features
from tallydraw._numba.log_prob_messages import log_prob_messages
from tallydraw._numba.log_prob_paths import log_prob_paths
from tallydraw._numba.marginals_features import marginals_features
from tallydraw._numba.pair_information import pair_information
from tallydraw._numba.parallel import max_threads
from tallydraw._numba.philox import philox
from tallydraw._numba.posterior import log_posterior, log_sum_exp, posterior
from tallydraw._numba.row_probabilities import row_probabilities
from tallydraw._numba.row_sums import row_sums
from tallydraw._numba.sample_categories import sample_categories, sample_one
from tallydraw._numba.sample_counts import sample_counts
from tallydraw._numba.sample_features import sample_features
from tallydraw._numba.sample_paths import sample_paths
from tallydraw._numba.sample_rows import sample_rows
from tallydraw._numba.sample_shares import sample_shares
from tallydraw._numba.spanning_forest import spanning_forest
from tallydraw._numba.tree_tables import tree_tables

__all__ = [
    "build_guides",
    "collect_lanes",
    "complete_features",
    "count_expected",
    "count_features",
    "count_features_soft",
    "count_features_weighted",
    "count_pairs",
    "count_pairs_weighted",
    "count_posterior",
    "count_shares",
    "count_transitions",
    "divergence_terms",
    "exp",
    "group_codes",
    "information_forest",
    "instruction_set",
    "instruction_sets",
    "lay_out_logs",
    "log",
    "log_posterior",
    "log_prob_features",
    "log_prob_messages",
    "log_prob_paths",
    "log_scaled",
    "log_sum_exp",
    "marginals_features",
    "max_threads",
    "pair_information",
    "philox",
    "posterior",
    "row_levels",
    "row_probabilities",
    "row_sums",
    "sample_categories",
    "sample_counts",
    "sample_features",
    "sample_one",
    "sample_paths",
    "sample_rows",
    "sample_shares",
    "spanning_forest",
    "tree_tables",
    "use_instruction_set",
]


def instruction_sets() -> list[str]:
    """LLVM compiles for the processor at hand."""
    return ["native"]


def instruction_set() -> str:
    return "native"


def use_instruction_set(name: str) -> None:
    if name != "native":
        raise ValueError("unknown or unsupported instruction set")
