"""Real faces and voices (GRID): one extraction for every backbone, and new clips predicted as the run was trained."""

import csv
import hashlib
import shutil

import av
import numpy as np
import pytest
import torch

from mse_pipeline import backbones, store
from mse_pipeline.backbones.prompt import encode
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.media.decode import decode
from mse_pipeline.recipe import PromptSection, Recipe
from mse_pipeline.training.job import prepare
from mse_pipeline.training.streams import choose_streams
from tests.media.media_files import numbered, write_media
from tests.prediction.conftest import SETTINGS, files_of, train_on, write_table

pytestmark = pytest.mark.slow

CLIPS = ("bbaf2n", "lbax4n", "pwij3p", "sbia1a")
SPLITS = ("train", "train", "valid", "test")
MODELS = ("stories260K", "babyllama", "qwen1-tiny")


@pytest.fixture(scope="module")
def grid(shared, tmp_path_factory):
    """Four clips with face and voice in a cache, and a run of two epochs with the backbone `tiny`."""
    home = tmp_path_factory.mktemp("grid")
    said = {row["clip"]: row["transcript"] for row in csv.DictReader((shared / "data/grid/transcripts.csv").open())}
    for clip in CLIPS:
        shutil.copy(shared / f"data/grid/{clip}.mpg", home)
    rows = [
        (clip, f"{clip}.mpg", split, said[clip], ("statement", "question")[n % 2])
        for n, (clip, split) in enumerate(zip(CLIPS, SPLITS, strict=True))
    ]
    write_table(home / "clips.csv", rows)
    plain = {
        "version": 1,
        "name": "grid",
        "corpus": {"name": "table"},
        "streams": {"acoustic.egemaps": {}, "visual.mtcnn": {"rate": 2.0}},
        "alignment": {"kind": "grid", "step": 0.5},
    }
    extract(Recipe.model_validate(plain), home, store.open(home / "cache"), ExtractionOptions(workers=1))
    dataset = store.open(home / "cache")["grid"]
    run = train_on(dataset, home / "runs", settings=SETTINGS.model_copy(update={"epochs": 2}))
    return home, dataset, run, said


def predicted(mse, run, *arguments):
    found = mse("predict", run, *arguments, "--workers", "1", "--json")
    return found.code, found.json["predictions"]


def codes(row):
    return {remark["code"]: remark.get("stream") for remark in row["remarks"]}


def test_a_clip_of_the_run_is_predicted_as_the_run_did(grid, mse, shared, tmp_path):
    home, dataset, run, _ = grid
    before = files_of(run)
    texts, kept = shared / "data/grid/transcripts.csv", tmp_path / "kept"
    code, (row,) = predicted(mse, run, home / "sbia1a.mpg", "--texts", texts, "--keep", kept)
    assert (code, codes(row)) == (0, {})
    own = mse("evaluate", run, "--cache", home / "cache", "--out", tmp_path / "own.csv")
    assert own.code == 0
    (evaluated,) = csv.DictReader((tmp_path / "own.csv").open())
    assert row["prediction"] == evaluated["prediction"]
    assert row["probabilities"]["question"] == float(evaluated["p_question"])
    for stream in dataset:
        made, there = store.open(kept)["predicted"][stream]["sbia1a.mpg"], dataset[stream]["sbia1a"]
        assert np.array_equal(made.values, there.values, equal_nan=True)
    assert files_of(run) == before


def test_a_clip_that_the_run_has_never_seen_is_predicted(grid, mse, shared):
    code, (row,) = predicted(mse, grid[2], shared / "data/grid/swwp2s.mpg", "--text", grid[3]["swwp2s"])
    assert (code, codes(row)) == (0, {})
    assert row["confidence"] == max(row["probabilities"].values())


def test_a_clip_without_a_face_is_predicted_by_voice_and_text(grid, mse, tmp_path):
    home, _, run, said = grid
    voice = decode(home / "sbia1a.mpg").audio
    faceless = write_media(
        tmp_path / "faceless.mp4", frames=numbered(25, 160, 120), sound=voice.samples[None, :16000], sound_rate=16000
    )
    code, (row,) = predicted(mse, run, faceless, "--text", said["sbia1a"])
    assert (code, codes(row)) == (0, {"no_face": "visual.mtcnn"})
    assert row["prediction"] in {"statement", "question"}
    shown = mse("predict", run, faceless, "--text", said["sbia1a"], "--workers", "1")
    assert "no_face" in shown.out


def test_a_clip_without_sound_is_predicted_by_face_and_text(grid, mse, tmp_path):
    home, _, run, said = grid
    with av.open(str(home / "sbia1a.mpg")) as source, av.open(str(tmp_path / "mute.mpg"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    code, (row,) = predicted(mse, run, tmp_path / "mute.mpg", "--text", said["sbia1a"])
    assert (code, codes(row)) == (0, {"no_audio": "acoustic.egemaps"})
    code, (row,) = predicted(mse, run, tmp_path / "mute.mpg")
    assert (code, codes(row)) == (0, {"no_audio": "acoustic.egemaps", "no_text": None})


def test_one_extraction_serves_every_backbone(grid, shared, tmp_path):
    _, dataset, tiny_run, said = grid

    def digests():
        below = dataset.path
        return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in below.rglob("*") if p.is_file()}

    before = digests()
    assert any(name.endswith(".h5") for name in before)
    runs, tokens, first = [tiny_run], [], None
    for name in ("tiny", *MODELS):
        backbone = backbones.load(name if name == "tiny" else shared / "models" / name)
        tokens.append(encode(backbone.tokenizer, said["sbia1a"]))
        job = prepare(dataset, backbone, SETTINGS, choose_streams(dataset, asked={}), PromptSection())
        batch = job.batcher.batch(job.examples["train"])
        first = first or batch
        # Every backbone is given the very same features; the text alone is made anew for each.
        assert torch.equal(batch.acoustic, first.acoustic)
        assert torch.equal(batch.visual, first.visual)
        if name != "tiny":
            runs.append(train_on(dataset, tmp_path / "runs", backbone=backbone))
    assert len(set(tokens)) == len(tokens)
    assert len({run.name for run in runs}) == 1 + len(MODELS)
    assert digests() == before
