"""mse backbones and mse evaluate --check-backbone, as a user types them."""

from __future__ import annotations

import json

import pytest
import torch

from mse_pipeline import backbones, store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.task import Classification
from tests.backbones import original_checkpoints


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small Qwen-1 in its original layout."""
    folder = tmp_path_factory.mktemp("models") / "qwen1"
    original_checkpoints.qwen(folder)
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A cache with a dataset of six clips; features are constant, since nothing is to be learnt."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MSE_CACHE", raising=False)
    clips = [
        Clip(id=f"{split}/{n}", split=split, text="it in", label=("sad", "glad")[n], speaker="A", dialogue="0", turn=n)
        for split in Split
        for n in range(2)
    ]
    dataset = store.open(tmp_path / "cache").create("made", clips, task=Classification(("sad", "glad")))
    one = store.Features([[0.5, 1.0]], [[0.0, 1.0]], [True], ("a", "b"))
    dataset.put("acoustic.made", {clip.id: one for clip in clips})
    return tmp_path


def test_list_tells_every_short_name(mse):
    listed = mse("backbones", "list")
    assert listed.code == 0
    for word in ("chatglm3", "llama2", "gemma3-1b", "ready", "gated"):
        assert word in listed.out
    rows = {row["name"]: row for row in mse("backbones", "list", "--json").json["backbones"]}
    assert rows["qwen"]["hub_id"] == "Qwen/Qwen-1_8B"
    assert rows["tiny"]["ready"]


def test_show_tells_what_is_missing_for_one(mse):
    shown = mse("backbones", "show", "llama2")
    assert "gated" in shown.out
    assert "hf auth login" in " ".join(shown.out.split())


def test_show_prints_a_prompt_token_by_token(mse, checkpoint):
    shown = mse("backbones", "show", checkpoint, "--example", "--dataset", "mosei")
    assert shown.code == 0
    for word in ("<|im_start|>", "pseudo tokens", "closing tag", "answer", "The model reads"):
        assert word in shown.out
    tokens = mse("backbones", "show", "tiny", "--example", "--json").json["example"]["tokens"]
    assert [token["piece"] for token in tokens[:2]] == ["<bos>", "<"]
    assert tokens[-1] == {"part": "answer", "id": tokens[-1]["id"], "piece": "0"}
    words = mse("backbones", "show", "tiny", "--example", "--label-words", "--json").json["example"]["tokens"]
    assert "".join(token["piece"] for token in words if token["part"] == "answer") == " neutral"


def test_show_of_a_folder_tells_its_family(mse, checkpoint):
    assert mse("backbones", "show", checkpoint, "--json").json["family"] == "qwen2"


def test_show_of_a_gguf_file_tells_how_it_is_stored(mse, tmp_path):
    pytest.importorskip("gguf", reason="needs the package gguf")
    from mse_pipeline.backbones import tiny
    from tests.backbones.gguf_files import write_gguf

    model, tokenizer = tiny.build_tiny()
    model.save_pretrained(tmp_path / "folder")
    tokenizer.save_pretrained(tmp_path / "folder")
    shown = mse("backbones", "show", write_gguf(tmp_path / "folder", tmp_path / "small.gguf", "Q8_0"), "--json").json
    assert (shown["family"], shown["hidden_size"], shown["parameters"]) == ("llama", 128, 492_160)
    assert shown["stored_as"] == "GGUF Q8_0, 8.5 bits a weight"


def test_the_demo_tells_a_backbone_that_is_not_there_before_it_builds_anything(mse, home):
    refused = mse("demo", "--out", home / "demo", "--backbone", "./nowhere")
    assert refused.code == 2
    assert "'./nowhere' does not exist" in refused.err
    assert not (home / "demo").exists()


def test_an_example_needs_a_task(mse):
    refused = mse("backbones", "show", "tiny", "--example", "--dataset", "table")
    assert refused.code == 2
    assert "known only from its clips" in refused.err


def test_convert_writes_a_folder_that_loads(mse, checkpoint, tmp_path):
    done = mse("backbones", "convert", checkpoint, tmp_path / "new", "--json")
    assert done.json["path"] == str(tmp_path / "new")
    assert backbones.load(tmp_path / "new").digest() == backbones.load(checkpoint).digest()
    assert mse("backbones", "convert", checkpoint, tmp_path / "new").code == 2


def train(mse, backbone):
    done = mse("train", "made", "--backbone", backbone, "--seed", 1, "--epochs", 1, "--batch-size", 2, "--json", "-q")
    assert done.code == 0, done.err
    return done.json["run"]


@pytest.mark.parametrize("which", ["tiny", "original", "converted"])
def test_the_check_of_the_backbone_finds_the_backbone_as_it_was(mse, home, checkpoint, which):
    name = {"tiny": "tiny", "original": checkpoint, "converted": home / "converted"}[which]
    if which == "converted":
        backbones.convert(checkpoint, name)
    run = train(mse, name)
    done = mse("evaluate", run, "--check-backbone", "--json")
    assert done.code == 0, done.err
    checks = done.json["checks"]
    assert all(check["same"] for check in checks)
    assert len(checks) == (3 if which == "tiny" else 4)
    assert ("converted to the layout" in checks[-1]["what"]) == (which == "original")
    assert "2 texts, all bits equal" in checks[-1]["found"]
    assert mse("evaluate", run, "--check-backbone").out.count("same") >= len(checks)


def test_the_check_of_the_backbone_notices_another_checkpoint(mse, home, checkpoint):
    from safetensors.torch import load_file, save_file

    name = backbones.convert(checkpoint, home / "converted")
    run = train(mse, name)
    state = load_file(name / "model.safetensors")
    state["model.norm.weight"][0] += torch.finfo(torch.float16).eps * 4
    save_file(state, name / "model.safetensors", metadata={"format": "pt"})
    done = mse("evaluate", run, "--check-backbone", "--cache", home / "empty")
    assert done.code == 1
    assert "DIFFER  That digest" in done.out
    assert "results of the run are not valid" in done.err
    assert "no dataset made" in done.err


def test_the_check_of_the_backbone_notices_a_training_that_changed_the_backbone(mse, home):
    from pathlib import Path

    run = Path(train(mse, "tiny"))
    result = run / "seed-1" / "result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "backbone_digest": "0"}))
    assert mse("evaluate", run, "--check-backbone").code == 1


def test_the_check_of_the_backbone_of_what_is_no_run_says_so(mse, home):
    assert "is no run: give a run folder" in mse("evaluate", home, "--check-backbone").err


def test_context_and_words_are_part_of_a_run(home):
    from mse_pipeline.recipe import PromptSection, Training
    from mse_pipeline.training.job import prepare
    from mse_pipeline.training.run import config_digest
    from mse_pipeline.training.streams import choose_streams

    dataset = store.open(home / "cache")["made"]
    tiny, choice = backbones.load("tiny"), choose_streams(dataset, asked={}, without=())
    jobs = [
        prepare(dataset, tiny, Training(), choice, PromptSection(**changes))
        for changes in ({}, {"context": 2}, {"label_words": True})
    ]
    assert len({config_digest(job) for job in jobs}) == 3
    assert [len(job.examples[Split.TEST][1].before) > 0 for job in jobs] == [False, True, False]
    assert jobs[2].answers.texts == (" sad", " glad")
