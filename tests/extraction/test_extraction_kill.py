"""An extraction that is killed at any moment leaves a cache that the next one completes."""

import random
import subprocess
import sys
import time

import psutil
import pytest

from mse_pipeline.store.commit import commit_lock
from mse_pipeline.store.storage import ASIDE

pytestmark = pytest.mark.slow

CODE = """
import sys
from pathlib import Path
from mse_pipeline import store
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.recipe import Recipe
recipe = Recipe.model_validate(
    {"version": 1, "name": "mine", "corpus": {"name": "table"}, "streams": {"acoustic.egemaps": {}}}
)
extract(recipe, Path(sys.argv[1]), store.open(sys.argv[2]), ExtractionOptions(workers=2))
"""


def begin(root, cache):
    return subprocess.Popen([sys.executable, "-c", CODE, str(root), str(cache)])


def wait_for_commit(process, journal):
    """Wait until one more commit is there, or the run has ended."""
    wanted = len(list(journal.glob("*.jsonl"))) + 1
    while process.poll() is None and len(list(journal.glob("*.jsonl"))) < wanted:
        time.sleep(0.005)


def test_kill_9_at_random_moments_loses_and_doubles_nothing(corpus, recipe, run, content, tmp_path):
    root = corpus(60, 1.0)
    run(recipe(), root, cache=tmp_path / "undisturbed")
    dataset = tmp_path / "cache" / "mine"
    chance = random.Random(0)
    for _ in range(2):
        process = begin(root, tmp_path / "cache")
        wait_for_commit(process, dataset / "journal")
        with commit_lock(dataset):  # no worker gets past this, so that the run cannot end before the kill
            time.sleep(chance.random() * 0.3)
            assert process.poll() is None
            process.kill()
            process.wait()
    for _ in range(2):
        process = begin(root, tmp_path / "cache")
        wait_for_commit(process, dataset / "journal")
        time.sleep(chance.random() * 0.1)
        process.kill()
        process.wait()
    run(recipe(), root)
    assert content(tmp_path / "cache") == content(tmp_path / "undisturbed")
    assert not list(dataset.rglob(f"{ASIDE}*"))
    lines = [line for part in (dataset / "journal").glob("*.jsonl") for line in part.read_text().splitlines()]
    assert len(lines) == 60  # each clip once


def test_hosts_do_not_outlive_a_killed_run_and_nothing_else_runs_beside_it(corpus, tmp_path):
    root = corpus(60, 1.0)
    process = begin(root, tmp_path / "cache")
    wait_for_commit(process, tmp_path / "cache" / "mine" / "journal")
    hosts = psutil.Process(process.pid).children(recursive=True)
    assert ["child_process" in " ".join(host.cmdline()) for host in hosts] == [True, True]
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(hosts, timeout=60)
    assert not alive
