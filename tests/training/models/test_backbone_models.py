"""Models of the frozen backbone without features: what they begin as, what they train, and that the base stays."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from mse_pipeline import adapter, backbones, store
from mse_pipeline.adapter import AdapterConfig, MSEAdapter, build
from mse_pipeline.clip import Split
from mse_pipeline.errors import UsageError
from mse_pipeline.training.answering import predict_clips
from mse_pipeline.training.loop import fit_adapter, predict_split
from mse_pipeline.training.models.lora import FOLDER
from mse_pipeline.training.reading import answer_logits, read
from mse_pipeline.training.run import train
from tests.small_models import small_backbone
from tests.training.models.conftest import WORDING, job_of

SPEAKING = ("text-only", "prompt-tuning", "prefix-tuning", "lora", "mse-adapter-lora")
TUNED = {
    "prompt-tuning": {"tokens": 3},
    "prefix-tuning": {"tokens": 3},
    "lora": {"r": 2},
    "mse-adapter-lora": {"r": 2},
}


@pytest.fixture(scope="module")
def llama():
    return small_backbone("llama")


def shaken(job):
    """The job's model with weights of all sizes, as after a training."""
    torch.manual_seed(3)
    model = build(job.config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.3)
    return model


def logits_of(job, model, chosen):
    with torch.no_grad(), model.in_force(job.backbone):
        reading = read(job.backbone, model, job.prompt, job.batcher.batch(chosen))
        return answer_logits(job.backbone, reading, keep=1)


@pytest.mark.parametrize("name", TUNED)
def test_it_is_trained_kept_and_put_to_use_and_the_base_stays(job, llama, tmp_path, name):
    made = job(name, backbone=llama, model_options=TUNED[name])
    before = llama.digest()
    (result,) = train(made, tmp_path, [1])
    assert llama.digest() == before == result.result["backbone_digest"]
    assert not any(module._forward_hooks for module in llama.model.modules())
    loaded, _ = adapter.load(result.folder / "adapter")
    again = predict_split(made, loaded, Split.TEST)
    whole = train(made, tmp_path, [1])[0]
    assert whole.reused
    assert again.values == fit_adapter(made, 1).predicted[Split.TEST].values
    total = sum(weight.numel() for weight in llama.model.parameters())
    assert result.result["total_parameters"] == total + result.result["trainable_parameters"]


@pytest.mark.parametrize("words", [False, True], ids=["one token", "several tokens"])
@pytest.mark.parametrize("name", TUNED)
def test_shares_of_votes_are_learned(made_dataset, llama, name, words):
    dataset = made_dataset()
    clips = [replace(clip, distribution={"joy": 0.75, "anger": 0.25}) for clip in dataset.clips]
    dataset = store.open(dataset.path.parent).create("made", clips, task=dataset.manifest.task)
    wording = WORDING.model_copy(update={"label_words": words})
    settings = {"targets": "distribution", "learning_rate": 3e-2, "epochs": 3, "adam_epsilon": 1e-8}
    made = job_of(dataset, name, backbone=llama, wording=wording, model_options=TUNED[name], **settings)
    trained = fit_adapter(made, 1)
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]


@pytest.mark.parametrize("name", TUNED)
def test_padding_and_the_clips_beside_do_not_matter(job, llama, name):
    made = job(name, backbone=llama, model_options=TUNED[name])
    train_clips = made.examples[Split.TRAIN]
    chosen = [replace(train_clips[0], text="so"), replace(train_clips[1], text="a longer text than the other one")]
    model = shaken(made)
    together = logits_of(made, model, chosen)
    alone = torch.cat([logits_of(made, model, [one]) for one in chosen])
    torch.testing.assert_close(together, alone, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", TUNED)
def test_only_what_is_meant_to_learn_has_a_gradient(job, llama, name):
    from mse_pipeline.training.objective import answer_loss

    made = job(name, backbone=llama, model_options=TUNED[name])
    model = shaken(made)
    batch = made.batcher.batch(made.examples[Split.TRAIN][:2])
    with model.in_force(llama):
        answer_loss(llama, model, made.prompt, made.answers, batch).backward()
    assert all(weight.grad is None for weight in llama.model.parameters())
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in model.parameters())


