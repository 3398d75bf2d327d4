"""The model card: what it tells, in the form that the hub reads, whatever strangers call their things."""

from __future__ import annotations

import json

import pytest
import yaml
from markdown_it import MarkdownIt

from mse_pipeline import adapter
from mse_pipeline.adapter import AdapterConfig, hub

HOSTILE = [
    "<script>alert(1)</script>",
    "[click](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "a | b | c",
    "x\n\n# Heading\n\n---\nlicense: mit",
    "`code` **bold** _it_",
    "https://evil.example www.evil.example me@evil.example",
    "{{ 7 * 7 }} {% raw %}",
    "\x1b[31mred\u202egnp.exe",
    "--- \n- item",
]


def parts(text):
    """The head as YAML gives it, and the body."""
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def marks(body) -> list[str]:
    """Everything that Markdown makes of a text beside plain words."""
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(body)
    return [
        one.type + (one.attrGet("href") or "")
        for token in tokens
        for one in [token, *(token.children or [])]
        if one.type not in {"text", "inline", "softbreak"}
    ]


def test_the_card_tells_what_was_trained_on_what_and_how_good_it_is(made):
    text = (made() / "README.md").read_text()
    for told in ("# meld-qwen-adapter", "acoustic\\.made", "9989 clips to train on", "Seed 1111, best epoch 3 of 9"):
        assert told in text
    for told in ("| acc | 0.6000 | 0.6200 |", "All predictions are one class", "grid \\(step 0.1\\)", "mse predict"):
        assert told in text
    assert "/home/" not in text


def test_its_head_is_what_the_hub_reads(made):
    from huggingface_hub import ModelCard

    read = ModelCard.load(made() / "README.md", ignore_metadata_errors=False)
    assert read.data.datasets == ["meld"]
    assert read.data.metrics == ["acc", "weight_F1"]
    assert {one.metric_type: one.metric_value for one in read.data.eval_results} == {"acc": 0.62, "weight_F1": 0.63}
    assert (read.data.license, read.data.base_model) == (None, None)
    assert "mse-adapter" in read.data.tags


def test_a_backbone_of_the_hub_is_the_base_model(made):
    source = {"name": "qwen", "source": "Qwen/Qwen-1_8B", "revision": "a" * 40}
    head, _ = parts((made(backbone=source) / "README.md").read_text())
    assert (head["base_model"], head["base_model_relation"]) == ("Qwen/Qwen-1_8B", "adapter")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_as_they_stand(made, name):
    expected = marks(parts((made("plain") / "README.md").read_text())[1])
    hostile = made(
        "hostile",
        dataset=name,
        variant=name,
        backbone={"name": name, "source": name, "digest": name},
        streams={"acoustic": {"name": name, "version": name, "alignment": {"kind": name, "step": name}}},
        prompt={"task": name, "language": name},
        training={name: name, "learning_rate": name},
        clips={"train": name, "valid": 1, "test": 2},
        result={
            "valid": {"acc": 1.0, "weight_F1": 0.5},
            "test": {"acc": 1.0, "weight_F1": 0.5},
            "best_epoch": 1,
            "epochs": 1,
            "alarms": [name],
        },
    )
    text = (hostile / "README.md").read_text()
    head, body = parts(text)
    # Fewer rows of the backbone are told; nothing else may differ.
    strange = [mark for mark in marks(body) if mark not in expected]
    assert strange == []
    assert "license" not in head
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "evil" not in str(head.get("datasets"))


def test_metrics_that_are_not_defined_are_left_out(made):
    result = {"valid": {"acc": None}, "test": {"acc": 0.5, "Corr": None}, "best_epoch": 1, "epochs": 1, "alarms": []}
    head, body = parts((made(result=result) / "README.md").read_text())
    assert head["metrics"] == ["acc"]
    assert "Corr" not in body


def test_an_adapter_without_results_has_a_card_too(made):
    folder = made(result=None)
    head, body = parts((folder / "README.md").read_text())
    assert "model-index" not in head
    assert "Results" not in body


def test_results_are_kept_with_the_adapter_and_it_still_loads(made):
    folder = made()
    assert json.loads((folder / "adapter.json").read_text())["results"]["test"]["weight_F1"] == 0.63
    before = (folder / "README.md").read_text()
    hub.write_card(folder)
    assert (folder / "README.md").read_text() == before
    assert adapter.load(folder)[1]["seed"] == 1111
    packages = json.loads((folder / "adapter.json").read_text())["packages"]
    assert {"torch", "transformers", "safetensors"} <= packages.keys()


@pytest.mark.parametrize(
    ("parts_left_out", "told"),
    [({"mixer": False}, "TGM"), ({"fusion": False}, "MSF"), ({"text": False}, "text"), ({}, None)],
)
def test_an_ablation_says_so(tmp_path, parts_left_out, told):
    config = adapter.AdapterConfig(hidden_size=64, acoustic_dim=5, visual_dim=None, **parts_left_out)
    text = hub.write_card(adapter.save(adapter.MSEAdapter(config), tmp_path)).read_text()
    assert (f"as an ablation: {told}." in text) == (told is not None)
    assert ("ablation" in text) == (told is not None)


def test_the_summary_for_a_terminal_holds_no_control_character(made):
    folder = made(dataset="a\x1b[2Jb")
    rows = hub.card_summary(json.loads((folder / "adapter.json").read_text()))
    assert ("dataset", "a\ufffd[2Jb") in [row for section in rows for row in section]


def test_the_card_of_a_model_without_a_backbone_speaks_of_none():
    described = {
        "config": AdapterConfig(hidden_size=32, acoustic_dim=2, visual_dim=None, model="linear", head=2).to_json(),
        "extra": {"dataset": "made", "backbone": {"name": "none"}, "variant": "without visual"},
        "parameters": 7,
    }
    card = hub.render_card(described)
    assert "# made-linear-without-visual" in card
    assert "It reads no language model." in card
    assert "pseudo tokens" not in card
    assert "The backbone is asked" not in card
