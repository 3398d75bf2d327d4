import os
import shutil

import numpy as np
import pytest

from mse_pipeline import store
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.progress import Silent
from mse_pipeline.sample.scene import build_clip
from mse_pipeline.store.commit import run_lock
from tests.extraction.conftest import write_wav
from tests.media.media_files import write_media


def test_every_clip_gets_its_stream_and_a_pack(corpus, recipe, run, tmp_path):
    summary = run(recipe(), corpus())
    assert summary.found == {"train": 3, "valid": 3, "test": 3}
    assert summary.streams["acoustic.egemaps"].done == 9
    assert summary.failed_clips == 0
    dataset = store.open(tmp_path / "cache")["mine"]
    features = dataset["acoustic.egemaps"]["c4"]
    assert features.dim == 25
    assert features.intervals[0, 0] == 0
    assert features.intervals[-1, 1] == pytest.approx(0.4)
    assert dataset.pack_path("acoustic.egemaps").is_file()
    assert dataset.clips[4].label == "anger"


def test_a_second_run_has_nothing_to_do(corpus, recipe, run, tmp_path):
    root = corpus()
    run(recipe(), root)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.h5")}
    assert run(recipe(), root).processed == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.h5")} == before


@pytest.mark.slow
def test_two_workers_make_what_one_makes_to_the_bit(recipe, run, content, tmp_path):
    root, lines = tmp_path / "corpus", ["id,media,split,text,label"]
    for name, split, emotion in (("a", "train", "joy"), ("b", "valid", "fear"), ("c", "test", "joy")):
        build_clip(root / f"{name}.mp4", emotion, ord(name), duration=0.8)
        lines.append(f"{name},{name}.mp4,{split},hello,{emotion}")
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    both = recipe(streams={"acoustic.egemaps": {}, "visual.mtcnn": {}})
    run(both, root, cache=tmp_path / "one")
    summary = run(both, root, cache=tmp_path / "two", workers=2)
    assert {name: stream.made for name, stream in summary.streams.items()} == dict.fromkeys(both.streams, 3)
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_a_changed_file_is_made_anew_and_a_touched_one_is_not(corpus, recipe, run, tmp_path):
    root = corpus()
    run(recipe(), root)
    old = store.open(tmp_path / "cache")["mine"]["acoustic.egemaps"]["c0"]
    write_wav(root / "media" / "clip0.wav", 0.5, seed=99)
    os.utime(root / "media" / "clip1.wav", ns=(1, 1))
    summary = run(recipe(), root)
    assert summary.processed == 2
    dataset = store.open(tmp_path / "cache")["mine"]
    assert len(dataset["acoustic.egemaps"]["c0"]) > len(old)
    rows = {row.clip: row for row in dataset.rows("acoustic.egemaps")}
    assert rows["c1"].mtime_ns == 1
    assert rows["c1"].shard == rows["c4"].shard or rows["c1"].shard is not None
    assert run(recipe(), root).processed == 0


def test_failures_are_told_and_tried_again_only_when_asked_or_mended(corpus, recipe, run, tmp_path):
    root = corpus()
    (root / "media" / "clip2.wav").write_text("this is a text")
    (root / "media" / "clip3.wav").write_bytes(b"")
    (root / "media" / "clip5.wav").unlink()
    first = run(recipe(), root)
    count = first.streams["acoustic.egemaps"]
    assert (count.done, dict(count.failed)) == (6, {"undecodable": 2, "missing_media": 1})
    assert first.failed_clips == 3
    assert {(row.clip, row.code, row.stage) for row in first.failures} == {
        ("c2", "undecodable", "decode"),
        ("c3", "undecodable", "decode"),
        ("c5", "missing_media", "find"),
    }
    assert run(recipe(), root).processed == 0
    assert run(recipe(), root, retry_failed=True).processed == 3
    write_wav(root / "media" / "clip2.wav")
    write_wav(root / "media" / "clip5.wav")
    mended = run(recipe(), root)
    assert mended.processed == 2
    assert mended.streams["acoustic.egemaps"].done == 8


@pytest.mark.slow
def test_one_stream_s_failure_never_costs_the_other(corpus, recipe, run):
    summary = run(recipe(streams={"acoustic.egemaps": {}, "visual.mtcnn": {}}), corpus(3))
    assert summary.streams["acoustic.egemaps"].done == 3
    assert summary.streams["visual.mtcnn"].failed == {"no_video": 3}
    assert summary.failed_clips == 3


