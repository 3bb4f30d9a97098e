"""Count, sample and score discrete data, exactly and close to the speed of memory."""

from tallydraw import backend
from tallydraw.count import count_categories, count_features, count_pairs, count_rows, count_transitions
from tallydraw.dirichlet import estimate_alpha
from tallydraw.information import (
    conditional_entropy,
    cross_entropy,
    entropy,
    kl_divergence,
    kl_divergence_estimate,
    mutual_information,
    novelty,
)
from tallydraw.log_prob import log_prob_features, log_prob_paths
from tallydraw.models import Categorical, ChowLiuTree, JointTable, MarkovChain, Mixture, Model, NaiveBayes
from tallydraw.pairs import PairTables
from tallydraw.sample import (
    STREAM_VERSION,
    Sampler,
    sample_categories,
    sample_counts,
    sample_features,
    sample_paths,
    sample_rows,
)
from tallydraw.selection import compare
from tallydraw.tables import Tables

__all__ = [
    "STREAM_VERSION",
    "Categorical",
    "ChowLiuTree",
    "JointTable",
    "MarkovChain",
    "Mixture",
    "Model",
    "NaiveBayes",
    "PairTables",
    "Sampler",
    "Tables",
    "backend",
    "compare",
    "conditional_entropy",
    "count_categories",
    "count_features",
    "count_pairs",
    "count_rows",
    "count_transitions",
    "cross_entropy",
    "entropy",
    "estimate_alpha",
    "kl_divergence",
    "kl_divergence_estimate",
    "log_prob_features",
    "log_prob_paths",
    "mutual_information",
    "novelty",
    "sample_categories",
    "sample_counts",
    "sample_features",
    "sample_paths",
    "sample_rows",
]

__version__ = "0.1.0"
