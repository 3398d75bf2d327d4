"""Dask and Ray make the same cache as this machine's processes do, also where one of their workers is killed."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack

import psutil
import pytest

from mse_pipeline import store
from mse_pipeline.errors import UsageError
from mse_pipeline.extraction.engine import crew
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.progress import Silent

pytestmark = pytest.mark.slow

CLIPS = 24


def scheduler_address(file):
    """What a scheduler writes of itself once it runs; for a moment the file is there and empty."""
    end = time.monotonic() + 120
    while True:
        try:
            return json.loads(file.read_text())["address"]
        except (FileNotFoundError, ValueError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@pytest.fixture(params=[0, 3], ids=["dask-gives-up", "dask-tries-again"])
def dask_cluster(request, tmp_path):
    """A scheduler and two workers, processes of their own; gives the address and the workers' processes."""
    pytest.importorskip("distributed", reason="needs Dask: pip install 'mse-pipeline[dask]'")
    file = tmp_path / "scheduler.json"
    told = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    # How often Dask itself gives a lost task to another worker before it gives it up; 0 leaves that to us.
    environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(request.param)}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    common = ["--scheduler-file", str(file), "--no-dashboard"]

    def start(*arguments):
        return subprocess.Popen([sys.executable, "-m", *arguments, *common], env=environment, **told)

    with ExitStack() as ended:

        def keep(process):
            ended.callback(process.wait)
            ended.callback(process.kill)
            return process

        keep(start("distributed.cli.dask_scheduler", "--port", "0"))
        workers = [keep(start("distributed.cli.dask_worker", "--no-nanny", "--nthreads", "1")) for _ in range(2)]
        yield scheduler_address(file), workers


@pytest.fixture
def ray_cluster():
    """A local Ray cluster with two workers."""
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'mse-pipeline[ray]'")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield ray
    ray.shutdown()


class Once(Silent):
    """Does something when the first clips are through."""

    def __init__(self, action):
        self._action = action
        self.done = False

    def advance(self, clips, failed):
        if not self.done:
            self.done = True
            self._action()


def packs(cache):
    """The bytes of the files that training reads."""
    found = {path.relative_to(cache): path.read_bytes() for path in cache.rglob("pack-*.h5")}
    assert found
    return found


def undisturbed(corpus, recipe, run, tmp_path):
    root = corpus(CLIPS, 1.0)
    run(recipe(), root, cache=tmp_path / "local")
    return root


def test_dask_makes_the_same_cache_though_a_worker_is_killed(corpus, recipe, run, content, dask_cluster, tmp_path):
    root = undisturbed(corpus, recipe, run, tmp_path)
    address, (victim, other) = dask_cluster
    progress = Once(victim.kill)
    options = ExtractionOptions(engine="dask", address=address)
    summary = extract(recipe(), root, store.open(tmp_path / "cache"), options, progress)
    assert progress.done
    assert victim.wait(60) < 0
    assert summary.streams["acoustic.egemaps"].made == CLIPS
    assert content(tmp_path / "cache") == content(tmp_path / "local")
    assert packs(tmp_path / "cache") == packs(tmp_path / "local")
    assert not psutil.Process(other.pid).children()  # the hosts have gone with the run


def test_ray_makes_the_same_cache_though_a_worker_is_killed(corpus, recipe, run, content, ray_cluster, tmp_path):
    root = undisturbed(corpus, recipe, run, tmp_path)
    killed = []

    def kill_one():
        actors = [one for one in psutil.process_iter(["cmdline"]) if "PoolActor" in " ".join(one.info["cmdline"] or [])]
        mine = [one for one in actors if os.getpid() in [parent.pid for parent in one.parents()]]
        mine[0].kill()
        killed.append(mine[0])

    progress = Once(kill_one)
    summary = extract(
        recipe(), root, store.open(tmp_path / "cache"), ExtractionOptions(engine="ray", workers=2), progress
    )
    assert len(killed) == 1
    assert summary.streams["acoustic.egemaps"].made == CLIPS
    assert content(tmp_path / "cache") == content(tmp_path / "local")
    assert packs(tmp_path / "cache") == packs(tmp_path / "local")


def test_engines_that_cannot_be_used_are_told(corpus, recipe, run):
    root = corpus(3)
    with pytest.raises(UsageError, match="There is no engine 'dusk'; did you mean dask"):
        run(recipe(), root, engine="dusk")
    with pytest.raises(UsageError, match="--engine local takes no --address"):
        run(recipe(), root, address="tcp://127.0.0.1:1")


def test_a_missing_package_is_told_with_its_install_line(monkeypatch):
    for engine, module in (("dask", "distributed"), ("ray", "ray")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UsageError, match=rf"pip install 'mse-pipeline\[{engine}\]'"), crew(engine, None, 1):
            pass
