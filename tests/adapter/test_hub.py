"""Adapters go to the hub and come back: three files, no path of this machine, and a sentence for what goes wrong."""

from __future__ import annotations

import json

import pytest
import torch

from mse_pipeline import adapter
from mse_pipeline.adapter import hub as adapters_hub
from mse_pipeline.errors import MseError, UsageError

REPOSITORY = "someone/meld-qwen"


def same(one, two) -> bool:
    one, two = one.state_dict(), two.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_what_was_pushed_is_pulled(hub, made, tmp_path):
    folder = made()
    (folder / "notes.txt").write_text("mine")
    url = adapters_hub.push(folder, REPOSITORY)
    assert url.startswith(f"{hub.url}/{REPOSITORY}/commit/")
    files = hub.repositories[REPOSITORY].commits[-1]
    assert sorted(files) == ["README.md", "adapter.json", "adapter.safetensors"]
    pulled, commit = adapters_hub.pull(REPOSITORY, tmp_path / "there" / "pulled")
    assert commit == hub.repositories[REPOSITORY].sha()
    assert sorted(path.name for path in pulled.iterdir()) == sorted(files)
    one, two = adapter.load(folder)[0], adapter.load(pulled)[0]
    assert one.config == two.config
    assert same(one, two)


def test_nothing_that_goes_up_names_a_folder_of_this_machine(hub, made):
    adapters_hub.push(made(), REPOSITORY)
    for name, data in hub.repositories[REPOSITORY].commits[-1].items():
        assert b"/home/" not in data, name
        assert b"ann" not in data.replace(b"annot", b"").replace(b"cannot", b""), name
    extra = json.loads(hub.repositories[REPOSITORY].commits[-1]["adapter.json"])["extra"]
    assert extra["backbone"]["name"] == extra["backbone"]["source"] == "qwen"
    assert extra["streams"]["acoustic"]["identity"]["config"]["model"] == "wavlm"
    assert extra["places"] == {}


def test_what_looks_like_a_path_in_a_prompt_stays(hub, made):
    adapters_hub.push(made(prompt={"task": "/joy/ or /sadness/?", "language": "en"}), REPOSITORY)
    extra = json.loads(hub.repositories[REPOSITORY].commits[-1]["adapter.json"])["extra"]
    assert extra["prompt"]["task"] == "/joy/ or /sadness/?"


def test_a_card_that_was_edited_goes_up_as_it_is(hub, made):
    folder = made()
    edited = (folder / "README.md").read_text().replace("library_name", "license: cc-by-4.0\nlibrary_name", 1)
    (folder / "README.md").write_text(edited)
    adapters_hub.push(folder, REPOSITORY)
    assert hub.repositories[REPOSITORY].commits[-1]["README.md"].decode() == edited


def test_a_private_repository_is_made_private_and_a_public_one_is_refused(hub, made):
    adapters_hub.push(made(), REPOSITORY, private=True)
    assert hub.repositories[REPOSITORY].private
    adapters_hub.push(made("two"), "someone/open")
    commits = len(hub.repositories["someone/open"].commits)
    with pytest.raises(UsageError, match="is public"):
        adapters_hub.push(made("three"), "someone/open", private=True)
    assert len(hub.repositories["someone/open"].commits) == commits


def test_an_older_commit_can_be_pulled(hub, made, tmp_path):
    adapters_hub.push(made("one", seed=1), REPOSITORY)
    first = hub.repositories[REPOSITORY].sha()
    adapters_hub.push(made("two", seed=2), REPOSITORY)
    assert adapter.load(adapters_hub.pull(REPOSITORY, tmp_path / "a", revision=first)[0])[1]["seed"] == 1
    assert adapter.load(adapters_hub.pull(REPOSITORY, tmp_path / "b")[0])[1]["seed"] == 2
    with pytest.raises(UsageError, match="no revision 'v9'"):
        adapters_hub.pull(REPOSITORY, tmp_path / "c", revision="v9")


def test_a_look_fetches_no_weights(hub, made):
    adapters_hub.push(made(), REPOSITORY)
    hub.asked.clear()
    assert adapters_hub.peek(REPOSITORY)["results"]["test"]["acc"] == 0.62
    assert not [line for line in hub.asked if "safetensors" in line]


def test_other_files_of_a_repository_are_left_there(hub, made, tmp_path):
    adapters_hub.push(made(), REPOSITORY)
    hub.repositories[REPOSITORY].commits[-1] |= {"pytorch_model.bin": b"\x80\x04", "modeling.py": b"boom"}
    hub.asked.clear()
    pulled, _ = adapters_hub.pull(REPOSITORY, tmp_path / "pulled")
    assert len(list(pulled.iterdir())) == 3
    assert not [line for line in hub.asked if "bin" in line or "modeling" in line]


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (lambda one: one.commits[-1].pop("adapter.safetensors"), UsageError, r"it has no adapter\.safetensors"),
        (lambda one: one.sizes.update({"adapter.safetensors": 3 << 30}), MseError, "no adapter's is larger"),
        (lambda one: one.commits[-1].update({"adapter.json": b"{" * 100_000}), MseError, "not readable JSON"),
        (lambda one: one.commits[-1].update({"adapter.safetensors": b"\x80\x04"}), MseError, "SHA-256"),
    ],
)
def test_a_repository_that_is_damaged_or_hostile_leaves_nothing(hub, made, tmp_path, damage, error, said):
    adapters_hub.push(made(), REPOSITORY)
    damage(hub.repositories[REPOSITORY])
    with pytest.raises(error, match=said):
        adapters_hub.pull(REPOSITORY, tmp_path / "out" / "pulled")
    assert not list((tmp_path / "out").iterdir())


def test_an_adapter_that_asks_for_more_memory_than_its_files_have_is_refused(hub, made, tmp_path):
    adapters_hub.push(made(), REPOSITORY)
    files = hub.repositories[REPOSITORY].commits[-1]
    described = json.loads(files["adapter.json"])
    described["config"] |= {"hidden_size": 1 << 20, "fusion_dim": 1 << 20}
    files["adapter.json"] = json.dumps(described).encode()
    with pytest.raises(MseError, match="cannot hold"):
        adapters_hub.pull(REPOSITORY, tmp_path / "pulled")


def test_what_the_hub_refuses_is_told(hub, made, tmp_path, monkeypatch):
    folder = made()
    with pytest.raises(MseError, match=r"does not let this token .* \(403\)"):
        adapters_hub.push(folder, "others/meld")
    with pytest.raises(UsageError, match="no name of a repository"):
        adapters_hub.push(folder, "a/b/c")
    with pytest.raises(UsageError, match="no repository someone/none"):
        adapters_hub.pull("someone/none", tmp_path / "pulled")
    with pytest.raises(MseError, match=r"does not know the token \(401\)"):
        adapters_hub.push(folder, REPOSITORY, token="hf_wrong")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UsageError, match="hf auth login"):
        adapters_hub.push(folder, REPOSITORY)


def test_without_a_connection_nothing_is_asked(hub, made, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set"):
        adapters_hub.pull(REPOSITORY, tmp_path / "pulled")
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set"):
        adapters_hub.push(made(), REPOSITORY)
    assert not hub.asked


def test_a_folder_that_is_not_empty_is_left_alone(hub, made):
    folder = made()
    with pytest.raises(UsageError, match="not empty"):
        adapters_hub.pull(REPOSITORY, folder)
    assert not hub.asked
