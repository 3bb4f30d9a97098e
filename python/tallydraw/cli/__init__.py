"""The command ``tallydraw``: ``info`` works on a bare install, ``demo`` asks for its extra in one message."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import tallydraw
from tallydraw.cli import info

__all__ = ["main"]

# What `demo` imports, and the requirement that installs it: the extra `demo` of pyproject.toml.
DEMO_NEEDS = {"sklearn": "scikit-learn>=1.3", "matplotlib": "matplotlib>=3.8", "rich": "rich>=13"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv`, or the arguments of the process, and return its exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "info":
            print(info.report())
            return 0
        if arguments.command == "demo":
            return _demo(arguments.output, arguments.seed, arguments.quick)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    parser.print_help()
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tallydraw", description=tallydraw.__doc__)
    parser.add_argument("--version", action="version", version=f"tallydraw {tallydraw.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("info", help="print the version, the backend, its instruction set and the number of threads")
    demo = commands.add_parser(
        "demo",
        help="count, score, classify and draw real handwritten digits",
        description="Fit every model to scikit-learn's handwritten digits, print what each does and costs, and draw "
        "one picture; then two small worlds in which every probability can be checked by hand.",
    )
    demo.add_argument("--output", type=Path, default=Path("demo.png"), metavar="PNG", help="default: %(default)s")
    demo.add_argument("--seed", type=_seed, default=0, help="same seed, same split, same draws (default: %(default)s)")
    demo.add_argument("--quick", action="store_true", help="time a tenth of the rows and stop the cost curve earlier")
    return parser


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 2**32, got {text}")
    return value


def _demo(output: Path, seed: int, quick: bool) -> int:
    missing = [need for module, need in DEMO_NEEDS.items() if importlib.util.find_spec(module) is None]
    if missing:
        requirements = " ".join(f'"{need}"' for need in missing)  # quotes that every shell takes
        print(
            "tallydraw demo needs packages that are not installed. Install them with\n\n"
            f"    python -m pip install {requirements}\n\n"
            "or tallydraw's extra `demo`. `tallydraw info` needs none of them.",
            file=sys.stderr,
        )
        return 2
    if output.is_dir() or not output.parent.is_dir():
        print(f"tallydraw demo: --output {output} is not a file in an existing directory", file=sys.stderr)
        return 2
    from tallydraw.cli.demo import run  # needs the extra

    run(output, seed, quick)
    return 0
