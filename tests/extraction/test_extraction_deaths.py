"""A file that a decoder crashes on or hangs in, and a worker that is killed, cost no more than they must."""

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from mse_pipeline import store
from mse_pipeline.errors import MseError
from tests.extraction.hostile_media import holders, write_slow_video

pytestmark = pytest.mark.slow

BOTH = {"acoustic.egemaps": {}, "visual.mtcnn": {}}


@pytest.fixture
def kill_holder():
    """Kill whoever has had a file open for so long, so many times; returns the processes killed."""
    ended = threading.Event()
    threads = []

    def begin(path, times, number=signal.SIGSEGV, after=0.0):
        killed = []

        def watch():
            since = {}
            while len(killed) < times and not ended.is_set():
                since = {pid: since.get(pid, time.monotonic()) for pid in holders(path) if pid not in killed}
                for pid, opened in since.items():
                    if time.monotonic() - opened >= after:
                        os.kill(pid, number)
                        killed.append(pid)
                time.sleep(0.02)

        threads.append(threading.Thread(target=watch))
        threads[-1].start()
        return killed

    yield begin
    ended.set()
    for thread in threads:
        thread.join()


def add_slow_clip(root, frames=9000):
    """Put a clip `slow` first in the table, whose video takes minutes to decode."""
    write_slow_video(root / "media" / "slow.webm", frames)
    table = root / "clips.csv"
    head, *lines = table.read_text().splitlines()
    table.write_text("\n".join([head, "slow,media/slow.webm,train,hello,joy", *lines]) + "\n")
    return root / "media" / "slow.webm"


def test_a_clip_that_kills_its_process_twice_is_marked_and_all_others_are_made(corpus, recipe, run, kill_holder):
    root = corpus(6)
    # The file is also opened for its digest, for some milliseconds; decoding it takes minutes.
    killed = kill_holder(add_slow_clip(root), times=2, after=2.0)
    summary = run(recipe(streams=BOTH), root)
    assert len(killed) == 2
    assert summary.streams["acoustic.egemaps"].done == 6
    assert summary.streams["acoustic.egemaps"].failed == {"worker_died": 1}
    (row,) = (row for row in summary.failures if row.clip == "slow" and row.stream == "visual.mtcnn")
    assert (row.code, row.stage) == ("worker_died", "decode")
    assert row.message == (
        "Tried twice, the second time alone: while it decoded media/slow.webm, the process was ended by SIGSEGV."
    )
    assert row.digest  # the file is known, so that the failure holds until it changes or a retry is asked for
    assert run(recipe(streams=BOTH), root).processed == 0


def test_a_clip_whose_process_is_killed_once_is_made_all_the_same(corpus, recipe, run, kill_holder):
    root = corpus(3)
    killed = kill_holder(add_slow_clip(root, frames=300), 1, signal.SIGKILL)
    summary = run(recipe(streams=BOTH), root)
    assert len(killed) == 1
    assert summary.streams["visual.mtcnn"].failed == {"no_video": 3, "no_face": 1}


def test_a_clip_that_hangs_is_given_up_after_the_timeout_and_tried_again_when_asked(corpus, recipe, run):
    root = corpus(4)
    slow = add_slow_clip(root)
    summary = run(recipe(streams=BOTH), root, clip_timeout=5.0)
    assert summary.streams["acoustic.egemaps"].done == 4
    assert summary.streams["visual.mtcnn"].failed == {"no_video": 4, "timeout": 1}
    (row,) = (row for row in summary.failures if row.code == "timeout" and row.stream == "visual.mtcnn")
    assert row.stage == "decode"
    assert row.message.startswith("Stopped after 5 s, while it decoded media/slow.webm.")
    assert not holders(slow)
    write_slow_video(slow, frames=50)
    assert run(recipe(streams=BOTH), root).streams["visual.mtcnn"].failed == {"no_video": 4, "no_face": 1}


def test_models_that_cannot_be_loaded_end_the_run_with_one_message(corpus, recipe, run, tmp_path):
    weights = tmp_path / "vggface2.pt"
    weights.write_bytes(b"no weights")
    with pytest.raises(MseError, match="vggface2"):
        run(recipe(streams={"visual.facenet": {"weights": str(weights)}}), corpus(3))
    assert not store.open(tmp_path / "cache")["mine"].rows("visual.facenet")


RUN = """
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


def test_a_host_that_is_killed_is_replaced_and_its_clips_are_made(corpus, recipe, run, content, tmp_path):
    root = corpus(60, 1.0)
    process = subprocess.Popen([sys.executable, "-c", RUN, str(root), str(tmp_path / "cache")])
    journal = tmp_path / "cache" / "mine" / "journal"
    while process.poll() is None and not list(journal.glob("*.jsonl")):
        time.sleep(0.005)
    hosts = psutil.Process(process.pid).children()
    assert len(hosts) == 2
    hosts[-1].kill()
    assert process.wait(120) == 0
    assert not psutil.wait_procs(hosts, timeout=60)[1]
    run(recipe(), root, cache=tmp_path / "undisturbed")
    assert content(tmp_path / "cache") == content(tmp_path / "undisturbed")
