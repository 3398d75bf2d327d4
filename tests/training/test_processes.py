"""Two processes train as one does: the same losses, the same predictions, one voice, one writer."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from mse_pipeline import adapter, backbones, store
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.training.job import prepare
from mse_pipeline.training.processes import ALONE, Processes, first_to_fail, join, launched
from mse_pipeline.training.run import train
from mse_pipeline.training.step import Learner, TrainingOptions, own_parts
from mse_pipeline.training.streams import choose_streams
from tests.closeness import assert_close
from tests.small_models import small_backbone
from tests.training.conftest import maker
from tests.training.test_training_run import SETTINGS, WORDING, job, tiny  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
LAUNCHED = "tests/training/launched.py"
ACCELERATE = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
FEW = SETTINGS.model_copy(update={"epochs": 3})


def launch(launcher, *arguments):
    """Two processes on this machine's CPU; what they print is read when all have ended."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", *launcher, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)


def epochs(home):
    return [json.loads(line) for line in (home / "metrics.jsonl").read_text().splitlines()]


def predictions(home):
    return pq.read_table(home / "predictions.parquet").to_pydict()


def assert_same_training(one, two):
    """Losses, learning rates, metrics and predictions of two seed folders agree, up to the order of sums."""
    first, second = epochs(one), epochs(two)
    assert [record["loss"] for record in second] == pytest.approx([record["loss"] for record in first], abs=1e-4)
    assert [record["learning_rate"] for record in second] == [record["learning_rate"] for record in first]
    assert [record["valid"] for record in second] == [record["valid"] for record in first]
    expected, found = predictions(one), predictions(two)
    assert found["clip"] == expected["clip"]
    assert found["prediction"] == expected["prediction"]
    assert torch.allclose(torch.tensor(found["probabilities"]), torch.tensor(expected["probabilities"]), atol=1e-3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """The made dataset, with visual rows for every second clip only, and dropout in its recipe."""
    made = maker(tmp_path_factory.mktemp("data"))()
    recipe = {"version": 1, "name": "made", "corpus": {"name": "table"}, "training": {"dropout": 0.2}}
    made = store.open(made.path.parent).create("made", made.clips, task=made.manifest.task, recipe=recipe)
    visual = dict(made["visual.made"])
    made.put("visual.made", {clip: visual[clip] for clip in list(visual)[::2]})
    return made


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    """Folder of a small model whose head has the weights of its embeddings."""
    folder = tmp_path_factory.mktemp("gemma")
    backbone = small_backbone("gemma")
    backbone.model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def asked(dataset):
    """Arguments of `mse` for a training of four epochs with three and a half batches each."""
    options = ["--seed", 5, "--epochs", 4, "--batch-size", 7, "--set", "training.average=0.9", "--json"]
    return ["train", "made", "--cache", dataset.path.parent, *options]


@pytest.fixture(scope="module")
def together(dataset, tied, asked, tmp_path_factory):
    """What two processes make of some trainings: how they ended, the plan, the folder of the runs."""
    plan = [
        {"name": "unequal", "settings": {"epochs": 12, "batch_size": 7}},
        {"name": "idle", "settings": {"epochs": 3, "batch_size": 23}},  # the last batch has one clip for two
        {"name": "parts", "settings": {"epochs": 3, "batch_size": 7, "average": 0.9}, "options": {"accumulation": 3}},
        {
            "name": "sharded",
            "backbone": tied,
            "settings": {"epochs": 3, "batch_size": 23},
            "options": {"checkpointing": True},
            "environment": {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"},
        },
    ]
    runs = tmp_path_factory.mktemp("together")
    command = [*asked, "--runs", runs / "command"]
    ended = launch(TORCHRUN, LAUNCHED, "together", dataset.path.parent, runs, json.dumps(plan), *command)
    assert ended.returncode == 0, ended.stderr
    return ended, {entry["name"]: entry for entry in plan}, runs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unequal", "idle", "parts", "sharded"])
def test_two_processes_train_as_one(together, dataset, tmp_path, name):
    _, plan, runs = together
    backbone = backbones.load(plan[name].get("backbone", "tiny"))
    settings = SETTINGS.model_copy(update=plan[name]["settings"])
    made = prepare(dataset, backbone, settings, choose_streams(dataset, asked={}), WORDING)
    (alone,) = train(made, tmp_path, [1])
    (home,) = (runs / name).glob("*/seed-1")
    assert home.parent.name == alone.folder.parent.name
    assert_same_training(alone.folder, home)
    assert json.loads((home / "result.json").read_text())["backbone_digest"] == backbone.digest()
    assert json.loads((home / "environment.json").read_text())["processes"] == 2
    kinds = json.loads((runs / name / "weights.json").read_text())
    assert kinds == (["DTensor"] if name == "sharded" else ["Parameter"])


@pytest.mark.slow
def test_one_of_two_processes_speaks(together):
    ended, _, _ = together
    (line,) = ended.stdout.splitlines()
    assert [result["seed"] for result in json.loads(line)["seeds"]] == [5]


@pytest.mark.slow
def test_one_process_that_fails_ends_all_with_one_message_and_the_run_goes_on(together, asked, tmp_path):
    passes = random.Random(6).randrange(2, 16)
    command = [*asked, "--runs", tmp_path]
    failed = launch(TORCHRUN, LAUNCHED, "failing", 1, passes, *command)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.count("mse: ") == 1
    assert "mse: Process 1 has seen enough." in failed.stderr
    (home,) = tmp_path.glob("*/seed-5")
    assert (home / "checkpoint.pt").is_file()
    resumed = launch(ACCELERATE, "cli.py", *command)
    assert resumed.returncode == 0, resumed.stderr
    (undisturbed,) = (together[2] / "command").glob("*/seed-5")
    for kept in ("adapter", "last"):
        expected, found = (adapter.load(folder / kept)[0].state_dict() for folder in (undisturbed, home))
        assert all(torch.equal(found[name], value) for name, value in expected.items()), kept
    assert [record["loss"] for record in epochs(home)] == [record["loss"] for record in epochs(undisturbed)]
    assert predictions(home) == predictions(undisturbed)
    assert json.loads((home / "environment.json").read_text())["processes"] == 2
    (run,) = tmp_path.glob("*/run.json")
    assert json.loads(run.read_text())["config"]["training"]["dropout"] == 0.2


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"batch_size": 7}, {"batch_size": 8, "clip_norm": 0.1}])
@pytest.mark.parametrize("accumulation", [3, 100])
def test_a_batch_in_parts_is_one_batch(job, tmp_path, settings, accumulation):  # noqa: F811
    made = job(settings=FEW.model_copy(update=settings))
    (whole,) = train(made, tmp_path / "whole", [1])
    (parts,) = train(made, tmp_path / "parts", [1], options=TrainingOptions(accumulation=accumulation))
    assert parts.folder.parent.name == whole.folder.parent.name  # the same run, carried out otherwise
    losses = [[record["loss"] for record in epochs(result.folder)] for result in (whole, parts)]
    for first, second in zip(*losses, strict=True):
        assert second == pytest.approx(first, rel=1e-5, abs=1e-5)
    expected, found = (adapter.load(result.folder / "last")[0].state_dict() for result in (whole, parts))
    for name, value in expected.items():
        assert_close(found[name], value)
    assert predictions(parts.folder)["prediction"] == predictions(whole.folder)["prediction"]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("clips", [1, 4, 16])
