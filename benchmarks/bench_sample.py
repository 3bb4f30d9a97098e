"""Drawing, on both backends and by every peer."""

from __future__ import annotations

from typing import Any

import pytest
from suite import cases, run
from workloads import Workload

VERBS = ("sample_categories", "Sampler", "sample_rows", "sample_counts", "sample_features", "sample_paths")


@pytest.mark.parametrize(("workload", "who"), cases(*VERBS))
def bench_sample(benchmark: Any, workload: Workload, who: str) -> None:
    run(benchmark, workload, who)
