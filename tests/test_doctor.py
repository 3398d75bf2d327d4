"""What `mse doctor` finds on machines where something does not fit, and what it says of this one."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from mse_pipeline import doctor, store
from mse_pipeline.cli.app import app


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A function that installs a package which requires others, and holds some code."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))  # of the process that tries imports

    def install(name: str, version: str = "1.0", requires: tuple[str, ...] = (), code: str | None = None) -> None:
        about = folder / f"{name}-{version}.dist-info"
        about.mkdir()
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires)]
        (about / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
        if code is not None:
            (folder / f"{name}.py").write_text(code)

    return install


def found(monkeypatch, *names: str) -> dict[str, doctor.Finding]:
    monkeypatch.setattr(doctor, "_NEEDED", names)
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


def test_a_torchvision_for_another_torch_is_told_by_its_builds(packages, monkeypatch):
    packages("torch", "2.9.0+cpu", code="import types\nversion = types.SimpleNamespace(cuda=None, hip=None)\n"
             "cuda = types.SimpleNamespace(device_count=lambda: 0)\n"
             "backends = types.SimpleNamespace(mps=types.SimpleNamespace(is_available=lambda: False))\n")  # fmt: skip
    packages("torchvision", "0.24.0", code="raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.setattr(doctor, "_version", {"torch": "2.9.0+cpu", "torchvision": "0.24.0"}.get)
    told = found(monkeypatch, "torch", "torchvision")
    assert told["torchvision"].state == "problem"
    assert "torch 2.9.0+cpu, torchvision 0.24.0" in told["torchvision"].found
    assert "--force-reinstall torch==2.9.0 torchvision==0.24.0" in told["torchvision"].mend
    assert told["device"].state in {"note", "problem"}


def test_a_library_that_crashes_does_not_hide_what_comes_after_it(packages, monkeypatch):
    packages("first", code="")
    packages("crashes", code="import os\nos._exit(7)\n")
    packages("broken", code="import ctypes\nctypes.CDLL('libnowhere.so')\n")
    packages("last", code="print('a line of its own')\n")
    told = found(monkeypatch, "first", "crashes", "broken", "last", "absent_one")
    assert "ended with 7" in told["crashes"].found
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


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path):
    (tmp_path / "file").write_text("no folder")
    (finding, *_) = doctor._cache(store.open(tmp_path / "file" / "cache"))
    assert finding.state == "problem"
    assert str(tmp_path / "file") in finding.found
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
    monkeypatch.setattr(doctor, "_NEEDED", ("h5py",))
    options = ["doctor", "--cache", str(tmp_path / "cache"), "--json"]
    good = CliRunner().invoke(app, options)
    assert good.exit_code == 0
    told = {one["subject"]: one for one in json.loads(good.stdout)["findings"]}
    assert told["versions"]["state"] == told["disk"]["state"] == told["libraries"]["state"] == "ok"
    assert told["datasets"]["mend"].startswith("mse demo")
    assert "HF_HUB_OFFLINE" in told["hub"]["found"]
    assert "openSMILE" in told["licences"]["found"]
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(doctor, "_NEEDED", ("h5py", "breaks"))
    bad = CliRunner().invoke(app, [*options[:-1]])
    assert bad.exit_code == 1
    assert "no such codec" in bad.stdout
    assert "1 problem." in bad.stdout