def test_lora_begins_as_the_base_and_counts_as_peft_does(job, llama):
    from peft import PeftModel

    lora, plain = job("lora", backbone=llama), job("text-only", backbone=llama)
    chosen = lora.examples[Split.TRAIN][:2]
    base = logits_of(plain, build(plain.config), chosen)
    assert torch.equal(logits_of(lora, build(lora.config), chosen), base)
    assert PeftModel is not None


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_folder_of_lora_is_read_by_peft_with_the_same_numbers(job, tmp_path, family):
    from peft import PeftModel

    backbone = small_backbone(family)
    made = job("lora", backbone=backbone, model_options={"r": 2, "alpha": 4})
    model = shaken(made)
    adapter.save(model, tmp_path)
    theirs = PeftModel.from_pretrained(deepcopy(backbone.model), tmp_path / FOLDER)
    ids = torch.arange(7)[None] + 40
    with torch.no_grad(), model.in_force(backbone):
        ours = backbone.model(input_ids=ids).logits
    with torch.no_grad():
        assert not torch.allclose(ours, backbone.model(input_ids=ids).logits, atol=1e-3)
        torch.testing.assert_close(ours, theirs(input_ids=ids).logits, atol=1e-5, rtol=1e-5)


def test_a_prefix_is_what_peft_makes_of_the_same_table(job, llama):
    from peft import PrefixTuningConfig, get_peft_model

    made = job("prefix-tuning", backbone=llama, model_options={"tokens": 3})
    model = shaken(made)
    theirs = get_peft_model(deepcopy(llama.model), PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    table = theirs.prompt_encoder["default"].embedding.weight
    table.data.copy_(model.prefix.embedding.weight)
    example = made.examples[Split.TRAIN][0]
    ids = torch.tensor([[*made.prompt.before, *made.batcher.tokens([example])[0][1], *made.prompt.after]])
    with torch.no_grad():
        theirs_last = theirs.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -1:]
    torch.testing.assert_close(logits_of(made, model, [example]), theirs_last, atol=1e-5, rtol=1e-5)


def test_a_prompt_begins_as_tokens_of_the_vocabulary(job, llama):
    made = job("prompt-tuning", backbone=llama, model_options={"tokens": 4})
    model = build(made.config)
    model.begin(llama)
    known = llama.model.get_input_embeddings().weight
    assert all((known == row).all(1).any() for row in model.prompt.embedding.weight)


def test_a_trained_bias_learns_how_often_each_answer_is_right(job):
    fitted = fit_adapter(job("text-only", decoding="likeliest", model_options={"bias": "trained"}), 1)
    zero_shot = fit_adapter(job("text-only"), 1)
    assert fitted.adapter.bias.numel() == 3
    assert zero_shot.adapter.bias.numel() == 0
    assert fitted.scores[Split.TEST]["acc"] == pytest.approx(1 / 3, abs=0.23)  # the text tells nothing
    mean = torch.tensor(fitted.predicted[Split.TEST].probabilities).mean(0)
    torch.testing.assert_close(mean, torch.full((3,), 1 / 3), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("text-only", {"model_options": {"bias": "both"}}, "none or trained"),
        ("text-only", {"answer": "head"}, "has no head to be trained"),
        ("lora", {"model_options": {"targets": "nothing"}}, "no module called nothing"),
        ("lora", {"model_options": {"budget": "free"}}, "one of given, matched"),
        ("prefix-tuning", {"model_options": {"init": "text"}}, "one of random, zero"),
        ("prefix-tuning", {"model_options": {"budget": "matched", "projection": 8}}, "counts no projection"),
    ],
)
def test_what_cannot_be_is_refused(job, llama, name, settings, told):
    with pytest.raises(UsageError, match=told):
        build(job(name, backbone=llama, **settings).config)


TABLES = {"residual": True, "place": "before-answer", "answer": "head", "pseudo_tokens": 0, "members": 2}
"""What the recipe for tables says, of the adapter."""


@pytest.mark.parametrize("name", ["prompt-tuning", "prefix-tuning", "lora", "mse-adapter-lora", "lf-dnn", "mult"])
def test_every_model_is_made_by_the_recipe_for_tables(job, llama, name):
    made = job(name, backbone=llama, **TABLES)
    assert made.config.members == (2 if name == "mse-adapter-lora" else 1)
    example = made.examples[Split.TRAIN][:2]
    scores = predict_clips(made, build(made.config).eval(), example)
    assert scores.probabilities.shape == (2, 3)


