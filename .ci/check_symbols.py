"""No instruction wider than x86-64 may run before the processor was asked: check the objects of a build directory.

A kernel object compiled for a wide instruction set may define no symbol that another object could be linked to: a weak
one (an inline function, a template) would be merged with the narrow copy, and the linker may keep the wide one. And
outside these objects no instruction may touch the wide registers. Needs nm and objdump; x86-64 and ELF only.

Usage: python .ci/check_symbols.py [BUILD_DIRECTORY]
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

SETS = ("x86_64_v2", "x86_64_v3", "x86_64_v4")
WIDE = re.compile(r"%[yz]mm\d|%k[0-7]\b|%xmm(1[6-9]|2\d|3[01])|\tv[a-z0-9]+ .*%xmm")
FUNCTION = re.compile(r"[0-9a-f]+ <(.+)>:$")


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def leaks(kernel_object: Path, name: str) -> list[str]:
    """Defined global and weak symbols whose name, template arguments included, is not this instruction set's alone."""
    lines = run("nm", "--defined-only", "--extern-only", "--demangle", str(kernel_object)).splitlines()
    # DW.ref.* are pointers to the exception personality, no code.
    return [f"{name} defines {x.strip()}" for x in lines if f"tallydraw::{name}::" not in x and " DW.ref." not in x]


def wide(binary: Path) -> Counter[str]:
    """How many instructions of each function touch wide registers."""
    counts: Counter[str] = Counter()
    function = "code before the first symbol"
    for line in run("objdump", "--disassemble", "--no-show-raw-insn", str(binary)).splitlines():
        if named := FUNCTION.match(line):
            function = named[1]
        elif WIDE.search(line):
            counts[function] += 1
    return counts


def main() -> int:
    build = Path(sys.argv[1] if len(sys.argv) > 1 else "build/default")
    if platform.machine().lower() not in ("x86_64", "amd64"):
        print("check_symbols: nothing to check on", platform.machine())
        return 0
    problems = []
    counts = {}
    for name in SETS:
        objects = list(build.glob(f"CMakeFiles/tallydraw_{name}.dir/**/*.o"))
        if not objects:
            problems.append(f"no object of {name} below {build}: build it first")
        for kernel_object in objects:
            problems += leaks(kernel_object, name)
        counts[name] = sum(wide(kernel_object).total() for kernel_object in objects)
    if counts[SETS[0]]:
        problems.append(f"{SETS[0]} has {counts[SETS[0]]} wide instructions")
    modules = list(build.glob("_core.*.so")) or list(Path("python/tallydraw").glob("_core.*.so"))
    if len(modules) != 1:
        problems.append(f"expected one linked module, found {[str(m) for m in modules]}")
    for module in modules:
        for function, n in wide(module).items():
            if not any(f"{len(name)}{name}" in function for name in SETS[1:]):
                problems.append(f"{module.name} has {n} wide instructions in {function}")
    for problem in problems:
        print("check_symbols:", problem)
    if not problems:
        print(f"check_symbols: clean; wide instructions: {counts}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
