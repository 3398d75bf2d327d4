"""A release: its version and date are the same wherever they stand, and its wheel works without this checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
import yaml

from mse_pipeline import __version__

ROOT = Path(__file__).resolve().parents[1]
RELEASE = re.compile(r"(?P<version>\d+\.\d+\.\d+) - (?P<date>\d{4}-\d{2}-\d{2})")


def of_project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_version_and_its_date_are_the_same_everywhere():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {of_project()["version"], cited["version"]} == {__version__}
    told = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    released = [RELEASE.fullmatch(heading) for heading in told if heading != "Unreleased"]
    assert told.index("Unreleased") == 0 if "Unreleased" in told else released
    assert all(released), told
    if released:
        assert released[0].groupdict() == {"version": cited["version"], "date": str(cited["date-released"])}
        versions = [tuple(map(int, one["version"].split("."))) for one in released]
        assert versions == sorted(set(versions), reverse=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with the wheel and, of what it depends on, the packages of this one, but not this checkout."""
    home = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(home / "dist")]
    pytest.importorskip("hatchling", reason="needs hatchling: pip install 'mse-pipeline[dev]'")
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (home / "dist").glob("*.whl")
    folder = home / "environment"
    venv.create(folder, symlinks=os.name != "nt")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    install = [sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, "--quiet", str(wheel)], check=True, capture_output=True)
    others = {sysconfig.get_path(name) for name in ("purelib", "platlib")}  # their own .pth files are not read
    (Path(paths["purelib"]) / "others.pth").write_text("\n".join(sorted(others)) + "\n", encoding="utf-8")
    return scripts


# The demo as it is, but with one clip of each emotion a split.
SMALL_DEMO = """
from functools import partial
import mse_pipeline
from mse_pipeline.cli import main
from mse_pipeline.sample import corpus
corpus.build = partial(corpus.build, clips_per_emotion=(1, 1, 1))
print(mse_pipeline.__file__)
main()
"""


@pytest.mark.slow
def test_the_wheel_has_all_that_the_demo_needs(installed, tmp_path):
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MSE_", "COV"))}

    def run(*command):
        done = subprocess.run(command, cwd=tmp_path, env=outside, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    python, mse = str(installed / "python"), str(installed / "mse")
    assert run(mse, "--version").strip() == f"mse {of_project()['version']}"
    demo = run(python, "-c", SMALL_DEMO, "demo", "--seed", "1", "--set", "training.epochs=1", "--workers", "1")
    assert Path(demo.splitlines()[0]).is_relative_to(installed.parent)
    assert "Kept in demo" in demo
    assert (tmp_path / "demo/report.md").is_file()


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package_and_the_recipes(installed):
    ours = {
        path.relative_to(home)
        for home, folder in ((ROOT / "mse_pipeline", "."), (ROOT, "pipelines"))
        for path in (home / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    (package,) = (path.parent for path in installed.parent.rglob("mse_pipeline/__init__.py"))
    assert {path for path in ours if not (package / path).is_file()} == set()
    assert len(ours) > 200
