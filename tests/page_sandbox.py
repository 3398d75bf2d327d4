"""A folder in which the commands of the documentation work as they stand, with small stand-ins for what is large."""

from __future__ import annotations

import csv
import io
import pickle
import shutil
import sys
import tarfile
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import transformers

from mse_pipeline import adapter, store
from mse_pipeline.backbones import tiny
from mse_pipeline.cli import main
from mse_pipeline.cli.output import settings

CLIPS = ("joy", "sadness", "anger")
SPLITS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
TEXTS = ("I told you so.", "The book is on the table.", "It is nine o'clock.")
MELD = ("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
MMSA = ("video_id", "clip_id", "text", "label", "mode")


def type_in(words: Sequence[str]) -> tuple[int, str, str]:
    """Run `mse` in this process; returns its exit code, what it printed, and what it said besides."""
    settings.json = settings.quiet = settings.debug = False
    out, said, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv, code = ["mse", *words], 0
    try:
        with redirect_stdout(out), redirect_stderr(said):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = before
        settings.json = settings.quiet = settings.debug = False
    return code, out.getvalue(), said.getvalue()


def must(*words: str) -> None:
    """Run a command that prepares the folder."""
    code, out, said = type_in(words)
    assert code == 0, f"mse {' '.join(words)}\n{out}{said}"


def build(home: Path) -> None:
    """Fill the working directory `home` with raw data, tables, models, a cache and runs."""
    with resources.as_file(resources.files("mse_pipeline.selftest").joinpath("clips")) as folder:
        clips = [(folder / f"{name}.mp4").read_bytes() for name in CLIPS]
    _meld(home, clips)
    for name, video in (("mosi", "03bSnISJMiM"), ("mosei", "-3g5yACwYnA"), ("simsv2/ch-simsv2s", "aqgy3_0001")):
        _mmsa(home / "data" / name, video, clips)
    _tables(home, clips)
    _models(home)
    for name in ("meld", "mosi", "mosei", "simsv2"):
        must("extract", name, "--workers", "1", "--quiet")
    must("train", "meld", "--backbone", "tiny", "--seed", "1", "--seed", "2", "--epochs", "1", "--quiet")
    must("train", "meld", "--model", "linear", "--seed", "1", "--quiet")
    must("train", "mosei", "--backbone", "tiny", "--seed", "1", "--epochs", "1", "--quiet")
    must("export", "mosei", "mmsa", "unaligned_50.pkl", "--quiet")
    shutil.copy("unaligned_50.pkl", "ch-simsv2s.pkl")
    _names_of_faces(home)


def _names_of_faces(home: Path) -> None:
    """A name for one face of MELD, as the extraction gives names where SFace's weights are."""
    dataset = store.open(home / "cache")["meld"]
    facts = {"sure": True, "spoken": 3, "seen": 3, "doubt": 0.0, "tracks": 1, "faces": [["train/dia0_utt0", 0]]}
    about = {"persons": [{"name": "Ann", **facts}], "missing": []}
    dataset.set_choices("visual.mtcnn", replace(dataset.choices("visual.mtcnn"), about=about))


def _models(home: Path) -> None:
    """Backbones and encoders, as folders and files, and checkpoints of adapters."""
    from benchmarks.made_models import options_of
    from tests.backbones.gguf_files import write_gguf
    from tests.backbones.original_checkpoints import chatglm, qwen

    model, tokenizer = tiny.build_tiny()
    for part in (model, tokenizer):
        part.save_pretrained(home / "models/tiny")
    write_gguf(home / "models/tiny", home / "smollm2.gguf")
    qwen(home / "Qwen-1_8B")
    chatglm(home / "chatglm3-6b-base")
    encoder = options_of("unimse-style", home / "models")["encoder"]
    deeper = transformers.T5Config.from_pretrained(encoder, num_layers=4, num_decoder_layers=4)
    transformers.T5Model(deeper).save_pretrained(encoder)
    Path(encoder).rename(home / "models/t5-base")
    config = adapter.AdapterConfig(hidden_size=model.config.hidden_size, acoustic_dim=25, visual_dim=None)
    state = {f"Model.{name}": value for name, value in adapter.reference_state(adapter.MSEAdapter(config)).items()}
    (home / "results/models").mkdir(parents=True)
    for name in ("meld.pth", "results/models/mosei.pth"):
        torch.save(state, home / name)


def on_the_hub(home: Path) -> None:
    """Adapters that somebody has shared."""
    (run,) = (home / "runs").glob("meld-tiny-adapter-*")
    for name in ("meld-qwen", "meld-adapter"):
        must("adapters", "push", str(run), f"someone/{name}")


def without_mosei(home: Path) -> None:
    """Where the features of a dataset are imported, nothing of it was extracted before."""
    shutil.rmtree(home / "cache/mosei")


def for_help(home: Path) -> None:
    """What the examples in the help of the commands name."""
    on_the_hub(home)
    _open_face(home)
    must("recipes", "copy", "table", "mine.yaml")
    Path("unaligned_50.pkl").unlink()
    must("export", "mosi", "mmsa", "unaligned_50.pkl")


def small_sample(root: Path, *, workers: int) -> None:
    """The sample corpus of the demo, in the demo's place: the clips of the selftest."""
    shutil.copytree("data/meld/MELD.Raw", root, dirs_exist_ok=True)


def earlier_version(home: Path) -> str:
    """The version of a made stream before its current one."""
    return store.open(home / "cache")["meld"].versions("acoustic.mel")[1].id


def made_streams(home: Path) -> None:
    """Streams of encoders whose weights are not here, two versions of one, and a file that others published."""
    dataset = store.open(home / "cache")["meld"]
    random = np.random.default_rng(0)

    def put(stream: str, beside: str) -> None:
        rows = {clip.id: dataset[beside][clip.id].intervals for clip in dataset.clips}
        made = {name: (random.standard_normal((len(times), 4)), times) for name, times in rows.items()}
        dataset.put(stream, {name: store.Features(*one, [True] * len(one[1]), "abcd") for name, one in made.items()})

    for stream in ("wavlm", "hubert", "librosa", "mel", "mel"):
        put(f"acoustic.{stream}", "acoustic.egemaps")
    for stream in ("efficientnet", "yunet"):
        put(f"visual.{stream}", "visual.mtcnn")
    (home / "MELD").mkdir()
    for split in ("train", "valid", "test"):
        clips = [clip for clip in dataset.clips if clip.split == split]
        rows = {clip.id: len(dataset["visual.efficientnet"][clip.id].values) for clip in clips}
        entries = [
            {"label": clip.label, "features": {"text": clip.text, **_padded(random, rows[clip.id], max(rows.values()))}}
            for clip in clips
        ]
        (home / "MELD" / f"meld_{split}.pkl").write_bytes(pickle.dumps(entries))


def _padded(random: np.random.Generator, count: int, length: int) -> dict[str, object]:
    """Sound and picture of a clip as MSE-Adapter's files have them: rows up to one length, and how many there are."""
    arrays = {name: random.standard_normal((length, 3)).astype(np.float32) for name in ("audio", "video")}
    return {**arrays, "audio_len": count, "video_len": count}


def _open_face(home: Path) -> None:
    """What OpenFace writes of each clip of MELD."""
    (home / "processed").mkdir()
    for split in SPLITS:
        for number in range(len(CLIPS)):
            frames = [f"{n + 1}, 0, {n / 25:.3f}, 0.98, 1, {n / 10:.1f}, {n / 20:.2f}" for n in range(25)]
            head = "frame, face_id, timestamp, confidence, success, AU01_r, AU12_r"
            path = home / "processed" / f"{split}_dia0_utt{number}.csv"
            path.write_text("\n".join([head, *frames]) + "\n")


def _meld(home: Path, clips: Sequence[bytes]) -> None:
    """The archive that MELD's authors give away, and the same unpacked."""
    raw = home / "data/meld/MELD.Raw"
    raw.mkdir(parents=True)
    with tarfile.open(home / "MELD.Raw.tar.gz", "w:gz", compresslevel=1) as outer:
        for split, folder in SPLITS.items():
            sentiments = dict(zip(CLIPS, ("positive", "negative", "negative"), strict=True))
            rows = [(n + 1, TEXTS[n], "Ann", CLIPS[n], sentiments[CLIPS[n]], 0, n) for n in range(len(CLIPS))]
            _write(raw / f"{split}_sent_emo.csv", MELD, rows)
            (raw / folder).mkdir()
            for number, data in enumerate(clips):
                (raw / folder / f"dia0_utt{number}.mp4").write_bytes(data)
            with tarfile.open(raw / f"{split}.tar.gz", "w:gz", compresslevel=1) as inner:
                inner.add(raw / folder, folder)
            for name in (f"{split}.tar.gz", f"{split}_sent_emo.csv"):
                outer.add(raw / name, f"MELD.Raw/{name}")


def _mmsa(folder: Path, video: str, clips: Sequence[bytes]) -> None:
    """A dataset of numbers in MMSA's layout: a clip of each split."""
    (folder / "Raw" / video).mkdir(parents=True)
    rows = []
    for number, (split, data) in enumerate(zip(("train", "valid", "test"), clips, strict=True)):
        (folder / "Raw" / video / f"{number:05}.mp4").write_bytes(data)
        rows.append((video, f"{number:05}", TEXTS[number], (0.6, -0.4, 1.0)[number], split))
    _write(folder / ("meta.csv" if "sims" in folder.name else "label.csv"), MMSA, rows)


def _tables(home: Path, clips: Sequence[bytes]) -> None:
    """A table of clips here, in a folder of its own, and media in folders of their own."""
    names = ("talk", "talk1", "talk2")
    places = (home, home / "table", home / "elsewhere/videos", home / "elsewhere/talks")
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        for name, data in zip(names, clips, strict=True):
            (place / f"{name}.mp4").write_bytes(data)
    rows = [(f"train-{name}", f"{name}.mp4", "train", TEXTS[n], CLIPS[n]) for n, name in enumerate(names)]
    rows += [(split, "talk.mp4", split, TEXTS[0], CLIPS[0]) for split in ("valid", "test")]
    for place in (home, home / "table"):
        _write(place / "clips.csv", ("id", "media", "split", "text", "label"), rows)
    _write(home / "said.csv", ("media", "text"), [("talk1.mp4", TEXTS[1]), ("talk2.mp4", TEXTS[2])])
    (home / "call.wav").write_bytes(clips[0])


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
