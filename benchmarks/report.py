"""Measures every workload against its peers and the other backend, and writes `results.md`.

    python benchmarks/report.py                      # all; TALLYDRAW_BENCH sets the size
    python benchmarks/report.py --publish            # and the figures and the tables of both READMEs
    python benchmarks/report.py --limits-only        # the core alone, and of all this the table of limits
    python benchmarks/report.py --only "draws C=256" # workloads whose verb or name contains this
    python benchmarks/report.py --isa x86-64-v3      # the core with a narrower instruction set forced

Runs are paired: in one process, ours and a peer's take turns, and the median of the ratios of neighbours is what
counts. So a machine that speeds up or slows down meanwhile does not change the outcome.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")  # before NumPy and its peers start their thread pools
os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")

import bench_joint_vs_product as joint
import footprint
import limits
import peers
import scaling
import tallydraw as td
import workloads
from workloads import PLAIN, SIZE, THREADS, Workload

SAMPLE_SECONDS = 0.01  # shorter calls are repeated until they take this long
PAIR_SECONDS = {"quick": 0.05, "medium": 1.5, "full": 3.0}[SIZE]
MOST_PAIRS = 31
HERE = Path(__file__).resolve().parent
README, IMAGES = HERE.parent / "README.md", HERE.parent / "docs" / "images"
MARKS = "<!-- measured: written by benchmarks/report.py -->\n", "<!-- end of measured -->"
LIMITS = HERE / "README.md"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
NOISE = 0.05  # paired runs of the same call differ by less


@dataclass
class Row:
    """What was measured on one workload: our time an item, and how many times longer each competitor takes."""

    workload: Workload
    core_ns: float
    ratios: dict[str, float] = field(default_factory=dict)

    def of(self, part: str) -> dict[str, float]:
        return {name: ratio for name, ratio in self.ratios.items() if part in name}


# Timing ---------------------------------------------------------------------------------------------------------------


def timer(call: Callable[[], Any], clock: Callable[[], float]) -> Callable[[], float]:
    """Seconds one call takes, from as many calls as make the clock exact enough. Calls once to warm up."""
    call()
    begin = clock()
    call()
    once = clock() - begin
    loops = max(1, math.ceil(SAMPLE_SECONDS / max(once, 1e-7)))

    def sample() -> float:
        if loops > 1:
            call()  # after a pause: threads are woken, caches warm
        start = clock()
        for _ in range(loops):
            call()
        return (clock() - start) / loops

    return sample


def rested(sample: Callable[[], float]) -> float:
    """A sample taken once the threads of the process sleep: OpenBLAS's wait actively for a tenth of a second."""
    busy, used = True, time.process_time()
    deadline = time.perf_counter() + 1.0
    while busy and time.perf_counter() < deadline:
        time.sleep(0.005)
        before, used = used, time.process_time()
        busy = used - before > 0.001
    return sample()


def paired(ours: Callable[[], float], theirs: Callable[[], float], share: float = 1.0) -> tuple[float, float]:
    """(our seconds, median of theirs / ours); `share` is the part of our items that a call of theirs does."""
    our_times, ratios = [], []
    deadline = time.perf_counter() + PAIR_SECONDS
    gc.disable()
    try:
        while len(ratios) < MOST_PAIRS and (len(ratios) < 3 or time.perf_counter() < deadline):
            if len(ratios) % 2:
                b, a = rested(theirs), rested(ours)
            else:
                a, b = rested(ours), rested(theirs)
            our_times.append(a)
            ratios.append(b / share / a)
    finally:
        gc.enable()
    return statistics.median(our_times), statistics.median(ratios)


def on(backend: str, isa: str | None, sample: Callable[[], float]) -> Callable[[], float]:
    def switched() -> float:
        td.backend.use(backend, instruction_set=isa if backend == "cpp" else None)
        return sample()

    return switched


