"""A model that does not fit is refused in words before any clip; one that fits goes through `mse extract`."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
import yaml

from mse_pipeline import store
from mse_pipeline.cli import main
from mse_pipeline.errors import UsageError
from mse_pipeline.extractors import create, trial
from mse_pipeline.extractors.describe import describe
from mse_pipeline.extractors.encoder import Encoder
from tests.extractors.small_encoders import save_model, save_speech, save_text, save_vision
from tests.extractors.small_families import save_bank, save_maps, save_windows

WRONG: list[tuple[str, Callable[[Path, str], Path], str, str]] = [
    ("visual.transformers", save_windows, "videomae", r"use visual\.transformers_clip\."),
    ("visual.transformers_frame", save_windows, "timesformer", r"use visual\.transformers_clip\."),
    ("visual.transformers", save_windows, "xclip", r"use visual\.transformers_clip\."),
    ("visual.transformers", save_text, "bert", r"reads text: use text\.transformers\."),
    ("visual.transformers", save_bank, "ast", r"reads sound: use acoustic\.transformers\."),
    ("visual.transformers_clip", save_vision, "vit", r"reads single pictures: use visual\.transformers\."),
    ("visual.transformers_clip_frame", save_maps, "resnet", r"reads single pictures: use visual\.transformers\."),
    ("visual.transformers_clip", save_speech, "hubert", r"reads sound: use acoustic\.transformers\."),
    ("acoustic.transformers", save_text, "bert", r"reads text: use text\.transformers\."),
    ("acoustic.transformers", save_windows, "vjepa2", r"use visual\.transformers_clip\."),
    ("acoustic.transformers", save_vision, "clip", r"reads single pictures: use visual\.transformers\."),
    ("text.transformers", save_windows, "videomae", r"use visual\.transformers_clip\."),
    ("text.transformers", save_bank, "qwen2-audio", r"reads sound: use acoustic\.transformers\."),
    ("text.transformers", save_maps, "efficientnet", r"reads single pictures: use visual\.transformers\."),
]


@pytest.mark.parametrize(("stream", "save", "kind", "words"), WRONG)
def test_a_model_of_another_kind_is_told_what_reads_it(
    tmp_path: Path, stream: str, save: Callable[[Path, str], Path], kind: str, words: str
) -> None:
    options = {"model": str(save(tmp_path / kind, kind))}
    for attempt in (lambda: create(stream, options).load(), lambda: describe(stream, options)):
        with pytest.raises(UsageError, match=rf"model: {stream.removesuffix('_frame')}\w* takes .*{words}"):
            attempt()


def short_hearing(folder: Path) -> Path:
    """A Qwen2-Audio whose feature extractor gives less than its encoder wants."""
    save_bank(folder, "qwen2-audio")
    transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=1).save_pretrained(folder)
    return folder


def other_pictures(folder: Path) -> Path:
    """A ViT whose image processor gives pictures of another size."""
    save_vision(folder, "vit")
    transformers.ViTImageProcessor(size={"height": 40, "width": 40}).save_pretrained(folder)
    return folder


def detector(folder: Path) -> Path:
    """A model that finds objects: it reads pictures, but has neither class token nor pooler."""
    size = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "d_model": 24}
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    config = transformers.DetrConfig(
        **size,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
    )
    return save_model(folder, transformers.DetrModel, config, transformers.DetrImageProcessor())


@pytest.mark.parametrize(
    ("stream", "save", "words"),
    [
        (
            "acoustic.transformers",
            short_hearing,
            r"fails on one second of sound \(ValueError.*acoustic.transformers takes",
        ),
        ("visual.transformers", other_pictures, r"fails on one picture \(ValueError.*visual\.transformers takes"),
        ("visual.transformers_frame", detector, r"is a 'detr' model|cannot use|takes encoders of pictures"),
    ],
)
def test_what_fails_on_a_made_input_is_refused_in_words(
    tmp_path: Path, stream: str, save: Callable[[Path], Path], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        create(stream, {"model": str(save(tmp_path / "model"))}).load()


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_vision(tmp_path / "vit", "vit")
    state = load_file(folder / "model.safetensors")
    name = next(name for name in state if name.endswith("layernorm.weight"))
    state[name][:] = float("inf")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match="that are not finite numbers"):
        create("visual.transformers_frame", {"model": str(folder)}).load()


def test_a_model_is_tried_once_and_a_large_one_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSE_MODELS", str(tmp_path / "kept"))
    monkeypatch.setattr(trial, "_passed", set())  # other tests make the same model
    options = {"model": str(save_speech(tmp_path / "hubert", "hubert"))}
    tried: list[str] = []
    run = trial._run
    monkeypatch.setattr(trial, "_run", lambda extractor: (tried.append(extractor.stream), run(extractor))[1])
    create("acoustic.transformers", options).load()
    create("acoustic.transformers", options).load()
    assert tried == ["acoustic.transformers"]
    assert not (tmp_path / "kept" / ".trials").exists()

    monkeypatch.setattr(trial, "_SLOW", 0.0)
    trial._passed.clear()
    extractor = create("acoustic.transformers", options)
    trial.require_fit(extractor)
    assert not hasattr(extractor, "model")  # its memory is for the workers
    trial._passed.clear()  # as in another process
    monkeypatch.setattr(Encoder, "load", lambda self, device="cpu": pytest.fail("loaded again"))
    trial.require_fit(create("acoustic.transformers", options))
    assert len(tried) == 2


def test_extractors_whose_model_nobody_chooses_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_run", lambda extractor: pytest.fail("tried"))
    trial.require_fit(create("acoustic.egemaps"))
    assert describe("visual.mtcnn").dimensions is not None


# --- through the commands -----------------------------------------------------------------------------------------

STREAMS = {
    "visual.videomae": ("visual.transformers_clip", save_windows, "videomae", 24),
    "visual.xclip": ("visual.transformers_clip_frame", save_windows, "xclip", 24),
    "visual.efficientnet": ("visual.transformers", save_maps, "efficientnet", 320),
    "visual.swin": ("visual.transformers_frame", save_maps, "swin", 24),
    "acoustic.ast": ("acoustic.transformers", save_bank, "ast", 24),
    "acoustic.clap": ("acoustic.transformers", save_bank, "clap", 24),
    "acoustic.w2v_bert": ("acoustic.transformers", save_bank, "w2v-bert", 24),
    "acoustic.seamless": ("acoustic.transformers", save_bank, "seamless2", 24),
    "acoustic.qwen": ("acoustic.transformers", save_bank, "qwen2-audio", 24),
}


@pytest.fixture
def mse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(*arguments: Any) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mse", *map(str, arguments)])
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        captured = capsys.readouterr()
        return int(code), captured.out if not code else captured.out + captured.err

    return run


@pytest.fixture
def corpus(shared: Path, tmp_path: Path) -> Path:
    with (tmp_path / "clips.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["id", "media", "split", "text", "label"])
        for name, split in (("bbaf2n", "train"), ("swwp2s", "test")):
            shutil.copy(shared / "data" / "grid" / f"{name}.mpg", tmp_path)
            writer.writerow([name, f"{name}.mpg", split, "so it is", split])
    return tmp_path


def recipe(folder: Path, streams: dict[str, dict[str, Any]]) -> Path:
    plain = {"version": 1, "name": "grid", "corpus": {"name": "table", "options": {"table": "clips.csv"}}}
    file = folder / "grid.yaml"
    file.write_text(yaml.safe_dump({**plain, "streams": streams, "alignment": {"kind": "none"}}))
    return file


@pytest.mark.slow
def test_every_family_goes_through_an_extraction_of_real_clips(
    corpus: Path, tmp_path: Path, mse: Callable[..., tuple[int, str]]
) -> None:
    streams = {
        stream: {"extractor": extractor, "model": str(save(tmp_path / "models" / kind, kind))}
        for stream, (extractor, save, kind, _) in STREAMS.items()
    }
    file = recipe(corpus, streams)
    place = ("--root", corpus, "--cache", tmp_path / "cache")
    code, told = mse("extract", file, *place, "--dry-run", "--json")
    assert code == 0, told
    assert json.loads(told)["lacking"] == dict.fromkeys(STREAMS, 2)
    assert not (tmp_path / "cache" / "grid").exists()
    code, told = mse("extract", file, *place, "--workers", 1, "--quiet")
    assert code == 0, told
    dataset = store.open(tmp_path / "cache")["grid"]
    for stream, (_, _, _, width) in STREAMS.items():
        features = dataset[stream]["bbaf2n"]
        assert features.dim == width
        assert np.isfinite(features.values).all()
        assert features.intervals[0, 0] == 0.0
        assert features.intervals[-1, 1] == pytest.approx(3.0, abs=0.1)
    assert mse("extract", file, *place, "--dry-run", "--json")[1].count(": 0") >= len(STREAMS)


def test_a_wrong_model_is_refused_by_every_command_before_any_clip(
    corpus: Path, tmp_path: Path, mse: Callable[..., tuple[int, str]]
) -> None:
    model = save_windows(tmp_path / "videomae", "videomae")
    file = recipe(corpus, {"visual.wrong": {"extractor": "visual.transformers", "model": str(model)}})
    place = ("--root", corpus, "--cache", tmp_path / "cache")
    for command in (
        ("extract", file, *place),
        ("extract", file, *place, "--dry-run"),
        ("recipes", "check", file),
        ("extractors", "show", "visual.transformers", "--set", f"model={model}"),
    ):
        code, told = mse(*command)
        assert code == 2
        assert "visual.transformers_clip" in told
        assert "RuntimeError" not in told
    assert not (tmp_path / "cache" / "grid").exists()
