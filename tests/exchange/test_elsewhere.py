"""What is exported for other tools opens in them, as docs/python.md shows."""

import io
import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mse_pipeline import store
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.exchange import hugging_face, registry, webdataset
from mse_pipeline.task import Classification, Regression

VALUES = np.array([[220.0, 1.0], [np.nan, 2.0], [0.0, 0.0]], np.float32)
STREAMS = {"visual": "visual.own"}


NUMBERS = Regression(-1.0, 1.0)


def made(home, task=NUMBERS, corpus=None, count=2):
    label = 0.5 if isinstance(task, Regression) else task.classes[0]
    clips = [
        Clip(id=f"{split}/{n}.x", split=split, text="好 | <b>", language="zh", label=label)
        for split in (Split.TRAIN, Split.TEST)
        for n in range(count)
    ]
    dataset = store.open(home).create("mine", clips, task=task, source={"corpus": corpus} if corpus else {})
    row = store.Features(VALUES, [[0, 0.5], [0.5, 1], [1, 1.5]], [True, True, False], ("f0", "loud"))
    dataset.put("visual.own", {clip.id: row for clip in clips[1:]})
    return dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("elsewhere")
    registry.write("hf", made(home / "cache"), home / "mine", streams=STREAMS)
    return home / "mine"


def examples(tool):
    """The examples of a tool in the docs, as the reader sees them."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    found = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if f"import {tool}" in block]
    return found or [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if f"from {tool}" in block]


@pytest.mark.parametrize(
    ("tool", "name", "told"),
    [
        ("polars", "rows", lambda table: dict(table.rows())["train/1.x"] == 3),
        ("duckdb", "table", lambda table: ("train/1.x", 0.5, 3) in table.fetchall()),
        ("datasets", "data", lambda data: sorted(data) == ["test", "train"] and len(data["train"]) == 2),
    ],
)
def test_other_tools_open_it_as_the_docs_say(folder, monkeypatch, tmp_path, tool, name, told):
    pytest.importorskip(tool, reason=f"needs {tool}: pip install {tool}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if tool == "datasets":
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    (example,) = examples(tool)
    scope = {"folder": folder}
    exec(example.replace("load_dataset(str(folder))", f"load_dataset(str(folder), cache_dir={str(tmp_path)!r})"), scope)
    assert told(scope[name])


def test_the_parquet_files_of_an_export_open_with_load_dataset_by_name(folder, tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs datasets: pip install datasets")
    files = {"train": str(folder / "data" / "train-*.parquet")}
    data = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path))["train"]
    rows = np.array(data[1]["visual"], np.float32)
    assert rows.tobytes() == VALUES.tobytes()
    assert data[0]["visual"] is None  # a clip without features


def test_a_table_has_values_times_and_validity_as_the_cache_has_them(folder):
    table = pd.read_parquet(folder / "data").set_index("id")
    assert list(table.index) == ["test/0.x", "test/1.x", "train/0.x", "train/1.x"]
    row = table.loc["train/1.x"]
    assert np.stack(row["visual"]).tobytes() == VALUES.tobytes()
    assert np.stack(row["visual_intervals"]).tolist() == [[0, 0.5], [0.5, 1], [1, 1.5]]
    assert row["visual_valid"].tolist() == [True, True, False]
    assert (row["text"], row["label"], row["language"]) == ("好 | <b>", 0.5, "zh")
    assert json.loads((folder / "about.json").read_text())["streams"] == {"visual.own": ["f0", "loud"]}


@pytest.mark.parametrize(
    ("corpus", "told"),
    [("meld", "GPL-3.0 (declare-lab/MELD)"), (None, "Whoever made the clips"), ("table", "Whoever made the clips")],
)
def test_the_card_says_what_it_is_and_on_what_terms(tmp_path, corpus, told):
    task = Classification(("calm", "joy"))
    hugging_face.write(made(tmp_path / "cache", task, corpus), tmp_path / "out", streams=STREAMS)
    head, text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8").split("---\n")[1:3]
    assert "path: data/train-*.parquet" in head
    assert "license" not in head  # it is for whoever publishes it to choose
    assert told in text
    assert "one of calm, joy" in text
    assert "| `visual` | visual.own | 2 |" in text


def test_tar_files_hold_a_clip_after_the_other_with_the_same_bytes_each_time(tmp_path, monkeypatch):
    dataset = made(tmp_path / "cache")
    for name in ("one", "two"):
        webdataset.write(dataset, tmp_path / name, streams=STREAMS)
    monkeypatch.setattr(webdataset, "_FILE_BYTES", 1)
    webdataset.write(dataset, tmp_path / "small", streams=STREAMS)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "about.json",
        "test-000000.tar",
        "train-000000.tar",
    ]
    assert len(list((tmp_path / "small").glob("*.tar"))) == 4
    first = (tmp_path / "one" / "train-000000.tar").read_bytes()
    assert first == (tmp_path / "two" / "train-000000.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        names = archive.getnames()
        content = {name: archive.extractfile(name).read() for name in names}
    arrays = ["visual.npy", "visual_intervals.npy", "visual_valid.npy"]
    assert names == ["000000000.json", "000000001.json", *(f"000000001.{array}" for array in arrays)]
    assert json.loads(content["000000001.json"])["id"] == "train/1.x"
    assert np.load(io.BytesIO(content["000000001.visual.npy"])).tobytes() == VALUES.tobytes()


@pytest.mark.parametrize("form", ["hf", "webdataset"])
def test_an_earlier_export_is_not_mixed_with_a_new_one(tmp_path, form):
    dataset = made(tmp_path / "cache")
    registry.write(form, dataset, tmp_path / "out", streams=STREAMS)
    with pytest.raises(UsageError, match="already"):
        registry.write(form, dataset, tmp_path / "out", streams=STREAMS)
    with pytest.raises(UsageError, match="is written, not read"):
        registry.read(form, tmp_path / "out")
