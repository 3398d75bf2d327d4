"""Each of the four datasets from a raw tree with real sound and faces to a trained adapter."""

import csv
import json
import shutil

import av
import numpy as np
import pytest

from mse_pipeline import backbones, corpora, metrics, store
from mse_pipeline.cli.train import recipe_of
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.extractors.registry import check
from mse_pipeline.media.decode import FrameRequest, decode
from mse_pipeline.recipe import load
from mse_pipeline.training.job import prepare
from mse_pipeline.training.run import train
from mse_pipeline.training.streams import choose_streams

pytestmark = pytest.mark.slow

CLIPS = ("bbaf2n", "brbk7n", "lbax4n", "lbbc2a", "lrwp9a", "lwbsza")
MMSA = ["video_id", "clip_id", "text", "label", "label_T", "label_A", "label_V", "annotation", "mode"]
CHINESE = "你怎么可以这样对我？我真的很难过。"


def mp4(source, target):
    """A GRID clip as the corpora have theirs: H.264 and AAC in mp4, or the span of one."""
    cut(source, target, 0.0, 10.0)


def cut(source, target, start, end, crf="18"):
    """Re-encode a span, as the makers of segmented corpora did."""
    target.parent.mkdir(parents=True, exist_ok=True)
    pictures = []
    decoded = decode(
        source, start=start, end=end, frames=[FrameRequest(25.0, lambda batch: pictures.extend(batch.pixels))]
    )
    with av.open(str(target), "w") as file:
        video = file.add_stream("libx264", rate=25, options={"crf": crf})
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = file.add_stream("aac", rate=16_000, layout="mono")
        audio.bit_rate = 128_000
        for picture in pictures:
            file.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(video.encode())
        for place in range(0, len(decoded.audio.samples), 1024):
            frame = av.AudioFrame.from_ndarray(decoded.audio.samples[None, place : place + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts = 16_000, place
            file.mux(audio.encode(frame))
        file.mux(audio.encode())


def overlap(one, other):
    """Intersection over union of boxes, row by row."""
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    return shared / (sum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)) - shared)


def mmsa_tree(root, name, video_ids, grid, *, text, label):
    rows = []
    for index, (clip, video) in enumerate(zip(CLIPS, video_ids, strict=True)):
        mp4(grid / f"{clip}.mpg", root / "Raw" / video / "0001.mp4")
        mode = ("train", "train", "valid", "valid", "test", "test")[index]
        rows.append([video, "0001", text, label(index), "", "", "", "Positive", mode])
    with (root / name).open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([MMSA, *rows])


def meld(root, grid):
    head = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
    folders = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
    for split, clips in zip(folders, (CLIPS[:2], CLIPS[2:4], CLIPS[4:]), strict=True):
        lines = [head]
        for index, clip in enumerate(clips):
            mp4(grid / f"{clip}.mpg", root / folders[split] / f"dia0_utt{index}.mp4")
            emotion, sentiment = (("joy", "positive"), ("anger", "negative"))[index]
            lines.append(f'{index},Oh my God!,Ross,{emotion},{sentiment},0,{index},1,1,"00:00:01,000","00:00:02,000"')
        (root / f"{split}_sent_emo.csv").write_text("\n".join(lines) + "\n")


