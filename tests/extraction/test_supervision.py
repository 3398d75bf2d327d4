"""The second try after a death, seen with a host that dies on request and is no process."""

import pytest

from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError
from mse_pipeline.extraction import supervisor as module
from mse_pipeline.extraction.host import HostLost
from mse_pipeline.extraction.supervisor import Supervisor
from mse_pipeline.extraction.task import Step, StreamSpec, Task, Todo

CLIP = Clip(id="a", split=Split.TRAIN, media="a.mp4", text="so")
SPECS = tuple(StreamSpec(stream, {}, f"stand-in-{stream}", {}) for stream in ("acoustic.one", "visual.two"))
ONE, TWO = (spec.stream for spec in SPECS)


@pytest.fixture
def supervise(monkeypatch, tmp_path):
    """A supervisor whose hosts meet what the script says, one entry a try; gives also what each host was asked for."""

    def begin(*script):
        ends, hosts = iter(script), []

        class Host:
            alive = True

            def __init__(self, task):
                self.asked = []
                hosts.append(self)

            def make(self, todo, task):
                self.asked.append(todo.streams)
                end = next(ends)
                if end is not None:
                    raise end
                rows = {spec.stream: spec.row(todo.clip, {"digest": "00ff"}, None, status="done") for spec in SPECS}
                return [(rows[stream], None) for stream in todo.streams]

            def stop(self, patience=0.0):
                pass

        monkeypatch.setattr(module, "Host", Host)
        task = Task(run="run", dataset=tmp_path, root=tmp_path, specs=SPECS, max_seconds=None, device="cpu")
        return Supervisor(task), hosts

    return begin


def died(stream=None):
    return HostLost(Step("extract" if stream else "decode", stream), "was ended by SIGSEGV.")


def hung(stream=None):
    return HostLost(Step("extract" if stream else "decode", stream), "after 2 s", hung=True)


LEFT = HostLost(None, "ended with exit code 0.")


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
    supervisor, started = supervise(*script)
    rows = [row for row, _ in supervisor.make(Todo(CLIP, (ONE, TWO)))]
    assert {row.stream: row.code for row in rows} == made
    assert len(rows) == 2
    assert len(started) == hosts
    assert all(len(host.asked) == 1 for host in started)  # each try has a fresh process


def test_a_clip_is_told_where_it_was_lost(supervise):
    supervisor, _ = supervise(died(ONE), died(ONE), hung(TWO))
    one, two = (row for row, _ in supervisor.make(Todo(CLIP, (ONE, TWO))))
    assert one.message == (
        "Tried twice, the second time alone: while it made acoustic.one, the process was ended by SIGSEGV."
    )
    assert two.message == (
        "Given up after 2 s, while it made visual.two. A longer --clip-timeout may be enough for it."
    )


def test_a_host_that_lives_makes_the_next_clip_too(supervise):
    supervisor, started = supervise(None, None)
    for _ in range(2):
        supervisor.make(Todo(CLIP, (ONE,)))
    (host,) = started
    assert host.asked == [(ONE,), (ONE,)]


def test_hosts_that_never_begin_are_an_error_of_the_machine(supervise):
    supervisor, _ = supervise(LEFT, LEFT, LEFT)
    with pytest.raises(MseError, match="ended with exit code 0"):
        supervisor.make(Todo(CLIP, (ONE,)))
