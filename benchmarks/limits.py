"""What the machine can do at best, and so the least time each workload can take.

    python benchmarks/limits.py [instruction set]

The pieces that kernels are made of are measured alone, by `limits.cpp` compiled for the same instruction set and run on
as many threads. A workload is one stage after the other, and a stage a set of needs: it takes as long as the scarcest
of them, as if everything else were hidden behind it.
"""

from __future__ import annotations

import functools
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tallydraw as td
from workloads import MISSING, THREADS, Workload

HERE = Path(__file__).resolve().parent
RUNS = 7  # of half a second, of each piece the fastest: whatever else the machine does is in the way of few
SIZES = ("lane_categories", "few_bits")  # of the library, for this instruction set: no pieces

Stage = dict[str, float]  # ns an item that each need takes by itself


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
        flags += ["-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-falign-loops=64"]
        flags += ["-pthread", "-DTALLYDRAW_ISA=limits"]
        built = subprocess.run([compiler, *flags, *source, "-o", str(program)], capture_output=True, text=True)
        if built.returncode:
            raise RuntimeError(f"limits.cpp does not compile:\n{built.stderr[:1000]}")
        found: dict[str, float] = {}
        for _ in range(RUNS):
            out = subprocess.run([str(program), str(threads)], capture_output=True, text=True, check=True).stdout
            for name, value in (line.split() for line in out.splitlines()):
                found[name] = min(found.get(name, math.inf), float(value))
    return found


class Pieces:
    """What was measured, by name; of memory and tables between the sizes that were measured, by their logarithms."""

    def __init__(self, found: dict[str, float], threads: int) -> None:
        self.found, self.threads = found, threads

    def __getitem__(self, name: str) -> float:
        return self.found[name]

    def first(self, *names: str) -> float:
        """The first of these that this instruction set has."""
        return next(self.found[name] for name in names if name in self.found)

    def at(self, name: str, size: float) -> float:
        """ns of `name` in a table, or memory, of `size` bytes."""
        begin, end = f"{name}_", "_kib"
        known = {k[len(begin) : -len(end)]: v for k, v in self.found.items() if k.startswith(begin) and k.endswith(end)}
        kib, ns = zip(*sorted((int(k), v) for k, v in known.items() if k.isdigit()), strict=True)
        return float(np.interp(math.log(max(size, 1) / 1024), np.log(kib), ns))

    def read(self, n_bytes: float) -> float:
        """ns a byte of memory of which the threads share `n_bytes`, and which a call before has brought near."""
        return self.at("read", n_bytes / self.threads)

    def write(self, n_bytes: float) -> float:
        return self.at("write", n_bytes / self.threads)

    def outcome(self, C: int, name: str = "outcome") -> Stage:
        """A draw from a table row of few categories, in registers; empty where there are too many."""
        sizes = sorted(int(k[len(name) + 1 :]) for k in self.found if k.rpartition("_")[0] == name)
        size = next((size for size in sizes if size >= C), None)
        return {} if size is None else {"outcomes": self.found[f"{name}_{size}"]}


# What each verb needs -------------------------------------------------------------------------------------------------


def _guide(C: int) -> tuple[int, int]:
    """Bytes of the guide of a table row, of about 4 C entries or, of four bytes, 2 C; and of its high words."""
    return (4 if C <= 256 else 8) * C, 4 * C


def _lookups(p: Pieces, C: int, rows: int) -> float:
    """A guide entry and a high word of one of so many table rows."""
    guide, high = _guide(C)
    return p.at("lookup", guide * rows) + p.at("lookup", high * rows)


def _sample_categories(w: Workload, p: Pieces) -> list[Stage]:
    size = 1 if w.C <= 256 else 2 if w.C <= 65536 else 4
    # Past those searched for in registers, up to 512, one table says what the first 13 bits of a word decide.
    looked_up = p.at("lookup", 1 << 14) if w.C <= 512 else _lookups(p, w.C, 1)
    outcomes = p.outcome(w.C) or {"lookups": looked_up}
    return [{"Philox words": p["philox_word"], "bytes written": size * p.write(size * w.n), **outcomes}]


