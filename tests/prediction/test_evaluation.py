"""mse evaluate: a run's numbers again, other datasets of the same kind, and those that are not."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.prediction import evaluate
from mse_pipeline.recipe import Recipe
from tests.prediction.conftest import SETTINGS, TEXTS, files_of, train_on, write_table


def test_a_run_evaluated_again_gives_its_own_predictions_and_numbers(heard):
    before = files_of(heard.run)
    found = evaluate(heard.run, heard.dataset, seed="all")
    assert [one.seed for one in found.seeds] == [1, 2]
    for one in found.seeds:
        home = heard.run / f"seed-{one.seed}"
        assert dict(one.metrics) == json.loads((home / "result.json").read_text())["test"]
        assert dict(one.calibration) == json.loads((home / "result.json").read_text())["calibration"]["test"]
        rows = [row for row in pq.read_table(home / "predictions.parquet").to_pylist() if row["split"] == "test"]
        assert [row["clip"] for row in rows] == [row.clip for row in one.predictions]
        assert [row["probabilities"] for row in rows] == [list(row.probabilities.values()) for row in one.predictions]
        assert [("high", "low")[row["target"]] for row in rows] == [row.target for row in one.predictions]
    assert files_of(heard.run) == before


def test_a_run_that_reads_the_share_of_defined_values_predicts_as_it_did(made_dataset, tmp_path):
    dataset = made_dataset()
    whole = dict(dataset["acoustic.made"])
    partial = {}
    for clip, one in whole.items():
        values = one.values.copy()
        values[::2, 0] = np.nan
        partial[clip] = store.Features(values, one.intervals, one.valid, one.names)
    dataset.put("acoustic.made", partial)
    dataset.put("visual.made", whole)
    run = train_on(dataset, tmp_path / "runs", settings=SETTINGS.model_copy(update={"defined_share": True}))
    sizes = json.loads((run / "seed-1" / "adapter" / "adapter.json").read_text())["config"]
    # Of the faces every value is defined, so there is no share to tell.
    assert (sizes["acoustic_dim"], sizes["visual_dim"]) == (6, 5)
    for folder in (run, run / "seed-1" / "adapter"):
        (again,) = evaluate(folder, dataset).seeds
        assert dict(again.metrics) == json.loads((run / "seed-1" / "result.json").read_text())["test"]
        rows = pq.read_table(run / "seed-1" / "predictions.parquet").to_pylist()
        told = [row["probabilities"] for row in rows if row["split"] == "test"]
        assert told == [list(row.probabilities.values()) for row in again.predictions]


def test_the_command_tells_the_numbers_and_writes_the_predictions(heard, mse, tmp_path):
    cache = ("--cache", heard.cache.path)
    for suffix in ("parquet", "csv", "jsonl"):
        found = mse("evaluate", heard.run, *cache, "--json", "--seed", "1", "--out", tmp_path / f"p.{suffix}")
        assert found.code == 0
    assert (found.json["clips"], found.json["labelled"], found.json["split"]) == (3, 3, "test")
    parquet = pq.read_table(tmp_path / "p.parquet")
    assert json.loads(parquet.schema.metadata[b"mse.answers"]) == ["high", "low"]
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    cells = list(csv.DictReader((tmp_path / "p.csv").open()))
    for row, line, cell in zip(parquet.to_pylist(), lines, cells, strict=True):
        assert row["clip"] == line["clip"] == cell["clip"]
        assert row["prediction"] == line["prediction"] == cell["prediction"]
        assert row["probabilities"] == list(line["probabilities"].values())
        assert line["probabilities"]["low"] == float(cell["p_low"])
    shown = mse("evaluate", heard.run, *cache, "--seed", "all")
    assert "mean ± sd" in shown.out
    assert "weight_F1" in shown.out


def test_the_best_seed_is_taken_unless_another_is_asked_for_and_said(heard, mse):
    told = mse("evaluate", heard.run, "--cache", heard.cache.path, "--split", "valid")
    assert "the best by validation" in told.err
    assert "valid: 2 clips, 2 of them labelled" in told.out
    assert evaluate(heard.run / "seed-2", heard.dataset).seeds[0].seed == 2
    assert evaluate(heard.run / "seed-2/adapter", heard.dataset).seeds[0].seed == 2


def test_clips_without_a_label_are_predicted_without_metrics(made_dataset, mse, tmp_path):
    run = train_on(made_dataset(), tmp_path / "runs")
    unlabelled = made_dataset("new", labelled=False)
    found = evaluate(run, unlabelled)
    assert (found.labelled, dict(found.seeds[0].metrics), len(found.predictions)) == (0, {}, 4)
    assert {one.prediction for one in found.predictions} <= {"high", "low"}
    assert found.remarks == (
        "acoustic.made was imported: of such features only the names of the values can be compared.",
    )
    shown = mse("evaluate", run, "--cache", tmp_path / "cache", "--dataset", "new")
    assert "No clip has a label" in shown.out


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"classes": ("low", "high")}, "what is predicted: the classes high, low -> the classes low, high"),
        ({"classes": ("high", "low", "none")}, "the classes high, low -> the classes high, low, none"),
        ({"dim": 6}, "acoustic.made: 5 values a row -> 6"),
        ({"names": ["d0", "d1", "d2", "d9", "d4"]}, "acoustic.made: value 3 of a row: d3 -> d9"),
    ],
)
def test_a_dataset_of_another_kind_is_refused_with_what_differs(made_dataset, tmp_path, other, sentence):
    run = train_on(made_dataset(), tmp_path / "runs")
    with pytest.raises(UsageError, match=sentence):
        evaluate(run, made_dataset("other", **other))


def test_another_dataset_with_the_same_features_is_read(heard, tmp_path):
    rows = [(f"new{n}", f"tone{n}.wav", "test", TEXTS[n], ("high", "low")[n % 2]) for n in range(2)]
    write_table(heard.root / "transfer.csv", rows)
    plain = {
        **heard.dataset.manifest.recipe,
        "name": "transfer",
        "corpus": {"name": "table", "options": {"table": "transfer.csv"}},
        "media": {"max_seconds": 15.0},
    }
    cache = store.open(tmp_path)
    extract(Recipe.model_validate(plain), heard.root, cache, ExtractionOptions(workers=1))
    found = evaluate(heard.run, cache["transfer"], seed=1)
    assert found.labelled == 2
    assert "acc" in found.seeds[0].metrics
    assert found.remarks == ("Clips of transfer were cut at 15.0 s, those of the run's dataset at 20.0 s.",)


@pytest.mark.parametrize(
    ("stream", "clock", "sentence"),
    [
        ("acoustic.opensmile", {}, "acoustic.egemaps: the dataset has no such stream; it has acoustic.opensmile"),
        ("acoustic.egemaps", {"kind": "grid", "step": 0.2}, r"acoustic.egemaps, its clock: step: 0\.1 -> 0\.2"),
        ("acoustic.egemaps", {"kind": "none"}, "acoustic.egemaps, its clock: kind: grid -> none"),
    ],
)
def test_features_of_another_kind_are_refused_with_what_differs(heard, tmp_path, stream, clock, sentence):
    manifest = heard.dataset.manifest
    dataset = store.open(tmp_path).create("other", heard.dataset.clips, task=manifest.task)
    entry = replace(manifest.streams["acoustic.egemaps"], alignment=clock)
    dataset.set_manifest(dataset.manifest.with_stream(stream, entry))
    with pytest.raises(UsageError, match=sentence):
        evaluate(heard.run, dataset, seed=1)


def test_other_settings_of_the_extractor_are_named_one_by_one(heard, changed):
    def other(run):
        run["config"]["streams"]["acoustic"]["identity"].update(revision=7)
        run["config"]["streams"]["acoustic"]["identity"]["config"].update(version="v01")

    with pytest.raises(UsageError, match=r"revision: 7 -> \d+\n  acoustic.egemaps: version: v01 -> "):
        evaluate(changed(other), heard.dataset)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--split", "dev"), "There is no split 'dev'"),
        (("--seed", "first"), "--seed is a number or all"),
        (("--decoding", "greedily"), "did you mean greedy?"),
        (("--decoding", "median"), "is for numbers"),
        (("--dataset", "toness"), "Did you mean tones?"),
        (("--out", "p.xlsx"), "are written as .parquet, .csv, .jsonl"),
    ],
)
def test_what_cannot_be_asked_for_is_told(heard, mse, arguments, sentence):
    found = mse("evaluate", heard.run, "--cache", heard.cache.path, *arguments)
    assert (found.code, sentence in found.err) == (2, True)


def test_predictions_are_never_written_into_the_run(heard, mse):
    for inside in (heard.run / "seed-1/predictions.parquet", heard.run / "new.csv"):
        found = mse("evaluate", heard.run / "seed-1/adapter", "--cache", heard.cache.path, "--out", inside)
        assert found.code == 2
        assert "lies in the run's own folder" in found.err


def test_an_empty_split_is_told(heard, tmp_path):
    clips = [clip for clip in heard.dataset.clips if clip.split != Split.TEST]
    other = store.open(tmp_path / "cache").create("few", clips, task=heard.dataset.manifest.task)
    other.set_manifest(
        other.manifest.with_stream("acoustic.egemaps", heard.dataset.manifest.streams["acoustic.egemaps"])
    )
    with pytest.raises(UsageError, match="has no clip in its test split; it has train, valid"):
        evaluate(heard.run, store.Dataset(other.path), seed=1)


def relabelled(dataset, change):
    clips = [change(clip) for clip in dataset.clips]
    return store.open(dataset.path.parent).create(dataset.name, clips, task=dataset.manifest.task)


def other_label(clip):
    return replace(clip, label="low") if clip.id == "test/0" else clip


def other_text(clip):
    return replace(clip, text="no") if clip.id.startswith("train") else clip


@pytest.mark.parametrize(
    ("change", "with_table", "without"),
    [
        (other_label, "labels of 1 clip", "labels"),
        (other_text, "texts of 4 clips", "texts"),
        (
            lambda clip: replace(clip, split=Split.TEST) if clip.id == "valid/0" else clip,
            "the split of 1 clip",
            "splits",
        ),
    ],
)
def test_a_dataset_that_has_changed_since_the_training_is_told(made_dataset, tmp_path, change, with_table, without):
    dataset = made_dataset()
    run = train_on(dataset, tmp_path / "runs")
    assert evaluate(run, dataset).remarks == ()
    changed = relabelled(dataset, change)
    for place in (run, run / "seed-1", run / "seed-1/adapter"):
        (remark,) = evaluate(place, changed).remarks
        assert remark.startswith(f"The data of made have changed since the run {place} was trained on them: ")
        assert with_table in remark
        assert "Do not compare scores" in remark
    shutil.copytree(run / "seed-1/adapter", tmp_path / "alone")
    (remark,) = evaluate(tmp_path / "alone", changed).remarks
    assert without in remark


def test_features_that_have_changed_since_the_training_are_told(made_dataset, tmp_path):
    dataset = made_dataset()
    run = train_on(dataset, tmp_path / "runs")
    rows = {clip: dataset["acoustic.made"][clip] for clip in dataset["acoustic.made"]}
    one = rows["test/1"]
    rows["test/1"] = store.Features(one.values + 1, one.intervals, one.valid, one.names)
    dataset.put("acoustic.made", rows)
    remarks = evaluate(run, store.Dataset(dataset.path)).remarks
    assert any("features acoustic.made of 1 clip." in remark for remark in remarks)


def test_clips_without_a_stream_are_counted_and_each_is_told(made_dataset, mse, tmp_path):
    dataset = made_dataset()
    rows = {clip: dataset["acoustic.made"][clip] for clip in dataset["acoustic.made"]}
    one = rows["test/2"]
    rows["test/2"] = store.Features(one.values, one.intervals, [False] * len(one), one.names)
    dataset.put("acoustic.made", {clip: row for clip, row in rows.items() if clip != "test/1"})
    run = train_on(dataset, tmp_path / "runs")
    arguments = ("evaluate", run, "--cache", tmp_path / "cache")
    found = mse(*arguments, "--json", "--out", tmp_path / "p.parquet").json
    assert found["coverage"] == {"test": {"clips": 4, "read": 4, "official": None, "streams": {"acoustic.made": 2}}}
    assert "acoustic.made: only 2 of 4 clips have it (50.0 %; test 2/4)" in found["remarks"][0]
    table = pq.read_table(tmp_path / "p.parquet")
    assert json.loads(table.schema.metadata[b"mse.coverage"]) == found["coverage"]
    assert table.column("remarks").to_pylist() == ["", "absent (acoustic.made)", "absent (acoustic.made)", ""]
    shown = mse(*arguments)
    assert "acoustic.made: test 2/4 clips" in shown.out
    assert "only 2 of 4 clips" in shown.err
