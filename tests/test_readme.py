"""README: its Python blocks run, in order, and its commands are what they say."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[tuple[int, str]]:
    """(line of the first line, code) of each fenced block."""
    found = re.finditer(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [(TEXT[: match.start(1)].count("\n"), match[1]) for match in found]


def test_python_blocks_run() -> None:
    names: dict[str, object] = {}
    for line, code in blocks("python"):
        exec(compile("\n" * line + code, str(README), "exec"), names)
    assert len(blocks("python")) >= 5


def test_there_are_two_commands_of_one_line_each() -> None:
    commands = [code.strip() for _, code in blocks("sh")]
    assert len(commands) == 2
    assert all("\n" not in command and command.startswith("python3 -m venv .venv && ") for command in commands)
    assert commands[0].endswith("tallydraw demo")
    assert commands[1].endswith("-m pytest")


def test_every_link_leads_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert targets
    here = README.parent
    # A source archive leaves out what only a checkout needs.
    figures = {"docs/images/demo.png", "docs/images/joint_vs_product.png", "benchmarks/", "benchmarks/results.md"}
    optional = set() if (here / ".ci").exists() else figures
    for target in set(targets) - optional:
        assert target.startswith("https://") or (here / target).exists(), target