def test_clips_that_are_too_long_are_cut_with_a_remark(corpus, recipe, run, tmp_path):
    summary = run(recipe(media={"max_seconds": 0.25}), corpus(3))
    assert summary.remarks == {"too_long": 3}
    features = store.open(tmp_path / "cache")["mine"]["acoustic.egemaps"]["c0"]
    assert features.intervals[-1, 1] == pytest.approx(0.25, abs=0.011)


def test_what_is_strange_about_the_sound_is_a_remark_of_the_streams_that_hear_it(corpus, recipe, run, tmp_path):
    root = corpus(3)
    silence, tone = np.zeros(8000), 0.3 * np.sin(np.arange(8000) * 0.1)
    for number, samples in enumerate((silence, np.stack([tone, -tone]), np.where(tone > 0.2, np.nan, tone))):
        write_media(
            root / "media" / f"clip{number}.wav",
            sound=np.atleast_2d(samples),
            sound_rate=16000,
            layout="stereo" if samples.ndim == 2 else "mono",
            audio_codec="pcm_f32le",
        )
    summary = run(recipe(), root)
    assert summary.remarks == {"silent_audio": 1, "cancelled_audio": 1, "non_finite_audio": 1}
    assert summary.streams["acoustic.egemaps"].done == 3
    rows = {row.clip: row for row in store.open(tmp_path / "cache")["mine"].rows("acoustic.egemaps")}
    assert str(root / "media/clip0.wav") in rows["c0"].message
    assert (rows["c1"].status, rows["c1"].code) == ("done", "cancelled_audio")
    assert rows["c2"].rows > 0


def test_a_change_of_settings_makes_only_what_it_touches(corpus, recipe, run):
    root = corpus(3)
    run(recipe(), root)
    assert run(recipe(media={"max_seconds": 0.2}), root).processed == 3
    assert run(recipe(alignment={"kind": "grid", "step": 0.1}), root).processed == 3  # back at the default span
    assert run(recipe(alignment={"kind": "grid", "step": 0.05}), root).processed == 0


def test_a_grid_gives_streams_one_clock(corpus, recipe, run, tmp_path):
    run(recipe(alignment={"kind": "grid", "step": 0.1}), corpus(3))
    dataset = store.open(tmp_path / "cache")["mine"]
    packed, native = dataset["acoustic.egemaps"]["c0"], dataset.native("acoustic.egemaps")["c0"]
    assert packed.intervals[:, 0] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert len(native) > len(packed)


def test_a_limit_is_spread_over_the_splits_and_the_rest_is_made_later(corpus, recipe, run, tmp_path):
    root = corpus()
    assert run(recipe(), root, limit=3).asked == 3
    assert sorted(store.open(tmp_path / "cache")["mine"]["acoustic.egemaps"]) == ["c0", "c1", "c2"]
    assert run(recipe(), root).processed == 6


def test_only_the_streams_asked_for_are_made(corpus, recipe, run):
    both = recipe(streams={"acoustic.egemaps": {}, "visual.mtcnn": {}})
    assert list(run(both, corpus(3), streams=("acoustic.egemaps",)).streams) == ["acoustic.egemaps"]
    with pytest.raises(UsageError, match=r"has no stream 'acoustic\.x'"):
        run(both, corpus(3), streams=("acoustic.x",))


def test_a_run_that_ends_in_the_middle_is_completed_by_the_next(corpus, recipe, run, content, tmp_path):
    class Impatient(Silent):
        def advance(self, clips, failed):
            raise KeyboardInterrupt

    root = corpus()
    run(recipe(), root, cache=tmp_path / "undisturbed")
    with pytest.raises(KeyboardInterrupt):
        extract(recipe(), root, store.open(tmp_path / "cache"), ExtractionOptions(workers=1), Impatient())
    assert 0 < run(recipe(), root).processed < 9
    assert content(tmp_path / "cache") == content(tmp_path / "undisturbed")


def test_a_late_worker_of_an_older_run_ends_its_own_run(corpus, recipe, run, monkeypatch):
    monkeypatch.setattr("mse_pipeline.store.commit.is_current", lambda folder, run: False)
    with pytest.raises(MseError, match="Another extraction of this dataset has started"):
        run(recipe(), corpus(3))


def test_two_extractions_of_one_dataset_exclude_each_other(corpus, recipe, run, tmp_path):
    with run_lock(tmp_path / "cache" / "mine"), pytest.raises(MseError, match="Another extraction of mine is running"):
        run(recipe(), corpus(3))


