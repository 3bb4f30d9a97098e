"""Rows with missing cells: scores, completions, marginals and fits, on both backends and by every peer."""

from __future__ import annotations

from typing import Any

import pytest
from suite import cases, run
from workloads import Workload


@pytest.mark.parametrize(("workload", "who"), cases("log_prob_missing", "complete", "marginals", "fit_missing"))
def bench_missing(benchmark: Any, workload: Workload, who: str) -> None:
    run(benchmark, workload, who)
