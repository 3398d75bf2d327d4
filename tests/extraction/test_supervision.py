"""The second try after a death, seen with a host that dies on request and is no process."""

import pytest

from mse_pipeline.child_process import ChildLost
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError
from mse_pipeline.extraction import hosts as module
from mse_pipeline.extraction.hosts import Host
from mse_pipeline.extraction.plan import Step, StreamSpec, Task, Todo

CLIP = Clip(id="a", split=Split.TRAIN, media="a.mp4", text="so")
SPECS = tuple(StreamSpec(stream, {}, f"stand-in-{stream}", {}) for stream in ("acoustic.one", "visual.two"))
ONE, TWO = (spec.stream for spec in SPECS)


@pytest.fixture
def supervise(monkeypatch, tmp_path):
    """A host whose processes meet what the script says, one entry a try; gives also what each was asked for."""

    def begin(*script):
        ends, children = iter(script), []

        class Child:
            alive = True

            def __init__(self, setup):
                self.asked = []
                children.append(self)

            def ask(self, item, limit):
                _, todo = item
                self.asked.append(todo.streams)
                end = next(ends)
                if end is not None:
                    raise end
                rows = {spec.stream: spec.row(todo.clip, {"digest": "00ff"}, None, status="done") for spec in SPECS}
                return [(rows[stream], None) for stream in todo.streams]

            def stop(self, patience=0.0):
                pass

        monkeypatch.setattr(module, "Child", Child)
        monkeypatch.setattr(module, "_free", {})
        task = Task(run="run", dataset=tmp_path, root=tmp_path, specs=SPECS, max_seconds=None, device="cpu")
        return Host(task), children

    return begin


def died(stream=None):
    return ChildLost(Step("extract" if stream else "decode", stream), "was ended by SIGSEGV.")


def hung(stream=None):
    return ChildLost(Step("extract" if stream else "decode", stream), "after 2 s", hung=True)


LEFT = ChildLost(None, "ended with exit code 0.", begun=False)


@pytest.mark.parametrize(
    ("script", "made", "hosts"),
    [
        ([None], {ONE: None, TWO: None}, 1),
        ([died(), None], {ONE: None, TWO: None}, 2),
        ([died(), died()], {ONE: "worker_died", TWO: "worker_died"}, 2),
        ([died(ONE), died(TWO), None], {ONE: None, TWO: "worker_died"}, 3),
        ([died(ONE), died(ONE), None], {ONE: "worker_died", TWO: None}, 3),
        ([died(ONE), died(ONE), died(TWO), None], {ONE: "worker_died", TWO: None}, 4),
        ([hung()], {ONE: "timeout", TWO: "timeout"}, 1),
        ([hung(TWO), None], {ONE: None, TWO: "timeout"}, 2),
        ([died(), hung()], {ONE: "timeout", TWO: "timeout"}, 2),
        ([LEFT, LEFT, None], {ONE: None, TWO: None}, 3),
        ([LEFT, died(), LEFT, None], {ONE: None, TWO: None}, 4),
    ],
)
def test_a_death_has_a_second_try_and_a_hang_has_none(supervise, script, made, hosts):
    host, started = supervise(*script)
    rows = [row for row, _ in host.make(Todo(CLIP, (ONE, TWO)))]
    assert {row.stream: row.code for row in rows} == made
    assert len(rows) == 2
    assert len(started) == hosts
    assert all(len(child.asked) == 1 for child in started)  # each try has a fresh process


def test_a_clip_is_told_where_it_was_lost(supervise):
    host, _ = supervise(died(ONE), died(ONE), hung(TWO))
    one, two = (row for row, _ in host.make(Todo(CLIP, (ONE, TWO))))
    assert one.message == (
        "Tried twice, the second time alone: while it made acoustic.one, the process was ended by SIGSEGV."
    )
    assert two.message == ("Stopped after 2 s, while it made visual.two. A longer --clip-timeout may be enough.")


def test_a_host_that_lives_makes_the_next_clip_too(supervise):
    host, started = supervise(None, None)
    for _ in range(2):
        host.make(Todo(CLIP, (ONE,)))
    (child,) = started
    assert child.asked == [(ONE,), (ONE,)]


def test_hosts_that_never_begin_are_an_error_of_the_machine(supervise):
    host, _ = supervise(LEFT, LEFT, LEFT)
    with pytest.raises(MseError, match="ended with exit code 0"):
        host.make(Todo(CLIP, (ONE,)))
