"""An extraction that is killed at any moment leaves a cache that the next one completes."""

import os
import random
import signal
import subprocess
import sys
import time

import psutil

from mse_pipeline.store.atomic import ASIDE

CODE = """
import sys
from pathlib import Path
from mse_pipeline import store
from mse_pipeline.extraction.run import Options, extract
from mse_pipeline.recipe import Recipe
recipe = Recipe.model_validate(
    {"version": 1, "name": "mine", "corpus": {"name": "table"}, "streams": {"acoustic.egemaps": {}}}
)
extract(recipe, Path(sys.argv[1]), store.open(sys.argv[2]), Options(workers=2))
"""


def test_kill_9_at_random_moments_loses_and_doubles_nothing(corpus, recipe, run, content, tmp_path):
    root = corpus(60, 1.0)
    run(recipe(), root, cache=tmp_path / "undisturbed")
    journal = tmp_path / "cache" / "mine" / "journal"
    chance = random.Random(0)
    killed = 0
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", CODE, str(root), str(tmp_path / "cache")])
        wanted = len(list(journal.glob("*.jsonl"))) + 1
        while process.poll() is None and len(list(journal.glob("*.jsonl"))) < wanted:
            time.sleep(0.005)
        time.sleep(chance.random() * 0.1)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed >= 2
    run(recipe(), root)
    assert content(tmp_path / "cache") == content(tmp_path / "undisturbed")
    dataset = tmp_path / "cache" / "mine"
    assert not list(dataset.rglob(f"{ASIDE}*"))
    lines = [line for part in journal.glob("*.jsonl") for line in part.read_text().splitlines()]
    assert len(lines) == 60  # each clip once


def test_workers_do_not_outlive_a_killed_run(corpus, tmp_path):
    root = corpus(60, 1.0)
    process = subprocess.Popen([sys.executable, "-c", CODE, str(root), str(tmp_path / "cache")])
    journal = tmp_path / "cache" / "mine" / "journal"
    while process.poll() is None and not list(journal.glob("*.jsonl")):
        time.sleep(0.02)
    workers = [
        child for child in psutil.Process(process.pid).children(recursive=True) if "loky" in " ".join(child.cmdline())
    ]
    assert len(workers) >= 2
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
