"""What holds for small backbones holds for real ones: `make real` runs this on SmolLM2-135M and Gemma 3 270M."""

from __future__ import annotations

import pytest
import torch

from mse_pipeline import backbones
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.prompt import Prompt, encode, start_ids
from mse_pipeline.recipe import load
from mse_pipeline.task import Classification, Regression
from mse_pipeline.training import scoring
from mse_pipeline.training.scoring import score_answers, takes_trees
from tests.closeness import assert_close
from tests.training.test_objective import make_batch, small_adapter

pytestmark = pytest.mark.real

NAMES = ("smollm2-135m", "gemma3-270m")
MELD = Classification(("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"))
START = {"smollm2-135m": "<|im_start|>", "gemma3-270m": "<bos>"}


@pytest.fixture(scope="module", params=NAMES)
def real(request, real_models):
    """A real backbone, under its name."""
    if not (real_models / request.param).is_dir():
        pytest.skip(f"needs {request.param} in {real_models} (make real)")
    return request.param, backbones.load(real_models / request.param)


def test_a_sequence_begins_as_the_model_was_trained_to(real):
    name, backbone = real
    assert backbone.tokenizer.convert_ids_to_tokens(list(start_ids(backbone.tokenizer, backbone.family))) == [
        START[name]
    ]


def test_indices_are_single_tokens_and_numbers_share_their_beginnings(real):
    _, backbone = real
    assert {len(ids) for ids in Answers(MELD, backbone.tokenizer, backbone.family).ids} == {1}
    numbers = Answers(Regression(-1.0, 1.0), backbone.tokenizer, backbone.family)
    assert {len(ids) for ids in numbers.ids} == {3, 4}  # 0.5 and -0.5
    assert len(numbers.trie.tokens) < len(numbers)


def test_words_of_classes_follow_the_question_as_they_do_in_texts(real):
    _, backbone = real
    words = Answers(MELD, backbone.tokenizer, backbone.family, label_words=True)
    asked = "The emotion is"
    together = encode(backbone.tokenizer, asked + " joy")
    assert words.texts[4] == " joy"
    assert together == encode(backbone.tokenizer, asked) + words.ids[4]


@pytest.mark.parametrize("recipe", ["meld", "simsv2"])
def test_one_pass_over_the_tree_equals_branch_after_branch(real, recipe, monkeypatch):
    """Also with the sliding window of Gemma 3, which the prompt does not outgrow."""
    _, backbone = real
    read = load(recipe).prompt
    prompt = Prompt.build(backbone.tokenizer, family=backbone.family, task_prompt=read.task, language=read.language)
    answers = Answers(MELD if recipe == "meld" else Regression(-1.0, 1.0), backbone.tokenizer, backbone.family)
    adapter, batch = small_adapter(backbone, loudness=1), make_batch(backbone, targets=(0, 2, 1, 2))
    assert takes_trees(backbone, len(prompt) + 100)
    tree = score_answers(backbone, adapter, prompt, answers, batch)
    monkeypatch.setattr(scoring, "TREE_FAMILIES", frozenset())
    assert_close(tree, score_answers(backbone, adapter, prompt, answers, batch), 1e-3)
    assert tree.std() > 0.1


def test_a_tree_is_not_used_beyond_the_sliding_window(real):
    _, backbone = real
    window = getattr(backbone.model.config, "sliding_window", None)
    assert takes_trees(backbone, 4000) == (window is None)


def test_a_gguf_file_holds_the_weights_and_the_tokenizer_of_the_folder(real, real_models):
    """The folders were written from these files, in bfloat16."""
    name, backbone = real
    file = real_models / f"{name}.gguf"
    if not file.is_file():
        pytest.skip(f"needs {file} (make real)")
    read, folder = backbones.load(file, "bfloat16"), backbones.load(real_models / name, "bfloat16")
    assert read.digest() == folder.digest()
    assert "GGUF Q4_" in str(read.stored_as)
    for text in ("I don't know!", "  12.5 €", "我很难过。", "<bos> </s> <|im_start|>"):
        assert encode(read.tokenizer, text) == encode(backbone.tokenizer, text)


def test_real_text_is_likelier_than_shuffled_text(real):
    """A model whose weights were read in another order than they were written would not know the difference."""
    _, backbone = real
    ids = encode(backbone.tokenizer, "The weather was so nice today that we went for a walk in the park.")
    start = start_ids(backbone.tokenizer, backbone.family)
    mixed = tuple(ids[place] for place in torch.randperm(len(ids), generator=torch.Generator().manual_seed(1)).tolist())

    def loss(sequence):
        with torch.no_grad():
            whole = torch.tensor([[*start, *sequence]])
            return backbone.model(input_ids=whole, labels=whole).loss.item()

    assert loss(ids) + 2 < loss(mixed)
