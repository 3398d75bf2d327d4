"""Context: the turns before a clip, and that the backbone reads them while the adapter does not."""

from __future__ import annotations

import pytest
import torch

from mse_pipeline import backbones
from mse_pipeline.adapter import AdapterConfig, MSEAdapter
from mse_pipeline.backbones.answers import Answers
from mse_pipeline.backbones.prompt import Prompt, encode, encode_all
from mse_pipeline.clip import Clip, Split
from mse_pipeline.errors import UsageError
from mse_pipeline.task import Classification
from mse_pipeline.training.examples import Batcher, Dialogues, Texts, examples, last_lines
from mse_pipeline.training.reading import read


def said(split, dialogue, *lines):
    return [
        Clip(id=f"{split}/{dialogue}/{n}", split=split, text=text, speaker=who, dialogue=dialogue, turn=n, label="joy")
        for n, (who, text) in enumerate(lines)
    ]


FRIENDS = said(Split.TRAIN, "0", ("Ross", "Hi."), ("Joey", "Hey."), ("Ross", "So?"), (None, "Well."))
OTHERS = said(Split.TEST, "0", ("Phoebe", "No!"), ("Ross", "Yes."))


@pytest.mark.parametrize(
    ("turns", "clip", "lines"),
    [
        (3, FRIENDS[0], ["Ross:"]),
        (3, FRIENDS[2], ["Ross: Hi.\n", "Joey: Hey.\n", "Ross:"]),
        (1, FRIENDS[2], ["Joey: Hey.\n", "Ross:"]),
        (2, FRIENDS[3], ["Joey: Hey.\n", "Ross: So?\n"]),
        (3, OTHERS[1], ["Phoebe: No!\n", "Ross:"]),
        (3, Clip(id="alone", split=Split.TRAIN, text="Oh"), []),
        (0, FRIENDS[2], []),
    ],
)
def test_a_clip_is_read_behind_the_turns_of_its_own_dialogue(turns, clip, lines):
    assert Dialogues([*reversed(FRIENDS), *OTHERS], turns).lines(clip) == lines


def test_chinese_speakers_have_a_chinese_colon():
    assert Dialogues(OTHERS, 2, "zh").lines(OTHERS[1]) == ["Phoebe：No!\n", "Ross："]


def test_the_oldest_turns_go_first_where_there_is_no_room():
    tokenizer, _ = backbones.load_tokenizer("tiny")
    dialogues = Dialogues(FRIENDS, 3)
    lines = dialogues.lines(FRIENDS[2])
    tokens = encode_all(tokenizer, lines)
    whole = last_lines(tokens)
    assert tokenizer.decode(whole) == "Ross: Hi.\nJoey: Hey.\nRoss:"
    assert tokenizer.decode(last_lines(tokens, len(whole) - 1)) == "Joey: Hey.\nRoss:"
    assert last_lines(tokens, 0) == ()


def test_context_without_dialogues_is_refused():
    with pytest.raises(UsageError, match="no clip tells its dialogue"):
        Dialogues([Clip(id="a", split=Split.TRAIN)], 3)


def test_the_backbone_reads_the_context_and_the_adapter_does_not():
    tiny = backbones.load("tiny")
    task = Classification(("joy", "anger"))
    answers = Answers(task, tiny.tokenizer, tiny.family)
    prompt = Prompt.build(tiny.tokenizer, family=tiny.family, task_prompt="It is")
    torch.manual_seed(0)
    adapter = MSEAdapter(
        AdapterConfig(hidden_size=tiny.hidden_size, acoustic_dim=None, visual_dim=2, visual_hidden=4)
    ).eval()

    def reading(dialogues):
        made = examples(FRIENDS, Split.TRAIN, answers, dialogues)
        batch = Batcher(Texts(tiny, 100), {}, {}).batch(made)
        features = {"visual": torch.ones(4, 1, 2), "visual_lengths": torch.ones(4, dtype=torch.int64)}
        with torch.no_grad():
            return read(tiny, adapter, prompt, batch.__class__(**{**vars(batch), **features}))

    without, within = reading(None), reading(Dialogues(FRIENDS, 2))
    begin = len(prompt.before)
    for row, clip in enumerate(FRIENDS):
        context = last_lines(encode_all(tiny.tokenizer, Dialogues(FRIENDS, 2).lines(clip)))
        plain, rich = without.embeddings[row][without.mask[row]], within.embeddings[row][within.mask[row]]
        assert torch.equal(rich[begin : begin + len(context)], tiny.embed(torch.tensor(context)))
        assert torch.equal(torch.cat([rich[:begin], rich[begin + len(context) :]]), plain)
        assert len(plain) == len(prompt) + 4 + len(encode(tiny.tokenizer, clip.text))
