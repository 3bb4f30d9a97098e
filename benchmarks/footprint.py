"""What a user pays beside time: milliseconds to import, and memory at the peak of a call.

    python benchmarks/footprint.py

Each figure is taken in processes of its own. Memory is the process's peak during the call above its peak before, inputs
included there, divided by the bytes of the result and of the tables (levels and guides, logs) that the call needs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import textwrap

from workloads import SIZE

RUNS = 7
ROWS = {"quick": 1000, "medium": 10**5, "full": 10**5}[SIZE]

IMPORT = """
    import time
    import numpy
    begin = time.perf_counter()
    import tallydraw
    print((time.perf_counter() - begin) * 1e3)
"""

PEAK = """
    import resource
    import sys
    import numpy as np
    import tallydraw as td

    def peak():
        if sys.platform.startswith("linux"):  # where ru_maxrss is never below that of the process that started this one
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    rng = np.random.default_rng(1)
    {inputs}
    td.sample_categories([1, 1], 10**5, rng=1)  # threads and libraries are there
    before = peak()
    result = {call}
    print((peak() - before) / ({bytes}))
"""

# name: inputs, call, bytes of result and tables
CALLS = {
    "sample_categories, C = 256": (
        "p = rng.random(256)",
        "td.sample_categories(p, {draws}, rng=1)",
        "result.nbytes",
    ),
    "sample_features, 784 features, C = 256, K = 10": (
        "t = td.Tables.from_arrays(list(rng.random((784, 10, 256))), n_classes=10); y = rng.integers(0, 10, {rows})",
        "td.sample_features(t, {rows}, y=y, rng=1)",
        "result.nbytes + sum(part.nbytes for part in t.levels())",
    ),
    "count_features, 784 features, C = 256, K = 10": (
        "X = rng.integers(0, 256, ({rows}, 784), dtype=np.uint8); y = rng.integers(0, 10, {rows})",
        "td.count_features(X, y=y, n_categories=256, n_classes=10)",
        "result.values.nbytes",
    ),
    "log_prob_features, 784 features, C = 256, K = 10": (
        "X = rng.integers(0, 256, ({rows}, 784), dtype=np.uint8); "
        "t = td.Tables.from_arrays(list(rng.dirichlet(np.ones(256), (784, 10))), n_classes=10)",
        "td.log_prob_features(X, t)",
        "result.nbytes + t.logs().values.nbytes",
    ),
    "sample_paths, 1,000 steps, C = 27": (
        "P = rng.random((27, 27))",
        "td.sample_paths(P, {rows}, 1000, rng=1)",
        "result.nbytes",
    ),
}


def run(code: str, **variables: str) -> float:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=kept | variables)
    return float(done.stdout)


def import_milliseconds() -> float:
    """Above NumPy's own, the median of several processes; the first makes the bytecode, as installing does."""
    with tempfile.TemporaryDirectory() as folder:
        return statistics.median([run(IMPORT, PYTHONPYCACHEPREFIX=folder) for _ in range(RUNS + 1)][1:])


def peak_ratio(name: str) -> float:
    inputs, call, size = (part.format(rows=ROWS, draws=1000 * ROWS) for part in CALLS[name])
    return run(PEAK.format(inputs=inputs, call=call, bytes=size))


def table() -> list[str]:
    lines = [
        f"Import, above NumPy's own: {import_milliseconds():.0f} ms.",
        "",
        f"| call, {ROWS:,} rows | peak above input / (result + tables) |",
        "|---|---:|",
    ]
    if sys.platform == "win32":
        return lines[:1]
    return lines + [f"| {name} | {peak_ratio(name):.2f} |" for name in CALLS]


if __name__ == "__main__":
    print("\n".join(table()))
