"""Real clips and real speech through the whole extraction."""

import csv
import shutil

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.media.decode import decode
from mse_pipeline.recipe import Recipe

pytestmark = pytest.mark.slow


def write_table(root, rows):
    with (root / "clips.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "media", "split", "text", "label"])
        writer.writerows(rows)


@pytest.fixture(scope="module")
def real_clips(shared, tmp_path_factory):
    """GRID and the street scene through `table` with all four extractors; FaceNet with seeded random weights."""
    import torch
    from facenet_pytorch import InceptionResnetV1

    home = tmp_path_factory.mktemp("real")
    torch.manual_seed(0)
    torch.save(InceptionResnetV1(pretrained=None, classify=False).state_dict(), home / "random.pt")
    transcripts = {
        row["clip"]: row["transcript"] for row in csv.DictReader((shared / "data/grid/transcripts.csv").open())
    }
    rows = [("street", "street_1080p.mp4", "test", "", "outside")]
    shutil.copy(shared / "data/multiface/street_1080p.mp4", home)
    for index, path in enumerate(sorted((shared / "data/grid").glob("*.mpg"))):
        shutil.copy(path, home)
        rows.append((path.stem, path.name, ("train", "valid", "test")[index % 3], transcripts[path.stem], "studio"))
    write_table(home, rows)
    streams = {"acoustic.egemaps": {}, "acoustic.librosa": {}, "visual.mtcnn": {}}
    streams["visual.facenet"] = {"weights": str(home / "random.pt")}
    recipe = Recipe.model_validate({"version": 1, "name": "real", "corpus": {"name": "table"}, "streams": streams})
    summary = extract(recipe, home, store.open(home / "cache"), ExtractionOptions(workers=1))
    return home, summary, store.open(home / "cache")["real"]


def test_all_four_streams_of_all_clips_are_there(real_clips):
    _, summary, dataset = real_clips
    assert summary.failed_clips == 0
    dims = {stream: dataset[stream]["swwp2s"].dim for stream in dataset}
    assert dims == {"acoustic.egemaps": 25, "acoustic.librosa": 33, "visual.mtcnn": 271, "visual.facenet": 512}
    assert {count.done for count in summary.streams.values()} == {12}


def test_egemaps_equals_opensmile_on_the_same_samples(real_clips):
    import opensmile

    home, _, dataset = real_clips
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors)
    for clip in dataset.clips:
        audio = decode(home / clip.media).audio
        expected = smile.process_signal(audio.samples, audio.rate)
        features = dataset["acoustic.egemaps"][clip.id]
        defined = np.isfinite(features.values)
        assert defined[:, ~np.char.endswith(list(features.names), "nz")].all()
        np.testing.assert_allclose(features.values[defined], expected.to_numpy()[defined], atol=1e-5)
        assert features.names == tuple(expected.columns)


def test_intervals_cover_each_clip_without_holes(real_clips):
    home, _, dataset = real_clips
    for stream in dataset:
        for clip in dataset.clips:
            intervals = dataset[stream][clip.id].intervals
            assert intervals[0, 0] == 0
            np.testing.assert_allclose(intervals[1:, 0], intervals[:-1, 1], atol=1e-9)
            assert intervals[-1, 1] == pytest.approx(decode(home / clip.media).duration, abs=0.25)


def test_faces_are_found_in_the_grid_frames(real_clips):
    _, _, dataset = real_clips
    valid = np.concatenate([dataset["visual.mtcnn"][clip.id].valid for clip in dataset.clips if clip.id != "street"])
    assert valid.mean() >= 0.95


def test_the_choice_of_the_face_is_recorded(real_clips):
    _, _, dataset = real_clips
    notes = dataset.native("visual.mtcnn")["street"].notes
    assert notes["policy"] == "largest"
    assert sum(track["chosen"] for track in notes["tracks"]) >= 1
    assert len(notes["tracks"]) > 1


def test_speech_without_pictures_keeps_its_sound(shared, tmp_path):
    rows = []
    for index, path in enumerate(sorted((shared / "data/ravdess/wav").glob("*.flac"))[:6]):
        shutil.copy(path, tmp_path)
        rows.append((path.stem, path.name, ("train", "valid", "test")[index % 3], "", f"label{index % 2}"))
    write_table(tmp_path, rows)
    streams = {"acoustic.egemaps": {}, "visual.mtcnn": {}}
    recipe = Recipe.model_validate({"version": 1, "name": "real", "corpus": {"name": "table"}, "streams": streams})
    summary = extract(recipe, tmp_path, store.open(tmp_path / "cache"), ExtractionOptions(workers=1))
    assert summary.streams["acoustic.egemaps"].done == 6
    assert summary.streams["visual.mtcnn"].failed == {"no_video": 6}