def measure(w: Workload, options: argparse.Namespace, skipped: dict[str, str]) -> Row:
    """One workload against everything. A peer that is not installed is noted in `skipped`."""
    isa, clock = options.isa, CLOCKS[options.clock]
    td.backend.use("cpp", instruction_set=isa)
    call = w.ours(options.threads)
    result = call()
    core = on("cpp", isa, timer(call, clock))
    row = Row(w, math.nan)
    times = []
    if options.limits_only:
        row.core_ns = paired(core, core)[0] / w.items * 1e9
        return row
    if "numba" in td.backend.available():
        td.backend.use("numba")
        peers.agrees(w, result, call())
        numba = on("numba", isa, timer(call, clock))
        seconds, row.ratios["Numba backend"] = paired(core, numba)
        times.append(seconds)
    for peer in [] if options.core_only else peers.of(w):
        try:
            theirs, items = peer.ready(w)
        except peers.NotSuited:
            continue
        except peers.Missing as missing:
            skipped[peer.name] = str(missing)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peers.agrees(w, result, theirs())
            seconds, row.ratios[peer.name] = paired(core, timer(theirs, clock), items / w.items)
        times.append(seconds)
    row.core_ns = (min(times) if times else core()) / w.items * 1e9
    return row


# What must hold -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Floor:
    """On the workloads of `verb` (and C and K where given) the fastest one named `against` takes `least` times ours."""

    least: float
    against: str
    verb: str = ""
    C: int | None = None
    K: int | None = None
    small: bool = False

    def covers(self, w: Workload) -> bool:
        fits = self.verb in ("", w.verb) and self.C in (None, w.C) and self.K in (None, w.K)
        if self.C is not None and w.layout != PLAIN:
            return False  # other layouts are held to the plain one
        return fits and (self.small or not w.small) and (self.verb != "" or self.small or w.verb != "Sampler")

    def measured(self, rows: Iterable[Row]) -> list[tuple[float, Row]]:
        """(ratio, row), the lowest first."""
        covered = [(row, row.of(self.against)) for row in rows if self.covers(row.workload)]
        return sorted(((min(hits.values()), row) for row, hits in covered if hits), key=lambda pair: pair[0])

    def __str__(self) -> str:
        shape = "".join(f", {key}={value}" for key, value in (("C", self.C), ("K", self.K)) if value is not None)
        times = "not slower than" if self.least <= 1 else f"{self.least:g} ×"
        return f"{self.verb or 'every workload'}{shape}: {times} {self.against}"


NUMPY = "numpy "
CHOICE = "numpy Generator.choice"
FLOORS = [
    Floor(1, NUMPY),
    Floor(10, CHOICE, "sample_categories"),
    Floor(30, "scikit-learn CategoricalNB.fit", "count_features"),
    Floor(5, "float64", "count_pairs"),
    *(Floor(20, peer, "ChowLiuTree") for peer in ("pgmpy", "pyAgrum", "deeprob-kit")),
    *(Floor(10, peer, "Mixture") for peer in ("StepMix", "pomegranate")),
    Floor(5, "quantecon", "sample_paths"),
    Floor(1 - NOISE, "Numba backend", small=True),
]
AIMS = [
    *(
        Floor(least, CHOICE, "sample_categories", C)
        for C, least in ((2, 25), (8, 35), (16, 40), (256, 70), (4096, 50), (10**6, 80))
    ),
    *(Floor(20, peer, "sample_categories", C) for C in (2, 8, 16) for peer in ("scipy", "torch")),
    *(Floor(least, "scipy", "sample_categories", C) for C, least in ((256, 15), (4096, 11), (10**6, 7))),
    *(Floor(least, "numpy cumsum", "sample_rows", C) for C, least in ((16, 8), (256, 15), (4096, 15))),
    Floor(2, NUMPY, "sample_counts"),
    Floor(25, CHOICE, "sample_features", 256),
    *(Floor(least, "quantecon", "sample_paths", C) for C, least in ((4, 10), (27, 20), (256, 25))),
    *(
        Floor(least, "scikit-learn", "count_features", C, K)
        for C, K, least in ((256, 10, 120), (8, 10, 300), (2, 2, 200))
    ),
    *(
        Floor(least, "numpy bincount", "count_features", C, K)
        for C, K, least in ((256, 10, 4), (8, 10, 10), (2, 2, 14))
    ),
    Floor(6, NUMPY, "count_transitions"),
    Floor(40, "deeptime", "count_transitions"),
    *(
        Floor(least, "scikit-learn", "log_prob_features", C, K)
        for C, K, least in ((256, 10, 15), (8, 10, 70), (2, 2, 70))
    ),
    Floor(10, NUMPY, "log_prob_paths"),
    Floor(5, CHOICE, "Sampler"),
]
NUMBA_BEHIND_CORE = 4.0
LAYOUT_BEHIND_PLAIN = 2.0