def _sample_rows(w: Workload, p: Pieces) -> list[Stage]:
    words = 2 * p["philox_word"] / w.C
    return [{"bytes read": 8 * p.read(8 * w.items), "Philox words": words, "running sums": p["sum_left"]}]


def _sample_counts(w: Workload, p: Pieces) -> list[Stage]:
    # 1.15 attempts a count, a fifth of which comparisons do not settle (Hoermann 1993); the last count is what is left.
    attempts = 1.15 * (w.C - 1) / w.C
    tries = attempts * (p["binomial_try"] + 0.2 * p["binomial_curve"])
    words = 4 * attempts * p["philox_word"]
    return [{"Philox words": words, "attempts": tries, "bytes written": 8 * p.write(8 * w.items)}]


def _sample_features(w: Workload, p: Pieces) -> list[Stage]:
    # Rows of one class are drawn from one table row after the other.
    outcomes = p.outcome(w.C) or {"lookups": _lookups(p, w.C, 1)}
    written = {"bytes written": p.write(w.items), "rows turned": p["turn"]}
    return [{"Philox words": p["philox_word"], **outcomes, **written}]


def _sample_paths(w: Workload, p: Pieces) -> list[Stage]:
    lookups = p.at("lookup", 4 * w.C * w.C) if w.C <= 4 else _lookups(p, w.C, w.C)
    outcomes = p.outcome(w.C, "row_outcome") or {"lookups": lookups}  # each from the table row of the state before
    written = {"bytes written": p.write(w.items), "rows turned": p["turn"]}
    return [{"Philox words": p["philox_word"], **outcomes, **written}]


def _code_bytes(w: Workload) -> int:
    """Of a cell, with those between cells that come along."""
    return 8 if "int64" in w.layout else 2 if w.layout.startswith("strided") else 1


