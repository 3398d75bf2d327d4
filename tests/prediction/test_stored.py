"""What a run keeps for predicting, and how it is read when it is old, damaged, or a stranger's."""

import json
import shutil

import pytest

from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.task import Classification
from mse_pipeline.training.stored import open_stored, seeds_of


def test_a_run_keeps_all_that_predicting_needs(heard):
    described = json.loads((heard.run / "run.json").read_text())["config"]
    entry = heard.dataset.manifest.streams["acoustic.egemaps"]
    stream = described["streams"]["acoustic"]
    assert stream["identity"] == dict(entry.identity)
    assert stream["version"] == entry.version
    assert stream["alignment"] == {"kind": "grid", "step": 0.1}
    assert stream["names"] == list(heard.dataset["acoustic.egemaps"].names)
    assert described["media"] == {"max_seconds": 20.0}
    assert described["task"] == {"kind": "classification", "classes": ["high", "low"]}
    assert described["backbone"]["quantization"] is None
    assert heard.description()["extra"]["normalisers"] == json.loads((heard.run / "seed-1/normaliser.json").read_text())


@pytest.mark.parametrize("of", ["", "seed-2", "seed-2/adapter"])
def test_run_seed_and_adapter_folders_say_the_same(heard, tmp_path, of):
    stored = open_stored(heard.run / of, None if of else 2)
    assert (stored.seed, stored.task) == (2, Classification(("high", "low")))
    assert stored.normalisers["acoustic"].names == stored.about.streams["acoustic"].names
    assert stored.about == open_stored(heard.run, 2).about
    # An adapter's folder is enough, wherever it lies.
    shutil.copytree(heard.run / "seed-2/adapter", tmp_path / "pulled")
    assert open_stored(tmp_path / "pulled").about == stored.about


def test_the_best_seed_by_validation_is_taken_and_told(heard, tmp_path):
    shutil.copytree(heard.run, run := tmp_path / "run")
    for seed, score in ((1, 0.25), (2, 0.75)):
        path = run / f"seed-{seed}/result.json"
        result = json.loads(path.read_text())
        result["valid"]["weight_F1"] = score
        path.write_text(json.dumps(result))
    stored = open_stored(run)
    assert (stored.seed, stored.choice) == (2, "Seed 2 of 2: the best by validation (weight_F1 0.7500).")
    assert open_stored(run, 1).choice == ""
    assert seeds_of(run) == (1, 2)
    (run / "seed-2/result.json").unlink()
    assert open_stored(run).seed == 1


@pytest.mark.parametrize(
    ("of", "seed", "sentence"),
    [
        ("", 7, "has no training with seed 7; it has 1, 2"),
        ("seed-1", 2, "is the training with seed 1, not 2"),
        ("seed-1/adapter", 2, "is the training with seed 1, not 2"),
        ("nowhere", None, "is no run: give a run folder"),
    ],
)
def test_a_training_that_is_not_there_is_told(heard, of, seed, sentence):
    with pytest.raises(UsageError, match=sentence):
        open_stored(heard.run / of, seed)


def test_a_run_of_an_earlier_version_is_told_as_such(changed):
    def forget(described):
        del described["config"]["task"], described["config"]["media"], described["places"]
        del described["config"]["streams"]["acoustic"]["identity"]

    with pytest.raises(UsageError, match=r"earlier version.*no task, no media, no places.*Run the same `mse train` ag"):
        open_stored(changed(forget), 1)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda run: run["config"]["streams"]["acoustic"].update(name="../../etc"), "acoustic.name"),
        (lambda run: run["config"]["streams"]["acoustic"].update(names=["one"]), "the run names 1"),
        (lambda run: run["config"]["streams"].update(acoustic=None), "the run names none"),
        (lambda run: run["config"]["backbone"].update(digest="abc"), "backbone.digest"),
        (lambda run: run["config"]["backbone"].update(dtype="int8"), "backbone.dtype"),
        (lambda run: run["config"]["task"].update(classes=["one"]), "at least two classes"),
        (lambda run: run["config"]["prompt"].update(task="\x1b[2Jhow?"), "control characters"),
        (lambda run: run.update(metrics="guess"), "No metrics are known for 'guess'"),
        (lambda run: run.update(config=[]), "does not say how it was trained"),
        (lambda run: run.update(places=5), "is damaged"),
    ],
)
def test_what_a_stranger_made_up_is_refused(changed, change, sentence):
    with pytest.raises(MseError, match=sentence):
        open_stored(changed(change), 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.update(mean=one["mean"][1:]),
        lambda one: one.update(deviation=[0.0] * len(one["names"])),
        lambda one: one.update(mean=[float("inf")] * len(one["names"])),
        lambda one: one.update(names=one["names"][::-1]),
        lambda one: one.pop("mean"),
    ],
)
def test_a_normaliser_that_does_not_fit_is_refused(heard, tmp_path, change):
    shutil.copytree(heard.run, run := tmp_path / "run")
    path = run / "seed-1/normaliser.json"
    stored = json.loads(path.read_text())
    change(stored["acoustic"])
    path.write_text(json.dumps(stored))
    with pytest.raises(MseError, match="is damaged"):
        open_stored(run, 1)


@pytest.mark.parametrize("content", ["", "[1]", "{broken", "[" * 100_000])
def test_a_file_that_is_no_run_is_refused(heard, tmp_path, content):
    shutil.copytree(heard.run, run := tmp_path / "run")
    (run / "run.json").write_text(content)
    with pytest.raises(MseError, match=r"run\.json"):
        open_stored(run, 1)
