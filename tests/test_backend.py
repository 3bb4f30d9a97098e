"""Backends: which one runs, what forces, breaks or replaces it, its threads, fork() and Ctrl-C."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import sysconfig
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import tallydraw as td
from tallydraw._numba.parallel import max_threads

HERE = Path(td.__file__).parent
SETS = td.backend.instruction_sets()


def python(
    code: str, *, path: Path = HERE.parent, timeout: float = 120.0, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run `code` in a new interpreter that imports tallydraw from `path`, without this process's settings."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TALLYDRAW_", "OMP_", "NUMBA_", "PYTHONWARN"))}
    clean |= {"PYTHONPATH": str(path), **env}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=clean, capture_output=True, text=True, timeout=timeout
    )


def output(code: str, **options: object) -> str:
    """What `code` printed; it must end well and warn of nothing."""
    done = python(code, **options)  # type: ignore[arg-type]
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def error(code: str, **options: object) -> str:
    """The last line of the traceback with which `code` ended."""
    done = python(code, **options)  # type: ignore[arg-type]
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.fixture
def without_core(tmp_path: Path) -> Path:
    """A path whose tallydraw is this one without its compiled module."""
    package = tmp_path / "tallydraw"
    package.mkdir()
    for entry in HERE.iterdir():
        if not entry.name.startswith(("_core.", "__pycache__")):
            (package / entry.name).symlink_to(entry)
    return tmp_path


# Which backend runs ----------------------------------------------------------------------------------------------


def test_cpp_is_taken_where_it_was_built() -> None:
    assert (
        output("import tallydraw as td; print(td.backend.active(), td.backend.available())") == "cpp ['cpp', 'numba']"
    )


@pytest.mark.parametrize("name", ["cpp", "numba"])
def test_environment_forces_a_backend(name: str) -> None:
    code = "import tallydraw as td; print(td.backend.active(), td.backend.kernels().__name__)"
    module = {"cpp": "tallydraw._core", "numba": "tallydraw._numba"}[name]
    assert output(code, TALLYDRAW_BACKEND=name) == f"{name} {module}"


def test_unknown_forced_backend_is_an_error() -> None:
    message = error("import tallydraw", TALLYDRAW_BACKEND="fortran")
    assert message == "ValueError: TALLYDRAW_BACKEND must be one of ['cpp', 'numba'], got 'fortran'"


def test_empty_environment_variables_force_nothing() -> None:
    code = "import tallydraw as td; print(td.backend.active())"
    assert output(code, TALLYDRAW_BACKEND="", TALLYDRAW_INSTRUCTION_SET="") == "cpp"


def test_use_changes_the_backend_and_refuses_an_unknown_one(backend: str) -> None:
    assert td.backend.active() == backend
    with pytest.raises(ValueError, match=r"backend must be one of .*, got 'nope'"):
        td.backend.use("nope")
    with pytest.raises(ValueError, match=r"instruction_set must be one of .*, got 'mmx'"):
        td.backend.use(backend, instruction_set="mmx")
    assert td.backend.active() == backend


def test_numba_is_not_imported_with_cpp() -> None:
    code = """
        import sys, tallydraw as td
        td.Tables.from_arrays([[1, 2]]).levels()
        td.sample_categories([1, 2], 10)
        print(sorted({"numba", "llvmlite", "scipy", "sklearn", "matplotlib", "pandas"} & set(sys.modules)))
    """
    assert output(code, TALLYDRAW_BACKEND="cpp") == "[]"


def test_broken_compiled_module_raises_instead_of_falling_back(without_core: Path) -> None:
    (without_core / "tallydraw" / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}").write_bytes(b"not a module")
    message = error("import tallydraw", path=without_core)
    assert message.startswith("ImportError: tallydraw's backend 'cpp' is installed, but cannot be loaded")
    assert "TALLYDRAW_BACKEND=numba" in message
    code = "import tallydraw as td; print(td.backend.active())"
    assert output(code, path=without_core, TALLYDRAW_BACKEND="numba") == "numba"


def test_absent_compiled_module_falls_back_with_one_visible_warning(without_core: Path) -> None:
    code = """
        import tallydraw as td
        td.sample_categories([1, 2], 10)
        print(td.backend.active(), td.backend.available(), td.backend.instruction_set())
    """
    done = python(code, path=without_core)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "numba ['numba'] native"
    assert done.stderr.count("RuntimeWarning") == 1
    # Shown at the user's import, not inside this package or the import system.
    assert done.stderr.startswith("<string>:2: RuntimeWarning: tallydraw was installed without its compiled backend")


def test_absent_compiled_module_forced_is_an_error(without_core: Path) -> None:
    message = error("import tallydraw", path=without_core, TALLYDRAW_BACKEND="cpp")
    assert message.startswith("ImportError: the compiled backend 'cpp' is not installed")


def test_absent_numba_forced_is_an_error() -> None:
    code = "import sys; sys.modules['numba'] = None; import tallydraw"
    message = error(code, TALLYDRAW_BACKEND="numba")
    assert message.startswith("ImportError: the backend 'numba' needs the package numba")
    assert output("import sys; sys.modules['numba'] = None; import tallydraw as td; print(td.backend.available())") == (
        "['cpp']"
    )


# Instruction sets --------------------------------------------------------------------------------------------------


def test_widest_supported_instruction_set_is_taken() -> None:
    code = "import tallydraw as td; print(td.backend.instruction_set() == td.backend.instruction_sets()[-1])"
    assert output(code, TALLYDRAW_BACKEND="cpp") == "True"


@pytest.mark.parametrize("name", SETS)
def test_environment_forces_an_instruction_set(name: str) -> None:
    code = "import tallydraw as td; print(td.backend.instruction_set(), td.backend.kernels().instruction_set())"
    active = td.backend.active()
    inner = name.replace("x86-64-", "x86_64_")
    assert output(code, TALLYDRAW_BACKEND=active, TALLYDRAW_INSTRUCTION_SET=name) == f"{name} {inner}"


def test_unknown_forced_instruction_set_is_an_error() -> None:
    message = error("import tallydraw", TALLYDRAW_BACKEND="cpp", TALLYDRAW_INSTRUCTION_SET="x86-64-v9")
    assert message.startswith("ValueError: TALLYDRAW_INSTRUCTION_SET must be one of ['")
    assert message.endswith("with the backend 'cpp' on this machine, got 'x86-64-v9'")


# Threads -----------------------------------------------------------------------------------------------------------

THREADS = "import tallydraw as td; print(td.backend.threads(None, 1 << 40))"


def test_threads_obey_omp_num_threads(backend: str) -> None:
    assert output(THREADS, TALLYDRAW_BACKEND=backend, OMP_NUM_THREADS="1") == "1"
    assert output(THREADS, TALLYDRAW_BACKEND=backend, OMP_NUM_THREADS="1,2") == "1"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_threads_obey_the_affinity(backend: str) -> None:
    code = f"""
        import os
        os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
        {THREADS}
        """
    assert output(code, TALLYDRAW_BACKEND=backend) == "1"
    late = f"""
        import os, tallydraw
        os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
        {THREADS}
        """
    assert output(late, TALLYDRAW_BACKEND=backend) == "1"


def test_threads_obey_threadpoolctl(backend: str) -> None:
    code = """
        import threadpoolctl
        import tallydraw as td
        def threads():
            return td.backend.threads(None, 1 << 40)
        before = [threads(), threads()]  # the second after what the first has imported
        with threadpoolctl.threadpool_limits(1):
            inside = threads()
        print(before[0] == before[1] == threads(), inside)
        """
    assert output(code, TALLYDRAW_BACKEND=backend) == "True 1"


def test_threads_obey_threadpoolctl_2(monkeypatch: pytest.MonkeyPatch) -> None:
    pools = [{"user_api": "blas", "num_threads": 1}, {"user_api": "openmp", "num_threads": 2}]
    old = SimpleNamespace(threadpool_info=lambda: pools)
    monkeypatch.setitem(sys.modules, "threadpoolctl", old)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 3)
    assert max_threads() == 2
    pools.pop()
    assert max_threads() == 1


def test_small_work_stays_serial_and_a_stated_number_is_taken(backend: str) -> None:
    assert td.backend.threads(None, 100) == 1
    assert td.backend.threads(7, 100) == 7
    assert td.backend.threads(None, 1 << 40) >= 1


LOADING = """
    import importlib, os, sys
    load, seen = importlib.import_module, []
    def watched(name, *rest):
        if name in ("tallydraw._core", "tallydraw._numba"):
            seen.append(os.environ.get("GOMP_SPINCOUNT"))
        return load(name, *rest)
    importlib.import_module = watched
    import tallydraw as td
    td.backend.use(td.backend.active())
    print(*seen, os.environ.get("GOMP_SPINCOUNT"))
