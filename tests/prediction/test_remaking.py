"""Runs whose features, models or backbone are others here, and runs of strangers: refused in words, nothing fetched."""

import json
import shutil

import huggingface_hub
import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from mse_pipeline import backbones, store
from mse_pipeline.clip import Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.extraction.run import ExtractionOptions, extract
from mse_pipeline.prediction import Predictor, evaluate
from mse_pipeline.prediction.remaking import find_here, recipes
from mse_pipeline.recipe import Recipe
from mse_pipeline.training.stored import open_stored
from tests.extractors.small_ctc import VOCABULARY, save_model, small_model
from tests.extractors.small_encoders import save_speech
from tests.prediction.conftest import TEXTS, train_on
from tests.small_models import SMALL, byte_tokenizer


@pytest.fixture(autouse=True)
def no_download(monkeypatch, tmp_path):
    """Whoever asks the hub fails the test; the models' folder is empty."""

    def refuse(*arguments, **options):
        if not options.get("local_files_only"):
            raise AssertionError(f"the hub was asked for {arguments}")
        return whole(*arguments, **options)

    whole = huggingface_hub.snapshot_download
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    monkeypatch.setenv("MSE_MODELS", str(tmp_path / "models"))


def test_the_recipe_of_a_run_makes_its_streams_again(heard):
    stored = open_stored(heard.run, 1)
    (made,) = recipes(stored)
    assert made.streams["acoustic.egemaps"] == dict(stored.streams["acoustic"].identity["config"])
    assert (made.alignment.kind, made.media.max_seconds, made.task) == ("grid", 20.0, stored.task)


def acoustic(change):
    return lambda run: change(run["config"]["streams"]["acoustic"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (acoustic(lambda one: one["identity"].update(revision=99)), r"revision: 99 -> \d+\. Install the version"),
        (acoustic(lambda one: one["identity"].update(model="0" * 32)), r"weights: 0+ -> null. Name the model that"),
        (acoustic(lambda one: one["identity"]["config"].clear()), r"other values of acoustic.egemaps .*not set -> v02"),
        (acoustic(lambda one: one["identity"]["config"].update(hop=2)), "hop: There is no such option"),
        (acoustic(lambda one: one["identity"].update(stream="acoustic.strange")), "no extractor acoustic.strange"),
        (acoustic(lambda one: one["identity"].update(stream="visual.mtcnn")), "cannot make a acoustic stream"),
        (acoustic(lambda one: one["identity"].update(stream="os.system")), "no extractor os.system"),
        (acoustic(lambda one: one["identity"].update(files="0" * 32)), "read from files beside its corpus"),
        (acoustic(lambda one: one.update(identity={"imported": {"tool": "COVAREP"}})), r"imported .*\(COVAREP\)"),
        (
            acoustic(lambda one: one.update(alignment={"kind": "words", "stream": "text.ctc"})),
            "aligned to the words of text.ctc, which it does not have",
        ),
    ],
)
def test_features_that_cannot_be_made_here_are_refused_with_the_reason(changed, change, sentence):
    stored = open_stored(changed(change), 1)
    with pytest.raises(MseError, match=sentence):
        recipes(stored)


@pytest.fixture
def spoken(heard, tmp_path):
    """A run on a small speech encoder, pooled to the words that a small CTC model hears; both lie in folders."""
    model = save_speech(tmp_path / "encoder", "wav2vec2")
    hears = save_model(tmp_path / "ctc", small_model(len(VOCABULARY)), VOCABULARY)
    plain = {
        "version": 1,
        "name": "spoken",
        "corpus": {"name": "table", "options": {"table": "clips.csv"}},
        "streams": {
            "text.ctc": {"model": str(hears)},
            "acoustic.small": {"extractor": "acoustic.transformers", "model": str(model), "layer": 1},
        },
        "alignment": {"kind": "words", "stream": "text.ctc"},
    }
    cache = store.open(tmp_path / "cache")
    extract(Recipe.model_validate(plain), heard.root, cache, ExtractionOptions(workers=1, limit=5))
    return model, train_on(cache["spoken"], tmp_path / "runs")