def test_streams_are_refused_by_models_that_read_none(made_dataset):
    from mse_pipeline.training.streams import choose_streams

    dataset = made_dataset()
    assert choose_streams(dataset, asked={}, model="lora").variant == "text-only"
    with pytest.raises(UsageError, match="lora reads no acoustic stream"):
        choose_streams(dataset, asked={"acoustic": "acoustic.made"}, model="lora")


LLAMA2, QWEN_1_8, QWEN25_7 = (32, 32, 128), (24, 16, 128), (28, 4, 128)
GLM3, QWEN25_1_5 = (28, 2, 128), (28, 2, 128)


@pytest.mark.parametrize(
    ("shape", "tokens", "count"),
    [
        (LLAMA2, 10, 2_621_440),
        (LLAMA2, 20, 5_242_880),
        (QWEN_1_8, 14, 1_376_256),
        (QWEN_1_8, 20, 1_966_080),
        (QWEN25_7, 92, 2_637_824),
        (QWEN25_7, 20, 573_440),
        (QWEN25_1_5, 20, 286_720),
        (GLM3, 20, 286_720),
    ],
)
def test_prefixes_have_as_many_parameters_as_papers_count(shape, tokens, count):
    assert (
        size_of("prefix-tuning", tokens=tokens, **dict(zip(("layers", "heads", "width"), shape, strict=True))) == count
    )


def test_a_projected_prefix_counts_its_mlp():
    assert size_of("prefix-tuning", tokens=10, projection=512, layers=32, heads=32, width=128) == 136_618_496


ATTENTION = {
    "llama2": [(4096, 4096), (4096, 4096)],
    "qwen2.5-7b": [(3584, 3584), (3584, 512)],
    "chatglm3": [(4096, 4608)],
}


@pytest.mark.parametrize(
    ("name", "layers", "rank", "count"),
    [
        ("llama2", 32, 5, 2_621_440),
        ("llama2", 32, 4, 2_097_152),
        ("llama2", 32, 8, 4_194_304),
        ("qwen2.5-7b", 28, 8, 2_523_136),
        ("qwen2.5-7b", 28, 4, 1_261_568),
        ("qwen2.5-7b", 28, 16, 5_046_272),
        ("chatglm3", 28, 8, 1_949_696),
    ],
)
def test_lora_has_as_many_parameters_as_papers_count(name, layers, rank, count):
    modules = [[f"{layer}.{place}", *pair] for layer in range(layers) for place, pair in enumerate(ATTENTION[name])]
    assert size_of("lora", r=rank, modules=modules) == count


def size_of(model, **options):
    with torch.device("meta"):
        made = build(AdapterConfig(hidden_size=4096, acoustic_dim=None, visual_dim=None, model=model, options=options))
    return sum(weight.numel() for weight in made.parameters())


@pytest.mark.parametrize("name", ["prompt-tuning", "prefix-tuning", "lora"])
def test_a_matched_budget_is_the_adapters_to_half_a_part(made_dataset, llama, name):
    adapters = job_of(made_dataset(), "mse-adapter", backbone=llama)
    wanted = sum(weight.numel() for weight in MSEAdapter(adapters.config).parameters())
    matched = job_of(made_dataset(), name, backbone=llama, model_options={"budget": "matched"})
    size = sum(weight.numel() for weight in build(matched.config).parameters())
    part = {"prompt-tuning": 32, "prefix-tuning": 2 * 2 * 2 * 8, "lora": 2 * (64 + 48)}[name]
    assert abs(size - wanted) <= part / 2


def test_a_prefix_is_refused_where_nobody_knows_that_it_is_read(made_dataset):
    with pytest.raises(UsageError, match="is known to work with"):
        job_of(made_dataset(), "prefix-tuning", backbone=small_backbone("bloom"))


def test_tiny_learns_by_lora_what_the_adapter_tells_it(job):
    made = job("mse-adapter-lora", epochs=6, learning_rate=5e-3, adam_epsilon=1e-8)
    trained = fit_adapter(made, 1)
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    assert backbones.load("tiny").digest() == made.backbone.digest()