# The report -----------------------------------------------------------------------------------------------------------


def fmt(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"


def ratio_table(rows: list[Row], isa: str, threads: int) -> list[str]:
    lines = [
        "| workload | core, ns | of one | limit, ns | × best NumPy idiom | × other tools | × Numba backend |",
        "|---|---:|---|---|---|---|---:|",
    ]
    for row in rows:
        numpy = row.of(NUMPY)
        best = min(numpy, key=lambda name: numpy[name], default=None)
        rest = {n: r for n, r in row.ratios.items() if n != best and n != "Numba backend"}
        others = ", ".join(f"{name} {fmt(r)}" for name, r in sorted(rest.items(), key=lambda item: item[1]))
        core = f"{row.core_ns:.3g}" if row.core_ns < 1000 else f"{row.core_ns:.0f}"
        against_numpy = f"{fmt(numpy[best])} ({best.removeprefix(NUMPY)})" if best else "–"
        twin = row.ratios.get("Numba backend", math.nan)
        least, scarce = limits.limit(row.workload, isa, threads)
        of_limit = "–" if math.isnan(least) else f"{least:.3g} ({scarce}), {least / row.core_ns:.0%} reached"
        cells = (row.workload.name, core, row.workload.unit, of_limit, against_numpy, others or "–", fmt(twin))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def limit_table(rows: list[Row], isa: str, options: argparse.Namespace) -> str:
    """One line for each verb and what is scarce in some of its workloads: the shares of the limit that are reached."""
    lines = [
        *machine(isa, options),
        "",
        "| call | scarce | share reached | lowest on |",
        "|---|---|---:|---|",
    ]
    shares: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for row in rows:
        least, scarce = limits.limit(row.workload, isa, options.threads)
        if not math.isnan(least):
            found = shares.setdefault((row.workload.verb, scarce), [])
            found.append((least / row.core_ns, row.workload.name))
    for (verb, scarce), found in shares.items():
        (lowest, name), (highest, _) = min(found), max(found)
        reached = f"{lowest:.0%}" if len(found) == 1 else f"{lowest:.0%} to {highest:.0%}"
        lines.append(f"| `{verb}` | {scarce} | {reached} | {name} |")
    return "\n".join(lines) + "\n"


def floor_table(floors: list[Floor], rows: list[Row]) -> list[str]:
    """One line a floor, the furthest below first."""
    lines = ["| floor | lowest measured | on | met |", "|---|---:|---|---|"]
    judged = [(f, found) for f in floors if (found := f.measured(rows))]
    for f, found in sorted(judged, key=lambda item: item[1][0][0] / item[0].least):
        ratio, row = found[0]
        below = sum(r < f.least for r, _ in found)
        verdict = "yes" if not below else f"no, {below} of {len(found)} below"
        lines.append(f"| {f} | {fmt(ratio)} | {row.workload.name} | {verdict} |")
    return lines


def derived_table(rows: list[Row]) -> list[str]:
    """Aims that compare two measurements of ours: the Numba backend, and other layouts of the same rows."""
    lines = ["| aim | workload | measured | met |", "|---|---|---:|---|"]
    for row in rows:
        twin, numpy = row.ratios.get("Numba backend"), row.of(NUMPY)
        if twin is None or row.workload.small or row.workload.verb == "Sampler":
            continue
        if numpy and min(numpy.values()) / twin < 1:
            slower = fmt(min(numpy.values()) / twin)
            lines.append(f"| Numba backend not slower than NumPy's best | {row.workload.name} | {slower} | no |")
        if twin > NUMBA_BEHIND_CORE:
            lines.append(f"| Numba backend within 4 × of the core | {row.workload.name} | {fmt(twin)} | no |")
    plain = {(r.workload.verb, r.workload.C, r.workload.d): r for r in rows if r.workload.layout == PLAIN}
    for row in rows:
        w = row.workload
        base = plain.get((w.verb, w.C, w.d))
        if w.layout in workloads.OTHER_LAYOUTS and base is not None:
            cost = row.core_ns / (8 if "int64" in w.layout else 1) / base.core_ns
            met = "yes" if cost <= LAYOUT_BEHIND_PLAIN else "no"
            lines.append(f"| within 2 × of row-major uint8 a byte read | {w.name} | {cost:.2f} | {met} |")
    return lines


def headline(rows: list[Row], isa: str, options: argparse.Namespace) -> str:
    """The README's table: every workload in its plain layout, against NumPy's best idiom and the fastest other tool."""
    lines = [
        *machine(isa, options),
        "",
        "| workload | ns | of one | × best NumPy idiom | × fastest other tool |",
        "|---|---:|---|---:|---|",
    ]
    for row in rows:
        if row.workload.small or row.workload.layout != PLAIN:
            continue
        numpy = row.of(NUMPY)
        others = {n: r for n, r in row.ratios.items() if n not in numpy and n != "Numba backend"}
        tool = min(others, key=lambda name: others[name], default=None)
        best = fmt(min(numpy.values())) if numpy else "–"
        against = "–" if tool is None else f"{fmt(others[tool])} ({tool})"
        lines.append(f"| {row.workload.name} | {row.core_ns:.3g} | {row.workload.unit} | {best} | {against} |")
    return "\n".join(lines) + "\n"


def publish(text: str, page: Path) -> None:
    """Put `text` between the marks of a page."""
    begin, end = MARKS
    before, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(before + begin + "\n" + text + "\n" + end + rest.split(end)[1], encoding="utf-8")


def machine(isa: str, options: argparse.Namespace) -> list[str]:
    tools = ", ".join(f"{name} {version}" for name, version in peers.versions().items())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        f"- {platform.machine()}, {cores} cores, core compiled for {isa}",
        f"- {options.threads} threads, {options.clock} time, size `{SIZE}`",
        f"- tallydraw {td.__version__}, Python {platform.python_version()}, {tools}",
    ]