"""


def test_openmp_is_told_of_a_short_spin_while_it_is_loaded(backend: str) -> None:
    assert output(LOADING, TALLYDRAW_BACKEND=backend) == "10000 None None"


@pytest.mark.parametrize(
    ("variable", "value", "seen"), [("GOMP_SPINCOUNT", "7", "7 7 7"), ("OMP_WAIT_POLICY", "passive", "None None None")]
)
def test_the_user_s_word_on_spinning_stands(variable: str, value: str, seen: str) -> None:
    assert output(LOADING, **{variable: value}) == seen


def test_blocks_cover_every_row_once() -> None:
    assert list(td.backend.blocks(0)) == []
    for n, work in [(1, 1), (1 << 26, 1), (3, 1 << 40), (1000, 1 << 20)]:
        parts = list(td.backend.blocks(n, work))
        assert parts[0][0] == 0
        assert parts[-1][1] == n
        assert all(b == c for (_, b), (c, _) in itertools.pairwise(parts))
        assert all((b - a) * work <= td.backend.BLOCK_WORK or b - a == 1 for a, b in parts)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
def test_forked_child_computes_instead_of_hanging(backend: str) -> None:
    code = """
        import os, signal, sys
        import numpy as np
        import tallydraw as td

        def compute():
            x = td.sample_categories([1, 2, 3], 1_000_000, rng=7, n_threads=2)
            return x.tobytes() + td.count_categories(x, n_threads=2).tobytes()

        before = compute()
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            os._exit(0 if compute() == before and compute() == before else 3)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), compute() == before)
    """
    done = python(code, TALLYDRAW_BACKEND=backend)
    assert done.stdout.strip() == "0 True", done.stderr


@pytest.mark.parametrize("limit", ["1", "2"])
def test_a_team_may_be_smaller_than_asked_for(limit: str) -> None:
    code = """
        import tallydraw as td
        x = td.sample_categories([1, 2, 3], 1_000_000, rng=7, n_threads=5)
        print((x == td.sample_categories([1, 2, 3], 1_000_000, rng=7, n_threads=1)).all())
    """
    assert output(code, TALLYDRAW_BACKEND="cpp", OMP_THREAD_LIMIT=limit) == "True"


def test_numba_keeps_no_more_threads_than_calls_ask_for() -> None:
    code = """
        import threading, tallydraw as td
        for _ in range(300):
            td.sample_categories([1, 2, 3], 200_000, rng=1, n_threads=4)
        print(sum(thread.name == "tallydraw" for thread in threading.enumerate()))
    """
    ended = python(textwrap.dedent(code), TALLYDRAW_BACKEND="numba")
    assert ended.returncode == 0 and 1 <= int(ended.stdout) <= 3, ended.stderr


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads cannot be listed here")
def test_threads_may_use_the_same_processors_after_a_call() -> None:
    code = """
        import os, time
        import tallydraw as td
        before = os.sched_getaffinity(0)
        threads = lambda: [int(thread) for thread in os.listdir("/proc/self/task")]
        for _ in range(20):
            td.sample_categories([1, 2, 3], 1_000_000, rng=7, n_threads=3)
            time.sleep(0.01)
            for allowed in [{min(before)}, before]:  # all wait on one processor: a call parts them
                for thread in threads():
                    os.sched_setaffinity(thread, allowed)
        td.sample_categories([1, 2, 3], 1_000_000, rng=7, n_threads=3)
        print(len(threads()) >= 3, all(os.sched_getaffinity(thread) == before for thread in threads()))
    """
    assert output(code, TALLYDRAW_BACKEND="cpp") == "True True"


def test_a_daemon_thread_in_a_call_does_not_disturb_the_end(backend: str) -> None:
    code = """
        import threading, tallydraw as td
        begun = threading.Event()
        def work():
            while True:
                td.sample_categories([0.2] * 5, 2_000_000, rng=1)
                begun.set()
        threading.Thread(target=work, daemon=True).start()
        assert begun.wait(100)
        print("end")
    """
    for _ in range(3):
        assert output(code, TALLYDRAW_BACKEND=backend) == "end"


# Enough work for many seconds, little memory.
LONG_CALLS = {
    "count": "td.count_features(np.broadcast_to(np.uint8([1, 2, 3, 0]), (1 << 36, 4)), n_categories=4, n_threads=1)",
    "sample": "td.sample_paths(np.ones((256, 256)), 1 << 11, 1 << 20, rng=1, n_threads=1)",
}


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
@pytest.mark.parametrize("verb", LONG_CALLS)
def test_ctrl_c_ends_a_long_call(verb: str, backend: str) -> None:
    call = LONG_CALLS[verb]
    small = call.replace("1 << 36", "1 << 4").replace("1 << 20", "1 << 4")
    code = textwrap.dedent(f"""
        import signal
        import numpy as np
        import tallydraw as td
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is born deaf to it
        {small}
        print("ready", flush=True)
        try:
            {call}
            print("finished")
        except KeyboardInterrupt:
            print("interrupted")
    """)
    env = os.environ | {"PYTHONPATH": str(HERE.parent), "TALLYDRAW_BACKEND": backend}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        try:
            assert process.communicate(timeout=60)[0] == "interrupted\n"
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no interval timers there")
@pytest.mark.parametrize("verb", LONG_CALLS)
def test_a_long_call_ends_within_a_second_of_work(verb: str, backend: str) -> None:
    """The signal comes, and its lateness is taken, in processor time: a busy machine changes neither."""
    call = LONG_CALLS[verb]
    small = call.replace("1 << 36", "1 << 4").replace("1 << 20", "1 << 4")
    late = output(
        f"""
        import signal, time
        import numpy as np
        import tallydraw as td
        {small}
        signal.signal(signal.SIGPROF, signal.default_int_handler)
        begin = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, 0.5)
        try:
            {call}
        except KeyboardInterrupt:
            print(time.process_time() - begin - 0.5)
        """,
        TALLYDRAW_BACKEND=backend,
    )
    assert float(late) < 1.0


# Import --------------------------------------------------------------------------------------------------------------


def test_every_public_name_is_there() -> None:
    assert output("import tallydraw as td; print(all(hasattr(td, n) for n in td.__all__), td.__version__)") == (
        f"True {td.__version__}"
    )
