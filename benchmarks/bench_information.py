"""Information from counts, on both backends and by every peer."""

from __future__ import annotations

from typing import Any

import pytest
from suite import cases, run
from workloads import Workload


@pytest.mark.parametrize(("workload", "who"), cases("mutual_information"))
def bench_information(benchmark: Any, workload: Workload, who: str) -> None:
    run(benchmark, workload, who)
