"""Raw folders on a real S3 server: label files, listing and media are read from there, and no copy is made."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest

from mse_pipeline import corpora, store
from mse_pipeline.checking.run import check
from mse_pipeline.extraction.hosts import dismiss
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.media.fetching import remove_abandoned
from mse_pipeline.recipe import Recipe
from tests.checking.trees import write_clip
from tests.corpora.raw_folder import tree
from tests.corpora.test_corpora_cherma import THREE
from tests.corpora.test_corpora_iemocap import dialogue
from tests.corpora.test_corpora_mosei import FULL, SPOKEN, dump
from tests.corpora.test_corpora_mosei import table as mosei_table
from tests.corpora.test_corpora_simsv2 import LABELLED
from tests.corpora.test_mosei_csd import csd
from tests.extraction.conftest import write_wav
from tests.s3_server import serve

pytestmark = pytest.mark.slow

MELD = """Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID
Hi.,Joey,neutral,neutral,0,0
Yes.,Ross,joy,positive,0,1
"""
MELD_FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}


@pytest.fixture(scope="module")
def s3():
    yield from serve()


def recipe(corpus, **options):
    streams = {"acoustic.egemaps": {}}
    return Recipe.model_validate(
        {"version": 1, "name": "mine", "corpus": {"name": corpus, "options": options}, "streams": streams}
    )


def features(cache):
    """All features of a cache, to the bit, with the digest of the media that they are of."""
    dataset = store.open(cache)["mine"]
    rows = {row.clip: row for row in dataset.rows("acoustic.egemaps")}
    native = dataset.native("acoustic.egemaps")
    return {clip: (native[clip].values.tobytes(), rows[clip].digest, rows[clip].key) for clip in native}


def meld_tree(root: Path) -> Path:
    clip = write_clip(root.with_suffix(".mp4"), light=True, sound=0.4)
    for split, folder in MELD_FOLDERS.items():
        files = {f"{folder}/dia0_utt{number}.mp4": clip.read_bytes() for number in (0, 1)}
        tree(root, {f"{split}_sent_emo.csv": MELD, **files})
    return root


def mosei_tree(root: Path) -> Path:
    """CMU's tree: three spans of one long video and one of another, labels as a table and as a sequence."""
    rows = [
        ("-aB", 0, 0.5, "train", ""),
        ("-aB", 1, 1.0, "train", ""),
        ("-aB", 2, 2.0, "valid", ""),
        ("x", 12, 0, "test"),
    ]
    spoken = {
        f"{SPOKEN}/-aB.txt": "".join(f"-aB___{n}___{n / 2}___{n / 2 + 0.4}___Yes.\n" for n in range(3)),
        f"{SPOKEN}/x.txt": "x___12___0.1___0.5___Hm.\n",
        f"{SPOKEN}/empty.txt": "",
    }
    videos = {
        f"{FULL}/-aB.mp4": write_clip(root.with_suffix(".a.mp4"), light=True, frames=20, sound=2.0).read_bytes(),
        f"{FULL}/x.mp4": write_clip(root.with_suffix(".x.mp4"), light=True, frames=6, sound=0.6).read_bytes(),
    }
    tree(root, {"Raw/Labels/label.csv": mosei_table(*rows), **spoken, **videos})
    csd(root / "labels/CMU_MOSEI_Labels.csd", {"-aB": [(n / 2, n / 2 + 0.4, 0.5) for n in range(3)]})
    return root


def table_tree(root: Path, count=5) -> Path:
    lines = ["id,media,split,text,label"]
    for number in range(count):
        write_wav(root / f"media/clip{number}.wav", 0.3, seed=number)
        lines.append(f"c{number},media/clip{number}.wav,{('train', 'valid', 'test')[number % 3]},hello,{number}")
    return tree(root, {"clips.csv": "\n".join(lines) + "\n"})


def told(corpus):
    """All that a reader says, without the root's own name."""
    notes = [note.replace(str(corpus.root), "ROOT") for note in corpus.notes]
    return corpus.clips, corpus.defects, corpus.sources, corpus.expected, corpus.task, notes


@pytest.mark.parametrize(
    ("name", "build", "options"),
    [
        ("meld", meld_tree, {}),
        ("mosei", mosei_tree, {"media": "full"}),
        ("mosei", mosei_tree, {"media": "full", "labels": "csd"}),
        ("mosei", lambda root: tree(root, {"label.csv": mosei_table(("x", 12, 0.0, "test")), "Raw/x/12.mp4": b""}), {}),
        ("mosei", lambda root: tree(mosei_tree(root), {"d.csv": dump("a,x,12,1,,,,,,")}), {"labels": "mturk"}),
        ("simsv2", lambda root: tree(root, {"meta.csv": LABELLED, "Raw/test1/00008.mp4": b""}), {}),
        ("cherma", lambda root: tree(root, {**THREE, "mp4/a_1.mp4": b"", "mp4/nobody.mp4": b""}), {}),
        ("iemocap", lambda root: tree(root, dialogue("Ses01F_impro01")), {}),
        ("table", table_tree, {}),
    ],
)
def test_a_reader_says_of_a_bucket_what_it_says_of_a_folder(s3, tmp_path, name, build, options):
    root = build(tmp_path / "raw")
    url = s3.upload(root, tmp_path.name)
    here, there = corpora.read(name, root, options), corpora.read(name, url, options)
    assert told(there) == told(here)
    assert str(there.root) == url
    assert there.clips
    # One listing tells all files, besides those that tell whether the root is a folder.
    assert s3.requests.listings() <= 4


