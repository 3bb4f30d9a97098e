"""Count, sample and score discrete data, exactly and close to the speed of memory."""

from __future__ import annotations

from tallydraw import backend
from tallydraw.count import count_categories, count_features, count_rows, count_transitions
from tallydraw.tables import Tables

__all__ = [
    "Tables",
    "backend",
    "count_categories",
    "count_features",
    "count_rows",
    "count_transitions",
]

__version__ = "0.1.0"
