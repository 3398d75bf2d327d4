"""What `mse doctor` finds on machines where something does not fit, and what it says of this one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from mse_pipeline import doctor
from mse_pipeline.cli.app import app


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A function that installs a package which requires others, and holds some code."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))  # of the process that tries imports

    def install(
        name: str, version: str = "1.0", requires: tuple[str, ...] = (), code: str | None = None, built: str = ""
    ) -> None:
        about = folder / f"{name}-{version}.dist-info"
        about.mkdir()
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires)]
        (about / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
        if code is not None:
            (folder / f"{name}.py").write_text(code)
        if built:
            (folder / "version.py").write_text(f"__version__ = '{built}'\n")
            (about / "RECORD").write_text("version.py,,\n")

    return install


def found(monkeypatch, *names: str) -> dict[str, doctor.Finding]:
    monkeypatch.setattr(doctor, "LIBRARIES", names)
    return {finding.subject: finding for finding in doctor._libraries()}


@pytest.mark.parametrize(
    ("requires", "problem"),
    [
        (("theirs>=2",), "theirs>=2, and 1.0 is installed"),
        (("theirs!=1.0",), "theirs!=1.0, and 1.0 is installed"),
        (("not-there-at-all",), "not-there-at-all, and it is not installed"),
        (("middle",), "theirs<1, and 1.0 is installed"),
        (("theirs>=1", 'theirs>=9; extra == "more"', 'theirs>=9; python_version < "3"'), None),
    ],
)
def test_versions_that_do_not_fit_are_told_with_the_line_that_mends_them(packages, requires, problem):
    packages("theirs")
    packages("middle", requires=("theirs<1",))
    packages("ours", requires=requires)
    (finding,) = doctor.unfit_versions("ours")
    if problem is None:
        assert finding.state == "ok"
    else:
        assert finding.state == "problem"
        assert problem in finding.found
        assert "-m pip install" in finding.mend


NMS = "operator torchvision::nms does not exist"


@pytest.mark.parametrize(
    ("torch", "torchvision", "needs", "pair"),
    [
        ("2.9.0+cpu", "0.24.0", "torch==2.9.0", ("torch===2.9.0", "torchvision===0.24.0")),
        ("2.9.0", "0.24.0+cpu", "torch==2.9.0", ("torch===2.9.0", "torchvision===0.24.0")),
        ("2.8.0+cpu", "0.24.0", "torch==2.9.0", ("torch===2.9.0", "torchvision===0.24.0")),
        ("2.8.0+cpu", "0.24.0", "torch>=2.9.0", ("'torch>=2.9.0'", "torchvision===0.24.0")),
    ],
)
def test_a_torchvision_for_another_torch_is_told_with_a_pair_of_one_build(
    packages, monkeypatch, torch, torchvision, needs, pair
):
    packages("torch", torch, code="import types\nversion = types.SimpleNamespace(cuda=None, hip=None)\n"
             "cuda = types.SimpleNamespace(device_count=lambda: 0)\n"
             "backends = types.SimpleNamespace(mps=types.SimpleNamespace(is_available=lambda: False))\n")  # fmt: skip
    packages("torchvision", torchvision, (needs,), f"raise RuntimeError('{NMS}')\n", built="0.24.0+cu132")
    packages("user", requires=("torchvision",), code="import torchvision\n")
    told = found(monkeypatch, "torch", "torchvision", "user")
    assert told["torchvision"].state == "problem"
    assert f"torch {torch}, torchvision 0.24.0+cu132" in told["torchvision"].found
    assert told["torchvision"].mend.endswith(f"-m pip install {' '.join(pair)}")  # == would take 2.9.0+cpu again
    assert told["device"].state in {"note", "problem"}
    assert (told["user"].found, told["user"].mend) == (
        "it needs torchvision, which cannot be imported: mend that first",
        "",
    )


def test_what_fails_by_another_library_without_requiring_it_names_that(packages, monkeypatch):
    packages("first", code="raise RuntimeError('built for another world')\n")
    packages("second", code="import first\n")  # pandas does so with pyarrow
    packages("third", code="import os\nos._exit(7)\n")
    packages("fourth", code="import os\nos._exit(7)\n")
    told = found(monkeypatch, "first", "second", "third", "fourth")
    assert "-m pip install --force-reinstall --no-deps first==1.0" in told["first"].mend
    assert "it needs first" in told["second"].found
    assert "third ended with exit code 7" in told["third"].found
    assert "fourth ended with exit code 7" in told["fourth"].found  # the same end has no common cause


@pytest.mark.parametrize("library", ["numpy", "pyarrow"])
def test_the_doctor_examines_a_machine_whose_store_cannot_be_imported(tmp_path, packages, monkeypatch, library):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    packages(library, code="raise ImportError('not of this machine')\n")
    code = "from mse_pipeline import doctor\ndoctor.LIBRARIES = ()\n"
    code += "for finding in doctor.examine('cache'):\n    print(finding.subject, finding.found)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert f"cache not looked at, as {library} cannot be imported" in done.stdout, done.stderr
    assert done.returncode == 0


def test_a_library_that_crashes_does_not_hide_what_comes_after_it(packages, monkeypatch):
    packages("first", code="")
    packages("crashes", code="import os\nos._exit(7)\n")
    packages("broken", code="import ctypes\nctypes.CDLL('libnowhere.so')\n")
    packages("last", code="print('a line of its own')\n")
    told = found(monkeypatch, "first", "crashes", "broken", "last", "absent_one")
    assert "ended with exit code 7" in told["crashes"].found
    assert "libnowhere.so" in told["broken"].found
    assert "it is not installed" in told["absent_one"].found
    assert told["libraries"].found == "first 1.0, last 1.0"


def test_a_library_that_takes_too_long_is_a_note_and_the_next_is_tried(packages, monkeypatch):
    packages("slow", code="import time\ntime.sleep(60)\n")
    packages("last", code="")
    monkeypatch.setattr(doctor, "_PATIENCE", 1.5)
    told = found(monkeypatch, "slow", "last")
    assert told["slow"].state == "note"
    assert told["libraries"].found == "last 1.0"


@pytest.mark.parametrize("gpus", [[], ["H200"]])
def test_a_gpu_that_torch_does_not_see_is_a_problem(monkeypatch, gpus):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    finding = doctor._device({"gpus": gpus, "mps": False, "built_for": ""})
    assert finding.state == ("ok" if gpus else "problem")
    assert ("--device cuda" if gpus else "built without CUDA") in finding.found


@pytest.mark.parametrize("name", ["file/cache", "file", "link"])
def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path, name):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "link").symlink_to(tmp_path / "drive that is not mounted")
    (finding, *_) = doctor._cache(tmp_path / name)
    assert (finding.subject, finding.state) == ("cache", "problem")
    assert str(tmp_path / name.partition("/")[0]) in finding.found
    assert "MSE_CACHE" in finding.mend


def test_a_disk_with_little_left_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_LEAST_FREE", 1 << 62)
    (finding,) = doctor._disk(tmp_path)
    assert finding.state == "problem"
    assert "hours of media" in finding.found
    assert not list(tmp_path.iterdir())


def test_the_command_tells_all_of_it_and_ends_with_1_where_something_fails(tmp_path, monkeypatch, packages):
    packages("breaks", code="raise ImportError('no such codec')\n")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(doctor, "LIBRARIES", ("h5py",))
    options = ["doctor", "--cache", str(tmp_path / "cache"), "--json"]
    good = CliRunner().invoke(app, options)
    assert good.exit_code == 0
    told = {one["subject"]: one for one in json.loads(good.stdout)["findings"]}
    assert told["versions"]["state"] == told["disk"]["state"] == told["libraries"]["state"] == "ok"
    assert told["datasets"]["mend"].startswith("mse demo")
    assert "HF_HUB_OFFLINE" in told["hub"]["found"]
    assert "openSMILE" in told["licences"]["found"]
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(doctor, "LIBRARIES", ("h5py", "breaks"))
    bad = CliRunner().invoke(app, [*options[:-1]])
    assert bad.exit_code == 1
    assert "no such codec" in bad.stdout
    assert "1 problem." in bad.stdout
