"""A face that someone chose by hand is followed instead of the policy's, for that clip alone."""

import pytest

from mse_pipeline import store
from mse_pipeline.errors import UsageError
from mse_pipeline.sample.scene import play
from mse_pipeline.sample.speaker import speaker
from tests.extractors.two_faces import side_by_side

STREAMS = {"visual.mtcnn": {"policy": "largest"}}


@pytest.fixture
def pairs(tmp_path):
    """Two clips of two faces each, with a table."""
    root = tmp_path / "corpus"
    root.mkdir()
    left, right = (list(play(speaker(0, seed), "neutral", seed=(seed,)).pictures)[:12] for seed in (1, 2))
    sound = play(speaker(0, 1), "neutral", seed=(1,)).samples
    lines = ["id,media,split,text,label"]
    for name in ("a", "b"):
        side_by_side(root / f"{name}.mp4", left, right, sound, 48_000)
        lines.append(
            f"{name},{name}.mp4,{'train' if name == 'a' else 'test'},hello,{'joy' if name == 'a' else 'anger'}"
        )
    (root / "clips.csv").write_text("\n".join(lines) + "\n")
    return root


def followed(cache, clip):
    notes = store.open(cache)["mine"].native("visual.mtcnn")[clip].notes
    return [track["track"] for track in notes["tracks"] if track["chosen"]]


@pytest.mark.slow
def test_a_chosen_face_is_followed_and_only_its_clip_is_made_again(pairs, recipe, run, tmp_path):
    run(recipe(streams=STREAMS), pairs)
    assert followed(tmp_path / "cache", "a") == followed(tmp_path / "cache", "b") == [0]
    (pairs / "faces.csv").write_text("clip,face\nb,1\n")
    chosen = recipe(streams=STREAMS, media={"faces": "faces.csv"})
    assert run(chosen, pairs).processed == 1
    assert followed(tmp_path / "cache", "a") == [0]
    assert followed(tmp_path / "cache", "b") == [1]
    assert run(chosen, pairs).processed == 0


def test_a_face_that_is_not_there_fails_that_clip_with_words(pairs, recipe, run):
    (pairs / "faces.csv").write_text("clip,face\nb,9\n")
    summary = run(recipe(streams=STREAMS, media={"faces": "faces.csv"}), pairs)
    (failure,) = summary.failures
    assert (failure.clip, failure.code) == ("b", "no_face")
    assert "face 9 was asked for" in str(failure.message)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("clip,face\nzzz,1\n", "names clips that are not in the corpus: zzz"),
        ("clip,face\na,first\n", r"lines 2 are not"),
        ("id,face\na,1\n", "needs the columns clip and face"),
    ],
)
def test_a_table_of_faces_that_cannot_be_is_refused(pairs, recipe, run, content, words):
    (pairs / "faces.csv").write_text(content)
    with pytest.raises(UsageError, match=words):
        run(recipe(streams=STREAMS, media={"faces": "faces.csv"}), pairs)


def test_a_table_of_faces_outside_of_the_root_is_refused(pairs, recipe, run):
    with pytest.raises(UsageError, match="leads out of"):
        run(recipe(streams=STREAMS, media={"faces": "../faces.csv"}), pairs)


@pytest.mark.slow
def test_the_speaking_face_is_followed_by_a_video_stream_alone(pairs, recipe, run, tmp_path):
    run(recipe(streams={"visual.mtcnn": {"policy": "speaking"}}), pairs)
    notes = store.open(tmp_path / "cache")["mine"].native("visual.mtcnn")["a"].notes
    assert notes["policy"] == "speaking"
    assert notes.get("fallback") != "largest: no sound"
    assert len(notes["tracks"]) == 2
