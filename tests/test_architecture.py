"""The import arrows of docs/architecture.md: each package imports from the packages below it alone."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mse_pipeline"
FOUNDATION = {"errors", "cells", "file_kinds", "clip", "task", "places", "names", "plugins"}
BELOW = {
    "errors": set(),
    "cells": set(),
    "task": set(),
    "clip": set(),
    "file_kinds": set(),
    "places": {"errors"},
    "names": set(),
    "plugins": {"errors"},
    "model_files": {"errors", "file_kinds"},
    "hdf5_guard": {"errors", "places", "file_kinds"},
    "recipe": FOUNDATION,
    "metrics": FOUNDATION,
    "media": FOUNDATION,
    "store": FOUNDATION,
    "corpora": FOUNDATION | {"recipe", "hdf5_guard"},
    "extractors": FOUNDATION | {"recipe", "media", "store", "hdf5_guard", "model_files"},
    "alignment": FOUNDATION | {"store"},
    "backbones": FOUNDATION | {"store", "model_files"},
    "adapter": FOUNDATION | {"store"},
    "extraction": FOUNDATION | {"recipe", "media", "store", "corpora", "extractors", "alignment"},
    "training": FOUNDATION | {"recipe", "metrics", "store", "backbones", "adapter"},
    "report": FOUNDATION | {"metrics", "store"},
    "prediction": FOUNDATION
    | {"model_files", "recipe", "metrics", "store", "corpora", "extractors", "backbones", "adapter", "extraction"}
    | {"training"},
    "exchange": FOUNDATION | {"recipe", "store", "corpora", "hdf5_guard"},
    "checking": FOUNDATION | {"recipe", "media", "store", "corpora"},
    "inspection": FOUNDATION | {"media", "store"},
    "sample": FOUNDATION | {"store"},
}
BELOW["cli"] = set(BELOW)
HEAVY = {
    "torch",
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


def test_the_command_line_starts_without_heavy_imports():
    import subprocess
    import sys

    code = "import sys, mse_pipeline.cli.app; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)


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