@pytest.mark.slow
def test_a_damaged_pack_is_made_anew(corpus, recipe, run, tmp_path):
    root = corpus(3)
    run(recipe(), root)
    pack = store.open(tmp_path / "cache")["mine"].pack_path("acoustic.egemaps")
    pack.write_bytes(b"broken")
    run(recipe(), root)
    assert len(store.open(tmp_path / "cache")["mine"]["acoustic.egemaps"]) == 3


def test_a_stream_that_was_put_in_outlives_an_extraction(corpus, recipe, run, tmp_path):
    root = corpus(3)
    run(recipe(), root)
    dataset = store.open(tmp_path / "cache")["mine"]
    given = store.Features([[1.0]], [[0, 1]], [True], ["AU12"])
    dataset.put("visual.action_units", {"c0": given})
    run(recipe(media={"max_seconds": 0.2}), root)
    assert store.open(tmp_path / "cache")["mine"]["visual.action_units"]["c0"].equals(given)


def test_roots_that_cannot_be_used_are_told(corpus, recipe, run, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        run(recipe(), tmp_path / "absent")
    root = corpus(3)
    shutil.rmtree(root / "media")
    with pytest.raises(UsageError, match="no media file"):
        run(recipe(), root)


@pytest.mark.parametrize("streams", [{}, {"acoustic.egemaps": {}}], ids=["texts alone", "a stream"])
def test_a_dataset_without_media_is_taken_where_no_stream_reads_them(recipe, run, tmp_path, streams):
    (tmp_path / "clips.csv").write_text("id,media,split,text,label\na,,train,Hi,joy\nb,,valid,Bye,anger\n")
    if streams:
        with pytest.raises(UsageError, match="no media file of them"):
            run(recipe(streams=streams), tmp_path)
    else:
        summary = run(recipe(streams=streams), tmp_path)
        assert (summary.asked, summary.processed, summary.streams) == (2, 0, {})


def test_shares_make_together_what_one_run_makes_and_the_last_one_packs(corpus, recipe, run, content, tmp_path):
    root = corpus()
    run(recipe(), root, cache=tmp_path / "whole")
    (root / "media" / "clip2.wav").unlink()
    first = run(recipe(), root, share=(1, 2))
    pack = store.open(tmp_path / "cache")["mine"].pack_path("acoustic.egemaps")
    assert 0 < first.asked < 9
    assert first.asked == first.processed
    assert not pack.is_file()
    second = run(recipe(), root, share=(2, 2))
    assert first.asked + second.asked == 9
    assert pack.is_file()
    whole = content(tmp_path / "whole")
    made = content(tmp_path / "cache")
    assert made.pop(("acoustic.egemaps", "c2")) == "missing_media"
    assert made.items() <= whole.items()
    assert run(recipe(), root, share=(1, 2)).processed == 0


def test_clips_without_a_file_and_clips_in_the_cache_do_not_count_as_work(corpus, recipe, run, tmp_path):
    class Told(Silent):
        def __init__(self):
            self.paces = []

        def pace(self, clips, seconds, left):
            self.paces.append((clips, seconds, left))

    root = corpus(3)
    missing = root / "media" / "clip2.wav"
    missing.rename(tmp_path / "away")
    first, again = Told(), Told()
    summary = extract(recipe(), root, store.open(tmp_path / "cache"), ExtractionOptions(workers=1), first)
    assert (summary.processed, summary.worked_on) == (3, 2)
    assert sum(clips for clips, _, _ in first.paces) == 2
    assert first.paces[0][2] == pytest.approx(sum(seconds for _, seconds, _ in first.paces))  # of the missing: nothing
    assert first.paces[-1][2] == 0.0
    (tmp_path / "away").rename(missing)
    (root / "media" / "clip0.wav").touch()  # another time, the same content
    extract(recipe(), root, store.open(tmp_path / "cache"), ExtractionOptions(workers=1), again)
    assert sum(clips for clips, _, _ in again.paces) == 1


def test_the_folder_of_the_media_is_kept_as_it_is_found_from_anywhere(corpus, recipe, run, tmp_path, monkeypatch):
    corpus(2)
    monkeypatch.chdir(tmp_path)
    run(recipe(), "corpus")
    assert store.open(tmp_path / "cache")["mine"].manifest.source["media_root"] == str(tmp_path / "corpus")
