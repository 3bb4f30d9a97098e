"""One checker for each kind of argument, above both backends: convert once, or raise one clear error."""

from __future__ import annotations

from tallydraw._check.arrays import (
    class_codes,
    code_error,
    codes,
    output,
    refuse_model,
    sample_weight,
    smallest_unsigned,
    unmasked,
    weights,
    wrapped,
)
from tallydraw._check.random import RNG, key, saved_state
from tallydraw._check.scalars import (
    alpha_value,
    category_counts,
    first_number,
    is_number,
    natural,
    shown,
    size_of,
    thread_count,
    unseen_rule,
)

__all__ = [
    "RNG",
    "alpha_value",
    "category_counts",
    "class_codes",
    "code_error",
    "codes",
    "first_number",
    "is_number",
    "key",
    "natural",
    "output",
    "refuse_model",
    "sample_weight",
    "saved_state",
    "shown",
    "size_of",
    "smallest_unsigned",
    "thread_count",
    "unmasked",
    "unseen_rule",
    "weights",
    "wrapped",
]