def test_processes_read_each_clip_of_a_batch_once_in_equally_many_parts(count, accumulation, clips):
    batch = [f"clip {index}" for index in range(clips)]
    parts = [own_parts(batch, accumulation, Processes(rank=rank, count=count)) for rank in range(count)]
    assert len({len(own) for own in parts}) == 1
    assert all(part.examples for own in parts for part in own)
    counted = [clip for own in parts for part in own if part.weight for clip in part.examples]
    assert counted == batch
    assert sum(part.weight for own in parts for part in own) == pytest.approx(1)


def test_a_process_that_was_started_alone_stays_alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert not launched()
    assert join("mps").count == 1
    assert join("mps").device == "mps"
    assert first_to_fail()


def test_processes_cannot_share_a_device_of_one(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="2 processes cannot all compute on cuda:0: give --device cuda"):
        join("cuda:0")
    with pytest.raises(UsageError, match="mps"):
        join("mps")


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU, so that nothing is refused")
def test_each_process_asks_for_the_gpu_of_its_number(monkeypatch):
    for name, value in {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="Device cuda:1 asks for CUDA"):
        join("cuda")


def test_a_seed_is_trained_by_one_run_at_a_time(job, tmp_path):  # noqa: F811
    from mse_pipeline.training.run import _held, run_folder

    made = job(settings=FEW)
    with (
        _held(run_folder(made, tmp_path) / "seed-1", Processes()),
        pytest.raises(MseError, match=r"Another run is training in .*seed-1"),
    ):
        train(made, tmp_path, [1])
    assert not train(made, tmp_path, [1])[0].reused


@pytest.mark.parametrize("clips", [7, 2])
def test_gradients_of_parts_of_unequal_size_are_those_of_the_whole_batch(dataset, clips):
    backbone = backbones.load("tiny")
    settings = SETTINGS.model_copy(update={"dropout": 0.0, "clip_norm": None})
    made = prepare(dataset, backbone, settings, choose_streams(dataset, asked={}), WORDING)
    batch = made.examples["train"][:clips]

    def learn(accumulation):
        learner = Learner(made, 5, TrainingOptions(accumulation=accumulation))
        (loss,) = learner.steps([batch], 1, 0)
        return loss, torch.cat([one.grad.flatten() for one in learner.adapter.parameters() if one.grad is not None])

    assert [len(part.examples) for part in own_parts(batch, 3, ALONE)] == ([2, 2, 3] if clips == 7 else [1, 1])
    (loss, whole), (loss_of_parts, of_parts) = learn(1), learn(3)
    assert loss_of_parts == pytest.approx(loss, rel=1e-5)
    assert (of_parts - whole).abs().max() <= 1e-5 * whole.abs().max()
