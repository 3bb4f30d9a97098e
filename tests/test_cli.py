"""The command: `info` and `--version` on a bare install, `demo` with its extra, one message without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tallydraw as td
from tallydraw.cli import DEMO_NEEDS, main


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONIOENCODING": "utf-8"} | environment,
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )


def without(modules: list[str], *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process that cannot import these modules."""
    blocked = ", ".join(f"{name}=None" for name in modules)
    code = (
        f"import sys; sys.modules.update({blocked}); from tallydraw.cli import main; sys.exit(main({list(arguments)}))"
    )
    return run("-c", code, **environment)


def test_info_names_version_backend_instruction_set_and_threads(backend, capsys):
    assert main(["info"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["tallydraw"] == td.__version__
    assert lines["backend"].startswith(f"{backend} (installed: ")
    assert lines["instruction"].startswith(f"set  {td.backend.instruction_set()} (supported here: ")
    assert int(lines["threads"]) == td.backend.threads(None, 1 << 40)
    assert lines["Python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert lines["NumPy"] == np.__version__


def test_info_obeys_the_forced_backend(backend):
    assert f"backend          {backend} " in run("-m", "tallydraw", "info", TALLYDRAW_BACKEND=backend).stdout


@pytest.mark.skipif("cpp" not in td.backend.available(), reason="Numba is needed without the compiled backend")
def test_info_and_help_need_numpy_alone():
    bare = ["numba", "scipy", *DEMO_NEEDS]
    result = without(bare, "info", TALLYDRAW_BACKEND="cpp")
    assert (result.returncode, result.stderr) == (0, "")
    assert "cpp (installed: cpp)" in result.stdout
    assert without(bare, "--help", TALLYDRAW_BACKEND="cpp").returncode == 0
    assert without(bare, "--version", TALLYDRAW_BACKEND="cpp").stdout == f"tallydraw {td.__version__}\n"


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"tallydraw {td.__version__}\n"


def test_no_command_prints_the_help(capsys):
    assert main([]) == 2
    assert "tallydraw [-h]" in capsys.readouterr().out


@pytest.mark.parametrize("absent", [["rich"], ["sklearn", "matplotlib"], list(DEMO_NEEDS)])
def test_demo_without_its_extra_is_one_message_with_the_command(absent):
    result = without(absent, "demo")
    assert result.returncode == 2
    assert result.stdout == ""
    command = next(line for line in result.stderr.splitlines() if "pip install" in line)
    missing = [need for name, need in DEMO_NEEDS.items() if name in absent or find_spec(name) is None]
    assert command.split("install ")[1] == " ".join(f'"{need}"' for need in missing)
    assert "Traceback" not in result.stderr


def test_demo_refuses_a_bad_output_or_seed_before_any_work(tmp_path, capsys):
    pytest.importorskip("rich")
    assert main(["demo", "--output", str(tmp_path / "absent" / "demo.png")]) == 2
    assert main(["demo", "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("is not a file in an existing directory") == 2
    for seed in ("-1", str(2**32), "x"):
        with pytest.raises(SystemExit):
            main(["demo", "--seed", seed])


def test_the_extra_is_what_the_message_says():
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")
    assert f"\ndemo = {json.dumps(list(DEMO_NEEDS.values()))}\n" in project


def test_demo_prints_the_figures_and_writes_a_picture(backend, tmp_path):
    for name in DEMO_NEEDS:
        pytest.importorskip(name)
    picture = tmp_path / "demo.png"
    result = run("-m", "tallydraw", "demo", "--quick", "--output", str(picture), TALLYDRAW_BACKEND=backend)
    assert result.returncode == 0, result.stderr  # matplotlib may say there that it builds its font cache
    rows = {line.split("  ")[0].strip(): line.split() for line in result.stdout.splitlines() if line.strip()}

    # The ten rows and the avatars, by hand.
    assert rows["P(A | y)"][-2:] == ["0.40", "0.40"]
    assert rows["P($ | y)"][-2:] == ["0.20", "0.60"]
    assert rows["P([A, $] | y), the product of the two"][-2:] == ["0.08", "0.24"]
    assert rows["P(y | [A, $]) by naive Bayes"][-2:] == ["0.25", "0.75"]
    assert next(row for label, row in rows.items() if "by the joint table" in label)[-2:] == ["0.00", "1.00"]
    assert "2/50 = 0.04" in result.stdout
    assert f"(2+1)/(50+4032) = {3 / 4082:.2g}" in result.stdout
    assert f"1/4082 = {1 / 4082:.2g}" in result.stdout

    # The joint MLE never draws an image it was not shown, and gives held-out ones probability 0.
    joint = next(line for line in result.stdout.splitlines() if line.strip().startswith("joint table "))
    assert "−∞" in joint
    assert " 0% " in joint
    assert f"backend {backend}, instruction set" in result.stdout

    import matplotlib.image

    pixels = matplotlib.image.imread(picture)
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert pixels.shape[:2] == (1290, 1950)
    assert 0.02 < np.mean(pixels[..., :3].min(axis=2) < 0.5) < 0.5  # ink on white


def test_demo_survives_a_terminal_without_unicode():
    pytest.importorskip("rich")
    code = "from tallydraw.cli.demo_style import new_console; new_console().print('−∞ × €')"
    result = run("-c", code, PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stdout) == (0, "?? ? ?\n")
