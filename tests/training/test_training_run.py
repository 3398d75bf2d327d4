import json
from importlib.metadata import version

import pyarrow.parquet as pq
import pytest
import torch

from mse_pipeline import adapter, backbones
from mse_pipeline.clip import Split
from mse_pipeline.errors import MseError, UsageError
from mse_pipeline.prediction.evaluation import evaluate
from mse_pipeline.recipe import PromptSection, Training
from mse_pipeline.training import run as training_run
from mse_pipeline.training.job import prepare
from mse_pipeline.training.loop import predict_split
from mse_pipeline.training.normaliser import Normaliser
from mse_pipeline.training.run import config_digest, run_folder, train
from mse_pipeline.training.streams import choose_streams

SETTINGS = Training(
    epochs=12, batch_size=8, learning_rate=5e-3, patience=12, acoustic_hidden=8, visual_hidden=8, seeds=(1,)
)
LONGER = {"epochs": 40, "patience": 40, "learning_rate": 3e-3, "acoustic_hidden": 32, "visual_hidden": 32}
WORDING = PromptSection(task="Which emotion is it? It is")


@pytest.fixture(scope="module")
def tiny():
    return backbones.load("tiny")


@pytest.fixture
def job(made_dataset, tiny):
    def make(kind="classification", settings=SETTINGS, without=(), **options):
        dataset = made_dataset(kind, **options)
        return prepare(dataset, tiny, settings, choose_streams(dataset, asked={}, without=without), WORDING)

    return make