def test_a_table_is_extracted_from_a_bucket_to_the_bit(s3, tmp_path):
    root = table_tree(tmp_path / "raw")
    url = s3.upload(root, "table")
    extract(recipe("table"), root, store.open(tmp_path / "here"), ExtractionOptions(workers=1))
    summary = extract(recipe("table"), url, store.open(tmp_path / "there"), ExtractionOptions(workers=1))
    assert (summary.processed, summary.failed_clips) == (5, 0)
    assert features(tmp_path / "there") == features(tmp_path / "here")


def test_a_second_run_asks_for_no_media_and_a_changed_object_is_made_anew(s3, tmp_path):
    root = table_tree(tmp_path / "raw")
    url = s3.upload(root, "again")
    cache = store.open(tmp_path / "cache")
    extract(recipe("table"), url, cache, ExtractionOptions(workers=1))
    s3.requests.seen.clear()
    assert extract(recipe("table"), url, cache, ExtractionOptions(workers=1)).processed == 0
    assert s3.requests.objects(".wav") == []
    assert s3.requests.listings() <= 6
    before = features(tmp_path / "cache")
    write_wav(root / "media/clip3.wav", 0.3, seed=99)
    (root / "clips.csv").unlink()
    s3.upload(root, "again")
    summary = extract(recipe("table"), url, cache, ExtractionOptions(workers=1))
    after = features(tmp_path / "cache")
    # The other four were written again with the same content, and their version tells it.
    assert summary.processed == 1
    assert {clip for clip in after if after[clip] != before[clip]} == {"c3"}


def test_meld_is_extracted_from_a_bucket(s3, tmp_path):
    url = s3.upload(meld_tree(tmp_path / "raw"), "MELD.Raw")
    summary = extract(recipe("meld"), url, store.open(tmp_path / "cache"), ExtractionOptions(workers=1))
    assert (summary.processed, summary.failed_clips) == (6, 0)
    assert sorted(features(tmp_path / "cache"))[:2] == ["dev/dia0_utt0", "dev/dia0_utt1"]
    assert len(s3.requests.objects(".mp4")) == 6


def test_the_spans_of_a_long_video_share_one_fetching(s3, tmp_path):
    root = mosei_tree(tmp_path / "raw")
    url = s3.upload(root, "mosei")
    extract(recipe("mosei", media="full"), root, store.open(tmp_path / "here"), ExtractionOptions(workers=1))
    s3.requests.seen.clear()
    summary = extract(recipe("mosei", media="full"), url, store.open(tmp_path / "there"), ExtractionOptions(workers=1))
    assert (summary.processed, summary.failed_clips) == (4, 0)
    assert sorted(s3.requests.objects(".mp4")) == [f"/bucket/mosei/{FULL}/{name}.mp4" for name in ("-aB", "x")]
    assert features(tmp_path / "there") == features(tmp_path / "here")


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where this process and its workers put temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def test_workers_leave_no_fetched_files_behind(s3, tmp_path, temporary):
    url = s3.upload(table_tree(tmp_path / "raw", 8), "left")
    extract(recipe("table"), url, store.open(tmp_path / "cache"), ExtractionOptions(workers=2))
    dismiss(all_of_them=True)  # as a command does at its end; the tests keep them
    end = time.monotonic() + 60  # the run's processes end a moment after it, and the next one sweeps what they left
    while list(temporary.glob("mse-media-*")) and time.monotonic() < end:
        time.sleep(0.1)
        remove_abandoned()
    assert [path.name for path in temporary.glob("mse-media-*")] == []


def test_what_is_wrong_with_remote_media_is_told_by_their_address(s3, tmp_path):
    root = table_tree(tmp_path / "raw")
    (root / "media/clip1.wav").write_bytes(b"this is a text")
    (root / "media/clip2.wav").write_bytes(b"")
    url = s3.upload(root, "broken")
    summary = extract(recipe("table"), url, store.open(tmp_path / "cache"), ExtractionOptions(workers=1))
    assert {row.clip: row.code for row in summary.failures} == dict.fromkeys(("c1", "c2"), "undecodable")
    [text, empty] = sorted(row.message for row in summary.failures)
    assert text.startswith(f"{url}/media/clip1.wav cannot be opened as media")
    assert empty.startswith(f"{url}/media/clip2.wav is empty")


def test_a_bucket_is_checked_as_a_folder_is(s3, tmp_path, temporary):
    root = table_tree(tmp_path / "raw")
    (root / "media/clip1.wav").write_bytes(b"this is a text")
    (root / "media/clip4.wav").write_bytes((root / "media/clip3.wav").read_bytes())
    url = s3.upload(root, "checked")
    here, there = (check(recipe("table"), place, workers=2, digests=True) for place in (root, url))
    assert list(there.defects) == list(here.defects)
    assert there.media == here.media
    assert [path.name for path in temporary.glob("mse-media-*")] == []