def test_a_model_that_has_moved_is_named_and_must_be_the_same(heard, spoken, tmp_path):
    model, run = spoken
    tone = heard.root / "tone1.wav"
    (there,) = Predictor.open(run).predict([tone], texts={tone: TEXTS[1]}, workers=1)
    moved = tmp_path / "moved"
    model.rename(moved)
    with pytest.raises(
        UsageError, match=r"was not found in the models' folder .* or as a folder.*--model acoustic.sma"
    ):
        Predictor.open(run)
    opened = Predictor.open(run, models={"acoustic.small": str(moved)})
    (again,) = opened.predict([tone], texts={tone: TEXTS[1]}, workers=1)
    assert again.probabilities == there.probabilities
    known = {
        one.clip: one for one in evaluate(run, store.open(tmp_path / "cache")["spoken"], split=Split.TRAIN).predictions
    }
    assert again.probabilities == pytest.approx(known["tone1"].probabilities, abs=1e-5)
    # Without a text there are no words to pool to, and the rows stay as they are.
    (wordless,) = opened.predict([tone], workers=1, keep=tmp_path / "kept")
    assert [remark.code for remark in wordless.remarks] == ["no_text", "alignment_failed"]
    assert len(store.open(tmp_path / "kept")["predicted"]["acoustic.small"]["tone1.wav"]) > 5
    other = save_speech(tmp_path / "other", "hubert")
    with pytest.raises(UsageError, match=r"weights: [0-9a-f]{32} -> [0-9a-f]{32}\. Name the model"):
        Predictor.open(run, models={"acoustic.small": str(other)})


def test_a_stranger_cannot_cause_a_download_nor_open_pickles(spoken, tmp_path, monkeypatch):
    (tmp_path / "here/and/now").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here/and/now")  # whatever lies above the folder that the tests are run in
    model, run = spoken
    described = json.loads((run / "run.json").read_text())
    for place in ("stranger/model", "../../stranger", "https://stranger.example/model"):
        described["places"]["acoustic.small"]["model"] = place
        (run / "run.json").write_text(json.dumps(described))
        with pytest.raises(UsageError, match="Models that a run names are not downloaded"):
            Predictor.open(run)
    described["places"]["acoustic.small"]["model"] = str(model)
    (run / "run.json").write_text(json.dumps(described))
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"pickled weights \(pytorch_model.bin\).*--model acoustic.small=PLACE"):
        Predictor.open(run)


def test_what_the_models_folder_holds_is_the_users_own(tmp_path):
    kept = tmp_path / "models/someone/encoder"
    kept.mkdir(parents=True)
    (kept / "pytorch_model.bin").write_bytes(b"")
    assert find_here("someone/encoder", None, "It", "--model") == kept
    assert find_here(str(kept), None, "It", "--model") == kept
    for outside in ("../outside", "/nowhere/at/all"):
        with pytest.raises(UsageError, match="was not found in the models' folder"):
            find_here(outside, None, "It", "--model")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UsageError, match="pickled weights"):
        find_here(str(tmp_path / "models/../outside"), None, "It", "--model")


@pytest.fixture
def own_backbone(heard, tmp_path):
    """A run on a backbone in a folder."""
    import torch

    folder = tmp_path / "backbone"
    tokenizer = byte_tokenizer()
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**{**SMALL, "vocab_size": len(tokenizer)})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, train_on(heard.dataset, tmp_path / "runs", backbone=str(folder))


def test_the_backbone_is_that_of_the_run_wherever_it_lies(heard, own_backbone, tmp_path):
    folder, run = own_backbone
    tone = heard.root / "tone1.wav"
    (there,) = Predictor.open(run).predict([tone], workers=1)
    moved = shutil.move(folder, tmp_path / "moved")
    with pytest.raises(UsageError, match=r"The run's backbone .* use --backbone"):
        Predictor.open(run)
    (again,) = Predictor.open(run, backbone=str(moved)).predict([tone], workers=1)
    assert again.probabilities == there.probabilities
    with pytest.raises(UsageError, match=r"tiny|built-in.* is not the one that the run was trained with"):
        Predictor.open(run, backbone="tiny")


def test_a_strangers_backbone_is_neither_fetched_nor_unpickled(own_backbone, monkeypatch):
    folder, run = own_backbone
    described = json.loads((run / "run.json").read_text())
    for source in ("stranger/model", "Qwen/Qwen-1_8B"):
        described["config"]["backbone"]["source"] = source
        (run / "run.json").write_text(json.dumps(described))
        with pytest.raises(UsageError, match="Models that a run names are not downloaded"):
            Predictor.open(run)
    described["config"]["backbone"]["source"] = str(folder)
    (run / "run.json").write_text(json.dumps(described))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match="pickled weights"):
        Predictor.open(run)


def test_another_backbone_under_the_same_name_is_refused(heard, changed):
    run = changed(lambda run: run["config"]["backbone"].update(digest="0" * 64))
    with pytest.raises(UsageError, match=r"SHA-256 of its weights is [0-9a-f]{12}…, the run's 000000000000…"):
        Predictor.open(run)
    assert backbones.load("tiny").digest() != "0" * 64