def report(
    rows: list[Row],
    skipped: dict[str, str],
    failed: dict[str, str],
    growth: list[str],
    isa: str,
    options: argparse.Namespace,
) -> str:
    few = [row for row in rows if row.workload.small]
    many = [row for row in rows if not row.workload.small]
    lines = [
        "# Measured",
        "",
        "Written by `python benchmarks/report.py`; nothing here is typed by hand. A ratio says how many times longer",
        "the other one takes: the median over paired runs in one process. Times move with the machine, ratios hardly.",
        "",
        *machine(isa, options),
        "",
        "## Floors",
        "",
        *floor_table(FLOORS, rows),
        "",
        "## Aims of tuning",
        "",
        *floor_table(AIMS, rows),
        "",
        *derived_table(rows),
        "",
        "## Workloads",
        "",
        *ratio_table(many, isa, options.threads),
    ]
    if few:
        lines += ["", "## Few rows: what a call costs beside its work", "", *ratio_table(few, isa, options.threads)]
    lines += growth
    if skipped:
        lines += ["", "## Not measured", "", *(f"- {name}: {reason}" for name, reason in sorted(skipped.items()))]
    if failed:
        lines += ["", "## Failed", "", *(f"- {name}: {reason}" for name, reason in failed.items())]
    return "\n".join(lines) + "\n"


