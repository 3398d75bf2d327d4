"""The import arrows of docs/architecture.md: each package imports from the packages below it alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extraction.conftest import write_wav

PACKAGE = Path(__file__).resolve().parents[1] / "mse_pipeline"
FOUNDATION = {"errors", "cells", "file_kinds", "clip", "task", "places", "names", "plugins", "posix", "progress"}
FOUNDATION |= {"fonts"}
BELOW = {
    "errors": set(),
    "cells": set(),
    "task": set(),
    "clip": set(),
    "file_kinds": set(),
    "fonts": set(),
    "places": {"errors"},
    "names": set(),
    "progress": set(),
    "plugins": {"errors"},
    "model_files": {"errors", "file_kinds"},
    "posix": set(),
    "child_process": {"errors", "posix"},
    "hdf5_guard": {"errors", "places", "file_kinds"},
    "recipe": FOUNDATION,
    "metrics": FOUNDATION,
    "media": FOUNDATION,
    "store": FOUNDATION,
    "corpora": FOUNDATION | {"recipe", "hdf5_guard"},
    "extractors": FOUNDATION | {"child_process", "recipe", "media", "store", "hdf5_guard", "model_files"},
    "alignment": FOUNDATION | {"store"},
    "backbones": FOUNDATION | {"store", "model_files"},
    "adapter": FOUNDATION | {"store"},
    "extraction": FOUNDATION | {"child_process", "recipe", "media", "store", "corpora", "extractors", "alignment"},
    "training": FOUNDATION | {"recipe", "metrics", "store", "backbones", "adapter"},
    "report": FOUNDATION | {"metrics", "store", "recipe"},
    "prediction": FOUNDATION
    | {"model_files", "recipe", "metrics", "store", "corpora", "extractors", "backbones", "adapter", "extraction"}
    | {"training"},
    "exchange": FOUNDATION | {"recipe", "store", "corpora", "hdf5_guard"},
    "checking": FOUNDATION | {"child_process", "recipe", "media", "store", "corpora", "extractors"},
    "inspection": FOUNDATION | {"media", "store", "alignment"},
    "sample": FOUNDATION | {"store"},
    "citing": FOUNDATION,
    "selftest": FOUNDATION | {"recipe", "media", "store", "corpora", "extractors", "extraction"},
    "doctor": FOUNDATION | {"store", "extractors"},
}
BELOW["ui"] = FOUNDATION | {"store", "prediction", "report", "inspection"}
BELOW["cli"] = set(BELOW)
HEAVY = {
    "torch",
    "onnxruntime",
    "openvino",
    "pandas",
    "transformers",
    "librosa",
    "opensmile",
    "av",
    "cv2",
    "h5py",
    "pyarrow",
    "sklearn",
    "scipy",
    "facenet_pytorch",
    "matplotlib",
    "distributed",
    "ray",
}


def part(module: str) -> str:
    """`store` of `mse_pipeline.store.keys`; empty for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def imports(path: Path) -> set[str]:
    """Parts of the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {part(alias.name) for alias in node.names if alias.name.startswith("mse_pipeline.")}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "mse_pipeline":
            found |= {alias.name for alias in node.names if alias.name != "__version__"}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("mse_pipeline."):
            found.add(part(node.module or ""))
    return found


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert own in BELOW, f"{own} has no place among the layers yet"
    upward = imports(path) - BELOW[own] - {own}
    assert not upward, f"{own} must not import {', '.join(sorted(upward))}"


def loaded_by(*arguments: object, folder: Path) -> set[str]:
    """Libraries that the process of a command has loaded at its end."""
    code = (
        "import sys\nfrom mse_pipeline.cli import main\ntry:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print()\nprint(*{name.partition('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [("--help",), ("extract", "--help"), ("recipes", "list"), ("datasets", "list")])
def test_commands_that_look_nothing_up_load_no_heavy_library(arguments, tmp_path):
    assert not HEAVY & loaded_by(*arguments, folder=tmp_path)


def test_only_the_hosts_of_an_extraction_load_models(tmp_path):
    write_wav(tmp_path / "a.wav")
    (tmp_path / "clips.csv").write_text("id,media,split,text,label\na,a.wav,train,so,x\nb,a.wav,test,no,y\n")
    loaded = loaded_by("extract", "clips.csv", "--streams", "acoustic.egemaps", folder=tmp_path)
    assert not (HEAVY - {"h5py", "pyarrow"}) & loaded


def test_nobody_trusts_remote_code_or_reads_pickles():
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert keywords.get("trust_remote_code", "False") == "False", path
            assert name not in {"pickle.load", "pickle.loads", "yaml.load", "os.system", "eval", "exec"}, path
            assert keywords.get("shell", "False") == "False", path
            if name == "torch.load":
                assert keywords.get("weights_only") == "True", path
            if name.endswith("np.load"):
                assert keywords.get("allow_pickle", "False") == "False", path


ONE_SYSTEM_MODULES = {"fcntl", "grp", "msvcrt", "posix", "pty", "pwd", "resource", "select", "termios", "tty", "winreg"}
ONE_SYSTEM_NAMES = {
    "SIGALRM",
    "SIGHUP",
    "SIGIO",
    "SIGKILL",
    "SIGPIPE",
    "SIGUSR1",
    "SIGUSR2",
    "alarm",
    "pthread_sigmask",
}
ONE_SYSTEM_NAMES |= {"fork", "forkpty", "getgid", "getpgid", "getppid", "getsid", "getuid", "killpg", "mkfifo", "nice"}
ONE_SYSTEM_NAMES |= {
    "sched_getaffinity",
    "sched_setaffinity",
    "setpgid",
    "setpgrp",
    "setsid",
    "sysconf",
    "uname",
    "wait",
}
ONE_SYSTEM_NAMES |= {"wait3", "wait4", "waitpid", "O_ASYNC", "O_NONBLOCK", "SCM_RIGHTS", "AF_UNIX", "pthread_kill"}
ONE_SYSTEM_ARGUMENTS = {"pass_fds", "preexec_fn", "start_new_session"}


def of_one_system(source: str) -> set[str]:
    """What a file uses that some operating systems have not."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & ONE_SYSTEM_MODULES
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {node.module} & ONE_SYSTEM_MODULES
            if node.module in {"os", "signal", "socket"}:
                found |= {alias.name for alias in node.names} & ONE_SYSTEM_NAMES
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"os", "signal", "socket"}:
            found |= {node.attr} & ONE_SYSTEM_NAMES
        elif isinstance(node, ast.Call):
            found |= {str(keyword.arg) for keyword in node.keywords} & ONE_SYSTEM_ARGUMENTS
            if ast.unparse(node.func).endswith("get_context"):
                found |= {ast.unparse(argument) for argument in node.args} & {"'fork'", "'forkserver'"}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_single_systems_have_is_used_in_one_file_alone(path):
    assert path == PACKAGE / "posix.py" or not of_one_system(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import fcntl", {"fcntl"}),
        ("from resource import getrusage", {"resource"}),
        ("from os import fork, path", {"fork"}),
        ("os.kill(1, signal.SIGKILL)", {"SIGKILL"}),
        ("subprocess.Popen(x, pass_fds=(3,))", {"pass_fds"}),
        ("multiprocessing.get_context('fork')", {"'fork'"}),
        ("from importlib import resources\nimport posixpath\nos.kill(1, signal.SIGTERM)\nlock.wait(1)", set()),
    ],
)
def test_what_single_systems_have_is_recognised(source, found):
    assert of_one_system(source) == found