def cherma(root, grid):
    for split, clips in zip(("train", "dev", "test"), (CLIPS[:2], CLIPS[2:4], CLIPS[4:]), strict=True):
        rows = []
        for index, clip in enumerate(clips):
            mp4(grid / f"{clip}.mpg", root / "mp4" / f"{clip}.mp4")
            label = ("高兴", "愤怒")[index]
            labels = dict.fromkeys(("txt_label", "audio_label", "visual_label", "video_label"), label)
            rows.append({"audio_file": f"{clip}.wav", "video_file": f"{clip}.mp4", "text": CHINESE, **labels})
        (root / f"{split}.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def mosei(root, grid):
    videos = ["-3g5yACwYnA", "03bSnISJMiM", "_dI--eQ6qVU", "0h-zjBukYpk", "yD_x_y", "zk2jTlAtvSU"]
    mmsa_tree(root, "label.csv", videos, grid, text="it was great", label=lambda index: round(index - 2.667, 3))


def simsv2(root, grid):
    videos = [f"video_{number:04d}" for number in range(6)]
    mmsa_tree(root, "meta.csv", videos, grid, text=CHINESE, label=lambda index: round(index * 0.4 - 1, 1))


@pytest.mark.parametrize("build", [meld, mosei, simsv2, cherma], ids=lambda build: build.__name__)
def test_a_raw_tree_becomes_a_trained_adapter(build, shared, tmp_path):
    root = tmp_path / "raw"
    root.mkdir()
    build(root, shared / "data/grid")
    recipe = load(build.__name__, checks=(corpora.check, lambda plain: check(plain.get("streams", {}))))
    summary = extract(recipe, root, store.open(tmp_path / "cache"), ExtractionOptions(workers=1))
    assert summary.failed_clips == 0
    assert summary.found == {"train": 2, "valid": 2, "test": 2}
    dataset = store.open(tmp_path / "cache")[build.__name__]
    if recipe.prompt.language == "zh":
        assert {clip.text for clip in dataset.clips} == {CHINESE}
        assert {clip.language for clip in dataset.clips} == {"zh"}
    settings = recipe.training_for("tiny").model_copy(update={"epochs": 1})
    job = prepare(
        dataset, backbones.load("tiny"), settings, choose_streams(dataset, asked={}), recipe_of(dataset).prompt
    )
    (result,) = train(job, tmp_path / "runs", [1])
    assert result.result["status"] == "done"
    assert np.isfinite(result.result["test"][metrics.primary(job.metric_kind)[0]])  # two clips leave others undefined


def test_a_span_of_the_full_video_has_the_features_of_the_segmented_file(shared, tmp_path):
    """Up to codec noise: the segment is re-encoded with x264 at crf 18 and AAC at 128 kbit/s."""
    spans = {"0": (0.4, 1.6), "1": (1.6, 2.8)}
    full, segmented = tmp_path / "full", tmp_path / "segmented"
    source = shared / "data/grid/swwp2s.mpg"
    mp4(source, full / "Raw/Videos/Full/Combined/-abc_d.mp4")
    lines = [f"-abc_d___{clip}___{start}___{end}___set white with p two soon" for clip, (start, end) in spans.items()]
    rows = [
        ["-abc_d", clip, "set white", 1.0, "", "", "", "Positive", mode]
        for clip, mode in zip(spans, ("train", "test"), strict=True)
    ]
    for root in (full, segmented):
        transcripts = root / "Raw/Transcript/Segmented/Combined"
        transcripts.mkdir(parents=True)
        (transcripts / "-abc_d.txt").write_text("\n".join(lines) + "\n")
        with (root / "label.csv").open("w", newline="") as handle:
            csv.writer(handle).writerows([MMSA, *rows])
    for clip, (start, end) in spans.items():
        cut(
            full / "Raw/Videos/Full/Combined/-abc_d.mp4",
            segmented / f"Raw/Videos/Segmented/Combined/-abc_d_{clip}.mp4",
            start,
            end,
        )
    recipe, features = load("mosei"), {}
    for root in (full, segmented):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        assert extract(recipe, root, store.open(tmp_path / "cache"), ExtractionOptions(workers=1)).failed_clips == 0
        dataset = store.open(tmp_path / "cache")["mosei"]
        features[root] = {stream: dict(dataset.native(stream)) for stream in dataset}
    for clip in ("-abc_d$_$0", "-abc_d$_$1"):
        one, other = (features[root]["acoustic.egemaps"][clip] for root in (full, segmented))
        rows = min(len(one), len(other))
        assert abs(len(one) - len(other)) <= 7  # the codec pads sound to whole frames of 64 ms
        loudness = list(one.names).index("Loudness_sma3")
        assert np.corrcoef(one.values[:rows, loudness], other.values[:rows, loudness])[0, 1] > 0.99
        one, other = (features[root]["visual.mtcnn"][clip] for root in (full, segmented))
        assert len(one) == len(other)
        boxes = overlap(one.values[:, :4], other.values[:, :4])  # the detector's cascade answers noise with jitter
        assert np.median(boxes) > 0.93
        assert boxes.min() > 0.8
        faces = [f.values[:, 15:] / np.linalg.norm(f.values[:, 15:], axis=1, keepdims=True) for f in (one, other)]
        cosine = (faces[0] * faces[1]).sum(axis=1)
        assert np.median(cosine) > 0.95
