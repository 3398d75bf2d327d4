"""A result is given back for the data that it was trained on, and for no others; what has changed is named."""

import json
from dataclasses import replace

import pytest
import torch

from mse_pipeline import adapter, backbones, store
from mse_pipeline.backbones.loading import outline
from mse_pipeline.clip import Split
from mse_pipeline.errors import MseError
from mse_pipeline.training import run as training_run
from mse_pipeline.training.checkpoint import TrainingCheckpoint
from mse_pipeline.training.earlier import config_digest, open_data, standing
from mse_pipeline.training.job import prepare
from mse_pipeline.training.loop import fit_adapter
from mse_pipeline.training.processes import Processes
from mse_pipeline.training.run import run_folder, train
from mse_pipeline.training.streams import choose_streams
from tests.training.test_training_run import SETTINGS, WORDING, tiny  # noqa: F401

ONE = SETTINGS.model_copy(update={"epochs": 1})
FEW = {"test/0", *(f"train/{place}" for place in range(12))}
CONTEXT = WORDING.model_copy(update={"context": 1})


def with_clips(change):
    def made(dataset):
        clips = [change(place, clip) for place, clip in enumerate(dataset.clips)]
        manifest = dataset.manifest
        return store.open(dataset.path.parent).create(
            "made", [one for one in clips if one], task=manifest.task, recipe=manifest.recipe, source=manifest.source
        )

    return made


def with_features(change):
    def made(dataset):
        stream = {clip: dataset["visual.made"][clip] for clip in dataset["visual.made"]}
        dataset.put("visual.made", change(stream))
        return dataset

    return made


def with_recipe(**media):
    def made(dataset):
        recipe = {"version": 1, "name": "made", "corpus": {"name": "table"}, "media": media}
        return store.open(dataset.path.parent).create("made", dataset.clips, task=dataset.manifest.task, recipe=recipe)

    return made


def row_changed(stream):
    one = stream["train/3"]
    values = one.values.copy()
    values[1] += 1e-6 + values[1] * 1e-3
    return {**stream, "train/3": store.Features(values, one.intervals, one.valid, one.names)}


def row_invalid(stream):
    one = stream["test/0"]
    return {**stream, "test/0": store.Features(one.values, one.intervals, [False] * len(one), one.names)}


def moved(stream):
    one = stream["valid/0"]
    return {**stream, "valid/0": store.Features(one.values, one.intervals + 0.5, one.valid, one.names)}


def swap(label):
    return {"joy": "anger", "anger": "neutral", "neutral": "joy"}[label]


CHANGES = {
    "half of the labels": (
        with_clips(lambda n, clip: replace(clip, label=swap(clip.label)) if n % 2 else clip),
        "labels of 21 clips",
    ),
    "one test label": (
        with_clips(lambda n, clip: replace(clip, label="joy") if clip.id == "test/0" else clip),
        "labels of 1 clip",
    ),
    "a label of one modality": (
        with_clips(lambda n, clip: replace(clip, labels={"acoustic": "joy"}) if n == 2 else clip),
        "labels of 1 clip",
    ),
    "annotators' votes": (
        with_clips(lambda n, clip: replace(clip, distribution={"joy": 0.6, "anger": 0.4}) if n == 2 else clip),
        "labels of 1 clip",
    ),
    "a text": (with_clips(lambda n, clip: replace(clip, text="other") if n == 2 else clip), "texts of 1 clip"),
    "a split": (
        with_clips(lambda n, clip: replace(clip, split=Split.TEST) if n == 2 else clip),
        "the split of 1 clip",
    ),
    "a clip fewer": (with_clips(lambda n, clip: None if n == 2 else clip), "1 clip fewer with a label"),
    "a label fewer": (
        with_clips(lambda n, clip: replace(clip, label=None) if n < 2 else clip),
        "2 clips fewer with a label",
    ),
    "a feature row": (with_features(row_changed), "features visual.made of 1 clip"),
    "a row that is not valid any more": (with_features(row_invalid), "features visual.made of 1 clip"),
    "times of rows": (with_features(moved), "features visual.made of 1 clip"),
    "features of fewer clips": (
        with_features(lambda stream: {clip: stream[clip] for clip in list(stream)[:40]}),
        "features visual.made of 2 clips",
    ),
    "the longest length": (with_recipe(max_seconds=9.0), "the length that clips are cut to, in seconds: None -> 9.0"),
}
SAME = {
    "the same clips again": with_clips(lambda n, clip: clip),
    "the same features from another file": lambda dataset: (
        dataset.put(
            "visual.made", {clip: dataset["visual.made"][clip] for clip in dataset["visual.made"]}, source={"of": "b"}
        )
        or dataset
    ),
    "where the media lies": with_clips(lambda n, clip: replace(clip, media=f"elsewhere/{n}.mp4")),
    "a speaker that no prompt names": with_clips(lambda n, clip: replace(clip, speaker="Ann")),
}


