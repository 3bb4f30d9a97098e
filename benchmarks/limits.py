"""What the machine can do at best, and so the least time each workload can take.

    python benchmarks/limits.py [instruction set]

The pieces that kernels are made of (bytes moved, Philox words, lookups, increments, gathered additions) are measured
alone, by `limits.cpp` compiled for the same instruction set and run on as many threads. A workload's limit is the
largest of its needs: what a kernel could reach if everything else were hidden behind its scarcest piece.
"""

from __future__ import annotations

import functools
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import tallydraw as td
from workloads import THREADS, Workload

HERE = Path(__file__).resolve().parent


@functools.lru_cache(maxsize=4)
def measure(isa: str, threads: int) -> dict[str, float]:
    """ns an operation, or a byte, with all threads at work. Empty where there is no compiler to measure with."""
    compiler = os.environ.get("CXX") or shutil.which("c++")
    if compiler is None or os.name == "nt":
        return {}
    flags = [f"-march={isa}"] if isa.startswith("x86-64") else []
    if isa == "x86-64-v4":
        flags.append("-mprefer-vector-width=512")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "limits"
        source = ["-I", str(HERE.parent / "cpp" / "include"), str(HERE / "limits.cpp")]
        flags += ["-std=c++17", "-O3", "-ffp-contract=off", "-pthread", "-DTALLYDRAW_ISA=limits"]
        built = subprocess.run([compiler, *flags, *source, "-o", str(program)], capture_output=True, text=True)
        if built.returncode:
            print(f"limits.cpp does not compile:\n{built.stderr[:1000]}", file=sys.stderr)
            return {}
        out = subprocess.run([str(program), str(threads)], capture_output=True, text=True, check=True).stdout
    return {name: float(value) for name, value in (line.split() for line in out.splitlines())}


def _lookup(found: dict[str, float], table_bytes: float) -> float:
    """ns a lookup in a table of this size."""
    sizes = sorted(int(name.split("_")[1]) for name in found if name.startswith("lookup_"))
    fitting = next((kib for kib in sizes if kib * 1024 >= table_bytes), sizes[-1])
    return found[f"lookup_{fitting}_kib"]


def needs(w: Workload, found: dict[str, float]) -> dict[str, float]:
    """ns an item that each scarce piece takes by itself."""
    read, write, word = found["read"], found["write"], found["philox_word"]
    code = 8 if "int64" in w.layout else 2 if w.layout.startswith("strided") else 1
    out = 1 if w.C <= 256 else 2 if w.C <= 65536 else 4
    # A guide has about 4 C entries of one byte, past 256 categories 2 C of four bytes; then one high word of a level is
    # compared. From one distribution, few categories are compared with levels held in registers, up to 512 are looked
    # up in one table of 16 KiB.
    guide, high = (4 if w.C <= 256 else 8) * w.C, 4 * w.C
    if w.verb == "sample_categories":
        lookups = 0.0 if w.C <= 32 else _lookup(found, 1 << 14) + (w.C > 512) * _lookup(found, max(guide, high))
        return {"Philox words": word, "bytes written": out * write, "lookups": lookups}
    if w.verb == "sample_rows":
        return {"bytes read": 8 * read, "Philox words": word / w.C}
    if w.verb == "sample_counts":
        # One block of Philox an attempt, about 1.15 attempts (Hoermann 1993), for each count but the last.
        return {"Philox words": 4 * 1.15 * word, "bytes written": 8 * write}
    if w.verb == "sample_features":
        # Tables of all classes and of a block of features: L2 at best.
        lookups = 0.0 if w.C <= 16 else 2 * _lookup(found, min((guide + high) * w.K, 512 * 1024))
        return {"Philox words": word, "bytes written": write, "lookups": lookups}
    if w.verb == "sample_paths":
        lookups = (1 if w.C <= 4 else 2) * _lookup(found, (guide + high) * w.C)
        return {"Philox words": word, "bytes written": write, "lookups": lookups}
    if w.verb == "count_features":
        # Up to 48 categories, with AVX-512, are compared with each, a vector of cells at a time.
        counted = {"increments": found["increment"]} if w.C > 48 else {"comparisons": w.C * found["lane_compare"]}
        return {"bytes read": code * read} | counted
    if w.verb == "count_transitions":
        return {"bytes read": read, "increments": found["increment"]}
    if w.verb == "log_prob_features":
        # Up to eight codes of up to four classes are looked up in registers, where the instruction set can; others are
        # gathered from L1 where the tables of all features fit, from L2 where those of a tile do.
        near = "16" if 8 * (w.C + 1) * w.K * w.d <= 48 * 1024 else "128"
        added = "register_add" if w.C <= 8 and w.K <= 4 and "register_add" in found else f"gather_add_{near}_kib"
        return {"bytes read": code * read / w.K, "bytes written": 8 * write / w.d, "additions": found[added]}
    if w.verb == "log_prob_paths":
        return {"bytes read": read, "lookups": _lookup(found, 8 * w.C * w.C)}
    return {}


def limit(w: Workload, isa: str, threads: int) -> tuple[float, str]:
    """(ns an item at best, what is scarce); NaN where it is not known."""
    found = measure(isa, threads)
    if w.small or not found:
        return math.nan, ""
    least = needs(w, found)
    scarce = max(least, key=lambda piece: least[piece], default="")
    return least.get(scarce, math.nan), scarce


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else td.backend.instruction_sets()[-1]
    for name, value in measure(chosen, THREADS).items():
        print(f"{name:16} {value:9.4f} ns" + (f"  {1 / value:8.1f} GB/s" if name in ("read", "write", "copy") else ""))
