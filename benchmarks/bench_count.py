"""Counting, on both backends and by every peer."""

from __future__ import annotations

from typing import Any

import pytest
from suite import cases, run
from workloads import Workload


@pytest.mark.parametrize(
    ("workload", "who"), cases("count_features", "count_pairs", "count_transitions", "ChowLiuTree")
)
def bench_count(benchmark: Any, workload: Workload, who: str) -> None:
    run(benchmark, workload, who)
