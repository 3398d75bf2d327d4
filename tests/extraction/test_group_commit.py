"""What is finished during one commit enters the cache with the next, together, and nothing waits for others."""

import threading
from types import SimpleNamespace

import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import MseError
from mse_pipeline.extraction import engine
from mse_pipeline.extraction.engine import dispatch
from mse_pipeline.extraction.plan import MOST_CLIPS, Task, Todo
from mse_pipeline.store.commit import Commit, begin_run
from mse_pipeline.store.journal import JournalRow
from mse_pipeline.store.manifest import StreamEntry
from mse_pipeline.task import Regression

STREAM, VERSION = "acoustic.x", "0" * 12
CLIPS = [Clip(id=f"c{n}", split=Split.TRAIN, label=1.0) for n in range(4)]


@pytest.fixture
def dataset(tmp_path):
    dataset = store.open(tmp_path).create("made", CLIPS, task=Regression(-3.0, 3.0))
    dataset.set_manifest(dataset.manifest.with_stream(STREAM, StreamEntry(VERSION, {"stream": STREAM})))
    begin_run(dataset, "run")
    return dataset


@pytest.fixture
def hosts(monkeypatch):
    """Hosts that make a clip at once; tells which were made, and may be asked to fail at one."""
    made = SimpleNamespace(clips=[], broken=None, all=threading.Event())

    class Host:
        def __init__(self, task):
            pass

        def make(self, todo):
            if todo.clip.id == made.broken:
                raise MseError("The disk is full.")
            made.clips.append(todo.clip.id)
            if len(made.clips) == len(CLIPS):
                made.all.set()
            row = JournalRow(clip=todo.clip.id, stream=STREAM, version=VERSION, status="done", key="0" * 32)
            return [(row, store.Features([[0.5]], [[0.0, 1.0]], [True], ("f",)))]

        def leave(self):
            pass

        end = leave

    monkeypatch.setattr(engine, "Host", Host)
    return made


def run(dataset):
    task = Task("run", dataset.path, dataset.path, (), None, "cpu")
    todo = [Todo(clip, (STREAM,)) for clip in CLIPS]
    return [outcome.clip for outcomes in dispatch(todo, task, engine.Where(workers=2)) for outcome in outcomes]


def test_what_was_finished_meanwhile_is_one_commit(dataset, hosts, monkeypatch):
    write, commits = Commit.write, []

    def slow(self):
        if not commits:
            hosts.all.wait(20)
        commits.append([row.clip for row in self._rows])
        return write(self)

    monkeypatch.setattr(Commit, "write", slow)
    assert sorted(run(dataset)) == ["c0", "c1", "c2", "c3"]
    assert len(commits) <= 3  # and not four: at least two clips had been finished during the first
    assert len(dataset.journal.parts()) == len(commits)
    assert sorted(dataset.native(STREAM)) == ["c0", "c1", "c2", "c3"]


def test_what_was_made_before_a_problem_is_kept(dataset, hosts):
    hosts.broken = "c3"
    with pytest.raises(MseError, match="The disk is full"):
        run(dataset)
    kept = set(store.open(dataset.path.parent)["made"].native(STREAM))
    assert kept
    assert kept <= {"c0", "c1", "c2"}


def test_a_commit_takes_no_more_clips_than_a_shard_holds():
    batches = [SimpleNamespace(made=(0,) * clips, size=1) for clips in (MOST_CLIPS - 1, 1, 1, MOST_CLIPS, 2)]
    finished = engine.deque(batches)
    taken = []
    while part := engine._waiting(finished):
        taken.append([len(batch.made) for batch in part])
    assert taken == [[MOST_CLIPS - 1, 1], [1], [MOST_CLIPS], [2]]