def job_of(dataset, backbone, settings=ONE, wording=WORDING):
    return prepare(dataset, backbone, settings, choose_streams(dataset, asked={}), wording)


@pytest.fixture
def trained(made_dataset, tiny, tmp_path, monkeypatch):  # noqa: F811
    """A dataset, and a run folder of it, in which no step was taken."""
    dataset = made_dataset()
    job = job_of(dataset, tiny)
    folder = run_folder(job, tmp_path / "runs")
    training_run._describe(job, folder)
    result = {"status": "done", "config_digest": config_digest(job.about), "finished": "2026-01-02T03:04:05+00:00"}
    (folder / "seed-1").mkdir()
    (folder / "seed-1/result.json").write_text(json.dumps(result))
    return dataset, job, tmp_path / "runs"


@pytest.mark.parametrize("name", CHANGES)
def test_other_data_are_another_run_and_the_difference_is_named(trained, tiny, name):  # noqa: F811
    dataset, before, runs = trained
    change, expected = CHANGES[name]
    after = job_of(change(dataset), tiny)
    assert run_folder(after, runs) != run_folder(before, runs)
    there = standing(after.about, after.data, runs)
    assert (there.run, dict(there.done)) == (None, {})
    assert expected in there.changed
    assert all(f"{other} of" not in " ".join(there.changed) for other in ("labels", "texts") if other not in expected)
    (sentence,) = there.anew([1, 2])
    assert sentence.startswith("Seeds 1, 2 are trained anew: the data have changed since the run ")
    assert expected in sentence
    assert there.reused([1, 2]) == ()


@pytest.mark.parametrize("name", SAME)
def test_what_training_does_not_read_changes_nothing(trained, tiny, name):  # noqa: F811
    dataset, before, runs = trained
    after = job_of(SAME[name](dataset), tiny)
    assert run_folder(after, runs) == run_folder(before, runs)
    there = standing(after.about, after.data, runs)
    assert there.anew([1]) == ()
    assert "is done on the same data since 2026-01-02 03:04 UTC" in there.reused([1])[0]


def test_a_dry_run_which_knows_no_weights_tells_the_same(trained):
    dataset, _, runs = trained
    same = job_of(dataset, outline("tiny"))
    assert standing(same.about, same.data, runs).done == {1: "2026-01-02T03:04:05+00:00"}
    other = job_of(CHANGES["a text"][0](dataset), outline("tiny"))
    assert standing(other.about, other.data, runs).changed == ("texts of 1 clip",)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda clip: replace(clip, speaker="Bob"), "previous turns of 42 clips"),
        (lambda clip: replace(clip, text="so?") if clip.id == "train/0" else clip, "previous turns of 1 clip"),
    ],
)
def test_speakers_and_turns_count_where_the_prompt_has_them(made_dataset, tiny, tmp_path, change, expected):  # noqa: F811
    place = iter(range(100))
    spoken = with_clips(lambda n, clip: replace(clip, dialogue="0", turn=next(place), speaker="Ann"))(made_dataset())
    before = job_of(spoken, tiny, wording=CONTEXT)
    training_run._describe(before, run_folder(before, tmp_path))
    after = job_of(with_clips(lambda n, clip: change(clip))(spoken), tiny, wording=CONTEXT)
    assert expected in standing(after.about, after.data, tmp_path).changed


def test_an_unlabelled_clip_counts_where_it_was_said_before_another(made_dataset, tiny):  # noqa: F811
    spoken = with_clips(
        lambda n, clip: replace(clip, dialogue="0", turn=n, speaker="Ann", label=None if n == 3 else clip.label)
    )(made_dataset())
    before = [job_of(spoken, tiny, wording=wording).about["data"] for wording in (WORDING, CONTEXT)]
    said = with_clips(lambda n, clip: replace(clip, text="so?") if n == 3 else clip)(spoken)
    after = [job_of(said, tiny, wording=wording).about["data"] for wording in (WORDING, CONTEXT)]
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_without_its_table_a_run_still_tells_what_kind_of_thing_has_changed(trained, tiny):  # noqa: F811
    dataset, before, runs = trained
    table = run_folder(before, runs) / "data.parquet"
    assert open_data(table, before.about["data"]).clips == before.data.clips
    assert open_data(table, {**before.about["data"], "label": "0"}) is None
    table.write_bytes(b"PAR1 damaged")
    after = job_of(CHANGES["a text"][0](dataset), tiny)
    assert standing(after.about, after.data, runs).changed == ("texts",)


def test_a_run_of_an_earlier_version_is_not_taken_for_one_on_the_same_data(trained, tiny):  # noqa: F811
    _, before, runs = trained
    path = run_folder(before, runs) / "run.json"
    described = json.loads(path.read_text())
    del described["config"]["data"]
    path.write_text(json.dumps(described))
    there = standing(before.about, before.data, runs)
    assert there.run is None
    assert "an earlier version of mse trained it" in there.anew([1])[0]


