"""What a run or a dataset used is cited, each once, and what nobody knows is told."""

import json
import re
from pathlib import Path

import pytest
import yaml

from mse_pipeline import __version__, citing, corpora, store
from mse_pipeline.adapter import models
from mse_pipeline.clip import Clip, Split
from mse_pipeline.extractors.registry import built_in as extractor_names
from mse_pipeline.task import Classification
from tests.cli.conftest import mse  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]


def keys(text):
    return re.findall(r"^@\w+\{([^,]+),", text, re.MULTILINE)


def test_every_corpus_extractor_and_model_of_this_package_has_its_entries():
    assert corpora.built_in() - {"table"} <= set(citing.DATASETS)
    named = {name for name in extractor_names() if not citing.of_stream(name, {"stream": name}).unknown}
    assert set(extractor_names()) - named <= citing._NOTHING
    assert set(models.available()) == set(citing.MODELS)


def test_each_entry_is_whole_and_used():
    used = {key for table in (citing.DATASETS, citing.STREAMS, citing.MODELS) for own in table.values() for key in own}
    used |= {key for _, key in (*citing._BACKBONES, *citing._NETWORKS)} | set(citing._OPTIONS.values())
    used.add(citing.MMSA)
    assert used == set(citing.references())
    for key, entry in citing.references().items():
        assert entry.count("{") == entry.count("}"), key
        assert "title = " in entry, key
        assert "author = " in entry, key
        assert re.search(r"(doi|eprint|howpublished|pages) = ", entry), key


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Qwen/Qwen2.5-0.5B", "qwen2024qwen25"),
        ("/models/qwen-7b/", "bai2023qwen"),
        ("THUDM/chatglm3-6b-base", "glm2024chatglm"),
        ("smollm2-135m", "allal2025smollm2"),
        ("gemma3-270m", "gemma2025gemma3"),
        ("stories260K", None),
    ],
)
def test_a_backbone_is_known_by_its_name_or_folder(name, expected):
    assert citing.of_backbone(name).keys == (() if expected is None else (expected,))


@pytest.mark.parametrize(
    ("stream", "identity", "expected"),
    [
        ("acoustic.opensmile", {"config": {"set": "eGeMAPSv02"}}, ("eyben2016gemaps", "eyben2010opensmile")),
        ("acoustic.opensmile", {"config": {"set": "ComParE_2016"}}, ("eyben2010opensmile",)),
        (
            "acoustic.transformers",
            {"config": {"model": "/models/hubert-base-ls960"}},
            ("wolf2020transformers", "hsu2021hubert"),
        ),
        ("visual.geometry", {"config": {"detector": "yunet", "identity": "sface"}}, ("wu2023yunet", "zhong2021sface")),
        ("acoustic.mmsa", {"imported": {"format": "mmsa"}}, ("mao2022msena",)),
        ("visual.own", {"imported": {}}, ()),
    ],
)
def test_a_streams_options_say_what_else_was_used(stream, identity, expected):
    assert citing.of_stream(stream, {"stream": stream, **identity}).keys == expected


@pytest.fixture
def cache(tmp_path):
    clips = [Clip(id="a", split=Split.TRAIN, text="", label="joy")]
    dataset = store.open(tmp_path / "cache").create("mine", clips, task=Classification(("joy", "no")))
    dataset.set_manifest(dataset.manifest)
    store.open(tmp_path / "cache").create("mine", clips, task=dataset.manifest.task, source={"corpus": "meld"})
    row = store.Features([[1.0]], [[0, 1]], [True], ("x",))
    store.open(tmp_path / "cache")["mine"].put("visual.own", {"a": row})
    return tmp_path / "cache"


def test_a_cache_and_a_run_are_cited(cache, mse, tmp_path):  # noqa: F811
    told = mse("cite", "--cache", cache).out
    assert keys(told) == ["poria2019meld", "mse_pipeline"]
    assert "% Nothing is known to cite for the stream visual.own: ask who made it." in told
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    identity = {"stream": "acoustic.egemaps", "config": {}}
    about = {"streams": {"acoustic": {"name": "acoustic.egemaps", "identity": identity}, "visual": None}}
    description = {"dataset": "mosi", "model": "mult", "backbone": "Qwen/Qwen3-0.6B", "config": about}
    (run / "run.json").write_text(json.dumps(description))
    found = mse("cite", run, "--cache", cache, "--json").json
    expected = ["tsai2019mult", "zadeh2016mosi", "eyben2016gemaps", "eyben2010opensmile", "qwen2025qwen3"]
    assert keys("\n".join(found["entries"])) == [*expected, "mse_pipeline"]
    assert found["unknown"] == []


def test_names_are_cited_and_an_unknown_one_is_told_with_the_nearest(cache, mse):  # noqa: F811
    assert keys(mse("cite", "meld", "lora", "--cache", cache).out) == ["poria2019meld", "hu2022lora", "mse_pipeline"]
    told = mse("cite", "audio.egemaps", "--cache", cache)
    assert (told.code, "did you mean acoustic.egemaps?" in told.err) == (2, True)


def test_the_citation_file_says_the_same_as_the_entry():
    value = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (value["cff-version"], value["version"], value["type"]) == ("1.2.0", __version__, "software")
    assert value["title"] in citing.SOFTWARE
    assert value["authors"][0]["name"] in citing.SOFTWARE
    assert str(value["date-released"].year) in citing.SOFTWARE
    (paper,) = value["references"]
    entry = citing.references()[citing.METHOD]
    assert all(f"{one['family-names']}, {one['given-names']}" in entry for one in paper["authors"])
    assert paper["identifiers"][0]["value"].removeprefix("arXiv:") in entry