def _count_features(w: Workload, p: Pieces) -> list[Stage]:
    read = _code_bytes(w) * p.read(_code_bytes(w) * w.items)
    if w.layout.startswith("column-major") and w.C * (w.K + 1) <= 48:
        counted = {"bits of columns": w.C * (w.K + 1) / 64 * p["column_bits"]}
    elif p["lane_categories"] >= w.C:  # compared with each, in lanes of 64 features, those of no feature too
        counted = {"comparisons": w.C * -(-w.d // 64) * 64 / w.d * p["lane_compare"]}
    else:  # in tables of 64 features and a class, of 16 bits a cell
        counted = {"increments": p.at("increment", 2 * 64 * w.C)}
    return [{"bytes read": read, **counted}]


def _count_transitions(w: Workload, p: Pieces) -> list[Stage]:
    table = 4 * w.C**2 * (4 if w.C <= 32 else 1)
    return [{"bytes read": p.read(w.items), "increments": p.at("increment", table)}]


def _log_prob_features(w: Workload, p: Pieces) -> list[Stage]:
    size = _code_bytes(w)
    stage = {"bytes read": size / w.K * p.read(size * w.n * w.d), "bytes written": 8 / w.d * p.write(8 * w.n * w.K)}
    if w.C <= 8 and w.K <= 4 and "register_add" in p.found:
        stage |= {"additions": p["register_add"], "columns made": p["turn"] / w.K}
    else:  # a row of the table of a feature, which lies in the second cache where the tables of a tile are larger
        tables = min(8 * (w.C + 1) * w.K * w.d, 1 << 17)
        stage["additions"] = p.at(f"add_row_{w.K}", tables) / w.K
    return [stage]


def _log_prob_paths(w: Workload, p: Pieces) -> list[Stage]:
    return [{"bytes read": p.read(w.items), "lookups": p.at("lookup", 8 * w.C * w.C)}]


def _count_pairs(w: Workload, p: Pieces) -> list[Stage]:
    pairs, cells = w.d * (w.d - 1) / 2, w.C * w.C
    stage = {
        "bytes read": w.d / pairs * p.read(w.n * w.d),
        "bytes written": 8 * cells * w.K / w.n * p.write(8 * cells * w.K * pairs),
    }
    if w.layout == "weighted" and w.C <= 48:  # a vector of eight features and a category
        stage["additions under masks"] = w.C / 8 * p.first(*["masked_either"] * (w.C == 2), "masked_add")
    elif p["few_bits"] >= w.C:
        made = p["pack_zeros"] if w.C == 2 and w.K == 1 else (w.C - 1) * p["pack_equal"]
        stage["columns of bits"] = w.d / pairs * made
        stage["bits shared"] = (w.C - 1) ** 2 / 64 * p["shared_bits"]
    else:  # the tables of a feature and eight others
        stage["increments"] = p.at("increment", 8 * 8 * cells)
    return [stage]


def _of_pairs(stages: list[Stage], pairs: float) -> list[Stage]:
    return [{need: pairs * ns for need, ns in stage.items()} for stage in stages]


def _chow_liu_tree(w: Workload, p: Pieces) -> list[Stage]:
    pairs = w.d * (w.d - 1) / 2
    tables = 8 * w.C * w.C * pairs
    informed = {"bounds": p["bound"]} if w.C == 2 else {"terms": w.C * w.C * p["near_divergence"]}
    informed["tables read"] = 8 * w.C * w.C * p.read(tables)
    forest = {"better arcs": p["better_arc"]}
    kept = {"bytes written": 8 * w.C * w.C * w.d / w.n * p["write_256_kib"]}
    return [*_of_pairs(_count_pairs(w, p), pairs), *_of_pairs([informed, forest], pairs / w.n), kept]


def _mixture(w: Workload, p: Pieces) -> list[Stage]:
    rows = len(np.unique(w.data().X, axis=0)) / w.n  # of equal rows one is left, with their weight
    divisions = w.C / w.n * p.threads * p["divide"]  # of estimates, on one thread
    logs = {"row sums": p["sum_left"] / w.d, "logarithms": p["log"] / (w.d * w.K)}
    if w.layout == "chains":
        tables = 8 * w.K * w.C * w.C * w.d
        scores = {"additions": p.at(f"add_row_{w.K}", tables) / w.K}
        soft = w.C * w.C / 8 * p.first("soft_add", "masked_add")
        stages = [scores, {"exponentials": p["exp"] / w.d, **logs}, {"additions under masks": soft}]
    elif w.layout == "trees":
        pairs = (w.d - 1) / 2  # a feature
        scores = {"additions": p["add_column_1"]}
        shares = {"exponentials": p["exp"] / w.d, **logs}
        counts = {"additions under masks": pairs * w.C / 8 * p.first("masked_columns", "masked_add")}
        forest = {"bounds": pairs / w.n * p["bound"] / rows}
        stages = [scores, shares, counts, forest]
    else:
        together = int(math.log(64, w.C))  # features of a group
        groups, width = -(-w.d // together), 8 * -(-w.K // 8)
        tables = groups * 8 * width * w.C**together
        products = {"rows multiplied": groups / (w.d * w.K) * p.at(f"multiply_row_{w.K}", tables), **logs}
        counts = {"rows added to": groups / (w.d * w.K) * p.at(f"add_to_row_{w.K}", tables)}
        stages = [products, counts]
    return [*({need: rows * ns for need, ns in stage.items()} for stage in stages), {"divisions": divisions}]


def _scored(w: Workload, p: Pieces) -> Stage:
    """A cell of rows some of whose cells are missing: what complete rows need.

    Codes are made columns; a column's logs are added to the sums of its rows, and totals of missing cells likewise.
    """
    return {"bytes read": p.read(w.n * w.d), "columns made": p["turn"], "additions": p[f"add_column_{w.K}"]}


def _log_prob_missing(w: Workload, p: Pieces) -> list[Stage]:
    return [{need: ns / w.K for need, ns in _scored(w, p).items()}]


def _beliefs(w: Workload, p: Pieces, classes: int) -> Stage:
    """A cell's messages up and down, of which C multiply-adds and C divisions where it is missing, for so many classes;
    eight of which, or of rows, are a vector."""
    terms = 2 * MISSING * w.C * classes / 8 * p["message_term_8"]
    return {"multiply-adds": terms, "divisions": MISSING * w.C * classes * p["divide"]}


def _complete(w: Workload, p: Pieces) -> list[Stage]:
    """Scores of the rows, then their missing cells from the root, for one class a row."""
    words = {"Philox words": MISSING * p["philox_word"]} if w.layout == "sample" else {}
    return [_scored(w, p), {"bytes written": p.write(w.n * w.d), **words, **_beliefs(w, p, 1)}]


def _marginals(w: Workload, p: Pieces) -> list[Stage]:
    return [_scored(w, p), {"bytes written": 8 * w.C * p.write(8 * w.C * w.items), **_beliefs(w, p, w.K)}]


def _fit_missing(w: Workload, p: Pieces) -> list[Stage]:
    """Of every iteration: expected counts, in the class of each row, and the scores that say when to end."""
    added = p["increment_16_kib"] if w.K == 1 else p[f"add_to_row_{w.K}_16_kib"]
    return [{"additions": added, **_beliefs(w, p, 1)}, _scored(w, p)]


def _mutual_information(w: Workload, p: Pieces) -> list[Stage]:
    """A series a cell; among eight pairs of one of which a cell is far from independent a logarithm a cell more."""
    cells, far = w.C * w.C, _far_pairs(w)
    tables = 8 * cells * w.items
    terms = p["near_divergence"] + far * p["divergence"]
    return [{"terms": cells * terms, "divisions": cells * p["divide"], "bytes read": 8 * cells * p.read(tables)}]


@functools.lru_cache(maxsize=8)
def _far_pairs(w: Workload) -> float:
    """The share of eights of pairs, those of one feature and eight that follow each other, in which a cell is far."""
    counts = w.data().pairs.values.reshape(-1, w.C, w.C)
    p = counts / counts.sum(axis=(1, 2), keepdims=True)
    q = p.sum(axis=2, keepdims=True) * p.sum(axis=1, keepdims=True)
    far = ((np.abs(p - q) >= q / 16) & (p > 0)).any(axis=(1, 2))
    ends = np.cumsum(np.arange(w.d - 1, 0, -1))
    eights = [part.any() for of_one in np.split(far, ends[:-1]) for part in np.split(of_one, range(8, len(of_one), 8))]
    return float(np.mean(eights))


NEEDS: dict[str, Callable[[Workload, Pieces], list[Stage]]] = {
    "sample_categories": _sample_categories,
    "sample_rows": _sample_rows,
    "sample_counts": _sample_counts,
    "sample_features": _sample_features,
    "sample_paths": _sample_paths,
    "count_features": _count_features,
    "count_transitions": _count_transitions,
    "log_prob_features": _log_prob_features,
    "log_prob_paths": _log_prob_paths,
    "count_pairs": _count_pairs,
    "ChowLiuTree": _chow_liu_tree,
    "Mixture": _mixture,
    "log_prob_missing": _log_prob_missing,
    "complete": _complete,
    "marginals": _marginals,
    "fit_missing": _fit_missing,
    "mutual_information": _mutual_information,
}


def limit(w: Workload, isa: str, threads: int) -> tuple[float, str]:
    """(ns an item at best, what is scarce in each stage that counts); NaN where it is not known."""
    found = measure(isa, threads)
    if w.small or not found or w.verb not in NEEDS:
        return math.nan, ""
    scarce = [max((ns, need) for need, ns in stage.items()) for stage in NEEDS[w.verb](w, Pieces(found, threads))]
    total = sum(ns for ns, _ in scarce)
    return total, " + ".join(dict.fromkeys(need for ns, need in scarce if ns >= 0.1 * total))


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else td.backend.instruction_sets()[-1]
    for name, value in measure(chosen, THREADS).items():
        if name in SIZES:
            continue
        speed = f"  {1 / value:8.1f} GB/s" if name.startswith(("read_", "write_")) else ""
        print(f"{name:24} {value:9.4f} ns{speed}")
