"""Draw: from one distribution, from one a row, rows of features, paths of a chain, counts."""

from __future__ import annotations

from tallydraw.sample.categories import sample_categories
from tallydraw.sample.counts import sample_counts
from tallydraw.sample.features import sample_features
from tallydraw.sample.paths import sample_paths
from tallydraw.sample.rows import sample_rows
from tallydraw.sample.sampler import Sampler

__all__ = [
    "STREAM_VERSION",
    "Sampler",
    "sample_categories",
    "sample_counts",
    "sample_features",
    "sample_paths",
    "sample_rows",
]

# Names the function from (key, row, feature) to draws: the same number, the same bits.
STREAM_VERSION = 1