def how_it_grows(options: argparse.Namespace) -> list[str]:
    """Sections on growth, and their figures."""
    td.backend.use("cpp", instruction_set=options.isa)
    costs, curves = (joint.over_components(), joint.over_categories()), scaling.measure(options.threads)
    if options.publish:
        joint.figure(*costs, str(IMAGES / "joint_vs_product.png"))
        scaling.figure(curves, str(IMAGES / "scaling.png"))
    lines = ["", "## Start-up and memory", "", *footprint.table(), "", "## Growth", "", *scaling.tables(curves)]
    return [*lines, "", "## Full joint table against factorised model", "", *joint.tables(*costs)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAME", help="workloads whose verb or name contains NAME")
    parser.add_argument("--isa", default=None, metavar="SET", help="force this instruction set of the core")
    parser.add_argument("--threads", type=int, default=THREADS, help="of both backends (default: %(default)s)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for a busy machine, with --threads 1")
    parser.add_argument("--core-only", action="store_true", help="compare the two backends, no peers")
    parser.add_argument("--limits-only", action="store_true", help="time the core, write benchmarks/README.md's limits")
    parser.add_argument("--no-small", action="store_true", help="leave the workloads of few rows out")
    parser.add_argument("--keep-going", action="store_true", help="note a workload that fails, go on with the next")
    parser.add_argument("--publish", action="store_true", help="write the figures and the tables of both READMEs too")
    parser.add_argument("--output", type=Path, help="default: results.md beside this file, or with --only the screen")
    options = parser.parse_args()
    if options.publish and (SIZE == "quick" or options.only or options.core_only or options.limits_only):
        parser.error("--publish is for everything measured, at a larger size than quick")
    td.backend.use("cpp", instruction_set=options.isa)
    isa = td.backend.instruction_set()
    chosen = workloads.select(options.only, small=False if options.no_small or options.limits_only else None)
    if not chosen:
        names = "; ".join(w.name for w in workloads.WORKLOADS)
        parser.error(f"no workload contains {options.only!r}; there are: {names}")
    limits.measure(isa, options.threads)  # kept; here, where an error costs least
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    failed: dict[str, str] = {}
    for w in chosen:
        try:
            row = measure(w, options, skipped)
        except Exception as error:
            if not options.keep_going:
                raise
            failed[w.name] = f"{type(error).__name__}: {error}"
            print(f"{w.name}: {failed[w.name]}", file=sys.stderr, flush=True)
            continue
        rows.append(row)
        if options.limits_only:
            print(f"{w.name}: {row.core_ns:.3g} ns a {w.unit}", file=sys.stderr, flush=True)
            continue
        shown = ", ".join(f"{name} {fmt(r)}" for name, r in sorted(row.ratios.items(), key=lambda item: item[1]))
        print(f"{w.name}: {row.core_ns:.3g} ns a {w.unit}; × {shown}", file=sys.stderr, flush=True)
    if options.limits_only:
        table = limit_table(rows, isa, options)
        if options.only:
            print(table)
        elif not failed:
            publish(table, LIMITS)
        return 1 if failed else 0
    growth = [] if options.only or options.core_only else how_it_grows(options)
    text = report(rows, skipped, failed, growth, isa, options)
    if options.publish and not failed:
        publish(headline(rows, isa, options), README)
        publish(limit_table(rows, isa, options), LIMITS)
    output = options.output or (None if options.only else HERE / "results.md")
    if output is None:
        print(text)
    else:
        output.write_text(text, encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
