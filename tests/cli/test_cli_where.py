"""--where: one condition, the same clips in extract, train, evaluate and report."""

import csv
import html
import json
import wave
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from mse_pipeline import store

WHERE = "loudness > -30 and clipped_share < 0.5"
QUALITY = ("--set", "streams.acoustic.quality={}", "--streams", "acoustic.quality")
LOUD = {f"c{n}" for n in range(12) if n % 3}
"""Every third clip is so quiet that the condition leaves it out, and c11 is too short to have a loudness."""


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """A folder of twelve clips of sound with a table."""
    root = tmp_path_factory.mktemp("tones")
    rows = [("id", "media", "split", "text", "label")]
    for index in range(12):
        time = np.arange(int(16_000 * (0.3 if index == 11 else 0.6))) / 16_000
        samples = np.sin(2 * np.pi * (200 + 40 * index) * time) * (0.3 if index % 3 else 0.01)
        with wave.open(str(root / f"{index}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes((samples * 32767).astype("<i2").tobytes())
        split = ("train", "train", "valid", "test")[index // 3]
        rows.append((f"c{index}", f"{index}.wav", split, "hello there", ("joy", "anger")[index % 2]))
    with (root / "clips.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows(rows)
    return root


def test_a_condition_gives_the_same_clips_in_extract_train_evaluate_and_report(mse, tones, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = LOUD - {"c11"}
    here = ("--cache", tmp_path / "cache")
    extract = ("extract", tones / "clips.csv", *here, "--workers", 1)

    refused = mse(*extract, "--where", WHERE)
    assert refused.code == 2
    assert "no clip of clips has these measures yet: clipped_share, loudness of acoustic.quality" in refused.err
    wrong = mse(*extract, "--where", "loudnes > -30")
    assert (wrong.code, "did you mean loudness?" in wrong.err) == (2, True)
    assert mse(*extract, *QUALITY).code == 0

    told = mse(*extract, "--streams", "acoustic.egemaps", "--where", WHERE, "--json").json["where"]
    assert told == {"where": WHERE, "kept": 7, "left_out": 5, "unknown": 1}
    dataset = store.open(tmp_path / "cache")["clips"]
    assert set(dataset.native("acoustic.egemaps")) == kept
    assert len(dataset.clips) == 12

    assert mse(*extract, "--streams", "acoustic.egemaps").code == 0  # the others, too, for trainings on all
    train = ("train", "clips", *here, "--epochs", 1, "--seed", 1)
    some = mse(*train, "--where", WHERE)
    assert some.code == 0
    assert "7 of 12 clips kept, 5 left out; of 1 of these it is not known" in " ".join(some.err.split())
    assert mse(*train).code == 0
    configs = {run: json.loads((run / "run.json").read_text())["config"] for run in (tmp_path / "runs").iterdir()}
    runs = {config.get("where"): run for run, config in configs.items()}
    assert set(runs) == {None, WHERE}
    recorded = json.loads((runs[WHERE] / "run.json").read_text())
    assert recorded["recipe"]["clips"] == told
    assert recorded["config"]["clips"] == {"train": 4, "valid": 2, "test": 1}
    predicted = pq.read_table(runs[WHERE] / "seed-1" / "predictions.parquet")["clip"].to_pylist()
    of_test = {clip.id for clip in dataset.clips if clip.split == "test"}
    assert set(predicted) == kept - {clip.id for clip in dataset.clips if clip.split == "train"}

    report = mse("report", "--where", WHERE, *here, "--json").json
    assert report["where"] == {"clips": told}
    rows = {row.get("where"): row for row in report["tables"][0]["runs"]}
    assert {where: sum(row["classes"]["support"]) for where, row in rows.items()} == {
        None: len(kept & of_test),
        WHERE: len(kept & of_test),
    }
    everything = mse("report", *here, "--json").json
    assert "where" not in everything
    whole = {row.get("where"): row for row in everything["tables"][0]["runs"]}
    assert sum(whole[None]["classes"]["support"]) == len(of_test)
    assert whole[WHERE]["test"] == rows[WHERE]["test"]
    assert mse("report", *here, "--markdown", "t.md").code == 0
    assert f"where {WHERE}" in html.unescape((tmp_path / "t.md").read_text().replace("\\", ""))

    for run in runs.values():
        found = mse("evaluate", run, *here, "--where", WHERE, "--json").json
        assert found["clips"] == len(kept & of_test)
        assert not any("have changed" in remark for remark in found["remarks"])
    assert not any("have changed" in remark for remark in mse("evaluate", runs[WHERE], *here, "--json").json["remarks"])

    now = [replace(clip, label={"joy": "anger", "anger": "joy"}[str(clip.label)]) for clip in dataset.clips]
    dataset.set_clips(now)
    corrected = mse("report", "--where", "label == 'joy'", *here, "--json").json
    assert len(corrected["warnings"]) == 2
    assert all("clips of its test split have another label in the dataset by now" in w for w in corrected["warnings"])


def test_a_training_on_clips_that_no_split_has_is_refused(mse, tones, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mse("extract", tones / "clips.csv", "--workers", 1, "--streams", "acoustic.egemaps").code == 0
    refused = mse("train", "clips", "--epochs", 1, "--where", "split == 'train'", "--dry-run")
    assert refused.code == 2
    assert "no labelled clip in its valid split that meets --where" in " ".join(refused.err.split())


def test_streams_of_quality_are_no_features_to_train_on(mse, tones, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mse("extract", tones / "clips.csv", "--workers", 1, *QUALITY).code == 0
    told = mse("train", "clips", "--dry-run")
    assert told.code == 0
    assert "acoustic.quality" not in told.out
    assert mse("train", "clips", "--dry-run", "--acoustic", "acoustic.quality").code == 0  # who asks for it gets it


def test_the_quality_of_clips_is_told_by_datasets_check(mse, tones, tmp_path):
    table = tmp_path / "quality.csv"
    report = mse("datasets", "check", tones / "clips.csv", "--quality", "--csv", table, "--workers", 1, "--json").json
    assert report["quality"]["loudness"]["count"] == 11
    assert "face_share" not in report["quality"]
    with table.open() as handle:
        rows = {row["id"]: row for row in csv.DictReader(handle)}
    assert float(rows["c0"]["loudness"]) < -40 < -20 < float(rows["c1"]["loudness"])
    assert rows["c11"]["loudness"] == ""
    assert "Quality of the clips" in mse("datasets", "check", tones / "clips.csv", "--quality", "--workers", 1).out
