"""What the machine refuses and what a signal stops: one sentence, the right exit code, and nothing lost."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.test_cli_errors import one_sentence, sound, table

EXTRACT = ["extract", "clips.csv", "--streams", "acoustic.egemaps", "--workers", "1", "--cache", "cache"]


@pytest.fixture
def clips(tmp_path, monkeypatch):
    """A folder with a table of four sounds, which is the working folder."""
    splits = ("train", "train", "valid", "test")
    rows = [f"{n},{n}.wav,{split},x,{'joy' if n % 2 else 'anger'}" for n, split in enumerate(splits)]
    for n in range(4):
        sound(tmp_path / f"{n}.wav")
    table(tmp_path, *rows)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (EXTRACT, "cache"),
        (EXTRACT, "cache/clips/journal"),
        (EXTRACT, "cache/clips/clips.parquet/"),
        (["export", "clips", "npy", "out/x", "--cache", "done"], "out"),
        (["train", "clips", "--backbone", "tiny", "--epochs", "1", "--cache", "done", "--runs", "runs"], "runs"),
        (["inspect", "0", "--cache", "done", "--out", "page/x.png"], "page"),
    ],
)
def test_a_file_where_a_folder_should_be_is_named(mse, clips, command, place):
    """Or, where the place ends with a slash, a folder where a file should be."""
    if "done" in command:
        assert mse(*EXTRACT[:-1], "done").code == 0
    (clips / place).parent.mkdir(parents=True, exist_ok=True)
    (clips / place).mkdir() if place.endswith("/") else (clips / place).write_text("mine")
    result = mse(*command)
    assert result.code == 1
    assert one_sentence(result, place.rstrip("/"), "should be")
    assert place.endswith("/") or (clips / place).read_text() == "mine"


def run(clips, *arguments, limit=None):
    """The command in a process of its own, without coverage, whose own files would meet the limit, too."""

    def small():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the system answers with an error instead
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-m", "mse_pipeline.cli", *arguments],
        check=False,
        cwd=clips,
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
        capture_output=True,
        text=True,
        preexec_fn=small if limit else None,
    )


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 2_000, 8_000])
def test_a_file_that_may_not_grow_ends_the_run_which_goes_on_afterwards(clips, limit):
    stopped = run(clips, *EXTRACT, "--quiet", limit=limit)
    assert stopped.returncode == 1
    assert stopped.stderr.count("\n") == 1
    assert "cache/clips" in stopped.stderr
    assert "larger than is allowed" in stopped.stderr
    done = run(clips, *EXTRACT, "--quiet", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["streams"]["acoustic.egemaps"]["done"] == 4
    assert not list((clips / "cache").rglob(".aside-*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_command_which_goes_on_afterwards(clips, number):
    command = [sys.executable, "-m", "mse_pipeline.cli", *EXTRACT]
    hearing = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)}  # the tests may run below nohup
    told = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, cwd=clips, **told, **hearing) as process:
        while not (clips / "cache" / "clips" / ".run.lock").exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert said.strip().splitlines()[-1] == (
        "mse: stopped. The results so far are kept; the same command continues from there."
    )
    assert "Traceback" not in said
    assert "leaked" not in said
    assert run(clips, *EXTRACT, "--quiet").returncode == 0


@pytest.mark.slow
def test_below_nohup_the_end_of_the_terminal_is_not_heard(clips):
    command = [sys.executable, "-m", "mse_pipeline.cli", *EXTRACT, "--quiet"]
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    with subprocess.Popen(command, cwd=clips, start_new_session=True, **ignoring) as process:
        while not (clips / "cache" / "clips" / ".run.lock").exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGHUP)
    assert process.returncode == 0