def test_corrected_labels_are_trained_beside_the_old_run_and_the_old_data_give_the_old_run_back(
    made_dataset,
    tiny,  # noqa: F811
    tmp_path,
):
    dataset = made_dataset()
    (first,) = train(job_of(dataset, tiny), tmp_path, [1])
    corrected = CHANGES["half of the labels"][0](dataset)
    (second,) = train(job_of(corrected, tiny), tmp_path, [1])
    assert (second.reused, second.changed) == (False, ("labels of 21 clips",))
    weights = [adapter.load(one.folder / "adapter")[0].state_dict() for one in (first, second)]
    assert any(not torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    begun = json.loads((first.folder.parent / "run.json").read_text())["created"]
    back = with_clips(lambda n, clip: replace(clip, label=swap(swap(clip.label))) if n % 2 else clip)(corrected)
    (third,) = train(job_of(back, tiny), tmp_path, [1])
    assert (third.reused, third.changed, third.folder) == (True, (), first.folder)
    assert third.result == first.result
    assert json.loads((first.folder.parent / "run.json").read_text())["created"] == begun
    # Even where someone has put a result of other data into the folder.
    (first.folder / "result.json").write_text((second.folder / "result.json").read_text())
    assert not train(job_of(back, tiny), tmp_path, [1])[0].reused


def test_a_killed_training_whose_labels_were_corrected_meanwhile_begins_anew(
    made_dataset,
    tiny,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    dataset, path = made_dataset(), tmp_path / "checkpoint.pt"
    monkeypatch.setattr(TrainingCheckpoint, "save_if_due", TrainingCheckpoint.save)

    def stop(done, steps):
        raise KeyboardInterrupt

    before = job_of(dataset, tiny)
    with pytest.raises(KeyboardInterrupt):
        fit_adapter(before, 1, checkpoint=path, on_step=lambda done, steps: stop(done, steps) if done == 2 else None)
    corrected = job_of(CHANGES["half of the labels"][0](dataset), tiny)
    steps = []
    resumed = fit_adapter(corrected, 1, checkpoint=path, on_step=lambda done, of: steps.append(done))
    assert steps == [1, 2, 3]
    undisturbed = fit_adapter(corrected, 1)
    for name, value in undisturbed.adapter.state_dict().items():
        assert torch.equal(value, resumed.adapter.state_dict()[name]), name


def test_processes_that_see_other_data_are_refused_before_a_step(made_dataset, tiny, monkeypatch):  # noqa: F811
    job = job_of(made_dataset(), tiny)
    together = Processes(rank=0, count=3)
    monkeypatch.setattr(Processes, "gather", lambda self, own: [*own, *own, "another"])
    with pytest.raises(MseError, match="Process 2 would train on other data"):
        training_run._require_agreement(job, together)


def test_a_result_tells_of_how_many_clips_it_is(made_dataset, tiny, tmp_path):  # noqa: F811
    dataset = with_features(lambda stream: {clip: one for clip, one in row_invalid(stream).items() if clip in FEW})(
        made_dataset()
    )
    dataset.set_manifest(replace(dataset.manifest, source={"expected": {"train": 30, "valid": 9}}))
    (one,) = train(job_of(dataset, tiny), tmp_path, [1])
    assert one.result["coverage"]["train"] == {
        "clips": 24,
        "read": 24,
        "official": 30,
        "streams": {"acoustic.made": 24, "visual.made": 12},
    }
    assert one.result["coverage"]["test"]["streams"] == {"acoustic.made": 9, "visual.made": 0}
    assert [alarm for alarm in one.result["alarms"] if alarm[0] in "Ov"] == [
        "Only 42 of 48 clips were read (87.5 %; train 24/30, valid 9/9, test 9/9): the others are not there, or have "
        "no label.",
        "visual.made: only 12 of 42 clips have it (28.6 %; train 12/24, valid 0/9, test 0/9). The others were read "
        "without it.",
    ]
    # Clips without a label are not read: the result stays, and tells of them.
    more = [*dataset.clips, *(replace(clip, id=f"more/{clip.id}", label=None) for clip in dataset.clips)]
    grown = store.open(dataset.path.parent).create("made", more, task=dataset.manifest.task)
    (again,) = train(job_of(grown, tiny), tmp_path, [1])
    assert again.reused
    assert (again.result["coverage"]["test"]["clips"], again.result["coverage"]["test"]["read"]) == (18, 9)
    assert any("Only 42 of 84 clips were read" in alarm for alarm in again.result["alarms"])
    assert not any("Only 42 of 48" in alarm for alarm in again.result["alarms"])


def test_a_backbone_of_the_same_name_with_other_weights_is_told(trained):
    dataset, _, runs = trained
    other = backbones.load("tiny")
    with torch.no_grad():
        next(other.model.parameters()).add_(1e-3)
    after = job_of(dataset, other)
    assert standing(after.about, after.data, runs).changed == ("the backbone's weights",)
