"""A child process that dies, hangs, cannot begin or outlives its parent, and programs of any form that start one."""

import os
import subprocess
import sys
import threading

import psutil
import pytest

from mse_pipeline.child_process import Child, ChildLost, Supervised
from mse_pipeline.errors import MseError
from tests.children import no_setup, setup


@pytest.fixture
def child():
    made = Child(setup)
    yield made
    made.stop()


@pytest.fixture
def supervised():
    made = Supervised(lambda: Child(setup))
    yield made
    made.end()


def test_an_answer_of_many_megabytes_comes_whole(child):
    assert child.ask(("give", b"\x01\x00\n" * (4 << 20))) == b"\x01\x00\n" * (4 << 20)


def test_what_the_work_prints_does_not_reach_the_channel(child):
    assert child.ask(("print", "loud")) == ""
    assert child.ask(("give", 2)) == 2


def test_the_work_may_refuse_for_a_fault_of_the_machine_and_goes_on(child):
    with pytest.raises(MseError, match=r"^The disk is full\.$"):
        child.ask(("fail", "The disk is full."))
    assert child.ask(("give", 3)) == 3


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OMP_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1"), ("MKL_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "PASSIVE")],
)
def test_numerical_libraries_compute_with_one_thread_whatever_the_command_may_use(monkeypatch, variable, value):
    monkeypatch.setenv(variable, "7")
    child = Child(setup)
    assert child.ask(("variable", variable)) == value
    child.stop()


@pytest.mark.parametrize(
    ("item", "how"),
    [
        (("exit", 7), "ended with exit code 7."),
        (("say", "first"), "ended with exit code 1. It said last: RuntimeError: told on standard error"),
    ],
)
def test_a_death_is_told_with_its_step_and_the_last_words(child, item, how):
    with pytest.raises(ChildLost) as lost:
        child.ask(item)
    assert (lost.value.step, lost.value.how, lost.value.hung, lost.value.begun) == (
        f"before {item[0]}",
        how,
        False,
        True,
    )
    assert not child.alive


def test_an_item_that_takes_too_long_ends_the_child(child):
    with pytest.raises(ChildLost, match=r"after 0\.2 s") as lost:
        child.ask(("sleep", 600), limit=0.2)
    assert lost.value.hung
    assert not child.alive


def test_a_child_that_cannot_be_set_up_says_why():
    with pytest.raises(MseError, match=r"^The weights are not there\.$"):
        Child(no_setup).ask(("give", 1))


def test_an_item_is_tried_once_more_by_a_fresh_child(supervised, tmp_path):
    first = supervised.ask(("pid", None))
    assert supervised.ask(("once", tmp_path / "tried")) == tmp_path / "tried"
    assert supervised.ask(("pid", None)) != first
    with pytest.raises(ChildLost, match="exit code 5"):
        supervised.ask(("exit", 5))
    assert supervised.ask(("give", 4)) == 4


def test_a_child_that_left_before_the_item_came_costs_no_try(supervised, tmp_path):
    psutil.Process(supervised.ask(("pid", None))).kill()
    assert supervised.ask(("once", tmp_path / "tried")) == tmp_path / "tried"


def test_children_that_never_begin_end_the_work(monkeypatch, supervised):
    monkeypatch.setattr("mse_pipeline.child_process._PROGRAM", "import sys; sys.exit('no such module')")
    with pytest.raises(MseError, match=r"exit code 1.*no such module.*before it could begin"):
        supervised.ask(("give", 1))


def test_an_end_from_another_thread_breaks_the_work_off(supervised):
    supervised.ask(("give", 1))
    threading.Timer(0.2, supervised.end).start()
    with pytest.raises(MseError, match="broken off"):
        supervised.ask(("sleep", 600))


PROGRAM = """
import os, sys
print("begun", flush=True)
from mse_pipeline.child_process import Child
from tests.children import setup
child = Child(setup)
print(child.ask(("give", "answer")), child.pid, flush=True)
if "hang" in sys.argv:
    child.ask(("sleep", 600))
"""


def start(form, folder, *arguments):
    """A program without `if __name__ == "__main__"`, started in one of the ways in which Python takes programs."""
    (folder / "program.py").write_text(PROGRAM)
    command = {"script": ["program.py"], "module": ["-m", "program"], "text": ["-c", PROGRAM], "stdin": ["-"]}[form]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, *command, *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if form == "stdin":
        process.stdin.write(PROGRAM)
    process.stdin.close()
    return process


@pytest.mark.parametrize("form", ["script", "module", "text", "stdin"])
def test_a_program_needs_no_guard_and_is_not_run_twice(form, tmp_path):
    with start(form, tmp_path) as process:
        said = process.stdout.read().split()
    assert process.returncode == 0
    assert (said[:2], len(said)) == (["begun", "answer"], 3)


def test_a_child_ends_with_a_parent_that_is_killed(tmp_path):
    with start("text", tmp_path, "hang") as process:
        process.stdout.readline()
        child = psutil.Process(int(process.stdout.readline().split()[1]))
        process.kill()
    assert not psutil.wait_procs([child], timeout=30)[1]