def test_a_run_folder_holds_all_that_tells_and_repeats_a_result(job, tmp_path):
    made = job()
    digest = made.backbone.digest()
    (result,) = train(made, tmp_path / "runs", [1])
    folder = run_folder(made, tmp_path / "runs")
    assert result.folder == folder / "seed-1"
    description = json.loads((folder / "run.json").read_text())
    assert description["dataset"] == "made"
    assert description["classes"] == ["neutral", "joy", "anger"]
    assert description["streams"] == {"acoustic": "acoustic.made", "visual": "visual.made"}
    assert description["trainable_parameters"] == sum(p.numel() for p in adapter.MSEAdapter(made.config).parameters())
    assert description["config"]["training"]["learning_rate"] == 5e-3
    environment = json.loads((folder / "seed-1/environment.json").read_text())
    assert environment["packages"]["torch"] in torch.__version__
    assert environment["packages"]["accelerate"] == version("accelerate")
    assert environment["processes"] == 1
    epochs = [json.loads(line) for line in (folder / "seed-1/metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in epochs] == list(range(1, len(epochs) + 1))
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    assert all(24 / record["clips_per_second"] <= record["seconds"] for record in epochs)
    table = pq.read_table(folder / "seed-1/predictions.parquet").to_pylist()
    assert [row["clip"] for row in table if row["split"] == "test"] == [f"test/{n}" for n in range(9)]
    assert all(sum(row["probabilities"]) == pytest.approx(1) for row in table)
    loaded, about = adapter.load(folder / "seed-1/adapter")
    assert loaded.config == made.config
    assert about["seed"] == 1
    assert about["epoch"] == result.result["best_epoch"]
    normalisers = json.loads((folder / "seed-1/normaliser.json").read_text())
    assert Normaliser.from_dict(normalisers["visual"]).mean.tolist() == made.normalisers["visual"].mean.tolist()
    assert made.backbone.digest() == digest == result.result["backbone_digest"]
    assert 1 <= result.result["best_epoch"] <= result.result["epochs"] == len(epochs)


@pytest.mark.slow
def test_the_adapter_learns_what_the_features_tell_and_text_alone_does_not(job, tmp_path):
    settings = SETTINGS.model_copy(update={"epochs": 40, "patience": 40})
    (both,) = train(job(settings=settings), tmp_path / "runs", [1])
    (text,) = train(job(settings=settings, without=("acoustic", "visual")), tmp_path / "runs", [1])
    assert both.result["test"]["weight_F1"] > 0.8
    assert text.result["test"]["weight_F1"] < 0.6
    assert both.folder.parent != text.folder.parent


@pytest.mark.slow
def test_the_same_seed_gives_the_same_predictions(job, tmp_path):
    for name in ("one", "two"):
        train(job(), tmp_path / name, [7])
    one, two = (next((tmp_path / name).rglob("predictions.parquet")) for name in ("one", "two"))
    assert pq.read_table(one).equals(pq.read_table(two))


def test_a_seed_that_is_done_is_not_trained_again_unless_asked(job, tmp_path):
    made = job(settings=SETTINGS.model_copy(update={"epochs": 1}))
    (first,) = train(made, tmp_path, [1])
    assert [result.reused for result in train(made, tmp_path, [1, 2])] == [True, False]
    (again,) = train(made, tmp_path, [1], overwrite=True)
    assert not again.reused
    (first.folder / "result.json").write_text("{broken")
    assert [result.reused for result in train(made, tmp_path, [1, 2])] == [False, True]


def test_another_setting_is_another_run(job):
    made = job()
    other = job(settings=SETTINGS.model_copy(update={"learning_rate": 1e-3}))
    assert config_digest(made) != config_digest(other)
    assert config_digest(made) == config_digest(job(settings=SETTINGS.model_copy(update={"seeds": (9,)})))


def test_training_stops_early_and_keeps_the_best_epoch(job, tmp_path):
    made = job(settings=SETTINGS.model_copy(update={"epochs": 60, "patience": 2, "learning_rate": 1e-7}))
    (result,) = train(made, tmp_path, [1])
    assert result.result["epochs"] == result.result["best_epoch"] + 2
    epochs = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert result.result["valid"] == epochs[result.result["best_epoch"] - 1]["valid"]


def test_the_adapters_of_the_best_and_of_the_last_epoch_are_kept(job, tmp_path):
    made = job(settings=SETTINGS.model_copy(update={"epochs": 60, "patience": 2, "learning_rate": 1e-7}))
    (result,) = train(made, tmp_path, [1])
    best, of_best = adapter.load(result.folder / "adapter")
    last, of_last = adapter.load(result.folder / "last")
    assert of_last["epoch"] == of_best["epoch"] + 2 == result.result["epochs"]
    assert any(not torch.equal(value, last.state_dict()[name]) for name, value in best.state_dict().items())
    assert predict_split(made, best, Split.TEST).values == [
        row["prediction"]
        for row in pq.read_table(result.folder / "predictions.parquet").to_pylist()
        if row["split"] == "test"
    ]


def test_the_last_epoch_is_the_result_where_it_is_to_be_kept(job, tmp_path):
    settings = SETTINGS.model_copy(update={"epochs": 4, "patience": 1, "learning_rate": 1e-7, "keep": "last"})
    (result,) = train(job(settings=settings), tmp_path / "runs", seeds=[1])
    assert result.result["best_epoch"] == result.result["epochs"] == 4
    kept, last = (adapter.load(result.folder / name)[0].state_dict() for name in ("adapter", "last"))
    assert all(torch.equal(value, last[name]) for name, value in kept.items())


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize(("encoder", "pseudo"), [("attentive", 1), ("attentive", 0), ("bilstm-attentive", 4)])
def test_a_head_behind_the_prompt_learns_and_predicts_from_its_folder(
    made_dataset, tiny, tmp_path, kind, encoder, pseudo
):
    dataset = made_dataset(kind)
    changes = {"encoder": encoder, "answer": "head", "place": "before-answer", "pseudo_scale": "matched"}
    changes |= {"pseudo_tokens": pseudo, "residual": True, "adam_epsilon": 1e-8}
    settings = SETTINGS.model_copy(update={**changes, **LONGER})
    made = prepare(dataset, tiny, settings, choose_streams(dataset, asked={}), WORDING)
    assert made.states is not None
    (result,) = train(made, tmp_path / "runs", seeds=[1])
    scores = result.result["test"]
    assert scores["acc"] == 1.0 if kind == "classification" else scores["MAE"] < 0.3
    again = evaluate(result.folder.parent, dataset, split=Split.TEST).seeds[0].metrics
    assert again == pytest.approx(scores, abs=1e-3)


def test_numbers_are_predicted_and_compared_with_the_annotations(job, tmp_path):
    made = job(kind="regression", settings=SETTINGS.model_copy(update={"epochs": 2}))
    (result,) = train(made, tmp_path, [1])
    assert {"MAE", "Corr"} <= set(result.result["test"])
    table = pq.read_table(result.folder / "predictions.parquet").to_pylist()
    assert {row["target"] for row in table} == {-1.0, 0.0, 1.0}
    assert all(-1 <= row["prediction"] <= 1 and len(row["probabilities"]) == 21 for row in table)


def test_clips_without_a_stream_are_trained_without_it(job, made_dataset, tiny, tmp_path):
    dataset = made_dataset()
    visual = dict(dataset["visual.made"])
    dataset.put("visual.made", {clip: visual[clip] for clip in list(visual)[::2]})
    made = prepare(dataset, tiny, SETTINGS, choose_streams(dataset, asked={}), WORDING)
    batch = made.batcher.batch(made.examples["train"][:4])
    assert (batch.visual_lengths > 0).tolist() == [True, False, True, False]
    assert batch.acoustic_lengths.min() > 0


def test_a_loss_that_is_no_number_ends_the_training(job, tmp_path, monkeypatch):
    not_a_number = torch.tensor(float("nan"), requires_grad=True)
    monkeypatch.setattr("mse_pipeline.training.step.answer_loss", lambda *_: not_a_number)
    with pytest.raises(MseError, match="diverged"):
        train(job(), tmp_path, [1])


def test_a_backbone_that_changed_voids_the_result(job, tmp_path):
    made = job(settings=SETTINGS.model_copy(update={"epochs": 1}))
    made.about["backbone"]["digest"] = "0" * 64
    with pytest.raises(MseError, match="are void"):
        train(made, tmp_path, [1])
    assert not list(tmp_path.rglob("result.json"))


def test_a_split_without_labels_is_told(made_dataset, tiny):
    from dataclasses import replace

    from mse_pipeline import store

    dataset = made_dataset()
    clips = [replace(clip, label=None) if clip.split == "valid" else clip for clip in dataset.clips]
    changed = store.open(dataset.path.parent).create("made", clips, task=dataset.manifest.task)
    with pytest.raises(UsageError, match="no labelled clip in its valid split"):
        prepare(changed, tiny, SETTINGS, choose_streams(changed, asked={}), WORDING)
    clips = [replace(clip, label="bored") for clip in dataset.clips]
    changed = store.open(dataset.path.parent).create("made", clips, task=dataset.manifest.task)
    with pytest.raises(UsageError, match="train/0 cannot be trained on"):
        prepare(changed, tiny, SETTINGS, choose_streams(changed, asked={}), WORDING)


def test_progress_is_told(job, tmp_path):
    told = []

    class Listener:
        def begin(self, seed, epochs):
            told.append((seed, epochs))

        def step(self, done, steps):
            told.append(f"{done} of {steps}")

        def epoch(self, record):
            told.append(record["epoch"])

    train(job(settings=SETTINGS.model_copy(update={"epochs": 2})), tmp_path, [5], progress=Listener())
    steps = ["1 of 3", "2 of 3", "3 of 3"]
    assert told == [(5, 2), *steps, 1, *steps, 2]
    assert training_run.FORMAT == 1
